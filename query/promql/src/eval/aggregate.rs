//! Aggregation into one series a group: rows are folded into group × step as they come. What picks series, or needs all values of
//! a step, holds the rows.

use std::collections::HashMap;

use weir_model::label::{Labels, NAME};
use weir_model::select::label_bytes;

use super::aggregate_histograms::{HistogramGroups, OnHistogram};
use super::group_keys::GroupKeys;
use super::{ABSENT, Eval, Row, StepRange, Value, is_absent, present};
use crate::ast::{Aggregate, AggregateOp, Span};
use crate::error::QueryError;
use crate::functions::quantile;
use crate::functions::sums::{Mean, Sum};
use crate::histogram::Fold;

/// The groups that have been seen.
pub(super) struct Groups<'a> {
    aggregate: &'a Aggregate,
    /// No label behind this one stays, where that is known.
    last: Option<&'a str>,
    keys: GroupKeys,
    /// Labels of each group.
    labels: Vec<Labels>,
    /// Whether each group's name goes: when any of its rows' does.
    drop_name: Vec<bool>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(aggregate: &'a Aggregate) -> Self {
        let names = aggregate.grouping.iter().map(String::as_str);
        let last = if aggregate.without { None } else { Some(names.max().unwrap_or_default()) };
        Self { aggregate, last, keys: GroupKeys::default(), labels: Vec::new(), drop_name: Vec::new() }
    }

    /// The number of a row's group: the next one when it is the first of its group.
    fn of(&mut self, row: &Row) -> usize {
        self.of_labels(&row.labels, row.drop_name)
    }

    /// The same of a series with these labels, whose name may be about to go.
    pub(super) fn of_labels(&mut self, labels: &Labels, drop_name: bool) -> usize {
        let Aggregate { grouping, without, .. } = self.aggregate;
        let named = |name: &str| grouping.iter().any(|own| own == name);
        let keeps = |name: &str| if *without { name != NAME && !named(name) } else { named(name) };
        // Labels ascend by name: behind the last that stays there is nothing to look for.
        let last = self.last;
        let may_stay = labels.iter().take_while(|(name, _)| last.is_none_or(|last| *name <= last));
        let id = self.keys.number(may_stay.filter(|(name, _)| keeps(name)));
        if id == self.labels.len() {
            self.labels.push(labels.without(|name| !keeps(name)));
            self.drop_name.push(false);
        }
        self.drop_name[id] |= drop_name;
        id
    }

    /// The rows of each group, by place.
    pub(super) fn members(&mut self, rows: &[Row]) -> Vec<Vec<usize>> {
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let group = self.of(row);
            members.resize_with(self.labels.len(), Vec::new);
            members[group].push(at);
        }
        members
    }

    /// What a group takes beside its states.
    pub(super) fn bytes(&self, group: usize) -> u64 {
        2 * label_bytes(&self.labels[group])
    }

    pub(super) fn row(&self, group: usize, values: Vec<f64>) -> Row {
        Row { labels: self.labels[group].clone(), drop_name: self.drop_name[group], values, ..Row::default() }
    }
}

