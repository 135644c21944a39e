//! A chunk: lines of one stream, in source order. Here are its lines as columns in memory, and how chunks of version 1 are read; how
//! they are encoded is `encode.rs`. Drawn in `docs/formats/logs_block.md`.
//!
//! Not here: which chunks exist ([`super::writer`]), and what their tokens are good for ([`super::predicate`]).

use bytes::Bytes;
use weir_model::id::{LineId, SpanId, TraceId};
use weir_model::log::{AttributeSets, LogRecord};
use weir_model::memory::{allocation, shared};

use super::context::Row;
use super::encode;
use super::frame::FrameOne;
use super::places::{self, PlaceRun};
use super::rollup::{self, ChunkDetails};
use super::schema::{ChunkMeta, Place};
use super::stored::{flag, read_bytes};
use super::tokens::Tokens;
use weir_blocks::StoreError;
use weir_blocks::columns::Reader;

/// A chunk as stored, and what is known of it.
pub(crate) struct EncodedChunk {
    pub(crate) bytes: Bytes,
    pub(crate) meta: ChunkMeta,
    pub(crate) tokens: Tokens,
}

impl EncodedChunk {
    /// Memory held.
    pub(crate) fn memory(&self) -> usize {
        let details = self.meta.details.as_ref().map_or(0, ChunkDetails::memory);
        // Twice a pointer to it: its place in a list that grows by doubling.
        shared(size_of::<Self>())
            + 2 * size_of::<usize>()
            + details
            + self.tokens.memory()
            + self.meta.rollups.memory()
            + allocation(self.bytes.len())
    }
}

/// Lines in columns, decoded.
#[derive(Default)]
pub(crate) struct Lines {
    pub(super) partition: u32,
    pub(super) places: Vec<Place>,
    pub(super) timestamps: Vec<i64>,
    pub(super) sequences: Vec<u64>,
    pub(super) ends: Vec<u32>,
    pub(super) bodies: Vec<u8>,
    pub(super) severities: Vec<u8>,
    pub(super) flags: Vec<u8>,
    /// Empty when no line has one.
    contexts: Vec<(TraceId, SpanId)>,
    /// The first is "none".
    pub(super) attribute_sets: AttributeSets,
    /// Numbers of sets; empty when no line has any.
    attributes: Vec<u32>,
}

impl Lines {
    /// None yet.
    pub(crate) fn new(partition: u32) -> Self {
        let mut attribute_sets = AttributeSets::default();
        attribute_sets.add(std::iter::empty());
        Self { partition, attribute_sets, ..Self::default() }
    }

    /// Makes room for so many lines with so many bytes of bodies.
    pub(crate) fn reserve(&mut self, lines: usize, body_bytes: usize) {
        self.places.reserve(lines);
        self.timestamps.reserve(lines);
        self.sequences.reserve(lines);
        self.ends.reserve(lines);
        self.severities.reserve(lines);
        self.flags.reserve(lines);
        self.bodies.reserve(body_bytes);
    }

    /// The distinct attributes of its lines.
    pub(crate) fn attribute_sets(&mut self) -> &mut AttributeSets {
        &mut self.attribute_sets
    }

    /// Appends a line with attributes of this number.
    pub(crate) fn push(&mut self, place: Place, record: LogRecord<'_>, attributes: u32) {
        let count = self.places.len();
        self.bodies.extend_from_slice(record.body);
        self.ends.push(self.bodies.len() as u32);
        self.places.push(place);
        self.timestamps.push(record.timestamp);
        self.sequences.push(record.sequence);
        self.severities.push(record.severity);
        self.flags.push(record.flags);
        if self.has_contexts() || !record.trace_id.is_none() || !record.span_id.is_none() {
            self.contexts.resize(count, Default::default());
            self.contexts.push((record.trace_id, record.span_id));
        }
        if !self.attributes.is_empty() || attributes != 0 {
            self.attributes.resize(count, 0);
            self.attributes.push(attributes);
        }
    }

    /// Whether any line has a context.
    pub(crate) fn has_contexts(&self) -> bool {
        !self.contexts.is_empty()
    }

    /// The chunk. Errors when its reader would refuse it.
    pub(crate) fn finish(&self) -> Result<EncodedChunk, StoreError> {
        let (bytes, tokens) = encode::encode(self)?;
        Ok(EncodedChunk { bytes: bytes.into(), meta: self.meta(), tokens })
    }

    /// Ids and attributes of line `i`.
    pub(super) fn row(&self, i: usize) -> Row {
        let (trace_id, span_id) = self.contexts.get(i).copied().unwrap_or_default();
        (trace_id, span_id, self.attributes.get(i).copied().unwrap_or_default())
    }

    /// Number of lines.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where its lines lie.
    pub(crate) fn place_runs(&self) -> impl Iterator<Item = PlaceRun> {
        places::runs(&self.places)
    }

    /// Which line lies at a place.
    pub(crate) fn find(&self, place: Place) -> Option<usize> {
        self.places.iter().position(|own| *own == place)
    }

