//! What a partition's new owner shows before it has opened the blocks, and of one that it cannot open.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt};
use weir_blocks::view::Views;
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Log, TopicPartition};
use weir_model::wire::Kind;

use super::{Member, PARTITIONS, Source, World, compare, stored};
use crate::config::AggregatorConfig;
use crate::machine::OwnerCommand;

/// A new owner shows what it has replayed while its blocks are still being opened, and says so; one that cannot be opened is named,
/// and tried again.
#[tokio::test]
async fn a_takeover_does_not_wait_for_blocks() {
    let throttled = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
    let config = AggregatorConfig { tick: Duration::from_secs(1), compaction_blocks: 100, ..AggregatorConfig::default() };
    let sim = Sim::new(SimConfig { partitions: PARTITIONS, ..SimConfig::default() });
    let store = Arc::clone(&throttled) as Arc<dyn ObjectStore>;
    let world = World { sim, store, clock: Arc::new(AtomicI64::new(1)), config, seed: 1 };
    let source = sealed_blocks(&world, BLOCKS).await;
    let blocks: Vec<Path> = world.store.list(None).map_ok(|object| object.location).try_collect().await.expect("lists");
    let block = blocks.into_iter().find(|path| path.as_ref().contains("/blocks/")).expect("a block");
    let bytes = world.store.get(&block).await.expect("there").bytes().await.expect("bytes");
    world.store.delete(&block).await.expect("deletes");
    throttled.config_mut(|config| config.wait_get_per_call = Duration::from_secs(1));
    let second = world.start("b");
    until("it is shown", || second.partitions.get(source.place().partition).is_some()).await;
    let missing = second.missing();
    assert_eq!(missing, [format!("weir.logs partition {}: {BLOCKS} blocks are not open yet", source.place().partition)]);
    throttled.config_mut(|config| config.wait_get_per_call = Duration::ZERO);
    until("all are tried", || second.missing().iter().all(|missing| missing.contains(block.as_ref()))).await;
    assert_eq!(second.missing().len(), 1, "{:?}", second.missing());
    world.store.put(&block, bytes.into()).await.expect("puts");
    until("all are open", || second.missing().is_empty()).await;
    compare("after the takeover", &[source], &stored(&second).await);
    second.stop.cancel();
    second.task.await.expect("ends");
}

/// A block that another owner has stored and not yet published is left alone however far the clock jumps; it goes by the time that an
/// owner has seen it so.
#[tokio::test]
async fn a_clock_that_jumps_removes_no_block_that_is_about_to_be_published() {
    let sim = Sim::new(SimConfig { partitions: PARTITIONS, ..SimConfig::default() });
    let store = Arc::new(InMemory::new()) as Arc<dyn ObjectStore>;
    let clock = Arc::new(AtomicI64::new(1_800_000_000_000_000_000));
    let mut world = World { sim, store, clock, config: AggregatorConfig::default(), seed: 1 };
    let path = Path::from("logs/00000/blocks/00000000000000000000-0123456789abcdef");
    world.store.put(&path, "a block".into()).await.expect("puts");
    for (name, grace, stays) in [("a", Duration::from_secs(600), true), ("b", Duration::ZERO, false)] {
        world.config.garbage_age_min = grace;
        let member = world.start(name);
        until("all is owned", || (0..PARTITIONS).all(|partition| member.partitions.get(partition).is_some())).await;
        world.clock.fetch_add(40 * 24 * 3600 * 1_000_000_000, Ordering::Relaxed);
        for _ in 0..2 {
            member.registry.command_all(|_, reply| OwnerCommand::Expire(reply)).await.expect("expires");
        }
        assert_eq!(world.store.head(&path).await.is_ok(), stays, "{name}");
        member.stop.cancel();
        member.task.await.expect("ends");
    }
}

/// A source of one line a block, whose owner has left.
async fn sealed_blocks(world: &World, blocks: u64) -> Source {
    let mut source = Source::new(Kind::Logs, "source".into());
    let first = world.start("a");
    for _ in 0..blocks {
        source.lines += 1;
        let appended =
            world.sim.append(&source.place(), source.record(source.acknowledged, source.lines)).await.expect("appends");
        let offset = appended.await.expect("acknowledges");
        source.acknowledged = source.lines;
        until("it is appended", || first.searchable(&source) > offset).await;
        let upto = |place: &TopicPartition| if *place == source.place() { offset + 1 } else { 0 };
        first.registry.command_all(|place, reply| OwnerCommand::Seal(upto(place), reply)).await.expect("seals");
    }
    first.stop.cancel();
    first.task.await.expect("ends");
    source
}

/// Of a partition with many blocks in a store that is far away, answers are complete again soon after it has moved.
#[tokio::test]
async fn a_takeover_of_many_blocks_is_complete_within_ten_seconds() {
    const MANY: u64 = 500;
    const LATENCY: Duration = Duration::from_millis(20);
    let throttled = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
    let config = AggregatorConfig { compaction_blocks: 1000, ..AggregatorConfig::default() };
    let sim = Sim::new(SimConfig { partitions: PARTITIONS, ..SimConfig::default() });
    let store = Arc::clone(&throttled) as Arc<dyn ObjectStore>;
    let world = World { sim, store, clock: Arc::new(AtomicI64::new(1)), config, seed: 1 };
    let source = sealed_blocks(&world, MANY).await;
    throttled.config_mut(|config| {
        (config.wait_get_per_call, config.wait_put_per_call, config.wait_list_per_call) = (LATENCY, LATENCY, LATENCY);
    });
    let begun = tokio::time::Instant::now();
    let second = world.start("b");
    until("it is shown", || second.partitions.get(source.place().partition).is_some()).await;
    until("all is open", || second.missing().is_empty()).await;
    let took = begun.elapsed();
    println!("{MANY} blocks are open {took:?} after the group began, {LATENCY:?} a request");
    assert!(took <= Duration::from_secs(10), "{took:?}");
    compare("after the takeover", &[source], &stored(&second).await);
    second.stop.cancel();
    second.task.await.expect("ends");
}

const BLOCKS: u64 = 20;

impl Member {
    fn searchable(&self, source: &Source) -> u64 {
        let live = self.partitions.get(source.place().partition);
        live.map_or(0, |live| live.indexed_offset.load(Ordering::Acquire))
    }

    /// What answers say of blocks that they have not seen.
    fn missing(&self) -> Vec<String> {
        let of_blocks = |missing: &String| !missing.contains("the bus has not said");
        self.partitions.views().into_iter().flat_map(|view| view.missing).filter(of_blocks).collect()
    }
}

async fn until(what: &str, reached: impl Fn() -> bool) {
    let reached = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect(what);
}
