//! OTLP metrics as [`MetricBatch`]es, by the rules of Prometheus' OTLP translation. Pure.
//!
//! A batch is one timestamp of one resource: `job` and `instance` are the target's labels, the other resource attributes
//! go to `target_info`. Gauges and cumulative sums are series, histograms become `_bucket`, `_sum`, `_count`, summaries
//! their quantiles. Rejected with a reason: delta temporality and exponential histograms.
//!
//! - [`name`]: metric and unit names.

use std::collections::{BTreeMap, HashSet};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, SummaryDataPoint,
};
use prost::Message;
use weir_model::label::{Labels, NAME, normalise_label_name};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, STALE_NAN, Schema};
use weir_model::time::UnixNanos;
use weir_model::wire::Kind;

use super::{Outcome, Refusal, Rejected, check_records, value};
use crate::admission::Admission;
use crate::body::PushError;
use crate::bounds::TimeBounds;
use crate::push::{Digest, PushContext};

mod name;

/// OTLP's flag for "the series has gone".
const NO_RECORDED_VALUE: u32 = 1;
/// Memory of a series in a row beside its labels: its places in three columns that double.
const SERIES_BYTES: usize = 200;
/// Prometheus' timestamps are milliseconds.
const MILLISECOND: i64 = 1_000_000;

/// Sections of a request.
pub(super) fn outcome(
    context: &PushContext,
    admission: &Admission,
    request: ExportMetricsServiceRequest,
) -> Result<Outcome<MetricBatch>, PushError> {
    let metrics = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
    check_records(context, metrics.map(points).sum())?;
    let mut outcome = Outcome::default();
    for (at, resource) in request.resource_metrics.into_iter().enumerate() {
        convert_resource(context, admission, (at as i64, resource), &mut outcome)?;
    }
    Ok(outcome)
}

/// Series that a metric makes: what the limit counts.
fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.iter().map(|point| point.bucket_counts.len() + 3).sum(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.iter().map(|point| point.quantile_values.len() + 2).sum(),
        None => 0,
    }
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
    bounds: TimeBounds,
    admission: &'a Admission,
    /// The whole request takes too much.
    over: Option<PushError>,
}

impl Rows<'_> {
    /// `false` when the series is there already at that time.
    fn push(&mut self, time: UnixNanos, labels: Labels, value: f64) -> bool {
        if self.charge(SERIES_BYTES + labels.memory()).is_err() {
            return true;
        }
        let row = self.rows.entry(time).or_default();
        if !row.seen.insert(labels.clone()) {
            return false;
        }
        row.series.push(labels);
        row.values.push(value);
        true
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
    (at, resource): (i64, ResourceMetrics),
    outcome: &mut Outcome<MetricBatch>,
) -> Result<(), PushError> {
    let mut whole = Digest::new(&context.tenant, "otlp/metrics");
    whole.number(at);
    whole.field(&resource.encode_to_vec());
    let whole = whole.finish();
    let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
    let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
    if let Err(reason) = value::fits(&attributes, context.config.labels_max) {
        outcome.rejected.add(metrics.map(|metric| points(&metric)).sum(), || format!("resource: {reason}"));
        return Ok(());
    }
    let (labels_max, bounds) = (context.config.labels_max, context.bounds(Kind::Metrics));
    let mut rows = Rows { rows: BTreeMap::new(), families: BTreeMap::new(), labels_max, bounds, admission, over: None };
    metrics.for_each(|metric| convert_metric(&mut rows, metric, &mut outcome.rejected));
    admission.charge(value::memory(&attributes))?;
    let (target, info) = target(&attributes);
    if let (Some(newest), false) = (rows.rows.keys().next_back().copied(), info.is_empty()) {
        rows.push(newest, info.with(NAME, "target_info"), 1.0);
    }
    if let Some(error) = rows.over {
        return Err(error);
    }
    let families: Vec<Family> = rows.families.into_values().collect();
    for (i, (time, row)) in rows.rows.into_iter().enumerate() {
        // Metadata once a resource is enough.
        let families = if i == 0 { families.clone() } else { Vec::new() };
        let schema = Schema::shared(row.series, families);
        let batch = MetricBatch { target: target.clone(), schema, rows: vec![MetricRow { timestamp: time, values: row.values }] };
        let source = format!("otlp/{}/{}", target.get("job"), target.get("instance"));
        let digest = weir_model::signal::derive_digest(&whole, i as u32);
        outcome.sections.push(context.section(source, digest, batch));
    }
    Ok(())
}

/// `job` and `instance`, and what is left for `target_info`.
fn target(attributes: &[KeyValue]) -> (Labels, Labels) {
    let text = |name: &str| {
        let found = attributes.iter().find(|pair| pair.key == name);
        found.map(|pair| value::text(pair.value.clone())).unwrap_or_default()
    };
    let (namespace, service) = (text("service.namespace"), text("service.name"));
    let job = match (namespace.is_empty(), service.is_empty()) {
        (_, true) => "unknown_service".to_owned(),
        (true, false) => service,
        (false, false) => format!("{namespace}/{service}"),
    };
    let rest =
        attributes.iter().filter(|pair| !matches!(&*pair.key, "service.namespace" | "service.name" | "service.instance.id"));
    (Labels::from_pairs([("job", job), ("instance", text("service.instance.id"))]), labels(rest))
}

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> Labels {
    Labels::from_pairs(attributes.map(|pair| (normalise_label_name(&pair.key).into_owned(), value::text(pair.value.clone()))))
}

