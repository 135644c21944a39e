//! Lines of heads that fit a page: the newest (oldest) that pass. What they travel in is `logs`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{Budget, LogSelect, LogVisitor, OwnedLine, ReadError};
use weir_model::time::{TimeRange, UnixNanos};

use weir_blocks::segment::{Merge, Segment, SegmentError};
use weir_logs::{Chunk, LogsHead, LogsPlan, Place};

use crate::ExtractLimits;

/// What a line takes beyond its body, towards a page: place, times, ids, pointers.
const LINE_BYTES: u64 = 128;

/// Lines by stream.
pub(crate) type Streams = BTreeMap<Labels, Vec<Kept>>;

/// A line that is to travel.
pub(crate) struct Kept {
    pub(crate) place: Place,
    timestamp: i64,
    sequence: u64,
    body: Box<[u8]>,
    severity: u8,
    flags: u8,
    trace_id: weir_model::id::TraceId,
    span_id: weir_model::id::SpanId,
    attributes: Labels,
}

impl Kept {
    pub(crate) fn new(place: Place, record: LogRecord<'_>) -> Self {
        Self {
            place,
            timestamp: record.timestamp,
            sequence: record.sequence,
            body: record.body.into(),
            severity: record.severity,
            flags: record.flags,
            trace_id: record.trace_id,
            span_id: record.span_id,
            attributes: record.attributes.to_labels(),
        }
    }

    /// Where the reader gives no more than this, no more is asked for.
    pub(crate) fn of_owned(line: OwnedLine) -> Self {
        Self {
            place: (line.id.offset, line.id.ordinal),
            timestamp: line.timestamp,
            sequence: 0,
            body: line.body.into(),
            severity: line.severity,
            flags: 0,
            trace_id: line.trace_id,
            span_id: line.span_id,
            attributes: line.attributes,
        }
    }

    pub(crate) fn record(&self) -> LogRecord<'_> {
        LogRecord {
            timestamp: self.timestamp,
            sequence: self.sequence,
            body: &self.body,
            severity: self.severity,
            flags: self.flags,
            trace_id: self.trace_id,
            span_id: self.span_id,
            attributes: (&self.attributes).into(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.body.len() + self.attributes.text_bytes()) as u64 + LINE_BYTES
    }
}

/// Lines gathered for a page; never much more than twice of it is held.
struct Page {
    newest_first: bool,
    bytes_max: u64,
    bytes: u64,
    /// Bytes at which to prune again.
    prune_at: u64,
    /// What is still of interest: shrinks as better lines fill the page.
    range: TimeRange,
    watermark: Option<i64>,
    streams: Vec<Labels>,
    lines: Vec<(u32, Kept)>,
}

impl Page {
    /// Adds the lines of a chunk that pass and are still of interest.
    fn add_chunk(&mut self, chunk: &Chunk, plan: &LogsPlan, limits: ExtractLimits, budget: &dyn Budget) -> Result<(), ReadError> {
        let (first, last) = chunk.times();
        if !self.range.overlaps(first, last) || !chunk.may_match(plan) {
            return Ok(());
        }
        budget.check()?;
        let stream = self.streams.len() as u32;
        self.streams.push(chunk.stream().clone());
        // Lines of one instant are never parted, so their sum has a limit of its own.
        let sum_max = limits.bytes_max.saturating_mul(2);
        let range = self.range;
        let mut filling = Filling { page: self, stream, sum_max };
        // From behind the page is full of the newest lines soon, and those before them are not looked at.
        let visited = if filling.page.newest_first {
            chunk.visit_back(range, plan, &mut filling)
        } else {
            chunk.visit(range, plan, &mut |id, record| filling.line(id, record))
        };
        let _all = visited.map_err(|error| ReadError::Store(error.to_string()))?;
        if self.bytes > sum_max {
            let what = "bytes of unsealed lines of one nanosecond";
            return Err(ReadError::Budget { limit: limits.bytes_max, what, key: limits.key });
        }
        Ok(())
    }

