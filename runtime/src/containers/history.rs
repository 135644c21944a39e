//! What became of the containers of this node: those that run, and those that ended within a time, which stay known when
//! their engine has forgotten them. Fed by the collector with every look at the engines; kept in a file, so that a restart
//! tells no end twice and no counter goes back. Format: docs/formats/container_history.md.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::time::{SECOND, UnixNanos};

use super::container::Container;
use super::event::{Event, What};
use super::paths;
use super::record::ContainerRecord;
use crate::RuntimeError;
use crate::cgroup::{Kill, LogPosition, OomCount};
use crate::lifecycle::{End, State};
use crate::private::write_atomically;

/// Of the file.
const VERSION: u32 = 1;
/// Ended containers that no engine lists any more: a node that starts one every three minutes has as many a day.
const FORGOTTEN_MAX: usize = 500;
/// An end is shipped when it has been known for so long: whether memory ran out may be told a moment later.
const SETTLE: i64 = SECOND;
/// Kills in cgroups of which nobody knows yet whose they are wait so long for it, and so many of them.
const UNCLAIMED_AGE_MAX: i64 = 10 * SECOND;
const UNCLAIMED_MAX: usize = 256;
/// Engines are asked for the events of so long before the file was written: both have clocks.
const OVERLAP: i64 = 10 * SECOND;

/// What was seen of a node since the last time.
#[derive(Debug, Default)]
pub struct Observed<'a> {
    /// The containers as engines list them.
    pub containers: &'a [Container],
    /// What engines told by themselves.
    pub events: Vec<Event>,
    /// What the kernel's log says.
    pub kills: Vec<Kill>,
    /// Counters of cgroups, and when they were read.
    pub counts: Vec<(UnixNanos, OomCount)>,
}

/// A run that ended and has not been shipped.
#[derive(Clone, Debug)]
pub struct Death {
    /// The container.
    pub record: ContainerRecord,
    /// How that run of it ended.
    pub end: End,
    /// No sample has had the container before: its counters have to be said to have begun at 0.
    pub is_unsampled: bool,
}

/// The containers of a node and their ends.
#[derive(Debug)]
pub struct History {
    file: Option<PathBuf>,
    keep: i64,
    state: Saved,
    unclaimed: Vec<Kill>,
    written: Option<Saved>,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    weir_container_history: u32,
    /// When it was written.
    at: UnixNanos,
    kernel_log: Option<LogPosition>,
    containers: BTreeMap<String, ContainerRecord>,
}

