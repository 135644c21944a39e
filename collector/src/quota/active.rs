//! Streams or series that are active: seen within the last ten to twenty minutes. 16 bytes each or less, and never more than a limit
//! allows. Pure: the time is passed in.

use std::collections::HashSet;

use weir_model::time::{SECOND, UnixNanos};

/// What was not seen for so long is not active, as Mimir counts; it is forgotten after half of that at the
/// earliest.
pub(super) const ACTIVE_FOR: i64 = 20 * 60 * SECOND;
/// Two sets, of which one is dropped and one begun in turn: nothing is ever looked through.
const TURN: i64 = ACTIVE_FOR / 2;

/// Hashes of label sets. Each is in one of the sets.
#[derive(Default)]
pub(super) struct Active {
    current: HashSet<u64>,
    before: HashSet<u64>,
    turned: UnixNanos,
}

impl Active {
    /// Whether it is active, or becomes so below the limit.
    pub fn admit(&mut self, now: UnixNanos, limit: u64, hash: u64) -> bool {
        self.turn(now);
        self.touch(hash) || ((self.len() as u64) < limit && self.current.insert(hash))
    }

    /// The same of several, all or none; those that are active stay so.
    pub fn admit_all(&mut self, now: UnixNanos, limit: u64, hashes: impl Iterator<Item = u64>) -> bool {
        self.turn(now);
        let new: HashSet<u64> = hashes.filter(|hash| !self.touch(*hash)).collect();
        let fits = new.is_empty() || (self.len() + new.len()) as u64 <= limit;
        if fits {
            self.current.extend(new);
        }
        fits
    }

    /// Those that are active.
    pub fn len(&self) -> usize {
        self.current.len() + self.before.len()
    }

    /// Whether it is known; it is current then.
    fn touch(&mut self, hash: u64) -> bool {
        self.current.contains(&hash) || (self.before.remove(&hash) && self.current.insert(hash))
    }

    fn turn(&mut self, now: UnixNanos) {
        let passed = now.saturating_sub(self.turned);
        // A clock that was set back by less than that ends nothing.
        if passed > -ACTIVE_FOR && passed < TURN {
            return;
        }
        let last = std::mem::take(&mut self.current);
        self.before = if (0..ACTIVE_FOR).contains(&passed) { last } else { HashSet::new() };
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * SECOND;

    #[test]
    fn known_ones_go_on_and_new_ones_wait_for_others_to_end() {
        let mut active = Active::default();
        let start = 1_000_000 * MINUTE;
        let mut check = |minute: i64, hash: u64, expected: bool| {
            assert_eq!(active.admit(start + minute * MINUTE, 2, hash), expected, "{hash} after {minute} minutes");
        };
        check(0, 1, true);
        check(0, 2, true);
        check(1, 3, false);
        check(1, 1, true);
        check(9, 1, true);
        check(11, 3, false);
        check(12, 1, true);
        // The second was seen 21 minutes ago.
        check(21, 3, true);
        check(21, 2, false);
        check(21, 1, true);
        // A clock that was set back ends none of them.
        check(20, 2, false);
        check(20, 1, true);
        // Nothing for long.
        check(100, 4, true);
        check(100, 5, true);
        check(100, 1, false);
    }

    #[test]
    fn several_are_taken_together_or_not_at_all() {
        let mut active = Active::default();
        assert!(active.admit_all(0, 3, [1, 2, 1].into_iter()));
        assert!(!active.admit_all(0, 3, [2, 3, 4].into_iter()));
        assert_eq!(active.len(), 2);
        assert!(active.admit_all(0, 3, [2, 3].into_iter()));
        // A limit that was lowered ends nothing that is active.
        assert!(active.admit_all(0, 1, [1, 2, 3].into_iter()));
        assert!(!active.admit(0, 1, 9));
    }
}
