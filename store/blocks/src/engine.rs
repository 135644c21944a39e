//! What the aggregator asks of an engine. The same three words in each: head, block, merge.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_model::select::{Budget, ReadError};
use weir_model::signal::Signal;
use weir_model::usage::{Amount, Stored};
use weir_model::wire::{Kind, Section};

use crate::StoreError;
use crate::block::BlockData;
use crate::hidden::Hidden;

/// Where a section comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Partition of the topic.
    pub partition: u32,
    /// Offset of the record.
    pub offset: u64,
    /// Ordinal of the section's first line in the record, counted with dropped duplicates: ordinals never shift.
    pub ordinal: u32,
}

/// What the manifest says of a block, apart from its name and size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSummary {
    /// Earliest timestamp, Unix nanoseconds.
    pub first: i64,
    /// Latest timestamp, inclusive.
    pub last: i64,
    /// Lines, samples or spans.
    pub records: u64,
    /// Bytes before compression: line bodies, 16 B a sample, OTLP-like size of spans.
    pub raw_bytes: u64,
    /// Seconds to which its samples have been downsampled, of the tenant with the coarsest; 0 where all are as they came.
    pub resolution: u32,
}

/// A block that is built and not yet stored.
#[derive(Clone, Debug, Default)]
pub struct BuiltBlock {
    /// For the manifest.
    pub summary: BlockSummary,
    /// For the file.
    pub data: BlockData,
}

/// Unsealed records of one partition. Takes and is read at the same time: an insert waits for readers only as long as
/// it takes to copy pointers.
pub trait Head: Send + Sync + 'static {
    /// What it takes.
    type Batch: Signal;
    /// Takes one section's records. On an error nothing of the section is kept.
    fn insert(&self, position: Position, section: &Section<Self::Batch>) -> Result<(), StoreError>;
    /// Memory held, roughly.
    fn bytes(&self) -> usize;
    /// Memory beyond that, of what it goes on with of the head before and has not used yet, unless that one counts it still.
    fn handed_on_bytes(&self) -> usize {
        0
    }
    /// Lines, samples or spans.
    fn records(&self) -> u64;
    /// Everything, as blocks (none when empty). The head stays readable; nobody inserts any more.
    fn build(&self) -> Result<Vec<BuiltBlock>, StoreError>;
}

/// What making blocks takes in memory at most: what of the output and of its index in the making is not on disk, and what is unpacked of
/// the sources. Measured with a counting allocator; `aggregator/src/block_memory.rs` holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCost {
    /// Whatever goes in.
    pub fixed: u64,
    /// For each byte of the merged objects, or of the head that is sealed, beyond the head itself.
    pub per_byte: u64,
    /// For each KiB of the records in merged objects before compression.
    pub per_raw_kib: u64,
}

impl BlockCost {
    /// What sealing a head of so many bytes takes.
    pub fn of_head(&self, bytes: u64) -> u64 {
        self.fixed.saturating_add(self.of(bytes, 0))
    }

    /// What one block adds to a merge.
    pub fn of(&self, size: u64, raw_bytes: u64) -> u64 {
        size.saturating_mul(self.per_byte).saturating_add((raw_bytes / 1024).saturating_mul(self.per_raw_kib))
    }
}

/// An engine: logs, metrics or traces.
pub trait Engine: Send + Sync + 'static {
    /// What it takes.
    type Batch: Signal;
    /// Of the batch.
    const KIND: Kind = Self::Batch::KIND;
    /// What a merge of its blocks takes in memory.
    const MERGE: BlockCost;
    /// What sealing a head takes in memory.
    const SEAL: BlockCost;
    /// Its head.
    type Head: Head<Batch = Self::Batch>;
    /// An opened block.
    type Block: Send + Sync + 'static;

    /// An empty head for a partition.
    fn head(&self) -> Self::Head;
    /// An empty head for a partition whose head before this one takes nothing more; it may go on with what that knows beside records.
    fn next_head(&self, _before: &Self::Head) -> Self::Head {
        self.head()
    }
    /// Opens a block: reads its directory and what every query needs.
    fn open(&self, blob: Arc<dyn crate::block::Blob>) -> Result<Self::Block, StoreError>;
    /// Decodes everything of an opened block once, a piece at a time, and counts. Errors with `Corrupt` when a reader could
    /// not read it, or finds another number of records than the summary says: then nobody may be told of the block.
    fn verify(&self, block: &Self::Block, summary: &BlockSummary) -> Result<(), StoreError>;
    /// What a block has of each tenant, which may stand several times: records, and the bytes of the chunks or groups that hold them. What
    /// all share, names and indexes, is nobody's.
    fn shares(block: &Self::Block) -> Result<Vec<(Arc<str>, Amount)>, StoreError>;
    /// Several blocks as (usually) one, nothing lost and nothing doubled, ids kept. Reads them piece by piece, each once;
    /// takes at most [`Self::MERGE`].
    fn merge(&self, blocks: &[Arc<Self::Block>]) -> Result<Vec<BuiltBlock>, StoreError>;
    /// A block with each tenant's samples at the resolution that is asked of it, seconds (0: as they are); `None` when that changes none, which
    /// is told from what lies in memory. Takes at most [`Self::MERGE`]. Of metrics: nothing else can be downsampled.
    fn downsample(
        &self,
        _block: &Arc<Self::Block>,
        _resolution: &dyn Fn(&str) -> u32,
    ) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
        Ok(None)
    }
    /// How many records of a block are hidden at least, as far as its directory tells.
    fn count_hidden(&self, block: &Self::Block, hidden: &Hidden) -> Result<u64, StoreError>;
    /// A block less what is hidden, ids kept; no block when nothing is left, and `None` when nothing of it is hidden. Takes at most
    /// [`Self::MERGE`].
    fn rewrite(&self, block: &Arc<Self::Block>, without: &Hidden) -> Result<Option<Vec<BuiltBlock>>, StoreError>;
}

/// Adds what these blocks have of each tenant. Errors when the budget, which is asked before each, says to stop.
pub fn add_shares<'a, E: Engine>(
    blocks: impl IntoIterator<Item = &'a Arc<E::Block>>,
    stored: &mut Stored,
    budget: &dyn Budget,
) -> Result<(), ReadError> {
    for block in blocks {
        budget.check()?;
        match E::shares(block) {
            Ok(shares) => shares.iter().for_each(|(tenant, amount)| stored.add(E::KIND, tenant, *amount)),
            Err(error) => stored.missing.push(error.to_string()),
        }
    }
    Ok(())
}

/// Errors when a block of this path has another number of records than its summary says.
pub fn check_records(path: &str, counted: u64, summary: &BlockSummary) -> Result<(), StoreError> {
    if counted == summary.records {
        return Ok(());
    }
    Err(StoreError::corrupt(path, format!("{counted} records can be read, {} were written", summary.records)))
}
