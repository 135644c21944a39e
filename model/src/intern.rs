//! Numbers for byte strings that lie somewhere else: the table behind every dictionary that is written.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::memory::allocation;

/// Another in each process, so that nobody can send texts that all fall into one place of the table.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0_u8));

/// Places of the first table.
const SLOTS_MIN: usize = 16;

/// Finds strings by their content: open addressing, at most half full. Strings are numbered from 0 as they come.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Half of a string's hash, and its number plus one; 0 where there is none.
    slots: Vec<(u32, u32)>,
    count: u32,
}

impl Index {
    /// The number of a string; the next one when `is` finds it under no number of the same hash: then the caller keeps it.
    pub fn number(&mut self, bytes: &[u8], is: impl Fn(u32) -> bool) -> u32 {
        if self.count as usize * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = xxh3_64_with_seed(bytes, *SEED) as u32;
        let mut at = hash as usize & (self.slots.len() - 1);
        loop {
            let (own, number) = self.slots[at];
            if number == 0 {
                self.count += 1;
                self.slots[at] = (hash, self.count);
                return self.count - 1;
            }
            if own == hash && is(number - 1) {
                return number - 1;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Strings so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(SLOTS_MIN);
        let before = std::mem::replace(&mut self.slots, vec![(0, 0); size]);
        for (hash, number) in before.into_iter().filter(|(_, number)| *number != 0) {
            let mut at = hash as usize & (size - 1);
            while self.slots[at].1 != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = (hash, number);
        }
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
}
