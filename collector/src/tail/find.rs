//! The task that finds chains, by name at intervals and by birth at once, and starts a follower for each. Called by
//! [`super::follow`].

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::births::Births;
use super::discover::{ChainSpec, Discover, Root};
use super::follow::{SOURCE, Shared, follow};
use crate::config::Begin;
use crate::error::CollectorError;

/// As long as a log waits for an engine to tell whose it is, they are asked so often.
const TELL_INTERVAL: Duration = Duration::from_millis(200);

/// Finds chains by name and by birth.
pub(super) struct Finder {
    pub discover: Discover,
    pub roots: Arc<[Root]>,
}

impl Finder {
    /// Those whose files have gone already are among them as long as their files are held.
    fn find(&mut self, births: &Births) -> Vec<ChainSpec> {
        let born = births.paths();
        let mut specs = (self.discover)(&|path| births.is_seen(path));
        let known: HashSet<PathBuf> = specs.iter().map(|spec| spec.current.clone()).collect();
        let gone = born.iter().filter(|path| !known.contains(*path));
        specs.extend(gone.filter_map(|path| self.roots.iter().find_map(|root| (root.spec_of)(path))));
        specs
    }
}

/// Until shutdown: a task for each chain found, and a checkpoint now and then.
pub(super) async fn discover_and_save(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    mut finder: Finder,
) -> Result<(), CollectorError> {
    let mut chains: HashMap<String, watch::Sender<Option<ChainSpec>>> = HashMap::new();
    let (mut first, mut waiting) = (true, false);
    let mut look = tokio::time::interval(shared.config.discover_interval);
    let mut save = tokio::time::interval(shared.config.checkpoint_interval);
    loop {
        tokio::select! {
            () = shared.deps.shutdown.cancelled() => return Ok(()),
            _ = save.tick() => { shared.save().await; continue },
            // Before the first lines of all, the engines may not have been asked yet.
            _ = look.tick() => if first { shared.recount().await },
            () = shared.births.changed.notified() => shared.recount().await,
            () = tokio::time::sleep(TELL_INTERVAL), if waiting => shared.recount().await,
        }
        let births = shared.births.clone();
        let found = tokio::task::spawn_blocking(move || (finder.find(&births), finder)).await;
        let Ok((specs, back)) = found else {
            return Err(CollectorError::Serve { what: "log files", reason: "discovery panicked".into() });
        };
        finder = back;
        waiting = apply(shared, &mut chains, tasks, specs, std::mem::take(&mut first));
    }
}

/// Returns whether a log waits.
fn apply(
    shared: &Arc<Shared>,
    chains: &mut HashMap<String, watch::Sender<Option<ChainSpec>>>,
    tasks: &mut JoinSet<()>,
    specs: Vec<ChainSpec>,
    first: bool,
) -> bool {
    let mut waiting = false;
    while tasks.try_join_next().is_some() {}
    chains.retain(|_, tx| !tx.is_closed());
    let mut gone: HashSet<String> = chains.keys().cloned().collect();
    for spec in specs {
        let id = spec.id();
        gone.remove(&id);
        match chains.get(&id) {
            Some(tx) => {
                tx.send_if_modified(|known| known.as_ref() != Some(&spec) && known.replace(spec).is_none_or(|_| true));
            }
            // What is there at the start begins where it was told to, and that is now.
            None if !first && !spec.is_told && shared.births.is_younger(&spec.current, shared.deps.tell_patience) => {
                waiting = true;
            }
            None if chains.len() >= shared.config.files_max => shared.deps.metrics.event(SOURCE, "too_many_files", 1),
            None => {
                let (tx, rx) = watch::channel(Some(spec.clone()));
                chains.insert(id, tx);
                tasks.spawn(follow(shared.clone(), spec, rx, first && shared.config.begin == Begin::End));
            }
        }
    }
    // Their tasks read to the end and leave; until then nobody else may follow the same chain.
    for tx in gone.iter().filter_map(|id| chains.get(id)) {
        tx.send_if_modified(|known| known.take().is_some());
    }
    shared.deps.metrics.files_open.set(chains.len() as i64);
    waiting
}
