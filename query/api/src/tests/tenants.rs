//! What a tenant's own limits refuse, in each API's shape; and usage as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use weir_access::{AuthorizationConfig, Mode};
use weir_budget::QueryConfig;
use weir_logql::memory::MemoryLogs;
use weir_model::label::Labels;
use weir_model::limits::{Limits, OverridesFile};
use weir_model::scope::Scope;
use weir_model::select::{Budget, ReadError};
use weir_model::usage::{Amount, LogsDisk, Stored, StoredUsage};
use weir_model::wire::Kind;
use weir_promql::testing::MemoryReader;

use super::*;

fn limits(json: serde_json::Value) -> Limits {
    let file: OverridesFile = serde_json::from_value(json).unwrap();
    Limits::new(file.try_into().unwrap())
}

/// Three lines and two samples within the last minute.
fn store() -> (MemoryLogs, MemoryReader) {
    let (mut logs, mut metrics) = (MemoryLogs::default(), MemoryReader::default());
    for i in 1..=3 {
        logs.push(&[("a", "b")], NOW - i * SECOND, b"line");
    }
    (1..=2).for_each(|i| metrics.push(&Labels::from_pairs([("__name__", "up")]), (NOW - i * SECOND) / 1_000_000, 1.0));
    (logs, metrics)
}

fn limited(query: serde_json::Value) -> (Api, weir_model::usage::Usage) {
    let ((logs, metrics), usage) = (store(), weir_model::usage::Usage::default());
    let traces = Arc::new(MemoryTraces::default());
    let api = Api::new(Arc::new(logs), Arc::new(metrics), traces, QueryConfig::default(), Arc::new(RuleSet::empty()));
    let limits = limits(json!({"tenants": {"default": {"query": query}}}));
    (api.with_clock(|| NOW).with_tenants(limits, usage.clone()), usage)
}

const LINES: &str = "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&start=40&end=100";
const SAMPLES: &str = "/api/v1/query_range?query=up&start=40&end=100&step=10";

#[tokio::test]
async fn a_tenants_limits_are_refused_in_each_apis_shape() {
    let check = async |query: serde_json::Value, path: &str, status: u16, expected: &str| {
        let got = get(limited(query.clone()).0, path).await;
        assert!(got.status == status && got.text().contains(expected), "{query} {path}: {} {}", got.status, got.text());
        if path.starts_with("/api/v1/") && status == 422 {
            assert_eq!((&got.json()["errorType"], &got.json()["status"]), (&json!("execution"), &json!("error")));
        }
    };
    let records = "more than 1 samples or lines (query.records_max of this tenant)";
    for path in [LINES, "/api/weir/v1/logs?query=%7Ba%3D%22b%22%7D&start=40&end=100"] {
        check(json!({"records_max": 1}), path, 400, records).await;
        check(json!({"range_max": "50s"}), path, 400, "more than 50s of time (query.range_max of this tenant)").await;
        check(json!({"range_max": "60s", "records_max": 3}), path, 200, "line").await;
    }
    check(json!({"records_max": 1}), SAMPLES, 422, "tenant \\\"default\\\"").await;
    // The lookback counts.
    check(json!({"range_max": "60s"}), SAMPLES, 422, "more than 1m of time").await;
    check(json!({"range_max": "6m", "records_max": 20}), SAMPLES, 200, "success").await;
    check(json!({"range_max": "50s"}), "/tempo/api/search?q=%7B%7D&start=40&end=100", 400, "more than 50s of time").await;
    // What there is to query is bound as queries are; without a start it is as far back as is allowed.
    for (path, status) in [
        ("/api/v1/series?match%5B%5D=up&", 422),
        ("/api/v1/labels?", 422),
        ("/loki/api/v1/labels?", 400),
        ("/tempo/api/search/tags?", 400),
        ("/tempo/api/search/tag/a/values?", 400),
    ] {
        let path = format!("{path}start=40&end=100");
        check(json!({"range_max": "50s"}), &path, status, "more than 50s of time (query.range_max of this tenant)").await;
        check(json!({"range_max": "60s"}), &path, 200, "").await;
    }
    check(json!({"range_max": "50s"}), "/api/v1/labels", 200, "__name__").await;
    let timeout = |name: &str| format!("that tenant {name} allows (query.timeout)");
    check(json!({"timeout": "1ns"}), SAMPLES, 503, &timeout("\\\"default\\\"")).await;
    check(json!({"timeout": "1ns"}), LINES, 504, &timeout("\"default\"")).await;
}

