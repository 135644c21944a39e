//! The task that finds logs, by name at intervals and by birth at once, and starts a follower for each. Called by
//! [`super::follow`].

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::births::Births;
use super::discover::{Discover, LogSpec, Root};
use super::follow::follow;
use super::shared::{SOURCE, Shared};
use crate::config::Begin;
use crate::error::CollectorError;

/// How often the engines are asked while a log waits for one that knows its container.
const IDENTIFY_INTERVAL: Duration = Duration::from_millis(200);

/// Finds logs by name and by birth.
pub(super) struct Finder {
    pub discover: Discover,
    pub roots: Arc<[Root]>,
}

impl Finder {
    /// Logs whose files are deleted already are among them as long as the files are held open.
    fn find(&mut self, births: &Births) -> Vec<LogSpec> {
        let born = births.paths();
        let mut specs = (self.discover)(&|path| births.is_seen(path));
        let known: HashSet<PathBuf> = specs.iter().map(|spec| spec.current.clone()).collect();
        let gone = born.iter().filter(|path| !known.contains(*path));
        specs.extend(gone.filter_map(|path| self.roots.iter().find_map(|root| (root.spec_of)(path))));
        specs
    }
}

/// Until shutdown: a task for each log found, and a checkpoint now and then.
pub(super) async fn discover_and_save(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    mut finder: Finder,
) -> Result<(), CollectorError> {
    let mut followers: HashMap<String, watch::Sender<Option<LogSpec>>> = HashMap::new();
    let (mut first, mut waiting) = (true, false);
    let mut poll = tokio::time::interval(shared.config.discover_interval);
    let mut save = tokio::time::interval(shared.config.checkpoint_interval);
    loop {
        tokio::select! {
            () = shared.deps.shutdown.cancelled() => return Ok(()),
            _ = save.tick() => { shared.save().await; continue },
            // Before the first lines of all, the engines may not have been asked yet.
            _ = poll.tick() => if first { shared.recount().await },
            () = shared.births.changed.notified() => shared.recount().await,
            () = tokio::time::sleep(IDENTIFY_INTERVAL), if waiting => shared.recount().await,
        }
        let births = shared.births.clone();
        let found = tokio::task::spawn_blocking(move || (finder.find(&births), finder)).await;
        let Ok((specs, back)) = found else {
            return Err(CollectorError::Serve { what: "log files", reason: "discovery panicked".into() });
        };
        finder = back;
        waiting = apply(shared, &mut followers, tasks, specs, std::mem::take(&mut first));
    }
}

/// Starts, updates and ends followers. Returns whether a log waits for its container to be known.
fn apply(
    shared: &Arc<Shared>,
    followers: &mut HashMap<String, watch::Sender<Option<LogSpec>>>,
    tasks: &mut JoinSet<()>,
    specs: Vec<LogSpec>,
    first: bool,
) -> bool {
    let mut waiting = false;
    while tasks.try_join_next().is_some() {}
    followers.retain(|_, tx| !tx.is_closed());
    let mut gone: HashSet<String> = followers.keys().cloned().collect();
    for spec in specs {
        let id = spec.id();
        gone.remove(&id);
        match followers.get(&id) {
            Some(tx) => {
                tx.send_if_modified(|known| known.as_ref() != Some(&spec) && known.replace(spec).is_none_or(|_| true));
            }
            // What is there at the start is followed at once: `begin` says from where.
            None if !first && !spec.is_told && shared.births.is_younger(&spec.current, shared.deps.identify_patience) => {
                waiting = true;
            }
            None if followers.len() >= shared.config.files_max => shared.deps.metrics.event(SOURCE, "too_many_files", 1),
            None => {
                let (tx, rx) = watch::channel(Some(spec.clone()));
                followers.insert(id, tx);
                tasks.spawn(follow(shared.clone(), spec, rx, first && shared.config.begin == Begin::End));
            }
        }
    }
    // Their tasks read to the end and leave; until then nobody else may follow the same log.
    for tx in gone.iter().filter_map(|id| followers.get(id)) {
        tx.send_if_modified(|known| known.take().is_some());
    }
    shared.deps.metrics.files_open.set(followers.len() as i64);
    waiting
}
