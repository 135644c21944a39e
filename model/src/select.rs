//! What a query asks of an engine, what it gets back, and the coverage that every answer carries.
//!
//! This is the seam between the query languages and the store: a language never sees a block, an engine never sees a
//! query's text. Readers are sync and may take long: callers run them off the async threads. One request sees one
//! consistent state of each partition: every acknowledged and consumed record exactly once, whether it lies in a head,
//! in a block, or is just moving from one to the other.

mod budget;
mod cardinality;
mod counts;
mod metrics;
mod spans;
mod tally;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

#[doc(hidden)]
pub use budget::MemoryBudget;
pub use budget::{Budget, CancelOnDrop, Cancellation, NoBudget, ReadError};
pub use cardinality::{Cardinality, CountSeries};
pub use counts::{Buckets, CountBy, LineCount, TakeCount, TakeTemplate, TemplateCount, TemplateText};
pub use metrics::{MetricReader, MetricSelect, Series, SeriesCursor, SeriesExemplars, SeriesList, TakeLabels};
pub use spans::SearchedSpan;
pub use tally::{Reservation, Tally, each_present, each_pulled, each_series, label_bytes, read_series};

use crate::id::{LineId, TraceId};
use crate::label::{Labels, Matcher};
use crate::log::LogRecord;
use crate::scope::Scope;
use crate::span::{ScopeSpans, SpanKind, Value};
use crate::time::{TimeRange, UnixNanos};

/// What one partition has seen, in bus offsets, all exclusive ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCoverage {
    /// `weir.logs`, `weir.metrics` or `weir.spans`.
    pub topic: String,
    pub partition: u32,
    /// Everything below is on the bus.
    #[serde(rename = "on_bus")]
    pub high_watermark: u64,
    /// Everything below has been searched.
    #[serde(rename = "searchable")]
    pub indexed_offset: u64,
    /// Everything below is in sealed blocks.
    #[serde(rename = "sealed")]
    pub committed_offset: u64,
    /// Offsets that are declared lost, as `[first, next)`.
    pub losses: Vec<(u64, u64)>,
}

/// Sentences that one answer has room for.
pub const MISSING_MAX: usize = 100;

/// What an answer has seen and what it has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// One an asked partition.
    pub partitions: Vec<PartitionCoverage>,
    /// What could not be read (a corrupt block, an owner that does not answer), a sentence each. Empty when all was. Goes
    /// through [`Self::miss`].
    pub missing: Vec<String>,
}

impl Coverage {
    /// Whether the answer saw all that is on the bus.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
            && self.partitions.iter().all(|seen| seen.indexed_offset >= seen.high_watermark && seen.losses.is_empty())
    }

    /// One thing more that could not be read. Each sentence stands once; beyond [`MISSING_MAX`] it is only said that there are more.
    pub fn miss(&mut self, sentence: String) {
        let known = self.missing.len() > MISSING_MAX || self.missing.contains(&sentence);
        if !known {
            let full = self.missing.len() == MISSING_MAX;
            self.missing.push(if full { "more could not be read than is listed here".into() } else { sentence });
        }
    }

    /// Both.
    pub fn merge(&mut self, other: Self) {
        for partition in other.partitions {
            if !self.partitions.contains(&partition) {
                self.partitions.push(partition);
            }
        }
        other.missing.into_iter().for_each(|sentence| self.miss(sentence));
    }
}

/// An answer and what it covers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Covered<T> {
    pub value: T,
    pub coverage: Coverage,
}

// ---- logs

/// What must be in a line. The reader may use it to skip chunks; it verifies every line it gives out.
#[derive(Clone, Debug)]
pub enum LineFilter {
    /// `|= "a" or "b"`: any of these bytes occurs.
    Contains(Vec<Vec<u8>>),
    /// `!= "a" or "b"`: none of these occurs.
    NotContains(Vec<Vec<u8>>),
    /// `|~ "…"`: not anchored. Flags have to be said in the pattern (`(?i)`): readers take literals from its text.
    Matches(regex::bytes::Regex),
    /// `!~ "…"`.
    NotMatches(regex::bytes::Regex),
}

impl LineFilter {
    /// Whether a line passes.
    pub fn passes(&self, line: &[u8]) -> bool {
        let contains = |needle: &Vec<u8>| memchr::memmem::find(line, needle).is_some();
        match self {
            Self::Contains(any) => any.iter().any(contains),
            Self::NotContains(none) => !none.iter().any(contains),
            Self::Matches(regex) => regex.is_match(line),
            Self::NotMatches(regex) => !regex.is_match(line),
        }
    }
}

