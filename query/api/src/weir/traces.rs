//! `traces/{id}`, `traces?…`, `traces/services` and `traces/operations`.

use std::collections::HashSet;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value as Json, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::id::{SpanId, TraceId};
use weir_model::scope::Scope;
use weir_model::select::{Trace, TraceSelect, TraceSummary};
use weir_model::span::{Attributes, Origin, Span};

use super::super::Api;
use super::super::error::ApiError;
use super::super::params::{HOUR, Params};
use super::super::trace_search::read_trace;
use super::super::{logfmt, values};
use super::{WeirError, answer};
use crate::call::Call;

/// Traces of one answer at most.
const LIMIT_MAX: usize = 1000;

/// Traces that pages may skip: all of them are read again for each.
const OFFSET_MAX: usize = 10_000;

/// A trace by id; 404 with the coverage when no span of it has been seen.
pub(super) async fn trace(api: Call, granted: Granted, Path(id): Path<String>) -> Result<Response, WeirError> {
    let id: TraceId = id.parse().map_err(|error| format!("{error}"))?;
    let work = move |api: &Api, budget: &RequestBudget| {
        let (found, _) = read_trace(&*api.traces, &granted.scope, id, budget)?;
        let Some(trace) = found.value else {
            let failure = ApiError::new(StatusCode::NOT_FOUND, format!("no span of trace {id} has been seen"));
            return Err(WeirError::with_coverage(failure, found.coverage));
        };
        answer(budget, &json!({"trace": shape(&trace)}), found.coverage)
    };
    api.answer(work).await
}

fn shape(trace: &Trace) -> Json {
    let spans = || trace.batches.iter().flat_map(|batch| batch.spans.iter().map(move |span| (&batch.origin, span)));
    let seen: HashSet<SpanId> = spans().map(|(_, span)| span.span_id).collect();
    let mut ordered: Vec<_> = spans().collect();
    ordered.sort_by_key(|(_, span)| (span.start, span.span_id));
    let spans: Vec<Json> = ordered.into_iter().map(|(origin, span)| span_shape(origin, span, &seen)).collect();
    json!({"id": trace.id, "state": trace.state, "revision": trace.revision, "spans": spans})
}

fn span_shape(origin: &Origin, span: &Span, seen: &HashSet<SpanId>) -> Json {
    let events: Vec<Json> = span
        .events
        .iter()
        .map(|event| json!({"t": event.timestamp.to_string(), "name": event.name, "attributes": attributes(&event.attributes)}))
        .collect();
    let links: Vec<Json> = span
        .links
        .iter()
        .map(|link| json!({"trace_id": link.trace_id, "span_id": link.span_id, "attributes": attributes(&link.attributes)}))
        .collect();
    json!({
        "id": span.span_id,
        "parent_id": if span.parent_id.is_none() { String::new() } else { span.parent_id.to_string() },
        "service": origin.service(),
        "name": span.name,
        "kind": span.kind,
        "start": span.start.to_string(),
        "duration": span.end.saturating_sub(span.start).to_string(),
        "status": span.status,
        "status_message": span.status_message,
        "attributes": attributes(&span.attributes),
        "resource": attributes(&origin.resource),
        "scope": format!("{} {}", origin.scope_name, origin.scope_version).trim(),
        "events": events,
        "links": links,
        "orphan": !span.parent_id.is_none() && !seen.contains(&span.parent_id),
    })
}

fn attributes(attributes: &Attributes) -> Map<String, Json> {
    attributes.iter().map(|(name, value)| (name.clone(), values::to_json(value))).collect()
}

/// Newest traces that pass.
pub(super) async fn search(api: Call, granted: Granted, params: Params) -> Result<Response, WeirError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let limit = params.number("limit", 20)?;
        if limit > LIMIT_MAX {
            return Err(format!("parameter limit: at most {LIMIT_MAX} traces").into());
        }
        let offset = params.number("offset", 0)?;
        if offset > OFFSET_MAX {
            return Err(format!("parameter offset: at most {OFFSET_MAX} traces; say an earlier end instead").into());
        }
        let mut tags = Vec::new();
        for text in params.all("tags") {
            tags.extend(logfmt::tags("tags", text)?);
        }
        let select = TraceSelect {
            scope: Scope::clone(&granted.scope),
            range: params.range((api.clock)(), HOUR)?,
            service: params.get("service").map(str::to_owned),
            operation: params.get("operation").map(str::to_owned),
            attributes: tags,
            duration_min: params.duration("min_duration")?,
            duration_max: params.duration("max_duration")?,
            limit: offset + limit + 1,
        };
        let found = api.traces.search(&select, budget)?;
        let next = (limit > 0 && found.value.len() > offset + limit).then_some(offset + limit);
        let traces: Vec<Json> = found.value.iter().skip(offset).take(limit).map(summary).collect();
        answer(budget, &json!({"traces": traces, "next": next}), found.coverage)
    };
    api.answer(work).await
}

fn summary(one: &TraceSummary) -> Json {
    json!({
        "id": one.id,
        "root_service": one.root_service,
        "root_name": one.root_name,
        "has_root": one.has_root,
        "start": one.start.to_string(),
        "duration": one.duration.to_string(),
        "spans": one.spans,
        "errors": one.errors,
        "matched": one.matched,
    })
}

/// Services that sent spans.
pub(super) async fn services(api: Call, granted: Granted, params: Params) -> Result<Response, WeirError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), HOUR)?;
        let found = api.traces.services(&granted.scope, range, budget)?;
        answer(budget, &json!({"services": found.value}), found.coverage)
    };
    api.answer(work).await
}

/// Operations of a service.
pub(super) async fn operations(api: Call, granted: Granted, params: Params) -> Result<Response, WeirError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), HOUR)?;
        let found = api.traces.operations(&granted.scope, Some(params.need("service")?), range, budget)?;
        let operations: Vec<Json> = found.value.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
        answer(budget, &json!({"operations": operations}), found.coverage)
    };
    api.answer(work).await
}
