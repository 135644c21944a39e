//! The chunks of a block from the first to the last, as a merge and the check of what was written read them: each pack is opened once, and
//! many are read at once. Thousands of streams have chunks of a few KiB each, and a read is a request to the object store.

use std::sync::Arc;

use bytes::Bytes;

use super::block::LogsBlock;
use super::opened::OpenedPack;
use super::source_lines::SourceLines;
use weir_blocks::StoreError;

/// Read at once, and a pack that is larger: little beside what a merge takes for each block.
const READ_BYTES: u64 = 256 << 10;

/// Chunks may be asked for in any order; packs that follow each other are read together.
pub(crate) struct ChunksInOrder<'a> {
    block: &'a LogsBlock,
    /// What was read last, and where it begins in the section of chunks.
    read: Bytes,
    start: u64,
    /// The pack that was opened last, by its number.
    opened: Option<(u32, Arc<OpenedPack>)>,
}

impl<'a> ChunksInOrder<'a> {
    /// Nothing is read yet.
    pub(crate) fn new(block: &'a LogsBlock) -> Self {
        Self { block, read: Bytes::new(), start: 0, opened: None }
    }

    /// The lines of a chunk. Errors when it cannot be read.
    pub(crate) fn lines(&mut self, chunk: u32) -> Result<SourceLines, StoreError> {
        let number = self.block.pack_of(chunk);
        let pack = match &self.opened {
            Some((opened, pack)) if *opened == number => Arc::clone(pack),
            _ => {
                self.opened = None;
                let bytes = self.bytes(chunk)?;
                if let Some(lines) = self.block.decoded_one(chunk, &bytes) {
                    return lines;
                }
                let pack = Arc::new(self.block.stored(chunk, bytes)?.into());
                self.opened = Some((number, Arc::clone(&pack)));
                pack
            }
        };
        Ok(self.block.lines_of(chunk, pack))
    }

    /// The pack of a chunk as it is stored.
    fn bytes(&mut self, chunk: u32) -> Result<Bytes, StoreError> {
        let wanted = self.block.pack_range(chunk);
        if wanted.start < self.start || wanted.end > self.start + self.read.len() as u64 {
            self.read = self.block.read_chunks_once(wanted.start..wanted.end.max(wanted.start + READ_BYTES))?;
            self.start = wanted.start;
        }
        let (start, end) = (wanted.start - self.start, wanted.end - self.start);
        Ok(self.read.slice(start as usize..end as usize))
    }
}
