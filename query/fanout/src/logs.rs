//! Log lines of all partitions: the store's own reader over collected views, page by page.
//!
//! A page is a range of time in which every owner gave all that passes. Pages do not overlap and together are the range
//! that was asked for, so a line is seen once although each page is of an instant of its own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_blocks::view::{Fixed, NoTails};
use weir_heads::request::{LinesQuery, pairs};
use weir_heads::{HeadQuery, Row};
use weir_logs::{LogsEngine, LogsReader};
use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::{LogRecord, level_severity};
use weir_model::scope::Scope;
use weir_model::select::{
    Buckets, Budget, CountBy, Coverage, Covered, LineCount, LogReader, LogSelect, LogTail, LogVisitor, Mention, OwnedLine,
    ReadError, TakeCount, TakeTemplate, count_lines,
};
use weir_model::time::{TimeRange, UnixNanos};

use super::collect::{CollectedViews, ViewRequest};
use super::owners::ANSWER_MAX;
use super::start::Shared;
use super::tail::FanOutTail;

/// Each page may be so many times as large as the one before.
const PAGE_GROWTH: u64 = 8;

pub(super) struct FanOutLogs {
    pub(super) shared: Arc<Shared>,
}

pub(super) fn reader(collected: CollectedViews<'_, LogsEngine>) -> LogsReader {
    LogsReader { views: Arc::new(Fixed::new(collected.views).within(collected.horizon)), tails: Arc::new(NoTails) }
}

impl FanOutLogs {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn collect_views<'a>(
        &self,
        scope: &Scope,
        query: HeadQuery,
        only: Option<u32>,
        budget: &'a dyn Budget,
    ) -> Result<CollectedViews<'a, LogsEngine>, ReadError> {
        self.shared.collect_views(&self.shared.logs, &ViewRequest { tenant: scope.one()?, query, only }, budget)
    }

    fn retrying<T>(&self, read: impl FnMut() -> Result<T, ReadError>) -> Result<T, ReadError> {
        self.shared.retrying(&self.shared.logs, read)
    }

    /// One page: its range, and whether the visitor has had enough.
    fn page(
        &self,
        select: &LogSelect,
        page_bytes: u64,
        budget: &dyn Budget,
        watched: &mut Watched<'_>,
    ) -> Result<(Coverage, Option<UnixNanos>), ReadError> {
        let collected = self.collect_views(&select.scope, HeadQuery::Lines(LinesQuery::new(select, page_bytes)), None, budget)?;
        let watermarks = collected.watermarks.iter().copied();
        let watermark = if select.newest_first { watermarks.max() } else { watermarks.min() };
        let range = match watermark {
            Some(watermark) if select.newest_first => TimeRange { start: watermark, ..select.range },
            Some(watermark) => TimeRange { end: watermark, ..select.range },
            None => select.range,
        };
        let coverage = reader(collected).visit(&LogSelect { range, ..select.clone() }, budget, watched)?;
        Ok((coverage, watermark))
    }
}

/// A visitor, and whether it was given anything and has had enough.
struct Watched<'a> {
    visitor: &'a mut dyn LogVisitor,
    given: bool,
    done: bool,
}

impl LogVisitor for Watched<'_> {
    fn wants(&mut self, first: UnixNanos, last: UnixNanos) -> bool {
        self.visitor.wants(first, last)
    }

    fn mention(&self) -> Option<Mention> {
        self.visitor.mention()
    }

    fn stream(&mut self, labels: &Labels) {
        self.visitor.stream(labels);
    }

    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        self.given = true;
        let flow = self.visitor.line(id, record);
        self.done |= flow.is_break();
        flow
    }
}

impl LogReader for FanOutLogs {
    fn visit(&self, select: &LogSelect, budget: &dyn Budget, visitor: &mut dyn LogVisitor) -> Result<Coverage, ReadError> {
        let config = &self.shared.heads.config;
        let (page_min, mut page_max) = (config.page_min.to_u64(), config.page_max.to_u64());
        let mut page_bytes = page_min;
        let mut select = select.clone();
        let mut watched = Watched { visitor, given: false, done: false };
        let mut coverage: Option<Coverage> = None;
        loop {
            let noted = self.shared.logs.gone();
            let mut read = self.page(&select, page_bytes, budget, &mut watched);
            // What was given cannot be taken back: then the coverage says what is missing.
            if self.shared.logs.forget_gone(noted) && !watched.given {
                self.shared.heads.metrics.blocks_gone.inc();
                read = self.page(&select, page_bytes, budget, &mut watched);
            }
            let (seen, watermark) = match read {
                // Of an owner of many partitions the pages are more together than it may answer with.
                Err(ReadError::Budget { key: ANSWER_MAX, .. }) if page_bytes > page_min => {
                    page_bytes = (page_bytes / PAGE_GROWTH).max(page_min);
                    page_max = page_bytes;
                    continue;
                }
                read => read?,
            };
            match &mut coverage {
                // How far the first page saw holds for all: the later ones saw more.
                Some(coverage) => coverage.merge(Coverage { partitions: Vec::new(), missing: seen.missing }),
                None => coverage = Some(seen),
            }
            let Some(watermark) = watermark.filter(|_| !watched.done) else { break };
            if select.newest_first {
                select.range.end = watermark;
            } else {
                select.range.start = watermark;
            }
            let TimeRange { start, end } = select.range;
            if start >= end || !watched.wants(start, end - 1) {
                break;
            }
            page_bytes = page_bytes.saturating_mul(PAGE_GROWTH).min(page_max);
        }
        Ok(coverage.unwrap_or_default())
    }

