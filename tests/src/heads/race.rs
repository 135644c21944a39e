//! Seals and merges against queries: a line is in the head, in a block, or on its way from one to the other, and a query
//! sees it once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_model::scope::Scope;
use weir_model::select::{LogSelect, NoBudget};
use weir_model::time::TimeRange;

use super::cluster::Cluster;
use super::readers::{Collect, Readers, TENANT};

/// Queries against which everything moves, at least. A query sees some seals pass: each takes about as long.
const QUERIES: usize = 60;
/// Blocks sealed meanwhile, at least: more queries are asked where the disk is slow.
const SEALS: u64 = 11;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seal_that_races_a_query_doubles_and_loses_nothing() {
    let mut cluster = Cluster::start().await;
    let (fan_out, _) = cluster.fan_out();
    let far = Readers::of(&fan_out);
    let stop = Arc::new(AtomicBool::new(false));
    let sealing: Vec<_> = cluster.nodes.iter().map(|node| Arc::clone(&node.aggregator)).collect();
    let seals = Arc::new(AtomicU64::new(0));
    let (stopped, sealed) = (Arc::clone(&stop), Arc::clone(&seals));
    let sealing = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            for aggregator in &sealing {
                let blocks = aggregator.seal().await.unwrap().blocks as u64;
                if (sealed.fetch_add(blocks, Ordering::Relaxed) + blocks) % 5 == 4 {
                    aggregator.compact().await.unwrap();
                }
            }
        }
    });
    let mut expected: Vec<String> = Vec::new();
    for round in (0..).take_while(|round| *round < QUERIES || seals.load(Ordering::Relaxed) < SEALS) {
        assert!(round < 100 * QUERIES, "{} blocks were sealed", seals.load(Ordering::Relaxed));
        cluster.write_lines(5).await;
        cluster.caught_up().await;
        let newest_first = round % 2 == 0;
        let read = move |readers: &Readers| {
            let (matchers, filters) = (Vec::new(), Vec::new());
            let select = LogSelect { scope: Scope::of(TENANT), matchers, range: TimeRange::ALL, filters, newest_first };
            let mut collect = Collect::default();
            let coverage = readers.logs.visit(&select, &NoBudget, &mut collect).unwrap();
            let mut lines: Vec<_> = collect.lines.iter().map(|line| (line.id, line.body.clone())).collect();
            lines.sort();
            (lines, coverage)
        };
        let (found, coverage) = far.read(read).await;
        assert!(coverage.missing.is_empty(), "round {round}: {:?}", coverage.missing);
        found.windows(2).for_each(|pair| assert_ne!(pair[0].0, pair[1].0, "round {round}: a line twice"));
        let ids: Vec<String> = found.iter().map(|(id, _)| id.to_string()).collect();
        let (own, _) = cluster.own().read(read).await;
        assert_eq!(found, own, "round {round}");
        assert!(expected.iter().all(|id| ids.contains(id)), "round {round}: a line is gone");
        expected = ids;
    }
    stop.store(true, Ordering::Relaxed);
    sealing.await.unwrap();
    println!("{} blocks sealed meanwhile, {} lines", seals.load(Ordering::Relaxed), expected.len());
}
