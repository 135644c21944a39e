//! What queries see of traces: each put together from all heads and blocks, each span once. Called by the query service.
//!
//! A block or group that cannot be read does not fail a query: what is missing is said in its coverage.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use weir_model::id::TraceId;
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{Budget, Coverage, Covered, NoBudget, ReadError, Trace, TraceReader, TraceSelect, TraceSummary};
use weir_model::span::{ScopeSpans, SpanKind, StatusCode, Value};
use weir_model::time::{TimeRange, UnixNanos};

use super::block::TracesBlock;
use super::content::{OriginSpan, unique};
use super::engine::TracesEngine;
use super::head::TracesHead;
use super::parts::{OneTrace, TracePart};
use super::plan::TracesPlan;
use super::schema::KINDS;
use super::search::Newest;
use super::state::{Arrival, Clock, is_complete, state};
use super::tags::{AttributeNames, Operations, TagSelect, Tags, Values};
use super::visible::{HiddenSpans, VisibleOrigins};
use weir_blocks::StoreError;
use weir_blocks::hidden::{Hidden, Horizon};
use weir_blocks::segment::{Entries, Merge, Segment, SegmentError};
use weir_blocks::view::{BlockView, PartitionView, Views};

/// Reads traces out of the views of their partitions.
pub struct TracesReader {
    views: Arc<dyn Views<TracesEngine>>,
    clock: Clock,
}

/// All that is known of one trace.
#[derive(Default)]
struct Found {
    spans: Vec<OriginSpan>,
    blocks: Vec<Arrival>,
    heads: Vec<Arrival>,
}

impl TracesReader {
    /// Over the views that the partitions' owners keep; the clock says how long a trace has been idle.
    pub fn new(views: Arc<dyn Views<TracesEngine>>, clock: Clock) -> Self {
        Self { views, clock }
    }

    fn seen(&self) -> Seen {
        Seen { views: self.views.views(), horizon: self.views.horizon() }
    }
}

/// The views' own coverage.
fn covered(views: &[PartitionView<TracesEngine>]) -> Coverage {
    let mut coverage = Coverage::default();
    for view in views {
        coverage.merge(Coverage { partitions: vec![view.coverage.clone()], missing: view.missing.clone() });
    }
    coverage
}

/// Takes note of what could not be read.
fn note(coverage: &mut Coverage, error: &StoreError) {
    coverage.merge(Coverage { partitions: Vec::new(), missing: vec![error.to_string()] });
}

/// The entries of all segments for one plan.
type Merged<'a, P> = Merge<
    Entries<'a, <TracesBlock as Segment<P>>::Key, <TracesBlock as Segment<P>>::Item<'a>>,
    <TracesBlock as Segment<P>>::Key,
    <TracesBlock as Segment<P>>::Item<'a>,
>;

/// Views of one request, and from when on it sees spans.
struct Seen {
    views: Vec<PartitionView<TracesEngine>>,
    horizon: Option<Horizon>,
}

impl Seen {
    fn of_block(&self, view: &BlockView<TracesEngine>) -> Hidden {
        view.hidden.clone().with(self.horizon.as_ref())
    }

    fn of_heads(&self) -> Hidden {
        Hidden::default().with(self.horizon.as_ref())
    }
}

/// Cursors of all segments that may match, and what is hidden of each: of each view its blocks, oldest first, then its heads.
/// `plan_of`: the plan of a segment of which that is hidden.
fn merged<'a, P: 'a>(seen: &Seen, plan_of: impl Fn(&Hidden) -> Arc<P>, budget: &'a dyn Budget) -> (Merged<'a, P>, Vec<Hidden>)
where
    TracesBlock: Segment<P>,
    TracesHead: Segment<P, Key = <TracesBlock as Segment<P>>::Key, Item<'a> = <TracesBlock as Segment<P>>::Item<'a>>,
{
    let (mut cursors, mut hidden) = (Vec::new(), Vec::new());
    for view in &seen.views {
        for own in &view.blocks {
            let (of_block, block) = (seen.of_block(own), Arc::clone(&own.block));
            let plan = plan_of(&of_block);
            if block.may_match(&plan) {
                cursors.push(block.cursor(plan, budget));
                hidden.push(of_block);
            }
        }
        let (of_heads, plan) = (seen.of_heads(), plan_of(&seen.of_heads()));
        for head in view.heads.iter().filter(|head| head.may_match(&plan)) {
            cursors.push(Arc::clone(head).cursor(Arc::clone(&plan), budget));
            hidden.push(of_heads.clone());
        }
    }
    (Merge::new(cursors), hidden)
}

