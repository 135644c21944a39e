//! Functions on a vector's order and sample times.

use std::cmp::Ordering;

use super::Call;
use crate::ast::Kind;
use crate::error::QueryError;
use crate::eval::{Eval, Row, StepRange, Value, Want, is_absent};

/// `timestamp(v)`: of the samples themselves when `v` is a plain selector, else of the step.
pub(super) fn timestamp(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let argument = &call.arguments[0];
    eval.collect(|eval, sink| match &argument.bare().kind {
        Kind::Selector(selector) => eval.each_selected((selector, argument.span), step_range, Want::Times, &mut |eval, row| {
            row.drop_name = true;
            sink(eval, row)
        }),
        _ => eval.each_row(argument, step_range, &mut |eval, row| {
            // Histograms have their times as well.
            for (step, _) in std::mem::take(&mut row.histograms) {
                row.values[step as usize] = 0.0;
            }
            let present = row.values.iter_mut().zip(step_range.times()).filter(|(value, _)| !is_absent(**value));
            present.for_each(|(value, at)| *value = at as f64 / 1000.0);
            row.drop_name = true;
            sink(eval, row)
        }),
    })
}

/// `start_timestamp(v)`: since when samples of a plain selector count; of anything else that is not known.
pub(super) fn start_timestamp(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let argument = &call.arguments[0];
    eval.collect(|eval, sink| match &argument.bare().kind {
        Kind::Selector(selector) => eval.each_selected((selector, argument.span), step_range, Want::Starts, &mut |eval, row| {
            row.drop_name = true;
            sink(eval, row)
        }),
        _ => eval.each_row(argument, step_range, &mut |_, _| Ok(())),
    })
}

/// `sort(v)`, `sort_desc(v)`: numbers alone, NaN last. Only an instant query has an order.
pub(super) fn sort(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let mut rows = eval.argument(call, 0, step_range)?.rows()?;
    if !eval.instant {
        warn(eval, call);
        rows.iter_mut().for_each(|row| row.histograms.clear());
        rows.retain(Row::is_present);
        return Ok(Value::Vector(rows));
    }
    let descending = call.function.name == "sort_desc";
    rows.retain(|row| !is_absent(row.values[0]));
    rows.sort_by(|a, b| by_value(a.values[0], b.values[0], descending));
    Ok(Value::Vector(rows))
}

/// NaN last in both directions.
pub(crate) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if descending => b.total_cmp(&a),
        _ => a.total_cmp(&b),
    }
}

/// `sort_by_label(v, "a", …)`, `sort_by_label_desc`: natural order, so that `10` comes after `9`; then all labels.
pub(super) fn sort_by_label(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let mut rows = eval.argument(call, 0, step_range)?.rows()?;
    if !eval.instant {
        warn(eval, call);
        return Ok(Value::Vector(rows));
    }
    let mut names = Vec::new();
    for i in 1..call.arguments.len() {
        names.push(eval.argument(call, i, step_range)?.text()?);
    }
    rows.sort_by(|a, b| {
        let by_name = names.iter().map(|name| natural(a.labels.get(name), b.labels.get(name)));
        let order = by_name.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
        if call.function.name == "sort_by_label_desc" { order.reverse() } else { order }
    });
    Ok(Value::Vector(rows))
}

fn warn(eval: &mut Eval<'_>, call: &Call<'_>) {
    let message = "sort is ineffective for range queries since results are always ordered by labels";
    eval.notes.warn(message, call.span);
}

/// Runs of digits compare as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (digits_a, digits_b) = (digits(a), digits(b));
        if digits_a > 0 && digits_b > 0 {
            let (number_a, number_b) = (a[..digits_a].trim_start_matches('0'), b[..digits_b].trim_start_matches('0'));
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[digits_a..], &b[digits_b..]);
            continue;
        }
        match (a.chars().next(), b.chars().next()) {
            (Some(first_a), Some(first_b)) if first_a == first_b => {
                (a, b) = (&a[first_a.len_utf8()..], &b[first_b.len_utf8()..]);
            }
            (first_a, first_b) => return first_a.cmp(&first_b),
        }
    }
}

fn digits(text: &str) -> usize {
    text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len())
}
