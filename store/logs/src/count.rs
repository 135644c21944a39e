//! Counts of lines by bucket, stream, level and metadata: from roll-ups where they say it exactly, else from as few columns of the
//! lines as it takes.

use std::collections::HashMap;
use std::ops::ControlFlow;

use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{Budget, CountBy, Coverage, LineCount, Mention, ReadError, TakeCount};
use weir_model::time::{TimeRange, UnixNanos};

use super::part::Part;
use super::plan::LogsPlan;
use super::rollup::{ChunkDetails, Rollups, severity_of};
use super::schema::{ChunkMeta, LEVEL_FATAL, ROLLUP_NANOS, level_of};
use super::segment::Chunk;
use super::source::Lies;
use super::source_lines::SourceLines;
use weir_blocks::StoreError;

/// Counts chunk after chunk.
pub(crate) struct Counter<'a> {
    by: &'a CountBy,
    budget: &'a dyn Budget,
    take: TakeCount<'a>,
    /// Of the chunk at hand.
    sums: Sums,
}

impl<'a> Counter<'a> {
    pub(crate) fn new(by: &'a CountBy, budget: &'a dyn Budget, take: TakeCount<'a>) -> Self {
        Self { by, budget, take, sums: Sums::default() }
    }

    /// Counts the lines of a chunk that pass.
    pub(crate) fn add_chunk(
        &mut self,
        chunk: &Chunk,
        plan: &LogsPlan,
        coverage: &mut Coverage,
    ) -> Result<ControlFlow<()>, ReadError> {
        self.budget.check()?;
        let (stream, meta) = (&chunk.stream, chunk.source.meta());
        self.sums.begin();
        if let Lies::Parts(_, parts) = &chunk.source.lies
            && !chunk.source.may_hide()
        {
            for part in parts.iter() {
                self.add_part(stream, part, plan)?;
            }
        } else {
            let known = chunk.source.has_rollups().then_some((meta, &meta.rollups, meta.details.as_ref()));
            let told_apart = self.told_apart(stream, meta.details.as_ref());
            let mut left = known.filter(|_| !told_apart).map_or(Ok(Left::All), |known| self.add_rollups(known, plan))?;
            if left != Left::Nothing
                && chunk.may_match(plan)
                && let Some(lines) = chunk.open(self.budget, coverage)?
            {
                // Of ids it is known only now whether there are any.
                let is_plain = self.by.all && lines.are_plain();
                if let Some(known) = known.filter(|_| is_plain) {
                    left = self.add_rollups(known, plan)?;
                }
                let metadata = (told_apart && !is_plain).then(|| chunk.mention(plan));
                if left != Left::Nothing
                    && let Err(error) = self.add_lines((stream, meta), (&lines, &left), plan, metadata)
                {
                    coverage.miss(error.to_string());
                }
            }
        }
        Ok(self.sums.give(stream, &mut self.take))
    }

    /// Whether lines of one stream and level may be told apart by their metadata.
    fn told_apart(&self, stream: &Labels, details: Option<&ChunkDetails>) -> bool {
        let may_have = |name: &str| details.is_none_or(|details| details.may_have(name));
        self.by.all || self.by.metadata.iter().any(|name| stream.get(name).is_empty() && may_have(name))
    }

    /// Counts by roll-ups lines that nothing but their level tells apart, as far as they say it exactly.
    fn add_rollups(
        &mut self,
        (meta, rollups, details): (&ChunkMeta, &Rollups, Option<&ChunkDetails>),
        plan: &LogsPlan,
    ) -> Result<Left, ReadError> {
        // Blocks of earlier builds count critical lines among the fatal ones.
        let is_mixed = details.is_none() && rollups.has_level(LEVEL_FATAL);
        if is_mixed || !plan.filters.is_empty() {
            return Ok(Left::All);
        }
        let lines = (meta.first, meta.last);
        let mut edges = Edges { by: self.by, range: plan.range, lines, within: (1, 0), bucket: 0, apart: Vec::new() };
        edges.add(rollups, details, &mut self.sums);
        if edges.apart.is_empty() {
            self.budget.spend(rollups.len() as u64)?;
            return Ok(Left::Nothing);
        }
        Ok(Left::Of(edges.apart))
    }

    /// Lines of an open chunk of a head.
    fn add_part(&mut self, stream: &Labels, part: &Part, plan: &LogsPlan) -> Result<(), ReadError> {
        if !plan.overlaps(&part.meta) {
            return Ok(());
        }
        let known = (plan.filters.is_empty() || !self.by.metadata.is_empty()).then(|| part.rollups());
        let left = match known {
            Some((rollups, details)) if !self.told_apart(stream, Some(details)) => {
                self.add_rollups((&part.meta, rollups, Some(details)), plan)?
            }
            _ => Left::All,
        };
        if left == Left::Nothing {
            return Ok(());
        }
        self.budget.spend(part.batch.len() as u64)?;
        let metadata = self.by.all || known.is_some_and(|(_, details)| self.told_apart(stream, Some(details)));
        for record in part.batch.iter() {
            if plan.range.contains(record.timestamp)
                && left.has(record.timestamp, record.severity)
                && plan.filters.passes(record.body)
            {
                self.add_line(stream, &record, metadata);
            }
        }
        Ok(())
    }

