//! Metric batches: many values of one target that share one timestamp, and the schema that names them.

mod aggregate;
mod extras;
mod schema;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::label::Labels;
use crate::memory::allocation;
use crate::time::UnixNanos;

pub use aggregate::Aggregate;
pub use extras::ChosenColumns;
pub use schema::Schema;

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

impl Family {
    /// Memory of its texts.
    pub fn memory(&self) -> usize {
        [&self.name, &self.help, &self.unit].iter().map(|text| allocation(text.len())).sum()
    }
}

/// One scrape or sampling of one target: column `i` of the schema has the value `values[i]` at `timestamp`.
/// An absent value is [`STALE_NAN`].
#[derive(Clone, Debug, PartialEq)]
pub struct MetricBatch {
    /// The target's labels (`job`, `instance`, resource), added to every series. The series' own labels are already
    /// resolved against them (`honor_labels` is the collector's affair).
    pub target: Labels,
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
    /// What few rows have.
    pub extras: Option<Box<RowExtras>>,
}

/// What a row has beside numbers. Columns ascend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowExtras {
    /// The column's sample is this and no number; its value says nothing.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// Of every column, since when it counts, or 0 where that is unknown. Shared by rows for as long as it stays the same.
    pub starts: Option<Arc<[UnixNanos]>>,
    /// Examples of what was counted.
    pub exemplars: Vec<(u32, Exemplar)>,
}

/// One of the events that a series has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Where it leads to: `trace_id` and the like.
    pub labels: Labels,
    pub value: f64,
    /// When it happened; that of the row where nothing was said.
    pub timestamp: UnixNanos,
}

impl MetricRow {
    /// Of numbers alone.
    pub fn new(timestamp: UnixNanos, values: Vec<f64>) -> Self {
        Self { timestamp, values, extras: None }
    }
}

/// Prometheus' staleness marker, a NaN of its own: `model/value/value.go` of Prometheus.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// See [`STALE_NAN_BITS`].
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a value is the staleness marker (and not just any NaN).
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
