//! What this process cannot write now: since when, why, and how much was refused. One [`Outages`] a process; whoever writes tells it
//! of each failure and each success, and `/readyz`, the APIs and `/metrics` ask it.
//!
//! It also does the logging of failures that repeat: a warning when an outage begins, at most one a minute while it lasts, with
//! the number of writes that were refused, and a line when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Display;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::time::UnixNanos;

/// Between two warnings of one outage.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Appends of acknowledged records.
    Bus,
    /// Blocks and manifests.
    ObjectStore,
    /// A collector's checkpoint, epochs and history of containers.
    CollectorFiles,
    /// Merges, garbage and releases of what is sealed: records are stored without them.
    Upkeep,
}

impl Target {
    /// Label and member of answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bus => "bus",
            Self::ObjectStore => "object_store",
            Self::CollectorFiles => "collector_files",
            Self::Upkeep => "upkeep",
        }
    }
}

/// Why writes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No space, or no quota, is left.
    DiskFull,
    /// Anything else; the error says what.
    Error,
}

impl Reason {
    /// Label and member of answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::Error => "error",
        }
    }

    /// Looks for a full disk among the causes of an error.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
                return Self::DiskFull;
            }
            cause = error.source();
        }
        Self::Error
    }
}

/// Writes that fail now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub target: Target,
    pub reason: Reason,
    /// When the first write failed.
    pub since: UnixNanos,
    /// Writes refused since then.
    pub refused: u64,
    /// The latest error.
    pub error: String,
}

impl Outage {
    /// Whether new records are not stored while it lasts. An object store that is away is waited for: the bus keeps the records.
    pub fn is_blocking(&self) -> bool {
        match self.target {
            Target::Bus => true,
            Target::ObjectStore | Target::CollectorFiles => self.reason == Reason::DiskFull,
            Target::Upkeep => false,
        }
    }
}

/// All outages of a process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Outages(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Outages now: asked without the lock by every write that succeeds.
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lasting: BTreeMap<(Target, Reason), Lasting>,
    refused: BTreeMap<(Target, Reason), u64>,
}

#[derive(Debug)]
struct Lasting {
    outage: Outage,
    /// Whose last write failed. The outage is over when each of them has written, or is gone.
    writers: BTreeSet<String>,
    warned: Instant,
}

