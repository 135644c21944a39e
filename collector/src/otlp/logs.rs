//! OTLP logs as [`LogBatch`]es: one stream a resource. Pure.
//!
//! Labels of the stream: the resource attributes that say who speaks (`service.*`, `k8s.*`, `container.*`, `host.name`,
//! `deployment.environment*`, `cloud.*`), names normalised. All other attributes of resource, scope and record are
//! structured metadata of the line.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord as OtlpRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use weir_model::id::{SpanId, TraceId};
use weir_model::label::{Labels, normalise_label_name};
use weir_model::log::{LogBatch, LogRecord, severity_of_name};
use weir_model::time::UnixNanos;
use weir_model::wire::{Kind, Section};

use super::{Outcome, Refusal, Rejected, check_records, value};
use crate::admission::Admission;
use crate::body::PushError;
use crate::bounds::TimeBounds;
use crate::enrich;
use crate::push::{Digest, PushContext, push_line};
use crate::severity;

/// Prefixes of resource attributes that become labels.
const LABEL_PREFIXES: [&str; 4] = ["service.", "k8s.", "cloud.", "deployment.environment"];
/// Resource attributes that become labels.
const LABEL_NAMES: [&str; 4] = ["container.id", "container.name", "container.image.name", "host.name"];

/// Sections of a request.
pub(super) fn outcome(
    context: &PushContext,
    admission: &Admission,
    request: ExportLogsServiceRequest,
) -> Result<Outcome<LogBatch>, PushError> {
    let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    check_records(context, scopes.map(|scope| scope.log_records.len()).sum())?;
    let mut outcome = Outcome::default();
    for (at, resource) in request.resource_logs.into_iter().enumerate() {
        outcome.sections.extend(section(context, admission, (at, resource), &mut outcome.rejected)?);
    }
    Ok(outcome)
}

/// A section in the making.
struct Made<'a> {
    batch: LogBatch,
    /// Of what was sent, and of which of it was refused for its time: the same request at another time may come to more.
    digest: Digest,
    rejected: &'a mut Rejected,
    /// Records looked at.
    seen: i64,
    admission: &'a Admission,
}

fn section(
    context: &PushContext,
    admission: &Admission,
    (at, resource): (usize, ResourceLogs),
    rejected: &mut Rejected,
) -> Result<Option<Section<LogBatch>>, PushError> {
    let digest = digest(context, at, &resource);
    let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
    if let Err(reason) = value::fits(&attributes, context.config.labels_max) {
        let records = resource.scope_logs.iter().map(|scope| scope.log_records.len()).sum();
        rejected.add(records, || format!("resource: {reason}"));
        return Ok(None);
    }
    let (labels, metadata): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|pair| is_label(&pair.key));
    let mut stream = normalised(labels);
    if stream.is_empty() {
        // Every stream has a label; OpenTelemetry's word for a missing name.
        stream = Labels::from_pairs([("service_name", "unknown_service")]);
    }
    let source = format!("otlp/{:016x}", stream.stable_hash());
    admission.charge(value::memory(&metadata))?;
    let metadata = normalised(metadata);
    let bounds = context.bounds(Kind::Logs);
    let mut made = Made { batch: LogBatch::new(stream), digest, rejected, seen: 0, admission };
    for scope in resource.scope_logs {
        push_scope(context, &bounds, &mut made, &metadata, scope)?;
    }
    let Made { batch, digest, .. } = made;
    Ok((!batch.is_empty()).then(|| context.section(source, digest.finish(), batch)))
}

/// Over what was sent. A client that sends no time at all sends the same bytes for two lines that are two events: then
/// the time of arrival is part of the digest, and a second attempt is kept twice rather than an event lost.
fn digest(context: &PushContext, at: usize, resource: &ResourceLogs) -> Digest {
    let mut digest = Digest::new(&context.tenant, "otlp/logs");
    digest.number(at as i64);
    digest.field(&resource.encode_to_vec());
    let timeless = |record: &OtlpRecord| record.time_unix_nano == 0 && record.observed_time_unix_nano == 0;
    if resource.scope_logs.iter().any(|scope| scope.log_records.iter().any(timeless)) {
        digest.number((context.clock)());
    }
    digest
}

