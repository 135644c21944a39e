//! What a target's answer says, in whichever format.

use weir_model::label::Labels;
use weir_model::metric::Family;

/// What a target exposes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// Metadata, in order of appearance.
    pub families: Vec<Family>,
    /// In order of appearance.
    pub samples: Vec<Sample>,
    /// In order of appearance; only OpenMetrics has them.
    pub exemplars: Vec<Exemplar>,
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `__name__` and the labels.
    pub labels: Labels,
    /// Bits as parsed.
    pub value: f64,
    /// Unix nanoseconds, when the target says.
    pub timestamp: Option<i64>,
}

/// A sample's link to something observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Index of its sample in [`Exposition::samples`].
    pub sample: usize,
    /// Often `trace_id` and `span_id`; together at most 128 characters.
    pub labels: Labels,
    /// What was observed.
    pub value: f64,
    /// Unix nanoseconds.
    pub timestamp: Option<i64>,
}

/// What is wrong, and in which line (from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ExpositionError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}
