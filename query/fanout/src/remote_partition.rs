//! One partition as its manifests tell it: which version is the newest, and its blocks, opened once.
//!
//! Not here: the owner's unsealed records (`gather`). A manifest version never changes, so nothing here is ever stale but
//! the question which is the newest, and that is asked of the object store by every query.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use weir_blocks::StoreError;
use weir_blocks::blob::{BlobCache, OPENED_AT_ONCE, StoreBlob};
use weir_blocks::block::Blob;
use weir_blocks::breaker::CircuitBreaker;
use weir_blocks::engine::Engine;
use weir_blocks::manifest::{BlockEntry, Manifest, ManifestStore};
use weir_blocks::view::BlockView;

/// Versions kept besides the newest: an owner's answer may be of one that was just replaced.
const VERSIONS_KEPT: usize = 4;
/// After so long without a look, versions may have come and gone: then the newest is found by listing. Far below the age
/// at which the first of them is deleted.
const REFRESH_AGE_MAX: Duration = Duration::from_secs(60);
/// Versions followed one by one before they are listed instead.
const FOLLOWED_MAX: usize = 32;

/// A manifest version.
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
    engine: Arc<E>,
    store: ManifestStore,
    cache: BlobCache,
    runtime: tokio::runtime::Handle,
    breaker: Arc<CircuitBreaker>,
    state: Mutex<State<E>>,
    /// A block that a kept version names is not there.
    gone: Arc<AtomicBool>,
    /// Highest end of the bus that an owner told.
    on_bus: AtomicU64,
}

struct State<E: Engine> {
    versions: BTreeMap<u64, Arc<Version>>,
    /// By id, those that some kept version names.
    blocks: HashMap<String, Arc<E::Block>>,
    looked: Option<Instant>,
}

impl<E: Engine> RemotePartition<E> {
    pub(super) fn new(
        engine: Arc<E>,
        store: ManifestStore,
        cache: BlobCache,
        runtime: tokio::runtime::Handle,
        breaker: Arc<CircuitBreaker>,
    ) -> Self {
        let state = Mutex::new(State { versions: BTreeMap::new(), blocks: HashMap::new(), looked: None });
        let (gone, on_bus) = (Arc::default(), AtomicU64::new(0));
        Self { engine, store, cache, runtime, breaker, state, gone, on_bus }
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
        let (mut number, looked) = {
            let state = self.state.lock();
            (state.versions.last_key_value().map(|(number, _)| *number), state.looked)
        };
        if looked.is_none_or(|at| at.elapsed() > REFRESH_AGE_MAX) {
            number = None;
        }
        for _ in 0..FOLLOWED_MAX {
            let Some(known) = number else { break };
            match self.store.load_version(known + 1).await? {
                Some(manifest) => number = Some(self.keep(known + 1, manifest).number),
                None => {
                    self.state.lock().looked = Some(begun);
                    return Ok(self.newest());
                }
            }
        }
        if let Some((number, manifest)) = self.store.load_latest().await? {
            self.keep(number, manifest);
        }
        self.state.lock().looked = Some(begun);
        Ok(self.newest())
    }

    /// One of the newest versions known, without a look.
    pub(super) fn kept(&self, number: u64) -> Option<Arc<Version>> {
        self.state.lock().versions.get(&number).map(Arc::clone)
    }

    /// A version by its number, looked up; `None` when it is not there.
    pub(super) async fn version(&self, number: u64) -> Result<Option<Arc<Version>>, StoreError> {
        Ok(self.store.load_version(number).await?.map(|manifest| self.keep(number, manifest)))
    }

    fn keep(&self, number: u64, manifest: Manifest) -> Arc<Version> {
        let version = Arc::new(Version { number, manifest });
        let mut state = self.state.lock();
        state.versions.insert(number, Arc::clone(&version));
        while state.versions.len() > VERSIONS_KEPT {
            state.versions.pop_first();
        }
        let State { versions, blocks, .. } = &mut *state;
        let named = |id: &String| versions.values().any(|version| version.manifest.blocks.iter().any(|block| block.id == *id));
        blocks.retain(|id, _| named(id));
        version
    }

