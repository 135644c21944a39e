//! What a target's answer says, in whichever format.

use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::label::Labels;
use weir_model::metric::Family;

/// What a target exposes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// Metadata, in order of appearance.
    pub families: Vec<Family>,
    /// In order of appearance.
    pub samples: Vec<Sample>,
    /// In the order of their samples.
    pub exemplars: Vec<Exemplar>,
    /// Exemplars left out, as their labels are too long.
    pub exemplars_too_long: u64,
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
    /// Unix nanoseconds since when it counts, when the target says.
    pub start: Option<i64>,
    /// What it is in place of a number.
    pub histogram: Option<Arc<Histogram>>,
}

impl Sample {
    pub fn number(labels: Labels, value: f64, timestamp: Option<i64>) -> Self {
        Self { labels, value, timestamp, start: None, histogram: None }
    }
}

/// A sample's link to something observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Index of its sample in [`Exposition::samples`].
    pub sample: usize,
    /// Often `trace_id` and `span_id`.
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

/// How an exposition is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// 0.0.4, and whatever has no name.
    Text,
    OpenMetrics,
    /// Messages of `io.prometheus.client.MetricFamily`, each after its length.
    Protobuf,
}

impl Format {
    pub fn of(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(super::openmetrics::CONTENT_TYPE) {
            Self::OpenMetrics
        } else if media_type.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            Self::Protobuf
        } else {
            Self::Text
        }
    }
}
