//! Counts of lines: what tells lines apart, one count, and what readers make of counts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{LogVisitor, LogVolume, Mention};
use crate::id::{LineId, SpanId, TraceId};
use crate::label::Labels;
use crate::log::{LogAttributes, LogRecord, level_name, level_severity};
use crate::time::UnixNanos;

/// Buckets of one width, which together are all of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    step: i64,
    origin: UnixNanos,
}

impl Buckets {
    /// Of `step` nanoseconds; one of them begins at `origin`. `None` when the step is not above 0.
    pub fn new(step: i64, origin: UnixNanos) -> Option<Self> {
        (step > 0).then_some(Self { step, origin: origin.rem_euclid(step.max(1)) })
    }

    /// Their width, nanoseconds.
    pub fn step(self) -> i64 {
        self.step
    }

    /// Where the first one at or after the epoch begins: below [`Self::step`].
    pub fn origin(self) -> UnixNanos {
        self.origin
    }

    /// Where the bucket of a time begins.
    pub fn start_of(self, at: UnixNanos) -> UnixNanos {
        let into = match at.checked_sub(self.origin) {
            Some(since) => since.rem_euclid(self.step),
            None => (i128::from(at) - i128::from(self.origin)).rem_euclid(i128::from(self.step)) as i64,
        };
        at.saturating_sub(into)
    }
}

/// What tells counted lines apart, beside their stream and their level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountBy {
    pub buckets: Buckets,
    /// Names of structured metadata. Those that the line's stream has as labels tell nothing apart.
    pub metadata: Vec<String>,
    /// All of their metadata, and their ids, tell lines apart.
    pub all: bool,
    /// What every line says that is of use: others may be counted or not.
    pub mention: Option<Mention>,
    /// [`LineCount::bytes`] are exact. Else they may be as many as so many lines have on average where those lie: to know them takes
    /// all that varies in the lines.
    pub bytes: bool,
}

impl CountBy {
    /// By stream, level and bucket, with exact bytes.
    pub fn of(buckets: Buckets) -> Self {
        Self { buckets, metadata: Vec::new(), all: false, mention: None, bytes: true }
    }

    /// The pairs of a line's metadata that tell it apart within a stream.
    pub fn pairs<'a>(&self, stream: &Labels, attributes: LogAttributes<'a>) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        let is_told = move |name: &str| self.metadata.iter().any(|own| own == name) && stream.get(name).is_empty();
        attributes.iter().filter(move |(name, _)| self.all || is_told(name))
    }
}

/// So many lines that are not told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineCount<'a> {
    pub stream: &'a Labels,
    /// Start of their bucket, which may lie before the range that was asked for.
    pub bucket: UnixNanos,
    /// As [`level_severity`] has it.
    pub severity: u8,
    /// Of the names asked for.
    pub metadata: &'a Labels,
    /// None unless all is asked for.
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub lines: u64,
    /// Of their bodies: see [`CountBy::bytes`].
    pub bytes: u64,
}

/// Takes counts; `Break` ends the counting. The same bucket of the same stream may come several times.
pub type TakeCount<'a> = &'a mut dyn FnMut(&LineCount<'_>) -> ControlFlow<()>;

/// Lines that are alike but for what varies in their texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateCount<'a> {
    pub text: TemplateText<'a>,
    /// As [`level_severity`] has it.
    pub severity: u8,
    /// Start of their bucket.
    pub bucket: UnixNanos,
    pub lines: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateText<'a> {
    /// What is constant, with `<_>` in the place of each variable.
    Constant(&'a str),
    /// A whole line, in which the reader tells nothing apart.
    Line(&'a [u8]),
}

/// Takes counts of templates; `Break` ends the counting. The same template may come several times.
pub type TakeTemplate<'a> = &'a mut dyn FnMut(&TemplateCount<'_>) -> ControlFlow<()>;

/// Gives each line as its own template: for readers that have nothing better.
pub(super) struct EachLine<'a> {
    pub(super) buckets: Buckets,
    pub(super) take: TakeTemplate<'a>,
}

impl LogVisitor for EachLine<'_> {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }

    fn stream(&mut self, _: &Labels) {}

    fn line(&mut self, _: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        (self.take)(&TemplateCount {
            text: TemplateText::Line(record.body),
            severity: level_severity(record.severity),
            bucket: self.buckets.start_of(record.timestamp),
            lines: 1,
        })
    }
}

/// Counts line by line: for readers that have nothing better.
pub(super) struct CountLines<'a> {
    by: &'a CountBy,
    take: TakeCount<'a>,
    stream: Labels,
}

impl<'a> CountLines<'a> {
    pub(super) fn new(by: &'a CountBy, take: TakeCount<'a>) -> Self {
        Self { by, take, stream: Labels::EMPTY }
    }
}

impl LogVisitor for CountLines<'_> {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }

    fn mention(&self) -> Option<Mention> {
        self.by.mention.clone()
    }

    fn stream(&mut self, labels: &Labels) {
        self.stream = labels.clone();
    }

    fn line(&mut self, _: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        (self.take)(&LineCount {
            stream: &self.stream,
            bucket: self.by.buckets.start_of(record.timestamp),
            severity: level_severity(record.severity),
            metadata: &Labels::from_pairs(self.by.pairs(&self.stream, record.attributes)),
            trace_id: if self.by.all { record.trace_id } else { TraceId::default() },
            span_id: if self.by.all { record.span_id } else { SpanId::default() },
            lines: 1,
            bytes: record.body.len() as u64,
        })
    }
}

/// Counts by bucket, stream and the name of the level, added up.
#[derive(Default)]
pub(super) struct Volumes(BTreeMap<(UnixNanos, Labels, &'static str), (u64, u64)>);

impl Volumes {
    pub(super) fn add(&mut self, count: &LineCount<'_>) {
        let sums = self.0.entry((count.bucket, count.stream.clone(), level_name(count.severity))).or_default();
        sums.0 += count.lines;
        sums.1 += count.bytes;
    }

    pub(super) fn finish(self) -> Vec<LogVolume> {
        let one = |((bucket, stream, level), (lines, bytes))| LogVolume { stream, level, bucket, lines, bytes };
        self.0.into_iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_all_of_time() {
        let check = |step, origin, at, expected| assert_eq!(Buckets::new(step, origin).unwrap().start_of(at), expected, "{at}");
        check(10, 0, 19, 10);
        check(10, 0, -1, -10);
        check(10, 1, 10, 1);
        check(10, 1, 11, 11);
        check(10, -19, 11, 11);
        check(10, 1, 0, -9);
        check(i64::MAX, 0, i64::MAX, i64::MAX);
        check(7, 6, i64::MIN + 2, i64::MIN);
        check(7, 6, i64::MIN + 6, i64::MIN);
        assert_eq!((Buckets::new(0, 0), Buckets::new(-1, 0)), (None, None));
    }
}
