//! Lines on their way into chunks. Called by the head and by merge; what a chunk looks like is `chunk.rs`.

use weir_model::id::{SpanId, TraceId};
use weir_model::log::{LogAttributes, LogRecord};

use super::chunk::{EncodedChunk, Lines};
use super::schema::Place;
use super::tokens::TokenSet;
use weir_blocks::StoreError;
use weir_blocks::limits::UNPACKED_BYTES_MAX;

/// What a line takes in the columns beside its body, attributes and context: timestamp, length, place. Real lines take 6
/// to 9 bytes.
const LINE_BYTES: usize = 8;
/// And at most: place 20, timestamp 10, length 5, sequence 10, severity, flags, context 24, attribute set 5.
const LINE_BYTES_MAX: usize = 76;
/// Trace and span id.
const CONTEXT_BYTES: usize = 24;
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

struct OpenChunk {
    lines: Lines,
    tokens: TokenSet,
    /// Of distinct attributes, at most.
    attribute_bytes: usize,
    /// Of the last line, which mostly has the next one's.
    context: (TraceId, SpanId),
}

impl ChunkBuilder {
    /// An empty chunk of a partition.
    pub(crate) fn new(partition: u32) -> Self {
        Self::with_limit(partition, UNPACKED_BYTES_MAX)
    }

    /// One whose columns and bodies are to stay below `bytes_max` each.
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
        chunks.filter(|chunk| chunk.lines.len() > 0).map(|chunk| chunk.lines.finish(chunk.tokens.finish())).collect()
    }
}

impl OpenChunk {
    fn new(partition: u32) -> Self {
        Self { lines: Lines::new(partition), tokens: TokenSet::new(), attribute_bytes: 0, context: Default::default() }
    }

    fn bytes(&self) -> usize {
        let bodies = self.lines.bodies().0.len();
        chunk_bytes(self.lines.len(), bodies, self.lines.has_contexts(), self.attribute_bytes)
    }

    fn has_room(&self, record: &LogRecord<'_>, bytes_max: usize) -> bool {
        let columns = self.lines.len() * LINE_BYTES_MAX + self.attribute_bytes + column_bytes(record);
        let bodies = self.lines.bodies().0.len() + record.body.len();
        columns <= bytes_max && bodies <= bytes_max
    }

    fn push(&mut self, place: Place, record: LogRecord<'_>) {
        self.tokens.add_text(record.body);
        let context = (record.trace_id, record.span_id);
        if std::mem::replace(&mut self.context, context) != context {
            self.add_id("trace_id", context.0.0);
            self.add_id("span_id", context.1.0);
        }
        let set = if record.attributes.is_empty() { 0 } else { self.add_attributes(record.attributes) };
        self.lines.push(place, record, set);
    }

    /// No id is all zeros.
    fn add_id<const N: usize>(&mut self, name: &str, id: [u8; N]) {
        if id == [0; N] {
            return;
        }
        let mut digits = [0; 32];
        hex::encode_to_slice(id, &mut digits[..2 * N]).expect("invariant: an id has at most 16 bytes");
        self.tokens.add_pair(name, &digits[..2 * N]);
    }

    /// The number of a line's attributes in the chunk. The pairs of a set that is new are among the tokens from then on.
    fn add_attributes(&mut self, attributes: LogAttributes<'_>) -> u32 {
        let sets = self.lines.attribute_sets();
        let known = sets.len();
        let set = sets.add(attributes.iter());
        if sets.len() > known {
            self.attribute_bytes += attribute_bytes(attributes);
            attributes.iter().for_each(|(name, value)| self.tokens.add_pair(name, value.as_bytes()));
        }
        set
    }
}
