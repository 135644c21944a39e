//! Range selectors and subqueries: windows that slide over whole series, and the kernels run on them.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};
use weir_model::label::{Labels, NAME};
use weir_model::metric::is_stale;
use weir_model::select::{ReadError, Series, label_bytes};

use super::coarse::{self, within};
use super::made::Made;
use super::slide::{Samples, Slide, Windows};
use super::sweep::Sweep;
use super::{ABSENT, Eval, Output, Points, Row, RowSink, StepRange, finish, is_absent, select};
use crate::ast::{Edge, Expr, Kind, RangeSelector, Span, Subquery, Type};
use crate::error::QueryError;
use crate::functions::{Aside, Call, Kernels, Outcome, Window};

/// How often a subquery without a step is evaluated: Prometheus' default evaluation interval.
const SUBQUERY_STEP_MS: i64 = 60_000;

/// Takes the samples of a series, and whether its name goes.
type SeriesSink<'s, 'e> = &'s mut dyn FnMut(&mut Eval<'e>, &Windows, Samples<'_>, bool) -> Result<(), QueryError>;

impl<'e> Eval<'e> {
    /// Gives the series of a range vector, one at a time.
    fn each_windowed(&mut self, expr: &Expr, step_range: StepRange, sink: SeriesSink<'_, 'e>) -> Result<(), QueryError> {
        match &expr.bare().kind {
            Kind::Range(range) => self.each_ranged(range, step_range, sink),
            Kind::Subquery(subquery) => self.each_subquery(subquery, step_range, sink),
            _ => Err(QueryError::execution("a range vector was expected")),
        }
    }

