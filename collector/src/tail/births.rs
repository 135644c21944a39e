//! Log files held open since their birth, until their follower reads them: whoever deletes one meanwhile deletes its name alone.
//! Filled by [`super::watch`], emptied by the followers ([`super::follow`]); [`super::unseen`] asks what was seen.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::listing::Found;
use crate::metrics::CollectorMetrics;

/// Descriptors held at once. A burst of as many starts within one discovery is far above what a node does; beyond it a
/// file is found by its name, as it was before, or counted as never seen.
const HELD_MAX: usize = 1024;
/// Logs remembered as seen after their followers have ended: those of the last minutes even on a busy node.
const LATELY_MAX: usize = 4096;

/// Shared by the watching thread and the tail's tasks.
pub(super) struct Births {
    /// Guards everything below; held for look-ups and duplications of descriptors only.
    state: Mutex<State>,
    /// Something new is held, or was missed.
    pub changed: Notify,
    metrics: CollectorMetrics,
}

/// The files of one log, in the order of their births.
struct Held {
    since: Instant,
    files: Vec<Found>,
}

#[derive(Default)]
struct State {
    /// By the log's current path.
    held: HashMap<PathBuf, Held>,
    count: usize,
    followed: HashSet<PathBuf>,
    /// Followed or named before, oldest first.
    lately: VecDeque<PathBuf>,
}

impl Births {
    pub fn new(metrics: CollectorMetrics) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), metrics }
    }

    /// Holds a file, unless its log is followed: its follower finds rotated files by itself.
    pub fn add(&self, path: &Path, found: Found) {
        let mut state = self.state.lock();
        if state.followed.contains(path) || state.count >= HELD_MAX {
            return;
        }
        let held = state.held.entry(path.to_owned());
        let files = &mut held.or_insert_with(|| Held { since: Instant::now(), files: Vec::new() }).files;
        if files.iter().all(|held| held.id != found.id) {
            files.push(found);
            state.count += 1;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// A log whose file was gone before it could be opened. It is named once.
    pub fn missed(&self, path: &Path) {
        {
            let mut state = self.state.lock();
            if state.is_seen(path) {
                return;
            }
            state.remember(path);
        }
        self.metrics.event("files", "log_never_seen", 1);
        tracing::error!(file = %path.display(), "a log was deleted before it could be opened; its lines are lost");
    }

    /// Whose files are held.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().held.keys().cloned().collect()
    }

    /// Whether a log is held, and has been for less than this.
    pub fn is_younger(&self, path: &Path, age: Duration) -> bool {
        self.state.lock().held.get(path).is_some_and(|held| held.since.elapsed() < age)
    }

    /// Whether a log is held, followed, or was lately.
    pub fn is_seen(&self, path: &Path) -> bool {
        self.state.lock().is_seen(path)
    }

    /// A follower begins: duplicates of what is held for its log. [`Births::release`] once it has them.
    pub fn begin(&self, path: &Path) -> io::Result<Vec<Found>> {
        let mut state = self.state.lock();
        state.followed.insert(path.to_owned());
        state.remember(path);
        state.held.get(path).map_or(Ok(Vec::new()), |held| held.files.iter().map(Found::try_clone).collect())
    }

    /// The follower has opened what was held for its log.
    pub fn release(&self, path: &Path) {
        let mut state = self.state.lock();
        if let Some(released) = state.held.remove(path) {
            state.count -= released.files.len();
        }
    }

    /// The follower has ended.
    pub fn end(&self, path: &Path) {
        self.state.lock().followed.remove(path);
    }
}

impl State {
    fn is_seen(&self, path: &Path) -> bool {
        self.held.contains_key(path) || self.followed.contains(path) || self.lately.iter().any(|seen| seen == path)
    }

    fn remember(&mut self, path: &Path) {
        self.lately.retain(|seen| seen != path);
        if self.lately.len() >= LATELY_MAX {
            self.lately.pop_front();
        }
        self.lately.push_back(path.to_owned());
    }
}
