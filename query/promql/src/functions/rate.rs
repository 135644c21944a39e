//! Counters and gauges over a window: `rate increase delta irate idelta resets changes`, with Prometheus' extrapolation.

use super::Window;
use crate::ast::Edge;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    Counter,
    Gauge,
}

/// Per-second increase.
pub(super) fn rate(window: &Window<'_>) -> Option<f64> {
    change(window, Reading::Counter).map(|increase| increase / window.seconds())
}

/// Increase over the window.
pub(super) fn increase(window: &Window<'_>) -> Option<f64> {
    change(window, Reading::Counter)
}

/// Difference over the window, of a gauge.
pub(super) fn delta(window: &Window<'_>) -> Option<f64> {
    change(window, Reading::Gauge)
}

fn change(window: &Window<'_>, reading: Reading) -> Option<f64> {
    match window.edge {
        Edge::Plain => extrapolated(window, reading),
        Edge::Anchored | Edge::Smoothed => bounded(window, reading),
    }
}

/// The difference between first and last sample, resets undone, stretched to the window's edges: to the edge itself
/// when a sample would be due there, else by half of the mean distance; a counter never to below zero.
fn extrapolated(window: &Window<'_>, reading: Reading) -> Option<f64> {
    let (times, values) = (window.times, window.values);
    let [first, .., last] = values else { return None };
    let mut difference = last - first;
    if reading == Reading::Counter {
        difference = with_resets(difference, values);
    }
    let counter = (reading == Reading::Counter).then_some((*first, difference));
    Some(difference * stretch(window, (times[0], times[times.len() - 1]), times.len(), counter))
}

/// What the change between the first and last of `samples` is stretched by; of a counter, with its first value and its increase.
pub(super) fn stretch(window: &Window<'_>, (first_ms, last_ms): (i64, i64), samples: usize, counter: Option<(f64, f64)>) -> f64 {
    let sampled = (last_ms - first_ms) as f64 / 1000.0;
    let distance = sampled / (samples - 1) as f64;
    let mut to_start = edge(first_ms.saturating_sub(window.start_ms), distance);
    if let Some((first, increase)) = counter
        && increase > 0.0
        && first >= 0.0
    {
        to_start = to_start.min(sampled * (first / increase));
    }
    (sampled + to_start + edge(window.end_ms.saturating_sub(last_ms), distance)) / sampled
}

/// How far beyond the outermost sample a change goes on: to the window's edge where no other sample was due before it.
pub(super) fn edge(gap_ms: i64, distance: f64) -> f64 {
    let gap = gap_ms as f64 / 1000.0;
    if gap >= distance * 1.1 { distance / 2.0 } else { gap }
}

/// Adds what was lost to counter resets, one after the other: in another order the sum would be another.
fn with_resets(difference: f64, values: &[f64]) -> f64 {
    // Most windows have none, and many pairs are compared at once when none is looked at.
    if !values.iter().zip(&values[1..]).fold(false, |any, (before, after)| any | (after < before)) {
        return difference;
    }
    values.windows(2).filter(|pair| pair[1] < pair[0]).fold(difference, |sum, pair| sum + pair[0])
}

/// `anchored` and `smoothed`: values at the very edges instead of extrapolation.
fn bounded(window: &Window<'_>, reading: Reading) -> Option<f64> {
    let (times, values) = (window.times, window.values);
    let mut last = times.len().checked_sub(1)?;
    let smoothed = window.edge == Edge::Smoothed;
    let mut first = times[..last].partition_point(|at| *at <= window.start_ms).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|at| *at < window.end_ms);
    }
    if times[last] <= window.start_ms || smoothed && times[first] > window.end_ms {
        return None;
    }
    let between = |a: usize, b: usize, at: i64| {
        let from = if reading == Reading::Counter && values[b] < values[a] { 0.0 } else { values[a] };
        from + (values[b] - from) * (at - times[a]) as f64 / (times[b] - times[a]) as f64
    };
    let inside = smoothed && times[first] < window.start_ms;
    let left = if inside { between(first, first + 1, window.start_ms) } else { values[first] };
    let beyond = smoothed && last > 0 && times[last] > window.end_ms;
    let right = if beyond { between(last - 1, last, window.end_ms) } else { values[last] };
    let mut difference = right - left;
    if reading == Reading::Counter {
        // The edges have dealt with resets around them: only the samples strictly inside are left.
        first += usize::from(times[first] <= window.start_ms);
        let end = last + usize::from(times[last] < window.end_ms);
        let inner = values.get(first..end).unwrap_or_default();
        let mut previous = left;
        for value in inner.iter().chain([&right]) {
            difference += if *value < previous { previous } else { 0.0 };
            previous = *value;
        }
    }
    Some(difference)
}

/// Per-second increase between the last two samples.
pub(super) fn irate(window: &Window<'_>) -> Option<f64> {
    let (seconds, before, last) = last_two(window)?;
    Some(if last < before { last } else { last - before } / seconds)
}

/// Difference between the last two samples.
pub(super) fn idelta(window: &Window<'_>) -> Option<f64> {
    last_two(window).map(|(_, before, last)| last - before)
}

fn last_two(window: &Window<'_>) -> Option<(f64, f64, f64)> {
    let (times, values) = (window.times, window.values);
    let last = times.len().checked_sub(1).filter(|last| *last > 0)?;
    Some(((times[last] - times[last - 1]) as f64 / 1000.0, values[last - 1], values[last]))
}

/// How often the counter fell.
pub(super) fn resets(window: &Window<'_>) -> Option<f64> {
    let values = anchored_values(window)?;
    Some(values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64)
}

/// How often the value became another; NaN after NaN is none.
pub(super) fn changes(window: &Window<'_>) -> Option<f64> {
    let values = anchored_values(window)?;
    let differ = |pair: &&[f64]| pair[1] != pair[0] && !(pair[1].is_nan() && pair[0].is_nan());
    Some(values.windows(2).filter(differ).count() as f64)
}

/// The values to count over: for an anchored window from the last one at or before its start.
fn anchored_values<'a>(window: &Window<'a>) -> Option<&'a [f64]> {
    if window.edge != Edge::Anchored {
        return (!window.values.is_empty()).then_some(window.values);
    }
    let after = window.times.partition_point(|at| *at <= window.start_ms);
    (after < window.times.len()).then(|| &window.values[after.saturating_sub(1)..])
}
