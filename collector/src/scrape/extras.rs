//! What samples of an answer have beside numbers, on its way into a row: histograms, starts, exemplars. Pure but for what it remembers of
//! the target's last scrape, so that an exemplar is stored once and not with each scrape that repeats it.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::label::Labels;
use weir_model::metric::{Exemplar, RowExtras};
use weir_model::time::UnixNanos;

/// Of one sample.
#[derive(Default)]
pub(crate) struct SampleExtras {
    pub histogram: Option<Arc<Histogram>>,
    pub start: Option<UnixNanos>,
    pub exemplars: Vec<RawExemplar>,
}

/// An exemplar as the target says it.
#[derive(Clone, Debug)]
pub(crate) struct RawExemplar {
    pub labels: Labels,
    pub value: f64,
    pub timestamp: Option<UnixNanos>,
}

impl RawExemplar {
    fn whole(&self) -> (u64, Option<UnixNanos>, &Labels) {
        (self.value.to_bits(), self.timestamp, &self.labels)
    }
}

impl PartialEq for RawExemplar {
    fn eq(&self, other: &Self) -> bool {
        self.whole() == other.whole()
    }
}

impl Eq for RawExemplar {}

impl Hash for RawExemplar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.whole().hash(state);
    }
}

/// Of a row in the making, by column.
#[derive(Default)]
pub(crate) struct Extras {
    histograms: Vec<(u32, Arc<Histogram>)>,
    starts: Vec<(u32, UnixNanos)>,
    exemplars: Vec<(u32, RawExemplar)>,
}

impl Extras {
    /// Columns come in their order.
    pub fn push(&mut self, column: usize, sample: SampleExtras) {
        // A row of more columns than that has no place on the wire.
        let column = column as u32;
        self.histograms.extend(sample.histogram.map(|histogram| (column, histogram)));
        self.starts.extend(sample.start.map(|start| (column, start)));
        self.exemplars.extend(sample.exemplars.into_iter().map(|exemplar| (column, exemplar)));
    }
}

/// What the target's last scrape had.
#[derive(Default)]
pub(crate) struct KnownExtras {
    starts: Option<Arc<[UnixNanos]>>,
    /// Of each series. One has thousands where it is a histogram, or samples of many times.
    exemplars: HashSet<(Labels, RawExemplar)>,
}

impl KnownExtras {
    /// Of a row's columns. Exemplars of the last scrape are left out, and those of this one added to `seen`.
    pub fn row(&mut self, extras: Extras, at: UnixNanos, series: &[Labels], seen: &mut Seen) -> Option<Box<RowExtras>> {
        let Extras { histograms, starts, exemplars } = extras;
        let starts = self.starts(&starts, at, series.len());
        let exemplars: Vec<_> = exemplars
            .into_iter()
            .filter_map(|(column, exemplar)| {
                let RawExemplar { labels, value, timestamp } = exemplar.clone();
                let of_series = (series[column as usize].clone(), exemplar);
                let is_known = self.exemplars.contains(&of_series);
                seen.0.insert(of_series);
                let timestamp = timestamp.unwrap_or(at);
                (!is_known).then_some((column, Exemplar { labels, value, timestamp }))
            })
            .collect();
        if histograms.is_empty() && starts.is_none() && exemplars.is_empty() {
            return None;
        }
        Some(Box::new(RowExtras { histograms, starts, exemplars }))
    }

    /// The scrape is over.
    pub fn learn(&mut self, seen: Seen) {
        self.exemplars = seen.0;
    }

    /// The same allocation for as long as they stay the same. A start after the sample is none.
    fn starts(&mut self, starts: &[(u32, UnixNanos)], at: UnixNanos, columns: usize) -> Option<Arc<[UnixNanos]>> {
        if starts.is_empty() {
            return None;
        }
        let mut all = vec![0; columns];
        for (column, start) in starts.iter().filter(|(_, start)| *start <= at) {
            all[*column as usize] = *start;
        }
        let known = self.starts.take().filter(|known| known[..] == all[..]);
        self.starts = Some(known.unwrap_or_else(|| all.into()));
        self.starts.clone()
    }
}

/// Exemplars of this scrape.
#[derive(Default)]
pub(crate) struct Seen(HashSet<(Labels, RawExemplar)>);
