//! The heads of all partitions have one room: while the store stands still, what is taken stops at its end.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use weir_blocks::engine::Head;
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Log, TopicPartition};
use weir_logs::LogsEngine;
use weir_model::config::ByteSize;
use weir_model::wire::Kind;

use super::{Member, PARTITIONS, Source, World, compare, stored};
use crate::config::AggregatorConfig;
use crate::live::LivePartition;

const ROOM: usize = 1 << 20;
/// What a partition takes in at once: a record of so many lines, with what a line costs in a head.
const TAKE: usize = LINES as usize * 400;
const LINES: u64 = 200;
const RECORDS: u64 = 100;
const STANDSTILL: Duration = Duration::from_secs(300);

#[tokio::test(start_paused = true)]
async fn heads_stay_within_the_room_of_all() {
    let throttled = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
    let config = AggregatorConfig { heads_memory_max: ByteSize::bytes(ROOM as u64), ..AggregatorConfig::default() };
    let sim = Sim::new(SimConfig { partitions: PARTITIONS, batch_records: 1, ..SimConfig::default() });
    let store = Arc::clone(&throttled) as Arc<dyn ObjectStore>;
    let world = World { sim, store, clock: Arc::new(AtomicI64::new(1)), config, seed: 1 };
    let source = |partition: u32| {
        let of = |i: u32| Source::new(Kind::Logs, format!("source{i}"));
        (0..).map(of).find(|source| source.place().partition == partition).expect("a source of each partition")
    };
    let mut sources: Vec<Source> = (0..PARTITIONS).map(source).collect();
    let member = world.start("a");
    until(|| member.partitions.all().len() == PARTITIONS as usize).await;
    throttled.config_mut(|config| config.wait_put_per_call = STANDSTILL);
    for _ in 0..RECORDS {
        for source in &mut sources {
            source.lines += LINES;
            let record = source.record(source.acknowledged, source.lines);
            world.sim.append(&source.place(), record).await.expect("appends").await.expect("acknowledges");
            source.acknowledged = source.lines;
        }
    }
    tokio::time::sleep(STANDSTILL / 10).await;
    let (held, behind) = (member.held(), member.behind(&world).await);
    println!("{held} bytes are held, {behind} records wait");
    assert!(held >= ROOM / 2 && held <= ROOM + PARTITIONS as usize * TAKE, "{held} bytes in a room of {ROOM}");
    assert!(behind > RECORDS / 2, "only {behind} records wait");
    throttled.config_mut(|config| config.wait_put_per_call = Duration::ZERO);
    while member.behind(&world).await > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(member.held() <= ROOM + PARTITIONS as usize * TAKE);
    }
    compare("in the end", &sources, &stored(&member).await);
    member.stop.cancel();
    member.task.await.expect("ends");
}

impl Member {
    fn held(&self) -> usize {
        let heads = |live: Arc<LivePartition<LogsEngine>>| {
            let snapshot = live.snapshot.read();
            snapshot.frozen.iter().chain([&snapshot.active]).map(|head| head.bytes()).sum::<usize>()
        };
        self.partitions.all().into_iter().map(heads).sum()
    }

    async fn behind(&self, world: &World) -> u64 {
        let mut behind = 0;
        for live in self.partitions.all() {
            let place = TopicPartition { topic: Kind::Logs.topic().into(), partition: live.partition };
            let (_, next) = world.sim.bounds(&place).await.expect("bounds");
            behind += next - live.indexed_offset.load(std::sync::atomic::Ordering::Acquire);
        }
        behind
    }
}

async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
