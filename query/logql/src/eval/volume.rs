//! Lines and bytes by bucket and level of a query whose pipeline has more than line filters: read line by line where its stages
//! need more than labels. What a parser cannot read counts as any other line.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::{LogRecord, level_name};
use weir_model::select::{Buckets, Budget, Covered, LogReader, LogVisitor, Mention, ReadError};
use weir_model::time::UnixNanos;

use crate::ast::LogExpr;
use crate::error::QueryError;
use crate::eval::counts::{count_by, record_of};
use crate::eval::lines::LogOptions;
use crate::pipeline::labels::LineLabels;
use crate::pipeline::{Lines, Pipeline};

/// Lines and bytes by the start of their bucket and the name of their level.
pub type Counts = BTreeMap<(UnixNanos, &'static str), (u64, u64)>;

/// Counts the lines that pass; `step` is the width of a bucket in nanoseconds, above 0. Of the options, the limit and the
/// order do not matter.
pub fn volume(
    reader: &dyn LogReader,
    text: &str,
    log: &LogExpr,
    step: i64,
    options: &LogOptions,
    budget: &dyn Budget,
) -> Result<Covered<Counts>, QueryError> {
    let pipeline = Pipeline::compile(text, log, Lines::Counted)?;
    let select = pipeline.select(log, &options.scope, options.range, false);
    let (level, reads) = (options.detected_level, pipeline.reads());
    let (mut labels, mut counts) = (LineLabels::only(reads.as_ref()), Counts::new());
    let by = Buckets::new(step, 0).and_then(|buckets| count_by(&pipeline, reads.as_ref(), level, buckets));
    if let Some(by) = by {
        let coverage = reader.counts(&select, &by, budget, &mut |count| {
            labels.set_stream(count.stream);
            labels.begin_line(&record_of(count), level);
            if pipeline.run(&[], count.bucket, &mut labels).is_some() {
                let sums = counts.entry((count.bucket, level_name(count.severity))).or_default();
                *sums = (sums.0 + count.lines, sums.1 + count.bytes);
            }
            ControlFlow::Continue(())
        })?;
        return Ok(Covered { value: counts, coverage });
    }
    let mut count = Count { pipeline: &pipeline, step, level, labels, counts, budget, failure: None };
    let coverage = reader.visit(&select, budget, &mut count)?;
    if let Some(failure) = count.failure {
        return Err(failure.into());
    }
    Ok(Covered { value: count.counts, coverage })
}

struct Count<'a> {
    pipeline: &'a Pipeline,
    step: i64,
    level: bool,
    labels: LineLabels,
    counts: Counts,
    budget: &'a dyn Budget,
    failure: Option<ReadError>,
}

impl LogVisitor for Count<'_> {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }

    fn mention(&self) -> Option<Mention> {
        self.pipeline.mention(self.level)
    }

    fn stream(&mut self, labels: &Labels) {
        self.labels.set_stream(labels);
    }

    fn line(&mut self, _: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        if self.pipeline.has_templates
            && let Err(failure) = self.budget.check()
        {
            self.failure = Some(failure);
            return ControlFlow::Break(());
        }
        self.labels.begin_line(&record, self.level);
        if self.pipeline.run(record.body, record.timestamp, &mut self.labels).is_some() {
            let bucket = record.timestamp.div_euclid(self.step).saturating_mul(self.step);
            let counts = self.counts.entry((bucket, level_name(record.severity))).or_default();
            counts.0 += 1;
            counts.1 += record.body.len() as u64;
        }
        ControlFlow::Continue(())
    }
}
