//! A pushed stream on its way into a section, of either encoding.

use std::collections::BTreeMap;
use std::time::Duration;

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
use crate::quota::Excess;

pub(super) const SOURCE: &str = "loki_push";
/// Reasons of counters.
const OLD: &str = "too_old";
const NEW: &str = "too_new";
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
            return Err(PushError::Empty(
                "error at least one valid stream is required for ingestion: there are no streams in the request".into(),
            ));
        }
        let limit = context.config.records_max;
        if entries > limit {
            return Err(PushError::Malformed(format!("{entries} lines in one request (limit push.records_max is {limit})")));
        }
        Ok(Self { sections: Vec::new(), refused: Refused::default(), entries })
    }
}

/// Lines that are outside of what is kept, or beyond their tenant's limits.
#[derive(Default)]
pub(super) struct Refused {
    by_reason: BTreeMap<&'static str, u64>,
    /// About the first.
    text: String,
    /// Whether some of them will never be taken.
    is_final: bool,
}

impl Refused {
    fn add(&mut self, reason: &'static str, lines: u64, is_final: bool, text: impl FnOnce() -> String) {
        if self.text.is_empty() {
            self.text = text();
        }
        self.is_final |= is_final;
        *self.by_reason.entry(reason).or_default() += lines;
    }

    fn add_excess(&mut self, excess: Excess, lines: usize) {
        self.add(excess.reason, lines as u64, !excess.is_passing, || excess.text);
    }

    /// Lines by why they are refused.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.by_reason.iter().map(|(reason, lines)| (*reason, *lines))
    }

    /// Loki's error, when there is any.
    pub fn into_result(self, entries: usize) -> Result<(), PushError> {
        let count: u64 = self.counts().map(|(_, lines)| lines).sum();
        if count == 0 {
            return Ok(());
        }
        let is_time = |reason: &str| reason == OLD || reason == NEW;
        let reason = self.counts().map(|(reason, _)| reason).find(|reason| !is_time(reason)).unwrap_or("out_of_time");
        let text = format!("{}; {count} of {entries} lines refused, others stored", self.text);
        let wait = Duration::ZERO;
        Err(if self.is_final { PushError::Refused { text, reason } } else { PushError::Limited { text, reason, wait } })
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
    /// With room for `lines` lines of `line_bytes` together; `None` when its tenant may not have such a stream. Errors when nobody may.
    pub fn begin(
        context: &'a PushContext,
        admission: &'a Admission,
        labels: Labels,
        lines: usize,
        line_bytes: usize,
        refused: &mut Refused,
    ) -> Result<Option<Self>, PushError> {
        let (count, limit) = (labels.len(), context.config.labels_max);
        if count == 0 {
            return Err(PushError::Malformed("error at least one label pair is required per stream: got {}".into()));
        }
        if count > limit {
            return Err(PushError::Malformed(format!("stream with {count} labels (limit push.labels_max is {limit})")));
        }
        // A stream without lines makes none.
        let admitted = if lines == 0 { Ok(()) } else { context.quota.stream(&labels) };
        if let Err(excess) = admitted {
            refused.add_excess(excess, lines);
            return Ok(None);
        }
        let mut digest = Digest::new(&context.tenant, SOURCE);
        digest.number(labels.stable_hash() as i64);
        let lines = Lines::begin(context, admission, labels, lines, line_bytes)?;
        Ok(Some(Self { context, bounds: context.bounds(Kind::Logs), lines, digest, seen: 0 }))
    }

    /// Errors when the next line may not have so much metadata.
    pub fn check_metadata(&self, count: usize) -> Result<(), PushError> {
        let limit = self.context.config.labels_max;
        if count <= limit {
            return Ok(());
        }
        Err(PushError::Malformed(format!("line {} has more structured metadata than push.labels_max, {limit}", self.seen)))
    }

    /// Appends a line that is kept, and gives the digest that shall tell it from others; `None` when it is refused.
    pub fn push(
        &mut self,
        timestamp: UnixNanos,
        line: &[u8],
        metadata: &mut Metadata<'_>,
        refused: &mut Refused,
    ) -> Result<Option<&mut Digest>, PushError> {
        self.seen += 1;
        if let Err(error) = self.bounds.check(timestamp) {
            let reason = if matches!(error, OutOfTime::Old { .. }) { OLD } else { NEW };
            refused.add(reason, 1, true, || {
                let stream: String = self.lines.stream().to_string().chars().take(STREAM_SHOWN).collect();
                format!("entry for stream '{stream}' {error}")
            });
            return Ok(None);
        }
        if let Err(excess) = self.context.quota.line(self.lines.stream(), line.len(), metadata.bytes()) {
            refused.add_excess(excess, 1);
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
