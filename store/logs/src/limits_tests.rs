//! What fills a chunk, a block and a head to their limits comes back whole: each limit in small.

use std::sync::Arc;

use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::builder::{COLUMN_GROWTH_MAX, ChunkBuilder};
use super::chunk::EncodedChunk;
use super::frame::{COLUMNS, Frame};
use super::schema::StreamKey;
use super::stored::StoredLines;
use super::writer::{BlockLimits, BlockWriter};
use super::*;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::block::BlockReader;
use weir_blocks::engine::{BlockSummary, BuiltBlock, Engine, Head, Position};
use weir_blocks::scratch::ScratchSpace;
use weir_blocks::testing::MemoryScratch;

/// A line that owns what it has.
#[derive(Clone, Debug)]
struct Line {
    timestamp: i64,
    sequence: u64,
    body: Vec<u8>,
    severity: u8,
    context: u8,
    attributes: Labels,
}

impl Line {
    fn record(&self) -> LogRecord<'_> {
        LogRecord {
            timestamp: self.timestamp,
            sequence: self.sequence,
            body: &self.body,
            severity: self.severity,
            flags: self.severity & 1,
            trace_id: TraceId([self.context; 16]),
            span_id: SpanId([self.context; 8]),
            attributes: (&self.attributes).into(),
        }
    }
}

/// Numbers that take one byte, and those that take most.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![0..100_i64, any::<i64>(), prop_oneof![proptest::prelude::Just(i64::MIN), proptest::prelude::Just(i64::MAX)]]
}

/// Bodies and attributes of nothing, of a little, and of as much as a chunk may have.
fn line() -> impl Strategy<Value = Line> {
    let body = prop_oneof![3 => 0..1_usize, 2 => 0..60_usize, 1 => 900..1100_usize];
    let attributes = prop::collection::vec((0..40_u16, prop_oneof![3 => 1..20_usize, 1 => 300..600_usize]), 0..5);
    (number(), number(), body, any::<u8>(), 0..3_u8, attributes).prop_map(
        |(timestamp, sequence, body, severity, context, attributes)| Line {
            timestamp,
            sequence: sequence as u64,
            body: vec![severity; body],
            severity,
            context,
            attributes: Labels::from_pairs(attributes.iter().map(|(name, length)| (format!("n{name}"), "v".repeat(*length)))),
        },
    )
}

const CHUNK_BYTES: usize = 1000;

fn chunks(lines: &[Line]) -> Vec<EncodedChunk> {
    let mut builder = ChunkBuilder::with_limit(7, CHUNK_BYTES);
    (0_u64..).zip(lines).for_each(|(offset, line)| builder.push((offset, u32::MAX - 1), line.record()));
    builder.finish().unwrap()
}

fn largest_column(chunk: &EncodedChunk) -> usize {
    let frame = Frame::split(chunk.bytes.clone()).unwrap();
    COLUMNS.iter().map(|(column, _)| frame.column_bytes(*column).0).max().unwrap()
}

/// The lines of chunks in their order.
fn lines_of<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<(u64, Line)> {
    let mut found = Vec::new();
    for bytes in chunks {
        let lines = StoredLines::open(bytes.to_vec().into()).unwrap();
        lines.load().unwrap();
        for i in 0..lines.len() {
            let mut body = Vec::new();
            lines.render(i, &mut body).unwrap();
            let (id, record) = lines.record(i, &body).unwrap();
            found.push((
                id.offset,
                Line {
                    timestamp: record.timestamp,
                    sequence: record.sequence,
                    body: record.body.to_vec(),
                    severity: record.severity,
                    context: record.trace_id.0[0],
                    attributes: record.attributes.to_labels(),
                },
            ));
        }
    }
    found
}

