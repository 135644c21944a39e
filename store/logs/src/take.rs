//! Whoever takes the lines of a chunk one by one, and in which order: one visitor for all forms that a chunk has.

use std::ops::ControlFlow;

use weir_blocks::hidden::HiddenRows;
use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::time::UnixNanos;

/// Takes the lines that pass.
pub(crate) trait TakeLines {
    /// From the last line to the first; else in source order.
    const IS_BACKWARD: bool;

    /// Whether a line of this time is of use: asked before it is rendered.
    fn wants(&mut self, time: UnixNanos) -> bool;

    fn take(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()>;
}

/// All lines in source order.
pub(crate) struct EachLine<'a>(pub(crate) &'a mut dyn FnMut(LineId, LogRecord<'_>) -> ControlFlow<()>);

impl TakeLines for EachLine<'_> {
    const IS_BACKWARD: bool = false;

    fn wants(&mut self, _: UnixNanos) -> bool {
        true
    }

    fn take(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        (self.0)(id, record)
    }
}

/// Leaves out what is hidden.
pub(crate) struct Shown<'a, T> {
    pub(crate) hidden: &'a HiddenRows,
    pub(crate) taker: &'a mut T,
}

impl<T: TakeLines> TakeLines for Shown<'_, T> {
    const IS_BACKWARD: bool = T::IS_BACKWARD;

    fn wants(&mut self, time: UnixNanos) -> bool {
        self.taker.wants(time)
    }

    fn take(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        if self.hidden.has(record.timestamp, record.body) { ControlFlow::Continue(()) } else { self.taker.take(id, record) }
    }
}

/// Items in the order in which their lines are taken.
pub(crate) fn in_order<T: TakeLines, I: DoubleEndedIterator>(mut items: I) -> impl Iterator<Item = I::Item> {
    std::iter::from_fn(move || if T::IS_BACKWARD { items.next_back() } else { items.next() })
}
