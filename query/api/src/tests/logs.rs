//! Loki's API.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use weir_logql::memory::MemoryLogs;
use weir_model::label::Labels;
use weir_model::time::SECOND;

use super::{Got, api, get, send};
use crate::Api;

fn store() -> MemoryLogs {
    let mut store = MemoryLogs::default();
    let line = store.push(&[("app", "x"), ("pod", "a")], 10 * SECOND, b"one k=v");
    (line.severity, line.attributes) = (17, Labels::from_pairs([("user", "u")]));
    store.push(&[("app", "x"), ("pod", "b")], 20 * SECOND, b"two \xff");
    store.push(&[("app", "x"), ("pod", "a")], 30 * SECOND, b"three");
    store
}

fn over(store: MemoryLogs) -> Api {
    api(store, Default::default(), Default::default())
}

async fn ask(path: &str) -> Got {
    get(over(store()), &format!("/loki/api/v1/{path}")).await
}

async fn data(path: &str) -> Value {
    let got = ask(path).await;
    assert_eq!(got.status, 200, "{path}: {}", got.text());
    let mut body = got.json();
    assert_eq!(body["status"], "success");
    if let Some(data) = body["data"].as_object_mut() {
        data.remove("stats");
    }
    body["data"].clone()
}

#[tokio::test]
async fn lines_come_as_streams_the_newest_first() {
    assert_eq!(
        data("query_range?query=%7Bapp%3D%22x%22%7D%20!%3D%20%22one%22&start=0&end=50").await,
        json!({"resultType": "streams", "result": [
            {"stream": {"app": "x", "pod": "a", "detected_level": "unknown"}, "values": [["30000000000", "three"]]},
            {"stream": {"app": "x", "pod": "b", "detected_level": "unknown"}, "values": [["20000000000", "two \\xff"]]}]})
    );
    let one = data("query_range?query=%7Bapp%3D%22x%22%7D&start=0&end=50&limit=1&direction=forward").await;
    let labels = json!({"app": "x", "pod": "a", "user": "u", "detected_level": "error"});
    assert_eq!(one["result"], json!([{"stream": labels, "values": [["10000000000", "one k=v"]]}]));
    let apart = data("query_range?query=%7Bapp%3D%22x%22%7D&start=0&end=50&interval=15s").await;
    let times: Vec<&Value> =
        apart["result"].as_array().unwrap().iter().flat_map(|stream| stream["values"].as_array().unwrap()).collect();
    assert_eq!(times, [&json!(["10000000000", "one k=v"]), &json!(["30000000000", "three"])], "15 s apart");
    let stats = ask("query_range?query=%7Bapp%3D%22x%22%7D&start=0&end=50").await.json()["data"]["stats"]["summary"].clone();
    let number = |name: &str| stats[name].as_u64().unwrap();
    assert_eq!((number("totalLinesProcessed"), number("totalEntriesReturned"), number("totalBytesProcessed")), (3, 3, 17));
    let measured = [
        "bytesProcessedPerSecond",
        "execTime",
        "linesProcessedPerSecond",
        "queueTime",
        "totalBytesProcessed",
        "totalEntriesReturned",
        "totalLinesProcessed",
        "totalPostFilterLines",
    ];
    assert_eq!(stats.as_object().unwrap().keys().collect::<Vec<_>>(), measured, "nothing that is not measured");
    assert!(stats["execTime"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn categorised_labels_stand_apart() {
    let query = "/loki/api/v1/query_range?query=%7Bpod%3D%22a%22%7D%20%7C%20logfmt%20%7C%3D%20%22k%22&start=0&end=50";
    let request = Request::get(query).header("X-Loki-Response-Encoding-Flags", "categorize-labels").body(Body::empty()).unwrap();
    let data = send(over(store()), request).await.json()["data"].clone();
    assert_eq!(data["encodingFlags"], json!(["categorize-labels"]));
    assert_eq!(
        data["result"],
        json!([{"stream": {"app": "x", "pod": "a"},
            "values": [["10000000000", "one k=v", {"structuredMetadata": {"user": "u", "detected_level": "error"}, "parsed": {"k": "v"}}]]}])
    );
}

#[tokio::test]
async fn metric_queries_come_as_vector_matrix_and_scalar() {
    let health = data("query?query=vector(1)%2Bvector(1)&time=1661145522908318000").await;
    assert_eq!(health, json!({"resultType": "vector", "result": [{"metric": {}, "value": [1661145522.908, "2"]}]}));
    assert_eq!(data("query?query=1%2B1&time=5").await, json!({"resultType": "scalar", "result": [5, "2"]}));
    assert_eq!(
        data("query_range?query=sum(count_over_time(%7Bapp%3D%22x%22%7D%5B15s%5D))&start=10&end=40&step=15").await,
        json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[10, "1"], [25, "1"], [40, "1"]]}]})
    );
    let levels = "sum%20by%20(detected_level)%20(count_over_time(%7Bapp%3D%22x%22%7D%5B50s%5D))";
    assert_eq!(
        data(&format!("query?query={levels}&time=50")).await["result"],
        json!([{"metric": {"detected_level": "error"}, "value": [50, "1"]}, {"metric": {"detected_level": "unknown"}, "value": [50, "2"]}])
    );
    let errors = "count_over_time(%7Bapp%3D%22x%22%7D%20%7C%20detected_level%3D%22error%22%5B50s%5D)";
    assert_eq!(
        data(&format!("query?query={errors}&time=50")).await["result"],
        json!([{"metric": {"app": "x", "pod": "a", "user": "u", "detected_level": "error"}, "value": [50, "1"]}])
    );
    assert_eq!(
        data("query_range?query=2&start=10&end=11&step=1s").await,
        json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[10, "2"], [11, "2"]]}]})
    );
}

