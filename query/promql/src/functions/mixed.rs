//! Windows with histograms, of functions that take statistics: `…_over_time`, and what ignores histograms.

use std::sync::Arc;

use weir_model::histogram::Histogram;

use super::Window;
use crate::annotations::Annotations;
use crate::ast::Span;
use crate::histogram::{Fold, Incompatible, Merged, Running};

/// What a window gives.
pub(crate) enum Outcome {
    Number(f64),
    Histogram(Arc<Histogram>),
}

/// What a function over a window with histograms has beside it.
pub(crate) struct Aside<'a> {
    pub notes: &'a mut Annotations,
    /// The series' name, "" if none.
    pub metric: &'a str,
    /// The function's first argument.
    pub span: Span,
    /// The same function where there are only numbers.
    pub numbers: fn(&Window<'_>) -> Option<f64>,
}

impl Aside<'_> {
    /// Notes that a window has both, for functions that have no result then.
    pub(super) fn both<T>(&mut self) -> Option<T> {
        self.note_both();
        None
    }

    /// See [`Self::both`].
    pub(crate) fn note_both(&mut self) {
        let message = format!("encountered a mix of histograms and floats for metric name {:?}", self.metric);
        self.notes.warn(message, self.span);
    }

    /// Notes that exponential buckets and custom ones do not go together.
    pub(crate) fn mixed_schemas<T>(&mut self) -> Option<T> {
        self.notes.mixed_schemas(self.metric, self.span);
        None
    }

    pub(super) fn not_counter(&mut self) {
        self.notes.warn(format!("this native histogram metric is not a counter: {:?}", self.metric), self.span);
    }

    pub(super) fn not_gauge(&mut self) {
        self.notes.warn(format!("this native histogram metric is not a gauge: {:?}", self.metric), self.span);
    }

    /// Notes bounds that were reconciled in an `operation`; `None` where there was no result.
    pub(super) fn merged(&mut self, merged: Result<Merged, Incompatible>, operation: &str) -> Option<()> {
        let Ok(merged) = merged else { return self.mixed_schemas() };
        self.notes.merged(Merged { resets_collide: false, ..merged }, operation, self.span);
        Some(())
    }
}

/// Of the numbers alone; a note says that histograms are left out.
pub(super) fn numbers_only(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<Outcome> {
    if window.values.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        let message =
            format!("ignored histograms in a range containing both floats and histograms for metric name {:?}", aside.metric);
        aside.notes.info(message, aside.span);
    }
    (aside.numbers)(window).map(Outcome::Number)
}

pub(super) fn sum(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<Outcome> {
    folded(window, aside, Fold::Sum)
}

pub(super) fn avg(window: &Window<'_>, aside: &mut Aside<'_>) -> Option<Outcome> {
    folded(window, aside, Fold::Mean)
}

fn folded(window: &Window<'_>, aside: &mut Aside<'_>, fold: Fold) -> Option<Outcome> {
    let Some(((_, first), rest)) = window.histograms.split_first() else {
        return (aside.numbers)(window).map(Outcome::Number);
    };
    if !window.values.is_empty() {
        return aside.both();
    }
    let mut running = Running::new(first, fold);
    for (_, histogram) in rest {
        if running.add(histogram).is_err() {
            return aside.mixed_schemas();
        }
    }
    aside.notes.merged(running.merged(), "aggregation", aside.span);
    Some(Outcome::Histogram(Arc::new(running.total())))
}

pub(super) fn count(window: &Window<'_>, _: &mut Aside<'_>) -> Option<Outcome> {
    Some(Outcome::Number((window.values.len() + window.histograms.len()) as f64))
}

pub(super) fn present(_: &Window<'_>, _: &mut Aside<'_>) -> Option<Outcome> {
    Some(Outcome::Number(1.0))
}

pub(super) fn first(window: &Window<'_>, _: &mut Aside<'_>) -> Option<Outcome> {
    let number = window.times.first().map(|at| (*at, Outcome::Number(window.values[0])));
    let histogram = window.histograms.first().map(|(at, own)| (*at, Outcome::Histogram(own.clone())));
    number.into_iter().chain(histogram).min_by_key(|(at, _)| *at).map(|(_, own)| own)
}

pub(super) fn last(window: &Window<'_>, _: &mut Aside<'_>) -> Option<Outcome> {
    let number = window.times.last().map(|at| (*at, Outcome::Number(window.values[window.values.len() - 1])));
    let histogram = window.histograms.last().map(|(at, own)| (*at, Outcome::Histogram(own.clone())));
    number.into_iter().chain(histogram).max_by_key(|(at, _)| *at).map(|(_, own)| own)
}

pub(super) fn time_of_first(window: &Window<'_>, _: &mut Aside<'_>) -> Option<Outcome> {
    let first = window.times.first().into_iter().chain(window.histograms.first().map(|(at, _)| at)).min();
    first.map(|at| Outcome::Number(*at as f64 / 1000.0))
}

pub(super) fn time_of_last(window: &Window<'_>, _: &mut Aside<'_>) -> Option<Outcome> {
    let last = window.times.last().into_iter().chain(window.histograms.last().map(|(at, _)| at)).max();
    last.map(|at| Outcome::Number(*at as f64 / 1000.0))
}
