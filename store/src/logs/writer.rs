//! Chunks as a block: streams, data, directory and index. Drawn in `docs/formats/logs_block.md`.

use std::collections::HashMap;

use super::chunk::EncodedChunk;
use super::index::IndexBuilder;
use super::schema::{CHUNKS, ChunkFacts, DIRECTORY, INDEX, STREAMS, StreamKey, ZSTD_LEVEL};
use crate::StoreError;
use crate::block::BlockData;
use crate::columns::{put_bytes, put_varint, put_zigzag};
use crate::engine::{BlockSummary, BuiltBlock};

/// Takes chunks: all of a stream together and in the order of their lines.
pub(crate) struct BlockWriter {
    streams: Vec<StreamKey>,
    indexes: HashMap<StreamKey, u32>,
    chunks: Vec<u8>,
    /// Rows of the directory, without their count.
    directory: Vec<u8>,
    count: u64,
    summary: BlockSummary,
    index: IndexBuilder,
}

impl BlockWriter {
    /// Without chunks.
    pub(crate) fn new() -> Result<Self, StoreError> {
        Ok(Self {
            streams: Vec::new(),
            indexes: HashMap::new(),
            chunks: Vec::new(),
            directory: Vec::new(),
            count: 0,
            summary: BlockSummary { first: i64::MAX, last: i64::MIN, ..BlockSummary::default() },
            index: IndexBuilder::new()?,
        })
    }

    /// The next chunk.
    pub(crate) fn push(&mut self, stream: &StreamKey, chunk: &EncodedChunk) -> Result<(), StoreError> {
        let next = self.streams.len() as u32;
        let index = *self.indexes.entry(stream.clone()).or_insert_with(|| {
            self.streams.push(stream.clone());
            next
        });
        self.index.push(&chunk.tokens)?;
        put_varint(&mut self.directory, u64::from(index));
        put_varint(&mut self.directory, chunk.bytes.len() as u64);
        put_facts(&mut self.directory, &chunk.facts);
        self.chunks.extend_from_slice(&chunk.bytes);
        self.count += 1;
        self.summary.first = self.summary.first.min(chunk.facts.first);
        self.summary.last = self.summary.last.max(chunk.facts.last);
        self.summary.records += u64::from(chunk.facts.count);
        self.summary.raw_bytes += chunk.facts.body_bytes;
        Ok(())
    }

    /// The block; none when there was no chunk.
    pub(crate) fn finish(self) -> Result<Vec<BuiltBlock>, StoreError> {
        if self.count == 0 {
            return Ok(Vec::new());
        }
        let mut directory = Vec::new();
        put_varint(&mut directory, self.count);
        directory.extend_from_slice(&self.directory);
        let sections = vec![
            (CHUNKS, self.chunks),
            (INDEX, self.index.finish()?),
            (STREAMS, pack(&encode_streams(&self.streams))?),
            (DIRECTORY, pack(&directory)?),
        ];
        Ok(vec![BuiltBlock { summary: self.summary, data: BlockData { sections } }])
    }
}

fn encode_streams(streams: &[StreamKey]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, streams.len() as u64);
    for stream in streams {
        put_bytes(&mut out, stream.tenant.as_bytes());
        put_varint(&mut out, stream.labels.len() as u64);
        for (name, value) in stream.labels.iter() {
            put_bytes(&mut out, name.as_bytes());
            put_bytes(&mut out, value.as_bytes());
        }
    }
    out
}

fn put_facts(out: &mut Vec<u8>, facts: &ChunkFacts) {
    put_varint(out, u64::from(facts.partition));
    put_zigzag(out, facts.first);
    put_varint(out, facts.last.wrapping_sub(facts.first) as u64);
    put_varint(out, u64::from(facts.count));
    put_varint(out, facts.body_bytes);
    put_varint(out, facts.first_place.0);
    put_varint(out, u64::from(facts.first_place.1));
    put_zigzag(out, facts.last_place.0.wrapping_sub(facts.first_place.0) as i64);
    put_varint(out, u64::from(facts.last_place.1));
    put_varint(out, facts.rollups.len() as u64);
    let mut bucket = 0_i64;
    for rollup in &facts.rollups {
        put_zigzag(out, rollup.bucket.wrapping_sub(bucket));
        out.push(rollup.level);
        put_varint(out, rollup.lines);
        put_varint(out, rollup.bytes);
        bucket = rollup.bucket;
    }
}

/// Length before compression as u32, then zstd.
fn pack(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    let failed = |error: String| StoreError::engine("build a block", error);
    let length = u32::try_from(bytes.len()).map_err(|_| failed("a directory above 4 GiB".into()))?;
    let mut out = length.to_le_bytes().to_vec();
    out.extend(zstd::bulk::compress(bytes, ZSTD_LEVEL).map_err(|error| failed(error.to_string()))?);
    Ok(out)
}