/// What was read; `None` where a piece could not be, which is noted.
fn readable<T>(read: Result<T, SegmentError>, coverage: &mut Coverage) -> Result<Option<T>, ReadError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(SegmentError::Unreadable(error)) => {
            note(coverage, &error);
            Ok(None)
        }
        Err(SegmentError::Ended(ended)) => Err(ended),
    }
}

/// What may be seen of a trace, out of every view, spans ascending by start. A head or block in which that is nothing does not count
/// for how far the trace has come.
fn load(
    seen: &Seen,
    (plan, visible): (OneTrace, &Visible),
    budget: &dyn Budget,
    coverage: &mut Coverage,
) -> Result<Found, ReadError> {
    let mut found = Found::default();
    let (tenant, plan) = (Arc::clone(&plan.tenant), Arc::new(plan));
    let (mut traces, hidden) = merged(seen, |_| Arc::clone(&plan), budget);
    let (mut parts, mut origins) = (Vec::new(), VisibleOrigins::new(visible));
    while let Some(next) = traces.next_group(&mut parts) {
        readable(next, coverage)?;
        let mut last = None;
        let mut own = parts.drain(..).peekable();
        while let Some((segment, part)) = own.next() {
            match part {
                TracePart::Unsealed(mut trace) => {
                    HiddenSpans::new(&hidden[segment], &tenant).leave_out(&mut trace.spans);
                    let Some(trace) = trace.visible(visible) else { continue };
                    found.heads.push(Arrival { complete: trace.is_complete(), ..trace.arrival });
                    found.spans.extend(trace.spans);
                }
                TracePart::Sealed(part) => {
                    let mut spans = readable(part.spans().map_err(Into::into), coverage)?.unwrap_or_default();
                    origins.retain(&mut spans);
                    let left_out = HiddenSpans::new(&hidden[segment], &tenant).leave_out(&mut spans);
                    // All that a block has of a trace arrived as one.
                    if last != Some(segment) && (visible.is_all() && left_out == 0 || !spans.is_empty()) {
                        found.blocks.push(part.arrival);
                        last = Some(segment);
                    }
                    found.spans.extend(spans);
                    // One block is unpacked at a time: a trace may be in every one.
                    if own.peek().is_none_or(|(next, _)| *next != segment) {
                        part.close();
                    }
                }
            }
        }
    }
    unique(&mut found.spans);
    found.spans.sort_by_key(|own| own.span().start());
    Ok(found)
}

/// Spans by origin, origins in the order of their first span.
fn batches(spans: &[OriginSpan]) -> Vec<ScopeSpans> {
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut batches: Vec<ScopeSpans> = Vec::new();
    for own in spans {
        let place = *places.entry(&own.origin.encoded).or_insert(batches.len());
        if place == batches.len() {
            batches.push(ScopeSpans { origin: own.origin.origin.clone(), spans: Vec::new() });
        }
        batches[place].spans.push(own.span().to_span());
    }
    batches
}

