//! Answers of owners of any bytes are refused or read.

use std::sync::Arc;

use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::testing::MEMORY;
use weir_logs::LogsEngine;
use weir_model::fuzz::{CountingAllocator, Fuzz};
use weir_model::label::Labels;
use weir_model::scope::Scope;
use weir_model::select::{LogSelect, NoBudget};
use weir_model::time::TimeRange;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use crate::request::LinesQuery;
use crate::{ExtractLimits, HeadInstant, HeadProtocol, HeadQuery, HeadResponse, decode, encode_extract, frame};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

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
            attributes: (&attributes).into(),
        });
    }
    let mark = Mark::Digest([1; 16]);
    let section = Section::new(SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 0 }, batch);
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    let select =
        LogSelect { scope: Scope::of("t"), matchers: Vec::new(), range: TimeRange::ALL, filters: Vec::new(), newest_first: true };
    let limits = ExtractLimits { bytes_max: 1 << 20, key: "" };
    let extract = LogsEngine::extract(
        &Scope::of("t"),
        &HeadQuery::Lines(LinesQuery::new(&select, 1000)),
        &[Arc::new(head)],
        limits,
        &NoBudget,
    )
    .unwrap();
    let mut seed = frame::preamble(Kind::Logs).to_vec();
    encode_extract(&mut seed, &HeadInstant::default(), &extract);
    frame::put(&mut seed, frame::Tag::End, &[]);
    let engine = LogsEngine::default();
    Fuzz::new("store-answers").seed(seed).memory(MEMORY).run(move |input| {
        let Ok(answers) = decode(&with_checksums(input), Kind::Logs) else { return };
        for answer in answers {
            let HeadResponse::Extract(_, extract) = answer else { continue };
            extract.heads.iter().for_each(|records| drop(engine.rebuild_head(0, "t", records, 1 << 20)));
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
