//! Steps, rows over them, and values.

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
}

impl Row {
    /// Whether any step has a sample.
    pub fn is_present(&self) -> bool {
        self.values.iter().any(|value| !is_absent(*value))
    }

    /// Applies to every sample. The result is no longer the metric.
    pub fn apply(&mut self, kernel: impl Fn(f64) -> f64) {
        self.values.iter_mut().filter(|value| !is_absent(**value)).for_each(|value| *value = kernel(*value));
        self.drop_name = true;
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        size_of::<Self>() as u64 + self.values.len() as u64 * 8 + label_bytes(&self.labels)
    }
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
            Self::Vector(rows) => Self::Vector(rows.into_iter().map(|row| Row { values: spread(row.values), ..row }).collect()),
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
