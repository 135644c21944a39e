//! OTLP spans as [`SpanBatch`]es: one section a resource and scope, read from the bytes of the request without decoding it into
//! structures first. Pure.

use std::sync::Arc;

use weir_model::span::{Attributes, Origin, SpanBatch, SpansBuilder, Value};
use weir_model::wire::{Kind, Section};

use super::attributes::{PAIR_BYTES, RawList};
use super::message;
use super::outcome::{Outcome, Refusal, Rejected, check_records};
use super::span::RawSpan;
use crate::admission::Admission;
use crate::proto::Fields;
use crate::push::{Digest, PushContext};
use crate::push_error::PushError;

/// The ids of a span with what stands before them: what is shorter cannot be kept.
const SPAN_BYTES_MIN: usize = 28;

/// Sections of a request, an `ExportTraceServiceRequest` in protobuf.
pub(super) fn outcome(context: &PushContext, admission: &Admission, request: &[u8]) -> Result<Outcome<SpanBatch>, PushError> {
    check_records(context, message::count(request)?)?;
    let mut outcome = Outcome::default();
    let mut at = 0;
    for resource in message::resources(request) {
        let resource = resource?;
        let who = Who::new(context, admission, resource)?;
        for scope in message::scopes(resource) {
            let scope = Scope { at, bytes: scope? };
            outcome.sections.extend(section(context, admission, &scope, &who, &mut outcome.rejected)?);
            at += 1;
        }
    }
    Ok(outcome)
}

/// A resource, and what stands for it in its scopes' digests.
struct Who {
    resource: Result<Attributes, String>,
    memory: usize,
    digest: [u8; 16],
}

impl Who {
    fn new(context: &PushContext, admission: &Admission, resource_spans: &[u8]) -> Result<Self, PushError> {
        let message = message::who(resource_spans)?;
        let mut digest = Digest::default();
        digest.field(&message);
        let list = RawList::of_resource(&message, context.config.labels_max, admission)?;
        let fits = list.fits(context.config.labels_max).map_err(|reason| format!("resource: {reason}"));
        let resource = fits.map(|()| list.to_attributes());
        Ok(Self { memory: resource.as_ref().map_or(0, memory), resource, digest: digest.finish() })
    }
}

/// A `ScopeSpans`, and which of the request it is.
struct Scope<'a> {
    at: i64,
    bytes: &'a [u8],
}

fn section(
    context: &PushContext,
    admission: &Admission,
    scope: &Scope<'_>,
    who: &Who,
    rejected: &mut Rejected,
) -> Result<Option<Section<SpanBatch>>, PushError> {
    let mut digest = Digest::new(&context.tenant, "otlp/spans");
    digest.number(scope.at);
    digest.field(&who.digest);
    digest.field(scope.bytes);
    let origin = match origin(context, admission, who, scope.bytes)? {
        Ok(origin) => origin,
        Err(reason) => {
            rejected.add(message::records(scope.bytes).count(), || reason);
            return Ok(None);
        }
    };
    let room = message::records(scope.bytes).count().min(scope.bytes.len() / SPAN_BYTES_MIN);
    let (mut batch, mut span) = (SpansBuilder::with_room(room), RawSpan::default());
    let (bounds, labels_max) = (context.bounds(Kind::Spans), context.config.labels_max);
    let mut charged = 0;
    for (i, message) in (0..).zip(message::records(scope.bytes)) {
        let message = message?;
        span.read(message, labels_max, admission)?;
        let head = span.head(labels_max).map_err(Refusal::from);
        let head = head.and_then(|head| context.quota.span(message.len()).map(|()| head).map_err(Refusal::from));
        match head.and_then(|head| bounds.check(span.start()).map(|()| head).map_err(Refusal::from)) {
            Ok(head) => {
                let borrowed = span.memory();
                span.append(&head, &mut batch);
                let held = batch.memory() + borrowed;
                admission.charge(held.saturating_sub(charged))?;
                charged = charged.max(held);
            }
            Err(refusal) => {
                // The same request at another time may come to more.
                if matches!(refusal, Refusal::Time(_)) {
                    digest.number(i);
                }
                rejected.refuse(&refusal, || "a span".to_owned());
            }
        }
    }
    if batch.is_empty() {
        return Ok(None);
    }
    let source = format!("otlp/{}", origin.service().chars().take(256).collect::<String>());
    Ok(Some(context.section(source, digest.finish(), SpanBatch { origin, spans: Arc::new(batch.finish()) })))
}

/// Who made a scope's spans: each scope's section carries its resource. The inner error rejects its spans.
fn origin(
    context: &PushContext,
    admission: &Admission,
    who: &Who,
    scope_spans: &[u8],
) -> Result<Result<Origin, String>, PushError> {
    let message = message::who(scope_spans)?;
    let (mut origin, mut list) = (Origin::default(), RawList::default());
    for field in Fields::new(&message, "a scope") {
        match field? {
            (1, field) => origin.scope_name = field.text()?.to_owned(),
            (2, field) => origin.scope_version = field.text()?.to_owned(),
            (3, field) => list.push(field, context.config.labels_max, admission)?,
            _ => {}
        }
    }
    let resource = match (&who.resource, list.fits(context.config.labels_max)) {
        (Ok(resource), Ok(())) => resource,
        (Err(reason), _) => return Ok(Err(reason.clone())),
        (_, Err(reason)) => return Ok(Err(format!("scope: {reason}"))),
    };
    origin.scope_attributes = list.to_attributes();
    admission.charge(who.memory + memory(&origin.scope_attributes) + origin.scope_name.len() + origin.scope_version.len())?;
    origin.resource.clone_from(resource);
    Ok(Ok(origin))
}

/// Memory of a list, with its texts.
fn memory(list: &Attributes) -> usize {
    let text = |value: &Value| match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Json(json) => json.to_string().len() * 2,
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => 0,
    };
    list.iter().map(|(name, value)| PAIR_BYTES + name.len() + text(value)).sum()
}
