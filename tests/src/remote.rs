//! A real Prometheus writes to weir by remote write, and another reads from weir by remote read: each sample once, to the bit.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::process::Process;
use crate::weir::{Weir, eventually, free_port};

async fn prometheus(folder: &Path, name: &str, config: &str) -> (String, Process) {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    let (file, port) = (folder.join("prometheus.yml"), free_port());
    std::fs::write(&file, config.replace("OWN", &port.to_string())).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let mut process = Process::start(&folder, "prometheus", &arguments.each_ref().map(String::as_str));
    let url = format!("http://127.0.0.1:{port}");
    process.wait_for(&format!("{url}/-/ready")).await;
    (url, process)
}

/// Samples of a selector by series, `<time> <value>` each, as an API answers it.
async fn samples(url: &str, query: &str, at: f64) -> BTreeMap<String, Vec<String>> {
    let parameters = [("query", query), ("time", &at.to_string())];
    let url = reqwest::Url::parse_with_params(&format!("{url}/api/v1/query"), parameters).unwrap();
    let answer: Value = weir_tls::client().get(url).send().await.unwrap().json().await.unwrap();
    let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let own = |series: &Value| {
        let values = series["values"].as_array().unwrap().iter().map(ToString::to_string).collect();
        (series["metric"].to_string(), values)
    };
    series.iter().map(own).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_prometheus_writes_it_reads_back_each_sample_once() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start_with(&folder.path().join("data"), &["--no-node"], &[]).await;
    let writing = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: prometheus\n  static_configs:\n  \
         - targets: ['127.0.0.1:OWN']\nremote_write:\n- url: {}\n  queue_config: {{batch_send_deadline: 300ms, min_shards: 2}}\n  \
         metadata_config: {{send_interval: 1s}}\n",
        weir.url("/api/v1/write")
    );
    let (writer, _writer) = prometheus(folder.path(), "writer", &writing).await;
    let reading = format!("remote_read:\n- url: {}\n  read_recent: true\n", weir.url("/api/v1/read"));
    let (reader, _reader) = prometheus(folder.path(), "reader", &reading).await;

    let enough = "{job=\"prometheus\", __name__=~\"up|go_.*|prometheus_tsdb_.*|net_.*\"}[1m]";
    let end = eventually("some scrapes", async || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let now = now as f64 / 1000.0;
        let up = samples(&writer, "up[1m]", now).await;
        if up.values().any(|samples| samples.len() >= 4) { Ok(now) } else { Err(format!("{up:?}")) }
    })
    .await;
    let written = samples(&writer, enough, end).await;
    assert!(written.len() > 100, "{} series", written.len());
    let ways = [("live", None), ("sealed", Some("seal"))];
    for (when, action) in ways {
        if let Some(action) = action {
            weir.admin(action).await;
        }
        // The last ones may be on their way.
        for (who, url) in [("weir", weir.url("")), ("Prometheus", reader.clone())] {
            eventually("each sample", async || {
                let stored = samples(&url, enough, end).await;
                if stored == written {
                    return Ok(());
                }
                let differs = written.iter().find(|(series, samples)| stored.get(*series) != Some(samples));
                let of = differs.map(|(series, _)| stored.get(series));
                Err(format!("{when}, {who}: {} of {} series: {differs:?} {of:?}\n{}", stored.len(), written.len(), weir.log()))
            })
            .await;
        }
    }
    eventually("metadata", async || {
        let answer = weir.get("/api/v1/metadata", &[("metric", "go_goroutines")]).await;
        let family = &answer["data"]["go_goroutines"][0];
        if family["type"] == "gauge" { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    let text = weir_tls::client().get(format!("{writer}/metrics")).send().await.unwrap().text().await.unwrap();
    let failed = |line: &&str| line.starts_with("prometheus_remote_storage_samples_failed_total");
    assert!(text.lines().find(failed).is_some_and(|line| line.ends_with(" 0")), "{text}");
}
