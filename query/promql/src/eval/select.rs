//! Instant selectors: the newest sample at most the lookback old, unless it is a staleness marker.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};
use weir_model::label::NAME;
use weir_model::metric::is_stale;
use weir_model::select::{MetricSelect, Series, each_pulled};

use super::{ABSENT, Eval, Row, RowSink, StepRange};
use crate::ast::{At, Modifiers, Selector, Span};
use crate::error::QueryError;
use crate::histogram::detect_reset;

/// What of a sample is wanted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Want {
    /// Its value.
    Values,
    /// Its timestamp in seconds: `timestamp(selector)`.
    Times,
    /// Since when it counts, in seconds, 0 where that is unknown: `start_timestamp(selector)`.
    Starts,
    /// Its timestamp in seconds; histograms themselves.
    NumberTimes,
}

/// Which samples of a series are looked at.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Samples {
    All,
    /// One is, if it is there: a reader may leave out the others.
    Newest,
}

/// Where a selector or subquery looks, relative to the steps.
#[derive(Clone, Copy)]
pub(super) struct Shift {
    at: Option<i64>,
    offset_ms: i64,
}

impl Shift {
    /// The instant a step looks at.
    pub fn of(self, step_ms: i64) -> i64 {
        self.at.unwrap_or(step_ms).saturating_sub(self.offset_ms)
    }
}

impl<'e> Eval<'e> {
    pub(super) fn shift(&self, modifiers: &Modifiers) -> Result<Shift, QueryError> {
        let at = modifiers.at.map(|at| match at {
            At::Time(millis) => millis,
            At::Start => self.whole.start_ms,
            At::End => self.whole.end_ms,
        });
        let offset_ms = modifiers.offset.as_ref().map_or(Ok(0), |offset| self.duration(offset))?;
        Ok(Shift { at, offset_ms })
    }

    /// Gives the series with samples in the closed span, one at a time.
    pub(super) fn each_series(
        &mut self,
        (selector, samples): (&Selector, Samples),
        start_ms: i64,
        end_ms: i64,
        mut take: impl FnMut(&mut Self, &mut Series) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let (engine, scope) = (self.engine, self.request.scope.clone());
        let select = MetricSelect { scope, matchers: selector.matchers.clone(), start_ms, end_ms };
        let cursor = match samples {
            Samples::All => engine.reader.cursor(&select, engine.budget)?,
            Samples::Newest => engine.reader.newest(&select, engine.budget)?,
        };
        let coverage = each_pulled(cursor, |series| {
            self.samples += series.timestamps.len() as u64;
            // A staleness marker may be a histogram: the number beside it is one as well.
            series.histograms.retain(|(_, own)| !own.is_stale());
            if self.counts_only {
                compare_hints(series);
            }
            take(self, series)
        })?;
        self.coverage.merge(coverage);
        Ok(())
    }

    /// Gives the rows of an instant selector.
    pub(crate) fn each_selected(
        &mut self,
        (selector, selector_span): (&Selector, Span),
        step_range: StepRange,
        want: Want,
        sink: RowSink<'_, 'e>,
    ) -> Result<(), QueryError> {
        let steps = step_range.steps();
        let shift = self.shift(&selector.modifiers)?;
        if steps == 0 {
            return Ok(());
        }
        self.account(steps)?;
        let lookback_ms = self.request.lookback_ms;
        let first_ms = shift.of(step_range.time(0)).saturating_sub(lookback_ms).saturating_add(1);
        let ahead_ms = if selector.smoothed { lookback_ms } else { 0 };
        let last_ms = shift.of(step_range.time(steps - 1)).saturating_add(ahead_ms);
        let (mut row, mut newest) = (Row::default(), Newest::default());
        // A step looks at the newest sample alone, but for what is between two and for histograms that are compared with the one before.
        let is_newest = steps == 1 && !selector.smoothed && !self.counts_only;
        let samples = if is_newest { Samples::Newest } else { Samples::All };
        self.each_series((selector, samples), first_ms, last_ms, |eval, one| {
            row.values.clear();
            row.histograms.clear();
            row.values.reserve_exact(steps);
            if selector.smoothed && !one.histograms.is_empty() {
                eval.note_coarse(&one.aggregates, one.labels.get(NAME), selector_span);
                let taken = eval.smooth_histograms((one, selector_span), step_range, shift, &mut row)?;
                (row.labels, row.drop_name) = (one.labels.clone(), false);
                if row.is_present() {
                    sink(eval, &mut row)?;
                }
                return eval.give_back(taken);
            }
            if selector.smoothed {
                eval.note_coarse(&one.aggregates, one.labels.get(NAME), selector_span);
                smooth(one, (step_range, shift), lookback_ms, &mut row);
            } else {
                newest.set(eval, one, (step_range, shift), lookback_ms)?;
                newest.fill(one, want, &mut row);
            }
            (row.labels, row.drop_name) = (one.labels.clone(), false);
            if row.is_present() { sink(eval, &mut row) } else { Ok(()) }
        })
    }
}

/// Whether a sample is still there at a time. Where it is the last of a stretch, the next one may come so much later.
fn reaches(one: &Series, i: usize, at: i64, lookback_ms: i64) -> bool {
    let age = at.saturating_sub(one.timestamps[i]);
    age < lookback_ms || age < lookback_ms.saturating_add(stretch_ms(one, i))
}

