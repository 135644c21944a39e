//! The metrics engine: scrapes in, series out. Format of its blocks: `docs/formats/metrics_block.md`.
//!
//! - [`schema`]: what a block is made of: section names, limits, the dictionary of label pairs, the order of series.
//! - [`head`]: unsealed scrapes: a table per (target, schema), so that a sample costs no look-up.
//! - `index`: its names, each once, which the next head goes on with, as `names`; `head_tables`: what is a head's own; `head_postings`: which series
//!   carry a label; `order`: all series in order; `kept_labels`: label sets of heads and blocks that readers asked for.
//! - [`postings`]: label matchers to series ids, for heads and blocks alike.
//! - `values`, `split`, `timestamps`, `times`, `group`: the sample codecs.
//! - `aggregates`: what downsampling leaves of samples.
//! - What samples have beside numbers: `head_extras` in a head; `histogram_runs`, `starts` and `exemplars`, the codecs; `chunks`, where
//!   their bytes lie in a block; `extras_writer` and `extras_reader`, into a block and out again.
//! - `writer`, [`block`], `series_table`: series into a block, and out again.
//! - `plan`: a select, compiled once; `head_cursor`, `block_cursor`: what passes of a head or a block, in the order of labels;
//!   `stored`: the samples of one series there, decoded when asked; `walk`, [`rows`]: what these are read from.
//! - `merge`: several blocks into one; `pieces`: the samples of one series of them, as far as memory goes.
//! - [`reader`]: what queries see; `present`: which series are there at an instant; `cardinality`: how many series carry what.
//! - [`counters`]: what was dropped, and why.
//!
//! It never sees PromQL, and it knows no time but the samples' own.

mod aggregates;
pub mod block;
mod block_cursor;
mod cardinality;
mod chunks;
pub mod counters;
mod exemplars;
mod extras_reader;
mod extras_writer;
#[cfg(test)]
mod fuzz_tests;
mod group;
pub mod head;
mod head_cursor;
mod head_extras;
mod head_postings;
mod head_tables;
mod histogram_runs;
mod index;
mod kept_labels;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod memory_tests;
mod merge;
mod names;
mod order;
mod pieces;
#[cfg(test)]
mod pieces_tests;
mod plan;
mod postings;
mod present;
pub mod reader;
pub mod rows;
mod samples;
mod schema;
mod series_table;
mod split;
mod starts;
mod stored;
mod times;
mod timestamps;
mod values;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use weir_model::metric::MetricBatch;
use weir_model::usage::Amount;

pub use block::MetricsBlock;
pub use counters::MetricsCounters;
pub use head::MetricsHead;
pub use reader::MetricsReader;

use kept_labels::LabelRoom;
use weir_blocks::StoreError;
use weir_blocks::block::Blob;
use weir_blocks::engine::{BlockCost, BlockSummary, BuiltBlock, Engine};
use weir_blocks::hidden::Hidden;

/// Of a merge's memory, what the samples of one series may take of several blocks, and of the one that is rewritten: a series of more goes on
/// in the next block, so that any two blocks can be merged. Whatever a merge has written can be rewritten; a block that was written before merges
/// were bounded may have more of one series than a rewrite may take, which needs a larger `aggregator.compaction_memory_max` then.
const SERIES_PART: u64 = 8;
const REWRITTEN_SERIES_PART: u64 = 2;
/// As `aggregator.compaction_memory_max` is by default.
const MERGE_MEMORY: u64 = 1 << 30;

/// The metrics engine. Cloning shares the counters, and the room for label sets.
#[derive(Clone)]
pub struct MetricsEngine {
    counters: MetricsCounters,
    merge_memory: u64,
    /// Of label sets that its heads and blocks keep.
    room: Arc<LabelRoom>,
}

impl Default for MetricsEngine {
    fn default() -> Self {
        Self::new(MetricsCounters::default())
    }
}

impl MetricsEngine {
    /// With the counters that its heads and merges tell of what they drop.
    pub fn new(counters: MetricsCounters) -> Self {
        Self { counters, merge_memory: MERGE_MEMORY, room: Arc::default() }
    }

    /// Whose merges may take so many bytes each: [`Engine::MERGE`] and [`Self::series_memory`] together.
    pub fn with_merge_memory(self, merge_memory: u64) -> Self {
        Self { merge_memory, ..self }
    }

    fn rewriting(&self) -> (&MetricsCounters, u64) {
        (&self.counters, self.merge_memory / REWRITTEN_SERIES_PART)
    }

    /// What a merge of so much memory takes for the samples of the series that it is at, beyond [`Engine::MERGE`].
    pub fn series_memory(merge_memory: u64) -> u64 {
        merge_memory / SERIES_PART
    }
}

impl Engine for MetricsEngine {
    type Batch = MetricBatch;
    const MERGE: BlockCost = BlockCost { fixed: 24 << 20, per_byte: 4, per_raw_kib: 128 };
    const SEAL: BlockCost = BlockCost { fixed: 32 << 20, per_byte: 2, per_raw_kib: 0 };
    type Head = MetricsHead;
    type Block = MetricsBlock;

    fn head(&self) -> MetricsHead {
        MetricsHead::new(self.counters.clone(), &self.room)
    }

    fn next_head(&self, before: &MetricsHead) -> MetricsHead {
        before.next()
    }

    fn open(&self, blob: Arc<dyn Blob>) -> Result<MetricsBlock, StoreError> {
        MetricsBlock::open_within(blob, &self.room)
    }

    fn verify(&self, block: &MetricsBlock, summary: &BlockSummary) -> Result<(), StoreError> {
        block.verify(summary)
    }

    fn shares(block: &MetricsBlock) -> Result<Vec<(Arc<str>, Amount)>, StoreError> {
        Ok(block.shares())
    }

    fn merge(&self, blocks: &[Arc<MetricsBlock>]) -> Result<Vec<BuiltBlock>, StoreError> {
        merge::merge(blocks, (&self.counters, Self::series_memory(self.merge_memory)))
    }

    fn downsample(
        &self,
        block: &Arc<MetricsBlock>,
        resolution: &dyn Fn(&str) -> u32,
    ) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
        merge::downsample(block, resolution, self.rewriting())
    }

    fn count_hidden(&self, block: &MetricsBlock, hidden: &Hidden) -> Result<u64, StoreError> {
        Ok(merge::count_hidden(block, hidden))
    }

    fn rewrite(&self, block: &Arc<MetricsBlock>, without: &Hidden) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
        merge::rewrite(block, without, self.rewriting())
    }
}
