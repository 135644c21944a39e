//! Range aggregations: folds every line, as it is visited, into (series × instant) over windows (T−R, T].
//!
//! Counts and bytes are kept as differences per instant, so that a line costs the same however many windows overlap it
//! and sums are exact; unwrapped values are kept and computed in `samples`. Where nothing but labels tells lines apart, they come
//! as counts ([`super::counts`]).

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use weir_model::id::LineId;
use weir_model::label::{Labels, MatchOp, Matcher};
use weir_model::log::LogRecord;
use weir_model::scope::Scope;
use weir_model::select::Tally;
use weir_model::select::{Budget, CountBy, LineCount, LogReader, LogVisitor, Mention};
use weir_model::time::UnixNanos;

use super::broken::counts_unparsed;
use super::counts::{count_by, record_of};
use super::samples::{Sample, over_windows};
use super::windows::Windows;
use super::{Answer, Counting, Series, Stats, Steps};
use crate::ast::{Grouping, RangeAgg, RangeOp, Unit, Unwrap};
use crate::error::{QueryError, too_many_series};
use crate::pipeline::labels::{LabelSet, LineLabels};
use crate::pipeline::reads::of_filter;
use crate::pipeline::{Lines, Pipeline, filter};

/// What is asked besides the aggregation.
pub struct RangeRequest<'a> {
    /// Whose lines.
    pub scope: &'a Scope,
    /// The query's text, for errors.
    pub text: &'a str,
    /// When.
    pub steps: Steps,
    /// Add `detected_level` to every line.
    pub detected_level: bool,
    /// Series at most.
    pub series_max: usize,
    /// The enclosing `sum`'s grouping: counts are summed as they come, so that high-cardinality labels cost nothing.
    pub summed: Option<Option<&'a Grouping>>,
}

/// Evaluates one aggregation.
pub fn range(
    reader: &dyn LogReader,
    agg: &RangeAgg,
    request: &RangeRequest<'_>,
    budget: &dyn Budget,
) -> Result<Answer<Vec<Series>>, QueryError> {
    let lines = if matches!(agg.op, RangeOp::Bytes | RangeOp::BytesRate) { Lines::Needed } else { Lines::Counted };
    let pipeline = Pipeline::compile(request.text, &agg.log, lines)?;
    let windows = Windows { steps: request.steps, range: agg.range, offset: agg.offset };
    let select = pipeline.select(&agg.log, request.scope, windows.span(), false);
    let counting = Counting::new(budget);
    let names = wanted(&pipeline, agg, request);
    let mut fold = Fold {
        agg,
        request,
        windows,
        pipeline: &pipeline,
        counts_unparsed: counts_unparsed(agg, request.summed),
        labels: LineLabels::only(names.as_ref()),
        series: HashMap::new(),
        accumulators: Vec::new(),
        plain: Vec::new(),
        counted: Vec::new(),
        budget,
        tally: Tally::new(budget),
        stats: Stats::default(),
        failure: None,
    };
    let by = windows.buckets().filter(|_| agg.unwrap.is_none() && (pipeline.pushed.is_empty() || !windows.has_gaps()));
    let by = by.and_then(|buckets| count_by(&pipeline, names.as_ref(), request.detected_level, buckets));
    let by = by.map(|by| CountBy { bytes: lines == Lines::Needed, ..by });
    // Where all labels are asked for, few chunks are counted by roll-ups.
    let by = by.filter(|by| !by.all || !windows.has_gaps());
    let coverage = match &by {
        Some(by) => reader.counts(&select, by, &counting, &mut |count| fold.note(|fold| fold.take_count(count)))?,
        None => reader.visit(&select, &counting, &mut fold)?,
    };
    if let Some(failure) = fold.failure.take() {
        return Err(failure);
    }
    let given = if by.is_some() { 0 } else { fold.stats.lines_passed };
    let stats = Stats { lines_scanned: counting.spent().max(given), ..fold.stats };
    Ok(Answer { value: fold.finish()?, coverage, stats })
}

