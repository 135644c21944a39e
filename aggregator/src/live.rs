//! What readers see of the partitions that this process owns.
//!
//! The owner swaps a partition's snapshot as a whole, so a reader sees every record exactly once whatever moves meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;
use weir_blocks::engine::{Engine, Head};
use weir_blocks::hidden::Horizon;
use weir_blocks::manifest::Manifest;
use weir_blocks::view::{BlockView, PartitionView, TailSection, Tails, Views};
use weir_heads::{HeadInstant, bus_silent};
use weir_model::select::PartitionCoverage;
use weir_model::signal::Signal;

use crate::machine::Missing;

/// Sections that a live tail may be behind before it is told that it lost some: at a full MiB each, 256 MiB.
const TAIL_SECTIONS: usize = 256;

/// One partition as of one instant. Guarded by the lock in [`LivePartition`]; held only to copy pointers.
pub(crate) struct Snapshot<E: Engine> {
    /// Of the manifest.
    pub version: u64,
    pub manifest: Arc<Manifest>,
    pub blocks: Vec<BlockView<E>>,
    pub missing: Missing,
    /// Being sealed.
    pub frozen: Option<Arc<E::Head>>,
    /// Taking records.
    pub active: Arc<E::Head>,
}

/// A partition's snapshot, live by its owner and the readers.
pub(crate) struct LivePartition<E: Engine> {
    pub topic: &'static str,
    pub partition: u32,
    pub snapshot: RwLock<Snapshot<E>>,
    /// Everything below has entered a head or a block. Written after the insert, read before the view is taken.
    pub indexed_offset: AtomicU64,
    /// Everything below is on the bus, as last asked.
    pub high_watermark: AtomicU64,
    /// When the bus has last said so, to this owner.
    pub watermark_at: Mutex<Option<tokio::time::Instant>>,
}

impl<E: Engine> LivePartition<E> {
    /// As a manifest version says, with an empty head; no block is open.
    pub fn new(partition: u32, version: u64, manifest: Arc<Manifest>, head: E::Head) -> Self {
        let next_offset = manifest.next_offset;
        let (blocks, missing, active) = (Vec::new(), Missing::default(), Arc::new(head));
        let snapshot = Snapshot { version, manifest, blocks, missing, frozen: None, active };
        Self {
            topic: E::KIND.topic(),
            partition,
            snapshot: RwLock::new(snapshot),
            indexed_offset: AtomicU64::new(next_offset),
            high_watermark: AtomicU64::new(next_offset),
            watermark_at: Mutex::new(None),
        }
    }

    fn view(&self) -> PartitionView<E> {
        let silent = bus_silent(self.topic, self.partition, self.watermark_age_seconds());
        let searchable = self.indexed_offset.load(Ordering::Acquire);
        let snapshot = self.snapshot.read();
        let heads = snapshot.frozen.iter().chain(std::iter::once(&snapshot.active)).filter(|head| head.records() > 0);
        PartitionView {
            coverage: PartitionCoverage {
                topic: self.topic.into(),
                partition: self.partition,
                high_watermark: self.high_watermark.load(Ordering::Acquire).max(searchable),
                indexed_offset: searchable,
                committed_offset: snapshot.manifest.next_offset,
                losses: snapshot.manifest.losses.iter().map(|loss| (loss.first, loss.next)).collect(),
            },
            blocks: snapshot.blocks.clone(),
            heads: heads.cloned().collect(),
            missing: snapshot.missing.sentences(self.topic, self.partition).chain(silent).collect(),
        }
    }
}

impl<E: Engine> LivePartition<E> {
    /// How old what the bus has said of how far it is may be; `None` when it has said nothing yet.
    pub(crate) fn watermark_age_seconds(&self) -> Option<u64> {
        self.watermark_at.lock().map(|at| at.elapsed().as_secs())
    }

    /// The heads, and the manifest version that has everything else, as of one instant.
    pub(crate) fn extract(&self) -> (HeadInstant, Vec<Arc<E::Head>>) {
        // First: what is read of the bus afterwards is no older.
        let bus_silent_seconds = self.watermark_age_seconds();
        let searchable = self.indexed_offset.load(Ordering::Acquire);
        let snapshot = self.snapshot.read();
        let instant = HeadInstant {
            partition: self.partition,
            epoch: snapshot.manifest.epoch,
            version: snapshot.version,
            indexed_offset: searchable,
            high_watermark: self.high_watermark.load(Ordering::Acquire).max(searchable),
            bus_silent_seconds,
            watermark: None,
        };
        let heads = snapshot.frozen.iter().chain(std::iter::once(&snapshot.active)).filter(|head| head.records() > 0);
        (instant, heads.cloned().collect())
    }
}

