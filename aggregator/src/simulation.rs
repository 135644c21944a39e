//! The seeded simulation: thousands of schedules of crash, lost tail, duplicate, failed acknowledgement, rebalance, zombie and clocks that
//! are set, through the real group and shell, over the simulated bus and an object store that fails now and then.
//!
//! What must hold at the end of each: acknowledged ⊆ stored ⊆ sent, each once, in order per source; live, sealed, compacted; and what was
//! deleted stays so.
//! `WEIR_SIM_SCHEDULES` says how many; `WEIR_SIM_SEED` runs one. The seed is printed on failure.

mod claims;
mod clocks;
mod deletions;
mod engines;
mod moods;
mod quarantine;
mod room;
mod source;
mod takeover;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_blocks::blob::BlobCache;
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Log, TopicPartition};
use weir_logs::{LogsEngine, LogsReader};
use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::outage::Outages;
use weir_model::scope::Scope;
use weir_model::select::{LogReader, LogSelect, LogVisitor, NoBudget};
use weir_model::time::TimeRange;
use weir_model::wire::Kind;

use crate::budget::Budget;
use crate::config::AggregatorConfig;
use crate::dependencies::Dependencies;
use crate::group::{Group, member_of};
use crate::live::Partitions;
use crate::machine::OwnerCommand;
use crate::metrics::Metrics;
use crate::open::owners;
use crate::owners::AllOwners;
use crate::pool::Pool;
use crate::registry::OwnerRegistry;
use deletions::Doomed;
use source::Source;

const PARTITIONS: u32 = 2;
const TENANT: &str = "t";

/// One aggregator process.
struct Member {
    partitions: Arc<Partitions<LogsEngine>>,
    registry: OwnerRegistry,
    outages: Outages,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

struct World {
    sim: Sim,
    store: Arc<dyn ObjectStore>,
    clock: Arc<AtomicI64>,
    config: AggregatorConfig,
    seed: u64,
}

impl World {
    fn start(&self, name: &str) -> Member {
        let clock = Arc::clone(&self.clock);
        let nonce = Arc::new(AtomicI64::new(i64::from_le_bytes(self.seed.to_le_bytes())));
        let dependencies = Arc::new(Dependencies {
            bus: Arc::new(self.sim.clone()),
            object_store: Arc::clone(&self.store),
            cache: BlobCache::new(1 << 20),
            clock: Arc::new(move || clock.fetch_add(1_000_000, Ordering::Relaxed)),
            nonces: {
                let name = name.to_owned();
                Arc::new(move || {
                    let count = nonce.fetch_add(1, Ordering::Relaxed);
                    xxhash_rust::xxh3::xxh3_128(format!("{name} {count} {:p}", &count).as_bytes()).to_le_bytes()
                })
            },
            metrics: Metrics::default(),
            member: name.to_owned(),
            limits: Default::default(),
        });
        let outages = dependencies.metrics.outages.clone();
        let partitions = Arc::default();
        let registry = OwnerRegistry::default();
        let shared = (&dependencies, &Arc::new(Budget::new(&self.config)), &Arc::new(Pool::new()));
        let logs = owners(LogsEngine::default(), &partitions, shared, &self.config);
        let group = Group {
            bus: Arc::new(self.sim.clone()),
            owners: AllOwners::from([(Kind::Logs.topic(), logs)]),
            registry: registry.clone(),
            member: name.to_owned(),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            // An error ends the process, as it does the real one; the schedule starts it again.
            let _ended = group.run(stopped).await;
        });
        Member { partitions, registry, outages, task, stop }
    }
}

