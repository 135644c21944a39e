//! What the tests read through: the in-process readers and the fan-out's, and what a read of lines gave.

use std::ops::ControlFlow;
use std::sync::Arc;

use weir_aggregator::Partitions;
use weir_blocks::engine::Engine;
use weir_blocks::hidden::Horizon;
use weir_blocks::view::{PartitionView, Views};
use weir_fanout::FanOut;
use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::scope::Scope;
use weir_model::select::{LogReader, LogSelect, LogVisitor, MetricReader, NoBudget, OwnedLine, TailEvent, TraceReader};
use weir_model::time::TimeRange;

pub(super) const TENANT: &str = "t";

/// What the APIs read through.
#[derive(Clone)]
pub(super) struct Readers {
    pub logs: Arc<dyn LogReader>,
    pub metrics: Arc<dyn MetricReader>,
    pub traces: Arc<dyn TraceReader>,
}

impl Readers {
    pub(super) fn of(fan_out: &FanOut) -> Self {
        Self { logs: fan_out.logs(), metrics: fan_out.metrics(), traces: fan_out.traces() }
    }

    /// Reads off the async threads, as the APIs do.
    pub(super) async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let readers = self.clone();
        tokio::task::spawn_blocking(move || read(&readers)).await.unwrap()
    }
}

/// Views of several processes, by partition.
pub(super) struct Both<E: Engine>(pub Vec<Arc<Partitions<E>>>);

impl<E: Engine> Views<E> for Both<E> {
    fn views(&self) -> Vec<PartitionView<E>> {
        let mut views: Vec<PartitionView<E>> = self.0.iter().flat_map(|partitions| partitions.views()).collect();
        views.sort_by_key(|view| view.coverage.partition);
        views
    }

    /// As the one says that has stored the newest record.
    fn horizon(&self) -> Option<Horizon> {
        self.0.iter().filter_map(|partitions| partitions.horizon()).max_by_key(|horizon| horizon.now)
    }
}

/// All lines, or the newest so many.
#[derive(Default)]
pub(super) struct Collect {
    pub lines: Vec<OwnedLine>,
    stream: Labels,
    newest: Option<usize>,
}

impl Collect {
    pub(super) fn newest(count: usize) -> Self {
        Self { newest: Some(count), ..Self::default() }
    }

    fn oldest_kept(&self, count: usize) -> Option<i64> {
        (self.lines.len() >= count).then(|| self.lines.last().map(|line| line.timestamp)).flatten()
    }
}

impl LogVisitor for Collect {
    fn wants(&mut self, _first: i64, last: i64) -> bool {
        self.newest.and_then(|count| self.oldest_kept(count)).is_none_or(|oldest| last >= oldest)
    }

    fn stream(&mut self, labels: &Labels) {
        self.stream = labels.clone();
    }

    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        self.lines.push(OwnedLine::new(id, &self.stream, record));
        if let Some(count) = self.newest {
            self.lines.sort_by_key(|line| (std::cmp::Reverse(line.timestamp), line.id));
            self.lines.truncate(count);
        }
        ControlFlow::Continue(())
    }
}

/// Every line, in no order.
pub(super) fn all_lines(readers: &Readers) -> Vec<OwnedLine> {
    let (matchers, filters, range) = (Vec::new(), Vec::new(), TimeRange::ALL);
    let select = LogSelect { scope: Scope::of(TENANT), matchers, range, filters, newest_first: false };
    let mut collect = Collect::default();
    readers.logs.visit(&select, &NoBudget, &mut collect).unwrap();
    collect.lines
}

/// What a tail gave, where nothing may have been dropped.
pub(super) fn lines_of(events: Vec<TailEvent>) -> Vec<OwnedLine> {
    let line = |event| match event {
        TailEvent::Line(line) => line,
        TailEvent::Dropped(lines) => panic!("{lines} dropped"),
    };
    events.into_iter().map(line).collect()
}
