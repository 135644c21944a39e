//! What clients push, over real sockets: taken, refused, and refused how.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_model::config::ByteSize;
use weir_model::log::LogBatch;
use weir_model::metric::MetricBatch;
use weir_model::signal::Signal;
use weir_model::span::SpanBatch;
use weir_model::time::{SECOND, UnixNanos};

use crate::Retention;
use crate::config::{PushConfig, ShipConfig};
use crate::metrics::CollectorMetrics;
use crate::push::PushService;
use crate::ship::{Lanes, Shipper};
use crate::testing::{TestLog, granted};
use crate::{elasticsearch, influx, loki_push, otlp, push_gateway, remote_write};

pub(crate) struct Server {
    pub(crate) log: Arc<TestLog>,
    pub(crate) metrics: CollectorMetrics,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    service: PushService,
    /// Dropping them ends them.
    _lanes: Lanes,
}

pub(crate) async fn start() -> Server {
    start_at(7, Retention::default()).await
}

pub(crate) async fn start_at(now: UnixNanos, retention: Retention) -> Server {
    let log = TestLog::new(2);
    let ship = ShipConfig { linger: Duration::from_millis(1), ..ShipConfig::default() };
    let metrics = CollectorMetrics::default();
    let (shipper, lanes) = Shipper::start(log.clone(), &ship, metrics.ship.clone(), CancellationToken::new()).await.unwrap();
    let config = PushConfig {
        body_max: ByteSize::bytes(10_000),
        decompressed_max: ByteSize::bytes(20_000),
        patience: Duration::from_millis(200),
        body_idle_max: Duration::from_millis(500),
        ..PushConfig::default()
    };
    let service = PushService::new(shipper, config, metrics.clone(), Arc::new(move || now)).with_retention(retention);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = loki_push::router(service.clone()).merge(otlp::http::router(service.clone()));
    let routes = routes.merge(otlp::http::loki_router(service.clone())).merge(elasticsearch::router(service.clone()));
    let routes = routes.merge(influx::router(service.clone())).merge(otlp::http::prometheus_router(service.clone()));
    let routes = routes.merge(push_gateway::router(service.clone())).merge(remote_write::router(service.clone()));
    let routes = granted(routes);
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    Server { log, metrics, url, client: weir_tls::client(), service, _lanes: lanes }
}

