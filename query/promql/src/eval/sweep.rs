//! Where the windows of all steps lie in the samples of a series. The series of one scrape share their times: windows are searched
//! once for all of them, and so is what follows from times alone. Of numbers only; see `window` for the others.

use std::ops::Range;

use weir_model::select::Series;

use super::slide::Windows;
use super::{ABSENT, Eval, StepRange};
use crate::error::QueryError;
use crate::functions::{Change, Stretch, Window, fill_changes};

#[derive(Default)]
pub(super) struct Sweep {
    /// Of the series before.
    times: Vec<i64>,
    /// By step.
    windows: Vec<Range<u32>>,
    /// The same, for functions that take the change between first and last sample.
    stretches: Vec<Option<Stretch>>,
    resets: Vec<u32>,
}

impl Sweep {
    /// Finds the windows of a series, unless they are those of the series before.
    fn set(&mut self, eval: &mut Eval<'_>, one: &Series, windows: &Windows, step_range: StepRange) -> Result<bool, QueryError> {
        let steps = step_range.steps();
        if self.windows.len() == steps && self.times == one.timestamps {
            return Ok(false);
        }
        if self.windows.is_empty() {
            eval.tally.take(steps.saturating_mul(size_of::<Range<u32>>()) as u64)?;
            self.windows.reserve_exact(steps);
        }
        let more = one.timestamps.len().saturating_sub(self.times.capacity());
        // The times, and the places of resets among them.
        eval.tally.take(more.saturating_mul(size_of::<i64>() + size_of::<u32>()) as u64)?;
        self.times.clear();
        self.times.reserve_exact(one.timestamps.len());
        self.times.extend_from_slice(&one.timestamps);
        self.windows.clear();
        let (mut from, mut to) = (0, 0);
        for step_ms in step_range.times() {
            let (after, until) = windows.reach(step_ms);
            while self.times.get(to).is_some_and(|at| *at <= until) {
                to += 1;
            }
            while from < to && self.times[from] <= after {
                from += 1;
            }
            self.windows.push(from as u32..to as u32);
        }
        Ok(true)
    }

    /// Appends what `kernel` makes of each window that has a sample.
    pub(super) fn fill(
        &mut self,
        eval: &mut Eval<'_>,
        (one, windows, step_range): (&Series, &Windows, StepRange),
        param: impl Fn(usize, usize) -> f64,
        kernel: fn(&Window<'_>) -> Option<f64>,
        out: &mut Vec<f64>,
    ) -> Result<(), QueryError> {
        self.set(eval, one, windows, step_range)?;
        for ((step, step_ms), window) in step_range.times().enumerate().zip(&self.windows) {
            let own = window.start as usize..window.end as usize;
            if own.is_empty() {
                out.push(ABSENT);
                continue;
            }
            let window = windows.of_numbers(one, own, step_ms, [param(0, step), param(1, step)]);
            out.push(kernel(&window).unwrap_or(ABSENT));
        }
        Ok(())
    }

    /// The same for a function of the change in a plain window.
    pub(super) fn fill_changes(
        &mut self,
        eval: &mut Eval<'_>,
        (one, windows, step_range): (&Series, &Windows, StepRange),
        change: Change,
        out: &mut Vec<f64>,
    ) -> Result<(), QueryError> {
        if self.set(eval, one, windows, step_range)? {
            if self.stretches.is_empty() {
                eval.tally.take(self.windows.len().saturating_mul(size_of::<Option<Stretch>>()) as u64)?;
            }
            self.stretches.clear();
            self.stretches.reserve_exact(self.windows.len());
            for (step_ms, window) in step_range.times().zip(&self.windows) {
                self.stretches.push(Stretch::new(change, &self.times, window, windows.edges(step_ms)));
            }
        }
        fill_changes(change, &self.stretches, &one.values, (out, ABSENT), &mut self.resets);
        Ok(())
    }
}
