//! The real Prometheus and Alertmanager beside weir: each scrapes the other, promtool asks, an alert arrives.

use std::path::Path;

use serde_json::{Value, json};

use crate::process::{Process, run};
use crate::weir::{Weir, eventually, free_port};

fn config(folder: &Path, text: &str) -> String {
    let path = folder.join("weir.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn prometheus(folder: &Path, scrape_port: &str, port: u16) -> Process {
    let file = folder.join("prometheus.yml");
    let text =
        format!("scrape_configs:\n- job_name: weir\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{scrape_port}']\n");
    std::fs::write(&file, text).unwrap();
    let data = folder.join("prometheus").display().to_string();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={data}"),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let mut process = Process::start(folder, "prometheus", &arguments.each_ref().map(String::as_str));
    process.wait_for(&format!("http://127.0.0.1:{port}/-/ready")).await;
    process
}

async fn ask(url: &str, query: &str) -> Vec<Value> {
    let url = reqwest::Url::parse_with_params(&format!("{url}/api/v1/query"), [("query", query)]).unwrap();
    let Ok(answer) = weir_tls::client().get(url).send().await else { return Vec::new() };
    let answer: Value = answer.json().await.unwrap_or_default();
    answer["data"]["result"].as_array().cloned().unwrap_or_default()
}

fn value(rows: &[Value]) -> f64 {
    rows.first().and_then(|row| row["value"][1].as_str()?.parse().ok()).unwrap_or(f64::NAN)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_weir_and_weir_scrapes_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let peer = format!("http://127.0.0.1:{port}");
    let scrape = folder.path().join("scrape.yml");
    let text = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n- job_name: prometheus\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n    labels: {{zone: a}}\n- job_name: protobuf\n  scrape_protocols: [PrometheusProto]\n  scrape_native_histograms: true\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
    );
    std::fs::write(&scrape, text).unwrap();
    let config = config(folder.path(), &format!("[collector.scrape]\nconfig_file = {:?}\n", scrape.display().to_string()));
    let weir = Weir::start_with(&folder.path().join("data"), &["--no-node", "--config", &config], &[]).await;
    let _prometheus = prometheus(folder.path(), &weir.listen, port).await;

    eventually("weir up in Prometheus", || async {
        let up = ask(&peer, "up{job=\"weir\"}").await;
        if value(&up) == 1.0 { Ok(()) } else { Err(format!("{up:?}")) }
    })
    .await;
    let own = ask(&peer, "weir_bus_append_records_total").await;
    assert!(value(&own) >= 0.0, "{own:?}");

    eventually("Prometheus up in weir", || async {
        let up = ask(&weir.url(""), "up{job=\"prometheus\", zone=\"a\"}").await;
        if value(&up) == 1.0 { Ok(()) } else { Err(format!("{up:?}\n{}", weir.log())) }
    })
    .await;
    let series = ask(&weir.url(""), "count({job=\"prometheus\"})").await;
    assert!(value(&series) > 200.0, "{series:?}");
    eventually("the same as protobuf", || async {
        let series = ask(&weir.url(""), "count({job=\"protobuf\", __name__=~\"prometheus_.*_total\"})").await;
        if value(&series) > 50.0 { Ok(()) } else { Err(format!("{series:?}\n{}", weir.log())) }
    })
    .await;
    let version = ask(&weir.url(""), "prometheus_build_info{job=\"prometheus\"}").await;
    assert_eq!(
        version[0]["metric"]["version"],
        ask(&peer, "prometheus_build_info")
            .await
            .first()
            .map_or(version[0]["metric"]["version"].clone(), |row| row["metric"]["version"].clone())
    );

    let (fine, text) = run("promtool", &["query", "instant", &weir.url(""), "up{job=\"prometheus\"}"], b"");
    assert!(fine && text.contains("=> 1"), "{text}");
    let (fine, text) = run("promtool", &["query", "labels", &weir.url(""), "zone"], b"");
    assert!(fine && text.contains('a'), "{text}");
    check_metrics(&weir.url("/metrics")).await;
}

