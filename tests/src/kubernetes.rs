//! A real Kubernetes node: pods that are deleted the moment they have printed their last line leave every line in weir. Runs
//! inside `tests/kubernetes/cluster` (`make kubernetes`), which starts the node and removes what is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::deploy;
use crate::weir::{PATIENCE, Weir, eventually};

const PODS: usize = 25;
const LINES: usize = 200;
const NAMESPACE: &str = "shop";
/// The node as a collector's pod sees it, with its own mounts.
const HOST: &str = "/run/host";
/// How often the logs are looked at: far less than a pod lives.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The API of the cluster that this test runs in.
struct Api {
    http: reqwest::Client,
    url: String,
}

impl Api {
    fn new() -> Self {
        let url = std::env::var("WEIR_KUBERNETES").expect("this test runs in a cluster of its own: make kubernetes");
        Self { http: weir_tls::client(), url }
    }

    /// Sends an object to a path below `/api/v1`; panics unless it is accepted.
    async fn send(&self, method: Method, path: &str, body: &Value) {
        let request = self.http.request(method.clone(), format!("{}/api/v1/{path}", self.url)).json(body);
        let answer = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert!(status.is_success(), "{method} {path}: {status} {text}");
    }
}

/// `[node]` as `deploy/kubernetes` has it, with the node's root where it is here. Nothing but their birth finds the logs: what
/// is done at intervals waits for an hour.
fn configuration() -> String {
    let shipped = deploy::configuration();
    let (_, node) = shipped.split_once("[node]\n").expect("a [node]");
    let node = node.split("\n[").next().unwrap_or_default();
    assert!(node.contains("\"/host"), "{node}");
    let node = node.replace("\"/host", &format!("\"{HOST}"));
    format!("[node]\n{node}\n[collector.files]\ndiscover_interval = \"1h\"\n")
}

/// A pod that prints its lines and is done.
struct Pod {
    name: String,
    /// Its container's log and since when it is deleted, once it is.
    deleted: Option<(PathBuf, Instant)>,
    /// How long its log was there after that.
    life: Option<Duration>,
}

impl Pod {
    fn new(number: usize) -> Self {
        Self { name: format!("brief-{number:02}"), deleted: None, life: None }
    }

    fn lines(&self) -> Vec<String> {
        (0..LINES).map(|number| format!("line {number} of {}", self.name)).collect()
    }

    fn object(&self) -> Value {
        let script = format!("i=0; while [ $i -lt {LINES} ]; do echo \"line $i of {}\"; i=$((i+1)); done", self.name);
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "labels": {"app": "brief"}},
            "spec": {
                "nodeName": "127.0.0.1", "restartPolicy": "Never",
                "containers": [{
                    "name": "main", "image": "localhost/busybox:1", "imagePullPolicy": "Never", "command": ["sh", "-c", script],
                }],
            },
        })
    }

    /// Its container's log when the last line is in it.
    fn completed(&self) -> Option<PathBuf> {
        let listed = std::fs::read_dir(Path::new(HOST).join("var/log/pods")).ok()?;
        let directory = format!("{NAMESPACE}_{}_", self.name);
        let pod = listed.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with(&directory))?;
        let log = pod.path().join("main/0.log");
        let text = std::fs::read_to_string(&log).ok()?;
        text.trim_end().ends_with(&self.lines()[LINES - 1]).then_some(log)
    }

    /// Streams that weir has of it: labels, and lines in the order in which Loki's API gives them.
    async fn streams(&self, weir: &Weir) -> Vec<(Value, Vec<String>)> {
        let query = format!("{{namespace={NAMESPACE:?}, pod={:?}}}", self.name);
        let limit = (2 * LINES).to_string();
        let parameters = [("query", query.as_str()), ("direction", "forward"), ("limit", limit.as_str())];
        let answer = weir.get("/loki/api/v1/query_range", &parameters).await;
        let found = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let lines = |stream: &Value| {
            let values = stream["values"].as_array().cloned().unwrap_or_default();
            values.iter().map(|value| value[1].as_str().unwrap_or_default().to_owned()).collect()
        };
        found.iter().map(|stream| (stream["stream"].clone(), lines(stream))).collect()
    }
}

