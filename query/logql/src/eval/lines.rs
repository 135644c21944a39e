//! Log queries: the newest (or oldest) `limit` lines that pass, in a bounded heap ordered by (timestamp, line id). What passes is
//! told from the labels that the pipeline reads; only the lines of the answer get all of theirs.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::scope::Scope;
use weir_model::select::label_bytes;
use weir_model::select::{Budget, LogReader, LogVisitor, Mention, OwnedLine, ReadError};
use weir_model::time::{TimeRange, UnixNanos};

use super::{Answer, Counting, Stats};
use crate::ast::LogExpr;
use crate::error::QueryError;
use crate::pipeline::labels::{Categories, LabelSet, LineLabels};
use crate::pipeline::{Lines, Pipeline};

/// What is asked besides the query.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Lines outside are as if they were not there.
    pub scope: Scope,
    /// `start` inclusive, `end` exclusive.
    pub range: TimeRange,
    /// How many at most.
    pub limit: usize,
    /// The newest, newest first; else the oldest, oldest first.
    pub newest_first: bool,
    /// Add `detected_level` to every line.
    pub detected_level: bool,
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The line as stored.
    pub source: OwnedLine,
    /// Its text after the pipeline, when that changed it.
    pub formatted: Option<Vec<u8>>,
    /// All of its labels after the pipeline.
    pub labels: LabelSet,
    /// The same by origin.
    pub categories: Categories,
}

impl Entry {
    /// The text to show.
    pub fn text(&self) -> &[u8] {
        self.formatted.as_deref().unwrap_or(&self.source.body)
    }

    /// Memory that it takes. The stream's labels are shared.
    pub fn bytes(&self) -> u64 {
        let text = self.source.body.len() + self.formatted.as_ref().map_or(0, Vec::len);
        let apart = [&self.labels, &self.categories.metadata, &self.categories.parsed].map(LabelSet::bytes);
        (size_of::<Self>() + text) as u64 + label_bytes(&self.source.attributes) + apart.iter().sum::<u64>()
    }
}

/// The lines a query asks for.
pub fn lines(
    reader: &dyn LogReader,
    text: &str,
    log: &LogExpr,
    options: &LogOptions,
    budget: &dyn Budget,
) -> Result<Answer<Vec<Entry>>, QueryError> {
    let pipeline = Pipeline::compile(text, log, Lines::Needed)?;
    let select = pipeline.select(log, &options.scope, options.range, options.newest_first);
    let counting = Counting::new(budget);
    let mut latest = Latest {
        options,
        pipeline: &pipeline,
        heap: BinaryHeap::new(),
        stream: Labels::EMPTY,
        labels: LineLabels::only(pipeline.reads().as_ref()),
        budget,
        stats: Stats::default(),
        failure: None,
    };
    if options.limit == 0 || options.range.start >= options.range.end {
        return Ok(Answer { value: Vec::new(), coverage: Default::default(), stats: Stats::default() });
    }
    let coverage = reader.visit(&select, &counting, &mut latest)?;
    if let Some(failure) = latest.failure {
        return Err(failure.into());
    }
    let stats = Stats { lines_scanned: counting.spent().max(latest.stats.lines_passed), ..latest.stats };
    let mut value = Vec::with_capacity(latest.heap.len());
    let mut labels = LineLabels::default();
    for Ranked { line, .. } in latest.heap.into_sorted_vec() {
        if pipeline.has_templates {
            budget.check()?;
        }
        let held = line_bytes(&line);
        if let Some(entry) = entry(&pipeline, line, &mut labels, options.detected_level) {
            budget.reserve(entry.bytes().saturating_sub(held))?;
            value.push(entry);
        }
    }
    Ok(Answer { value, coverage, stats })
}

/// A line as the answer has it.
fn entry(pipeline: &Pipeline, line: OwnedLine, labels: &mut LineLabels, level: bool) -> Option<Entry> {
    let record = line.record();
    labels.set_stream(&line.stream);
    labels.begin_line(&record, level);
    let text = pipeline.run(record.body, record.timestamp, labels)?;
    let formatted = if *text == *record.body { None } else { Some(text.into_owned()) };
    let (labels, categories) = (labels.all(), labels.categories());
    Some(Entry { source: line, formatted, labels, categories })
}

/// Memory that a line takes. The stream's labels are shared.
fn line_bytes(line: &OwnedLine) -> u64 {
    (size_of::<Entry>() + line.body.len()) as u64 + label_bytes(&line.attributes)
}

/// Orders the line that should go first from the heap as the greatest.
struct Ranked {
    line: OwnedLine,
    newest_first: bool,
}

fn rank(newest_first: bool, a: (UnixNanos, LineId), b: (UnixNanos, LineId)) -> Ordering {
    if newest_first { b.cmp(&a) } else { a.cmp(&b) }
}

impl Ranked {
    fn key(&self) -> (UnixNanos, LineId) {
        (self.line.timestamp, self.line.id)
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        rank(self.newest_first, self.key(), other.key())
    }
}

struct Latest<'a> {
    options: &'a LogOptions,
    pipeline: &'a Pipeline,
    heap: BinaryHeap<Ranked>,
    stream: Labels,
    labels: LineLabels,
    budget: &'a dyn Budget,
    stats: Stats,
    failure: Option<ReadError>,
}

impl Latest<'_> {
    /// The worst line kept, when there is no room for a worse one.
    fn worst(&self) -> Option<(UnixNanos, LineId)> {
        if self.heap.len() < self.options.limit { None } else { self.heap.peek().map(Ranked::key) }
    }

    fn consider(&mut self, id: LineId, record: LogRecord<'_>) -> Result<(), ReadError> {
        let newest_first = self.options.newest_first;
        let key = (record.timestamp, id);
        if self.worst().is_some_and(|worst| rank(newest_first, key, worst) != Ordering::Less) {
            return Ok(());
        }
        if self.pipeline.has_templates {
            self.budget.check()?;
        }
        self.stats.lines_passed += 1;
        self.stats.bytes_passed += record.body.len() as u64;
        if !self.pipeline.is_empty() {
            self.labels.begin_line(&record, self.options.detected_level);
            if self.pipeline.run(record.body, record.timestamp, &mut self.labels).is_none() {
                return Ok(());
            }
        }
        let line = OwnedLine::new(id, &self.stream, record);
        self.budget.reserve(line_bytes(&line))?;
        self.heap.push(Ranked { line, newest_first });
        if self.heap.len() > self.options.limit
            && let Some(gone) = self.heap.pop()
        {
            self.budget.release(line_bytes(&gone.line));
        }
        Ok(())
    }
}

impl LogVisitor for Latest<'_> {
    fn wants(&mut self, first: UnixNanos, last: UnixNanos) -> bool {
        match self.worst() {
            None => true,
            Some((at, _)) if self.options.newest_first => last >= at,
            Some((at, _)) => first <= at,
        }
    }

    fn mention(&self) -> Option<Mention> {
        self.pipeline.mention(self.options.detected_level)
    }

    fn stream(&mut self, labels: &Labels) {
        self.stream = labels.clone();
        self.labels.set_stream(labels);
    }

    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        match self.consider(id, record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }
}
