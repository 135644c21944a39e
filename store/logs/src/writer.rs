//! Packs of chunks as a block: streams, data, directory, index and places. Drawn in `docs/formats/logs_block.md`.

use std::collections::HashMap;

use super::chunk::{EncodedChunk, PackedChunk};
use super::details::DetailsBuilder;
use super::index::IndexBuilder;
use super::places::{PlaceRun, PlacesBuilder};
use super::rollup::{self, ROLLUP_BYTES_MAX};
use super::schema::{CHUNKS, ChunkMeta, DETAILS, DIRECTORY, PLACE_PAGES, PLACES, STREAMS, StreamKey, ZSTD_LEVEL};
use super::stored::StoredLines;
use super::tokens::Tokens;
use weir_blocks::StoreError;
use weir_blocks::block::BlockData;
use weir_blocks::columns::{put_bytes, put_varint, put_zigzag};
use weir_blocks::engine::{BlockSummary, BuiltBlock};
use weir_blocks::limits::{SECTION_BYTES, check_unpacked};
use weir_blocks::scratch::{Growing, ScratchSpace};

/// Where a block is closed and another begun.
#[derive(Clone, Copy)]
pub(crate) struct BlockLimits {
    /// Bytes of streams or of the directory before compression, and memory of places.
    pub(crate) section_bytes: usize,
    /// Memory of the index in the making. tantivy's addresses have 32 bits and wrap above 4 GiB without a word.
    pub(crate) index_bytes: usize,
}

/// A block of 4 GiB of lines has some 5 MiB of directory; an index of so much has some two million distinct tokens. The rows of its largest table,
/// which a question about a part of an id reads at once, have 60 MiB at most.
const LIMITS: BlockLimits = BlockLimits { section_bytes: 64 << 20, index_bytes: 75 << 20 };
/// The same where rows and chunks are on disk: of what stays in memory, which [`LogsEngine::MERGE`](super::engine::LogsEngine) counts on.
const LIMITS_ON_DISK: BlockLimits = BlockLimits { section_bytes: 24 << 20, index_bytes: 32 << 20 };
const _: () = assert!(LIMITS.section_bytes <= SECTION_BYTES);

/// Stands in the directory for the length of a pack where a chunk lies in the pack of the chunk before.
pub(super) const IN_THE_PACK_BEFORE: usize = 0;

/// A row of the directory without its roll-ups, at most.
const META_BYTES_MAX: usize = 96;

/// Takes packs: all chunks of a stream together and in the order of their lines. Begins another block of its own accord where
/// one could not be read again.
pub(crate) struct BlockWriter {
    limits: BlockLimits,
    space: ScratchSpace,
    open: OpenBlock,
    closed: Vec<BuiltBlock>,
}

/// A chunk, as far as it is known without its pack.
#[derive(Clone, Copy)]
struct Row<'a> {
    stream: &'a StreamKey,
    meta: &'a ChunkMeta,
    tokens: &'a Tokens,
    runs: &'a [PlaceRun],
}

struct OpenBlock {
    /// Encoded, without their count.
    streams: Vec<u8>,
    indexes: HashMap<StreamKey, u32>,
    /// Packs, one after the other.
    chunks: Growing,
    /// Rows of the directory, without their count.
    directory: Vec<u8>,
    count: u32,
    details: DetailsBuilder,
    places: PlacesBuilder,
    summary: BlockSummary,
    index: IndexBuilder,
}

impl BlockWriter {
    /// Without chunks. What is large of a block goes to files of `space`.
    pub(crate) fn new(space: ScratchSpace) -> Result<Self, StoreError> {
        Self::with_limits(if space.is_on_disk() { LIMITS_ON_DISK } else { LIMITS }, space)
    }

    /// With limits of the caller's.
    pub(crate) fn with_limits(limits: BlockLimits, space: ScratchSpace) -> Result<Self, StoreError> {
        Ok(Self { limits, open: OpenBlock::new(&space)?, space, closed: Vec::new() })
    }

    /// The next chunk, alone in its pack.
    pub(crate) fn push(&mut self, stream: &StreamKey, chunk: &EncodedChunk) -> Result<(), StoreError> {
        let runs = StoredLines::open(chunk.bytes.clone()).and_then(|lines| lines.place_runs());
        let runs = runs.map_err(|error| StoreError::engine("build a block", error))?;
        let row = Row { stream, meta: &chunk.meta, tokens: &chunk.tokens, runs: &runs };
        self.push_rows(&chunk.bytes, std::iter::once(row))
    }

    /// The next pack.
    pub(crate) fn push_pack<'a>(
        &mut self,
        bytes: &[u8],
        chunks: impl Iterator<Item = (&'a StreamKey, &'a PackedChunk)> + Clone,
    ) -> Result<(), StoreError> {
        let row = |(stream, chunk): (&'a StreamKey, &'a PackedChunk)| Row {
            stream,
            meta: &chunk.meta,
            tokens: &chunk.tokens,
            runs: &chunk.runs,
        };
        self.push_rows(bytes, chunks.map(row))
    }

    fn push_rows<'a>(&mut self, bytes: &[u8], rows: impl Iterator<Item = Row<'a>> + Clone) -> Result<(), StoreError> {
        if self.open.count > 0 && !self.open.has_room(rows.clone(), self.limits) {
            let full = std::mem::replace(&mut self.open, OpenBlock::new(&self.space)?);
            self.closed.push(full.finish()?);
        }
        let lengths = std::iter::once(bytes.len()).chain(std::iter::repeat(IN_THE_PACK_BEFORE));
        rows.zip(lengths).try_for_each(|(row, length)| self.open.push(&row, length))?;
        self.open.chunks.append(bytes)
    }

    /// The blocks, mostly one; none when there was no chunk.
    pub(crate) fn finish(mut self) -> Result<Vec<BuiltBlock>, StoreError> {
        if self.open.count > 0 {
            self.closed.push(self.open.finish()?);
        }
        Ok(self.closed)
    }
}

