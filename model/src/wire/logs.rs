//! The body of a logs section: whole columns in, whole columns out; nothing is allocated per line.

use super::WireError;
use super::budget::{Budget, TEXT_BYTES, check_limit, invalid};
use super::columns::{ColumnsReader, ColumnsWriter, Reader, labels, put_all, put_labels, put_timestamps, timestamps};
use crate::id::{SpanId, TraceId};
use crate::label::Labels;
use crate::log::{AttributeSets, LogBatch};
use crate::varint::{put_varint, unzigzag, zigzag};

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
    charge(batch.len(), batch.bodies.len(), !batch.contexts.is_empty(), !batch.sets.is_empty(), budget)?;
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
    columns.put_large(BODIES, &batch.bodies);
    columns.put_unless(all_zero(&batch.severities), SEVERITIES, || batch.severities.clone());
    columns.put_unless(all_zero(&batch.flags), FLAGS, || batch.flags.clone());
    let contexts = &batch.contexts;
    columns.put_unless(contexts.iter().all(|(trace, _)| trace.is_none()), TRACE_IDS, || {
        contexts.iter().map(|(trace, _)| trace.0).collect::<Vec<_>>().into_flattened()
    });
    columns.put_unless(contexts.iter().all(|(_, span)| span.is_none()), SPAN_IDS, || {
        contexts.iter().map(|(_, span)| span.0).collect::<Vec<_>>().into_flattened()
    });
    if !batch.sets.is_empty() {
        columns.put_large(ATTRIBUTES, put_attributes(&batch.attributes, &batch.sets, budget)?);
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
    let (attributes, sets) = match columns.find(ATTRIBUTES, "log attributes") {
        None => Default::default(),
        Some(column) => attributes(column, count, budget)?,
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
        sets,
        attributes,
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

/// The distinct sets over their dictionary ([`super::columns::put_label_sets`]), then one set number a line. A text is charged
/// wherever it is referred to, since blocks hold each set by itself.
fn put_attributes(attributes: &AttributeSets, lines: &[u32], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let texts = attributes.texts();
    budget.charge(texts.len() * TEXT_BYTES + attributes.len() * size_of::<Labels>())?;
    let mut out = Vec::with_capacity(attributes.bytes() + texts.len() + attributes.len() + lines.len() * 2);
    put_varint(&mut out, texts.len() as u64);
    attributes.texts().for_each(|text| put_varint(&mut out, text.len() as u64));
    texts.for_each(|text| out.extend_from_slice(text.as_bytes()));
    put_varint(&mut out, attributes.len() as u64);
    for (set, own) in (0..).zip(attributes.iter()) {
        let numbers = attributes.numbers(set);
        budget.charge_pairs(numbers.len())?;
        own.iter().flat_map(|(name, value)| [name, value]).try_for_each(|text| budget.charge_text(text))?;
        put_varint(&mut out, numbers.len() as u64);
        for (name, value) in numbers {
            put_varint(&mut out, u64::from(*name));
            put_varint(&mut out, u64::from(*value));
        }
    }
    lines.iter().for_each(|set| put_varint(&mut out, u64::from(*set)));
    Ok(out)
}

fn attributes(mut column: Reader<'_>, count: usize, budget: &mut Budget) -> Result<(AttributeSets, Vec<u32>), WireError> {
    let (texts, text_ends) = texts(&mut column, budget)?;
    let text = |number: u64| -> Result<(u32, &str), WireError> {
        let at = usize::try_from(number).ok().filter(|at| *at < text_ends.len());
        let at = at.ok_or_else(|| invalid("dictionary", format!("no text {number} of {}", text_ends.len())))?;
        let start = if at == 0 { 0 } else { text_ends[at - 1] };
        Ok((at as u32, &texts[start as usize..text_ends[at] as usize]))
    };
    let sets = column.count()?;
    budget.charge(sets * size_of::<Labels>())?;
    let (mut pairs, mut set_ends) = (Vec::new(), Vec::with_capacity(sets));
    for _ in 0..sets {
        let size = column.count()?;
        budget.charge_pairs(size)?;
        let mut last = None;
        for _ in 0..size {
            let (name, value) = (text(column.varint()?)?, text(column.varint()?)?);
            budget.charge_text(name.1)?;
            budget.charge_text(value.1)?;
            if value.1.is_empty() || last.is_some_and(|last| last >= name.1) {
                return Err(invalid("log attributes", "a set is out of order, or has an empty value"));
            }
            last = Some(name.1);
            pairs.push((name.0, value.0));
        }
        set_ends.push(pairs.len() as u32);
    }
    pairs.shrink_to_fit();
    let mut wrong = None;
    let lines = column.all(count, |number| match u32::try_from(number) {
        Ok(set) if (set as usize) < sets => set,
        _ => {
            wrong = Some(number);
            0
        }
    })?;
    match wrong {
        Some(number) => Err(invalid("log attributes", format!("no set {number} of {sets}"))),
        None => Ok((AttributeSets::from_columns(texts, text_ends, pairs, set_ends), lines)),
    }
}

/// A dictionary: its texts one after the other, and their ends.
fn texts(column: &mut Reader<'_>, budget: &mut Budget) -> Result<(String, Vec<u32>), WireError> {
    let count = column.count()?;
    budget.charge(count * TEXT_BYTES)?;
    let mut end = 0_u64;
    let mut ends = Vec::with_capacity(count);
    for _ in 0..count {
        end = end.saturating_add(column.varint()?);
        ends.push(u32::try_from(end).map_err(|_| WireError::Truncated { what: "dictionary" })?);
    }
    let bytes = column.take(end as usize)?;
    let texts = std::str::from_utf8(bytes).map_err(|error| invalid("dictionary", format!("not UTF-8: {error}")))?;
    match ends.iter().find(|end| !texts.is_char_boundary(**end as usize)) {
        Some(end) => Err(invalid("dictionary", format!("not UTF-8: a text ends within a letter, at byte {end}"))),
        None => Ok((texts.to_owned(), ends)),
    }
}
