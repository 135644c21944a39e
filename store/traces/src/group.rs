//! A group: the spans of neighbouring segments as columns. Format: `docs/formats/traces_block.md`.
//!
//! Written by `writer.rs`; read by `block.rs`, by search (columns only) and by merge (whole spans).

use std::collections::HashMap;
use std::ops::Range;

use weir_model::id::{SpanId, TraceId};
use weir_model::span::{EventRef, LinkRef, SpanHead, SpanRef, SpansBuilder, StatusCode, ValueRef};

use super::attributes::{AttributeColumns, AttributesBuilder, DictionaryBuilder, dictionary};
use super::content::{OriginSpan, Sizes};
use super::schema::{COLUMN_BYTES_MAX, KINDS, LEVEL};
use super::strings::StringsBuilder;
use weir_blocks::packed::{Cursor, put_packed, put_varint, put_zigzag};

/// Parents: none, an id that is not in the segment, and from here on the zigzag distance to its ordinal.
const PARENT_NONE: u64 = 0;
const PARENT_RAW: u64 = 1;
const PARENT_NEAR: u64 = 2;

/// Spans on their way into a group.
#[derive(Default)]
pub(crate) struct GroupBuilder {
    counts: Vec<u8>,
    ids: Vec<u8>,
    parents: Vec<u8>,
    parents_raw: Vec<u8>,
    starts: Vec<u8>,
    durations: Vec<u8>,
    names: Vec<u8>,
    origins: Vec<u8>,
    kinds: Vec<u8>,
    messages: DictionaryBuilder,
    states: DictionaryBuilder,
    attributes: AttributesBuilder,
    event_counts: Vec<u8>,
    event_times: Vec<u8>,
    event_names: Vec<u8>,
    event_attributes: AttributesBuilder,
    link_counts: Vec<u8>,
    link_ids: Vec<u8>,
    link_states: DictionaryBuilder,
    link_attributes: AttributesBuilder,
    start_before: i64,
    /// Where the spans of the segment stand, by their ids.
    ordinals: HashMap<SpanId, i64>,
    scratch: Vec<u8>,
}

impl GroupBuilder {
    /// Begins a segment of one trace: its spans follow, ascending by start, each with its ordinal.
    pub(crate) fn begin(&mut self, spans: &[(&OriginSpan, Sizes)]) {
        put_varint(&mut self.counts, spans.len() as u64);
        self.ordinals.clear();
        // Of spans with one id (a client and its server) the first stands for all: the parent's id is the same.
        for (ordinal, (own, _)) in spans.iter().enumerate() {
            self.ordinals.entry(own.span().span_id()).or_insert(ordinal as i64);
        }
    }

    /// Adds the next span of the segment, with the numbers of its name and its origin. Gives those of its
    /// attributes' names.
    pub(crate) fn push(
        &mut self,
        ordinal: usize,
        span: SpanRef<'_>,
        (name, origin): (u32, u32),
        strings: &mut StringsBuilder,
    ) -> &[u32] {
        self.ids.extend_from_slice(&span.span_id().0);
        let parent = span.parent_id();
        match self.ordinals.get(&parent) {
            _ if parent.is_none() => put_varint(&mut self.parents, PARENT_NONE),
            Some(parent) => put_varint(&mut self.parents, PARENT_NEAR + weir_blocks::packed::zigzag(ordinal as i64 - parent)),
            None => {
                put_varint(&mut self.parents, PARENT_RAW);
                self.parents_raw.extend_from_slice(&parent.0);
            }
        }
        put_zigzag(&mut self.starts, span.start().wrapping_sub(self.start_before));
        self.start_before = span.start();
        put_zigzag(&mut self.durations, span.end().wrapping_sub(span.start()));
        put_varint(&mut self.names, u64::from(name));
        put_varint(&mut self.origins, u64::from(origin));
        self.kinds.push(span.kind() as u8 | (span.status() as u8) << 4);
        self.messages.push_text(span.status_message(), &mut self.scratch);
        self.states.push_text(span.trace_state(), &mut self.scratch);
        self.attributes.push(span.attributes(), strings);
        self.push_details(span, strings);
        self.attributes.names()
    }

    fn push_details(&mut self, span: SpanRef<'_>, strings: &mut StringsBuilder) {
        put_varint(&mut self.event_counts, span.events().len() as u64);
        for event in span.events() {
            put_zigzag(&mut self.event_times, event.timestamp.wrapping_sub(span.start()));
            put_varint(&mut self.event_names, u64::from(strings.id(event.name)));
            self.event_attributes.push(event.attributes, strings);
        }
        put_varint(&mut self.link_counts, span.links().len() as u64);
        for link in span.links() {
            self.link_ids.extend_from_slice(&link.trace_id.0);
            self.link_ids.extend_from_slice(&link.span_id.0);
            self.link_states.push_text(link.trace_state, &mut self.scratch);
            self.link_attributes.push(link.attributes, strings);
        }
    }

