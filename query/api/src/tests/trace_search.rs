//! Trace search answers the same in every API: failed spans, types, quoting, many candidates, pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value as Json, json};
use weir_budget::QueryConfig;
use weir_model::id::{SpanId, TraceId};
use weir_model::select::{Budget, NoBudget, ReadError, Trace, TraceSelect};
use weir_model::span::{Origin, ScopeSpans, Span, StatusCode, Value};
use weir_model::time::{SECOND, TimeRange};
use weir_rules::RuleSet;

use super::super::trace_search::{Condition, find};
use super::memory::{MemoryTraces, two_traces};
use super::{Api, Got, NOW, api, get};

const ONE: &str = "01010101010101010101010101010101";
const TWO: &str = "02020202020202020202020202020202";

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn ids(got: &Got, list: &str, id: &str) -> Vec<String> {
    assert_eq!(got.status, 200, "{}", got.text());
    got.json()[list].as_array().unwrap().iter().map(|trace| trace[id].as_str().unwrap().to_owned()).collect()
}

/// What one search finds in each API: by logfmt in all three, and by TraceQL.
async fn check(traces: fn() -> MemoryTraces, tags: &str, traceql: &str, expected: &[&str]) {
    let ask = async |path: String| get(api(Default::default(), Default::default(), traces()), &path).await;
    let (tags_encoded, q) = (encoded(tags), encoded(traceql));
    let jaeger = ask(format!("/jaeger/api/traces?service=cart&tags={tags_encoded}")).await;
    assert_eq!(ids(&jaeger, "data", "traceID"), expected, "Jaeger: {tags}");
    let tempo = ask(format!("/tempo/api/search?tags={tags_encoded}")).await;
    assert_eq!(ids(&tempo, "traces", "traceID"), expected, "Tempo: {tags}");
    let weir = ask(format!("/api/weir/v1/traces?tags={tags_encoded}")).await;
    assert_eq!(ids(&weir, "traces", "id"), expected, "weir: {tags}");
    let tempo = ask(format!("/tempo/api/search?q={q}")).await;
    assert_eq!(ids(&tempo, "traces", "traceID"), expected, "TraceQL: {traceql}");
}

#[tokio::test]
async fn failed_spans_are_found_by_every_name_and_beside_attributes() {
    for tags in ["error=true", "status=error", "status.code=error", "otel.status_code=ERROR"] {
        check(two_traces, tags, "{ status = error }", &[ONE]).await;
        let more = format!("{tags} resource.k8s.pod=p span.item=mug http.status_code=500 span.kind=server");
        let q =
            r#"{ status = error && resource.k8s.pod = "p" && span.item = "mug" && .http.status_code = 500 && kind = server }"#;
        check(two_traces, &more, q, &[ONE]).await;
        let q = r#"{ status = error && resource.k8s.pod = "other" }"#;
        check(two_traces, &format!("{tags} resource.k8s.pod=other"), q, &[]).await;
    }
    check(two_traces, "error=false resource.service.name=cart", r#"{ status = unset && .service.name = "cart" }"#, &[TWO]).await;
    check(two_traces, "span.kind=client", "{ kind = client }", &[]).await;
    let object = encoded(r#"{"error":"true","resource.k8s.pod":"p"}"#);
    let path = format!("/jaeger/api/traces?service=cart&tags={object}&tag=item:mug");
    assert_eq!(ids(&get(api(Default::default(), Default::default(), two_traces()), &path).await, "data", "traceID"), [ONE]);
}

fn one_span(id: u32, start: i64, attributes: Vec<(String, Value)>) -> Trace {
    let mut trace_id = TraceId([1; 16]);
    trace_id.0[12..].copy_from_slice(&id.to_be_bytes());
    let origin = Origin { resource: vec![("service.name".into(), Value::String("cart".into()))], ..Origin::default() };
    let span = Span {
        trace_id,
        span_id: SpanId([1; 8]),
        name: "add".into(),
        start,
        end: start + 1,
        attributes,
        status: StatusCode::Ok,
        ..Span::default()
    };
    Trace { id: trace_id, batches: vec![ScopeSpans { origin, spans: vec![span] }], ..Trace::default() }
}

fn typed() -> MemoryTraces {
    let attributes = [
        ("bytes", Value::Bytes(vec![0, 255, 16])),
        ("quoted", Value::String("two \"words\"".into())),
        ("int", Value::Int(9_007_199_254_740_993)),
        ("double", Value::Double(1000.0)),
        ("bool", Value::Bool(true)),
        ("json", Value::Json(Box::new(json!([1, "a"])))),
    ];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value)).to_vec();
    MemoryTraces(vec![one_span(1, 99 * SECOND, attributes), one_span(2, 98 * SECOND, Vec::new())])
}

