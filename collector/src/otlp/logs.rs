//! OTLP logs as [`LogBatch`]es: one stream a resource, read from the bytes of the request without decoding it into structures
//! first. Pure.
//!
//! Labels of the stream: the resource attributes that say who speaks (`service.*`, `k8s.*`, `container.*`, `host.name`,
//! `deployment.environment*`, `cloud.*`), names normalised. All other attributes of resource, scope and record are
//! structured metadata of the line.

use weir_model::id::{SpanId, TraceId};
use weir_model::label::{Labels, normalise_label_name};
use weir_model::log::{LogBatch, severity_of_name};
use weir_model::time::UnixNanos;
use weir_model::wire::{Kind, Section};

use super::attributes::{RawList, body};
use super::message;
use super::outcome::{Outcome, Refusal, Rejected, SECTION_BYTES, check_records};
use crate::admission::Admission;
use crate::bounds::TimeBounds;
use crate::lines::{Line, Lines};
use crate::metadata::Metadata;
use crate::proto::Fields;
use crate::push::{Digest, PushContext};
use crate::push_error::PushError;

/// Prefixes of resource attributes that become labels.
const LABEL_PREFIXES: [&str; 4] = ["service.", "k8s.", "cloud.", "deployment.environment"];
/// Resource attributes that become labels.
const LABEL_NAMES: [&str; 4] = ["container.id", "container.name", "container.image.name", "host.name"];

/// Sections of a request, an `ExportLogsServiceRequest` in protobuf.
pub(super) fn outcome(context: &PushContext, admission: &Admission, request: &[u8]) -> Result<Outcome<LogBatch>, PushError> {
    check_records(context, message::count(request)?)?;
    let mut outcome = Outcome::default();
    for (at, resource) in (0..).zip(message::resources(request)) {
        outcome.sections.extend(section(context, admission, (at, resource?), &mut outcome.rejected)?);
    }
    Ok(outcome)
}

/// A resource's section in the making.
struct Making<'a> {
    context: &'a PushContext,
    admission: &'a Admission,
    bounds: TimeBounds,
    lines: Lines<'a>,
    /// Of what was sent, and of which of it was refused for its time: the same request at another time may come to more.
    digest: Digest,
    rejected: &'a mut Rejected,
    /// Records read, refused ones included.
    seen: i64,
    /// Whether a record has no time at all.
    timeless: bool,
}

fn section(
    context: &PushContext,
    admission: &Admission,
    (at, resource): (i64, &[u8]),
    rejected: &mut Rejected,
) -> Result<Option<Section<LogBatch>>, PushError> {
    let mut digest = Digest::new(&context.tenant, "otlp/logs");
    digest.number(at);
    digest.field(resource);
    let (records, record_bytes) = message::count_of_resource(resource)?;
    let who = message::who(resource)?;
    let attributes = RawList::of_resource(&who, context.config.labels_max, admission)?;
    if let Err(reason) = attributes.fits(context.config.labels_max) {
        rejected.add(records, || format!("resource: {reason}"));
        return Ok(None);
    }
    admission.charge(SECTION_BYTES + attributes.memory_of_labels())?;
    let mut stream = attributes.labels(is_label);
    if stream.is_empty() {
        // Every stream has a label; OpenTelemetry's word for a missing name.
        stream = Labels::from_pairs([("service_name", "unknown_service")]);
    }
    let admitted = if records == 0 { Ok(()) } else { context.quota.stream(&stream) };
    if let Err(excess) = admitted {
        rejected.add_excess(records, excess);
        return Ok(None);
    }
    let source = format!("otlp/{:016x}", stream.stable_hash());
    let metadata = attributes.labels(|name| !is_label(name));
    let lines = Lines::begin(context, admission, stream, records, record_bytes)?;
    let bounds = context.bounds(Kind::Logs);
    let mut making = Making { context, admission, bounds, lines, digest, rejected, seen: 0, timeless: false };
    for scope in message::scopes(resource) {
        making.push_scope(&metadata, scope?)?;
    }
    let Making { lines, mut digest, timeless, .. } = making;
    // A client that sends no time at all sends the same bytes for two lines that are two events: then the time of arrival is
    // part of the digest, and a second attempt is kept twice rather than an event lost.
    if timeless {
        digest.number((context.clock)());
    }
    Ok(lines.finish().map(|batch| context.section(source, digest.finish(), batch)))
}

