//! Walks the tree of a metric query.

use weir_model::scope::Scope;
use weir_model::select::Tally;
use weir_model::select::{Budget, Coverage, LogReader};

use super::range::{RangeRequest, range};
use super::{Answer, Series, Stats, Steps, Value, binary, vector};
use crate::ast::{Expr, Grouping, LabelReplace, RangeAgg, RangeOp, VectorOp};
use crate::error::{QueryError, too_many_series};
use crate::pipeline::labels::LabelSet;

/// Says of a series which of the `variants` it is of, from 0.
const VARIANT: &str = "__variant__";

/// What is asked besides the query.
#[derive(Clone, Debug)]
pub struct MetricOptions {
    /// Lines outside are as if they were not there.
    pub scope: Scope,
    /// When.
    pub steps: Steps,
    /// Add `detected_level` to every line.
    pub detected_level: bool,
    /// Series at most.
    pub series_max: usize,
}

/// The value of a metric query at every instant.
pub fn metric(
    reader: &dyn LogReader,
    text: &str,
    expr: &Expr,
    options: &MetricOptions,
    budget: &dyn Budget,
) -> Result<Answer<Value>, QueryError> {
    let mut walk =
        Walk { reader, text, options, budget, coverage: Coverage::default(), stats: Stats::default(), tally: Tally::new(budget) };
    let value = walk.expr(expr)?;
    Ok(Answer { value, coverage: walk.coverage, stats: walk.stats })
}

struct Walk<'a> {
    reader: &'a dyn LogReader,
    text: &'a str,
    options: &'a MetricOptions,
    budget: &'a dyn Budget,
    coverage: Coverage,
    stats: Stats,
    /// The values of all expressions that wait for their operator.
    tally: Tally<'a>,
}

impl Walk<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Value, QueryError> {
        let before = self.tally.bytes();
        let value = self.expr_here(expr)?;
        // What it was made of is gone.
        self.tally.settle(before.saturating_add(value.bytes()))?;
        Ok(value)
    }

    fn expr_here(&mut self, expr: &Expr) -> Result<Value, QueryError> {
        self.budget.check()?;
        let count = self.options.steps.count;
        match expr {
            Expr::Log(_) => Err(QueryError::Bad("a log query is no number: put it into count_over_time(… [5m]) or rate".into())),
            Expr::Number(number) => Ok(Value::Scalar(*number)),
            Expr::VectorOf(number) => {
                Ok(Value::Vector(vec![Series { labels: LabelSet::default(), points: vec![Some(*number); count] }]))
            }
            Expr::Range(agg) => self.range(agg, None).map(Value::Vector),
            Expr::Vector(agg) => {
                let of = match &agg.of {
                    Expr::Range(inner) if agg.op == VectorOp::Sum && is_additive(inner) => {
                        Value::Vector(self.range(inner, Some(agg.grouping.as_ref()))?)
                    }
                    of => self.expr(of)?,
                };
                vector::aggregate(agg, vector_of(of, count)?).map(Value::Vector)
            }
            Expr::Chain(chain) => {
                let before = self.tally.bytes();
                let mut left = self.expr(&chain.first)?;
                for link in &chain.links {
                    let right = self.expr(&link.right)?;
                    left = binary::combine(link, left, right, self.options.series_max)?;
                    // What the operator has consumed is gone.
                    self.tally.settle(before.saturating_add(left.bytes()))?;
                }
                Ok(left)
            }
            Expr::Variants(variants) => {
                let mut all = Vec::new();
                for (i, one) in variants.each.iter().enumerate() {
                    let series = vector_of(self.expr(one)?, count)?;
                    all.extend(series.into_iter().map(|one| Series { labels: one.labels.with(VARIANT, &i.to_string()), ..one }));
                    if all.len() > self.options.series_max {
                        return Err(too_many_series(self.options.series_max));
                    }
                }
                Ok(Value::Vector(all))
            }
            Expr::LabelReplace(replace) => {
                let of = self.expr(&replace.of)?;
                relabel(replace, vector_of(of, count)?).map(Value::Vector)
            }
        }
    }

    fn range(&mut self, agg: &RangeAgg, summed: Option<Option<&Grouping>>) -> Result<Vec<Series>, QueryError> {
        let request = RangeRequest {
            scope: &self.options.scope,
            text: self.text,
            steps: self.options.steps,
            detected_level: self.options.detected_level,
            series_max: self.options.series_max,
            summed,
        };
        let answer = range(self.reader, agg, &request, self.budget)?;
        self.tally.take(answer.value.iter().map(Series::bytes).sum())?;
        self.coverage.merge(answer.coverage);
        self.stats.lines_scanned += answer.stats.lines_scanned;
        self.stats.lines_passed += answer.stats.lines_passed;
        self.stats.bytes_passed += answer.stats.bytes_passed;
        Ok(answer.value)
    }
}

/// Whether the sum over series is the same as the aggregation over their lines together.
fn is_additive(agg: &RangeAgg) -> bool {
    match agg.op {
        RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Rate => true,
        RangeOp::Sum => agg.unwrap.is_some(),
        _ => false,
    }
}

fn vector_of(value: Value, _count: usize) -> Result<Vec<Series>, QueryError> {
    match value {
        Value::Vector(series) => Ok(series),
        Value::Scalar(_) => Err(QueryError::Bad("an aggregation needs a vector, not a number".into())),
    }
}

fn relabel(replace: &LabelReplace, mut series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    for one in &mut series {
        let from = one.labels.get(&replace.from).unwrap_or_default();
        if let Some(found) = replace.pattern.captures(from) {
            let mut value = String::new();
            found.expand(&replace.replacement, &mut value);
            one.labels = one.labels.with(&replace.to, &value);
        }
    }
    let mut labels: Vec<&LabelSet> = series.iter().map(|one| &one.labels).collect();
    labels.sort();
    match labels.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(QueryError::Bad(format!("label_replace makes two series with the same labels {}", pair[0]))),
        None => Ok(series),
    }
}
