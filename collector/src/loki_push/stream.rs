//! A pushed stream on its way into a section, of either encoding.

use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogAttributes, LogBatch, LogRecord};
use weir_model::time::UnixNanos;
use weir_model::wire::{Kind, Section};

use super::SOURCE;
use crate::admission::Admission;
use crate::body::PushError;
use crate::bounds::{OutOfTime, TimeBounds};
use crate::enrich;
use crate::metadata::Metadata;
use crate::push::{Digest, PushContext, push_line};
use crate::severity;

/// Memory of a line in a batch beside its body and attributes: columns of 22 bytes, a context and a set's number in columns that
/// double.
const LINE_BYTES: usize = 78;
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

/// What a set of attributes says of its lines.
#[derive(Clone, Copy, Default)]
struct Said {
    severity: Option<u8>,
    context: Option<(TraceId, SpanId)>,
}

/// Gathers the lines of one stream.
pub(super) struct StreamBuilder<'a> {
    context: &'a PushContext,
    admission: &'a Admission,
    bounds: TimeBounds,
    batch: LogBatch,
    digest: Digest,
    /// By the number of the batch's set of attributes.
    said: Vec<Said>,
    severity: Option<u8>,
    /// Of attributes, charged so far.
    charged: usize,
    lines: usize,
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
        admission.charge(lines * LINE_BYTES + line_bytes)?;
        let mut digest = Digest::new(&context.tenant, SOURCE);
        digest.number(labels.stable_hash() as i64);
        Ok(Self {
            context,
            admission,
            bounds: context.bounds(Kind::Logs),
            severity: severity::of_labels(labels.iter()),
            batch: LogBatch::with_capacity(labels, lines, line_bytes),
            digest,
            said: Vec::new(),
            charged: 0,
            lines: 0,
        })
    }

    /// Errors when the next line may not have so much metadata.
    pub fn check_metadata(&self, count: usize) -> Result<(), PushError> {
        let limit = self.context.config.labels_max;
        if count <= limit {
            return Ok(());
        }
        Err(PushError::Malformed(format!("line {} has more structured metadata than push.labels_max, {limit}", self.lines)))
    }

    /// Appends a line that is kept, and gives the digest that shall tell it from others; `None` when its time is refused.
    pub fn push(
        &mut self,
        timestamp: UnixNanos,
        line: &[u8],
        metadata: &mut Metadata<'_>,
        refused: &mut Refused,
    ) -> Result<Option<&mut Digest>, PushError> {
        self.lines += 1;
        if let Err(error) = self.bounds.check(timestamp) {
            refused.add(&self.batch.stream, &error);
            return Ok(None);
        }
        metadata.tidy();
        let set = if metadata.len() == 0 { None } else { Some(self.add_attributes(metadata)?) };
        let said = set.map_or_else(Said::default, |set| self.said[set as usize]);
        let (trace_id, span_id) = said.context.unwrap_or_else(|| enrich::context(line));
        let record = LogRecord {
            timestamp,
            sequence: 0,
            body: line,
            severity: said.severity.or(self.severity).unwrap_or_else(|| severity::of_line(line)),
            flags: 0,
            trace_id,
            span_id,
            attributes: LogAttributes::NONE,
        };
        push_line(&mut self.batch, record, set, self.context.config.line_max.to_usize());
        Ok(Some(&mut self.digest))
    }

    fn add_attributes(&mut self, metadata: &Metadata<'_>) -> Result<u32, PushError> {
        let set = self.batch.add_attributes(metadata.iter());
        let sets = self.batch.attributes();
        if sets.len() > self.said.len() {
            let new = (self.said.len() as u32..sets.len() as u32).map(|set| {
                let pairs = sets.get(set).iter();
                Said { severity: severity::of_labels(pairs.clone()), context: enrich::named_context(pairs) }
            });
            self.said.extend(new);
            let held = sets.memory() + self.said.capacity() * size_of::<Said>();
            self.admission.charge(held.saturating_sub(self.charged))?;
            self.charged = self.charged.max(held);
        }
        Ok(set)
    }

    /// The section; none when no line was kept.
    pub fn finish(mut self) -> Option<Section<LogBatch>> {
        self.batch.shrink_to_fit();
        let source = format!("loki/{:016x}", self.batch.stream.stable_hash());
        (!self.batch.is_empty()).then(|| self.context.section(source, self.digest.finish(), self.batch))
    }
}
