//! A live tail: what enters a head, as far as it passes.

use weir_model::id::LineId;
use weir_model::log::LogBatch;
use weir_model::select::{LogSelect, LogTail, OwnedLine, TailEvent};

use super::plan::LogsPlan;
use weir_blocks::view::TailSection;

/// See [`LogTail`].
pub struct Tail {
    subscription: Box<dyn FnMut() -> Vec<TailSection<LogBatch>> + Send>,
    plan: LogsPlan,
}

impl Tail {
    /// Of a subscription.
    pub fn new(subscription: Box<dyn FnMut() -> Vec<TailSection<LogBatch>> + Send>, select: &LogSelect) -> Self {
        Self { subscription, plan: LogsPlan::new(select) }
    }

    fn add_lines(&self, arrived: &TailSection<LogBatch>, events: &mut Vec<TailEvent>) {
        let batch = &arrived.section.batch;
        if !self.plan.passes_stream(&arrived.section.header.tenant, &batch.stream) {
            return;
        }
        let position = arrived.position;
        for (i, record) in (0..).zip(batch.iter()) {
            if self.plan.range.contains(record.timestamp) && self.plan.filters.passes(record.body) {
                let ordinal = position.ordinal.saturating_add(i);
                let id = LineId { partition: position.partition, offset: position.offset, ordinal };
                events.push(TailEvent::Line(OwnedLine::new(id, &batch.stream, record)));
            }
        }
    }
}

impl LogTail for Tail {
    fn poll(&mut self) -> Vec<TailEvent> {
        let mut events = Vec::new();
        for arrived in (self.subscription)() {
            if arrived.dropped > 0 {
                events.push(TailEvent::Dropped(arrived.dropped));
            }
            self.add_lines(&arrived, &mut events);
        }
        events
    }
}
