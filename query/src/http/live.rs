//! A live tail of a LogQL query: what arrived since the last look, through the query's pipeline. Loki's and our own
//! tail differ only in the shape of their messages.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::resource::TENANT_DEFAULT;
use weir_model::select::{LogReader, LogSelect, LogTail, TailEvent};
use weir_model::time::TimeRange;

use super::metrics::HttpMetrics;
use crate::logql::eval::lines::Entry;
use crate::logql::pipeline::labels::LineLabels;
use crate::logql::pipeline::{Lines, Pipeline};
use crate::logql::{LogExpr, ParseError};

/// How often a tail looks: docs/api.md promises messages at most every 100 ms.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// One open tail.
pub(crate) struct Live {
    tail: Box<dyn LogTail>,
    pipeline: Pipeline,
    labels: LineLabels,
    /// Lines that history has shown already.
    shown: HashSet<LineId>,
    detected_level: bool,
    counters: HttpMetrics,
}

/// What arrived.
#[derive(Default)]
pub(crate) struct Arrived {
    /// Lines that pass, in order of arrival.
    pub(crate) lines: Vec<Entry>,
    /// Lines that came too fast.
    pub(crate) dropped: u64,
}

impl Live {
    /// Opens it: from now on nothing that passes is missed, short of [`Arrived::dropped`].
    pub(crate) fn open(
        reader: &Arc<dyn LogReader>,
        text: &str,
        log: &LogExpr,
        detected_level: bool,
        counters: HttpMetrics,
    ) -> Result<Self, ParseError> {
        let pipeline = Pipeline::compile(text, log, Lines::Needed)?;
        let select = LogSelect {
            tenant: TENANT_DEFAULT.into(),
            matchers: log.matchers.clone(),
            range: TimeRange::ALL,
            filters: pipeline.pushed.clone(),
            newest_first: false,
        };
        let (tail, labels, shown) = (reader.tail(select), LineLabels::default(), HashSet::new());
        Ok(Self { tail, pipeline, labels, shown, detected_level, counters })
    }

    /// Does not show these lines again.
    pub(crate) fn skip(&mut self, lines: &[Entry]) {
        self.shown.extend(lines.iter().map(|entry| entry.source.id));
    }

    /// Counts lines that the caller had to drop.
    pub(crate) fn note_dropped(&self, lines: u64) {
        self.counters.tail_dropped(lines);
    }

    /// What arrived since the last call.
    pub(crate) fn poll(&mut self) -> Arrived {
        let mut arrived = Arrived::default();
        for event in self.tail.poll() {
            match event {
                TailEvent::Dropped(count) => {
                    self.counters.tail_dropped(count);
                    arrived.dropped += count;
                }
                TailEvent::Line(source) if self.shown.remove(&source.id) => {}
                TailEvent::Line(source) => {
                    let record = LogRecord {
                        timestamp: source.timestamp,
                        sequence: 0,
                        body: &source.body,
                        severity: source.severity,
                        flags: 0,
                        trace_id: source.trace_id,
                        span_id: source.span_id,
                        attributes: &source.attributes,
                    };
                    self.labels.set_stream(&source.stream);
                    self.labels.begin_line(&record, self.detected_level);
                    let Some(line) = self.pipeline.run(&source.body, source.timestamp, &mut self.labels) else { continue };
                    let formatted = if *line == *source.body { None } else { Some(line.into_owned()) };
                    let (labels, categories) = (self.labels.all(), self.labels.categories());
                    arrived.lines.push(Entry { source, formatted, labels, categories });
                }
            }
        }
        arrived
    }
}
