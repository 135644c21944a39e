//! `label_replace`, `label_join`.

use weir_model::label::NAME;
use weir_model::pattern::PatternError;

use super::Call;
use crate::error::QueryError;
use crate::eval::{Eval, Row, StepRange, Value, join as join_rows};

/// `label_replace(v, dst, replacement, src, regex)`: the regex is anchored at both ends.
pub(super) fn replace(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let rows = eval.argument(call, 0, step_range)?.rows()?;
    let mut texts = Vec::new();
    for i in 1..5 {
        texts.push(eval.argument(call, i, step_range)?.text()?);
    }
    let [target, replacement, source, pattern] = &texts[..] else {
        return Err(QueryError::execution("label_replace takes four strings"));
    };
    let regex = eval.patterns.compile_anchored(pattern).map_err(|error| match error {
        PatternError::Syntax { pattern, .. } => {
            QueryError::execution(format!("invalid regular expression in label_replace(): {pattern}"))
        }
        error => QueryError::execution(error.to_string()),
    })?;
    valid_name(target, "invalid destination label name in label_replace(): ")?;
    let change = |row: &mut Row| {
        let Some(captures) = regex.captures(row.labels.get(source)) else { return };
        let mut value = String::new();
        captures.expand(replacement, &mut value);
        // A name that is set again is not about to go any more.
        if target == NAME {
            row.drop_name = false;
        }
        row.labels = row.labels.with(target, &value);
    };
    relabel(rows, change)
}

/// `label_join(v, dst, separator, src…)`
pub(super) fn join(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let rows = eval.argument(call, 0, step_range)?.rows()?;
    let target = eval.argument(call, 1, step_range)?.text()?;
    let separator = eval.argument(call, 2, step_range)?.text()?;
    let mut sources = Vec::new();
    for i in 3..call.arguments.len() {
        let source = eval.argument(call, i, step_range)?.text()?;
        valid_name(&source, "invalid source label name in label_join(): ")?;
        sources.push(source);
    }
    valid_name(&target, "invalid destination label name in label_join(): ")?;
    let change = |row: &mut Row| {
        let values: Vec<&str> = sources.iter().map(|source| row.labels.get(source)).collect();
        let value = values.join(&separator);
        if target == NAME {
            row.drop_name = false;
        }
        row.labels = row.labels.with(&target, &value);
    };
    relabel(rows, change)
}

fn relabel(mut rows: Vec<Row>, change: impl Fn(&mut Row)) -> Result<Value, QueryError> {
    rows.iter_mut().for_each(change);
    Ok(Value::Vector(join_rows(rows)?))
}

fn valid_name(name: &str, context: &str) -> Result<(), QueryError> {
    if name.is_empty() || name.contains('\u{fffd}') {
        return Err(QueryError::execution(format!("{context}{name}")));
    }
    Ok(())
}
