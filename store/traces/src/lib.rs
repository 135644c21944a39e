//! The traces engine: spans in, whole traces out. Format of its blocks: `docs/formats/traces_block.md`.
//!
//! - [`schema`]: what a block is made of: section names, limits, directory entries.
//! - `content`: attributes, values and origins as bytes, and the hash that tells a repetition from a new span.
//! - `state`: how far a trace has come: open, quiescent, sealed, reopened.
//! - [`head`]: unsealed spans by trace; `memory`: what they take.
//! - `attributes`, `group`, `filter`: the codecs: attribute lists as columns, neighbouring traces, membership of ids.
//! - `writer`, [`block`]: traces into a block, and out again.
//! - `merge`: several blocks into one.
//! - [`reader`], `search`, `tags`: what queries see.
//! - [`counters`]: what was dropped, and why.
//!
//! It never sees TraceQL, never corrects a clock, and never drops a span that is not the repetition of another.

mod attributes;
pub mod block;
mod content;
pub mod counters;
mod filter;
#[cfg(test)]
mod fuzz_tests;
mod group;
pub mod head;
#[cfg(test)]
mod limits_tests;
mod memory;
#[cfg(test)]
mod memory_tests;
mod merge;
pub mod reader;
mod schema;
mod search;
mod state;
mod tags;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use weir_model::span::SpanBatch;
use weir_model::time::UnixNanos;

pub use block::TracesBlock;
pub use content::{KnownOrigin, OriginSpan};
pub use counters::TracesCounters;
pub use head::{HeadTrace, TracesHead};
pub use reader::TracesReader;
pub use schema::KINDS;
pub use state::Arrival;

use weir_blocks::StoreError;
use weir_blocks::block::Blob;
use weir_blocks::engine::{BlockCost, BlockSummary, BuiltBlock, Engine};

/// Tells the time, Unix nanoseconds: of arrivals, and of how long a trace has been idle.
pub type Clock = Arc<dyn Fn() -> UnixNanos + Send + Sync>;

/// The traces engine. Cloning shares clock and counters.
#[derive(Clone)]
pub struct TracesEngine {
    clock: Clock,
    counters: TracesCounters,
}

impl TracesEngine {
    /// With the clock that stamps arrivals, and the counters that its heads and merges tell of what they drop.
    pub fn new(clock: Clock, counters: TracesCounters) -> Self {
        Self { clock, counters }
    }

    /// A head for spans that another process has: what it drops is counted there.
    pub fn head_uncounted(&self) -> TracesHead {
        TracesHead::new(Arc::clone(&self.clock), TracesCounters::default())
    }
}

impl Engine for TracesEngine {
    type Batch = SpanBatch;
    const MERGE: BlockCost = BlockCost { fixed: 16 << 20, per_byte: 10, per_raw_kib: 512 };
    const SEAL: BlockCost = BlockCost { fixed: 32 << 20, per_byte: 2, per_raw_kib: 0 };
    type Head = TracesHead;
    type Block = TracesBlock;

    fn head(&self) -> TracesHead {
        TracesHead::new(Arc::clone(&self.clock), self.counters.clone())
    }

    fn open(&self, blob: Arc<dyn Blob>) -> Result<TracesBlock, StoreError> {
        TracesBlock::open(blob)
    }

    fn verify(&self, block: &TracesBlock, summary: &BlockSummary) -> Result<(), StoreError> {
        block.verify(summary)
    }

    fn merge(&self, blocks: &[Arc<TracesBlock>]) -> Result<Vec<BuiltBlock>, StoreError> {
        merge::merge(blocks, &self.counters)
    }
}
