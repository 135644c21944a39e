//! Jaeger's and Tempo's APIs.

use axum::body::Body;
use axum::http::Request;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::{Value, json};

use super::memory::two_traces;
use super::{Got, api, get, send};

const ONE: &str = "01010101010101010101010101010101";
const TWO: &str = "02020202020202020202020202020202";

async fn ask(path: &str) -> Got {
    get(api(Default::default(), Default::default(), two_traces()), path).await
}

#[tokio::test]
async fn jaeger_by_id() {
    let body = ask(&format!("/jaeger/api/traces/{ONE}")).await.json();
    assert_eq!((&body["total"], &body["errors"]), (&json!(1), &Value::Null));
    let trace = &body["data"][0];
    assert_eq!(trace["traceID"], ONE);
    assert_eq!(
        trace["processes"]["p2"],
        json!({"serviceName": "cart", "tags": [{"key": "k8s.pod", "type": "string", "value": "p"}]})
    );
    let text = |key: &str, value: &str| json!({"key": key, "type": "string", "value": value});
    assert_eq!(
        trace["spans"][1],
        json!({
            "traceID": ONE, "spanID": "0303030303030303", "operationName": "add", "processID": "p2", "warnings": null,
            "references": [{"refType": "CHILD_OF", "traceID": ONE, "spanID": "0202020202020202"}],
            "startTime": 1_010_000, "duration": 250_000,
            "tags": [
                {"key": "http.status_code", "type": "int64", "value": 500}, text("item", "mug"), text("span.kind", "server"),
                text("otel.scope.name", "lib"), text("otel.scope.version", "1"), text("otel.status_description", "no stock"),
                text("otel.status_code", "ERROR"), {"key": "error", "type": "bool", "value": true}],
            "logs": [{"timestamp": 2_000_000, "fields": [text("event", "retry"), {"key": "n", "type": "int64", "value": 2}]}],
        })
    );
    let unknown = ask("/jaeger/api/traces/ff").await;
    assert_eq!(unknown.status, 404);
    let errors = json!([{"code": 404, "msg": "trace not found"}]);
    assert_eq!(unknown.json(), json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors}));
    assert_eq!(unknown.header("x-weir-coverage"), r#"{"complete":true,"missing":[],"partitions":[]}"#);
    let wrong = ask("/jaeger/api/traces/xyz").await;
    assert_eq!(
        (wrong.status, &wrong.json()["errors"][0]["msg"]),
        (400, &json!("a trace id has 1 to 32 hex digits, got \"xyz\""))
    );
}

