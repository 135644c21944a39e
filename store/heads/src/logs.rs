//! Log lines of a head for another process: the newest (oldest) that pass and fit, each with its identity.
//!
//! Side data of a record, for each of its sections: runs of lines, `count varint, then offset varint, ordinal varint,
//! length varint` each; the lengths add up to the section's lines. Drawn in `docs/formats/heads.md`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::{LogAttributes, LogBatch, LogRecord};
use weir_model::select::{Budget, LogReader, LogSelect, LogTail, OwnedLine, PartitionCoverage, ReadError, TailEvent};
use weir_model::time::TimeRange;
use weir_model::wire::{self, Mark, Section, SectionHeader};

use crate::extract::{Packer, check_bytes, not_mine};
use crate::request::LinesQuery;
use crate::{ExtractLimits, ExtractRecord, HeadExtract, HeadProtocol, HeadQuery, RECORD_LIMITS, Row};
use weir_blocks::columns::{Reader, put_varint};
use weir_blocks::engine::Head;
use weir_blocks::limits::pieces;
use weir_blocks::view::{Fixed, NoTails, PartitionView, TailSection};
use weir_logs::{Filters, HeadChunk, LogsEngine, LogsHead, LogsReader, Place, Tail};

/// Bytes of lines of one section, as [`Kept::bytes`] has them: a record holds several, and a decoder never much at once.
const SECTION_BYTES: usize = 512 << 10;
/// What a line takes beyond its body, towards a page: place, times, ids, pointers.
const LINE_BYTES: u64 = 128;

impl HeadProtocol for LogsEngine {
    fn extract(
        tenant: &str,
        query: &HeadQuery,
        heads: &[Arc<LogsHead>],
        limits: ExtractLimits,
        budget: &dyn Budget,
    ) -> Result<HeadExtract, ReadError> {
        match query {
            HeadQuery::Lines(lines) => extract_lines(&select(lines, tenant)?, lines.page_bytes, heads, limits, budget),
            HeadQuery::Streams(lines) => {
                let select = select(lines, tenant)?;
                let streams = reader(heads).streams(&select, budget)?.value;
                let lines = streams.into_iter().map(|stream| (stream, vec![placeholder(select.range.start)]));
                pack(tenant, lines, limits)
            }
            HeadQuery::Volume { lines, step } => {
                let volume = reader(heads).volume(&select(lines, tenant)?, *step, budget)?.value;
                Ok(HeadExtract { rows: volume.iter().map(Row::volume).collect(), ..HeadExtract::default() })
            }
            HeadQuery::Line { offset, ordinal, context } => {
                let id = LineId { partition: 0, offset: *offset, ordinal: *ordinal };
                let found = reader(heads).line(tenant, id, *context)?.value;
                let Some(stream) = found.first().map(|line| line.stream.clone()) else { return Ok(HeadExtract::default()) };
                pack(tenant, [(stream, found.into_iter().map(Kept::of_owned).collect())].into_iter(), limits)
            }
            HeadQuery::First { stream, count } => {
                let stream = Labels::from_pairs(stream.iter().map(|(name, value)| (name, value)));
                let lines = first_lines(tenant, &stream, *count, heads)?;
                pack(tenant, [(stream, lines)].into_iter(), limits)
            }
            _ => Err(not_mine("logs")),
        }
    }

    fn rebuild_head(&self, partition: u32, tenant: &str, records: &[ExtractRecord], bytes_max: u64) -> Result<LogsHead, String> {
        let head = LogsHead::selected();
        for record in records {
            for (batch, places) in sections(record)? {
                head.insert_placed(partition, tenant, batch, places);
            }
            check_bytes(head.bytes(), bytes_max)?;
        }
        Ok(head)
    }
}

/// The heads as one reader that has no blocks. Their partition is 0, as [`LineId`]s are asked for within one partition.
fn reader(heads: &[Arc<LogsHead>]) -> LogsReader {
    let view =
        PartitionView { coverage: PartitionCoverage::default(), blocks: Vec::new(), heads: heads.to_vec(), missing: Vec::new() };
    LogsReader { views: Arc::new(Fixed::new(vec![view])), tails: Arc::new(NoTails) }
}

