//! Answers that a client has already.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use weir_logql::memory::MemoryLogs;
use weir_model::label::Labels;
use weir_model::select::Series;
use weir_model::status::OutageStatus;
use weir_model::time::{SECOND, UnixNanos};

use super::memory::{MemoryMetrics, two_traces};
use super::{Got, NOW, api, get, send};
use crate::Api;

/// One container with so many samples, the newest at 98 s.
fn at(clock: fn() -> UnixNanos, samples: i64) -> Api {
    let timestamps: Vec<i64> = (0..samples).map(|i| 98_000 - (samples - 1 - i) * 1000).collect();
    let name = "container_cpu_usage_seconds_total";
    let labels = Labels::from_pairs([("__name__", name), ("id", "/c"), ("node", "n"), ("name", "web")]);
    let values = timestamps.iter().map(|at| *at as f64).collect();
    let metrics = MemoryMetrics(vec![Series { labels, timestamps, values, ..Series::default() }]);
    let mut logs = MemoryLogs::default();
    logs.push(&[("pod", "a")], 10 * SECOND, b"one");
    api(logs, metrics, two_traces()).with_clock(clock)
}

fn now() -> UnixNanos {
    NOW
}

async fn again(api: Api, path: &str, tag: &str) -> Got {
    send(api, Request::get(path).header("if-none-match", tag).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let paths = [
        "/api/weir/v1/containers",
        "/api/weir/v1/status",
        "/api/weir/v1/path",
        "/api/weir/v1/logs/volume?query=%7Bpod%3D%22a%22%7D&start=0&end=30",
        "/api/v1/labels",
        "/api/v1/rules",
        "/api/v1/query?query=container_cpu_usage_seconds_total&time=99",
        "/loki/api/v1/labels",
    ];
    for path in paths {
        let first = get(at(now, 30), path).await;
        let tag = first.header("etag").to_owned();
        assert_eq!((first.status, first.header("cache-control")), (200, "no-cache"), "{path}: {}", first.text());
        assert!(tag.starts_with("W/\"") && tag.len() == 36, "{path}: {tag}");
        for known in [&*tag, &tag[2..], &format!("\"other\", {tag}"), "*"] {
            let second = again(at(now, 30), path, known).await;
            assert_eq!((second.status, second.header("etag"), second.text().as_str()), (304, &*tag, ""), "{path} {known}");
            assert_eq!(second.header("x-weir-coverage"), first.header("x-weir-coverage"), "{path}");
        }
        let other = again(at(now, 30), path, "W/\"00000000000000000000000000000000\"").await;
        assert_eq!((other.status, &other.bytes), (200, &first.bytes), "{path}");
    }
}

#[tokio::test]
async fn what_has_changed_is_sent_and_time_alone_changes_nothing() {
    let path = "/api/weir/v1/containers";
    let first = get(at(now, 30), path).await;
    assert_eq!(first.json()["containers"].as_array().unwrap().len(), 1);
    let later = again(at(|| NOW + 2 * SECOND, 30), path, first.header("etag")).await;
    assert_eq!(later.status, 304);
    let changed = again(at(now, 29), path, first.header("etag")).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), first.header("etag"));
    // It runs no longer: nothing but the time says so.
    let gone = again(at(|| NOW + 200 * SECOND, 30), path, first.header("etag")).await;
    assert_eq!((gone.status, gone.json()["containers"].as_array().unwrap().len()), (200, 0));
}

/// Sparklines begin anywhere in the window; what has not changed is alike until a point leaves it.
#[tokio::test]
async fn a_window_that_moves_answers_alike_between_two_points() {
    let path = "/api/weir/v1/containers";
    let first = get(at(|| 100 * SECOND, 600), path).await;
    let same = again(at(|| 104 * SECOND, 600), path, first.header("etag")).await;
    assert_eq!(same.status, 304);
    let moved = again(at(|| 105 * SECOND, 600), path, first.header("etag")).await;
    assert_eq!(moved.status, 200);
}

