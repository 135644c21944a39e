//! What comes from outside of the engines: block files and answers of owners. Each engine has its own targets.

use std::sync::Arc;

use weir_model::fuzz::{Fuzz, MemoryLimit};
use weir_model::label::Labels;
use weir_model::select::{LogSelect, NoBudget};
use weir_model::time::TimeRange;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use crate::blob::MemoryBlob;
use crate::block::{BlockData, BlockReader};
use crate::engine::{Engine, Head, Position};
use crate::heads::ask::LinesAsk;
use crate::heads::{Ask, Instant, PartAnswer, SliceLimits, Sliced, decode, encode_slice, frame};
use crate::logs::LogsEngine;

/// What a decoder may hold: columns of bytes become structures.
pub(crate) const MEMORY: MemoryLimit = MemoryLimit { bytes: 8 << 20, per_input_byte: 1 << 10 };

#[test]
fn block_files() {
    let sections = vec![("a.1", b"hello".to_vec()), ("empty.1", Vec::new()), ("b.2", vec![7; 9])];
    let seed = BlockData { sections }.encode(Kind::Logs);
    Fuzz::new("store-block").seed(seed).words(&["WBLK", "WEND", "a.1"]).memory(MEMORY).run(|input| {
        // The directory's checksum made right, so that what it says is read.
        let mut file = input.to_vec();
        if let Some(end) = file.len().checked_sub(12) {
            let length = u32::from_le_bytes([file[end], file[end + 1], file[end + 2], file[end + 3]]) as usize;
            let start = end.saturating_sub(length);
            let crc = crc32c::crc32c(&file[start..end]).to_le_bytes();
            file[end + 4..end + 8].copy_from_slice(&crc);
        }
        let Ok(block) = BlockReader::open(Arc::new(MemoryBlob::new("fuzz", file))) else { return };
        let names: Vec<String> = block.names().map(str::to_owned).collect();
        names.iter().for_each(|name| drop(block.section(name)));
    });
}

#[test]
fn answers() {
    let head = LogsEngine::default().head();
    let mut batch = weir_model::log::LogBatch::new(Labels::from_pairs([("pod", "p")]));
    let attributes = Labels::from_pairs([("user", "7")]);
    for timestamp in 0..5 {
        batch.push(weir_model::log::LogRecord {
            timestamp,
            sequence: 0,
            body: b"a line",
            severity: 9,
            flags: 0,
            trace_id: Default::default(),
            span_id: Default::default(),
            attributes: &attributes,
        });
    }
    let mark = Mark::Digest([1; 16]);
    let section = Section::new(SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 0 }, batch);
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    let select =
        LogSelect { tenant: "t".into(), matchers: Vec::new(), range: TimeRange::ALL, filters: Vec::new(), newest_first: true };
    let limits = SliceLimits { bytes_max: 1 << 20, key: "" };
    let slice = LogsEngine::slice("t", &Ask::Lines(LinesAsk::new(&select, 1000)), &[Arc::new(head)], limits, &NoBudget).unwrap();
    let mut seed = frame::preamble(Kind::Logs).to_vec();
    encode_slice(&mut seed, &Instant::default(), &slice);
    frame::put(&mut seed, frame::Tag::End, &[]);
    let engine = LogsEngine::default();
    Fuzz::new("store-answers").seed(seed).memory(MEMORY).run(move |input| {
        let Ok(answers) = decode(&with_checksums(input), Kind::Logs) else { return };
        for answer in answers {
            let PartAnswer::Slice(_, slice) = answer else { continue };
            slice.heads.iter().for_each(|records| drop(engine.unslice(0, "t", records, 1 << 20)));
        }
    });
}

/// Frames' checksums made right, as far as there are whole frames.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let mut at = frame::PREAMBLE_BYTES;
    while let Some((length, true)) = bytes.get(at..).and_then(frame::length) {
        if at + length > bytes.len() {
            break;
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[at..=at]), &bytes[at + 9..at + length]);
        bytes[at + 5..at + 9].copy_from_slice(&crc.to_le_bytes());
        at += length;
    }
    bytes
}
