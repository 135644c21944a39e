//! Answers requests over the blocks and heads of all partitions.
//!
//! Candidates are chunks: of the right tenant, stream and time. They are taken by time; each is asked of the index when its
//! turn comes, so that a request for the latest lines opens as few blocks as chunks.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use roaring::RoaringBitmap;
use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogBatch;
use weir_model::select::{Budget, Coverage, Covered, LogReader, LogSelect, LogTail, LogVisitor, LogVolume, OwnedLine, ReadError};
use weir_model::time::TimeRange;

use super::LogsEngine;
use super::block::LogsBlock;
use super::filter::Filters;
use super::plan::{TokenPredicate, labels_of, may_be_among};
use super::schema::{Place, ROLLUP_NANOS, StreamKey, level_of, level_text};
use super::source::{Source, SourceLines};
use super::tail::Tail;
use weir_blocks::view::{PartitionView, Tails, Views};

/// Neighbours of a line on each side; more is a query.
const CONTEXT_MAX: usize = 10_000;

/// Reads logs.
pub struct LogsReader {
    /// Blocks and heads.
    pub views: Arc<dyn Views<LogsEngine>>,
    /// For live tails.
    pub tails: Arc<dyn Tails<LogBatch>>,
}

/// A chunk that may have lines for a request.
struct Candidate {
    stream: Labels,
    source: Source,
}

/// A partition's chunks of the streams that pass, and have lines in the range.
fn gather(view: &PartitionView<LogsEngine>, select: &LogSelect, found: &mut Vec<Candidate>) {
    for block in view.blocks.iter().filter(|block| select.range.overlaps(block.summary.first, block.summary.last)) {
        for (chunk, labels) in block.block.select(&select.tenant, &select.matchers) {
            let meta = block.block.meta(chunk);
            if select.range.overlaps(meta.first, meta.last) {
                found.push(Candidate { stream: labels.clone(), source: Source::Stored(Arc::clone(&block.block), chunk) });
            }
        }
    }
    for head in &view.heads {
        for (key, sources) in head.sources(&select.tenant, &select.matchers) {
            let overlaps = |source: &Source| select.range.overlaps(source.meta().first, source.meta().last);
            found.extend(sources.into_iter().filter(overlaps).map(|source| Candidate { stream: key.labels.clone(), source }));
        }
    }
}

fn cover(view: &PartitionView<LogsEngine>, coverage: &mut Coverage) {
    coverage.partitions.push(view.coverage.clone());
    view.missing.iter().for_each(|sentence| coverage.miss(sentence.clone()));
}

/// Which chunks of which block may meet a predicate; each block is asked once.
struct Pruner {
    predicate: TokenPredicate,
    blocks: HashMap<*const LogsBlock, Option<RoaringBitmap>>,
}

impl Pruner {
    fn new(predicate: TokenPredicate) -> Self {
        Self { predicate, blocks: HashMap::new() }
    }

    fn may_match(&mut self, source: &Source) -> bool {
        match source {
            Source::Stored(block, chunk) => {
                let found = self.blocks.entry(Arc::as_ptr(block)).or_insert_with(|| candidates(block, &self.predicate));
                found.as_ref().is_none_or(|chunks| chunks.contains(*chunk))
            }
            Source::Encoded(chunk) => self.predicate.met_by(&chunk.tokens),
            Source::Parts(..) => true,
        }
    }
}

/// An index that cannot be read costs time and no lines: all chunks are read.
fn candidates(block: &LogsBlock, predicate: &TokenPredicate) -> Option<RoaringBitmap> {
    block.candidates(predicate).unwrap_or_else(|error| {
        tracing::warn!(%error, "an index cannot be read; its block is searched without");
        None
    })
}

/// Opens a chunk; one that cannot be read goes to the coverage, and the others still answer.
fn open(source: &Source, budget: &dyn Budget, coverage: &mut Coverage) -> Result<Option<SourceLines>, ReadError> {
    budget.check()?;
    budget.spend(u64::from(source.meta().count))?;
    match source.lines() {
        Ok(lines) => Ok(Some(lines)),
        Err(error) => {
            coverage.miss(error.to_string());
            Ok(None)
        }
    }
}