    /// Counts the lines that are left. `metadata` are told apart, of lines that say this.
    fn add_lines(
        &mut self,
        (stream, meta): (&Labels, &ChunkMeta),
        (lines, left): (&SourceLines, &Left),
        plan: &LogsPlan,
        metadata: Option<Option<&Mention>>,
    ) -> Result<(), StoreError> {
        let Some(mention) = metadata else {
            if !self.by.bytes && *left == Left::All && self.add_constant(meta, lines, plan)? {
                return Ok(());
            }
            let (buckets, sums) = (self.by.buckets, &mut self.sums);
            let wants = |time, severity| left.has(time, severity);
            return lines.measure(plan.range, &plan.filters, &wants, &mut |time, severity, bytes| {
                sums.add(buckets.start_of(time), 0, level_of(severity), (1, bytes as u64));
            });
        };
        let all = lines.visit(plan.range, &plan.filters, mention, &mut |_, record| {
            self.add_line(stream, &record, true);
            ControlFlow::Continue(())
        });
        all.map(drop)
    }

    /// Counts by what is constant of the lines' texts; false when that does not say which lines pass.
    fn add_constant(&mut self, meta: &ChunkMeta, lines: &SourceLines, plan: &LogsPlan) -> Result<bool, StoreError> {
        let (buckets, sums) = (self.by.buckets, &mut self.sums);
        let mean = meta.body_bytes / u64::from(meta.count.max(1));
        let bucket = buckets.start_of(meta.first);
        let is_one = plan.range.contains(meta.first) && plan.range.contains(meta.last) && bucket == buckets.start_of(meta.last);
        let range = (!is_one).then_some(plan.range);
        lines.tally(range, &plan.filters, &mut |time, severity| {
            let bucket = if is_one { bucket } else { buckets.start_of(time) };
            sums.add(bucket, 0, level_of(severity), (1, mean));
        })
    }

    fn add_line(&mut self, stream: &Labels, record: &LogRecord<'_>, metadata: bool) {
        let group = if metadata { self.sums.group(self.by, stream, record) } else { 0 };
        let bucket = self.by.buckets.start_of(record.timestamp);
        self.sums.add(bucket, group, level_of(record.severity), (1, record.body.len() as u64));
    }
}

/// What roll-ups leave to be counted line by line.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Lines of these roll-ups, by bucket and level, ascending.
    Of(Vec<(i64, u8)>),
    All,
}

impl Left {
    fn has(&self, time: UnixNanos, severity: u8) -> bool {
        match self {
            Self::Nothing => false,
            Self::Of(apart) => apart.binary_search(&(time.div_euclid(ROLLUP_NANOS), level_of(severity))).is_ok(),
            Self::All => true,
        }
    }
}

/// Where roll-ups fall among buckets and in the range.
struct Edges<'a> {
    by: &'a CountBy,
    range: TimeRange,
    /// First and last line of the chunk.
    lines: (UnixNanos, UnixNanos),
    /// Times, both inclusive, that lie in the range and in the bucket at hand.
    within: (UnixNanos, UnixNanos),
    bucket: UnixNanos,
    /// Bucket and level of roll-ups with lines on both sides of an edge, of which nothing is counted.
    apart: Vec<(i64, u8)>,
}

/// Where the lines of a span of time belong.
enum Belongs {
    ToBucket(UnixNanos),
    Nowhere,
    /// Not all of them to the same.
    Apart,
}

