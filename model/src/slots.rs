//! Numbers for things that are equal: an index over a list that somebody else holds, and the hash for it. Open addressing,
//! since the things lie in one packed buffer and a map would want each by itself.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::memory::allocation;

/// Different in every process, so that nobody can choose things that have one hash.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());

/// A hash that is good within this process.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, *SEED)
}

const SLOTS_MIN: usize = 16;

/// Where the things of a list are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    /// A power of two, at most half full: half of a hash, and the thing's number plus 1 (0: free).
    slots: Vec<(u32, u32)>,
    count: usize,
}

impl Slots {
    /// The number of a thing with this hash that `is` the one.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = hash as usize & mask;
        loop {
            let (theirs, number) = self.slots[slot];
            let number = number.checked_sub(1)?;
            if theirs == hash as u32 && is(number) {
                return Some(number);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Adds a thing that is not there yet. Numbers are below 2^32 - 1.
    pub(crate) fn insert(&mut self, hash: u64, number: u32) {
        self.count += 1;
        if self.count * 2 > self.slots.len() {
            let size = (self.slots.len() * 2).max(SLOTS_MIN);
            let before = std::mem::replace(&mut self.slots, vec![(0, 0); size]);
            before.into_iter().filter(|(_, number)| *number != 0).for_each(|entry| self.place(entry));
        }
        self.place((hash as u32, number + 1));
    }

    fn place(&mut self, entry: (u32, u32)) {
        let mask = self.slots.len() - 1;
        let mut slot = entry.0 as usize & mask;
        while self.slots[slot].1 != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = entry;
    }

    /// Memory held.
    pub(crate) fn memory(&self) -> usize {
        allocation(self.slots.capacity() * size_of::<(u32, u32)>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_with_one_hash_are_told_apart() {
        let mut slots = Slots::default();
        assert_eq!(slots.find(7, |_| true), None);
        for number in 0..1000 {
            slots.insert(u64::from(number % 10), number);
        }
        for number in 0..1000 {
            assert_eq!(slots.find(u64::from(number % 10), |found| found == number), Some(number));
        }
        assert_eq!(slots.find(3, |number| number == 4), None);
        assert_eq!(slots.find(11, |_| true), None);
    }
}
