//! What logcli's and Logs Drilldown's other calls of Loki's API answer: volumes by time, detected labels and fields, patterns, shards, limits, rules.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use weir_logql::memory::MemoryLogs;
use weir_model::label::Labels;
use weir_model::time::SECOND;
use weir_rules::{Recording, RuleFile, RuleLanguage, RuleSet};

use super::{Got, api, get, send};

fn store() -> MemoryLogs {
    let mut store = MemoryLogs::default();
    let line = store.push(&[("app", "x"), ("pod", "a"), ("shard", "1")], 10 * SECOND, b"took=15ms code=200");
    (line.severity, line.attributes) = (9, Labels::from_pairs([("user", "u")]));
    store.push(&[("app", "x"), ("pod", "b"), ("shard", "2")], 20 * SECOND, br#"{"http": {"code": 404}}"#);
    store.push(&[("app", "y")], 30 * SECOND, b"took=7ms code=500");
    store
}

async fn ask(path: &str) -> Got {
    get(api(store(), Default::default(), Default::default()), &format!("/loki/api/v1/{path}")).await
}

async fn answer(path: &str) -> Value {
    let got = ask(path).await;
    assert_eq!(got.status, 200, "{path}: {}", got.text());
    assert!(got.header("x-weir-coverage").contains("\"complete\":true"), "{path}");
    got.json()
}

const ALL: &str = "query=%7Bapp%3D~%22.%2B%22%7D&start=0&end=50";

#[tokio::test]
async fn volumes_by_time() {
    let range = answer(&format!("index/volume_range?{ALL}&step=15&targetLabels=pod")).await;
    let of = |pod: &str, at: i64, bytes: &str| json!({"metric": {"pod": pod}, "values": [[at, bytes]]});
    // 15 s become 20 s; a sample stands at the end of its step; streams without the label do not count.
    let expected = json!({"resultType": "matrix", "result": [of("b", 40, "23"), of("a", 20, "18")]});
    assert_eq!((&range["status"], &range["data"]), (&json!("success"), &expected));
    let by_label = answer(&format!("index/volume_range?{ALL}&step=60&aggregateBy=labels")).await;
    let of = |label: &str, bytes: &str| json!({"metric": {label: ""}, "values": [[50, bytes]]});
    assert_eq!(by_label["data"]["result"], json!([of("app", "58"), of("pod", "41"), of("shard", "41")]));
    let whole = answer("index/volume?query=%7B%7D&start=0&end=50&limit=1").await;
    let first = json!([{"metric": {"app": "x", "pod": "b", "shard": "2"}, "value": [50, "23"]}]);
    assert_eq!(whole["data"]["result"], first, "all labels where the selector names none");
    let shards = answer(&format!("index/shards?{ALL}")).await;
    let stats = json!({"streams": 3, "chunks": 0, "entries": 3, "bytes": 58});
    assert_eq!(shards, json!({"shards": [{"bounds": {"min": 0, "max": u64::MAX}, "stats": stats}]}));
}

#[tokio::test]
async fn labels_and_fields_are_detected() {
    let labels = answer("detected_labels?start=0&end=50").await;
    let one = |label: &str, count: u64| json!({"label": label, "cardinality": count});
    assert_eq!(labels, json!({"detectedLabels": [one("app", 2), one("pod", 2)]}), "shard has numbers alone");
    let body = answer(&format!("detected_fields?{ALL}&line_limit=10")).await;
    let field = |label: &str, kind: &str, count: u64, parsers: Value| json!({"label": label, "type": kind, "cardinality": count, "parsers": parsers});
    let mut http_code = field("http_code", "int", 1, json!(["json"]));
    http_code["jsonPath"] = json!(["http", "code"]);
    let expected = [
        field("code", "int", 2, json!(["logfmt"])),
        field("detected_level", "string", 2, Value::Null),
        http_code,
        field("took", "duration", 2, json!(["logfmt"])),
        field("user", "string", 1, Value::Null),
    ];
    assert_eq!(body, json!({"fields": expected, "limit": 1000}));
    for limit in ["limit=1", "field_limit=1", "limit=1&field_limit=3"] {
        assert_eq!(answer(&format!("detected_fields?{ALL}&{limit}")).await["fields"], json!([expected[0]]), "{limit}");
    }
    assert_eq!(ask(&format!("detected_fields?{ALL}&limit=0")).await.text(), "limit must be a positive value");
    let values = answer(&format!("detected_field/code/values?{ALL}")).await;
    assert_eq!(values, json!({"values": ["200", "500"], "limit": 1000}));
    let newest = answer(&format!("detected_field/code/values?{ALL}&line_limit=1")).await;
    assert_eq!(newest["values"], json!(["500"]));
    assert_eq!(answer(&format!("detected_field/nothing/values?{ALL}")).await["values"], json!([]));
}

#[tokio::test]
async fn patterns_are_counted() {
    let body = answer(&format!("patterns?{ALL}&step=10")).await;
    let one = |pattern: &str, level: &str, at: i64| json!({"pattern": pattern, "level": level, "samples": [[at, 1]]});
    let expected = json!([
        one("took=<_> code=<_>", "info", 10),
        one("took=<_> code=<_>", "unknown", 30),
        one("{\"http\": {\"code\": <_>}}", "unknown", 20),
    ]);
    assert_eq!((&body["status"], &body["data"]), (&json!("success"), &expected));
    let form = Request::post("/loki/api/v1/patterns").header("Content-Type", "application/x-www-form-urlencoded");
    let form = form.body(Body::from(format!("{ALL}&step=10"))).unwrap();
    let got = send(api(store(), Default::default(), Default::default()), form).await;
    assert_eq!(got.json(), body);
}

#[tokio::test]
async fn limits_rules_and_version() {
    let limits = ask("drilldown-limits").await.json();
    let version = format!("3.7.0+weir.{}", env!("CARGO_PKG_VERSION"));
    assert_eq!((&limits["pattern_ingester_enabled"], &limits["version"]), (&json!(true), &json!(version)));
    let named = &limits["limits"];
    assert_eq!((&named["max_entries_limit_per_query"], &named["query_timeout"]), (&json!(50_000), &json!("1m")));
    assert_eq!(ask("status/buildinfo").await.json()["version"], version);
    for (path, absent) in
        [("rules", "no rule groups found\n"), ("rules/n", "no rule groups found\n"), ("rules/n/g", "group does not exist\n")]
    {
        let got = ask(path).await;
        assert_eq!((got.status, got.text().as_str()), (404, absent), "{path}");
    }
    let rules = get(api(store(), Default::default(), Default::default()), "/prometheus/api/v1/rules").await;
    assert_eq!(rules.json()["data"], json!({"groups": []}));
}

#[tokio::test]
async fn rules_in_logql_are_shown_below_lokis_paths() {
    let ask = async |path: &str| {
        let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: EXPR\n  - record: r\n    expr: EXPR\n";
        let file = |name: &str, expr: &str, language| RuleFile {
            tenant: "default".into(),
            name: name.into(),
            text: text.replace("EXPR", expr),
            language,
        };
        let files = [file("a/l.yml", "rate({a=\"b\"}[1m])", RuleLanguage::LogQl), file("a/p.yml", "up", RuleLanguage::PromQl)];
        let mut api = api(store(), Default::default(), Default::default());
        api.rules = Arc::new(RuleSet::load(&files, Recording::Allowed).unwrap());
        get(api, path).await
    };
    for (path, expected) in
        [("rules", "\"l.yml\":\n    - name: \"g\""), ("rules/l.yml", "\"l.yml\":\n"), ("rules/l.yml/g", "name: \"g\"\n")]
    {
        let got = ask(&format!("/loki/api/v1/{path}")).await;
        assert!(got.status == 200 && got.text().starts_with(expected), "{path}: {} {}", got.status, got.text());
        assert_eq!(got.headers["content-type"], "application/yaml");
    }
    assert_eq!(ask("/loki/api/v1/rules/p.yml").await.status, 404);
    let names = async |path: &str| {
        let shown = ask(path).await.json()["data"]["groups"].clone();
        let rules = shown.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
        rules.map(|rule| rule["query"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let of_lines = "rate({a=\"b\"}[1m])";
    assert_eq!(names("/prometheus/api/v1/rules").await, [of_lines, of_lines]);
    assert_eq!(names("/prometheus/api/v1/rules?type=alert&rule_name[]=A").await, [of_lines]);
    assert_eq!(names("/api/v1/rules").await, ["up", "up"]);
    assert_eq!(ask("/prometheus/api/v1/rules?type=x").await.status, 400);
    assert_eq!(ask("/prometheus/api/v1/alerts").await.json()["data"], json!({"alerts": []}));
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let check = async |path: &str, expected: &str| {
        let got = ask(path).await;
        assert_eq!((got.status, got.text().as_str()), (400, expected), "{path}");
    };
    let missing = "parse error at line 1, col 1: syntax error: unexpected $end: here is the end of the query, expected is a selector such as {app=\"x\"}, a function or a number";
    check("patterns", missing).await;
    check("patterns?query=1", "patterns are of lines: a metric query has none").await;
    check("detected_fields?query=1", "a log query is wanted here, not a metric query").await;
    check("detected_fields?line_limit=0", "limit must be a positive value").await;
    check("index/volume_range?query=%7B%7D&aggregateBy=x", "parameter aggregateBy is series or labels").await;
    check("index/shards", missing).await;
    let got = ask("index/volume_range?query=%7Bapp%3D%22x%22%7D%20%7C%3D%20%22y%22").await;
    assert!(got.status == 400 && got.text().contains("is more than a selector"), "{}", got.text());
}