    /// Everything that is known, for when it turned out to be history.
    pub(super) fn forget(&self) {
        let mut state = self.state.lock();
        (state.versions, state.blocks, state.looked) = (BTreeMap::new(), HashMap::new(), None);
    }

    /// Whether a block was not there since the last call.
    pub(super) fn take_gone(&self) -> bool {
        self.gone.swap(false, Ordering::AcqRel)
    }

    pub(super) fn note_on_bus(&self, on_bus: u64) {
        self.on_bus.fetch_max(on_bus, Ordering::AcqRel);
    }

    /// As far as anybody told.
    pub(super) fn on_bus(&self) -> u64 {
        self.on_bus.load(Ordering::Acquire)
    }

    /// A version's blocks; those opened before are not opened again. Once the store has not given one, the others that it would
    /// have to give are not waited for.
    pub(super) async fn open(&self, version: &Version) -> Opened<E> {
        let entries: Vec<&BlockEntry> = version.manifest.blocks.iter().filter(|entry| !entry.quarantine).collect();
        let mut blocks: Vec<Option<Arc<E::Block>>> = entries.iter().map(|entry| self.opened(entry)).collect();
        let closed: Vec<usize> = (0..blocks.len()).filter(|at| blocks[*at].is_none()).collect();
        let mut left = closed.len();
        let block = |at: usize| self.block(entries[at]).map(move |opened| (at, opened)).boxed();
        let asks: Vec<_> = closed.into_iter().map(block).collect();
        let mut opening = futures_util::stream::iter(asks).buffered(OPENED_AT_ONCE);
        let mut missing = Vec::new();
        while let Some((at, opened)) = opening.next().await {
            left -= 1;
            match opened {
                Ok(block) => blocks[at] = Some(block),
                Err(error) if error.is_of_the_store() => {
                    let (topic, partition, closed) = (E::KIND.topic(), self.partition(), left + 1);
                    missing.push(format!("{topic} partition {partition}: {closed} blocks were not read: {error}"));
                    break;
                }
                Err(error) => missing.push(error.to_string()),
            }
        }
        let view = |(entry, block): (&BlockEntry, Option<_>)| Some(BlockView { summary: entry.summary.clone(), block: block? });
        Opened { blocks: entries.into_iter().zip(blocks).filter_map(view).collect(), missing }
    }

    fn opened(&self, entry: &BlockEntry) -> Option<Arc<E::Block>> {
        self.state.lock().blocks.get(&entry.id).map(Arc::clone)
    }

    /// Opens a block and keeps it.
    async fn block(&self, entry: &BlockEntry) -> Result<Arc<E::Block>, StoreError> {
        let path = self.store.block_path_text(&entry.id);
        let store = Arc::clone(&self.store.object_store);
        let inner = StoreBlob::new(store, &path, entry.size, self.cache.clone(), self.runtime.clone());
        let inner = inner.with_breaker(Arc::clone(&self.breaker));
        let blob = Arc::new(Watched { inner, gone: Arc::clone(&self.gone) });
        let engine = Arc::clone(&self.engine);
        let turn = self.cache.turn().await;
        let open = move || {
            let _turn = turn;
            engine.open(blob).map(Arc::new)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let block = opened.map_err(|error| StoreError::Engine { operation: "open a block", detail: error.to_string() })??;
        self.state.lock().blocks.insert(entry.id.clone(), Arc::clone(&block));
        Ok(block)
    }
}

/// A block's bytes, and word of their disappearance.
struct Watched {
    inner: StoreBlob,
    gone: Arc<AtomicBool>,
}

impl Blob for Watched {
    fn path(&self) -> &str {
        self.inner.path()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = self.inner.read(range);
        if read.as_ref().is_err_and(StoreError::is_not_found) {
            self.gone.store(true, Ordering::Release);
        }
        read
    }
}
