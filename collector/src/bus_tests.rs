//! The collector as it is started by the binary, on the real disk log: what clients push over real sockets is read back from
//! a log that was closed and opened again, each record once and as it was sent.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use weir_bus::disk::{DiskConfig, DiskLog};
use weir_bus::{BusMetrics, Event, Log};
use weir_model::label::NAME;
use weir_model::log::LogBatch;
use weir_model::metric::MetricBatch;
use weir_model::signal::Signal;
use weir_model::span::{self, SpanBatch};
use weir_model::wire::{self, Frame, Kind, Limits, Mark, Section};

use crate::collector::{Collector, Deps};
use crate::config::CollectorConfig;
use crate::loki_push::logproto;
use crate::testing::granted;

const TRACE: [u8; 16] = [7; 16];

/// What is stored: text of records, sorted.
#[derive(Debug, Default, PartialEq)]
struct Stored {
    /// `stream timestamp body attributes`
    lines: Vec<String>,
    /// `name trace/span start..end`
    spans: Vec<String>,
    /// `target series timestamp value`
    values: Vec<String>,
}

fn open(path: &Path) -> DiskLog {
    let config = DiskConfig { path: path.to_owned(), partitions: 3, ..DiskConfig::default() };
    DiskLog::open(config, BusMetrics::default()).unwrap()
}

fn resource(service: &str) -> Option<Resource> {
    Some(Resource { attributes: vec![pair("service.name", service)], ..Resource::default() })
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: any(value), ..KeyValue::default() }
}

fn any(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(text.into())) })
}

fn logs(service: &str, count: u64) -> ExportLogsServiceRequest {
    let record = |i: u64| LogRecord {
        time_unix_nano: 1_000 + i,
        body: any(&format!("{service} line {i}")),
        attributes: vec![pair("i", &i.to_string())],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: (0..count).map(record).collect(), ..ScopeLogs::default() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: resource(service), scope_logs, ..ResourceLogs::default() }],
    }
}

fn spans(service: &str, count: u8) -> ExportTraceServiceRequest {
    let span = |i: u8| Span {
        trace_id: TRACE.to_vec(),
        span_id: vec![service.len() as u8, 1, 1, 1, 1, 1, 1, i + 1],
        name: format!("{service} {i}"),
        start_time_unix_nano: 5,
        end_time_unix_nano: 9,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: (0..count).map(span).collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: resource(service), scope_spans, ..ResourceSpans::default() }],
    }
}

fn metrics(service: &str, value: i64) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: 3_000_000,
        value: Some(number_data_point::Value::AsInt(value)),
        ..NumberDataPoint::default()
    };
    let gauge = metric::Data::Gauge(Gauge { data_points: vec![point] });
    let metric = Metric { name: "queue.depth".into(), data: Some(gauge), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(service), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn loki(count: i32) -> Vec<u8> {
    let entry = |i: i32| logproto::Entry {
        timestamp: Some(logproto::Timestamp { seconds: 2, nanos: i }),
        line: format!("loki line {i} ü").into_bytes(),
        metadata: vec![logproto::Pair { name: "user".into(), value: format!("u{i}") }],
    };
    let (labels, entries) = (r#"{app="loki", env="test"}"#.into(), (0..count).map(entry).collect());
    let request = logproto::PushRequest { streams: vec![logproto::Stream { labels, entries, hash: 0 }] };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn push_grpc(address: &str) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let gzip = CompressionEncoding::Gzip;
    let mut client = LogsServiceClient::new(channel.clone()).send_compressed(gzip).accept_compressed(gzip);
    let answer = client.export(logs("grpc", 100)).await.unwrap();
    assert!(answer.into_inner().partial_success.is_none_or(|partial| partial.rejected_log_records == 0));
    TraceServiceClient::new(channel.clone()).export(spans("grpc", 3)).await.unwrap();
    MetricsServiceClient::new(channel).export(metrics("grpc", 7)).await.unwrap();
}

async fn push_http(address: &str) {
    let client = weir_tls::client();
    let all = [
        ("/v1/logs", logs("http", 50).encode_to_vec(), "gzip", "application/x-protobuf", 200),
        ("/v1/traces", spans("http-", 2).encode_to_vec(), "gzip", "application/x-protobuf", 200),
        ("/v1/metrics", metrics("http", 8).encode_to_vec(), "gzip", "application/x-protobuf", 200),
        ("/loki/api/v1/push", loki(20), "snappy", "application/x-protobuf", 204),
    ];
    for (path, body, encoding, kind, expected) in all {
        let body = if encoding == "gzip" { gzip(&body) } else { body };
        let request = client.post(format!("http://{address}{path}")).header("content-type", kind);
        let answer = request.header("content-encoding", encoding).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{path}");
    }
}

/// Starts a collector on the log, pushes everything, and ends it in order.
async fn push_all(log: Arc<dyn Log>, data: &Path) {
    let shutdown = CancellationToken::new();
    let mut config = CollectorConfig::default();
    (config.files.containers, config.sample.enabled) = (false, false);
    let deps = Deps {
        limits: Default::default(),
        bus: log,
        registry: &mut prometheus_client::registry::Registry::default(),
        clock: Arc::new(|| 11),
        node: "n".into(),
        inventory: weir_runtime::containers::InventoryConfig::default(),
        retention: crate::Retention::default(),
        data: data.to_owned(),
        outages: weir_model::outage::Outages::default(),
        shutdown: shutdown.clone(),
    };
    let collector = Collector::start(config, deps).await.unwrap();
    let bind = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (grpc, http) = (bind().await, bind().await);
    let (grpc_address, http_address) = (grpc.local_addr().unwrap().to_string(), http.local_addr().unwrap().to_string());
    let serve = |listener, routes| {
        let stop = shutdown.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(listener, routes).with_graceful_shutdown(stop).await })
    };
    let grpc = serve(grpc, granted(collector.otlp_grpc_router()));
    let http = serve(http, granted(collector.otlp_http_router().merge(collector.push_router())));
    push_grpc(&grpc_address).await;
    push_http(&http_address).await;
    shutdown.cancel();
    grpc.await.unwrap().unwrap();
    http.await.unwrap().unwrap();
    collector.join().await;
}

