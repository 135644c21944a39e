//! Steps, rows over them, and values.

use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::label::Labels;
use weir_model::metric::{STALE_NAN, is_stale};
use weir_model::select::label_bytes;

use crate::error::QueryError;

/// Stands in a row where there is no sample. It is the staleness marker, which no evaluation ever yields: selectors
/// drop it, and arithmetic on a signalling NaN gives a quiet one.
pub(crate) const ABSENT: f64 = STALE_NAN;

/// Whether a row has no sample there.
pub(crate) fn is_absent(value: f64) -> bool {
    is_stale(value)
}

/// The steps of a query or subquery, Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepRange {
    /// First step.
    pub start_ms: i64,
    /// No step is later.
    pub end_ms: i64,
    /// Above 0.
    pub step_ms: i64,
}

impl StepRange {
    /// How many there are.
    pub fn steps(&self) -> usize {
        if self.end_ms < self.start_ms { 0 } else { ((self.end_ms - self.start_ms) / self.step_ms) as usize + 1 }
    }

    /// The time of a step.
    pub fn time(&self, step: usize) -> i64 {
        self.start_ms + self.step_ms * step as i64
    }

    /// All of them.
    pub fn times(self) -> impl Iterator<Item = i64> {
        (0..self.steps()).map(move |step| self.time(step))
    }
}

/// A series of a vector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Its labels, with the name that may be about to go.
    pub labels: Labels,
    /// Whether the name goes at the end.
    pub drop_name: bool,
    /// One a step.
    pub values: Vec<f64>,
    /// The samples that are histograms, by step, ascending; their values are [`ABSENT`]. Few rows have any.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
}

impl Row {
    /// Whether any step has a sample.
    pub fn is_present(&self) -> bool {
        !self.histograms.is_empty() || self.values.iter().any(|value| !is_absent(*value))
    }

    /// Whether a step has a sample.
    pub fn has(&self, step: usize) -> bool {
        !is_absent(self.values[step]) || self.histogram(step).is_some()
    }

    /// The histogram of a step.
    pub fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        if self.histograms.is_empty() {
            return None;
        }
        let at = self.histograms.binary_search_by_key(&step, |(own, _)| *own as usize).ok()?;
        Some(&self.histograms[at].1)
    }

    /// Takes the samples away for which `keep` is false.
    pub fn keep(&mut self, keep: impl Fn(usize) -> bool) {
        self.values.iter_mut().enumerate().filter(|(step, _)| !keep(*step)).for_each(|(_, value)| *value = ABSENT);
        self.histograms.retain(|(step, _)| keep(*step as usize));
    }

    /// Applies to every number; histograms go. The result is no longer the metric.
    pub fn apply(&mut self, kernel: impl Fn(f64) -> f64) {
        self.values.iter_mut().filter(|value| !is_absent(**value)).for_each(|value| *value = kernel(*value));
        self.histograms.clear();
        self.drop_name = true;
    }

    /// The sample of the first step at each of `steps`.
    pub fn spread(&mut self, steps: usize) {
        let value = self.values.first().copied().unwrap_or(ABSENT);
        self.values.clear();
        self.values.resize(steps, value);
        if let Some((_, histogram)) = self.histograms.first().cloned() {
            self.histograms = (0..steps).map(|step| (step as u32, histogram.clone())).collect();
        }
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        size_of::<Self>() as u64 + self.values.len() as u64 * 8 + label_bytes(&self.labels) + histogram_bytes(&self.histograms)
    }
}

/// Memory that histograms take; one that stands at several steps in a row is there once.
fn histogram_bytes(histograms: &[(u32, Arc<Histogram>)]) -> u64 {
    let mut bytes = std::mem::size_of_val(histograms);
    for (i, (_, histogram)) in histograms.iter().enumerate() {
        if i == 0 || !Arc::ptr_eq(&histograms[i - 1].1, histogram) {
            bytes += histogram.memory();
        }
    }
    bytes as u64
}

/// What an expression evaluates to.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// One number a step.
    Scalar(Vec<f64>),
    /// A string.
    Text(String),
    /// Rows.
    Vector(Vec<Row>),
}

impl Value {
    /// Memory that it takes: 8 bytes a value, and labels.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Scalar(values) => values.len() as u64 * 8,
            Self::Text(text) => text.len() as u64,
            Self::Vector(rows) => rows.iter().map(Row::bytes).sum(),
        }
    }

    /// The same value at each of `steps`.
    pub fn broadcast(self, steps: usize) -> Self {
        let spread = |values: Vec<f64>| vec![values.first().copied().unwrap_or(ABSENT); steps];
        match self {
            Self::Scalar(values) => Self::Scalar(spread(values)),
            Self::Text(text) => Self::Text(text),
            Self::Vector(mut rows) => {
                rows.iter_mut().for_each(|row| row.spread(steps));
                Self::Vector(rows)
            }
        }
    }

    /// A vector's rows. The parser has checked the type.
    pub fn rows(self) -> Result<Vec<Row>, QueryError> {
        match self {
            Self::Vector(rows) => Ok(rows),
            _ => Err(QueryError::execution("an instant vector was expected")),
        }
    }

    /// A scalar's values. The parser has checked the type.
    pub fn scalars(self) -> Result<Vec<f64>, QueryError> {
        match self {
            Self::Scalar(values) => Ok(values),
            _ => Err(QueryError::execution("a scalar was expected")),
        }
    }

    /// A string. The parser has checked the type.
    pub fn text(self) -> Result<String, QueryError> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(QueryError::execution("a string was expected")),
        }
    }
}
