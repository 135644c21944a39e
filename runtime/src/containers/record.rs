//! One container over its runs: how each ended, and how many of its processes the kernel killed for lack of memory. Pure;
//! [`super::history`] feeds it with what engines list, what they tell by themselves, and what the kernel says. These are
//! several accounts of the same things, each of which may be late or missing: a run is noted once, a kill counted once.

use serde::{Deserialize, Serialize};
use weir_model::time::{SECOND, UnixNanos};

use super::container::Container;
use crate::lifecycle::{ENDS_MAX, End, State};

/// Runs remembered of a container; as many as weir's own monitor keeps.
pub(super) const RUNS_MAX: usize = ENDS_MAX;
/// Runs remembered of a container that have not been shipped: an hour of one that ends every four seconds.
const UNSHIPPED_MAX: usize = 1000;
/// Kills of the present run that are kept with their times. A run with more is counted by its cgroup.
const KILLS_MAX: usize = 64;
/// Podman takes the end off a file whose time is up to a tick older than the start it noted itself.
const SLACK: i64 = SECOND / 10;
/// An engine's event of an end and its account of it lie so far apart at most, and so does a kill from the end it led to.
const APART: i64 = 2 * SECOND;

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub end: End,
    /// When the engine told it by itself, which is a moment later than `end.at`.
    event_at: Option<UnixNanos>,
    /// Of `end.oom_kills`, those that the kernel's log names.
    logged_kills: u64,
    /// When it was noticed here, or changed.
    pub noticed: UnixNanos,
    #[serde(rename = "is_told")]
    pub is_shipped: bool,
}

impl Run {
    fn latest(&self) -> UnixNanos {
        self.event_at.unwrap_or(self.end.at).max(self.end.at)
    }

    /// Whether an account is of this run.
    fn is(&self, other: &End, is_event: bool) -> bool {
        let own = &self.end;
        let began_before = own.started.is_none_or(|started| started <= other.at + SLACK);
        let overlaps = other.started.is_some_and(|started| started <= own.at + SLACK) && began_before;
        // The event of an end that was told by the engine's list before, or that nobody had told.
        let first_event = is_event && self.event_at.is_none() && began_before;
        let near = first_event && (other.at - own.at).abs() <= APART;
        let explains = first_event && own.exit_code.is_none() && other.at <= own.at;
        other.at == own.at || self.event_at == Some(other.at) || overlaps || near || explains
    }
}

/// A container, its runs that ended, and its kills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// As it was seen last.
    pub container: Container,
    /// Its place in the cgroup tree when it was last in it.
    pub cgroup: Option<String>,
    /// Ascending, the newest [`RUNS_MAX`], and those that are not shipped yet.
    pub(super) runs: Vec<Run>,
    /// When the present run began; `None` while none runs.
    running_since: Option<UnixNanos>,
    /// Kills of the runs that ended.
    kills_before: u64,
    /// Of the present run: its cgroup's counter, and when it was read.
    counter: Option<(UnixNanos, u64)>,
    /// … and the kills that the kernel's log names.
    logged_kills: Vec<UnixNanos>,
    /// … and whether the engine told of one.
    #[serde(rename = "is_kill_told")]
    is_kill_noted: bool,
    /// Whether an engine lists it.
    pub(super) is_listed: bool,
    /// Whether a sample has had it while it ran, or before any kill: its counters then began before they grew.
    pub(super) is_sampled: bool,
}

impl From<Container> for ContainerRecord {
    /// Of which nothing more is known.
    fn from(container: Container) -> Self {
        Self {
            cgroup: container.cgroup.clone(),
            container,
            runs: Vec::new(),
            running_since: None,
            kills_before: 0,
            counter: None,
            logged_kills: Vec::new(),
            is_kill_noted: false,
            is_listed: false,
            is_sampled: false,
        }
    }
}

impl ContainerRecord {
    /// How its last run ended.
    pub fn last_end(&self) -> Option<&End> {
        self.runs.last().map(|run| &run.end)
    }

    /// Its processes that the kernel killed for lack of memory, over all runs. `counter` is its cgroup's own, if it has one.
    pub fn oom_kills(&self, counter: Option<u64>) -> u64 {
        let counted = self.counter.map_or(0, |(_, value)| value).max(counter.unwrap_or(0));
        self.kills_before + counted.max(self.logged_kills.len() as u64).max(u64::from(self.is_kill_noted))
    }

    /// As an engine lists it now. Its ends are noted with [`Self::end`].
    pub(super) fn see(&mut self, container: &Container, now: UnixNanos) {
        let known = std::mem::replace(&mut self.container, container.clone());
        self.container.started = container.started.or(known.started);
        self.cgroup = container.cgroup.clone().or(self.cgroup.take());
        self.is_listed = true;
        if matches!(container.state, State::Running | State::Paused) {
            self.running_since = container.started.or(self.running_since).or(Some(now));
        }
    }