fn summary(select: &TraceSelect, id: TraceId, spans: &[OriginSpan]) -> Option<TraceSummary> {
    let first = spans.first()?.span();
    let root = spans.iter().find(|own| own.span().parent_id().is_none());
    let top = root.or(spans.first())?;
    let end = spans.iter().map(|own| own.span().end()).max()?;
    let errors = spans.iter().filter(|own| own.span().status() == StatusCode::Error).count();
    let matched = || spans.iter().filter(|own| select.passes(&(&own.origin.origin, own.span())));
    Some(TraceSummary {
        id,
        root_service: top.origin.origin.service().to_owned(),
        root_name: top.span().name().to_owned(),
        has_root: root.is_some(),
        start: first.start(),
        duration: end.saturating_sub(first.start()),
        spans: spans.len() as u32,
        errors: errors as u32,
        matched: matched().count() as u32,
        newest_match: matched().map(|own| own.span().start()).max().unwrap_or(first.start()),
    })
}

impl TraceReader for TracesReader {
    fn trace(&self, scope: &Scope, id: TraceId) -> Result<Covered<Option<Trace>>, ReadError> {
        let TenantScope { tenant, visible } = scope.one()?;
        let seen = self.seen();
        let mut coverage = covered(&seen.views);
        let found = load(&seen, (OneTrace { tenant: Arc::clone(tenant), id }, visible), &NoBudget, &mut coverage)?;
        if found.spans.is_empty() {
            return Ok(Covered { value: None, coverage });
        }
        let complete = is_complete(found.spans.iter().map(OriginSpan::ids));
        let (state, revision) = state(found.blocks, &found.heads, complete, (self.clock)());
        Ok(Covered { value: Some(Trace { id, state, revision, batches: batches(&found.spans) }), coverage })
    }

