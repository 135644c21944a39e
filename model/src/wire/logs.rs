//! The body of a logs section: whole columns in, whole columns out; nothing is allocated per line.

use std::collections::HashMap;

use super::WireError;
use super::budget::{Budget, check_limit, invalid};
use super::columns::{
    ColumnsReader, ColumnsWriter, Reader, label_sets, labels, put_all, put_label_sets, put_labels, put_timestamps, put_varint,
    timestamps, unzigzag, zigzag,
};
use crate::id::{SpanId, TraceId};
use crate::label::Labels;
use crate::log::LogBatch;

const STREAM: u8 = 1;
const TIMESTAMPS: u8 = 2;
const SEQUENCES: u8 = 3;
const LENGTHS: u8 = 4;
const BODIES: u8 = 5;
const SEVERITIES: u8 = 6;
const FLAGS: u8 = 7;
const TRACE_IDS: u8 = 8;
const SPAN_IDS: u8 = 9;
const ATTRIBUTES: u8 = 10;

/// Memory of a line beside its body, contexts and attributes: a timestamp, a sequence, an end, a severity, flags.
const LINE_BYTES: usize = 22;

/// Appends the body to `out`.
pub(crate) fn encode(batch: &LogBatch, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
    charge(batch.len(), batch.bodies.len(), !batch.contexts.is_empty(), !batch.attributes.is_empty(), budget)?;
    let mut columns = ColumnsWriter::default();
    columns.put(STREAM, &put_labels(&batch.stream, budget)?);
    columns.put(TIMESTAMPS, &put_timestamps(batch.timestamps.iter().copied()));
    let mut last = 0_u64;
    columns.put_unless(batch.sequences.iter().all(|sequence| *sequence == 0), SEQUENCES, || {
        put_all(
            batch.sequences.iter().map(|&sequence| zigzag(sequence.wrapping_sub(std::mem::replace(&mut last, sequence)) as i64)),
        )
    });
    let mut start = 0;
    columns.put(LENGTHS, &put_all(batch.ends.iter().map(|&end| u64::from(end - std::mem::replace(&mut start, end)))));
    columns.put(BODIES, &batch.bodies);
    columns.put_unless(all_zero(&batch.severities), SEVERITIES, || batch.severities.clone());
    columns.put_unless(all_zero(&batch.flags), FLAGS, || batch.flags.clone());
    let contexts = &batch.contexts;
    columns.put_unless(contexts.iter().all(|(trace, _)| trace.is_none()), TRACE_IDS, || {
        contexts.iter().flat_map(|(trace, _)| trace.0).collect()
    });
    columns.put_unless(contexts.iter().all(|(_, span)| span.is_none()), SPAN_IDS, || {
        contexts.iter().flat_map(|(_, span)| span.0).collect()
    });
    if !batch.attributes.is_empty() {
        columns.put(ATTRIBUTES, &put_attributes(&batch.attributes, budget)?);
    }
    columns.finish(out);
    Ok(())
}

/// Reads a body of `lines` lines.
pub(crate) fn decode(body: &[u8], lines: u32, budget: &mut Budget) -> Result<LogBatch, WireError> {
    let count = lines as usize;
    let columns = ColumnsReader::new(body)?;
    let bodies = columns.need(BODIES, "log bodies")?;
    let bodies_length = bodies.remaining();
    let contexts = [TRACE_IDS, SPAN_IDS].iter().any(|id| columns.find(*id, "log contexts").is_some());
    charge(count, bodies_length, contexts, columns.find(ATTRIBUTES, "log attributes").is_some(), budget)?;
    let stream = labels(columns.need(STREAM, "stream labels")?, budget)?;
    let timestamps = timestamps(columns.need(TIMESTAMPS, "log timestamps")?, count)?;
    let ends = ends(columns.need(LENGTHS, "log lengths")?, count, bodies_length)?;
    let mut last = 0_u64;
    let sequences = match columns.find(SEQUENCES, "log sequences") {
        None => vec![0; count],
        Some(column) => column.all(count, |delta| {
            last = last.wrapping_add(unzigzag(delta) as u64);
            last
        })?,
    };
    Ok(LogBatch {
        stream,
        timestamps,
        sequences,
        ends,
        bodies: { bodies }.take(bodies_length)?.to_vec(),
        severities: bytes_or_zero(columns.find(SEVERITIES, "log severities"), count)?,
        flags: bytes_or_zero(columns.find(FLAGS, "log flags"), count)?,
        contexts: contexts_of(&columns, count)?,
        attributes: match columns.find(ATTRIBUTES, "log attributes") {
            None => Vec::new(),
            Some(column) => attributes(column, count, budget)?,
        },
    })
}

