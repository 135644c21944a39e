//! Schedules through whole aggregators, all three engines at once, over a store that fails, is slow and is silent by turns, a bus
//! whose disk is full by turns, and clocks that are set. What must hold is the same for lines, samples and spans.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_blocks::blob::BlobCache;
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Log, TopicPartition};
use weir_logs::LogsEngine;
use weir_metrics::{MetricsCounters, MetricsEngine, MetricsReader};
use weir_model::metric::is_stale;
use weir_model::scope::Scope;
use weir_model::select::{MetricReader, MetricSelect, NoBudget, Series, TraceReader};
use weir_model::wire::Kind;
use weir_traces::{TracesCounters, TracesEngine, TracesReader};

use super::moods::{Disk, Moody};
use super::{PARTITIONS, Source, TENANT, compare, lines_of};
use crate::config::{AggregatorConfig, Downsampling};
use crate::dependencies::Dependencies;
use crate::group::member_of;
use crate::metrics::{Metrics, PartitionLabels};
use crate::open::Aggregator;

/// What the schedules have been through, and how often.
type Seen = Arc<Mutex<BTreeMap<&'static str, u64>>>;

const PHASES: [&str; 13] = [
    "blocks opening",
    "clock jumped",
    "compacted",
    "disk full",
    "downsampled",
    "expired",
    "fenced or not opened",
    "rebalanced",
    "restarted",
    "sealed",
    "store failing",
    "store silent",
    "two owners",
];

struct World {
    metrics: Metrics,
    seen: Seen,
    disk: Arc<Disk>,
    store: Arc<Moody>,
    clock: Arc<AtomicI64>,
    config: AggregatorConfig,
    nonces: Arc<AtomicI64>,
}

struct Member {
    aggregator: Arc<Aggregator>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl World {
    fn start(&self, name: &str) -> Member {
        let clock = Arc::clone(&self.clock);
        let clock: crate::Clock = Arc::new(move || clock.load(Ordering::Relaxed));
        let nonces = Arc::clone(&self.nonces);
        let engines = (
            LogsEngine::default(),
            MetricsEngine::new(MetricsCounters::default()),
            TracesEngine::new(Arc::clone(&clock), TracesCounters::default()),
        );
        let dependencies = Dependencies {
            bus: Arc::clone(&self.disk) as Arc<dyn Log>,
            object_store: Arc::clone(&self.store) as Arc<dyn ObjectStore>,
            cache: BlobCache::new(1 << 20),
            clock,
            nonces: Arc::new(move || {
                let count = nonces.fetch_add(1, Ordering::Relaxed);
                xxhash_rust::xxh3::xxh3_128(&count.to_le_bytes()).to_le_bytes()
            }),
            metrics: self.metrics.clone(),
            member: name.to_owned(),
            limits: Default::default(),
        };
        let aggregator = Arc::new(Aggregator::new(self.config.clone(), engines, dependencies));
        let (stop, running) = (CancellationToken::new(), Arc::clone(&aggregator));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let _ended = running.run(stopped).await;
        });
        Member { aggregator, task, stop }
    }

    fn see(&self, phase: &'static str) {
        *self.seen.lock().entry(phase).or_default() += 1;
    }

    /// The clock is set, the disk is full or empty again, or the store has another mood.
    fn change(&self, random: &mut StdRng) {
        match random.random_range(0..9) {
            0..3 => {
                self.see("clock jumped");
                let days = random.random_range(-40..=40_i64);
                self.clock.fetch_add(days * 24 * 3600 * 1_000_000_000, Ordering::Relaxed);
            }
            3..5 => {
                self.see("disk full");
                self.disk.full.store(random.random_bool(0.5), Ordering::Relaxed);
            }
            _ => {
                let moods = [(0, 0, false), (30, 0, false), (0, 3000, false), (100, 0, false), (20, 500, false), (0, 0, true)];
                let (fails, slow, silent) = moods[random.random_range(0..moods.len())];
                self.see(if silent { "store silent" } else { "store failing" });
                self.store.set(fails, Duration::from_millis(slow), silent);
            }
        }
    }
}

async fn step(world: &World, members: &mut [Member], sources: &mut [Source], random: &mut StdRng) {
    let sim = &world.disk.sim;
    let topic = Kind::ALL[random.random_range(0..3)].topic().to_owned();
    let place = TopicPartition { topic, partition: random.random_range(0..PARTITIONS) };
    if members.iter().flat_map(|member| member.aggregator.status()).any(|of| of.blocks_opening > 0) {
        world.see("blocks opening");
    }
    match random.random_range(0..100) {
        0..50 => {
            let at = random.random_range(0..sources.len());
            sources[at].send(&*world.disk, random).await;
        }
        50..65 => tokio::time::sleep(Duration::from_millis(random.random_range(1..1500))).await,
        65..72 => {
            world.see("restarted");
            let at = random.random_range(0..members.len());
            members[at].task.abort();
            members[at] = world.start(["a", "b"][at]);
        }
        72..77 => {
            world.see("rebalanced");
            sim.rebalance();
        }
        77..82 => {
            // No such member: it has just crashed, and nothing moves.
            let member = member_of(["a", "b"][random.random_range(0..2)], &[&place.topic]);
            if sim.usurp(&place, &member, random.random_range(1..6)).is_ok() {
                world.see("two owners");
            }
        }
        82..85 => {
            let _lost = sim.lose_tail(&place);
        }
        85..94 => world.change(random),
        _ => administer(world, &members[random.random_range(0..members.len())], random),
    }
}