impl Member {
    fn crash(&self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Collect(Vec<(LineId, String)>);

impl LogVisitor for Collect {
    fn wants(&mut self, _first: i64, _last: i64) -> bool {
        true
    }
    fn stream(&mut self, _labels: &Labels) {}
    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        self.0.push((id, String::from_utf8_lossy(record.body).into_owned()));
        ControlFlow::Continue(())
    }
}

async fn stored(member: &Member) -> Vec<String> {
    lines_of(Arc::clone(&member.partitions)).await
}

/// All stored lines by their permanent ids.
async fn lines_of(partitions: Arc<Partitions<LogsEngine>>) -> Vec<String> {
    let lines = tokio::task::spawn_blocking(move || {
        let reader = LogsReader { views: partitions.clone(), tails: partitions };
        let (matchers, filters) = (Vec::new(), Vec::new());
        let select = LogSelect { scope: Scope::of(TENANT), matchers, range: TimeRange::ALL, filters, newest_first: false };
        let mut lines = Collect::default();
        let coverage = reader.visit(&select, &NoBudget, &mut lines).expect("a visit");
        assert!(coverage.missing.is_empty(), "{:?}", coverage.missing);
        lines.0
    });
    let mut lines = lines.await.expect("reads");
    lines.sort();
    lines.windows(2).for_each(|pair| assert_ne!(pair[0].0, pair[1].0, "two lines with one id"));
    lines.into_iter().map(|(_, line)| line).collect()
}

fn compare(when: &str, sources: &[Source], stored: &[String]) {
    for source in sources {
        let prefix = format!("{} ", source.name);
        let numbers: Vec<u64> =
            stored.iter().filter_map(|line| line.strip_prefix(&prefix)).map(|number| number.parse().expect("a number")).collect();
        let expected: Vec<u64> = (0..numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "{when}: {}: each once, in order, without a gap", source.name);
        let count = numbers.len() as u64;
        assert!(count >= source.acknowledged, "{when}: {}: {} acknowledged, {count} stored", source.name, source.acknowledged);
        assert!(count <= source.lines, "{when}: {}: {} sent, {count} stored", source.name, source.lines);
    }
}

async fn step(world: &World, members: &mut [Member], sources: &mut [Source], random: &mut StdRng) {
    match random.random_range(0..100) {
        0..55 => {
            let at = random.random_range(0..sources.len());
            sources[at].send(&world.sim, random).await;
        }
        55..70 => tokio::time::sleep(Duration::from_millis(random.random_range(1..1500))).await,
        70..80 => {
            let at = random.random_range(0..members.len());
            members[at].crash();
            members[at] = world.start(["a", "b"][at]);
        }
        80..86 => world.sim.rebalance(),
        86..92 => {
            let partition = random.random_range(0..PARTITIONS);
            let place = TopicPartition { topic: Kind::Logs.topic().into(), partition };
            // No such member: it has just crashed, and nothing moves.
            let member = member_of(["a", "b"][random.random_range(0..2)], &[&place.topic]);
            let _moved = world.sim.usurp(&place, &member, random.random_range(1..6));
        }
        // The clock is set, by up to 40 days, ahead or back.
        92..94 => {
            let days = random.random_range(-40..=40_i64);
            world.clock.fetch_add(days * 24 * 3600 * 1_000_000_000, Ordering::Relaxed);
        }
        94..96 => {
            let place = TopicPartition { topic: Kind::Logs.topic().into(), partition: random.random_range(0..PARTITIONS) };
            let _lost = world.sim.lose_tail(&place);
        }
        _ => {
            let registry = members[random.random_range(0..members.len())].registry.clone();
            let compact = random.random_bool(0.5);
            tokio::spawn(async move {
                registry
                    .command_all(|_, reply| if compact { OwnerCommand::Compact(reply) } else { OwnerCommand::Seal(0, reply) })
                    .await
            });
        }
    }
}

/// Of a schedule.
struct Outcome {
    /// Lines.
    acknowledged: u64,
    /// Requests that all partitions have accepted.
    deletions: u64,
}

async fn schedule(seed: u64, change: fn(&mut AggregatorConfig)) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let mishaps = SimConfig { seed, partitions: PARTITIONS, duplicate_percent: 10, fail_ack_percent: 10, ..SimConfig::default() };
    let mut config = AggregatorConfig {
        head_age_max: Duration::from_millis(random.random_range(1..3000)),
        compaction_blocks: 2,
        tick: Duration::from_secs(1),
        ..AggregatorConfig::default()
    };
    change(&mut config);
    let (store, clock) = (Arc::new(InMemory::new()), Arc::new(AtomicI64::new(1)));
    let world = World { sim: Sim::new(mishaps), store, clock, config, seed };
    let mut members = vec![world.start("a"), world.start("b")];
    let mut sources: Vec<Source> = (0..3).map(|i| Source::new(Kind::Logs, format!("source{i}"))).collect();
    let mut doomed = seed.is_multiple_of(DELETING).then(Doomed::new);
    for _ in 0..random.random_range(20..80) {
        step(&world, &mut members, &mut sources, &mut random).await;
        if let Some(doomed) = &mut doomed {
            doomed.step(&world, &members, &mut random).await;
        }
    }
    members.iter().for_each(Member::crash);
    drop(members);
    if let Some(doomed) = &mut doomed {
        doomed.end().await;
    }
    verify(&world, &sources, doomed.as_ref()).await;
    Outcome {
        acknowledged: sources.iter().map(|source| source.acknowledged).sum(),
        deletions: doomed.map_or(0, |doomed| doomed.accepted),
    }
}