#[tokio::test]
async fn what_queries_take_counts_for_their_tenant() {
    let (api, usage) = limited(json!({}));
    assert_eq!(get(api, LINES).await.status, 200);
    let all = usage.all();
    let [(tenant, counted)] = &all[..] else { panic!("{all:?}") };
    assert_eq!((&**tenant, counted.queries, counted.cost.records), ("default", 1, 3));
    let (api, usage) = limited(json!({}));
    assert_eq!(get(api, "/loki/api/v1/format_query?query=%7Ba%3D%22b%22%7D").await.status, 200);
    assert!(usage.all().is_empty(), "what is only parsed is nobody's");
}

/// Usage of two tenants in weir's own, of a range from 40 s on. Of processes a began before it and had told what it counted; b began in it;
/// c began before it and had told that it had counted nothing of shop; of d nothing is kept from before.
fn kept() -> Api {
    let mut metrics = MemoryReader::default();
    let mut push = |tenant: &str, name: &str, signal: &str, instance: &str, samples: &[(i64, f64)]| {
        let started = if instance == "b" { "50000" } else { "5000" };
        let pairs = [("__name__", name), ("tenant", tenant), ("signal", signal), ("instance", instance), ("started", started)];
        let labels = Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
        samples.iter().for_each(|(at, value)| metrics.push(&labels, at * 1000, *value));
    };
    push("shop", "weir_usage_ingested_bytes_total", "logs", "a", &[(10, 100.0), (50, 150.0), (90, 170.0)]);
    push("shop", "weir_usage_ingested_bytes_total", "logs", "b", &[(60, 7.0)]);
    push("weir", "weir_usage_ingested_records_total", "metrics", "c", &[(30, 8.0), (60, 9.0)]);
    push("shop", "weir_usage_ingested_bytes_total", "logs", "c", &[(60, 1000.0)]);
    push("weir", "weir_usage_ingested_records_total", "metrics", "d", &[(60, 9.0)]);
    push("shop", "weir_usage_ingested_bytes_total", "logs", "d", &[(60, 1e9), (90, 1e9 + 2.0)]);
    push("shop", "weir_usage_query_seconds_total", "", "b", &[(60, 1.5)]);
    push("bank", "weir_usage_queries_total", "", "b", &[(60, 4.0)]);
    push("shop", "weir_usage_active_streams", "", "a", &[(30, 9.0), (90, 5.0)]);
    push("shop", "weir_usage_active_streams", "", "b", &[(60, 2.0)]);
    push("shop", "weir_usage_active_series", "", "b", &[(60, 3.0)]);
    // Of b before it was started anew.
    let pairs = [("__name__", "weir_usage_active_streams"), ("tenant", "shop"), ("instance", "b"), ("started", "4000")];
    metrics.push(&Labels::from_pairs(pairs), 45_000, 100.0);
    let (logs, traces) = (Arc::new(MemoryLogs::default()), Arc::new(MemoryTraces::default()));
    let api = Api::new(logs, Arc::new(metrics), traces, QueryConfig::default(), Arc::new(RuleSet::empty()));
    api.with_clock(|| NOW).with_usage_of(Scope::of("weir"), Arc::new(Blocks))
}

/// 3 spans of "shop", 9 of "old", which has sent nothing of late.
struct Blocks;

impl StoredUsage for Blocks {
    fn stored(&self, _budget: &dyn Budget) -> Result<Stored, ReadError> {
        let mut stored = Stored { missing: vec!["a block is away".into()], ..Stored::default() };
        stored.add(Kind::Spans, &"shop".into(), Amount { records: 1, bytes: 10 });
        stored.add(Kind::Spans, &"shop".into(), Amount { records: 2, bytes: 20 });
        stored.add(Kind::Spans, &"old".into(), Amount { records: 9, bytes: 90 });
        Ok(stored)
    }

    fn logs_disk(&self, _budget: &dyn Budget) -> Result<LogsDisk, ReadError> {
        let missing = vec!["a block is away".into()];
        let streams = [(("shop".into(), Labels::EMPTY), Amount { records: 7, bytes: 70 })].into();
        Ok(LogsDisk { blocks: 1, streams, parts: [("chunks.2".to_owned(), 70)].into(), missing })
    }
}