#[tokio::test]
async fn a_text_finds_values_of_every_type_as_answers_show_them() {
    const FOUND: &str = "01010101010101010101010100000001";
    check(typed, "bytes=AP8Q", r#"{ span.bytes = "AP8Q" }"#, &[FOUND]).await;
    check(typed, "bytes=00ff10", r#"{ span.bytes = "00ff10" }"#, &[]).await;
    check(typed, r#"quoted="two \"words\"""#, r#"{ .quoted = "two \"words\"" }"#, &[FOUND]).await;
    check(typed, r#"bool=true quoted="two \"words\"" double=1000.0"#, "{ .bool = true && .double = 1000.0 }", &[FOUND]).await;
    check(typed, "double=1e3", "{ .double = 1000 }", &[FOUND]).await;
    check(typed, "int=9007199254740993", "{ .int = 9007199254740993 }", &[FOUND]).await;
    check(typed, "int=9007199254740992", "{ .int = 9007199254740992 }", &[]).await;
    check(typed, "bool=false", "{ .bool = false }", &[]).await;
    check(typed, r#"json="[1,\"a\"]""#, r#"{ .json = "[1,\"a\"]" }"#, &[FOUND]).await;
    let shown = async |path: &str| get(api(Default::default(), Default::default(), typed()), path).await.text();
    assert!(shown(&format!("/jaeger/api/traces/{FOUND}")).await.contains("AP8Q"));
    assert!(shown(&format!("/tempo/api/traces/{FOUND}")).await.contains("AP8Q"));
    assert!(shown(&format!("/api/weir/v1/traces/{FOUND}")).await.contains("AP8Q"));
    let q = encoded("{ .bool = true }");
    assert!(shown(&format!("/tempo/api/v2/search/tag/span.bytes/values?q={q}")).await.contains("AP8Q"));
}

#[tokio::test]
async fn tags_that_cannot_be_read_are_refused_by_name() {
    let refused = async |path: String, expected: &str| {
        let got = get(api(Default::default(), Default::default(), two_traces()), &path).await;
        assert!(got.status == 400 && got.text().contains(expected), "{path}: {} {}", got.status, got.text());
    };
    for path in ["/tempo/api/search?tags=", "/jaeger/api/traces?service=cart&tags=", "/api/weir/v1/traces?tags="] {
        refused(format!("{path}{}", encoded("a=b c")), "parameter tags: ").await;
        refused(format!("{path}{}", encoded("a=\"b c")), "has no closing").await;
    }
    refused(format!("/tempo/api/search?tags={}", encoded("name=a name=b")), "parameter tags: name is said twice").await;
}

/// So many traces, a second apart or all at once; only the last that a search comes to has `wanted`.
fn many(count: u32, apart: i64) -> MemoryTraces {
    let trace = |i: u32| {
        let wanted = if i + 1 == count { 7 } else { 1 };
        one_span(i, NOW - 1 - i64::from(i) * apart, vec![("wanted".into(), Value::Int(wanted))])
    };
    MemoryTraces((0..count).map(trace).collect())
}

#[tokio::test]
async fn a_search_goes_on_until_it_has_looked_into_all_candidates() {
    let q = encoded("{ .wanted > 5 }");
    for (count, apart) in [(6_000, 1), (6_000, 0), (65, 1)] {
        let got = get(api(Default::default(), Default::default(), many(count, apart)), &format!("/tempo/api/search?q={q}")).await;
        assert_eq!(ids(&got, "traces", "traceID").len(), 1, "{count} {apart}");
        assert_eq!((&got.json()["metrics"], &got.json()["status"]), (&json!({}), &Json::Null), "nothing is made up");
    }
}

#[tokio::test]
async fn a_search_that_is_cut_answers_with_what_it_has_and_says_so() {
    let ask = async |path: &str| {
        let config = QueryConfig { records_max: 100, ..QueryConfig::default() };
        let (logs, metrics) = (Arc::new(Default::default()), Arc::new(super::MemoryMetrics::default()));
        let traces = Arc::new(many(200, 1));
        let logs: Arc<weir_logql::memory::MemoryLogs> = logs;
        let api = Api::new(logs, metrics, traces, config, Arc::new(RuleSet::empty())).with_clock(|| NOW);
        get(api, path).await
    };
    let sentence = "the search was cut after 100 traces, older ones may pass too: the query needs more than 100 ";
    let q = encoded("{ .wanted < 5 }");
    let tempo = ask(&format!("/tempo/api/search?limit=150&q={q}")).await;
    assert_eq!(ids(&tempo, "traces", "traceID").len(), 100);
    assert_eq!(tempo.json()["status"], "PARTIAL");
    assert!(tempo.json()["message"].as_str().unwrap().starts_with(sentence), "{}", tempo.json()["message"]);
    let jaeger = ask("/jaeger/api/traces?service=cart&limit=150").await;
    assert_eq!(ids(&jaeger, "data", "traceID").len(), 100);
    assert!(jaeger.json()["errors"][0]["msg"].as_str().unwrap().starts_with(sentence), "{}", jaeger.json()["errors"]);
    for got in [tempo, jaeger] {
        let coverage: Json = serde_json::from_str(got.header("x-weir-coverage")).unwrap();
        assert_eq!(coverage["complete"], false);
        assert!(coverage["missing"][0].as_str().unwrap().starts_with(sentence), "{coverage}");
    }
}

/// Its time ends when so many records have been read.
struct Ends(AtomicU64);

impl Budget for Ends {
    fn check(&self) -> Result<(), ReadError> {
        self.spend(0)
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(count);
        self.0.store(left, Ordering::Relaxed);
        if left == 0 { Err(ReadError::Cancelled("its time is over")) } else { Ok(()) }
    }
}

#[test]
fn a_search_whose_time_ends_is_cut_but_one_that_saw_nothing_fails() {
    let conditions = [Condition::new(|_, span| span.attributes[0].1 == Value::Int(7))];
    let select = TraceSelect::any(&weir_model::scope::Scope::of("t"), TimeRange::ALL, 1);
    let traces = many(200, 1);
    let search = |budget: &dyn Budget| {
        let mut passed = 0;
        let ended = find(&traces, &select, &conditions, budget, |_, _| {
            passed += 1;
            Ok(())
        });
        ended.map(|ended| (passed, ended.cut, ended.coverage.missing))
    };
    assert_eq!(search(&NoBudget).unwrap(), (1, None, Vec::new()));
    let sentence = "the search was cut after 149 traces, older ones may pass too: the query was cancelled: its time is over";
    assert_eq!(search(&Ends(150.into())).unwrap(), (0, Some(sentence.into()), vec![sentence.into()]));
    assert!(matches!(search(&Ends(0.into())), Err(ReadError::Cancelled("its time is over"))));
}

#[tokio::test]
async fn pages_hold_every_trace_once_newest_first() {
    let ask = async |query: String| {
        get(api(Default::default(), Default::default(), many(25, SECOND / 10)), &format!("/api/weir/v1/traces?{query}")).await
    };
    let whole = ids(&ask("limit=100".into()).await, "traces", "id");
    assert_eq!(whole.len(), 25);
    let (mut paged, mut next, mut pages) = (Vec::new(), json!(0), 0);
    while let Some(offset) = next.as_u64() {
        let got = ask(format!("limit=10&offset={offset}&service=cart&tags=status%3Dok")).await;
        paged.extend(ids(&got, "traces", "id"));
        (next, pages) = (got.json()["next"].clone(), pages + 1);
    }
    assert_eq!((pages, paged), (3, whole));
    assert_eq!(ask("limit=25".into()).await.json()["next"], Json::Null);
    let refused = ask("offset=10001".into()).await;
    assert!(refused.status == 400 && refused.text().contains("parameter offset: at most 10000"), "{}", refused.text());
}
