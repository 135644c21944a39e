//! Makes what a partition took durable: blocks first, then the manifest that names them, then the readers' view.
//!
//! A crash before the manifest leaves garbage objects and nothing else: the bus still has the records. A crash after it
//! leaves a sealed range that the next owner starts behind. There is no third state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use weir_model::time::UnixNanos;
use weir_model::wire::Kind;
use weir_store::StoreError;
use weir_store::blob::{BlobCache, OPENED_AT_ONCE, StoreBlob};
use weir_store::engine::{BuiltBlock, Engine};
use weir_store::manifest::{BlockEntry, Loss, Manifest, ManifestStore, NewBlock};
use weir_store::view::BlockView;

use crate::config::{AggregatorConfig, nanos};
use crate::metrics::{Metrics, PartitionLabels};
use crate::partition::Cut;
use crate::poison;
use crate::shared::Shared;

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Blocks written.
    pub blocks: u64,
    /// Lines, samples or spans in them.
    pub records: u64,
}

impl std::ops::AddAssign for Committed {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.records += other.records;
    }
}

/// What is to be committed.
pub(crate) enum Work<E: Engine> {
    Seal(Cut<E>),
    /// Open what the manifest names and is not open yet.
    Open,
    /// Merge runs of small neighbours; all that fit together when `all`, else only full runs of one level.
    Compact {
        all: bool,
    },
    /// Forget what is too old, and remove garbage.
    Expire {
        now: UnixNanos,
    },
}

/// A publish of unknown outcome is asked again after this long, twice as long each time up to the last.
const PUBLISH_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The publishing side of a partition.
pub(crate) struct Committer<E: Engine> {
    engine: Arc<E>,
    store: ManifestStore,
    cache: BlobCache,
    shared: Arc<Shared<E>>,
    config: AggregatorConfig,
    metrics: Metrics,
    labels: PartitionLabels,
    version: u64,
    opened: BTreeMap<String, Arc<E::Block>>,
    /// Blocks that could not be opened the last time, and why not.
    unopened: BTreeMap<String, String>,
    /// Whether the manifest names blocks that are not open.
    has_closed: bool,
}

impl<E: Engine> Committer<E> {
    /// Goes on from a version that this owner has published; its blocks are still to be opened.
    pub fn new(
        engine: Arc<E>,
        store: ManifestStore,
        cache: BlobCache,
        shared: Arc<Shared<E>>,
        config: AggregatorConfig,
        metrics: Metrics,
        version: u64,
    ) -> Self {
        let labels = PartitionLabels { topic: shared.topic.into(), partition: shared.partition };
        let (opened, unopened) = (BTreeMap::new(), BTreeMap::new());
        let has_closed = false;
        let mut committer = Self { engine, store, cache, shared, config, metrics, labels, version, opened, unopened, has_closed };
        committer.show(committer.manifest());
        committer
    }

    /// Does one piece of work. After an error other than `Fenced` the same work can be tried again.
    pub async fn run(&mut self, work: &Work<E>) -> Result<Committed, StoreError> {
        match work {
            Work::Seal(cut) => self.seal(cut).await,
            Work::Open => Ok(self.open_all().await),
            Work::Compact { all } => self.compact(*all).await,
            Work::Expire { now } => self.expire(*now).await,
        }
    }

    /// Counts a piece of work that will be tried again.
    pub fn count_failure(&self) {
        self.metrics.failures.get_or_create(&self.labels).inc();
    }

    fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.shared.state.read().manifest)
    }

    async fn seal(&mut self, cut: &Cut<E>) -> Result<Committed, StoreError> {
        let mut manifest = Manifest::clone(&self.manifest());
        let first = manifest.next_offset;
        let head = Arc::clone(&cut.head);
        let mut built = off_thread(move || weir_store::engine::Head::build(&*head)).await?;
        let new = NewBlock { first_offset: first, next_offset: cut.next_offset, level: 0, quarantine: false };
        let mut entries = self.put(new, &mut built).await?;
        let committed =
            Committed { blocks: entries.len() as u64, records: entries.iter().map(|(entry, _)| entry.summary.records).sum() };
        if let Some(block) = poison::build(&cut.poison) {
            let summary = block.summary.clone();
            let new = NewBlock { quarantine: true, ..new };
            let entry = self.store.put_block(new, summary, block.data.encode(E::KIND).into()).await?;
            entries.push((entry, None));
        }
        manifest.seal(first, cut.next_offset, entries.iter().map(|(entry, _)| entry.clone()).collect())?;
        let reason = "the bus no longer had these offsets";
        manifest.losses.extend(cut.losses.iter().map(|(first, next)| Loss { first: *first, next: *next, reason: reason.into() }));
        cut.remembered.store(&mut manifest);
        manifest.counters.quarantined += cut.poison.len() as u64;
        self.publish(manifest, entries).await?;
        self.metrics.sealed.get_or_create(&self.labels).inc_by(committed.blocks);
        Ok(committed)
    }

    /// Writes blocks and opens them as any reader would, before anyone can be told of them.
    async fn put(
        &self,
        new: NewBlock,
        built: &mut Vec<BuiltBlock>,
    ) -> Result<Vec<(BlockEntry, Option<Arc<E::Block>>)>, StoreError> {
        let mut entries = Vec::with_capacity(built.len());
        for block in built.drain(..) {
            let summary = block.summary.clone();
            let bytes: Bytes = off_thread(move || Ok(block.data.encode(E::KIND).into())).await?;
            let entry = self.store.put_block(new, summary, bytes).await?;
            let opened = self.open(&entry).await?;
            let (engine, block, summary) = (Arc::clone(&self.engine), Arc::clone(&opened), entry.summary.clone());
            off_thread(move || engine.verify(&block, &summary)).await?;
            entries.push((entry, Some(opened)));
        }
        Ok(entries)
    }

    async fn open(&self, entry: &BlockEntry) -> Result<Arc<E::Block>, StoreError> {
        let path = self.store.block_path_text(&entry.id);
        let runtime = tokio::runtime::Handle::current();
        let blob = StoreBlob::new(Arc::clone(&self.store.object_store), &path, entry.size, self.cache.clone(), runtime);
        let engine = Arc::clone(&self.engine);
        let turn = self.cache.turn().await;
        let open = move || {
            let _turn = turn;
            engine.open(Arc::new(blob)).map(Arc::new)
        };
        off_thread(open).await
    }

    /// Whether the manifest names blocks that are not open.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Opens what the manifest names; what cannot be opened is said in every answer's coverage, and tried again.
    async fn open_all(&mut self) -> Committed {
        let manifest = self.manifest();
        let open = |entry| self.open(entry).map(move |block| (entry, block)).boxed();
        let asks: Vec<_> = closed(&manifest, &self.opened).map(open).collect();
        let mut opening = futures_util::stream::iter(asks).buffered(OPENED_AT_ONCE);
        let (mut opened, mut unopened) = (Vec::new(), BTreeMap::new());
        while let Some((entry, block)) = opening.next().await {
            match block {
                Ok(block) => opened.push((entry.id.clone(), block)),
                Err(error) => {
                    unopened.insert(entry.id.clone(), error.to_string());
                    // Seals wait while this goes on, and the next one would fare no better.
                    if error.is_of_the_store() {
                        break;
                    }
                }
            }
        }
        drop(opening);
        for (block, error) in unopened.iter().filter(|(block, _)| !self.unopened.contains_key(*block)) {
            tracing::error!(block, error, "a block cannot be opened; answers say so until it can be");
        }
        self.opened.extend(opened);
        self.unopened = unopened;
        self.show(manifest);
        Committed::default()
    }

    /// Gives readers a version's blocks. The head that was sealed leaves in the instant in which its blocks enter.
    fn show(&mut self, manifest: Arc<Manifest>) {
        let views = manifest.blocks.iter().filter_map(|entry| {
            let block = Arc::clone(self.opened.get(&entry.id)?);
            Some(BlockView { summary: entry.summary.clone(), block })
        });
        let blocks = views.collect();
        let (mut opening, mut missing) = (0, Vec::new());
        for entry in closed(&manifest, &self.opened) {
            match self.unopened.get(&entry.id) {
                Some(why) => missing.push(why.clone()),
                None => opening += 1,
            }
        }
        self.has_closed = opening > 0 || !missing.is_empty();
        let mut state = self.shared.state.write();
        if manifest.next_offset > state.manifest.next_offset {
            state.frozen = None;
        }
        (state.version, state.manifest, state.blocks) = (self.version, manifest, blocks);
        (state.opening, state.missing) = (opening, missing);
    }

    /// Publishes, then shows.
    async fn publish(&mut self, manifest: Manifest, opened: Vec<(BlockEntry, Option<Arc<E::Block>>)>) -> Result<(), StoreError> {
        let prepared = self.store.prepare(self.version + 1, &manifest)?;
        let mut pause = PUBLISH_RETRY.0;
        // Until the outcome is known nothing else may be tried: the version may or may not exist.
        while let Err(error) = self.store.publish_prepared(&prepared).await {
            if matches!(error, StoreError::Fenced { .. }) {
                return Err(error);
            }
            tracing::warn!(%error, "a manifest is not known to be published; asking again");
            self.count_failure();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PUBLISH_RETRY.1);
        }
        self.version += 1;
        self.opened.extend(opened.into_iter().filter_map(|(entry, block)| Some((entry.id, block?))));
        self.opened.retain(|id, _| manifest.blocks.iter().any(|entry| entry.id == *id));
        self.show(Arc::new(manifest));
        Ok(())
    }

    async fn compact(&mut self, all: bool) -> Result<Committed, StoreError> {
        let mut committed = Committed::default();
        while let Some(run) = self.next_run(all) {
            let blocks: Vec<Arc<E::Block>> = run.iter().filter_map(|entry| self.opened.get(&entry.id).cloned()).collect();
            let engine = Arc::clone(&self.engine);
            let mut built = off_thread(move || engine.merge(&blocks)).await?;
            // A log line has an identity, so no two blocks hold the same; samples and spans may be in both, and one is dropped.
            let counts = [
                run.iter().map(|entry| entry.summary.records).sum::<u64>(),
                built.iter().map(|block| block.summary.records).sum(),
            ];
            if E::KIND == Kind::Logs && counts[0] != counts[1] {
                let detail = format!("{} lines became {}; the blocks stay as they are", counts[0], counts[1]);
                return Err(StoreError::Engine { operation: "merge blocks", detail });
            }
            let level = run.iter().map(|entry| entry.level).max().unwrap_or(0).saturating_add(1);
            let (first, last) = (run[0].first_offset, run[run.len() - 1].next_offset);
            let new = NewBlock { first_offset: first, next_offset: last, level, quarantine: false };
            let entries = self.put(new, &mut built).await?;
            let mut manifest = Manifest::clone(&self.manifest());
            let old: Vec<String> = run.iter().map(|entry| entry.id.clone()).collect();
            manifest.replace(&old, entries.iter().map(|(entry, _)| entry.clone()).collect())?;
            committed +=
                Committed { blocks: entries.len() as u64, records: entries.iter().map(|(entry, _)| entry.summary.records).sum() };
            let progress = entries.len() < run.len();
            self.publish(manifest, entries).await?;
            if !progress {
                break;
            }
        }
        Ok(committed)
    }

    /// Neighbours to merge: blocks in manifest order, unbroken by one that cannot be opened or is large enough.
    fn next_run(&self, all: bool) -> Option<Vec<BlockEntry>> {
        let manifest = self.manifest();
        let wanted = if all { 2 } else { self.config.compaction_blocks.max(2) };
        let mut run: Vec<BlockEntry> = Vec::new();
        let mut bytes = 0;
        for entry in &manifest.blocks {
            let fits = bytes + entry.size <= self.config.compaction_bytes_max;
            let same_level = all || run.first().is_none_or(|first| first.level == entry.level);
            let can = !entry.quarantine && self.opened.contains_key(&entry.id);
            if !(fits && same_level && can) {
                if run.len() >= wanted {
                    break;
                }
                (run, bytes) = (Vec::new(), 0);
                if !can {
                    continue;
                }
            }
            bytes += entry.size;
            run.push(entry.clone());
            if !all && run.len() == wanted {
                break;
            }
        }
        (run.len() >= wanted).then_some(run)
    }

    async fn expire(&mut self, now: UnixNanos) -> Result<Committed, StoreError> {
        let keep = nanos(self.config.retention(E::KIND));
        let oldest = now.saturating_sub(keep);
        let manifest = self.manifest();
        let old = |entry: &&BlockEntry| keep > 0 && !entry.quarantine && entry.summary.last < oldest;
        let gone: Vec<String> = manifest.blocks.iter().filter(old).map(|entry| entry.id.clone()).collect();
        if !gone.is_empty() {
            let mut manifest = Manifest::clone(&manifest);
            manifest.forget(&gone);
            self.publish(manifest, Vec::new()).await?;
        }
        self.store.collect(self.version, now, self.config.garbage_age_min).await?;
        Ok(Committed { blocks: gone.len() as u64, records: 0 })
    }
}

/// Blocks of a version that are not open; those put aside are never opened.
fn closed<'a, B>(manifest: &'a Manifest, opened: &'a BTreeMap<String, B>) -> impl Iterator<Item = &'a BlockEntry> {
    manifest.blocks.iter().filter(|entry| !entry.quarantine && !opened.contains_key(&entry.id))
}

/// Runs CPU-heavy or blocking work where it keeps no async task waiting.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(StoreError::Engine { operation: "work on a block", detail: error.to_string() }))
}