#[tokio::test]
async fn jaeger_search_and_names() {
    let ids = async |path: &str| {
        let got = ask(path).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        let body = got.json();
        body["data"].as_array().unwrap().iter().map(|trace| trace["traceID"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("/jaeger/api/traces?service=cart").await, [TWO, ONE]);
    assert_eq!(ids("/jaeger/api/traces?service=cart&tags=%7B%22error%22%3A%22true%22%7D").await, [ONE]);
    assert_eq!(ids("/jaeger/api/traces?service=cart&tag=item:mug&operation=add").await, [ONE]);
    assert_eq!(ids("/jaeger/api/traces?service=cart&minDuration=250ms").await, [ONE]);
    assert_eq!(ids("/jaeger/api/traces?service=cart&maxDuration=100ms&tag=span.kind:server").await, [TWO]);
    assert_eq!(ids("/jaeger/api/traces?service=cart&tag=span.kind:client").await, [] as [&str; 0]);
    assert_eq!(ids("/jaeger/api/traces?service=cart&start=1015000&end=1020000").await, [TWO]);
    assert_eq!(ids(&format!("/jaeger/api/traces?traceID={TWO}&traceID=ff")).await, [TWO]);
    // Now is 100 s after the epoch, and the spans began 99 s before.
    assert_eq!(ids("/jaeger/api/traces?service=cart&lookback=98s").await, [] as [&str; 0]);
    assert_eq!(ids("/jaeger/api/traces?service=cart&lookback=100s").await, [TWO, ONE]);
    assert_eq!(ids("/jaeger/api/traces?service=cart&lookback=custom&start=0").await, [TWO, ONE]);
    let wrong = ask("/jaeger/api/traces?service=cart&lookback=soon").await;
    assert!(wrong.status == 400 && wrong.text().contains("parameter lookback"), "{}", wrong.text());
    let missing = ask("/jaeger/api/traces").await;
    assert_eq!((missing.status, &missing.json()["errors"][0]["msg"]), (400, &json!("parameter service is missing")));
    assert_eq!(ask("/jaeger/api/services").await.json()["data"], json!(["cart", "front"]));
    assert_eq!(ask("/jaeger/api/services/cart/operations").await.json()["data"], json!(["add"]));
    assert_eq!(ask("/jaeger/api/operations?service=cart").await.json()["data"], json!([{"name": "add", "spanKind": "server"}]));
    assert_eq!(ask("/jaeger/api/operations?service=cart&spanKind=client").await.json()["data"], json!([]));
}

#[tokio::test]
async fn tempo_by_id() {
    let path = format!("/tempo/api/v2/traces/{ONE}");
    let request = |path: &str| Request::get(path).header("Accept", "application/protobuf").body(Body::empty()).unwrap();
    let got = send(api(Default::default(), Default::default(), two_traces()), request(&path)).await;
    assert_eq!(got.header("content-type"), "application/protobuf");
    // TraceByIDResponse: field 1 is the trace, a message; TracesData has the same field 1 as Tempo's Trace.
    assert_eq!(got.bytes[0], 0x0a);
    let mut rest = &got.bytes[1..];
    let length = prost::decode_length_delimiter(&mut rest).unwrap();
    let trace = TracesData::decode(&rest[..length]).unwrap();
    assert_eq!(trace.resource_spans.len(), 2);
    let span = &trace.resource_spans[1].scope_spans[0].spans[0];
    assert_eq!((span.name.as_str(), span.parent_span_id.as_slice(), span.kind), ("add", &[2_u8; 8][..], 2));
    // Field 2: empty metrics; the status (complete) and message are defaults and left out.
    assert_eq!(rest[length..], [0x12, 0]);
    let got = send(api(Default::default(), Default::default(), two_traces()), request(&format!("/tempo/api/traces/{ONE}"))).await;
    assert_eq!(TracesData::decode(&got.bytes[..]).unwrap(), trace);

    let body = ask(&path).await.json();
    let span = &body["trace"]["resourceSpans"][1]["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["traceId"], &span["spanId"]), (&json!("AQEBAQEBAQEBAQEBAQEBAQ=="), &json!("AwMDAwMDAwM=")));
    assert_eq!(
        (&span["kind"], &span["status"]),
        (&json!("SPAN_KIND_SERVER"), &json!({"message": "no stock", "code": "STATUS_CODE_ERROR"}))
    );
    assert_eq!(span["attributes"][0], json!({"key": "http.status_code", "value": {"intValue": "500"}}));
    assert!(ask(&format!("/tempo/api/traces/{ONE}")).await.json()["batches"].is_array());
    let unknown = ask("/tempo/api/v2/traces/ff").await;
    assert_eq!((unknown.status, unknown.text()), (404, "trace not found".to_owned()));
    assert!(!unknown.header("x-weir-coverage").is_empty());
    assert_eq!(ask("/tempo/api/echo").await.text(), "echo");
}

#[tokio::test]
async fn tempo_search() {
    let ids = async |q: &str, expected: &[&str]| {
        let encoded: String = q.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let got = ask(&format!("/tempo/api/search?q={encoded}")).await;
        assert_eq!(got.status, 200, "{q}: {}", got.text());
        let found: Vec<String> =
            got.json()["traces"].as_array().unwrap().iter().map(|trace| trace["traceID"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, expected, "{q}");
    };
    ids("{}", &[TWO, ONE]).await;
    ids(r#"{ resource.service.name = "cart" && name = "add" }"#, &[TWO, ONE]).await;
    ids(r#"{ resource.service.name = "cart" && duration > 250ms }"#, &[]).await;
    ids("{ duration >= 250ms && status = error }", &[ONE]).await;
    ids("{ span.http.status_code >= 500 }", &[ONE]).await;
    ids(r#"{ span.k8s.pod = "p" }"#, &[]).await;
    ids(r#"{ resource.k8s.pod = "p" && duration < 100ms }"#, &[TWO]).await;
    ids(r#"{ .item =~ "m.g" && kind != client }"#, &[ONE]).await;
    ids(r#"{ name = "GET /cart" && status = error }"#, &[]).await;
    let body = ask("/tempo/api/search?tags=service.name%3Dcart%20item%3Dmug&minDuration=100ms").await.json();
    let trace = &body["traces"][0];
    assert_eq!(
        (&trace["rootServiceName"], &trace["rootTraceName"], &trace["durationMs"]),
        (&json!("front"), &json!("GET /cart"), &json!(300))
    );
    assert_eq!(
        trace["serviceStats"],
        json!({"cart": {"spanCount": 1, "errorCount": 1}, "front": {"spanCount": 1, "errorCount": 0}})
    );
    assert_eq!(trace["spanSet"]["spans"][0]["spanID"], "0303030303030303");
    let orphan = ask("/tempo/api/search?maxDuration=10ms").await.json()["traces"][0].clone();
    assert_eq!(orphan["rootServiceName"], "<root span not yet received>");
}

#[tokio::test]
async fn tempo_tags() {
    let resource = json!({"name": "resource", "tags": ["k8s.pod", "service.name"]});
    let span = json!({"name": "span", "tags": ["http.status_code"]});
    let intrinsic = json!({"name": "intrinsic", "tags": ["duration", "kind", "name", "status"]});
    assert_eq!(ask("/tempo/api/v2/search/tags").await.json(), json!({"scopes": [resource, span, intrinsic]}));
    assert_eq!(ask("/tempo/api/v2/search/tags?scope=span").await.json(), json!({"scopes": [span]}));
    assert_eq!(ask("/tempo/api/search/tags").await.json(), json!({"tagNames": ["http.status_code", "k8s.pod", "service.name"]}));
    assert_eq!(ask("/tempo/api/search/tag/service.name/values").await.json(), json!({"tagValues": ["cart", "front"]}));
    let typed = json!({"tagValues": [{"type": "int", "value": "500"}]});
    assert_eq!(ask("/tempo/api/v2/search/tag/span.http.status_code/values").await.json(), typed);
    let names = json!({"tagValues": [{"type": "string", "value": "GET /cart"}, {"type": "string", "value": "add"}]});
    assert_eq!(ask("/tempo/api/v2/search/tag/name/values").await.json(), names);
}

#[tokio::test]
async fn tempo_tags_are_filtered_and_limited() {
    let json = async |path: &str| {
        let got = ask(&format!("/tempo/api/{path}")).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        got.json()
    };
    let failed = "%7B%20status%20%3D%20error%20%7D";
    let string = |value: &str| json!({"type": "string", "value": value});
    let values = async |tag: &str, more: &str| json(&format!("v2/search/tag/{tag}/values?{more}")).await["tagValues"].clone();
    assert_eq!(values("name", &format!("q={failed}")).await, json!([string("add")]));
    assert_eq!(values("resource.service.name", &format!("q={failed}")).await, json!([string("cart")]));
    assert_eq!(values("span.item", &format!("q={failed}")).await, json!([string("mug")]));
    assert_eq!(values("resource.item", &format!("q={failed}")).await, json!([]));
    assert_eq!(values(".http.status_code", &format!("q={failed}")).await, json!([{"type": "int", "value": "500"}]));
    assert_eq!(values("status", &format!("q={failed}")).await, json!([{"type": "keyword", "value": "error"}]));
    assert_eq!(values("name", "q=%7B%20%7D").await, json!([string("GET /cart"), string("add")]), "no filter");
    assert_eq!(values("name", "limit=1").await, json!([string("GET /cart")]));
    assert_eq!(values("name", &format!("limit=1&q={failed}")).await, json!([string("add")]));
    assert_eq!(json("search/tag/service.name/values?limit=1").await, json!({"tagValues": ["cart"]}));
    let front = "%7B%20name%20%3D%20%22GET%20%2Fcart%22%20%7D";
    let scopes = json(&format!("v2/search/tags?scope=span&q={front}")).await["scopes"].clone();
    assert_eq!(scopes, json!([{"name": "span", "tags": []}]), "the attributes are the other span's");
    assert_eq!(json("search/tags?scope=span").await, json!({"tagNames": ["http.status_code"]}));
    assert_eq!(json("search/tags?limit=1").await, json!({"tagNames": ["http.status_code"]}));
    assert_eq!(json("search/tags?scope=intrinsic&limit=2").await, json!({"tagNames": ["duration", "kind"]}));
    let refused = async |path: &str, expected: &str| {
        let got = ask(&format!("/tempo/api/{path}")).await;
        assert!(got.status == 400 && got.text().contains(expected), "{path}: {} {}", got.status, got.text());
    };
    refused("v2/search/tag/name/values?q=%7B%20nope", "invalid TraceQL query").await;
    refused("v2/search/tags?scope=event", "parameter scope").await;
    refused("search?q=%7B%7D&tags=a%3Db", "parameter tags: cannot be said beside q").await;
    refused("search?q=%7B%7D&minDuration=1s", "parameter minDuration: cannot be said beside q").await;
}

#[tokio::test]
async fn traceql_that_is_not_understood_is_refused_by_name_and_place() {
    let check = async |q: &str, expected: &str| {
        let encoded: String = q.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let got = ask(&format!("/tempo/api/search?q={encoded}")).await;
        let expected = format!("invalid TraceQL query: parse error at line 1, {expected}");
        assert_eq!((got.status, got.text()), (400, expected), "{q}");
    };
    check("name", "col 1: expected {").await;
    check("{ name = \"a\" || name = \"b\" }", "col 14: expected && or }; ||, arithmetic and brackets are not supported yet")
        .await;
    check("{ } >> { }", "col 5: combining span sets and pipes are not supported yet").await;
    check("{ } | rate()", "col 5: combining span sets and pipes are not supported yet").await;
    let field = "is not supported yet: name, duration, status, kind, resource.…, span.… or .… are";
    check("{ rootName = \"a\" }", &format!("col 3: \"rootName\" {field}")).await;
    check("{ duration > \"x\" }", "col 14: this field does not compare with a string").await;
    check("{ status = broken }", "col 12: \"broken\" does not compare with this field, or is not supported yet").await;
    check("{ status > error }", "col 12: error compares with = and != only").await;
    check("{ name = \"a }", "col 10: bad string, or it has no closing \"").await;
    check("{ name ~ \"a\" }", "col 8: expected one of = != > >= < <= =~ !~").await;
}
