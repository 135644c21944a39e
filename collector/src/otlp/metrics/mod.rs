//! OTLP metrics as [`MetricBatch`]es, by the rules of Prometheus' OTLP translation. Pure.
//!
//! A batch is one timestamp of one resource: `job`, `instance` and promoted resource attributes are the target's labels, the other resource
//! attributes go to `target_info`. Gauges and sums are series, exponential histograms native histograms, histograms with explicit bounds
//! `_bucket`, `_sum`, `_count` or native histograms with custom buckets, summaries their quantiles. Deltas are rejected, summed or kept.
//!
//! - [`raw`]: metrics and points read where they lie in the body; [`name`]: metric and unit names.
//! - [`rows`]: series by their time. [`points`]: what a point becomes; [`exponential`]: exponential histograms; [`exemplar`]: exemplars.
//! - [`delta`]: sums of deltas.

use std::collections::BTreeMap;

use weir_model::label::Labels;
use weir_model::metric::{Family, MetricBatch, MetricKind, Schema};
use weir_model::wire::Kind;

use self::raw::{RawMetric, RawPoint, Type};
use self::rows::Rows;
use super::attributes::{ATTRIBUTE_BYTES_MAX, RawList};
use super::config::{DeltaTemporality, OtlpConfig};
use super::outcome::{Outcome, Refusal, Rejected, SECTION_BYTES, check_records};
use super::{SOURCE, message};
use crate::admission::Admission;
use crate::proto::ProtoError;
use crate::push::{Digest, PushContext};
use crate::push_error::PushError;

pub(crate) mod delta;
mod exemplar;
mod exponential;
mod name;
mod points;
mod raw;
mod rows;

/// Memory of a metric's metadata beside its texts: a place in a map, and its copy in the schema.
const FAMILY_BYTES: usize = 400;

/// Sections of a request, an `ExportMetricsServiceRequest` in protobuf.
pub(super) fn outcome(context: &PushContext, admission: &Admission, request: &[u8]) -> Result<Outcome<MetricBatch>, PushError> {
    let mut count = 0;
    for resource in message::resources(request) {
        count += count_of_resource(resource?)?;
    }
    check_records(context, count)?;
    let mut outcome = Outcome::default();
    for (at, resource) in (0..).zip(message::resources(request)) {
        convert_resource(context, admission, (at, resource?), &mut outcome)?;
    }
    Ok(outcome)
}

/// Series that a resource's metrics make.
fn count_of_resource(resource: &[u8]) -> Result<usize, ProtoError> {
    let mut count = 0;
    each_metric(resource, |metric| {
        count += metric.count()?;
        Ok::<_, ProtoError>(())
    })?;
    Ok(count)
}

fn each_metric<'a, E: From<ProtoError>>(
    resource: &'a [u8],
    mut each: impl FnMut(RawMetric<'a>) -> Result<(), E>,
) -> Result<(), E> {
    for scope in message::scopes(resource) {
        for metric in message::records(scope?) {
            each(RawMetric::read(metric?)?)?;
        }
    }
    Ok(())
}

fn convert_resource(
    context: &PushContext,
    admission: &Admission,
    (at, resource): (i64, &[u8]),
    outcome: &mut Outcome<MetricBatch>,
) -> Result<(), PushError> {
    let mut whole = Digest::new(&context.tenant, "otlp/metrics");
    whole.number(at);
    whole.field(resource);
    let (labels_max, bounds) = (context.config.labels_max, context.bounds(Kind::Metrics));
    let who = message::who(resource)?;
    let attributes = RawList::of_resource(&who, labels_max, admission)?;
    if let Err(reason) = attributes.fits(labels_max) {
        outcome.rejected.add(count_of_resource(resource)?, || format!("resource: {reason}"));
        return Ok(());
    }
    admission.charge(attributes.memory_of_labels())?;
    let config = &context.otlp.config;
    let (target, info) = target(config, &attributes);
    let quota = &context.quota;
    if let Err(excess) = quota.target(&target) {
        outcome.rejected.add_excess(count_of_resource(resource)?, excess);
        return Ok(());
    }
    let (by_time, families, point) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut rows = Rows {
        rows: by_time,
        families,
        labels_max,
        point,
        start: 0,
        bounds,
        context,
        target,
        whole,
        read: 0,
        admission,
        over: None,
    };
    let mut point = RawPoint::default();
    each_metric(resource, |metric| convert_metric(&mut rows, &metric, &mut point, &mut outcome.rejected))?;
    let of_info = if info.is_empty() { Ok(()) } else { rows.push_info(&info) };
    if let Some(error) = rows.over {
        return Err(error);
    }
    if let Err(Refusal::Excess(excess)) = of_info {
        rows.whole.number(0);
        context.dropped(SOURCE, excess.reason, 1);
        outcome.rejected.warn(|| format!("target_info: {}", excess.text));
    }
    put_sections(rows, outcome)
}

