//! Schedules through whole aggregators, all three engines at once, over a store that fails and is slow by turns, a bus whose disk is full
//! by turns, and clocks that are set. What must hold is the same for lines, samples and spans.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Ack, BusError, Consumer, Log, TopicPartition};
use weir_model::select::{MetricReader, MetricSelect, NoBudget, TraceReader};
use weir_model::wire::Kind;
use weir_store::blob::BlobCache;
use weir_store::logs::LogsEngine;
use weir_store::metrics::{MetricsCounters, MetricsEngine, MetricsReader};
use weir_store::traces::{TracesCounters, TracesEngine, TracesReader};

use super::{PARTITIONS, Source, TENANT, compare, lines_of};
use crate::config::AggregatorConfig;
use crate::group::member_of;
use crate::metrics::Metrics;
use crate::open::{Aggregator, Dependencies};

/// A store in memory with moods.
#[derive(Debug)]
struct Moody {
    inner: InMemory,
    mood: Mutex<Mood>,
}

#[derive(Debug)]
struct Mood {
    random: StdRng,
    /// In a hundred requests.
    fails: u32,
    /// Writes and listings take up to so long. Reads do not: those of blocks hold the clock of the test while they wait.
    slow: Duration,
}

impl Moody {
    fn set(&self, fails: u32, slow: Duration) {
        let mut mood = self.mood.lock();
        (mood.fails, mood.slow) = (fails, slow);
    }

    fn fails(&self) -> bool {
        let mut mood = self.mood.lock();
        let fails = mood.fails;
        fails > mood.random.random_range(0..100)
    }

    async fn pause(&self) {
        let pause = {
            let mut mood = self.mood.lock();
            let slow = mood.slow.as_millis() as u64;
            Duration::from_millis(mood.random.random_range(0..=slow))
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

fn moody() -> object_store::Error {
    object_store::Error::Generic { store: "moody", source: "not now".into() }
}

impl fmt::Display for Moody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Moody")
    }
}

type Stored<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for Moody {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Stored<PutResult> {
        self.pause().await;
        if self.fails() {
            return Err(moody());
        }
        let stored = self.inner.put_opts(location, payload, options).await?;
        // Stored, and the answer is lost.
        if self.fails() { Err(moody()) } else { Ok(stored) }
    }
    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Stored<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Stored<GetResult> {
        if self.fails() { Err(moody()) } else { self.inner.get_opts(location, options).await }
    }
    fn delete_stream(&self, locations: BoxStream<'static, Stored<Path>>) -> BoxStream<'static, Stored<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Stored<ObjectMeta>> {
        if self.fails() {
            return futures_util::stream::once(async { Err(moody()) }).boxed();
        }
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Stored<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Stored<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The simulated bus on a disk that is full by turns: appends fail, and so does letting go of what is sealed.
struct Disk {
    sim: Sim,
    full: AtomicBool,
}

impl Disk {
    fn write(&self, operation: &'static str) -> Result<(), BusError> {
        if !self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(BusError::Disk { operation, path: "segment".into(), source: std::io::ErrorKind::StorageFull.into() })
    }
}

#[async_trait]
impl Log for Disk {
    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        self.sim.partitions(topic).await
    }
    async fn append(&self, place: &TopicPartition, value: Bytes) -> Result<Ack, BusError> {
        self.write("append to")?;
        self.sim.append(place, value).await
    }
    async fn consume(&self, topics: &[&str], member: &str) -> Result<Box<dyn Consumer>, BusError> {
        self.sim.consume(topics, member).await
    }
    async fn bounds(&self, place: &TopicPartition) -> Result<(u64, u64), BusError> {
        self.sim.bounds(place).await
    }
    async fn release(&self, place: &TopicPartition, offset: u64) -> Result<(), BusError> {
        self.write("release")?;
        self.sim.release(place, offset).await
    }
}

struct World {
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
            metrics: Metrics::default(),
            member: name.to_owned(),
        };
        let aggregator = Arc::new(Aggregator::new(self.config.clone(), engines, dependencies));
        let (stop, running) = (CancellationToken::new(), Arc::clone(&aggregator));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let _ended = running.run(stopped).await;
        });
        Member { aggregator, task, stop }
    }
}

