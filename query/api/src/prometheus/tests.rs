//! Requests through the router: shapes, status codes, refusals.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use weir_budget::QueryConfig;
use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::id::{LineId, TraceId};
use weir_model::label::Labels;
use weir_model::metric::{Family, MetricKind};
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, Coverage, Covered, LogReader, LogSelect, LogTail, LogVisitor, MetricReader, OwnedLine, PartitionCoverage, ReadError,
    TailEvent, Trace, TraceReader, TraceSelect, TraceSummary,
};
use weir_model::span::{SpanKind, Value as SpanValue};
use weir_model::time::TimeRange;
use weir_promql::testing::MemoryReader;
use weir_rules::RuleSet;

use crate::Api;
use crate::tests::open;

pub(crate) struct Nothing;

type Read<T> = Result<Covered<T>, ReadError>;

impl LogTail for Nothing {
    fn poll(&mut self) -> Vec<TailEvent> {
        Vec::new()
    }
}

impl LogReader for Nothing {
    fn visit(&self, _: &LogSelect, _: &dyn Budget, _: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        Ok(Coverage::default())
    }
    fn streams(&self, _: &LogSelect, _: &dyn Budget) -> Read<Vec<Labels>> {
        Ok(Covered::default())
    }
    fn line(&self, _: &Scope, _: LineId, _: usize, _: &dyn Budget) -> Read<Vec<OwnedLine>> {
        Ok(Covered::default())
    }
    fn tail(&self, _: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
        Ok(Box::new(Self))
    }
}

impl TraceReader for Nothing {
    fn trace(&self, _: &Scope, _: TraceId) -> Read<Option<Trace>> {
        Ok(Covered::default())
    }
    fn search(&self, _: &TraceSelect, _: &dyn Budget) -> Read<Vec<TraceSummary>> {
        Ok(Covered::default())
    }
    fn services(&self, _: &Scope, _: TimeRange, _: &dyn Budget) -> Read<Vec<String>> {
        Ok(Covered::default())
    }
    fn operations(&self, _: &Scope, _: Option<&str>, _: TimeRange, _: &dyn Budget) -> Read<Vec<(String, SpanKind)>> {
        Ok(Covered::default())
    }
    fn attribute_values(&self, _: &Scope, _: &str, _: TimeRange, _: usize, _: &dyn Budget) -> Read<Vec<SpanValue>> {
        Ok(Covered::default())
    }
    fn attribute_names(&self, _: &Scope, _: TimeRange, _: usize, _: &dyn Budget) -> Read<Vec<(String, String)>> {
        Ok(Covered::default())
    }
}

pub(crate) fn store() -> MemoryReader {
    let mut store = MemoryReader::default();
    for (pod, slope) in [("a", 1.0), ("b", 2.0)] {
        let labels = Labels::from_pairs([("__name__", "hits_total"), ("pod", pod)]);
        (0..=20).for_each(|i| store.push(&labels, i * 15_000, slope * i as f64));
    }
    store.push(&Labels::from_pairs([("__name__", "odd")]), 1_500, f64::INFINITY);
    store.metadata.push(Family {
        name: "hits_total".into(),
        kind: MetricKind::Counter,
        help: "Hits.".into(),
        unit: String::new(),
    });
    store
}

pub(super) fn router(store: MemoryReader, config: QueryConfig) -> axum::Router {
    let metrics: Arc<dyn MetricReader> = Arc::new(store);
    let rules = Arc::new(RuleSet::empty());
    open(super::router(Arc::new(Api::new(Arc::new(Nothing), metrics, Arc::new(Nothing), config, rules))))
}

pub(crate) async fn send(router: axum::Router, request: Request<Body>) -> (u16, Value, Option<String>) {
    let mut router = router;
    let response = tower_service::Service::call(&mut router, request).await.unwrap();
    let status = response.status().as_u16();
    let coverage = response.headers().get("x-weir-coverage").map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap());
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap(), coverage)
}

