//! The body of a spans section: ids raw, times as deltas, every text a number into one dictionary. The batch's own columns,
//! but for the times: encoding copies them, decoding checks them.

use std::sync::Arc;

use super::WireError;
use super::budget::{Budget, TEXT_BYTES, check_limit, invalid};
use super::columns::{ColumnsReader, ColumnsWriter, Reader, put_all};
use super::value::{Checker, charge, put_attributes};
use crate::id::{SpanId, TraceId};
use crate::span::packed::Extent;
use crate::span::{Lists, Origin, SpanBatch, SpanEvent, SpanKind, SpanLink, Spans, StatusCode, TextArena};
use crate::varint::{put_varint, unzigzag, zigzag};

const TEXTS: u8 = 1;
const ORIGIN: u8 = 2;
const TRACE_IDS: u8 = 3;
const SPAN_IDS: u8 = 4;
const PARENT_IDS: u8 = 5;
const NAMES: u8 = 6;
const KINDS: u8 = 7;
const STARTS: u8 = 8;
const DURATIONS: u8 = 9;
const STATUSES: u8 = 10;
const STATUS_MESSAGES: u8 = 11;
const TRACE_STATES: u8 = 12;
const ATTRIBUTES: u8 = 13;
const EVENTS: u8 = 14;
const LINKS: u8 = 15;

/// Appends the body to `out`.
pub(crate) fn encode(batch: &SpanBatch, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
    let spans = &*batch.spans;
    charge(spans.len(), &spans.extent, budget)?;
    let (mut origin, mut origin_texts, mut extent) = (Vec::new(), TextArena::default(), Extent::default());
    put_origin(&batch.origin, spans.texts.len() as u32, &mut origin_texts, &mut extent, &mut origin);
    charge(0, &extent, budget)?;
    let mut columns = ColumnsWriter::default();
    columns.put(TEXTS, &put_texts([&spans.texts, &origin_texts], budget)?);
    columns.put(ORIGIN, &origin);
    columns.put(TRACE_IDS, &put_ids(spans.trace_ids.iter().map(|id| id.0)));
    columns.put(SPAN_IDS, &put_ids(spans.span_ids.iter().map(|id| id.0)));
    columns.put(PARENT_IDS, &put_ids(spans.parent_ids.iter().map(|id| id.0)));
    columns.put(NAMES, &put_numbers(&spans.names));
    columns.put(KINDS, &spans.kinds.iter().map(|kind| *kind as u8).collect::<Vec<_>>());
    let mut last = 0_i64;
    let delta = |start: &i64| zigzag(start.wrapping_sub(std::mem::replace(&mut last, *start)));
    columns.put(STARTS, &put_all(spans.starts.iter().map(delta)));
    let duration = |(start, end): (&i64, &i64)| zigzag(end.wrapping_sub(*start));
    columns.put(DURATIONS, &put_all(spans.starts.iter().zip(&spans.ends).map(duration)));
    columns.put_unless(spans.statuses.iter().all(|status| *status == StatusCode::Unset), STATUSES, || {
        spans.statuses.iter().map(|status| *status as u8).collect()
    });
    columns.put_unless(spans.messages.is_empty(), STATUS_MESSAGES, || put_numbers(&spans.messages));
    columns.put_unless(spans.states.is_empty(), TRACE_STATES, || put_numbers(&spans.states));
    for (id, lists) in [(ATTRIBUTES, &spans.attributes), (EVENTS, &spans.events), (LINKS, &spans.links)] {
        if !lists.ends.is_empty() {
            columns.put(id, &lists.bytes);
        }
    }
    columns.finish(out);
    Ok(())
}