fn convert_metric(rows: &mut Rows<'_>, metric: Metric, rejected: &mut Rejected) {
    let count = points(&metric);
    if metric.name.is_empty() || metric.name.len() > value::ATTRIBUTE_BYTES_MAX {
        return rejected.add(count, || "a metric without a name, or with one beyond reason".to_owned());
    }
    let Some(data) = metric.data else { return };
    let (kind, monotonic, delta) = match &data {
        Data::Gauge(_) => (MetricKind::Gauge, false, false),
        Data::Sum(sum) if sum.is_monotonic => (MetricKind::Counter, true, is_delta(sum.aggregation_temporality)),
        Data::Sum(sum) => (MetricKind::Gauge, false, is_delta(sum.aggregation_temporality)),
        Data::Histogram(data) => (MetricKind::Histogram, false, is_delta(data.aggregation_temporality)),
        Data::Summary(_) => (MetricKind::Summary, false, false),
        Data::ExponentialHistogram(_) => {
            return rejected.add(count, || format!("metric {:?}: exponential histograms are not taken yet", metric.name));
        }
    };
    if delta {
        return rejected.add(count, || format!("metric {:?} has delta temporality; send cumulative values", metric.name));
    }
    let name = name::translate(&metric.name, &metric.unit, matches!(data, Data::Gauge(_)), monotonic);
    let family = Family { name: name.clone(), kind, help: metric.description, unit: name::unit_word(&metric.unit) };
    rows.families.insert(name.clone(), family);
    let mut note = |outcome: Result<(), Refusal>| {
        if let Err(refusal) = outcome {
            rejected.refuse(&refusal, || format!("metric {:?}", metric.name));
        }
    };
    match data {
        Data::Gauge(data) => data.data_points.into_iter().for_each(|point| note(number(rows, &name, &point))),
        Data::Sum(data) => data.data_points.into_iter().for_each(|point| note(number(rows, &name, &point))),
        Data::Histogram(data) => data.data_points.into_iter().for_each(|point| note(histogram(rows, &name, &point))),
        Data::Summary(data) => data.data_points.into_iter().for_each(|point| note(summary(rows, &name, &point))),
        Data::ExponentialHistogram(_) => {}
    }
}

fn is_delta(temporality: i32) -> bool {
    temporality == AggregationTemporality::Delta as i32
}

/// Labels and time of a point.
fn point(rows: &mut Rows<'_>, name: &str, attributes: &[KeyValue], time: u64) -> Result<(Labels, UnixNanos), Refusal> {
    value::fits(attributes, rows.labels_max)?;
    if time == 0 {
        return Err("a point without a time".to_owned().into());
    }
    let time = i64::try_from(time).map_err(|_| format!("time {time} is beyond the year 2262"))?;
    rows.bounds.check(time)?;
    rows.charge(value::memory(attributes))?;
    Ok((labels(attributes.iter()).with(NAME, name), time / MILLISECOND * MILLISECOND))
}

fn number(rows: &mut Rows<'_>, name: &str, data: &NumberDataPoint) -> Result<(), Refusal> {
    let (labels, time) = point(rows, name, &data.attributes, data.time_unix_nano)?;
    let value = match data.value {
        _ if data.flags & NO_RECORDED_VALUE != 0 => STALE_NAN,
        Some(Number::AsDouble(value)) => value,
        Some(Number::AsInt(value)) => value as f64,
        None => return Err("a point without a value".to_owned().into()),
    };
    push_once(rows, time, labels, value)
}

fn push_once(rows: &mut Rows<'_>, time: UnixNanos, labels: Labels, value: f64) -> Result<(), Refusal> {
    let shown = labels.clone();
    if rows.push(time, labels, value) { Ok(()) } else { Err(format!("two values of {shown} at one time").into()) }
}

fn histogram(rows: &mut Rows<'_>, name: &str, data: &HistogramDataPoint) -> Result<(), Refusal> {
    let (labels, time) = point(rows, name, &data.attributes, data.time_unix_nano)?;
    let buckets = data.bucket_counts.len();
    if buckets != 0 && buckets != data.explicit_bounds.len() + 1 {
        return Err(format!("{buckets} buckets with {} bounds", data.explicit_bounds.len()).into());
    }
    let gone = data.flags & NO_RECORDED_VALUE != 0;
    let value = |number: f64| if gone { STALE_NAN } else { number };
    let mut sum = 0_u64;
    let infinite = labels.with(NAME, &format!("{name}_bucket")).with("le", "+Inf");
    // The last bucket is `+Inf`, whose value is the count whether or not there are buckets.
    for (bound, count) in data.explicit_bounds.iter().zip(&data.bucket_counts) {
        sum = sum.saturating_add(*count);
        push_once(rows, time, infinite.with("le", &number_text(*bound)), value(sum as f64))?;
    }
    push_once(rows, time, infinite, value(data.count as f64))?;
    push_once(rows, time, labels.with(NAME, &format!("{name}_count")), value(data.count as f64))?;
    match data.sum {
        Some(sum) => push_once(rows, time, labels.with(NAME, &format!("{name}_sum")), value(sum)),
        None => Ok(()),
    }
}

fn summary(rows: &mut Rows<'_>, name: &str, data: &SummaryDataPoint) -> Result<(), Refusal> {
    let (labels, time) = point(rows, name, &data.attributes, data.time_unix_nano)?;
    let gone = data.flags & NO_RECORDED_VALUE != 0;
    let value = |number: f64| if gone { STALE_NAN } else { number };
    for quantile in &data.quantile_values {
        push_once(rows, time, labels.with("quantile", &number_text(quantile.quantile)), value(quantile.value))?;
    }
    push_once(rows, time, labels.with(NAME, &format!("{name}_count")), value(data.count as f64))?;
    push_once(rows, time, labels.with(NAME, &format!("{name}_sum")), value(data.sum))
}

/// As Prometheus writes numbers in labels.
fn number_text(number: f64) -> String {
    if number == f64::INFINITY { "+Inf".to_owned() } else { number.to_string() }
}
