//! What strangers send.
//!
//! - `fuzz`: every decoder of pushes and scrapes under mutated input, on a small stack and within a limit of memory.
//! - `memory`: what requests take that were made to take much.
//! - `remote_write`: both of that protocol.
//! - `spans`, `logs`, `metrics`, `histograms`: what is read where it lies says what the protocol's structures say.

mod fuzz;
mod histograms;
mod logs;
mod memory;
mod metrics;
mod remote_write;
mod spans;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio_util::sync::CancellationToken;
use weir_model::fuzz::CountingAllocator;
use weir_model::log::LogBatch;
use weir_model::wire::{Kind, Section};

use crate::config::{PushConfig, ShipConfig};
use crate::elasticsearch::bulk::{self, Taken};
use crate::loki_push;
use crate::metrics::CollectorMetrics;
use crate::otlp::config::OtlpConfig;
use crate::otlp::{self, Encoded, Export, Format};
use crate::push::{PushContext, PushService};
use crate::push_error::PushError;
use crate::remote_write as remote_write_api;
use crate::ship::{Lanes, Shipper};
use crate::testing::TestLog;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

pub(crate) struct Bench {
    context: PushContext,
    _lanes: Lanes,
    _runtime: tokio::runtime::Runtime,
}

pub(crate) fn bench(config: PushConfig) -> Bench {
    bench_of(config, OtlpConfig::default())
}

fn bench_of(config: PushConfig, otlp: OtlpConfig) -> Bench {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let metrics = CollectorMetrics::default();
    let ship = ShipConfig::default();
    let started = Shipper::start(TestLog::new(1), &ship, metrics.ship.clone(), CancellationToken::new());
    let (shipper, lanes) = runtime.block_on(started).unwrap();
    let service = PushService::new(shipper, config, metrics, Arc::new(|| 1_700_000_000_000_000_000)).with_otlp(otlp);
    let context = PushContext::new(service, &"t".into());
    Bench { context, _lanes: lanes, _runtime: runtime }
}

impl Bench {
    /// What is counted of series that remote write has named.
    pub(crate) fn series_bytes(&self) -> usize {
        self.context.series.bytes()
    }

    fn otlp<E: Export>(&self, format: Format, bytes: Bytes) -> Result<Vec<Section<E::Batch>>, PushError> {
        self.encoded::<E>(Encoded { bytes, encoding: String::new(), format })
    }

    fn encoded<E: Export>(&self, body: Encoded) -> Result<Vec<Section<E::Batch>>, PushError> {
        otlp::decode::<E>(&self.context, &self.context.admit(), body).map(|outcome| outcome.sections)
    }

    pub(crate) fn loki(&self, kind: &'static str, bytes: Bytes) -> Result<Vec<Section<LogBatch>>, PushError> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        loki_push::decode_sections(&self.context, &self.context.admit(), &headers, bytes)
    }

    fn bulk(&self, index: Option<&str>, bytes: &[u8]) -> Result<Taken, PushError> {
        bulk::sections(&self.context, &self.context.admit(), index, bytes)
    }

    pub(crate) fn remote_write(&self, is_2: bool, bytes: &[u8]) -> Result<remote_write_api::Taken, PushError> {
        remote_write_api::decode_sections(&self.context, &self.context.admit(), is_2, bytes)
    }
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn word(key: &str, value: &str) -> KeyValue {
    pair(key, Any::StringValue(value.into()))
}

fn nested(depth: usize) -> Any {
    (0..depth).fold(Any::IntValue(1), |inner, i| {
        let any = AnyValue { value: Some(inner) };
        if i % 2 == 0 {
            Any::ArrayValue(ArrayValue { values: vec![any] })
        } else {
            Any::KvlistValue(KeyValueList { values: vec![KeyValue { key: "k".into(), value: Some(any), ..KeyValue::default() }] })
        }
    })
}

fn attributes(depth: usize) -> Vec<KeyValue> {
    let bytes = Any::BytesValue(vec![0, 0xff, 7]);
    vec![word("service.name", "shop"), pair("n", Any::DoubleValue(f64::NAN)), pair("b", bytes), pair("deep", nested(depth))]
}

fn resource(depth: usize) -> Option<Resource> {
    Some(Resource { attributes: attributes(depth), ..Resource::default() })
}

fn scope(attributes: Vec<KeyValue>) -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "scope".into(), version: "1".into(), attributes, ..InstrumentationScope::default() })
}

fn logs(scope_attributes: Vec<KeyValue>, depth: usize, records: usize) -> ExportLogsServiceRequest {
    let record = |i: usize| LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000 + i as u64,
        severity_text: "WARN".into(),
        body: Some(AnyValue { value: Some(if i == 0 { nested(depth) } else { Any::StringValue(format!("line {i}")) }) }),
        attributes: vec![word("i", &i.to_string())],
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..LogRecord::default()
    };
    let log_records = (0..records).map(record).collect();
    let scope_logs = vec![ScopeLogs { scope: scope(scope_attributes), log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(depth.min(3)), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

fn histogram(number: usize, buckets: usize, label_bytes: usize) -> Metric {
    let point = HistogramDataPoint {
        attributes: ["a", "b", "c"].map(|name| word(name, &name.repeat(label_bytes))).to_vec(),
        time_unix_nano: 1_700_000_000_000_000_000,
        count: buckets as u64,
        sum: Some(1.0),
        bucket_counts: vec![1; buckets],
        explicit_bounds: (1..buckets).map(|bound| bound as f64).collect(),
        ..HistogramDataPoint::default()
    };
    let data = Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 2 });
    Metric { name: format!("h{number}"), unit: "s".into(), data: Some(data), ..Metric::default() }
}

fn metrics(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { scope: scope(Vec::new()), metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(3), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn gauge() -> Metric {
    let point = NumberDataPoint {
        attributes: attributes(2),
        time_unix_nano: 1_700_000_000_000_000_000,
        value: Some(Number::AsInt(-1)),
        ..NumberDataPoint::default()
    };
    Metric { name: "g".into(), data: Some(Data::Gauge(Gauge { data_points: vec![point] })), ..Metric::default() }
}

fn traces(depth: usize) -> ExportTraceServiceRequest {
    let event = Event { time_unix_nano: 3, name: "e".into(), attributes: attributes(depth), ..Event::default() };
    let link = Link { trace_id: vec![1; 16], span_id: vec![2; 8], attributes: attributes(1), ..Link::default() };
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: "GET /".into(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_500_000_000,
        attributes: attributes(depth),
        events: vec![event],
        links: vec![link],
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { scope: scope(attributes(1)), spans: vec![span.clone(), span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(1), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// A request of a kind and depth, in a format.
fn request(kind: Kind, format: Format, depth: usize) -> Vec<u8> {
    fn write(format: Format, message: &(impl Message + serde::Serialize)) -> Vec<u8> {
        match format {
            Format::Protobuf => message.encode_to_vec(),
            Format::Json => serde_json::to_vec(message).unwrap(),
        }
    }
    match kind {
        Kind::Logs => write(format, &logs(attributes(depth), depth, 3)),
        Kind::Metrics => write(format, &metrics(vec![gauge(), histogram(1, 4, 3), histograms::exponential("e", 2, 1)])),
        Kind::Spans => write(format, &traces(depth)),
    }
}

const LOKI_JSON: &str = r#"{"streams":[{"stream":{"a":"b","c-d":"e"},"values":[["1700000000000000000","one"],["1700000000000000001","level=warn two",{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}]]}]}"#;