#[tokio::test]
async fn names_values_and_series() {
    assert_eq!(data("labels?start=0&end=50").await, json!(["app", "pod"]));
    assert_eq!(data("label/pod/values?start=0&end=50").await, json!(["a", "b"]));
    assert_eq!(data("label/pod/values?start=0&end=50&query=%7Bpod%3D%22b%22%7D").await, json!(["b"]));
    assert_eq!(data("series?start=0&end=50&match%5B%5D=%7Bpod%3D~%22b%7Cc%22%7D").await, json!([{"app": "x", "pod": "b"}]));
    let stats = ask("index/stats?query=%7Bpod%3D%22a%22%7D&start=0&end=50").await.json();
    assert_eq!(stats, json!({"streams": 1, "chunks": 0, "entries": 2, "bytes": 12}));
    let volume = data("index/volume?query=%7Bapp%3D%22x%22%7D&start=0&end=50&targetLabels=pod").await;
    assert_eq!(
        volume["result"],
        json!([{"metric": {"pod": "a"}, "value": [50, "12"]}, {"metric": {"pod": "b"}, "value": [50, "5"]}])
    );
    assert_eq!(data("format_query?query=sum(rate(%7Ba%3D%60b%60%7D%5B60s%5D))by(c)").await, "sum by (c) (rate({a=\"b\"}[1m]))");
}

#[tokio::test]
async fn a_form_is_as_good_as_a_query_string() {
    let request = Request::post("/loki/api/v1/query_range?start=0")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(Body::from("query=%7Bpod%3D%22b%22%7D&end=50"))
        .unwrap();
    let got = send(over(store()), request).await;
    assert_eq!(got.json()["data"]["result"][0]["values"], json!([["20000000000", "two \\xff"]]));
}

