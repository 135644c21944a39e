//! The body of a spans section: ids raw, times as deltas, every text a number into one dictionary.

use super::WireError;
use super::budget::{Budget, check_limit, invalid};
use super::columns::{ColumnsReader, ColumnsWriter, Reader, TextsReader, TextsWriter, put_all, put_varint, unzigzag, zigzag};
use super::value::{attributes, put_attributes};
use crate::id::{SpanId, TraceId};
use crate::span::{Origin, Span, SpanBatch, SpanEvent, SpanKind, SpanLink, StatusCode};

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
    let spans = &batch.spans;
    charge(spans.len(), budget)?;
    let mut texts = TextsWriter::default();
    let origin = put_origin(&batch.origin, &mut texts, budget)?;
    let names = put_texts(spans, |span| &span.name, &mut texts, budget)?;
    let messages = put_texts(spans, |span| &span.status_message, &mut texts, budget)?;
    let states = put_texts(spans, |span| &span.trace_state, &mut texts, budget)?;
    let (mut details, mut events, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for span in spans {
        put_attributes(&span.attributes, &mut texts, budget, &mut details)?;
        put_events(span, &mut texts, budget, &mut events)?;
        put_links(&span.links, &mut texts, budget, &mut links)?;
    }
    let mut columns = ColumnsWriter::default();
    columns.put(TEXTS, &texts.finish(budget)?);
    columns.put(ORIGIN, &origin);
    columns.put(TRACE_IDS, &spans.iter().flat_map(|span| span.trace_id.0).collect::<Vec<_>>());
    columns.put(SPAN_IDS, &spans.iter().flat_map(|span| span.span_id.0).collect::<Vec<_>>());
    columns.put(PARENT_IDS, &spans.iter().flat_map(|span| span.parent_id.0).collect::<Vec<_>>());
    columns.put(NAMES, &names);
    columns.put(KINDS, &spans.iter().map(|span| span.kind as u8).collect::<Vec<_>>());
    let mut last = 0_i64;
    let delta = |span: &Span| zigzag(span.start.wrapping_sub(std::mem::replace(&mut last, span.start)));
    columns.put(STARTS, &put_all(spans.iter().map(delta)));
    columns.put(DURATIONS, &put_all(spans.iter().map(|span| zigzag(span.end.wrapping_sub(span.start)))));
    columns.put_unless(spans.iter().all(|span| span.status == StatusCode::Unset), STATUSES, || {
        spans.iter().map(|span| span.status as u8).collect()
    });
    columns.put_unless(spans.iter().all(|span| span.status_message.is_empty()), STATUS_MESSAGES, || messages);
    columns.put_unless(spans.iter().all(|span| span.trace_state.is_empty()), TRACE_STATES, || states);
    columns.put_unless(spans.iter().all(|span| span.attributes.is_empty()), ATTRIBUTES, || details);
    columns.put_unless(spans.iter().all(|span| span.events.is_empty()), EVENTS, || events);
    columns.put_unless(spans.iter().all(|span| span.links.is_empty()), LINKS, || links);
    columns.finish(out);
    Ok(())
}

/// Reads a body of `count` spans.
pub(crate) fn decode(body: &[u8], count: u32, budget: &mut Budget) -> Result<SpanBatch, WireError> {
    let columns = ColumnsReader::new(body)?;
    let texts = TextsReader::read(&mut columns.need(TEXTS, "span texts")?, budget)?;
    let origin = origin(columns.need(ORIGIN, "span origin")?, &texts, budget)?;
    let count = count as usize;
    charge(count, budget)?;
    let traces = columns.need(TRACE_IDS, "trace ids")?.arrays::<16>(count)?;
    let mut spans: Vec<Span> = traces.iter().map(|id| Span { trace_id: TraceId(*id), ..Span::default() }).collect();
    for (span, id) in spans.iter_mut().zip(columns.need(SPAN_IDS, "span ids")?.arrays::<8>(count)?) {
        span.span_id = SpanId(*id);
    }
    for (span, id) in spans.iter_mut().zip(columns.need(PARENT_IDS, "parent ids")?.arrays::<8>(count)?) {
        span.parent_id = SpanId(*id);
    }
    read_times(&columns, &mut spans)?;
    read_enums(&columns, &mut spans)?;
    each(&mut spans, Some(columns.need(NAMES, "span names")?), |span, column| {
        span.name = texts.get(column.varint()?, budget)?.to_owned();
        Ok(())
    })?;
    each(&mut spans, columns.find(STATUS_MESSAGES, "status messages"), |span, column| {
        span.status_message = texts.get(column.varint()?, budget)?.to_owned();
        Ok(())
    })?;
    each(&mut spans, columns.find(TRACE_STATES, "trace states"), |span, column| {
        span.trace_state = texts.get(column.varint()?, budget)?.to_owned();
        Ok(())
    })?;
    each(&mut spans, columns.find(ATTRIBUTES, "span attributes"), |span, column| {
        span.attributes = attributes(column, &texts, budget)?;
        Ok(())
    })?;
    each(&mut spans, columns.find(EVENTS, "span events"), |span, column| read_events(span, column, &texts, budget))?;
    each(&mut spans, columns.find(LINKS, "span links"), |span, column| read_links(span, column, &texts, budget))?;
    Ok(SpanBatch { origin, spans })
}