/// Deletes each pod as soon as it has completed, every second one without any grace, and waits until their logs are gone.
async fn delete_the_completed(api: &Api, pods: &mut [Pod]) {
    let (begun, mut count) = (Instant::now(), 0);
    while pods.iter().any(|pod| pod.life.is_none()) {
        for pod in &mut *pods {
            if let Some((log, since)) = &pod.deleted {
                pod.life = pod.life.or_else(|| (!log.exists()).then(|| since.elapsed()));
            } else if let Some(log) = pod.completed() {
                let options = if count % 2 == 0 { json!({}) } else { json!({"gracePeriodSeconds": 0}) };
                api.send(Method::DELETE, &format!("namespaces/{NAMESPACE}/pods/{}", pod.name), &options).await;
                pod.deleted = Some((log, Instant::now()));
                count += 1;
            }
        }
        let left = || pods.iter().filter(|pod| pod.life.is_none()).map(|pod| (&pod.name, &pod.deleted)).collect::<Vec<_>>();
        assert!(begun.elapsed() < PATIENCE, "pods that did not complete, or whose logs are still there: {:?}", left());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Logs of containers that weir counted as never seen.
async fn never_seen(weir: &Weir) -> u64 {
    let (_, metrics) = weir.try_get("/metrics", &[]).await;
    let line = metrics.lines().find(|line| line.contains("reason=\"log_never_seen\""));
    line.map_or(0, |line| line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_deleted_when_they_complete_leave_every_line() {
    let api = Api::new();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("weir.toml");
    std::fs::write(&config, configuration()).unwrap();
    let config = config.display().to_string();
    let data = Path::new(HOST).join("var/log/weir");
    let weir = Weir::start_with(&data, &["--config", &config, "--node-name", "node-1"], &[]).await;

    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    api.send(Method::POST, "namespaces", &namespace).await;
    let mut pods: Vec<Pod> = (0..PODS).map(Pod::new).collect();
    for pod in &pods {
        api.send(Method::POST, &format!("namespaces/{NAMESPACE}/pods"), &pod.object()).await;
    }
    delete_the_completed(&api, &mut pods).await;

    eventually("every line of every pod", || async {
        let mut missing = BTreeMap::new();
        for pod in &pods {
            let found: BTreeSet<String> = pod.streams(&weir).await.into_iter().flat_map(|(_, lines)| lines).collect();
            let count = pod.lines().iter().filter(|line| !found.contains(*line)).count();
            if count > 0 {
                missing.insert(&pod.name, count);
            }
        }
        let lines: usize = missing.values().sum();
        let counted = never_seen(&weir).await;
        if lines == 0 { Ok(()) } else { Err(format!("{lines} lines are missing: {missing:?}; {counted} logs never seen")) }
    })
    .await;
    for pod in &pods {
        let found = pod.streams(&weir).await;
        let [(labels, lines)] = found.as_slice() else { panic!("one stream of {}: {found:?}", pod.name) };
        assert_eq!(*lines, pod.lines(), "{}: each line once and in order", pod.name);
        let expected =
            [("node", "node-1"), ("namespace", NAMESPACE), ("pod", &pod.name), ("container", "main"), ("app", "brief")];
        for (label, value) in expected {
            assert_eq!(labels[label], value, "{label} of {}: {labels}", pod.name);
        }
    }
    assert_eq!(never_seen(&weir).await, 0, "logs that were never seen\n{}", weir.log());
    let mut lives: Vec<Duration> = pods.iter().filter_map(|pod| pod.life).collect();
    lives.sort();
    println!(
        "{} of {} lines of {PODS} pods, whose logs were gone {:.1} s (the first) to {:.1} s (the last) after their last line",
        PODS * LINES,
        PODS * LINES,
        lives[0].as_secs_f64(),
        lives[PODS - 1].as_secs_f64()
    );
}