impl Server {
    pub(crate) async fn post(&self, path: &str, kind: &str, encoding: &str, body: impl Into<Vec<u8>>) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", kind).body(body.into());
        let request = if encoding.is_empty() { request } else { request.header("content-encoding", encoding) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn check(&self, path: &str, body: &str, status: u16, part: &str) {
        let (seen, text) = self.post(path, "application/json", "", body).await;
        assert_eq!(seen, status, "{body}: {text}");
        assert!(text.contains(part), "{body}: {text}");
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.log.lines().into_values().flatten().collect();
        lines.sort();
        lines
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn loki() {
    let server = start().await;
    let path = "/loki/api/v1/push";
    let good = r#"{"streams":[{"stream":{"a":"b"},"values":[["1","one"],["2","two",{"trace-id":"x"}]]}]}"#;
    server.check(path, good, 204, "").await;
    server.check(path, good, 204, "").await;
    assert_eq!(server.lines(), ["one", "two"], "the second attempt is known by its digest");
    server.check(path, r#"{"streams":[{"stream":{"a":"b"},"values":[]}]}"#, 204, "").await;
    let required = "error at least one valid stream is required for ingestion";
    for none in [r#"{"streams":[]}"#, r#"{"streams":null}"#, "{}"] {
        server.check(path, none, 422, required).await;
    }
    let none = "error at least one label pair is required per stream";
    server.check(path, r#"{"streams":[{"stream":{},"values":[["1","x"]]}]}"#, 400, none).await;
    server.check(path, r#"{"streams":[{"stream":{"a":"b"},"values":[["soon","x"]]}]}"#, 400, "nanoseconds").await;
    server.check(path, "{", 400, "json").await;
    let (status, text) = server.post(path, "text/plain", "", good).await;
    assert!(status == 400 && text.contains("JSON needs application/json"), "{status} {text}");
    assert_eq!(server.post(path, "Application/JSON; charset=utf-8", "", good).await.0, 204);
    let empty = snap::raw::Encoder::new().compress_vec(&[0x0a, 9, 0x0a, 7, b'{', b'a', b'=', b'"', b'b', b'"', b'}']).unwrap();
    for kind in ["", "application/protobuf", "application/octet-stream", "text/plain"] {
        assert_eq!(server.post(path, kind, "", empty.clone()).await.0, 204, "{kind}");
    }
    assert_eq!(server.post(path, "application/json", "gzip", gzip(good.as_bytes())).await.0, 204);
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    raw.write_all(good.as_bytes()).unwrap();
    assert_eq!(server.post(path, "application/json", "deflate", raw.finish().unwrap()).await.0, 204);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(good.as_bytes()).unwrap();
    assert_eq!(server.post(path, "application/json", "deflate", zlib.finish().unwrap()).await.0, 204);
    assert_eq!(server.post(path, "application/json", "", vec![b' '; 10_001]).await.0, 413);
    assert_eq!(server.post(path, "application/json", "gzip", gzip(&[b' '; 20_001])).await.0, 413);
    assert_eq!(server.post(path, "application/x-protobuf", "", "\u{1}nonsense").await.0, 400);
    // A declared size beyond reason is refused before anything is allocated.
    assert_eq!(server.post(path, "application/x-protobuf", "", [0xff, 0xff, 0xff, 0xff, 0x0f, 0]).await.0, 413);
}

/// Equal pushes of two tenants are two, in the records and in the digests that tell repetitions; a push without a tenant is nobody's.
#[tokio::test]
async fn a_push_is_the_tenant_s_that_the_request_is_granted() {
    let server = start().await;
    let line = r#"{"streams":[{"stream":{"a":"b"},"values":[["1","one"]]}]}"#;
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","body":{"stringValue":"two"}}]}]}]}"#;
    for tenant in ["shop", "bank", "shop"] {
        for (path, body) in [("/loki/api/v1/push", line), ("/v1/logs", logs)] {
            let request = server.client.post(format!("{}{path}", server.url)).header("content-type", "application/json");
            let answer = request.header("x-scope-orgid", tenant).body(body).send().await.unwrap();
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
        }
    }
    let old = r#"{"streams":[{"stream":{"a":"b"},"values":[["9223372036854775807","late"]]}]}"#;
    let request = server.client.post(format!("{}/loki/api/v1/push", server.url)).header("content-type", "application/json");
    assert_eq!(request.header("x-scope-orgid", "bank").body(old).send().await.unwrap().status().as_u16(), 400);
    assert_eq!(
        (server.metrics.dropped_of("loki_push", "bank", "too_new"), server.metrics.dropped_of("loki_push", "shop", "too_new")),
        (1, 0)
    );
    let sections: Vec<_> = server.log.sections::<LogBatch>().into_iter().flatten().collect();
    for tenant in ["shop", "bank"] {
        let own = sections.iter().filter(|section| section.header.tenant == tenant);
        let digests: std::collections::HashSet<_> = own.map(|section| format!("{:?}", section.header.mark)).collect();
        assert_eq!(digests.len(), 2, "{tenant}: one of each protocol");
    }
    assert_eq!(server.lines(), ["one", "one", "two", "two"]);
    let ungated = loki_push::router(server.service.clone()).into_router();
    let request = axum::http::Request::post("/loki/api/v1/push").body(axum::body::Body::from(line)).unwrap();
    assert_eq!(tower::ServiceExt::oneshot(ungated, request).await.unwrap().status().as_u16(), 500);
}

#[tokio::test]
async fn otlp() {
    let server = start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let spans = |trace: &str| {
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace}","spanId":"00f067aa0ba902b7","name":"a","startTimeUnixNano":"1","endTimeUnixNano":"2"}}]}}]}}]}}"#
        )
    };
    server.check("/v1/traces", &spans(trace), 200, "").await;
    server.check("/v1/traces", &spans(&"0".repeat(32)), 200, "all zero").await;
    server.check("/v1/traces", "{", 400, "json").await;
    assert_eq!(server.post("/v1/traces", "application/x-protobuf", "gzip", "no gzip").await.0, 400);
    assert_eq!(server.post("/v1/traces", "text/plain", "", "").await.0, 415);
    let stored: Vec<_> = server.log.sections::<SpanBatch>().into_iter().flatten().collect();
    let batch = &stored[0].batch;
    assert_eq!((stored.len(), batch.spans.get(0).trace_id().to_string()), (1, trace.to_owned()));
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","body":{"stringValue":"hello"}}]}]}]}"#;
    server.check("/v1/logs", logs, 200, "").await;
    assert_eq!(server.lines(), ["hello"]);
    server.log.flow(false);
    server.check("/v1/logs", &logs.replace("hello", "again"), 503, "in time").await;
}

#[tokio::test]
async fn level_and_trace_are_what_the_client_says_else_what_the_line_says() {
    let server = start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let values = format!(r#"["1","ERROR one"],["2","ERROR two",{{"level":"debug","traceID":"{trace}"}}]"#);
    let streams = format!(
        r#"{{"stream":{{"a":"b","level":"warn"}},"values":[{values}]}},{{"stream":{{"a":"b"}},"values":[["3","ERROR three"]]}}"#
    );
    server.check("/loki/api/v1/push", &format!(r#"{{"streams":[{streams}]}}"#), 204, "").await;
    let records = [
        r#""severityNumber":9,"severityText":"WARN","body":{"stringValue":"ERROR four"}"#.to_owned(),
        r#""severityText":"Critical","body":{"stringValue":"ERROR five"}"#.to_owned(),
        r#""attributes":[{"key":"level","value":{"stringValue":"debug"}}],"body":{"stringValue":"ERROR six"}"#.to_owned(),
        format!(r#""body":{{"stringValue":"ERROR seven trace_id={trace}"}}"#),
    ];
    let records: Vec<String> = records.iter().map(|record| format!(r#"{{"timeUnixNano":"5",{record}}}"#)).collect();
    let logs = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, records.join(","));
    server.check("/v1/logs", &logs, 200, "").await;
    let sections: Vec<_> = server.log.sections::<LogBatch>().into_iter().flatten().collect();
    let lines = sections.iter().flat_map(|section| {
        section
            .batch
            .iter()
            .map(|line| (String::from_utf8_lossy(line.body).into_owned(), line.severity, line.trace_id.to_string() == trace))
    });
    let mut found: Vec<(String, u8, bool)> =
        lines.map(|(body, level, traced)| (body[6..11.min(body.len())].to_owned(), level, traced)).collect();
    found.sort();
    let expected = [
        ("five", 22, false),
        ("four", 9, false),
        ("one", 13, false),
        ("seven", 17, true),
        ("six", 5, false),
        ("three", 17, false),
        ("two", 5, true),
    ];
    assert_eq!(found, expected.map(|(body, level, traced)| (body.to_owned(), level, traced)));
}

const DAY: u64 = 86_400;
/// 2023-11-14T22:13:20Z
const NOW: i64 = 1_700_000_000;

async fn keeping(days: u64) -> Server {
    let kept = Duration::from_secs(days * DAY);
    start_at(NOW * SECOND, Retention { logs: kept, metrics: kept, spans: kept }).await
}

impl Server {
    fn dropped(&self, source: &'static str) -> (u64, u64) {
        let of = |reason| self.metrics.dropped_of(source, "t", reason);
        (of("too_old"), of("too_new"))
    }

    fn records<S: Signal>(&self) -> u64 {
        self.log.sections::<S>().iter().flatten().map(|section| section.batch.records()).sum()
    }
}

#[tokio::test]
async fn loki_refuses_lines_that_would_not_be_kept_and_stores_the_others() {
    let server = keeping(14).await;
    let path = "/loki/api/v1/push";
    let entry = |seconds: i64, line: &str| format!(r#"["{}","{line}"]"#, seconds * SECOND);
    let stream = |entries: &[String]| format!(r#"{{"stream":{{"a":"b"}},"values":[{}]}}"#, entries.join(","));
    let push = |streams: &[String]| format!(r#"{{"streams":[{}]}}"#, streams.join(","));
    let oldest = NOW - 14 * 86_400;
    let old = push(&[stream(&[entry(oldest - 1, "old")])]);
    let words = "entry for stream '{a=\"b\"}' has timestamp too old: 2023-10-31T22:13:19Z, oldest acceptable timestamp is: \
                 2023-10-31T22:13:20Z (kept for 14d); 1 of 1 lines refused";
    server.check(path, &old, 400, words).await;
    assert!(server.lines().is_empty());
    assert_eq!(server.dropped("loki_push"), (1, 0));
    let mixed = push(&[
        stream(&[entry(NOW, "now"), entry(0, "1970"), entry(oldest, "oldest"), entry(NOW + 600, "ahead")]),
        stream(&[entry(NOW + 601, "too far")]),
    ]);
    server.check(path, &mixed, 400, "2 of 5 lines refused, others stored").await;
    assert_eq!(server.lines(), ["ahead", "now", "oldest"]);
    assert_eq!(server.dropped("loki_push"), (2, 1));
    server.check(path, &push(&[stream(&[entry(NOW + 601, "too far")])]), 400, "has timestamp too new").await;
    // What was stored is known when the good lines come again.
    server.check(path, &push(&[stream(&[entry(NOW, "now"), entry(oldest, "oldest"), entry(NOW + 600, "ahead")])]), 204, "").await;
    assert_eq!(server.lines(), ["ahead", "now", "oldest"]);
}

#[tokio::test]
async fn otlp_refuses_records_that_would_not_be_kept_by_partial_success() {
    let server = keeping(14).await;
    let times = [NOW, NOW - 14 * 86_400 - 1, 1, NOW + 601].map(|seconds| seconds * SECOND);
    let list = |one: &dyn Fn(i64) -> String| times.iter().map(|at| one(*at)).collect::<Vec<_>>().join(",");
    let records = list(&|at| format!(r#"{{"timeUnixNano":"{at}","body":{{"stringValue":"at {at}"}}}}"#));
    let logs = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
    server.check("/v1/logs", &logs, 200, "\"rejectedLogRecords\":3").await;
    server.check("/v1/logs", &logs, 200, "log record has timestamp too old: 2023-10-31T22:13:19Z").await;
    assert_eq!(server.lines(), [format!("at {}", times[0])]);
    assert_eq!(server.dropped("otlp"), (4, 2));
    let points = list(&|at| format!(r#"{{"timeUnixNano":"{at}","asDouble":1}}"#));
    let metrics = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{points}]}}}}]}}]}}]}}"#
    );
    server.check("/v1/metrics", &metrics, 200, "\"rejectedDataPoints\":3").await;
    assert_eq!((server.records::<MetricBatch>(), server.dropped("otlp")), (1, (6, 3)));
    let span = |at| {
        let end = at + SECOND;
        format!(
            r#"{{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","name":"a","startTimeUnixNano":"{at}","endTimeUnixNano":"{end}"}}"#
        )
    };
    let traces = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, list(&span));
    server.check("/v1/traces", &traces, 200, "\"rejectedSpans\":3").await;
    assert_eq!((server.records::<SpanBatch>(), server.dropped("otlp")), (1, (8, 4)));
}

