//! Heads and blocks as a reader sees them: segments, which prune themselves and give what passes in sorted order; and the
//! one merge of what several give. Called by the engines' readers and by their merges of blocks.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use weir_model::select::{Budget, ReadError};

use crate::StoreError;

/// What a cursor gives: keys ascending, equal ones in the order in which the segment has them. After a piece that cannot be
/// read it goes on with the next one.
pub type Entries<'a, K, V> = Box<dyn Iterator<Item = Result<(K, V), SegmentError>> + 'a>;

/// Why a cursor does not give an entry.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A piece of the segment cannot be read: the others still answer, and the coverage says what is missing.
    #[error(transparent)]
    Unreadable(#[from] StoreError),
    /// The request ends: its budget is spent, or its client has gone.
    #[error(transparent)]
    Ended(#[from] ReadError),
}

/// A head or a sealed block. `P` is a select of its engine, compiled once for all segments.
pub trait Segment<P> {
    /// What entries are sorted by.
    type Key: Ord;
    /// What an entry is: owns what it needs of the segment and what it holds of the budget, and is decoded only when asked.
    type Item<'a>
    where
        Self: 'a,
        P: 'a;
    /// False only when nothing in it passes, told from what lies in memory.
    fn may_match(&self, plan: &P) -> bool;
    /// What passes. Nothing is read or decoded before the first entry is pulled.
    fn cursor<'a>(self: Arc<Self>, plan: Arc<P>, budget: &'a dyn Budget) -> Entries<'a, Self::Key, Self::Item<'a>>
    where
        Self: 'a,
        P: 'a;
}

/// Entries of several cursors as one ascending sequence; among equal keys those of an earlier cursor come first.
///
/// It holds one entry of each cursor. An unreadable piece does not part the entries of one key: its error is given before the
/// next key. After [`SegmentError::Ended`] there is nothing more.
///
/// Segments of neighbouring times mostly have the same keys: one that is pulled is compared with the one that was pulled before it,
/// and goes into a heap with others only where the two differ. Thousands of segments of different keys cost a key a heap's depth.
pub struct Merge<I, K, V> {
    cursors: Vec<I>,
    /// Least key first; one may be there several times. At most one entry of each cursor, those of `near` counted.
    pending: BinaryHeap<Pending<K, V>>,
    /// Where the last entry was put.
    near: Option<Pending<K, V>>,
    /// Cursors of which `pending` holds no entry and which may have one.
    unfilled: Vec<usize>,
    /// Not given yet.
    unreadable: VecDeque<StoreError>,
    /// Lists that are empty again.
    spare: Vec<Vec<(usize, V)>>,
}

struct Pending<K, V> {
    key: K,
    /// With the number of the cursor of each.
    entries: Vec<(usize, V)>,
}

/// By key alone, the least above all others.
impl<K: Ord, V> Ord for Pending<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl<K: Ord, V> PartialOrd for Pending<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, V> PartialEq for Pending<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<K: Ord, V> Eq for Pending<K, V> {}