fn is_label(name: &str) -> bool {
    LABEL_NAMES.contains(&name) || LABEL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

impl Making<'_> {
    fn push_scope(&mut self, resource: &Labels, scope: &[u8]) -> Result<(), PushError> {
        let labels_max = self.context.config.labels_max;
        let shared = match self.shared(resource, &message::who(scope)?)? {
            Ok(shared) => shared,
            Err(reason) => {
                self.rejected.add(message::records(scope).count(), || reason);
                return Ok(());
            }
        };
        let text_bytes = shared.iter().map(|(name, value)| name.len() + value.len()).sum();
        // A copy for the scope, whether it has records or not.
        self.admission.spread(text_bytes)?;
        let (mut record, mut metadata) = (RawRecord::default(), Metadata::default());
        // Once there is a record that is kept.
        let mut numbered = None;
        for message in message::records(scope) {
            record.read(message?, labels_max, self.admission)?;
            self.seen += 1;
            self.timeless |= record.time().is_none();
            let timestamp = record.time().unwrap_or_else(|| (self.context.clock)());
            let fits = record.attributes.fits(labels_max).map_err(Refusal::from);
            if let Err(refusal) = fits.and_then(|()| Ok(self.bounds.check(timestamp)?)) {
                if matches!(refusal, Refusal::Time(_)) {
                    self.digest.number(self.seen);
                }
                self.rejected.refuse(&refusal, || "log record".to_owned());
                continue;
            }
            let body = body(record.body, &mut |bytes| self.admission.charge(bytes))?;
            let line = Line { timestamp, body: &body, severity: record.severity(), context: record.context() };
            metadata.clear();
            let has_metadata = record.add_metadata(&mut metadata);
            if let Err(excess) = self.context.quota.line(self.lines.stream(), body.len(), text_bytes + metadata.bytes()) {
                self.rejected.refuse(&excess.into(), || "log record".to_owned());
                continue;
            }
            if has_metadata {
                // What is shared is written out for each of them by whoever stores them.
                self.admission.spread(text_bytes)?;
            }
            let numbered = match &numbered {
                Some(numbered) => numbered,
                None => numbered.insert(self.lines.share(&shared)?),
            };
            self.lines.push_sharing(&line, numbered, &mut metadata)?;
        }
        Ok(())
    }

    /// Metadata of a scope's records. The inner error rejects them.
    fn shared(&self, resource: &Labels, message: &[u8]) -> Result<Result<Labels, String>, PushError> {
        let (mut list, mut name, mut version) = (RawList::default(), "", "");
        for field in Fields::new(message, "a scope") {
            match field? {
                (1, field) => name = field.text()?,
                (2, field) => version = field.text()?,
                (3, field) => list.push(field, self.context.config.labels_max, self.admission)?,
                _ => {}
            }
        }
        if let Err(reason) = list.fits(self.context.config.labels_max) {
            return Ok(Err(format!("scope: {reason}")));
        }
        self.admission.charge(list.memory_of_labels() + name.len() + version.len())?;
        let named = Labels::from_pairs([("scope_name", name), ("scope_version", version)]);
        Ok(Ok(resource.merged(&list.labels(|_| true)).merged(&named)))
    }
}

/// A record as it came; used for one after another.
#[derive(Default)]
struct RawRecord<'a> {
    time: u64,
    observed_time: u64,
    severity_number: u64,
    severity_text: &'a str,
    body: &'a [u8],
    attributes: RawList<'a>,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a str,
}

impl<'a> RawRecord<'a> {
    /// Reads a `LogRecord`. Attributes beyond `labels_max` are only counted.
    fn read(&mut self, message: &'a [u8], labels_max: usize, admission: &Admission) -> Result<(), PushError> {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.clear();
        *self = Self { attributes, ..Self::default() };
        for field in Fields::new(message, "a log record") {
            match field? {
                (1, field) => self.time = field.fixed64()?,
                (2, field) => self.severity_number = field.varint()?,
                (3, field) => self.severity_text = field.text()?,
                (5, field) => self.body = field.bytes()?,
                (6, field) => self.attributes.push(field, labels_max, admission)?,
                (9, field) => self.trace_id = field.bytes()?,
                (10, field) => self.span_id = field.bytes()?,
                (11, field) => self.observed_time = field.fixed64()?,
                (12, field) => self.event_name = field.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// When it happened, else when it was seen.
    fn time(&self) -> Option<UnixNanos> {
        let said = [self.time, self.observed_time].into_iter().find(|time| *time != 0);
        said.map(|time| i64::try_from(time).unwrap_or(i64::MAX))
    }

    /// Adds what its scope and resource do not share; whether there is any.
    fn add_metadata(&self, metadata: &mut Metadata<'a>) -> bool {
        let named = [("severity_text", self.severity_text), ("event_name", self.event_name)];
        let named = named.map(|(name, value)| (name.into(), value.into()));
        let own = self.attributes.iter().map(|(name, value)| (normalise_label_name(name), value.text()));
        // An empty one does not take the place of one that is shared.
        own.chain(named).filter(|(_, value)| !value.is_empty()).for_each(|(name, value)| metadata.push(name, value));
        metadata.len() > 0
    }

    fn severity(&self) -> Option<u8> {
        match u8::try_from(self.severity_number) {
            Ok(number @ 1..=24) => Some(number),
            _ => severity_of_name(self.severity_text.as_bytes()),
        }
    }

    fn context(&self) -> Option<(TraceId, SpanId)> {
        let trace_id = self.trace_id.try_into().map(TraceId).ok().filter(|id| !id.is_none())?;
        Some((trace_id, SpanId(self.span_id.try_into().unwrap_or_default())))
    }
}
