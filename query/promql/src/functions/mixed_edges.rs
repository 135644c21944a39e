//! `anchored` and `smoothed` over histograms: histograms at the very edges of the window instead of extrapolation.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};

use super::Window;
use super::mixed::{Aside, Outcome};
use super::rate::Reading;
use crate::ast::Edge;
use crate::histogram::{HistogramSum, detect_reset, divided, is_custom, multiplied};

type Point = (i64, Arc<Histogram>);

/// The histogram on the line between two, at a time between theirs. A counter that began anew in between began at zero.
pub(crate) fn interpolated(
    first: &Point,
    second: &Point,
    at: i64,
    counter: bool,
    aside: &mut Aside<'_>,
) -> Option<Arc<Histogram>> {
    if at == first.0 {
        return Some(first.1.clone());
    }
    if at == second.0 {
        return Some(second.1.clone());
    }
    let fraction = (at - first.0) as f64 / (second.0 - first.0) as f64;
    if counter && detect_reset(&second.1, &first.1) {
        return Some(Arc::new(multiplied(&second.1, fraction)));
    }
    let mut between = HistogramSum::new(&second.1);
    aside.merged(between.subtract(&first.1), "subtraction")?;
    between.scale(fraction);
    aside.merged(between.add(&first.1), "addition")?;
    Some(Arc::new(between.total(None)))
}

pub(super) fn bounded(window: &Window<'_>, aside: &mut Aside<'_>, reading: Reading, divisor: f64) -> Option<Outcome> {
    let points = window.histograms;
    let mut last = points.len().checked_sub(1)?;
    let (smoothed, counter) = (window.edge == Edge::Smoothed, reading == Reading::Counter);
    let first = points[..last].partition_point(|(at, _)| *at <= window.start_ms).saturating_sub(1);
    if smoothed {
        last = points[..last].partition_point(|(at, _)| *at < window.end_ms);
    }
    if points[last].0 <= window.start_ms || smoothed && points[first].0 > window.end_ms {
        return None;
    }
    check(&points[first..=last], counter, aside)?;
    let before_start = smoothed && points[first].0 < window.start_ms;
    let left = match before_start {
        true => interpolated(&points[first], &points[first + 1], window.start_ms, counter, aside)?,
        false => points[first].1.clone(),
    };
    let right = match smoothed && last > 0 && points[last].0 > window.end_ms {
        true => interpolated(&points[last - 1], &points[last], window.end_ms, counter, aside)?,
        false => points[last].1.clone(),
    };
    if !counter && [&left, &right].iter().any(|own| own.reset != ResetHint::Gauge) {
        aside.not_gauge();
    }
    let mut difference = HistogramSum::new(&right);
    aside.merged(difference.subtract(&left), "subtraction")?;
    if counter {
        // A reset around the left edge has been dealt with there.
        let (mut previous, mut from) = (left, first + 1);
        if before_start && detect_reset(&points[from].1, &points[first].1) {
            previous = points[from].1.clone();
            from += 1;
        }
        let inner = points.get(from..last).unwrap_or_default().iter().map(|(_, own)| own);
        let ends = (from <= last).then_some(&right);
        for own in inner.chain(ends) {
            if detect_reset(own, &previous) {
                aside.merged(difference.add(&previous), "addition")?;
            }
            previous = own.clone();
        }
    }
    let difference = difference.total(Some(ResetHint::Gauge));
    Some(Outcome::Histogram(Arc::new(if divisor == 1.0 { difference } else { divided(&difference, divisor) })))
}

/// Exponential buckets and custom ones do not go together; a gauge among counters is noted.
fn check(points: &[Point], counter: bool, aside: &mut Aside<'_>) -> Option<()> {
    let custom = is_custom(&points[0].1);
    if points.iter().any(|(_, own)| is_custom(own) != custom) {
        return aside.mixed_schemas();
    }
    if counter && points.iter().any(|(_, own)| own.reset == ResetHint::Gauge) {
        aside.not_counter();
    }
    Some(())
}
