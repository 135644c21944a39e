//! How many streams or series are active: seen within the last ten to twenty minutes. Bounded: exact up to [`KEPT_MAX`], beyond that an
//! estimate. Pure: the time is passed in.
//!
//! Of the hashes the smallest are kept. Hashes are spread evenly, so that where the largest one that is kept lies says how many there
//! are (Bar-Yossef et al., "Counting distinct elements in a data stream", RANDOM 2002, algorithm 2).

use std::collections::BTreeSet;
use std::time::Duration;

/// The standard error of an estimate is 1/√1022, 3 %; a tenant takes 20 KiB of each kind at most.
pub const KEPT_MAX: usize = 1024;

/// What was not seen for so long is not active, as Mimir counts; it is forgotten after half of that at the earliest.
pub const ACTIVE_FOR: Duration = Duration::from_secs(20 * 60);

/// The smallest hashes.
#[derive(Clone, Debug, Default)]
struct Smallest {
    kept: BTreeSet<u64>,
    /// Of those, where there is no room for more: most hashes are compared with this one alone.
    largest: Option<u64>,
}

impl Smallest {
    fn insert(&mut self, hash: u64) {
        if self.largest.is_some_and(|largest| hash >= largest) || !self.kept.insert(hash) {
            return;
        }
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_last();
        }
        self.largest = self.kept.last().copied().filter(|_| self.kept.len() >= KEPT_MAX);
    }

    fn count(&self) -> u64 {
        match self.largest {
            Some(largest) => ((KEPT_MAX - 1) as f64 / ((largest as f64 + 1.0) / u64::MAX as f64)).round() as u64,
            None => self.kept.len() as u64,
        }
    }
}

/// Counts hashes of label sets. Of two sketches one is dropped and one begun in turn, so that nothing is ever looked through.
#[derive(Clone, Debug, Default)]
pub struct Active {
    current: Smallest,
    before: Smallest,
    /// Since the counting began.
    turned: Duration,
}

impl Active {
    /// `now`: since the counting began; it never goes back.
    pub fn insert(&mut self, now: Duration, hashes: impl Iterator<Item = u64>) {
        self.turn(now);
        hashes.for_each(|hash| self.current.insert(hash));
    }

    pub fn count(&self, now: Duration) -> u64 {
        let mut all = self.clone();
        all.turn(now);
        std::mem::take(&mut all.before.kept).into_iter().for_each(|hash| all.current.insert(hash));
        all.current.count()
    }

    fn turn(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.turned);
        if passed < ACTIVE_FOR / 2 {
            return;
        }
        let current = std::mem::take(&mut self.current);
        self.before = if passed < ACTIVE_FOR { current } else { Smallest::default() };
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    fn hashes(range: std::ops::Range<u32>) -> impl Iterator<Item = u64> {
        range.map(|i| xxh3_64(&i.to_le_bytes()))
    }

    #[test]
    fn few_are_counted_and_many_estimated_whatever_is_seen_again() {
        for (count, error) in [(0, 0), (1, 0), (1023, 0), (10_000, 1000), (300_000, 30_000)] {
            let mut active = Active::default();
            (0..3).for_each(|_| active.insert(Duration::ZERO, hashes(0..count)));
            let found = active.count(Duration::ZERO);
            assert!(found.abs_diff(u64::from(count)) <= error, "{found} of {count}");
            assert!(active.current.kept.len() <= KEPT_MAX);
        }
    }

    #[test]
    fn what_is_not_seen_again_is_forgotten_after_ten_to_twenty_minutes() {
        let (mut active, minutes) = (Active::default(), |minutes: u64| Duration::from_secs(60 * minutes));
        active.insert(minutes(1), hashes(0..10));
        active.insert(minutes(9), hashes(10..15));
        active.insert(minutes(11), hashes(10..12));
        let counts = [11, 19, 21, 29, 31].map(|at| active.count(minutes(at)));
        assert_eq!(counts, [15, 15, 2, 2, 0]);
        assert_eq!(active.count(minutes(500)), 0);
    }
}
