//! OTLP metrics as [`MetricBatch`]es, by the rules of Prometheus' OTLP translation. Pure.
//!
//! A batch is one timestamp of one resource: `job` and `instance` are the target's labels, the other resource attributes
//! go to `target_info`. Gauges and cumulative sums are series, histograms become `_bucket`, `_sum`, `_count`, summaries
//! their quantiles. Rejected with a reason: delta temporality and exponential histograms.
//!
//! - [`raw`]: metrics and points read where they lie in the body; [`name`]: metric and unit names.

use std::collections::{BTreeMap, HashSet};

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, STALE_NAN, Schema};
use weir_model::time::UnixNanos;
use weir_model::wire::Kind;

use self::raw::{RawMetric, RawPoint, Type};
use super::attributes::{ATTRIBUTE_BYTES_MAX, RawList};
use super::outcome::{Outcome, Refusal, Rejected, SECTION_BYTES, check_records};
use super::{SOURCE, message};
use crate::admission::Admission;
use crate::bounds::TimeBounds;
use crate::proto::ProtoError;
use crate::push::{Digest, PushContext};
use crate::push_error::PushError;
use crate::quota::Quota;

mod name;
mod raw;

/// OTLP's flag for "the series has gone".
const NO_RECORDED_VALUE: u64 = 1;
/// Memory of a series in a row beside its labels: its places in three columns that double.
const SERIES_BYTES: usize = 200;
/// Memory of a metric's metadata beside its texts: a place in a map, and its copy in the schema.
const FAMILY_BYTES: usize = 400;
/// Prometheus' timestamps are milliseconds.
const MILLISECOND: i64 = 1_000_000;

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

/// One timestamp in the making.
#[derive(Default)]
struct Row {
    series: Vec<Labels>,
    values: Vec<f64>,
    seen: HashSet<Labels>,
}

struct Rows<'a> {
    rows: BTreeMap<UnixNanos, Row>,
    families: BTreeMap<String, Family>,
    labels_max: usize,
    /// Series of the point that is read.
    point: Vec<(Labels, f64)>,
    bounds: TimeBounds,
    quota: &'a Quota,
    target: Labels,
    /// Of the resource, and of which of its points were refused though they may be taken another time.
    whole: Digest,
    /// Points read, refused ones included.
    read: i64,
    admission: &'a Admission,
    /// The whole request takes too much.
    over: Option<PushError>,
}

impl Rows<'_> {
    /// One more series of the point that is read.
    fn gather(&mut self, labels: Labels, value: f64) -> Result<(), Refusal> {
        self.charge(SERIES_BYTES + labels.memory())?;
        self.point.push((labels, value));
        Ok(())
    }

    /// Takes the series that were gathered; none where that would be more than the tenant may have.
    fn push(&mut self, time: UnixNanos) -> Result<(), Refusal> {
        self.quota.series(&self.target, self.point.iter().map(|(labels, _)| labels))?;
        let row = self.rows.entry(time).or_default();
        for (labels, value) in self.point.drain(..) {
            if !row.seen.insert(labels.clone()) {
                return Err(format!("two values of {labels} at one time").into());
            }
            row.series.push(labels);
            row.values.push(value);
        }
        Ok(())
    }

    /// What weir itself says of the target.
    fn push_info(&mut self, info: &Labels) -> Result<(), Refusal> {
        let Some(newest) = self.rows.keys().next_back().copied() else { return Ok(()) };
        self.point.clear();
        self.gather(info.with(NAME, "target_info"), 1.0)?;
        self.push(newest)
    }

    /// After the first error nothing more is taken.
    fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.note(|admission| admission.charge(bytes))
    }

    fn note(&mut self, charge: impl FnOnce(&Admission) -> Result<(), PushError>) -> Result<(), Refusal> {
        if self.over.is_none() {
            self.over = charge(self.admission).err();
        }
        if self.over.is_some() { Err(Refusal::Request) } else { Ok(()) }
    }
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
    let (target, info) = target(&attributes);
    let quota = &context.quota;
    if let Err(excess) = quota.target(&target) {
        outcome.rejected.add_excess(count_of_resource(resource)?, excess);
        return Ok(());
    }
    let (by_time, families, point) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut rows =
        Rows { rows: by_time, families, labels_max, point, bounds, quota, target, whole, read: 0, admission, over: None };
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
    let whole = rows.whole.finish();
    let families: Vec<Family> = rows.families.into_values().collect();
    for (i, (time, row)) in rows.rows.into_iter().enumerate() {
        admission.charge(SECTION_BYTES)?;
        // Metadata once a resource is enough.
        let families = if i == 0 { families.clone() } else { Vec::new() };
        let schema = Schema::shared(row.series, families);
        let batch = MetricBatch { target: rows.target.clone(), schema, rows: vec![MetricRow::new(time, row.values)] };
        let source = format!("otlp/{}/{}", rows.target.get("job"), rows.target.get("instance"));
        let digest = weir_model::signal::derive_digest(&whole, i as u32);
        outcome.sections.push(context.section(source, digest, batch));
    }
    Ok(())
}

/// `job` and `instance`, and what is left for `target_info`.
fn target(attributes: &RawList<'_>) -> (Labels, Labels) {
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
    let rest = attributes.labels(|name| !matches!(name, "service.namespace" | "service.name" | "service.instance.id"));
    (Labels::from_pairs([("job", job), ("instance", text("service.instance.id"))]), rest)
}

