//! From bytes of a log file to batches of lines, one a stream, with exact positions. Pure: no files, no clock.
//!
//! Positions are the whole point. Every line's sequence is the offset of its end in the file, so that reading the same
//! bytes again yields the same sequences, wherever reading begins, as long as it begins at a [`Snapshot`]:
//! - A joined line ends where its last part ends. `restart` is the start of the oldest open partial line.
//! - A part at or below its stream's `last` is skipped: it belongs to a line that is on the bus. So after a restart the open
//!   partials hold exactly the parts that they held when the snapshot was taken.
//! - A line whose parts lie in two files belongs to the file where it ends: its parts of the file before are handed over as
//!   [`Carried`], and as long as it is open, reading begins anew at 0. Only a stream's first line can be such a one, so after
//!   a restart what was carried counts for the streams of which nothing was given out yet. Is it cut before its first part
//!   here, it has the sequence behind that part's first byte.
//! - A joined line that would outgrow [`LINE_BYTES_MAX`] is cut *between* parts; a single part that is longer is cut
//!   inside, its `n` pieces having the sequences `end - n + 1 ..= end` (a piece is longer than a byte).

use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{FLAG_CONTINUED, LogAttributes, LogBatch, LogRecord};
use weir_model::time::UnixNanos;

use super::{Part, STREAMS, Stream, cri, docker};
use crate::LINE_BYTES_MAX;
use crate::config::FileFormat;
use crate::{enrich, severity};

/// A physical line of a framed format may be this long; what is longer is cut and kept as it is. Engines frame at 16 KiB.
const PHYSICAL_BYTES_MAX: usize = 2 << 20;

/// From where reading can begin anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Offset in the file.
    pub restart: u64,
    /// Per stream ([`Stream`] as index): end of its last line that was given out.
    pub last: [u64; STREAMS],
}

/// A line in the making.
struct Open {
    start: u64,
    end: u64,
    timestamp: UnixNanos,
    body: Vec<u8>,
}

/// The parts of a line that goes on in the next file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    /// Of its first part.
    pub timestamp: UnixNanos,
    /// Joined.
    pub body: Vec<u8>,
}

/// What was wrong with the lines of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParseStats {
    /// Lines that are not of the file's format; kept as they are.
    pub broken: u64,
    /// Lines that had to be cut.
    pub cut: u64,
}

/// Lines of one stream from one block, and where they stand.
pub(crate) struct Chunk {
    pub stream: Stream,
    /// Exclusive end of the chunk before this one.
    pub first: u64,
    /// Sequence of the last line.
    pub last: u64,
    pub batch: LogBatch,
}

/// Assembles the lines of one file.
pub(crate) struct Assembler {
    format: FileFormat,
    labels: [Labels; STREAMS],
    /// Offset of the first byte not consumed.
    position: u64,
    last: [u64; STREAMS],
    given: [u64; STREAMS],
    open: [Option<Open>; STREAMS],
    batches: [LogBatch; STREAMS],
    pub stats: ParseStats,
}

impl Assembler {
    /// `labels` of the streams, by [`Stream`].
    pub fn new(format: FileFormat, labels: [Labels; STREAMS], from: Snapshot) -> Self {
        let batches = labels.clone().map(LogBatch::new);
        let open = std::array::from_fn(|_| None);
        Self {
            format,
            labels,
            position: from.restart,
            last: from.last,
            given: from.last,
            open,
            batches,
            stats: ParseStats::default(),
        }
    }

    /// What the file before left open; for the streams of which nothing was given out of this one.
    pub fn carry(&mut self, carried: [Option<Carried>; STREAMS]) {
        for (i, carried) in carried.into_iter().enumerate() {
            if self.last[i] == 0 {
                self.open[i] = carried.map(|carried| Open { start: 0, end: 0, timestamp: carried.timestamp, body: carried.body });
            }
        }
    }

    /// What the file leaves open for the next one.
    pub fn carried(&mut self) -> [Option<Carried>; STREAMS] {
        std::mem::take(&mut self.open).map(|open| open.map(|open| Carried { timestamp: open.timestamp, body: open.body }))
    }

    /// Offset of the next byte to feed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// New labels for the lines to come.
    pub fn relabel(&mut self, labels: &[Labels; STREAMS]) {
        self.labels.clone_from(labels);
    }

    /// Consumes whole lines from `block`, which begins at [`Assembler::position`]; the number of bytes consumed. What is
    /// left is the beginning of a line: feed it again with more behind it.
    pub fn feed(&mut self, block: &[u8], now: UnixNanos) -> usize {
        let mut consumed = 0;
        for end in memchr::memchr_iter(b'\n', block) {
            consumed += self.cut_long(&block[consumed..end], now);
            self.line(&block[consumed..end], end + 1 - consumed, now);
            consumed = end + 1;
        }
        consumed + self.cut_long(&block[consumed..], now)
    }

    /// The file will not grow any more: its last line may have no end.
    pub fn finish(&mut self, rest: &[u8], now: UnixNanos) {
        if !rest.is_empty() {
            self.line(rest, rest.len(), now);
        }
        // A single part may be longer than a line may be: it is given out here, so that a carried line is one piece.
        for stream in Stream::ALL {
            if self.open[stream as usize].as_ref().is_some_and(|open| open.body.len() > LINE_BYTES_MAX) {
                self.stats.cut += 1;
                self.close(stream, true, self.position);
            }
        }
    }

    /// No file follows: what is open is given out as it is, with a continuation mark.
    pub fn close_all(&mut self) {
        let end = self.position;
        for stream in Stream::ALL {
            self.close(stream, true, end);
        }
    }

