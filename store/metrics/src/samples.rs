//! The samples of one series on their way: collected in the order of arrival, then settled into ascending time.
//!
//! Called by head, merge and reader, so that all three agree on which of two samples of a millisecond stays: the first, or
//! the one that stands for more where they are downsampled.

use std::ops::Range;
use std::sync::Arc;

use weir_blocks::hidden::HiddenRows;
use weir_model::histogram::Histogram;
use weir_model::memory::allocation;
use weir_model::metric::{Exemplar, RowExtras};

use super::schema::MILLISECOND;
use super::{aggregates, exemplars};

/// Timestamps and values of one series; ascending and without repetition once settled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples {
    /// Milliseconds since the Unix epoch.
    pub timestamps: Vec<i64>,
    /// As many. Those of histograms are staleness markers.
    pub values: Vec<f64>,
    /// Which samples are histograms, ascending.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// Since when they count, milliseconds, 0 where that is unknown; of fewer samples than there are while the others' is.
    pub starts: Vec<i64>,
    /// Of a series that goes into a block.
    pub exemplars: Vec<Exemplar>,
    /// Memory of histograms that nobody else holds.
    pub decoded: usize,
}

/// What settling dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Same millisecond, same bits.
    pub repeated: u64,
    /// Same millisecond, other bits.
    pub conflicting: u64,
    /// Exemplars beyond those that a block may have of a series.
    pub exemplars: u64,
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.repeated += other.repeated;
        self.conflicting += other.conflicting;
        self.exemplars += other.exemplars;
    }
}

/// Of a sample that is settled: its place in the order and half as much for the sort, and its copy.
const SETTLING_BYTES: usize = 28;
const HISTOGRAM_BYTES: usize = size_of::<(u32, Arc<Histogram>)>();

impl Samples {
    pub(crate) fn push(&mut self, timestamp: i64, value: f64) {
        self.timestamps.push(timestamp);
        self.values.push(value);
    }

    /// Gives the sample that was pushed last what the column of its row has.
    pub(crate) fn push_extras(&mut self, extras: &RowExtras, column: u32) {
        let at = self.timestamps.len() - 1;
        if let Some(histogram) = extras.histogram(column) {
            self.histograms.push((at as u32, Arc::clone(histogram)));
        }
        self.set_start(at, extras.start(column).div_euclid(MILLISECOND));
    }

    /// Samples before have theirs already, as far as it is known.
    pub(crate) fn set_start(&mut self, at: usize, start: i64) {
        if start != 0 {
            self.starts.resize(at, 0);
            self.starts.push(start);
        }
    }

    /// As many starts as samples, or none.
    fn pad_starts(&mut self) {
        if !self.starts.is_empty() {
            self.starts.resize(self.timestamps.len(), 0);
        }
    }

    pub(crate) fn histogram(&self, at: usize) -> Option<&Arc<Histogram>> {
        self.histograms.binary_search_by_key(&(at as u32), |(own, _)| *own).ok().map(|place| &self.histograms[place].1)
    }

