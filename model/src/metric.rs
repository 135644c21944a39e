//! Metric batches: many values of one target that share one timestamp, and the schema that names them.

mod aggregate;
mod extras;

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::label::Labels;
use crate::memory::{allocation, shared};
use crate::time::UnixNanos;
use crate::wire::EncodedSchema;

pub use aggregate::Aggregate;
pub use extras::ChosenColumns;

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

/// Names and labels of the columns of a batch, shared by the batches of a target for as long as they stay the same. What is made of
/// it (its bytes on the wire, its halves) is made once, so series and families are not changed afterwards.
#[derive(Default)]
pub struct Schema {
    /// One a column: `__name__` and the labels that are the series' own, without the target's.
    pub series: Vec<Labels>,
    /// Metadata of the families that occur.
    pub families: Vec<Family>,
    /// As [`crate::wire`] sent or read it.
    pub(crate) encoded: OnceLock<EncodedSchema>,
    weight: OnceLock<usize>,
    halves: OnceLock<[Arc<Schema>; 2]>,
}

impl Schema {
    pub fn new(series: Vec<Labels>, families: Vec<Family>) -> Self {
        Self { series, families, ..Self::default() }
    }

    /// About how many bytes it takes uncompressed on the wire, where a text that neighbours share is written once.
    pub fn weight(&self) -> usize {
        *self.weight.get_or_init(|| {
            let help: usize = self.families.iter().map(|family| family.name.len() + family.help.len() + 8).sum();
            Labels::shared_bytes(&self.series) + help
        })
    }

    /// Its columns in two parts, the same ones each time. Families go with the first: they are of the tenant, not of a column.
    pub fn halves(&self) -> &[Arc<Self>; 2] {
        self.halves.get_or_init(|| {
            let (first, second) = self.series.split_at(self.series.len() / 2);
            [Self::new(first.to_vec(), self.families.clone()), Self::new(second.to_vec(), Vec::new())].map(Arc::new)
        })
    }

    /// Memory behind an `Arc` of it, that of label sets and texts included.
    pub fn memory(&self) -> usize {
        let series: usize = self.series.iter().map(Labels::memory).sum();
        let families: usize = self.families.iter().map(Family::memory).sum();
        let lists =
            allocation(self.series.capacity() * size_of::<Labels>()) + allocation(self.families.capacity() * size_of::<Family>());
        let encoded = self.encoded.get().map_or(0, |encoded| shared(encoded.bytes().len()));
        shared(size_of::<Self>()) + lists + series + families + encoded
    }
}

impl Clone for Schema {
    fn clone(&self) -> Self {
        Self::new(self.series.clone(), self.families.clone())
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        if let (Some(own), Some(other)) = (self.encoded.get(), other.encoded.get())
            && own.bytes() == other.bytes()
        {
            return true;
        }
        self.series == other.series && self.families == other.families
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Schema").field("series", &self.series).field("families", &self.families).finish()
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
