//! What a tail has missed while an owner was gone: read like any other lines, from where the tail stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{LogReader, LogSelect, LogVisitor, NoBudget, OwnedLine};
use weir_model::time::{SECOND, TimeRange, UnixNanos};

use super::logs::FanOutLogs;
use super::start::Shared;

/// Lines may be stamped so much earlier than they arrive and still be found.
const LATE_MAX: i64 = 300 * SECOND;
/// More is not caught up with: the oldest are given, and the tail is told that there was more.
const LINES_MAX: usize = 8192;

/// Lines that a tail has missed.
#[derive(Default)]
pub(super) struct Missed {
    /// By identity.
    pub lines: Vec<OwnedLine>,
    /// Whether there were more.
    pub more: bool,
    stream: Labels,
    last: BTreeMap<u32, (u64, u32)>,
    since: UnixNanos,
}

/// Lines that pass, after the last of each partition that the tail has given; of partitions that gave none, those stamped
/// since then. Takes as long as a query: call it off the async threads. Errors are sentences.
pub(super) fn missed(
    shared: &Arc<Shared>,
    select: &LogSelect,
    last: BTreeMap<u32, (u64, u32)>,
    since: UnixNanos,
) -> Result<Missed, String> {
    let range = TimeRange { start: since.saturating_sub(LATE_MAX), ..select.range };
    let select = LogSelect { range, newest_first: false, ..select.clone() };
    let mut missed = Missed { last, since, ..Missed::default() };
    let reader = FanOutLogs::new(Arc::clone(shared));
    reader.visit(&select, &NoBudget, &mut missed).map_err(|error| error.to_string())?;
    missed.lines.sort_by_key(|line| line.id);
    Ok(missed)
}

impl LogVisitor for Missed {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        !self.more
    }

    fn stream(&mut self, labels: &Labels) {
        self.stream = labels.clone();
    }

    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        let new = match self.last.get(&id.partition) {
            Some(last) => (id.offset, id.ordinal) > *last,
            None => record.timestamp >= self.since,
        };
        if !new {
            return ControlFlow::Continue(());
        }
        if self.lines.len() >= LINES_MAX {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.lines.push(OwnedLine::new(id, &self.stream, record));
        ControlFlow::Continue(())
    }
}
