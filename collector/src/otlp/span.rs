//! One span of OTLP, borrowed from the bytes it came in: read, checked, and appended to a batch. Pure.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::AnyValue;
use prost::Message;
use weir_model::id::{SpanId, TraceId};
use weir_model::span::{Attributes, EventRef, LinkRef, SpanHead, SpanKind, SpansBuilder, StatusCode, ValueRef};
use weir_model::time::UnixNanos;

use super::fields::{Field, Fields, Malformed};
use super::value::{ATTRIBUTE_BYTES_MAX, nested};

/// Events or links of a span: OpenTelemetry's SDKs keep 128 by default.
const PARTS_MAX: usize = 1024;

/// Attributes as they come. Of a repeated name the first is kept, as OTLP forbids repetition.
#[derive(Default)]
pub(super) struct RawList<'a> {
    pairs: Vec<(&'a str, ValueRef<'a>)>,
    /// Repetitions included.
    count: usize,
    /// The name of one that is too long.
    too_long: Option<&'a str>,
}

impl<'a> RawList<'a> {
    /// Reads a `KeyValue`; beyond `limit` they are only counted.
    pub(super) fn push(&mut self, field: Field<'a>, limit: usize) -> Result<(), Malformed> {
        let message = field.bytes()?;
        let (mut key, mut value) = ("", ValueRef::String(""));
        for field in Fields::new(message) {
            match field? {
                (1, field) => key = field.text()?,
                (2, field) => value = read_value(field.bytes()?)?,
                _ => {}
            }
        }
        self.count += 1;
        let length = match &value {
            ValueRef::String(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len() * 4 / 3,
            ValueRef::Json(_) => message.len() * 2,
            _ => 0,
        };
        if length.max(key.len()) > ATTRIBUTE_BYTES_MAX {
            self.too_long.get_or_insert(key);
        } else if self.count <= limit && !self.pairs.iter().any(|(name, _)| *name == key) {
            self.pairs.push((key, value));
        }
        Ok(())
    }

    /// Whether every name and every text is short enough to be kept, and they are few enough.
    pub(super) fn fits(&self, limit: usize) -> Result<(), String> {
        if self.count > limit {
            return Err(format!("{} attributes (limit push.labels_max is {limit})", self.count));
        }
        match self.too_long {
            Some(name) => Err(format!("attribute {:?} is longer than {ATTRIBUTE_BYTES_MAX} bytes", clip(name))),
            None => Ok(()),
        }
    }

    pub(super) fn to_attributes(&self) -> Attributes {
        self.pairs.iter().map(|(name, value)| ((*name).to_owned(), value.to_value())).collect()
    }

    fn clear(&mut self) {
        self.pairs.clear();
        (self.count, self.too_long) = (0, None);
    }
}

/// An absent value is empty text, as OTLP reads it. Nested ones, which are rare, are decoded into structures; one that would be
/// too long is not.
fn read_value(message: &[u8]) -> Result<ValueRef<'_>, Malformed> {
    let mut value = ValueRef::String("");
    for field in Fields::new(message) {
        value = match field? {
            (1, field) => ValueRef::String(field.text()?),
            (2, field) => ValueRef::Bool(field.varint()? != 0),
            (3, field) => ValueRef::Int(field.varint()? as i64),
            (4, field) => ValueRef::Double(f64::from_bits(field.fixed64()?)),
            (5 | 6, _) if message.len() * 2 > ATTRIBUTE_BYTES_MAX => ValueRef::Json(Cow::Owned(serde_json::Value::Null)),
            (5 | 6, _) => {
                let any = AnyValue::decode(message).map_err(|error| Malformed(error.to_string()))?;
                return Ok(ValueRef::Json(Cow::Owned(nested(any))));
            }
            (7, field) => ValueRef::Bytes(field.bytes()?),
            _ => continue,
        };
    }
    Ok(value)
}

struct RawEvent<'a> {
    time: u64,
    name: &'a str,
    attributes: RawList<'a>,
}

struct RawLink<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a str,
    attributes: RawList<'a>,
}

/// A span as it came; used for one after another.
#[derive(Default)]
pub(super) struct RawSpan<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_id: &'a [u8],
    trace_state: &'a str,
    name: &'a str,
    kind: i32,
    start: u64,
    end: u64,
    status: StatusCode,
    status_message: &'a str,
    attributes: RawList<'a>,
    events: Vec<RawEvent<'a>>,
    links: Vec<RawLink<'a>>,
    /// Events or links, whichever are more.
    parts: usize,
}

impl<'a> RawSpan<'a> {
    /// Reads a `Span`. Beyond their limits, attributes, events and links are only counted.
    pub(super) fn read(&mut self, message: &'a [u8], labels_max: usize) -> Result<(), Malformed> {
        self.clear();
        let (mut events, mut links) = (0, 0);
        for field in Fields::new(message) {
            match field? {
                (1, field) => self.trace_id = field.bytes()?,
                (2, field) => self.span_id = field.bytes()?,
                (3, field) => self.trace_state = field.text()?,
                (4, field) => self.parent_id = field.bytes()?,
                (5, field) => self.name = field.text()?,
                (6, field) => self.kind = field.varint()? as i32,
                (7, field) => self.start = field.fixed64()?,
                (8, field) => self.end = field.fixed64()?,
                (9, field) => self.attributes.push(field, labels_max)?,
                (11, field) => {
                    let event = read_event(field.bytes()?, labels_max)?;
                    events += 1;
                    if events <= PARTS_MAX {
                        self.events.push(event);
                    }
                }
                (13, field) => {
                    let link = read_link(field.bytes()?, labels_max)?;
                    links += 1;
                    if links <= PARTS_MAX {
                        self.links.push(link);
                    }
                }
                (15, field) => self.read_status(field.bytes()?)?,
                _ => {}
            }
        }
        self.parts = events.max(links);
        Ok(())
    }