fn check_same(found: &[(u64, Line)], lines: &[Line]) {
    assert_eq!(found.len(), lines.len());
    for (i, (offset, line)) in found.iter().enumerate() {
        assert_eq!((*offset as usize, format!("{line:?}")), (i, format!("{:?}", lines[i])));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// No chunk above its limit but of a single line, whatever the lines are full of.
    #[test]
    fn every_line_comes_back_from_chunks_within_their_limit(lines in prop::collection::vec(line(), 1..80)) {
        let chunks = chunks(&lines);
        for chunk in &chunks {
            let largest = largest_column(chunk);
            assert!(chunk.meta.count == 1 || largest <= COLUMN_GROWTH_MAX * CHUNK_BYTES, "{largest} bytes of {} lines", chunk.meta.count);
        }
        check_same(&lines_of(chunks.iter().map(|chunk| &chunk.bytes[..])), &lines);
    }

    /// Streams with large labels, directories with many roll-ups: as many blocks as it takes, each read back and verified.
    #[test]
    fn every_stream_comes_back_from_blocks_within_their_limits(
        streams in prop::collection::vec((0..600_usize, prop::collection::vec(line(), 1..20)), 1..12),
    ) {
        const SECTION_BYTES: usize = 1500;
        let key = |i: usize, length: usize| StreamKey {
            tenant: "t".into(),
            labels: Labels::from_pairs([("pod", format!("{i:03}{}", "x".repeat(length)))]),
        };
        let mut writer = BlockWriter::with_limits(BlockLimits { section_bytes: SECTION_BYTES, index_bytes: usize::MAX }, ScratchSpace::default()).unwrap();
        for (i, (length, lines)) in streams.iter().enumerate() {
            chunks(lines).iter().for_each(|chunk| writer.push(&key(i, *length), chunk).unwrap());
        }
        let engine = LogsEngine::default();
        let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
        for (i, built) in writer.finish().unwrap().into_iter().enumerate() {
            for (name, bytes) in built.data.sections.iter().filter(|(name, _)| ["streams.1", "directory.2"].contains(name)) {
                let raw = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
                assert!(raw <= SECTION_BYTES + 10, "{raw} bytes of {name}");
            }
            // Each line is a run of places, of sixteen bytes in memory.
            let places = built.summary.records as usize * 16;
            let blob = MemoryBlob::new(format!("{i}"), built.data.encode(Kind::Logs));
            let block = engine.open(Arc::new(blob)).unwrap();
            engine.verify(&block, &built.summary).unwrap();
            assert!(block.chunks() == 1 || places <= SECTION_BYTES, "{places} bytes of places");
            let chunks = &built.data.sections.iter().find(|(name, _)| *name == "chunks.2").unwrap().1;
            let mut at = 0;
            for chunk in 0..block.chunks() {
                let stream = block.stream(chunk).labels.get("pod")[..3].parse().unwrap();
                let length = block.pack_bytes(chunk) as usize;
                found.push((stream, chunks[at..at + length].to_vec()));
                at += length;
            }
        }
        for (i, (_, lines)) in streams.iter().enumerate() {
            let own = found.iter().filter(|(stream, _)| *stream == i).map(|(_, bytes)| &bytes[..]);
            check_same(&lines_of(own), lines);
        }
    }
}

fn section(stream: Labels, lines: impl Iterator<Item = Line>) -> Section<LogBatch> {
    let mut batch = LogBatch::new(stream);
    lines.for_each(|line| batch.push(line.record()));
    let mark = Mark::Sequence { epoch: 0, first: 0, last: 1 };
    let header = SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: batch.len() as u32 };
    Section::new(header, batch)
}

