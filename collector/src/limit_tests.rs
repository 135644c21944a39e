//! Limits by tenant on everything that is pushed: what is refused, by which answer, and what is taken all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use weir_model::limits::{Limits, Overrides, OverridesFile};
use weir_model::log::LogBatch;
use weir_model::metric::MetricBatch;
use weir_model::prompb::{BucketSpan, Histogram, TimeSeries, WriteRequest, labels};
use weir_model::span::SpanBatch;
use weir_model::time::SECOND;

use crate::bounds::Retention;
use crate::config::{PushConfig, ShipConfig};
use crate::metrics::CollectorMetrics;
use crate::push::PushService;
use crate::quota::Quotas;
use crate::remote_write::compress;
use crate::ship::{Lanes, Shipper};
use crate::testing::{TestLog, granted};
use crate::{loki_push, otlp, push_gateway, remote_write};

struct Server {
    log: Arc<TestLog>,
    metrics: CollectorMetrics,
    limits: Limits,
    now: Arc<AtomicI64>,
    http: axum::Router,
    grpc: axum::Router,
    _lanes: Lanes,
}

fn overrides(json: &str) -> Overrides {
    serde_json::from_str::<OverridesFile>(json).unwrap().try_into().unwrap()
}

async fn start(json: &str) -> Server {
    let (log, metrics, now) = (TestLog::new(2), CollectorMetrics::default(), Arc::new(AtomicI64::new(1_700_000_000 * SECOND)));
    let ship = ShipConfig { linger: Duration::from_millis(1), ..ShipConfig::default() };
    let (shipper, lanes) = Shipper::start(log.clone(), &ship, metrics.ship.clone(), CancellationToken::new()).await.unwrap();
    let told = Arc::clone(&now);
    let clock: crate::push::Clock = Arc::new(move || told.load(Ordering::Relaxed));
    let limits = Limits::new(overrides(json));
    let config = PushConfig { requests_max: 8, patience: Duration::from_secs(60), ..PushConfig::default() };
    let service = PushService::new(shipper, config, metrics.clone(), clock.clone());
    let kept = Duration::from_secs(14 * 86_400);
    let service = service.with_retention(Retention { logs: kept, metrics: kept, spans: kept });
    let service = service.with_quotas(Quotas::new(limits.clone(), clock));
    let http = granted(
        loki_push::router(service.clone())
            .merge(otlp::http::router(service.clone()))
            .merge(push_gateway::router(service.clone()))
            .merge(remote_write::router(service.clone())),
    );
    Server { log, metrics, limits, now, http, grpc: granted(otlp::grpc::router(&service)), _lanes: lanes }
}

async fn answer(router: &axum::Router, tenant: &str, path: &str, kind: &str, body: Vec<u8>) -> (u16, HeaderMap, String) {
    let request = Request::post(path).header("content-type", kind).header("x-scope-orgid", tenant);
    let answer = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, headers, String::from_utf8_lossy(&bytes).into_owned())
}

impl Server {
    async fn post(&self, tenant: &str, path: &str, json: String) -> (u16, HeaderMap, String) {
        answer(&self.http, tenant, path, "application/json", json.into_bytes()).await
    }

