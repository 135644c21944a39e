//! `absent`, `absent_over_time`: 1 where the argument has no series at all.

use std::collections::BTreeMap;

use weir_model::label::{Labels, MatchOp, Matcher, NAME};

use super::Call;
use crate::ast::{Expr, Kind};
use crate::error::QueryError;
use crate::eval::{ABSENT, Eval, Row, StepRange, Value, is_absent};

pub(super) fn absent(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let mut present = vec![false; step_range.steps()];
    eval.each_row(&call.arguments[0], step_range, &mut |_, row| {
        present.iter_mut().zip(&row.values).for_each(|(present, value)| *present |= !is_absent(*value));
        row.histograms.iter().for_each(|(step, _)| present[*step as usize] = true);
        Ok(())
    })?;
    Ok(missing(&present, call))
}

pub(super) fn absent_over_time(eval: &mut Eval<'_>, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
    let present = eval.presence(&call.arguments[0], step_range)?;
    Ok(missing(&present, call))
}

fn missing(present: &[bool], call: &Call<'_>) -> Value {
    let labels = call.arguments.first().map_or(Labels::EMPTY, asked_labels);
    let values: Vec<f64> = present.iter().map(|present| if *present { ABSENT } else { 1.0 }).collect();
    let row = Row { labels, values, ..Row::default() };
    Value::Vector(if row.is_present() { vec![row] } else { Vec::new() })
}

/// The labels a selector asks for by equality; one that it asks for again behind that is left out, as in Prometheus.
fn asked_labels(expr: &Expr) -> Labels {
    let matchers: &[Matcher] = match &expr.kind {
        Kind::Selector(selector) => &selector.matchers,
        Kind::Range(range) => &range.selector.matchers,
        _ => return Labels::EMPTY,
    };
    let mut asked: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != NAME) {
        match asked.get_mut(matcher.name.as_str()) {
            Some(value) => *value = None,
            None if matcher.op == MatchOp::Equal => drop(asked.insert(&matcher.name, Some(&matcher.value))),
            None => {}
        }
    }
    Labels::from_pairs(asked.into_iter().filter_map(|(name, value)| Some((name, value?))))
}
