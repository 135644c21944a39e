//! Pushes lately stored, as a manifest and whoever appends to it hold them: in order, in chunks that all clones share.
//!
//! A partition remembers tens of thousands of pushes, and each version of its manifest says them all. A clone takes a pointer a chunk,
//! and what is then pushed or removed copies the chunks that it touches: a version costs what it adds and forgets.
//! Not here: which pushes are forgotten (the aggregator), and their bytes (`encode`).

use std::collections::VecDeque;
use std::iter::zip;
use std::sync::Arc;

use super::PushDigest;

/// Few enough that a copy of a chunk is cheap (8 KiB), many enough that the list of 65,536 pushes' chunks is short (256 pointers).
const CHUNK_PUSHES: usize = 256;

/// Pushes, oldest first. Each has a number that stays the same in clones; numbers ascend, and are of this process only.
#[derive(Clone, Default)]
pub struct PushDigests {
    /// None is empty, and one of which something is removed is joined with a neighbour when both are nearly empty.
    chunks: Vec<Arc<Chunk>>,
    len: usize,
    /// Of the next push.
    next: u64,
}

#[derive(Clone, Default)]
struct Chunk {
    /// As long as `pushes`, ascending.
    numbers: VecDeque<u64>,
    pushes: VecDeque<PushDigest>,
}

impl PushDigests {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &PushDigest> {
        self.chunks.iter().flat_map(|chunk| &chunk.pushes)
    }

    /// Oldest first, with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &PushDigest)> {
        self.chunks.iter().flat_map(|chunk| zip(chunk.numbers.iter().copied(), &chunk.pushes))
    }

    /// Appends a push as the newest; its number.
    pub fn push_back(&mut self, push: PushDigest) -> u64 {
        if self.chunks.last().is_none_or(|newest| newest.pushes.len() >= CHUNK_PUSHES) {
            self.chunks.push(Arc::default());
        }
        let number = self.next;
        if let Some(newest) = self.chunks.last_mut().map(Arc::make_mut) {
            newest.numbers.push_back(number);
            newest.pushes.push_back(push);
            (self.next, self.len) = (number + 1, self.len + 1);
        }
        number
    }

    /// The push of a number, while it is there.
    pub fn get(&self, number: u64) -> Option<&PushDigest> {
        let (chunk, at) = self.find(number)?;
        self.chunks[chunk].pushes.get(at)
    }

    /// Removes the push of a number; gives it when it was there.
    pub fn remove(&mut self, number: u64) -> Option<PushDigest> {
        let (at_chunk, at) = self.find(number)?;
        let chunk = Arc::make_mut(&mut self.chunks[at_chunk]);
        chunk.numbers.remove(at);
        let removed = chunk.pushes.remove(at);
        self.len -= 1;
        if chunk.pushes.is_empty() {
            self.chunks.remove(at_chunk);
        } else if !self.join(at_chunk) && at_chunk > 0 {
            self.join(at_chunk - 1);
        }
        removed
    }

    /// The chunk that holds a number, and where in it.
    fn find(&self, number: u64) -> Option<(usize, usize)> {
        let after = self.chunks.partition_point(|chunk| chunk.numbers.front().is_some_and(|first| *first <= number));
        let chunk = after.checked_sub(1)?;
        let at = self.chunks[chunk].numbers.binary_search(&number).ok()?;
        Some((chunk, at))
    }

    /// Joins a chunk with the one behind it if both are small: pushes that outlive all around them do not keep a chunk each.
    fn join(&mut self, at: usize) -> bool {
        let [left, right, ..] = &self.chunks[at..] else { return false };
        if left.pushes.len() + right.pushes.len() > CHUNK_PUSHES / 4 {
            return false;
        }
        let right = self.chunks.remove(at + 1);
        let left = Arc::make_mut(&mut self.chunks[at]);
        left.numbers.extend(&right.numbers);
        left.pushes.extend(right.pushes.iter().cloned());
        true
    }
}

/// Their numbers do not matter.
impl PartialEq for PushDigests {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for PushDigests {}

impl std::fmt::Debug for PushDigests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<PushDigest> for PushDigests {
    fn from_iter<I: IntoIterator<Item = PushDigest>>(pushes: I) -> Self {
        let mut all = Self::default();
        for push in pushes {
            all.push_back(push);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use weir_model::fuzz::peak_of;

    use super::*;
    use crate::manifest::SourceKey;

    fn push(number: u64) -> PushDigest {
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        let source = SourceKey { tenant: "t".into(), source: "push".into() };
        PushDigest { source: Arc::new(source), digest, seen: number as i64 }
    }

    fn filled(count: u64) -> PushDigests {
        (0..count).map(push).collect()
    }

    /// Bytes that the next version takes which forgets ten pushes and adds ten.
    fn version_cost(held: u64) -> usize {
        let mut digests = filled(held);
        let published = digests.clone();
        let (next, cost) = peak_of(None, || {
            for number in 0..10 {
                digests.remove(number);
                digests.push_back(push(held + number));
            }
            digests.clone()
        });
        assert_eq!((published.len(), next.len(), next == published), (held as usize, held as usize, false));
        cost
    }

    #[test]
    fn a_version_costs_what_it_adds_however_much_is_held() {
        let (few, many) = (version_cost(1_024), version_cost(65_536));
        assert!(few > 8 << 10, "the chunks that are touched are counted: {few} bytes");
        // A pointer a chunk in the clone; all of the pushes would be 2 MiB.
        assert!(many < few + (8 << 10), "{many} bytes for one of 65,536, {few} for one of 1,024");
        let (published, held) = (filled(65_536), 65_536 / CHUNK_PUSHES);
        let mut next = published.clone();
        next.remove(0);
        next.push_back(push(65_536));
        let shared = zip(&published.chunks, &next.chunks).filter(|(before, after)| Arc::ptr_eq(before, after)).count();
        assert_eq!((published.chunks.len(), next.chunks.len(), shared), (held, held + 1, held - 1));
    }

    #[test]
    fn pushes_that_outlive_all_around_them_do_not_keep_a_chunk_each() {
        let mut digests = filled(100_000);
        for number in (0..100_000).filter(|number| number % 1_000 != 0) {
            assert!(digests.remove(number).is_some());
        }
        assert_eq!(digests.len(), 100);
        assert!(digests.chunks.len() <= 4, "{} chunks", digests.chunks.len());
    }

    proptest! {
        /// Against a map; clones keep what they had.
        #[test]
        fn they_are_as_a_map_by_number(steps in prop::collection::vec(prop_oneof![Just(None), (0_u64..2_000).prop_map(Some)], 0..3_000)) {
            let (mut digests, mut expected) = (filled(600), (0..600).map(|number| (number, push(number))).collect::<BTreeMap<_, _>>());
            let mut kept = Vec::new();
            for (i, step) in steps.into_iter().enumerate() {
                if i % 500 == 0 {
                    kept.push((digests.clone(), expected.clone()));
                }
                match step {
                    None => {
                        let number = digests.push_back(push(i as u64));
                        assert!(expected.insert(number, push(i as u64)).is_none());
                    }
                    Some(number) => {
                        assert_eq!(digests.get(number), expected.get(&number));
                        assert_eq!(digests.remove(number), expected.remove(&number));
                    }
                }
            }
            kept.push((digests, expected));
            for (digests, expected) in kept {
                assert_eq!(digests.len(), expected.len());
                assert!(digests.numbered().eq(expected.iter().map(|(number, push)| (*number, push))));
                assert!(digests.chunks.iter().all(|chunk| (1..=CHUNK_PUSHES).contains(&chunk.pushes.len())));
            }
        }
    }
}
