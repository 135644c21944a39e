//! Lines of a chunk from the last to the first, for whoever wants the newest: a line that is older than those they have is not
//! rendered. Called by `reader`.

use std::ops::ControlFlow;

use weir_model::id::LineId;
use weir_model::label::Labels;
use weir_model::log::LogRecord;
use weir_model::select::{LogVisitor, Mention};
use weir_model::time::{TimeRange, UnixNanos};

use super::chunk::Lines;
use super::filter::Filters;
use super::needle::May;
use super::part::Part;
use super::source_lines::{AllLines, SourceLines, part_id};
use super::stored::StoredLines;
use weir_blocks::StoreError;
use weir_blocks::hidden::HiddenRows;

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

    fn wants(&mut self, time: UnixNanos) -> bool {
        self.visitor.wants(time, time)
    }

    fn take(&mut self, id: LineId, record: LogRecord<'_>, hidden: &HiddenRows) -> ControlFlow<()> {
        if !hidden.is_nothing() && hidden.has(record.timestamp, record.body) {
            return ControlFlow::Continue(());
        }
        if !std::mem::replace(&mut self.is_announced, true) {
            self.visitor.stream(self.stream);
        }
        self.visitor.line(id, record)
    }
}

/// What lines have to be like, and what is as if it were not there.
struct Wanted<'a> {
    range: TimeRange,
    filters: &'a Filters,
    hidden: &'a HiddenRows,
}

impl SourceLines {
    /// As [`Self::visit`], from the last line to the first, of those lines only that the visitor wants by their times.
    pub(crate) fn visit_back(
        &self,
        range: TimeRange,
        filters: &Filters,
        mention: Option<&Mention>,
        newest: &mut Newest<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let wanted = Wanted { range, filters, hidden: &self.hidden };
        match &self.lines {
            AllLines::Decoded(lines) => Ok(of_decoded(lines, &wanted, newest)),
            AllLines::Stored(lines, name) => of_stored(lines, &wanted, mention, newest).map_err(|detail| name.corrupt(detail)),
            AllLines::Parts(parts) => {
                for part in parts.iter().rev() {
                    if of_part(part, &wanted, newest).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
        }
    }
}

fn of_stored(
    lines: &StoredLines,
    wanted: &Wanted<'_>,
    mention: Option<&Mention>,
    newest: &mut Newest<'_>,
) -> Result<ControlFlow<()>, String> {
    let (times, mut body) = (lines.times()?, Vec::new());
    for (i, may) in lines.candidates(wanted.range, wanted.filters, mention)?.into_iter().rev() {
        if !newest.wants(times[i]) {
            continue;
        }
        body.clear();
        lines.render(i, &mut body)?;
        if may == May::Surely || wanted.filters.passes(&body) {
            let (id, record) = lines.record(i, &body)?;
            if newest.take(id, record, wanted.hidden).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn of_decoded(lines: &Lines, wanted: &Wanted<'_>, newest: &mut Newest<'_>) -> ControlFlow<()> {
    let ((bodies, ends), mut passing) = (lines.bodies(), Vec::new());
    wanted.filters.select(bodies, ends, |i, _| {
        passing.push(i);
        ControlFlow::Continue(())
    });
    for i in passing.into_iter().rev() {
        let (id, record) = lines.get(i);
        if wanted.range.contains(record.timestamp) && newest.wants(record.timestamp) {
            newest.take(id, record, wanted.hidden)?;
        }
    }
    ControlFlow::Continue(())
}

fn of_part(part: &Part, wanted: &Wanted<'_>, newest: &mut Newest<'_>) -> ControlFlow<()> {
    for i in (0..part.batch.len()).rev() {
        let record = part.batch.get(i);
        let time = record.timestamp;
        if wanted.range.contains(time) && newest.wants(time) && wanted.filters.passes(record.body) {
            newest.take(part_id(part, i), record, wanted.hidden)?;
        }
    }
    ControlFlow::Continue(())
}