/// What is kept of one series.
enum Accumulator {
    /// Differences of lines and bytes between an instant and the one before.
    Counts { lines: Vec<i64>, bytes: Vec<i64> },
    /// Unwrapped values.
    Samples(Vec<Sample>),
}

struct Fold<'a> {
    agg: &'a RangeAgg,
    request: &'a RangeRequest<'a>,
    windows: Windows,
    pipeline: &'a Pipeline,
    counts_unparsed: bool,
    labels: LineLabels,
    series: HashMap<LabelSet, usize>,
    accumulators: Vec<Accumulator>,
    /// Which series lines of the current stream go to that have no labels but the stream's and this level.
    plain: Vec<(&'static str, usize)>,
    /// The same of counted lines by their severity; `None`: a filter drops them.
    counted: Vec<(u8, Option<usize>)>,
    budget: &'a dyn Budget,
    tally: Tally<'a>,
    stats: Stats,
    failure: Option<QueryError>,
}

impl LogVisitor for Fold<'_> {
    fn wants(&mut self, first: UnixNanos, last: UnixNanos) -> bool {
        self.windows.holding(first, last).is_some()
    }

    fn mention(&self) -> Option<Mention> {
        self.pipeline.mention(self.request.detected_level)
    }

    fn stream(&mut self, labels: &Labels) {
        self.labels.set_stream(labels);
        self.plain.clear();
    }

    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        self.note(|fold| fold.take(id, record))
    }
}

