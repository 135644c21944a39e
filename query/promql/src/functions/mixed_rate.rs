//! `rate increase delta` of windows with histograms, or whose samples say since when they count.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};

use super::Window;
use super::mixed::{Aside, Outcome};
use super::mixed_edges::bounded;
use super::mixed_points::start_is_reset;
use super::rate::{Reading, edge, stretch};
use crate::ast::Edge;
use crate::histogram::{HistogramSum, detect_reset, empty_like, is_custom};

pub(super) fn rate(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<Outcome> {
    change(window, aside, Reading::Counter, window.seconds())
}

pub(super) fn increase(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<Outcome> {
    change(window, aside, Reading::Counter, 1.0)
}

pub(super) fn delta(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<Outcome> {
    change(window, aside, Reading::Gauge, 1.0)
}

/// The change over the window by `divisor`.
fn change(window: &Window<'_>, aside: &mut Aside<'_>, reading: Reading, divisor: f64) -> Option<Outcome> {
    if !window.values.is_empty() && !window.histograms.is_empty() {
        return aside.both();
    }
    if window.edge != Edge::Plain {
        return match window.histograms {
            [] => (aside.numbers)(window).map(Outcome::Number),
            _ => bounded(window, aside, reading, divisor),
        };
    }
    match window.histograms {
        [] if reading == Reading::Gauge => (aside.numbers)(window).map(Outcome::Number),
        [] => numbers(window, aside).map(|increase| Outcome::Number(increase / divisor)),
        _ => histograms(window, aside, reading, divisor),
    }
}

/// The start of the first sample, where it lies between the window's start and that sample: the counter was 0 then.
fn start_within(window: &Window<'_>, starts: &[i64], first_ms: i64) -> Option<i64> {
    starts.first().copied().filter(|start| *start != 0 && *start > window.start_ms && *start < first_ms)
}

/// What a change since `start_ms` is stretched by: to the window's end alone.
fn stretch_from(window: &Window<'_>, start_ms: i64, (first_ms, last_ms): (i64, i64), samples: usize) -> f64 {
    let distance = if samples > 1 { (last_ms - first_ms) as f64 / 1000.0 / (samples - 1) as f64 } else { 0.0 };
    let sampled = (last_ms - start_ms) as f64 / 1000.0;
    (sampled + edge(window.end_ms.saturating_sub(last_ms), distance)) / sampled
}

/// Notes a start that lies before the sample before.
fn check_overlap(aside: &mut Aside<'_>, times: &[i64], starts: &[i64]) {
    let overlaps = |i: &usize| starts[i + 1] != 0 && starts[i + 1] < times[*i] && starts[i + 1] != starts[*i];
    if (0..starts.len().min(times.len()).saturating_sub(1)).any(|i| overlaps(&i)) {
        let message = format!("sample has start time that overlaps with previous sample timestamp for metric {:?}", aside.metric);
        aside.notes.warn(message, aside.span);
    }
}

/// Whether sample `i` says that it counts from anew.
fn began_anew(times: &[i64], starts: &[i64], i: usize) -> bool {
    i < starts.len() && start_is_reset((starts[i - 1], times[i - 1]), (starts[i], times[i]))
}

fn numbers(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<f64> {
    let (times, values, starts) = (window.times, window.values, window.starts);
    let (first, last) = (*values.first()?, *values.last()?);
    check_overlap(aside, times, starts);
    let resets = (1..values.len()).filter(|i| values[*i] < values[*i - 1] || began_anew(times, starts, *i));
    let mut difference = resets.fold(last - first, |sum, i| sum + values[i - 1]);
    let ends = (times[0], times[times.len() - 1]);
    if let Some(start_ms) = start_within(window, starts, ends.0) {
        difference += first;
        return Some(difference * stretch_from(window, start_ms, ends, times.len()));
    }
    (times.len() > 1).then(|| difference * stretch(window, ends, times.len(), Some((first, difference))))
}

fn histograms(window: &Window<'_>, aside: &mut Aside<'_>, reading: Reading, divisor: f64) -> Option<Outcome> {
    let (points, starts) = (window.histograms, window.histogram_starts);
    let ends = (points.first()?.0, points.last()?.0);
    let first = &points[0].1;
    let mut difference = match points.len() {
        1 => None,
        _ => Some(difference(points, starts, aside, reading)?),
    };
    let start = start_within(window, starts, ends.0).filter(|_| reading == Reading::Counter);
    let factor = match (start, &mut difference) {
        (Some(start_ms), difference) => {
            match difference {
                Some(difference) => aside.merged(difference.add(first), "addition")?,
                None => *difference = Some(HistogramSum::new(first)),
            }
            stretch_from(window, start_ms, ends, points.len())
        }
        (None, None) => return None,
        (None, Some(difference)) => {
            let zero = (reading == Reading::Counter).then(|| (first.count, difference.observations()));
            stretch(window, ends, points.len(), zero)
        }
    };
    let mut difference = difference?;
    difference.scale(factor / divisor);
    Some(Outcome::Histogram(Arc::new(difference.total(Some(ResetHint::Gauge)))))
}

/// What the last of several histograms has more than the first; of counters, with what was lost to resets.
fn difference(points: &[(i64, Arc<Histogram>)], starts: &[i64], aside: &mut Aside<'_>, reading: Reading) -> Option<HistogramSum> {
    let times: Vec<i64> = points.iter().map(|(at, _)| *at).collect();
    let (first, last) = (&points[0].1, &points[points.len() - 1].1);
    let gauge = |histogram: &Histogram| histogram.reset == ResetHint::Gauge;
    let counter = reading == Reading::Counter;
    let mut previous = first.clone();
    if counter {
        if points.iter().any(|(_, own)| gauge(own)) {
            aside.not_counter();
        }
        let second = &points[1].1;
        // What the first sample has is of before the reset, and may have other buckets.
        if began_anew(&times, starts, 1) || detect_reset(second, first) {
            previous = Arc::new(empty_like(second));
        }
    } else if !(gauge(first) && gauge(last)) {
        aside.not_gauge();
    }
    let compared = if counter { &points[1..] } else { &points[points.len() - 1..] };
    if compared.iter().any(|(_, own)| is_custom(own) != is_custom(&previous)) {
        return aside.mixed_schemas();
    }
    let mut difference = HistogramSum::new(last);
    if let Some(schema) = compared.iter().map(|(_, own)| own.schema).min() {
        difference.coarsen(schema);
    }
    aside.merged(difference.subtract(&previous), "subtraction")?;
    if counter {
        check_overlap(aside, &times, starts);
        for (i, (_, own)) in points.iter().enumerate().skip(1) {
            if began_anew(&times, starts, i) || detect_reset(own, &previous) {
                aside.merged(difference.add(&previous), "addition")?;
            }
            previous = own.clone();
        }
    }
    Some(difference)
}
