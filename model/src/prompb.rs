//! Prometheus' messages of samples: those of remote write 1.0 and 2.0, and what remote read shares with them. Whoever sends uses them:
//! remote read's answers, remote write out (its histograms and metadata; labels and samples it writes itself), tests and benches. The
//! collector reads what it is sent by another hand, where the bytes lie.
//! Source: prompb/{remote,types}.proto and prompb/io/prometheus/write/v2/types.proto of Prometheus.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;

use crate::histogram;
use crate::metric::MetricKind;

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MetricMetadata {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    #[prost(string, tag = "4")]
    pub help: String,
    #[prost(string, tag = "5")]
    pub unit: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// Strings there; bytes here, so that a test can send what is none.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// 2.0 alone.
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// Of both versions.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    /// 2.0 alone.
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Request2 {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar2>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata2>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Exemplar2 {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Metadata2 {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

/// Labels of a series.
pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Label> {
    pairs.into_iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect()
}

/// A request of 1.0 as one of 2.0 says it: names and values once.
pub fn upgrade(request: &WriteRequest) -> Request2 {
    let mut symbols = Symbols::default();
    let metadata: HashMap<&[u8], &MetricMetadata> =
        request.metadata.iter().map(|own| (own.metric_family_name.as_bytes(), own)).collect();
    let timeseries = request.timeseries.iter().map(|series| {
        let own = series.labels.iter().find(|label| label.name == b"__name__").and_then(|name| metadata.get(&name.value[..]));
        TimeSeries2 {
            labels_refs: references(&mut symbols, &series.labels),
            samples: series.samples.clone(),
            histograms: series.histograms.clone(),
            exemplars: series
                .exemplars
                .iter()
                .map(|own| Exemplar2 {
                    labels_refs: references(&mut symbols, &own.labels),
                    value: own.value,
                    timestamp: own.timestamp,
                })
                .collect(),
            metadata: own.map(|own| Metadata2 {
                r#type: own.r#type,
                help_ref: symbols.place(own.help.as_bytes()),
                unit_ref: symbols.place(own.unit.as_bytes()),
            }),
        }
    });
    let timeseries = timeseries.collect();
    Request2 { symbols: symbols.texts().map(<[u8]>::to_vec).collect(), timeseries }
}

fn references(symbols: &mut Symbols, labels: &[Label]) -> Vec<u32> {
    labels.iter().flat_map(|label| [symbols.place(&label.name), symbols.place(&label.value)]).collect()
}

/// Texts of a request of 2.0, each once; the first is the empty one.
pub struct Symbols {
    places: HashMap<Arc<[u8]>, u32>,
    texts: Vec<Arc<[u8]>>,
    bytes: usize,
}

impl Default for Symbols {
    fn default() -> Self {
        let empty: Arc<[u8]> = Arc::new([]);
        Self { places: HashMap::from([(Arc::clone(&empty), 0)]), texts: vec![empty], bytes: 0 }
    }
}

impl Symbols {
    /// The number of a text, which is given one where it has none.
    pub fn place(&mut self, text: &[u8]) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let (place, text): (u32, Arc<[u8]>) = (self.texts.len() as u32, text.into());
        self.bytes += text.len();
        self.places.insert(Arc::clone(&text), place);
        self.texts.push(text);
        place
    }

    /// By number.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.texts.iter().map(|text| &**text)
    }

    /// Of all texts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Histogram {
    /// Integers as they were sent, floats as floats.
    pub fn of(own: &histogram::Histogram, timestamp: i64) -> Self {
        let spans = |side: &histogram::Buckets| {
            side.spans.iter().map(|span| BucketSpan { offset: span.offset, length: span.length }).collect()
        };
        let deltas = |side: &histogram::Buckets| {
            let mut before = 0;
            let delta = |count: &f64| *count as i64 - std::mem::replace(&mut before, *count as i64);
            side.counts.iter().map(delta).collect()
        };
        let common = Self {
            sum: own.sum,
            schema: i32::from(own.schema),
            zero_threshold: own.zero_threshold,
            negative_spans: spans(&own.negative),
            positive_spans: spans(&own.positive),
            reset_hint: own.reset as i32,
            timestamp,
            custom_values: own.custom_bounds.clone(),
            ..Self::default()
        };
        if own.is_integer {
            Self {
                count_int: Some(own.count as u64),
                zero_count_int: Some(own.zero_count as u64),
                negative_deltas: deltas(&own.negative),
                positive_deltas: deltas(&own.positive),
                ..common
            }
        } else {
            Self {
                count_float: Some(own.count),
                zero_count_float: Some(own.zero_count),
                negative_counts: own.negative.counts.clone(),
                positive_counts: own.positive.counts.clone(),
                ..common
            }
        }
    }
}

/// As both versions number it.
pub fn metric_type(kind: MetricKind) -> i32 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}
