//! The bulk API over real sockets: what clients send as they send it, and what is told of what is wrong.

use serde_json::{Value, json};
use weir_model::log::LogBatch;

use crate::push_tests::{Server, gzip, start};

async fn bulk(server: &Server, path: &str, body: &str) -> (u16, Value) {
    let (status, text) = server.post(path, "application/x-ndjson", "", body).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

/// Streams and what lines have: time, text, metadata.
fn stored(server: &Server) -> Vec<(String, i64, String, String)> {
    let sections = server.log.sections::<LogBatch>().into_iter().flatten();
    let mut all: Vec<_> = sections
        .flat_map(|section| {
            let stream = section.batch.stream.to_string();
            let line = |record: weir_model::log::LogRecord<'_>| {
                let text = String::from_utf8_lossy(record.body).into_owned();
                (stream.clone(), record.timestamp, text, record.attributes.to_labels().to_string())
            };
            section.batch.iter().map(line).collect::<Vec<_>>()
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn clients_send_as_they_are() {
    let server = start().await;
    // Fluent Bit names the index in each action and sends `log`.
    let fluent_bit = "{\"create\":{\"_index\":\"fluent-bit\"}}\n\
        {\"@timestamp\":\"1970-01-01T00:00:00.000Z\",\"log\":\"one\",\"kubernetes\":{\"pod_name\":\"p\"}}\n";
    let (status, answer) = bulk(&server, "/elasticsearch/_bulk", fluent_bit).await;
    let created = json!({"create": {"_index": "fluent-bit", "result": "created", "status": 201}});
    assert_eq!((status, &answer["errors"], &answer["items"]), (200, &json!(false), &json!([created])));
    assert!(answer["took"].is_u64());
    // Filebeat names a data stream, compresses, and has a nested `log`; Vector has `timestamp`.
    let filebeat = "{\"create\":{\"_index\":\"filebeat-8\"}}\n\
        {\"@timestamp\":0,\"message\":\"two\",\"log\":{\"offset\":5,\"level\":\"error\"}}\n\
        {\"index\":{\"_index\":\"filebeat-8\",\"_id\":\"x\",\"pipeline\":\"p\"}}\n{\"message\":\"three\",\"timestamp\":\"0\"}";
    let path = "/elasticsearch/_bulk?filter_path=errors,items.*.error,items.*.status";
    let (status, text) =
        server.post(path, "application/vnd.elasticsearch+json; compatible-with=8", "gzip", gzip(filebeat.as_bytes())).await;
    assert_eq!(status, 200, "{text}");
    // Logstash names it in the path.
    let (status, _) = bulk(&server, "/elasticsearch/logs-app/_bulk", "{\"index\":{}}\r\n{\"code\": 5}\r\n\n").await;
    assert_eq!(status, 200);
    let line = |index: &str, at: i64, text: &str, metadata: &str| {
        (format!("{{index=\"{index}\"}}"), at, text.to_owned(), metadata.to_owned())
    };
    let expected = [
        line("filebeat-8", 0, "three", "{}"),
        line("filebeat-8", 0, "two", "{log_level=\"error\", log_offset=\"5\"}"),
        line("fluent-bit", 0, "one", "{kubernetes_pod_name=\"p\"}"),
        line("logs-app", 7, "{\"code\": 5}", "{}"),
    ];
    assert_eq!(stored(&server), expected);
    // Sent again, it is the same.
    bulk(&server, "/elasticsearch/_bulk", fluent_bit).await;
    assert_eq!(server.lines().len(), 4);
}

/// Beside them on the main listener: OTLP under Loki's path.
#[tokio::test]
async fn otlp_has_loki_s_path() {
    let server = start().await;
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","body":{"stringValue":"two"}}]}]}]}"#;
    assert_eq!(server.post("/otlp/v1/logs", "application/json", "", body).await.0, 200);
    assert_eq!(server.lines(), ["two"]);
}

#[tokio::test]
async fn each_document_has_a_status() {
    let server = start().await;
    let body = "{\"create\":{\"_index\":\"a\"}}\n{\"message\":\"good\"}\n\
        {\"create\":{\"_index\":\"a\"}}\n{\"message\":\n\
        {\"delete\":{\"_index\":\"a\",\"_id\":\"1\"}}\n\
        {\"update\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"doc\":{}}\n\
        {\"create\":{}}\n{\"message\":\"no index\"}\n\
        {\"create\":{\"_index\":\"a\"}}\n{\"message\":\"late\",\"@timestamp\":\"2200-01-01T00:00:00Z\"}\n";
    let (status, answer) = bulk(&server, "/elasticsearch/_bulk", body).await;
    assert_eq!((status, &answer["errors"]), (200, &json!(true)));
    let items = answer["items"].as_array().unwrap();
    let said: Vec<_> = items
        .iter()
        .map(|item| {
            let (action, said) = item.as_object().unwrap().iter().next().unwrap();
            let reason = said["error"]["reason"].as_str().unwrap_or_default();
            (action.as_str(), said["status"].as_u64().unwrap(), reason)
        })
        .collect();
    let expected = [
        ("create", 201, ""),
        ("create", 400, "failed to parse: EOF"),
        ("delete", 400, "lines are kept as they came"),
        ("update", 400, "lines are kept as they came"),
        ("create", 400, "index is missing"),
        ("create", 400, "a document of [a] has timestamp too new: 2200-01-01T00:00:00Z"),
    ];
    assert_eq!(said.len(), expected.len(), "{answer}");
    for (said, expected) in said.iter().zip(expected) {
        assert_eq!((said.0, said.1), (expected.0, expected.1));
        assert!(said.2.starts_with(expected.2), "{said:?}");
    }
    assert_eq!(server.lines(), ["good"]);
    let dropped = |reason| server.metrics.dropped_of("elasticsearch", "t", reason);
    assert_eq!((dropped("malformed"), dropped("too_new")), (4, 1));
}

#[tokio::test]
async fn what_is_no_bulk_request_is_refused_as_a_whole() {
    let server = start().await;
    let check = async |body: &str, expected: &str| {
        let (status, answer) = bulk(&server, "/elasticsearch/_bulk", body).await;
        assert_eq!((status, &answer["status"]), (400, &json!(400)), "{body}: {answer}");
        assert!(answer["error"]["reason"].as_str().unwrap().contains(expected), "{body}: {answer}");
    };
    check("", "request body is required").await;
    check("{\"create\":{\"_index\":\"a\"}}\n", "line 1 has an action and no document").await;
    check("{\"message\":\"x\"}\n{}\n", "Malformed action/metadata line [1], expected one of").await;
    check("\n\n[]\n{}\n", "Malformed action/metadata line [3], expected an object").await;
    check("nonsense\n{}\n", "Malformed action/metadata line [1], expected an action").await;
    let (status, answer) = server.post("/elasticsearch/_bulk", "application/x-ndjson", "gzip", gzip(&[b' '; 20_001])).await;
    assert_eq!(status, 413, "{answer}");
    assert_eq!(server.lines(), Vec::<String>::new());
    // What the bus does not acknowledge is not answered as stored.
    server.log.flow(false);
    let (status, answer) = bulk(&server, "/elasticsearch/a/_bulk", "{\"create\":{}}\n{\"message\":\"x\"}\n").await;
    assert_eq!((status, &answer["error"]["type"]), (503, &json!("es_rejected_execution_exception")), "{answer}");
    server.log.flow(true);
}

#[tokio::test]
async fn what_clients_ask_first_is_answered() {
    let server = start().await;
    let get = async |path: &str| {
        let answer = server.client.get(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(answer.headers()["x-elastic-product"], "Elasticsearch", "{path}");
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    for path in ["/elasticsearch", "/elasticsearch/"] {
        let (status, info) = get(path).await;
        assert_eq!((status, &info["version"]["number"]), (200, &json!("8.17.0")), "{path}");
    }
    assert_eq!(get("/elasticsearch/_license").await.1["license"]["status"], "active");
    assert_eq!(get("/elasticsearch/_cluster/health").await.1["status"], "green");
    let template = "/elasticsearch/_index_template/filebeat-8";
    assert_eq!(get(template).await.0, 404);
    let head = server.client.head(format!("{}{template}", server.url)).send().await.unwrap();
    assert_eq!(head.status().as_u16(), 404);
    let put = server.client.put(format!("{}{template}", server.url)).body("{\"index_patterns\":[\"x\"]}").send().await.unwrap();
    let status = put.status().as_u16();
    assert_eq!((status, put.json::<Value>().await.unwrap()), (200, json!({"acknowledged": true})));
}