fn convert_metric<'a>(
    rows: &mut Rows<'_>,
    metric: &RawMetric<'a>,
    point: &mut RawPoint<'a>,
    rejected: &mut Rejected,
) -> Result<(), PushError> {
    let Some(of_type) = metric.of_type else { return Ok(()) };
    let refused = match of_type {
        _ if metric.name.is_empty() || metric.name.len() > ATTRIBUTE_BYTES_MAX => {
            Some("a metric without a name, or with one beyond reason".to_owned())
        }
        Type::ExponentialHistogram => Some(format!("metric {:?}: exponential histograms are not taken yet", metric.name)),
        _ if metric.is_delta => Some(format!("metric {:?} has delta temporality; send cumulative values", metric.name)),
        _ => None,
    };
    if let Some(reason) = refused {
        rejected.add(metric.count()?, || reason);
        return Ok(());
    }
    let kind = match of_type {
        Type::Gauge => MetricKind::Gauge,
        Type::Sum if metric.is_monotonic => MetricKind::Counter,
        Type::Sum => MetricKind::Gauge,
        Type::Histogram => MetricKind::Histogram,
        Type::Summary | Type::ExponentialHistogram => MetricKind::Summary,
    };
    let name = name::translate(metric.name, metric.unit, of_type == Type::Gauge, kind == MetricKind::Counter);
    rows.admission.charge(FAMILY_BYTES + 2 * name.len() + metric.description.len())?;
    let (help, unit) = (metric.description.to_owned(), name::unit_word(metric.unit));
    rows.families.insert(name.clone(), Family { name: name.clone(), kind, help, unit });
    for message in metric.points() {
        point.read(of_type, message?, rows.labels_max, rows.admission)?;
        rows.read += 1;
        rows.point.clear();
        let converted = match of_type {
            Type::Histogram => histogram(rows, &name, point),
            Type::Summary => summary(rows, &name, point),
            _ => number(rows, &name, point),
        };
        if let Err(refusal) = converted {
            if refusal.may_pass() {
                rows.whole.number(rows.read);
            }
            rejected.refuse(&refusal, || format!("metric {:?}", metric.name));
        }
    }
    Ok(())
}

/// Labels and time of a point.
fn labels_and_time(rows: &mut Rows<'_>, name: &str, point: &RawPoint<'_>) -> Result<(Labels, UnixNanos), Refusal> {
    point.attributes.fits(rows.labels_max)?;
    if point.time == 0 {
        return Err("a point without a time".to_owned().into());
    }
    let time = i64::try_from(point.time).map_err(|_| format!("time {} is beyond the year 2262", point.time))?;
    rows.bounds.check(time)?;
    rows.charge(point.attributes.memory_of_labels())?;
    Ok((point.attributes.labels(|_| true).with(NAME, name), time / MILLISECOND * MILLISECOND))
}

fn number(rows: &mut Rows<'_>, name: &str, point: &RawPoint<'_>) -> Result<(), Refusal> {
    let (labels, time) = labels_and_time(rows, name, point)?;
    let value = match point.value {
        _ if point.flags & NO_RECORDED_VALUE != 0 => STALE_NAN,
        Some(value) => value,
        None => return Err("a point without a value".to_owned().into()),
    };
    rows.gather(labels, value)?;
    rows.push(time)
}

fn histogram(rows: &mut Rows<'_>, name: &str, point: &RawPoint<'_>) -> Result<(), Refusal> {
    let (labels, time) = labels_and_time(rows, name, point)?;
    let buckets = point.buckets.len();
    if buckets != 0 && buckets != point.bounds.len() + 1 {
        return Err(format!("{buckets} buckets with {} bounds", point.bounds.len()).into());
    }
    let gone = point.flags & NO_RECORDED_VALUE != 0;
    let value = |number: f64| if gone { STALE_NAN } else { number };
    let mut sum = 0_u64;
    let infinite = labels.with(NAME, &format!("{name}_bucket")).with("le", "+Inf");
    // The last bucket is `+Inf`, whose value is the count whether or not there are buckets.
    for (bound, count) in point.bounds.iter().zip(&point.buckets) {
        sum = sum.saturating_add(*count);
        rows.gather(infinite.with("le", &number_text(*bound)), value(sum as f64))?;
    }
    rows.gather(infinite, value(point.count as f64))?;
    rows.gather(labels.with(NAME, &format!("{name}_count")), value(point.count as f64))?;
    if let Some(sum) = point.sum {
        rows.gather(labels.with(NAME, &format!("{name}_sum")), value(sum))?;
    }
    rows.push(time)
}

fn summary(rows: &mut Rows<'_>, name: &str, point: &RawPoint<'_>) -> Result<(), Refusal> {
    let (labels, time) = labels_and_time(rows, name, point)?;
    let gone = point.flags & NO_RECORDED_VALUE != 0;
    let value = |number: f64| if gone { STALE_NAN } else { number };
    for (quantile, number) in &point.quantiles {
        rows.gather(labels.with("quantile", &number_text(*quantile)), value(*number))?;
    }
    rows.gather(labels.with(NAME, &format!("{name}_count")), value(point.count as f64))?;
    rows.gather(labels.with(NAME, &format!("{name}_sum")), value(point.sum.unwrap_or(0.0)))?;
    rows.push(time)
}

/// As Prometheus writes numbers in labels.
fn number_text(number: f64) -> String {
    if number == f64::INFINITY { "+Inf".to_owned() } else { number.to_string() }
}
