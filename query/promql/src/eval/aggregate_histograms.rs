//! Aggregation of samples that are histograms, beside that of numbers: group × step, made where there are any.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ABSENT, Eval, Row, is_absent};
use crate::annotations::Annotations;
use crate::ast::Aggregate;
use crate::error::QueryError;
use crate::histogram::{Fold, Running};

use weir_model::label::NAME;

/// What an aggregation makes of histograms.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum OnHistogram {
    /// As of any sample.
    Counts,
    /// Nothing, and a note says so.
    Ignores,
    Folds(Fold),
}

/// The sums or means of groups, by group and step. `None` where histograms did not fit together.
#[derive(Default)]
pub(super) struct HistogramGroups(BTreeMap<(usize, u32), Option<Running>>);

impl HistogramGroups {
    /// Adds a row's histograms to their group.
    pub fn add(
        &mut self,
        eval: &mut Eval<'_>,
        aggregate: &Aggregate,
        fold: Fold,
        group: usize,
        row: &Row,
    ) -> Result<(), QueryError> {
        for (step, histogram) in &row.histograms {
            let Some(running) = self.0.get_mut(&(group, *step)) else {
                let running = Running::new(histogram, fold);
                eval.tally.take(running.bytes())?;
                self.0.insert((group, *step), Some(running));
                continue;
            };
            let Some(own) = running else { continue };
            let before = own.bytes();
            match own.add(histogram) {
                Ok(()) => eval.tally.take(own.bytes().saturating_sub(before))?,
                Err(_) => {
                    eval.notes.mixed_schemas(row.labels.get(NAME), aggregate.expr.span);
                    *running = None;
                }
            }
        }
        Ok(())
    }

    /// Puts what came of them into the groups' rows; a step that has a number as well has no result.
    pub fn finish(self, rows: &mut [Row], aggregate: &Aggregate, notes: &mut Annotations) {
        let span = aggregate.expr.span;
        for ((group, step), running) in self.0 {
            let row = &mut rows[group];
            let value = &mut row.values[step as usize];
            if !is_absent(*value) {
                notes.warn("encountered a mix of histograms and floats for aggregation", span);
                *value = ABSENT;
                continue;
            }
            if let Some(running) = running {
                notes.merged(running.merged(), "aggregation", span);
                row.histograms.push((step, Arc::new(running.total())));
            }
        }
    }
}

impl Eval<'_> {
    /// Notes that histograms are left out of an aggregation.
    pub(super) fn note_ignored(&mut self, aggregate: &Aggregate) {
        self.notes.info(format!("ignored histogram in {} aggregation", aggregate.op.name()), aggregate.expr.span);
    }
}
