//! Lines on their way into chunks. Called by the head; those of several streams are for `packs.rs`, and what a chunk looks like is
//! `chunk.rs`.

use weir_model::log::{LogAttributes, LogRecord};

use super::chunk::{EncodedChunk, Lines, PackedChunk};
use super::schema::Place;
use weir_blocks::StoreError;
use weir_blocks::limits::UNPACKED_BYTES_MAX;

/// What a line takes in the columns beside its body, attributes and context: timestamp, length, place. Real lines take 6
/// to 9 bytes.
const LINE_BYTES: usize = 8;
/// And at most: place 20, timestamp 10, length 5, sequence 10, severity, flags, context 24, attribute set 5.
const LINE_BYTES_MAX: usize = 76;
/// Of real lines, with their ids and attributes.
const REAL_LINE_BYTES: usize = 256;
/// Trace and span id.
const CONTEXT_BYTES: usize = 24;
/// How much larger than bodies a column may be: a variable of a digit and what separates it from the next one are a byte of the
/// template and up to eleven that say how it is stored, for at least two lines.
pub(crate) const COLUMN_GROWTH_MAX: usize = 4;
/// The lengths of an attribute's name and value, at most.
const LENGTHS_BYTES_MAX: usize = 10;

/// Bytes of a line's attributes in the columns, at most.
fn attribute_bytes(attributes: LogAttributes<'_>) -> usize {
    attributes.text_bytes() + attributes.len() * LENGTHS_BYTES_MAX
}

/// Bytes that a line alone takes in the columns, at most.
fn column_bytes(record: &LogRecord<'_>) -> usize {
    LINE_BYTES_MAX + attribute_bytes(record.attributes)
}

/// Bytes of a line with all that is its own, at most.
pub(crate) fn record_bytes(record: &LogRecord<'_>) -> usize {
    record.body.len() + record.attributes.text_bytes()
}

/// Bytes before compression of so many lines with so many bytes of bodies and of distinct attributes.
pub(crate) fn chunk_bytes(lines: usize, bodies: usize, contexts: bool, attributes: usize) -> usize {
    bodies + attributes + lines * (LINE_BYTES + if contexts { CONTEXT_BYTES } else { 0 })
}

/// Gathers lines until there are enough. Makes a second chunk of its own accord where a first could not be read again.
pub(crate) struct ChunkBuilder {
    partition: u32,
    bytes_max: usize,
    open: OpenChunk,
    closed: Vec<OpenChunk>,
}

/// Lines in the making: of a chunk, or of a pack.
pub(super) struct OpenChunk {
    lines: Lines,
    /// Of distinct attributes, at most.
    attribute_bytes: usize,
}

impl ChunkBuilder {
    /// An empty chunk of a partition.
    pub(crate) fn new(partition: u32) -> Self {
        Self::with_limit(partition, UNPACKED_BYTES_MAX / COLUMN_GROWTH_MAX)
    }

    /// One whose attributes and bodies are to stay below `bytes_max` each: no column is [`COLUMN_GROWTH_MAX`] times as large.
    pub(crate) fn with_limit(partition: u32, bytes_max: usize) -> Self {
        Self { partition, bytes_max, open: OpenChunk::new(partition), closed: Vec::new() }
    }

    /// Makes room for so many lines with so many bytes of bodies.
    pub(crate) fn reserve(&mut self, lines: usize, body_bytes: usize) {
        self.open.lines.reserve(lines, body_bytes);
    }

    /// Bytes so far, before compression: bodies, attributes, ids and the other columns.
    pub(crate) fn bytes(&self) -> usize {
        self.closed.iter().chain([&self.open]).map(OpenChunk::bytes).sum()
    }

    /// Appends the next line of the stream.
    pub(crate) fn push(&mut self, place: Place, record: LogRecord<'_>) {
        if self.open.lines.len() > 0 && !self.open.has_room(&record, self.bytes_max) {
            self.closed.push(std::mem::replace(&mut self.open, OpenChunk::new(self.partition)));
        }
        self.open.push(place, record);
    }

    /// The chunks, mostly one; none when there is no line.
    pub(crate) fn finish(self) -> Result<Vec<EncodedChunk>, StoreError> {
        let chunks = self.closed.into_iter().chain([self.open]);
        chunks.filter(|chunk| chunk.lines.len() > 0).map(|chunk| chunk.lines.finish()).collect()
    }
}

impl OpenChunk {
    pub(super) fn new(partition: u32) -> Self {
        Self { lines: Lines::new(partition), attribute_bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Makes room for so many bytes of lines, as real ones are.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.lines.reserve(bytes / REAL_LINE_BYTES, bytes);
    }

    /// See [`Lines::finish_pack`].
    pub(super) fn finish_pack(&self, ends: &[u32]) -> Result<(Vec<u8>, Vec<PackedChunk>), StoreError> {
        self.lines.finish_pack(ends)
    }

    /// Before compression.
    pub(super) fn bytes(&self) -> usize {
        let bodies = self.lines.bodies().0.len();
        chunk_bytes(self.lines.len(), bodies, self.lines.has_contexts(), self.attribute_bytes)
    }

    /// Whether no column grows above [`COLUMN_GROWTH_MAX`] times `bytes_max` with a line more.
    pub(super) fn has_room(&self, record: &LogRecord<'_>, bytes_max: usize) -> bool {
        let columns = self.lines.len() * LINE_BYTES_MAX + self.attribute_bytes + column_bytes(record);
        let bodies = self.lines.bodies().0.len() + record.body.len();
        columns <= bytes_max && bodies <= bytes_max
    }

    pub(super) fn push(&mut self, place: Place, record: LogRecord<'_>) {
        let set = if record.attributes.is_empty() { 0 } else { self.add_attributes(record.attributes) };
        self.lines.push(place, record, set);
    }

    /// The number of a line's attributes in the chunk.
    fn add_attributes(&mut self, attributes: LogAttributes<'_>) -> u32 {
        let sets = self.lines.attribute_sets();
        let known = sets.len();
        let set = sets.add(attributes.iter());
        if sets.len() > known {
            self.attribute_bytes += attribute_bytes(attributes);
        }
        set
    }
}
