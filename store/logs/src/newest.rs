//! Lines of a chunk from the last to the first, for whoever wants the newest: a line that is older than those they have is not
//! rendered. Called by `reader`.

use std::ops::ControlFlow;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::LogVisitor;
use weir_model::time::UnixNanos;

use super::take::TakeLines;

/// A visitor of lines of one stream.
pub(crate) struct Newest<'a> {
    stream: &'a Labels,
    is_announced: bool,
    visitor: &'a mut dyn LogVisitor,
}

impl<'a> Newest<'a> {
    pub(crate) fn new(stream: &'a Labels, visitor: &'a mut dyn LogVisitor) -> Self {
        Self { stream, is_announced: false, visitor }
    }
}

impl TakeLines for Newest<'_> {
    const IS_BACKWARD: bool = true;

    fn wants(&mut self, time: UnixNanos) -> bool {
        self.visitor.wants(time, time)
    }

    fn take(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        if !std::mem::replace(&mut self.is_announced, true) {
            self.visitor.stream(self.stream);
        }
        self.visitor.line(id, record)
    }
}
