//! A pushed stream on its way into a section, of either encoding.

use weir_model::label::Labels;
use weir_model::log::LogBatch;
use weir_model::time::UnixNanos;
use weir_model::wire::{Kind, Section};

use crate::admission::Admission;
use crate::bounds::{OutOfTime, TimeBounds};
use crate::lines::{Line, Lines};
use crate::metadata::Metadata;
use crate::push::{Digest, PushContext};
use crate::push_error::PushError;

pub(super) const SOURCE: &str = "loki_push";
/// Letters of a stream's labels that an error shows.
const STREAM_SHOWN: usize = 256;

/// What a request came to.
pub(super) struct Taken {
    pub sections: Vec<Section<LogBatch>>,
    pub refused: Refused,
    /// Lines of the request, refused ones included.
    pub entries: usize,
}

impl Taken {
    /// Of a request of so many streams and lines. Errors when there are none, or too many.
    pub fn begin(context: &PushContext, streams: usize, entries: usize) -> Result<Self, PushError> {
        if streams == 0 {
            return Err(PushError::Empty("no streams in the request".into()));
        }
        let limit = context.config.records_max;
        if entries > limit {
            return Err(PushError::Malformed(format!("{entries} lines in one request (limit push.records_max is {limit})")));
        }
        Ok(Self { sections: Vec::new(), refused: Refused::default(), entries })
    }
}

/// Lines that are outside of what is kept.
#[derive(Default)]
pub(super) struct Refused {
    pub old: u64,
    pub new: u64,
    /// About the first.
    reason: String,
}

impl Refused {
    fn add(&mut self, labels: &Labels, error: &OutOfTime) {
        if self.reason.is_empty() {
            let stream: String = labels.to_string().chars().take(STREAM_SHOWN).collect();
            self.reason = format!("entry for stream '{stream}' {error}");
        }
        match error {
            OutOfTime::Old { .. } => self.old += 1,
            OutOfTime::New { .. } => self.new += 1,
        }
    }

    /// Loki's error, when there is any.
    pub fn into_result(self, entries: usize) -> Result<(), PushError> {
        match self.old + self.new {
            0 => Ok(()),
            count => Err(PushError::OutOfTime(format!("{}; {count} of {entries} lines refused, others stored", self.reason))),
        }
    }
}

/// Gathers the lines of one stream.
pub(super) struct StreamBuilder<'a> {
    context: &'a PushContext,
    bounds: TimeBounds,
    lines: Lines<'a>,
    digest: Digest,
    /// Lines read, refused ones included.
    seen: usize,
}

impl<'a> StreamBuilder<'a> {
    /// With room for `lines` lines of `line_bytes` together. Errors when a stream may not have such labels.
    pub fn begin(
        context: &'a PushContext,
        admission: &'a Admission,
        labels: Labels,
        lines: usize,
        line_bytes: usize,
    ) -> Result<Self, PushError> {
        let (count, limit) = (labels.len(), context.config.labels_max);
        if count == 0 {
            return Err(PushError::Malformed("a stream needs at least one label, got {}".into()));
        }
        if count > limit {
            return Err(PushError::Malformed(format!("stream with {count} labels (limit push.labels_max is {limit})")));
        }
        let mut digest = Digest::new(&context.tenant, SOURCE);
        digest.number(labels.stable_hash() as i64);
        let lines = Lines::begin(context, admission, labels, lines, line_bytes)?;
        Ok(Self { context, bounds: context.bounds(Kind::Logs), lines, digest, seen: 0 })
    }

    /// Errors when the next line may not have so much metadata.
    pub fn check_metadata(&self, count: usize) -> Result<(), PushError> {
        let limit = self.context.config.labels_max;
        if count <= limit {
            return Ok(());
        }
        Err(PushError::Malformed(format!("line {} has more structured metadata than push.labels_max, {limit}", self.seen)))
    }

    /// Appends a line that is kept, and gives the digest that shall tell it from others; `None` when its time is refused.
    pub fn push(
        &mut self,
        timestamp: UnixNanos,
        line: &[u8],
        metadata: &mut Metadata<'_>,
        refused: &mut Refused,
    ) -> Result<Option<&mut Digest>, PushError> {
        self.seen += 1;
        if let Err(error) = self.bounds.check(timestamp) {
            refused.add(self.lines.stream(), &error);
            return Ok(None);
        }
        self.lines.push(&Line { timestamp, body: line, severity: None, context: None }, metadata)?;
        Ok(Some(&mut self.digest))
    }

    /// The section; none when no line was kept.
    pub fn finish(self) -> Option<Section<LogBatch>> {
        let source = format!("loki/{:016x}", self.lines.stream().stable_hash());
        self.lines.finish().map(|batch| self.context.section(source, self.digest.finish(), batch))
    }
}