fn select(lines: &LinesQuery, tenant: &str) -> Result<LogSelect, ReadError> {
    lines.select(tenant).map_err(ReadError::Store)
}

/// A line that is to travel.
struct Kept {
    place: Place,
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
    fn new(place: Place, record: LogRecord<'_>) -> Self {
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
    fn of_owned(line: OwnedLine) -> Self {
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

    fn record(&self) -> LogRecord<'_> {
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

    fn bytes(&self) -> u64 {
        (self.body.len() + self.attributes.text_bytes()) as u64 + LINE_BYTES
    }
}

/// Stands for a stream that has some line in the range.
fn placeholder(timestamp: i64) -> Kept {
    let record = LogRecord {
        timestamp,
        sequence: 0,
        body: &[],
        severity: 0,
        flags: 0,
        trace_id: Default::default(),
        span_id: Default::default(),
        attributes: LogAttributes::NONE,
    };
    Kept::new((0, 0), record)
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

fn extract_lines(
    select: &LogSelect,
    page_bytes: u64,
    heads: &[Arc<LogsHead>],
    limits: ExtractLimits,
    budget: &dyn Budget,
) -> Result<HeadExtract, ReadError> {
    let mut found: Vec<HeadChunk> = heads.iter().flat_map(|head| head.chunks(&select.tenant, &select.matchers)).collect();
    if select.newest_first {
        found.sort_by_key(|chunk| std::cmp::Reverse(chunk.times().1));
    } else {
        found.sort_by_key(|chunk| chunk.times().0);
    }
    let filters = Filters::new(&select.filters);
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
    for chunk in found {
        let (first, last) = chunk.times();
        if !page.range.overlaps(first, last) {
            continue;
        }
        budget.check()?;
        let index = page.streams.len() as u32;
        page.streams.push(chunk.stream().clone());
        let visited = chunk.visit(page.range, &filters, &mut |id, record| {
            if page.range.contains(record.timestamp) {
                page.add(index, Kept::new((id.offset, id.ordinal), record));
            }
            // Lines of one instant are never parted, so their sum has a limit of its own.
            if page.bytes > limits.bytes_max.saturating_mul(2) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let _all = visited.map_err(|error| ReadError::Store(error.to_string()))?;
        if page.bytes > limits.bytes_max.saturating_mul(2) {
            let what = "bytes of unsealed lines of one nanosecond";
            return Err(ReadError::Budget { limit: limits.bytes_max, what, key: limits.key });
        }
    }
    if page.bytes > page.bytes_max {
        page.prune();
    }
    let mut streams: BTreeMap<Labels, Vec<Kept>> = BTreeMap::new();
    for (stream, line) in page.lines {
        streams.entry(page.streams[stream as usize].clone()).or_default().push(line);
    }
    let whole = ExtractLimits { bytes_max: limits.bytes_max.saturating_mul(4), ..limits };
    Ok(HeadExtract { watermark: page.watermark, ..pack(&select.tenant, streams.into_iter(), whole)? })
}

/// The first lines of one stream, in source order.
fn first_lines(tenant: &str, stream: &Labels, count: usize, heads: &[Arc<LogsHead>]) -> Result<Vec<Kept>, ReadError> {
    let all = heads.iter().flat_map(|head| head.chunks(tenant, &[]));
    let mut chunks: Vec<HeadChunk> = all.filter(|chunk| chunk.stream() == stream).collect();
    chunks.sort_by_key(HeadChunk::first_place);
    let (mut lines, filters) = (Vec::new(), Filters::new(&[]));
    for chunk in chunks {
        if lines.len() >= count {
            break;
        }
        let visited = chunk.visit(TimeRange::ALL, &filters, &mut |id, record| {
            lines.push(Kept::new((id.offset, id.ordinal), record));
            if lines.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let _all = visited.map_err(|error| ReadError::Store(error.to_string()))?;
    }
    Ok(lines)
}

/// Streams and their lines as one head's records.
fn pack(
    tenant: &str,
    streams: impl Iterator<Item = (Labels, Vec<Kept>)>,
    limits: ExtractLimits,
) -> Result<HeadExtract, ReadError> {
    let mut packer = Packer::new(limits, "bytes of unsealed lines");
    for (stream, mut lines) in streams {
        lines.sort_by_key(|line| line.place);
        for lines in pieces(&lines, usize::MAX, SECTION_BYTES, |line| line.bytes() as usize) {
            let mut batch = LogBatch::new(stream.clone());
            lines.iter().for_each(|line| batch.push(line.record()));
            let places: Vec<Place> = lines.iter().map(|line| line.place).collect();
            packer.push(&section(tenant, batch), &put_places(&places))?;
        }
    }
    packer.into_extract()
}

fn section(tenant: &str, batch: LogBatch) -> Section<LogBatch> {
    let mark = Mark::Sequence { epoch: 0, first: 0, last: 0 };
    // The wire has no empty source; whose lines these are is said by their stream.
    let header = SectionHeader { tenant: tenant.into(), source: "head".into(), mark, records: batch.len() as u32 };
    Section::new(header, batch)
}

/// Runs of consecutive lines.
fn put_places(places: &[Place]) -> Vec<u8> {
    let follows = |a: &Place, b: &Place| a.0 == b.0 && a.1.checked_add(1) == Some(b.1);
    let runs: Vec<&[Place]> = places.chunk_by(follows).collect();
    let mut out = Vec::new();
    put_varint(&mut out, runs.len() as u64);
    for run in runs {
        put_varint(&mut out, run[0].0);
        put_varint(&mut out, u64::from(run[0].1));
        put_varint(&mut out, run.len() as u64);
    }
    out
}

fn places(reader: &mut Reader<'_>, lines: usize) -> Result<Vec<Place>, String> {
    let mut places = Vec::with_capacity(lines);
    for _ in 0..reader.count("runs of lines", 3)? {
        let (offset, first) = (reader.varint("offset")?, reader.varint_u32("ordinal")?);
        let length = reader.varint_u32("length of a run")?;
        let end = first.checked_add(length).ok_or_else(|| format!("ordinal {first} and {length} lines"))?;
        if length as usize > lines - places.len() {
            return Err(format!("runs of more lines than the {lines} of their section"));
        }
        places.extend((first..end).map(|ordinal| (offset, ordinal)));
    }
    if places.len() == lines { Ok(places) } else { Err(format!("{} places for {lines} lines", places.len())) }
}

/// Lines, and where each lies.
type PlacedLines = (Arc<LogBatch>, Vec<Place>);

/// A record's batches with their lines' places.
fn sections(record: &ExtractRecord) -> Result<Vec<PlacedLines>, String> {
    let sections = wire::decode::<LogBatch>(&record.record, &RECORD_LIMITS).map_err(|error| error.to_string())?;
    let mut side = Reader::new(&record.side);
    let mut all = Vec::with_capacity(sections.len());
    for section in sections {
        let places = places(&mut side, section.batch.len())?;
        all.push((section.batch, places));
    }
    side.finish()?;
    Ok(all)
}

/// Lines of a section that a tail asks for, as records; none when none passes.
pub fn tail_records(arrived: &TailSection<LogBatch>, select: &LogSelect) -> Result<Vec<ExtractRecord>, ReadError> {
    let mut once = Some(vec![TailSection { dropped: 0, ..arrived.clone() }]);
    let mut tail = Tail::new(Box::new(move || once.take().unwrap_or_default()), select.clone());
    let lines = tail.poll().into_iter().filter_map(|event| match event {
        TailEvent::Line(line) => Some(line),
        TailEvent::Dropped(_) => None,
    });
    let lines: Vec<OwnedLine> = lines.collect();
    let Some(stream) = lines.first().map(|line| line.stream.clone()) else { return Ok(Vec::new()) };
    let limits = ExtractLimits { bytes_max: u64::MAX, key: "" };
    let extract = pack(&select.tenant, [(stream, lines.into_iter().map(Kept::of_owned).collect())].into_iter(), limits)?;
    Ok(extract.heads.into_iter().flatten().collect())
}

/// Lines of a tail's record.
pub fn tail_lines(partition: u32, record: &ExtractRecord) -> Result<Vec<OwnedLine>, String> {
    let mut lines = Vec::new();
    for (batch, places) in sections(record)? {
        for (record, (offset, ordinal)) in batch.iter().zip(places) {
            lines.push(OwnedLine::new(LineId { partition, offset, ordinal }, &batch.stream, record));
        }
    }
    Ok(lines)
}
