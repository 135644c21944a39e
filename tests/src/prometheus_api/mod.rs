//! A real Prometheus and weir scrape one target, whose samples say their times, and answer the same calls of Prometheus' API: what they
//! answer is equal but for what is listed with its reason. Then Prometheus scrapes weir's `/federate`, and weir is asked what it
//! must refuse.
//!
//! The Prometheus is Debian's, 2.42. Times of samples lie beside every step and window's edge, because 3.x, as weir, leaves the sample
//! on the left edge of a window out.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

mod calls;
mod hostile;
mod target;

use self::calls::{CALLS, DIFFERENT, QUERIES, REFUSED};
use self::hostile::hostile;
use self::target::{INTERVAL_MS, SAMPLES, SERIES, exposition};
use crate::process::Process;
use crate::weir::{Weir, eventually, free_port};

async fn serve(text: String) -> String {
    let router = axum::Router::new()
        .route("/metrics", axum::routing::get(move || async move { ([("content-type", "text/plain; version=0.0.4")], text) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn scrape_config(folder: &Path, name: &str, target: &str, more: &str) -> String {
    let path = folder.join(name);
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: c\n  static_configs:\n  - targets: ['{target}']\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

struct Peer<'a> {
    weir: &'a Weir,
    prometheus: String,
    /// Seconds.
    start: String,
    mid: String,
    end: String,
}

impl Peer<'_> {
    fn fill(&self, call: &str) -> String {
        call.replace("<start>", &self.start).replace("<mid>", &self.mid).replace("<end>", &self.end)
    }

    async fn ask(&self, base: &str, call: &str) -> (u16, Value) {
        let url = reqwest::Url::parse(&format!("{base}/api/v1/{}", self.fill(call))).unwrap();
        let answer = self.weir.http.get(url).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn both(&self, call: &str) -> ((u16, Value), (u16, Value)) {
        let own = self.weir.url("");
        tokio::join!(self.ask(&self.prometheus, call), self.ask(&own, call))
    }
}

/// A Prometheus with a directory of its own, and its address.
async fn start(folder: &Path, name: &str, config: &str) -> (Process, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let data = folder.join(name);
    std::fs::create_dir_all(&data).unwrap();
    let arguments = [
        format!("--config.file={config}"),
        format!("--storage.tsdb.path={}", data.join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let mut process = Process::start(&data, "prometheus", &arguments.each_ref().map(String::as_str));
    process.wait_for(&format!("http://{address}/-/ready")).await;
    (process, format!("http://{address}"))
}

/// Without what differs by its nature, in an order of its own where there is none.
fn normalised(call: &str, answer: &Value) -> Value {
    let mut data = answer["data"].clone();
    let is_ordered = call.starts_with("query?query=sort");
    let is_list = ["vector", "matrix"].iter().any(|kind| answer["data"]["resultType"] == **kind);
    if let Some(result) = data.get_mut("result").and_then(Value::as_array_mut).filter(|_| is_list && !is_ordered) {
        result.sort_by_key(|row| row["metric"].to_string());
    }
    if let Some(items) = data.as_array_mut() {
        items.sort_by_key(Value::to_string);
    }
    json!({"status": answer["status"], "errorType": answer["errorType"], "data": data})
}

/// Numbers may differ in their last digits: sums are made in another order.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().zip(other).all(|(a, b)| equal(a, b)),
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, own)| other.get(name).is_some_and(|other| equal(own, other)))
        }
        (Value::String(one), Value::String(other)) => {
            one == other
                || match (one.parse::<f64>(), other.parse::<f64>()) {
                    // Below 1e-15 is what a sum of numbers around 1 leaves where they cancel out.
                    (Ok(a), Ok(b)) => (a - b).abs() <= 1e-12 * a.abs().max(b.abs()) || a.abs().max(b.abs()) <= 1e-15,
                    _ => false,
                }
        }
        _ => one == other || one.as_f64().is_some_and(|own| other.as_f64() == Some(own)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_and_weir_answer_alike() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    // The newest sample is half a minute old. Off every grid of whole seconds.
    let first = (now - 30_000 - (SAMPLES - 1) * INTERVAL_MS).div_euclid(INTERVAL_MS) * INTERVAL_MS + 3_487;
    let target = serve(exposition(first)).await;
    let own = scrape_config(folder.path(), "weir.yml", &target, "");
    let config = folder.path().join("weir.toml");
    std::fs::write(&config, format!("[collector.scrape]\nconfig_file = {own:?}\n[query]\ntimeout = \"5s\"\n")).unwrap();
    let weir = Weir::start_with(&folder.path().join("data"), &["--no-node", "--config", config.to_str().unwrap()], &[]).await;
    let theirs = scrape_config(folder.path(), "prometheus.yml", &target, "");
    let (_process, prometheus) = start(folder.path(), "tsdb", &theirs).await;
    let second = |at: i64| format!("{}.{:03}", at / 1000, at % 1000);
    // Steps of 20 s, off the grid of samples and of subqueries.
    let start = first - 3_487 + 120_000 + 1_700;
    let end = start + 20_000 * 36;
    let peer = Peer { weir: &weir, prometheus, start: second(start), mid: second(start + 240_000), end: second(end) };
    let count = format!("query?query=count(last_over_time({{job=\"c\",__name__!~\"up|scrape_.*\"}}[20m]))&time={}", peer.end);
    eventually("all series in both", || async {
        let (theirs, own) = peer.both(&count).await;
        let of = |answer: &(u16, Value)| answer.1["data"]["result"][0]["value"][1].as_str().unwrap_or_default().to_owned();
        let expected = SERIES.to_string();
        if of(&theirs) == expected && of(&own) == expected { Ok(()) } else { Err(format!("{theirs:?} {own:?}\n{}", weir.log())) }
    })
    .await;

    let mut wrong = Vec::new();
    let queries = QUERIES.iter().flat_map(|query| {
        let query = query.replace('+', "%2B").replace('%', "%25").replace("%252B", "%2B");
        let query = peer.fill(&query);
        let range = (!query.starts_with("\"")).then(|| format!("query_range?query={query}&start=<start>&end=<end>&step=20"));
        std::iter::once(format!("query?query={query}&time=<mid>")).chain(range)
    });
    let mut calls: Vec<String> = queries.collect();
    calls.extend(CALLS.iter().map(|call| (*call).to_owned()));
    for call in &calls {
        let ((status, theirs), (own_status, own)) = peer.both(call).await;
        let is_same = status == own_status && equal(&normalised(call, &theirs), &normalised(call, &own));
        if !is_same {
            wrong.push(format!("{call}\n  Prometheus {status} {theirs}\n  weir {own_status} {own}"));
        }
    }
    for (call, in_words) in REFUSED {
        let ((status, theirs), (own_status, own)) = peer.both(call).await;
        let is_same = status == own_status && theirs["errorType"] == own["errorType"] && status >= 400;
        // Some begin with a capital letter there.
        let words = |answer: &Value| answer["error"].as_str().unwrap_or_default().to_lowercase();
        if !is_same || (*in_words && words(&theirs) != words(&own)) {
            wrong.push(format!("{call}\n  Prometheus {status} {theirs}\n  weir {own_status} {own}"));
        }
    }
    for (call, why) in DIFFERENT {
        let ((status, theirs), (own_status, own)) = peer.both(call).await;
        if status == own_status && equal(&normalised(call, &theirs), &normalised(call, &own)) {
            wrong.push(format!("{call} is answered alike, and listed as different: {why}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} calls differ:\n{}",
        wrong.len(),
        calls.len() + REFUSED.len() + DIFFERENT.len(),
        wrong.join("\n")
    );

    // Targets, but for what is of the moment.
    let shown = |answer: Value| -> Vec<Value> {
        let all = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let names = ["labels", "scrapePool", "scrapeUrl", "health", "lastError", "scrapeInterval", "scrapeTimeout"];
        let one = |target: &Value| {
            names.iter().map(|name| ((*name).to_owned(), target[name].clone())).collect::<serde_json::Map<_, _>>()
        };
        all.iter().map(|target| Value::Object(one(target))).collect()
    };
    let ((_, theirs), (_, own)) = peer.both("targets?scrapePool=c&state=active").await;
    assert_eq!(shown(theirs), shown(own));
    let (_, own) = peer.ask(&weir.url(""), "cardinality/label_values?label_names[]=room&selector=temperature&limit=1").await;
    assert_eq!((&own["series_count_total"], &own["labels"][0]["label_values_count"]), (&json!(6), &json!(6)), "{own}");
    let (_, own) = peer.ask(&weir.url(""), "status/tsdb?limit=3").await;
    assert_eq!(own["data"]["seriesCountByMetricName"].as_array().map(Vec::len), Some(3), "{own}");

    federated(&weir, folder.path()).await;
    hostile(&weir).await;
}

/// A Prometheus that scrapes nothing but weir's `/federate` has what weir has of the target, with its labels and times.
async fn federated(weir: &Weir, folder: &Path) {
    let config = folder.join("federate.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: federate\n  honor_labels: true\n  metrics_path: \
         /federate\n  params: {{'match[]': ['{{job=\"c\"}}']}}\n  static_configs:\n  - targets: ['{}']\n",
        weir.listen
    );
    std::fs::write(&config, text).unwrap();
    let (_process, prometheus) = start(folder, "federated", &config.display().to_string()).await;
    let peer = Peer { weir, prometheus, start: String::new(), mid: String::new(), end: String::new() };
    eventually("what was federated", || async {
        let ((_, theirs), (_, own)) = peer.both("query?query=count({job=\"c\",__name__!~\"up|scrape_.*\"})").await;
        let of = |answer: &Value| answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
        if of(&theirs).is_some() && of(&theirs) == of(&own) { Ok(()) } else { Err(format!("{theirs} {own}")) }
    })
    .await;
    let ((_, theirs), (_, own)) = peer.both("query?query=timestamp(temperature{room=\"hall\"})").await;
    let row = |answer: &Value| (answer["data"]["result"][0]["metric"].clone(), answer["data"]["result"][0]["value"][1].clone());
    assert!(row(&own).1.is_string(), "{own}");
    assert_eq!(row(&theirs), row(&own));
    let (status, text) = weir.try_get("/federate", &[("match[]", "temperature{room=\"hall\"}")]).await;
    assert!(status == 200 && text.starts_with("# TYPE temperature untyped\ntemperature{"), "{status} {text}");
}
