//! What the aggregator asks of the engine, and what it is configured with.

use std::sync::Arc;

use weir_model::log::LogBatch;
use weir_model::usage::Amount;

use super::block::LogsBlock;
use super::head::LogsHead;
use super::index::IndexCache;
use super::merge;
use super::opened::OpenedPacks;
use super::writer::BlockWriter;
use weir_blocks::StoreError;
use weir_blocks::block::Blob;
use weir_blocks::engine::{BlockCost, BlockSummary, BuiltBlock, Engine};
use weir_blocks::hidden::Hidden;
use weir_blocks::scratch::ScratchSpace;

/// How the engine cuts and caches.
#[derive(Clone, Debug)]
pub struct LogsOptions {
    /// Bytes of lines after which a chunk is closed. At 512 KiB, 97 MB of real lines with ids took 24.9 times less disk, at 2 MiB 28.5
    /// times; but a head holds as much of each stream as it came.
    pub chunk_bytes: usize,
    /// Bytes of opened indexes kept over all blocks, and of those that are being read.
    pub index_cache_bytes: u64,
    /// Bytes of chunks of blocks that were opened lately, with what of them is unpacked. Real lines with ids take a fifth of their bytes.
    pub chunk_cache_bytes: u64,
}

impl Default for LogsOptions {
    fn default() -> Self {
        Self { chunk_bytes: 512 << 10, index_cache_bytes: 160 << 20, chunk_cache_bytes: 96 << 20 }
    }
}

/// The engine of [`Kind::Logs`]. Clones share the caches of opened indexes and chunks.
#[derive(Clone)]
pub struct LogsEngine {
    options: LogsOptions,
    indexes: IndexCache,
    opened: OpenedPacks,
    space: ScratchSpace,
}

impl LogsEngine {
    /// With options that came from the configuration.
    pub fn new(options: LogsOptions) -> Self {
        let indexes = IndexCache::new(options.index_cache_bytes);
        let opened = OpenedPacks::new(options.chunk_cache_bytes);
        Self { options, indexes, opened, space: ScratchSpace::default() }
    }

    /// Whose merges put what is large of a block into files of `space`, which [`Engine::MERGE`] counts on.
    pub fn with_scratch(self, space: ScratchSpace) -> Self {
        Self { space, ..self }
    }
}

impl Default for LogsEngine {
    fn default() -> Self {
        Self::new(LogsOptions::default())
    }
}

impl Engine for LogsEngine {
    type Batch = LogBatch;
    // With files for what is large: words up to their limit, with as much again while they are written, rows that are in no run yet, and
    // of each chunk and stream what is said of it. Lines with four ids each took a thirtieth of their bytes beyond what any merge takes.
    const MERGE: BlockCost = BlockCost { fixed: 80 << 20, per_byte: 0, per_raw_kib: 128 };
    // An index in the making, as much again while it is written, and the block with its copy on the way out.
    const SEAL: BlockCost = BlockCost { fixed: 224 << 20, per_byte: 2, per_raw_kib: 0 };
    type Head = LogsHead;
    type Block = LogsBlock;

    fn head(&self) -> LogsHead {
        LogsHead::new(self.options.chunk_bytes)
    }

    fn open(&self, blob: Arc<dyn Blob>) -> Result<LogsBlock, StoreError> {
        LogsBlock::open(blob, self.indexes.clone(), self.opened.clone())
    }

    fn verify(&self, block: &LogsBlock, summary: &BlockSummary) -> Result<(), StoreError> {
        block.verify(summary)
    }

    fn shares(block: &LogsBlock) -> Result<Vec<(Arc<str>, Amount)>, StoreError> {
        let share = |chunk| {
            let amount = Amount { records: u64::from(block.meta(chunk).count), bytes: block.chunk_bytes(chunk) };
            (Arc::clone(&block.stream(chunk).tenant), amount)
        };
        Ok((0..block.chunks()).map(share).collect())
    }

    fn merge(&self, blocks: &[Arc<LogsBlock>]) -> Result<Vec<BuiltBlock>, StoreError> {
        merge::merge(blocks, self.options.chunk_bytes, BlockWriter::new(self.space.clone())?)
    }

    fn count_hidden(&self, block: &LogsBlock, hidden: &Hidden) -> Result<u64, StoreError> {
        let chunks = (0..block.chunks()).map(|chunk| (block.meta(chunk), block.hidden(chunk, hidden)));
        Ok(chunks.filter(|(meta, rows)| rows.covers(meta.first, meta.last)).map(|(meta, _)| u64::from(meta.count)).sum())
    }

    fn rewrite(&self, block: &Arc<LogsBlock>, without: &Hidden) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
        merge::rewrite(block, without, (self.options.chunk_bytes, BlockWriter::new(self.space.clone())?))
    }
}