    /// A Loki push: its status, and its text, which has all of `parts`.
    async fn loki(&self, tenant: &str, streams: &str, status: u16, parts: &[&str]) {
        let (seen, _, text) = self.post(tenant, "/loki/api/v1/push", format!(r#"{{"streams":[{streams}]}}"#)).await;
        assert_eq!(seen, status, "{streams}: {text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{streams}: {part:?} is not in {text}"));
    }

    /// An OTLP export of which so many records are rejected, for a reason that has `part`.
    async fn otlp(&self, path: &str, json: String, rejected: &str, part: &str) {
        let (status, _, text) = self.post("shop", path, json).await;
        assert_eq!(status, 200, "{text}");
        assert!(text.contains(rejected) && text.contains(part), "{rejected} and {part:?} are not in {text}");
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.log.lines().into_values().flatten().collect();
        lines.sort();
        lines
    }

    fn dropped(&self, source: &'static str, reason: &'static str) -> u64 {
        self.metrics.dropped_of(source, "shop", reason)
    }
}

fn stream(app: &str, lines: &[&str]) -> String {
    let values: Vec<String> = lines.iter().map(|line| format!(r#"["1700000000000000000","{line}"]"#)).collect();
    format!(r#"{{"stream":{{"app":"{app}"}},"values":[{}]}}"#, values.join(","))
}

fn spans(names: &[&str]) -> String {
    let ids = r#""traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7""#;
    let times = r#""startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000000000001""#;
    let spans: Vec<String> = names.iter().map(|name| format!(r#"{{{ids},{times},"name":"{name}"}}"#)).collect();
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","))
}

fn gauge(name: &str, label: &str) -> String {
    let attributes = format!(r#""attributes":[{{"key":"a","value":{{"stringValue":"{label}"}}}}]"#);
    let point = format!(r#"{{"timeUnixNano":"1700000000000000000","asDouble":1,{attributes}}}"#);
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{name}","gauge":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
    )
}

fn service(name: &str) -> String {
    format!(r#"{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{name}"}}}}]}}"#)
}

fn record(name: &str, body: &str) -> String {
    let resource = service(name);
    let record = format!(r#"{{"timeUnixNano":"1700000000000000000","body":{{"stringValue":"{body}"}}}}"#);
    format!(r#"{{"resourceLogs":[{{"resource":{resource},"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#)
}

#[tokio::test]
async fn a_push_above_the_rate_is_429_and_nothing_of_it_is_stored() {
    let server = start(r#"{"tenants": {"shop": {"logs": {"ingestion": {"records_rate": 1, "records_burst": 3}}}}}"#).await;
    server.loki("shop", &stream("a", &["one", "two"]), 204, &[]).await;
    let body = format!(r#"{{"streams":[{}]}}"#, stream("a", &["three", "four", "five"]));
    let (status, headers, text) = server.post("shop", "/loki/api/v1/push", body.clone()).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "2"), "{text}");
    let expected =
        "ingestion rate limit exceeded for user shop (limit: 1 lines/sec) while attempting to ingest '3' lines totaling '";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!((server.lines(), server.dropped("loki_push", "rate_limited")), (vec!["one".into(), "two".into()], 3));
    assert_eq!(server.metrics.events_of("loki_push", "rate_limited"), 1);
    // Others, other signals, and the same at the time that was told.
    server.loki("bank", &stream("a", &["a", "b", "c", "d", "e"]), 204, &[]).await;
    assert_eq!(server.post("shop", "/v1/traces", spans(&["a"; 20])).await.0, 200);
    server.now.fetch_add(2 * SECOND, Ordering::Relaxed);
    assert_eq!(server.post("shop", "/loki/api/v1/push", body.clone()).await.0, 204);
    // A limit that is lifted is lifted for the next request.
    server.loki("shop", &stream("a", &["six"]), 429, &[]).await;
    server.limits.replace(Overrides::default());
    server.loki("shop", &stream("a", &["six"]), 204, &[]).await;
}

#[tokio::test]
async fn otlp_above_the_rate_says_when_to_come_again() {
    let rates = r#"{"ingestion": {"rate": "1KiB", "burst": "1KiB"}}"#;
    let server = start(&format!(r#"{{"defaults": {{"logs": {rates}, "metrics": {rates}, "traces": {rates}}}}}"#)).await;
    let (long, noun) = ("x".repeat(3_000), ["lines", "samples", "spans"]);
    let exports = [("/v1/logs", record("a", &long)), ("/v1/metrics", gauge("m", &long)), ("/v1/traces", spans(&[&long]))];
    for ((path, json), noun) in exports.into_iter().zip(noun) {
        assert_eq!(server.post("shop", path, json.clone()).await.0, 200, "{path}: one that is larger than a burst, from full");
        let (status, headers, text) = server.post("shop", path, json).await;
        let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(status == 429 && (2..10).contains(&wait), "{path}: {status} {wait} {text}");
        assert!(text.contains(r#""code":8"#) && text.contains("(limit: 1024 bytes/sec)") && text.contains(noun), "{text}");
    }
    // An export of one span, in protobuf and gRPC's frame.
    let span = [&[0x0a, 16][..], &[7; 16], &[0x12, 8], &[7; 8], &[0x39], &(1_700_000_000 * SECOND).to_le_bytes()].concat();
    let message = (0..3).fold(span, |inner, depth| {
        let tag = if depth == 2 { 0x0a } else { 0x12 };
        [&[tag, inner.len() as u8][..], &inner].concat()
    });
    let frame = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let (status, headers, _) = answer(&server.grpc, "shop", path, "application/grpc", frame.clone()).await;
    assert_eq!((status, headers["grpc-status"].to_str().unwrap()), (200, "8"));
    let status = tonic::Status::from_header_map(&headers).unwrap();
    assert!(status.message().starts_with("ingestion rate limit exceeded for user shop"), "{}", status.message());
    let details = status.details();
    assert!(details.windows(20).any(|part| part == b"google.rpc.RetryInfo"), "{details:?}");
    server.now.fetch_add(60 * SECOND, Ordering::Relaxed);
    let (_, headers, body) = answer(&server.grpc, "shop", path, "application/grpc", frame).await;
    assert!(!headers.contains_key("grpc-status") && body.starts_with('\0'), "taken: {headers:?} {body:?}");
    assert_eq!(server.dropped("otlp", "rate_limited"), 4);
}

#[tokio::test]
async fn lines_and_streams_beyond_their_limits_are_refused_and_the_others_stored() {
    let limits = r#"{"logs": {"streams_max": 2, "line_max": "9B", "metadata_max": "4B"}, "labels": {"value_max": "6B"}}"#;
    let server = start(&format!(r#"{{"tenants": {{"shop": {limits}}}}}"#)).await;
    let long = [stream("a", &["one"]), stream("much-too-long", &["two", "three"])].join(",");
    let parts =
        ["stream '{app=\"much-too-long\"}' has label value too long: 'much-too-long'", "2 of 3 lines refused, others stored"];
    server.loki("shop", &long, 400, &parts).await;
    let parts = ["max entry size '9' bytes exceeded for stream '{app=\"a\"}' while adding an entry with length '10' bytes"];
    server.loki("shop", &stream("a", &["0123456789", "four"]), 400, &parts).await;
    let metadata = r#"{"stream":{"app":"a"},"values":[["1700000000000000000","five",{"k":"1234"}]]}"#;
    server.loki("shop", metadata, 400, &["structured metadata too large: '5' bytes, limit: '4' bytes"]).await;
    // The second stream is the last; the third is refused, and those that are there go on.
    let streams = [stream("b", &["six"]), stream("c", &["seven"]), stream("a", &["eight"])].join(",");
    let parts = ["maximum active stream limit exceeded when trying to create stream {app=\"c\"}", "user: 'shop'"];
    server.loki("shop", &streams, 429, &parts).await;
    server.loki("bank", &stream("much-too-long", &["nine is a long line"]), 204, &[]).await;
    assert_eq!(server.lines(), ["eight", "four", "nine is a long line", "one", "six"]);
    for (reason, lines) in
        [("label_value_too_long", 2), ("line_too_long", 1), ("structured_metadata_too_large", 1), ("stream_limit", 1)]
    {
        assert_eq!(server.dropped("loki_push", reason), lines, "{reason}");
    }
    server.otlp("/v1/logs", record("c", "ten"), r#""rejectedLogRecords":1"#, "maximum active stream limit exceeded").await;
    assert_eq!(server.dropped("otlp", "stream_limit"), 1);
}

#[tokio::test]
async fn points_and_spans_beyond_their_limits_are_rejected_in_part() {
    let limits = r#"{"metrics": {"series_max": 1}, "traces": {"span_max": "100B"}, "labels": {"value_max": "15B"}}"#;
    let server = start(&format!(r#"{{"defaults": {limits}}}"#)).await;
    let rejected = r#""rejectedDataPoints":1"#;
    server
        .otlp("/v1/metrics", gauge("m", "much, much too long"), rejected, "has label value too long: 'much, much too long'")
        .await;
    assert_eq!(server.post("shop", "/v1/metrics", gauge("m", "a")).await.0, 200);
    server.otlp("/v1/metrics", gauge("m", "b"), rejected, "per-user series limit of 1 exceeded for user shop").await;
    let (_, _, text) = server.post("shop", "/v1/metrics", gauge("m", "a")).await;
    assert!(!text.contains(rejected), "a series that is there goes on: {text}");
    let long = "x".repeat(100);
    server.otlp("/v1/traces", spans(&["short", &long]), r#""rejectedSpans":1"#, "limit traces.span_max is 100B").await;
    let stored: Vec<_> =
        server.log.sections::<SpanBatch>().into_iter().flatten().map(|section| section.batch.spans.len()).collect();
    assert_eq!(stored, [1]);
    assert!(server.log.sections::<MetricBatch>().into_iter().flatten().all(|section| section.batch.schema.series.len() == 1));
    for (reason, records) in [("label_value_too_long", 1), ("series_limit", 1), ("span_too_large", 1), ("invalid", 0)] {
        assert_eq!(server.dropped("otlp", reason), records, "{reason}");
    }
}

/// 8 buckets that are neighbours, at schema 3.
fn eight_buckets(first: i32) -> TimeSeries {
    let own = Histogram {
        count_int: Some(8),
        schema: 3,
        positive_spans: vec![BucketSpan { offset: first, length: 8 }],
        positive_deltas: vec![1, 0, 0, 0, 0, 0, 0, 0],
        timestamp: 1_700_000_000_000,
        ..Histogram::default()
    };
    TimeSeries { labels: labels([("__name__", "h")]), histograms: vec![own], ..TimeSeries::default() }
}

#[tokio::test]
async fn pushed_histograms_have_as_many_buckets_as_their_tenant_may_send() {
    let server = start(r#"{"tenants": {"shop": {"metrics": {"histogram_buckets_max": 2}}}}"#).await;
    let write = async |tenant, first| {
        let body = compress(&WriteRequest { timeseries: vec![eight_buckets(first)], metadata: Vec::new() });
        answer(&server.http, tenant, "/api/v1/write", "application/x-protobuf", body).await
    };
    assert_eq!(write("shop", 1).await.0, 204);
    assert_eq!(write("bank", 1).await.0, 204);
    let stored = |tenant: &str| {
        let sections: Vec<_> = server.log.sections::<MetricBatch>().into_iter().flatten().collect();
        let own = sections.iter().filter(|section| section.header.tenant == *tenant);
        let own = own.flat_map(|section| section.batch.rows[0].extras.as_ref().unwrap().histograms.clone());
        own.map(|(_, own)| (own.schema, own.positive.counts.clone(), own.count)).collect::<Vec<_>>()
    };
    assert_eq!(stored("shop"), [(1, vec![4.0, 4.0], 8.0)]);
    assert_eq!(stored("bank"), [(3, vec![1.0; 8], 8.0)]);
    // On both sides of 1 no two buckets of schema -4 become one.
    server.limits.replace(overrides(r#"{"defaults": {"metrics": {"histogram_buckets_max": 1}}}"#));
    let (status, _, text) = write("shop", -3).await;
    assert_eq!(status, 400, "{text}");
    let expected = "histogram has 2 buckets at schema -4, above the limit of 1 (metrics.histogram_buckets_max)";
    assert!(text.contains(expected) && text.contains("series {__name__=\"h\"}"), "{text}");
    assert_eq!(server.dropped("remote_write", "histogram_buckets"), 1);
    let point =
        r#"{"timeUnixNano":"1700000000000000000","count":"2","scale":0,"positive":{"offset":-1,"bucketCounts":["1","1"]}}"#;
    let histogram = format!(r#"{{"name":"h","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{point}]}}}}"#);
    let json = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{histogram}]}}]}}]}}"#);
    server.otlp("/v1/metrics", json, r#""rejectedDataPoints":1"#, expected).await;
    assert_eq!(stored("shop").len(), 1);
}

#[tokio::test]
async fn a_point_is_taken_whole_and_target_info_has_its_place_among_series() {
    let limit = |series: u32| overrides(&format!(r#"{{"defaults": {{"metrics": {{"series_max": {series}}}}}}}"#));
    let server = start(r#"{"defaults": {"metrics": {"series_max": 4}}}"#).await;
    let point =
        r#"{"timeUnixNano":"1700000000000000000","count":"3","sum":1,"bucketCounts":["1","1","1"],"explicitBounds":[1,2]}"#;
    let histogram = format!(r#"{{"name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[{point}]}}}}"#);
    let resource = r#"{"attributes":[{"key":"host.name","value":{"stringValue":"a"}}]}"#;
    let json = format!(r#"{{"resourceMetrics":[{{"resource":{resource},"scopeMetrics":[{{"metrics":[{histogram}]}}]}}]}}"#);
    let excess = "per-user series limit of 4 exceeded for user shop";
    server.otlp("/v1/metrics", json.clone(), r#""rejectedDataPoints":1"#, excess).await;
    assert!(server.log.sections::<MetricBatch>().iter().flatten().next().is_none(), "nothing of a histogram in part");
    server.limits.replace(limit(5));
    server.otlp("/v1/metrics", json.clone(), "target_info: ", "per-user series limit of 5 exceeded").await;
    assert_eq!(server.dropped("otlp", "series_limit"), 2);
    assert_eq!(server.dropped("otlp", "invalid"), 0);
    // The same comes to more, and is not taken for what was stored.
    server.limits.replace(limit(6));
    assert_eq!(server.post("shop", "/v1/metrics", json).await.0, 200);
    let sections: Vec<_> = server.log.sections::<MetricBatch>().into_iter().flatten().collect();
    assert_eq!(sections.iter().map(|section| section.batch.schema.series.len()).collect::<Vec<_>>(), [5, 6]);
    assert_ne!(sections[0].header.mark, sections[1].header.mark);
    server.limits.replace(overrides(r#"{"defaults": {"labels": {"value_max": "5B"}}}"#));
    let json = gauge("m", "a").replace(r#"{"scopeMetrics""#, &format!(r#"{{"resource":{},"scopeMetrics""#, service("too long")));
    server.otlp("/v1/metrics", json, r#""rejectedDataPoints":1"#, "has label value too long: 'too long'").await;
}

#[tokio::test]
async fn a_group_s_own_series_have_their_place_among_series() {
    let server = start(r#"{"defaults": {"metrics": {"series_max": 3}}}"#).await;
    let send = async |method: &str, group: &str, body: &'static str| {
        let request = Request::builder().method(method).uri(format!("/metrics/job/{group}")).header("x-scope-orgid", "shop");
        let answer = server.http.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let stored = server.log.sections::<MetricBatch>().into_iter().flatten().count();
        (answer.status().as_u16(), stored)
    };
    assert_eq!(send("PUT", "x", "a 1\n").await, (200, 1));
    assert_eq!(send("PUT", "x", "a 1\nb 1\n").await, (400, 2), "a group that is known tells of it");
    for method in ["PUT", "PUT", "DELETE"] {
        assert_eq!(send(method, "y", "a 1\n").await, (400, 2), "{method}: one more has no series to tell of it");
    }
    assert_eq!(send("PUT", "y", "wrong\n").await, (400, 2));
    assert_eq!(send("DELETE", "x", "").await, (202, 3));
}

#[tokio::test]
async fn a_second_attempt_that_comes_to_more_is_no_repeat() {
    let server = start(r#"{"defaults": {"logs": {"line_max": "5B"}, "traces": {"span_max": "100B"}}}"#).await;
    let long = "x".repeat(100);
    let one = record("a", "short");
    let start = one.find(r#"{"timeUnixNano""#).unwrap();
    let logs =
        one.replace(&one[start..], &format!("{},{}", one[start..].replace("]}]}]}", "").replace("short", &long), &one[start..]));
    for rejected in [r#""rejectedLogRecords":1"#, ""] {
        server.otlp("/v1/logs", logs.clone(), rejected, "").await;
        let rejected = rejected.replace("LogRecords", "Spans");
        server.otlp("/v1/traces", spans(&["short", &long]), &rejected, "").await;
        server.limits.replace(Overrides::default());
    }
    let lines = server.log.sections::<LogBatch>().into_iter().flatten().map(|section| (section.batch.len(), section.header.mark));
    let spans = server.log.sections::<SpanBatch>().into_iter().flatten();
    let spans = spans.map(|section| (section.batch.spans.len(), section.header.mark));
    for sections in [lines.collect::<Vec<_>>(), spans.collect()] {
        assert_eq!((sections.len(), sections[0].0, sections[1].0), (2, 1, 2));
        assert_ne!(sections[0].1, sections[1].1);
    }
}

#[tokio::test]
async fn what_a_tenant_keeps_for_longer_or_shorter_than_others_is_not_too_old_or_is() {
    let shop = r#"{"logs": {"retention": "1d", "retention_stream": [{"selector": "{app=\"a\"}", "period": "2d"}]}}"#;
    let server = start(&format!(r#"{{"tenants": {{"shop": {shop}, "bank": {{"logs": {{"retention": "0s"}}}}}}}}"#)).await;
    let days_ago = |days: i64| stream("a", &["x"]).replace("1700000000", &(1_700_000_000 - days * 86_400).to_string());
    server.loki("shop", &days_ago(2), 204, &[]).await;
    server.loki("shop", &days_ago(3), 400, &["has timestamp too old", "(kept for 2d)"]).await;
    server.loki("other", &days_ago(14), 204, &[]).await;
    server.loki("other", &days_ago(15), 400, &["(kept for 14d)"]).await;
    server.loki("bank", &days_ago(1_000), 204, &[]).await;
}

#[tokio::test]
async fn a_tenant_that_takes_all_places_leaves_one_for_others() {
    let server = start("{}").await;
    // Requests wait for their acknowledgement and keep their places.
    server.log.flow(false);
    let push = |tenant: &'static str, line: String| {
        let (http, body) = (server.http.clone(), format!(r#"{{"streams":[{}]}}"#, stream("a", &[&line])));
        tokio::spawn(async move { answer(&http, tenant, "/loki/api/v1/push", "application/json", body.into_bytes()).await.0 })
    };
    let mut flood = tokio::task::JoinSet::new();
    for i in 0..20 {
        flood.spawn(push("noisy", format!("noisy {i}")));
    }
    // All but those that have a place are refused while these wait.
    for _ in 0..13 {
        let refused = tokio::time::timeout(Duration::from_secs(60), flood.join_next()).await.unwrap();
        assert_eq!(refused.unwrap().unwrap().unwrap(), 429);
    }
    let quiet = push("quiet", "quiet".into());
    server.log.flow(true);
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), quiet).await.unwrap().unwrap(), 204);
    while let Some(taken) = flood.join_next().await {
        assert_eq!(taken.unwrap().unwrap(), 204);
    }
    let of_quiet = server.log.sections::<LogBatch>().into_iter().flatten().filter(|section| section.header.tenant == "quiet");
    assert_eq!(of_quiet.count(), 1);
}
