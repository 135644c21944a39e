//! Streams and directory of a block as they are read. Written by `writer.rs`; drawn in `docs/formats/logs_block.md`.

use std::ops::Range;
use std::sync::Arc;

use weir_blocks::columns::Reader;
use weir_blocks::limits::check_unpacked;
use weir_blocks::packed::unzstd;
use weir_model::label::Labels;

use super::rollup;
use super::schema::{ChunkMeta, LEVEL_FATAL, StreamKey};
use super::writer::IN_THE_PACK_BEFORE;

/// The chunks of a block and their packs, each by their numbers.
pub(super) struct Directory {
    pub(super) chunks: Vec<ChunkEntry>,
    pub(super) packs: Vec<PackEntry>,
    /// Of each stream from its first chunk to its last one; those of others are seldom between them.
    streams: Vec<Range<u32>>,
}

/// A row of the directory.
pub(super) struct ChunkEntry {
    pub(super) stream: u32,
    pub(super) pack: u32,
    /// Among the lines of the pack.
    first_line: u32,
    pub(super) meta: ChunkMeta,
}

/// Chunks that are stored as one.
pub(super) struct PackEntry {
    /// In the section of chunks.
    pub(super) bytes: Range<u64>,
    pub(super) chunks: Range<u32>,
    pub(super) lines: u32,
}

/// Whether several chunks may be one pack: not in blocks of earlier builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    Nothing,
    Packs,
}

impl Directory {
    fn new(chunks: Vec<ChunkEntry>, packs: Vec<PackEntry>, streams: usize) -> Self {
        let mut of_streams = vec![0..0; streams];
        for (chunk, entry) in (0..).zip(&chunks) {
            let own = &mut of_streams[entry.stream as usize];
            *own = if own.end == 0 { chunk..chunk + 1 } else { own.start..chunk + 1 };
        }
        Self { chunks, packs, streams: of_streams }
    }

    /// The chunks of a stream, by their numbers.
    pub(super) fn of_stream(&self, stream: u32) -> impl Iterator<Item = (u32, &ChunkEntry)> {
        let range = self.streams[stream as usize].clone();
        range.map(|chunk| (chunk, &self.chunks[chunk as usize])).filter(move |(_, entry)| entry.stream == stream)
    }

    pub(super) fn pack(&self, chunk: u32) -> &PackEntry {
        &self.packs[self.chunks[chunk as usize].pack as usize]
    }

    /// The lines of a chunk among those of its pack.
    pub(super) fn lines(&self, chunk: u32) -> Range<usize> {
        let entry = &self.chunks[chunk as usize];
        entry.first_line as usize..entry.first_line as usize + entry.meta.count as usize
    }

    /// What a chunk takes of the bytes of its pack: shares are by lines, and those of all its chunks are the pack.
    pub(super) fn share(&self, chunk: u32) -> u64 {
        let (pack, lines) = (self.pack(chunk), self.lines(chunk));
        let bytes = u128::from(pack.bytes.end - pack.bytes.start);
        let before = |line: usize| (bytes * line as u128 / u128::from(pack.lines.max(1))) as u64;
        before(lines.end) - before(lines.start)
    }
}

/// What `writer` packed. Errors are sentences.
pub(super) fn unpack(section: &[u8]) -> Result<Vec<u8>, String> {
    let (length, packed) = section.split_first_chunk::<4>().ok_or("shorter than its length")?;
    let length = u32::from_le_bytes(*length) as usize;
    check_unpacked("streams or directory", length)?;
    let bytes = unzstd(packed, length).map_err(|error| error.to_string())?;
    if bytes.len() == length { Ok(bytes) } else { Err(format!("{} bytes of {length}", bytes.len())) }
}

/// Of a block, by their numbers. Errors are sentences.
pub(super) fn decode_streams(bytes: &[u8]) -> Result<Vec<StreamKey>, String> {
    let mut reader = Reader::new(bytes);
    let mut streams: Vec<StreamKey> = Vec::new();
    for _ in 0..reader.count("streams", 2)? {
        let tenant = reader.text("tenant")?;
        // Streams are sorted by tenant: one copy of each.
        let shared = streams.last().filter(|before| &*before.tenant == tenant).map(|before| Arc::clone(&before.tenant));
        let mut pairs = Vec::new();
        for _ in 0..reader.count("labels", 2)? {
            pairs.push((reader.text("label name")?, reader.text("label value")?));
        }
        streams.push(StreamKey { tenant: shared.unwrap_or_else(|| tenant.into()), labels: Labels::from_pairs(pairs) });
    }
    reader.finish()?;
    Ok(streams)
}

/// Of a block with these streams and so many bytes of chunks. Errors are sentences.
pub(super) fn decode_directory(bytes: &[u8], streams: &[StreamKey], length: u64, sharing: Sharing) -> Result<Directory, String> {
    let mut reader = Reader::new(bytes);
    let (mut chunks, mut packs) = (Vec::<ChunkEntry>::new(), Vec::<PackEntry>::new());
    for chunk in 0..reader.count("chunks", 12)? {
        let stream = reader.varint_u32("stream")?;
        let Some(StreamKey { tenant, .. }) = streams.get(stream as usize) else {
            return Err(format!("chunk {chunk} is of stream {stream} of {}", streams.len()));
        };
        let (own, meta) = (reader.varint("length of a chunk")?, decode_meta(&mut reader)?);
        let first_line = if own == IN_THE_PACK_BEFORE as u64 {
            let is_alike = |before: &&ChunkEntry| {
                before.meta.partition == meta.partition && streams[before.stream as usize].tenant == *tenant
            };
            if sharing == Sharing::Nothing || chunks.last().filter(is_alike).is_none() {
                return Err(format!("chunk {chunk} of partition {} has no pack", meta.partition));
            }
            packs
                .last_mut()
                .ok_or("chunk 0 has no pack")?
                .add(&meta)
                .ok_or_else(|| format!("chunk {chunk} has too many lines"))?
        } else {
            let start = packs.last().map_or(0, |pack| pack.bytes.end);
            let end = start.saturating_add(own);
            if end > length {
                return Err(format!("chunk {chunk} ends at byte {end} of {length}"));
            }
            packs.push(PackEntry { bytes: start..end, chunks: chunk as u32..chunk as u32 + 1, lines: meta.count });
            0
        };
        chunks.push(ChunkEntry { stream, pack: packs.len() as u32 - 1, first_line, meta });
    }
    reader.finish()?;
    Ok(Directory::new(chunks, packs, streams.len()))
}

impl PackEntry {
    /// One chunk more; the lines before it. `None` when a pack cannot have so many.
    fn add(&mut self, meta: &ChunkMeta) -> Option<u32> {
        let before = self.lines;
        self.lines = before.checked_add(meta.count)?;
        self.chunks.end += 1;
        Some(before)
    }
}

fn decode_meta(reader: &mut Reader<'_>) -> Result<ChunkMeta, String> {
    let partition = reader.varint_u32("partition")?;
    let first = reader.zigzag("first timestamp")?;
    let last = first.wrapping_add(reader.varint("last timestamp")? as i64);
    let count = reader.varint_u32("lines")?;
    let body_bytes = reader.varint("bytes")?;
    let first_place = (reader.varint("first offset")?, reader.varint_u32("first ordinal")?);
    let last_offset = first_place.0.wrapping_add(reader.zigzag("last offset")? as u64);
    let last_place = (last_offset, reader.varint_u32("last ordinal")?);
    let rollups = rollup::read(reader, LEVEL_FATAL)?;
    Ok(ChunkMeta { partition, first, last, count, body_bytes, first_place, last_place, rollups, details: None })
}
