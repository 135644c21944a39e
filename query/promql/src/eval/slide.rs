//! What a window of a step is, and how it moves over the samples of one series. Called by `window`, and by `sweep`, which has those
//! of several series at once.

use std::ops::Range;
use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::select::Series;

use super::select::Shift;
use crate::ast::Edge;
use crate::functions::Window;

/// How windows are cut.
pub(super) struct Windows {
    pub shift: Shift,
    pub range_ms: i64,
    pub edge: Edge,
    /// How far before and behind the window samples are of use.
    pub margin_ms: (i64, i64),
}

impl Windows {
    /// Before and behind which a step's window begins and ends.
    pub fn edges(&self, step_ms: i64) -> (i64, i64) {
        let end_ms = self.shift.of(step_ms);
        (end_ms.saturating_sub(self.range_ms), end_ms)
    }

    /// Samples after the first and until the second of these are of use to a step.
    pub fn reach(&self, step_ms: i64) -> (i64, i64) {
        let (start_ms, end_ms) = self.edges(step_ms);
        (start_ms.saturating_sub(self.margin_ms.0), end_ms.saturating_add(self.margin_ms.1))
    }

    /// A step's window of a series of numbers: which of them are in it.
    pub fn of_numbers<'w>(&self, one: &'w Series, numbers: Range<usize>, step_ms: i64, params: [f64; 2]) -> Window<'w> {
        let (start_ms, end_ms) = self.edges(step_ms);
        Window {
            times: &one.timestamps[numbers.clone()],
            values: &one.values[numbers.clone()],
            starts: one.starts.get(numbers).unwrap_or_default(),
            histogram_starts: &[],
            histograms: &[],
            start_ms,
            end_ms,
            params,
            step_ms,
            edge: self.edge,
        }
    }
}

/// What windows are cut from: a series without staleness markers.
#[derive(Clone, Copy)]
pub(super) struct Samples<'s> {
    /// Its numbers.
    pub numbers: &'s Series,
    /// Its histograms, with their times; apart from numbers, as functions want them.
    pub histograms: &'s [(i64, Arc<Histogram>)],
    /// Since when each of them counts; as many, or none.
    pub histogram_starts: &'s [i64],
    /// When staleness markers ended it that follow a downsampled stretch, ascending.
    pub ends: &'s [i64],
}

/// The window of one series as it moves over the steps; both ends only ever move forward.
#[derive(Default)]
pub(super) struct Slide {
    numbers: Bounds,
    histograms: Bounds,
}

#[derive(Default)]
struct Bounds {
    from: usize,
    to: usize,
}

impl Bounds {
    /// Moves to the samples of `(after, until]`.
    fn advance(&mut self, after: i64, until: i64, time: impl Fn(usize) -> Option<i64>) {
        while time(self.to).is_some_and(|at| at <= until) {
            self.to += 1;
        }
        while self.from < self.to && time(self.from).is_some_and(|at| at <= after) {
            self.from += 1;
        }
    }
}

impl Slide {
    /// The number that is the newest at the end of the window, which may lie before it.
    pub fn newest(&self) -> Option<usize> {
        self.numbers.to.checked_sub(1)
    }

    pub fn window<'w>(&mut self, windows: &Windows, samples: Samples<'w>, step_ms: i64) -> Window<'w> {
        let (after, until) = windows.reach(step_ms);
        let one = samples.numbers;
        self.numbers.advance(after, until, |i| one.timestamps.get(i).copied());
        self.histograms.advance(after, until, |i| samples.histograms.get(i).map(|(at, _)| *at));
        let numbers = self.numbers.from..self.numbers.to;
        let histograms = self.histograms.from..self.histograms.to;
        Window {
            histogram_starts: samples.histogram_starts.get(histograms.clone()).unwrap_or_default(),
            histograms: &samples.histograms[histograms],
            ..windows.of_numbers(one, numbers, step_ms, [0.0; 2])
        }
    }
}
