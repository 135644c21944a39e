//! Heads and blocks as a reader sees them: segments, which prune themselves and give what passes in sorted order; and the
//! one merge of what several give. Called by the engines' readers and by their merges of blocks.

use std::cmp::Ordering;
use std::collections::VecDeque;
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
/// and with others only where the two differ.
pub struct Merge<I, K, V> {
    cursors: Vec<I>,
    /// Descending, each key once; at most one entry of each cursor.
    pending: Vec<Pending<K, V>>,
    /// Where in `pending` the last entry was put.
    last: usize,
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

impl<I, K: Ord, V> Merge<I, K, V>
where
    I: Iterator<Item = Result<(K, V), SegmentError>>,
{
    /// Pulls nothing yet.
    pub fn new(cursors: Vec<I>) -> Self {
        let unfilled = (0..cursors.len()).rev().collect();
        Self { cursors, pending: Vec::new(), last: 0, unfilled, unreadable: VecDeque::new(), spare: Vec::new() }
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
        let Pending { key, entries } = self.pending.pop()?;
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
        let near = self.pending.get(self.last).map(|near| near.key.cmp(&key));
        // Keys descend: what is less stands behind.
        let among = match near {
            None => 0..self.pending.len(),
            Some(Ordering::Greater) => self.last + 1..self.pending.len(),
            Some(Ordering::Less) => 0..self.last,
            Some(Ordering::Equal) => return self.pending[self.last].entries.push(entry),
        };
        let first = among.start;
        match self.pending[among].binary_search_by(|own| key.cmp(&own.key)) {
            Ok(at) => {
                self.last = first + at;
                self.pending[self.last].entries.push(entry);
            }
            Err(at) => {
                self.last = first + at;
                let mut entries = self.spare.pop().unwrap_or_default();
                entries.push(entry);
                self.pending.insert(self.last, Pending { key, entries });
            }
        }
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
        collection::vec(sorted, 0..5)
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
    fn nothing_follows_the_end_of_a_request() {
        let ended = || Err(SegmentError::Ended(ReadError::Cancelled("the client went away")));
        let mut merge = Merge::new(vec![vec![Ok((1, 'a')), ended()].into_iter(), vec![Ok((1, 'b')), Ok((2, 'c'))].into_iter()]);
        let mut values = Vec::new();
        assert!(matches!(merge.next_group(&mut values), Some(Err(SegmentError::Ended(_)))));
        assert!(merge.next_group(&mut values).is_none());
    }
}
