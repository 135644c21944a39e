//! Nezha through weir: counts per pod match the source exactly, and every sampled trace is found whole with its logs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::nezha::{CriWriter, Day, day, otlp_json};
use crate::weir::{Weir, eventually, node_at, pods_of};

/// Spans of one export request, as many as SDKs send at once.
const EXPORT_SPANS: usize = 512;

/// Configuration for old data: nothing expires.
fn configure(folder: &Path) -> String {
    pods_of(folder);
    let path = folder.join("weir.toml");
    let keep = "[aggregator.retention]\nlogs = \"0s\"\nmetrics = \"0s\"\ntraces = \"0s\"\n";
    std::fs::write(&path, format!("{}{keep}", node_at(folder))).unwrap();
    path.display().to_string()
}

async fn counts(weir: &Weir) -> BTreeMap<String, u64> {
    let query = "sum by (pod) (count_over_time({namespace=\"nezha\"}[30d]))";
    let answer = weir.get("/loki/api/v1/query", &[("query", query), ("time", "2023-02-10T00:00:00Z")]).await;
    let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let count = |row: &Value| row["value"][1].as_str().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default() as u64;
    series.iter().map(|row| (row["metric"]["pod"].as_str().unwrap_or_default().to_owned(), count(row))).collect()
}

fn expected(day: &Day) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    day.lines.iter().for_each(|line| *counts.entry(line.pod.clone()).or_default() += 1);
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clusters_day_arrives_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path());
    let weir = Weir::start_with(&folder.path().join("data"), &["--config", &config], &[]).await;
    let day = day(usize::MAX, 60_000);
    println!("{} lines, {} spans, {}", day.lines.len(), day.spans.len(), if day.real { "Nezha" } else { "made up" });

    let mut files = CriWriter::new(&pods_of(folder.path()), 2 << 20);
    day.lines.iter().for_each(|line| files.write(line));
    for spans in day.spans.chunks(EXPORT_SPANS) {
        let answer = weir.http.post(format!("http://{}/v1/traces", weir.otlp_http)).json(&otlp_json(spans)).send().await.unwrap();
        assert!(answer.status().is_success(), "{} {}", answer.status(), answer.text().await.unwrap_or_default());
    }

    let wanted = expected(&day);
    let total: u64 = wanted.values().sum();
    eventually("all lines", || async {
        let found: u64 = counts(&weir).await.values().sum();
        if found >= total { Ok(()) } else { Err(format!("{found} of {total} lines")) }
    })
    .await;
    assert_eq!(counts(&weir).await, wanted, "live");
    traces_are_whole(&weir, &day).await;
    weir.admin("seal").await;
    assert_eq!(counts(&weir).await, wanted, "sealed");
    weir.admin("compact").await;
    assert_eq!(counts(&weir).await, wanted, "compacted");
    traces_are_whole(&weir, &day).await;
}

async fn traces_are_whole(weir: &Weir, day: &Day) {
    let mut spans: HashMap<&str, HashSet<&str>> = HashMap::new();
    for span in &day.spans {
        spans.entry(&span.trace_id).or_default().insert(&span.span_id);
    }
    let mut ids: Vec<&str> = spans.keys().copied().collect();
    ids.sort_unstable();
    let step = (ids.len() / 40).max(1);
    for id in ids.iter().step_by(step) {
        let answer = weir.get(&format!("/api/weir/v1/traces/{id}"), &[]).await;
        let found: Vec<&str> =
            answer["trace"]["spans"].as_array().unwrap().iter().filter_map(|span| span["id"].as_str()).collect();
        assert_eq!(found.len(), spans[id].len(), "trace {id}: spans, each once");
        assert!(found.iter().all(|span| spans[id].contains(span)), "trace {id}");

        let query = format!("{{namespace=\"nezha\"}} |= \"{id}\"");
        let parameters =
            [("query", query.as_str()), ("start", "2023-01-01T00:00:00Z"), ("end", "2023-03-01T00:00:00Z"), ("limit", "5000")];
        let answer = weir.get("/api/weir/v1/logs", &parameters).await;
        let lines = answer["lines"].as_array().unwrap().len();
        let wanted = day.lines.iter().filter(|line| line.body.contains(id)).count();
        assert_eq!(lines, wanted, "trace {id}: lines that name it");
    }
}
