//! What clients push, over real sockets: taken, refused, and refused how.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_model::wire::{Body, Kind};

use crate::config::{PushConfig, ShipConfig};
use crate::metrics::CollectorMetrics;
use crate::push::PushContext;
use crate::ship::{Lanes, Shipper};
use crate::testing::TestLog;
use crate::{loki_push, otlp};

struct Server {
    log: Arc<TestLog>,
    url: String,
    client: reqwest::Client,
    /// Dropping them ends them.
    _lanes: Lanes,
}

async fn start() -> Server {
    let log = TestLog::new(2);
    let ship = ShipConfig { linger: Duration::from_millis(1), ..ShipConfig::default() };
    let metrics = CollectorMetrics::default();
    let (shipper, lanes) = Shipper::start(log.clone(), &ship, metrics.ship.clone(), CancellationToken::new()).await.unwrap();
    let config = PushConfig {
        body_bytes_max: 10_000,
        decompressed_bytes_max: 20_000,
        patience: Duration::from_millis(200),
        ..PushConfig::default()
    };
    let context = PushContext::new(shipper, "t", config, metrics, Arc::new(|| 7));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = loki_push::router(context.clone()).merge(otlp::http::router(context));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    Server { log, url, client: reqwest::Client::new(), _lanes: lanes }
}

impl Server {
    async fn post(&self, path: &str, kind: &str, encoding: &str, body: impl Into<Vec<u8>>) -> (u16, String) {
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

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.log.lines().into_values().flatten().collect();
        lines.sort();
        lines
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
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
    server.check(path, r#"{"streams":[]}"#, 422, "no streams").await;
    server.check(path, r#"{"streams":[{"stream":{},"values":[["1","x"]]}]}"#, 400, "at least one label").await;
    server.check(path, r#"{"streams":[{"stream":{"a":"b"},"values":[["soon","x"]]}]}"#, 400, "nanoseconds").await;
    server.check(path, "{", 400, "json").await;
    assert_eq!(server.post(path, "text/plain", "", "x").await.0, 415);
    assert_eq!(server.post(path, "application/json", "gzip", gzip(good.as_bytes())).await.0, 204);
    assert_eq!(server.post(path, "application/json", "", vec![b' '; 10_001]).await.0, 413);
    assert_eq!(server.post(path, "application/json", "gzip", gzip(&[b' '; 20_001])).await.0, 413);
    assert_eq!(server.post(path, "application/x-protobuf", "", "\u{1}nonsense").await.0, 400);
    // A declared size beyond reason is refused before anything is allocated.
    assert_eq!(server.post(path, "application/x-protobuf", "", [0xff, 0xff, 0xff, 0xff, 0x0f, 0]).await.0, 413);
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
    let stored: Vec<_> = server.log.sections(Kind::Spans).into_iter().flatten().collect();
    let Body::Spans(batch) = &stored[0].body else { panic!("spans stay spans") };
    assert_eq!((stored.len(), batch.spans[0].trace_id.to_string()), (1, trace.to_owned()));
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","body":{"stringValue":"hello"}}]}]}]}"#;
    server.check("/v1/logs", logs, 200, "").await;
    assert_eq!(server.lines(), ["hello"]);
    server.log.flow(false);
    server.check("/v1/logs", &logs.replace("hello", "again"), 503, "in time").await;
}
