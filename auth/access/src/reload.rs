//! The file of policies, read again when it changes. A new one that is wrong leaves the one before in force.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::metrics::AccessMetrics;
use super::policies::{Policies, PolicyError};

/// A changed file is in force after this long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A file's modification time in nanoseconds, size, inode and device; `None` where it cannot be looked at.
type Stamp = Option<(i128, u64, u64, u64)>;

#[derive(Debug)]
pub(crate) struct PolicyFile {
    path: PathBuf,
    /// Held for as long as it takes to copy a pointer.
    current: Mutex<Current>,
    metrics: AccessMetrics,
}

#[derive(Debug)]
struct Current {
    /// Of the version that was read last, even where it is wrong; `None` where it could not be read.
    stamp: Stamp,
    /// In force.
    policies: Arc<Policies>,
    /// What was said last of a version that could not be taken.
    failure: Option<PolicyError>,
}

impl PolicyFile {
    /// Reads it, and watches it for as long as it is held. Must be called within a tokio runtime.
    pub fn open(path: &Path, metrics: AccessMetrics) -> Result<Arc<Self>, PolicyError> {
        let file = Arc::new(Self::read(path, metrics)?);
        tokio::spawn(watch(Arc::downgrade(&file)));
        Ok(file)
    }

    fn read(path: &Path, metrics: AccessMetrics) -> Result<Self, PolicyError> {
        // Before the text: what changes in between is read again.
        let stamp = stamp(path);
        let policies = Arc::new(Policies::read(path)?);
        tracing::info!(path = %path.display(), policies = policies.len(), "policies read");
        let current = Mutex::new(Current { stamp, policies, failure: None });
        Ok(Self { path: path.to_owned(), current, metrics })
    }

    pub fn current(&self) -> Arc<Policies> {
        Arc::clone(&self.current.lock().policies)
    }

    /// Reads the file if it is not the one that was read last. Blocks.
    fn refresh(&self) {
        let stamp = stamp(&self.path);
        if stamp.is_some() && self.current.lock().stamp == stamp {
            return;
        }
        // Where it cannot be read there is no stamp, so that it is read again: the fault may not have been the file's.
        let text = match Policies::read_text(&self.path) {
            Ok(text) => text,
            Err(error) => return self.refuse(None, error),
        };
        match Policies::parse(&self.path.display().to_string(), &text) {
            Ok(policies) => {
                tracing::info!(path = %self.path.display(), policies = policies.len(), "policies read again");
                *self.current.lock() = Current { stamp, policies: Arc::new(policies), failure: None };
            }
            Err(error) => self.refuse(stamp, error),
        }
    }

    /// Counted and said once for each version, and for each reason of a file that cannot be read.
    fn refuse(&self, stamp: Stamp, error: PolicyError) {
        let mut current = self.current.lock();
        current.stamp = stamp;
        if current.failure.as_ref() == Some(&error) {
            return;
        }
        self.metrics.reload_failed();
        tracing::error!(%error, "changed policies cannot be read; those of before stay in force");
        current.failure = Some(error);
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    let modified = i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec());
    Some((modified, data.size(), data.ino(), data.dev()))
}

async fn watch(file: Weak<PolicyFile>) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(file) = file.upgrade() else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || file.refresh()).await {
            tracing::error!(%error, "the file of policies is not watched any more");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use prometheus_client::registry::Registry;

    use super::*;

    fn failures(metrics: &AccessMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("weir_authorization_reload_failures_total"));
        line.and_then(|line| line.split(' ').nth(1)).unwrap_or("0").to_owned()
    }

    #[test]
    fn a_changed_file_counts_and_a_wrong_one_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies.jsonl");
        std::fs::write(&path, "{\"user\": \"a\"}\n").unwrap();
        let metrics = AccessMetrics::default();
        let file = PolicyFile::read(&path, metrics.clone()).unwrap();
        assert_eq!(file.current().len(), 1);
        let replace = |text: &str| {
            std::fs::write(folder.path().join("new"), text).unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
        };
        replace("{\"user\": \"a\"}\n{\"user\": \"b\"}\n");
        file.refresh();
        assert_eq!(file.current().len(), 2);
        replace("{\"usr\": \"a\"}\n");
        file.refresh();
        file.refresh();
        assert_eq!((file.current().len(), failures(&metrics).as_str()), (2, "1"));
        std::fs::remove_file(&path).unwrap();
        file.refresh();
        file.refresh();
        assert_eq!((file.current().len(), failures(&metrics).as_str()), (2, "2"));
        // It can be looked at and not be read: it is tried again, though it looks the same.
        std::fs::create_dir(&path).unwrap();
        for _ in 0..2 {
            file.refresh();
            assert_eq!((file.current().len(), failures(&metrics).as_str()), (2, "3"));
            assert_eq!(file.current.lock().stamp, None);
        }
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        file.refresh();
        assert_eq!(file.current().len(), 0);
    }

    #[tokio::test]
    async fn a_file_is_watched_for_as_long_as_it_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        let file = PolicyFile::open(&path, AccessMetrics::default()).unwrap();
        std::fs::write(&path, "{}\n{}\n").unwrap();
        let began = Instant::now();
        while file.current().len() != 2 {
            assert!(began.elapsed() < Duration::from_secs(60), "not read again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let held = Arc::downgrade(&file);
        drop(file);
        while held.strong_count() > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "still held");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
