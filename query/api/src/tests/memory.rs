//! In-memory traces and metrics.

use weir_model::id::{SpanId, TraceId};
use weir_model::metric::Family;
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, Coverage, Covered, MetricReader, MetricSelect, ReadError, Series, SeriesCursor, SeriesList, Trace, TraceReader,
    TraceSelect, TraceState, TraceSummary,
};
use weir_model::span::{Origin, ScopeSpans, Span, SpanEvent, SpanKind, StatusCode, Value};
use weir_model::time::{SECOND, TimeRange};

#[derive(Default)]
pub(super) struct MemoryMetrics(pub(super) Vec<Series>);

impl MetricReader for MemoryMetrics {
    fn cursor<'a>(&'a self, select: &MetricSelect, _: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        let passes = |series: &&Series| select.matchers.iter().all(|matcher| matcher.matches_labels(&series.labels));
        let mut value: Vec<Series> = self.0.iter().filter(passes).cloned().collect();
        for series in &mut value {
            let from = series.timestamps.partition_point(|at| *at < select.start_ms);
            series.timestamps.drain(..from);
            series.values.drain(..from);
        }
        Ok(Box::new(SeriesList::new(Covered { value, coverage: Coverage::default() })))
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<weir_model::label::Labels>>, ReadError> {
        let found = self.select(select, budget)?;
        Ok(Covered { value: found.value.into_iter().map(|series| series.labels).collect(), coverage: found.coverage })
    }

    fn families(&self, _: &Scope, _: &dyn Budget) -> Result<Covered<Vec<Family>>, ReadError> {
        Ok(Covered::default())
    }
}

#[derive(Default)]
pub(crate) struct MemoryTraces(pub(crate) Vec<Trace>);

/// Trace 1: `front` calls `cart`, which fails after 250 ms. Trace 2: a span of `cart` whose parent is missing.
pub(crate) fn two_traces() -> MemoryTraces {
    let origin = |service: &str| Origin {
        resource: vec![("service.name".into(), Value::String(service.into())), ("k8s.pod".into(), Value::String("p".into()))],
        scope_name: "lib".into(),
        scope_version: "1".into(),
        scope_attributes: Vec::new(),
    };
    let span = |trace: u8, id: u8, parent: u8, name: &str, start_ms: i64, duration_ms: i64| Span {
        trace_id: TraceId([trace; 16]),
        span_id: SpanId([id; 8]),
        parent_id: SpanId([parent; 8]),
        name: name.into(),
        kind: SpanKind::Server,
        start: SECOND + start_ms * 1_000_000,
        end: SECOND + (start_ms + duration_ms) * 1_000_000,
        ..Span::default()
    };
    let mut failed = span(1, 3, 2, "add", 10, 250);
    failed.status = StatusCode::Error;
    failed.status_message = "no stock".into();
    failed.attributes = vec![("http.status_code".into(), Value::Int(500)), ("item".into(), Value::String("mug".into()))];
    failed.events =
        vec![SpanEvent { timestamp: 2 * SECOND, name: "retry".into(), attributes: vec![("n".into(), Value::Int(2))] }];
    let batch = |service: &str, span: Span| ScopeSpans { origin: origin(service), spans: vec![span] };
    let trace = |id: u8, batches| Trace { id: TraceId([id; 16]), state: TraceState::Quiescent, revision: 0, batches };
    MemoryTraces(vec![
        trace(1, vec![batch("front", span(1, 2, 0, "GET /cart", 0, 300)), batch("cart", failed)]),
        trace(2, vec![batch("cart", span(2, 5, 4, "add", 20, 5))]),
    ])
}

/// None when no span passes.
fn summary(trace: &Trace, select: &TraceSelect) -> Option<TraceSummary> {
    let spans: Vec<(&Origin, &Span)> =
        trace.batches.iter().flat_map(|batch| batch.spans.iter().map(move |span| (&batch.origin, span))).collect();
    let (origin, first) = spans[0];
    let (start, end) = (first.start, spans.iter().map(|(_, span)| span.end).max().unwrap());
    let matched = || spans.iter().filter(|span| select.passes(*span));
    let newest_match = matched().map(|(_, span)| span.start).max()?;
    Some(TraceSummary {
        id: trace.id,
        root_service: origin.service().into(),
        root_name: first.name.clone(),
        has_root: first.parent_id.is_none(),
        start,
        duration: end - start,
        spans: spans.len() as u32,
        errors: spans.iter().filter(|(_, span)| span.status == StatusCode::Error).count() as u32,
        matched: matched().count() as u32,
        newest_match,
    })
}

impl TraceReader for MemoryTraces {
    fn trace(&self, _: &Scope, id: TraceId) -> Result<Covered<Option<Trace>>, ReadError> {
        Ok(Covered { value: self.0.iter().find(|trace| trace.id == id).cloned(), coverage: Coverage::default() })
    }

    fn search(&self, select: &TraceSelect, budget: &dyn Budget) -> Result<Covered<Vec<TraceSummary>>, ReadError> {
        budget.check()?;
        let mut value: Vec<TraceSummary> = self.0.iter().filter_map(|trace| summary(trace, select)).collect();
        value.sort_by_key(|summary| (std::cmp::Reverse(summary.newest_match), summary.id));
        value.truncate(select.limit);
        Ok(Covered { value, coverage: Coverage::default() })
    }

    fn services(&self, _: &Scope, _range: TimeRange, budget: &dyn Budget) -> Result<Covered<Vec<String>>, ReadError> {
        budget.check()?;
        Ok(Covered { value: vec!["cart".into(), "front".into()], coverage: Coverage::default() })
    }

    fn operations(
        &self,
        _: &Scope,
        service: Option<&str>,
        _range: TimeRange,
        budget: &dyn Budget,
    ) -> Result<Covered<Vec<(String, SpanKind)>>, ReadError> {
        budget.check()?;
        let all = [("front", "GET /cart"), ("cart", "add")].into_iter();
        let own = all.filter(|(of, _)| service.is_none_or(|service| *of == service));
        Ok(Covered { value: own.map(|(_, name)| (name.into(), SpanKind::Server)).collect(), coverage: Coverage::default() })
    }

    fn attribute_values(
        &self,
        _: &Scope,
        name: &str,
        _: TimeRange,
        _: usize,
        _: &dyn Budget,
    ) -> Result<Covered<Vec<Value>>, ReadError> {
        let value = if name == "http.status_code" { vec![Value::Int(500)] } else { Vec::new() };
        Ok(Covered { value, coverage: Coverage::default() })
    }

    fn attribute_names(
        &self,
        _: &Scope,
        _: TimeRange,
        _: usize,
        _: &dyn Budget,
    ) -> Result<Covered<Vec<(String, String)>>, ReadError> {
        let names = [("resource", "k8s.pod"), ("resource", "service.name"), ("span", "http.status_code")];
        Ok(Covered {
            value: names.map(|(scope, name)| (scope.to_owned(), name.to_owned())).into(),
            coverage: Coverage::default(),
        })
    }
}
