//! What queries see of traces: each put together from all heads and blocks, each span once. Called by the query service.
//!
//! A block or group that cannot be read does not fail a query: what is missing is said in its coverage.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use weir_model::id::TraceId;
use weir_model::select::{Budget, Coverage, Covered, ReadError, Trace, TraceReader, TraceSelect, TraceSummary};
use weir_model::span::{ScopeSpans, SpanKind, SpanRef, StatusCode, Value};
use weir_model::time::{TimeRange, UnixNanos};

use super::block::TracesBlock;
use super::content::{OriginSpan, unique};
use super::schema::KINDS;
use super::search::BlockSearch;
use super::state::{Arrival, is_complete, state};
use super::tags::{Values, block_values};
use super::{Clock, TracesEngine};
use weir_blocks::StoreError;
use weir_blocks::view::{PartitionView, Views};

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

/// A trace out of every view, spans ascending by start.
fn load(views: &[PartitionView<TracesEngine>], tenant: &str, id: TraceId, coverage: &mut Coverage) -> Found {
    let mut found = Found::default();
    for view in views {
        for block in view.blocks.iter().map(|view| &*view.block).filter(|block| block.may_hold(tenant, id)) {
            if let Err(error) = load_block(block, tenant, id, &mut found, coverage) {
                note(coverage, &error);
            }
        }
        for trace in view.heads.iter().filter_map(|head| head.trace(tenant, id)) {
            found.heads.push(Arrival { complete: trace.is_complete(), ..trace.arrival });
            found.spans.extend(trace.spans);
        }
    }
    unique(&mut found.spans);
    found.spans.sort_by_key(|own| own.span().start());
    found
}