/// Lines without a body whose attributes are all: they were one chunk, which nobody could read.
#[test]
fn lines_of_nothing_but_metadata_fill_chunks() {
    const LINES: u64 = 3000;
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 16 << 10, ..LogsOptions::default() });
    let head = engine.head();
    for offset in 0..LINES / 100 {
        let line = |i: u64| Line {
            timestamp: 1,
            sequence: 0,
            body: Vec::new(),
            severity: 9,
            context: 0,
            attributes: Labels::from_pairs([("id", format!("{offset}-{i}-{}", "m".repeat(1500)))]),
        };
        let position = Position { partition: 0, offset, ordinal: 0 };
        head.insert(position, &section(Labels::from_pairs([("pod", "p")]), (0..100).map(line))).unwrap();
    }
    let built = head.build().unwrap();
    let blocks: Vec<_> = built.iter().map(|built| open(&engine, "x", built)).collect();
    blocks.iter().for_each(|(block, summary)| {
        engine.verify(block, summary).unwrap();
        assert!(block.chunks() > 100, "{} chunks", block.chunks());
        for chunk in 0..block.chunks() {
            let lines = block.lines(chunk).unwrap();
            let count = lines.len().unwrap();
            assert!(count <= 24, "{count} lines of 1.5 KiB in a chunk of 16 KiB");
        }
    });
    // And what compaction makes of them.
    let merged = engine.merge(&blocks.iter().map(|(block, _)| Arc::clone(block)).collect::<Vec<_>>()).unwrap();
    for built in &merged {
        let (block, summary) = open(&engine, "merged", built);
        engine.verify(&block, &summary).unwrap();
        assert!((0..block.chunks()).all(|chunk| block.lines(chunk).unwrap().len().unwrap() <= 24));
    }
    assert_eq!(merged.iter().map(|built| built.summary.records).sum::<u64>(), LINES);
}

fn open(engine: &LogsEngine, path: &str, built: &BuiltBlock) -> (Arc<LogsBlock>, BlockSummary) {
    let blob = MemoryBlob::new(path, built.data.encode(Kind::Logs));
    (Arc::new(engine.open(Arc::new(blob)).unwrap()), built.summary.clone())
}

/// Lines of many sources that take turns: a run of places each.
#[test]
fn a_merge_of_more_places_than_a_block_may_have_goes_on_in_a_next_block() {
    const LINES: u64 = 100;
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 1, ..LogsOptions::default() });
    let body = |offset: u64| format!("line {offset}").into_bytes();
    let sealed = |first: u64| {
        let head = engine.head();
        for offset in first..first + LINES {
            let line = Line { timestamp: 1, sequence: 0, body: body(offset), severity: 0, context: 0, attributes: Labels::EMPTY };
            let position = Position { partition: 0, offset, ordinal: 0 };
            head.insert(position, &section(Labels::from_pairs([("pod", "p")]), std::iter::once(line))).unwrap();
        }
        open(&engine, "sealed", &head.build().unwrap()[0]).0
    };
    let writer =
        BlockWriter::with_limits(BlockLimits { section_bytes: 120 * 16, index_bytes: usize::MAX }, ScratchSpace::default())
            .unwrap();
    let merged = super::merge::merge(&[sealed(0), sealed(LINES)], 1 << 8, writer).unwrap();
    let mut found = Vec::new();
    for built in &merged {
        let (block, summary) = open(&engine, "merged", built);
        engine.verify(&block, &summary).unwrap();
        assert!(summary.records <= 120, "{} runs of places", summary.records);
        for chunk in 0..block.chunks() {
            let lines = block.lines(chunk).unwrap();
            found.extend((0..lines.len().unwrap()).map(|i| lines.with(i, |id, line| (id.offset, line.body.to_vec())).unwrap()));
        }
    }
    assert_eq!(merged.len(), 2);
    assert_eq!(found, (0..2 * LINES).map(|offset| (offset, body(offset))).collect::<Vec<_>>());
}

