//! The samples of one series on their way: collected in the order of arrival, then settled into ascending time.
//!
//! Called by head, merge and reader, so that all three agree on which of two samples of a millisecond stays: the first.

use weir_blocks::hidden::HiddenRows;
use weir_model::memory::allocation;

use super::schema::MILLISECOND;

/// Timestamps and values of one series; ascending and without repetition once settled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples {
    /// Milliseconds since the Unix epoch.
    pub timestamps: Vec<i64>,
    /// As many.
    pub values: Vec<f64>,
}

/// What settling dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Same millisecond, same bits.
    pub repeated: u64,
    /// Same millisecond, other bits.
    pub conflicting: u64,
}

/// Of a sample that is settled: its place in the order and half as much for the sort, and its copy.
const SETTLING_BYTES: usize = 28;

impl Samples {
    pub(crate) fn push(&mut self, timestamp: i64, value: f64) {
        self.timestamps.push(timestamp);
        self.values.push(value);
    }

    /// Memory with so many samples more.
    pub(crate) fn memory_with(&self, count: usize) -> usize {
        let (capacity, needed) = (self.timestamps.capacity(), self.timestamps.len() + count);
        // As a vector grows.
        let grown = if needed <= capacity { capacity } else { needed.max(2 * capacity) };
        2 * allocation(grown * 8)
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.timestamps.reserve(count);
        self.values.reserve(count);
    }

    /// Memory that [`Self::settle`] takes beside that of the samples.
    pub(crate) fn settling_memory(&self) -> usize {
        if self.is_settled() { 0 } else { self.timestamps.len() * SETTLING_BYTES }
    }

    fn is_settled(&self) -> bool {
        self.timestamps.is_sorted_by(|a, b| a < b)
    }

    pub(crate) fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
    }

    /// Drops those from `first` on that are hidden; how many.
    pub(crate) fn hide(&mut self, first: usize, hidden: &HiddenRows) -> usize {
        let mut kept = first;
        for at in first..self.timestamps.len() {
            if !hidden.has(self.timestamps[at].saturating_mul(MILLISECOND), b"") {
                self.timestamps[kept] = self.timestamps[at];
                self.values[kept] = self.values[at];
                kept += 1;
            }
        }
        let dropped = self.timestamps.len() - kept;
        self.timestamps.truncate(kept);
        self.values.truncate(kept);
        dropped
    }

    /// Sorts by time; of one millisecond the sample that arrived first stays.
    pub(crate) fn settle(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        if self.is_settled() {
            return dropped;
        }
        let mut order: Vec<usize> = (0..self.timestamps.len()).collect();
        order.sort_by_key(|at| self.timestamps[*at]);
        let mut settled = Self::default();
        settled.reserve(order.len());
        for at in order {
            let (timestamp, value) = (self.timestamps[at], self.values[at]);
            match (settled.timestamps.last(), settled.values.last()) {
                (Some(last), Some(kept)) if *last == timestamp && kept.to_bits() == value.to_bits() => dropped.repeated += 1,
                (Some(last), _) if *last == timestamp => dropped.conflicting += 1,
                _ => settled.push(timestamp, value),
            }
        }
        *self = settled;
        dropped
    }
}

/// Which of ascending timestamps lie within `start..=end`.
pub(crate) fn range(timestamps: &[i64], start: i64, end: i64) -> std::ops::Range<usize> {
    let first = timestamps.partition_point(|timestamp| *timestamp < start);
    let last = timestamps.partition_point(|timestamp| *timestamp <= end);
    first..last.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_millisecond_stays() {
        let mut samples = Samples { timestamps: vec![3, 1, 3, 3, 2], values: vec![0.3, 0.1, 0.3, 0.4, 0.2] };
        assert_eq!(samples.settle(), Dropped { repeated: 1, conflicting: 1 });
        assert_eq!(samples, Samples { timestamps: vec![1, 2, 3], values: vec![0.1, 0.2, 0.3] });
        assert_eq!([range(&samples.timestamps, 2, 2), range(&samples.timestamps, 9, 1)], [1..2, 3..3]);
    }
}
