//! Range aggregations: folds every line, as it is visited, into (series × instant) over windows (T−R, T].
//!
//! Counts and bytes are kept as differences per instant, so that a line costs the same however many windows overlap it
//! and sums are exact; unwrapped values are kept and computed in `samples`.
//! The store's roll-ups are not used here: their buckets are [T−R, T), and a line exactly on an edge would be counted in
//! the wrong window.

use std::collections::HashMap;
use std::ops::ControlFlow;

use weir_model::id::LineId;
use weir_model::label::{Labels, MatchOp, Matcher};
use weir_model::log::LogRecord;
use weir_model::scope::Scope;
use weir_model::select::Tally;
use weir_model::select::{Budget, LogReader, LogVisitor, Mention};
use weir_model::time::{TimeRange, UnixNanos};

use super::broken::counts_unparsed;
use super::samples::{Sample, over_windows};
use super::{Answer, Counting, Series, Stats, Steps};
use crate::ast::{Grouping, RangeAgg, RangeOp, Unit, Unwrap};
use crate::error::{QueryError, too_many_series};
use crate::pipeline::labels::{LabelSet, LineLabels};
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

/// Windows and which of them hold an instant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) steps: Steps,
    pub(crate) range: i64,
    pub(crate) offset: i64,
}

impl Windows {
    /// First and last index of the windows that hold something of the closed span of times.
    fn holding(&self, first: UnixNanos, last: UnixNanos) -> Option<(usize, usize)> {
        let Self { steps, range, offset } = *self;
        let relative = |at: i64| i128::from(at) + i128::from(offset) - i128::from(steps.start);
        let step = i128::from(steps.step);
        let ceil = |value: i128| value.div_euclid(step) + i128::from(value.rem_euclid(step) != 0);
        let from = ceil(relative(first)).max(0);
        let to = (ceil(relative(last) + i128::from(range)) - 1).min(steps.count as i128 - 1);
        if from <= to { Some((from as usize, to as usize)) } else { None }
    }

    /// Times that any window may hold.
    fn span(&self) -> TimeRange {
        let start = self.steps.start.saturating_sub(self.offset).saturating_sub(self.range).saturating_add(1);
        TimeRange { start, end: self.steps.end().saturating_sub(self.offset).saturating_add(1) }
    }

    /// The window's last instant, and the one just before its first.
    pub(crate) fn bounds(&self, i: usize) -> (UnixNanos, UnixNanos) {
        let last = self.steps.at(i).saturating_sub(self.offset);
        (last.saturating_sub(self.range), last)
    }
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
    let mut fold = Fold {
        agg,
        request,
        windows,
        pipeline: &pipeline,
        counts_unparsed: counts_unparsed(agg, request.summed),
        labels: LineLabels::default(),
        series: HashMap::new(),
        accumulators: Vec::new(),
        plain: Vec::new(),
        budget,
        tally: Tally::new(budget),
        stats: Stats::default(),
        failure: None,
    };
    let coverage = reader.visit(&select, &counting, &mut fold)?;
    if let Some(failure) = fold.failure.take() {
        return Err(failure);
    }
    let stats = Stats { lines_scanned: counting.spent().max(fold.stats.lines_passed), ..fold.stats };
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
        match self.take(id, record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }
}

impl Fold<'_> {
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
            return Err(QueryError::Pipeline { error: error.to_owned(), series: self.labels.all().to_string() });
        }
        let index = self.index()?;
        match &mut self.accumulators[index] {
            Accumulator::Counts { lines, bytes } => {
                let length = line.len() as i64;
                lines[from] += 1;
                lines[to + 1] -= 1;
                bytes[from] += length;
                bytes[to + 1] -= length;
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
        let grouping = self.request.summed.unwrap_or(Some(&EVERYTHING));
        let grouping = self.agg.grouping.as_ref().map_or(grouping, Some);
        match grouping {
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
