//! OTLP spans as [`SpanBatch`]es: one section a resource and scope. Pure.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span as OtlpSpan};
use prost::Message;
use weir_model::id::{SpanId, TraceId};
use weir_model::span::{Origin, Span, SpanBatch, SpanEvent, SpanKind, SpanLink, StatusCode};
use weir_model::time::UnixNanos;
use weir_model::wire::{Kind, Section};

use super::{Outcome, Refusal, Rejected, check_records, value};
use crate::admission::Admission;
use crate::body::PushError;
use crate::push::{Digest, PushContext};

/// Events or links of a span: OpenTelemetry's SDKs keep 128 by default.
const PARTS_MAX: usize = 1024;

/// Sections of a request.
pub(super) fn outcome(
    context: &PushContext,
    admission: &Admission,
    request: ExportTraceServiceRequest,
) -> Result<Outcome<SpanBatch>, PushError> {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    check_records(context, scopes.map(|scope| scope.spans.len()).sum())?;
    let mut outcome = Outcome::default();
    let mut at = 0;
    for resource in request.resource_spans {
        let who = Who::new(resource.resource.unwrap_or_default());
        for scope in resource.scope_spans {
            if !scope.spans.is_empty() {
                outcome.sections.extend(section(context, admission, at, (&who, scope), &mut outcome.rejected)?);
            }
            at += 1;
        }
    }
    Ok(outcome)
}

/// A resource, and what stands for it in its scopes' digests.
struct Who {
    resource: Resource,
    digest: [u8; 16],
}

impl Who {
    fn new(resource: Resource) -> Self {
        let mut digest = Digest::default();
        digest.field(&resource.encode_to_vec());
        Self { digest: digest.finish(), resource }
    }
}

fn section(
    context: &PushContext,
    admission: &Admission,
    at: i64,
    (who, scope): (&Who, ScopeSpans),
    rejected: &mut Rejected,
) -> Result<Option<Section<SpanBatch>>, PushError> {
    let mut digest = Digest::new(&context.tenant, "otlp/spans");
    digest.number(at);
    digest.field(&who.digest);
    digest.field(&scope.encode_to_vec());
    // Each scope's section carries its resource.
    let of_scope = scope.scope.as_ref().map_or(0, |scope| value::memory(&scope.attributes));
    admission.charge(value::memory(&who.resource.attributes) + of_scope + scope.spans.iter().map(memory).sum::<usize>())?;
    let origin = match origin(context, &who.resource, scope.scope) {
        Ok(origin) => origin,
        Err(reason) => {
            rejected.add(scope.spans.len(), || reason);
            return Ok(None);
        }
    };
    let mut batch = SpanBatch { origin, spans: Vec::with_capacity(scope.spans.len()) };
    let bounds = context.bounds(Kind::Spans);
    for (i, span) in scope.spans.into_iter().enumerate() {
        let start = time(span.start_time_unix_nano);
        let converted = convert(context, span).map_err(Refusal::from);
        match converted.and_then(|span| bounds.check(start).map(|()| span).map_err(Refusal::from)) {
            Ok(span) => batch.spans.push(span),
            Err(refusal) => {
                // The same request at another time may come to more.
                if matches!(refusal, Refusal::Time(_)) {
                    digest.number(i as i64);
                }
                rejected.refuse(&refusal, || "a span".to_owned());
            }
        }
    }
    let source = format!("otlp/{}", batch.origin.service().chars().take(256).collect::<String>());
    Ok((!batch.spans.is_empty()).then(|| context.section(source, digest.finish(), batch)))
}

/// Memory of a span's structures. Its texts are moved, not copied.
fn memory(span: &OtlpSpan) -> usize {
    let pairs = |list: &[KeyValue]| list.len() * value::PAIR_BYTES;
    let events = span.events.iter().map(|event| size_of::<SpanEvent>() + pairs(&event.attributes)).sum::<usize>();
    let links = span.links.iter().map(|link| size_of::<SpanLink>() + pairs(&link.attributes)).sum::<usize>();
    size_of::<Span>() + pairs(&span.attributes) + events + links
}

fn origin(context: &PushContext, resource: &Resource, scope: Option<InstrumentationScope>) -> Result<Origin, String> {
    let limit = context.config.labels_max;
    value::fits(&resource.attributes, limit).map_err(|reason| format!("resource: {reason}"))?;
    let scope = scope.unwrap_or_default();
    value::fits(&scope.attributes, limit).map_err(|reason| format!("scope: {reason}"))?;
    Ok(Origin {
        resource: value::attributes(resource.attributes.clone()),
        scope_name: scope.name,
        scope_version: scope.version,
        scope_attributes: value::attributes(scope.attributes),
    })
}

fn convert(context: &PushContext, span: OtlpSpan) -> Result<Span, String> {
    let (trace_id, span_id) = (trace_id(&span.trace_id)?, span_id(&span.span_id, "span id")?);
    if trace_id.is_none() || span_id.is_none() {
        return Err(format!("span {:?} has an id that is all zero", clip(&span.name)));
    }
    let limit = context.config.labels_max;
    value::fits(&span.attributes, limit).map_err(|reason| format!("span {span_id}: {reason}"))?;
    if span.events.len() > PARTS_MAX || span.links.len() > PARTS_MAX || span.name.len() > value::ATTRIBUTE_BYTES_MAX {
        return Err(format!("span {span_id} has more than {PARTS_MAX} events or links, or a name beyond reason"));
    }
    let status = span.status.unwrap_or_default();
    Ok(Span {
        trace_id,
        span_id,
        parent_id: if span.parent_span_id.is_empty() {
            SpanId::default()
        } else {
            self::span_id(&span.parent_span_id, "parent id")?
        },
        trace_state: span.trace_state,
        name: span.name,
        kind: SpanKind::from_number(span.kind),
        start: time(span.start_time_unix_nano),
        end: time(span.end_time_unix_nano),
        status: match status.code {
            1 => StatusCode::Ok,
            2 => StatusCode::Error,
            _ => StatusCode::Unset,
        },
        status_message: status.message,
        attributes: value::attributes(span.attributes),
        events: span.events.into_iter().map(|event| self::event(event, limit)).collect::<Result<_, _>>()?,
        links: span.links.into_iter().map(|link| self::link(link, limit)).collect::<Result<_, _>>()?,
    })
}

fn event(event: Event, limit: usize) -> Result<SpanEvent, String> {
    value::fits(&event.attributes, limit).map_err(|reason| format!("span event {:?}: {reason}", clip(&event.name)))?;
    Ok(SpanEvent { timestamp: time(event.time_unix_nano), name: event.name, attributes: value::attributes(event.attributes) })
}

fn link(link: Link, limit: usize) -> Result<SpanLink, String> {
    value::fits(&link.attributes, limit).map_err(|reason| format!("span link: {reason}"))?;
    Ok(SpanLink {
        trace_id: trace_id(&link.trace_id)?,
        span_id: span_id(&link.span_id, "span id of a link")?,
        trace_state: link.trace_state,
        attributes: value::attributes(link.attributes),
    })
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