async fn get(path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let (status, body, _) = send(router(store(), QueryConfig::default()), request).await;
    (status, body)
}

#[tokio::test]
async fn instant_queries_answer_as_prometheus_does() {
    let (status, body) = get("/api/v1/query?query=sum+by+(pod)+(hits_total)&time=300.25").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {"pod": "a"}, "value": [300.25, "20"]}, {"metric": {"pod": "b"}, "value": [300.25, "40"]}]}})
    );
    let (_, body) = get("/api/v1/query?query=odd&time=2").await;
    assert_eq!(body["data"]["result"][0]["value"], json!([2, "+Inf"]));
    let (_, body) = get("/api/v1/query?query=1e-7%2B0&time=1970-01-01T00:00:01Z").await;
    assert_eq!(body["data"], json!({"resultType": "scalar", "result": [1, "1e-07"]}));
    let (_, body) = get("/api/v1/query?query=hits_total&time=300&limit=1&stats=all").await;
    assert_eq!(body["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(body["warnings"], json!(["results truncated due to limit"]));
    assert!(body["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64().unwrap() > 1);
}

#[tokio::test]
async fn histograms_are_written_as_prometheus_writes_them() {
    let side = |offset: i32, counts: &[f64]| Buckets {
        spans: vec![Span { offset, length: counts.len() as u32 }],
        counts: counts.to_vec(),
    };
    let own = Histogram {
        schema: 0,
        reset: ResetHint::Unknown,
        is_integer: true,
        count: 7.0,
        sum: -0.5,
        zero_threshold: 0.25,
        zero_count: 1.0,
        positive: side(1, &[2.0, 0.0, 3.0]),
        negative: side(0, &[1.0]),
        custom_bounds: Vec::new(),
    };
    let (mut store, labels) = (store(), Labels::from_pairs([("__name__", "latency")]));
    store.push_histogram(&labels, 15_000, Arc::new(own));
    store.push(&labels, 30_000, 4.5);
    let ask = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        send(router(store.clone(), QueryConfig::default()), request).await.1["data"]["result"][0].clone()
    };
    let buckets = json!([[1, "-1", "-0.5", "1"], [3, "-0.25", "0.25", "1"], [0, "1", "2", "2"], [0, "4", "8", "3"]]);
    let point = json!([20, {"count": "7", "sum": "-0.5", "buckets": buckets}]);
    let metric = json!({"__name__": "latency"});
    assert_eq!(ask("/api/v1/query?query=latency&time=20").await, json!({"metric": metric, "histogram": point}));
    let range = ask("/api/v1/query_range?query=latency&start=20&end=30&step=10").await;
    assert_eq!(range, json!({"metric": metric, "histograms": [point], "values": [[30, "4.5"]]}));
    let empty = ask("/api/v1/query?query=latency%2F0&time=20").await;
    assert_eq!(empty["histogram"], json!([20, {"count": "+Inf", "sum": "-Inf", "buckets": [[3, "-0.25", "0.25", "+Inf"]]}]));
}

#[tokio::test]
async fn range_queries_take_forms() {
    let form = "query=rate(hits_total{pod=\"b\"}[1m])&start=120&end=150&step=15s";
    let request = Request::post("/api/v1/query_range")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    let (status, body, _) = send(router(store(), QueryConfig::default()), request).await;
    assert_eq!(status, 200, "{body}");
    let result = &body["data"]["result"];
    assert_eq!(result[0]["metric"], json!({"pod": "b"}));
    assert_eq!(result[0]["values"].as_array().unwrap().len(), 3);
    assert_eq!(result[0]["values"][0][0], json!(120));
}

#[tokio::test]
async fn wrong_requests_are_told_what_and_where() {
    let check = async |path: &str, status: u16, kind: &str, error: &str| {
        let (own, body) = get(path).await;
        assert_eq!(own, status, "{path}: {body}");
        assert_eq!(body, json!({"status": "error", "errorType": kind, "error": error}), "{path}");
    };
    let error = "invalid parameter \"query\": unknown position: parse error: no expression found in input";
    check("/api/v1/query", 400, "bad_data", error).await;
    let error = "invalid parameter \"query\": 1:3: parse error: unexpected end of input in an expression, expected a selector, \
                 number, string, function or \"(\"";
    check("/api/v1/query?query=1%2B", 400, "bad_data", error).await;
    let error = "invalid parameter \"time\": invalid time value for 'time': cannot parse \"now\" to a valid timestamp";
    check("/api/v1/query?query=1&time=now", 400, "bad_data", error).await;
    let error = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
    check("/api/v1/query_range?query=1&start=0&end=11001&step=1", 400, "bad_data", error).await;
    let error = "found duplicate series for the match group {} on the right hand-side of the operation: [{__name__=\"hits_total\", \
                 pod=\"a\"}, {__name__=\"hits_total\", pod=\"b\"}];many-to-many matching not allowed: matching labels must be \
                 unique on one side";
    check("/api/v1/query?query=hits_total+%2B+on()+hits_total&time=300", 422, "execution", error).await;
    check("/api/v1/series", 400, "bad_data", "no match[] parameter provided").await;
    let error = "match[] must contain at least one non-empty matcher";
    check("/api/v1/series?match[]=hits_total&match[]=%7Bpod=~%22.*%22%7D", 400, "bad_data", error).await;
    let error = "invalid parameter \"match[]\": 1:12: parse error: unexpected <offset> after a series selector, expected the end";
    check("/api/v1/labels?match[]=hits_total+offset+5m", 400, "bad_data", error).await;
    let config = QueryConfig { records_max: 3, ..QueryConfig::default() };
    let request = Request::get("/api/v1/query?query=hits_total&time=300").body(Body::empty()).unwrap();
    let (status, body, _) = send(router(store(), config), request).await;
    assert_eq!((status, &body["errorType"]), (422, &json!("execution")));
    for (limit, expected) in [("", 422), ("&limit=2", 422), ("&limit=1", 200)] {
        let config = QueryConfig { series_max: 1, ..QueryConfig::default() };
        let request = Request::get(format!("/api/v1/query?query=hits_total&time=300{limit}")).body(Body::empty()).unwrap();
        let (status, body, _) = send(router(store(), config), request).await;
        assert_eq!(status, expected, "{limit:?}: {body}");
    }
    let config = QueryConfig { timeout: Duration::ZERO, ..QueryConfig::default() };
    let request = Request::get("/api/v1/query?query=hits_total&time=300").body(Body::empty()).unwrap();
    let (status, body, _) = send(router(store(), config), request).await;
    assert_eq!((status, &body["errorType"]), (503, &json!("timeout")));
}

#[tokio::test]
async fn labels_series_and_metadata_are_listed() {
    assert_eq!(get("/api/v1/labels").await.1["data"], json!(["__name__", "pod"]));
    assert_eq!(get("/api/v1/labels?match[]=odd").await.1["data"], json!(["__name__"]));
    assert_eq!(get("/api/v1/label/pod/values").await.1["data"], json!(["a", "b"]));
    assert_eq!(get("/api/v1/label/__name__/values?start=200").await.1["data"], json!(["hits_total"]));
    let (_, body) = get("/api/v1/series?match[]={pod=\"a\"}&match[]=odd&limit=1".replace('"', "%22").as_str()).await;
    assert_eq!(body["data"], json!([{"__name__": "hits_total", "pod": "a"}]));
    assert_eq!(body["warnings"], json!(["results truncated due to limit"]));
    let (_, body) = get("/api/v1/metadata?metric=hits_total").await;
    assert_eq!(body["data"], json!({"hits_total": [{"type": "counter", "help": "Hits.", "unit": ""}]}));
    assert_eq!(get("/api/v1/format_query?query=sum(x)by(a)").await.1["data"], json!("sum by (a) (x)"));
    let long = format!("{}%2Bx%7Bb=%221%22,a=%222%22%7D", "a".repeat(100));
    let expected = format!("  {}\n+\n  x{{a=\"2\",b=\"1\"}}", "a".repeat(100));
    assert_eq!(get(&format!("/api/v1/format_query?query={long}")).await.1["data"], json!(expected));
    assert_eq!(get("/api/v1/status/buildinfo").await.1["data"]["version"].as_str().unwrap().split('+').next(), Some("2.45.0"));
}

#[tokio::test]
async fn rules_are_filtered_by_what_a_request_says() {
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: odd\n    labels: {severity: page}\n  - record: r:a\n    expr: odd\n- name: h\n  rules:\n  - record: r:b\n    expr: odd\n";
    let file =
        weir_rules::RuleFile { tenant: "default".into(), name: "r.yml".into(), text: text.into(), language: Default::default() };
    let ask = async |query: &str| {
        let rules = Arc::new(RuleSet::load(std::slice::from_ref(&file), weir_rules::Recording::Allowed).unwrap());
        let metrics: Arc<dyn MetricReader> = Arc::new(store());
        let api = Api::new(Arc::new(Nothing), metrics, Arc::new(Nothing), QueryConfig::default(), rules);
        let request = Request::get(format!("/api/v1/rules?{query}")).body(Body::empty()).unwrap();
        let (status, body, _) = send(open(super::router(Arc::new(api))), request).await;
        (status, body)
    };
    let names = async |query: &str| {
        let (status, body) = ask(query).await;
        assert_eq!(status, 200, "{query}: {body}");
        let groups = body["data"]["groups"].as_array().unwrap().clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
        rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["A", "r:a", "r:b"]);
    assert_eq!(names("type=record").await, ["r:a", "r:b"]);
    assert_eq!(names("rule_name[]=A&rule_name[]=r:b").await, ["A", "r:b"]);
    assert_eq!(names("rule_group[]=h").await, ["r:b"]);
    assert_eq!(names("file[]=other.yml").await, [] as [&str; 0]);
    assert_eq!(names("match[]=%7Bseverity%3D%22page%22%7D").await, ["A"]);
    let (_, page) = ask("group_limit=1").await;
    let token = page["data"]["groupNextToken"].as_str().unwrap();
    assert_eq!(names(&format!("group_limit=1&group_next_token={token}")).await, ["r:b"]);
    for (query, expected) in [
        ("type=alerts", "\"type\": not supported value"),
        ("group_limit=0", "\"group_limit\""),
        ("group_next_token=x", "group_limit needs to be present"),
        ("group_limit=1&group_next_token=x", "invalid group_next_token"),
        ("exclude_alerts=perhaps", "exclude_alerts"),
        ("match[]=%7B", "match[]"),
    ] {
        let (status, body) = ask(query).await;
        assert!(status == 400 && body["error"].as_str().unwrap().contains(expected), "{query}: {body}");
    }
}

#[tokio::test]
async fn what_an_answer_has_not_seen_is_said() {
    let mut store = store();
    let partition = PartitionCoverage {
        topic: "weir.metrics".into(),
        partition: 2,
        high_watermark: 9,
        indexed_offset: 7,
        committed_offset: 0,
        losses: vec![(3, 5)],
    };
    store.coverage = Coverage { partitions: vec![partition], missing: vec!["block é is corrupt".into()] };
    let request = Request::get("/api/v1/query?query=vector(1)%2Bodd&time=2").body(Body::empty()).unwrap();
    let (_, body, header) = send(router(store, QueryConfig::default()), request).await;
    let expected =
        json!(["coverage: block é is corrupt", "coverage: offsets 3 to 4 of weir.metrics partition 2 are declared lost"]);
    assert_eq!(body["warnings"], expected);
    let expected = json!(["coverage: 2 records of weir.metrics partition 2 are on the bus and not searchable yet"]);
    assert_eq!(body["infos"], expected);
    let header: Value = serde_json::from_str(&header.unwrap()).unwrap();
    assert_eq!(header["complete"], json!(false));
    assert_eq!(header["missing"][0], json!("block é is corrupt"));
}