/// All families of a process in both formats: promtool has nothing to say of them.
pub async fn check_metrics(url: &str) {
    let read = async |accept: &str| {
        let answer = weir_tls::client().get(url).header("accept", accept).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, answer.text().await.unwrap())
    };
    let (kind, text) = read("*/*").await;
    assert!(kind.starts_with("text/plain; version=0.0.4") && text.contains("\n# TYPE weir_"), "{kind}\n{text}");
    let (fine, said) = run("promtool", &["check", "metrics"], text.as_bytes());
    assert!(fine && said.is_empty(), "{url}: {said}");
    let (kind, text) = read("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4").await;
    assert!(kind.starts_with("application/openmetrics-text") && text.ends_with("\n# EOF\n"), "{kind}\n{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_reaches_a_real_alertmanager_and_is_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let manager = format!("http://127.0.0.1:{port}");
    let file = folder.path().join("alertmanager.yml");
    std::fs::write(&file, "route:\n  receiver: nobody\nreceivers:\n- name: nobody\n").unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.path={}", folder.path().join("alertmanager").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let mut process = Process::start(folder.path(), "prometheus-alertmanager", &arguments.each_ref().map(String::as_str));
    process.wait_for(&format!("{manager}/-/ready")).await;

    let rules = folder.path().join("rules.yml");
    let text = "groups:\n- name: water\n  interval: 1s\n  rules:\n  - alert: HighWater\n    expr: level_meters > 5\n    for: 1s\n    labels: {severity: page}\n    annotations: {summary: 'level is {{ $value }} at {{ $labels.gauge }}'}\n";
    std::fs::write(&rules, text).unwrap();
    let text = format!("[rules]\nfiles = [{:?}]\nalertmanagers = [{manager:?}]\n", rules.display().to_string());
    let config = config(folder.path(), &text);
    let (fine, text) = run(&crate::weir::binary().display().to_string(), &["check", "rules", &rules.display().to_string()], b"");
    assert!(fine, "{text}");
    let weir = Weir::start_with(&folder.path().join("data"), &["--no-node", "--config", &config], &[]).await;

    let raised = |level: f64| push_gauge(&weir, level);
    let alerts = |state: &'static str| {
        let manager = manager.clone();
        async move {
            let answer: Value = weir_tls::client()
                .get(format!("{manager}/api/v2/alerts?{state}=true"))
                .send()
                .await
                .unwrap()
                .json()
                .await
                .unwrap();
            answer.as_array().cloned().unwrap_or_default()
        }
    };
    eventually("the alert", || async {
        raised(7.5).await;
        let alerts = alerts("active").await;
        let found = alerts.iter().find(|alert| alert["labels"]["alertname"] == "HighWater").cloned();
        let alert = found.ok_or_else(|| weir.log())?;
        assert_eq!(alert["labels"]["severity"], "page");
        assert_eq!(alert["annotations"]["summary"], "level is 7.5 at weir");
        Ok(())
    })
    .await;
    let own = weir.get("/api/v1/alerts", &[]).await;
    assert_eq!(own["data"]["alerts"][0]["state"], "firing", "{own}");
    let rules = weir.get("/api/v1/rules", &[]).await;
    assert_eq!(rules["data"]["groups"][0]["rules"][0]["name"], "HighWater", "{rules}");
    eventually("the end of the alert", || async {
        raised(1.0).await;
        let own = weir.get("/api/v1/alerts", &[]).await;
        let manager_has = alerts("active").await.iter().any(|alert| alert["labels"]["alertname"] == "HighWater");
        if own["data"]["alerts"].as_array().is_some_and(Vec::is_empty) && !manager_has { Ok(()) } else { Err(format!("{own}")) }
    })
    .await;
}

async fn push_gauge(weir: &Weir, level: f64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos().to_string();
    let point =
        json!({"asDouble": level, "timeUnixNano": now, "attributes": [{"key": "gauge", "value": {"stringValue": "weir"}}]});
    let metric = json!({"name": "level_meters", "gauge": {"dataPoints": [point]}});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "river"}}]});
    let body = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
    let answer = weir.http.post(format!("http://{}/v1/metrics", weir.otlp_http)).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
}
