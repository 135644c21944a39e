//! What one point becomes: the series and histograms of its time.

use std::sync::Arc;

use weir_model::histogram::{Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram, ResetHint, Span};
use weir_model::label::{Labels, NAME};
use weir_model::metric::{Exemplar, STALE_NAN};
use weir_model::time::UnixNanos;

use super::delta::{Counted, Key, Times};
use super::exemplar;
use super::exponential::Exponential;
use super::raw::{RawMetric, RawPoint, Type};
use super::rows::Rows;
use crate::otlp::config::DeltaTemporality;
use crate::otlp::outcome::Refusal;

/// OTLP's flag for "the series has gone".
const NO_RECORDED_VALUE: u64 = 1;
/// Prometheus' timestamps are milliseconds.
const MILLISECOND: i64 = 1_000_000;

/// A point's place: labels with the name, and its time.
struct Place {
    labels: Labels,
    /// In whole milliseconds.
    time: UnixNanos,
    exact_time: UnixNanos,
    is_gone: bool,
    /// Of a histogram that is none of its counters' sum.
    reset: ResetHint,
}

pub(super) fn convert(
    rows: &mut Rows<'_>,
    name: &str,
    metric: &RawMetric<'_>,
    of_type: Type,
    point: &RawPoint<'_>,
) -> Result<(), Refusal> {
    let mut place = place(rows, name, point)?;
    let is_delta = metric.is_delta;
    if is_delta && rows.context.otlp.config.delta == DeltaTemporality::Native {
        place.reset = ResetHint::Gauge;
    }
    let counts = matches!(of_type, Type::Histogram | Type::ExponentialHistogram | Type::Summary)
        || (of_type == Type::Sum && (metric.is_monotonic || is_delta));
    let start = i64::try_from(point.start).unwrap_or(0);
    rows.start = if counts && start <= place.time { start } else { 0 };
    let counted = match of_type {
        Type::Summary => return summary(rows, place, point),
        Type::Gauge | Type::Sum if place.is_gone => Counted::Number(STALE_NAN),
        Type::Gauge | Type::Sum => Counted::Number(point.value.ok_or("a point without a value".to_owned())?),
        Type::Histogram => explicit(point)?,
        Type::ExponentialHistogram => Counted::Exponential(Exponential::of(point)?),
    };
    let counted = if is_delta { sum(rows, &place, counted)? } else { counted };
    let exemplars = exemplars(rows, place.time, point)?;
    let time = place.time;
    match counted {
        Counted::Number(value) => {
            rows.gather(place.labels, value)?;
            rows.point[0].exemplars = exemplars;
        }
        Counted::Explicit { bounds, counts, count, sum } if !rows.context.otlp.config.convert_histograms_to_nhcb => {
            classic(rows, &place, name, (&bounds, &counts, count, sum))?;
            for exemplar in exemplars {
                let at = bounds.iter().position(|bound| exemplar.value <= *bound).unwrap_or(bounds.len());
                rows.point[at].exemplars.push(exemplar);
            }
        }
        Counted::Explicit { bounds, counts, count, sum } => {
            let histogram = custom(&place, bounds, &counts, count, sum)?;
            native(rows, place, histogram, exemplars)?;
        }
        Counted::Exponential(of) => {
            let histogram = of.histogram(place.reset)?;
            native(rows, place, histogram, exemplars)?;
        }
    }
    rows.push(time)
}

fn place(rows: &mut Rows<'_>, name: &str, point: &RawPoint<'_>) -> Result<Place, Refusal> {
    point.attributes.fits(rows.labels_max)?;
    if point.time == 0 {
        return Err("a point without a time".to_owned().into());
    }
    let time = i64::try_from(point.time).map_err(|_| format!("time {} is beyond the year 2262", point.time))?;
    rows.bounds.check(time)?;
    rows.charge(point.attributes.memory_of_labels())?;
    let escaped = rows.context.otlp.config.translation_strategy.is_escaped();
    let labels = point.attributes.labels_named(escaped, |_| true).with(NAME, name);
    let is_gone = point.flags & NO_RECORDED_VALUE != 0;
    Ok(Place { labels, time: time / MILLISECOND * MILLISECOND, exact_time: time, is_gone, reset: ResetHint::Unknown })
}

