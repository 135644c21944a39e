//! One span of a batch, borrowed: what readers, engines and searches look at. Nothing is copied but nested JSON, which is rare.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::Value as Json;

use super::arena::TextArena;
use super::columns::Spans;
use super::packed::{Cursor, Packed};
use super::{Attributes, Span, SpanEvent, SpanKind, SpanLink, StatusCode, Value};
use crate::id::{SpanId, TraceId};
use crate::time::UnixNanos;

/// A [`Value`], borrowed.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRef<'a> {
    String(&'a str),
    Bool(bool),
    Int(i64),
    /// Bits are kept.
    Double(f64),
    /// An array or a map.
    Json(Cow<'a, Json>),
    Bytes(&'a [u8]),
}

impl ValueRef<'_> {
    /// A copy that borrows nothing.
    pub fn to_value(&self) -> Value {
        match self {
            Self::String(text) => Value::String((*text).to_owned()),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => Value::Int(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Json(json) => Value::Json(Box::new(json.clone().into_owned())),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        }
    }
}

impl Value {
    /// Borrowed.
    pub fn view(&self) -> ValueRef<'_> {
        match self {
            Self::String(text) => ValueRef::String(text),
            Self::Bool(truth) => ValueRef::Bool(*truth),
            Self::Int(number) => ValueRef::Int(*number),
            Self::Double(number) => ValueRef::Double(*number),
            Self::Json(json) => ValueRef::Json(Cow::Borrowed(json)),
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
        }
    }
}

/// Names and values of a list, borrowed, in its order.
pub fn views(attributes: &Attributes) -> impl ExactSizeIterator<Item = (&str, ValueRef<'_>)> + Clone {
    attributes.iter().map(|(name, value)| (name.as_str(), value.view()))
}

/// The scalars of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanHead<'a> {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// None for a root.
    pub parent_id: SpanId,
    pub trace_state: &'a str,
    pub name: &'a str,
    pub kind: SpanKind,
    pub start: UnixNanos,
    pub end: UnixNanos,
    pub status: StatusCode,
    pub status_message: &'a str,
}

/// An event; attributes as whatever gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRef<'a, A> {
    pub timestamp: UnixNanos,
    pub name: &'a str,
    pub attributes: A,
}

/// A link to another span.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkRef<'a, A> {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub trace_state: &'a str,
    pub attributes: A,
}

/// Attributes of a span, an event or a link.
#[derive(Clone)]
pub struct AttributesRef<'a> {
    left: usize,
    cursor: Cursor<'a>,
    texts: &'a TextArena,
}

impl<'a> AttributesRef<'a> {
    /// The list at the front of `cursor`; none when there is no cursor.
    pub(crate) fn new(cursor: Option<Cursor<'a>>, texts: &'a TextArena) -> Self {
        let mut cursor = cursor.unwrap_or(Cursor(&[0]));
        Self { left: cursor.varint() as usize, cursor, texts }
    }

    /// The next pair, its texts as numbers.
    pub(crate) fn next_packed(&mut self) -> Option<(u32, Packed<'a>)> {
        self.left = self.left.checked_sub(1)?;
        Some(self.cursor.pair(self.texts))
    }

    /// What follows the list.
    fn rest(mut self) -> Cursor<'a> {
        while self.next_packed().is_some() {}
        self.cursor
    }

    /// A copy that borrows nothing.
    pub fn to_attributes(&self) -> Attributes {
        self.clone().map(|(name, value)| (name.to_owned(), value.to_value())).collect()
    }
}

impl<'a> Iterator for AttributesRef<'a> {
    type Item = (&'a str, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let texts = self.texts;
        self.next_packed().map(|(name, value)| {
            let value = match value {
                Packed::Text(number) => ValueRef::String(texts.get(number)),
                Packed::Plain(value) => value,
            };
            (texts.get(name), value)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for AttributesRef<'_> {}

/// Events or links of a span: each is read by `read`, which leaves the cursor at its attributes.
struct Parts<'a, F> {
    left: usize,
    cursor: Cursor<'a>,
    texts: &'a TextArena,
    read: F,
}

impl<'a, T, F: FnMut(&mut Cursor<'a>, &'a TextArena) -> (T, AttributesRef<'a>)> Iterator for Parts<'a, F> {
    type Item = (T, AttributesRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (head, attributes) = (self.read)(&mut self.cursor, self.texts);
        self.cursor = attributes.clone().rest();
        Some((head, attributes))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T, F: FnMut(&mut Cursor<'a>, &'a TextArena) -> (T, AttributesRef<'a>)> ExactSizeIterator for Parts<'a, F> {}

/// A span of a batch.
#[derive(Clone, Copy)]
pub struct SpanRef<'a> {
    pub(crate) spans: &'a Spans,
    pub(crate) row: usize,
}

impl<'a> SpanRef<'a> {
    pub fn trace_id(&self) -> TraceId {
        self.spans.trace_ids[self.row]
    }

    pub fn span_id(&self) -> SpanId {
        self.spans.span_ids[self.row]
    }

    pub fn parent_id(&self) -> SpanId {
        self.spans.parent_ids[self.row]
    }

    pub fn name(&self) -> &'a str {
        self.spans.texts.get(self.spans.names[self.row])
    }

    pub fn kind(&self) -> SpanKind {
        self.spans.kinds[self.row]
    }

    pub fn start(&self) -> UnixNanos {
        self.spans.starts[self.row]
    }

    pub fn end(&self) -> UnixNanos {
        self.spans.ends[self.row]
    }

    pub fn status(&self) -> StatusCode {
        self.spans.statuses[self.row]
    }

    pub fn status_message(&self) -> &'a str {
        self.optional(&self.spans.messages)
    }

    pub fn trace_state(&self) -> &'a str {
        self.optional(&self.spans.states)
    }

