//! What Prometheus targets answer: the text format 0.0.4 and OpenMetrics 1.0. Sync and pure.
//!
//! - [`line`]: one sample line.
//! - [`text`]: the whole body, lenient as Prometheus is. [`openmetrics`]: the other format, strictly.

use weir_model::label::Labels;
use weir_model::metric::Family;

pub(crate) mod line;
pub mod openmetrics;
pub mod text;

/// What a target exposes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// Metadata, in order of appearance.
    pub families: Vec<Family>,
    /// In order of appearance.
    pub samples: Vec<Sample>,
    /// In order of appearance; only OpenMetrics has them.
    pub exemplars: Vec<openmetrics::Exemplar>,
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

/// What is wrong, and in which line (from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ExpositionError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}