/// What is published must be what was written.
#[test]
fn a_block_that_lacks_lines_is_not_verified() {
    let engine = LogsEngine::default();
    let head = engine.head();
    let line = Line { timestamp: 1, sequence: 0, body: b"x".to_vec(), severity: 0, context: 0, attributes: Labels::EMPTY };
    let position = Position { partition: 0, offset: 0, ordinal: 0 };
    head.insert(position, &section(Labels::EMPTY, std::iter::once(line))).unwrap();
    let built = head.build().unwrap().remove(0);
    let (block, summary) = open(&engine, "x", &built);
    engine.verify(&block, &summary).unwrap();
    let error = engine.verify(&block, &BlockSummary { records: 2, ..summary }).unwrap_err().to_string();
    assert_eq!(error, "x is corrupt: 1 records can be read, 2 were written");
    let mut bad = built.data.clone();
    bad.sections[0].1[30] ^= 1;
    let block = engine.open(Arc::new(MemoryBlob::new("y", bad.encode(Kind::Logs)))).unwrap();
    assert!(engine.verify(&block, &built.summary).unwrap_err().to_string().starts_with("y is corrupt: chunk 0: checksum"));
}

/// Chunks and rows go to a disk, which is full at some point: the merge fails and says why, and its sources are as they were. Where the disk
/// has room the block is the same as without one.
#[test]
fn a_merge_on_disk_gives_the_same_block_and_a_full_disk_fails_it() {
    let batch = |block: u64| {
        let mut batch = LogBatch::new(Labels::from_pairs([("app", "a")]));
        for line in 0..30_000_u64 {
            let id = (line + block * 30_000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let body = format!("request {id:016x} of user{:06} took {:032x}", id % 70_000, u128::from(id) * u128::from(!id));
            let line = Line {
                timestamp: line as i64,
                sequence: 0,
                body: body.into(),
                severity: 0,
                context: 0,
                attributes: Labels::EMPTY,
            };
            batch.push(line.record());
        }
        batch
    };
    let memory = LogsEngine::default();
    let sources: Vec<Arc<LogsBlock>> = (0..3)
        .map(|block| {
            let head = memory.head();
            let header = SectionHeader {
                tenant: "t".into(),
                source: "s".into(),
                mark: Mark::Sequence { epoch: 1, first: 0, last: 1 },
                records: 0,
            };
            head.insert(Position { partition: 0, offset: block, ordinal: 0 }, &Section::new(header, batch(block))).unwrap();
            let bytes = head.build().unwrap()[0].data.encode(Kind::Logs);
            Arc::new(memory.open(Arc::new(MemoryBlob::new("b", bytes))).unwrap())
        })
        .collect();
    let expected = memory.merge(&sources).unwrap();
    let disk = Arc::new(MemoryScratch::default());
    let built = memory.clone().with_scratch(ScratchSpace::new(Arc::clone(&disk) as _)).merge(&sources).unwrap();
    assert_eq!((built.len(), &built[0].summary), (1, &expected[0].summary));
    let spilled: Vec<&str> = built[0].data.spilled.iter().map(|(name, _)| *name).collect();
    assert_eq!(spilled, ["chunks.2", "ids.2"]);
    let open = |built: &BuiltBlock| BlockReader::open(Arc::new(MemoryBlob::new("b", built.data.encode(Kind::Logs)))).unwrap();
    let (one, other) = (open(&built[0]), open(&expected[0]));
    // But for tantivy's, which draws names of files.
    for (name, _) in expected[0].data.sections.iter().filter(|(name, _)| *name != "index.2") {
        assert!(one.section(name).unwrap() == other.section(name).unwrap(), "{name}");
    }
    for part in 0..10 {
        let full = ScratchSpace::new(Arc::new(MemoryScratch::of(disk.written() * part / 10)));
        let error = memory.clone().with_scratch(full).merge(&sources).expect_err("the disk is full");
        assert!(error.is_of_the_store(), "{error}");
        assert!(error.to_string().starts_with("a file for a block in the making in memory: "), "{error}");
    }
    assert_eq!(memory.merge(&sources).unwrap()[0].summary, expected[0].summary);
}