/// A delta as the sum that it makes, where it is to be one.
fn sum(rows: &mut Rows<'_>, place: &Place, delta: Counted) -> Result<Counted, Refusal> {
    let otlp = &rows.context.otlp;
    if otlp.config.delta != DeltaTemporality::Cumulative {
        return Ok(delta);
    }
    let key = Key { tenant: Arc::clone(&rows.context.tenant), target: rows.target.clone(), series: place.labels.clone() };
    if place.is_gone {
        otlp.deltas.forget(&key);
        return Ok(delta);
    }
    let times = Times { start: rows.start, time: place.exact_time, now: (rows.context.clock)() };
    let (start, sum) = otlp.deltas.add(&otlp.config, key, times, delta)?;
    rows.start = start;
    Ok(sum)
}

fn exemplars(rows: &mut Rows<'_>, time: UnixNanos, point: &RawPoint<'_>) -> Result<Vec<Exemplar>, Refusal> {
    let mut read = Vec::new();
    for message in &point.exemplars {
        let labels_max = rows.labels_max;
        rows.note(|admission| {
            read.extend(exemplar::read(message, time, labels_max, admission)?);
            Ok(())
        })?;
    }
    Ok(read)
}

fn explicit(point: &RawPoint<'_>) -> Result<Counted, Refusal> {
    let buckets = point.buckets.len();
    if buckets != 0 && buckets != point.bounds.len() + 1 {
        return Err(format!("{buckets} buckets with {} bounds", point.bounds.len()).into());
    }
    let bounds = if buckets == 0 { Vec::new() } else { point.bounds.clone() };
    Ok(Counted::Explicit { bounds, counts: point.buckets.clone(), count: point.count, sum: point.sum })
}

/// `_bucket`, `_count` and `_sum`.
fn classic(
    rows: &mut Rows<'_>,
    place: &Place,
    name: &str,
    (bounds, counts, count, sum): (&[f64], &[u64], u64, Option<f64>),
) -> Result<(), Refusal> {
    let value = |number: f64| if place.is_gone { STALE_NAN } else { number };
    let mut below = 0_u64;
    let infinite = place.labels.with(NAME, &format!("{name}_bucket")).with("le", "+Inf");
    // The last bucket is `+Inf`, whose value is the count whether or not there are buckets.
    for (bound, count) in bounds.iter().zip(counts) {
        below = below.saturating_add(*count);
        rows.gather(infinite.with("le", &number_text(*bound)), value(below as f64))?;
    }
    rows.gather(infinite, value(count as f64))?;
    rows.gather(place.labels.with(NAME, &format!("{name}_count")), value(count as f64))?;
    if let Some(sum) = sum {
        rows.gather(place.labels.with(NAME, &format!("{name}_sum")), value(sum))?;
    }
    Ok(())
}

/// A native histogram with custom buckets; of one without buckets all is in that of `+Inf`.
fn custom(place: &Place, custom_bounds: Vec<f64>, counts: &[u64], count: u64, sum: Option<f64>) -> Result<Histogram, Refusal> {
    let counts: Vec<f64> =
        if counts.is_empty() { vec![count as f64] } else { counts.iter().map(|count| *count as f64).collect() };
    let histogram = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        reset: place.reset,
        is_integer: true,
        count: count as f64,
        sum: sum.unwrap_or(0.0),
        zero_threshold: 0.0,
        zero_count: 0.0,
        positive: Buckets { spans: vec![Span { offset: 0, length: counts.len() as u32 }], counts },
        negative: Buckets::default(),
        custom_bounds,
    };
    histogram.validate().map_err(|error| error.to_string())?;
    Ok(histogram)
}

fn native(rows: &mut Rows<'_>, place: Place, histogram: Histogram, exemplars: Vec<Exemplar>) -> Result<(), Refusal> {
    rows.charge(histogram.memory())?;
    let mut histogram = Arc::new(histogram);
    rows.context.quota.histogram(&mut histogram, || place.labels.to_string())?;
    rows.gather(place.labels, STALE_NAN)?;
    if !place.is_gone {
        rows.point[0].histogram = Some(histogram);
        rows.point[0].exemplars = exemplars;
    }
    Ok(())
}

fn summary(rows: &mut Rows<'_>, place: Place, point: &RawPoint<'_>) -> Result<(), Refusal> {
    let Place { labels, time, is_gone, .. } = place;
    let value = |number: f64| if is_gone { STALE_NAN } else { number };
    let name = labels.get(NAME).to_owned();
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
