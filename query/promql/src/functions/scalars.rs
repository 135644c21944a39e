//! Scalars: making them, and functions that take them beside a vector.

use weir_model::label::Labels;

use super::Call;
use crate::error::QueryError;
use crate::eval::{Eval, Row, StepRange, Value, is_absent};

/// `time()`: the step in seconds.
pub(super) fn time(_: &mut Eval<'_>, _: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    Ok(Value::Scalar(step_range.times().map(|at| at as f64 / 1000.0).collect()))
}

/// `pi()`
pub(super) fn pi(_: &mut Eval<'_>, _: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    Ok(Value::Scalar(vec![std::f64::consts::PI; step_range.steps()]))
}

/// `start() end() step() range()` of the whole query, in seconds.
pub(super) fn bounds(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let whole = eval.whole;
    let millis = match call.function.name {
        "start" => whole.start_ms,
        "end" => whole.end_ms,
        "step" if eval.instant => 0,
        "step" => whole.step_ms,
        _ => whole.end_ms - whole.start_ms,
    };
    Ok(Value::Scalar(vec![millis as f64 / 1000.0; step_range.steps()]))
}

/// `min_of(a, b)`, `max_of(a, b)`
pub(super) fn extreme(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let (a, b) = (eval.argument(call, 0, step_range)?.scalars()?, eval.argument(call, 1, step_range)?.scalars()?);
    let choose = |a: f64, b: f64| match () {
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () if call.function.name == "max_of" => a.max(b),
        () => a.min(b),
    };
    Ok(Value::Scalar(a.into_iter().zip(b).map(|(a, b)| choose(a, b)).collect()))
}

/// `vector(s)`
pub(super) fn vector(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let values = eval.argument(call, 0, step_range)?.scalars()?;
    Ok(Value::Vector(vec![Row { labels: Labels::EMPTY, values, ..Row::default() }]))
}

/// `scalar(v)`: the value of the only series, NaN when there is none or more.
pub(super) fn scalar(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let rows = eval.argument(call, 0, step_range)?.rows()?;
    let mut counts = vec![0_usize; step_range.steps()];
    let mut values = vec![f64::NAN; step_range.steps()];
    for row in rows {
        for (step, value) in row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
            counts[step] += 1;
            values[step] = if counts[step] == 1 { *value } else { f64::NAN };
        }
    }
    Ok(Value::Scalar(values))
}

/// `clamp(v, min, max)`, `clamp_min(v, min)`, `clamp_max(v, max)`; nothing at all when min > max.
pub(super) fn clamp(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let infinite = |value: f64| vec![value; step_range.steps()];
    let first = eval.argument(call, 1, step_range)?.scalars()?;
    let (low, high) = match call.function.name {
        "clamp_min" => (first, infinite(f64::INFINITY)),
        "clamp_max" => (infinite(f64::NEG_INFINITY), first),
        _ => (first, eval.argument(call, 2, step_range)?.scalars()?),
    };
    let clamp = |value: f64, step: usize| match () {
        () if low[step] > high[step] => crate::eval::ABSENT,
        () if low[step].is_nan() || high[step].is_nan() => f64::NAN,
        () if value.is_nan() => value,
        () => value.min(high[step]).max(low[step]),
    };
    by_step(eval, call, step_range, clamp)
}

/// `round(v, to_nearest=1)`: ties go up.
pub(super) fn round(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let nearest = match call.arguments.len() {
        1 => vec![1.0; step_range.steps()],
        _ => eval.argument(call, 1, step_range)?.scalars()?,
    };
    // The inverse is the more exact of the two for nearest = 0.1 and the like.
    by_step(eval, call, step_range, |value, step| {
        let inverse = 1.0 / nearest[step];
        (value * inverse + 0.5).floor() / inverse
    })
}

fn by_step(
    eval: &mut Eval<'_>,
    call: &Call<'_>,
    step_range: StepRange,
    kernel: impl Fn(f64, usize) -> f64,
) -> Result<Value, QueryError> {
    let mut rows = eval.argument(call, 0, step_range)?.rows()?;
    for row in &mut rows {
        row.drop_name = true;
        row.histograms.clear();
        for (step, value) in row.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
            *value = kernel(*value, step);
        }
    }
    rows.retain(Row::is_present);
    Ok(Value::Vector(rows))
}
