//! Any bytes into the wire decoder, as they are and under a checksum made right: errors are fine, panics and runaway
//! memory are not, and what was read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_model::log::LogBatch;
use weir_model::metric::MetricBatch;
use weir_model::signal::Signal;
use weir_model::span::SpanBatch;
use weir_model::wire::{Limits, RecordBuilder, decode};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    if bytes.len() >= 8 {
        let mut sealed = bytes.to_vec();
        let checksum = crc32c(&bytes[8..]);
        sealed[..4].copy_from_slice(b"WEIR");
        sealed[4..8].copy_from_slice(&checksum.to_le_bytes());
        check(&sealed);
    }
});

fn check(bytes: &[u8]) {
    check_as::<LogBatch>(bytes);
    check_as::<MetricBatch>(bytes);
    check_as::<SpanBatch>(bytes);
}

fn check_as<S: Signal>(bytes: &[u8]) {
    let limits = Limits { body_bytes: 1 << 20, ..Limits::default() };
    if let Ok(sections) = decode::<S>(bytes, &limits) {
        let mut builder = RecordBuilder::new(Limits::default());
        for section in &sections {
            builder.push(section).expect("what was read can be written");
        }
    }
}

/// Castagnoli, bit by bit: inputs are short, and the target stays free of dependencies.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}
