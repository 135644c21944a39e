//! weir sends its metrics on: to a real Prometheus, and to another weir, each killed and started again in between. Every sample arrives
//! once, histograms as they were.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use weir_collector::remote_write::compress;
use weir_model::prompb::{BucketSpan, Histogram, Sample, TimeSeries, WriteRequest, labels, upgrade};

use crate::process::Process;
use crate::weir::{Weir, eventually, free_port};

const SERIES: usize = 50;
const ROUNDS: i64 = 24;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

async fn prometheus(folder: &Path, port: u16) -> Process {
    let folder = folder.join("prometheus");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, "global: {}\n").unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-remote-write-receiver".to_owned(),
    ];
    let mut process = Process::start(&folder, "prometheus", &arguments.each_ref().map(String::as_str));
    process.wait_for(&format!("http://127.0.0.1:{port}/-/ready")).await;
    process
}

fn config(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    let queue = "queue_config = {batch_send_deadline = \"50ms\", max_samples_per_send = 120, max_backoff = \"200ms\"}";
    std::fs::write(&path, format!("[[collector.remote_write]]\nname = \"far\"\n{queue}\n{text}\n")).unwrap();
    path.display().to_string()
}

/// A client that sends the same request until it is acknowledged, as they do.
async fn push(weir: &Weir, kind: &str, body: Vec<u8>) {
    eventually("the push", async || {
        let request = weir.http.post(weir.url("/api/v1/write")).header("content-encoding", "snappy");
        let sent = request.header("content-type", kind).body(body.clone()).send().await;
        let status = sent.map_err(|error| error.to_string())?.status();
        if status.is_success() { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

async fn push_round(weir: &Weir, begun: i64, round: i64) {
    let own = |i: usize| TimeSeries {
        labels: labels([("__name__", "sent_total"), ("instance", "a:1"), ("job", "shop"), ("path", &i.to_string())]),
        samples: vec![Sample { value: (round * 1000 + i as i64) as f64, timestamp: begun + round * 1000, start_timestamp: 0 }],
        ..TimeSeries::default()
    };
    let request = WriteRequest { timeseries: (0..SERIES).map(own).collect(), metadata: Vec::new() };
    push(weir, "application/x-protobuf", compress(&request)).await;
}

/// Samples of a selector by series, as an API answers it.
async fn samples(url: &str, query: &str) -> Result<BTreeMap<String, Value>, String> {
    let url = reqwest::Url::parse_with_params(&format!("{url}/api/v1/query"), [("query", query)]).unwrap();
    let answer = weir_tls::client().get(url).send().await.map_err(|error| error.to_string())?;
    let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
    let series = answer["data"]["result"].as_array().ok_or_else(|| answer.to_string())?;
    let own = |series: &Value| (series["metric"].to_string(), serde_json::json!([series["values"], series["histograms"]]));
    Ok(series.iter().map(own).collect())
}

/// Milliseconds and values.
fn numbers(values: &Value) -> Vec<(i64, String)> {
    let own = |pair: &Value| Some(((pair[0].as_f64()? * 1000.0).round() as i64, pair[1].as_str()?.to_owned()));
    values.as_array().into_iter().flatten().filter_map(own).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_gets_each_sample_once_over_restarts_of_both() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let url = format!("http://127.0.0.1:{port}");
    let mut receiver = Some(prometheus(folder.path(), port).await);
    let text = format!(
        "url = \"{url}/api/v1/write\"\nwrite_relabel_configs = [{{source_labels = [\"__name__\"], regex = \"sent_.*\", action = \"keep\"}}]"
    );
    let config = config(folder.path(), "weir.toml", &text);
    let mut weir = Weir::start_with(&folder.path().join("data"), &["--no-node", "--config", &config], &[]).await;
    let begun = now_ms() - 120_000;
    for round in 0..ROUNDS {
        match round {
            4 => drop(receiver.take()),
            8 | 18 => {
                weir.kill();
                weir.spawn();
                weir.wait_ready().await;
            }
            12 => receiver = Some(prometheus(folder.path(), port).await),
            15 => {
                drop(receiver.take());
                receiver = Some(prometheus(folder.path(), port).await);
            }
            _ => {}
        }
        push_round(&weir, begun, round).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let expected = |i: usize| -> Vec<(i64, String)> {
        (0..ROUNDS).map(|round| (begun + round * 1000, (round * 1000 + i as i64).to_string())).collect()
    };
    eventually("each sample", async || {
        let stored = samples(&url, "sent_total[10m]").await?;
        let missing = (0..SERIES).find(|i| {
            let own = stored.iter().find(|(labels, _)| labels.contains(&format!("\"path\":\"{i}\"")));
            own.is_none_or(|(_, values)| numbers(&values[0]) != expected(*i))
        });
        match missing {
            None if stored.len() == SERIES => Ok(()),
            _ => Err(format!("{} series; {missing:?} of {stored:?}\n{}", stored.len(), weir.log())),
        }
    })
    .await;
    let (_, metrics) = weir.try_get("/metrics", &[]).await;
    let sent = metrics.lines().find(|line| line.starts_with("weir_collector_remote_storage_samples_total{remote_name=\"far\"}"));
    assert!(sent.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
    assert!(!metrics.contains("weir_collector_remote_storage_records_dropped_total{"), "{metrics}");
    drop(receiver);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_weir_gets_native_histograms_by_two() {
    let folder = tempfile::tempdir().unwrap();
    let mut far = Weir::start(&folder.path().join("far")).await;
    let text = format!(
        "url = \"{}\"\nprotobuf_message = \"io.prometheus.write.v2.Request\"\nsend_native_histograms = true\nsend_exemplars = true",
        far.url("/api/v1/write")
    );
    let config = config(folder.path(), "near.toml", &text);
    let near = Weir::start_with(&folder.path().join("near"), &["--no-node", "--config", &config], &[]).await;
    let begun = now_ms() - 60_000;
    for round in 0..10_i64 {
        if round == 4 {
            far.kill();
        }
        if round == 7 {
            far.spawn();
            far.wait_ready().await;
        }
        let histogram = Histogram {
            count_int: Some(6 * (round as u64 + 1)),
            sum: 0.1 * round as f64,
            schema: 3,
            zero_threshold: 1e-9,
            zero_count_int: Some(round as u64 + 1),
            positive_spans: vec![BucketSpan { offset: -1, length: 2 }, BucketSpan { offset: 2, length: 1 }],
            positive_deltas: vec![2 * (round + 1), 0, -(round + 1)],
            timestamp: begun + round * 1000,
            ..Histogram::default()
        };
        let series = TimeSeries {
            labels: labels([("__name__", "latency_seconds"), ("instance", "a:1"), ("job", "shop")]),
            histograms: vec![histogram],
            ..TimeSeries::default()
        };
        let request = upgrade(&WriteRequest { timeseries: vec![series], metadata: Vec::new() });
        push(&near, "application/x-protobuf;proto=io.prometheus.write.v2.Request", compress(&request)).await;
    }
    let own = eventually("the histograms here", async || {
        let own = samples(&near.url(""), "latency_seconds[10m]").await?;
        let count = own.values().next().and_then(|values| values[1].as_array()).map_or(0, Vec::len);
        if count == 10 { Ok(own) } else { Err(format!("{own:?}")) }
    })
    .await;
    eventually("the same there", async || {
        let there = samples(&far.url(""), "latency_seconds[10m]").await?;
        if there == own { Ok(()) } else { Err(format!("{there:?}\n{own:?}\n{}", near.log())) }
    })
    .await;
    // The receiver has the last of them before its answer is here.
    eventually("all are counted", async || {
        let (_, metrics) = near.try_get("/metrics", &[]).await;
        let sent = metrics
            .lines()
            .find_map(|line| line.strip_prefix("weir_collector_remote_storage_histograms_total{remote_name=\"far\"} "));
        if sent == Some("10") { Ok(()) } else { Err(metrics) }
    })
    .await;
}
