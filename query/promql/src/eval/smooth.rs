//! `smoothed` instant selectors of series with histograms: on the line between the neighbours of a step.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};
use weir_model::label::NAME;
use weir_model::metric::is_stale;
use weir_model::select::Series;

use super::select::{Shift, interpolated as number_between};
use super::{ABSENT, Eval, Row, StepRange};
use crate::ast::Span;
use crate::functions::{Aside, interpolated};
use crate::histogram::is_custom;

type Point = (i64, Arc<Histogram>);

impl Eval<'_> {
    /// Puts the values of a series with histograms into an empty row.
    pub(super) fn smooth_histograms(&mut self, (one, span): (&Series, Span), step_range: StepRange, shift: Shift, row: &mut Row) {
        let lookback_ms = self.request.lookback_ms;
        let points: Vec<Point> = one.histograms.iter().map(|(i, own)| (one.timestamps[*i as usize], own.clone())).collect();
        let numbers = one.timestamps.iter().zip(&one.values).filter(|(_, value)| !is_stale(**value));
        let (timestamps, values): (Vec<i64>, Vec<f64>) = numbers.unzip();
        let numbers = Series { timestamps, values, ..Series::default() };
        let mut aside = Aside { notes: &mut self.notes, metric: one.labels.get(NAME), span, numbers: |_| None };
        for (step, at) in step_range.times().map(|step| shift.of(step)).enumerate() {
            let (after, until) = (at.saturating_sub(lookback_ms), at.saturating_add(lookback_ms));
            let near = |times: &dyn Fn(i64) -> usize| times(after)..times(until);
            let own = near(&|limit| points.partition_point(|(at, _)| *at <= limit));
            let others = near(&|limit| numbers.timestamps.partition_point(|at| *at <= limit));
            row.values.push(ABSENT);
            match (own.is_empty(), others.is_empty()) {
                (true, true) => {}
                (true, false) => {
                    let next = numbers.timestamps.partition_point(|own| *own <= at);
                    row.values[step] = number_between(&numbers, next, at, lookback_ms);
                }
                (false, true) => {
                    let histogram = histogram_between(&points[own], at, &mut aside);
                    row.histograms.extend(histogram.map(|own| (step as u32, own)));
                }
                (false, false) => aside.note_both(),
            }
        }
    }
}

/// The histogram at a time among those near it.
fn histogram_between(points: &[Point], at: i64, aside: &mut Aside<'_>) -> Option<Arc<Histogram>> {
    let next = points.partition_point(|(own, _)| *own < at);
    match (next.checked_sub(1).map(|i| &points[i]), points.get(next)) {
        (_, Some((own, histogram))) if *own == at => Some(histogram.clone()),
        (None, _) => None,
        (Some(previous), Some(next)) => {
            if is_custom(&previous.1) != is_custom(&next.1) {
                return aside.mixed_schemas();
            }
            let gauges = [previous, next].iter().all(|(_, own)| own.reset == ResetHint::Gauge);
            interpolated(previous, next, at, !gauges, aside)
        }
        (Some((_, previous)), None) => Some(Arc::new(Histogram { reset: ResetHint::Unknown, ..(**previous).clone() })),
    }
}