    /// Whether it ran when it was last seen, and no end of it has been told since.
    pub fn is_running(&self) -> bool {
        self.running_since.is_some()
    }

    /// It does not run any more. When no account of the end has come, it is now, and how is not known.
    pub(super) fn is_over(&mut self, now: UnixNanos) {
        let Some(since) = self.running_since.take() else { return };
        if self.runs.last().is_none_or(|last| last.latest() < since) {
            self.end(End { at: now, started: Some(since), ..End::default() }, false, now);
        }
    }

    /// Notes an account of an end. The first one of a run is its end, later ones fill in what it left open.
    pub(super) fn end(&mut self, end: End, is_event: bool, now: UnixNanos) {
        let event_at = is_event.then_some(end.at);
        if let Some(at) = self.runs.iter().rposition(|run| run.is(&end, is_event)) {
            let run = &mut self.runs[at];
            run.event_at = run.event_at.or(event_at);
            let before = run.end.clone();
            // An engine that is busy with an end lists it with whatever code it had before; its event has the code.
            run.end.exit_code = if is_event { end.exit_code.or(run.end.exit_code) } else { run.end.exit_code.or(end.exit_code) };
            run.end.started = run.end.started.or(end.started);
            run.end.oom_kills = run.end.oom_kills.max(end.oom_kills);
            self.kills_before += run.end.oom_kills - before.oom_kills;
            if run.end != before {
                (run.is_shipped, run.noticed) = (false, now);
            }
            return;
        }
        // Older than what is remembered.
        if self.runs.last().is_some_and(|last| end.at <= last.latest()) {
            return;
        }
        self.push(end, event_at, now);
    }

    fn push(&mut self, mut end: End, event_at: Option<UnixNanos>, now: UnixNanos) {
        let until = end.at + APART;
        let logged = self.logged_kills.iter().filter(|at| **at <= until).count();
        self.logged_kills.retain(|at| *at > until);
        // A counter that was read later is the next run's.
        let counted = self.counter.take_if(|(read, _)| *read <= until).map_or(0, |(_, value)| value);
        let noted = u64::from(std::mem::take(&mut self.is_kill_noted));
        let logged_kills = logged as u64;
        end.oom_kills = end.oom_kills.max(logged_kills).max(counted).max(noted);
        self.kills_before += end.oom_kills;
        if self.running_since.is_some_and(|since| since <= end.at) {
            end.started = end.started.or(self.running_since);
            self.running_since = None;
        }
        self.runs.push(Run { end, event_at, logged_kills, noticed: now, is_shipped: false });
        // An engine that was away tells of all at once; what has been shipped makes room first.
        let shipped = self.runs.iter().take_while(|run| run.is_shipped).count();
        let spare = self.runs.len().saturating_sub(RUNS_MAX).min(shipped);
        self.runs.drain(..spare.max(self.runs.len().saturating_sub(UNSHIPPED_MAX)));
    }

    /// Its cgroup's counter, as read at `at`. One that is smaller than before is of a new run's cgroup.
    pub(super) fn count(&mut self, at: UnixNanos, value: u64) {
        let (read, known) = self.counter.unwrap_or((at, 0));
        if value < known {
            self.kills_before += known;
        }
        if read <= at && value != known {
            self.counter = Some((at, value));
        }
    }

    /// A kill that the kernel's log names: of the run that ended right after it, else of the present one.
    pub(super) fn log_kill(&mut self, at: UnixNanos, now: UnixNanos) {
        if let Some(run) = self.late(at) {
            run.logged_kills += 1;
            if run.logged_kills > run.end.oom_kills {
                run.end.oom_kills = run.logged_kills;
                (run.is_shipped, run.noticed) = (false, now);
                self.kills_before += 1;
            }
        } else if self.logged_kills.len() < KILLS_MAX {
            self.logged_kills.push(at);
        }
    }

    /// The engine says that there was a kill.
    pub(super) fn note_kill(&mut self, at: UnixNanos, now: UnixNanos) {
        match self.late(at) {
            Some(run) if run.end.oom_kills == 0 => {
                run.end.oom_kills = 1;
                (run.is_shipped, run.noticed) = (false, now);
                self.kills_before += 1;
            }
            Some(_) => {}
            None => self.is_kill_noted = true,
        }
    }

    /// The last run, if something that happened at `at` was within it or just behind.
    fn late(&mut self, at: UnixNanos) -> Option<&mut Run> {
        let next_runs = self.running_since.is_some_and(|since| since <= at);
        self.runs.last_mut().filter(|run| !next_runs && at <= run.latest() + APART)
    }
}
