//! Whether a span passes a search, over whole spans (heads) and over columns (blocks).
//!
//! Pure. What `reader.rs` does with the traces found is its affair.

use std::borrow::Cow;

use weir_model::select::TraceSelect;
use weir_model::span::{Origin, Span, SpanKind, StatusCode, Value};

use super::block::TracesBlock;
use super::group::Group;
use super::schema::GroupEntry;

/// A value as text, for comparing with what a user typed: strings as they are, JSON compact, bytes in hex.
pub(crate) fn value_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        Value::Int(number) => Cow::Owned(number.to_string()),
        Value::Double(number) => Cow::Owned(number.to_string()),
        Value::Json(json) => Cow::Owned(json.to_string()),
        Value::Bytes(bytes) => Cow::Owned(hex::encode(bytes)),
    }
}

/// What conditions on attributes are asked of.
struct Probe<'a> {
    origin: &'a Origin,
    kind: SpanKind,
    status: StatusCode,
    /// Whether the span's own attributes have this name with this text.
    own: &'a dyn Fn(&str, &str) -> bool,
}

impl Probe<'_> {
    /// The special names are those of Jaeger's search.
    fn has(&self, name: &str, text: &str) -> bool {
        let resource = |name: &str| self.origin.resource.iter().any(|(own, value)| own == name && value_text(value) == text);
        let special = match name {
            "error" => text == if self.status == StatusCode::Error { "true" } else { "false" },
            "span.kind" => kind_name(self.kind) == text,
            "span.status" => ["unset", "ok", "error"][self.status as usize].eq_ignore_ascii_case(text),
            "scope.name" => !text.is_empty() && self.origin.scope_name == text,
            "scope.version" => !text.is_empty() && self.origin.scope_version == text,
            _ => name.strip_prefix("resource.").is_some_and(resource),
        };
        special || (self.own)(name, text) || resource(name)
    }
}

fn kind_name(kind: SpanKind) -> &'static str {
    ["unspecified", "internal", "server", "client", "producer", "consumer"][kind as usize]
}

/// Whether one whole span passes everything.
pub(crate) fn passes(select: &TraceSelect, origin: &Origin, span: &Span) -> bool {
    let own = |name: &str, text: &str| span.attributes.iter().any(|(own, value)| own == name && value_text(value) == text);
    let probe = Probe { origin, kind: span.kind, status: span.status, own: &own };
    select.range.contains(span.start)
        && duration_passes(select, span.end.wrapping_sub(span.start))
        && select.operation.as_ref().is_none_or(|name| *name == span.name)
        && select.service.as_ref().is_none_or(|service| service == origin.service())
        && select.attributes.iter().all(|(name, text)| probe.has(name, text))
}

fn duration_passes(select: &TraceSelect, duration: i64) -> bool {
    select.duration_min.is_none_or(|shortest| duration >= shortest)
        && select.duration_max.is_none_or(|longest| duration <= longest)
}

/// A search, prepared for one block.
pub(crate) struct BlockSearch<'a> {
    select: &'a TraceSelect,
    block: &'a TracesBlock,
    /// Numbers of the asked service and operation in the block.
    service: Option<u32>,
    operation: Option<u32>,
}

impl<'a> BlockSearch<'a> {
    /// `None` when the block cannot have a span that passes.
    pub(crate) fn new(select: &'a TraceSelect, block: &'a TracesBlock) -> Option<Self> {
        let id = |text: &Option<String>| match text {
            Some(text) => block.string_id(text).map(Some),
            None => Some(None),
        };
        Some(Self { select, block, service: id(&select.service)?, operation: id(&select.operation)? })
    }

    /// Whether a group may have a span that passes; false is certain.
    pub(crate) fn may_hold(&self, entry: &GroupEntry) -> bool {
        self.select.range.overlaps(entry.start_min, entry.start_max)
            && self.select.duration_min.is_none_or(|shortest| entry.duration_max >= shortest)
            && self.select.duration_max.is_none_or(|longest| entry.duration_min <= longest)
            && self.service.is_none_or(|service| entry.services.contains(&service))
    }

    /// Whether a span of a group passes, by its columns.
    pub(crate) fn passes(&self, group: &Group, at: usize) -> bool {
        if !self.select.range.contains(group.starts[at])
            || !duration_passes(self.select, group.durations[at])
            || self.operation.is_some_and(|name| name != group.names[at])
        {
            return false;
        }
        let origin = &self.block.origins()[group.origins[at] as usize].origin;
        if self.select.service.as_ref().is_some_and(|service| service != origin.service()) {
            return false;
        }
        let own = |name: &str, text: &str| {
            let mut list = group.attributes.list(at);
            list.any(|(own, value)| self.block.string(own) == name && value_text(value) == text)
        };
        let (kind, status) = group.kind(at);
        let probe = Probe { origin, kind, status, own: &own };
        self.select.attributes.iter().all(|(name, text)| probe.has(name, text))
    }
}
