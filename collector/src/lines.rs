//! Lines of one stream on their way from a push into a batch, whatever protocol they came by.

use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{FLAG_CONTINUED, LogAttributes, LogBatch, LogRecord};
use weir_model::time::UnixNanos;

use crate::admission::Admission;
use crate::enrich;
use crate::metadata::Metadata;
use crate::push::PushContext;
use crate::push_error::PushError;
use crate::severity;

/// Memory of a line in a batch beside its body and attributes: columns of 22 bytes, a context and a set's number in columns that
/// double.
const LINE_BYTES: usize = 78;

/// A line, and what its client says of it.
pub(crate) struct Line<'a> {
    pub timestamp: UnixNanos,
    pub body: &'a [u8],
    pub severity: Option<u8>,
    pub context: Option<(TraceId, SpanId)>,
}

/// What a set of attributes says of its lines.
#[derive(Clone, Copy, Default)]
struct Said {
    severity: Option<u8>,
    context: Option<(TraceId, SpanId)>,
}

/// A batch in the making.
pub(crate) struct Lines<'a> {
    admission: &'a Admission,
    batch: LogBatch,
    /// By the number of the batch's set of attributes.
    said: Vec<Said>,
    /// Of the stream's labels.
    severity: Option<u8>,
    /// Of attributes, charged so far.
    charged: usize,
    line_max: usize,
}

impl<'a> Lines<'a> {
    /// With room for `lines` lines of `line_bytes` together, charged before it is taken.
    pub fn begin(
        context: &PushContext,
        admission: &'a Admission,
        stream: Labels,
        lines: usize,
        line_bytes: usize,
    ) -> Result<Self, PushError> {
        admission.charge(lines * LINE_BYTES + line_bytes)?;
        Ok(Self {
            admission,
            severity: severity::of_labels(stream.iter()),
            batch: LogBatch::with_capacity(stream, lines, line_bytes),
            said: Vec::new(),
            charged: 0,
            line_max: context.config.line_max.to_usize(),
        })
    }

    pub fn stream(&self) -> &Labels {
        &self.batch.stream
    }

    /// Appends a line. Severity and context are what the client says, else what its metadata says, else what the line says.
    pub fn push(&mut self, line: &Line<'_>, metadata: &mut Metadata<'_>) -> Result<(), PushError> {
        metadata.tidy();
        let set = if metadata.len() == 0 { None } else { Some(self.add_attributes(metadata)?) };
        let said = set.map_or_else(Said::default, |set| self.said[set as usize]);
        let (trace_id, span_id) = line.context.or(said.context).unwrap_or_else(|| enrich::context(line.body));
        let severity = line.severity.or(said.severity).or(self.severity);
        let record = LogRecord {
            timestamp: line.timestamp,
            sequence: 0,
            body: line.body,
            severity: severity.unwrap_or_else(|| severity::of_line(line.body)),
            flags: 0,
            trace_id,
            span_id,
            attributes: LogAttributes::NONE,
        };
        self.push_parts(record, set);
        Ok(())
    }

    /// Splits a line that is longer than `push.line_max`; all parts have its context and its attributes.
    fn push_parts(&mut self, record: LogRecord<'_>, set: Option<u32>) {
        let mut push = |record| match set {
            Some(set) => self.batch.push_with(record, set),
            None => self.batch.push(record),
        };
        let mut rest = record.body;
        while rest.len() > self.line_max {
            let (body, tail) = rest.split_at(self.line_max);
            push(LogRecord { body, flags: record.flags | FLAG_CONTINUED, ..record });
            rest = tail;
        }
        push(LogRecord { body: rest, ..record });
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

    /// The batch; none when no line was kept.
    pub fn finish(mut self) -> Option<LogBatch> {
        self.batch.shrink_to_fit();
        (!self.batch.is_empty()).then_some(self.batch)
    }
}
