//! Windows with histograms or start timestamps, sample by sample: `irate idelta resets changes`.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};

use super::Window;
use super::mixed::{Aside, Outcome};
use crate::ast::Edge;
use crate::histogram::{HistogramSum, detect_reset, divided, equal};

/// One sample of a window.
#[derive(Clone, Copy)]
struct Point<'a> {
    at: i64,
    /// Since when it counts, 0 where that is unknown.
    start: i64,
    value: PointValue<'a>,
}

#[derive(Clone, Copy)]
enum PointValue<'a> {
    Number(f64),
    Histogram(&'a Arc<Histogram>),
}

/// Whether a counter began anew between two samples, as the later one's start says.
pub(super) fn start_is_reset((before_start, before): (i64, i64), (start, at): (i64, i64)) -> bool {
    match () {
        () if start == 0 || start >= at || start < before => false,
        () if start > before => true,
        // The start is the sample before: the next of a series of deltas, unless that one's own start was unknown or wrong.
        () => before_start != 0 && before_start < before,
    }
}

/// All samples in the order of their times.
fn points<'a>(window: &Window<'a>) -> Vec<Point<'a>> {
    let start = |starts: &[i64], i: usize| starts.get(i).copied().unwrap_or_default();
    let numbers = window.times.iter().zip(window.values).enumerate();
    let numbers =
        numbers.map(|(i, (at, value))| Point { at: *at, start: start(window.starts, i), value: PointValue::Number(*value) });
    let histograms = window.histograms.iter().enumerate().map(|(i, (at, own))| Point {
        at: *at,
        start: start(window.histogram_starts, i),
        value: PointValue::Histogram(own),
    });
    let mut points: Vec<Point<'a>> = numbers.chain(histograms).collect();
    points.sort_by_key(|point| point.at);
    points
}

/// Those to count over: for an anchored window from the last one at or before its start.
fn counted<'a>(window: &Window<'a>) -> Option<Vec<Point<'a>>> {
    let mut points = points(window);
    if window.edge == Edge::Anchored {
        let after = points.partition_point(|point| point.at <= window.start_ms);
        if after >= points.len() {
            return None;
        }
        points.drain(..after.saturating_sub(1));
    }
    (!points.is_empty()).then_some(points)
}

/// How often counters began anew.
pub(super) fn resets(window: &Window<'_>, _: &mut Aside<'_>) -> Option<Outcome> {
    let reset = |pair: &&[Point<'_>]| match (pair[0].value, pair[1].value) {
        (PointValue::Number(before), PointValue::Number(now)) => now < before || is_start_reset(pair[0], pair[1]),
        (PointValue::Histogram(before), PointValue::Histogram(now)) => {
            is_start_reset(pair[0], pair[1]) || detect_reset(now, before)
        }
        _ => true,
    };
    Some(Outcome::Number(counted(window)?.windows(2).filter(reset).count() as f64))
}

fn is_start_reset(before: Point<'_>, now: Point<'_>) -> bool {
    start_is_reset((before.start, before.at), (now.start, now.at))
}

/// How often the value became another.
pub(super) fn changes(window: &Window<'_>, _: &mut Aside<'_>) -> Option<Outcome> {
    let differs = |pair: &&[Point<'_>]| match (pair[0].value, pair[1].value) {
        (PointValue::Number(a), PointValue::Number(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (PointValue::Histogram(a), PointValue::Histogram(b)) => !equal(a, b),
        _ => true,
    };
    Some(Outcome::Number(counted(window)?.windows(2).filter(differs).count() as f64))
}

/// Per-second increase between the last two samples.
pub(super) fn irate(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<Outcome> {
    last_two(window, aside, true)
}

/// Difference between the last two samples.
pub(super) fn idelta(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<Outcome> {
    last_two(window, aside, false)
}

fn last_two(window: &Window<'_>, aside: &mut Aside<'_>, counter: bool) -> Option<Outcome> {
    // Of each kind the last two do, however long the window.
    let numbers = window.times.len().saturating_sub(2)..;
    let histograms = window.histograms.len().saturating_sub(2)..;
    let points = points(&Window {
        times: &window.times[numbers.clone()],
        values: &window.values[numbers.clone()],
        starts: window.starts.get(numbers).unwrap_or_default(),
        histograms: &window.histograms[histograms.clone()],
        histogram_starts: window.histogram_starts.get(histograms).unwrap_or_default(),
        ..*window
    });
    let [.., before, last] = &points[..] else { return None };
    let seconds = (last.at - before.at) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    let began_anew = counter && is_start_reset(*before, *last);
    match (before.value, last.value) {
        (PointValue::Number(first), PointValue::Number(value)) => {
            let anew = began_anew || counter && value < first;
            let difference = if anew { value } else { value - first };
            Some(Outcome::Number(if counter { difference / seconds } else { difference }))
        }
        (PointValue::Histogram(first), PointValue::Histogram(value)) => {
            let gauges = [first, value].map(|own| own.reset == ResetHint::Gauge);
            if counter && gauges.contains(&true) {
                aside.not_counter();
            }
            if !counter && gauges.contains(&false) {
                aside.not_gauge();
            }
            let mut difference = HistogramSum::new(value);
            if !(began_anew || counter && detect_reset(value, first)) {
                aside.merged(difference.subtract(first), "subtraction")?;
            }
            let difference = difference.total(Some(ResetHint::Gauge));
            Some(Outcome::Histogram(Arc::new(if counter { divided(&difference, seconds) } else { difference })))
        }
        _ => aside.both(),
    }
}
