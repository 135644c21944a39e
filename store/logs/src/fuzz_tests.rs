//! Chunks and sections of any bytes are refused or read, with right checksums around them.

use std::ops::ControlFlow;
use std::sync::Arc;

use weir_model::fuzz::Fuzz;
use weir_model::id::{LineId, SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::select::LineFilter;
use weir_model::time::TimeRange;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::chunk::Lines;
use super::filter::Filters;
use super::frame::{COLUMNS, Columns, Frame};
use super::places::{PlacePages, chunk_of, decode_page};
use super::stored::StoredLines;
use super::take::EachLine;
use super::*;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::block::Blob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_blocks::testing::MEMORY;

/// Of two streams, each in several chunks.
fn built() -> BuiltBlock {
    built_of(300)
}

fn built_of(chunk_bytes: usize) -> BuiltBlock {
    let engine = LogsEngine::new(LogsOptions { chunk_bytes, ..LogsOptions::default() });
    let head = engine.head();
    for offset in 0..4_u8 {
        let mut batch = LogBatch::new(Labels::from_pairs([("pod", format!("p{}", offset % 2))]));
        for i in 0..4_u8 {
            let attributes = if i == 1 { Labels::from_pairs([("user", i.to_string())]) } else { Labels::EMPTY };
            batch.push(LogRecord {
                timestamp: i64::from(i) * 20_000_000_000,
                sequence: u64::from(offset) * 1000 + u64::from(i) * 9,
                body: format!(
                    "a line {i} of {} at 1970-01-01T00:00:{:02}.000Z {i:z>70}",
                    hex::encode([offset & 1; 8]),
                    i * 20 % 60
                )
                .as_bytes(),
                severity: i * 5,
                flags: i & 1,
                trace_id: TraceId([offset & 1; 16]),
                span_id: SpanId([offset & 1; 8]),
                attributes: (&attributes).into(),
            });
        }
        let mark = Mark::Sequence { epoch: 0, first: 0, last: 1 };
        let header = SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 4 };
        let section = Section::new(header, batch);
        head.insert(Position { partition: 3, offset: u64::from(offset), ordinal: 0 }, &section).unwrap();
    }
    head.build().unwrap().remove(0)
}

/// A chunk of version 1 around columns and bodies: the first two bytes say how long the latter are.
fn chunk_one(input: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    let (bodies, columns) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let pack = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    let (packed_columns, packed_bodies) = (pack(columns), pack(bodies));
    let mut out = vec![0; 8];
    for length in [columns.len(), packed_columns.len(), bodies.len(), packed_bodies.len()] {
        out.extend_from_slice(&(length as u32).to_le_bytes());
    }
    out.extend_from_slice(&packed_columns);
    out.extend_from_slice(&packed_bodies);
    let crc = crc32c::crc32c(&out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    Some(out)
}

/// The inverse.
fn unchunked_one(chunk: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(chunk[at..at + 4].try_into().unwrap()) as usize;
    let columns = zstd::bulk::decompress(&chunk[24..24 + number(12)], number(8)).unwrap();
    let bodies = zstd::bulk::decompress(&chunk[24 + number(12)..], number(16)).unwrap();
    [&(bodies.len() as u16).to_le_bytes()[..], &bodies, &columns].concat()
}

/// A chunk around columns: of each two bytes of length, and these. The second one, of times, says how many lines there are.
fn chunk(mut input: &[u8]) -> Option<Vec<u8>> {
    let mut columns = Vec::new();
    for (column, _) in COLUMNS {
        let (length, rest) = input.split_first_chunk::<2>()?;
        let (bytes, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        columns.push((column, bytes));
        input = rest;
    }
    let mut out = Columns::new(3, columns[1].1.len().saturating_sub(1) as u32);
    columns.into_iter().for_each(|(column, bytes)| out.set(column, bytes.to_vec()));
    Some(out.encode().unwrap())
}

/// The inverse.
fn unchunked(chunk: &[u8]) -> Vec<u8> {
    let frame = Frame::split(chunk.to_vec().into()).unwrap();
    let columns = COLUMNS.iter().map(|(column, _)| frame.column(*column).unwrap());
    columns.flat_map(|bytes| [&(bytes.len() as u16).to_le_bytes()[..], &bytes].concat()).collect()
}

fn find<'a>(built: &'a BuiltBlock, name: &str) -> &'a [u8] {
    &built.data.sections.iter().find(|(own, _)| *own == name).unwrap().1
}

