//! One span of OTLP, borrowed from the bytes it came in: read, checked, and appended to a batch. Pure.

use weir_model::id::{SpanId, TraceId};
use weir_model::span::{EventRef, LinkRef, SpanHead, SpanKind, SpansBuilder, StatusCode};
use weir_model::time::UnixNanos;

use super::attributes::{ATTRIBUTE_BYTES_MAX, RawList, clip};
use crate::admission::Admission;
use crate::proto::{Fields, ProtoError};
use crate::push_error::PushError;

/// Events or links of a span: OpenTelemetry's SDKs keep 128 by default.
const PARTS_MAX: usize = 1024;

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
    pub(super) fn read(&mut self, message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<(), PushError> {
        self.clear();
        let (mut events, mut links) = (0, 0);
        for field in Fields::new(message, "a span") {
            match field? {
                (1, field) => self.trace_id = field.bytes()?,
                (2, field) => self.span_id = field.bytes()?,
                (3, field) => self.trace_state = field.text()?,
                (4, field) => self.parent_id = field.bytes()?,
                (5, field) => self.name = field.text()?,
                (6, field) => self.kind = field.varint()? as i32,
                (7, field) => self.start = field.fixed64()?,
                (8, field) => self.end = field.fixed64()?,
                (9, field) => self.attributes.push(field, labels_max, admission)?,
                (11, field) => {
                    let event = read_event(field.bytes()?, labels_max, admission)?;
                    events += 1;
                    if events <= PARTS_MAX {
                        self.events.push(event);
                    }
                }
                (13, field) => {
                    let link = read_link(field.bytes()?, labels_max, admission)?;
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

    fn read_status(&mut self, message: &'a [u8]) -> Result<(), ProtoError> {
        for field in Fields::new(message, "a span's status") {
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
        self.attributes.memory()
            + self.events.iter().map(|event| size_of::<RawEvent<'_>>() + event.attributes.memory()).sum::<usize>()
            + self.links.iter().map(|link| size_of::<RawLink<'_>>() + link.attributes.memory()).sum::<usize>()
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
            attributes: event.attributes.into_iter(),
        });
        let links = self.links.drain(..).map(|link| LinkRef {
            trace_id: trace_id(link.trace_id).unwrap_or_default(),
            span_id: span_id(link.span_id, "").unwrap_or_default(),
            trace_state: link.trace_state,
            attributes: link.attributes.into_iter(),
        });
        batch.push(head, self.attributes.drain(), events, links);
    }
}

fn read_event<'a>(message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<RawEvent<'a>, PushError> {
    let mut event = RawEvent { time: 0, name: "", attributes: RawList::default() };
    for field in Fields::new(message, "a span's event") {
        match field? {
            (1, field) => event.time = field.fixed64()?,
            (2, field) => event.name = field.text()?,
            (3, field) => event.attributes.push(field, labels_max, admission)?,
            _ => {}
        }
    }
    Ok(event)
}

fn read_link<'a>(message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<RawLink<'a>, PushError> {
    let mut link = RawLink { trace_id: &[], span_id: &[], trace_state: "", attributes: RawList::default() };
    for field in Fields::new(message, "a span's link") {
        match field? {
            (1, field) => link.trace_id = field.bytes()?,
            (2, field) => link.span_id = field.bytes()?,
            (3, field) => link.trace_state = field.text()?,
            (4, field) => link.attributes.push(field, labels_max, admission)?,
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