#[tokio::test]
async fn answers_say_what_they_cover() {
    let got = ask("labels?start=0&end=50").await;
    assert_eq!(got.header("x-weir-coverage"), r#"{"complete":true,"missing":[],"partitions":[]}"#);
    assert!(got.json().get("warnings").is_none());
    for path in [
        "labels?start=0&end=50",
        "query_range?query=%7Bapp%3D%22x%22%7D&start=0&end=50",
        "query?query=rate(%7Bapp%3D%22x%22%7D%5B5m%5D)",
    ] {
        let got = get(over(store().behind()), &format!("/loki/api/v1/{path}")).await;
        let coverage: Value = serde_json::from_str(got.header("x-weir-coverage")).unwrap();
        assert_eq!((&coverage["complete"], &coverage["partitions"][0]["on_bus"]), (&json!(false), &json!(7)), "{path}");
        let behind = "weir.logs partition 0: 2 records are on the bus and not searchable yet";
        assert_eq!(got.json()["warnings"], json!([behind]), "{path}");
    }
}

#[tokio::test]
async fn bad_requests_are_400_in_plain_text() {
    let selector = "%7Bapp%3D%22x%22%7D";
    let check = async |path: String, expected: &str| {
        let got = ask(&path).await;
        assert_eq!((got.status, got.text().as_str()), (400, expected), "{path}");
    };
    let missing = "parse error at line 1, col 1: syntax error: unexpected $end: here is the end of the query, expected is a selector such as {app=\"x\"}, a function or a number";
    for path in ["query", "query_range", "tail"] {
        check(path.into(), missing).await;
    }
    let format = ask("format_query").await;
    assert_eq!((format.status, format.json()), (400, json!({"status": "invalid-query", "error": missing})));
    check(
        "query?query=%7B".into(),
        "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }: here is the end of the query, expected is a label name or \"}\"",
    )
    .await;
    let instant = "log queries are not supported as an instant query type, please change your query to a range query type";
    check(format!("query?query={selector}"), instant).await;
    let order = "end timestamp must not be before or equal to start time: end (0) is before start (50000000000)";
    check(format!("query_range?query={selector}&start=50&end=0"), order).await;
    let time =
        "parameter start: not a time: \"soon\" (a Unix time in seconds or nanoseconds, or RFC 3339 such as 2026-01-31T12:00:00Z)";
    check(format!("query_range?query={selector}&start=soon"), time).await;
    check(format!("query_range?query={selector}&direction=up"), "parameter direction: \"up\" is neither forward nor backward")
        .await;
    let limit =
        "max entries limit per query exceeded, limit > max_entries_limit_per_query (50001 > 50000): query.lines_max is 50000";
    check(format!("query_range?query={selector}&limit=50001&start=0&end=1"), limit).await;
    check(format!("query_range?query={selector}&limit=0&start=0&end=1"), "limit must be a positive value").await;
    let step = "parameter step: zero or negative query resolution step widths are not accepted. Try a positive integer";
    check(format!("query_range?query=rate({selector}%5B1m%5D)&start=0&end=50&step=0"), step).await;
    let points = "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter (50000 points)";
    check(format!("query_range?query=rate({selector}%5B1m%5D)&start=0&end=50&step=0.001"), points).await;
    assert_eq!(ask("query_range?query=1&start=0&end=11000&step=1").await.status, 200, "11,000 steps are 11,001 points");
    let interval = "parameter interval: not a duration: \"often\" (for instance 90s, 5m, 1h30m, 7d)";
    check(format!("query_range?query={selector}&interval=often&start=0&end=5"), interval).await;
    for path in ["query?query=1&shards=0_of_2", "query_range?query=1&start=0&end=1&shards=0_of_2"] {
        check(path.into(), "parameter shards is not supported by weir").await;
    }
    check("tail?query=vector(1)".into(), "a tail follows lines: a metric query has none").await;
    check(format!("tail?query={selector}&delay_for=9"), "parameter delay_for: at most 5 seconds").await;
    let matching = "multiple matches for labels {app=\"x\"}: many-to-one matching must be explicit (group_left/group_right)";
    let count = format!("sum%20by%20(pod,app)(count_over_time({selector}%5B1m%5D))");
    check(format!("query?query={count}%2Bon(app)%20sum%20by%20(app)({count})&time=40"), matching).await;
}
