//! The logs engine: chunks of lines, and an index of the tokens that occur in each. Format: `docs/formats/logs_block.md`.
//!
//! From a line to an answer:
//! - [`head`]: takes sections, gathers each stream's lines, encodes a chunk when enough are there;
//! - `builder`: lines on their way into chunks; `chunk`: ~512 KiB of lines of one stream as compressed columns; `schema` says what is known of it from outside;
//! - `tokens`: which words a chunk holds; `index` (the only place that knows tantivy) turns them round: which chunks hold
//!   a word;
//! - `writer`: chunks and index as a block; `merge`: several blocks as one;
//! - `block`: an opened block; `plan`: what a filter needs of a chunk's words, so that most chunks stay closed;
//! - [`reader`]: answers requests over blocks and heads; `source` is one chunk wherever it lies; `tail` follows the head.
//!
//! The index only ever skips: every line is verified before it is given out, and a chunk is skipped only when no line of
//! it can pass.

mod block;
mod builder;
mod chunk;
mod filter;
#[cfg(test)]
mod fuzz_tests;
mod head;
mod index;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod memory_tests;
mod merge;
mod plan;
mod reader;
mod schema;
mod source;
mod tail;
#[cfg(test)]
mod tests;
mod tokens;
mod writer;

use std::sync::Arc;

use weir_model::log::LogBatch;

pub use block::LogsBlock;
pub use filter::Filters;
pub use head::LogsHead;
pub use reader::LogsReader;
pub use schema::Place;
pub use source::HeadChunk;
pub use tail::Tail;

use weir_blocks::StoreError;
use weir_blocks::block::Blob;
use weir_blocks::engine::{BlockCost, BlockSummary, BuiltBlock, Engine};

/// How the engine cuts and caches.
#[derive(Clone, Debug)]
pub struct LogsOptions {
    /// Bytes of lines after which a chunk is closed. At 512 KiB, 157 MB of real lines took 15.3 times less disk, at 128 KiB
    /// 12.5 times.
    pub chunk_bytes: usize,
    /// Bytes of opened indexes kept over all blocks.
    pub index_cache_bytes: u64,
}

impl Default for LogsOptions {
    fn default() -> Self {
        Self { chunk_bytes: 512 << 10, index_cache_bytes: 256 << 20 }
    }
}

/// The engine of [`Kind::Logs`]. Clones share the cache of opened indexes.
#[derive(Clone)]
pub struct LogsEngine {
    options: LogsOptions,
    indexes: index::IndexCache,
}

impl LogsEngine {
    /// With options that came from the configuration.
    pub fn new(options: LogsOptions) -> Self {
        let indexes = index::IndexCache::new(options.index_cache_bytes);
        Self { options, indexes }
    }
}

impl Default for LogsEngine {
    fn default() -> Self {
        Self::new(LogsOptions::default())
    }
}

impl Engine for LogsEngine {
    type Batch = LogBatch;
    const MERGE: BlockCost = BlockCost { fixed: 32 << 20, per_byte: 8, per_raw_kib: 256 };
    // An index in the making, as much again while it is written, and the block with its copy on the way out.
    const SEAL: BlockCost = BlockCost { fixed: 224 << 20, per_byte: 2, per_raw_kib: 0 };
    type Head = LogsHead;
    type Block = LogsBlock;

    fn head(&self) -> LogsHead {
        LogsHead::new(self.options.chunk_bytes)
    }

    fn open(&self, blob: Arc<dyn Blob>) -> Result<LogsBlock, StoreError> {
        LogsBlock::open(blob, self.indexes.clone())
    }

    fn verify(&self, block: &LogsBlock, summary: &BlockSummary) -> Result<(), StoreError> {
        block.verify(summary)
    }

    fn merge(&self, blocks: &[Arc<LogsBlock>]) -> Result<Vec<BuiltBlock>, StoreError> {
        merge::merge(blocks, self.options.chunk_bytes)
    }
}
