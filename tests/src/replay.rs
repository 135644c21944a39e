//! Nezha through weir: counts per pod match the source exactly, and every sampled trace is found whole with its logs. The
//! same day, the same assertions, once in one process and once through a cluster: both are held against the source, and so
//! against each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ask;
use crate::cluster::{Cluster, Plan};
use crate::nezha::{CriWriter, Day, day, otlp_json};
use crate::roles::Role;
use crate::weir::{PATIENCE, Weir, eventually, node_at, pods_of};

/// Spans of one export request, as many as SDKs send at once.
const EXPORT_SPANS: usize = 512;

/// Old data: nothing expires.
const KEEP: &str = "[aggregator.retention]\nlogs = \"0s\"\nmetrics = \"0s\"\ntraces = \"0s\"\n";

/// Where the day goes in, and who is asked for it.
struct Target {
    pods: PathBuf,
    otlp_http: String,
    /// Answers for all of it.
    listen: String,
    http: reqwest::Client,
}

impl Target {
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        ask::get(&self.http, &format!("http://{}{path}", self.listen), parameters).await
    }

    /// The answer once it says that it covers everything on the bus.
    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        eventually(path, async || ask::complete(self.ask(path, parameters).await?)).await
    }

    async fn admin(&self, action: &str) {
        let url = format!("http://{}/api/weir/v1/admin/{action}", self.listen);
        ask::send(self.http.post(url)).await.unwrap_or_else(|error| panic!("{action}: {error}"));
    }

    async fn counts(&self) -> BTreeMap<String, u64> {
        counts_of(&self.get(COUNTS.0, &COUNTS.1).await)
    }

    /// Until so many lines are found. Lines that keep coming are waited for.
    async fn arrived(&self, total: u64) {
        let (mut best, mut grew) = (0, Instant::now());
        while best < total {
            let found = counts_of(&self.ask(COUNTS.0, &COUNTS.1).await.expect("an answer")).values().sum();
            if found > best {
                (best, grew) = (found, Instant::now());
            }
            assert!(grew.elapsed() < PATIENCE, "{best} of {total} lines, and no more came");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn traces_are_whole(&self, day: &Day) {
        let mut spans: HashMap<&str, HashSet<&str>> = HashMap::new();
        for span in &day.spans {
            spans.entry(&span.trace_id).or_default().insert(&span.span_id);
        }
        let mut ids: Vec<&str> = spans.keys().copied().collect();
        ids.sort_unstable();
        let step = (ids.len() / 40).max(1);
        for id in ids.iter().step_by(step) {
            // Acknowledged spans may still be on their way into a head, as the lines may have been.
            let found = eventually(&format!("trace {id}"), async || {
                let answer = self.get(&format!("/api/weir/v1/traces/{id}"), &[]).await;
                let found: Vec<String> = answer["trace"]["spans"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|span| span["id"].as_str().unwrap().to_owned())
                    .collect();
                let (count, wanted) = (found.len(), spans[id].len());
                if count >= wanted { Ok(found) } else { Err(format!("{count} of {wanted} spans")) }
            })
            .await;
            assert_eq!(found.len(), spans[id].len(), "trace {id}: spans, each once");
            assert!(found.iter().all(|span| spans[id].contains(span.as_str())), "trace {id}");

            let query = format!("{{namespace=\"nezha\"}} |= \"{id}\"");
            let parameters = [
                ("query", query.as_str()),
                ("start", "2023-01-01T00:00:00Z"),
                ("end", "2023-03-01T00:00:00Z"),
                ("limit", "5000"),
            ];
            let answer = self.get("/api/weir/v1/logs", &parameters).await;
            let lines = answer["lines"].as_array().unwrap().len();
            let wanted = day.lines.iter().filter(|line| line.body.contains(id)).count();
            assert_eq!(lines, wanted, "trace {id}: lines that name it");
        }
    }
}

/// Lines of each pod.
const COUNTS: (&str, [(&str, &str); 2]) = (
    "/loki/api/v1/query",
    [("query", "sum by (pod) (count_over_time({namespace=\"nezha\"}[30d]))"), ("time", "2023-02-10T00:00:00Z")],
);

fn counts_of(answer: &Value) -> BTreeMap<String, u64> {
    let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let count = |row: &Value| row["value"][1].as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default() as u64;
    series.iter().map(|row| (row["metric"]["pod"].as_str().unwrap_or_default().to_owned(), count(row))).collect()
}

fn expected(day: &Day) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    day.lines.iter().for_each(|line| *counts.entry(line.pod.clone()).or_default() += 1);
    counts
}

/// The whole day: lines as rotating files, spans over OTLP; then the same questions live, sealed and merged.
async fn arrives_exactly(target: &Target) {
    let day = day(usize::MAX, 60_000);
    println!("{} lines, {} spans, {}", day.lines.len(), day.spans.len(), if day.real { "Nezha" } else { "made up" });
    let mut files = CriWriter::new(&target.pods, 2 << 20);
    day.lines.iter().for_each(|line| files.write(line));
    for spans in day.spans.chunks(EXPORT_SPANS) {
        let request = target.http.post(format!("http://{}/v1/traces", target.otlp_http)).json(&otlp_json(spans));
        ask::send(request).await.expect("spans are taken");
    }

    let wanted = expected(&day);
    target.arrived(wanted.values().sum()).await;
    assert_eq!(target.counts().await, wanted, "live");
    target.traces_are_whole(&day).await;
    target.admin("seal").await;
    assert_eq!(target.counts().await, wanted, "sealed");
    target.admin("compact").await;
    assert_eq!(target.counts().await, wanted, "compacted");
    target.traces_are_whole(&day).await;
}

fn configure(folder: &Path) -> String {
    let path = folder.join("weir.toml");
    std::fs::write(&path, format!("{}{KEEP}", node_at(folder))).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_arrives_exactly_in_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let pods = pods_of(folder.path());
    let config = configure(folder.path());
    let weir = Weir::start_with(&folder.path().join("data"), &["--config", &config], &[]).await;
    let (otlp_http, listen) = (weir.otlp_http.clone(), weir.listen.clone());
    arrives_exactly(&Target { pods, otlp_http, listen, http: weir.http.clone() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_arrives_exactly_through_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        brokers: 1,
        partitions: 3,
        aggregators: 2,
        queries: 2,
        store: format!("file://{}", folder.path().join("store").display()),
        environment: Vec::new(),
        config: KEEP,
    };
    let cluster = Cluster::start(folder.path(), &plan).await;
    let target = |query: &Role| Target {
        pods: cluster.pods.clone(),
        otlp_http: cluster.otlp_http.clone(),
        listen: query.listen.clone(),
        http: cluster.http.clone(),
    };
    let (first, second) = (target(&cluster.queries[0]), target(&cluster.queries[1]));
    arrives_exactly(&first).await;
    // The other query node, through which nothing went, says the same.
    assert_eq!(second.counts().await, first.counts().await);
    let owners = first.get("/api/weir/v1/path", &[]).await["owners"].as_array().unwrap().len();
    assert_eq!(owners, 2, "both aggregators own partitions");
}
