//! Windows over downsampled series: the aggregates in a window and the samples that are left are put together, and a function is told from
//! the whole. Called by `window`.
//!
//! A stretch belongs to the window in which it ends. Where a window's newest sample is the last of a stretch, and the window begins and ends
//! between stretches, it is moved back to the latest boundary at which one is over, so that a function is told from as much time as was asked for.
//! A window that is no wider than stretches are and has no last sample is told from the stretch before, as long as the next one is not over and the
//! series has not ended: else a graph of `rate(…[1m])` would have gaps where there was none.

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Aggregate, is_stale};
use weir_model::select::Series;

use super::slide::{Samples, Slide, Windows};
use super::{ABSENT, Eval, Row, StepRange};
use crate::ast::{Edge, Span};
use crate::error::QueryError;
use crate::functions::{Call, Coarse, Kernels, Window, coarse};

/// A query that is to end does so after some milliseconds, however many steps and long windows a series has.
const PIECES_BETWEEN_CHECKS: usize = 1 << 16;

impl Eval<'_> {
    /// As `fill_row`, of a series with aggregates. Where the row is swept, what it says of windows without any stays.
    pub(super) fn fill_coarse(
        &mut self,
        (call, kernels): (&Call<'_>, Kernels),
        param: impl Fn(usize, usize) -> f64,
        (windows, samples): (&Windows, Samples<'_>),
        (step_range, is_swept): (StepRange, bool),
        row: &mut Row,
    ) -> Result<u64, QueryError> {
        let one = samples.numbers;
        let of_aggregates = coarse(call.function.name).filter(|_| windows.edge == Edge::Plain);
        let (mut slide, mut unchecked, mut taken, mut worst) = (Slide::default(), 0, 0, None);
        for (step, step_ms) in step_range.times().enumerate() {
            if unchecked >= PIECES_BETWEEN_CHECKS {
                unchecked = 0;
                self.engine.budget.check()?;
            }
            let mut window = slide.window(windows, samples, step_ms);
            window.params = [param(0, step), param(1, step)];
            let mut own = within(&one.aggregates, window.times);
            match reaching(samples, slide.newest(), &window) {
                Some(place) if of_aggregates.is_some() => {
                    let Aggregate { resolution_ms, last_ms, .. } = one.aggregates[place];
                    own = move_window(&mut window, samples, slide.newest(), Aggregate::stretch_end(resolution_ms, last_ms));
                }
                Some(place) => worst = worst.max(Some((true, one.aggregates[place].resolution_ms))),
                None => {
                    let is_moved = of_aggregates.is_some_and(|own| own.is_of_all) && window.histograms.is_empty();
                    if let Some(end_ms) = latest_boundary(own, &window).filter(|_| is_moved) {
                        own = move_window(&mut window, samples, slide.newest(), end_ms);
                    }
                }
            }
            // Each step puts all of its window together.
            unchecked += window.times.len() + window.histograms.len();
            let Some(resolution_ms) = own.iter().map(|own| own.resolution_ms).max() else {
                if !is_swept {
                    taken += self.mixed_step(call, kernels, &one.labels, &window, row)?;
                }
                continue;
            };
            match of_aggregates.filter(|_| window.histograms.is_empty()) {
                Some(function) => {
                    if function.is_of_all && windows.range_ms % resolution_ms != 0 {
                        worst = worst.max(Some((false, resolution_ms)));
                    }
                    row.values.push(told(function, own, &mut window, windows.range_ms).unwrap_or(ABSENT));
                }
                None => {
                    worst = worst.max(Some((true, resolution_ms)));
                    taken += self.mixed_step(call, kernels, &one.labels, &window, row)?;
                }
            }
            if is_swept {
                row.values.swap_remove(step);
            }
        }
        self.note_worst(call, &one.labels, worst);
        Ok(taken)
    }

    /// Says what could not be told: of a function that sees last samples alone, or of a range that is none of whole stretches.
    fn note_worst(&mut self, call: &Call<'_>, labels: &Labels, worst: Option<(bool, i64)>) {
        if let Some((is_of_last, resolution_ms)) = worst {
            let (function, metric, resolution) = (call.function.name, labels.get(NAME), duration(resolution_ms));
            let message = if is_of_last {
                format!("{function} sees the last sample of each {resolution} only, where {metric:?} is downsampled")
            } else {
                format!("the range is not a multiple of {resolution}, to which {metric:?} is downsampled in a part of it")
            };
            self.notes.warn(message, call.arguments.iter().map(|argument| argument.bare().span).next_back().unwrap_or(call.span));
        }
    }

    /// Says of samples that are given as they are that others are not left.
    pub(super) fn note_coarse(&mut self, aggregates: &[Aggregate], metric: &str, span: Span) {
        if let Some(resolution_ms) = aggregates.iter().map(|own| own.resolution_ms).max() {
            let resolution = duration(resolution_ms);
            self.notes.warn(format!("of each {resolution} only the last sample is left, where {metric:?} is downsampled"), span);
        }
    }
}

/// The aggregates of samples at these times, which ascend.
pub(super) fn within<'a>(aggregates: &'a [Aggregate], times: &[i64]) -> &'a [Aggregate] {
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return &[] };
    let of = |limit: i64| aggregates.partition_point(|own| own.last_ms < limit);
    &aggregates[of(*first)..of(last.saturating_add(1))]
}

