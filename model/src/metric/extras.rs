//! What a row has beside its numbers: checked, weighed, looked up, and carried along where some of the columns are chosen.

use std::sync::Arc;

use super::{Exemplar, RowExtras};
use crate::histogram::Histogram;
use crate::memory::{allocation, shared};
use crate::time::UnixNanos;

/// An exemplar's value and time on the wire, and its numbers of column and labels.
const EXEMPLAR_BYTES: usize = 24;
/// A histogram's schema, sum and threshold, and what says where it belongs.
const HISTOGRAM_BYTES: usize = 32;
/// A span or a count, most of which are small.
const NUMBER_BYTES: usize = 2;

impl RowExtras {
    pub fn is_empty(&self) -> bool {
        self.histograms.is_empty() && self.starts.is_none() && self.exemplars.is_empty()
    }

    /// Errors with a sentence where it does not belong to a row of `width` columns.
    pub fn check(&self, width: usize) -> Result<(), String> {
        let outside = |column: u32| column as usize >= width;
        if !self.histograms.is_sorted_by(|a, b| a.0 < b.0) || self.histograms.last().is_some_and(|(column, _)| outside(*column)) {
            return Err(format!("columns of histograms do not ascend below {width}"));
        }
        if !self.exemplars.is_sorted_by(|a, b| a.0 <= b.0) || self.exemplars.last().is_some_and(|(column, _)| outside(*column)) {
            return Err(format!("columns of exemplars do not ascend below {width}"));
        }
        if let Some(starts) = self.starts.as_ref().filter(|starts| starts.len() != width) {
            return Err(format!("{} starts for {width} columns", starts.len()));
        }
        self.histograms
            .iter()
            .try_for_each(|(column, own)| own.check_shape().map_err(|error| format!("column {column}: {error}")))
    }

    pub fn histogram(&self, column: u32) -> Option<&Arc<Histogram>> {
        self.histograms.binary_search_by_key(&column, |(own, _)| *own).ok().map(|at| &self.histograms[at].1)
    }

    /// 0 where it is unknown.
    pub fn start(&self, column: u32) -> UnixNanos {
        self.starts.as_ref().and_then(|starts| starts.get(column as usize)).copied().unwrap_or_default()
    }

    pub fn exemplars(&self, column: u32) -> impl Iterator<Item = &Exemplar> {
        let first = self.exemplars.partition_point(|(own, _)| *own < column);
        self.exemplars[first..].iter().take_while(move |(own, _)| *own == column).map(|(_, exemplar)| exemplar)
    }

    /// About what it takes uncompressed on the wire, beside what the row before has.
    pub fn weight(&self, before: Option<&Self>) -> usize {
        let numbers = |own: &Histogram| {
            let sides = [&own.positive, &own.negative].iter().map(|side| side.counts.len() + 2 * side.spans.len()).sum::<usize>();
            HISTOGRAM_BYTES + sides * NUMBER_BYTES + own.custom_bounds.len() * 8
        };
        let histograms: usize = self.histograms.iter().map(|(_, own)| numbers(own)).sum();
        let exemplars: usize = self.exemplars.iter().map(|(_, own)| EXEMPLAR_BYTES + own.labels.text_bytes()).sum();
        let starts = self.own_starts(before).map_or(0, |starts| starts.len() * NUMBER_BYTES);
        histograms + exemplars + starts
    }

    /// Memory behind an `Arc` or a `Box` of it, beside what the row before has.
    pub fn memory(&self, before: Option<&Self>) -> usize {
        let histograms: usize = self.histograms.iter().map(|(_, own)| own.memory()).sum();
        let exemplars: usize = self.exemplars.iter().map(|(_, own)| own.labels.memory()).sum();
        let starts = self.own_starts(before).map_or(0, |starts| shared(size_of_val(&**starts)));
        let lists = allocation(self.histograms.capacity() * size_of::<(u32, Arc<Histogram>)>())
            + allocation(self.exemplars.capacity() * size_of::<(u32, Exemplar)>());
        shared(size_of::<Self>()) + lists + histograms + exemplars + starts
    }

    /// Its starts, unless the row before has the same ones.
    fn own_starts(&self, before: Option<&Self>) -> Option<&Arc<[UnixNanos]>> {
        let before = before.and_then(|before| before.starts.as_ref());
        self.starts.as_ref().filter(|own| before.is_none_or(|before| !Arc::ptr_eq(own, before)))
    }
}

impl Exemplar {
    /// As `==`, but values compare by their bits.
    pub fn same_bits(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits() && self.labels == other.labels
    }
}

/// Some columns of a schema, in an order of their own: what rows have beside their numbers, renumbered.
pub struct ChosenColumns {
    columns: Vec<u32>,
    /// Columns of before, ascending, with their numbers of now.
    places: Vec<(u32, u32)>,
    /// Starts that rows had last, and what was made of them, so that these are shared as those were.
    starts: Option<[Arc<[UnixNanos]>; 2]>,
}

impl ChosenColumns {
    /// Each at most once.
    pub fn new(columns: impl IntoIterator<Item = u32>) -> Self {
        let columns: Vec<u32> = columns.into_iter().collect();
        let mut places: Vec<(u32, u32)> = columns.iter().copied().zip(0..).collect();
        places.sort_unstable();
        Self { columns, places, starts: None }
    }

    /// What is left of a row's; `None` when that is nothing.
    pub fn of(&mut self, extras: &RowExtras) -> Option<Box<RowExtras>> {
        let place = |column: u32| {
            let at = self.places.binary_search_by_key(&column, |(before, _)| *before).ok()?;
            Some(self.places[at].1)
        };
        let histograms = extras.histograms.iter().filter_map(|(column, own)| Some((place(*column)?, Arc::clone(own))));
        let exemplars = extras.exemplars.iter().filter_map(|(column, own)| Some((place(*column)?, own.clone())));
        let mut chosen = RowExtras { histograms: histograms.collect(), starts: None, exemplars: exemplars.collect() };
        chosen.histograms.sort_by_key(|(column, _)| *column);
        chosen.exemplars.sort_by_key(|(column, _)| *column);
        chosen.starts = extras.starts.as_ref().and_then(|starts| self.starts(starts));
        (!chosen.is_empty()).then(|| Box::new(chosen))
    }

    fn starts(&mut self, all: &Arc<[UnixNanos]>) -> Option<Arc<[UnixNanos]>> {
        let known = self.starts.as_ref().filter(|[before, _]| Arc::ptr_eq(before, all)).map(|[_, chosen]| Arc::clone(chosen));
        let chosen = known.unwrap_or_else(|| {
            let chosen = self.columns.iter().map(|column| all.get(*column as usize).copied().unwrap_or_default()).collect();
            let [_, chosen] = self.starts.insert([Arc::clone(all), chosen]);
            Arc::clone(chosen)
        });
        chosen.iter().any(|start| *start != 0).then_some(chosen)
    }
}
