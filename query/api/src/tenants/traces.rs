//! Traces of several tenants.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::id::TraceId;
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, Covered, ReadError, Trace, TraceReader, TraceSelect, TraceState, TraceSummary};
use weir_model::span::{SpanKind, Value};
use weir_model::time::TimeRange;

use super::{each, together};

pub(crate) struct TenantsTraces(pub(crate) Arc<dyn TraceReader>);

impl TenantsTraces {
    /// The lists of all tenants as one, ascending, without repetitions.
    fn listed<T: PartialEq>(
        &self,
        scope: &Scope,
        read: impl Fn(&dyn TraceReader, &Scope) -> Result<Covered<Vec<T>>, ReadError>,
        sort: impl FnOnce(&mut Vec<T>),
    ) -> Result<Covered<Vec<T>>, ReadError> {
        if scope.single().is_some() {
            return read(&*self.0, scope);
        }
        let mut all = together(each(scope, &[]).0, |_, scope| read(&*self.0, &scope))?;
        sort(&mut all.value);
        all.value.dedup();
        Ok(all)
    }
}

impl TraceReader for TenantsTraces {
    fn trace(&self, scope: &Scope, id: TraceId) -> Result<Covered<Option<Trace>>, ReadError> {
        if scope.single().is_some() {
            return self.0.trace(scope, id);
        }
        let (mut whole, mut coverage) = (None, Coverage::default());
        for (_, scope) in each(scope, &[]).0 {
            let found = self.0.trace(&scope, id)?;
            coverage.merge(found.coverage);
            whole = match (whole, found.value) {
                (Some(one), Some(other)) => Some(both(one, other)),
                (one, other) => one.or(other),
            };
        }
        Ok(Covered { value: whole, coverage })
    }

    fn search(&self, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<TraceSummary>>, ReadError> {
        budget.span(select.range)?;
        if select.scope.single().is_some() {
            return self.0.search(select, budget);
        }
        let found =
            together(each(&select.scope, &[]).0, |_, scope| self.0.search(&TraceSelect { scope, ..select.clone() }, budget))?;
        let mut traces: BTreeMap<TraceId, TraceSummary> = BTreeMap::new();
        for summary in found.value {
            match traces.remove(&summary.id) {
                Some(other) => traces.insert(summary.id, summary_of_both(other, summary)),
                None => traces.insert(summary.id, summary),
            };
        }
        let mut value: Vec<TraceSummary> = traces.into_values().collect();
        value.sort_by_key(|summary| (Reverse(summary.newest_match), summary.id));
        value.truncate(select.limit);
        Ok(Covered { value, coverage: found.coverage })
    }

    fn services(&self, scope: &Scope, range: TimeRange, budget: &dyn Budget) -> Result<Covered<Vec<String>>, ReadError> {
        self.listed(scope, |reader, scope| reader.services(scope, range, budget), |all| all.sort())
    }

    fn operations(
        &self,
        scope: &Scope,
        service: Option<&str>,
        range: TimeRange,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, SpanKind)>>, ReadError> {
        let read = |reader: &dyn TraceReader, scope: &Scope| reader.operations(scope, service, range, budget);
        self.listed(scope, read, |all| all.sort_by(|(one, own), (other, kind)| (one, *own as u8).cmp(&(other, *kind as u8))))
    }

    fn attribute_values(
        &self,
        scope: &Scope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<Value>>, ReadError> {
        budget.span(range)?;
        let read = |reader: &dyn TraceReader, scope: &Scope| reader.attribute_values(scope, name, range, limit, budget);
        // "1" and 1 read the same and are two values.
        let key = |value: &Value| (value.text().into_owned(), format!("{value:?}"));
        let mut all = self.listed(scope, read, |all| all.sort_by_cached_key(key))?;
        all.value.truncate(limit);
        Ok(all)
    }

    fn attribute_names(
        &self,
        scope: &Scope,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, String)>>, ReadError> {
        budget.span(range)?;
        let read = |reader: &dyn TraceReader, scope: &Scope| reader.attribute_names(scope, range, limit, budget);
        let mut all = self.listed(scope, read, |all| all.sort())?;
        all.value.truncate(limit);
        Ok(all)
    }
}

/// A trace of two tenants: as far as the one that is less far.
fn both(mut one: Trace, other: Trace) -> Trace {
    let rank = |state| match state {
        TraceState::Open => 0,
        TraceState::Reopened => 1,
        TraceState::Quiescent => 2,
        TraceState::Sealed => 3,
    };
    one.state = if rank(other.state) < rank(one.state) { other.state } else { one.state };
    one.revision = one.revision.saturating_add(other.revision);
    one.batches.extend(other.batches);
    one
}

fn summary_of_both(one: TraceSummary, other: TraceSummary) -> TraceSummary {
    let end = |summary: &TraceSummary| summary.start.saturating_add(summary.duration);
    let (start, end) = (one.start.min(other.start), end(&one).max(end(&other)));
    let (spans, errors, matched) = (one.spans + other.spans, one.errors + other.errors, one.matched + other.matched);
    let newest_match = one.newest_match.max(other.newest_match);
    // Its root, or else its earliest span.
    let top = if (Reverse(one.has_root), one.start) <= (Reverse(other.has_root), other.start) { one } else { other };
    TraceSummary { start, duration: end.saturating_sub(start), spans, errors, matched, newest_match, ..top }
}
