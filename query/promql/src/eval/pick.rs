//! Aggregations that pick series instead of combining them: `topk bottomk limitk limit_ratio`.

use std::cmp::Ordering;

use super::aggregate::Groups;
use super::finish::go_float;
use super::{Eval, Row, is_absent};
use crate::ast::{Aggregate, AggregateOp, Span};
use crate::error::QueryError;
use crate::functions::by_value;

impl Eval<'_> {
    pub(super) fn pick(
        &mut self,
        aggregate: &Aggregate,
        rows: Vec<Row>,
        params: &[f64],
        (span, whole): (Span, Span),
    ) -> Result<Vec<Row>, QueryError> {
        let op = aggregate.op;
        let members = Groups::new(aggregate).members(&rows);
        self.tally.take((rows.len() as u64).saturating_mul(params.len() as u64))?;
        let mut kept = vec![false; rows.len() * params.len()];
        let mut order = Vec::new();
        for (step, param) in params.iter().enumerate() {
            let param = self.check_param(op, *param, span)?;
            for members in &members {
                let mut present: Vec<usize> = members.iter().copied().filter(|row| rows[*row].has(step)).collect();
                if matches!(op, AggregateOp::Topk | AggregateOp::Bottomk) {
                    let before = present.len();
                    present.retain(|row| !is_absent(rows[*row].values[step]));
                    if present.len() < before && param >= 1.0 {
                        self.notes.info(format!("ignored histogram in {} aggregation", op.name()), whole);
                    }
                }
                let value = |row: &usize| rows[*row].values[step];
                let count = if param < 1.0 { 0 } else { param as usize };
                match op {
                    AggregateOp::Topk => first(&mut present, count, |a, b| by_value(value(a), value(b), true)),
                    AggregateOp::Bottomk => first(&mut present, count, |a, b| by_value(value(a), value(b), false)),
                    AggregateOp::LimitRatio => present.retain(|row| in_ratio(&rows[*row], param)),
                    _ => present.truncate(count),
                }
                present.iter().for_each(|row| kept[*row * params.len() + step] = true);
                if self.instant {
                    order.extend(present);
                }
            }
        }
        Ok(keep(rows, &kept, self.instant.then_some(order)))
    }

    fn check_param(&mut self, op: AggregateOp, param: f64, span: Span) -> Result<f64, QueryError> {
        if op != AggregateOp::LimitRatio {
            return match () {
                () if param.is_nan() => Err(QueryError::execution("Parameter value is NaN")),
                () if param.abs() >= i64::MAX as f64 => {
                    Err(QueryError::execution(format!("Scalar value {} overflows int64", go_float(param))))
                }
                () => Ok(param),
            };
        }
        if param.is_nan() {
            return Err(QueryError::execution("Ratio value is NaN"));
        }
        let capped = param.clamp(-1.0, 1.0);
        if capped != param {
            let message =
                format!("ratio value should be between -1 and 1, got {}, capping to {}", go_float(param), go_float(capped));
            self.notes.warn(message, span);
        }
        Ok(capped)
    }
}

/// Leaves the first `count` rows of an order, of rows with the same place in it those before; `rows` ascend.
fn first(rows: &mut Vec<usize>, count: usize, order: impl Fn(&usize, &usize) -> Ordering) {
    let whole = |a: &usize, b: &usize| order(a, b).then(a.cmp(b));
    if count < rows.len() {
        rows.select_nth_unstable_by(count, whole);
        rows.truncate(count);
    }
    rows.sort_unstable_by(whole);
}

/// Whether a series is among `ratio` of all; −0.3 takes exactly those that 0.7 leaves.
fn in_ratio(row: &Row, ratio: f64) -> bool {
    let position = row.labels.stable_hash() as f64 / u64::MAX as f64;
    if ratio >= 0.0 { position < ratio || ratio == 1.0 } else { position >= 1.0 + ratio }
}

/// The rows with what was not kept gone; in `order` of their numbers when one is given.
fn keep(rows: Vec<Row>, kept: &[bool], order: Option<Vec<usize>>) -> Vec<Row> {
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let steps = kept.len() / rows.len().max(1);
    for (row, kept) in rows.iter_mut().flatten().zip(kept.chunks(steps.max(1))) {
        row.keep(|step| kept[step]);
    }
    match order {
        Some(order) => order.into_iter().filter_map(|i| rows[i].take()).collect(),
        None => rows.into_iter().flatten().collect(),
    }
}