/// Asks for `path` as somebody whom these policies let read the tenants that are named.
async fn usage_as(policies: &str, tenants: &[&str], path: &str) -> Got {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let policies_file = std::env::temp_dir().join(format!("weir-usage-{}-{number}.jsonl", std::process::id()));
    std::fs::write(&policies_file, policies).unwrap();
    let config = AuthorizationConfig { mode: Mode::Abac, policies_file: policies_file.clone(), ..AuthorizationConfig::default() };
    let authorizer = Authorizer::start(&config, "weir", |_| Err("no webhook".into())).unwrap();
    std::fs::remove_file(&policies_file).unwrap();
    let asked = tenants.iter().map(|tenant| (*tenant).into()).collect();
    let access = Access::new(Some(Arc::new(Principal::anonymous())), asked, Arc::new(authorizer));
    let mut router = crate::router(Arc::new(kept())).into_router().layer(Extension(access));
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = tower_service::Service::call(&mut router, request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 4 << 20).await.unwrap().to_vec();
    Got { status: parts.status.as_u16(), headers: parts.headers, bytes }
}

#[tokio::test]
async fn usage_is_shown_to_its_tenant_and_all_of_it_to_an_administrator() {
    let path = "/api/weir/v1/usage?start=40&end=100";
    let shop = r#"{"tenant": "shop"}"#;
    let got = usage_as(shop, &["shop"], path).await;
    let shown = got.json();
    assert_eq!(shown["tenants"].as_array().unwrap().len(), 1, "{shown}");
    let own = &shown["tenants"][0];
    assert_eq!((&own["tenant"], &own["ingested"]["logs"]), (&json!("shop"), &json!({"bytes": 1079, "records": 0})));
    assert_eq!(own["active"], json!({"streams": 7, "series": 3}));
    assert_eq!((&own["queries"]["seconds"], &own["queries"]["count"]), (&json!(1.5), &json!(0)));
    assert_eq!((&own["stored"]["traces"], &own["stored"]["logs"]["bytes"]), (&json!({"bytes": 30, "records": 3}), &json!(0)));
    let missing: Vec<_> = shown["coverage"]["missing"].as_array().unwrap().iter().map(|own| own.as_str().unwrap()).collect();
    assert!(
        missing.len() == 2 && missing[0].contains("began before the range") && missing[1] == "a block is away",
        "{missing:?}"
    );
    assert!(!got.text().contains("\"old\""), "{}", got.text());
    assert!(!got.text().contains("bank"), "{}", got.text());
    assert_eq!(usage_as(shop, &["bank"], path).await.status, 403);
    assert_eq!(usage_as(shop, &["shop"], &format!("{path}&all=true")).await.status, 403);
    let policy = r#"{"tenant": "shop", "matcher": "{a=\"b\"}"}"#;
    let part = usage_as(policy, &["shop"], path).await;
    assert!(part.status == 403 && part.text().contains("the whole of a tenant"), "{} {}", part.status, part.text());
    let whole_logs = format!("{}\n{policy}", r#"{"tenant": "shop", "signal": "logs"}"#);
    let own = usage_as(&whole_logs, &["shop"], path).await.json()["tenants"][0].clone();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all: Vec<Vec<String>> = [&own, &own["ingested"], &own["stored"], &own["active"]].map(keys).into();
    let expected: [&[&str]; 4] = [&["active", "ingested", "stored", "tenant"], &["logs"], &["logs"], &["streams"]];
    assert!(all.iter().zip(expected).all(|(found, expected)| found == expected), "{own}");
    let both = usage_as("{}", &["shop", "bank"], path).await.json();
    let counts: Vec<_> = both["tenants"].as_array().unwrap().iter().map(|own| own["queries"]["count"].clone()).collect();
    assert_eq!(counts, [4, 0]);
    let all = usage_as("{}", &[], &format!("{path}&all=true")).await.json();
    let names: Vec<_> = all["tenants"].as_array().unwrap().iter().map(|own| own["tenant"].as_str().unwrap()).collect();
    assert_eq!(names, ["bank", "old", "shop", "weir"]);
}

#[tokio::test]
async fn what_logs_take_on_disk_is_shown_to_an_administrator() {
    let path = "/api/weir/v1/admin/disk?limit=1";
    let shop = r#"{"tenant": "shop"}"#;
    assert_eq!(usage_as(shop, &["shop"], path).await.status, 403);
    let shown = usage_as("{}", &[], path).await.json();
    let stored = json!({"bytes": 70, "records": 7});
    assert_eq!(shown["streams"], json!([{"tenant": "shop", "stream": {}, "stored": stored}]), "{shown}");
    assert_eq!(shown["coverage"]["missing"], json!(["a block is away"]));
    assert_eq!(usage_as("{}", &[], "/api/weir/v1/admin/disk?limit=all").await.status, 400);
}