fn charge(lines: usize, bodies: usize, contexts: bool, attributes: bool, budget: &mut Budget) -> Result<(), WireError> {
    check_limit("log lines", lines as u64, budget.limits.records)?;
    let context_bytes = if contexts { size_of::<(TraceId, SpanId)>() } else { 0 };
    let attribute_bytes = if attributes { size_of::<Labels>() } else { 0 };
    budget.charge(bodies + lines * (LINE_BYTES + context_bytes + attribute_bytes))
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn bytes_or_zero(column: Option<Reader<'_>>, count: usize) -> Result<Vec<u8>, WireError> {
    match column {
        None => Ok(vec![0; count]),
        Some(column) => Ok(column.arrays::<1>(count)?.as_flattened().to_vec()),
    }
}

/// Lengths to ends; they have to add up to the bytes there are.
fn ends(column: Reader<'_>, count: usize, bodies: usize) -> Result<Vec<u32>, WireError> {
    let mut end = 0_u64;
    let ends = column.all(count, |length| {
        end = end.saturating_add(length);
        end as u32
    })?;
    if end != bodies as u64 || end > u64::from(u32::MAX) {
        return Err(invalid("log lengths", format!("they add up to {end}, the bodies have {bodies} bytes")));
    }
    Ok(ends)
}

fn contexts_of(columns: &ColumnsReader<'_>, count: usize) -> Result<Vec<(TraceId, SpanId)>, WireError> {
    let traces = columns.find(TRACE_IDS, "log trace ids").map(|column| column.arrays::<16>(count)).transpose()?;
    let spans = columns.find(SPAN_IDS, "log span ids").map(|column| column.arrays::<8>(count)).transpose()?;
    if traces.is_none() && spans.is_none() {
        return Ok(Vec::new());
    }
    let trace = |i: usize| TraceId(traces.map_or([0; 16], |traces| traces[i]));
    let span = |i: usize| SpanId(spans.map_or([0; 8], |spans| spans[i]));
    Ok((0..count).map(|i| (trace(i), span(i))).collect())
}

/// The distinct sets, then one set number a line.
fn put_attributes(lines: &[Labels], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let mut sets: Vec<&Labels> = Vec::new();
    let mut index: HashMap<&Labels, u64> = HashMap::new();
    let mut numbers = Vec::with_capacity(lines.len());
    for set in lines {
        let next = sets.len() as u64;
        let number = *index.entry(set).or_insert_with(|| {
            sets.push(set);
            next
        });
        put_varint(&mut numbers, number);
    }
    let mut out = put_label_sets(&sets, budget)?;
    out.extend_from_slice(&numbers);
    Ok(out)
}

fn attributes(mut column: Reader<'_>, count: usize, budget: &mut Budget) -> Result<Vec<Labels>, WireError> {
    let sets = label_sets(&mut column, budget)?;
    let mut wrong = None;
    let lines = column.all(count, |number| match sets.get(usize::try_from(number).unwrap_or(usize::MAX)) {
        Some(set) => set.clone(),
        None => {
            wrong = Some(number);
            Labels::EMPTY
        }
    })?;
    match wrong {
        Some(number) => Err(invalid("log attributes", format!("no set {number} of {}", sets.len()))),
        None => Ok(lines),
    }
}