    fn each_ranged(&mut self, range: &RangeSelector, step_range: StepRange, sink: SeriesSink<'_, 'e>) -> Result<(), QueryError> {
        let shift = self.shift(&range.selector.modifiers)?;
        let range_ms = self.positive_duration(&range.range)?;
        let lookback = self.request.lookback_ms;
        let margin_ms = match range.edge {
            Edge::Plain => (0, 0),
            Edge::Anchored => (lookback, 0),
            Edge::Smoothed => (lookback, lookback),
        };
        let windows = Windows { shift, range_ms, edge: range.edge, margin_ms };
        let Some(last) = step_range.steps().checked_sub(1) else { return Ok(()) };
        let first_ms = shift.of(step_range.time(0)).saturating_sub(range_ms + margin_ms.0).saturating_add(1);
        let last_ms = shift.of(step_range.time(last)).saturating_add(margin_ms.1);
        let (mut histograms, mut histogram_starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        self.each_series((&range.selector, select::Samples::All), first_ms, last_ms, |eval, one| {
            histogram_starts.clear();
            if !one.starts.is_empty() {
                histogram_starts.extend(one.histograms.iter().map(|(i, _)| one.starts[*i as usize]));
            }
            histograms.clear();
            histograms.extend(one.histograms.drain(..).map(|(i, own)| (one.timestamps[i as usize], own)));
            coarse::find_ends(one, &mut ends);
            drop_stale(one);
            let samples = Samples { numbers: one, histograms: &histograms, histogram_starts: &histogram_starts, ends: &ends };
            sink(eval, &windows, samples, false)
        })
    }

    fn each_subquery(&mut self, subquery: &Subquery, step_range: StepRange, sink: SeriesSink<'_, 'e>) -> Result<(), QueryError> {
        let shift = self.shift(&subquery.modifiers)?;
        let range_ms = self.positive_duration(&subquery.range)?;
        let step_ms = subquery.step.as_ref().map_or(Ok(SUBQUERY_STEP_MS), |step| self.positive_duration(step))?;
        let windows = Windows { shift, range_ms, edge: Edge::Plain, margin_ms: (0, 0) };
        let Some(last) = step_range.steps().checked_sub(1) else { return Ok(()) };
        // Steps of a subquery are multiples of its step, and the window is open on the left.
        let start_ms = (shift.of(step_range.time(0)).saturating_sub(range_ms).div_euclid(step_ms) + 1) * step_ms;
        let inner = StepRange { start_ms, end_ms: shift.of(step_range.time(last)), step_ms };
        // A row's values with their times.
        self.account(inner.steps().saturating_mul(2))?;
        let mut series = Series::default();
        let (mut histograms, counts_only) = (Vec::new(), std::mem::take(&mut self.counts_only));
        let done = self.each_row(&subquery.expr, inner, &mut |eval, row| {
            series.labels = row.labels.clone();
            series.timestamps.clear();
            series.values.clear();
            for (at, value) in inner.times().zip(&row.values).filter(|(_, value)| !is_absent(**value)) {
                series.timestamps.push(at);
                series.values.push(*value);
            }
            histograms.clear();
            // A sample may stand at several steps, or be the result of an operation: hints about the one before hold no more.
            let mut made = Made::new(&mut eval.tally);
            for (step, own) in row.histograms.drain(..) {
                histograms.push((inner.time(step as usize), without_hint(own, &mut made)?));
            }
            let taken = made.bytes();
            let samples = Samples { numbers: &series, histograms: &histograms, histogram_starts: &[], ends: &[] };
            sink(eval, &windows, samples, row.drop_name)?;
            eval.give_back(taken)
        });
        self.counts_only = counts_only;
        done
    }

    /// Gives the rows of a function over windows. `drop_name` when the result is no longer the metric.
    pub(super) fn range_call(
        &mut self,
        call: &Call<'_>,
        step_range: StepRange,
        kernels: Kernels,
        drop_name: bool,
        sink: RowSink<'_, 'e>,
    ) -> Result<(), QueryError> {
        let steps = step_range.steps();
        let mut params = Vec::new();
        for argument in call.arguments.iter().filter(|argument| argument.kind_type() == Type::Scalar) {
            params.push((self.eval(argument, step_range)?.scalars()?, argument.span));
        }
        Self::check_params(call, &params)?;
        let Some(matrix) = call.arguments.iter().find(|argument| argument.kind_type() == Type::Matrix) else {
            return Err(QueryError::execution("a range vector was expected"));
        };
        check_edge(call, matrix)?;
        self.account(steps)?;
        let (mut row, mut sweep) = (Row::default(), Sweep::default());
        self.each_windowed(matrix, step_range, &mut |eval, windows, samples, no_name| {
            eval.engine.budget.check()?;
            let one = samples.numbers;
            let taken = eval.fill_row((call, kernels), &params, (windows, samples), (step_range, &mut sweep), &mut row)?;
            (row.labels, row.drop_name) = (one.labels.clone(), no_name || drop_name);
            if !row.is_present() {
                return Ok(());
            }
            if let ("quantile_over_time", [(q, span), ..]) = (call.function.name, &params[..]) {
                let asked = q.iter().zip(&row.values).filter(|(_, value)| !is_absent(**value));
                asked.for_each(|(q, _)| eval.check_quantile(*q, *span));
            }
            if row.histograms.is_empty() || row.values.iter().any(|value| !is_absent(*value)) {
                eval.check_counter(call, &row.labels, matrix.span);
            }
            sink(eval, &mut row)?;
            eval.give_back(taken)
        })
    }

    /// Puts a series' windows through a function, step by step; answers the memory that was taken for histograms.
    #[inline(never)]
    fn fill_row(
        &mut self,
        (call, kernels): (&Call<'_>, Kernels),
        params: &[(Vec<f64>, Span)],
        (windows, samples): (&Windows, Samples<'_>),
        (step_range, sweep): (StepRange, &mut Sweep),
        row: &mut Row,
    ) -> Result<u64, QueryError> {
        let param = |i: usize, step: usize| params.get(i).and_then(|(values, _)| values.get(step).copied()).unwrap_or(0.0);
        row.values.clear();
        row.values.reserve_exact(step_range.steps());
        row.histograms.clear();
        let one = samples.numbers;
        let starts = call.function.uses_starts() && !(one.starts.is_empty() && samples.histogram_starts.is_empty());
        let is_plain = !starts && samples.histograms.is_empty();
        let (of, change) = ((one, windows, step_range), kernels.change.filter(|_| windows.edge == Edge::Plain));
        if !one.aggregates.is_empty() {
            let change = change.filter(|_| is_plain);
            if let Some(change) = change {
                sweep.fill_changes(self, of, change, &mut row.values)?;
            }
            return self.fill_coarse((call, kernels), param, (windows, samples), (step_range, change.is_some()), row);
        }
        if is_plain {
            match change {
                Some(change) => sweep.fill_changes(self, of, change, &mut row.values)?,
                None => sweep.fill(self, of, param, kernels.numbers, &mut row.values)?,
            }
            return Ok(0);
        }
        let (mut slide, mut taken) = (Slide::default(), 0);
        for (step, step_ms) in step_range.times().enumerate() {
            let mut window = slide.window(windows, samples, step_ms);
            window.params = [param(0, step), param(1, step)];
            taken += self.mixed_step(call, kernels, &one.labels, &window, row)?;
        }
        Ok(taken)
    }

    /// Adds a step of a series with histograms or starts to its row; answers the memory that was taken for it.
    pub(super) fn mixed_step(
        &mut self,
        call: &Call<'_>,
        kernels: Kernels,
        labels: &Labels,
        window: &Window<'_>,
        row: &mut Row,
    ) -> Result<u64, QueryError> {
        let (metric, span, numbers) = (labels.get(NAME), call.arguments[0].bare().span, kernels.numbers);
        let mut aside = Aside { notes: &mut self.notes, metric, span, numbers };
        let any = !window.values.is_empty() || !window.histograms.is_empty();
        match any.then(|| (kernels.mixed)(window, &mut aside)).flatten() {
            Some(Outcome::Number(value)) => row.values.push(value),
            Some(Outcome::Histogram(histogram)) => {
                let bytes = histogram.memory() as u64;
                self.tally.take(bytes)?;
                row.histograms.push((row.values.len() as u32, histogram));
                row.values.push(ABSENT);
                return Ok(bytes);
            }
            None => row.values.push(ABSENT),
        }
        Ok(0)
    }

    fn check_params(call: &Call<'_>, params: &[(Vec<f64>, Span)]) -> Result<(), QueryError> {
        if call.function.name != "double_exponential_smoothing" {
            return Ok(());
        }
        for ((values, _), name) in params.iter().zip(["smoothing", "trend"]) {
            if let Some(wrong) = values.iter().find(|value| !(**value > 0.0 && **value < 1.0)) {
                let short = if name == "smoothing" { "sf" } else { "tf" };
                return Err(QueryError::execution(format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {wrong:.6}")));
            }
        }
        Ok(())
    }

    /// Warns about a quantile that is none.
    pub(crate) fn check_quantile(&mut self, q: f64, span: Span) {
        if !(0.0..=1.0).contains(&q) {
            let q = finish::go_float(q);
            self.notes.warn(format!("quantile value should be between 0 and 1, got {q}"), span);
        }
    }

    fn check_counter(&mut self, call: &Call<'_>, labels: &Labels, span: Span) {
        if !matches!(call.function.name, "rate" | "increase") {
            return;
        }
        let (name, kind) = (labels.get(NAME), labels.get("__type__"));
        if name.is_empty() {
            return;
        }
        let suffix = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
        if kind.is_empty() && !suffix {
            let message = format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}");
            self.notes.info(message, span);
        } else if !kind.is_empty() && !matches!(kind, "counter" | "histogram") {
            let message = format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {kind:?}: {name:?}"
            );
            self.notes.info(message, span);
        }
    }

    /// Steps at which some series has a sample in its window, for `absent_over_time`.
    pub(crate) fn presence(&mut self, matrix: &Expr, step_range: StepRange) -> Result<Vec<bool>, QueryError> {
        let mut present = vec![false; step_range.steps()];
        self.each_windowed(matrix, step_range, &mut |_, windows, samples, _| {
            let mut slide = Slide::default();
            for (step, step_ms) in step_range.times().enumerate() {
                let window = slide.window(windows, samples, step_ms);
                let is_there = !window.values.is_empty() || !window.histograms.is_empty();
                present[step] |= is_there || coarse::reaching(samples, slide.newest(), &window).is_some();
            }
            Ok(())
        })?;
        Ok(present)
    }

    /// The windows themselves: an instant query that is a range vector.
    pub(super) fn matrix(&mut self, expr: &Expr, step_range: StepRange) -> Result<Output, QueryError> {
        let mut rows = Vec::new();
        self.each_windowed(expr, step_range, &mut |eval, windows, samples, no_name| {
            let mut slide = Slide::default();
            let window = slide.window(windows, samples, step_range.start_ms);
            if window.times.is_empty() && window.histograms.is_empty() {
                return Ok(());
            }
            eval.account(window.times.len().saturating_mul(2))?;
            eval.note_coarse(
                within(&samples.numbers.aggregates, window.times),
                samples.numbers.labels.get(NAME),
                expr.bare().span,
            );
            let histograms = window.histograms.to_vec();
            eval.tally.take(histograms.iter().map(|(_, own)| own.memory() as u64).sum())?;
            let labels = finish::final_labels(&samples.numbers.labels, no_name);
            eval.tally.take(label_bytes(&labels))?;
            let points = window.times.iter().copied().zip(window.values.iter().copied()).collect();
            rows.push(Points { labels, points, histograms });
            Ok(())
        })?;
        finish::matrix(rows)
    }
}

/// The histogram without what it says of the one before.
fn without_hint(mut histogram: Arc<Histogram>, made: &mut Made<'_, '_>) -> Result<Arc<Histogram>, ReadError> {
    if !matches!(histogram.reset, ResetHint::Reset | ResetHint::NotReset) {
        return Ok(histogram);
    }
    match Arc::get_mut(&mut histogram) {
        Some(own) => own.reset = ResetHint::Unknown,
        None => histogram = made.one(&histogram, |own| Histogram { reset: ResetHint::Unknown, ..own.clone() })?,
    }
    Ok(histogram)
}

/// Takes staleness markers out.
fn drop_stale(series: &mut Series) {
    // Most series have none, and many values are compared at once when none is looked at.
    if !series.values.iter().fold(false, |any, value| any | is_stale(*value)) {
        return;
    }
    let first = series.values.iter().position(|value| is_stale(*value)).unwrap_or_default();
    let mut kept = first;
    for at in first..series.values.len() {
        if !is_stale(series.values[at]) {
            series.timestamps[kept] = series.timestamps[at];
            series.values[kept] = series.values[at];
            if let Some(start) = series.starts.get(at).copied() {
                series.starts[kept] = start;
            }
            kept += 1;
        }
    }
    series.timestamps.truncate(kept);
    series.values.truncate(kept);
    series.starts.truncate(kept);
}

/// Not every function knows what to do with `anchored` and `smoothed`.
fn check_edge(call: &Call<'_>, matrix: &Expr) -> Result<(), QueryError> {
    let Kind::Range(range) = &matrix.bare().kind else { return Ok(()) };
    let (word, allowed): (_, &[&str]) = match range.edge {
        Edge::Plain => return Ok(()),
        Edge::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Edge::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
    };
    let name = call.function.name;
    if allowed.contains(&name) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(QueryError::execution(format!("{word} modifier can only be used with: {allowed} - not with {name}")))
}
