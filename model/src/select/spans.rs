//! Whether a span passes a trace search: one judge of whole spans, of a head's columns and of a block's.

use super::TraceSelect;
use crate::scope::Scope;
use crate::span::{Origin, Span, SpanKind, SpanRef, StatusCode};
use crate::time::{TimeRange, UnixNanos};

/// A span as a search looks at it, wherever it lies.
pub trait SearchedSpan {
    fn origin(&self) -> &Origin;
    fn start(&self) -> UnixNanos;
    /// End minus start, wrapping.
    fn duration(&self) -> i64;
    fn kind(&self) -> SpanKind;
    fn status(&self) -> StatusCode;
    fn is_named(&self, name: &str) -> bool;
    /// Whether the span's own attributes have this name with a value that the text names.
    fn has(&self, name: &str, text: &str) -> bool;
}

impl SearchedSpan for (&Origin, &Span) {
    fn origin(&self) -> &Origin {
        self.0
    }

    fn start(&self) -> UnixNanos {
        self.1.start
    }

    fn duration(&self) -> i64 {
        self.1.end.wrapping_sub(self.1.start)
    }

    fn kind(&self) -> SpanKind {
        self.1.kind
    }

    fn status(&self) -> StatusCode {
        self.1.status
    }

    fn is_named(&self, name: &str) -> bool {
        self.1.name == name
    }

    fn has(&self, name: &str, text: &str) -> bool {
        self.1.attributes.iter().any(|(own, value)| own == name && value.matches_text(text))
    }
}

impl SearchedSpan for (&Origin, SpanRef<'_>) {
    fn origin(&self) -> &Origin {
        self.0
    }

    fn start(&self) -> UnixNanos {
        self.1.start()
    }

    fn duration(&self) -> i64 {
        self.1.end().wrapping_sub(self.1.start())
    }

    fn kind(&self) -> SpanKind {
        self.1.kind()
    }

    fn status(&self) -> StatusCode {
        self.1.status()
    }

    fn is_named(&self, name: &str) -> bool {
        self.1.name() == name
    }

    fn has(&self, name: &str, text: &str) -> bool {
        self.1.attributes().any(|(own, value)| own == name && value.matches_text(text))
    }
}

/// What of a span is no attribute and has names like one.
#[derive(Clone, Copy)]
enum Intrinsic {
    Error,
    Kind,
    Status,
    ScopeName,
    ScopeVersion,
}

impl Intrinsic {
    /// By the names that Jaeger and Tempo give it.
    fn named(name: &str) -> Option<Self> {
        match name {
            "error" => Some(Self::Error),
            "kind" | "span.kind" => Some(Self::Kind),
            "status" | "span.status" | "status.code" | "otel.status_code" => Some(Self::Status),
            "scope.name" | "otel.scope.name" => Some(Self::ScopeName),
            "scope.version" | "otel.scope.version" => Some(Self::ScopeVersion),
            _ => None,
        }
    }

    fn is(self, span: &impl SearchedSpan, text: &str) -> bool {
        match self {
            Self::Error => text == if span.status() == StatusCode::Error { "true" } else { "false" },
            Self::Kind => span.kind().name() == text,
            Self::Status => span.status().name().eq_ignore_ascii_case(text),
            Self::ScopeName => !text.is_empty() && span.origin().scope_name == text,
            Self::ScopeVersion => !text.is_empty() && span.origin().scope_version == text,
        }
    }
}

fn resource_has(origin: &Origin, name: &str, text: &str) -> bool {
    origin.resource.iter().any(|(own, value)| own == name && value.matches_text(text))
}

/// Whether one condition on attributes holds.
fn holds(span: &impl SearchedSpan, name: &str, text: &str) -> bool {
    let meant = match (Intrinsic::named(name), name.split_once('.')) {
        (Some(intrinsic), _) => intrinsic.is(span, text),
        (None, Some(("resource", name))) => resource_has(span.origin(), name, text),
        (None, Some(("span", name))) => span.has(name, text),
        _ => false,
    };
    meant || span.has(name, text) || resource_has(span.origin(), name, text)
}

impl TraceSelect {
    /// Any trace of a time.
    pub fn any(scope: &Scope, range: TimeRange, limit: usize) -> Self {
        let (service, operation, attributes, duration_min, duration_max) = (None, None, Vec::new(), None, None);
        Self { scope: scope.clone(), range, service, operation, attributes, duration_min, duration_max, limit }
    }

    /// Whether a span passes everything.
    pub fn passes(&self, span: &impl SearchedSpan) -> bool {
        self.range.contains(span.start())
            && self.duration_passes(span.duration())
            && self.operation.as_ref().is_none_or(|operation| span.is_named(operation))
            && self.service.as_ref().is_none_or(|service| service == span.origin().service())
            && self.attributes.iter().all(|(name, text)| holds(span, name, text))
    }

    fn duration_passes(&self, duration: i64) -> bool {
        self.duration_min.is_none_or(|shortest| duration >= shortest)
            && self.duration_max.is_none_or(|longest| duration <= longest)
    }

    /// Names of which a span that passes has one, of its own or of its resource, for each condition that looks at attributes
    /// alone.
    pub fn attribute_names(&self) -> impl Iterator<Item = impl Iterator<Item = &str>> {
        let names = self.attributes.iter().map(|(name, _)| name.as_str()).filter(|name| Intrinsic::named(name).is_none());
        names.map(|name| {
            let scoped = name.split_once('.').filter(|(scope, _)| matches!(*scope, "resource" | "span"));
            std::iter::once(name).chain(scoped.map(|(_, name)| name))
        })
    }
}