/// Reads a body of `count` spans.
pub(crate) fn decode(body: &[u8], count: u32, budget: &mut Budget) -> Result<SpanBatch, WireError> {
    let columns = ColumnsReader::new(body)?;
    let mut texts = texts(columns.need(TEXTS, "span texts")?, budget)?;
    let origin = origin(columns.need(ORIGIN, "span origin")?, &mut Checker::new(&texts, budget))?;
    let count = count as usize;
    charge(count, &Extent::default(), budget)?;
    let mut checker = Checker::new(&texts, budget);
    let names = numbers(Some(columns.need(NAMES, "span names")?), count, &mut checker)?;
    let messages = numbers(columns.find(STATUS_MESSAGES, "status messages"), count, &mut checker)?;
    let states = numbers(columns.find(TRACE_STATES, "trace states"), count, &mut checker)?;
    let attributes = columns.find(ATTRIBUTES, "span attributes");
    let attributes = lists(attributes, count, |column| checker.attributes(column))?;
    let events = lists(columns.find(EVENTS, "span events"), count, |column| check_events(column, &mut checker))?;
    let links = lists(columns.find(LINKS, "span links"), count, |column| check_links(column, &mut checker))?;
    let (extent, named) = (checker.extent, checker.named);
    // What only the origin says is the origin's.
    texts.truncate(named);
    let (starts, ends) = times(&columns, count)?;
    let spans = Spans {
        texts,
        trace_ids: columns.need(TRACE_IDS, "trace ids")?.arrays(count)?.iter().map(|id| TraceId(*id)).collect(),
        span_ids: columns.need(SPAN_IDS, "span ids")?.arrays(count)?.iter().map(|id| SpanId(*id)).collect(),
        parent_ids: columns.need(PARENT_IDS, "parent ids")?.arrays(count)?.iter().map(|id| SpanId(*id)).collect(),
        names,
        kinds: enums(columns.need(KINDS, "span kinds")?, count, "span kinds", kind)?,
        starts,
        ends,
        statuses: match columns.find(STATUSES, "span statuses") {
            Some(column) => enums(column, count, "span statuses", status)?,
            None => vec![StatusCode::Unset; count],
        },
        messages,
        states,
        attributes,
        events,
        links,
        extent,
    };
    Ok(SpanBatch { origin, spans: Arc::new(spans) })
}

fn put_ids<const N: usize>(ids: impl ExactSizeIterator<Item = [u8; N]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(ids.len() * N);
    ids.for_each(|id| out.extend_from_slice(&id));
    out
}

fn put_numbers(numbers: &[u32]) -> Vec<u8> {
    put_all(numbers.iter().map(|number| u64::from(*number)))
}

/// Count, lengths, bytes of the texts of both.
fn put_texts(arenas: [&TextArena; 2], budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let count: usize = arenas.iter().map(|arena| arena.len()).sum();
    budget.charge(count * TEXT_BYTES)?;
    let mut out = Vec::with_capacity(2 * count + arenas.iter().map(|arena| arena.bytes().len()).sum::<usize>());
    put_varint(&mut out, count as u64);
    for length in arenas.iter().flat_map(|arena| arena.lengths()) {
        check_limit("text bytes", length as u64, budget.limits.text_bytes)?;
        put_varint(&mut out, length as u64);
    }
    arenas.iter().for_each(|arena| out.extend_from_slice(arena.bytes().as_bytes()));
    Ok(out)
}

fn texts(mut column: Reader<'_>, budget: &mut Budget) -> Result<TextArena, WireError> {
    let count = column.count()?;
    budget.charge(count * TEXT_BYTES)?;
    let mut ends = Vec::with_capacity(count);
    let mut end = 0_u32;
    for _ in 0..count {
        let length = column.varint()?;
        check_limit("text bytes", length, budget.limits.text_bytes)?;
        end = end.checked_add(length as u32).ok_or(WireError::Truncated { what: "span texts" })?;
        ends.push(end);
    }
    let bytes = std::str::from_utf8(column.take(end as usize)?);
    let bytes = bytes.map_err(|error| invalid("dictionary", format!("not UTF-8: {error}")))?;
    TextArena::from_parts(bytes.to_owned(), ends).ok_or_else(|| invalid("dictionary", "a text ends within a letter"))
}

/// Texts of the origin are numbered from `first`: they come after those of the spans.
fn put_origin(origin: &Origin, first: u32, texts: &mut TextArena, extent: &mut Extent, out: &mut Vec<u8>) {
    let mut numbered = |text: &str| first + texts.push(text);
    put_attributes(&origin.resource, &mut numbered, extent, out);
    for text in [&origin.scope_name, &origin.scope_version] {
        extent.text(text);
        put_varint(out, u64::from(numbered(text)));
    }
    put_attributes(&origin.scope_attributes, &mut numbered, extent, out);
}

