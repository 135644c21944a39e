//! One partition as its manifests tell it: which version is the newest, and its blocks, opened once.
//!
//! Not here: the owner's unsealed records (`collect`). A manifest version never changes, so nothing here is ever stale but
//! the question which is the newest, and that is asked of the object store by every query.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;
use weir_blocks::StoreError;
use weir_blocks::blob::{BlobCache, ObjectRead, ReadPolicy};
use weir_blocks::engine::Engine;
use weir_blocks::manifest::{Manifest, ManifestStore, OpenBlocks};
use weir_blocks::view::BlockView;

use super::breaker::CircuitBreaker;

/// Versions kept besides the newest: an owner's answer may be of one that was just replaced.
const VERSIONS_KEPT: usize = 4;
/// After so long without a look, versions may have come and gone: then the newest is found by listing. Far below the age
/// at which the first of them is deleted.
const REFRESH_AGE_MAX: Duration = Duration::from_secs(60);
/// Versions followed one by one before they are listed instead.
const FOLLOWED_MAX: usize = 32;

/// A manifest version, without sources and pushes: only owners ask what is stored of them.
pub(super) struct Version {
    pub number: u64,
    pub manifest: Manifest,
}

/// A version's blocks, as far as they could be opened.
pub(super) struct Opened<E: Engine> {
    pub blocks: Vec<BlockView<E>>,
    pub missing: Vec<String>,
}

pub(super) struct RemotePartition<E: Engine> {
    store: ManifestStore,
    blocks: OpenBlocks<E>,
    reads: Arc<PartitionReads>,
    state: Mutex<State>,
    /// Highest end of the bus that an owner told.
    high_watermark: AtomicU64,
}

#[derive(Default)]
struct State {
    versions: BTreeMap<u64, Arc<Version>>,
    looked: Option<Instant>,
    /// How often all of it was.
    forgotten: u64,
}

/// Blocks are waited for as long as everything of the object store, and one that a kept version names may be gone.
struct PartitionReads {
    breaker: Arc<CircuitBreaker>,
    /// Whether what is known names a block that is gone.
    gone: AtomicBool,
    /// How many reads of all partitions have found their block gone.
    all_gone: Arc<AtomicU64>,
}

impl ReadPolicy for PartitionReads {
    fn wait<'a>(&'a self, read: ObjectRead<'a>) -> ObjectRead<'a> {
        let outcome = |read: Result<_, StoreError>| {
            if read.as_ref().is_err_and(StoreError::is_not_found) {
                self.gone.store(true, Ordering::Release);
                self.all_gone.fetch_add(1, Ordering::AcqRel);
            }
            read
        };
        self.breaker.wait(read).map(outcome).boxed()
    }
}

impl<E: Engine> RemotePartition<E> {
    /// `all_gone` is counted up by each read that finds its block gone.
    pub(super) fn new(
        engine: Arc<E>,
        store: ManifestStore,
        cache: BlobCache,
        breaker: Arc<CircuitBreaker>,
        all_gone: Arc<AtomicU64>,
    ) -> Self {
        let reads = Arc::new(PartitionReads { breaker, gone: AtomicBool::new(false), all_gone });
        let blocks = OpenBlocks::new(engine, store.clone(), cache).with_policy(Arc::clone(&reads) as Arc<dyn ReadPolicy>);
        Self { store, blocks, reads, state: Mutex::default(), high_watermark: AtomicU64::new(0) }
    }

    pub(super) fn partition(&self) -> u32 {
        self.store.partition
    }

    /// The newest version known, without a look.
    pub(super) fn newest(&self) -> Option<Arc<Version>> {
        self.state.lock().versions.last_key_value().map(|(_, version)| Arc::clone(version))
    }

    /// Looks which version is the newest now. `None` when the partition has none yet.
    pub(super) async fn refresh_manifest(&self) -> Result<Option<Arc<Version>>, StoreError> {
        let begun = Instant::now();
        let (mut number, looked, forgotten) = {
            let state = self.state.lock();
            (state.versions.last_key_value().map(|(number, _)| *number), state.looked, state.forgotten)
        };
        if looked.is_none_or(|at| at.elapsed() > REFRESH_AGE_MAX) {
            number = None;
        }
        for _ in 0..FOLLOWED_MAX {
            let Some(known) = number else { break };
            match self.store.load_version(known + 1).await? {
                Some(manifest) => number = Some(self.keep(known + 1, manifest).number),
                None => match self.followed(begun, forgotten) {
                    None => break,
                    newest => return Ok(newest),
                },
            }
        }
        let latest = self.store.load_latest().await?.map(|(number, manifest)| self.keep(number, manifest));
        self.state.lock().looked = Some(begun);
        Ok(self.newest().or(latest))
    }

    /// The newest version, as followed since then; `None` when what was followed was forgotten meanwhile.
    fn followed(&self, begun: Instant, forgotten: u64) -> Option<Arc<Version>> {
        let mut state = self.state.lock();
        if state.forgotten != forgotten {
            return None;
        }
        state.looked = Some(begun);
        state.versions.last_key_value().map(|(_, version)| Arc::clone(version))
    }

    /// One of the newest versions known, without a look.
    pub(super) fn kept(&self, number: u64) -> Option<Arc<Version>> {
        self.state.lock().versions.get(&number).map(Arc::clone)
    }

    /// A version by its number, looked up; `None` when it is not there.
    pub(super) async fn version(&self, number: u64) -> Result<Option<Arc<Version>>, StoreError> {
        Ok(self.store.load_version(number).await?.map(|manifest| self.keep(number, manifest)))
    }

    fn keep(&self, number: u64, mut manifest: Manifest) -> Arc<Version> {
        (manifest.marks, manifest.digests) = Default::default();
        let version = Arc::new(Version { number, manifest });
        let mut state = self.state.lock();
        state.versions.insert(number, Arc::clone(&version));
        while state.versions.len() > VERSIONS_KEPT {
            state.versions.pop_first();
        }
        self.blocks.retain(state.versions.values().map(|version| &version.manifest));
        version
    }

    /// Forgets everything that is known when it names a block that is gone: it has turned out to be history.
    pub(super) fn forget_gone(&self) {
        let mut state = self.state.lock();
        if self.reads.gone.swap(false, Ordering::AcqRel) {
            *state = State { forgotten: state.forgotten + 1, ..State::default() };
            self.blocks.retain([]);
        }
    }

    pub(super) fn note_high_watermark(&self, high_watermark: u64) {
        self.high_watermark.fetch_max(high_watermark, Ordering::AcqRel);
    }

    /// As far as anybody told.
    pub(super) fn high_watermark(&self) -> u64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// A version's blocks; those opened before are not opened again.
    pub(super) async fn open(&self, version: &Version) -> Opened<E> {
        let (blocks, missing) = self.blocks.open_version(&version.manifest).await;
        Opened { blocks, missing }
    }
}