async fn read_back(log: &DiskLog) -> Stored {
    let topics: Vec<&str> = [Kind::Logs, Kind::Metrics, Kind::Spans].into_iter().map(Kind::topic).collect();
    let mut consumer = log.consume(&topics, "m").await.unwrap();
    let mut left = 0;
    let (mut stored, mut digests, mut ends) = (Stored::default(), HashSet::new(), BTreeMap::new());
    loop {
        match consumer.next().await.unwrap() {
            Event::Assigned(places) => {
                for place in places {
                    let (first, next) = log.bounds(&place).await.unwrap();
                    consumer.seek(&place, first).await.unwrap();
                    left += next - first;
                    ends.insert(place, next);
                }
            }
            Event::Records(records) => {
                for record in records {
                    assert!(record.offset < ends[&record.place], "{record:?}");
                    left -= 1;
                    decode(&record.value, &mut stored, &mut digests);
                }
            }
            other => panic!("{other:?}"),
        }
        if left == 0 && ends.len() == 9 {
            stored.lines.sort();
            stored.spans.sort();
            stored.values.sort();
            return stored;
        }
    }
}

fn decode(record: &[u8], stored: &mut Stored, digests: &mut HashSet<[u8; 16]>) {
    match Frame::read(record, &Limits::default()).unwrap().kind() {
        Kind::Logs => fresh::<LogBatch>(record, digests).iter().for_each(|batch| {
            stored.lines.extend(batch.iter().map(|line| {
                let body = String::from_utf8_lossy(line.body);
                format!("{} {} {body} {}", batch.stream, line.timestamp, line.attributes.to_labels())
            }));
        }),
        Kind::Spans => fresh::<SpanBatch>(record, digests).iter().for_each(|batch| {
            let text = |span: span::SpanRef<'_>| {
                format!("{} {}/{} {}..{}", span.name(), span.trace_id(), span.span_id(), span.start(), span.end())
            };
            stored.spans.extend(batch.spans.iter().map(text));
        }),
        Kind::Metrics => {
            for batch in fresh::<MetricBatch>(record, digests) {
                for row in &batch.rows {
                    let values = batch.schema.series.iter().zip(&row.values);
                    let ours = values.filter(|(series, _)| series.get(NAME) == "queue_depth");
                    stored.values.extend(ours.map(|(_, value)| format!("{} {} {value}", batch.target.get("job"), row.timestamp)));
                }
            }
        }
    }
}

/// The batches of a record, each for the first time.
fn fresh<S: Signal>(record: &[u8], digests: &mut HashSet<[u8; 16]>) -> Vec<Arc<S>> {
    let mut batches = Vec::new();
    for Section { header, batch } in wire::decode::<S>(record, &Limits::default()).unwrap() {
        assert_eq!(header.tenant, if header.source.starts_with("self_report:") { "default" } else { "t" });
        // The collector's own word on how it fares.
        if header.source.starts_with("self_report:") {
            continue;
        }
        let Mark::Digest(digest) = header.mark else { panic!("pushes are known by digest: {header:?}") };
        assert!(digests.insert(digest), "{header:?} twice");
        batches.push(batch);
    }
    batches
}

fn expected() -> Stored {
    let line = |service: &str, i: u64| format!(r#"{{service_name="{service}"}} {} {service} line {i} {{i="{i}"}}"#, 1_000 + i);
    let mut lines: Vec<String> = (0..100).map(|i| line("grpc", i)).chain((0..50).map(|i| line("http", i))).collect();
    lines.extend((0..20).map(|i| format!(r#"{{app="loki", env="test"}} {} loki line {i} ü {{user="u{i}"}}"#, 2_000_000_000 + i)));
    lines.sort();
    let trace = "07".repeat(16);
    let span = |service: &str, length: u8, i: u8| format!("{service} {i} {trace}/{length:02x}010101010101{:02x} 5..9", i + 1);
    let mut spans: Vec<String> = (0..3).map(|i| span("grpc", 4, i)).chain((0..2).map(|i| span("http-", 5, i))).collect();
    spans.sort();
    Stored { lines, spans, values: vec!["grpc 3000000 7".into(), "http 3000000 8".into()] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_is_on_the_disk_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus");
    push_all(Arc::new(open(&path)), &directory.path().join("data")).await;
    let log = open(&path);
    let stored = tokio::time::timeout(Duration::from_secs(60), read_back(&log)).await.expect("the log is read to its end");
    assert_eq!(stored, expected());
}