fn origin(mut column: Reader<'_>, checker: &mut Checker<'_>) -> Result<Origin, WireError> {
    let origin = Origin {
        resource: checker.read_attributes(&mut column)?,
        scope_name: checker.owned_text(&mut column)?,
        scope_version: checker.owned_text(&mut column)?,
        scope_attributes: checker.read_attributes(&mut column)?,
    };
    column.end()?;
    Ok(origin)
}

/// A column of texts' numbers; none when it is absent.
fn numbers(column: Option<Reader<'_>>, count: usize, checker: &mut Checker<'_>) -> Result<Vec<u32>, WireError> {
    let Some(mut column) = column else { return Ok(Vec::new()) };
    let mut numbers = Vec::with_capacity(count.min(column.remaining()));
    for _ in 0..count {
        numbers.push(checker.text(&mut column)?);
    }
    column.end()?;
    Ok(numbers)
}

/// A column of lists, each of which `check` reads to its end; none when it is absent.
fn lists<'a>(
    column: Option<Reader<'a>>,
    count: usize,
    mut check: impl FnMut(&mut Reader<'a>) -> Result<(), WireError>,
) -> Result<Lists, WireError> {
    let Some(mut column) = column else { return Ok(Lists::default()) };
    let bytes = column.rest();
    let mut ends = Vec::with_capacity(count.min(bytes.len()));
    for _ in 0..count {
        check(&mut column)?;
        ends.push((bytes.len() - column.remaining()) as u32);
    }
    column.end()?;
    Ok(Lists { bytes: bytes.to_vec(), ends })
}

fn check_events(column: &mut Reader<'_>, checker: &mut Checker<'_>) -> Result<(), WireError> {
    let count = column.count()?;
    check_limit("span events", count as u64, checker.budget.limits.records)?;
    checker.extent.parts(count);
    for _ in 0..count {
        checker.budget.charge(size_of::<SpanEvent>())?;
        checker.extent.events += 1;
        column.varint()?;
        checker.text(column)?;
        checker.attributes(column)?;
    }
    Ok(())
}

fn check_links(column: &mut Reader<'_>, checker: &mut Checker<'_>) -> Result<(), WireError> {
    let count = column.count()?;
    check_limit("span links", count as u64, checker.budget.limits.records)?;
    checker.extent.parts(count);
    for _ in 0..count {
        checker.budget.charge(size_of::<SpanLink>())?;
        checker.extent.links += 1;
        column.take(size_of::<TraceId>() + size_of::<SpanId>())?;
        checker.text(column)?;
        checker.attributes(column)?;
    }
    Ok(())
}

/// Starts and ends.
fn times(columns: &ColumnsReader<'_>, count: usize) -> Result<(Vec<i64>, Vec<i64>), WireError> {
    let mut last = 0_i64;
    let starts = columns.need(STARTS, "span starts")?.all(count, |step| {
        last = last.wrapping_add(unzigzag(step));
        last
    })?;
    let mut start = starts.iter();
    let durations = columns.need(DURATIONS, "span durations")?;
    let ends = durations.all(count, |lasted| start.next().map_or(0, |start| start.wrapping_add(unzigzag(lasted))))?;
    Ok((starts, ends))
}

fn enums<T>(column: Reader<'_>, count: usize, what: &'static str, known: impl Fn(u8) -> Option<T>) -> Result<Vec<T>, WireError> {
    let numbers = column.arrays::<1>(count)?;
    let mut read = Vec::with_capacity(count);
    for [number] in numbers {
        read.push(known(*number).ok_or_else(|| invalid(what, number.to_string()))?);
    }
    Ok(read)
}

fn kind(number: u8) -> Option<SpanKind> {
    let kind = SpanKind::from_number(i32::from(number));
    (kind as u8 == number).then_some(kind)
}

fn status(number: u8) -> Option<StatusCode> {
    [StatusCode::Unset, StatusCode::Ok, StatusCode::Error].get(number as usize).copied()
}