    /// What has been assembled since the last call.
    pub fn take(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for stream in Stream::ALL {
            let i = stream as usize;
            if self.batches[i].is_empty() {
                continue;
            }
            let batch = std::mem::replace(&mut self.batches[i], LogBatch::new(self.labels[i].clone()));
            chunks.push(Chunk { stream, first: self.given[i], last: self.last[i], batch });
            self.given[i] = self.last[i];
        }
        chunks
    }

    /// Where reading could begin anew once everything taken is acknowledged.
    pub fn snapshot(&self) -> Snapshot {
        let starts = self.open.iter().flatten().map(|open| open.start);
        Snapshot { restart: starts.min().unwrap_or(self.position).min(self.position), last: self.last }
    }

    /// Cuts from the front of an unfinished line what exceeds the limit; the number of bytes cut.
    fn cut_long(&mut self, line: &[u8], now: UnixNanos) -> usize {
        let limit = if self.format == FileFormat::Plain { LINE_BYTES_MAX } else { PHYSICAL_BYTES_MAX };
        let mut cut = 0;
        while line.len() - cut > limit {
            self.stats.cut += 1;
            self.position += limit as u64;
            let body = &line[cut..cut + limit];
            self.push_unframed(body, limit as u64, true, now);
            cut += limit;
        }
        cut
    }

    /// One physical line, `length` bytes with its line end.
    fn line(&mut self, line: &[u8], length: usize, now: UnixNanos) {
        let start = self.position;
        self.position += length as u64;
        let line_without_return = line.strip_suffix(b"\r").unwrap_or(line);
        let part = match self.format {
            FileFormat::Plain => None,
            FileFormat::Cri => cri::parse(line),
            FileFormat::DockerJson => docker::parse(line_without_return),
        };
        match part {
            Some(part) => self.part(start, &part),
            None => {
                // An empty line in a framed file is broken, too: nobody writes one.
                self.stats.broken += u64::from(self.format != FileFormat::Plain);
                let body = if self.format == FileFormat::Plain { line_without_return } else { line };
                self.push_unframed(body, length as u64, false, now);
            }
        }
    }

    /// `length` bytes of the file that end at the position.
    fn push_unframed(&mut self, body: &[u8], length: u64, continued: bool, now: UnixNanos) {
        let (at, end) = (Stream::Stdout as usize, self.position);
        if end > self.last[at] {
            // What is open goes out first: its parts end before this line, and `last` must not overtake them.
            let start = end - length;
            if let Some(open) = self.open[at].as_mut().filter(|open| open.end == 0 && length == 1) {
                // One byte, behind a line that was carried: there is no room for two sequences.
                open.body.extend(body.iter().take(LINE_BYTES_MAX - open.body.len().min(LINE_BYTES_MAX)));
                return self.close(Stream::Stdout, true, end);
            }
            self.close(Stream::Stdout, true, start + 1);
            self.push(Stream::Stdout, body, now, end, continued);
        }
    }

    fn part(&mut self, start: u64, part: &Part<'_>) {
        let i = part.stream as usize;
        let end = self.position;
        if end <= self.last[i] {
            return;
        }
        let full = |open: &Open| open.body.len() + part.body.len() > LINE_BYTES_MAX;
        if self.open[i].as_ref().is_some_and(full) {
            self.stats.cut += 1;
            self.close(part.stream, true, start + 1);
        }
        if self.open[i].is_none() && !part.partial {
            return self.push(part.stream, &part.body, part.timestamp, end, false);
        }
        let open = self.open[i].get_or_insert_with(|| Open { start, end, timestamp: part.timestamp, body: Vec::new() });
        open.body.extend_from_slice(&part.body);
        open.end = end;
        if !part.partial {
            self.close(part.stream, false, end);
        }
    }

    /// `end` is the sequence of a carried line of which no part lies in this file.
    fn close(&mut self, stream: Stream, continued: bool, end: u64) {
        if let Some(open) = self.open[stream as usize].take() {
            let end = if open.end == 0 { end.max(1) } else { open.end };
            self.push(stream, &open.body, open.timestamp, end, continued);
        }
    }

    fn push(&mut self, stream: Stream, body: &[u8], timestamp: UnixNanos, end: u64, continued: bool) {
        let severity = severity::of_line(body);
        let (trace_id, span_id) = enrich::context(body);
        let batch = &mut self.batches[stream as usize];
        if batch.is_empty() && batch.stream != self.labels[stream as usize] {
            *batch = LogBatch::new(self.labels[stream as usize].clone());
        }
        let pieces = body.len().div_ceil(LINE_BYTES_MAX).max(1);
        for piece in 0..pieces {
            let bytes = &body[piece * LINE_BYTES_MAX..body.len().min((piece + 1) * LINE_BYTES_MAX)];
            let more = continued || piece + 1 < pieces;
            batch.push(record(bytes, timestamp, end - (pieces - 1 - piece) as u64, severity, more, (trace_id, span_id)));
        }
        self.last[stream as usize] = end;
    }
}

fn record(
    body: &[u8],
    timestamp: UnixNanos,
    sequence: u64,
    severity: u8,
    continued: bool,
    (trace_id, span_id): (TraceId, SpanId),
) -> LogRecord<'_> {
    let flags = if continued { FLAG_CONTINUED } else { 0 };
    LogRecord { timestamp, sequence, body, severity, flags, trace_id, span_id, attributes: LogAttributes::NONE }
}