    /// Line `i`.
    pub(crate) fn get(&self, i: usize) -> (LineId, LogRecord<'_>) {
        let (offset, ordinal) = self.places[i];
        let (trace_id, span_id, attributes) = self.row(i);
        let record = LogRecord {
            timestamp: self.timestamps[i],
            sequence: self.sequences[i],
            body: &self.bodies[super::filter::span(&self.ends, i)],
            severity: self.severities[i],
            flags: self.flags[i],
            trace_id,
            span_id,
            attributes: self.attribute_sets.get(attributes),
        };
        (LineId { partition: self.partition, offset, ordinal }, record)
    }

    /// Bodies, and the exclusive ends of the lines in them.
    pub(crate) fn bodies(&self) -> (&[u8], &[u32]) {
        (&self.bodies, &self.ends)
    }

    fn meta(&self) -> ChunkMeta {
        let line = |i| (self.timestamps[i], self.severities[i], super::filter::span(&self.ends, i).len());
        let (rollups, at_start) = rollup::of_lines((0..self.len()).map(line));
        let metadata = rollup::names_of(&self.attribute_sets);
        ChunkMeta {
            partition: self.partition,
            first: self.timestamps.iter().copied().min().unwrap_or_default(),
            last: self.timestamps.iter().copied().max().unwrap_or_default(),
            count: self.len() as u32,
            body_bytes: self.bodies.len() as u64,
            first_place: self.places.first().copied().unwrap_or_default(),
            last_place: self.places.last().copied().unwrap_or_default(),
            rollups,
            details: Some(ChunkDetails { at_start, metadata }),
        }
    }

    /// Reads a chunk of version 1; errors are sentences that say what is wrong.
    pub(crate) fn decode_one(bytes: &[u8]) -> Result<Self, String> {
        let frame = FrameOne::split(bytes)?;
        let mut lines = Self { partition: frame.partition, ..decode_columns(&frame.columns()?)? };
        lines.bodies = frame.bodies()?;
        if lines.ends.last().map_or(0, |end| *end as usize) != lines.bodies.len() {
            return Err("the lengths of its lines do not add up".into());
        }
        Ok(lines)
    }
}

fn decode_columns(columns: &[u8]) -> Result<Lines, String> {
    let mut reader = Reader::new(columns);
    // A line takes at least a byte of timestamp and one of length.
    let count = reader.count("lines", 2)?;
    if count == 0 {
        return Err("it has no lines".into());
    }
    let mut places = Vec::with_capacity(count);
    places::read_column(&mut reader, count)?.into_iter().for_each(|run| places.extend(run.places()));
    let mut timestamps = Vec::with_capacity(count);
    let mut timestamp = 0_i64;
    for _ in 0..count {
        timestamp = timestamp.wrapping_add(reader.zigzag("timestamp")?);
        timestamps.push(timestamp);
    }
    let mut ends = Vec::with_capacity(count);
    let mut end = 0_u64;
    for _ in 0..count {
        end = end.saturating_add(reader.varint("length")?);
        ends.push(u32::try_from(end).map_err(|_| "its lines are longer than 4 GiB together")?);
    }
    let sequences = decode_sequences(&mut reader, &ends)?;
    let severities = read_bytes(&mut reader, count, "severities")?;
    let flags = read_bytes(&mut reader, count, "flags")?;
    let mut contexts = Vec::new();
    for _ in 0..if flag(&mut reader, "contexts")? { count } else { 0 } {
        contexts.push((TraceId(reader.array("trace id")?), SpanId(reader.array("span id")?)));
    }
    let (attribute_sets, attributes) = decode_attributes(&mut reader, count)?;
    reader.finish()?;
    let bodies = Vec::new();
    Ok(Lines {
        partition: 0,
        places,
        timestamps,
        sequences,
        ends,
        bodies,
        severities,
        flags,
        contexts,
        attribute_sets,
        attributes,
    })
}

fn decode_sequences(reader: &mut Reader<'_>, ends: &[u32]) -> Result<Vec<u64>, String> {
    if !flag(reader, "sequences")? {
        return Ok(vec![0; ends.len()]);
    }
    let mut sequence = 0_u64;
    let next = |i: usize| {
        let length = super::filter::span(ends, i).len() as u64;
        sequence = sequence.wrapping_add(reader.zigzag("sequence")? as u64).wrapping_add(length);
        Ok(sequence)
    };
    (0..ends.len()).map(next).collect()
}

fn decode_attributes(reader: &mut Reader<'_>, count: usize) -> Result<(AttributeSets, Vec<u32>), String> {
    let mut sets = AttributeSets::default();
    if !flag(reader, "attributes")? {
        sets.push(std::iter::empty());
        return Ok((sets, Vec::new()));
    }
    let mut pairs = Vec::new();
    for _ in 0..reader.count("attribute sets", 1)? {
        pairs.clear();
        for _ in 0..reader.count("attributes of a line", 2)? {
            pairs.push((reader.text("attribute name")?, reader.text("attribute value")?));
        }
        sets.push(pairs.iter().copied());
    }
    let mut indexes = Vec::with_capacity(count);
    for _ in 0..count {
        let index = reader.varint_u32("attribute set")?;
        if index as usize >= sets.len() {
            return Err(format!("attribute set {index} of {}", sets.len()));
        }
        indexes.push(index);
    }
    Ok((sets, indexes))
}
