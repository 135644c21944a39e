//! Spans, in the shape of OTLP: columns on their way ([`SpanBatch`]), structures where few are looked at ([`Span`]).
//!
//! - `columns`, `view`: many spans, and one of them, borrowed.
//! - `arena`, `packed`: their texts, and their attributes as bytes.
//! - `text`: values as the text that people read.

mod arena;
mod columns;
pub(crate) mod packed;
mod text;
mod view;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use arena::TextArena;
pub(crate) use columns::Lists;
pub use columns::{Spans, SpansBuilder};
pub use text::base64;
pub use view::{AttributesRef, EventRef, LinkRef, SpanHead, SpanRef, ValueRef, views};

use crate::id::{SpanId, TraceId};
use crate::label::{Labels, normalise_label_name};
use crate::time::UnixNanos;

/// An attribute's value, as OTLP's `AnyValue` without the nesting that no tracer's search understands:
/// arrays and maps are kept as JSON text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// UTF-8 text.
    String(String),
    /// True or false.
    Bool(bool),
    /// 64-bit signed integer.
    Int(i64),
    /// 64-bit float; bits are kept.
    Double(f64),
    /// An array or a map, as compact JSON.
    Json(Box<serde_json::value::Value>),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Attributes in the order the sender gave; names may repeat across, not within, a list.
pub type Attributes = Vec<(String, Value)>;

/// OTLP's `SpanKind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified = 0,
    /// Inside one process.
    Internal = 1,
    /// Serves a remote request.
    Server = 2,
    /// Makes a remote request.
    Client = 3,
    /// Sends a message.
    Producer = 4,
    /// Receives a message.
    Consumer = 5,
}

impl SpanKind {
    /// From OTLP's number; anything else is [`SpanKind::Unspecified`].
    pub fn from_number(number: i32) -> Self {
        [Self::Unspecified, Self::Internal, Self::Server, Self::Client, Self::Producer, Self::Consumer]
            .get(number as usize)
            .copied()
            .unwrap_or_default()
    }

    /// The word that searches and answers have for it.
    pub fn name(self) -> &'static str {
        ["unspecified", "internal", "server", "client", "producer", "consumer"][self as usize]
    }
}

/// OTLP's status code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum StatusCode {
    /// Not said.
    #[default]
    Unset = 0,
    /// Said to be fine.
    Ok = 1,
    /// Failed.
    Error = 2,
}

impl StatusCode {
    /// The word that searches and answers have for it.
    pub fn name(self) -> &'static str {
        ["unset", "ok", "error"][self as usize]
    }
}

/// An event of a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub timestamp: UnixNanos,
    /// What.
    pub name: String,
    /// Details.
    pub attributes: Attributes,
}

/// A link from a span to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanLink {
    /// The other span's trace.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// W3C trace state.
    pub trace_state: String,
    /// Details.
    pub attributes: Attributes,
}

/// One span. The resource and scope are said once, by the batch that carries it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Its trace; never none.
    pub trace_id: TraceId,
    /// Its own id; never none.
    pub span_id: SpanId,
    /// Its parent; none for a root.
    pub parent_id: SpanId,
    /// W3C trace state.
    pub trace_state: String,
    /// Operation.
    pub name: String,
    /// Role.
    pub kind: SpanKind,
    /// When it began.
    pub start: UnixNanos,
    /// When it ended; not before `start` unless the sender's clock says so.
    pub end: UnixNanos,
    /// How it ended.
    pub status: StatusCode,
    /// Why it failed.
    pub status_message: String,
    /// Details.
    pub attributes: Attributes,
    /// Events in time order as sent.
    pub events: Vec<SpanEvent>,
    /// Links.
    pub links: Vec<SpanLink>,
}

/// Who made the spans: OTLP's resource and instrumentation scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// Resource attributes; `service.name` among them, as a rule.
    pub resource: Attributes,
    /// Instrumentation scope's name.
    pub scope_name: String,
    /// Instrumentation scope's version.
    pub scope_version: String,
    /// Instrumentation scope's attributes.
    pub scope_attributes: Attributes,
}

impl Origin {
    /// `service.name`, or OpenTelemetry's word for a missing one.
    pub fn service(&self) -> &str {
        match self.resource.iter().find(|(name, _)| name == "service.name") {
            Some((_, Value::String(service))) => service,
            _ => "unknown_service",
        }
    }

    /// The resource as labels, names as those of streams and series: what a scope judges spans by.
    pub fn labels(&self) -> Labels {
        let pairs = self.resource.iter().map(|(name, value)| (normalise_label_name(name), value.text()));
        Labels::from_pairs(pairs)
    }
}

/// Spans of one origin, as they travel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanBatch {
    /// Who made them.
    pub origin: Origin,
    /// In the order they were sent.
    pub spans: Arc<Spans>,
}

/// Spans of one origin, each by itself: what an answer holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScopeSpans {
    /// Who made them.
    pub origin: Origin,
    /// In the order they were sent.
    pub spans: Vec<Span>,
}

impl SpanBatch {
    /// Copies of these spans.
    pub fn new(origin: Origin, spans: &[Span]) -> Self {
        Self { origin, spans: Arc::new(spans.iter().collect()) }
    }
}

impl From<&SpanBatch> for ScopeSpans {
    fn from(batch: &SpanBatch) -> Self {
        Self { origin: batch.origin.clone(), spans: batch.spans.iter().map(|span| span.to_span()).collect() }
    }
}
