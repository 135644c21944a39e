//! `search`, tag names and tag values.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value as Json_, json};
use weir_model::resource::TENANT_DEFAULT;
use weir_model::select::{Covered, Trace, TraceSelect, TraceSummary};
use weir_model::span::Value;
use weir_model::time::{TimeRange, parse_duration};

use super::super::find::{Condition, find, matching};
use super::super::params::{HOUR, Params};
use super::super::{Api, covered, values};
use super::{Plain, shape, traceql};

/// Traces of one answer at most.
const LIMIT_MAX: usize = 1000;

/// Spans of one trace that an answer shows.
const SPANS_DEFAULT: usize = 3;

/// Names or values of one answer.
const NAMES_MAX: usize = 10_000;

/// By `q` (TraceQL) or by `tags`, `minDuration` and `maxDuration`.
pub(super) async fn search(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Plain> {
    let limit = params.number("limit", 20)?;
    if limit > LIMIT_MAX {
        return Err(format!("parameter limit: at most {LIMIT_MAX} traces").into());
    }
    let spans_max = params.number("spss", SPANS_DEFAULT)?;
    let mut select = TraceSelect {
        tenant: TENANT_DEFAULT.into(),
        range: params.range((api.clock)(), HOUR)?,
        service: None,
        operation: None,
        attributes: Vec::new(),
        duration_min: None,
        duration_max: None,
        limit,
    };
    let conditions = match params.get("q") {
        Some(q) => traceql::parse(q)?.into_select(&mut select),
        None => {
            by_tags(&params, &mut select)?;
            Vec::new()
        }
    };
    let found = api
        .run(move |api, budget| {
            let found = find(&*api.traces, &select, &conditions, budget)?;
            let traces: Vec<Json_> = found
                .value
                .iter()
                .map(|(summary, trace)| summary_shape(summary, trace, &select, &conditions, spans_max))
                .collect();
            Ok::<_, weir_model::select::ReadError>(Covered { value: traces, coverage: found.coverage })
        })
        .await?;
    let inspected = found.value.len();
    let body = json!({"traces": found.value, "metrics": {"inspectedTraces": inspected, "completedJobs": 1, "totalJobs": 1}});
    Ok(covered::with_header(&found.coverage, Json(body)))
}

fn by_tags(params: &Params, select: &mut TraceSelect) -> Result<(), String> {
    let duration = |name: &str| {
        let parse = |text: &str| parse_duration(text).map_err(|error| format!("parameter {name}: {error}"));
        params.get(name).map(parse).transpose()
    };
    select.duration_min = duration("minDuration")?;
    select.duration_max = duration("maxDuration")?;
    for tag in params.get("tags").unwrap_or_default().split_whitespace() {
        let (name, value) = tag.split_once('=').ok_or_else(|| format!("parameter tags: {tag:?} reads name=value"))?;
        let value = value.trim_matches('"').to_owned();
        match name {
            "service.name" => select.service = Some(value),
            "name" => select.operation = Some(value),
            _ => select.attributes.push((name.to_owned(), value)),
        }
    }
    Ok(())
}

fn summary_shape(one: &TraceSummary, trace: &Trace, select: &TraceSelect, conditions: &[Condition], spans_max: usize) -> Json_ {
    let mut services: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for batch in &trace.batches {
        let counts = services.entry(batch.origin.service()).or_default();
        counts.0 += batch.spans.len() as u32;
        counts.1 += batch.spans.iter().filter(|span| span.status == weir_model::span::StatusCode::Error).count() as u32;
    }
    let stats: serde_json::Map<String, Json_> = services
        .into_iter()
        .map(|(service, (spans, errors))| (service.to_owned(), json!({"spanCount": spans, "errorCount": errors})))
        .collect();
    let spans: Vec<Json_> = matching(trace, select, conditions)
        .take(spans_max)
        .map(|(_, span)| {
            let duration = span.end.saturating_sub(span.start).max(0);
            json!({
                "spanID": span.span_id,
                "name": span.name,
                "startTimeUnixNano": span.start.to_string(),
                "durationNanos": duration.to_string(),
                "attributes": shape::attributes(&span.attributes),
            })
        })
        .collect();
    let set = json!({"spans": spans, "matched": one.matched});
    let root = if one.has_root { one.root_service.as_str() } else { "<root span not yet received>" };
    json!({
        "traceID": one.id,
        "rootServiceName": root,
        "rootTraceName": if one.has_root { one.root_name.as_str() } else { "" },
        "startTimeUnixNano": one.start.to_string(),
        "durationMs": one.duration / 1_000_000,
        "spanSet": set,
        "spanSets": [set],
        "serviceStats": stats,
    })
}

async fn names(api: &Arc<Api>, params: &Params) -> Result<Covered<Vec<(String, String)>>, Plain> {
    let range = params.range((api.clock)(), HOUR)?;
    Ok(api.run(move |api, _| api.traces.attribute_names(TENANT_DEFAULT, range, NAMES_MAX)).await?)
}

/// All names.
pub(super) async fn tags_v1(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Plain> {
    let found = names(&api, &params).await?;
    let mut all: Vec<&str> = found.value.iter().map(|(_, name)| name.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    Ok(covered::with_header(&found.coverage, Json(json!({"tagNames": all}))))
}

/// Names by scope.
pub(super) async fn tags_v2(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Plain> {
    let found = names(&api, &params).await?;
    let wanted = params.get("scope").unwrap_or("none");
    let mut scopes = Vec::new();
    for scope in ["resource", "span"] {
        let own: Vec<&str> = found.value.iter().filter(|(own, _)| own == scope).map(|(_, name)| name.as_str()).collect();
        if wanted == "none" || wanted == scope {
            scopes.push(json!({"name": scope, "tags": own}));
        }
    }
    if wanted == "none" || wanted == "intrinsic" {
        scopes.push(json!({"name": "intrinsic", "tags": traceql::INTRINSICS}));
    }
    Ok(covered::with_header(&found.coverage, Json(json!({"scopes": scopes}))))
}

async fn tag_values(api: &Arc<Api>, tag: &str, params: &Params) -> Result<Covered<Vec<Value>>, Plain> {
    let range = params.range((api.clock)(), HOUR)?;
    let texts = |texts: Vec<String>| texts.into_iter().map(Value::String).collect();
    let plain = ["resource.", "span.", "."].into_iter().find_map(|scope| tag.strip_prefix(scope)).unwrap_or(tag).to_owned();
    Ok(match (tag, plain.as_str()) {
        ("name", _) => {
            let found = api.run(move |api, _| operations(api, range)).await?;
            Covered { value: texts(found.value), coverage: found.coverage }
        }
        ("status", _) => constant(&["error", "ok", "unset"]),
        ("kind", _) => constant(&["unspecified", "internal", "server", "client", "producer", "consumer"]),
        (_, "service.name") => {
            let found = api.run(move |api, _| api.traces.services(TENANT_DEFAULT, range)).await?;
            Covered { value: texts(found.value), coverage: found.coverage }
        }
        _ => api.run(move |api, _| api.traces.attribute_values(TENANT_DEFAULT, &plain, range, NAMES_MAX)).await?,
    })
}

fn constant(values: &[&str]) -> Covered<Vec<Value>> {
    Covered { value: values.iter().map(|value| Value::String((*value).into())).collect(), ..Covered::default() }
}

/// Span names of all services, ascending.
fn operations(api: &Api, range: TimeRange) -> Result<Covered<Vec<String>>, weir_model::select::ReadError> {
    let services = api.traces.services(TENANT_DEFAULT, range)?;
    let mut all = Covered { value: Vec::new(), coverage: services.coverage };
    for service in &services.value {
        let found = api.traces.operations(TENANT_DEFAULT, service, range)?;
        all.value.extend(found.value.into_iter().map(|(name, _)| name));
        all.coverage.merge(found.coverage);
    }
    all.value.sort_unstable();
    all.value.dedup();
    all.value.truncate(NAMES_MAX);
    Ok(all)
}

/// Values as texts.
pub(super) async fn values_v1(State(api): State<Arc<Api>>, Path(tag): Path<String>, params: Params) -> Result<Response, Plain> {
    let found = tag_values(&api, &tag, &params).await?;
    let texts: Vec<String> = found.value.iter().map(values::to_text).collect();
    Ok(covered::with_header(&found.coverage, Json(json!({"tagValues": texts}))))
}

/// Values with their types.
pub(super) async fn values_v2(State(api): State<Arc<Api>>, Path(tag): Path<String>, params: Params) -> Result<Response, Plain> {
    let found = tag_values(&api, &tag, &params).await?;
    let typed = |value: &Value| {
        let kind = match value {
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Double(_) => "float",
            Value::String(_) if tag == "status" || tag == "kind" => "keyword",
            Value::String(_) | Value::Json(_) | Value::Bytes(_) => "string",
        };
        json!({"type": kind, "value": values::to_text(value)})
    };
    let values: Vec<Json_> = found.value.iter().map(typed).collect();
    Ok(covered::with_header(&found.coverage, Json(json!({"tagValues": values}))))
}