#[tokio::test]
async fn what_is_kept_for_ever_is_never_too_old() {
    let server = start_at(NOW * SECOND, Retention::default()).await;
    server.check("/loki/api/v1/push", r#"{"streams":[{"stream":{"a":"b"},"values":[["-1","x"],["1","y"]]}]}"#, 204, "").await;
    assert_eq!(server.lines(), ["x", "y"]);
}

#[tokio::test]
async fn half_sent_bodies_stop_nobody_and_are_given_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let server = start().await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut halves = Vec::new();
    for path in ["/loki/api/v1/push", "/v1/logs"].into_iter().cycle().take(2 * PushConfig::default().requests_max) {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n{{");
        socket.write_all(head.as_bytes()).await.unwrap();
        halves.push(socket);
    }
    let good = r#"{"streams":[{"stream":{"a":"b"},"values":[["1","one"]]}]}"#;
    server.check("/loki/api/v1/push", good, 204, "").await;
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","body":{"stringValue":"two"}}]}]}]}"#;
    server.check("/v1/logs", logs, 200, "").await;
    assert_eq!(server.lines(), ["one", "two"]);
    for mut socket in halves {
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), "HTTP/1.1 408");
    }
    let slow = |source| server.metrics.events_of(source, "slow_body");
    assert_eq!((slow("loki_push"), slow("otlp_http")), (64, 64));
    assert_eq!(server.metrics.inflight_bytes.get(), 0);
}