/// All partitions of one engine that this process owns.
pub struct Partitions<E: Engine> {
    /// Guards who is served and who is not; held only to copy pointers.
    owned: RwLock<Owned<E>>,
    tails: broadcast::Sender<TailSection<E::Batch>>,
    /// From when on records are seen; set once, by whoever knows the limits.
    horizon: OnceLock<HorizonSource>,
}

type HorizonSource = Box<dyn Fn() -> Option<Horizon> + Send + Sync>;

/// A partition is in one of the two, or in none while it is opened for the first time.
struct Owned<E: Engine> {
    served: BTreeMap<u32, Arc<LivePartition<E>>>,
    /// In quarantine, and why.
    damaged: BTreeMap<u32, String>,
}

impl<E: Engine> Default for Partitions<E> {
    fn default() -> Self {
        let owned = Owned { served: BTreeMap::new(), damaged: BTreeMap::new() };
        Self { owned: RwLock::new(owned), tails: broadcast::channel(TAIL_SECTIONS).0, horizon: OnceLock::new() }
    }
}

impl<E: Engine> Partitions<E> {
    /// Readers see records from there on.
    pub(crate) fn see_within(&self, horizon: impl Fn() -> Option<Horizon> + Send + Sync + 'static) {
        let _once = self.horizon.set(Box::new(horizon));
    }

    pub(crate) fn insert(&self, live: Arc<LivePartition<E>>) {
        let mut owned = self.owned.write();
        owned.damaged.remove(&live.partition);
        owned.served.insert(live.partition, live);
    }

    pub(crate) fn remove(&self, partition: u32) {
        let mut owned = self.owned.write();
        owned.served.remove(&partition);
        owned.damaged.remove(&partition);
    }

    /// Not served until it is inserted again: every answer says why.
    pub(crate) fn quarantine(&self, partition: u32, reason: String) {
        let mut owned = self.owned.write();
        owned.served.remove(&partition);
        owned.damaged.insert(partition, reason);
    }

    pub(crate) fn get(&self, partition: u32) -> Option<Arc<LivePartition<E>>> {
        self.owned.read().served.get(&partition).cloned()
    }

    /// Why a partition is in quarantine.
    pub(crate) fn damage(&self, partition: u32) -> Option<String> {
        self.owned.read().damaged.get(&partition).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<LivePartition<E>>> {
        self.owned.read().served.values().cloned().collect()
    }

    /// Those in quarantine.
    pub(crate) fn damaged(&self) -> Vec<(u32, String)> {
        self.owned.read().damaged.iter().map(|(partition, reason)| (*partition, reason.clone())).collect()
    }

    /// To live tails. Nobody listening is the usual case and not an error.
    pub(crate) fn emit(&self, section: TailSection<E::Batch>) {
        if self.tails.receiver_count() > 0 {
            let _nobody_listens = self.tails.send(section);
        }
    }
}

impl<E: Engine> Views<E> for Partitions<E> {
    fn views(&self) -> Vec<PartitionView<E>> {
        let served = self.all().into_iter().map(|live| live.view());
        served.chain(self.damaged().into_iter().map(|(partition, reason)| damaged_view(partition, &reason))).collect()
    }

    fn horizon(&self) -> Option<Horizon> {
        self.horizon.get().and_then(|horizon| horizon())
    }
}

impl<E: Engine> Tails<E::Batch> for Partitions<E> {
    fn subscribe(&self) -> Box<dyn FnMut() -> Vec<TailSection<E::Batch>> + Send> {
        let receiver = Mutex::new(self.tails.subscribe());
        Box::new(move || drain(&mut receiver.lock()))
    }
}

/// Of a partition in quarantine: nothing of it can be seen.
fn damaged_view<E: Engine>(partition: u32, reason: &str) -> PartitionView<E> {
    let topic = E::KIND.topic();
    let missing = vec![format!("{topic} partition {partition} is in quarantine: {reason}")];
    let coverage = PartitionCoverage { topic: topic.into(), partition, ..PartitionCoverage::default() };
    PartitionView { coverage, blocks: Vec::new(), heads: Vec::new(), missing }
}

fn drain<S: Signal>(receiver: &mut broadcast::Receiver<TailSection<S>>) -> Vec<TailSection<S>> {
    let mut sections = Vec::new();
    let mut dropped = 0;
    loop {
        match receiver.try_recv() {
            Ok(section) => sections.push(TailSection { dropped: std::mem::take(&mut dropped), ..section }),
            Err(broadcast::error::TryRecvError::Lagged(count)) => dropped += count,
            Err(_) => return sections,
        }
    }
}
