//! Spans as columns, as they travel and as heads hold them: a text is held once a batch, a list of attributes is bytes.
//!
//! The lists' bytes are those of the wire (`docs/formats/wire.md`), so that encoding copies them and decoding checks them.

use std::fmt;

use super::arena::TextArena;
use super::packed::{Cursor, Extent, Packed, put_pair};
use super::view::{AttributesRef, EventRef, LinkRef, SpanHead, SpanRef, ValueRef, views};
use super::{Span, SpanKind, StatusCode};
use crate::id::{SpanId, TraceId};
use crate::intern::Index;
use crate::memory::allocation;
use crate::time::UnixNanos;
use crate::varint::{put_varint, zigzag};

/// Spans in the order in which they were sent. Never changed: a [`SpansBuilder`] makes them.
#[derive(Clone, Default)]
pub struct Spans {
    // Open to the crate so that the wire codec moves whole columns.
    pub(crate) texts: TextArena,
    pub(crate) trace_ids: Vec<TraceId>,
    pub(crate) span_ids: Vec<SpanId>,
    pub(crate) parent_ids: Vec<SpanId>,
    pub(crate) names: Vec<u32>,
    pub(crate) kinds: Vec<SpanKind>,
    pub(crate) starts: Vec<UnixNanos>,
    pub(crate) ends: Vec<UnixNanos>,
    pub(crate) statuses: Vec<StatusCode>,
    /// Empty when none has a message, else one each. Likewise `states`.
    pub(crate) messages: Vec<u32>,
    pub(crate) states: Vec<u32>,
    pub(crate) attributes: Lists,
    pub(crate) events: Lists,
    pub(crate) links: Lists,
    pub(crate) extent: Extent,
}

/// A list a span, as bytes that begin with its length; nothing when no span has any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    pub(crate) bytes: Vec<u8>,
    /// Exclusive end of each list in `bytes`.
    pub(crate) ends: Vec<u32>,
}

impl Lists {
    pub(crate) fn get(&self, row: usize) -> Option<Cursor<'_>> {
        let end = *self.ends.get(row)?;
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        Some(Cursor(&self.bytes[start as usize..end as usize]))
    }

    /// Appends the list of span `row`, whose `count` things `put` appends.
    fn push(&mut self, row: usize, count: usize, put: impl FnOnce(&mut Vec<u8>)) {
        if count == 0 && self.ends.is_empty() {
            return;
        }
        while self.ends.len() < row {
            self.bytes.push(0);
            self.end();
        }
        put_varint(&mut self.bytes, count as u64);
        put(&mut self.bytes);
        self.end();
    }

    pub(crate) fn end(&mut self) {
        self.ends.push(u32::try_from(self.bytes.len()).expect("invariant: the lists of a batch stay below 4 GiB"));
    }

    fn memory(&self) -> usize {
        allocation(self.bytes.capacity()) + allocation(self.ends.capacity() * size_of::<u32>())
    }
}

impl Spans {
    /// Number of spans.
    pub fn len(&self) -> usize {
        self.trace_ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.trace_ids.is_empty()
    }

    /// Span `row`; panics when there is none, as slices do.
    pub fn get(&self, row: usize) -> SpanRef<'_> {
        assert!(row < self.len(), "span {row} of {}", self.len());
        SpanRef { spans: self, row }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = SpanRef<'_>> + Clone {
        (0..self.len()).map(|row| SpanRef { spans: self, row })
    }

    /// Of all spans, in their order.
    pub fn trace_ids(&self) -> &[TraceId] {
        &self.trace_ids
    }

    /// Of all spans, in their order.
    pub fn span_ids(&self) -> &[SpanId] {
        &self.span_ids
    }

    /// Memory held.
    pub fn memory(&self) -> usize {
        fn column<T>(column: &Vec<T>) -> usize {
            allocation(column.capacity() * size_of::<T>())
        }
        self.texts.memory()
            + column(&self.trace_ids)
            + column(&self.span_ids)
            + column(&self.parent_ids)
            + column(&self.names)
            + column(&self.kinds)
            + column(&self.starts)
            + column(&self.ends)
            + column(&self.statuses)
            + column(&self.messages)
            + column(&self.states)
            + self.attributes.memory()
            + self.events.memory()
            + self.links.memory()
    }

    /// About how many bytes they take on the wire before compression.
    pub fn weight(&self) -> usize {
        // Ids, times, kind, status and the numbers of texts.
        const FIXED: usize = 56;
        let lists = self.attributes.bytes.len() + self.events.bytes.len() + self.links.bytes.len();
        self.texts.bytes().len() + 2 * self.texts.len() + FIXED * self.len() + lists
    }

    /// Copies of those of these numbers, in their order.
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let (rows, mut numbers) = (rows.into_iter(), Numbers(vec![0; self.texts.len()]));
        let mut builder = SpansBuilder::with_room(rows.size_hint().0);
        rows.for_each(|row| builder.push_row(self, row, &mut numbers));
        builder.finish()
    }
}