impl Fold<'_> {
    /// The first failure ends the reading.
    fn note(&mut self, take: impl FnOnce(&mut Self) -> Result<(), QueryError>) -> ControlFlow<()> {
        match take(self) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }

    fn take_count(&mut self, count: &LineCount<'_>) -> Result<(), QueryError> {
        let Some((from, to)) = self.windows.holding(count.bucket, count.bucket) else { return Ok(()) };
        self.stats.lines_passed += count.lines;
        self.stats.bytes_passed += count.bytes;
        if self.labels.set_stream(count.stream) {
            self.counted.clear();
        }
        let is_plain = count.metadata.is_empty() && count.trace_id.is_none() && count.span_id.is_none();
        let known = self.counted.iter().find(|(severity, _)| is_plain && *severity == count.severity);
        let index = match known {
            Some((_, index)) => *index,
            None => {
                self.plain.clear();
                self.labels.begin_line(&record_of(count), self.request.detected_level);
                let passes = self.pipeline.run(&[], count.bucket, &mut self.labels).is_some();
                let index = if passes { Some(self.index()?) } else { None };
                if is_plain {
                    self.counted.push((count.severity, index));
                }
                index
            }
        };
        if let Some(Accumulator::Counts { lines, bytes }) = index.map(|index| &mut self.accumulators[index]) {
            add(lines, (from, to), count.lines as i64);
            add(bytes, (from, to), count.bytes as i64);
        }
        Ok(())
    }

    fn take(&mut self, id: LineId, record: LogRecord<'_>) -> Result<(), QueryError> {
        let Some((from, to)) = self.windows.holding(record.timestamp, record.timestamp) else { return Ok(()) };
        if self.pipeline.has_templates {
            self.budget.check()?;
        }
        self.stats.lines_passed += 1;
        self.stats.bytes_passed += record.body.len() as u64;
        self.labels.begin_line(&record, self.request.detected_level);
        let Some(line) = self.pipeline.run(record.body, record.timestamp, &mut self.labels) else { return Ok(()) };
        let value = match &self.agg.unwrap {
            None => None,
            Some(unwrap) => match unwrapped(unwrap, &line, &mut self.labels) {
                None => return Ok(()),
                value => value,
            },
        };
        if let Some(error) = self.labels.error().filter(|error| !(self.counts_unparsed && error.ends_with("ParserErr"))) {
            return Err(QueryError::Pipeline { error: error.to_owned(), series: self.all_labels(&record).to_string() });
        }
        let index = self.index()?;
        match &mut self.accumulators[index] {
            Accumulator::Counts { lines, bytes } => {
                add(lines, (from, to), 1);
                add(bytes, (from, to), line.len() as i64);
            }
            Accumulator::Samples(samples) => {
                if samples.len() == samples.capacity() {
                    let more = samples.capacity().max(4);
                    self.tally.take((more * size_of::<Sample>()) as u64)?;
                    samples.reserve_exact(more);
                }
                samples.push(Sample { at: record.timestamp, id, value: value.unwrap_or(0.0) });
            }
        }
        Ok(())
    }

    /// Of the line at hand, also those that nothing asks for.
    fn all_labels(&self, record: &LogRecord<'_>) -> LabelSet {
        let mut labels = LineLabels::default();
        labels.set_stream(self.labels.stream());
        labels.begin_line(record, self.request.detected_level);
        if let (Some(line), Some(unwrap)) = (self.pipeline.run(record.body, record.timestamp, &mut labels), &self.agg.unwrap) {
            unwrapped(unwrap, &line, &mut labels);
        }
        labels.all()
    }

    /// The accumulator of the line at hand.
    fn index(&mut self) -> Result<usize, QueryError> {
        let level = self.labels.only_level();
        if let Some((_, index)) = self.plain.iter().find(|(known, _)| Some(*known) == level) {
            return Ok(*index);
        }
        let key = self.key();
        let index = match self.series.get(&key) {
            Some(index) => *index,
            None => self.open(key)?,
        };
        self.plain.extend(level.map(|level| (level, index)));
        Ok(index)
    }

    fn key(&self) -> LabelSet {
        match grouping(self.agg, self.request) {
            _ if self.agg.op == RangeOp::Absent => LabelSet::default(),
            Some(Grouping { without: false, labels }) => {
                let pair = |name: &String| self.labels.get(name).map(|value| (name.clone(), value.to_owned()));
                LabelSet::new(labels.iter().filter_map(pair).collect())
            }
            None => LabelSet::default(),
            grouping => {
                let all = self.labels.all().grouped(grouping);
                match &self.agg.unwrap {
                    // It is the value, not a label, unless it is asked for by name.
                    Some(unwrap) => all.filtered(|name| name != unwrap.label),
                    None => all,
                }
            }
        }
    }

    fn open(&mut self, key: LabelSet) -> Result<usize, QueryError> {
        let (index, cells) = (self.accumulators.len(), self.windows.steps.count + 1);
        if index >= self.request.series_max {
            return Err(too_many_series(self.request.series_max));
        }
        let bytes = |cell: usize| (size_of::<Accumulator>() + cells * cell) as u64 + 2 * key.bytes();
        self.tally.take(bytes(if self.agg.unwrap.is_some() { 0 } else { 2 * size_of::<i64>() }))?;
        self.accumulators.push(if self.agg.unwrap.is_some() && self.agg.op != RangeOp::Absent {
            Accumulator::Samples(Vec::new())
        } else {
            Accumulator::Counts { lines: vec![0; cells], bytes: vec![0; cells] }
        });
        self.series.insert(key, index);
        Ok(index)
    }

    fn finish(mut self) -> Result<Vec<Series>, QueryError> {
        let count = self.windows.steps.count;
        self.tally.take((self.accumulators.len() * count * size_of::<Option<f64>>()) as u64)?;
        let mut keys = vec![LabelSet::default(); self.accumulators.len()];
        self.series.into_iter().for_each(|(key, index)| keys[index] = key);
        let mut answer = Vec::with_capacity(keys.len());
        for (labels, accumulator) in keys.into_iter().zip(self.accumulators) {
            self.budget.check()?;
            let points = match accumulator {
                Accumulator::Counts { lines, bytes } => counted(self.agg.op, self.agg.range, &lines, &bytes),
                Accumulator::Samples(samples) => over_windows(self.agg, samples, self.windows, self.budget)?,
            };
            answer.push(Series { labels, points });
        }
        if self.agg.op == RangeOp::Absent {
            let present = answer.pop().map_or(vec![None; count], |series| series.points);
            let points: Vec<_> = present.iter().map(|point| if point.is_none() { Some(1.0) } else { None }).collect();
            answer = vec![Series { labels: absent_labels(&self.agg.log.matchers), points }];
        }
        answer.retain(|series| series.points.iter().any(Option::is_some));
        answer.sort_by(|a, b| a.labels.cmp(&b.labels));
        // Only the answer is left; its caller takes note of it.
        self.tally.settle(0)?;
        Ok(answer)
    }
}