    /// Some of them, without exemplars.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let of = |at: usize| self.histograms.partition_point(|(own, _)| (*own as usize) < at);
        let histograms = &self.histograms[of(range.start)..of(range.end)];
        let known = self.starts.len();
        Self {
            timestamps: self.timestamps[range.clone()].to_vec(),
            values: self.values[range.clone()].to_vec(),
            histograms: histograms.iter().map(|(at, own)| (at - range.start as u32, Arc::clone(own))).collect(),
            starts: self.starts[range.start.min(known)..range.end.min(known)].to_vec(),
            ..Self::default()
        }
    }

    /// Undoes what was appended to so many samples.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.timestamps.truncate(count);
        self.values.truncate(count);
        self.starts.truncate(count);
        self.histograms.truncate(self.histograms.partition_point(|(at, _)| (*at as usize) < count));
    }

    /// So many of them, exemplars apart.
    pub(crate) fn drop_first(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.timestamps.drain(..count);
        self.values.drain(..count);
        self.starts.drain(..count.min(self.starts.len()));
        self.histograms.drain(..self.histograms.partition_point(|(at, _)| (*at as usize) < count));
        self.histograms.iter_mut().for_each(|(at, _)| *at -= count as u32);
    }

    /// Memory with so many samples more.
    pub(crate) fn memory_with(&self, count: usize) -> usize {
        let needed = self.timestamps.len() + count;
        // As a vector grows. Values of a whole series are decoded for some of them, so they may have room for more.
        let grown = |capacity: usize| if needed <= capacity { capacity } else { needed.max(2 * capacity) };
        let numbers = [self.timestamps.capacity(), self.values.capacity()].map(|capacity| allocation(grown(capacity) * 8));
        let extras = allocation(self.histograms.capacity() * HISTOGRAM_BYTES) + allocation(self.starts.capacity() * 8);
        numbers.iter().sum::<usize>() + extras + self.decoded
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.timestamps.reserve(count);
        self.values.reserve(count);
    }

    /// Memory that [`Self::settle`] takes beside that of the samples.
    pub(crate) fn settling_memory(&self) -> usize {
        let extras = self.histograms.len() * HISTOGRAM_BYTES + self.starts.len() * 8;
        if self.is_settled() { 0 } else { self.timestamps.len() * SETTLING_BYTES + extras }
    }

    fn is_settled(&self) -> bool {
        self.timestamps.is_sorted_by(|a, b| a < b)
    }

    pub(crate) fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
        self.exemplars.clear();
        self.decoded = 0;
    }

    /// Drops those from `first` on that are hidden; how many.
    pub(crate) fn hide(&mut self, first: usize, hidden: &HiddenRows) -> usize {
        self.pad_starts();
        let mut kept = first;
        let mut histogram = self.histograms.partition_point(|(at, _)| (*at as usize) < first);
        let mut kept_histograms = histogram;
        for at in first..self.timestamps.len() {
            let is_histogram = self.histograms.get(histogram).is_some_and(|(own, _)| *own as usize == at);
            if !hidden.has(self.timestamps[at].saturating_mul(MILLISECOND), b"") {
                self.timestamps[kept] = self.timestamps[at];
                self.values[kept] = self.values[at];
                if let Some(start) = self.starts.get(at).copied() {
                    self.starts[kept] = start;
                }
                if is_histogram {
                    self.histograms.swap(kept_histograms, histogram);
                    self.histograms[kept_histograms].0 = kept as u32;
                    kept_histograms += 1;
                }
                kept += 1;
            }
            histogram += usize::from(is_histogram);
        }
        let dropped = self.timestamps.len() - kept;
        self.timestamps.truncate(kept);
        self.values.truncate(kept);
        self.starts.truncate(kept);
        self.histograms.truncate(kept_histograms);
        dropped
    }

    /// Gives the last sample another value.
    fn replace_last(&mut self, value: f64, histogram: Option<Arc<Histogram>>, start: i64) {
        let last = self.timestamps.len() - 1;
        self.values[last] = value;
        self.histograms.pop_if(|(at, _)| *at as usize == last);
        self.histograms.extend(histogram.map(|own| (last as u32, own)));
        self.starts.truncate(last);
        self.set_start(last, start);
    }

    /// Sorts by time; of one millisecond the sample that arrived first stays, unless another one stands for more samples.
    pub(crate) fn settle(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        if self.is_settled() {
            self.pad_starts();
            return dropped;
        }
        let mut order: Vec<usize> = (0..self.timestamps.len()).collect();
        order.sort_by_key(|at| self.timestamps[*at]);
        let exemplars = std::mem::take(&mut self.exemplars);
        let mut settled = Self { exemplars, decoded: self.decoded, ..Self::default() };
        settled.reserve(order.len());
        for at in order {
            let (timestamp, value, histogram) = (self.timestamps[at], self.values[at], self.histogram(at));
            if settled.timestamps.last() == Some(&timestamp) {
                let last = settled.timestamps.len() - 1;
                if aggregates::stands_for_more(histogram, settled.histogram(last)) {
                    let start = self.starts.get(at).copied().unwrap_or_default();
                    settled.replace_last(value, histogram.cloned(), start);
                    dropped.conflicting += 1;
                    continue;
                }
                let is_same = match (settled.histogram(last), histogram) {
                    (Some(kept), Some(own)) => kept.same_bits(own),
                    (None, None) => settled.values[last].to_bits() == value.to_bits(),
                    _ => false,
                };
                *(if is_same { &mut dropped.repeated } else { &mut dropped.conflicting }) += 1;
                continue;
            }
            let place = settled.timestamps.len();
            settled.push(timestamp, value);
            settled.histograms.extend(histogram.map(|own| (place as u32, Arc::clone(own))));
            settled.set_start(place, self.starts.get(at).copied().unwrap_or_default());
        }
        settled.pad_starts();
        *self = settled;
        dropped
    }
}

impl Samples {
    /// The same with the exemplars, of which the newest stay.
    pub(crate) fn settle_all(&mut self) -> Dropped {
        exemplars::settle(&mut self.exemplars);
        Dropped { exemplars: exemplars::cap(&mut self.exemplars), ..self.settle() }
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
        let of = |timestamps: &[i64], values: &[f64]| Samples {
            timestamps: timestamps.to_vec(),
            values: values.to_vec(),
            ..Samples::default()
        };
        let mut samples = of(&[3, 1, 3, 3, 2], &[0.3, 0.1, 0.3, 0.4, 0.2]);
        assert_eq!(samples.settle(), Dropped { repeated: 1, conflicting: 1, exemplars: 0 });
        assert_eq!(samples, of(&[1, 2, 3], &[0.1, 0.2, 0.3]));
        samples.values.reserve_exact(1000);
        assert!(samples.memory_with(0) > 1000 * 8, "{}", samples.memory_with(0));
        assert_eq!([range(&samples.timestamps, 2, 2), range(&samples.timestamps, 9, 1)], [1..2, 3..3]);
    }
}