    fn add(&mut self, stream: u32, line: Kept) {
        self.bytes += line.bytes();
        self.lines.push((stream, line));
        if self.bytes > self.prune_at {
            self.prune();
            self.prune_at = self.bytes_max.max(self.bytes).saturating_mul(2);
        }
    }

    /// Keeps the lines of the first instants that fit; all of the very first, since a page ends between two instants.
    fn prune(&mut self) {
        let newest_first = self.newest_first;
        let order = |at: i64| if newest_first { at } else { !at };
        self.lines.sort_by_key(|(_, line)| std::cmp::Reverse(order(line.timestamp)));
        let Some(first) = self.lines.first().map(|(_, line)| line.timestamp) else { return };
        let (mut bytes, mut kept, mut at) = (0, 0, 0);
        for run in self.lines.chunk_by(|a, b| a.1.timestamp == b.1.timestamp) {
            let more: u64 = run.iter().map(|(_, line)| line.bytes()).sum();
            if run[0].1.timestamp != first && bytes + more > self.bytes_max {
                break;
            }
            (bytes, kept, at) = (bytes + more, kept + run.len(), run[0].1.timestamp);
        }
        if kept == self.lines.len() {
            return;
        }
        self.lines.truncate(kept);
        self.bytes = bytes;
        if newest_first {
            self.range.start = at;
            self.watermark = Some(at);
        } else {
            self.range.end = at.saturating_add(1);
            self.watermark = Some(self.range.end);
        }
    }
}

/// A page that takes the lines of one chunk.
struct Filling<'a> {
    page: &'a mut Page,
    stream: u32,
    sum_max: u64,
}

impl LogVisitor for Filling<'_> {
    fn wants(&mut self, first: UnixNanos, last: UnixNanos) -> bool {
        self.page.range.overlaps(first, last)
    }

    fn stream(&mut self, _: &Labels) {}

    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        if self.page.range.contains(record.timestamp) {
            self.page.add(self.stream, Kept::new((id.offset, id.ordinal), record));
        }
        if self.page.bytes > self.sum_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The lines of the first instants that pass and fit, by stream; and where the page ends, when not all fit.
pub(crate) fn collect(
    select: &LogSelect,
    page_bytes: u64,
    heads: &[Arc<LogsHead>],
    limits: ExtractLimits,
    budget: &dyn Budget,
) -> Result<(Streams, Option<i64>), ReadError> {
    let plan = Arc::new(LogsPlan::new(select));
    let mut merge = Merge::new(heads.iter().map(|head| Arc::clone(head).cursor(Arc::clone(&plan), budget)).collect());
    let bytes_max = page_bytes.min(limits.bytes_max);
    let mut page = Page {
        newest_first: select.newest_first,
        bytes_max,
        bytes: 0,
        prune_at: bytes_max.saturating_mul(2),
        range: select.range,
        watermark: None,
        streams: Vec::new(),
        lines: Vec::new(),
    };
    let mut chunks = Vec::new();
    while let Some(group) = merge.next_group(&mut chunks) {
        group.map_err(failed)?;
        for (_, chunk) in &chunks {
            page.add_chunk(chunk, &plan, limits, budget)?;
        }
    }
    if page.bytes > page.bytes_max {
        page.prune();
    }
    let mut streams: Streams = BTreeMap::new();
    for (stream, line) in page.lines {
        streams.entry(page.streams[stream as usize].clone()).or_default().push(line);
    }
    Ok((streams, page.watermark))
}

/// A head is in memory: what cannot be read of it is no gap in an answer but an error.
fn failed(error: SegmentError) -> ReadError {
    match error {
        SegmentError::Unreadable(error) => ReadError::Store(error.to_string()),
        SegmentError::Ended(error) => error,
    }
}
