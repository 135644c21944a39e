//! Which lines of an encoded chunk pass filters: told by templates and contexts where these do, else by their bodies. Where texts of templates say
//! it of all lines, `constant` counts them.

use std::ops::{ControlFlow, Range};

use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::select::Mention;
use weir_model::time::{TimeRange, UnixNanos};

use super::constant::Passing;
use super::filter::Filters;
use super::needle::{Candidates, May};
use super::stored::StoredLines;
use super::take::{EachLine, TakeLines, in_order};

/// Says of a line whether it may pass.
type Telling<'a> = Box<dyn Fn(usize) -> May + 'a>;

impl StoredLines {
    /// Gives every one of these lines in the range that passes and is wanted. Bodies are rendered only of templates and ids that may have what
    /// filters look for, and of lines whose ids and metadata may be what a mention says.
    pub(crate) fn visit<T: TakeLines>(
        &self,
        (within, range): (Range<usize>, TimeRange),
        filters: &Filters,
        mention: Option<&Mention>,
        taker: &mut T,
    ) -> Result<ControlFlow<()>, String> {
        let candidates = self.candidates((within, range), filters, mention)?;
        if candidates.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let (times, mut body) = (self.times()?, Vec::new());
        for (i, may) in in_order::<T, _>(candidates.into_iter()) {
            if !taker.wants(times[i]) {
                continue;
            }
            body.clear();
            self.render(i, &mut body)?;
            if may == May::Surely || filters.passes(&body) {
                let (id, record) = self.record(i, &body)?;
                if taker.take(id, record).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether any line in the range passes.
    pub(crate) fn any_passes(&self, range: TimeRange, filters: &Filters) -> Result<bool, String> {
        let mut first = |_: LineId, _: LogRecord<'_>| ControlFlow::Break(());
        Ok(self.visit((0..self.len(), range), filters, None, &mut EachLine(&mut first))?.is_break())
    }

    /// Gives the time, the severity and the bytes of the body of every one of these lines in the range that passes and that is wanted by its time
    /// and severity. Bodies of templates that say whether they pass are not rendered.
    pub(crate) fn measure(
        &self,
        (within, range): (Range<usize>, TimeRange),
        filters: &Filters,
        wants: &dyn Fn(UnixNanos, u8) -> bool,
        take: &mut dyn FnMut(UnixNanos, u8, usize),
    ) -> Result<(), String> {
        let candidates = self.candidates((within, range), filters, None)?;
        if candidates.is_empty() {
            return Ok(());
        }
        let (times, severities, mut body) = (self.times()?, self.severities()?, Vec::new());
        for (i, may) in candidates {
            if !wants(times[i], severities[i]) {
                continue;
            }
            if may == May::Surely {
                take(times[i], severities[i], self.length(i)?);
                continue;
            }
            body.clear();
            self.render(i, &mut body)?;
            if filters.passes(&body) {
                take(times[i], severities[i], body.len());
            }
        }
        Ok(())
    }

    /// Those of these lines in the range that may pass and say what is mentioned, ascending; with whether they surely pass.
    pub(super) fn candidates(
        &self,
        (within, range): (Range<usize>, TimeRange),
        filters: &Filters,
        mention: Option<&Mention>,
    ) -> Result<Vec<(usize, May)>, String> {
        let Some(may) = self.telling(filters)? else { return Ok(Vec::new()) };
        let times = self.times()?;
        let rows = mention
            .map(|mention| filters.last.saying(self.id(), mention, || Ok(self.contexts()?.saying(mention))))
            .transpose()?;
        let is_wanted = |i: &usize| range.contains(times[*i]) && rows.as_ref().is_none_or(|rows| rows.1[self.row(*i)]);
        let inside = within.filter(is_wanted);
        Ok(inside.map(|i| (i, may(i))).filter(|(_, may)| *may != May::Not).collect())
    }

    /// Tells of each line whether it may pass; `None` when none may.
    fn telling<'a>(&'a self, filters: &Filters) -> Result<Option<Telling<'a>>, String> {
        if filters.is_empty() {
            return Ok(Some(Box::new(|_| May::Surely)));
        }
        let (known, outline) = (filters.last.passing(self.id(), || self.all_passing(filters))?, self.outline()?);
        match &*known {
            Passing::Known { any: false, .. } => Ok(None),
            Passing::Known { .. } => {
                let passes = move |i| known.has(outline.template(i), i);
                Ok(Some(Box::new(move |i| if passes(i) { May::Surely } else { May::Not })))
            }
            Passing::DependsOnLine => {
                let new = || Candidates::new(filters, self.templates()?, || self.contexts());
                let left = filters.last.candidates(self.id(), new)?;
                let any = left.any() || outline.raw() > 0;
                Ok(any.then(|| Box::new(move |i| left.may(outline.template(i), || self.row(i))) as _))
            }
        }
    }
}
