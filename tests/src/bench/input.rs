//! The input of the benchmarks: Nezha's day where it lies beside the checkout, else a small one of the same shape.

use std::path::{Path, PathBuf};

use prost::Message;

use super::export;
use crate::nezha::{CriWriter, Day, Line, SpanRow};

/// Larger than any pod's log: no rotation, so that reading is all that is measured.
const NO_ROTATION: u64 = u64::MAX;

/// CRI files on disk (and, just written, in the page cache).
pub struct Files {
    /// One a pod.
    pub paths: Vec<PathBuf>,
    /// Of all of them.
    pub bytes: u64,
    /// In all of them.
    pub lines: u64,
}

/// Writes the lines as CRI files below `pods`.
pub fn write_files(pods: &Path, lines: &[Line]) -> Files {
    let mut writer = CriWriter::new(pods, NO_ROTATION);
    lines.iter().for_each(|line| writer.write(line));
    let names: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.pod.as_str()).collect();
    let paths: Vec<PathBuf> = names.into_iter().map(|pod| writer.folder(pod).join("0.log")).collect();
    let bytes = paths.iter().map(|path| std::fs::metadata(path).expect("just written").len()).sum();
    Files { paths, bytes, lines: lines.len() as u64 }
}

/// Bytes of the lines themselves.
pub fn body_bytes(lines: &[Line]) -> u64 {
    lines.iter().map(|line| line.body.len() as u64).sum()
}

/// What the input is, for the printed line.
pub fn name(day: &Day) -> &'static str {
    if day.real { "Nezha's Train Ticket day" } else { "a made-up day (Nezha is absent)" }
}

/// OTLP export requests in protobuf of so many spans each, which have no attributes.
pub fn otlp_requests(spans: &[SpanRow], spans_a_request: usize) -> Vec<Vec<u8>> {
    spans.chunks(spans_a_request).map(|spans| export::spans(spans, export::span).encode_to_vec()).collect()
}
