//! Reading of the one file that is read now, block by block. Called by [`super::LogFileSet`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use weir_model::time::UnixNanos;

use crate::config::FileFormat;
use crate::tail::assemble::{Assembler, Chunk, Snapshot};
use crate::tail::identity::{FileId, Fingerprint};

/// Read at once; grows for a line that is longer, up to what the assembler cuts at.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_BYTES_MAX: usize = 4 << 20;

/// The file being read.
pub(super) struct RotatedFile {
    pub(super) file: File,
    pub(super) id: FileId,
    pub(super) epoch: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) assembler: Assembler,
    pub(super) block_bytes: usize,
    /// Bytes of a compressed file that were not unpacked; 0 once they are declared.
    pub(super) cut: u64,
    /// Since when nothing new has come, Unix nanoseconds; 0 while something comes.
    pub(super) idle_since: UnixNanos,
}

/// What one step brought.
pub(in crate::tail) enum Step {
    /// Lines, and from where to go on once they are acknowledged.
    Lines { chunks: Vec<Chunk>, snapshot: Snapshot, fingerprint: Fingerprint, bytes: u64 },
    /// Nothing new.
    Idle,
    /// The file is over: these are its last lines. Then [`LogFileSet::begin_next`], once all is acknowledged.
    Ended { chunks: Vec<Chunk>, snapshot: Snapshot, fingerprint: Fingerprint },
}

impl RotatedFile {
    /// Reads one block; the bytes consumed.
    pub(super) fn read(&mut self, now: UnixNanos) -> io::Result<u64> {
        if !self.fingerprint.is_full() {
            self.fingerprint = Fingerprint::of(&self.file)?;
        }
        let block = self.block()?;
        let consumed = self.assembler.feed(&block, now);
        if consumed == 0 && block.len() == self.block_bytes {
            // A line longer than the block: the assembler cuts it before the block grows beyond reason.
            self.block_bytes = (self.block_bytes * 2).min(BLOCK_BYTES_MAX);
            return self.read(now);
        }
        self.block_bytes = BLOCK_BYTES;
        Ok(consumed as u64)
    }

    fn block(&self) -> io::Result<Vec<u8>> {
        let mut block = vec![0; self.block_bytes];
        let mut length = 0;
        while length < block.len() {
            match self.file.read_at(&mut block[length..], self.assembler.position() + length as u64)? {
                0 => break,
                count => length += count,
            }
        }
        block.truncate(length);
        Ok(block)
    }

    pub(super) fn ended(&mut self) -> Step {
        Step::Ended { chunks: self.assembler.take(), snapshot: self.assembler.snapshot(), fingerprint: self.fingerprint }
    }

    /// To its end. `goes_on`: the file that comes next is the one that was written next, so that an open line goes on there.
    pub(super) fn finish(&mut self, now: UnixNanos, goes_on: bool) -> io::Result<()> {
        let rest = self.block()?;
        self.assembler.finish(&rest, now);
        if !goes_on || self.cut > 0 {
            self.assembler.close_all();
        }
        Ok(())
    }
}

/// A rotated file may still be written for a moment: engines switch at once, other programs when they are told to.
pub(super) fn grace(format: FileFormat) -> UnixNanos {
    match format {
        FileFormat::Plain => 5_000_000_000,
        FileFormat::Cri | FileFormat::DockerJson => 100_000_000,
    }
}