impl PartialEq for Spans {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> FromIterator<&'a Span> for Spans {
    fn from_iter<I: IntoIterator<Item = &'a Span>>(spans: I) -> Self {
        let mut builder = SpansBuilder::default();
        spans.into_iter().for_each(|span| builder.push_span(span));
        builder.finish()
    }
}

/// Numbers that the texts of one batch have in another; 0 is none yet, else one more than it.
struct Numbers(Vec<u32>);

impl Numbers {
    fn get(&mut self, number: u32, from: &TextArena, numbered: &mut dyn FnMut(&str) -> u32) -> u32 {
        let known = &mut self.0[number as usize];
        if *known == 0 {
            *known = numbered(from.get(number)) + 1;
        }
        *known - 1
    }
}

/// Takes spans one by one.
#[derive(Default)]
pub struct SpansBuilder {
    spans: Spans,
    index: Index,
}

impl SpansBuilder {
    /// With room for so many spans, their texts and lists apart.
    pub fn with_room(spans: usize) -> Self {
        let columns = Spans {
            trace_ids: Vec::with_capacity(spans),
            span_ids: Vec::with_capacity(spans),
            parent_ids: Vec::with_capacity(spans),
            names: Vec::with_capacity(spans),
            kinds: Vec::with_capacity(spans),
            starts: Vec::with_capacity(spans),
            ends: Vec::with_capacity(spans),
            statuses: Vec::with_capacity(spans),
            ..Spans::default()
        };
        Self { spans: columns, index: Index::default() }
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Memory held so far, that for finding texts included.
    pub fn memory(&self) -> usize {
        self.spans.memory() + self.index.memory()
    }

    pub fn finish(self) -> Spans {
        self.spans
    }

    /// Appends a span. The caller keeps a batch below 4 GiB (the limits of requests and of the wire are far lower).
    pub fn push<'a, A, B, C>(
        &mut self,
        head: &SpanHead<'_>,
        attributes: A,
        events: impl ExactSizeIterator<Item = EventRef<'a, B>>,
        links: impl ExactSizeIterator<Item = LinkRef<'a, C>>,
    ) where
        A: ExactSizeIterator<Item = (&'a str, ValueRef<'a>)>,
        B: ExactSizeIterator<Item = (&'a str, ValueRef<'a>)>,
        C: ExactSizeIterator<Item = (&'a str, ValueRef<'a>)>,
    {
        let Self { spans, index } = self;
        let row = spans.len();
        let Spans { texts, extent, .. } = spans;
        let mut numbered = |text: &str| texts.number(text, index);
        spans.attributes.push(row, attributes.len(), |out| put_pairs(out, attributes, &mut numbered, extent));
        extent.parts(events.len());
        spans.events.push(row, events.len(), |out| {
            for event in events {
                extent.events += 1;
                extent.text(event.name);
                put_varint(out, zigzag(event.timestamp.wrapping_sub(head.start)));
                put_varint(out, u64::from(numbered(event.name)));
                put_varint(out, event.attributes.len() as u64);
                put_pairs(out, event.attributes, &mut numbered, extent);
            }
        });
        extent.parts(links.len());
        spans.links.push(row, links.len(), |out| {
            for link in links {
                extent.links += 1;
                extent.text(link.trace_state);
                out.extend_from_slice(&link.trace_id.0);
                out.extend_from_slice(&link.span_id.0);
                put_varint(out, u64::from(numbered(link.trace_state)));
                put_varint(out, link.attributes.len() as u64);
                put_pairs(out, link.attributes, &mut numbered, extent);
            }
        });
        self.push_head(head);
    }

