//! Writes over real sockets, as Telegraf sends them.

use serde_json::{Value, json};
use weir_model::label::Labels;
use weir_model::metric::MetricBatch;

use crate::push_tests::{Server, gzip, start};

/// Target, series, value and milliseconds of all samples stored.
fn stored(server: &Server) -> Vec<(String, String, f64, i64)> {
    let batches = server.log.sections::<MetricBatch>().into_iter().flatten().map(|section| section.batch);
    let mut all: Vec<_> = batches
        .flat_map(|batch| {
            let target = batch.target.to_string();
            let mut samples = Vec::new();
            for row in &batch.rows {
                let sample =
                    |(labels, value): (&Labels, &f64)| (target.clone(), labels.to_string(), *value, row.timestamp / 1_000_000);
                samples.extend(batch.schema.series.iter().zip(&row.values).map(sample));
            }
            samples
        })
        .collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all
}

async fn write(server: &Server, path: &str, body: &str) -> (u16, Value) {
    let (status, text) = server.post(path, "text/plain; charset=utf-8", "", body).await;
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

#[tokio::test]
async fn telegraf_writes() {
    let server = start().await;
    let created = server.client.post(format!("{}/query", server.url)).form(&[("q", "CREATE DATABASE \"telegraf\"")]).send();
    let created = created.await.unwrap();
    assert_eq!(
        (created.status().as_u16(), created.json::<Value>().await.unwrap()),
        (200, json!({"results": [{"statement_id": 0}]}))
    );
    // Of one host two inputs; the tests' clock stands at 7 ns.
    let body = "cpu,cpu=cpu0,host=a usage_idle=99.5,usage_user=0.5 0\n\
        system,host=a load1=0.25,n_cpus=4i,uptime=12u,uptime_format=\"0:00\" 0\n\
        disk.io,host=b,path=/var/log ok=true 0\n";
    let path = "/write?db=telegraf&rp=&precision=ns&consistency=any";
    let (status, text) = server.post(path, "text/plain; charset=utf-8", "gzip", gzip(body.as_bytes())).await;
    assert_eq!((status, text.as_str()), (204, ""));
    let (a, b) = (r#"{db="telegraf", host="a"}"#, r#"{db="telegraf", host="b"}"#);
    let expected = [
        (a, r#"{__name__="cpu_usage_idle", cpu="cpu0"}"#, 99.5),
        (a, r#"{__name__="cpu_usage_user", cpu="cpu0"}"#, 0.5),
        (a, r#"{__name__="system_load1"}"#, 0.25),
        (a, r#"{__name__="system_n_cpus"}"#, 4.0),
        (a, r#"{__name__="system_uptime"}"#, 12.0),
        (b, r#"{__name__="disk_io_ok", path="/var/log"}"#, 1.0),
    ];
    let expected = expected.map(|(target, series, value)| (target.to_owned(), series.to_owned(), value, 0));
    assert_eq!(stored(&server), expected);
    assert_eq!(server.metrics.dropped_of("influx", "t", "text_field"), 1);
    // Sent again, its sections have the same digests.
    let (status, _) = server.post(path, "text/plain", "", body).await;
    let marks: std::collections::HashSet<String> =
        server.log.sections::<MetricBatch>().into_iter().flatten().map(|section| format!("{:?}", section.header.mark)).collect();
    assert_eq!((status, marks.len()), (204, 2));
}

#[tokio::test]
async fn precision_generation_and_repetition() {
    let server = start().await;
    for (path, body) in [
        ("/api/v2/write?org=o&bucket=b&precision=s", "m f=1 -3600\n"),
        ("/influx/write?precision=h", "m f=2 -2\nm f=3 -2"),
        ("/influx/api/v2/write?precision=ms", "# a comment\n\n  m f=4 -5\r\n"),
        ("/write", "m f=5"),
    ] {
        assert_eq!(write(&server, path, body).await, (204, Value::Null), "{path}");
    }
    let seen: Vec<_> = stored(&server).into_iter().map(|(target, _, value, at)| (target, value, at)).collect();
    let sample = |target: &str, value, at| (target.to_owned(), value, at);
    assert_eq!(
        seen,
        [sample("{db=\"b\"}", 1.0, -3_600_000), sample("{}", 3.0, -7_200_000), sample("{}", 4.0, -5), sample("{}", 5.0, 0)]
    );
}

/// As a backfill of one series is written.
#[tokio::test]
async fn times_of_the_same_series_are_one_batch() {
    let server = start().await;
    let body: String = (0..50).rev().map(|at| format!("m f={at} -{at}\n")).collect();
    assert_eq!(write(&server, "/write?precision=ms", &body).await.0, 204);
    let batches: Vec<MetricBatch> =
        server.log.sections::<MetricBatch>().into_iter().flatten().map(|section| (*section.batch).clone()).collect();
    let times: Vec<i64> = batches[0].rows.iter().map(|row| row.timestamp / 1_000_000).collect();
    assert_eq!((batches.len(), times), (1, (-49..=0).collect()));
}

#[tokio::test]
async fn wrong_lines_are_named_and_the_others_stored() {
    let server = start().await;
    let body = "m f=1 1\nm f=\"a\nb\" 1\nm f= 1\nm f=2 9000000000000000000\nn f=3 1";
    let (status, answer) = write(&server, "/write?db=d", body).await;
    assert_eq!((status, answer), (400, json!({"error": "partial write: line 4: field \"f\": missing value dropped=2"})));
    let names: Vec<_> = stored(&server).into_iter().map(|(_, series, value, _)| (series, value)).collect();
    assert_eq!(names, [(r#"{__name__="m_f"}"#.to_owned(), 1.0), (r#"{__name__="n_f"}"#.to_owned(), 3.0)]);
    let dropped = |reason| server.metrics.dropped_of("influx", "t", reason);
    assert_eq!((dropped("malformed"), dropped("too_new"), dropped("text_field")), (1, 1, 1));
    let (status, answer) = write(&server, "/api/v2/write?bucket=d", "m f").await;
    assert_eq!((status, &answer["code"], &answer["line"]), (400, &json!("invalid"), &json!(1)));
    let (status, answer) = write(&server, "/write?precision=fortnight", "m f=1").await;
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("invalid precision \"fortnight\""), "{answer}");
    assert_eq!(server.post("/write", "text/plain", "", vec![0xff]).await.0, 400);
    assert_eq!(write(&server, "/write", &"x".repeat(10_001)).await.0, 413);
    server.log.flow(false);
    let (status, answer) = write(&server, "/write", "m f=1 1").await;
    assert_eq!(status, 503, "{answer}");
    server.log.flow(true);
}

#[tokio::test]
async fn what_clients_ask_first_is_answered() {
    let server = start().await;
    let get = async |path: &str| server.client.get(format!("{}{path}", server.url)).send().await.unwrap();
    let ping = get("/ping").await;
    assert_eq!((ping.status().as_u16(), ping.headers()["x-influxdb-version"].to_str().unwrap()), (204, "1.8.10"));
    assert_eq!(get("/influx/query?q=SHOW+DATABASES").await.status().as_u16(), 200);
    let made = server.client.post(format!("{}/query?q=create+database+x", server.url)).send().await.unwrap();
    assert_eq!(made.status().as_u16(), 200);
    let select = get("/query?db=x&q=SELECT%20*%20FROM%20cpu").await;
    assert_eq!(select.status().as_u16(), 400);
    assert!(select.text().await.unwrap().contains("PromQL"));
}