/// An operator's command, whose end is not waited for.
fn administer(world: &World, member: &Member, random: &mut StdRng) {
    let (aggregator, seen) = (Arc::clone(&member.aggregator), Arc::clone(&world.seen));
    let what = random.random_range(0..3);
    tokio::spawn(async move {
        let (phase, done) = match what {
            0 => ("compacted", aggregator.compact().await),
            1 => ("sealed", aggregator.seal().await),
            _ => ("expired", aggregator.expire().await),
        };
        if done.is_ok() {
            *seen.lock().entry(phase).or_default() += 1;
        }
    });
}

async fn schedule(seed: u64, seen: Seen) -> [u64; 3] {
    let mut random = StdRng::seed_from_u64(seed);
    let mishaps = SimConfig { seed, partitions: PARTITIONS, duplicate_percent: 10, fail_ack_percent: 10, ..SimConfig::default() };
    let config = AggregatorConfig {
        head_age_max: Duration::from_millis(random.random_range(1..3000)),
        compaction_blocks: 2,
        tick: Duration::from_secs(1),
        // Records are of the first moments since 1970: what is stored says no more than that they may be an hour old.
        downsampling: Downsampling {
            resolution_5m_after: Duration::from_secs(if random.random_bool(0.5) { 600 } else { 0 }),
            resolution_1h_after: Duration::from_secs(if random.random_bool(0.5) { 1200 } else { 0 }),
        },
        ..AggregatorConfig::default()
    };
    let world = World {
        disk: Arc::new(Disk { sim: Sim::new(mishaps), full: AtomicBool::new(false) }),
        metrics: Metrics::default(),
        seen,
        store: Arc::new(Moody::new(seed)),
        clock: Arc::new(AtomicI64::new(1)),
        config,
        nonces: Arc::new(AtomicI64::new(i64::from_le_bytes(seed.to_le_bytes()))),
    };
    let mut members = vec![world.start("a"), world.start("b")];
    let of = |kind: Kind| (0..2).map(move |i| Source::new(kind, format!("{}{i}", kind.name())));
    let mut sources: Vec<Source> = Kind::ALL.into_iter().flat_map(of).collect();
    for _ in 0..random.random_range(40..120) {
        step(&world, &mut members, &mut sources, &mut random).await;
    }
    members.iter().for_each(|member| member.task.abort());
    drop(members);
    if was_interrupted(&world.metrics) {
        world.see("fenced or not opened");
    }
    world.store.set(0, Duration::ZERO, false);
    world.disk.full.store(false, Ordering::Relaxed);
    verify(&world, &sources).await;
    if of_metrics(&world.metrics.downsampled_records) > 0 {
        world.see("downsampled");
    }
    Kind::ALL.map(|kind| sources.iter().filter(|source| source.kind == kind).map(|source| source.acknowledged).sum())
}

fn was_interrupted(metrics: &Metrics) -> bool {
    let of = |kind: Kind| (0..PARTITIONS).map(move |partition| PartitionLabels { topic: kind.topic().into(), partition });
    Kind::ALL.into_iter().flat_map(of).any(|labels| metrics.interruptions.get_or_create(&labels).get() > 0)
}

fn of_metrics(count: &Family<PartitionLabels, Counter>) -> u64 {
    let labels = |partition| PartitionLabels { topic: Kind::Metrics.topic().into(), partition };
    (0..PARTITIONS).map(|partition| count.get_or_create(&labels(partition)).get()).sum()
}