async fn step(world: &World, members: &mut [Member], sources: &mut [Source], random: &mut StdRng) {
    let sim = &world.disk.sim;
    let topic = Kind::ALL[random.random_range(0..3)].topic().to_owned();
    let place = TopicPartition { topic, partition: random.random_range(0..PARTITIONS) };
    match random.random_range(0..100) {
        0..52 => {
            let at = random.random_range(0..sources.len());
            sources[at].send(&*world.disk, random).await;
        }
        52..67 => tokio::time::sleep(Duration::from_millis(random.random_range(1..1500))).await,
        67..74 => {
            let at = random.random_range(0..members.len());
            members[at].task.abort();
            members[at] = world.start(["a", "b"][at]);
        }
        74..79 => sim.rebalance(),
        79..84 => {
            // No such member: it has just crashed, and nothing moves.
            let member = member_of(["a", "b"][random.random_range(0..2)], &place.topic);
            let _moved = sim.usurp(&place, &member, random.random_range(1..6));
        }
        84..87 => {
            let _lost = sim.lose_tail(&place);
        }
        87..90 => {
            let days = random.random_range(-40..=40_i64);
            world.clock.fetch_add(days * 24 * 3600 * 1_000_000_000, Ordering::Relaxed);
        }
        90..92 => world.disk.full.store(random.random_bool(0.5), Ordering::Relaxed),
        92..95 => {
            let (fails, slow) = [(0, 0), (30, 0), (0, 3000), (100, 0), (20, 500)][random.random_range(0..5)];
            world.store.set(fails, Duration::from_millis(slow));
        }
        _ => {
            let aggregator = Arc::clone(&members[random.random_range(0..members.len())].aggregator);
            let compact = random.random_bool(0.5);
            tokio::spawn(async move { if compact { aggregator.compact().await } else { aggregator.seal().await } });
        }
    }
}

async fn schedule(seed: u64) -> [u64; 3] {
    let mut random = StdRng::seed_from_u64(seed);
    let mishaps = SimConfig { seed, partitions: PARTITIONS, duplicate_percent: 10, fail_ack_percent: 10, ..SimConfig::default() };
    let config = AggregatorConfig {
        head_age_max: Duration::from_millis(random.random_range(1..3000)),
        compaction_blocks: 2,
        tick: Duration::from_secs(1),
        ..AggregatorConfig::default()
    };
    let mood = Mood { random: StdRng::seed_from_u64(seed), fails: 0, slow: Duration::ZERO };
    let world = World {
        disk: Arc::new(Disk { sim: Sim::new(mishaps), full: AtomicBool::new(false) }),
        store: Arc::new(Moody { inner: InMemory::new(), mood: Mutex::new(mood) }),
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
    world.store.set(0, Duration::ZERO);
    world.disk.full.store(false, Ordering::Relaxed);
    verify(&world, &sources).await;
    Kind::ALL.map(|kind| sources.iter().filter(|source| source.kind == kind).map(|source| source.acknowledged).sum())
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
                behind |= of.damage.is_some() || of.searchable < next || of.bus_silent_seconds.is_none();
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
        let select = MetricSelect { tenant: TENANT.into(), matchers: Vec::new(), start_ms: i64::MIN, end_ms: i64::MAX };
        let found = MetricsReader::new(samples).select(&select, &NoBudget).expect("selects");
        assert!(found.coverage.missing.is_empty(), "{:?}", found.coverage.missing);
        let of = |series: &weir_model::select::Series| {
            let source = series.labels.get("source").to_owned();
            series.values.iter().map(move |value| format!("{source} {:06}", *value as u64)).collect::<Vec<_>>()
        };
        let mut others: Vec<String> = found.value.iter().flat_map(of).collect();
        let reader = TracesReader::new(spans, Arc::new(|| 0));
        for id in ids {
            let found = reader.trace(TENANT, id).expect("looks");
            assert!(found.coverage.missing.is_empty(), "{:?}", found.coverage.missing);
            let batches = found.value.into_iter().flat_map(|trace| trace.batches);
            others.extend(batches.flat_map(|batch| batch.spans).map(|span| span.name));
        }
        others
    });
    all.extend(others.await.expect("reads"));
    all
}

/// How many schedules `make test` runs: each has three times the partitions of those of logs alone.
const SCHEDULES: u64 = 300;

#[test]
fn no_engine_loses_or_doubles_in_any_schedule() {
    let only = std::env::var("WEIR_SIM_SEED").ok().map(|seed| seed.parse::<u64>().expect("WEIR_SIM_SEED is a number"));
    let schedules = std::env::var("WEIR_SIM_SCHEDULES").ok().map_or(SCHEDULES, |count| count.parse().expect("a number"));
    let base = only.unwrap_or_else(|| rand::random::<u64>() >> 16);
    let mut acknowledged = [0; 3];
    for seed in base..base + only.map_or(schedules, |_| 1) {
        let run = std::panic::catch_unwind(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
            runtime.block_on(schedule(seed))
        });
        let sums = run.unwrap_or_else(|panic| {
            println!("WEIR_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        });
        acknowledged.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
    }
    println!("{schedules} schedules from seed {base}: {acknowledged:?} lines, samples and spans, none lost, none doubled");
    assert!(acknowledged.iter().all(|sum| *sum > 0), "{acknowledged:?}");
}
