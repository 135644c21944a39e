//! Runs of sorted rows, of which a table is merged: in memory, or in a file of the table's. Called by `table`.

use std::cmp::Ordering;
use std::ops::Range;

use weir_blocks::StoreError;
use weir_blocks::scratch::{ScratchSpace, SpillFile};

/// Rows of a run on disk that are read at once when runs are merged: of the five hundred runs of the largest table some 3 MiB.
const READ_ROWS: usize = 256;

/// Bytes of a row's chunk in a run.
const CHUNK_BYTES: usize = size_of::<u32>();

/// Where runs go: one file a table, once it has a run.
pub(super) struct Spill {
    space: ScratchSpace,
    file: Option<SpillFile>,
}

/// Rows one after the other, and the chunk of each.
#[derive(Default)]
pub(super) struct OpenRun {
    rows: Vec<u8>,
    chunks: Vec<u32>,
}

/// Rows in their order, each with its chunk behind it; those that are alike are in the order of their chunks.
pub(super) enum Run {
    Memory(Vec<u8>),
    /// Where in the table's file.
    Spilled(Range<u64>),
}

impl Run {
    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let rows = if let Self::Memory(rows) = self { rows.capacity() } else { 0 };
        rows + size_of::<Self>()
    }
}

impl OpenRun {
    pub(super) fn push(&mut self, row: &[u8], chunk: u32) {
        self.rows.extend_from_slice(row);
        self.chunks.push(chunk);
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// What it holds stays reserved.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.chunks.clear();
    }

    /// Bytes held, and those that sorting takes: a copy of the rows, and of each a key.
    pub(super) fn memory(&self) -> usize {
        let sorting = self.rows.len() + self.chunks.len() * (size_of::<u32>() + size_of::<(u64, u32)>());
        self.rows.capacity() + self.chunks.capacity() * size_of::<u32>() + sorting
    }

    /// As a run.
    pub(super) fn sorted(&self, width: usize) -> Vec<u8> {
        let row = |at: u32| &self.rows[at as usize * width..][..width];
        let mut order: Vec<(u64, u32)> = (0..self.chunks.len() as u32).map(|at| (head(row(at)), at)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| row(a.1).cmp(row(b.1))).then(a.1.cmp(&b.1)));
        let mut run = Vec::with_capacity(self.rows.len() + self.chunks.len() * CHUNK_BYTES);
        for (_, at) in order {
            run.extend_from_slice(row(at));
            run.extend_from_slice(&self.chunks[at as usize].to_le_bytes());
        }
        run
    }
}

/// A run that is read from its first row to its last.
pub(super) struct RunReader<'a> {
    width: usize,
    /// Rows of the run, as far as they are in memory.
    rows: Vec<u8>,
    at: usize,
    /// What of the run follows in the table's file.
    left: Option<(&'a SpillFile, Range<u64>)>,
    head: u64,
    /// Of rows that are alike that of the earlier run is first, whose chunks are.
    number: usize,
}

impl<'a> RunReader<'a> {
    /// At its first row; `None` when it has none.
    pub(super) fn open(
        run: Run,
        (width, number): (usize, usize),
        file: Option<&'a SpillFile>,
    ) -> Result<Option<Self>, StoreError> {
        let (rows, left) = match (run, file) {
            (Run::Memory(rows), _) => (rows, None),
            (Run::Spilled(range), Some(file)) => (Vec::new(), Some((file, range))),
            (Run::Spilled(_), None) => return Err(StoreError::engine("read a run of rows", "its table has no file")),
        };
        let mut reader = Self { width, rows, at: 0, left, head: 0, number };
        Ok(reader.settle()?.then_some(reader))
    }

    pub(super) fn row(&self) -> &[u8] {
        &self.rows[self.at..self.at + self.width]
    }

    pub(super) fn chunk(&self) -> u32 {
        let bytes = self.rows[self.at + self.width..].first_chunk::<CHUNK_BYTES>();
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Goes to the next row; false when there is none.
    pub(super) fn advance(&mut self) -> Result<bool, StoreError> {
        self.at += self.width + CHUNK_BYTES;
        self.settle()
    }

    fn settle(&mut self) -> Result<bool, StoreError> {
        if self.at == self.rows.len()
            && let Some((file, left)) = &mut self.left
            && !left.is_empty()
        {
            let bytes = (left.end - left.start).min((READ_ROWS * (self.width + CHUNK_BYTES)) as u64);
            self.rows.resize(bytes as usize, 0);
            self.at = 0;
            file.read_at(&mut self.rows, left.start)?;
            left.start += bytes;
        }
        let is_there = self.at < self.rows.len();
        if is_there {
            self.head = head(self.row());
        }
        Ok(is_there)
    }
}

impl PartialEq for RunReader<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for RunReader<'_> {}

impl PartialOrd for RunReader<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RunReader<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let rows = || self.row().cmp(other.row());
        self.head.cmp(&other.head).then_with(rows).then(self.number.cmp(&other.number))
    }
}

impl Spill {
    pub(super) fn new(space: ScratchSpace) -> Self {
        Self { space, file: None }
    }

    pub(super) fn is_on_disk(&self) -> bool {
        self.space.is_on_disk()
    }

    /// The file, if there is one.
    pub(super) fn file(&self) -> Option<&SpillFile> {
        self.file.as_ref()
    }

    /// A run, on disk if there is one.
    pub(super) fn put(&mut self, run: Vec<u8>) -> Result<Run, StoreError> {
        if self.file.is_none() {
            self.file = self.space.create()?;
        }
        match &mut self.file {
            Some(file) => file.append(&run).map(Run::Spilled),
            None => Ok(Run::Memory(run)),
        }
    }
}

/// The first eight bytes as a number that is ordered as they are.
fn head(row: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = row.len().min(8);
    bytes[..length].copy_from_slice(&row[..length]);
    u64::from_be_bytes(bytes)
}
