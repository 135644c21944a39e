//! Aggregation into one series a group: whole rows folded into group × step.

use std::collections::HashMap;

use weir_model::label::{Labels, NAME};

use super::{ABSENT, Eval, Row, StepRange, Value, is_absent};
use crate::ast::{Aggregate, AggregateOp, Span};
use crate::error::QueryError;
use crate::functions::quantile;
use crate::functions::sums::{Mean, Sum};

/// Rows and the groups they belong to.
pub(super) struct Grouped {
    pub rows: Vec<Row>,
    /// The group of each row.
    pub group_of: Vec<usize>,
    /// Labels of each group.
    pub groups: Vec<Labels>,
    /// Whether each group's name goes: when any of its rows' does.
    pub drop_name: Vec<bool>,
}

impl Grouped {
    fn new(rows: Vec<Row>, aggregate: &Aggregate) -> Self {
        let named = |name: &str| aggregate.grouping.iter().any(|own| own == name);
        let mut ids: HashMap<Labels, usize> = HashMap::new();
        let mut grouped =
            Self { rows: Vec::new(), group_of: Vec::with_capacity(rows.len()), groups: Vec::new(), drop_name: Vec::new() };
        for row in &rows {
            let key = match aggregate.without {
                false if aggregate.grouping.is_empty() => Labels::EMPTY,
                false => row.labels.without(|name| !named(name)),
                true => row.labels.without(|name| name == NAME || named(name)),
            };
            let id = *ids.entry(key).or_insert_with_key(|key| {
                grouped.groups.push(key.clone());
                grouped.drop_name.push(false);
                grouped.groups.len() - 1
            });
            grouped.drop_name[id] |= row.drop_name;
            grouped.group_of.push(id);
        }
        grouped.rows = rows;
        grouped
    }

    /// The rows of each group.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.groups.len()];
        self.group_of.iter().enumerate().for_each(|(row, group)| members[*group].push(row));
        members
    }

    /// Folds every sample into its group's state of its step, group by group, so that only one group's states are held;
    /// `done` turns a state that has seen a sample into a value.
    fn fold<S: Clone + Default>(&self, steps: usize, add: impl Fn(&mut S, f64, bool), done: impl Fn(&mut S) -> f64) -> Vec<Row> {
        let mut rows = Vec::with_capacity(self.groups.len());
        for (group, members) in self.members().into_iter().enumerate() {
            let mut states = vec![(S::default(), false); steps];
            for row in members {
                for ((state, seen), value) in states.iter_mut().zip(&self.rows[row].values) {
                    if !is_absent(*value) {
                        add(state, *value, *seen);
                        *seen = true;
                    }
                }
            }
            let values = states.into_iter().map(|(mut state, seen)| if seen { done(&mut state) } else { ABSENT }).collect();
            rows.push(Row { labels: self.groups[group].clone(), drop_name: self.drop_name[group], values });
        }
        rows
    }
}

impl Eval<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, _span: Span, step_range: StepRange) -> Result<Value, QueryError> {
        let steps = step_range.steps();
        let param = match &aggregate.param {
            Some(param) => Some((self.eval(param, step_range)?, param.span)),
            None => None,
        };
        let rows = self.eval(&aggregate.expr, step_range)?.rows()?;
        let grouped = Grouped::new(rows, aggregate);
        self.account(grouped.groups.len().saturating_mul(steps))?;
        let rows = match (aggregate.op, param) {
            (AggregateOp::CountValues, Some((label, _))) => self.count_values(&grouped, &label.text()?, steps)?,
            (AggregateOp::Quantile, Some((q, span))) => {
                let q = q.scalars()?;
                q.iter().for_each(|q| self.check_quantile(*q, span));
                quantiles(&grouped, &q)
            }
            (op, Some((param, span))) if op.picks() => self.pick(op, grouped, &param.scalars()?, span)?,
            (op, _) => fold(op, &grouped, steps),
        };
        Ok(Value::Vector(rows.into_iter().filter(Row::is_present).collect()))
    }

    fn count_values(&mut self, grouped: &Grouped, label: &str, steps: usize) -> Result<Vec<Row>, QueryError> {
        if label.is_empty() || label.contains('\u{fffd}') {
            return Err(QueryError::execution(format!("invalid label name {label:?}")));
        }
        let mut at: HashMap<Labels, usize> = HashMap::new();
        let mut rows: Vec<Row> = Vec::new();
        for (row, group) in grouped.rows.iter().zip(&grouped.group_of) {
            for (step, value) in row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
                let labels = grouped.groups[*group].with(label, &crate::print::number(*value));
                let own = match at.get(&labels) {
                    Some(own) => *own,
                    None => {
                        self.account(steps)?;
                        let drop_name = grouped.drop_name[*group] && label != NAME;
                        rows.push(Row { labels: labels.clone(), drop_name, values: vec![ABSENT; steps] });
                        at.insert(labels, rows.len() - 1);
                        rows.len() - 1
                    }
                };
                let count = &mut rows[own].values[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
        Ok(rows)
    }
}

fn fold(op: AggregateOp, grouped: &Grouped, steps: usize) -> Vec<Row> {
    match op {
        AggregateOp::Sum => grouped.fold(steps, |sum: &mut Sum, value, _| *sum = sum.plus(value), |sum| sum.total()),
        AggregateOp::Avg => grouped.fold(steps, |mean: &mut Mean, value, _| mean.push(value), |mean| mean.mean()),
        AggregateOp::Min => extreme(grouped, steps, |value, best| value < best),
        AggregateOp::Max => extreme(grouped, steps, |value, best| value > best),
        AggregateOp::Count => grouped.fold(steps, |count: &mut f64, _, _| *count += 1.0, |count| *count),
        AggregateOp::Stddev => deviation(grouped, steps, f64::sqrt),
        AggregateOp::Stdvar => deviation(grouped, steps, |variance| variance),
        // `group`; the others are dealt with by the caller.
        _ => grouped.fold(steps, |(): &mut (), _, _| (), |()| 1.0),
    }
}

/// Any number is better than NaN.
fn extreme(grouped: &Grouped, steps: usize, better: fn(f64, f64) -> bool) -> Vec<Row> {
    let add = |best: &mut f64, value: f64, seen: bool| {
        if !seen || better(value, *best) || best.is_nan() {
            *best = value;
        }
    };
    grouped.fold(steps, add, |best| *best)
}

/// Welford's running variance; NaN as soon as a value is not finite.
#[derive(Clone, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

fn deviation(grouped: &Grouped, steps: usize, of_variance: fn(f64) -> f64) -> Vec<Row> {
    let add = |spread: &mut Spread, value: f64, _| {
        spread.count += 1.0;
        let delta = value - spread.mean;
        spread.mean += delta / spread.count;
        spread.squares += delta * (value - spread.mean);
    };
    grouped.fold(steps, add, |spread| of_variance(spread.squares / spread.count))
}

fn quantiles(grouped: &Grouped, q: &[f64]) -> Vec<Row> {
    let members = grouped.members();
    let mut rows = Vec::with_capacity(members.len());
    for (group, members) in members.iter().enumerate() {
        let mut values = Vec::with_capacity(q.len());
        let mut sample = Vec::with_capacity(members.len());
        for (step, q) in q.iter().enumerate() {
            sample.clear();
            sample.extend(members.iter().map(|row| grouped.rows[*row].values[step]).filter(|value| !is_absent(*value)));
            values.push(if sample.is_empty() { ABSENT } else { quantile(*q, &mut sample) });
        }
        rows.push(Row { labels: grouped.groups[group].clone(), drop_name: grouped.drop_name[group], values });
    }
    rows
}
