//! The chunks of a block from the first to the last, as a merge and the check of what was written read them: many with one read.
//! Thousands of streams have chunks of a few KiB each, and a read is a request to the object store.

use bytes::Bytes;

use super::block::LogsBlock;
use weir_blocks::StoreError;

/// Read at once, and a chunk that is larger: of real lines some twenty chunks of a small head, and little beside what a merge takes
/// for each block.
const READ_BYTES: u64 = 256 << 10;

/// Chunks may be asked for in any order; those that follow each other are read together.
pub(crate) struct ChunksInOrder<'a> {
    block: &'a LogsBlock,
    /// What was read last, and where it begins in the section of chunks.
    read: Bytes,
    start: u64,
}

impl<'a> ChunksInOrder<'a> {
    /// Nothing is read yet.
    pub(crate) fn new(block: &'a LogsBlock) -> Self {
        Self { block, read: Bytes::new(), start: 0 }
    }

    /// A chunk as it is stored. Errors when it cannot be read.
    pub(crate) fn bytes(&mut self, chunk: u32) -> Result<Bytes, StoreError> {
        let wanted = self.block.chunk_range(chunk);
        if wanted.start < self.start || wanted.end > self.start + self.read.len() as u64 {
            self.read = self.block.read_chunks_once(wanted.start..wanted.end.max(wanted.start + READ_BYTES))?;
            self.start = wanted.start;
        }
        let (start, end) = (wanted.start - self.start, wanted.end - self.start);
        Ok(self.read.slice(start as usize..end as usize))
    }
}
