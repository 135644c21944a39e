//! `count` and `group` of a selector at one step: series that are there are counted, whatever their values are.

use weir_model::select::{MetricSelect, ReadError};

use super::aggregate::Groups;
use super::{Eval, Row, StepRange};
use crate::ast::{Aggregate, AggregateOp, Kind, Selector};
use crate::error::QueryError;

/// The selector, where a series counts if it is there.
pub(super) fn counted(aggregate: &Aggregate, step_range: StepRange) -> Option<&Selector> {
    let counts = matches!(aggregate.op, AggregateOp::Count | AggregateOp::Group);
    match &aggregate.expr.bare().kind {
        // What is between two samples needs both.
        Kind::Selector(selector) if counts && step_range.steps() == 1 && !selector.smoothed => Some(selector),
        _ => None,
    }
}

impl Eval<'_> {
    pub(super) fn count_present(
        &mut self,
        aggregate: &Aggregate,
        selector: &Selector,
        step_range: StepRange,
    ) -> Result<Vec<Row>, QueryError> {
        let end_ms = self.shift(&selector.modifiers)?.of(step_range.time(0));
        let start_ms = end_ms.saturating_sub(self.request.lookback_ms).saturating_add(1);
        let (engine, scope) = (self.engine, self.request.scope.clone());
        let select = MetricSelect { scope, matchers: selector.matchers.clone(), start_ms, end_ms };
        let (mut groups, mut counts) = (Groups::new(aggregate), Vec::<f64>::new());
        let tally = &mut self.tally;
        let coverage = engine.reader.present(&select, engine.budget, &mut |labels| -> Result<(), ReadError> {
            let group = groups.of_labels(labels, false);
            if group == counts.len() {
                tally.take((size_of::<f64>() as u64).saturating_add(groups.bytes(group)))?;
                counts.push(0.0);
            }
            counts[group] += 1.0;
            Ok(())
        })?;
        self.coverage.merge(coverage);
        self.samples += counts.iter().sum::<f64>() as u64;
        let value = |count: f64| if aggregate.op == AggregateOp::Group { 1.0 } else { count };
        Ok(counts.into_iter().enumerate().map(|(group, count)| groups.row(group, vec![value(count)])).collect())
    }
}