    fn push_head(&mut self, head: &SpanHead<'_>) {
        let Self { spans, index } = self;
        let row = spans.len();
        let mut numbered = |text: &str| spans.texts.number(text, index);
        [head.name, head.status_message, head.trace_state].iter().for_each(|text| spans.extent.text(text));
        spans.names.push(numbered(head.name));
        push_optional(&mut spans.messages, row, head.status_message, &mut numbered);
        push_optional(&mut spans.states, row, head.trace_state, &mut numbered);
        spans.span_ids.push(head.span_id);
        spans.parent_ids.push(head.parent_id);
        spans.kinds.push(head.kind);
        spans.starts.push(head.start);
        spans.ends.push(head.end);
        spans.statuses.push(head.status);
        spans.trace_ids.push(head.trace_id);
    }

    /// Appends a copy of a span.
    pub fn push_span(&mut self, span: &Span) {
        let head = SpanHead {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_id: span.parent_id,
            trace_state: &span.trace_state,
            name: &span.name,
            kind: span.kind,
            start: span.start,
            end: span.end,
            status: span.status,
            status_message: &span.status_message,
        };
        let events = span.events.iter().map(|event| EventRef {
            timestamp: event.timestamp,
            name: &event.name,
            attributes: views(&event.attributes),
        });
        let links = span.links.iter().map(|link| LinkRef {
            trace_id: link.trace_id,
            span_id: link.span_id,
            trace_state: &link.trace_state,
            attributes: views(&link.attributes),
        });
        self.push(&head, views(&span.attributes), events, links);
    }

    /// Appends a copy of a span of another batch.
    pub fn push_ref(&mut self, span: SpanRef<'_>) {
        self.push(&span.head(), span.attributes(), span.events(), span.links());
    }

    /// The same for many of one batch, whose texts' numbers are kept from span to span.
    fn push_row(&mut self, from: &Spans, row: usize, numbers: &mut Numbers) {
        let span = from.get(row);
        if span.events().len() + span.links().len() > 0 {
            // Rare enough to go the long way.
            return self.push_ref(span);
        }
        let Self { spans, index } = self;
        let Spans { texts, extent, attributes, events, links, .. } = spans;
        let own = spans.trace_ids.len();
        let mut numbered = |text: &str| texts.number(text, index);
        let list = span.attributes();
        extent.list(list.len());
        attributes.push(own, list.len(), |out| copy_pairs(out, list, from, numbers, &mut numbered, extent));
        events.push(own, 0, |_| {});
        links.push(own, 0, |_| {});
        self.push_head(&span.head());
    }
}

fn push_optional(column: &mut Vec<u32>, row: usize, text: &str, numbered: &mut dyn FnMut(&str) -> u32) {
    if text.is_empty() && column.is_empty() {
        return;
    }
    if column.len() < row {
        column.resize(row, numbered(""));
    }
    column.push(numbered(text));
}

fn put_pairs<'a>(
    out: &mut Vec<u8>,
    pairs: impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)>,
    numbered: &mut dyn FnMut(&str) -> u32,
    extent: &mut Extent,
) {
    extent.list(pairs.len());
    pairs.for_each(|(name, value)| put_pair(out, name, &value, numbered, extent));
}

fn copy_pairs(
    out: &mut Vec<u8>,
    mut list: AttributesRef<'_>,
    from: &Spans,
    numbers: &mut Numbers,
    numbered: &mut dyn FnMut(&str) -> u32,
    extent: &mut Extent,
) {
    while let Some((name, value)) = list.next_packed() {
        match value {
            Packed::Text(value) => {
                extent.text(from.texts.get(name));
                extent.text(from.texts.get(value));
                put_varint(out, u64::from(numbers.get(name, &from.texts, numbered)));
                out.push(super::packed::STRING);
                put_varint(out, u64::from(numbers.get(value, &from.texts, numbered)));
            }
            Packed::Plain(value) => put_pair(out, from.texts.get(name), &value, numbered, extent),
        }
    }
}
