//! The parts of a trace: what a head or a block has of it, its spans decoded only when they are asked for.

use std::cell::RefCell;
use std::iter::once_with;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use weir_model::id::TraceId;
use weir_model::select::Budget;

use super::block::{Table, TracesBlock};
use super::content::OriginSpan;
use super::group::Group;
use super::head::{HeadTrace, TracesHead};
use super::state::Arrival;
use weir_blocks::StoreError;
use weir_blocks::segment::{Entries, Segment, SegmentError};

/// One trace.
pub(crate) struct OneTrace {
    pub tenant: String,
    pub id: TraceId,
}

/// Every trace of every tenant: what a merge of blocks reads.
pub(crate) struct EveryTrace;

/// What one head or block has of a trace.
pub(crate) enum TracePart {
    Unsealed(HeadTrace),
    Sealed(SealedPart),
}

/// One segment of a block.
pub(crate) struct SealedPart {
    groups: Rc<Groups>,
    segment: usize,
    id: TraceId,
    pub arrival: Arrival,
}

impl SealedPart {
    /// Errors when the group cannot be read.
    pub(crate) fn spans(&self) -> Result<Vec<OriginSpan>, StoreError> {
        self.groups.spans(self.segment, self.id)
    }

    /// Gives back what is unpacked of the block.
    pub(crate) fn close(&self) {
        *self.groups.unpacked.borrow_mut() = None;
    }
}

/// A block of which the group that was asked for last stays unpacked: neighbouring traces mostly lie in one.
struct Groups {
    block: Arc<TracesBlock>,
    unpacked: RefCell<Option<(usize, Group)>>,
}

impl Groups {
    fn spans(&self, segment: usize, id: TraceId) -> Result<Vec<OriginSpan>, StoreError> {
        let groups = self.block.groups();
        let at = groups.partition_point(|entry| entry.segments.end <= segment);
        let missing = || StoreError::corrupt(self.block.path(), format!("no group holds segment {segment}"));
        let entry = groups.get(at).ok_or_else(missing)?;
        let mut unpacked = self.unpacked.borrow_mut();
        let group = match unpacked.take().filter(|(own, _)| *own == at) {
            Some((_, group)) => group,
            None => self.block.group(entry)?,
        };
        let spans = self.block.spans(&group, segment - entry.segments.start, id);
        *unpacked = Some((at, group));
        Ok(spans)
    }
}

type TraceKey = (Arc<str>, TraceId);

/// Those segments of a block that `which` gives, by tenant and trace id.
fn parts<'a>(
    block: Arc<TracesBlock>,
    which: impl FnOnce(&Table) -> Range<usize> + 'a,
) -> impl Iterator<Item = Result<(TraceKey, SealedPart), SegmentError>> + 'a {
    let groups = Rc::new(Groups { block, unpacked: RefCell::default() });
    let mut which = Some(which);
    let mut segments = 0..0;
    std::iter::from_fn(move || {
        let table = match groups.block.table() {
            Ok(table) => table,
            // It is told of once.
            Err(error) => return which.take().map(|_| Err(error.into())),
        };
        segments = which.take().map_or(segments.clone(), |which| which(table));
        let segment = segments.next()?;
        let (id, arrival) = (table.ids[segment], table.arrivals[segment]);
        let part = SealedPart { groups: Rc::clone(&groups), segment, id, arrival };
        Some(Ok(((Arc::clone(table.tenant_of(segment)), id), part)))
    })
}

impl Segment<OneTrace> for TracesBlock {
    type Key = TraceId;
    type Item<'a> = TracePart;

    fn may_match(&self, plan: &OneTrace) -> bool {
        self.may_hold(&plan.tenant, plan.id)
    }

    fn cursor<'a>(self: Arc<Self>, plan: Arc<OneTrace>, _: &'a dyn Budget) -> Entries<'a, TraceId, TracePart>
    where
        Self: 'a,
    {
        let parts = parts(self, move |table| table.find(&plan.tenant, plan.id));
        Box::new(parts.map(|part| part.map(|((_, id), part)| (id, TracePart::Sealed(part)))))
    }
}

impl Segment<OneTrace> for TracesHead {
    type Key = TraceId;
    type Item<'a> = TracePart;

    fn may_match(&self, plan: &OneTrace) -> bool {
        self.has_tenant(&plan.tenant)
    }

    fn cursor<'a>(self: Arc<Self>, plan: Arc<OneTrace>, _: &'a dyn Budget) -> Entries<'a, TraceId, TracePart>
    where
        Self: 'a,
    {
        let trace = once_with(move || self.trace(&plan.tenant, plan.id).map(|trace| (plan.id, TracePart::Unsealed(trace))));
        Box::new(trace.flatten().map(Ok))
    }
}

impl Segment<EveryTrace> for TracesBlock {
    type Key = TraceKey;
    type Item<'a> = SealedPart;

    fn may_match(&self, _: &EveryTrace) -> bool {
        true
    }

    fn cursor<'a>(self: Arc<Self>, _: Arc<EveryTrace>, _: &'a dyn Budget) -> Entries<'a, TraceKey, SealedPart>
    where
        Self: 'a,
    {
        Box::new(parts(self, |table| 0..table.ids.len()))
    }
}
