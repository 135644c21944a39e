//! Pushes over real sockets, as the client libraries and curl send them.

use prometheus_client::metrics::gauge::Gauge;
use reqwest::Method;
use weir_model::label::NAME;
use weir_model::metric::{MetricBatch, is_stale};

use super::read;
use crate::admission::Inflight;
use crate::exposition::{Format, protobuf};
use crate::push_error::PushError;
use crate::push_tests::{Server, start};

async fn send(server: &Server, method: Method, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> (u16, String) {
    let request = server.client.request(method, format!("{}{path}", server.url)).header("content-type", kind);
    let answer = request.body(body.into()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The batches of a group in their order: names with labels, and values; `stale` for an end.
fn stored(server: &Server) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<MetricBatch> =
        server.log.sections::<MetricBatch>().into_iter().flatten().map(|section| (*section.batch).clone()).collect();
    all.sort_by_key(|batch| batch.rows[0].timestamp);
    let show = |batch: MetricBatch| {
        let values = batch.schema.series.iter().zip(&batch.rows[0].values);
        let shown = values.map(|(labels, value)| {
            let own = labels.without(|name| name == NAME);
            let value = if is_stale(*value) { "stale".to_owned() } else { value.to_string() };
            format!("{}{own} {value}", labels.get(NAME))
        });
        (batch.target.to_string(), shown.collect())
    };
    all.into_iter().map(show).collect()
}

#[tokio::test]
async fn a_push_is_stored_once_and_ends_what_it_replaces() {
    let server = start().await;
    let path = "/metrics/job/backup/instance/a";
    let mut pushed = 0;
    let mut check = async |method: Method, body: &str, status: u16, expected: &[&str]| {
        let (seen, text) = send(&server, method.clone(), path, "text/plain; version=0.0.4", body).await;
        assert_eq!((seen, text.as_str()), (status, ""), "{method} {body}");
        let batches = stored(&server);
        pushed += 1;
        assert_eq!(batches.len(), pushed, "none is taken for another's repetition");
        let found = batches.iter().any(|(group, series)| group == r#"{instance="a", job="backup"}"# && series == expected);
        assert!(found, "{expected:?} is not among {batches:?}");
    };
    // The tests' clock stands at 7 ns.
    let own = ["push_time_seconds{} 0.000000007", "push_failure_time_seconds{} 0"];
    check(Method::PUT, "a{job=\"x\",b=\"c\"} 1\nd 2\n", 200, &["a{b=\"c\"} 1", "d{} 2", own[0], own[1]]).await;
    check(Method::POST, "d{e=\"f\"} 3\n", 200, &["d{e=\"f\"} 3", "d{} stale", own[0], own[1]]).await;
    check(Method::PUT, "d{e=\"f\"} 4\n", 200, &["d{e=\"f\"} 4", "a{b=\"c\"} stale", own[0], own[1]]).await;
    let ended = ["d{e=\"f\"} stale", "push_time_seconds{} stale", "push_failure_time_seconds{} stale"];
    check(Method::DELETE, "", 202, &ended).await;
    check(Method::DELETE, "", 202, &ended[1..]).await;
}

#[tokio::test]
async fn a_push_that_is_refused_is_told_by_its_group() {
    let server = start().await;
    let check = async |body: &str, part: &str| {
        let (status, text) = send(&server, Method::PUT, "/metrics/job/x", "", body).await;
        assert!(status == 400 && text.contains(part), "{body}: {status} {text}");
    };
    check("a 1 5\n", "must not have timestamps").await;
    check("a 1\na 2\n", "was collected before").await;
    check("push_time_seconds 1\n", "is the group's own").await;
    check("a\n", "line 1: a sample needs a value").await;
    let failed = ("{job=\"x\"}".to_owned(), vec!["push_failure_time_seconds{} 0.000000007".to_owned()]);
    assert_eq!(stored(&server), vec![failed; 4]);
    assert_eq!(send(&server, Method::POST, "/metrics/job/x", "", "a 1\n").await.0, 200);
    assert!(
        stored(&server)
            .iter()
            .any(|(_, series)| series.contains(&"push_failure_time_seconds{} 0.000000007".to_owned()) && series.len() == 3)
    );
    let (status, text) = send(&server, Method::PUT, "/metrics/job/x/y", "", "a 1\n").await;
    assert!(status == 400 && text.contains("odd number"), "{text}");
    server.log.flow(false);
    assert_eq!(send(&server, Method::PUT, "/metrics/job/x", "", "a 1\n").await.0, 503);
    server.log.flow(true);
}

#[tokio::test]
async fn all_formats_are_taken() {
    let server = start().await;
    let openmetrics = "# TYPE c counter\nc_total 5 # {t=\"x\"} 1\n# EOF\n";
    let kind = "application/openmetrics-text; version=1.0.0";
    assert_eq!(send(&server, Method::PUT, "/metrics/job@base64/YS9i", kind, openmetrics).await, (200, String::new()));
    let (group, series) = stored(&server).remove(0);
    assert_eq!((group.as_str(), series[0].as_str()), (r#"{job="a/b"}"#, "c_total{} 5"));
    // Of the body one series has a time of its own, which a push may not have.
    let (status, text) = send(&server, Method::PUT, "/metrics/job/p", protobuf::CONTENT_TYPE, protobuf::tests::body()).await;
    assert!(status == 400 && text.contains("g\"}: pushed metrics must not have timestamps"), "{text}");
    let (status, text) =
        send(&server, Method::PUT, "/metrics/job/p", protobuf::CONTENT_TYPE, protobuf::tests::body_without_times()).await;
    assert_eq!((status, text.as_str()), (200, ""));
    assert!(stored(&server).iter().any(|(group, series)| group == "{job=\"p\"}" && series.len() == 9), "{:?}", stored(&server));
}

#[test]
fn lines_are_counted_before_they_are_read() {
    let admission = || Inflight::new(1 << 20, Gauge::default()).admit(&"t".into());
    for (format, end) in [(Format::Text, "\n \r\n"), (Format::OpenMetrics, "# EOF\n")] {
        let read = |samples: usize, records_max| {
            let body = format!("# TYPE a gauge\n{}{end}", "a 1\n".repeat(samples));
            read(format, body.as_bytes(), records_max, &admission()).map(|exposition| exposition.samples.len())
        };
        assert_eq!(read(1, 1), Ok(1), "{format:?}");
        let text = "2 samples in one request (limit push.records_max is 1)";
        assert_eq!(read(2, 1), Err(PushError::Malformed(text.into())), "{format:?}");
        assert!(matches!(read(4000, 4000), Err(PushError::TooLarge { .. })), "{format:?}");
    }
}