/// A fresh process takes over, catches up, seals, compacts; all of it is there each time.
async fn verify(world: &World, sources: &[Source]) {
    let member = world.start("z");
    let caught_up = async {
        loop {
            let status = member.aggregator.status();
            let mut behind = status.len() < 3 * PARTITIONS as usize;
            for of in status {
                let place = TopicPartition { topic: of.topic.clone(), partition: of.partition };
                let (_, next) = world.disk.sim.bounds(&place).await.expect("bounds");
                behind |= of.damage.is_some() || of.indexed_offset < next || of.bus_silent_seconds.is_none();
                behind |= of.blocks_opening + of.blocks_unopened > 0;
            }
            if !behind {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(120), caught_up).await;
    assert!(reached.is_ok(), "does not catch up: {:#?}", member.aggregator.status());
    compare("live", sources, &stored(&member, sources).await);
    let sealed = tokio::time::timeout(Duration::from_secs(30), member.aggregator.seal()).await;
    assert!(sealed.is_ok(), "does not seal: {:#?}", member.aggregator.status());
    sealed.expect("in time").expect("seals");
    compare("sealed", sources, &stored(&member, sources).await);
    let compacted = tokio::time::timeout(Duration::from_secs(30), member.aggregator.compact()).await;
    assert!(compacted.is_ok(), "does not compact: {:#?}", member.aggregator.status());
    compacted.expect("in time").expect("compacts");
    compare("compacted", sources, &stored(&member, sources).await);
    member.stop.cancel();
    member.task.await.expect("ends");
}

/// Everything of all engines, as "source number".
async fn stored(member: &Member, sources: &[Source]) -> Vec<String> {
    let mut all = lines_of(Arc::clone(&member.aggregator.logs)).await;
    let (samples, spans) = (Arc::clone(&member.aggregator.metrics), Arc::clone(&member.aggregator.traces));
    let ids: Vec<_> = sources.iter().filter(|source| source.kind == Kind::Spans).flat_map(Source::trace_ids).collect();
    let others = tokio::task::spawn_blocking(move || {
        let select = MetricSelect { scope: Scope::of(TENANT), matchers: Vec::new(), start_ms: i64::MIN, end_ms: i64::MAX };
        let found = MetricsReader::new(samples).select(&select, &NoBudget).expect("selects");
        assert!(found.coverage.missing.is_empty(), "{:?}", found.coverage.missing);
        let mut others: Vec<String> = found.value.iter().flat_map(samples_of).collect();
        let reader = TracesReader::new(spans, Arc::new(|| 0));
        for id in ids {
            let found = reader.trace(&Scope::of(TENANT), id).expect("looks");
            assert!(found.coverage.missing.is_empty(), "{:?}", found.coverage.missing);
            let batches = found.value.into_iter().flat_map(|trace| trace.batches);
            others.extend(batches.flat_map(|batch| batch.spans).map(|span| span.name));
        }
        others
    });
    all.extend(others.await.expect("reads"));
    all
}

/// Of a series, as "source number". Those of which an aggregate is left follow each other: it says the first, the last and how many.
fn samples_of(series: &Series) -> Vec<String> {
    let source = series.labels.get("source");
    let mut numbers: Vec<u64> = Vec::new();
    for (at, value) in series.timestamps.iter().zip(&series.values).filter(|(_, value)| !is_stale(**value)) {
        let Some(own) = series.aggregates.iter().find(|own| own.last_ms == *at) else {
            numbers.push(*value as u64);
            continue;
        };
        let all = own.first as u64..=own.last as u64;
        assert_eq!((own.count, own.sum), (all.clone().count() as f64, all.clone().sum::<u64>() as f64), "{source}: {own:?}");
        assert_eq!((own.min, own.max, own.lost), (own.first, own.last, 0.0), "{source}: {own:?}");
        numbers.extend(all);
    }
    for (at, own) in &series.histograms {
        assert_eq!(series.starts[*at as usize], own.count as i64 * 7, "{source}");
        numbers.push(own.count as u64);
    }
    // The number of a histogram's sample is a staleness marker, which is none.
    numbers.sort_unstable();
    numbers.iter().map(|number| format!("{source} {number:06}")).collect()
}

/// How many schedules `make test` runs: each has three times the partitions of those of logs alone.
const SCHEDULES: u64 = 400;

#[test]
fn no_engine_loses_or_doubles_in_any_schedule() {
    let only = std::env::var("WEIR_SIM_SEED").ok().map(|seed| seed.parse::<u64>().expect("WEIR_SIM_SEED is a number"));
    let schedules = std::env::var("WEIR_SIM_SCHEDULES").ok().map_or(SCHEDULES, |count| count.parse().expect("a number"));
    let base = only.unwrap_or_else(|| rand::random::<u64>() >> 16);
    let (mut acknowledged, seen) = ([0; 3], Seen::default());
    for seed in base..base + only.map_or(schedules, |_| 1) {
        let seen = Arc::clone(&seen);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
            runtime.block_on(schedule(seed, seen))
        }));
        let sums = run.unwrap_or_else(|panic| {
            println!("WEIR_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        });
        acknowledged.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
    }
    println!("{schedules} schedules from seed {base}: {acknowledged:?} lines, samples and spans, none lost, none doubled");
    println!("{:?}", seen.lock());
    assert!(acknowledged.iter().all(|sum| *sum > 0), "{acknowledged:?}");
    if only.is_none() {
        assert!(seen.lock().keys().eq(&PHASES), "every phase, from seed {base}");
    }
}
