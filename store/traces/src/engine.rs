//! The traces engine as the aggregator knows it. Wires head, block and merge, and decides nothing.

use std::sync::Arc;

use weir_model::span::SpanBatch;
use weir_model::usage::Amount;

use super::block::TracesBlock;
use super::counters::TracesCounters;
use super::head::TracesHead;
use super::merge;
use super::schema::GroupEntry;
use super::state::Clock;
use weir_blocks::StoreError;
use weir_blocks::block::Blob;
use weir_blocks::engine::{BlockCost, BlockSummary, BuiltBlock, Engine};
use weir_blocks::hidden::Hidden;

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

    /// A head for spans that another process gave: what it drops is counted there, and what is not visible was left out there.
    pub fn head_selected(&self) -> TracesHead {
        TracesHead::selected(Arc::clone(&self.clock))
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

    fn shares(block: &TracesBlock) -> Result<Vec<(Arc<str>, Amount)>, StoreError> {
        let table = block.table()?;
        let share = |entry: &GroupEntry| {
            let amount = Amount { records: entry.spans, bytes: entry.stored_bytes() };
            (Arc::clone(table.tenant_of(entry.segments.start)), amount)
        };
        Ok(block.groups().iter().map(share).collect())
    }

    fn merge(&self, blocks: &[Arc<TracesBlock>]) -> Result<Vec<BuiltBlock>, StoreError> {
        merge::merge(blocks, &self.counters)
    }

    fn count_hidden(&self, block: &TracesBlock, hidden: &Hidden) -> Result<u64, StoreError> {
        merge::count_hidden(block, hidden)
    }

    fn rewrite(&self, block: &Arc<TracesBlock>, without: &Hidden) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
        merge::rewrite(block, without, &self.counters)
    }
}
