//! Numbers for byte strings that lie somewhere else: the table behind every dictionary that is written.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::memory::allocation;

/// Another in each process, so that nobody can send texts that all fall into one place of the table.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0_u8));

/// A hash that is good within this process.
pub fn hash(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, *SEED)
}

/// Places of the first table.
const SLOTS_MIN: usize = 16;

/// Finds strings by their content: open addressing, at most half full. Strings are numbered from 0 as they come, below 2^32 - 1.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// A power of two: half of a string's hash, and its number plus one; 0 where there is none.
    slots: Vec<(u32, u32)>,
    count: u32,
}

impl Index {
    /// The number of a string; the next one when `is` finds it under no number of the same hash: then the caller keeps it.
    pub fn number(&mut self, bytes: &[u8], is: impl Fn(u32) -> bool) -> u32 {
        let hash = hash(bytes);
        self.find(hash, is).unwrap_or_else(|| {
            self.insert(hash, self.count);
            self.count - 1
        })
    }

    /// The number under this hash that `is` the one.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as u32 as usize & mask;
        loop {
            let (own, number) = self.slots[at];
            let number = number.checked_sub(1)?;
            if own == hash as u32 && is(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds what is not there yet, under the next number.
    pub fn insert(&mut self, hash: u64, number: u32) {
        self.count += 1;
        if self.count as usize * 2 > self.slots.len() {
            let size = (self.slots.len() * 2).max(SLOTS_MIN);
            let before = std::mem::replace(&mut self.slots, vec![(0, 0); size]);
            before.into_iter().filter(|(_, number)| *number != 0).for_each(|entry| self.place(entry));
        }
        self.place((hash as u32, number + 1));
    }

    fn place(&mut self, entry: (u32, u32)) {
        let mask = self.slots.len() - 1;
        let mut at = entry.0 as usize & mask;
        while self.slots[at].1 != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = entry;
    }

    /// Strings so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Memory held.
    pub fn memory(&self) -> usize {
        allocation(self.slots.capacity() * size_of::<(u32, u32)>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_have_one_number() {
        let (mut index, mut known) = (Index::default(), Vec::<String>::new());
        let texts: Vec<String> = (0..1000).map(|i| "ß".repeat(i % 7) + &(i / 2).to_string()).collect();
        for text in texts.iter().chain(&texts) {
            let number = index.number(text.as_bytes(), |number| known[number as usize] == *text) as usize;
            if number == known.len() {
                known.push(text.clone());
            }
            assert_eq!(known[number], *text);
        }
        let distinct: std::collections::HashSet<&String> = texts.iter().collect();
        assert_eq!((known.len(), index.len()), (distinct.len(), distinct.len()));
    }

    #[test]
    fn things_with_one_hash_are_told_apart() {
        let mut index = Index::default();
        assert_eq!(index.find(7, |_| true), None);
        for number in 0..1000 {
            index.insert(u64::from(number % 10), number);
        }
        for number in 0..1000 {
            assert_eq!(index.find(u64::from(number % 10), |found| found == number), Some(number));
        }
        assert_eq!(index.find(3, |number| number == 4), None);
        assert_eq!(index.find(11, |_| true), None);
    }
}
