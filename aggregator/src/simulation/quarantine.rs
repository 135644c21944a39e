//! One partition's damage is its own: the others go on, answers name it, and it comes back when it is mended.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use weir_blocks::manifest::{Manifest, ManifestStore, random_nonces};
use weir_blocks::view::Views;
use weir_bus::sim::{Sim, SimConfig};
use weir_bus::{Log, TopicPartition};
use weir_model::wire::Kind;

use super::{Member, PARTITIONS, Source, World, compare, stored};
use crate::config::AggregatorConfig;
use crate::machine::OwnerCommand;

pub(super) fn world(store: &Arc<InMemory>) -> World {
    let sim = Sim::new(SimConfig { partitions: PARTITIONS, ..SimConfig::default() });
    let store = Arc::clone(store) as Arc<dyn ObjectStore>;
    World { sim, store, clock: Arc::new(AtomicI64::new(1)), config: AggregatorConfig::default(), seed: 1 }
}

pub(super) fn sources() -> Vec<Source> {
    let of = |i: u32| Source::new(Kind::Logs, format!("source{i}"));
    let of_partition = |partition| (0..).map(of).find(|source| source.place().partition == partition).expect("one");
    (0..PARTITIONS).map(of_partition).collect()
}

pub(super) async fn send(world: &World, source: &mut Source, lines: u64) {
    source.lines += lines;
    let record = source.record(source.acknowledged, source.lines);
    world.sim.append(&source.place(), record).await.expect("appends").await.expect("acknowledges");
    source.acknowledged = source.lines;
}

pub(super) async fn until(what: &str, reached: impl Fn() -> bool) {
    let reached = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(600), reached).await.expect(what);
}

impl Member {
    fn said(&self) -> Vec<String> {
        self.partitions.views().into_iter().flat_map(|view| view.missing).filter(|said| said.contains("quarantine")).collect()
    }

    pub(super) fn found(&self, source: &Source) -> u64 {
        let live = self.partitions.get(source.place().partition);
        live.map_or(0, |live| live.indexed_offset.load(std::sync::atomic::Ordering::Acquire))
    }

    pub(super) async fn end(self) {
        assert!(!self.task.is_finished(), "one partition's damage ended the process");
        self.stop.cancel();
        self.task.await.expect("ends");
    }
}

async fn newest(store: &Arc<InMemory>, partition: u32) -> Manifest {
    let object_store = Arc::clone(store) as Arc<dyn ObjectStore>;
    let store = ManifestStore { object_store, kind: Kind::Logs, partition, nonces: random_nonces() };
    store.load_latest().await.expect("loads").expect("is there").1
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_manifest_is_one_partitions_affair() {
    let store = Arc::new(InMemory::new());
    let world = world(&store);
    let mut sources = sources();
    let corrupt = Path::from("logs/00000/manifest/00000000000000000001");
    store.put(&corrupt, "garbage".into()).await.expect("puts");
    for source in &mut sources {
        send(&world, source, 10).await;
    }
    let member = world.start("a");
    until("the other is served", || member.found(&sources[1]) == 1).await;
    until("the damage is said", || member.said().len() == 1).await;
    let said = member.said().remove(0);
    assert!(said.starts_with("weir.logs partition 0 is in quarantine: it cannot be opened: "), "{said}");
    assert!(said.contains("7 bytes are fewer than a manifest's header has"), "{said}");
    // The other one seals meanwhile.
    member.registry.command_all(|_, reply| OwnerCommand::Seal(1, reply)).await.expect_err("one is not open");
    assert_eq!(newest(&store, 1).await.next_offset, 1);
    store.delete(&corrupt).await.expect("deletes");
    until("it is served again", || member.found(&sources[0]) == 1 && member.said().is_empty()).await;
    compare("mended", &sources, &stored_when_heard(&member).await);
    member.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_replaced_bus_is_one_partitions_affair_and_stores_nothing_under_taken_offsets() {
    let store = Arc::new(InMemory::new());
    let (mut sources, first) = (sources(), world(&store));
    for _ in 0..5 {
        send(&first, &mut sources[0], 10).await;
    }
    let member = first.start("a");
    until("it is taken", || member.found(&sources[0]) == 5).await;
    let upto = |place: &TopicPartition| if place.partition == 0 { 5 } else { 0 };
    member.registry.command_all(|place, reply| OwnerCommand::Seal(upto(place), reply)).await.expect("seals");
    member.end().await;

    let second = world(&store);
    let mut other = Source::new(Kind::Logs, sources[0].name.clone());
    send(&second, &mut other, 1).await;
    send(&second, &mut sources[1], 10).await;
    let member = second.start("a");
    until("the other is served", || member.found(&sources[1]) == 1).await;
    until("the damage is said", || member.said().len() == 1).await;
    let said = member.said().remove(0);
    assert!(said.contains("is sealed up to offset 5, but the bus ends at 1: it was replaced or truncated"), "{said}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    let manifest = newest(&store, 0).await;
    assert_eq!((manifest.next_offset, manifest.blocks.len()), (5, 1));
    assert_eq!(member.said().len(), 1);
    member.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_of_which_all_is_damaged_runs_and_says_so() {
    let store = Arc::new(InMemory::new());
    for partition in 0..PARTITIONS {
        let corrupt = Path::from(format!("logs/{partition:05}/manifest/00000000000000000001"));
        store.put(&corrupt, "garbage".into()).await.expect("puts");
    }
    let world = world(&store);
    let member = world.start("a");
    until("all is said", || member.said().len() == PARTITIONS as usize).await;
    member.end().await;
}

pub(super) async fn stored_when_heard(member: &Member) -> Vec<String> {
    until("the bus is heard", || member.partitions.all().iter().all(|live| live.watermark_age_seconds().is_some())).await;
    stored(member).await
}