    /// Appends the group's bytes.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        let pack = |out: &mut Vec<u8>, columns: &[&Vec<u8>]| columns.iter().for_each(|column| put_packed(out, column, LEVEL));
        pack(out, &[&self.counts, &self.ids, &self.parents, &self.parents_raw, &self.starts, &self.durations]);
        pack(out, &[&self.names, &self.origins, &self.kinds]);
        pack(out, &[&self.messages.indexes, &self.messages.values.bytes, &self.states.indexes, &self.states.values.bytes]);
        self.attributes.finish(out);
        pack(out, &[&self.event_counts, &self.event_times, &self.event_names]);
        self.event_attributes.finish(out);
        pack(out, &[&self.link_counts, &self.link_ids, &self.link_states.indexes, &self.link_states.values.bytes]);
        self.link_attributes.finish(out);
    }
}

/// How large the tables are that a group's numbers point into.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    pub strings: usize,
    pub origins: usize,
}

/// An unpacked group.
pub(crate) struct Group {
    /// Spans of each segment.
    pub segments: Vec<Range<usize>>,
    pub ids: Vec<SpanId>,
    pub parents: Vec<SpanId>,
    pub starts: Vec<i64>,
    /// End minus start, wrapping.
    pub durations: Vec<i64>,
    /// Strings of the block.
    pub names: Vec<u32>,
    /// Origins of the block.
    pub origins: Vec<u32>,
    kinds: Vec<u8>,
    messages: (Vec<String>, Vec<u32>),
    states: (Vec<String>, Vec<u32>),
    pub attributes: AttributeColumns,
    events: Events,
    links: Links,
}

struct Events {
    /// Of each span, in the columns below.
    of_span: Vec<Range<usize>>,
    times: Vec<i64>,
    names: Vec<u32>,
    attributes: AttributeColumns,
}

struct Links {
    of_span: Vec<Range<usize>>,
    ids: Vec<u8>,
    states: (Vec<String>, Vec<u32>),
    attributes: AttributeColumns,
}

impl Group {
    /// From verified bytes, with `segments` segments. Errors with a sentence.
    pub(crate) fn parse(bytes: &[u8], segments: usize, tables: Tables) -> Result<Self, String> {
        let mut cursor = Cursor::new(bytes);
        let cursor = &mut cursor;
        let counts = cursor.unpacked(COLUMN_BYTES_MAX)?;
        let ids = cursor.unpacked(COLUMN_BYTES_MAX)?;
        let (ids, rest) = ids.as_chunks::<8>();
        let count = ids.len();
        if !rest.is_empty() {
            return Err(format!("{} bytes left over after the span ids", rest.len()));
        }
        let segments = ranges(&counts, segments, Some(count))?;
        let ids: Vec<SpanId> = ids.iter().map(|id| SpanId(*id)).collect();
        let (near, raw) = (cursor.unpacked(COLUMN_BYTES_MAX)?, cursor.unpacked(COLUMN_BYTES_MAX)?);
        let parents = parents(&segments, &ids, &near, &raw)?;
        let mut start = 0_i64;
        let starts = column(cursor, count, |cursor| cursor.zigzag())?;
        let starts = starts.into_iter().map(|step| {
            start = start.wrapping_add(step);
            start
        });
        let starts = starts.collect();
        let durations = column(cursor, count, |cursor| cursor.zigzag())?;
        let names = column(cursor, count, |cursor| below(cursor, tables.strings, "span name"))?;
        let origins = column(cursor, count, |cursor| below(cursor, tables.origins, "origin"))?;
        let kinds = column(cursor, count, |cursor| cursor.byte())?;
        let (messages, states) = (texts(cursor, count)?, texts(cursor, count)?);
        let attributes = AttributeColumns::parse(cursor, count, tables.strings)?;
        let events = Events::parse(cursor, count, tables)?;
        let links = Links::parse(cursor, count, tables)?;
        cursor.end()?;
        Ok(Self { segments, ids, parents, starts, durations, names, origins, kinds, messages, states, attributes, events, links })
    }

    /// Kind and status of a span, unknown numbers as "not said".
    pub(crate) fn kind(&self, at: usize) -> (weir_model::span::SpanKind, StatusCode) {
        let kind = KINDS.get((self.kinds[at] & 15) as usize).copied().unwrap_or_default();
        let status = [StatusCode::Unset, StatusCode::Ok, StatusCode::Error].get((self.kinds[at] >> 4) as usize).copied();
        (kind, status.unwrap_or_default())
    }

    /// Appends a copy of a span.
    pub(crate) fn copy(&self, at: usize, trace_id: TraceId, strings: &[Box<str>], into: &mut SpansBuilder) {
        let start = self.starts[at];
        let (kind, status) = self.kind(at);
        let string = |id: u32| &*strings[id as usize];
        let events = self.events.of_span[at].clone().map(|event| EventRef {
            timestamp: start.wrapping_add(self.events.times[event]),
            name: string(self.events.names[event]),
            attributes: named(&self.events.attributes, event, strings),
        });
        let links = self.links.of_span[at].clone().map(|link| {
            let mut ids = Cursor::new(&self.links.ids[link * 24..]);
            LinkRef {
                trace_id: TraceId(ids.array().unwrap_or_default()),
                span_id: SpanId(ids.array().unwrap_or_default()),
                trace_state: &self.links.states.0[self.links.states.1[link] as usize],
                attributes: named(&self.links.attributes, link, strings),
            }
        });
        let head = SpanHead {
            trace_id,
            span_id: self.ids[at],
            parent_id: self.parents[at],
            trace_state: &self.states.0[self.states.1[at] as usize],
            name: string(self.names[at]),
            kind,
            start,
            end: start.wrapping_add(self.durations[at]),
            status,
            status_message: &self.messages.0[self.messages.1[at] as usize],
        };
        into.push(&head, named(&self.attributes, at, strings), events, links);
    }
}