/// A section of each time of a resource.
fn put_sections(rows: Rows<'_>, outcome: &mut Outcome<MetricBatch>) -> Result<(), PushError> {
    let whole = rows.whole.finish();
    let families: Vec<Family> = rows.families.into_values().collect();
    for (i, (time, row)) in rows.rows.into_iter().enumerate() {
        rows.admission.charge(SECTION_BYTES)?;
        // Metadata once a resource is enough.
        let families = if i == 0 { families.clone() } else { Vec::new() };
        let (series, row) = row.finish(time);
        let batch = MetricBatch { target: rows.target.clone(), schema: Schema::shared(series, families), rows: vec![row] };
        let source = format!("otlp/{}/{}", rows.target.get("job"), rows.target.get("instance"));
        let digest = weir_model::signal::derive_digest(&whole, i as u32);
        outcome.sections.push(rows.context.section(source, digest, batch));
    }
    Ok(())
}

/// `job`, `instance` and what is promoted, and what is left for `target_info`.
fn target(config: &OtlpConfig, attributes: &RawList<'_>) -> (Labels, Labels) {
    let text = |wanted: &str| {
        let found = attributes.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.text()).unwrap_or_default()
    };
    let (namespace, service) = (text("service.namespace"), text("service.name"));
    let job = match (namespace.is_empty(), service.is_empty()) {
        (_, true) => "unknown_service".into(),
        (true, false) => service,
        (false, false) => format!("{namespace}/{service}").into(),
    };
    let identifies = |name: &str| matches!(name, "service.namespace" | "service.name" | "service.instance.id");
    let escaped = config.translation_strategy.is_escaped();
    let rest = attributes.labels_named(escaped, |name| config.keep_identifying_resource_attributes || !identifies(name));
    let is_promoted = |name: &str| config.promote_resource_attributes.iter().any(|promoted| promoted == name);
    let promoted = attributes.labels_named(escaped, is_promoted);
    let target = Labels::from_pairs([("job", job), ("instance", text("service.instance.id"))]);
    (promoted.merged(&target), rest)
}

fn convert_metric<'a>(
    rows: &mut Rows<'_>,
    metric: &RawMetric<'a>,
    point: &mut RawPoint<'a>,
    rejected: &mut Rejected,
) -> Result<(), PushError> {
    let Some(of_type) = metric.of_type else { return Ok(()) };
    let config = &rows.context.otlp.config;
    let refused = match of_type {
        _ if metric.name.is_empty() || metric.name.len() > ATTRIBUTE_BYTES_MAX => {
            Some("a metric without a name, or with one beyond reason".to_owned())
        }
        _ if metric.is_delta && config.delta == DeltaTemporality::Reject => {
            Some(format!("metric {:?} has delta temporality; send cumulative values, or see collector.otlp.delta", metric.name))
        }
        _ => None,
    };
    if let Some(reason) = refused {
        rejected.add(metric.count()?, || reason);
        return Ok(());
    }
    let is_monotonic = of_type == Type::Sum && metric.is_monotonic;
    let kind = match of_type {
        _ if metric.is_delta && config.delta == DeltaTemporality::Native => MetricKind::Unknown,
        Type::Gauge => MetricKind::Gauge,
        Type::Sum if is_monotonic => MetricKind::Counter,
        Type::Sum => MetricKind::Gauge,
        Type::Histogram | Type::ExponentialHistogram => MetricKind::Histogram,
        Type::Summary => MetricKind::Summary,
    };
    let name = name::of(config.translation_strategy, metric.name, metric.unit, of_type == Type::Gauge, is_monotonic);
    rows.admission.charge(FAMILY_BYTES + 2 * name.len() + metric.description.len())?;
    let (help, unit) = (metric.description.to_owned(), name::unit_word(metric.unit));
    rows.families.insert(name.clone(), Family { name: name.clone(), kind, help, unit });
    for message in metric.points() {
        point.read(of_type, message?, rows.labels_max, rows.admission)?;
        rows.read += 1;
        rows.point.clear();
        let converted = points::convert(rows, &name, metric, of_type, point);
        if let Err(refusal) = converted {
            if refusal.may_pass() {
                rows.whole.number(rows.read);
            }
            rejected.refuse(&refusal, || format!("metric {:?}", metric.name));
        }
    }
    Ok(())
}
