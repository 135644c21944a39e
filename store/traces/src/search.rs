//! Searches: which spans of heads and blocks pass, newest groups first, each read only when it is its turn.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::iter::once_with;
use std::sync::Arc;

use weir_model::id::TraceId;
use weir_model::select::Budget;
use weir_model::time::UnixNanos;

use super::block::{Table, TracesBlock};
use super::head::TracesHead;
use super::placed::HeadBatch;
use super::plan::{BlockPlan, TracesPlan};
use super::visible::{HiddenSpans, VisibleOrigins};
use weir_blocks::segment::{Entries, Segment, SegmentError};

/// Spans that lie together, some of which may pass.
pub(crate) enum Candidates {
    /// A batch of a head.
    Batch(Arc<TracesPlan>, HeadBatch),
    /// A group of a block, by its place in the directory.
    Group(Arc<BlockPlan>, usize),
}

impl Candidates {
    /// Takes note of the traces that have a span that passes. Errors when the budget is spent, or the group cannot be read.
    pub(crate) fn find(&self, budget: &dyn Budget, newest: &mut Newest) -> Result<(), SegmentError> {
        match self {
            Self::Batch(plan, HeadBatch { origin, spans, .. }) => {
                budget.spend(spans.len() as u64)?;
                let mut hidden = HiddenSpans::new(&plan.hidden, &plan.tenant);
                let shown = spans.iter().filter(|span| !hidden.has(origin, span.start()));
                let hits = shown.filter(|span| plan.select.passes(&(&origin.origin, *span)));
                hits.for_each(|span| newest.add(span.trace_id(), span.start()));
            }
            Self::Group(plan, at) => {
                let (block, entry) = (plan.block(), &plan.block().groups()[*at]);
                budget.spend(entry.spans)?;
                budget.read(entry.stored_bytes())?;
                let (table, group) = (block.table()?, block.group(entry)?);
                for (spans, id) in group.segments.iter().zip(&table.ids[entry.segments.clone()]) {
                    let hits = spans.clone().filter(|at| plan.passes(&group, *at)).map(|at| group.starts[at]);
                    hits.max().into_iter().for_each(|start| newest.add(*id, start));
                }
            }
        }
        Ok(())
    }
}

/// By the latest start of a span of theirs, latest first.
type Latest = Reverse<UnixNanos>;

impl Segment<TracesPlan> for TracesHead {
    type Key = Latest;
    type Item<'a> = Candidates;

    fn may_match(&self, plan: &TracesPlan) -> bool {
        self.has_tenant(&plan.tenant)
    }

    fn cursor<'a>(self: Arc<Self>, plan: Arc<TracesPlan>, _: &'a dyn Budget) -> Entries<'a, Latest, Candidates>
    where
        Self: 'a,
    {
        let batches = once_with(move || {
            let (mut batches, mut visible) = (self.batches(&plan.tenant), VisibleOrigins::new(&plan.visible));
            batches.retain(|batch| plan.may_pass(batch.start_min, batch.start_max, &batch.origin));
            batches.retain(|batch| visible.sees(&batch.origin));
            batches.sort_by_key(|batch| Reverse(batch.start_max));
            batches.into_iter().map(move |batch| (Reverse(batch.start_max), Candidates::Batch(Arc::clone(&plan), batch)))
        });
        Box::new(batches.flatten().map(Ok))
    }
}

impl Segment<TracesPlan> for TracesBlock {
    type Key = Latest;
    type Item<'a> = Candidates;

    fn may_match(&self, plan: &TracesPlan) -> bool {
        self.groups().iter().any(|entry| plan.may_hold(entry))
    }

    fn cursor<'a>(self: Arc<Self>, plan: Arc<TracesPlan>, budget: &'a dyn Budget) -> Entries<'a, Latest, Candidates>
    where
        Self: 'a,
    {
        let groups = once_with(move || {
            // The table of ids is read from the object store.
            if let Err(ended) = budget.check() {
                return vec![Err(ended.into())];
            }
            let Some(plan) = BlockPlan::new(plan, Arc::clone(&self)) else { return Vec::new() };
            match self.table() {
                Ok(table) => groups(Arc::new(plan), table),
                Err(error) => vec![Err(error.into())],
            }
        });
        Box::new(groups.flatten())
    }
}

/// The groups of a block that may have a span that passes.
fn groups(plan: Arc<BlockPlan>, table: &Table) -> Vec<Result<(Latest, Candidates), SegmentError>> {
    let own = table.tenant(plan.tenant());
    let mut found: Vec<(usize, UnixNanos)> = Vec::new();
    for (at, entry) in plan.block().groups().iter().enumerate() {
        if own.contains(&entry.segments.start) && plan.may_hold(entry) {
            found.push((at, entry.start_max));
        }
    }
    found.sort_by_key(|(_, latest)| Reverse(*latest));
    found.into_iter().map(|(at, latest)| Ok((Reverse(latest), Candidates::Group(Arc::clone(&plan), at)))).collect()
}

/// The newest traces that passed so far, by the newest span of each that did.
pub(crate) struct Newest {
    limit: usize,
    starts: HashMap<TraceId, UnixNanos>,
    floor: UnixNanos,
    /// Whether `floor` may be higher.
    changed: bool,
}

impl Newest {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, starts: HashMap::new(), floor: UnixNanos::MIN, changed: false }
    }

    pub(crate) fn add(&mut self, id: TraceId, start: UnixNanos) {
        if start < self.floor {
            return;
        }
        self.changed = true;
        self.starts.entry(id).and_modify(|newest| *newest = (*newest).max(start)).or_insert(start);
    }

    /// A trace whose spans all start before this is not among the newest. Forgets those that fell out.
    pub(crate) fn floor(&mut self) -> UnixNanos {
        if self.changed && self.limit > 0 && self.starts.len() >= self.limit {
            let mut starts: Vec<UnixNanos> = self.starts.values().copied().collect();
            self.floor = *starts.select_nth_unstable_by(self.limit - 1, |a, b| b.cmp(a)).1;
            self.starts.retain(|_, start| *start >= self.floor);
        }
        self.changed = false;
        self.floor
    }

    pub(crate) fn finish(self) -> Vec<(TraceId, UnixNanos)> {
        let mut found: Vec<(TraceId, UnixNanos)> = self.starts.into_iter().collect();
        found.sort_by_key(|(id, start)| (Reverse(*start), *id));
        found.truncate(self.limit);
        found
    }
}