fn load_block(
    block: &TracesBlock,
    tenant: &str,
    id: TraceId,
    found: &mut Found,
    coverage: &mut Coverage,
) -> Result<(), StoreError> {
    let table = block.table()?;
    let mut segments = table.find(tenant, id);
    found.blocks.extend(table.arrivals.get(segments.clone()).and_then(|arrivals| arrivals.first()));
    while segments.start < segments.end {
        let at = block.groups().partition_point(|group| group.segments.end <= segments.start);
        let Some(entry) = block.groups().get(at) else { break };
        let last = segments.end.min(entry.segments.end);
        match block.group(entry) {
            Ok(group) => (segments.start..last)
                .for_each(|segment| found.spans.extend(block.spans(&group, segment - entry.segments.start, id))),
            Err(error) => note(coverage, &error),
        }
        segments.start = last;
    }
    Ok(())
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
    let matched = || spans.iter().filter(|own| select.passes_row(&own.origin.origin, own.span()));
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

/// The newest traces that passed so far, by the newest span of each that did.
struct Newest {
    limit: usize,
    starts: HashMap<TraceId, UnixNanos>,
}

impl Newest {
    fn add(&mut self, id: TraceId, start: UnixNanos) {
        self.starts.entry(id).and_modify(|newest| *newest = (*newest).max(start)).or_insert(start);
    }

    /// A trace whose spans all start before this is not among the newest. Forgets those that fell out.
    fn floor(&mut self) -> UnixNanos {
        if self.limit == 0 || self.starts.len() < self.limit {
            return UnixNanos::MIN;
        }
        let mut starts: Vec<UnixNanos> = self.starts.values().copied().collect();
        starts.sort_unstable_by(|a, b| b.cmp(a));
        let floor = starts[self.limit - 1];
        self.starts.retain(|_, start| *start >= floor);
        floor
    }

    fn finish(self) -> Vec<(TraceId, UnixNanos)> {
        let mut found: Vec<(TraceId, UnixNanos)> = self.starts.into_iter().collect();
        found.sort_by_key(|(id, start)| (std::cmp::Reverse(*start), *id));
        found.truncate(self.limit);
        found
    }
}

fn search_block(
    search: &BlockSearch<'_>,
    block: &TracesBlock,
    select: &TraceSelect,
    budget: &dyn Budget,
    newest: &mut Newest,
    coverage: &mut Coverage,
) -> Result<(), ReadError> {
    let table = match block.table() {
        Ok(table) => table,
        Err(error) => {
            note(coverage, &error);
            return Ok(());
        }
    };
    let own = table.tenant(&select.tenant);
    let groups = block.groups().iter().filter(|entry| own.contains(&entry.segments.start) && search.may_hold(entry));
    let mut groups: Vec<_> = groups.collect();
    groups.sort_by_key(|entry| std::cmp::Reverse(entry.start_max));
    for entry in groups {
        if entry.start_max < newest.floor() {
            break;
        }
        budget.check()?;
        budget.spend(entry.spans)?;
        match block.group(entry) {
            Ok(group) => {
                for (segment, spans) in group.segments.iter().enumerate() {
                    let hits = spans.clone().filter(|at| search.passes(&group, *at)).map(|at| group.starts[at]);
                    hits.max().into_iter().for_each(|start| newest.add(table.ids[entry.segments.start + segment], start));
                }
            }
            Err(error) => note(coverage, &error),
        }
    }
    Ok(())
}

impl TraceReader for TracesReader {
    fn trace(&self, tenant: &str, id: TraceId) -> Result<Covered<Option<Trace>>, ReadError> {
        let views = self.views.views();
        let mut coverage = covered(&views);
        let found = load(&views, tenant, id, &mut coverage);
        if found.spans.is_empty() {
            return Ok(Covered { value: None, coverage });
        }
        let complete = is_complete(found.spans.iter().map(OriginSpan::ids));
        let (state, revision) = state(found.blocks, &found.heads, complete, (self.clock)());
        Ok(Covered { value: Some(Trace { id, state, revision, batches: batches(&found.spans) }), coverage })
    }

    fn search(&self, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<TraceSummary>>, ReadError> {
        let views = self.views.views();
        let Covered { value, mut coverage } = candidates(&views, select, budget)?;
        let value = summaries(&views, select, &value, budget, &mut coverage)?;
        Ok(Covered { value, coverage })
    }

    fn services(&self, tenant: &str, range: TimeRange) -> Result<Covered<Vec<String>>, ReadError> {
        let Covered { value, coverage } = self.names(tenant, range);
        let services: BTreeSet<String> = value.into_iter().map(|(service, ..)| service).collect();
        Ok(Covered { value: services.into_iter().collect(), coverage })
    }

    fn operations(&self, tenant: &str, service: &str, range: TimeRange) -> Result<Covered<Vec<(String, SpanKind)>>, ReadError> {
        let Covered { value, coverage } = self.names(tenant, range);
        let own = value.into_iter().filter(|(of, ..)| of == service);
        let operations = own.map(|(_, name, kind)| (name, KINDS.get(kind as usize).copied().unwrap_or_default()));
        Ok(Covered { value: operations.collect(), coverage })
    }

    fn attribute_values(
        &self,
        tenant: &str,
        name: &str,
        range: TimeRange,
        limit: usize,
    ) -> Result<Covered<Vec<Value>>, ReadError> {
        let views = self.views.views();
        let mut values = Values::new(limit);
        let mut coverage = covered(&views);
        for view in &views {
            for batch in view.heads.iter().flat_map(|head| head.batches(tenant)) {
                let own: Vec<SpanRef<'_>> = batch.spans.iter().filter(|span| range.contains(span.start())).collect();
                let attributes = own.iter().flat_map(|span| span.attributes());
                attributes.filter(|(own, _)| *own == name).for_each(|(_, value)| values.add(&value));
                let resource = batch.origin.origin.resource.iter().filter(|(own, _)| own == name);
                if !own.is_empty() {
                    resource.for_each(|(_, value)| values.add(&value.view()));
                }
            }
            for block in view.blocks.iter().map(|view| &view.block) {
                let seen =
                    block.attribute_names(tenant).any(|(_, own, seen)| own == name && range.overlaps(seen.first, seen.last));
                if seen && let Err(error) = block_values(block, tenant, name, range, &mut values, &mut coverage) {
                    note(&mut coverage, &error);
                }
            }
        }
        Ok(Covered { value: values.finish(), coverage })
    }

    fn attribute_names(&self, tenant: &str, range: TimeRange, limit: usize) -> Result<Covered<Vec<(String, String)>>, ReadError> {
        let views = self.views.views();
        let mut names: BTreeSet<(&'static str, String)> = BTreeSet::new();
        let scope = |resource: bool| if resource { "resource" } else { "span" };
        for view in &views {
            for batch in view.heads.iter().flat_map(|head| head.batches(tenant)) {
                let mut own: HashSet<(&'static str, &str)> = HashSet::new();
                for span in batch.spans.iter().filter(|span| range.contains(span.start())) {
                    own.extend(span.attributes().map(|(name, _)| ("span", name)));
                    own.extend(batch.origin.origin.resource.iter().map(|(name, _)| ("resource", name.as_str())));
                }
                names.extend(own.into_iter().map(|(scope, name)| (scope, name.to_owned())));
            }
            for block in view.blocks.iter().map(|view| &view.block) {
                let seen = block.attribute_names(tenant).filter(|(.., seen)| range.overlaps(seen.first, seen.last));
                names.extend(seen.map(|(resource, name, _)| (scope(resource), name.to_owned())));
            }
        }
        let names = names.into_iter().take(limit).map(|(scope, name)| (scope.to_owned(), name)).collect();
        Ok(Covered { value: names, coverage: covered(&views) })
    }
}

/// The newest traces that have a span that passes, by the start of the newest such span.
fn candidates(
    views: &[PartitionView<TracesEngine>],
    select: &TraceSelect,
    budget: &dyn Budget,
) -> Result<Covered<Vec<(TraceId, UnixNanos)>>, ReadError> {
    let mut coverage = covered(views);
    let mut newest = Newest { limit: select.limit, starts: HashMap::new() };
    for view in views {
        for head in &view.heads {
            for batch in head.batches(&select.tenant) {
                budget.spend(batch.spans.len() as u64)?;
                let hits = batch.spans.iter().filter(|span| select.passes_row(&batch.origin.origin, *span));
                hits.for_each(|span| newest.add(span.trace_id(), span.start()));
            }
        }
        for block in view.blocks.iter().rev() {
            budget.check()?;
            let reached = select.range.overlaps(block.summary.first, block.summary.last);
            let search = reached.then(|| BlockSearch::new(select, &block.block)).flatten();
            if let Some(search) = search {
                search_block(&search, &block.block, select, budget, &mut newest, &mut coverage)?;
            }
        }
    }
    Ok(Covered { value: newest.finish(), coverage })
}

fn summaries(
    views: &[PartitionView<TracesEngine>],
    select: &TraceSelect,
    ids: &[(TraceId, UnixNanos)],
    budget: &dyn Budget,
    coverage: &mut Coverage,
) -> Result<Vec<TraceSummary>, ReadError> {
    let mut summaries = Vec::with_capacity(ids.len());
    for (id, _) in ids {
        budget.check()?;
        let found = load(views, &select.tenant, *id, coverage);
        budget.spend(found.spans.len() as u64)?;
        summaries.extend(summary(select, *id, &found.spans));
    }
    summaries.sort_by_key(|summary| (std::cmp::Reverse(summary.newest_match), summary.id));
    Ok(summaries)
}

impl TracesReader {
    /// The first half of a search: which traces pass, with the start of the newest span that does; newest first.
    pub fn candidates(&self, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<(TraceId, UnixNanos)>>, ReadError> {
        candidates(&self.views.views(), select, budget)
    }

    /// The newest of what several partitions found, each trace once.
    pub fn newest(limit: usize, found: impl IntoIterator<Item = (TraceId, UnixNanos)>) -> Vec<(TraceId, UnixNanos)> {
        let mut newest = Newest { limit, starts: HashMap::new() };
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
        let views = self.views.views();
        let mut coverage = covered(&views);
        let value = summaries(&views, select, ids, budget, &mut coverage)?;
        Ok(Covered { value, coverage })
    }

    /// Service, name and kind of the operations that may have a span in the range, ascending. Blocks know when each was
    /// seen first and last, not whether it was in between.
    pub fn names(&self, tenant: &str, range: TimeRange) -> Covered<BTreeSet<(String, String, u8)>> {
        let views = self.views.views();
        let mut names = BTreeSet::new();
        for view in &views {
            for batch in view.heads.iter().flat_map(|head| head.batches(tenant)) {
                // Borrowed first: a batch has many spans and few operations.
                let own = batch.spans.iter().filter(|span| range.contains(span.start()));
                let own: HashSet<(&str, u8)> = own.map(|span| (span.name(), span.kind() as u8)).collect();
                let service = batch.origin.origin.service();
                names.extend(own.into_iter().map(|(name, kind)| (service.to_owned(), name.to_owned(), kind)));
            }
            for block in view.blocks.iter().map(|view| &view.block) {
                let seen = block.operations(tenant).filter(|(_, seen)| range.overlaps(seen.first, seen.last));
                let text = |id: u32| block.string(id).to_owned();
                names.extend(seen.map(|((_, service, name, kind), _)| (text(*service), text(*name), *kind)));
            }
        }
        Covered { value: names, coverage: covered(&views) }
    }
}
