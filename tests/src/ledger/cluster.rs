//! The ledger over a cluster: three brokers, two aggregators, two query nodes, a collector on a small disk, blocks in S3.
//!
//! Every fault strikes alone first, with what a user sees meanwhile; then everything is restarted in turn; then each fault while another is there, in one walk over all
//! pairs; then kills that come too fast to recover from. `WEIR_LEDGER_KILLS` says how many of these: more than a few make
//! it the long loop.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::check::{Asked, check, check_all_ways};
use super::faults::{ALL, Fault, Faults};
use super::watch::{Notary, Watch};
use super::{Ends, Ledger, Load, seed};
use crate::ask;
use crate::cluster::{Cluster, Plan};
use crate::s3::S3;
use crate::weir::eventually;

/// Little, so that two cores also carry three brokers.
const LOAD: Load = Load { pushers: 2, tracers: 1, meters: 1, lines_per_second: 400, pause: Duration::from_millis(100) };

/// Seals often, so that faults meet seals; small queues, so that an outage outlasts them.
const CONFIG: &str = "[aggregator]\nhead_age_max = \"2s\"\ntick = \"1s\"\ngarbage_age_min = \"20s\"\ncompaction_blocks = 4\n\
    [collector.ship]\nqueue_max = \"1MiB\"\n";

/// Of a topic.
pub(super) const PARTITIONS: u32 = 2;

/// Kills in a row of the short loop.
const KILLS: usize = 25;

/// Kills between two checks of the long one.
const ROUND: usize = 250;

impl Asked for Cluster {
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        Cluster::ask(self, 0, path, parameters).await
    }

    async fn admin(&self, action: &str) {
        let url = self.queries[1].url(&format!("/api/weir/v1/admin/{action}"));
        eventually(action, async || ask::send(self.http.post(&url)).await).await;
    }

    fn log(&self) -> String {
        self.last_words()
    }
}

/// A ledger that begins, and those who look on.
fn watched(cluster: &Cluster, seed: u64, round: usize) -> (Ledger, Watch) {
    let ends = Ends {
        push: cluster.collector.url("/loki/api/v1/push"),
        otlp: format!("http://{}", cluster.otlp_http),
        pods: cluster.pods.clone(),
    };
    let ledger = Ledger::start(&ends, seed, round, LOAD);
    let watch = Watch::start(&ledger, cluster.queries.iter().map(|role| role.url("")).collect());
    (ledger, watch)
}

/// A cluster with its ledger, its watch and its notary.
struct Bench {
    faults: Faults,
    ledger: Ledger,
    watch: Watch,
    notary: Notary,
    seed: u64,
    round: usize,
    total: usize,
}

impl Bench {
    async fn start(folder: &Path, seed: u64) -> Self {
        let s3 = S3::start(folder).await;
        // What the collector keeps lies on a file system that can be filled.
        let disk = super::disk::Small::mount(&folder.join("collector"), 16);
        let plan = Plan {
            brokers: 3,
            partitions: PARTITIONS,
            aggregators: 2,
            queries: 2,
            store: S3::url("cluster"),
            environment: s3.environment(),
            config: CONFIG,
        };
        let cluster = Cluster::start(folder, &plan).await;
        let notary = Notary::start(s3.open("cluster"), PARTITIONS);
        let (ledger, watch) = watched(&cluster, seed, 0);
        Self { faults: Faults::new(cluster, s3, disk), ledger, watch, notary, seed, round: 0, total: 0 }
    }

    /// The faults' own cluster.
    fn cluster(&self) -> &Cluster {
        &self.faults.cluster
    }

    /// Alone, as long as it takes to be seen, and until all is well again.
    async fn alone(&mut self, fault: Fault, random: &mut StdRng) {
        self.watch.begin();
        self.faults.strike(fault, random);
        self.faults.seen(fault, &self.ledger, &self.watch).await;
        self.faults.heal(fault);
        self.faults.wait_until_well().await;
        self.watch.caught_up().await;
        println!("{fault:?}: {}", self.watch.longest());
    }