/// A fresh process takes over, catches up, seals, compacts, deletes; all of it is there each time.
async fn verify(world: &World, sources: &[Source], doomed: Option<&Doomed>) {
    let member = world.start("z");
    let caught_up = async {
        loop {
            let owned = member.partitions.all();
            let mut behind = owned.len() < PARTITIONS as usize;
            for live in owned {
                let place = TopicPartition { topic: live.topic.into(), partition: live.partition };
                let (_, next) = world.sim.bounds(&place).await.expect("bounds");
                behind |= live.indexed_offset.load(Ordering::Acquire) < next || live.watermark_age_seconds().is_none();
                behind |= live.snapshot.read().missing.opening > 0;
            }
            if !behind {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(600), caught_up).await.expect("catches up");
    let compare = async |when: &str| {
        let stored = stored(&member).await;
        compare(when, sources, &stored);
        if let Some(doomed) = doomed {
            doomed.compare(when, &stored);
        }
    };
    compare("live").await;
    member.registry.command_all(|_, reply| OwnerCommand::Seal(0, reply)).await.expect("seals");
    compare("sealed").await;
    member.registry.command_all(|_, reply| OwnerCommand::Compact(reply)).await.expect("compacts");
    compare("compacted").await;
    if doomed.is_some() {
        member.registry.command_all(|_, reply| OwnerCommand::ApplyDeletions(reply)).await.expect("deletes");
        compare("deleted").await;
    }
    let manifests = member.partitions.all().into_iter().map(|live| Arc::clone(&live.snapshot.read().manifest));
    let is_processed = manifests.flat_map(|manifest| manifest.deletions.clone()).all(|known| known.is_processed());
    assert!(is_processed, "a deletion is not processed when its blocks are rewritten");
    member.stop.cancel();
    member.task.await.expect("ends");
}

/// What was wrong panics.
fn run(seed: u64, change: fn(&mut AggregatorConfig)) -> std::thread::Result<Outcome> {
    std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(schedule(seed, change))
    })
}

/// Of so many schedules one deletes: it takes twice the time.
const DELETING: u64 = 8;
/// How many schedules `make test` runs.
const SCHEDULES: u64 = 1000;

#[test]
fn nothing_is_lost_or_doubled_in_any_schedule() {
    let only = std::env::var("WEIR_SIM_SEED").ok().map(|seed| seed.parse::<u64>().expect("WEIR_SIM_SEED is a number"));
    let schedules = std::env::var("WEIR_SIM_SCHEDULES").ok().map_or(SCHEDULES, |count| count.parse().expect("a number"));
    let base = only.unwrap_or_else(|| rand::random::<u64>() >> 16);
    let (mut acknowledged, mut deletions) = (0, 0);
    for seed in base..base + only.map_or(schedules, |_| 1) {
        let outcome = run(seed, |_| {}).unwrap_or_else(|panic| {
            println!("WEIR_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        });
        (acknowledged, deletions) = (acknowledged + outcome.acknowledged, deletions + outcome.deletions);
    }
    println!(
        "{schedules} schedules from seed {base}, {acknowledged} lines acknowledged, none lost, none doubled; {deletions} deletions"
    );
    assert!(acknowledged > 0 && (deletions > 0 || schedules < 100 || only.is_some()));
}

#[test]
fn an_owner_that_forgets_its_sources_is_found_out() {
    let forget: fn(&mut AggregatorConfig) = |config| {
        config.head_age_max = Duration::from_millis(1);
        config.mark_age_max = Duration::ZERO;
    };
    let said: Vec<String> = (0..FORGETFUL).filter_map(|seed| run(seed, forget).err()).map(sentence).collect();
    println!("{} of {FORGETFUL} schedules found it", said.len());
    assert!(!said.is_empty() && said.iter().all(|said| said.contains("each once, in order")), "{said:?}");
}

/// Schedules with owners that remember no source beyond a seal.
const FORGETFUL: u64 = 20;

fn sentence(panic: Box<dyn std::any::Any + Send>) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}