    fn streams(&self, select: &LogSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        self.retrying(|| {
            let collected = self.collect_views(&select.scope, HeadQuery::Streams(LinesQuery::new(select, 0)), None, budget)?;
            reader(collected).streams(select, budget)
        })
    }

    fn counts(&self, select: &LogSelect, by: &CountBy, budget: &dyn Budget, take: TakeCount<'_>) -> Result<Coverage, ReadError> {
        // Owners count by names that they are told.
        if by.all {
            return count_lines(self, select, by, budget, take);
        }
        let (step, origin, metadata) = (by.buckets.step(), by.buckets.origin(), by.metadata.clone());
        let query = HeadQuery::Counts { lines: LinesQuery::new(select, 0), step, origin, metadata };
        // Given only when nothing was deleted meanwhile: what was given cannot be taken back.
        let (sums, _held, coverage) = self.retrying(|| {
            let mut sums = Sums::new();
            let mut collected = self.collect_views(&select.scope, query.clone(), None, budget)?;
            let mut rows = collected.rows.take();
            rows.drain().for_each(|row| add_row(&mut sums, row));
            let coverage = reader(collected).counts(select, by, budget, &mut |count| {
                let key = (count.stream.clone(), count.bucket, count.severity, count.metadata.clone());
                add(&mut sums, key, (count.lines, count.bytes));
                ControlFlow::Continue(())
            })?;
            Ok((sums, rows, coverage))
        })?;
        for ((stream, bucket, severity, metadata), (lines, bytes)) in &sums {
            let (stream, bucket, severity, lines, bytes) = (stream, *bucket, *severity, *lines, *bytes);
            let (trace_id, span_id) = Default::default();
            if take(&LineCount { stream, bucket, severity, metadata, trace_id, span_id, lines, bytes }).is_break() {
                break;
            }
        }
        Ok(coverage)
    }

    fn templates(
        &self,
        select: &LogSelect,
        buckets: Buckets,
        budget: &dyn Budget,
        take: TakeTemplate<'_>,
    ) -> Result<Coverage, ReadError> {
        self.count_templates(select, buckets, budget, take)
    }

    fn line(&self, scope: &Scope, id: LineId, context: usize, budget: &dyn Budget) -> Result<Covered<Vec<OwnedLine>>, ReadError> {
        self.retrying(|| {
            let query = HeadQuery::Line { offset: id.offset, ordinal: id.ordinal, context };
            let collected = self.collect_views(scope, query, Some(id.partition), budget)?;
            let unsealed = collected.views.iter().any(|view| !view.heads.is_empty());
            let found = reader(collected).line(scope, id, context, budget)?;
            let after = found.value.iter().rev().take_while(|line| line.id != id).count();
            let Some(line) = found.value.first().filter(|_| !unsealed && after < context) else { return Ok(found) };
            // A sealed line at the end of what is sealed: its neighbours may not be.
            let query = HeadQuery::First { stream: pairs(&line.stream), count: context };
            reader(self.collect_views(scope, query, Some(id.partition), budget)?).line(scope, id, context, budget)
        })
    }

    fn tail(&self, select: LogSelect) -> Result<Box<dyn LogTail>, ReadError> {
        Ok(Box::new(FanOutTail::open(Arc::clone(&self.shared), select)?))
    }
}

/// Lines and bytes by stream, bucket, severity and metadata, of blocks and owners.
type Sums = BTreeMap<(Labels, UnixNanos, u8, Labels), (u64, u64)>;

fn add(sums: &mut Sums, key: (Labels, UnixNanos, u8, Labels), (lines, bytes): (u64, u64)) {
    let sum = sums.entry(key).or_default();
    *sum = (sum.0.saturating_add(lines), sum.1.saturating_add(bytes));
}

fn add_row(sums: &mut Sums, row: Row) {
    if let Row::Count { stream, bucket, severity, metadata, lines, bytes } = row {
        let key = (Labels::from_pairs(stream), bucket, level_severity(severity), Labels::from_pairs(metadata));
        add(sums, key, (lines, bytes));
    }
}