impl Eval<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, whole: Span, step_range: StepRange) -> Result<Value, QueryError> {
        let param = match &aggregate.param {
            Some(param) => Some((self.eval(param, step_range)?, param.span)),
            None => None,
        };
        let rows = match (aggregate.op, param) {
            (AggregateOp::CountValues, Some((label, _))) => self.count_values(aggregate, &label.text()?, step_range)?,
            (AggregateOp::Quantile, Some((q, span))) => {
                let rows = self.eval(&aggregate.expr, step_range)?.rows()?;
                let q = q.scalars()?;
                let extremes = [q.iter().copied().fold(f64::NAN, f64::min), q.iter().copied().fold(f64::NAN, f64::max)];
                q.iter().copied().find(|q| q.is_nan()).into_iter().chain(extremes).for_each(|q| self.check_quantile(q, span));
                self.quantiles(aggregate, &rows, &q)?
            }
            (op, Some((param, span))) if op.picks() => {
                let rows = self.eval(&aggregate.expr, step_range)?.rows()?;
                self.pick(aggregate, rows, &param.scalars()?, (span, whole))?
            }
            _ => self.combine(aggregate, step_range)?,
        };
        Ok(Value::Vector(rows.into_iter().filter(Row::is_present).collect()))
    }

    fn combine(&mut self, aggregate: &Aggregate, step_range: StepRange) -> Result<Vec<Row>, QueryError> {
        use OnHistogram::{Counts, Folds, Ignores};
        if let Some(selector) = present::counted(aggregate, step_range) {
            return self.count_present(aggregate, selector, step_range);
        }
        match aggregate.op {
            AggregateOp::Sum => {
                let total = |sum: &Sum| if is_absent(sum.value) { ABSENT } else { sum.total() };
                self.fold((aggregate, Folds(Fold::Sum)), step_range, ABSENT_SUM, add, total)
            }
            AggregateOp::Avg => {
                let mean = |mean: &Mean| if mean.is_empty() { ABSENT } else { mean.mean() };
                self.fold((aggregate, Folds(Fold::Mean)), step_range, Mean::default(), Mean::push, mean)
            }
            AggregateOp::Min => {
                self.fold((aggregate, Ignores), step_range, ABSENT, extreme(|value, best| value < best), |best| *best)
            }
            AggregateOp::Max => {
                self.fold((aggregate, Ignores), step_range, ABSENT, extreme(|value, best| value > best), |best| *best)
            }
            AggregateOp::Count => {
                let count = |count: &f64| if *count == 0.0 { ABSENT } else { *count };
                self.fold((aggregate, Counts), step_range, 0.0, |count: &mut f64, _| *count += 1.0, count)
            }
            AggregateOp::Stddev => {
                self.fold((aggregate, Ignores), step_range, Spread::default(), Spread::push, |own| own.variance(f64::sqrt))
            }
            AggregateOp::Stdvar => {
                self.fold((aggregate, Ignores), step_range, Spread::default(), Spread::push, |own| own.variance(|own| own))
            }
            // `group`; the others are dealt with by the caller.
            _ => self.fold((aggregate, Counts), step_range, ABSENT, |own: &mut f64, _| *own = 1.0, |own| *own),
        }
    }

    /// Folds every sample into its group's state of its step; `done` turns a state into a value, and one that has seen no sample
    /// into [`ABSENT`].
    fn fold<S: Clone>(
        &mut self,
        (aggregate, on_histogram): (&Aggregate, OnHistogram),
        step_range: StepRange,
        empty: S,
        add: impl Fn(&mut S, f64),
        done: impl Fn(&S) -> f64,
    ) -> Result<Vec<Row>, QueryError> {
        let (mut groups, mut states) = (Groups::new(aggregate), Vec::<Vec<S>>::new());
        let mut histograms = HistogramGroups::default();
        let steps = step_range.steps();
        self.each_row(&aggregate.expr, step_range, &mut |eval, row| {
            let group = groups.of(row);
            if group == states.len() {
                let bytes = steps.saturating_mul(size_of::<S>()) as u64;
                eval.tally.take(bytes.saturating_add(groups.bytes(group)))?;
                states.push(vec![empty.clone(); steps]);
            }
            for (state, value) in states[group].iter_mut().zip(&row.values).filter(|(_, value)| !is_absent(**value)) {
                add(state, *value);
            }
            match on_histogram {
                _ if row.histograms.is_empty() => {}
                OnHistogram::Counts => row.histograms.iter().for_each(|(step, _)| add(&mut states[group][*step as usize], 1.0)),
                OnHistogram::Ignores => eval.note_ignored(aggregate),
                OnHistogram::Folds(fold) => histograms.add(eval, aggregate, fold, group, row)?,
            }
            Ok(())
        })?;
        let values = states.into_iter().map(|states| states.iter().map(&done).collect());
        let mut rows: Vec<Row> = values.enumerate().map(|(group, values)| groups.row(group, values)).collect();
        histograms.finish(&mut rows, aggregate, &mut self.notes);
        Ok(rows)
    }

    fn count_values(&mut self, aggregate: &Aggregate, label: &str, step_range: StepRange) -> Result<Vec<Row>, QueryError> {
        if label.is_empty() || label.contains('\u{fffd}') {
            return Err(QueryError::execution(format!("invalid label name {label:?}")));
        }
        let steps = step_range.steps();
        let (mut groups, mut at) = (Groups::new(aggregate), HashMap::<Labels, usize>::new());
        // With the group of each.
        let mut rows: Vec<(usize, Row)> = Vec::new();
        self.each_row(&aggregate.expr, step_range, &mut |eval, row| {
            let group = groups.of(row);
            let numbers = row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value));
            let numbers = numbers.map(|(step, value)| (step, crate::print::number(*value)));
            let histograms = row.histograms.iter().map(|(step, own)| (*step as usize, crate::histogram::text(own)));
            for (step, shown) in numbers.chain(histograms) {
                let labels = groups.labels[group].with(label, &shown);
                let own = match at.get(&labels) {
                    Some(own) => *own,
                    None => {
                        let row = Row { labels: labels.clone(), values: vec![ABSENT; steps], ..Row::default() };
                        eval.tally.take(row.bytes())?;
                        rows.push((group, row));
                        at.insert(labels, rows.len() - 1);
                        rows.len() - 1
                    }
                };
                let count = &mut rows[own].1.values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
            Ok(())
        })?;
        let named = |(group, row): (usize, Row)| Row { drop_name: groups.drop_name[group] && label != NAME, ..row };
        Ok(rows.into_iter().map(named).collect())
    }

    fn quantiles(&mut self, aggregate: &Aggregate, rows: &[Row], q: &[f64]) -> Result<Vec<Row>, QueryError> {
        if rows.iter().any(|row| !row.histograms.is_empty()) {
            self.note_ignored(aggregate);
        }
        let mut groups = Groups::new(aggregate);
        let members = groups.members(rows);
        self.account(members.len().saturating_mul(q.len()))?;
        let mut found = Vec::with_capacity(members.len());
        for (group, members) in members.iter().enumerate() {
            let mut values = Vec::with_capacity(q.len());
            let mut sample = Vec::with_capacity(members.len());
            for (step, q) in q.iter().enumerate() {
                sample.clear();
                sample.extend(members.iter().map(|row| rows[*row].values[step]).filter(|value| !is_absent(*value)));
                values.push(if sample.is_empty() { ABSENT } else { quantile(*q, &mut sample) });
            }
            found.push(groups.row(group, values));
        }
        Ok(found)
    }
}

/// Nothing has been added yet.
const ABSENT_SUM: Sum = Sum { value: ABSENT, compensation: 0.0 };

fn add(sum: &mut Sum, value: f64) {
    let before = if is_absent(sum.value) { Sum::default() } else { *sum };
    *sum = before.plus(value);
}

/// Any number is better than NaN, and than nothing.
fn extreme(better: fn(f64, f64) -> bool) -> impl Fn(&mut f64, f64) {
    move |best, value| {
        // Nothing is a NaN as well.
        if better(value, *best) || best.is_nan() {
            *best = value;
        }
    }
}

/// Welford's running variance; NaN as soon as a value is not finite.
#[derive(Clone, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn push(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn variance(&self, shown: fn(f64) -> f64) -> f64 {
        if self.count == 0.0 { ABSENT } else { shown(self.squares / self.count) }
    }
}