fn is_label(name: &str) -> bool {
    LABEL_NAMES.contains(&name) || LABEL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn normalised(attributes: Vec<KeyValue>) -> Labels {
    Labels::from_pairs(attributes.into_iter().map(|pair| {
        let name = normalise_label_name(&pair.key).into_owned();
        (name, value::text(pair.value))
    }))
}

fn push_scope(
    context: &PushContext,
    bounds: &TimeBounds,
    made: &mut Made<'_>,
    resource: &Labels,
    scope: ScopeLogs,
) -> Result<(), PushError> {
    let mut shared = resource.clone();
    let records = scope.log_records.len();
    if let Some(scope) = scope.scope {
        if let Err(reason) = value::fits(&scope.attributes, context.config.labels_max) {
            made.rejected.add(records, || format!("scope: {reason}"));
            return Ok(());
        }
        made.admission.charge(value::memory(&scope.attributes) + scope.name.len() + scope.version.len())?;
        let named = Labels::from_pairs([("scope_name", &scope.name), ("scope_version", &scope.version)]);
        shared = shared.merged(&normalised(scope.attributes)).merged(&named);
    }
    let shared = Shared { text_bytes: shared.iter().map(|(name, value)| name.len() + value.len()).sum(), set: shared };
    for record in scope.log_records {
        made.seen += 1;
        let timestamp = timestamp(context, &record);
        let fits = value::fits(&record.attributes, context.config.labels_max).map_err(Refusal::from);
        match fits.and_then(|()| Ok(bounds.check(timestamp)?)) {
            Ok(()) => push_record(context, made, &shared, record, timestamp)?,
            Err(refusal) => {
                if matches!(refusal, Refusal::Time(_)) {
                    made.digest.number(made.seen);
                }
                made.rejected.refuse(&refusal, || "log record".to_owned());
            }
        }
    }
    Ok(())
}

/// When it happened, else when it was seen, else now.
fn timestamp(context: &PushContext, record: &OtlpRecord) -> UnixNanos {
    let times = [record.time_unix_nano, record.observed_time_unix_nano];
    let said = times.into_iter().find(|time| *time != 0).map(|time| i64::try_from(time).unwrap_or(i64::MAX));
    said.unwrap_or_else(|| (context.clock)())
}

/// Attributes of a scope and its resource, which its records share.
struct Shared {
    set: Labels,
    text_bytes: usize,
}

/// Memory of a line in a batch beside body and attributes: 46 bytes in columns that double, and its attributes' set.
const LINE_BYTES: usize = 128;

/// What the record adds to what its scope and resource share: its own attributes' texts, and a pointer to each shared one
/// when there are own ones. Without own ones it is the shared set itself.
fn push_record(
    context: &PushContext,
    made: &mut Made<'_>,
    shared: &Shared,
    record: OtlpRecord,
    timestamp: UnixNanos,
) -> Result<(), PushError> {
    let own = !(record.attributes.is_empty() && record.severity_text.is_empty() && record.event_name.is_empty());
    let pointers = if own { shared.set.len() * size_of::<(&str, &str)>() } else { 0 };
    let texts = record.severity_text.len() + record.event_name.len() + body_bytes(&record);
    made.admission.charge(LINE_BYTES + pointers + texts + value::memory(&record.attributes))?;
    made.admission.spread(if own { shared.text_bytes } else { 0 })?;
    let mut attributes = shared.set.merged(&normalised(record.attributes));
    if !record.severity_text.is_empty() {
        attributes = attributes.with("severity_text", &record.severity_text);
    }
    if !record.event_name.is_empty() {
        attributes = attributes.with("event_name", &record.event_name);
    }
    let body = value::body(record.body);
    let severity = match u8::try_from(record.severity_number) {
        Ok(number @ 1..=24) => number,
        _ => severity_of_name(record.severity_text.as_bytes())
            .or_else(|| severity::of_labels(&attributes))
            .unwrap_or_else(|| severity::of_line(&body)),
    };
    let trace_id = TraceId(record.trace_id.try_into().unwrap_or_default());
    let (trace_id, span_id) = if trace_id.is_none() {
        enrich::context_of(&attributes, &body)
    } else {
        (trace_id, SpanId(record.span_id.try_into().unwrap_or_default()))
    };
    let record =
        LogRecord { timestamp, sequence: 0, body: &body, severity, flags: 0, trace_id, span_id, attributes: &attributes };
    push_line(&mut made.batch, record, context.config.line_max.to_usize());
    Ok(())
}

fn body_bytes(record: &OtlpRecord) -> usize {
    record.body.as_ref().map_or(0, |body| 2 * body.encoded_len())
}