    /// An upgrade of aggregators and brokers, of which no client hears an error beyond a request that it repeats once.
    async fn rolling(&mut self) {
        self.watch.begin();
        self.ledger.repeats();
        self.faults.restart_one_by_one().await;
        self.watch.caught_up().await;
        println!("rolling restart: {}", self.watch.longest());
        let repeats = self.ledger.repeats();
        assert!(repeats <= 1, "a request had to be sent again {repeats} times");
        self.watch.assert_never_refused_twice();
    }

    /// Every pair of faults, one striking while the other is there.
    async fn in_pairs(&mut self, random: &mut StdRng) {
        let mut pairs: Vec<(Fault, Fault)> =
            ALL.iter().enumerate().flat_map(|(i, a)| ALL[i + 1..].iter().map(|b| (*a, *b))).collect();
        let mut current = ALL[random.random_range(0..ALL.len())];
        self.watch.begin();
        self.faults.strike(current, random);
        let mut walked = vec![current];
        while !pairs.is_empty() {
            let left = |fault: Fault| pairs.iter().filter(|(a, b)| *a == fault || *b == fault).count();
            let open: Vec<Fault> =
                ALL.into_iter().filter(|next| pairs.contains(&(current, *next)) || pairs.contains(&(*next, current))).collect();
            // Where this one has met all others, the walk goes on with whoever has most left to meet.
            let next = match open.len() {
                0 => ALL.into_iter().filter(|next| *next != current).max_by_key(|next| left(*next)).expect("eight faults"),
                many => open[random.random_range(0..many)],
            };
            pairs.retain(|pair| *pair != (current, next) && *pair != (next, current));
            random_pause(random, 500..3000).await;
            self.faults.strike(next, random);
            random_pause(random, 500..3000).await;
            self.faults.heal(current);
            current = next;
            walked.push(current);
        }
        self.faults.heal(current);
        self.faults.wait_until_well().await;
        println!("pairs: {} steps, {}", walked.len(), self.watch.longest());
    }

    /// Processes die faster than they can recover.
    async fn kills(&mut self, count: usize, random: &mut StdRng) {
        for _ in 0..count {
            let fault = match random.random_range(0..20) {
                0..8 => Fault::CollectorKilled,
                8..16 => Fault::AggregatorKilled,
                16..19 => Fault::QueryKilled,
                _ => Fault::BrokerKilled,
            };
            self.faults.strike(fault, random);
            random_pause(random, 0..1000).await;
            self.faults.heal(fault);
            random_pause(random, 0..1000).await;
        }
        self.faults.wait_until_well().await;
    }

    /// Everything acknowledged so far is there; then the next round of sources begins.
    async fn check(&mut self) {
        self.watch.stop().await;
        self.ledger.finish(&self.faults.cluster).await;
        check_all_ways(self.cluster(), &self.ledger).await;
        self.notary.check().await;
        self.total += self.ledger.total();
        println!("{} kills, {} records acknowledged, none lost, none doubled", self.faults.kills, self.total);
    }

    fn next_round(&mut self) {
        self.round += 1;
        (self.ledger, self.watch) = watched(self.cluster(), self.seed + self.round as u64, self.round);
    }
}

async fn random_pause(random: &mut StdRng, milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(milliseconds))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_when_any_part_of_a_cluster_dies() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let kills = std::env::var("WEIR_LEDGER_KILLS").map_or(KILLS, |kills| kills.parse().expect("WEIR_LEDGER_KILLS is a number"));
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(folder.path(), seed).await;
    bench.faults.wait_until_well().await;
    for fault in ALL {
        bench.alone(fault, &mut random).await;
    }
    bench.rolling().await;
    bench.check().await;
    let begun = bench.faults.kills;
    loop {
        bench.next_round();
        bench.in_pairs(&mut random).await;
        bench.kills(kills.min(ROUND), &mut random).await;
        bench.check().await;
        if bench.faults.kills - begun >= kills {
            break;
        }
    }
    // A restart of everything that holds records, all at once.
    let cluster = &mut bench.faults.cluster;
    cluster.aggregators.iter_mut().chain(&mut cluster.queries).for_each(|role| {
        role.kill();
        role.spawn();
    });
    bench.faults.wait_until_well().await;
    check(bench.cluster(), &bench.ledger, "after the last restart").await;
    assert!(bench.total > 1000, "the writers hardly wrote");
}
