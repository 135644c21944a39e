//! Metric batches: many values of one target that share one timestamp, and the schema that names them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::label::Labels;
use crate::time::UnixNanos;

/// What a series counts, as OpenMetrics and Prometheus name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum MetricKind {
    /// Not said.
    #[default]
    Unknown = 0,
    /// Only grows, but for resets.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Classic histogram series (`_bucket`, `_sum`, `_count`).
    Histogram = 3,
    /// Summary series (quantiles, `_sum`, `_count`).
    Summary = 4,
    /// Information in labels, value 1.
    Info = 5,
    /// One of several states.
    StateSet = 6,
    /// A histogram of current values.
    GaugeHistogram = 7,
}

impl MetricKind {
    /// The name `/api/v1/metadata` uses.
    pub fn name(self) -> &'static str {
        ["unknown", "counter", "gauge", "histogram", "summary", "info", "stateset", "gaugehistogram"][self as usize]
    }
}

/// What is said once per metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Family {
    /// Metric family name as exposed (`http_requests_total` for a counter in the Prometheus text format).
    pub name: String,
    /// What it counts.
    pub kind: MetricKind,
    /// One sentence for people.
    pub help: String,
    /// Unit, or "".
    pub unit: String,
}

/// Names and labels of the columns of a batch. Travels with the first batch of a target and whenever it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// One a column: `__name__` and the labels that are the series' own, without the target's.
    pub series: Vec<Labels>,
    /// Metadata of the families that occur.
    pub families: Vec<Family>,
}

/// One scrape or sampling of one target: column `i` of the schema has the value `values[i]` at `timestamp`.
/// An absent value is [`STALE_NAN`].
#[derive(Clone, Debug, PartialEq)]
pub struct MetricBatch {
    /// The target's labels (`job`, `instance`, resource), added to every series. The series' own labels are already
    /// resolved against them (`honor_labels` is the collector's affair).
    pub target: Labels,
    /// Shared between the batches of one target. A section is self-contained: it carries its schema.
    pub schema: Arc<Schema>,
    /// Rows, ascending by timestamp.
    pub rows: Vec<MetricRow>,
}

/// One timestamp of a [`MetricBatch`].
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// Of all values of the row. Millisecond precision where Prometheus' APIs are concerned.
    pub timestamp: UnixNanos,
    /// As long as the schema's series. Bits are kept, NaN payloads included.
    pub values: Vec<f64>,
}

/// Prometheus' staleness marker, a NaN of its own: `model/value/value.go` of Prometheus.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// See [`STALE_NAN_BITS`].
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a value is the staleness marker (and not just any NaN).
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