fn charge(spans: usize, budget: &mut Budget) -> Result<(), WireError> {
    check_limit("spans", spans as u64, budget.limits.records)?;
    budget.charge(spans * size_of::<Span>())
}

/// Reads a column that has something for every span, and nothing more.
fn each<'a>(
    spans: &mut [Span],
    column: Option<Reader<'a>>,
    mut read: impl FnMut(&mut Span, &mut Reader<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let Some(mut column) = column else { return Ok(()) };
    for span in spans {
        read(span, &mut column)?;
    }
    column.end()
}

fn put_texts<'a>(
    spans: &'a [Span],
    text: impl Fn(&'a Span) -> &'a str,
    texts: &mut TextsWriter<'a>,
    budget: &mut Budget,
) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(spans.len());
    for span in spans {
        put_varint(&mut out, texts.number(text(span), budget)?);
    }
    Ok(out)
}

fn put_origin<'a>(origin: &'a Origin, texts: &mut TextsWriter<'a>, budget: &mut Budget) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    put_attributes(&origin.resource, texts, budget, &mut out)?;
    put_varint(&mut out, texts.number(&origin.scope_name, budget)?);
    put_varint(&mut out, texts.number(&origin.scope_version, budget)?);
    put_attributes(&origin.scope_attributes, texts, budget, &mut out)?;
    Ok(out)
}

fn origin(mut column: Reader<'_>, texts: &TextsReader<'_>, budget: &mut Budget) -> Result<Origin, WireError> {
    let origin = Origin {
        resource: attributes(&mut column, texts, budget)?,
        scope_name: texts.get(column.varint()?, budget)?.to_owned(),
        scope_version: texts.get(column.varint()?, budget)?.to_owned(),
        scope_attributes: attributes(&mut column, texts, budget)?,
    };
    column.end()?;
    Ok(origin)
}

fn read_times(columns: &ColumnsReader<'_>, spans: &mut [Span]) -> Result<(), WireError> {
    let mut last = 0_i64;
    each(spans, Some(columns.need(STARTS, "span starts")?), |span, column| {
        last = last.wrapping_add(unzigzag(column.varint()?));
        span.start = last;
        Ok(())
    })?;
    each(spans, Some(columns.need(DURATIONS, "span durations")?), |span, column| {
        span.end = span.start.wrapping_add(unzigzag(column.varint()?));
        Ok(())
    })
}

fn read_enums(columns: &ColumnsReader<'_>, spans: &mut [Span]) -> Result<(), WireError> {
    each(spans, Some(columns.need(KINDS, "span kinds")?), |span, column| {
        let number = column.byte()?;
        span.kind = SpanKind::from_number(i32::from(number));
        if span.kind as u8 != number { Err(invalid("span kinds", number.to_string())) } else { Ok(()) }
    })?;
    each(spans, columns.find(STATUSES, "span statuses"), |span, column| {
        span.status = match column.byte()? {
            0 => StatusCode::Unset,
            1 => StatusCode::Ok,
            2 => StatusCode::Error,
            other => return Err(invalid("span statuses", other.to_string())),
        };
        Ok(())
    })
}

fn put_events<'a>(span: &'a Span, texts: &mut TextsWriter<'a>, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
    check_limit("span events", span.events.len() as u64, budget.limits.records)?;
    put_varint(out, span.events.len() as u64);
    for event in &span.events {
        budget.charge(size_of::<SpanEvent>())?;
        put_varint(out, zigzag(event.timestamp.wrapping_sub(span.start)));
        put_varint(out, texts.number(&event.name, budget)?);
        put_attributes(&event.attributes, texts, budget, out)?;
    }
    Ok(())
}

fn read_events(span: &mut Span, column: &mut Reader<'_>, texts: &TextsReader<'_>, budget: &mut Budget) -> Result<(), WireError> {
    let count = column.count()?;
    check_limit("span events", count as u64, budget.limits.records)?;
    for _ in 0..count {
        budget.charge(size_of::<SpanEvent>())?;
        let timestamp = span.start.wrapping_add(unzigzag(column.varint()?));
        let name = texts.get(column.varint()?, budget)?.to_owned();
        span.events.push(SpanEvent { timestamp, name, attributes: attributes(column, texts, budget)? });
    }
    Ok(())
}

fn put_links<'a>(
    links: &'a [SpanLink],
    texts: &mut TextsWriter<'a>,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    check_limit("span links", links.len() as u64, budget.limits.records)?;
    put_varint(out, links.len() as u64);
    for link in links {
        budget.charge(size_of::<SpanLink>())?;
        out.extend_from_slice(&link.trace_id.0);
        out.extend_from_slice(&link.span_id.0);
        put_varint(out, texts.number(&link.trace_state, budget)?);
        put_attributes(&link.attributes, texts, budget, out)?;
    }
    Ok(())
}

fn read_links(span: &mut Span, column: &mut Reader<'_>, texts: &TextsReader<'_>, budget: &mut Budget) -> Result<(), WireError> {
    let count = column.count()?;
    check_limit("span links", count as u64, budget.limits.records)?;
    for _ in 0..count {
        budget.charge(size_of::<SpanLink>())?;
        let (trace_id, span_id) = (TraceId(column.array()?), SpanId(column.array()?));
        let trace_state = texts.get(column.varint()?, budget)?.to_owned();
        span.links.push(SpanLink { trace_id, span_id, trace_state, attributes: attributes(column, texts, budget)? });
    }
    Ok(())
}