    fn optional(&self, column: &'a [u32]) -> &'a str {
        column.get(self.row).map_or("", |number| self.spans.texts.get(*number))
    }

    /// All but the lists.
    pub fn head(&self) -> SpanHead<'a> {
        SpanHead {
            trace_id: self.trace_id(),
            span_id: self.span_id(),
            parent_id: self.parent_id(),
            trace_state: self.trace_state(),
            name: self.name(),
            kind: self.kind(),
            start: self.start(),
            end: self.end(),
            status: self.status(),
            status_message: self.status_message(),
        }
    }

    pub fn attributes(&self) -> AttributesRef<'a> {
        AttributesRef::new(self.spans.attributes.get(self.row), &self.spans.texts)
    }

    /// In the order in which they were sent.
    pub fn events(&self) -> impl ExactSizeIterator<Item = EventRef<'a, AttributesRef<'a>>> + use<'a> {
        let start = self.start();
        let parts = self.parts(self.spans.events.get(self.row), move |cursor: &mut Cursor<'a>, texts: &'a TextArena| {
            let timestamp = start.wrapping_add(crate::varint::unzigzag(cursor.varint()));
            ((timestamp, texts.get(cursor.number())), AttributesRef::new(Some(*cursor), texts))
        });
        parts.map(|((timestamp, name), attributes)| EventRef { timestamp, name, attributes })
    }

    pub fn links(&self) -> impl ExactSizeIterator<Item = LinkRef<'a, AttributesRef<'a>>> + use<'a> {
        let parts = self.parts(self.spans.links.get(self.row), |cursor: &mut Cursor<'a>, texts: &'a TextArena| {
            let (trace, span) = (TraceId(cursor.array()), SpanId(cursor.array()));
            ((trace, span, texts.get(cursor.number())), AttributesRef::new(Some(*cursor), texts))
        });
        parts.map(|((trace_id, span_id, trace_state), attributes)| LinkRef { trace_id, span_id, trace_state, attributes })
    }

    fn parts<F>(&self, cursor: Option<Cursor<'a>>, read: F) -> Parts<'a, F> {
        let mut cursor = cursor.unwrap_or(Cursor(&[0]));
        Parts { left: cursor.varint() as usize, cursor, texts: &self.spans.texts, read }
    }

    /// A copy that borrows nothing.
    pub fn to_span(&self) -> Span {
        let event = |event: EventRef<'_, AttributesRef<'_>>| SpanEvent {
            timestamp: event.timestamp,
            name: event.name.to_owned(),
            attributes: event.attributes.to_attributes(),
        };
        let link = |link: LinkRef<'_, AttributesRef<'_>>| SpanLink {
            trace_id: link.trace_id,
            span_id: link.span_id,
            trace_state: link.trace_state.to_owned(),
            attributes: link.attributes.to_attributes(),
        };
        Span {
            trace_id: self.trace_id(),
            span_id: self.span_id(),
            parent_id: self.parent_id(),
            trace_state: self.trace_state().to_owned(),
            name: self.name().to_owned(),
            kind: self.kind(),
            start: self.start(),
            end: self.end(),
            status: self.status(),
            status_message: self.status_message().to_owned(),
            attributes: self.attributes().to_attributes(),
            events: self.events().map(event).collect(),
            links: self.links().map(link).collect(),
        }
    }
}

/// By what they say: the numbers of texts are each batch's own.
impl PartialEq for SpanRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.to_span() == other.to_span()
    }
}

impl fmt::Debug for SpanRef<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_span().fmt(out)
    }
}
