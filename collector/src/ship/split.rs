//! Cuts sections that are too large for one record. Pure and deterministic: the same section is always cut at the same
//! places, so that a client's second attempt carries the same digests.
//!
//! - Log lines with sequences: `[first, s)` and `[s, last)`, where `s` is the sequence of the last line of the first part.
//! - Metric rows: by rows while there are several; a single huge row by columns, the second half under the source
//!   `<source>#1`, because one row number cannot be two positions of one source.
//! - Digests: the parts' digests are derived from the whole's and the part's index.

use std::sync::Arc;

use weir_model::log::LogBatch;
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::span::SpanBatch;
use weir_model::wire::{Body, Limits, Mark, Section, SectionHeader};
use xxhash_rust::xxh3::xxh3_128;

use super::weight;

/// A section is cut until its parts weigh at most this, uncompressed: even when nothing compresses, two such parts and
/// their headers are near the record limit of 1 MiB, and a compressible record holds many.
const PART_BYTES: usize = 2 << 20;

/// Cuts `section` to parts of at most [`PART_BYTES`] and at most `limits.records` records, in order.
pub(crate) fn to_size(section: Section, limits: &Limits) -> Vec<Section> {
    let fits = |section: &Section| weight(&section.body) <= PART_BYTES && section.body.records() <= u64::from(limits.records);
    if fits(&section) {
        return vec![section];
    }
    let mut done = Vec::new();
    let mut rest = vec![section];
    while let Some(section) = rest.pop() {
        if fits(&section) {
            done.push(section);
            continue;
        }
        match halves(section) {
            Ok([first, second]) => rest.extend([second, first]),
            Err(whole) => done.push(*whole),
        }
    }
    done
}

/// Two halves in order; the section itself when it holds a single record (or a single column) and cannot be cut.
pub(crate) fn halves(section: Section) -> Result<[Section; 2], Box<Section>> {
    if section.body.records() < 2 {
        return Err(Box::new(section));
    }
    let Section { header, body } = section;
    match body {
        Body::Logs(batch) => Ok(halve_logs(&header, &batch)),
        Body::Spans(mut batch) => {
            let second = batch.spans.split_off(batch.spans.len() / 2);
            let second = SpanBatch { origin: batch.origin.clone(), spans: second };
            Ok([part(&header, 0, None, Body::Spans(batch)), part(&header, 1, None, Body::Spans(second))])
        }
        Body::Metrics(batch) if batch.rows.len() > 1 => Ok(halve_rows(&header, batch)),
        Body::Metrics(batch) => Ok(halve_columns(&header, &batch)),
    }
}

/// The digest of part `index` of something with `digest`.
pub(crate) fn derive_digest(digest: &[u8; 16], index: u32) -> [u8; 16] {
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(digest);
    bytes[16..].copy_from_slice(&index.to_le_bytes());
    xxh3_128(&bytes).to_be_bytes()
}

/// `at`: the position between the two parts, for sequences.
fn part(header: &SectionHeader, index: u32, at: Option<u64>, body: Body) -> Section {
    let mark = match (header.mark, at) {
        (Mark::Digest(digest), _) => Mark::Digest(derive_digest(&digest, index)),
        (Mark::Sequence { epoch, first, last }, Some(at)) if index == 0 => {
            Mark::Sequence { epoch, first, last: at.clamp(first, last) }
        }
        (Mark::Sequence { epoch, first, last }, Some(at)) => Mark::Sequence { epoch, first: at.clamp(first, last), last },
        (mark, None) => mark,
    };
    let records = u32::try_from(body.records()).unwrap_or(u32::MAX);
    Section { header: SectionHeader { mark, records, ..header.clone() }, body }
}

fn halve_logs(header: &SectionHeader, batch: &LogBatch) -> [Section; 2] {
    let half = middle(batch);
    let mut parts = [LogBatch::new(batch.stream.clone()), LogBatch::new(batch.stream.clone())];
    for (i, record) in batch.iter().enumerate() {
        parts[usize::from(i >= half)].push(record);
    }
    let at = Some(batch.get(half - 1).sequence);
    let [first, second] = parts;
    [part(header, 0, at, Body::Logs(first)), part(header, 1, at, Body::Logs(second))]
}

/// The line at which the bytes are about half: lines are of very different lengths. Between 1 and `len - 1`.
fn middle(batch: &LogBatch) -> usize {
    let mut bytes = 0;
    let half = batch.iter().position(|record| {
        bytes += record.body.len() + 24;
        bytes * 2 >= batch.body_bytes() + 24 * batch.len()
    });
    half.unwrap_or(0).clamp(1, batch.len() - 1)
}

fn halve_rows(header: &SectionHeader, mut batch: MetricBatch) -> [Section; 2] {
    let half = batch.rows.len() / 2;
    let rows = batch.rows.split_off(half);
    let second = MetricBatch { target: batch.target.clone(), schema: batch.schema.clone(), rows };
    let at = match header.mark {
        Mark::Sequence { first, .. } => Some(first + half as u64),
        Mark::Digest(_) => None,
    };
    [part(header, 0, at, Body::Metrics(batch)), part(header, 1, at, Body::Metrics(second))]
}

fn halve_columns(header: &SectionHeader, batch: &MetricBatch) -> [Section; 2] {
    let half = batch.schema.series.len() / 2;
    let columns = |range: std::ops::Range<usize>, families| MetricBatch {
        target: batch.target.clone(),
        schema: Arc::new(Schema { series: batch.schema.series[range.clone()].to_vec(), families }),
        rows: batch
            .rows
            .iter()
            .map(|row| MetricRow { timestamp: row.timestamp, values: row.values[range.clone()].to_vec() })
            .collect(),
    };
    // Metadata is per tenant, not per column: once is enough.
    let first = columns(0..half, batch.schema.families.clone());
    let second = columns(half..batch.schema.series.len(), Vec::new());
    let mut other = header.clone();
    if matches!(header.mark, Mark::Sequence { .. }) {
        other.source.push_str("#1");
    }
    [part(header, 0, None, Body::Metrics(first)), part(&other, 1, None, Body::Metrics(second))]
}
