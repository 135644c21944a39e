//! Makes what a partition took durable: blocks first, then the manifest that names them, then the readers' view.
//!
//! A crash before the manifest leaves garbage objects and nothing else: the bus still has the records. A crash after it
//! leaves a sealed range that the next owner starts behind. There is no third state.

mod seal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use weir_model::panic_guard;
use weir_model::time::UnixNanos;
use weir_model::wire::Kind;
use weir_store::StoreError;
use weir_store::blob::{BlobCache, OPENED_AT_ONCE, StoreBlob};
use weir_store::engine::{BuiltBlock, Engine};
use weir_store::manifest::{BlockEntry, Manifest, ManifestStore, NewBlock, Sightings};
use weir_store::view::BlockView;

use crate::budget::Budget;
use crate::config::AggregatorConfig;
use crate::expiry::{Due, Pace};
use crate::metrics::{Metrics, PartitionLabels};
use crate::partition::Cut;
use crate::runs::{RunLimits, next_run};
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
    /// Merge one run of small neighbours; whatever fits together when `all`, else only of one level. Holds its turn.
    Compact {
        all: bool,
        _turn: OwnedSemaphorePermit,
    },
    /// Forget what is too old, and remove garbage. `all`: however much that is at once; somebody has said so.
    Expire {
        now: UnixNanos,
        all: bool,
    },
}

/// A block that is stored, opened unless it is a quarantine.
type Entry<E> = (BlockEntry, Option<Arc<<E as Engine>::Block>>);

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
    /// Blocks that could not be merged; left alone until the next owner.
    unmergeable: BTreeSet<String>,
    budget: Arc<Budget>,
    pace: Pace,
    /// When the pace was last told of the time.
    passed: Instant,
    /// When this owner began, for [`Self::superfluous`].
    begun: Instant,
    /// Since when which objects are named by no manifest.
    superfluous: Sightings,
}

impl<E: Engine> Committer<E> {
    /// Goes on from a version that this owner has published; its blocks are still to be opened.
    pub fn new(
        engine: Arc<E>,
        store: ManifestStore,
        (cache, budget): (BlobCache, Arc<Budget>),
        shared: Arc<Shared<E>>,
        config: AggregatorConfig,
        metrics: Metrics,
        version: u64,
    ) -> Self {
        let labels = PartitionLabels { topic: shared.topic.into(), partition: shared.partition };
        let (opened, unopened) = (BTreeMap::new(), BTreeMap::new());
        let (has_closed, unmergeable) = (false, BTreeSet::new());
        let mut committer = Self {
            pace: Pace::default(),
            passed: Instant::now(),
            begun: Instant::now(),
            superfluous: Sightings::default(),
            engine,
            store,
            cache,
            shared,
            config,
            metrics,
            labels,
            version,
            opened,
            unopened,
            has_closed,
            unmergeable,
            budget,
        };
        committer.show(committer.manifest());
        committer
    }

    /// Does one piece of work. After an error other than `Fenced` the same work can be tried again.
    pub async fn run(&mut self, work: &Work<E>) -> Result<Committed, StoreError> {
        match work {
            Work::Seal(cut) => self.seal(cut).await,
            Work::Open => Ok(self.open_all().await),
            Work::Compact { all, .. } => self.compact(*all).await,
            Work::Expire { now, all } => self.expire(*now, *all).await,
        }
    }

    /// Counts a piece of work that will be tried again.
    pub fn count_failure(&self) {
        self.metrics.failures.get_or_create(&self.labels).inc();
    }

    fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.shared.state.read().manifest)
    }

    /// Writes blocks and opens them as any reader would, before anyone can be told of them.
    async fn put(&self, new: NewBlock, built: &mut Vec<BuiltBlock>) -> Result<Vec<Entry<E>>, StoreError> {
        let mut entries = Vec::with_capacity(built.len());
        for block in built.drain(..) {
            let summary = block.summary.clone();
            let file = off_thread(move || Ok(block.data.into_file(E::KIND))).await?;
            let entry = self.store.put_block(new, summary, file).await?;
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
        let real = manifest.blocks.iter().filter(|entry| !entry.quarantine);
        real.map(|entry| entry.summary.last).max().into_iter().for_each(|newest| self.budget.stored(newest));
        let mut state = self.shared.state.write();
        if manifest.next_offset > state.manifest.next_offset {
            state.frozen = None;
        }
        (state.version, state.manifest, state.blocks) = (self.version, manifest, blocks);
        (state.opening, state.missing) = (opening, missing);
    }

    /// Publishes, then shows.
    async fn publish(&mut self, manifest: Manifest, opened: Vec<Entry<E>>) -> Result<(), StoreError> {
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

    /// Merges the next run, if there is one. Blocks that cannot be merged are left as they are, and the others go on.
    async fn compact(&mut self, all: bool) -> Result<Committed, StoreError> {
        let Some(run) = self.next_run(all) else { return Ok(Committed::default()) };
        let merged = self.merge(&run).await;
        if let Err(error) = &merged
            && !error.is_of_the_store()
            && !matches!(error, StoreError::Fenced { .. })
        {
            let named = run
                .iter()
                .map(|entry| &entry.id)
                .find(|id| matches!(error, StoreError::Corrupt { path, .. } if path.ends_with(*id)));
            let ids: Vec<String> =
                named.map_or_else(|| run.iter().map(|entry| entry.id.clone()).collect(), |id| vec![id.clone()]);
            tracing::error!(blocks = ids.join(" "), %error, "blocks cannot be merged; they stay as they are");
            self.unmergeable.extend(ids);
        }
        merged
    }

    async fn merge(&mut self, run: &[BlockEntry]) -> Result<Committed, StoreError> {
        let blocks: Vec<Arc<E::Block>> = run.iter().filter_map(|entry| self.opened.get(&entry.id).cloned()).collect();
        let engine = Arc::clone(&self.engine);
        let mut built = off_thread(move || engine.merge(&blocks)).await?;
        // A log line has an identity, so no two blocks hold the same; samples and spans may be in both, and one is dropped.
        let counts =
            [run.iter().map(|entry| entry.summary.records).sum::<u64>(), built.iter().map(|block| block.summary.records).sum()];
        if E::KIND == Kind::Logs && counts[0] != counts[1] {
            let detail = format!("{} lines became {}; the blocks stay as they are", counts[0], counts[1]);
            return Err(StoreError::Engine { operation: "merge blocks", detail });
        }
        if built.len() >= run.len() {
            let detail = format!("{} blocks became {}", run.len(), built.len());
            return Err(StoreError::Engine { operation: "merge blocks", detail });
        }
        let level = run.iter().map(|entry| entry.level).max().unwrap_or(0).saturating_add(1);
        let (first, last) = (run[0].first_offset, run[run.len() - 1].next_offset);
        let new = NewBlock { first_offset: first, next_offset: last, level, quarantine: false };
        let entries = self.put(new, &mut built).await?;
        let mut manifest = Manifest::clone(&self.manifest());
        let old: Vec<String> = run.iter().map(|entry| entry.id.clone()).collect();
        manifest.replace(&old, entries.iter().map(|(entry, _)| entry.clone()).collect())?;
        let committed =
            Committed { blocks: entries.len() as u64, records: entries.iter().map(|(entry, _)| entry.summary.records).sum() };
        self.publish(manifest, entries).await?;
        Ok(committed)
    }

    fn next_run(&self, all: bool) -> Option<Vec<BlockEntry>> {
        let manifest = self.manifest();
        let (bytes, memory) = (self.config.compaction_block_max.to_u64(), self.config.merge_bytes_max());
        let limits = RunLimits { blocks: self.config.compaction_blocks, bytes, memory, all };
        let can = |entry: &BlockEntry| {
            !entry.quarantine && self.opened.contains_key(&entry.id) && !self.unmergeable.contains(&entry.id)
        };
        next_run(&manifest.blocks, can, E::MERGE, limits).map(<[BlockEntry]>::to_vec)
    }

    async fn expire(&mut self, now: UnixNanos, all: bool) -> Result<Committed, StoreError> {
        let (keep, manifest) = (self.config.retention(E::KIND), self.manifest());
        self.pace.pass(std::mem::replace(&mut self.passed, Instant::now()).elapsed(), &manifest.blocks, keep);
        let Due { gone, held } = self.pace.due(&manifest.blocks, now, self.budget.newest(), keep, all);
        if held > 0 {
            tracing::warn!(
                topic = self.shared.topic,
                partition = self.shared.partition,
                held,
                "more blocks are too old than time can have aged; they go by and by, or now by `weir admin expire`"
            );
        }
        self.metrics.held.get_or_create(&self.labels).set(i64::try_from(held).unwrap_or(i64::MAX));
        let records = gone.iter().map(|entry| entry.summary.records).sum();
        if !gone.is_empty() {
            let mut manifest = Manifest::clone(&manifest);
            manifest.forget(&gone.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>());
            self.publish(manifest, Vec::new()).await?;
            self.metrics.expired_blocks.get_or_create(&self.labels).inc_by(gone.len() as u64);
            self.metrics.expired_records.get_or_create(&self.labels).inc_by(records);
            self.metrics.expired_bytes.get_or_create(&self.labels).inc_by(gone.iter().map(|entry| entry.size).sum());
        }
        let (now, grace) = (self.begun.elapsed(), self.config.garbage_age_min);
        self.store.collect(self.version, &mut self.superfluous, now, grace).await?;
        Ok(Committed { blocks: gone.len() as u64, records })
    }
}

/// Blocks of a version that are not open; those put aside are never opened.
fn closed<'a, B>(manifest: &'a Manifest, opened: &'a BTreeMap<String, B>) -> impl Iterator<Item = &'a BlockEntry> {
    manifest.blocks.iter().filter(|entry| !entry.quarantine && !opened.contains_key(&entry.id))
}

/// Runs CPU-heavy or blocking work where it keeps no async task waiting.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    let failed = |detail: String| StoreError::Engine { operation: "work on a block", detail };
    // A block or head that makes its engine panic is one partition's damage, not the process's.
    let joined = tokio::task::spawn_blocking(move || panic_guard::catch(work)).await;
    joined.map_err(|error| failed(error.to_string()))?.map_err(|said| failed(format!("it panicked: {said}")))?
}