/// When staleness markers come that follow a downsampled stretch.
pub(super) fn find_ends(one: &Series, ends: &mut Vec<i64>) {
    ends.clear();
    for own in &one.aggregates {
        let after = one.timestamps.partition_point(|at| *at <= own.last_ms);
        if one.values.get(after).is_some_and(|value| is_stale(*value)) {
            ends.push(one.timestamps[after]);
        }
    }
}

/// The place of the stretch from which a window is told that is no wider and has no sample: that of the newest sample before.
pub(super) fn reaching(samples: Samples<'_>, newest: Option<usize>, window: &Window<'_>) -> Option<usize> {
    if !window.times.is_empty() || !window.histograms.is_empty() || samples.numbers.aggregates.is_empty() {
        return None;
    }
    let (one, at) = (samples.numbers, samples.numbers.timestamps[newest?]);
    let place = one.aggregates.binary_search_by_key(&at, |own| own.last_ms).ok()?;
    let resolution_ms = one.aggregates[place].resolution_ms;
    let next_end_ms = Aggregate::stretch_end(resolution_ms, at).saturating_add(resolution_ms);
    let width_ms = window.end_ms.saturating_sub(window.start_ms);
    // One that is as wide and ends with the next stretch is all of that, which has no sample.
    let is_narrow = width_ms < resolution_ms || width_ms == resolution_ms && window.end_ms < next_end_ms;
    let end = samples.ends.get(samples.ends.partition_point(|end| *end <= at));
    let has_ended = end.is_some_and(|end| *end <= window.end_ms);
    (is_narrow && window.end_ms <= next_end_ms && !has_ended).then_some(place)
}

/// The latest end of a stretch that is over at a window's end, and of the one that has the window's newest sample; `None` where that is no last
/// sample of a stretch.
fn latest_boundary(own: &[Aggregate], window: &Window<'_>) -> Option<i64> {
    let Aggregate { resolution_ms, last_ms, .. } = *own.last().filter(|own| window.times.last() == Some(&own.last_ms))?;
    let end_ms = window.end_ms.div_euclid(resolution_ms) * resolution_ms;
    Some(end_ms.max(Aggregate::stretch_end(resolution_ms, last_ms)))
}

/// Moves a window to an end, not beyond a sample, with the stretches that end in it.
fn move_window<'a>(window: &mut Window<'a>, samples: Samples<'a>, newest: Option<usize>, end_ms: i64) -> &'a [Aggregate] {
    let one = samples.numbers;
    window.start_ms = end_ms.saturating_sub(window.end_ms.saturating_sub(window.start_ms));
    window.end_ms = end_ms;
    let to = newest.map_or(0, |newest| newest + 1);
    let mut from = one.timestamps[..to].partition_point(|at| *at <= window.start_ms);
    while let Some(before) = from.checked_sub(1) {
        let place = one.aggregates.binary_search_by_key(&one.timestamps[before], |own| own.last_ms);
        let own = place.map(|place| &one.aggregates[place]);
        if own.map_or(i64::MIN, |own| Aggregate::stretch_end(own.resolution_ms, own.last_ms)) <= window.start_ms {
            break;
        }
        from = before;
    }
    (window.times, window.values, window.starts) = (&one.timestamps[from..to], &one.values[from..to], &[]);
    within(&one.aggregates, window.times)
}

/// What a function says of a window with these aggregates.
fn told(function: Coarse, own: &[Aggregate], window: &mut Window<'_>, range_ms: i64) -> Option<f64> {
    let mut rest = own.iter().peekable();
    let mut whole: Option<Aggregate> = None;
    for (at, value) in window.times.iter().zip(window.values) {
        let mut piece = match rest.next_if(|own| own.last_ms == *at) {
            Some(own) => *own,
            None => Aggregate::of(0, *at, *value),
        };
        if function.is_additive && piece.resolution_ms > 0 {
            // As much of a stretch as is in the window.
            let end_ms = Aggregate::stretch_end(piece.resolution_ms, piece.last_ms);
            let common_ms = end_ms.saturating_sub(window.start_ms).min(piece.resolution_ms);
            let part = common_ms as f64 / piece.resolution_ms as f64;
            (piece.sum, piece.count) = (piece.sum * part, piece.count * part);
        }
        match &mut whole {
            Some(whole) => whole.extend(&piece),
            None => whole = Some(piece),
        }
    }
    let whole = whole?;
    if !function.is_change {
        return (function.of)(&whole, window);
    }
    move_start(own.first().filter(|own| window.times.first() == Some(&own.last_ms)), window);
    // Late samples may reach farther back.
    window.start_ms = window.start_ms.min(whole.first_ms.saturating_sub(1));
    let told = (function.of)(&whole, window)?;
    let width_ms = window.end_ms.saturating_sub(window.start_ms);
    // Of as much time as was asked for, where stretches of several resolutions make a window wider.
    Some(if function.per_second || width_ms == range_ms { told } else { told * range_ms as f64 / width_ms as f64 })
}

/// Moves a window's start back to that of the stretch that is its first sample.
fn move_start(first: Option<&Aggregate>, window: &mut Window<'_>) {
    if let Some(first) = first.filter(|first| first.first_ms <= window.start_ms) {
        let end_ms = Aggregate::stretch_end(first.resolution_ms, first.last_ms);
        window.start_ms = window.start_ms.min(end_ms.saturating_sub(first.resolution_ms));
    }
}

/// As Prometheus writes a duration of whole minutes or hours.
fn duration(resolution_ms: i64) -> String {
    let seconds = resolution_ms / 1000;
    match (seconds % 3600, seconds % 60) {
        (0, _) if seconds > 0 => format!("{}h", seconds / 3600),
        (_, 0) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