impl LogReader for LogsReader {
    fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        let mut coverage = Coverage::default();
        let mut found = Vec::new();
        for view in self.views.views() {
            budget.check()?;
            cover(&view, &mut coverage);
            gather(&view, select, &mut found);
        }
        if select.newest_first {
            found.sort_by_key(|candidate| std::cmp::Reverse(candidate.source.meta().last));
        } else {
            found.sort_by_key(|candidate| candidate.source.meta().first);
        }
        let filters = Filters::new(&select.filters);
        let mut pruner = Pruner::new(TokenPredicate::of(&select.filters));
        let mention = visitor.mention();
        let labels = mention.as_ref().map(labels_of).unwrap_or_default();
        let mut mentioned = Pruner::new(mention.as_ref().map_or(TokenPredicate::Anything, TokenPredicate::of_mention));
        for Candidate { stream, source } in found {
            budget.check()?;
            let (first, last) = (source.meta().first, source.meta().last);
            if !visitor.wants(first, last) || !pruner.may_match(&source) {
                continue;
            }
            let is_of_the_stream = labels.iter().any(|label| !stream.get(label).is_empty());
            let has_levels = |mention| !source.has_rollups() || may_be_among(mention, &source.meta().rollups);
            let may_say = is_of_the_stream || mention.as_ref().is_none_or(has_levels) && mentioned.may_match(&source);
            if !may_say {
                continue;
            }
            let Some(lines) = open(&source, budget, &mut coverage)? else { continue };
            let mut announced = false;
            let flow = lines.visit(select.range, &filters, &mut |id, record| {
                if !std::mem::replace(&mut announced, true) {
                    visitor.stream(&stream);
                }
                visitor.line(id, record)
            });
            if flow.is_break() {
                break;
            }
        }
        Ok(coverage)
    }

    fn streams(&self, select: &LogSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let mut coverage = Coverage::default();
        let mut streams = std::collections::BTreeSet::new();
        for view in self.views.views() {
            budget.check()?;
            cover(&view, &mut coverage);
            let mut found = Vec::new();
            gather(&view, select, &mut found);
            streams.extend(found.into_iter().map(|candidate| candidate.stream));
        }
        Ok(Covered { value: streams.into_iter().collect(), coverage })
    }

    fn volume(&self, select: &LogSelect, step: i64, budget: &dyn Budget) -> Result<Covered<Vec<LogVolume>>, ReadError> {
        if step <= 0 {
            return Err(ReadError::Store(format!("a volume's step is above 0, got {step}")));
        }
        let mut coverage = Coverage::default();
        let mut found = Vec::new();
        for view in self.views.views() {
            cover(&view, &mut coverage);
            gather(&view, select, &mut found);
        }
        let filters = Filters::new(&select.filters);
        let mut pruner = Pruner::new(TokenPredicate::of(&select.filters));
        let mut volume = Volume { step, ..Volume::default() };
        for Candidate { stream, source } in found {
            budget.check()?;
            let stream = volume.stream(stream);
            let meta = source.meta();
            let inside = select.range.contains(meta.first) && select.range.contains(meta.last);
            if filters.is_empty() && inside && step % ROLLUP_NANOS == 0 && source.has_rollups() {
                budget.spend(meta.rollups.len() as u64)?;
                for rollup in &meta.rollups {
                    volume.add(stream, rollup.bucket.saturating_mul(ROLLUP_NANOS), rollup.level, rollup.lines, rollup.bytes);
                }
            } else if pruner.may_match(&source)
                && let Some(lines) = open(&source, budget, &mut coverage)?
            {
                let _ = lines.visit(select.range, &filters, &mut |_, record| {
                    volume.add(stream, record.timestamp, level_of(record.severity), 1, record.body.len() as u64);
                    ControlFlow::Continue(())
                });
            }
        }
        Ok(Covered { value: volume.finish(), coverage })
    }

    fn line(&self, tenant: &str, id: LineId, context: usize) -> Result<Covered<Vec<OwnedLine>>, ReadError> {
        let mut answer = Covered::default();
        for view in self.views.views().iter().filter(|view| view.coverage.partition == id.partition) {
            cover(view, &mut answer.coverage);
            for (stream, sources) in sources_by_stream(view, tenant) {
                let found = locate(&sources, (id.offset, id.ordinal), &mut answer.coverage);
                if let Some((source, line)) = found {
                    answer.value =
                        neighbours(&stream.labels, &sources, source, line, context.min(CONTEXT_MAX), &mut answer.coverage);
                    return Ok(answer);
                }
            }
        }
        Ok(answer)
    }

    fn tail(&self, select: LogSelect) -> Box<dyn LogTail> {
        Box::new(Tail::new(self.tails.subscribe(), select))
    }
}