/// Which lines, and in which order of time chunks should be visited.
#[derive(Clone, Debug)]
pub struct LogSelect {
    /// Streams outside are as if they were not there.
    pub scope: Scope,
    /// All must pass.
    pub matchers: Vec<Matcher>,
    /// Line timestamps.
    pub range: TimeRange,
    /// All must pass.
    pub filters: Vec<LineFilter>,
    /// Visit chunks with the newest lines first (else the oldest), and of each the last line first.
    pub newest_first: bool,
}

/// What is said by every line that a visitor has a use for: a reader may skip chunks in which no line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mention {
    /// The text of the line matches this regular expression somewhere.
    Pattern(String),
    /// This is the whole value of a label: of the stream's label of that name, of an id, or of structured metadata.
    Value(String, String),
    /// Its severity is of the same level as this one.
    Severity(u8),
    /// All of these.
    All(Vec<Mention>),
    /// One of these.
    Any(Vec<Mention>),
}

/// [`LogReader::counts`], line by line.
pub fn count_lines<R: LogReader + ?Sized>(
    reader: &R,
    select: &LogSelect,
    by: &CountBy,
    budget: &dyn Budget,
    take: TakeCount<'_>,
) -> Result<Coverage, ReadError> {
    reader.visit(select, budget, &mut counts::CountLines::new(by, take))
}

/// Takes the lines of a [`LogReader::visit`].
pub trait LogVisitor {
    /// Asked before a chunk is opened, or many, with the closed span of their timestamps: false skips them, and says that nothing of that
    /// span will be wanted later. Lets "latest N" stop early. Where the newest come first, single lines may be asked for as well.
    fn wants(&mut self, first: UnixNanos, last: UnixNanos) -> bool;
    /// Asked once, before the visit. `None`: any line may be of use.
    fn mention(&self) -> Option<Mention> {
        None
    }
    /// Lines of this stream follow, until the next call.
    fn stream(&mut self, labels: &Labels);
    /// A line that passes the request. `Break` ends the visit.
    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()>;
}

/// Count and bytes of lines of one stream in one bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogVolume {
    pub stream: Labels,
    /// Level name, "" when unknown.
    pub level: &'static str,
    /// Start of the bucket.
    pub bucket: UnixNanos,
    pub lines: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// Reads logs.
pub trait LogReader: Send + Sync {
    /// Gives every line that passes to the visitor: chunks roughly by time, within one the lines in source order, or in the opposite
    /// one where the newest come first.
    fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError>;
    /// Streams that may have a line in the range and pass the matchers (`filters` is ignored).
    fn streams(&self, select: &LogSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError>;
    /// Counts the lines that pass, in no order: from roll-ups where they say it exactly, else from the lines.
    fn counts(&self, select: &LogSelect, by: &CountBy, budget: &dyn Budget, take: TakeCount<'_>) -> Result<Coverage, ReadError> {
        count_lines(self, select, by, budget, take)
    }
    /// Counts the lines that pass by what is constant of their texts, in no order: from the templates of chunks where the reader has
    /// some, else each line is given as it is.
    fn templates(
        &self,
        select: &LogSelect,
        buckets: Buckets,
        budget: &dyn Budget,
        take: TakeTemplate<'_>,
    ) -> Result<Coverage, ReadError> {
        self.visit(select, budget, &mut counts::EachLine { buckets, take })
    }
    /// Counts per stream, level and bucket of `step` nanoseconds, by bucket. Errors when the step is not above 0.
    fn volume(&self, select: &LogSelect, step: i64, budget: &dyn Budget) -> Result<Covered<Vec<LogVolume>>, ReadError> {
        let wrong = || ReadError::Store(format!("a volume's step is above 0, got {step}"));
        let (by, mut volumes) = (CountBy::of(Buckets::new(step, 0).ok_or_else(wrong)?), counts::Volumes::default());
        let coverage = self.counts(select, &by, budget, &mut |count| {
            volumes.add(count);
            ControlFlow::Continue(())
        })?;
        Ok(Covered { value: volumes.finish(), coverage })
    }
    /// One line and up to `context` neighbours of its stream on each side, in source order. Empty when there is no such line.
    fn line(&self, scope: &Scope, id: LineId, context: usize, budget: &dyn Budget) -> Result<Covered<Vec<OwnedLine>>, ReadError>;
    /// Lines as they arrive from now on: the reader pushes each new batch that passes; a slow receiver loses the
    /// oldest and is told how many (`TailEvent::Dropped`).
    fn tail(&self, select: LogSelect) -> Result<Box<dyn LogTail>, ReadError>;
}

/// A live tail. Dropping it ends it.
pub trait LogTail: Send {
    /// What arrived since the last call; empty when nothing did. Never blocks.
    fn poll(&mut self) -> Vec<TailEvent>;
}

/// What a tail sees.
#[derive(Clone, Debug, PartialEq)]
pub enum TailEvent {
    Line(OwnedLine),
    /// This many lines came too fast.
    Dropped(u64),
}

/// A line that stands on its own; its fields as in [`LogRecord`].
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedLine {
    pub id: LineId,
    pub stream: Labels,
    pub timestamp: UnixNanos,
    pub body: Vec<u8>,
    pub severity: u8,
    pub trace_id: TraceId,
    pub span_id: crate::id::SpanId,
    pub attributes: Labels,
}

impl OwnedLine {
    /// Copies a line out of its chunk.
    pub fn new(id: LineId, stream: &Labels, record: LogRecord<'_>) -> Self {
        Self {
            id,
            stream: stream.clone(),
            timestamp: record.timestamp,
            body: record.body.to_vec(),
            severity: record.severity,
            trace_id: record.trace_id,
            span_id: record.span_id,
            attributes: record.attributes.to_labels(),
        }
    }

