//! What is not a query: trees, exemplars, targets, status, cardinality, federation, notifications.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use serde_json::{Value, json};
use weir_budget::QueryConfig;
use weir_model::label::{Labels, MatchOp, Matcher};
use weir_model::metric::{Exemplar, Family, MetricKind, STALE_NAN, Schema};
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{Budget, Covered, MetricReader, MetricSelect, ReadError, SeriesCursor, SeriesExemplars};
use weir_model::status::OutageStatus;
use weir_model::targets::{DroppedTarget, LastScrape, RelabelStep, ScrapeTarget, ScrapeTargets};
use weir_model::time::SECOND;
use weir_promql::testing::MemoryReader;
use weir_rules::RuleSet;

use super::open;
use crate::Api;
use crate::prometheus::router;
use crate::prometheus::targets::{families_shown_to, shown_to};
use crate::prometheus::tests::{Nothing, send, store};

/// Five minutes and a second after the epoch.
const NOW: i64 = 301 * SECOND;

/// The store of queries, with exemplars.
struct Exemplary(MemoryReader);

impl MetricReader for Exemplary {
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.0.cursor(select, budget)
    }
    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        self.0.series(select, budget)
    }
    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Result<Covered<Vec<Family>>, ReadError> {
        self.0.families(scope, budget)
    }
    fn exemplars(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<SeriesExemplars>>, ReadError> {
        let found = self.0.series(select, budget)?;
        let one = |labels: Labels| {
            let trace = Labels::from_pairs([("trace_id", "0a")]);
            SeriesExemplars { labels, exemplars: vec![Exemplar { labels: trace, value: 0.5, timestamp: 1_234_000_000 }] }
        };
        Ok(Covered { value: found.value.into_iter().map(one).collect(), coverage: found.coverage })
    }
}

fn api() -> Api {
    let metrics: Arc<dyn MetricReader> = Arc::new(Exemplary(store()));
    let api = Api::new(Arc::new(Nothing), metrics, Arc::new(Nothing), QueryConfig::default(), Arc::new(RuleSet::empty()));
    api.with_clock(|| NOW)
}

async fn ask(api: Api, path: &str) -> (u16, Value) {
    let request = Request::get(format!("/api/v1/{}", path.replace('"', "%22").replace(' ', "%20").replace('>', "%3E")))
        .body(Body::empty())
        .unwrap();
    let (status, body, _) = send(open(router(Arc::new(api))), request).await;
    (status, body)
}

