//! `path`: the health of the whole path: collectors → partitions → owners → blocks; lag, back-pressure, losses, coverage.
//!
//! What collectors say comes out of the stored samples that each of them ships (`weir_collector_…`), so a collector needs
//! no address to be seen here, and one that has gone silent is seen as silent. The rest is what owners and manifests say.

use std::collections::BTreeMap;

use axum::response::Response;
use serde_json::{Value, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::label::{MatchOp, Matcher, NAME};
use weir_model::scope::Scope;
use weir_model::select::read_series;
use weir_model::select::{MetricSelect, Series};
use weir_model::status::PartitionStatus;

use super::super::Api;
use super::super::error::ApiError;
use super::{WeirError, answer};
use crate::call::Call;

/// A collector that has been silent for longer is not listed any more.
const REMEMBERED_MS: i64 = 15 * 60 * 1000;

/// Collectors say how they are every 5 s; three of these missing is a silence.
const SILENT_MS: i64 = 15_000;

const NAMES: &str = "weir_collector_info|weir_collector_queued_bytes|weir_collector_queue_bytes_max\
    |weir_collector_unacknowledged_seconds";

/// Where everything stands.
pub(super) async fn path(api: Call, granted: Granted) -> Result<Response, WeirError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let now_ms = (api.clock)() / 1_000_000;
        let names = Matcher::new(NAME, MatchOp::Regex, NAMES).map_err(|error| ApiError::from(error.to_string()))?;
        let matchers = vec![names, Matcher::equal("job", "weir-collector")];
        let scope = Scope::clone(&granted.scope);
        let select = MetricSelect { scope, matchers, start_ms: now_ms - REMEMBERED_MS, end_ms: now_ms };
        let (found, _) = read_series(&*api.metrics, &select, budget)?;
        let partitions = api.path.status();
        let body = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started": api.started.to_string(),
            "outages": (api.outages)(),
            "collectors": collectors(&found.value, now_ms),
            "owners": owners(&partitions),
            "totals": totals(&partitions),
            "partitions": partitions,
        });
        answer(budget, &body, found.coverage)
    };
    api.answer(work).await
}

/// One a node, by name.
fn collectors(series: &[Series], now_ms: i64) -> Vec<Value> {
    let mut nodes: BTreeMap<&str, Vec<&Series>> = BTreeMap::new();
    for one in series.iter().filter(|one| !one.timestamps.is_empty()) {
        nodes.entry(one.labels.get("node")).or_default().push(one);
    }
    nodes.into_iter().map(|(node, series)| collector(node, &series, now_ms)).collect()
}

fn collector(node: &str, series: &[&Series], now_ms: i64) -> Value {
    let newest = |series: &&Series| series.timestamps.last().copied().unwrap_or(i64::MIN);
    let seen_ms = series.iter().map(newest).max().unwrap_or(i64::MIN);
    let info = series.iter().copied().filter(|one| one.labels.get(NAME) == "weir_collector_info").max_by_key(newest);
    let mut queues: BTreeMap<&str, serde_json::Map<String, Value>> = BTreeMap::new();
    for one in series.iter().filter(|one| !one.labels.get("topic").is_empty()) {
        let name = one.labels.get(NAME).trim_start_matches("weir_collector_");
        let value = one.values.last().copied().filter(|value| value.is_finite());
        queues.entry(one.labels.get("topic")).or_default().insert(name.to_owned(), json!(value));
    }
    json!({
        "node": node,
        "version": info.map_or("", |one| one.labels.get("version")),
        "seen": seen_ms.saturating_mul(1_000_000).to_string(),
        "silent": now_ms - seen_ms > SILENT_MS,
        "queues": queues,
    })
}

/// One an owner, by address.
fn owners(partitions: &[PartitionStatus]) -> Vec<Value> {
    let mut owners: BTreeMap<&str, Vec<&PartitionStatus>> = BTreeMap::new();
    for partition in partitions {
        owners.entry(&partition.owner).or_default().push(partition);
    }
    let shape = |(owner, owned): (&str, Vec<&PartitionStatus>)| {
        json!({
            "owner": owner,
            "answers": owned.iter().all(|partition| partition.answers),
            "partitions": owned.len(),
            "lag": owned.iter().map(|partition| partition.lag).sum::<u64>(),
            "head_bytes": owned.iter().map(|partition| partition.progress.head_bytes).sum::<u64>(),
        })
    };
    owners.into_iter().map(shape).collect()
}

fn totals(partitions: &[PartitionStatus]) -> Value {
    let sum = |of: fn(&PartitionStatus) -> u64| partitions.iter().map(of).sum::<u64>();
    let mut downsampled = BTreeMap::<u32, u64>::new();
    for (resolution, bytes) in partitions.iter().flat_map(|partition| &partition.progress.downsampled_bytes) {
        *downsampled.entry(*resolution).or_default() += bytes;
    }
    json!({
        "lag": sum(|partition| partition.lag),
        "blocks": sum(|partition| partition.progress.blocks),
        "block_bytes": sum(|partition| partition.progress.block_bytes),
        "downsampled_bytes": downsampled,
        "gaps": sum(|partition| partition.progress.gaps),
        "quarantined": sum(|partition| partition.progress.quarantined),
        "lost": sum(|partition| partition.progress.losses.iter().map(|(first, next)| next - first).sum()),
        "unanswered": sum(|partition| u64::from(!partition.answers)),
    })
}

#[cfg(test)]
mod tests {
    use weir_model::label::Labels;
    use weir_model::status::OwnerStatus;

    use super::*;

    fn series(node: &str, name: &str, topic: &str, at_ms: i64, value: f64) -> Series {
        let labels = Labels::from_pairs([(NAME, name), ("node", node), ("topic", topic), ("version", "9")]);
        Series { labels, timestamps: vec![at_ms], values: vec![value], ..Series::default() }
    }

    #[test]
    fn collectors_are_named_with_their_queues_and_their_silence() {
        let said = [
            series("a", "weir_collector_info", "", 100_000, 1.0),
            series("a", "weir_collector_queued_bytes", "weir.logs", 100_000, 7.0),
            series("b", "weir_collector_info", "", 80_000, 1.0),
        ];
        let shaped = collectors(&said, 101_000);
        assert_eq!(shaped.len(), 2);
        assert_eq!((&shaped[0]["node"], &shaped[0]["silent"], &shaped[0]["version"]), (&json!("a"), &json!(false), &json!("9")));
        assert_eq!(shaped[0]["queues"]["weir.logs"]["queued_bytes"], json!(7.0));
        assert_eq!((&shaped[1]["node"], &shaped[1]["silent"]), (&json!("b"), &json!(true)));
    }

    #[test]
    fn an_owner_answers_when_all_of_its_partitions_do() {
        let partition = |owner: &str, answers| PartitionStatus {
            owner: owner.into(),
            answers,
            lag: 3,
            progress: OwnerStatus { losses: vec![(5, 9)], ..OwnerStatus::default() },
        };
        let partitions = [partition("http://a", true), partition("http://b", true), partition("http://b", false)];
        let owners = owners(&partitions);
        assert_eq!(owners[0], json!({"owner": "http://a", "answers": true, "partitions": 1, "lag": 3, "head_bytes": 0}));
        assert_eq!((&owners[1]["answers"], &owners[1]["lag"]), (&json!(false), &json!(6)));
        let totals = totals(&partitions);
        assert_eq!((&totals["lost"], &totals["unanswered"]), (&json!(12), &json!(1)));
    }
}