/// Counts by bucket, stream and level.
#[derive(Default)]
struct Volume {
    step: i64,
    streams: Vec<Labels>,
    indexes: HashMap<Labels, usize>,
    counts: BTreeMap<(i64, usize, u8), (u64, u64)>,
}

impl Volume {
    fn stream(&mut self, stream: Labels) -> usize {
        let next = self.streams.len();
        *self.indexes.entry(stream).or_insert_with_key(|stream| {
            self.streams.push(stream.clone());
            next
        })
    }

    fn add(&mut self, stream: usize, at: i64, level: u8, lines: u64, bytes: u64) {
        let bucket = at.div_euclid(self.step).saturating_mul(self.step);
        let counts = self.counts.entry((bucket, stream, level)).or_default();
        counts.0 += lines;
        counts.1 += bytes;
    }

    fn finish(self) -> Vec<LogVolume> {
        let row = |((bucket, stream, level), (lines, bytes)): ((i64, usize, u8), (u64, u64))| LogVolume {
            stream: self.streams[stream].clone(),
            level: level_text(level),
            bucket,
            lines,
            bytes,
        };
        self.counts.into_iter().map(row).collect()
    }
}

/// All chunks of a tenant's streams, each stream's in source order.
fn sources_by_stream(view: &PartitionView<LogsEngine>, tenant: &str) -> BTreeMap<StreamKey, Vec<Source>> {
    let select = LogSelect {
        tenant: tenant.into(),
        matchers: Vec::new(),
        range: TimeRange::ALL,
        filters: Vec::new(),
        newest_first: false,
    };
    let mut found = Vec::new();
    gather(view, &select, &mut found);
    let mut streams: BTreeMap<StreamKey, Vec<Source>> = BTreeMap::new();
    for candidate in found {
        let key = StreamKey { tenant: tenant.into(), labels: candidate.stream };
        streams.entry(key).or_default().push(candidate.source);
    }
    streams.values_mut().for_each(|sources| sources.sort_by_key(|source| source.meta().first_place));
    streams
}

/// Which chunk has the line, and where in it.
fn locate(sources: &[Source], place: Place, coverage: &mut Coverage) -> Option<(usize, usize)> {
    for (i, source) in sources.iter().enumerate() {
        let meta = source.meta();
        if meta.first_place > place || meta.last_place < place {
            continue;
        }
        match source.lines() {
            Ok(lines) => {
                if let Some(line) = lines.find(place) {
                    return Some((i, line));
                }
            }
            Err(error) => coverage.miss(error.to_string()),
        }
    }
    None
}

/// The line and up to `context` lines on each side of it.
fn neighbours(
    stream: &Labels,
    sources: &[Source],
    source: usize,
    line: usize,
    context: usize,
    coverage: &mut Coverage,
) -> Vec<OwnedLine> {
    let mut read = |source: &Source| match source.lines() {
        Ok(lines) => Some(lines),
        Err(error) => {
            coverage.miss(error.to_string());
            None
        }
    };
    let own = |lines: &SourceLines, i: usize| lines.with(i, |id, record| OwnedLine::new(id, stream, record));
    let Some(middle) = read(&sources[source]) else { return Vec::new() };
    let mut before: Vec<OwnedLine> = (0..line).rev().take(context).map(|i| own(&middle, i)).collect();
    for earlier in sources[..source].iter().rev() {
        if before.len() >= context {
            break;
        }
        if let Some(lines) = read(earlier) {
            let missing = context - before.len();
            before.extend((0..lines.len()).rev().take(missing).map(|i| own(&lines, i)));
        }
    }
    before.reverse();
    let mut all = before;
    let end = all.len() + 1 + context;
    all.extend((line..middle.len()).take(context + 1).map(|i| own(&middle, i)));
    for later in &sources[source + 1..] {
        if all.len() >= end {
            break;
        }
        if let Some(lines) = read(later) {
            let missing = end - all.len();
            all.extend((0..lines.len()).take(missing).map(|i| own(&lines, i)));
        }
    }
    all
}
