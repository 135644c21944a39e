//! Aggregations over unwrapped values: sum, avg, quantile and so on of each window.

use weir_model::id::LineId;
use weir_model::select::Budget;
use weir_model::time::UnixNanos;

use super::windows::Windows;
use crate::ast::{RangeAgg, RangeOp};
use crate::error::QueryError;

/// An unwrapped value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Its line's time.
    pub at: UnixNanos,
    /// Its line, which orders samples of the same time.
    pub id: LineId,
    /// The value.
    pub value: f64,
}

/// One point a window that holds a sample.
pub(crate) fn over_windows(
    agg: &RangeAgg,
    mut samples: Vec<Sample>,
    windows: Windows,
    budget: &dyn Budget,
) -> Result<Vec<Option<f64>>, QueryError> {
    samples.sort_by_key(|sample| (sample.at, sample.id));
    let mut points = Vec::with_capacity(windows.steps.count);
    let (mut from, mut to) = (0, 0);
    for i in 0..windows.steps.count {
        let (before, last) = windows.bounds(i);
        while from < samples.len() && samples[from].at <= before {
            from += 1;
        }
        to = to.max(from);
        while to < samples.len() && samples[to].at <= last {
            to += 1;
        }
        budget.check()?;
        let window = &samples[from..to];
        points.push(if window.is_empty() { None } else { Some(compute(agg, window, before, last)) });
    }
    Ok(points)
}

fn compute(agg: &RangeAgg, window: &[Sample], before: UnixNanos, last: UnixNanos) -> f64 {
    let values = || window.iter().map(|sample| sample.value);
    let count = window.len() as f64;
    match agg.op {
        RangeOp::Sum => values().sum(),
        RangeOp::Rate => values().sum::<f64>() / (agg.range as f64 / 1e9),
        RangeOp::Avg => values().sum::<f64>() / count,
        RangeOp::Min => extreme(values(), |new, best| new < best),
        RangeOp::Max => extreme(values(), |new, best| new > best),
        RangeOp::Stdvar => variance(values()),
        RangeOp::Stddev => variance(values()).sqrt(),
        RangeOp::Quantile => quantile(agg.parameter.unwrap_or(f64::NAN), values().collect()),
        RangeOp::First => window[0].value,
        RangeOp::Last => window[window.len() - 1].value,
        RangeOp::RateCounter => rate_counter(window, before, last),
        RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Absent => count,
    }
}

/// NaN only when there is nothing else.
pub(crate) fn extreme(values: impl Iterator<Item = f64>, better: fn(f64, f64) -> bool) -> f64 {
    values.reduce(|best, new| if best.is_nan() || better(new, best) { new } else { best }).unwrap_or(f64::NAN)
}

/// Of the whole population, after Welford.
pub(crate) fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}

/// Linear between the two nearest ranks, NaN the lowest of all; below 0 −Inf, above 1 +Inf.
fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|one, other| other.is_nan().cmp(&one.is_nan()).then(one.total_cmp(other)));
    let rank = q * (values.len() - 1) as f64;
    let (low, weight) = (rank.floor() as usize, rank - rank.floor());
    let high = (low + 1).min(values.len() - 1);
    values[low] * (1.0 - weight) + values[high] * weight
}

/// As Prometheus' rate: resets added, extrapolated to the window's edges unless they are far or below zero.
fn rate_counter(window: &[Sample], before: UnixNanos, last: UnixNanos) -> f64 {
    let (first, final_) = (window[0], window[window.len() - 1]);
    let resets: f64 = window.windows(2).map(|pair| if pair[1].value < pair[0].value { pair[0].value } else { 0.0 }).sum();
    let increase = final_.value - first.value + resets;
    let sampled = (final_.at - first.at) as f64;
    if window.len() < 2 || sampled <= 0.0 {
        return 0.0;
    }
    let between = sampled / (window.len() - 1) as f64;
    let threshold = between * 1.1;
    let (mut to_start, mut to_end) = ((first.at - before) as f64, (last - final_.at) as f64);
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    // Behind the distance, as Prometheus 3 has it: how far zero is shortens only what is left of it.
    if increase > 0.0 && first.value >= 0.0 {
        to_start = to_start.min(sampled * (first.value / increase));
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    increase * (sampled + to_start + to_end) / sampled / ((last - before) as f64 / 1e9)
}