impl OpenBlock {
    fn new(space: &ScratchSpace) -> Result<Self, StoreError> {
        Ok(Self {
            streams: Vec::new(),
            indexes: HashMap::new(),
            chunks: Growing::new(space.clone()),
            directory: Vec::new(),
            count: 0,
            details: DetailsBuilder::default(),
            places: PlacesBuilder::default(),
            summary: BlockSummary { first: i64::MAX, last: i64::MIN, ..BlockSummary::default() },
            index: IndexBuilder::new(space.clone())?,
        })
    }

    fn has_room<'a>(&self, rows: impl Iterator<Item = Row<'a>>, limits: BlockLimits) -> bool {
        let (mut directory, mut details, mut streams, mut runs) = (self.directory.len(), self.details.bytes(), 0, 0);
        for row in rows {
            directory += META_BYTES_MAX + row.meta.rollups.len() * ROLLUP_BYTES_MAX;
            details += self.details.bytes_of(row.meta);
            streams += if self.indexes.contains_key(row.stream) { 0 } else { stream_bytes(row.stream) };
            runs += row.runs.len();
        }
        let streams = if streams > 0 { self.streams.len() + streams } else { 0 };
        let largest = directory.max(details).max(streams).max(self.places.memory_with(runs));
        largest <= limits.section_bytes && self.index.memory() <= limits.index_bytes && self.index.has_room()
    }

    /// `length` is that of its pack, or [`IN_THE_PACK_BEFORE`].
    fn push(&mut self, row: &Row<'_>, length: usize) -> Result<(), StoreError> {
        let Row { stream, meta, tokens, runs } = *row;
        let index = match self.indexes.get(stream) {
            Some(index) => *index,
            None => {
                put_stream(&mut self.streams, stream);
                let index = self.indexes.len() as u32;
                self.indexes.insert(stream.clone(), index);
                index
            }
        };
        self.index.push(tokens)?;
        self.places.push(self.count, runs.iter().copied());
        put_varint(&mut self.directory, u64::from(index));
        put_varint(&mut self.directory, length as u64);
        put_meta(&mut self.directory, meta);
        self.details.push(meta);
        self.count += 1;
        self.summary.first = self.summary.first.min(meta.first);
        self.summary.last = self.summary.last.max(meta.last);
        self.summary.records += u64::from(meta.count);
        self.summary.raw_bytes += meta.body_bytes;
        Ok(())
    }

    fn finish(self) -> Result<BuiltBlock, StoreError> {
        let mut data = BlockData::default();
        data.push(CHUNKS, self.chunks.finish()?);
        // Before the others: it holds most while it is made.
        self.index.finish(&mut data)?;
        let (places, place_pages) = self.places.finish()?;
        data.sections.extend([
            (STREAMS, pack(self.indexes.len() as u64, &self.streams)?),
            (DIRECTORY, pack(u64::from(self.count), &self.directory)?),
            (DETAILS, self.details.finish(pack)?),
            (PLACES, places),
            (PLACE_PAGES, place_pages),
        ]);
        Ok(BuiltBlock { summary: self.summary, data })
    }
}

/// Bytes of [`put_stream`], at most.
pub(super) fn stream_bytes(stream: &StreamKey) -> usize {
    let labels: usize = stream.labels.iter().map(|(name, value)| name.len() + value.len() + 20).sum();
    stream.tenant.len() + 20 + labels
}

fn put_stream(out: &mut Vec<u8>, stream: &StreamKey) {
    put_bytes(out, stream.tenant.as_bytes());
    put_varint(out, stream.labels.len() as u64);
    for (name, value) in stream.labels.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn put_meta(out: &mut Vec<u8>, meta: &ChunkMeta) {
    put_varint(out, u64::from(meta.partition));
    put_zigzag(out, meta.first);
    put_varint(out, meta.last.wrapping_sub(meta.first) as u64);
    put_varint(out, u64::from(meta.count));
    put_varint(out, meta.body_bytes);
    put_varint(out, meta.first_place.0);
    put_varint(out, u64::from(meta.first_place.1));
    put_zigzag(out, meta.last_place.0.wrapping_sub(meta.first_place.0) as i64);
    put_varint(out, u64::from(meta.last_place.1));
    rollup::put(out, &rollup::joined(&meta.rollups));
}

/// Length before compression as u32, then zstd of a count and what is counted. Errors when its reader would refuse it.
fn pack(count: u64, rest: &[u8]) -> Result<Vec<u8>, StoreError> {
    let failed = |error: String| StoreError::engine("build a block", error);
    let mut bytes = Vec::with_capacity(rest.len() + 10);
    put_varint(&mut bytes, count);
    bytes.extend_from_slice(rest);
    check_unpacked("streams or directory", bytes.len()).map_err(failed)?;
    let mut out = (bytes.len() as u32).to_le_bytes().to_vec();
    out.extend(zstd::bulk::compress(&bytes, ZSTD_LEVEL).map_err(|error| failed(error.to_string()))?);
    Ok(out)
}