/// How the lines of an aggregation are grouped.
fn grouping<'a>(agg: &'a RangeAgg, request: &RangeRequest<'a>) -> Option<&'a Grouping> {
    agg.grouping.as_ref().map_or(request.summed.unwrap_or(Some(&EVERYTHING)), Some)
}

/// Names of the labels of a line that matter; `None` when all do.
fn wanted(pipeline: &Pipeline, agg: &RangeAgg, request: &RangeRequest<'_>) -> Option<BTreeSet<String>> {
    let mut names = pipeline.reads()?;
    match grouping(agg, request) {
        _ if agg.op == RangeOp::Absent => {}
        Some(Grouping { without: true, .. }) => return None,
        grouping => names.extend(grouping.into_iter().flat_map(|grouping| grouping.labels.iter().cloned())),
    }
    if let Some(unwrap) = &agg.unwrap {
        names.insert(unwrap.label.clone());
        unwrap.filters.iter().for_each(|filter| of_filter(filter, &mut names));
    }
    Some(names)
}

/// So many more from one instant to another, both inclusive.
fn add(differences: &mut [i64], (from, to): (usize, usize), count: i64) {
    differences[from] += count;
    differences[to + 1] -= count;
}

/// `without ()`: every label.
static EVERYTHING: Grouping = Grouping { without: true, labels: Vec::new() };

/// The label's value; `None` when the line has none or a filter drops it.
fn unwrapped(unwrap: &Unwrap, line: &[u8], labels: &mut LineLabels) -> Option<f64> {
    let text = labels.get(&unwrap.label).filter(|text| !text.is_empty())?;
    let value = match filter::read(text, unwrap.unit) {
        Ok(value) if unwrap.unit == Unit::Duration => value / 1e9,
        Ok(value) => value,
        Err(message) => {
            labels.fail("SampleExtractionErr", message);
            0.0
        }
    };
    unwrap.filters.iter().all(|own| filter::passes(own, line, labels)).then_some(value)
}

fn counted(op: RangeOp, range: i64, lines: &[i64], bytes: &[i64]) -> Vec<Option<f64>> {
    let seconds = range as f64 / 1e9;
    let (mut line_sum, mut byte_sum) = (0, 0);
    let mut points = Vec::with_capacity(lines.len());
    for (more_lines, more_bytes) in lines.iter().zip(bytes).take(lines.len() - 1) {
        line_sum += more_lines;
        byte_sum += more_bytes;
        let value = match op {
            RangeOp::Rate => line_sum as f64 / seconds,
            RangeOp::Bytes => byte_sum as f64,
            RangeOp::BytesRate => byte_sum as f64 / seconds,
            _ => line_sum as f64,
        };
        points.push((line_sum > 0).then_some(value));
    }
    points
}

/// Labels that equality matchers name once.
fn absent_labels(matchers: &[Matcher]) -> LabelSet {
    let named = |name: &str| matchers.iter().filter(|matcher| matcher.name == name).count();
    let pairs =
        matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal && named(&matcher.name) == 1 && !matcher.value.is_empty());
    LabelSet::new(pairs.map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect())
}
