//! A value made of files, and made again when they change. What cannot be used leaves the value as it was, is counted, and is
//! said once for each change.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};

use crate::TlsError;
use crate::metrics::metrics;
use crate::pem::Expiry;

/// Files are looked at this often.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A revocation list of a hundred thousand certificates has some 4 MiB.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// An expiry is warned of from so long before, once a day.
const WARN_WITHIN: i64 = 14 * 86_400;
const WARN_PAUSE: Duration = Duration::from_secs(86_400);

/// A value, and the certificates in its files.
pub(crate) type Loaded<T> = Result<(T, Vec<Expiry>), TlsError>;
type Load<T> = dyn Fn(&[Vec<u8>]) -> Loaded<T> + Send + Sync;

pub(crate) struct Watched<T> {
    files: Vec<PathBuf>,
    load: Box<Load<T>>,
    current: RwLock<Arc<T>>,
    /// Guards what a poll compares with; polls wait for each other.
    seen: Mutex<Seen>,
}

struct Seen {
    stamps: Vec<Option<Stamp>>,
    polled: Instant,
    expiries: Vec<Expiry>,
    warned: Option<Instant>,
}

/// Tells a file that was written or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
}

impl<T> Watched<T> {
    /// `load` gets the files' contents in their order.
    pub fn new(files: Vec<PathBuf>, load: impl Fn(&[Vec<u8>]) -> Loaded<T> + Send + Sync + 'static) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let (value, expiries) = load(&read_all(&files)?)?;
        let seen = Seen { stamps, polled: Instant::now(), expiries, warned: None };
        let watched = Self { files, load: Box::new(load), current: RwLock::new(Arc::new(value)), seen: Mutex::new(seen) };
        watched.note_expiries(&mut watched.seen.lock());
        Ok(watched)
    }

    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read())
    }

    /// Looks at the files first, unless that was done within a second. Blocks for as long as that takes: some small local files.
    pub fn fresh(&self) -> Arc<T> {
        let is_due = self.seen.try_lock().is_some_and(|seen| seen.polled.elapsed() >= POLL_INTERVAL);
        if is_due {
            self.poll();
        }
        self.current()
    }

    /// Looks at the files.
    pub fn poll(&self) {
        let mut seen = self.seen.lock();
        seen.polled = Instant::now();
        // Before they are read: what is written meanwhile is seen the next time.
        let stamps = stamps(&self.files);
        if stamps != seen.stamps {
            seen.stamps = stamps;
            match read_all(&self.files).and_then(|contents| (self.load)(&contents)) {
                Ok((value, expiries)) => {
                    *self.current.write() = Arc::new(value);
                    (seen.expiries, seen.warned) = (expiries, None);
                    tracing::info!(files = ?self.files, "certificates were read again");
                }
                Err(error) => {
                    metrics().reload_failures.inc();
                    tracing::warn!(%error, "changed certificates cannot be used; those of before stay in use");
                }
            }
        }
        self.note_expiries(&mut seen);
    }

    fn note_expiries(&self, seen: &mut Seen) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        for Expiry { file, at } in &seen.expiries {
            metrics().expires(file, *at);
        }
        if seen.warned.is_some_and(|warned| warned.elapsed() < WARN_PAUSE) {
            return;
        }
        for Expiry { file, at } in seen.expiries.iter().filter(|expiry| expiry.at - now < WARN_WITHIN) {
            let days = (at - now).div_euclid(86_400);
            tracing::warn!(file = %file.display(), days, "a certificate expires soon, or has; put a new one there");
            seen.warned = Some(Instant::now());
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some(Stamp {
            place: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
        })
    };
    files.iter().map(stamp).collect()
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, TlsError> {
    files.iter().map(|file| read(file)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let wrong = |source| TlsError::Read { path: path.to_owned(), source };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(wrong)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::content(path, format!("more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_leaves_what_was_and_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let path = file.clone();
        let watched = Watched::new(vec![file.clone()], move |contents| {
            let text = String::from_utf8_lossy(&contents[0]).into_owned();
            let number = text.parse::<u32>().map_err(|error| TlsError::content(&path, error))?;
            Ok((number, Vec::new()))
        })
        .unwrap();
        let failures = || metrics().reload_failures.get();
        let before = failures();
        watched.poll();
        assert_eq!((*watched.current(), failures()), (1, before));
        std::fs::write(&file, "two").unwrap();
        watched.poll();
        watched.poll();
        assert_eq!((*watched.current(), failures()), (1, before + 1));
        std::fs::remove_file(&file).unwrap();
        watched.poll();
        watched.poll();
        assert_eq!((*watched.current(), failures()), (1, before + 2));
        // As a Kubernetes secret: another file under the same name.
        std::fs::write(folder.path().join("new"), "3").unwrap();
        std::fs::rename(folder.path().join("new"), &file).unwrap();
        watched.poll();
        assert_eq!((*watched.current(), failures()), (3, before + 2));
        assert!(Watched::new(vec![folder.path().join("away")], |_| Ok(((), Vec::new()))).is_err());
    }
}