impl Outages {
    /// A write of `writer` (a partition, a file) has failed, and will be tried again.
    pub fn failed(&self, target: Target, writer: impl Display, error: &(dyn Error + 'static)) {
        self.failed_at(Instant::now(), target, writer, error);
    }

    fn failed_at(&self, now: Instant, target: Target, writer: impl Display, error: &(dyn Error + 'static)) {
        let (reason, writer, error) = (Reason::of(error), writer.to_string(), error.to_string());
        let mut state = self.state();
        *state.refused.entry((target, reason)).or_default() += 1;
        // For another reason than before: that one is over for this writer.
        state.lasting.retain(|(of, other), lasting| {
            *of != target || *other == reason || !lasting.writers.remove(&writer) || !lasting.writers.is_empty()
        });
        let begun = !state.lasting.contains_key(&(target, reason));
        let lasting = state.lasting.entry((target, reason)).or_insert_with(|| Lasting {
            outage: Outage { target, reason, since: wall_clock(), refused: 0, error: String::new() },
            writers: BTreeSet::new(),
            warned: now,
        });
        lasting.outage.refused += 1;
        if begun || now.duration_since(lasting.warned) >= WARNING_INTERVAL {
            lasting.warned = now;
            let (what, reason, refused) = (target.name(), reason.name(), lasting.outage.refused);
            tracing::warn!(what, reason, writer, error, refused, "writes fail and are tried again");
        }
        lasting.outage.error = error;
        lasting.writers.insert(writer);
        self.0.count.store(state.lasting.len(), Ordering::Release);
    }

    /// A write of `writer` has succeeded, or it writes no more. Costs a load where nothing fails.
    pub fn ended(&self, target: Target, writer: impl Display) {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let writer = writer.to_string();
        let mut state = self.state();
        state.lasting.retain(|(of, reason), lasting| {
            if *of != target || !lasting.writers.remove(&writer) || !lasting.writers.is_empty() {
                return true;
            }
            let (what, reason, refused) = (target.name(), reason.name(), lasting.outage.refused);
            let seconds = wall_clock().saturating_sub(lasting.outage.since) / crate::time::SECOND;
            tracing::warn!(what, reason, refused, seconds, "writes do not fail any more");
            false
        });
        self.0.count.store(state.lasting.len(), Ordering::Release);
    }

    /// Those that last, by target and reason.
    pub fn now(&self) -> Vec<Outage> {
        self.state().lasting.values().map(|lasting| lasting.outage.clone()).collect()
    }

    /// Writes refused since the start.
    pub fn refused(&self) -> Vec<(Target, Reason, u64)> {
        self.state().refused.iter().map(|((target, reason), count)| (*target, *reason, *count)).collect()
    }

    /// What a panic left is as good as before it: every change is one assignment.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall_clock() -> UnixNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("append to bus/0.log")]
    struct Append(#[source] io::Error);

    fn full() -> Append {
        Append(io::Error::from(io::ErrorKind::StorageFull))
    }

    #[track_caller]
    fn check(outages: &Outages, expected: &[(Target, Reason, u64)]) {
        let now: Vec<_> = outages.now().iter().map(|one| (one.target, one.reason, one.refused)).collect();
        assert_eq!(now, expected);
    }

    #[test]
    fn an_outage_lasts_until_every_writer_has_written() {
        let outages = Outages::default();
        outages.ended(Target::Bus, 0);
        check(&outages, &[]);
        outages.failed(Target::Bus, 0, &full());
        outages.failed(Target::Bus, 1, &full());
        outages.failed(Target::Bus, 0, &full());
        check(&outages, &[(Target::Bus, Reason::DiskFull, 3)]);
        let since = outages.now()[0].since;
        outages.ended(Target::Bus, 0);
        outages.ended(Target::ObjectStore, 1);
        outages.ended(Target::Bus, 2);
        check(&outages, &[(Target::Bus, Reason::DiskFull, 3)]);
        assert_eq!((outages.now()[0].since, &*outages.now()[0].error), (since, "append to bus/0.log"));
        outages.ended(Target::Bus, 1);
        check(&outages, &[]);
        // The next is another outage; what was refused since the start is added up.
        outages.failed(Target::Bus, 0, &full());
        check(&outages, &[(Target::Bus, Reason::DiskFull, 1)]);
        assert_eq!(outages.refused(), [(Target::Bus, Reason::DiskFull, 4)]);
    }

    #[test]
    fn a_full_disk_is_found_among_the_causes() {
        let of = |error: &(dyn Error + 'static)| Reason::of(error);
        assert_eq!(of(&full()), Reason::DiskFull);
        assert_eq!(of(&io::Error::from(io::ErrorKind::QuotaExceeded)), Reason::DiskFull);
        assert_eq!(of(&Append(io::Error::from(io::ErrorKind::PermissionDenied))), Reason::Error);
    }

    #[test]
    fn what_new_records_need_is_blocking() {
        let blocking = |target, reason| Outage { target, reason, since: 0, refused: 1, error: String::new() }.is_blocking();
        assert!(blocking(Target::Bus, Reason::Error) && blocking(Target::ObjectStore, Reason::DiskFull));
        assert!(!blocking(Target::ObjectStore, Reason::Error) && !blocking(Target::Upkeep, Reason::DiskFull));
    }

    #[test]
    fn a_writer_fails_for_one_reason_at_a_time() {
        let outages = Outages::default();
        outages.failed(Target::Bus, 0, &full());
        outages.failed(Target::Bus, 0, &Append(io::Error::from(io::ErrorKind::PermissionDenied)));
        check(&outages, &[(Target::Bus, Reason::Error, 1)]);
        outages.failed(Target::Bus, 1, &full());
        check(&outages, &[(Target::Bus, Reason::DiskFull, 1), (Target::Bus, Reason::Error, 1)]);
        outages.ended(Target::Bus, 0);
        check(&outages, &[(Target::Bus, Reason::DiskFull, 1)]);
    }
}
