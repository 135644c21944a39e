//! Lines of a trace in causal order, by weir's API.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use weir_access::{Access, AuthorizationConfig, Authorizer, Mode, Principal};
use weir_logql::memory::MemoryLogs;
use weir_model::id::{SpanId, TraceId};
use weir_model::select::{Trace, TraceState};
use weir_model::span::{Origin, ScopeSpans, Span, SpanKind};
use weir_model::time::SECOND;

use super::memory::MemoryTraces;
use super::{Got, api, get};
use crate::{Api, router};

const ID: &str = "01010101010101010101010101010101";
const MS: i64 = 1_000_000;

/// `front` on node a calls `cart` on node b, whose clock is 5 s behind.
fn traces() -> MemoryTraces {
    let batch = |service: &str, node: &str, spans| {
        let attribute = |name: &str, value: &str| (name.to_owned(), weir_model::span::Value::String(value.to_owned()));
        let resource = vec![attribute("service.name", service), attribute("k8s.node.name", node)];
        ScopeSpans { origin: Origin { resource, ..Origin::default() }, spans }
    };
    let span = |id: u8, parent: u8, kind, start: i64, end: i64| Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([id; 8]),
        parent_id: SpanId([parent; 8]),
        kind,
        start: 20 * SECOND + start * MS,
        end: 20 * SECOND + end * MS,
        ..Span::default()
    };
    let front = vec![span(1, 0, SpanKind::Server, 0, 300), span(2, 1, SpanKind::Client, 100, 200)];
    let batches = vec![batch("front", "a", front), batch("cart", "b", vec![span(3, 2, SpanKind::Server, -4_890, -4_810)])];
    MemoryTraces(vec![Trace { id: TraceId([1; 16]), state: TraceState::Sealed, revision: 0, batches }])
}

fn logs() -> MemoryLogs {
    let mut store = MemoryLogs::default();
    let mut push = |node: &str, span: u8, ms: i64, body: &str| {
        let line = store.push(&[("node", node)], 20 * SECOND + ms * MS, body.as_bytes());
        (line.trace_id, line.span_id) = (TraceId([1; 16]), SpanId([span; 8]));
    };
    push("a", 1, 90, "asks the cart");
    push("a", 1, 210, "has the cart");
    push("b", 3, -4_880, "looks");
    push("b", 3, -4_820, "found");
    push("c", 0, 500, "of a node without spans");
    store.push(&[("node", "a")], 20 * SECOND, b"of no trace");
    store
}

fn bodies(answer: &Value) -> Vec<&str> {
    answer["lines"].as_array().unwrap().iter().map(|line| line["line"].as_str().unwrap()).collect()
}

async fn ask(logs: MemoryLogs, traces: MemoryTraces, path: &str) -> Got {
    get(api(logs, Default::default(), traces), &format!("/api/weir/v1/traces/{path}")).await
}

#[tokio::test]
async fn lines_of_a_trace_come_in_causal_order_and_say_how_they_were_moved() {
    let answer = ask(logs(), traces(), &format!("{ID}/logs")).await.json();
    assert_eq!(bodies(&answer), ["asks the cart", "looks", "found", "has the cart", "of a node without spans"]);
    let places: Vec<_> = answer["lines"].as_array().unwrap().iter().map(|line| (&line["at"], &line["placed"])).collect();
    assert_eq!(places[1], (&json!("20120000000"), &json!("span")));
    assert_eq!(places[4], (&json!("20500000000"), &json!("time")));
    let moved = &answer["lines"][1];
    assert_eq!(
        (&moved["t"], &moved["moved_by_clock"], &moved["moved_by_span"]),
        (&json!("15120000000"), &json!("5000000000"), &json!("0"))
    );
    let clocks = json!([{"clock": "a", "offset": "0", "calls": 0}, {"clock": "b", "offset": "5000000000", "calls": 1}]);
    assert_eq!((&answer["order"], &answer["moved"], &answer["clocks"]), (&json!("mixed"), &json!(2), &clocks));
    assert_eq!((&answer["more"], &answer["spans_refused"]), (&json!(false), &json!("")));
    assert_eq!(answer["coverage"]["complete"], true);
}

#[tokio::test]
async fn a_range_and_a_limit_cut_by_time_and_it_is_said() {
    let answer = ask(logs(), traces(), &format!("{ID}/logs?limit=3")).await.json();
    assert_eq!((bodies(&answer), &answer["more"]), (vec!["asks the cart", "looks", "found"], &json!(true)));
    let answer = ask(logs(), traces(), &format!("{ID}/logs?start=20&end=20.2")).await.json();
    assert_eq!((bodies(&answer), &answer["order"], &answer["more"]), (vec!["asks the cart"], &json!("causal"), &json!(false)));
    let refused = ask(logs(), traces(), &format!("{ID}/logs?limit=50001")).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]),
        (400, &json!("parameter limit: 50001 is above query.lines_max (50000)"))
    );
    assert_eq!(ask(logs(), traces(), "xyz/logs").await.status, 400);
}

