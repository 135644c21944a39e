//! A file of credentials, read again when it has changed. Whoever asks looks, once a second at most, and waits for it: when a
//! line is removed, no request that comes a second later is let in by it. There is no task.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::metrics::AuthMetrics;

/// How often a file is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// 100,000 users at 160 bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What tells one version of a file from another, a replaced link's target included.
type Stamp = (u64, u64, i64, i64, u64);

type Parse<T> = Arc<dyn Fn(&str) -> Result<T, String> + Send + Sync>;

/// See above.
pub(crate) struct Watched<T> {
    /// In metrics and logs.
    key: &'static str,
    path: PathBuf,
    parse: Parse<T>,
    /// What was read last and counts.
    state: RwLock<State<T>>,
    /// Held by who looks.
    turn: tokio::sync::Mutex<()>,
    metrics: AuthMetrics,
}

struct State<T> {
    value: Arc<T>,
    /// Of the version that was read last, even where it is wrong; `None` where it could not be read.
    stamp: Option<Stamp>,
    checked: Instant,
    /// What was said last of a version that could not be taken.
    failure: Option<String>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads it. Errors name the key, the file, and what is wrong on which line.
    pub fn open(
        key: &'static str,
        path: &Path,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
        metrics: AuthMetrics,
    ) -> Result<Self, String> {
        let parse: Parse<T> = Arc::new(parse);
        let read = || Ok((stamp(path)?, parse(&read_text(path, FILE_BYTES_MAX)?)?));
        let (stamp, value) = read().map_err(|error: String| format!("{key}: {}: {error}", path.display()))?;
        let state = State { value: Arc::new(value), stamp: Some(stamp), checked: Instant::now(), failure: None };
        Ok(Self { key, path: path.to_owned(), parse, state: RwLock::new(state), turn: Default::default(), metrics })
    }

    /// What the file says.
    pub async fn get(&self) -> Arc<T> {
        if let Some(value) = self.fresh() {
            return value;
        }
        let _turn = self.turn.lock().await;
        if let Some(value) = self.fresh() {
            return value;
        }
        self.poll().await;
        Arc::clone(&self.state.read().value)
    }

    fn fresh(&self) -> Option<Arc<T>> {
        let state = self.state.read();
        (state.checked.elapsed() < POLL_INTERVAL).then(|| Arc::clone(&state.value))
    }

    async fn poll(&self) {
        let (path, parse, before) = (self.path.clone(), Arc::clone(&self.parse), self.state.read().stamp);
        let look = move || {
            // Before the bytes: a change while they are read is seen the next time.
            let now = match stamp(&path) {
                Ok(now) if Some(now) == before => return None,
                now => now,
            };
            // Where it cannot be read there is no stamp, so that it is read again: the fault may not have been the file's.
            match now.and_then(|now| Ok((now, read_text(&path, FILE_BYTES_MAX)?))) {
                Ok((now, text)) => Some((Some(now), parse(&text))),
                Err(error) => Some((None, Err(error))),
            }
        };
        let looked = tokio::task::spawn_blocking(look).await;
        let mut state = self.state.write();
        state.checked = Instant::now();
        match looked {
            Ok(None) => {}
            Ok(Some((stamp, Ok(value)))) => {
                (state.value, state.stamp, state.failure) = (Arc::new(value), stamp, None);
                tracing::info!(key = self.key, file = %self.path.display(), "credentials were read again");
            }
            Ok(Some((stamp, Err(error)))) => self.refuse(&mut state, stamp, error),
            Err(error) => self.refuse(&mut state, None, error.to_string()),
        }
    }

    /// Counted and said once for each version, and for each reason of a file that cannot be read.
    fn refuse(&self, state: &mut State<T>, stamp: Option<Stamp>, error: String) {
        state.stamp = stamp;
        if state.failure.as_ref() == Some(&error) {
            return;
        }
        self.metrics.reload_failure(self.key);
        tracing::error!(key = self.key, file = %self.path.display(), error, "credentials stay as they were");
        state.failure = Some(error);
    }

    #[cfg(test)]
    pub fn expire(&self) {
        self.state.write().checked = Instant::now() - POLL_INTERVAL;
    }
}

fn stamp(path: &Path) -> Result<Stamp, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    Ok((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// A small text file. Errors where it is larger than `bytes_max`; they do not have what it says.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("is larger than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_read_again_and_a_bad_version_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        // As Kubernetes replaces what a Secret mounts: by a rename.
        let replace = |text: &str| {
            let beside = folder.path().join("beside");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(&beside, &path).unwrap();
        };
        replace("1");
        let metrics = AuthMetrics::default();
        let parse = |text: &str| text.trim().parse::<u32>().map_err(|error| error.to_string());
        let watched = Watched::open("auth.number", &path, parse, metrics.clone()).unwrap();
        assert_eq!(*watched.get().await, 1);
        replace("2");
        watched.expire();
        assert_eq!(*watched.get().await, 2);
        replace("many");
        for _ in 0..3 {
            watched.expire();
            assert_eq!(*watched.get().await, 2);
        }
        assert_eq!(metrics.reload_failures("auth.number"), 1);
        std::fs::remove_file(&path).unwrap();
        for _ in 0..3 {
            watched.expire();
            assert_eq!(*watched.get().await, 2);
        }
        assert_eq!(metrics.reload_failures("auth.number"), 2);
        // It can be looked at and not be read: it is tried again, though it looks the same.
        std::fs::create_dir(&path).unwrap();
        for _ in 0..2 {
            watched.expire();
            assert_eq!(*watched.get().await, 2);
            assert_eq!(watched.state.read().stamp, None);
        }
        assert_eq!(metrics.reload_failures("auth.number"), 3);
        std::fs::remove_dir(&path).unwrap();
        replace("3");
        watched.expire();
        assert_eq!(*watched.get().await, 3);
    }

    #[test]
    fn what_cannot_be_read_is_named_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent");
        let open = || Watched::open("auth.number", &path, |_| Ok(()), AuthMetrics::default()).err().unwrap();
        assert!(open().contains("auth.number") && open().contains("absent"), "{}", open());
        std::fs::write(&path, b"\xff").unwrap();
        assert!(open().contains("UTF-8"), "{}", open());
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).as_deref(), Ok("12345"));
        assert!(read_text(&path, 4).unwrap_err().contains("4 bytes"));
    }
}