impl History {
    /// Of nothing, kept nowhere. Ends are remembered for `keep`.
    pub fn new(keep: Duration) -> Self {
        let keep = i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX);
        let state = Saved { weir_container_history: VERSION, ..Saved::default() };
        Self { file: None, keep, state, unclaimed: Vec::new(), written: None }
    }

    /// Kept in `file`. One that is missing counts as empty; one that cannot be read does as well, and the error says why.
    /// Blocks.
    pub fn open(file: &Path, keep: Duration) -> (Self, Option<RuntimeError>) {
        let mut history = Self { file: Some(file.to_owned()), ..Self::new(keep) };
        match read(file) {
            Ok(Some(state)) => history.state = state,
            Ok(None) => {}
            Err(error) => return (history, Some(error)),
        }
        history.written = Some(history.state.clone());
        (history, None)
    }

    /// From when on engines are asked for events: what happened while nobody listened is told then. `now` at the first start.
    pub fn events_since(&self, now: UnixNanos) -> UnixNanos {
        if self.state.at == 0 { now } else { self.state.at - OVERLAP }
    }

    /// How far the kernel's log was read.
    pub fn kernel_log(&self) -> Option<&LogPosition> {
        self.state.kernel_log.as_ref()
    }

    /// Notes how far the kernel's log was read.
    pub fn set_kernel_log(&mut self, position: &LogPosition) {
        self.state.kernel_log = Some(position.clone());
    }

    /// Takes in what was seen. `is_alive` says whether a container that no engine lists any more still runs.
    pub fn observe(&mut self, now: UnixNanos, observed: Observed<'_>, is_alive: impl Fn(&ContainerRecord) -> bool) {
        let Observed { containers, mut events, kills, counts } = observed;
        events.sort_by_key(|event| event.at);
        let known = &mut self.state.containers;
        known.values_mut().for_each(|record| record.is_listed = false);
        for container in containers {
            let record = known.entry(container.id.clone()).or_insert_with(|| container.clone().into());
            // A cgroup that still stands for a moment is no word of its engine.
            if !container.name.is_empty() || record.container.name.is_empty() {
                record.see(container, now);
            }
        }
        // One without a name is listed by CRI, if it is not a pod's pause container.
        for event in events.iter().filter(|event| !event.container.name.is_empty()) {
            known.entry(event.container.id.clone()).or_insert_with(|| event.container.clone().into());
        }
        self.count_kills(now, kills, counts);
        let known = &mut self.state.containers;
        for container in containers {
            let Some(record) = known.get_mut(&container.id) else { continue };
            container.ends.iter().for_each(|end| record.end(end.clone(), false, now));
        }
        for event in events {
            let Some(record) = known.get_mut(&event.container.id) else { continue };
            match event.what {
                What::Died(exit_code) => record.end(End { at: event.at, exit_code, ..End::default() }, true, now),
                What::OutOfMemory => record.note_kill(event.at, now),
            }
        }
        for record in known.values_mut() {
            let is_exited = record.container.state == State::Exited;
            if is_exited || (!record.is_listed && record.is_running() && !is_alive(record)) {
                record.is_over(now);
            }
            if !record.is_listed && !record.is_running() {
                record.container.state = State::Exited;
                (record.container.pid, record.container.cgroup) = (None, None);
            }
        }
        self.forget(now);
    }

    fn count_kills(&mut self, now: UnixNanos, kills: Vec<Kill>, counts: Vec<(UnixNanos, OomCount)>) {
        let known = &mut self.state.containers;
        let places = known.values().filter_map(|record| Some((record.cgroup.clone()?, record.container.id.clone())));
        let by_cgroup: HashMap<String, String> = places.collect();
        for (at, count) in counts {
            let record = by_cgroup.get(&count.cgroup).and_then(|id| known.get_mut(id));
            record.into_iter().for_each(|record| record.count(at, count.kills));
        }
        self.unclaimed.extend(kills);
        self.unclaimed.retain(|kill| {
            let Some(id) = holder(&kill.cgroup, &by_cgroup) else { return now - kill.at < UNCLAIMED_AGE_MAX };
            let Some(record) = known.get_mut(&id) else { return now - kill.at < UNCLAIMED_AGE_MAX };
            record.log_kill(kill.at, now);
            false
        });
        self.unclaimed.drain(..self.unclaimed.len().saturating_sub(UNCLAIMED_MAX));
    }

    /// What ended too long ago, and of what no engine lists what is too much.
    fn forget(&mut self, now: UnixNanos) {
        let oldest = now.saturating_sub(self.keep);
        let ended = |record: &ContainerRecord| record.last_end().map_or(i64::MIN, |end| end.at);
        self.state.containers.retain(|_, record| {
            record.runs.iter_mut().filter(|run| run.end.at < oldest).for_each(|run| run.is_shipped = true);
            let lasts = record.is_running() || ended(record) >= oldest;
            record.is_listed || (lasts && !record.container.sandbox)
        });
        let gone = self.state.containers.values().filter(|record| !record.is_listed && !record.is_running());
        let mut gone: Vec<(UnixNanos, String)> = gone.map(|record| (ended(record), record.container.id.clone())).collect();
        gone.sort_unstable();
        for (_, id) in gone.iter().take(gone.len().saturating_sub(FORGOTTEN_MAX)) {
            self.state.containers.remove(id);
        }
    }

    /// Those that run, that ended within the time, or of which nobody knows when. Of earlier runs it is not said how they ended.
    pub fn records(&self, now: UnixNanos) -> Vec<ContainerRecord> {
        let oldest = now.saturating_sub(self.keep);
        let is_old = |record: &ContainerRecord| record.last_end().is_some_and(|end| end.at < oldest);
        let known = self.state.containers.values();
        let lasting = known.filter(|record| record.container.state != State::Exited || !is_old(record));
        let mut records: Vec<ContainerRecord> = lasting.cloned().collect();
        records.iter_mut().for_each(|record| record.runs.retain(|run| run.end.at >= oldest));
        records
    }

    /// A sample has had all of [`Self::records`].
    pub fn set_sampled(&mut self) {
        for record in self.state.containers.values_mut() {
            record.is_sampled |= record.is_running() || record.oom_kills(None) == 0;
        }
    }

    /// Ends that are to be shipped, the oldest first.
    pub fn unshipped(&self, now: UnixNanos) -> Vec<Death> {
        let mut deaths = Vec::new();
        for record in self.state.containers.values().filter(|record| !record.container.sandbox) {
            let unshipped = record.runs.iter().filter(|run| !run.is_shipped && run.noticed <= now - SETTLE);
            deaths.extend(unshipped.map(|run| Death {
                record: record.clone(),
                end: run.end.clone(),
                is_unsampled: !record.is_sampled,
            }));
        }
        deaths.sort_by_key(|death| death.end.at);
        deaths
    }

    /// These have been shipped.
    pub fn set_shipped(&mut self, deaths: &[Death]) {
        for death in deaths {
            let record = self.state.containers.get_mut(&death.record.container.id);
            // One of which more has become known meanwhile is shipped again.
            let run = record.and_then(|record| record.runs.iter_mut().find(|run| run.end == death.end));
            run.into_iter().for_each(|run| run.is_shipped = true);
        }
    }

    /// Writes the file, if anything has changed that matters. Blocks.
    pub fn save(&mut self, now: UnixNanos) -> Result<(), RuntimeError> {
        let Some(file) = &self.file else { return Ok(()) };
        let same = |written: &Saved| written.containers == self.state.containers;
        if self.written.as_ref().is_some_and(same) {
            return Ok(());
        }
        self.state.at = now;
        write_atomically(file, &serde_json::to_vec(&self.state).expect("invariant: plain data"))?;
        self.written = Some(self.state.clone());
        Ok(())
    }
}

/// Whose cgroup that is, or is in.
fn holder(cgroup: &str, by_cgroup: &HashMap<String, String>) -> Option<String> {
    let ends = cgroup.match_indices('/').map(|(at, _)| at).skip(1).chain([cgroup.len()]);
    let paths: Vec<&str> = ends.map(|end| &cgroup[..end]).collect();
    paths.iter().rev().find_map(|path| by_cgroup.get(*path).cloned().or_else(|| Some(paths::claim(path)?.id)))
}

fn read(file: &Path) -> Result<Option<Saved>, RuntimeError> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RuntimeError::file("read", file)(error)),
    };
    let wrong = |reason: String| RuntimeError::file("parse", file)(std::io::Error::other(reason));
    let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if saved.weir_container_history != VERSION {
        return Err(wrong(format!("version {} is not {VERSION}", saved.weir_container_history)));
    }
    Ok(Some(saved))
}

#[cfg(test)]
mod tests;
