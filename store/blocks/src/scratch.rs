//! Files for what is being built and has no room in memory: made by the process, without a name, gone with their last handle.
//!
//! An engine is given a [`Scratch`] and opens nothing itself. What it gathers in a [`Growing`] goes to such a file when it becomes large,
//! and from there into the object store in pieces ([`SectionBytes`], [`crate::manifest::ManifestStore::put_block`]).
//! Not here: the directory (`weir-aggregator`).

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::StoreError;

/// Held in memory of what grows, and written at once: a section of less has no file.
const BUFFER_BYTES: usize = 1 << 20;

/// Makes files.
pub trait Scratch: Debug + Send + Sync {
    /// An empty file that nobody else sees. Its space is free again when it is dropped, or its process is killed.
    fn create(&self) -> io::Result<Box<dyn ScratchFile>>;
    /// Where they lie, for messages.
    fn place(&self) -> String;
}

/// A file that is written once, from its start to its end, and read by range.
pub trait ScratchFile: Debug + Send + Sync {
    /// Writes all of it at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Fills the buffer with what begins there.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

/// Files of one process, or none: then everything stays in memory. Clones make files in the same place.
#[derive(Clone, Debug, Default)]
pub struct ScratchSpace(Option<Arc<dyn Scratch>>);

impl ScratchSpace {
    /// What becomes large goes to files of `scratch`.
    pub fn new(scratch: Arc<dyn Scratch>) -> Self {
        Self(Some(scratch))
    }

    /// Whether it has files.
    pub fn is_on_disk(&self) -> bool {
        self.0.is_some()
    }

    /// A file; `None` where everything stays in memory. Errors with `Scratch`.
    pub fn create(&self) -> Result<Option<SpillFile>, StoreError> {
        let Some(scratch) = &self.0 else { return Ok(None) };
        let file = scratch.create().map_err(|source| StoreError::Scratch { place: scratch.place(), source })?;
        Ok(Some(SpillFile { file, place: scratch.place(), length: 0 }))
    }
}

/// A file in the making. Errors with `Scratch`, which says where it lies.
#[derive(Debug)]
pub struct SpillFile {
    file: Box<dyn ScratchFile>,
    place: String,
    length: u64,
}

impl SpillFile {
    /// Appends, and says where that lies.
    pub fn append(&mut self, bytes: &[u8]) -> Result<Range<u64>, StoreError> {
        self.file.append(bytes).map_err(|source| StoreError::Scratch { place: self.place.clone(), source })?;
        let start = self.length;
        self.length += bytes.len() as u64;
        Ok(start..self.length)
    }

    /// Fills the buffer with what begins there.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), StoreError> {
        self.file.read_at(buffer, at).map_err(|source| StoreError::Scratch { place: self.place.clone(), source })
    }
}

/// A section in the making: in memory while it is small.
#[derive(Debug, Default)]
pub struct Growing {
    space: ScratchSpace,
    buffer: Vec<u8>,
    file: Option<(SpillFile, u32)>,
}

impl Growing {
    /// Empty.
    pub fn new(space: ScratchSpace) -> Self {
        Self { space, ..Self::default() }
    }

    /// Appends. Errors with `Scratch`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES && self.space.0.is_some() { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        if self.file.is_none() {
            self.file = self.space.create()?.map(|file| (file, 0));
        }
        if let Some((file, crc)) = &mut self.file {
            file.append(&self.buffer)?;
            *crc = crc32c::crc32c_append(*crc, &self.buffer);
            self.buffer.clear();
        }
        Ok(())
    }

    /// The section. Errors with `Scratch`.
    pub fn finish(mut self) -> Result<SectionBytes, StoreError> {
        if self.file.is_some() {
            self.spill()?;
        }
        Ok(match self.file {
            Some((file, crc)) => SectionBytes::Spilled(Spilled { file: Arc::new(file), crc }),
            None => SectionBytes::Memory(self.buffer),
        })
    }
}

/// The bytes of a section that is built.
#[derive(Clone, Debug)]
pub enum SectionBytes {
    /// As they are.
    Memory(Vec<u8>),
    /// In a file.
    Spilled(Spilled),
}

impl From<Vec<u8>> for SectionBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes)
    }
}

/// A file that is complete.
#[derive(Clone, Debug)]
pub struct Spilled {
    file: Arc<SpillFile>,
    crc: u32,
}

impl Spilled {
    /// Its size, bytes.
    pub(crate) fn size(&self) -> u64 {
        self.file.length
    }

    /// Of all of it.
    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    /// Appends a part of it that lies within.
    pub(crate) fn read(&self, range: Range<u64>, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let start = out.len();
        out.resize(start + (range.end - range.start) as usize, 0);
        self.file.read_at(&mut out[start..], range.start)
    }
}
