//! Lines of all partitions by template: those of blocks from their chunks, those of heads as their owners have counted them.

use std::ops::ControlFlow;

use weir_heads::request::LinesQuery;
use weir_heads::{HeadQuery, Row};
use weir_logs::take_line;
use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{
    Buckets, Budget, Coverage, LogReader, LogSelect, LogVisitor, ReadError, TakeTemplate, TemplateCount, TemplateText,
};
use weir_model::time::UnixNanos;

use super::collect::EXTRACT_MAX;
use super::logs::{FanOutLogs, reader};

impl FanOutLogs {
    /// Reads once more when a block was deleted meanwhile, as long as nothing was given.
    pub(super) fn count_templates(
        &self,
        select: &LogSelect,
        buckets: Buckets,
        budget: &dyn Budget,
        take: TakeTemplate<'_>,
    ) -> Result<Coverage, ReadError> {
        let mut watched = Watched { take, given: false, done: false };
        let noted = self.shared.logs.gone();
        let read = self.templates_once(select, buckets, budget, &mut watched);
        // What was given cannot be taken back: then the coverage says what is missing.
        if !self.shared.logs.forget_gone(noted) || watched.given {
            return read;
        }
        self.shared.heads.metrics.blocks_gone.inc();
        self.templates_once(select, buckets, budget, &mut watched)
    }

    fn templates_once(
        &self,
        select: &LogSelect,
        buckets: Buckets,
        budget: &dyn Budget,
        watched: &mut Watched<'_>,
    ) -> Result<Coverage, ReadError> {
        let (step, origin) = (buckets.step(), buckets.origin());
        let query = HeadQuery::Templates { lines: LinesQuery::new(select, 0), step, origin };
        let mut collected = match self.collect_views(&select.scope, query, None, budget) {
            // Of lines that hardly have a word in common, the lines are smaller than the templates in one piece: they come in pages.
            Err(ReadError::Budget { key: EXTRACT_MAX, .. }) => {
                return self.visit(select, budget, &mut EachTemplate { buckets, watched });
            }
            collected => collected?,
        };
        let rows = std::mem::take(&mut collected.rows);
        let coverage = reader(collected).templates(select, buckets, budget, &mut |count| watched.count(count))?;
        for row in rows {
            if watched.done {
                break;
            }
            watched.row(row);
        }
        Ok(coverage)
    }
}

/// Who takes counts, whether any were given, and whether there were enough.
struct Watched<'a> {
    take: TakeTemplate<'a>,
    given: bool,
    done: bool,
}

impl Watched<'_> {
    fn count(&mut self, count: &TemplateCount<'_>) -> ControlFlow<()> {
        self.given = true;
        let flow = (self.take)(count);
        self.done |= flow.is_break();
        flow
    }

    fn row(&mut self, row: Row) {
        match row {
            Row::Template { text, bucket, severity, lines } => {
                let _flow = self.count(&TemplateCount { text: TemplateText::Constant(&text), severity, bucket, lines });
            }
            Row::Line { body, bucket, severity, lines } => {
                // Whoever takes lines counts them one by one.
                for _ in 0..lines {
                    if self.count(&TemplateCount { text: TemplateText::Line(&body), severity, bucket, lines: 1 }).is_break() {
                        break;
                    }
                }
            }
            Row::Count { .. } | Row::Trace { .. } => {}
        }
    }
}

/// Gives the template of each line.
struct EachTemplate<'a, 'b> {
    buckets: Buckets,
    watched: &'a mut Watched<'b>,
}

impl LogVisitor for EachTemplate<'_, '_> {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }

    fn stream(&mut self, _: &Labels) {}

    fn line(&mut self, _: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        let bucket = self.buckets.start_of(record.timestamp);
        take_line(record.body, record.severity, bucket, &mut |count| self.watched.count(count))
    }
}
