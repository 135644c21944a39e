//! Which blocks may go. Pure: what is stored, the clocks, and how long it has been come in; `machine` publishes what goes.
//!
//! A clock that jumps must not delete what it could not have aged. A block goes only when it is old by the wall clock *and* by
//! the newest record that was stored, and no faster than twice as fast as such blocks can grow old: time that passed is taken
//! from a clock that cannot be set. What is held back is said, and goes by and by; or at once, when an operator says so.

use std::time::Duration;

use weir_blocks::manifest::BlockEntry;
use weir_blocks::periods::NEWEST_MARGIN;
use weir_model::time::UnixNanos;

use crate::config::nanos;

/// What was not deleted when it could have been is made up for, up to so much time.
const SAVED_MAX: Duration = Duration::from_secs(3600);

/// What goes, and what would go if the clock were believed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Oldest first.
    pub gone: Vec<BlockEntry>,
    /// Too old by the clocks, and kept for now.
    pub held: u64,
}

/// How much may go, in bytes of blocks.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Bytes that may go; below zero after a block that was larger.
    allowance: i128,
    /// Most bytes that the partition has held: what is left after a while says little of how fast it filled.
    bytes: u64,
}

impl Pace {
    /// Time that has passed since the last call lets so many bytes go.
    pub fn pass(&mut self, elapsed: Duration, blocks: &[BlockEntry], keep: Duration) {
        self.bytes = self.bytes.max(blocks.iter().map(|entry| entry.size).sum());
        let worth = |time: Duration| {
            let share = 2.0 * time.as_secs_f64() / keep.as_secs_f64().max(1.0);
            (share.min(2.0) * self.bytes as f64) as i128
        };
        self.allowance = (self.allowance + worth(elapsed)).min(worth(SAVED_MAX.min(keep / 8)));
    }

    /// What is too old, as far as it may go; all of it when `all`.
    pub fn due(&mut self, blocks: &[BlockEntry], now: UnixNanos, newest: UnixNanos, keep: Duration, all: bool) -> Due {
        let oldest = now.min(newest.saturating_add(nanos(NEWEST_MARGIN))).saturating_sub(nanos(keep));
        let old = |entry: &&BlockEntry| !keep.is_zero() && !entry.quarantine && entry.summary.last < oldest;
        let mut old: Vec<&BlockEntry> = blocks.iter().filter(old).collect();
        old.sort_by_key(|entry| entry.summary.last);
        let mut due = Due::default();
        for entry in old {
            if all || self.allowance >= 0 {
                self.allowance -= i128::from(entry.size);
                due.gone.push(entry.clone());
            } else {
                due.held += 1;
            }
        }
        if all {
            self.allowance = self.allowance.max(0);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use weir_blocks::engine::BlockSummary;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const KEEP: Duration = Duration::from_secs(14 * 24 * 3600);

    fn days(count: i64) -> UnixNanos {
        count * nanos(DAY)
    }

    /// One block of 100 bytes for each day of which the newest record is said.
    fn blocks(newest: impl IntoIterator<Item = i64>) -> Vec<BlockEntry> {
        let entry = |day: i64| BlockEntry {
            id: day.to_string(),
            size: 100,
            summary: BlockSummary { last: days(day), ..BlockSummary::default() },
            ..BlockEntry::default()
        };
        newest.into_iter().map(entry).collect()
    }

    fn ids(due: &Due) -> Vec<&str> {
        due.gone.iter().map(|entry| entry.id.as_str()).collect()
    }

    #[test]
    fn what_is_old_goes_as_time_passes() {
        let (mut pace, mut stored) = (Pace::default(), blocks(1..=14));
        for day in 15..60 {
            stored.extend(blocks([day]));
            pace.pass(DAY, &stored, KEEP);
            let due = pace.due(&stored, days(day) + 1, days(day), KEEP, false);
            assert_eq!((ids(&due), due.held), (vec![(day - 14).to_string().as_str()], 0), "day {day}");
            stored.retain(|entry| !due.gone.contains(entry));
        }
    }

    #[test]
    fn a_clock_that_jumps_expires_nothing_that_was_stored() {
        let stored = blocks(1..=14);
        let mut pace = Pace::default();
        pace.pass(Duration::from_secs(30), &stored, KEEP);
        let due = pace.due(&stored, days(14 + 31), days(14), KEEP, false);
        assert_eq!(due, Due::default());
        // Not even when it is told to: by what was stored it is young.
        assert_eq!(pace.due(&stored, days(14 + 31), days(14), KEEP, true), Due::default());
    }

    #[test]
    fn a_clock_that_jumps_with_all_senders_expires_no_more_than_time_allows() {
        let mut stored = blocks(1..=14);
        stored.extend(blocks([14 + 31]));
        let mut pace = Pace::default();
        let mut gone = 0;
        // An hour of ticks: one block that was due, and an hour's worth.
        for tick in 0..120 {
            pace.pass(Duration::from_secs(30), &stored, KEEP);
            let due = pace.due(&stored, days(14 + 31), days(14 + 31), KEEP, false);
            gone += due.gone.len();
            stored.retain(|entry| !due.gone.contains(entry));
            assert_eq!((gone as u64 + due.held, gone), (14, 1), "tick {tick}");
        }
        // By name all of it goes.
        let due = pace.due(&stored, days(14 + 31), days(14 + 31), KEEP, true);
        assert_eq!((due.gone.len(), due.held), (13, 0));
    }

    #[test]
    fn a_record_from_the_future_expires_nothing() {
        let stored = blocks((1..=14).chain([40_000]));
        let mut pace = Pace::default();
        pace.pass(DAY, &stored, KEEP);
        assert_eq!(pace.due(&stored, days(14), days(40_000), KEEP, false), Due::default());
        assert_eq!(pace.due(&stored, days(14), i64::MAX, KEEP, true), Due::default());
    }

    #[test]
    fn what_is_kept_for_ever_or_in_quarantine_stays() {
        let mut stored = blocks(1..=2);
        let mut pace = Pace::default();
        assert_eq!(pace.due(&stored, days(1000), days(1000), Duration::ZERO, true), Due::default());
        stored[0].quarantine = true;
        assert_eq!(ids(&pace.due(&stored, days(1000), days(1000), KEEP, true)), ["2"]);
    }
}