impl<I, K: Ord, V> Merge<I, K, V>
where
    I: Iterator<Item = Result<(K, V), SegmentError>>,
{
    /// Pulls nothing yet.
    pub fn new(cursors: Vec<I>) -> Self {
        let unfilled = (0..cursors.len()).rev().collect();
        let (pending, unreadable, spare) = (BinaryHeap::new(), VecDeque::new(), Vec::new());
        Self { cursors, pending, near: None, unfilled, unreadable, spare }
    }

    /// One cursor more, whose entries have no key before those that were given.
    pub fn add(&mut self, cursor: I) {
        self.unfilled.push(self.cursors.len());
        self.cursors.push(cursor);
    }

    /// The key of the next group; `None` when there is none. Errors when the request ends.
    pub fn next_key(&mut self) -> Result<Option<&K>, ReadError> {
        match self.fill(None, &mut Vec::new()) {
            Err(SegmentError::Ended(error)) => return Err(error),
            Err(SegmentError::Unreadable(error)) => self.unreadable.push_back(error),
            Ok(()) => {}
        }
        let (near, least) = (self.near.as_ref(), self.pending.peek());
        Ok(near.into_iter().chain(least).map(|pending| &pending.key).min())
    }

    /// The next key, with the entries of all cursors that have it in `values` (which is emptied first): the number of the
    /// cursor and what it gave, in the order of cursors.
    pub fn next_group(&mut self, values: &mut Vec<(usize, V)>) -> Option<Result<K, SegmentError>> {
        values.clear();
        if let Err(error) = self.fill(None, values) {
            return Some(Err(error));
        }
        if let Some(error) = self.unreadable.pop_front() {
            return Some(Err(error.into()));
        }
        let Pending { key, entries } = self.pop()?;
        self.spare.push(std::mem::replace(values, entries));
        self.unfilled.extend(values.iter().rev().map(|(cursor, _)| *cursor));
        if let Err(error) = self.fill(Some(&key), values) {
            return Some(Err(error));
        }
        if !values.is_sorted_by_key(|(cursor, _)| *cursor) {
            values.sort_by_key(|(cursor, _)| *cursor);
        }
        Some(Ok(key))
    }

    /// Pulls an entry of each cursor that has none pending. Those of the key that is about to be given go to its `values`.
    fn fill(&mut self, given: Option<&K>, values: &mut Vec<(usize, V)>) -> Result<(), SegmentError> {
        while let Some(cursor) = self.unfilled.last().copied() {
            match self.cursors[cursor].next() {
                Some(Ok((key, value))) if given == Some(&key) => values.push((cursor, value)),
                Some(Ok((key, value))) => {
                    self.put(key, (cursor, value));
                    self.unfilled.pop();
                }
                None => drop(self.unfilled.pop()),
                Some(Err(SegmentError::Unreadable(error))) => self.unreadable.push_back(error),
                Some(Err(ended)) => {
                    self.pending.clear();
                    self.near = None;
                    self.unfilled.clear();
                    self.unreadable.clear();
                    values.clear();
                    return Err(ended);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, key: K, entry: (usize, V)) {
        if let Some(near) = self.near.as_mut().filter(|near| near.key == key) {
            return near.entries.push(entry);
        }
        let mut entries = self.spare.pop().unwrap_or_default();
        entries.push(entry);
        self.pending.extend(self.near.replace(Pending { key, entries }));
    }

    /// The least key with all its entries.
    fn pop(&mut self) -> Option<Pending<K, V>> {
        let is_near = match (&self.near, self.pending.peek()) {
            (Some(near), Some(least)) => near.key <= least.key,
            (near, _) => near.is_some(),
        };
        let mut least = if is_near { self.near.take() } else { self.pending.pop() }?;
        while self.pending.peek().is_some_and(|next| next.key == least.key) {
            let Some(Pending { mut entries, .. }) = self.pending.pop() else { break };
            least.entries.append(&mut entries);
            self.spare.push(entries);
        }
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, proptest};
    use proptest::{collection, option};

    use super::*;

    type Entry = Result<(u8, u32), SegmentError>;

    fn unreadable(name: u32) -> Entry {
        Err(StoreError::corrupt("a block", format!("piece {name}")).into())
    }

    /// Cursors of ascending keys; `None` is a piece that cannot be read.
    fn cursors() -> impl Strategy<Value = Vec<Vec<Option<u8>>>> {
        let sorted = collection::vec(option::weighted(0.9, 0..8_u8), 0..20).prop_map(|mut pieces| {
            let mut keys: Vec<u8> = pieces.iter().copied().flatten().collect();
            keys.sort_unstable();
            pieces.iter_mut().flatten().zip(keys).for_each(|(place, key)| *place = key);
            pieces
        });
        collection::vec(sorted, 0..12)
    }

    proptest! {
        #[test]
        fn every_entry_comes_once_in_order_with_those_of_its_key(pieces in cursors()) {
            let mut expected: Vec<(u8, usize, u32)> = Vec::new();
            let mut errors = 0;
            let mut entries: Vec<std::vec::IntoIter<Entry>> = Vec::new();
            for (cursor, pieces) in pieces.iter().enumerate() {
                let entry = |(at, key): (usize, &Option<u8>)| key.map_or_else(|| unreadable(at as u32), |key| Ok((key, at as u32)));
                entries.push(pieces.iter().enumerate().map(entry).collect::<Vec<_>>().into_iter());
                let keyed = pieces.iter().enumerate().filter_map(|(at, key)| Some(((*key)?, cursor, at as u32)));
                expected.extend(keyed);
                errors += pieces.iter().filter(|key| key.is_none()).count();
            }
            expected.sort_unstable();
            let mut merge = Merge::new(entries);
            let (mut values, mut seen, mut keys, mut failed) = (Vec::new(), Vec::new(), Vec::new(), 0);
            while let Some(group) = merge.next_group(&mut values) {
                match group {
                    Ok(key) => {
                        keys.push(key);
                        seen.extend(values.iter().map(|(cursor, at)| (key, *cursor, *at)));
                    }
                    Err(_) => failed += 1,
                }
            }
            proptest::prop_assert_eq!(seen, expected);
            proptest::prop_assert!(keys.is_sorted_by(|a, b| a < b), "a key came twice: {keys:?}");
            proptest::prop_assert_eq!(failed, errors);
        }
    }

    #[test]
    fn a_cursor_may_come_when_its_turn_has() {
        let cursor = |keys: &[u8]| keys.iter().map(|key| Ok((*key, ()))).collect::<Vec<_>>().into_iter();
        let mut merge = Merge::new(vec![cursor(&[1, 4])]);
        let (mut values, mut given) = (Vec::new(), Vec::new());
        let mut coming = vec![(9, cursor(&[9])), (3, cursor(&[3, 4])), (1, cursor(&[1]))];
        loop {
            let next = merge.next_key().unwrap().copied();
            if coming.last().is_some_and(|(first, _)| next.is_none_or(|next| *first <= next)) {
                merge.add(coming.pop().unwrap().1);
                continue;
            }
            let Some(key) = merge.next_group(&mut values) else { break };
            let key = key.unwrap();
            assert_eq!(Some(key), next);
            given.push((key, values.iter().map(|(cursor, ())| *cursor).collect::<Vec<_>>()));
        }
        assert_eq!(given, [(1, vec![0, 1]), (3, vec![2]), (4, vec![0, 2]), (9, vec![3])]);
    }

    #[test]
    fn nothing_follows_the_end_of_a_request() {
        let ended = || Err(SegmentError::Ended(ReadError::Cancelled("the client went away")));
        let mut merge = Merge::new(vec![vec![Ok((1, 'a')), ended()].into_iter(), vec![Ok((1, 'b')), Ok((2, 'c'))].into_iter()]);
        let mut values = Vec::new();
        assert!(matches!(merge.next_group(&mut values), Some(Err(SegmentError::Ended(_)))));
        assert!(merge.next_group(&mut values).is_none());
    }
}
