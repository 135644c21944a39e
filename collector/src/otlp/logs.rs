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
use weir_model::log::{LogBatch, LogRecord};
use weir_model::time::UnixNanos;
use weir_model::wire::{Body, Kind, Section};

use super::{Outcome, Refusal, Rejected, check_records, value};
use crate::body::PushError;
use crate::bounds::TimeBounds;
use crate::enrich;
use crate::push::{Digest, PushContext, push_line};

/// Prefixes of resource attributes that become labels.
const LABEL_PREFIXES: [&str; 4] = ["service.", "k8s.", "cloud.", "deployment.environment"];
/// Resource attributes that become labels.
const LABEL_NAMES: [&str; 4] = ["container.id", "container.name", "container.image.name", "host.name"];

/// Sections of a request.
pub(super) fn outcome(context: &PushContext, request: ExportLogsServiceRequest) -> Result<Outcome, PushError> {
    let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    check_records(context, scopes.map(|scope| scope.log_records.len()).sum())?;
    let mut outcome = Outcome::default();
    for (at, resource) in request.resource_logs.into_iter().enumerate() {
        outcome.sections.extend(section(context, at, resource, &mut outcome.rejected));
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
}

fn section(context: &PushContext, at: usize, resource: ResourceLogs, rejected: &mut Rejected) -> Option<Section> {
    let digest = digest(context, at, &resource);
    let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
    if let Err(reason) = value::fits(&attributes, context.config.labels_max) {
        let records = resource.scope_logs.iter().map(|scope| scope.log_records.len()).sum();
        rejected.add(records, || format!("resource: {reason}"));
        return None;
    }
    let (labels, metadata): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|pair| is_label(&pair.key));
    let mut stream = normalised(labels);
    if stream.is_empty() {
        // Every stream has a label; OpenTelemetry's word for a missing name.
        stream = Labels::from_pairs([("service_name", "unknown_service")]);
    }
    let source = format!("otlp/{:016x}", stream.stable_hash());
    let metadata = normalised(metadata);
    let bounds = context.bounds(Kind::Logs);
    let mut made = Made { batch: LogBatch::new(stream), digest, rejected, seen: 0 };
    for scope in resource.scope_logs {
        push_scope(context, &bounds, &mut made, &metadata, scope);
    }
    let Made { batch, digest, .. } = made;
    (!batch.is_empty()).then(|| context.section(source, digest.finish(), Body::Logs(batch)))
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

fn push_scope(context: &PushContext, bounds: &TimeBounds, made: &mut Made<'_>, resource: &Labels, scope: ScopeLogs) {
    let mut shared = resource.clone();
    if let Some(scope) = scope.scope {
        let named = Labels::from_pairs([("scope_name", &scope.name), ("scope_version", &scope.version)]);
        shared = shared.merged(&normalised(scope.attributes)).merged(&named);
    }
    for record in scope.log_records {
        made.seen += 1;
        let timestamp = timestamp(context, &record);
        let fits = value::fits(&record.attributes, context.config.labels_max).map_err(Refusal::from);
        match fits.and_then(|()| Ok(bounds.check(timestamp)?)) {
            Ok(()) => push_record(context, &mut made.batch, &shared, record, timestamp),
            Err(refusal) => {
                if matches!(refusal, Refusal::Time(_)) {
                    made.digest.number(made.seen);
                }
                made.rejected.refuse(&refusal, || "log record".to_owned());
            }
        }
    }
}

/// When it happened, else when it was seen, else now.
fn timestamp(context: &PushContext, record: &OtlpRecord) -> UnixNanos {
    let times = [record.time_unix_nano, record.observed_time_unix_nano];
    let said = times.into_iter().find(|time| *time != 0).map(|time| i64::try_from(time).unwrap_or(i64::MAX));
    said.unwrap_or_else(|| (context.clock)())
}

fn push_record(context: &PushContext, batch: &mut LogBatch, shared: &Labels, record: OtlpRecord, timestamp: UnixNanos) {
    let mut attributes = shared.merged(&normalised(record.attributes));
    if !record.severity_text.is_empty() {
        attributes = attributes.with("severity_text", &record.severity_text);
    }
    if !record.event_name.is_empty() {
        attributes = attributes.with("event_name", &record.event_name);
    }
    let body = value::body(record.body);
    let severity = match u8::try_from(record.severity_number) {
        Ok(number @ 1..=24) => number,
        _ => enrich::severity_of_name(record.severity_text.as_bytes()).unwrap_or_else(|| enrich::severity(&body)),
    };
    let record = LogRecord {
        timestamp,
        sequence: 0,
        body: &body,
        severity,
        flags: 0,
        trace_id: TraceId(record.trace_id.try_into().unwrap_or_default()),
        span_id: SpanId(record.span_id.try_into().unwrap_or_default()),
        attributes: &attributes,
    };
    push_line(batch, record, context.config.line_bytes_max);
}