#[tokio::test]
async fn errors_forms_and_large_answers_have_no_tag() {
    let untagged = |got: Got, status: u16| {
        assert_eq!((got.status, got.header("etag"), got.header("cache-control")), (status, "", ""), "{}", got.text());
    };
    untagged(again(at(now, 30), "/api/weir/v1/logs?query=%7B", "*").await, 400);
    untagged(again(at(now, 30), "/api/weir/v1/traces/0", "*").await, 404);
    let form = Request::post("/api/v1/labels").header("content-type", "application/x-www-form-urlencoded");
    untagged(send(at(now, 30), form.header("if-none-match", "*").body(Body::empty()).unwrap()).await, 200);
    let mut logs = MemoryLogs::default();
    for second in 0..60 {
        logs.push(&[("pod", "a")], second * SECOND, &[b'x'; 20_000]);
    }
    let path = "/api/weir/v1/logs?query=%7Bpod%3D%22a%22%7D&start=0&end=60&limit=100";
    let large = again(api(logs, MemoryMetrics::default(), two_traces()), path, "*").await;
    assert!(large.bytes.len() > 1 << 20);
    untagged(large, 200);
}

/// Records arrive all the time: who polls is not sent again what they change nothing of.
#[tokio::test]
async fn coverage_and_statistics_alone_are_sent_as_headers() {
    let store = || {
        let mut logs = MemoryLogs::default();
        logs.push(&[("pod", "a")], 10 * SECOND, b"one");
        logs
    };
    let over = |logs| api(logs, MemoryMetrics::default(), two_traces());
    for path in ["/api/weir/v1/logs?start=0&end=30", "/api/weir/v1/logs/volume?query=%7Bpod%3D%22a%22%7D&start=0&end=30"] {
        let first = get(over(store()), path).await;
        assert!(first.text().contains("\"partitions\":[]") && first.header("x-weir-coverage").contains("\"partitions\":[]"));
        let later = again(over(store().behind()), path, first.header("etag")).await;
        assert_eq!((later.status, later.text().as_str()), (304, ""), "{path}");
        assert!(later.header("x-weir-coverage").contains("\"on_bus\":7"), "{path}: {}", later.header("x-weir-coverage"));
        let mut another = store();
        another.push(&[("pod", "a")], 11 * SECOND, b"two");
        assert_eq!(again(over(another), path, first.header("etag")).await.status, 200, "{path}");
        // What no header can hold is sent.
        let mut long = store();
        long.coverage.missing = (0..500).map(|i| format!("block {i}")).collect();
        let whole = again(over(long), path, first.header("etag")).await;
        assert_eq!((whole.status, whole.text().contains("block 99")), (200, true), "{path}");
    }
    let lines = get(over(store()), "/api/weir/v1/logs?start=0&end=30").await;
    let stats: serde_json::Value = serde_json::from_str(lines.header("x-weir-stats")).unwrap();
    assert_eq!(stats, lines.json()["stats"]);
    assert_eq!(stats["lines_scanned"], 1);
}

#[tokio::test]
async fn every_answer_says_what_cannot_be_stored() {
    let outage = |what: &'static str, blocking| OutageStatus {
        target: what,
        reason: "disk_full",
        since: "1".into(),
        refused: 3,
        blocking,
        text: format!("disk full: /ä/{what}"),
    };
    let full = move || at(now, 30).with_outages(Arc::new(move || vec![outage("bus", true), outage("upkeep", false)]));
    let told = r#"[{"text":"disk full: /\u00e4/bus","what":"bus"}]"#;
    for path in ["/api/weir/v1/containers", "/api/v1/alerts", "/loki/api/v1/labels", "/api/weir/v1/logs?query=%7B"] {
        let first = get(full(), path).await;
        assert_eq!(first.header("x-weir-outage"), told, "{path}");
        if first.status == 200 {
            let known = again(full(), path, first.header("etag")).await;
            assert_eq!((known.status, known.header("x-weir-outage")), (304, told), "{path}");
            // A browser that has kept the first answer has to hear that it is over.
            let over = again(at(now, 30), path, first.header("etag")).await;
            assert_eq!((over.status, over.header("x-weir-outage")), (304, "[]"), "{path}");
        }
    }
    let status = get(full(), "/api/weir/v1/status").await.json();
    assert_eq!(status["outages"][1]["what"], "upkeep");
    assert_eq!(status["outages"][0]["refused"], 3);
}
