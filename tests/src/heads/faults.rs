//! Owners that die, move, or answer although the partition is no longer theirs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_fanout::{FanOutConfig, PartitionLabels};
use weir_model::scope::Scope;
use weir_model::select::{Coverage, LogSelect, NoBudget};
use weir_model::time::TimeRange;

use super::cluster::{Cluster, PARTITIONS};
use super::readers::{Collect, Readers, TENANT, all_lines, lines_of};
use crate::weir::PATIENCE;

fn everything() -> LogSelect {
    let (matchers, filters) = (Vec::new(), Vec::new());
    LogSelect { scope: Scope::of(TENANT), matchers, range: TimeRange::ALL, filters, newest_first: true }
}

pub(super) async fn lines(readers: &Readers) -> (Vec<String>, Coverage) {
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
    let mut cluster = Cluster::start().await;
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
        assert_eq!(partition.indexed_offset, partition.committed_offset, "{partition:?}");
        assert!(partition.high_watermark > partition.indexed_offset, "what the owner told last is not forgotten: {partition:?}");
        let named = |text: &&String| text.contains(&format!("weir.logs partition {}: ", partition.partition));
        let text = coverage.missing.iter().find(named).expect("named");
        assert!(cluster.nodes.iter().any(|node| text.contains(&node.url)), "{text}");
    }
    let labels = PartitionLabels { kind: "logs", outcome: "unreachable" };
    assert_eq!(metrics.parts.get_or_create(&labels).get(), u64::from(PARTITIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombies_answer_is_refused_and_the_new_owners_taken() {
    let mut cluster = Cluster::start().await;
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
    let count = |metrics: &weir_fanout::FanOutMetrics, outcome| {
        metrics.parts.get_or_create(&PartitionLabels { kind: "logs", outcome }).get()
    };
    assert_eq!(count(&late_metrics, "unreachable"), u64::from(PARTITIONS));
    assert_eq!(count(&metrics, "answered"), 2 * u64::from(PARTITIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_goes_on_where_it_was_when_a_partition_moves() {
    let mut cluster = Cluster::start().await;
    let (fan_out, _) = cluster.fan_out();
    let mut tail = fan_out.logs().tail(everything()).unwrap();
    // Until a line of every partition has come: then all owners are listened to.
    let mut seen = Vec::new();
    let mut partitions = BTreeSet::new();
    let from = Instant::now();
    while partitions.len() < PARTITIONS as usize {
        assert!(from.elapsed() < PATIENCE, "a tail has lines of partitions {partitions:?} only");
        cluster.write_lines(6).await;
        cluster.caught_up().await;
        for line in lines_of(tail.poll()) {
            partitions.insert(line.id.partition);
            seen.push(line.id);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begun = *seen.iter().max_by_key(|id| id.offset).unwrap();

    // Lines that nobody has told of when their owner dies, and lines that come while nobody owns them.
    cluster.write_lines(20).await;
    cluster.nodes[0].kill().await;
    cluster.write_lines(20).await;
    cluster.caught_up().await;
    cluster.nodes.remove(0);
    let own = cluster.own().read(all_lines).await;
    let wanted: BTreeSet<_> = own.iter().map(|line| line.id).filter(|id| id.offset > begun.offset).collect();
    let all = async {
        while !wanted.iter().all(|id| seen.contains(id)) {
            seen.extend(lines_of(tail.poll()).into_iter().map(|line| line.id));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("every line arrives");
    let once: BTreeSet<_> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_merged_and_deleted_under_a_query_node_is_looked_up_again() {
    let mut cluster = Cluster::start().await;
    let (fan_out, metrics) = cluster.fan_out_with(forgetful());
    let far = Readers::of(&fan_out);
    for _ in 0..2 {
        cluster.write_lines(30).await;
        cluster.caught_up().await;
        cluster.seal().await;
    }
    // The streams are known without a chunk being read; so the blocks are open, and their lines are in no cache.
    let streams = |readers: &Readers| readers.logs.streams(&everything(), &NoBudget).unwrap().value.len();
    assert_eq!(far.read(streams).await, 6);
    let opened = cluster.blocks().await;
    for node in &cluster.nodes {
        node.aggregator.compact().await.unwrap();
    }
    cluster.delete(&opened).await;
    let (found, coverage) = lines(&far).await;
    assert!(coverage.is_complete(), "{coverage:?}");
    let own: Vec<String> = {
        let mut lines = cluster.own().read(all_lines).await;
        lines.sort_by_key(|line| line.id);
        lines.iter().map(|line| line.id.to_string()).collect()
    };
    assert_eq!(found, own);
    // The look at the manifest had found the merged blocks before a deleted one was touched.
    assert_eq!(metrics.blocks_gone.get(), 0);

    // A block that is gone although the newest manifest names it is looked up once more, and then named.
    let (late, metrics) = cluster.fan_out_with(forgetful());
    cluster.delete(&cluster.blocks().await).await;
    let (left, coverage) = lines(&Readers::of(&late)).await;
    assert_eq!((left.len(), metrics.blocks_gone.get()), (0, 1));
    assert!(coverage.missing.iter().all(|text| text.contains("/blocks/")) && !coverage.missing.is_empty(), "{coverage:?}");
}