#[test]
fn chunks() {
    let built = built();
    let block = LogsEngine::default().open(Arc::new(MemoryBlob::new("x", built.data.encode(Kind::Logs)))).unwrap();
    let (mut at, mut target) = (0, Fuzz::new("store-logs-chunk-2").memory(MEMORY));
    for number in 0..block.chunks() {
        let length = block.pack_bytes(number) as usize;
        let seed = unchunked(&find(&built, "chunks.2")[at..at + length]);
        let lines = StoredLines::open(chunk(&seed).unwrap().into()).unwrap();
        lines.load().unwrap();
        target = target.seed(seed);
        at += length;
    }
    let filters = Filters::new(&[LineFilter::Contains(vec![b"ine 1".to_vec()])]);
    target.run(move |input| {
        let Some(Ok(lines)) = chunk(input).map(|chunk| StoredLines::open(chunk.into())) else { return };
        let mut take = |_: LineId, _: LogRecord<'_>| ControlFlow::Continue(());
        let _unreadable = lines.visit((0..lines.len(), TimeRange::ALL), &filters, None, &mut EachLine(&mut take));
        let _unreadable = lines.tokens();
        if lines.load().is_err() {
            return;
        }
        let mut body = Vec::new();
        for i in 0..lines.len() {
            body.clear();
            lines.render(i, &mut body).unwrap();
            assert_eq!(body.len(), lines.lengths().unwrap()[i] as usize);
            std::hint::black_box(lines.record(i, &body).unwrap().1.attributes.len());
        }
    });
}

#[test]
fn chunks_of_version_1() {
    let golden = hex::decode(include_str!("golden_chunk_1.hex").trim()).unwrap();
    let seed = unchunked_one(&golden);
    assert!(Lines::decode_one(&chunk_one(&seed).unwrap()).is_ok());
    Fuzz::new("store-logs-chunk").memory(MEMORY).seed(seed).run(|input| {
        let Some(Ok(lines)) = chunk_one(input).map(|chunk| Lines::decode_one(&chunk)) else { return };
        for i in 0..lines.len() {
            let (_, record) = lines.get(i);
            std::hint::black_box((record.body.len(), record.attributes.len()));
        }
    });
}

#[test]
fn streams_and_directories() {
    check_directories("store-logs-sections", built());
}

/// The chunks of both streams lie in one pack.
#[test]
fn directories_of_packs() {
    let built = built_of(1 << 20);
    let block = LogsEngine::default().open(Arc::new(MemoryBlob::new("x", built.data.encode(Kind::Logs)))).unwrap();
    assert_eq!((block.chunks(), block.pack_of(1)), (2, 0));
    check_directories("store-logs-packs", built);
}

fn check_directories(name: &'static str, built: BuiltBlock) {
    let raw = |name: &str| {
        let section = find(&built, name);
        zstd::bulk::decompress(&section[4..], u32::from_le_bytes(section[..4].try_into().unwrap()) as usize).unwrap()
    };
    let seeds = [[&[0], &raw("streams.1")[..]].concat(), [&[1], &raw("directory.2")[..]].concat()];
    let target = seeds.iter().fold(Fuzz::new(name), |target, seed| target.seed(seed));
    target.memory(MEMORY).run(move |input| {
        let Some((which, raw)) = input.split_first() else { return };
        let name = ["streams.1", "directory.2"][usize::from(which & 1)];
        let mut data = built.data.clone();
        let packed = [&(raw.len() as u32).to_le_bytes()[..], &zstd::bulk::compress(raw, 1).unwrap()].concat();
        data.sections.iter_mut().filter(|(own, _)| *own == name).for_each(|(_, bytes)| bytes.clone_from(&packed));
        let engine = LogsEngine::new(LogsOptions { index_cache_bytes: 0, chunk_cache_bytes: 0, ..LogsOptions::default() });
        let Ok(block) = engine.open(Arc::new(MemoryBlob::new("fuzz", data.encode(Kind::Logs)))) else { return };
        let _refused = engine.verify(&block, &built.summary);
        for chunk in 0..block.chunks() {
            let Ok(lines) = block.lines(chunk) else { continue };
            if lines.load().is_err() {
                continue;
            }
            for i in 0..lines.len().unwrap() {
                lines.with(i, |_, record| std::hint::black_box(record.body.len())).unwrap();
            }
            assert!(block.chunk_bytes(chunk) <= block.pack_bytes(chunk));
        }
    });
}

