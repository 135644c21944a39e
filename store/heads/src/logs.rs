//! Log lines of a head for another process: the newest (oldest) that pass and fit, each with its identity.
//!
//! Side data of a record, for each of its sections: runs of lines, `count varint, then offset varint, ordinal varint,
//! length varint` each; the lengths add up to the section's lines. Drawn in `docs/formats/heads.md`.

use std::ops::ControlFlow;
use std::sync::Arc;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::{LogAttributes, LogBatch, LogRecord};
use weir_model::scope::{Scope, TenantScope};
use weir_model::select::{Budget, CountBy, LogReader, LogSelect, LogTail, OwnedLine, PartitionCoverage, ReadError, TailEvent};
use weir_model::time::TimeRange;
use weir_model::wire::{self, Mark, Section, SectionHeader};

use crate::extract::{Packer, check_bytes, not_mine};
use crate::log_counts::{buckets, count_rows, template_rows};
use crate::log_page::{self, Kept};
use crate::request::LinesQuery;
use crate::{ExtractLimits, ExtractRecord, HeadExtract, HeadProtocol, HeadQuery, RECORD_LIMITS};
use weir_blocks::columns::{Reader, put_varint};
use weir_blocks::engine::Head;
use weir_blocks::limits::pieces;
use weir_blocks::view::{Fixed, NoTails, PartitionView, TailSection};
use weir_logs::{Chunk, LogsEngine, LogsHead, LogsPlan, LogsReader, Place, Tail};

/// Bytes of lines of one section, as [`Kept::bytes`] has them: a record holds several, and a decoder never much at once.
const SECTION_BYTES: usize = 512 << 10;

impl HeadProtocol for LogsEngine {
    fn extract(
        scope: &Scope,
        query: &HeadQuery,
        heads: &[Arc<LogsHead>],
        limits: ExtractLimits,
        budget: &dyn Budget,
    ) -> Result<HeadExtract, ReadError> {
        let tenant = &*scope.one()?.tenant;
        match query {
            HeadQuery::Lines(lines) => extract_lines((tenant, &select(lines, scope)?), lines.page_bytes, heads, limits, budget),
            HeadQuery::Streams(lines) => {
                let select = select(lines, scope)?;
                let streams = reader(heads).streams(&select, budget)?.value;
                let lines = streams.into_iter().map(|stream| (stream, vec![placeholder(select.range.start)]));
                pack(tenant, lines, limits)
            }
            HeadQuery::Counts { lines, step, origin, metadata } => {
                let by = CountBy { metadata: metadata.clone(), ..CountBy::of(buckets(*step, *origin)?) };
                let rows = count_rows(&select(lines, scope)?, &by, heads, limits, budget)?;
                Ok(HeadExtract { rows, ..HeadExtract::default() })
            }
            HeadQuery::Templates { lines, step, origin } => {
                let rows = template_rows(&select(lines, scope)?, buckets(*step, *origin)?, heads, limits, budget)?;
                Ok(HeadExtract { rows, ..HeadExtract::default() })
            }
            HeadQuery::Line { offset, ordinal, context } => {
                let id = LineId { partition: 0, offset: *offset, ordinal: *ordinal };
                let found = reader(heads).line(scope, id, *context, budget)?.value;
                let Some(stream) = found.first().map(|line| line.stream.clone()) else { return Ok(HeadExtract::default()) };
                pack(tenant, [(stream, found.into_iter().map(Kept::of_owned).collect())].into_iter(), limits)
            }
            HeadQuery::First { stream, count } => {
                let stream = Labels::from_pairs(stream.iter().map(|(name, value)| (name, value)));
                let lines = first_lines(scope, &stream, *count, heads)?;
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
pub(crate) fn reader(heads: &[Arc<LogsHead>]) -> LogsReader {
    let view =
        PartitionView { coverage: PartitionCoverage::default(), blocks: Vec::new(), heads: heads.to_vec(), missing: Vec::new() };
    LogsReader { views: Arc::new(Fixed::new(vec![view])), tails: Arc::new(NoTails) }
}

fn select(lines: &LinesQuery, scope: &Scope) -> Result<LogSelect, ReadError> {
    lines.select(scope).map_err(ReadError::Store)
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

fn extract_lines(
    (tenant, select): (&str, &LogSelect),
    page_bytes: u64,
    heads: &[Arc<LogsHead>],
    limits: ExtractLimits,
    budget: &dyn Budget,
) -> Result<HeadExtract, ReadError> {
    let (streams, watermark) = log_page::collect(select, page_bytes, heads, limits, budget)?;
    let whole = ExtractLimits { bytes_max: limits.bytes_max.saturating_mul(4), ..limits };
    Ok(HeadExtract { watermark, ..pack(tenant, streams.into_iter(), whole)? })
}

/// The first lines of one stream, in source order; none when it may not be seen.
fn first_lines(scope: &Scope, stream: &Labels, count: usize, heads: &[Arc<LogsHead>]) -> Result<Vec<Kept>, ReadError> {
    let TenantScope { tenant, visible } = scope.one()?;
    if !visible.passes(stream) {
        return Ok(Vec::new());
    }
    let (matchers, filters) = Default::default();
    let all = LogSelect { scope: scope.clone(), matchers, range: TimeRange::ALL, filters, newest_first: false };
    let plan = LogsPlan::new(&all);
    let mut chunks: Vec<Chunk> = heads.iter().flat_map(|head| head.chunks_of(tenant, stream)).collect();
    chunks.sort_by_key(Chunk::first_place);
    let mut lines = Vec::new();
    for chunk in chunks {
        if lines.len() >= count {
            break;
        }
        let visited = chunk.visit(TimeRange::ALL, &plan, &mut |id, record| {
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
    let mut tail = Tail::new(Box::new(move || once.take().unwrap_or_default()), select);
    let lines = tail.poll().into_iter().filter_map(|event| match event {
        TailEvent::Line(line) => Some(line),
        TailEvent::Dropped(_) => None,
    });
    let lines: Vec<OwnedLine> = lines.collect();
    let Some(stream) = lines.first().map(|line| line.stream.clone()) else { return Ok(Vec::new()) };
    let limits = ExtractLimits { bytes_max: u64::MAX, key: "" };
    let extract =
        pack(&arrived.section.header.tenant, [(stream, lines.into_iter().map(Kept::of_owned).collect())].into_iter(), limits)?;
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