async fn data(path: &str) -> Value {
    let (status, mut body) = ask(api(), path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body["data"].take()
}

#[tokio::test]
async fn a_tree_has_prometheus_shape() {
    let tree = data("parse_query?query=sum by (a) (rate(x{b!=\"c\"}[5m] offset 1m)) / on (a) group_left y > bool 2").await;
    assert_eq!(
        (&tree["type"], &tree["op"], &tree["bool"], &tree["matching"]),
        (&json!("binaryExpr"), &json!(">"), &json!(true), &json!(null))
    );
    let ratio = &tree["lhs"];
    let matching =
        json!({"card": "many-to-one", "labels": ["a"], "on": true, "include": [], "fillValues": {"lhs": null, "rhs": null}});
    assert_eq!((&ratio["op"], &ratio["matching"]), (&json!("/"), &matching));
    assert_eq!(
        (&ratio["lhs"]["op"], &ratio["lhs"]["grouping"], &ratio["lhs"]["param"]),
        (&json!("sum"), &json!(["a"]), &json!(null))
    );
    let call = &ratio["lhs"]["expr"];
    assert_eq!(call["func"], json!({"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"}));
    let matchers = json!([{"name": "__name__", "value": "x", "type": "="}, {"name": "b", "value": "c", "type": "!="}]);
    let expected = json!({"type": "matrixSelector", "name": "x", "range": 300_000, "rangeExpr": null, "offset": 60_000, "offsetExpr": null,
        "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&call["args"][0][name], value, "{name}");
    }
    for matcher in matchers.as_array().unwrap() {
        assert!(call["args"][0]["matchers"].as_array().unwrap().contains(matcher), "{call}");
    }
    assert_eq!(tree["rhs"], json!({"type": "numberLiteral", "val": "2"}));
    let (status, body) = ask(api(), &format!("parse_query?query=1{}", "%2B1".repeat(500))).await;
    assert!(status == 400 && body["error"].as_str().unwrap().contains("400 deep"), "{body}");
    let sum = format!("1{}", "%2B1".repeat(8000));
    for query in [format!("x[{sum}]"), format!("x offset ({sum})"), format!("x[1m:{sum}]")] {
        let (status, body) = ask(api(), &format!("parse_query?query={query}")).await;
        assert!(status == 400 && body["error"].as_str().unwrap().contains("400 deep"), "{body}");
    }
}

#[tokio::test]
async fn exemplars_are_of_every_selector_once() {
    let found = data("query_exemplars?query=rate(hits_total{pod=\"a\"}[1m]) %2B hits_total").await;
    let exemplar = json!([{"labels": {"trace_id": "0a"}, "value": "0.5", "timestamp": 1.234}]);
    let of = |pod: &str| json!({"seriesLabels": {"__name__": "hits_total", "pod": pod}, "exemplars": exemplar});
    assert_eq!(found, json!([of("a"), of("b")]));
    let request = Request::get("/api/v1/query_exemplars?query=1").body(Body::empty()).unwrap();
    let response = tower_service::Service::call(&mut open(router(Arc::new(api()))), request).await.unwrap();
    assert_eq!(response.status(), 204);
}

#[tokio::test]
async fn what_is_here_of_the_server_is_told() {
    let flags = data("status/flags").await;
    assert_eq!((&flags["query.lookback-delta"], &flags["web.enable-lifecycle"]), (&json!("5m"), &json!("false")));
    let info = data("status/runtimeinfo").await;
    assert_eq!((&info["startTime"], &info["corruptionCount"]), (&json!("1970-01-01T00:05:01Z"), &json!(0)));
    assert_eq!(data("status/walreplay").await, json!({"min": 0, "max": 0, "current": 0}));
    let features = data("features").await;
    assert_eq!((&features["promql_functions"]["rate"], &features["promql_operators"]["topk"]), (&json!(true), &json!(true)));
    let request = Request::post("/api/v1/admin/tsdb/snapshot").body(Body::empty()).unwrap();
    let (status, body, _) = send(open(router(Arc::new(api()))), request).await;
    assert_eq!((status, &body["errorType"]), (404, &json!("not_found")), "{body}");
}

#[tokio::test]
async fn series_are_counted_by_what_they_carry() {
    let found = data("status/tsdb?limit=1").await;
    assert_eq!((&found["headStats"]["numSeries"], &found["headStats"]["numLabelPairs"]), (&json!(3), &json!(4)));
    assert_eq!(found["seriesCountByMetricName"], json!([{"name": "hits_total", "value": 2}]));
    assert_eq!(found["labelValueCountByLabelName"], json!([{"name": "__name__", "value": 2}]));
    assert_eq!(found["memoryInBytesByLabelName"], json!([{"name": "__name__", "value": 23}]));
    assert_eq!(found["seriesCountByLabelValuePair"], json!([{"name": "__name__=hits_total", "value": 2}]));
    for (query, expected) in [("limit=0", "limit must be a positive number"), ("limit=10001", "limit must not exceed 10000")] {
        let (status, body) = ask(api(), &format!("status/tsdb?{query}")).await;
        assert_eq!((status, &body["error"]), (400, &json!(expected)));
    }
    let (_, names) = ask(api(), "cardinality/label_names?limit=1").await;
    let first = json!([{"label_name": "__name__", "label_values_count": 2}]);
    assert_eq!(names, json!({"label_values_count_total": 4, "label_names_count": 2, "cardinality": first}));
    let (_, values) = ask(api(), "cardinality/label_values?label_names[]=pod&selector={pod=\"b\"}").await;
    let pods = json!([{"label_value": "b", "series_count": 1}]);
    let pod = json!({"label_name": "pod", "label_values_count": 1, "series_count": 1, "cardinality": pods});
    assert_eq!(values, json!({"series_count_total": 1, "labels": [pod]}));
    let (_, twice) = ask(api(), "cardinality/label_values?label_names[]=pod&label_names[]=pod&selector={pod=\"b\"}").await;
    assert_eq!(twice, values, "a name that is said twice is one");
    let many: String = (0..101).map(|i| format!("&label_names[]=l{i}")).collect();
    assert_eq!(ask(api(), &format!("cardinality/label_values?selector=odd{many}")).await.0, 400);
    let (_, active) = ask(api(), "cardinality/active_series?selector=odd").await;
    assert_eq!(active, json!({"data": [{"__name__": "odd"}]}));
    for path in ["cardinality/label_values", "cardinality/label_names?limit=501", "cardinality/label_names?count_method=x"] {
        assert_eq!(ask(api(), path).await.0, 400, "{path}");
    }
    let request = Request::get("/api/weir/v1/cardinality?limit=1").body(Body::empty()).unwrap();
    let (_, body, _) = send(open(crate::weir::router(Arc::new(api()))), request).await;
    assert_eq!((&body["series"], &body["label_pairs"]), (&json!(3), &json!(4)));
    assert_eq!(body["pairs"], json!([{"name": "pod", "value": "a", "series": 1}]));
    assert_eq!(body["tenants"], json!([{"tenant": "default", "series": 3}]));
    assert_eq!(body["targets"], json!([{"job": "", "instance": "", "series": 3}]));
}

/// Two targets of one job, and one that was dropped.
struct Two;

impl ScrapeTargets for Two {
    fn tenant(&self) -> &str {
        "default"
    }
    fn pools(&self) -> Vec<String> {
        vec!["web".into(), "empty".into()]
    }
    fn active(&self) -> Vec<ScrapeTarget> {
        let family =
            |name: &str| Family { name: name.into(), kind: MetricKind::Counter, help: "Hits.".into(), unit: String::new() };
        let series =
            [Labels::from_pairs([("__name__", "hits_total")]), Labels::from_pairs([("__name__", "core"), ("tier", "core")])];
        let schema = Arc::new(Schema::new(series.into(), vec![family("hits"), family("core")]));
        let one = |zone: &str, error: Option<&str>| ScrapeTarget {
            pool: "web".into(),
            discovered: Labels::from_pairs([("__address__", "a:1")]),
            labels: Labels::from_pairs([("job", "web"), ("zone", zone)]),
            url: "http://a:1/metrics".into(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            last: Some(LastScrape { at: SECOND, seconds: 0.25, error: error.map(str::to_owned), schema: Arc::clone(&schema) }),
        };
        vec![one("x", None), one("y", Some("answered 500"))]
    }
    fn dropped(&self) -> Vec<DroppedTarget> {
        vec![DroppedTarget { pool: "web".into(), discovered: Labels::from_pairs([("__address__", "b:2")]) }]
    }
    fn dropped_counts(&self) -> BTreeMap<String, u64> {
        [("web".to_owned(), 1)].into()
    }
    fn config(&self) -> String {
        "scrape_configs: []\n".into()
    }
    fn pool_config(&self, pool: &str) -> Option<String> {
        (pool == "web").then(|| "job_name: web\n".into())
    }
    fn relabel(&self, pool: &str, labels: BTreeMap<String, String>) -> Option<Vec<RelabelStep>> {
        (pool == "web").then(|| vec![RelabelStep { rule: json!({"action": "keep"}), output: labels, keep: true }])
    }
}

#[tokio::test]
async fn targets_are_told_by_the_collector_or_by_what_is_stored_of_them() {
    let ask_two = async |path: &str| {
        let (status, body) = ask(api().with_targets(Arc::new(Two)), path).await;
        (status, body["data"].clone(), body["error"].clone())
    };
    let (_, all, _) = ask_two("targets").await;
    assert_eq!(all["activeTargets"].as_array().unwrap().len(), 2);
    let expected = json!({"discoveredLabels": {"__address__": "a:1"}, "labels": {"job": "web", "zone": "y"}, "scrapePool": "web",
        "scrapeUrl": "http://a:1/metrics", "globalUrl": "http://a:1/metrics", "lastError": "answered 500", "health": "down",
        "lastScrape": "1970-01-01T00:00:01Z", "lastScrapeDuration": 0.25, "scrapeInterval": "15s", "scrapeTimeout": "10s"});
    assert_eq!(all["activeTargets"][1], expected);
    assert_eq!(all["droppedTargetCounts"], json!({"web": 1}));
    let (_, dropped, _) = ask_two("targets?state=dropped&scrapePool=web").await;
    assert_eq!((&dropped["activeTargets"], dropped["droppedTargets"].as_array().unwrap().len()), (&json!([]), 1));
    let (_, other, _) = ask_two("targets?scrapePool=other").await;
    assert_eq!((&other["activeTargets"], &other["droppedTargets"]), (&json!([]), &json!([])));
    assert_eq!(ask_two("scrape_pools").await.1, json!({"scrapePools": ["empty", "web"]}));
    let entry = json!([{"target": {"job": "web", "zone": "x"}, "type": "counter", "help": "Hits.", "unit": ""}]);
    assert_eq!(ask_two("targets/metadata?metric=hits&limit=1").await.1, entry);
    assert_eq!(ask_two("targets/metadata?match_target={zone=\"z\"}").await.1, json!([]));
    let steps = json!({"steps": [{"rule": {"action": "keep"}, "output": {"a": "b"}, "keep": true}]});
    assert_eq!(ask_two("targets/relabel_steps?scrapePool=web&labels={\"a\":\"b\"}").await.1, steps);
    let (status, _, error) = ask_two("targets/relabel_steps?scrapePool=none&labels={}").await;
    assert_eq!((status, error), (400, json!("error retrieving scrape config: scrape pool \"none\" not found")));
    assert_eq!(ask_two("scrape_pools/config?scrapePool=web").await.1, json!({"yaml": "job_name: web\n"}));
    assert_eq!(ask_two("status/config").await.1, json!({"yaml": "scrape_configs: []\n"}));

    // Who sees a part is told of that part.
    let zone = Visible::any_of(vec![vec![Matcher::equal("zone", "x")]]);
    let part = Scope::from(TenantScope { tenant: "default".into(), visible: zone });
    let (shown, pools) = shown_to(&Two, &part);
    assert_eq!((shown["activeTargets"].as_array().unwrap().len(), &shown["droppedTargets"]), (1, &json!([])));
    assert_eq!(pools, json!({"scrapePools": ["web"]}));
    let tier = Matcher::new("tier", MatchOp::NotEqual, "core").unwrap();
    let visible = Visible::any_of(vec![vec![Matcher::equal("zone", "x"), tier]]);
    let families = families_shown_to(&Two, &Scope::from(TenantScope { tenant: "default".into(), visible }));
    let names: Vec<&Value> = families.as_array().unwrap().iter().map(|own| &own["metric"]).collect();
    assert_eq!(names, [&json!("hits")], "of the other one no series may be seen");
    assert_eq!(shown_to(&Two, &Scope::of("another")).1, json!({"scrapePools": []}));

    let mut stored = MemoryReader::default();
    for (name, value) in [("up", 0.0), ("scrape_duration_seconds", 0.5)] {
        stored.push(&Labels::from_pairs([("__name__", name), ("job", "j"), ("instance", "i")]), 300_000, value);
    }
    stored.push(&Labels::from_pairs([("__name__", "up"), ("job", "gone")]), 300_000, STALE_NAN);
    let metrics: Arc<dyn MetricReader> = Arc::new(stored);
    let api = Api::new(Arc::new(Nothing), metrics, Arc::new(Nothing), QueryConfig::default(), Arc::new(RuleSet::empty()));
    let (_, body) = ask(api.with_clock(|| NOW), "targets").await;
    let [target] = &body["data"]["activeTargets"].as_array().unwrap()[..] else { panic!("{body}") };
    assert_eq!(
        (&target["health"], &target["lastScrapeDuration"], &target["scrapePool"]),
        (&json!("down"), &json!(0.5), &json!("j"))
    );
    assert!(body["warnings"][0].as_str().unwrap().contains("collectors"), "{body}");
    assert_eq!(ask(self::api(), "status/config").await.0, 404);
}

#[tokio::test]
async fn the_newest_samples_are_federated() {
    let mut stored = store();
    stored.push(&Labels::from_pairs([("__name__", "odd.name"), ("instance", "i"), ("cluster", "own")]), 250_000, 1.5);
    stored.push(&Labels::from_pairs([("__name__", "ended")]), 200_000, 1.0);
    stored.push(&Labels::from_pairs([("__name__", "ended")]), 250_000, STALE_NAN);
    let metrics: Arc<dyn MetricReader> = Arc::new(stored);
    let api = Api::new(Arc::new(Nothing), metrics, Arc::new(Nothing), QueryConfig::default(), Arc::new(RuleSet::empty()));
    let api = api.with_clock(|| NOW).with_external_labels(Labels::from_pairs([("cluster", "c")]));
    let mut router = open(router(Arc::new(api)));
    let mut get = async |query: &str, accept: &str| {
        let request = Request::get(format!("/federate?{}", query.replace('"', "%22"))).header("accept", accept);
        let response = tower_service::Service::call(&mut router, request.body(Body::empty()).unwrap()).await.unwrap();
        let (status, kind) = (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap().to_owned());
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, kind, text) = get("match[]={pod=\"a\"}&match[]={__name__=~\".%2B\"}", "*/*").await;
    let expected = "# TYPE hits_total untyped\nhits_total{pod=\"a\",cluster=\"c\",instance=\"\"} 20 300000\n\
                    hits_total{pod=\"b\",cluster=\"c\",instance=\"\"} 40 300000\n# TYPE odd untyped\nodd{cluster=\"c\",instance=\"\"} +Inf 1500\n\
                    # TYPE odd_name untyped\nodd_name{cluster=\"own\",instance=\"i\"} 1.5 250000\n";
    assert_eq!((status, kind.as_str(), text.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8", expected));
    let (_, _, text) =
        get("match[]={__name__=\"odd.name\"}", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8").await;
    assert_eq!(text, "# TYPE \"odd.name\" unknown\n{\"odd.name\",cluster=\"own\",instance=\"i\"} 1.5 250\n# EOF\n");
    assert_eq!(get("", "*/*").await.2, "");
    for all in ["{}", "{nosuch=~\".*\"}"] {
        assert_eq!(get(&format!("match[]={all}"), "*/*").await.2, expected, "{all}");
    }
    let (status, kind, text) = get("match[]={", "*/*").await;
    assert!(status == 400 && kind.starts_with("text/plain") && text.contains("match[]"), "{text}");
}

#[tokio::test]
async fn notifications_are_outages_as_they_begin_and_end() {
    let outages = Arc::new(std::sync::Mutex::new(vec![OutageStatus {
        target: "bus",
        reason: "disk_full",
        since: SECOND.to_string(),
        refused: 1,
        blocking: true,
        text: "a sentence with a path in it".into(),
    }]));
    let told = Arc::clone(&outages);
    let api = api().with_outages(Arc::new(move || told.lock().unwrap().clone()));
    let api = Arc::new(api.with_tail_timing(crate::live::Timing::within(Duration::from_millis(150))));
    let mut streaming = open(router(Arc::clone(&api)));
    let request = Request::get("/api/v1/notifications").body(Body::empty()).unwrap();
    let (_, body, _) = send(open(router(api)), request).await;
    let mut one = json!({"text": "bus: disk_full", "date": "1970-01-01T00:00:01Z", "active": true});
    assert_eq!(body["data"], json!([one]));
    let request = Request::get("/api/v1/notifications/live").body(Body::empty()).unwrap();
    let response = tower_service::Service::call(&mut streaming, request).await.unwrap();
    let mut events = response.into_body().into_data_stream();
    let mut next = async || String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(next().await, format!("data: {one}\n\n"));
    outages.lock().unwrap().clear();
    one["active"] = json!(false);
    assert_eq!(next().await, format!("data: {one}\n\n"));
    assert_eq!(next().await, ":\n\n", "a sign of life");
    while let Some(event) = events.next().await {
        assert_eq!(event.unwrap(), ":\n\n", "until it ends");
    }
}
