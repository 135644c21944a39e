//! The wire format under mutated input: sections or an error, within a limit on memory, and what was read can be written.

use super::super::{frame, metrics};
use super::golden::{Golden, extras};
use super::{check_round_trip, decode, encode, encode_none};
use crate::fuzz::{Fuzz, MemoryLimit};
use crate::log::LogBatch;
use crate::metric::MetricBatch;
use crate::span::SpanBatch;
use crate::wire::{Frame, Kind, Limits, Section};

/// What a body may be decompressed to, and with it what decoding may hold (four times as much), so that a limit on memory is
/// near what an input of 128 KiB needs.
const LIMITS: Limits = Limits { body_bytes: 1 << 20, ..Limits::DEFAULT };
/// Twice what is decoded, and its numbers as text, for comparison.
const MEMORY: MemoryLimit = MemoryLimit { bytes: 64 << 20, per_input_byte: 1 << 10 };

fn read(record: &[u8]) {
    let Ok(frame) = Frame::read(record, &LIMITS) else { return };
    match frame.kind() {
        Kind::Logs => read_as::<LogBatch>(record),
        Kind::Metrics => read_as::<MetricBatch>(record),
        Kind::Spans => read_as::<SpanBatch>(record),
    }
}

fn read_as<S: Golden>(record: &[u8]) {
    let Ok(sections) = decode::<S>(record, &LIMITS) else { return };
    if !sections.is_empty() {
        check_round_trip(&sections);
    }
}

/// Whole records, as they come and under magic and checksum that fit.
#[test]
fn records() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/wire_decode");
    let fuzz = Fuzz::new("wire-records").corpus(corpus).seed(encode_none()).memory(MEMORY);
    fuzz.run(|input| {
        read(input);
        let Some((_, checked)) = input.split_at_checked(8) else { return };
        read(&[b"WEIR", &crc32c::crc32c(checked).to_le_bytes()[..], checked].concat());
    });
}

/// What lies under the compression, in records whose heads fit. The first two bytes: the kind, and how many records the
/// section says it has.
#[test]
fn bodies() {
    fn seed<S: Golden>(section: Section<S>) -> Vec<u8> {
        let prefix = [S::KIND as u8, section.batch.records() as u8];
        let (_, body) = frame::uncompressed(&encode(&[section])).unwrap();
        [&prefix[..], &body].concat()
    }
    let seeds = [seed(LogBatch::golden()), seed(MetricBatch::golden()), seed(SpanBatch::golden()), seed(extras())];
    let fuzz = seeds.into_iter().fold(Fuzz::new("wire-bodies").memory(MEMORY), Fuzz::seed);
    fuzz.run(|input| {
        let Some(([kind, records], body)) = input.split_first_chunk::<2>() else { return };
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == *kind).unwrap_or(Kind::ALL[usize::from(*kind) % 3]);
        read(&frame::around(kind, u32::from(*records), body));
        read(&frame::sealed(&encode_none()[..24], body));
    });
}

/// What lies under the compression of a schema.
#[test]
fn schemas() {
    let (_, body) = frame::uncompressed(&encode(&[MetricBatch::golden()])).unwrap();
    let fuzz = Fuzz::new("wire-schemas").memory(MEMORY).seed(&metrics::unpacked_schema(&body)[..]);
    fuzz.run(|input| {
        let body = metrics::around(&zstd::bulk::compress(input, 1).unwrap());
        read(&frame::around(Kind::Metrics, 0, &body));
    });
}
