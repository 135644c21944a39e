//! Spans of all partitions: the store's own reader over collected views. A search takes two looks: which traces, then what
//! they are; a trace's spans may lie in blocks and in heads, and no part of it tells of the others.

use std::sync::Arc;

use weir_blocks::view::Fixed;
use weir_heads::request::{SearchQuery, TRACES_MAX};
use weir_heads::{HeadQuery, Row};
use weir_model::id::TraceId;
use weir_model::scope::Scope;
use weir_model::select::{Budget, Covered, NoBudget, ReadError, Trace, TraceReader, TraceSelect, TraceSummary};
use weir_model::span::{SpanKind, Value};
use weir_model::time::TimeRange;
use weir_traces::TracesReader;

use super::collect::ViewRequest;
use super::rows::HeldRows;
use super::start::Shared;

pub(super) struct FanOutTraces {
    shared: Arc<Shared>,
}

impl FanOutTraces {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn read<T>(
        &self,
        scope: &Scope,
        query: &HeadQuery,
        budget: &dyn Budget,
        read: impl Fn(&TracesReader, HeldRows<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.shared.retrying(&self.shared.traces, || {
            let request = ViewRequest { tenant: scope.one()?, query: query.clone(), only: None };
            let collected = self.shared.collect_views(&self.shared.traces, &request, budget)?;
            let reader = TracesReader::new(
                Arc::new(Fixed::new(collected.views).within(collected.horizon)),
                Arc::clone(&self.shared.clock),
            );
            read(&reader, collected.rows)
        })
    }
}

impl TraceReader for FanOutTraces {
    fn trace(&self, scope: &Scope, id: TraceId) -> Result<Covered<Option<Trace>>, ReadError> {
        self.read(scope, &HeadQuery::Traces { ids: vec![id] }, &NoBudget, |reader, _| reader.trace(scope, id))
    }

    fn search(&self, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<TraceSummary>>, ReadError> {
        let query = HeadQuery::Search(SearchQuery::new(select));
        let Covered { value: found, mut coverage } = self.read(&select.scope, &query, budget, |reader, mut rows| {
            let Covered { value, coverage } = reader.candidates(select, budget)?;
            let unsealed = rows.drain().filter_map(|row| match row {
                Row::Trace { id, start } => Some((id, start)),
                Row::Count { .. } | Row::Template { .. } | Row::Line { .. } => None,
            });
            Ok(Covered { value: TracesReader::newest(select.limit, value.into_iter().chain(unsealed)), coverage })
        })?;
        let mut summaries = Vec::with_capacity(found.len());
        for some in found.chunks(TRACES_MAX) {
            let query = HeadQuery::Traces { ids: some.iter().map(|(id, _)| *id).collect() };
            let part = self.read(&select.scope, &query, budget, |reader, _| reader.summaries(select, some, budget))?;
            summaries.extend(part.value);
            part.coverage.missing.into_iter().for_each(|sentence| coverage.miss(sentence));
        }
        summaries.sort_by_key(|summary| (std::cmp::Reverse(summary.newest_match), summary.id));
        Ok(Covered { value: summaries, coverage })
    }

    fn services(&self, scope: &Scope, range: TimeRange, budget: &dyn Budget) -> Result<Covered<Vec<String>>, ReadError> {
        self.read(scope, &HeadQuery::Operations(range.into()), budget, |reader, _| reader.services(scope, range, budget))
    }

    fn operations(
        &self,
        scope: &Scope,
        service: Option<&str>,
        range: TimeRange,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, SpanKind)>>, ReadError> {
        let query = HeadQuery::Operations(range.into());
        self.read(scope, &query, budget, |reader, _| reader.operations(scope, service, range, budget))
    }

    fn attribute_values(
        &self,
        scope: &Scope,
        name: &str,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<Value>>, ReadError> {
        let query = HeadQuery::AttributeValues { range: range.into(), name: name.to_owned(), limit };
        self.read(scope, &query, budget, |reader, _| reader.attribute_values(scope, name, range, limit, budget))
    }

    fn attribute_names(
        &self,
        scope: &Scope,
        range: TimeRange,
        limit: usize,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, String)>>, ReadError> {
        let query = HeadQuery::AttributeNames(range.into());
        self.read(scope, &query, budget, |reader, _| reader.attribute_names(scope, range, limit, budget))
    }
}
