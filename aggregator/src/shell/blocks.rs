//! A partition's blocks on their way into the object store: built, stored, verified, merged.

use std::sync::Arc;

use weir_blocks::StoreError;
use weir_blocks::engine::{BuiltBlock, Engine};
use weir_blocks::manifest::{BlockEntry, ManifestStore, NewBlock, OpenBlocks};
use weir_bus::TopicPartition;
use weir_model::wire::Kind;

use crate::AggregatorError;
use crate::budget::Budget;
use crate::byte_limit::{BlockShares, block_shares};
use crate::dedup::DedupLimits;
use crate::machine::How;
use crate::pool::{Class, Lost, Pool};

/// Blocks that were opened when they had been written, by id; not kept yet.
pub(super) type NewBlocks<E> = Vec<(String, Arc<<E as Engine>::Block>)>;

/// Blocks that are stored, with those of them that an engine can open.
pub(super) struct Written<E: Engine> {
    pub entries: Vec<BlockEntry>,
    pub open: NewBlocks<E>,
}

impl<E: Engine> Default for Written<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), open: Vec::new() }
    }
}

impl<E: Engine> Written<E> {
    pub fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.open.extend(other.open);
    }
}

/// What makes blocks of one partition, and has those that are open.
pub(super) struct BlockStore<E: Engine> {
    pub place: TopicPartition,
    pub engine: Arc<E>,
    pub manifests: ManifestStore,
    pub blocks: OpenBlocks<E>,
    pub budget: Arc<Budget>,
    pub pool: Arc<Pool>,
    pub dedup_limits: DedupLimits,
}

impl<E: Engine> BlockStore<E> {
    /// CPU-heavy work in its turn. A block or head that makes its engine panic is one partition's damage, not the process's.
    pub async fn work<T: Send + 'static>(
        &self,
        class: Class,
        operation: &'static str,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, AggregatorError> {
        match self.pool.run(class, work).await {
            Ok(done) => Ok(done?),
            Err(Lost(said)) => Err(AggregatorError::Panicked { operation, place: self.place.clone(), said }),
        }
    }

    /// Writes blocks and opens them as any reader would, before anyone can be told of them.
    pub async fn put(&self, class: Class, new: NewBlock, built: Vec<BuiltBlock>) -> Result<Written<E>, AggregatorError> {
        let mut written = Written::default();
        for block in built {
            let summary = block.summary.clone();
            let file = self.work(class, "encode a block", move || Ok(block.data.into_file(E::KIND))).await?;
            let entry = self.manifests.put_block(new, summary, file).await?;
            let block = self.blocks.open(&entry).await?;
            let (engine, opened, summary) = (Arc::clone(&self.engine), Arc::clone(&block), entry.summary.clone());
            self.work(class, "verify a block", move || engine.verify(&opened, &summary)).await?;
            written.open.push((entry.id.clone(), block));
            written.entries.push(entry);
        }
        Ok(written)
    }

    /// A run of blocks as fewer; `None` when its records do not fit into fewer. Errors when something would be lost or doubled.
    pub async fn merge(&self, run: &[BlockEntry], blocks: Vec<Arc<E::Block>>) -> Result<Option<Written<E>>, AggregatorError> {
        let engine = Arc::clone(&self.engine);
        let mut built = self.work(Class::Merge, "merge blocks", move || engine.merge(&blocks)).await?;
        set_times(&mut built, run);
        let before: u64 = run.iter().map(|entry| entry.summary.records).sum();
        let after: u64 = built.iter().map(|block| block.summary.records).sum();
        // A log line has an identity, so no two blocks hold the same; samples and spans may be in both, and one is dropped.
        if E::KIND == Kind::Logs && before != after {
            return Err(AggregatorError::Merge { before, after });
        }
        if built.len() >= run.len() {
            let (topic, partition, blocks) = (&self.place.topic, self.place.partition, run.len());
            tracing::info!(topic, partition, blocks, "blocks do not fit into fewer: the largest stays as it is");
            return Ok(None);
        }
        self.put(Class::Merge, NewBlock::of_run(run), built).await.map(Some)
    }

    /// Whose the bytes of these blocks are. One that is not open any more is left out; one whose directory cannot be read is nobody's.
    pub async fn shares(&self, entries: Vec<BlockEntry>) -> Result<Vec<(String, BlockShares)>, AggregatorError> {
        let open = entries.into_iter().filter_map(|entry| Some((self.blocks.get(&entry.id)?, entry)));
        let open: Vec<(Arc<E::Block>, BlockEntry)> = open.collect();
        let shares = |(block, entry): (Arc<E::Block>, BlockEntry)| {
            let chunks = E::shares(&block).unwrap_or_else(|error| {
                tracing::warn!(block = entry.id, %error, "whose a block is cannot be told: retention_bytes does not count it");
                Vec::new()
            });
            (entry.id, block_shares(entry.size, chunks))
        };
        self.work(Class::Merge, "count whose blocks are", move || Ok(open.into_iter().map(shares).collect())).await
    }

    /// A block written anew; `None` when that changes nothing, or not enough.
    pub async fn rewrite(
        &self,
        entry: &BlockEntry,
        block: Option<Arc<E::Block>>,
        how: How,
    ) -> Result<Option<Written<E>>, AggregatorError> {
        let Some(block) = block else { return Err(StoreError::engine("rewrite a block", "it is not open").into()) };
        let engine = Arc::clone(&self.engine);
        let built = self.work(Class::Merge, "rewrite a block", move || {
            let (hidden, least) = match how {
                How::Without { hidden, least } => (hidden, least),
                How::Downsampled { resolutions, age } => {
                    return engine.downsample(&block, &|tenant| resolutions.of(tenant, age));
                }
            };
            let is_worthwhile = least == 0 || engine.count_hidden(&block, &hidden)? >= least;
            if is_worthwhile { engine.rewrite(&block, &hidden) } else { Ok(None) }
        });
        let built = built.await?;
        let Some(mut built) = built else { return Ok(None) };
        set_times(&mut built, std::slice::from_ref(entry));
        let (BlockEntry { first_offset, next_offset, level, .. }, quarantine) = (entry.clone(), false);
        self.put(Class::Merge, NewBlock { first_offset, next_offset, level, quarantine }, built).await.map(Some)
    }
}

/// A block that has no record (metadata alone) is as old as those it was made of.
fn set_times(built: &mut [BuiltBlock], of: &[BlockEntry]) {
    let first = of.iter().map(|entry| entry.summary.first).min().unwrap_or(0);
    let last = of.iter().map(|entry| entry.summary.last).max().unwrap_or(0);
    for block in built.iter_mut().filter(|block| block.summary.records == 0) {
        (block.summary.first, block.summary.last) = (first, last);
    }
}
