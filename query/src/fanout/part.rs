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
use weir_store::StoreError;
use weir_store::blob::{BlobCache, StoreBlob};
use weir_store::block::Blob;
use weir_store::engine::Engine;
use weir_store::manifest::{BlockEntry, Manifest, ManifestStore};
use weir_store::view::BlockView;

/// Versions kept besides the newest: an owner's answer may be of one that was just replaced.
const VERSIONS_KEPT: usize = 4;
/// Blocks opened at once; each waits for the object store on a thread of its own.
const OPENING: usize = 8;
/// After so long without a look, versions may have come and gone: then the newest is found by listing. Far below the age
/// at which the first of them is deleted.
const LOOK_AGE_MAX: Duration = Duration::from_secs(60);
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

pub(super) struct Part<E: Engine> {
    engine: Arc<E>,
    store: ManifestStore,
    cache: BlobCache,
    runtime: tokio::runtime::Handle,
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

impl<E: Engine> Part<E> {
    pub(super) fn new(engine: Arc<E>, store: ManifestStore, cache: BlobCache, runtime: tokio::runtime::Handle) -> Self {
        let state = Mutex::new(State { versions: BTreeMap::new(), blocks: HashMap::new(), looked: None });
        let (gone, on_bus) = (Arc::default(), AtomicU64::new(0));
        Self { engine, store, cache, runtime, state, gone, on_bus }
    }

    pub(super) fn partition(&self) -> u32 {
        self.store.partition
    }

    /// The newest version known, without a look.
    pub(super) fn newest(&self) -> Option<Arc<Version>> {
        self.state.lock().versions.last_key_value().map(|(_, version)| Arc::clone(version))
    }

    /// Looks which version is the newest now. `None` when the partition has none yet.
    pub(super) async fn look(&self) -> Result<Option<Arc<Version>>, StoreError> {
        let begun = Instant::now();
        let (mut number, looked) = {
            let state = self.state.lock();
            (state.versions.last_key_value().map(|(number, _)| *number), state.looked)
        };
        if looked.is_none_or(|at| at.elapsed() > LOOK_AGE_MAX) {
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

    /// A version by its number; `None` when it is not there.
    pub(super) async fn version(&self, number: u64) -> Result<Option<Arc<Version>>, StoreError> {
        if let Some(version) = self.state.lock().versions.get(&number) {
            return Ok(Some(Arc::clone(version)));
        }
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

    /// A version's blocks; those opened before are not opened again.
    pub(super) async fn open(&self, version: &Version) -> Opened<E> {
        let mut opening = Vec::with_capacity(version.manifest.blocks.len());
        for entry in version.manifest.blocks.iter().filter(|entry| !entry.quarantine) {
            opening.push(self.entry(entry).boxed());
        }
        let opened: Vec<_> = futures_util::stream::iter(opening).buffered(OPENING).collect().await;
        let mut answer = Opened { blocks: Vec::with_capacity(opened.len()), missing: Vec::new() };
        for (entry, block) in opened {
            match block {
                Ok(block) => answer.blocks.push(BlockView { summary: entry.summary.clone(), block }),
                Err(error) => answer.missing.push(error.to_string()),
            }
        }
        answer
    }

    async fn entry<'a>(&self, entry: &'a BlockEntry) -> (&'a BlockEntry, Result<Arc<E::Block>, StoreError>) {
        (entry, self.block(entry).await)
    }

    async fn block(&self, entry: &BlockEntry) -> Result<Arc<E::Block>, StoreError> {
        if let Some(block) = self.state.lock().blocks.get(&entry.id) {
            return Ok(Arc::clone(block));
        }
        let path = self.store.block_path_text(&entry.id);
        let store = Arc::clone(&self.store.object_store);
        let inner = StoreBlob::new(store, &path, entry.size, self.cache.clone(), self.runtime.clone());
        let blob = Arc::new(Watched { inner, gone: Arc::clone(&self.gone) });
        let engine = Arc::clone(&self.engine);
        let opened = tokio::task::spawn_blocking(move || engine.open(blob).map(Arc::new)).await;
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