#[test]
fn pages_of_places() {
    let built = built();
    let raw = zstd::bulk::decompress(&find(&built, "places.1")[8..], 1 << 20).unwrap();
    let seeds = [[&[0], &raw[..]].concat(), [&[1], find(&built, "place_pages.1")].concat()];
    let target = seeds.iter().fold(Fuzz::new("store-logs-places"), |target, seed| target.seed(seed));
    target.memory(MEMORY).run(|input| {
        let Some((which, raw)) = input.split_first() else { return };
        if which & 1 == 1 {
            let Ok(pages) = PlacePages::decode(raw) else { return };
            std::hint::black_box(pages.page_of((7, 7)));
            return;
        }
        let mut page = [&[0; 4][..], &(raw.len() as u32).to_le_bytes(), &zstd::bulk::compress(raw, 1).unwrap()].concat();
        let crc = crc32c::crc32c(&page[4..]);
        page[..4].copy_from_slice(&crc.to_le_bytes());
        let Ok(runs) = decode_page(&page) else { return };
        std::hint::black_box(chunk_of(&runs, (7, 7)));
    });
}

#[test]
fn ids_and_pairs() {
    let built = built();
    let names = ["ids.2", "id_pages.1", "pairs.2", "pair_pages.1"];
    let mut former = built.data.clone();
    former.sections.retain(|(name, _)| !names.contains(name));
    let bytes = include_str!("golden_ids.hex").lines().map(|line| hex::decode(line).unwrap());
    former.sections.extend(["ids.1", "pairs.1"].into_iter().zip(bytes));
    // A section of this number is replaced, of the block at hand or of one of an earlier build.
    let former_names = ["ids.1", "pairs.1"];
    let of_former = former.sections.iter().filter(|(name, _)| former_names.contains(name)).map(|(_, bytes)| &bytes[..]);
    let bytes = names.iter().map(|name| find(&built, name)).chain(of_former);
    let seeds: Vec<Vec<u8>> = (0_u8..).zip(bytes).map(|(which, bytes)| [&[which], bytes].concat()).collect();
    let target = seeds.iter().fold(Fuzz::new("store-logs-ids"), |target, seed| target.seed(seed));
    let id = weir_model::select::Mention::Value("trace_id".into(), TraceId([1; 16]).to_string());
    let part = weir_model::select::LineFilter::Contains(vec![b"0101010".to_vec()]);
    let predicates = [super::predicate::TokenPredicate::of_mention(&id), super::predicate::TokenPredicate::of(&[part])];
    target.memory(MEMORY).run(move |input| {
        let Some((which, raw)) = input.split_first() else { return };
        let which = usize::from(*which) % (names.len() + former_names.len());
        let (data, name) = match names.get(which) {
            Some(name) => (&built.data, *name),
            None => (&former, former_names[which - names.len()]),
        };
        let mut data = data.clone();
        data.sections.iter_mut().filter(|(own, _)| *own == name).for_each(|(_, bytes)| *bytes = raw.to_vec());
        let blob = Arc::new(MemoryBlob::new("fuzz", data.encode(Kind::Logs)));
        let open = |index_cache_bytes| {
            let options = LogsOptions { index_cache_bytes, chunk_cache_bytes: 0, ..LogsOptions::default() };
            LogsEngine::new(options).open(Arc::clone(&blob) as Arc<dyn Blob>)
        };
        // What is kept of one table is never taken for another's: with a cache it is as without.
        let (Ok(block), Ok(keeping)) = (open(0), open(1 << 20)) else { return };
        for predicate in predicates.iter().chain(&predicates) {
            let chunks = block.candidates(predicate).ok();
            assert_eq!(keeping.candidates(predicate).ok(), chunks);
            assert!(chunks.flatten().is_none_or(|chunks| chunks.max() < Some(block.chunks())));
        }
    });
}
