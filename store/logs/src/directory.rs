//! Streams and directory of a block as they are read. Written by `writer.rs`; drawn in `docs/formats/logs_block.md`.

use std::ops::Range;
use std::sync::Arc;

use weir_blocks::columns::Reader;
use weir_blocks::limits::check_unpacked;
use weir_blocks::packed::unzstd;
use weir_model::label::Labels;

use super::rollup;
use super::schema::{ChunkMeta, LEVEL_FATAL, StreamKey};

/// A row of the directory.
pub(super) struct ChunkEntry {
    pub(super) stream: u32,
    /// In the section of chunks.
    pub(super) bytes: Range<u64>,
    pub(super) meta: ChunkMeta,
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

/// Of a block with so many streams and so many bytes of chunks. Errors are sentences.
pub(super) fn decode_directory(bytes: &[u8], streams: usize, length: u64) -> Result<Vec<ChunkEntry>, String> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    let mut at = 0_u64;
    for chunk in 0..reader.count("chunks", 12)? {
        let stream = reader.varint_u32("stream")?;
        if stream as usize >= streams {
            return Err(format!("chunk {chunk} is of stream {stream} of {streams}"));
        }
        let end = at.saturating_add(reader.varint("length of a chunk")?);
        if end > length {
            return Err(format!("chunk {chunk} ends at byte {end} of {length}"));
        }
        entries.push(ChunkEntry { stream, bytes: at..end, meta: decode_meta(&mut reader)? });
        at = end;
    }
    reader.finish()?;
    Ok(entries)
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
