//! `smoothed` instant selectors of series with histograms: on the line between the neighbours of a step.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};
use weir_model::label::NAME;
use weir_model::metric::is_stale;
use weir_model::select::{ReadError, Series};

use super::made::Made;
use super::select::{Shift, interpolated as number_between};
use super::{ABSENT, Eval, Row, StepRange};
use crate::ast::Span;
use crate::error::QueryError;
use crate::functions::{Aside, interpolated};
use crate::histogram::is_custom;

type Point = (i64, Arc<Histogram>);

impl Eval<'_> {
    /// Puts the values of a series with histograms into an empty row; answers the memory that was taken for histograms.
    pub(super) fn smooth_histograms(
        &mut self,
        (one, span): (&Series, Span),
        step_range: StepRange,
        shift: Shift,
        row: &mut Row,
    ) -> Result<u64, QueryError> {
        let lookback_ms = self.request.lookback_ms;
        let points: Vec<Point> = one.histograms.iter().map(|(i, own)| (one.timestamps[*i as usize], own.clone())).collect();
        let numbers = one.timestamps.iter().zip(&one.values).filter(|(_, value)| !is_stale(**value));
        let (timestamps, values): (Vec<i64>, Vec<f64>) = numbers.unzip();
        let numbers = Series { timestamps, values, ..Series::default() };
        let mut aside = Aside { notes: &mut self.notes, metric: one.labels.get(NAME), span, numbers: |_| None };
        let mut made = Made::new(&mut self.tally);
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
                    let histogram = histogram_between(&points[own], at, &mut aside, &mut made)?;
                    row.histograms.extend(histogram.map(|own| (step as u32, own)));
                }
                (false, false) => aside.note_both(),
            }
        }
        Ok(made.bytes())
    }
}

/// The histogram at a time among those near it.
fn histogram_between(
    points: &[Point],
    at: i64,
    aside: &mut Aside<'_>,
    made: &mut Made<'_, '_>,
) -> Result<Option<Arc<Histogram>>, ReadError> {
    let next = points.partition_point(|(own, _)| *own < at);
    let (previous, next) = (next.checked_sub(1).map(|i| &points[i]), points.get(next));
    if let Some((_, own)) = next.filter(|(own, _)| *own == at) {
        return Ok(Some(own.clone()));
    }
    let Some(previous) = previous else { return Ok(None) };
    let Some(next) = next else {
        return made.one(&previous.1, |own| Histogram { reset: ResetHint::Unknown, ..own.clone() }).map(Some);
    };
    if is_custom(&previous.1) != is_custom(&next.1) {
        return Ok(aside.mixed_schemas());
    }
    let gauges = [previous, next].iter().all(|(_, own)| own.reset == ResetHint::Gauge);
    let between = interpolated(previous, next, at, !gauges, aside);
    between.iter().try_for_each(|own| made.take(own))?;
    Ok(between)
}