    fn read_status(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::new(message) {
            match field? {
                (2, field) => self.status_message = field.text()?,
                (3, field) => {
                    self.status = match field.varint()? {
                        1 => StatusCode::Ok,
                        2 => StatusCode::Error,
                        _ => StatusCode::Unset,
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        let Self { attributes, events, links, .. } = std::mem::take(self);
        (self.attributes, self.events, self.links) = (attributes, events, links);
        self.attributes.clear();
        self.events.clear();
        self.links.clear();
    }

    pub(super) fn start(&self) -> UnixNanos {
        time(self.start)
    }

    /// About what it takes in memory before it is appended.
    pub(super) fn memory(&self) -> usize {
        let list = |list: &RawList<'_>| list.pairs.len() * size_of::<(&str, ValueRef<'_>)>();
        list(&self.attributes)
            + self.events.iter().map(|event| size_of::<RawEvent<'_>>() + list(&event.attributes)).sum::<usize>()
            + self.links.iter().map(|link| size_of::<RawLink<'_>>() + list(&link.attributes)).sum::<usize>()
    }

    /// What there is before its lists, when it can be kept; else why not.
    pub(super) fn head(&self, labels_max: usize) -> Result<SpanHead<'a>, String> {
        let (trace_id, span_id) = (trace_id(self.trace_id)?, span_id(self.span_id, "span id")?);
        if trace_id.is_none() || span_id.is_none() {
            return Err(format!("span {:?} has an id that is all zero", clip(self.name)));
        }
        self.attributes.fits(labels_max).map_err(|reason| format!("span {span_id}: {reason}"))?;
        if self.parts > PARTS_MAX || self.name.len() > ATTRIBUTE_BYTES_MAX {
            return Err(format!("span {span_id} has more than {PARTS_MAX} events or links, or a name beyond reason"));
        }
        for event in &self.events {
            event.attributes.fits(labels_max).map_err(|reason| format!("span event {:?}: {reason}", clip(event.name)))?;
        }
        for link in &self.links {
            link.attributes.fits(labels_max).map_err(|reason| format!("span link: {reason}"))?;
            self::trace_id(link.trace_id)?;
            self::span_id(link.span_id, "span id of a link")?;
        }
        let no_parent = self.parent_id.is_empty();
        Ok(SpanHead {
            trace_id,
            span_id,
            parent_id: if no_parent { SpanId::default() } else { self::span_id(self.parent_id, "parent id")? },
            trace_state: self.trace_state,
            name: self.name,
            kind: SpanKind::from_number(self.kind),
            start: time(self.start),
            end: time(self.end),
            status: self.status,
            status_message: self.status_message,
        })
    }

    /// Appends it under a head that [`Self::head`] gave.
    pub(super) fn append(&mut self, head: &SpanHead<'_>, batch: &mut SpansBuilder) {
        let events = self.events.drain(..).map(|event| EventRef {
            timestamp: time(event.time),
            name: event.name,
            attributes: event.attributes.pairs.into_iter(),
        });
        let links = self.links.drain(..).map(|link| LinkRef {
            trace_id: trace_id(link.trace_id).unwrap_or_default(),
            span_id: span_id(link.span_id, "").unwrap_or_default(),
            trace_state: link.trace_state,
            attributes: link.attributes.pairs.into_iter(),
        });
        batch.push(head, self.attributes.pairs.drain(..), events, links);
    }
}

fn read_event(message: &[u8], labels_max: usize) -> Result<RawEvent<'_>, Malformed> {
    let mut event = RawEvent { time: 0, name: "", attributes: RawList::default() };
    for field in Fields::new(message) {
        match field? {
            (1, field) => event.time = field.fixed64()?,
            (2, field) => event.name = field.text()?,
            (3, field) => event.attributes.push(field, labels_max)?,
            _ => {}
        }
    }
    Ok(event)
}

fn read_link(message: &[u8], labels_max: usize) -> Result<RawLink<'_>, Malformed> {
    let mut link = RawLink { trace_id: &[], span_id: &[], trace_state: "", attributes: RawList::default() };
    for field in Fields::new(message) {
        match field? {
            (1, field) => link.trace_id = field.bytes()?,
            (2, field) => link.span_id = field.bytes()?,
            (3, field) => link.trace_state = field.text()?,
            (4, field) => link.attributes.push(field, labels_max)?,
            _ => {}
        }
    }
    Ok(link)
}

fn trace_id(bytes: &[u8]) -> Result<TraceId, String> {
    bytes.try_into().map(TraceId).map_err(|_| format!("trace id has {} bytes, not 16", bytes.len()))
}

fn span_id(bytes: &[u8], what: &str) -> Result<SpanId, String> {
    bytes.try_into().map(SpanId).map_err(|_| format!("{what} has {} bytes, not 8", bytes.len()))
}

fn time(nanos: u64) -> UnixNanos {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
