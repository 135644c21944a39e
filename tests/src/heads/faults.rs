//! Owners that die, move, or answer although the partition is no longer theirs.

use std::time::Duration;

use weir_model::select::{Coverage, LogSelect, NoBudget};
use weir_model::time::TimeRange;
use weir_query::fanout::{FanOutConfig, PartLabels};

use super::cluster::{Cluster, Collect, PARTITIONS, Readers, TENANT};

fn everything() -> LogSelect {
    let (matchers, filters) = (Vec::new(), Vec::new());
    LogSelect { tenant: TENANT.into(), matchers, range: TimeRange::ALL, filters, newest_first: true }
}

async fn lines(readers: &Readers) -> (Vec<String>, Coverage) {
    let read = |readers: &Readers| {
        let mut collect = Collect::default();
        let coverage = readers.logs.visit(&everything(), &NoBudget, &mut collect).unwrap();
        collect.lines.sort_by_key(|line| line.id);
        (collect.lines.iter().map(|line| line.id.to_string()).collect(), coverage)
    };
    readers.read(read).await
}

/// Between queries nothing is looked at, so that a query begins with what the last one knew.
fn forgetful() -> FanOutConfig {
    FanOutConfig { refresh: Duration::from_secs(3600), owner_timeout: Duration::from_secs(20), ..FanOutConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_owner_is_named_and_what_is_sealed_still_answers() {
    let mut cluster = Cluster::start(rand::random::<u64>() >> 16).await;
    cluster.caught_up().await;
    let (fan_out, metrics) = cluster.fan_out_with(forgetful());
    let far = Readers::of(&fan_out);
    cluster.write_lines(30).await;
    cluster.caught_up().await;
    cluster.seal().await;
    let (sealed, _) = lines(&far).await;
    cluster.write_lines(30).await;
    cluster.caught_up().await;
    let (all, coverage) = lines(&far).await;
    assert!(all.len() > sealed.len() && coverage.is_complete(), "{coverage:?}");

    for node in &mut cluster.nodes {
        node.kill().await;
    }
    let (left, coverage) = lines(&far).await;
    assert_eq!(left, sealed);
    assert!(!coverage.is_complete());
    assert_eq!(coverage.missing.len(), PARTITIONS as usize, "{:?}", coverage.missing);
    for partition in &coverage.partitions {
        assert_eq!(partition.searchable, partition.sealed, "{partition:?}");
        assert!(partition.on_bus > partition.searchable, "what the owner told last is not forgotten: {partition:?}");
        let named = |text: &&String| text.contains(&format!("weir.logs partition {}: ", partition.partition));
        let text = coverage.missing.iter().find(named).expect("named");
        assert!(cluster.nodes.iter().any(|node| text.contains(&node.url)), "{text}");
    }
    let labels = PartLabels { kind: "logs", outcome: "unreachable" };
    assert_eq!(metrics.parts.get_or_create(&labels).get(), u64::from(PARTITIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombies_answer_is_refused_and_the_new_owners_taken() {
    let mut cluster = Cluster::start(rand::random::<u64>() >> 16).await;
    cluster.caught_up().await;
    let (fan_out, metrics) = cluster.fan_out_with(forgetful());
    let far = Readers::of(&fan_out);
    cluster.write_lines(30).await;
    cluster.caught_up().await;
    let (before, coverage) = lines(&far).await;
    assert!(coverage.is_complete());

    // The first answers on, with all that it had; the second takes over, and more comes.
    cluster.nodes[0].freeze().await;
    cluster.write_lines(30).await;
    cluster.caught_up().await;
    let (after, coverage) = lines(&far).await;
    assert!(coverage.is_complete(), "{coverage:?}");
    assert!(after.len() > before.len() && before.iter().all(|line| after.contains(line)));
    let mut once = after.clone();
    once.dedup();
    assert_eq!(once, after, "each once");

    // Now the second dies, and the zombie is all that is left: it is not believed.
    let (late, late_metrics) = cluster.fan_out_with(forgetful());
    let late = Readers::of(&late);
    cluster.nodes[1].kill().await;
    let (left, coverage) = lines(&late).await;
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(coverage.missing.len(), PARTITIONS as usize, "{:?}", coverage.missing);
    let count = |metrics: &weir_query::fanout::FanOutMetrics, outcome| {
        metrics.parts.get_or_create(&PartLabels { kind: "logs", outcome }).get()
    };
    assert_eq!(count(&late_metrics, "unreachable"), u64::from(PARTITIONS));
    assert_eq!(count(&metrics, "answered"), 2 * u64::from(PARTITIONS));
}