fn stretch_ms(one: &Series, i: usize) -> i64 {
    let place = one.aggregates.binary_search_by_key(&one.timestamps[i], |own| own.last_ms);
    place.map_or(0, |place| one.aggregates[place].resolution_ms)
}

/// Which sample each step of a series looks at: series of one scrape have the same times, in which that is found once for all.
#[derive(Default)]
struct Newest {
    /// Of the series before.
    times: Vec<i64>,
    /// By step, [`NONE`] where no sample is young enough.
    places: Vec<u32>,
    /// The series before has no aggregates: what it looks at follows from its times alone.
    is_of_times: bool,
}

const NONE: u32 = u32::MAX;

impl Newest {
    fn set(
        &mut self,
        eval: &mut Eval<'_>,
        one: &Series,
        (step_range, shift): (StepRange, Shift),
        lookback_ms: i64,
    ) -> Result<(), QueryError> {
        let steps = step_range.steps();
        let (times, is_of_times) = (&one.timestamps, one.aggregates.is_empty());
        if self.is_of_times && is_of_times && self.places.len() == steps && self.times == *times {
            return Ok(());
        }
        self.is_of_times = is_of_times;
        if self.places.is_empty() {
            eval.tally.take(steps.saturating_mul(size_of::<u32>()) as u64)?;
            self.places.reserve_exact(steps);
        }
        let more = times.len().saturating_sub(self.times.capacity());
        eval.tally.take(more.saturating_mul(size_of::<i64>()) as u64)?;
        self.times.clear();
        self.times.reserve_exact(times.len());
        self.times.extend_from_slice(times);
        self.places.clear();
        let mut next = 0;
        for at in step_range.times().map(|step| shift.of(step)) {
            while times.get(next).is_some_and(|own| *own <= at) {
                next += 1;
            }
            let newest = next.checked_sub(1).filter(|i| reaches(one, *i, at, lookback_ms));
            self.places.push(newest.map_or(NONE, |place| place as u32));
        }
        Ok(())
    }

    /// Appends what is wanted of each step's sample, unless it is a staleness marker.
    fn fill(&self, one: &Series, want: Want, row: &mut Row) {
        if want == Want::Values && one.histograms.is_empty() {
            // A staleness marker is what stands for no sample.
            row.values.extend(self.places.iter().map(|place| one.values.get(*place as usize).copied().unwrap_or(ABSENT)));
            return;
        }
        for place in &self.places {
            let newest = Some(*place as usize).filter(|_| *place != NONE);
            row.values.push(match newest {
                Some(i) if !is_stale(one.values[i]) => wanted(one, i, want),
                Some(i) if !one.histograms.is_empty() => histogram_at(one, i).map_or(ABSENT, |histogram| match want {
                    Want::Values | Want::NumberTimes => {
                        row.histograms.push((row.values.len() as u32, histogram.clone()));
                        ABSENT
                    }
                    want => wanted(one, i, want),
                }),
                _ => ABSENT,
            });
        }
    }
}

/// Appends what stands between the neighbours of each step.
fn smooth(one: &Series, (step_range, shift): (StepRange, Shift), lookback_ms: i64, row: &mut Row) {
    let mut next = 0;
    for at in step_range.times().map(|step| shift.of(step)) {
        while one.timestamps.get(next).is_some_and(|own| *own <= at) {
            next += 1;
        }
        row.values.push(interpolated(one, next, at, lookback_ms));
    }
}

fn wanted(one: &Series, i: usize, want: Want) -> f64 {
    match want {
        Want::Values => one.values[i],
        Want::Times | Want::NumberTimes => one.timestamps[i] as f64 / 1000.0,
        Want::Starts => one.starts.get(i).copied().unwrap_or_default() as f64 / 1000.0,
    }
}

/// The histogram that a sample is.
fn histogram_at(one: &Series, i: usize) -> Option<&Arc<Histogram>> {
    let at = one.histograms.binary_search_by_key(&i, |(own, _)| *own as usize).ok()?;
    Some(&one.histograms[at].1)
}

/// Says of each histogram whether its counters began anew, where its hint does not.
fn compare_hints(one: &mut Series) {
    for i in (1..one.histograms.len()).rev() {
        let (before, rest) = one.histograms.split_at_mut(i);
        let (previous, own) = (&before[i - 1].1, &mut rest[0].1);
        if own.reset == ResetHint::Unknown {
            let reset = if detect_reset(own, previous) { ResetHint::Reset } else { ResetHint::NotReset };
            Arc::make_mut(own).reset = reset;
        }
    }
}

/// The value on the line between the neighbours of `at`; the earlier one's where there is no later one. `next` is the
/// first sample after `at`.
pub(super) fn interpolated(one: &Series, next: usize, at: i64, lookback_ms: i64) -> f64 {
    let near = |i: usize| {
        let (time, value) = (*one.timestamps.get(i)?, one.values[i]);
        let reach_ms = lookback_ms.saturating_add(stretch_ms(one, i));
        let within = time > at.saturating_sub(reach_ms) && time <= at.saturating_add(lookback_ms);
        (within && !is_stale(value)).then_some((time, value))
    };
    match (next.checked_sub(1).and_then(near), near(next)) {
        (None, _) => ABSENT,
        (Some((time, value)), Some((later, more))) if time < at => {
            value + (more - value) * (at - time) as f64 / (later - time) as f64
        }
        (Some((_, value)), _) => value,
    }
}