    fn search(&self, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<TraceSummary>>, ReadError> {
        let seen = self.seen();
        let Covered { value, mut coverage } = candidates(&seen, select, budget)?;
        let value = summaries(&seen, select, &value, budget, &mut coverage)?;
        Ok(Covered { value, coverage })
    }

    fn services(&self, scope: &Scope, range: TimeRange, budget: &dyn Budget) -> Result<Covered<Vec<String>>, ReadError> {
        let Covered { value, coverage } = self.names(scope, range, budget)?;
        let services: BTreeSet<String> = value.into_iter().map(|(service, ..)| service).collect();
        Ok(Covered { value: services.into_iter().collect(), coverage })
    }

    fn operations(
        &self,
        scope: &Scope,
        service: Option<&str>,
        range: TimeRange,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, SpanKind)>>, ReadError> {
        let Covered { value, coverage } = self.names(scope, range, budget)?;
        let own = value.into_iter().filter(|(of, ..)| service.is_none_or(|service| of == service));
        // Two services may have operations of one name.
        let operations: BTreeSet<(String, u8)> = own.map(|(_, name, kind)| (name, kind)).collect();
        let known = |(name, kind): (String, u8)| (name, KINDS.get(kind as usize).copied().unwrap_or_default());
        Ok(Covered { value: operations.into_iter().map(known).collect(), coverage })
    }

    fn attribute_values(
        &self,
        scope: &Scope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<Value>>, ReadError> {
        let (own, seen) = (scope.one()?, self.seen());
        let select = |hidden| TagSelect { own, range, hidden, budget };
        let mut values = Values::new(limit);
        let mut coverage = covered(&seen.views);
        for (own, hidden) in tags(&seen) {
            budget.check()?;
            own.add_attribute_values(&select(hidden), name, &mut values, &mut |error| note(&mut coverage, error))?;
        }
        Ok(Covered { value: values.finish(), coverage })
    }

    fn attribute_names(
        &self,
        scope: &Scope,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, String)>>, ReadError> {
        let (own, seen) = (scope.one()?, self.seen());
        let select = |hidden| TagSelect { own, range, hidden, budget };
        let (mut names, mut coverage) = (AttributeNames::new(), covered(&seen.views));
        for (own, hidden) in tags(&seen) {
            budget.check()?;
            own.add_attribute_names(&select(hidden), &mut names, &mut |error| note(&mut coverage, error))?;
        }
        let names = names.into_iter().take(limit).map(|(scope, name)| (scope.to_owned(), name)).collect();
        Ok(Covered { value: names, coverage })
    }
}

/// Heads and blocks of all views.
fn tags(seen: &Seen) -> impl Iterator<Item = (&dyn Tags, Hidden)> {
    seen.views.iter().flat_map(|view| {
        let heads = view.heads.iter().map(|head| (&**head as &dyn Tags, seen.of_heads()));
        heads.chain(view.blocks.iter().map(|view| (&*view.block as &dyn Tags, seen.of_block(view))))
    })
}

/// The newest traces that have a span that passes, by the start of the newest such span.
fn candidates(seen: &Seen, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<(TraceId, UnixNanos)>>, ReadError> {
    let mut coverage = covered(&seen.views);
    let mut newest = Newest::new(select.limit);
    let plan = TracesPlan::new(select)?;
    let (mut latest_first, _) = merged(seen, |hidden| TracesPlan::hiding(&plan, hidden.clone()), budget);
    let mut candidates = Vec::new();
    while let Some(next) = latest_first.next_group(&mut candidates) {
        let Some(Reverse(latest)) = readable(next, &mut coverage)? else { continue };
        if latest < newest.floor() {
            break;
        }
        budget.check()?;
        for (_, own) in candidates.drain(..) {
            readable(own.find(budget, &mut newest), &mut coverage)?;
        }
    }
    Ok(Covered { value: newest.finish(), coverage })
}

fn summaries(
    seen: &Seen,
    select: &TraceSelect,
    ids: &[(TraceId, UnixNanos)],
    budget: &dyn Budget,
    coverage: &mut Coverage,
) -> Result<Vec<TraceSummary>, ReadError> {
    let TenantScope { tenant, visible } = select.scope.one()?;
    let mut summaries = Vec::with_capacity(ids.len());
    for (id, _) in ids {
        budget.check()?;
        let plan = OneTrace { tenant: Arc::clone(tenant), id: *id };
        let found = load(seen, (plan, visible), budget, coverage)?;
        budget.spend(found.spans.len() as u64)?;
        summaries.extend(summary(select, *id, &found.spans));
    }
    summaries.sort_by_key(|summary| (Reverse(summary.newest_match), summary.id));
    Ok(summaries)
}

impl TracesReader {
    /// The first half of a search: which traces pass, with the start of the newest span that does; newest first.
    pub fn candidates(&self, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<(TraceId, UnixNanos)>>, ReadError> {
        candidates(&self.seen(), select, budget)
    }

    /// The newest of what several partitions found, each trace once.
    pub fn newest(limit: usize, found: impl IntoIterator<Item = (TraceId, UnixNanos)>) -> Vec<(TraceId, UnixNanos)> {
        let mut newest = Newest::new(limit);
        found.into_iter().for_each(|(id, start)| newest.add(id, start));
        newest.finish()
    }

    /// The second half: what a search shows of them.
    pub fn summaries(
        &self,
        select: &TraceSelect,
        ids: &[(TraceId, UnixNanos)],
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<TraceSummary>>, ReadError> {
        let seen = self.seen();
        let mut coverage = covered(&seen.views);
        let value = summaries(&seen, select, ids, budget, &mut coverage)?;
        Ok(Covered { value, coverage })
    }

    /// The operations that may have a span in the range.
    pub fn names(&self, scope: &Scope, range: TimeRange, budget: &dyn Budget) -> Result<Covered<Operations>, ReadError> {
        let (own, seen) = (scope.one()?, self.seen());
        let select = |hidden| TagSelect { own, range, hidden, budget };
        let (mut names, mut coverage) = (Operations::new(), covered(&seen.views));
        for (own, hidden) in tags(&seen) {
            budget.check()?;
            own.add_operations(&select(hidden), &mut names, &mut |error| note(&mut coverage, error))?;
        }
        Ok(Covered { value: names, coverage })
    }
}