    /// As it came; without its place in its source.
    pub fn record(&self) -> LogRecord<'_> {
        LogRecord {
            timestamp: self.timestamp,
            sequence: 0,
            body: &self.body,
            severity: self.severity,
            flags: 0,
            trace_id: self.trace_id,
            span_id: self.span_id,
            attributes: (&self.attributes).into(),
        }
    }
}

// ---- traces

/// How far a trace has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceState {
    /// Spans still arrive.
    #[default]
    Open,
    /// Root seen, no unresolved parent, 2 s idle; or 10 s idle.
    Quiescent,
    /// All of its spans are in blocks.
    Sealed,
    /// A span came after it was sealed.
    Reopened,
}

/// A whole trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    pub id: TraceId,
    pub state: TraceState,
    /// Counts state changes by late spans.
    pub revision: u32,
    /// Its spans, grouped by origin, ascending by start within a group.
    pub batches: Vec<ScopeSpans>,
}

/// Which traces. All conditions on spans must hold on one span.
#[derive(Clone, Debug)]
pub struct TraceSelect {
    /// Spans outside are as if they were not there.
    pub scope: Scope,
    /// A span of the trace starts within.
    pub range: TimeRange,
    /// `service.name`.
    pub service: Option<String>,
    pub operation: Option<String>,
    /// Attributes of span or resource, compared as text; `error`, `status`, `kind` and others are no attributes.
    pub attributes: Vec<(String, String)>,
    /// Span duration in ns, inclusive.
    pub duration_min: Option<i64>,
    /// Span duration in ns, inclusive.
    pub duration_max: Option<i64>,
    /// Newest this many.
    pub limit: usize,
}

/// What a search shows of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceSummary {
    pub id: TraceId,
    /// Service of the root span; of the earliest span when no root is there.
    pub root_service: String,
    pub root_name: String,
    /// Whether the root span is there.
    pub has_root: bool,
    /// Earliest start.
    pub start: UnixNanos,
    /// Latest end minus earliest start.
    pub duration: i64,
    pub spans: u32,
    /// Spans with an error status.
    pub errors: u32,
    /// Spans that matched.
    pub matched: u32,
    /// Start of the newest of them.
    pub newest_match: UnixNanos,
}

/// Reads traces.
pub trait TraceReader: Send + Sync {
    /// A trace by id; `None` when no span of it has been seen (the coverage says how far that looked).
    fn trace(&self, scope: &Scope, id: TraceId) -> Result<Covered<Option<Trace>>, ReadError>;
    /// Newest traces that pass, by the newest span that does, then by id.
    fn search(&self, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<TraceSummary>>, ReadError>;
    /// Services seen in the range, ascending.
    fn services(&self, scope: &Scope, range: TimeRange, budget: &dyn Budget) -> Result<Covered<Vec<String>>, ReadError>;
    /// Operations of a service, or of all, seen in the range, ascending, with their kinds.
    fn operations(
        &self,
        scope: &Scope,
        service: Option<&str>,
        range: TimeRange,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, SpanKind)>>, ReadError>;
    /// Values of an attribute seen in the range, ascending, at most `limit`.
    fn attribute_values(
        &self,
        scope: &Scope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<Value>>, ReadError>;
    /// Attribute names seen in the range: (`span` or `resource`, name), ascending, at most `limit`.
    fn attribute_names(
        &self,
        scope: &Scope,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, String)>>, ReadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stands_once_and_not_without_end() {
        let mut coverage = Coverage::default();
        (0..2 * MISSING_MAX).for_each(|i| {
            coverage.miss(format!("block {}", i % (MISSING_MAX + 10)));
            coverage.miss("block 0".into());
        });
        let mut expected: Vec<String> = (0..MISSING_MAX).map(|i| format!("block {i}")).collect();
        expected.push("more could not be read than is listed here".into());
        assert_eq!(coverage.missing, expected);
        let mut merged = Coverage { partitions: Vec::new(), missing: vec!["another".into()] };
        merged.merge(coverage);
        assert_eq!((merged.missing.len(), merged.missing.last()), (MISSING_MAX + 1, expected.last()));
    }
}
