//! Whether a span passes a trace search. One definition for heads, columns of blocks and whole traces.

use super::TraceSelect;
use crate::span::{Origin, Span, SpanKind, SpanRef, StatusCode};
use crate::time::{TimeRange, UnixNanos};

/// What conditions on attributes look at.
pub struct SpanFacts<'a> {
    /// Who made the span.
    pub origin: &'a Origin,
    /// The span's role.
    pub kind: SpanKind,
    /// How it ended.
    pub status: StatusCode,
    /// Whether the span's own attributes have a name with a value that a text names.
    pub own: &'a dyn Fn(&str, &str) -> bool,
}

impl SpanFacts<'_> {
    /// Attributes of span and resource, and what is no attribute by the names that Jaeger and Tempo give it.
    fn has(&self, name: &str, text: &str) -> bool {
        let resource = |name: &str| self.origin.resource.iter().any(|(own, value)| own == name && value.matches_text(text));
        let special = match name {
            "error" => text == if self.status == StatusCode::Error { "true" } else { "false" },
            "kind" | "span.kind" => self.kind.name() == text,
            "status" | "span.status" | "status.code" | "otel.status_code" => self.status.name().eq_ignore_ascii_case(text),
            "scope.name" | "otel.scope.name" => !text.is_empty() && self.origin.scope_name == text,
            "scope.version" | "otel.scope.version" => !text.is_empty() && self.origin.scope_version == text,
            _ => match name.split_once('.') {
                Some(("resource", name)) => resource(name),
                Some(("span", name)) => (self.own)(name, text),
                _ => false,
            },
        };
        special || (self.own)(name, text) || resource(name)
    }
}

impl TraceSelect {
    /// Any trace of a time.
    pub fn any(tenant: &str, range: TimeRange, limit: usize) -> Self {
        let (service, operation, attributes, duration_min, duration_max) = (None, None, Vec::new(), None, None);
        Self { tenant: tenant.to_owned(), range, service, operation, attributes, duration_min, duration_max, limit }
    }

    /// Whether a span passes everything.
    pub fn passes(&self, origin: &Origin, span: &Span) -> bool {
        let own = |name: &str, text: &str| span.attributes.iter().any(|(own, value)| own == name && value.matches_text(text));
        let facts = SpanFacts { origin, kind: span.kind, status: span.status, own: &own };
        self.own_passes(origin, &span.name, span.start, span.end) && self.attributes_pass(&facts)
    }

    /// The same of a span in columns.
    pub fn passes_row(&self, origin: &Origin, span: SpanRef<'_>) -> bool {
        let own = |name: &str, text: &str| span.attributes().any(|(own, value)| own == name && value.matches_text(text));
        let facts = SpanFacts { origin, kind: span.kind(), status: span.status(), own: &own };
        self.own_passes(origin, span.name(), span.start(), span.end()) && self.attributes_pass(&facts)
    }

    fn own_passes(&self, origin: &Origin, name: &str, start: UnixNanos, end: UnixNanos) -> bool {
        self.range.contains(start)
            && self.duration_passes(end.wrapping_sub(start))
            && self.operation.as_ref().is_none_or(|operation| operation == name)
            && self.service.as_ref().is_none_or(|service| service == origin.service())
    }

    /// Whether a span that lasted so many nanoseconds may pass.
    pub fn duration_passes(&self, duration: i64) -> bool {
        self.duration_min.is_none_or(|shortest| duration >= shortest)
            && self.duration_max.is_none_or(|longest| duration <= longest)
    }

    /// Whether all conditions on attributes hold.
    pub fn attributes_pass(&self, facts: &SpanFacts<'_>) -> bool {
        self.attributes.iter().all(|(name, text)| facts.has(name, text))
    }
}
