//! A partition's blocks, opened: many at once, each on a thread that waits for the object store, and none twice. For their owner and
//! for whoever reads them from another process, so that both say the same of what cannot be read.
//!
//! Not here: which version is read, and when it is tried again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use weir_model::panic_guard;

use super::{BlockEntry, Manifest, ManifestStore};
use crate::StoreError;
use crate::blob::{BlobCache, OPENED_AT_ONCE, ReadPolicy, StoreBlob};
use crate::engine::Engine;
use crate::hidden::HiddenBlocks;
use crate::view::BlockView;

type Blocks<E> = BTreeMap<String, Arc<<E as Engine>::Block>>;

/// Blocks of one partition: those that are open, and the way to open more.
pub struct OpenBlocks<E: Engine> {
    engine: Arc<E>,
    manifests: ManifestStore,
    cache: BlobCache,
    policy: Option<Arc<dyn ReadPolicy>>,
    /// Guards those that are open, by id; held only to copy pointers.
    open: Mutex<Blocks<E>>,
}

/// What became of blocks that were to be opened, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub opened: Vec<String>,
    /// What is wrong with a block, in a sentence that names it.
    pub failed: BTreeMap<String, String>,
    /// The block at which the store failed, and how: the others were not tried, since they would fare no better.
    pub stopped: Option<(String, String)>,
}

impl<E: Engine> OpenBlocks<E> {
    /// None is open.
    pub fn new(engine: Arc<E>, manifests: ManifestStore, cache: BlobCache) -> Self {
        Self { engine, manifests, cache, policy: None, open: Mutex::default() }
    }

    /// Reads of these blocks, now and later, go through a policy.
    pub fn with_policy(self, policy: Arc<dyn ReadPolicy>) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Opens one and does not keep it. Waits for a turn, of which a process has [`OPENED_AT_ONCE`]. A block that makes its engine panic is
    /// damaged, and nothing more.
    pub async fn open(&self, entry: &BlockEntry) -> Result<Arc<E::Block>, StoreError> {
        let path = self.manifests.block_path_text(&entry.id);
        let (store, runtime) = (Arc::clone(&self.manifests.object_store), tokio::runtime::Handle::current());
        let blob = StoreBlob::new(store, &path, entry.size, self.cache.clone(), runtime, self.policy.clone());
        let engine = Arc::clone(&self.engine);
        let turn = self.cache.turn().await;
        let opening = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            panic_guard::catch(|| engine.open(Arc::new(blob)).map(Arc::new))
        });
        match opening.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(said)) => Err(StoreError::corrupt(&path, format!("opening it panicked: {said}"))),
            Err(ended) => Err(StoreError::engine("open a block", format!("{path}: {ended}"))),
        }
    }

    /// Opens these and keeps them, many at once. Ends when the store fails.
    pub async fn open_all(&self, entries: &[&BlockEntry]) -> Opened {
        let (blocks, mut tried) = self.try_all(entries).await;
        tried.opened = blocks.into_keys().collect();
        tried
    }

    /// The blocks of a version in its order, and a sentence for each reason why some are missing. What is not open yet is opened.
    pub async fn open_version(&self, manifest: &Manifest) -> (Vec<BlockView<E>>, Vec<String>) {
        let (mut blocks, closed) = self.of(manifest);
        let mut missing = Vec::new();
        if !closed.is_empty() {
            let (opened, tried) = self.try_all(&closed).await;
            let not_tried = closed.len() - opened.len() - tried.failed.len();
            missing.extend(tried.failed.into_values());
            if let Some((_, error)) = tried.stopped {
                missing.push(unread(E::KIND.topic(), self.manifests.partition, not_tried as u64, &error));
            }
            blocks.extend(opened);
        }
        (views(manifest, &blocks), missing)
    }

    async fn try_all(&self, entries: &[&BlockEntry]) -> (Blocks<E>, Opened) {
        // A list, since a stream of borrowing futures is not known to be Send.
        let opening: Vec<_> = entries.iter().map(|entry| self.open(entry).map(|block| (&entry.id, block)).boxed()).collect();
        let mut opening = futures_util::stream::iter(opening).buffer_unordered(OPENED_AT_ONCE);
        let (mut blocks, mut tried) = (BTreeMap::new(), Opened::default());
        while let Some((id, opened)) = opening.next().await {
            match opened {
                Ok(block) => {
                    self.insert(id.clone(), Arc::clone(&block));
                    blocks.insert(id.clone(), block);
                }
                Err(error) if error.is_of_the_store() => {
                    tried.stopped = Some((id.clone(), error.to_string()));
                    break;
                }
                Err(error) => drop(tried.failed.insert(id.clone(), error.to_string())),
            }
        }
        (blocks, tried)
    }

    /// Keeps a block that was opened.
    pub fn insert(&self, id: String, block: Arc<E::Block>) {
        self.open.lock().insert(id, block);
    }

    pub fn get(&self, id: &str) -> Option<Arc<E::Block>> {
        self.open.lock().get(id).cloned()
    }

    /// Blocks of a version that are open, in its order.
    pub fn views(&self, manifest: &Manifest) -> Vec<BlockView<E>> {
        views(manifest, &self.of(manifest).0)
    }

    /// Forgets what none of these versions names.
    pub fn retain<'a>(&self, manifests: impl IntoIterator<Item = &'a Manifest>) {
        let entries = manifests.into_iter().flat_map(|manifest| &manifest.blocks);
        let named: HashSet<&str> = entries.map(|entry| entry.id.as_str()).collect();
        self.open.lock().retain(|id, _| named.contains(id.as_str()));
    }

    /// Blocks of a version that are open, and those that are not. No engine opens a quarantine.
    fn of<'a>(&self, manifest: &'a Manifest) -> (Blocks<E>, Vec<&'a BlockEntry>) {
        let (mut blocks, mut closed) = (BTreeMap::new(), Vec::new());
        let open = self.open.lock();
        for entry in manifest.blocks.iter().filter(|entry| !entry.quarantine) {
            match open.get(&entry.id) {
                Some(block) => drop(blocks.insert(entry.id.clone(), Arc::clone(block))),
                None => closed.push(entry),
            }
        }
        (blocks, closed)
    }
}

fn views<E: Engine>(manifest: &Manifest, blocks: &Blocks<E>) -> Vec<BlockView<E>> {
    let hidden = HiddenBlocks::of(manifest);
    let view = |entry: &BlockEntry| {
        let block = Arc::clone(blocks.get(&entry.id)?);
        Some(BlockView { summary: entry.summary.clone(), block, hidden: hidden.of_block(entry) })
    };
    manifest.blocks.iter().filter_map(view).collect()
}

/// What is said of blocks that the store did not give.
pub fn unread(topic: &str, partition: u32, count: u64, error: &str) -> String {
    format!("{topic} partition {partition}: {count} blocks were not read: {error}")
}