impl Edges<'_> {
    /// Counts all but [`Self::apart`].
    fn add(&mut self, rollups: &Rollups, details: Option<&ChunkDetails>, sums: &mut Sums) {
        let mut at_start = details.into_iter().flat_map(|details| details.at_start.iter()).peekable();
        for rollup in rollups.iter() {
            let first = rollup.bucket.saturating_mul(ROLLUP_NANOS);
            let last = first.saturating_add(ROLLUP_NANOS - 1);
            let all = (rollup.lines, rollup.bytes);
            if self.within.0 <= first && last <= self.within.1 {
                sums.add(self.bucket, 0, rollup.level, all);
                continue;
            }
            match self.belongs(first, last) {
                Belongs::Nowhere => continue,
                Belongs::ToBucket(bucket) => {
                    self.bucket = bucket;
                    let end = bucket.saturating_add(self.by.buckets.step() - 1);
                    self.within = (bucket.max(self.range.start), end.min(self.range.end.saturating_sub(1)));
                    sums.add(bucket, 0, rollup.level, all);
                    continue;
                }
                Belongs::Apart => {}
            }
            let key = (rollup.bucket, rollup.level);
            if details.is_none() {
                self.apart.push(key);
                continue;
            }
            while at_start.next_if(|own| (own.bucket, own.level) < key).is_some() {}
            let start = at_start.next_if(|own| (own.bucket, own.level) == key).map_or((0, 0), |own| (own.lines, own.bytes));
            let rest = all.0.checked_sub(start.0).zip(all.1.checked_sub(start.1));
            let ends = [((first, first), Some(start)), ((first + 1, last), rest)].map(|((first, last), some)| match some {
                Some((0, _)) => (Belongs::Nowhere, (0, 0)),
                Some(some) => (self.belongs(first, last), some),
                None => (Belongs::Apart, (0, 0)),
            });
            if ends.iter().any(|(belongs, _)| matches!(belongs, Belongs::Apart)) {
                self.apart.push(key);
                continue;
            }
            for (belongs, some) in ends {
                if let Belongs::ToBucket(bucket) = belongs {
                    sums.add(bucket, 0, rollup.level, some);
                }
            }
        }
    }

    /// Of a closed span.
    fn belongs(&self, first: UnixNanos, last: UnixNanos) -> Belongs {
        let (first, last) = (first.max(self.lines.0), last.min(self.lines.1));
        if first > last || !self.range.overlaps(first, last) {
            return Belongs::Nowhere;
        }
        let bucket = self.by.buckets.start_of(first);
        let is_one = self.range.contains(first) && self.range.contains(last) && bucket == self.by.buckets.start_of(last);
        if is_one { Belongs::ToBucket(bucket) } else { Belongs::Apart }
    }
}

/// What tells lines of one stream and level apart.
type Group = (TraceId, SpanId, Labels);

/// Levels of a group in [`Sums::open`].
const LEVELS: usize = 8;

/// Counts of one chunk.
#[derive(Default)]
struct Sums {
    /// Metadata and ids that lines are told apart by. The first is none.
    groups: Vec<Group>,
    numbers: HashMap<Group, u32>,
    /// Bucket of the open counts: lines mostly ascend by time.
    bucket: UnixNanos,
    /// Lines and bytes of the open bucket by group and level, and which of them are not 0.
    open: Vec<(u64, u64)>,
    touched: Vec<usize>,
    closed: Vec<Cell>,
}

struct Cell {
    bucket: UnixNanos,
    at: usize,
    lines: u64,
    bytes: u64,
}

impl Sums {
    fn begin(&mut self) {
        self.groups.clear();
        self.numbers.clear();
        self.groups.push(Group::default());
    }

    /// The number of a line's metadata and ids.
    fn group(&mut self, by: &CountBy, stream: &Labels, record: &LogRecord<'_>) -> u32 {
        let pairs = by.pairs(stream, record.attributes);
        let (trace_id, span_id) = if by.all { (record.trace_id, record.span_id) } else { Default::default() };
        if pairs.clone().next().is_none() && trace_id.is_none() && span_id.is_none() {
            return 0;
        }
        let group = (trace_id, span_id, Labels::from_pairs(pairs));
        if let Some(number) = self.numbers.get(&group) {
            return *number;
        }
        let number = self.groups.len() as u32;
        self.groups.push(group.clone());
        self.numbers.insert(group, number);
        number
    }

    fn add(&mut self, bucket: UnixNanos, group: u32, level: u8, (lines, bytes): (u64, u64)) {
        if bucket != self.bucket {
            self.close();
            self.bucket = bucket;
        }
        let at = group as usize * LEVELS + usize::from(level);
        if self.open.len() <= at {
            self.open.resize(at + 1, (0, 0));
        }
        let sum = &mut self.open[at];
        if sum.0 == 0 {
            self.touched.push(at);
        }
        *sum = (sum.0.saturating_add(lines), sum.1.saturating_add(bytes));
    }

    fn close(&mut self) {
        for at in self.touched.drain(..) {
            let (lines, bytes) = std::mem::take(&mut self.open[at]);
            self.closed.push(Cell { bucket: self.bucket, at, lines, bytes });
        }
    }

    fn give(&mut self, stream: &Labels, take: &mut TakeCount<'_>) -> ControlFlow<()> {
        self.close();
        for cell in self.closed.drain(..).filter(|cell| cell.lines > 0) {
            let Cell { bucket, at, lines, bytes } = cell;
            let ((trace_id, span_id, metadata), severity) = (&self.groups[at / LEVELS], severity_of((at % LEVELS) as u8));
            let (trace_id, span_id) = (*trace_id, *span_id);
            take(&LineCount { stream, bucket, severity, metadata, trace_id, span_id, lines, bytes })?;
        }
        ControlFlow::Continue(())
    }
}