#[tokio::test]
async fn without_spans_lines_come_by_time_and_without_either_it_is_unknown() {
    let answer = ask(logs(), MemoryTraces::default(), &format!("{ID}/logs")).await.json();
    assert_eq!(bodies(&answer), ["looks", "found", "asks the cart", "has the cart", "of a node without spans"]);
    assert_eq!((&answer["order"], &answer["moved"], &answer["clocks"]), (&json!("time"), &json!(0), &json!([])));
    let none = ask(MemoryLogs::default(), traces(), &format!("{ID}/logs")).await;
    assert_eq!((none.status, bodies(&none.json()).len()), (200, 0));
    let unknown = ask(logs(), traces(), "ff/logs").await;
    let error = unknown.json()["error"].as_str().unwrap().to_owned();
    let expected = "no span of trace 000000000000000000000000000000ff has been seen, and no line of it from ";
    assert!(unknown.status == 404 && error.starts_with(expected) && error.ends_with("where else to look"), "{error}");
}

#[tokio::test]
async fn who_may_read_no_spans_gets_the_lines_by_time_and_who_may_read_no_lines_gets_none() {
    let ask = async |signal: &str, id: &str| {
        let file = std::env::temp_dir().join(format!("weir-trace-logs-{signal}-{}.jsonl", std::process::id()));
        std::fs::write(&file, format!(r#"{{"tenant": "own", "verb": "read", "signal": "{signal}"}}"#)).unwrap();
        let config = AuthorizationConfig { mode: Mode::Abac, policies_file: file.clone(), ..AuthorizationConfig::default() };
        let authorizer = Arc::new(Authorizer::start(&config, "own", |_| Err("no webhook".into())).unwrap());
        let access = Access::new(Some(Arc::new(Principal::anonymous())), Vec::new(), authorizer);
        let api: Api = api(logs(), Default::default(), traces());
        let mut router = router(Arc::new(api)).into_router().layer(Extension(access));
        let request = Request::get(format!("/api/weir/v1/traces/{id}/logs")).body(Body::empty()).unwrap();
        let response = tower_service::Service::call(&mut router, request).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        let status = response.status().as_u16();
        (status, axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap())
    };
    let (status, body) = ask("logs", ID).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &answer["order"], bodies(&answer)[0]), (200, &json!("time"), "looks"));
    assert!(answer["spans_refused"].as_str().unwrap().contains("read traces"), "{}", answer["spans_refused"]);
    assert_eq!(ask("traces", ID).await.0, 403);
    let (status, body) = ask("logs", "ff").await;
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(status == 404 && body.contains("were not read (") && body.contains("read traces"), "{body}");
}

#[tokio::test]
async fn one_side_beyond_the_spans_has_the_other_that_it_has_elsewhere() {
    let mut late = logs();
    late.push(&[("node", "a")], 50 * SECOND, b"much later").trace_id = TraceId([1; 16]);
    let mut old = traces();
    for span in old.0[0].batches.iter_mut().flat_map(|batch| &mut batch.spans) {
        (span.start, span.end) = (span.start - 7200 * SECOND, span.end - 7200 * SECOND);
    }
    let answer = ask(late, old, &format!("{ID}/logs?start=40")).await.json();
    assert_eq!(bodies(&answer), ["much later"]);
}

#[tokio::test]
async fn a_span_without_a_set_clock_does_not_have_all_of_time_searched() {
    let day = 24 * 3600 * SECOND;
    let stored = || {
        let mut store = logs();
        for at in [day, 400 * day] {
            store.push(&[("node", "a")], at, b"another day").trace_id = TraceId([1; 16]);
        }
        store
    };
    let mut far = traces();
    let spans = &mut far.0[0].batches[0].spans;
    spans[0].end = i64::MAX;
    spans.push(Span { span_id: SpanId([9; 8]), start: 400 * day, end: 400 * day, ..spans[1].clone() });
    let answer = ask(stored(), far, &format!("{ID}/logs")).await.json();
    assert_eq!(bodies(&answer).len(), 5, "{answer}");
    let missing = &answer["coverage"]["missing"];
    assert!(missing.to_string().contains("1 spans that begin more than 7 days"), "{answer}");
}
