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

/// Metadata that lines share, as numbers of their batch: hashed once, and not once a line. Ascending by name.
pub(crate) struct Shared<'m>(Vec<(&'m str, (u32, u32))>);

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
    /// Of the line that is being appended.
    numbers: Vec<(u32, u32)>,
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
            numbers: Vec::new(),
            line_max: context.config.line_max.to_usize(),
        })
    }

    pub fn stream(&self) -> &Labels {
        &self.batch.stream
    }

    /// Appends a line.
    pub fn push(&mut self, line: &Line<'_>, metadata: &mut Metadata<'_>) -> Result<(), PushError> {
        metadata.tidy();
        let set = if metadata.len() == 0 { None } else { Some(self.batch.add_attributes(metadata.iter())) };
        self.push_with(line, set)
    }

    /// What several lines share, for [`Self::push_sharing`].
    pub fn share<'m>(&mut self, metadata: &'m Labels) -> Result<Shared<'m>, PushError> {
        let pairs = metadata.iter().map(|(name, value)| (name, self.batch.number_attribute(name, value))).collect();
        self.charge_attributes()?;
        Ok(Shared(pairs))
    }

    /// Appends a line with shared metadata and its own, which counts where both have a name.
    pub fn push_sharing(&mut self, line: &Line<'_>, shared: &Shared<'_>, own: &mut Metadata<'_>) -> Result<(), PushError> {
        own.tidy();
        self.numbers.clear();
        let mut rest = shared.0.iter().peekable();
        for (name, value) in own.iter() {
            while let Some((_, pair)) = rest.next_if(|(theirs, _)| *theirs < name) {
                self.numbers.push(*pair);
            }
            rest.next_if(|(theirs, _)| *theirs == name);
            self.numbers.push(self.batch.number_attribute(name, value));
        }
        self.numbers.extend(rest.map(|(_, pair)| *pair));
        let set = if self.numbers.is_empty() { None } else { Some(self.batch.add_numbered(self.numbers.iter().copied())) };
        self.push_with(line, set)
    }

    /// Severity and context are what the client says, else what its metadata says, else what the line says.
    fn push_with(&mut self, line: &Line<'_>, set: Option<u32>) -> Result<(), PushError> {
        if self.batch.attributes().len() > self.said.len() {
            self.read_new_sets();
            self.charge_attributes()?;
        }
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

    fn read_new_sets(&mut self) {
        let sets = self.batch.attributes();
        let new = (self.said.len() as u32..sets.len() as u32).map(|set| {
            let pairs = sets.get(set).iter();
            Said { severity: severity::of_labels(pairs.clone()), context: enrich::named_context(pairs) }
        });
        self.said.extend(new);
    }

    fn charge_attributes(&mut self) -> Result<(), PushError> {
        let held = self.batch.attributes().memory() + self.said.capacity() * size_of::<Said>();
        self.admission.charge(held.saturating_sub(self.charged))?;
        self.charged = self.charged.max(held);
        Ok(())
    }

    /// The batch; none when no line was kept.
    pub fn finish(mut self) -> Option<LogBatch> {
        self.batch.shrink_to_fit();
        (!self.batch.is_empty()).then_some(self.batch)
    }
}
