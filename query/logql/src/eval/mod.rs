//! Answers a parsed query from a `LogReader`.
//!
//! - [`lines`]: log queries: the newest or oldest `limit` lines that pass; [`volume`]: how many pass, by time and level; [`interval`]: lines that
//!   stand so far apart; [`patterns`]: constant texts and counts; [`fields`]: what lines hold beside their stream's labels.
//! - [`metric`]: metric queries: the tree, step by step; [`range`] folds lines into windows, [`samples`] computes
//!   over unwrapped values, [`vector`] aggregates, [`binary`] combines.
//!
//! - [`counts`]: which of them are answered by counts of lines instead of lines.
//!
//! Windows are (T−R, T]; points lie at start + k·step. Lines are read once per range aggregation.

pub mod binary;
mod broken;
mod counts;
pub mod fields;
pub mod interval;
pub mod lines;
pub mod metric;
pub mod patterns;
pub mod range;
pub mod samples;
pub mod vector;
pub mod volume;
mod windows;

use std::sync::atomic::{AtomicU64, Ordering};

use weir_model::select::{Budget, Coverage, ReadError};
use weir_model::time::TimeRange;

use super::pipeline::labels::LabelSet;

/// The instants of an answer: `start`, `start + step`, … up to `end` inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Unix nanoseconds of the first.
    pub start: i64,
    /// Nanoseconds between them, positive.
    pub step: i64,
    /// How many, at least 1.
    pub count: usize,
}

impl Steps {
    /// One instant.
    pub fn instant(at: i64) -> Self {
        Self { start: at, step: 1, count: 1 }
    }

    /// Unix nanoseconds of instant `i`.
    pub fn at(&self, i: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i as i64))
    }

    /// Unix nanoseconds of the last.
    pub fn end(&self) -> i64 {
        self.at(self.count - 1)
    }
}

/// A series with one point an instant; `None` where it has no value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: LabelSet,
    /// As many as instants.
    pub points: Vec<Option<f64>>,
}

impl Series {
    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        (size_of::<Self>() + self.points.len() * size_of::<Option<f64>>()) as u64 + self.labels.bytes()
    }
}

/// What a metric query gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The same number at all instants.
    Scalar(f64),
    /// Series; ascending by labels unless a sort or topk ordered them.
    Vector(Vec<Series>),
}

impl Value {
    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Scalar(_) => 0,
            Self::Vector(series) => series.iter().map(Series::bytes).sum(),
        }
    }
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines the store decoded.
    pub lines_scanned: u64,
    /// Lines that reached the pipeline.
    pub lines_passed: u64,
    /// Their bytes.
    pub bytes_passed: u64,
}

/// An answer, what it covers and what it cost.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// What it has seen.
    pub coverage: Coverage,
    /// What it cost.
    pub stats: Stats,
}

/// Counts on the way to the real budget.
pub(crate) struct Counting<'a> {
    inner: &'a dyn Budget,
    spent: AtomicU64,
}

impl<'a> Counting<'a> {
    pub(crate) fn new(inner: &'a dyn Budget) -> Self {
        Self { inner, spent: AtomicU64::new(0) }
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }
}

impl Budget for Counting<'_> {
    fn check(&self) -> Result<(), ReadError> {
        self.inner.check()
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        self.spent.fetch_add(count, Ordering::Relaxed);
        self.inner.spend(count)
    }

    fn read(&self, bytes: u64) -> Result<(), ReadError> {
        self.inner.read(bytes)
    }

    fn span(&self, range: TimeRange) -> Result<(), ReadError> {
        self.inner.span(range)
    }

    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        self.inner.reserve(bytes)
    }

    fn release(&self, bytes: u64) {
        self.inner.release(bytes);
    }
}