/// A list with its names as texts.
fn named<'a>(
    columns: &'a AttributeColumns,
    item: usize,
    strings: &'a [Box<str>],
) -> impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)> {
    columns.list(item).map(|(name, value)| (&*strings[name as usize], value.view()))
}

impl Events {
    fn parse(cursor: &mut Cursor<'_>, spans: usize, tables: Tables) -> Result<Self, String> {
        let counts = cursor.unpacked(COLUMN_BYTES_MAX)?;
        let of_span = ranges(&counts, spans, None)?;
        let count = of_span.last().map_or(0, |range| range.end);
        Ok(Self {
            of_span,
            times: column(cursor, count, |cursor| cursor.zigzag())?,
            names: column(cursor, count, |cursor| below(cursor, tables.strings, "event name"))?,
            attributes: AttributeColumns::parse(cursor, count, tables.strings)?,
        })
    }
}

impl Links {
    fn parse(cursor: &mut Cursor<'_>, spans: usize, tables: Tables) -> Result<Self, String> {
        let counts = cursor.unpacked(COLUMN_BYTES_MAX)?;
        let of_span = ranges(&counts, spans, None)?;
        let count = of_span.last().map_or(0, |range| range.end);
        let ids = cursor.unpacked(COLUMN_BYTES_MAX)?;
        if ids.len() / 24 != count || ids.len() % 24 != 0 {
            return Err(format!("{} bytes of ids for {count} links", ids.len()));
        }
        let states = texts(cursor, count)?;
        Ok(Self { of_span, ids, states, attributes: AttributeColumns::parse(cursor, count, tables.strings)? })
    }
}

/// `count` counts as ranges one after the other, which sum up to `total` when that is known.
fn ranges(counts: &[u8], count: usize, total: Option<usize>) -> Result<Vec<Range<usize>>, String> {
    let mut cursor = Cursor::new(counts);
    let mut end = 0_usize;
    let mut found = Vec::with_capacity(count.min(counts.len()));
    for _ in 0..count {
        let start = end;
        end = end.checked_add(cursor.small()? as usize).ok_or("too many")?;
        found.push(start..end);
    }
    cursor.end()?;
    match total {
        Some(total) if total != end => Err(format!("{end} spans counted, {total} are there")),
        _ => Ok(found),
    }
}

/// A packed column of `count` things of at least a byte each.
fn column<T>(
    cursor: &mut Cursor<'_>,
    count: usize,
    read: impl Fn(&mut Cursor<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let raw = cursor.unpacked(COLUMN_BYTES_MAX)?;
    let mut cursor = Cursor::new(&raw);
    let mut found = Vec::with_capacity(count.min(raw.len()));
    for _ in 0..count {
        found.push(read(&mut cursor)?);
    }
    cursor.end()?;
    Ok(found)
}

fn below(cursor: &mut Cursor<'_>, limit: usize, what: &str) -> Result<u32, String> {
    let number = cursor.small()?;
    if (number as usize) < limit { Ok(number) } else { Err(format!("{what} {number} of {limit}")) }
}

fn texts(cursor: &mut Cursor<'_>, count: usize) -> Result<(Vec<String>, Vec<u32>), String> {
    let (indexes, values) = (cursor.unpacked(COLUMN_BYTES_MAX)?, cursor.unpacked(COLUMN_BYTES_MAX)?);
    let (mut indexes, mut values) = (Cursor::new(&indexes), Cursor::new(&values));
    let found = dictionary(&mut indexes, count, || values.text().map(str::to_owned))?;
    indexes.end()?;
    values.end()?;
    Ok(found)
}

fn parents(segments: &[Range<usize>], ids: &[SpanId], near: &[u8], raw: &[u8]) -> Result<Vec<SpanId>, String> {
    let (mut near, mut raw) = (Cursor::new(near), Cursor::new(raw));
    let mut found = Vec::with_capacity(ids.len());
    for segment in segments {
        for at in segment.clone() {
            found.push(match near.varint()? {
                PARENT_NONE => SpanId::default(),
                PARENT_RAW => SpanId(raw.array()?),
                distance => {
                    let parent = (at as i64).checked_sub(weir_blocks::packed::unzigzag(distance - PARENT_NEAR));
                    let parent = parent.and_then(|parent| usize::try_from(parent).ok()).filter(|parent| segment.contains(parent));
                    ids[parent.ok_or_else(|| format!("the parent of span {at} is outside of its segment"))?]
                }
            });
        }
    }
    near.end()?;
    raw.end()?;
    Ok(found)
}
