//! Names and values of tags: from the index, or, with a filter `q`, from the spans of the newest traces that pass it.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value as Json, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, Covered, ReadError, TraceSelect};
use weir_model::span::{Origin, Span, Value};
use weir_model::time::TimeRange;

use super::super::params::{HOUR, Params};
use super::super::reply::Reply;
use super::super::trace_search::{Condition, find, matching};
use super::super::{Api, values};
use super::TempoError;
use super::search::LIMIT_MAX;
use crate::call::Call;

/// Names or values of one answer at most, whatever `limit` says.
const NAMES_MAX: usize = 10_000;

const SCOPES: [&str; 3] = ["resource", "span", "intrinsic"];

/// `limit`: 0 is as many as there may be.
fn limit_of(params: &Params) -> Result<usize, String> {
    let limit = params.number("limit", NAMES_MAX)?;
    Ok(if limit == 0 { NAMES_MAX } else { limit.min(NAMES_MAX) })
}

/// The filter, if it leaves anything out.
fn filter_of(params: &Params) -> Option<&str> {
    params.get("q").filter(|q| q.split_whitespace().collect::<String>() != "{}")
}

/// Shows every span that passes `q`, of the newest [`LIMIT_MAX`] traces that have one.
fn on_matching(
    (api, scope): (&Api, &Scope),
    q: &str,
    range: TimeRange,
    budget: &RequestBudget,
    mut visit: impl FnMut(&Origin, &Span) -> Result<(), ReadError>,
) -> Result<Coverage, TempoError> {
    let mut select = TraceSelect::any(scope, range, LIMIT_MAX);
    let conditions = Condition::all_of(weir_traceql::parse(q)?, &mut select);
    let ended = find(&*api.traces, &select, &conditions, budget, |_, trace| {
        matching(trace, &select, &conditions).try_for_each(|(origin, span)| visit(origin, span))
    })?;
    Ok(ended.coverage)
}

/// Names by scope, each ascending.
struct Names {
    by_scope: BTreeMap<&'static str, Vec<String>>,
    coverage: Coverage,
}

fn names(of: (&Api, &Scope), params: &Params, budget: &RequestBudget) -> Result<Names, TempoError> {
    let (api, granted) = of;
    let range = params.range((api.clock)(), HOUR)?;
    let scope = params.get("scope").unwrap_or("none");
    if scope != "none" && !SCOPES.contains(&scope) {
        return Err("parameter scope is none, resource, span or intrinsic".to_owned().into());
    }
    let limit = limit_of(params)?;
    let found = match filter_of(params) {
        None => api.traces.attribute_names(granted, range, NAMES_MAX, budget)?,
        Some(q) => names_on_matching(of, q, range, budget)?,
    };
    budget.reserve(found.value.iter().map(|(scope, name)| (64 + scope.len() + name.len()) as u64).sum())?;
    let mut by_scope = BTreeMap::new();
    for own in SCOPES.into_iter().filter(|own| scope == "none" || scope == *own) {
        let mut all: Vec<String> = match own {
            "intrinsic" => weir_traceql::INTRINSICS.map(str::to_owned).into(),
            _ => found.value.iter().filter(|(scope, _)| scope == own).map(|(_, name)| name.clone()).collect(),
        };
        all.truncate(limit);
        by_scope.insert(own, all);
    }
    Ok(Names { by_scope, coverage: found.coverage })
}

fn names_on_matching(
    of: (&Api, &Scope),
    q: &str,
    range: TimeRange,
    budget: &RequestBudget,
) -> Result<Covered<Vec<(String, String)>>, TempoError> {
    let mut found = BTreeSet::new();
    let coverage = on_matching(of, q, range, budget, |origin, span| {
        for (scope, attributes) in [("resource", &origin.resource), ("span", &span.attributes)] {
            for (name, _) in attributes {
                if found.insert((scope.to_owned(), name.clone())) {
                    budget.reserve(64 + name.len() as u64)?;
                }
            }
        }
        Ok(())
    })?;
    Ok(Covered { value: found.into_iter().collect(), coverage })
}

/// All names; intrinsics only when the scope asks for them.
pub(super) async fn names_v1(api: Call, granted: Granted, params: Params) -> Result<Response, TempoError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let Names { mut by_scope, coverage } = names((api, &granted.scope), &params, budget)?;
        if params.get("scope") != Some("intrinsic") {
            by_scope.remove("intrinsic");
        }
        let all: BTreeSet<&String> = by_scope.values().flatten().collect();
        let all: Vec<&String> = all.into_iter().take(limit_of(&params)?).collect();
        Ok(Reply::json(budget, &json!({"tagNames": all}), Some(coverage))?)
    };
    api.answer(work).await
}

/// Names by scope.
pub(super) async fn names_v2(api: Call, granted: Granted, params: Params) -> Result<Response, TempoError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let Names { by_scope, coverage } = names((api, &granted.scope), &params, budget)?;
        let shown = SCOPES.into_iter().filter_map(|scope| Some((scope, by_scope.get(scope)?)));
        let scopes: Vec<Json> = shown.map(|(scope, tags)| json!({"name": scope, "tags": tags})).collect();
        Ok(Reply::json(budget, &json!({"scopes": scopes}), Some(coverage))?)
    };
    api.answer(work).await
}

fn tag_values(of: (&Api, &Scope), tag: &str, params: &Params, budget: &RequestBudget) -> Result<Covered<Vec<Value>>, TempoError> {
    let (range, limit) = (params.range((of.0.clock)(), HOUR)?, limit_of(params)?);
    let mut found = match filter_of(params) {
        None => all_values(of, tag, range, budget)?,
        Some(q) => values_on_matching(of, tag, q, range, budget)?,
    };
    let size = |value: &Value| (size_of::<Value>() + values::value_bytes(value)) as u64;
    budget.reserve(found.value.iter().map(size).sum::<u64>().saturating_mul(2))?;
    found.value.truncate(limit);
    Ok(found)
}

/// A tag as Tempo spells it: `resource.x`, `span.x`, `.x` or `x`, as its scope ("" for any) and name.
fn scoped(tag: &str) -> (&str, &str) {
    let scopes = [("resource", "resource."), ("span", "span."), ("", ".")];
    let found = scopes.into_iter().find_map(|(scope, prefix)| Some((scope, tag.strip_prefix(prefix)?)));
    found.unwrap_or(("", tag))
}

fn all_values(
    (api, scope): (&Api, &Scope),
    tag: &str,
    range: TimeRange,
    budget: &RequestBudget,
) -> Result<Covered<Vec<Value>>, ReadError> {
    let texts = |found: Covered<Vec<String>>| Covered {
        value: found.value.into_iter().map(Value::String).collect(),
        coverage: found.coverage,
    };
    match (tag, scoped(tag).1) {
        ("name", _) => operations((api, scope), range, budget).map(texts),
        ("status", _) => Ok(constant(&["error", "ok", "unset"])),
        ("kind", _) => Ok(constant(&["unspecified", "internal", "server", "client", "producer", "consumer"])),
        (_, "service.name") => api.traces.services(scope, range, budget).map(texts),
        (_, name) => api.traces.attribute_values(scope, name, range, NAMES_MAX, budget),
    }
}

fn constant(values: &[&str]) -> Covered<Vec<Value>> {
    Covered { value: values.iter().map(|value| Value::String((*value).into())).collect(), ..Covered::default() }
}

/// Span names of all services, ascending.
fn operations((api, scope): (&Api, &Scope), range: TimeRange, budget: &RequestBudget) -> Result<Covered<Vec<String>>, ReadError> {
    let Covered { value, coverage } = api.traces.operations(scope, None, range, budget)?;
    let mut names: Vec<String> = value.into_iter().map(|(name, _)| name).collect();
    names.dedup();
    names.truncate(NAMES_MAX);
    Ok(Covered { value: names, coverage })
}

fn values_on_matching(
    of: (&Api, &Scope),
    tag: &str,
    q: &str,
    range: TimeRange,
    budget: &RequestBudget,
) -> Result<Covered<Vec<Value>>, TempoError> {
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    let coverage = on_matching(of, q, range, budget, |origin, span| {
        for value in values_of(tag, origin, span) {
            let text = value.text().into_owned();
            let bytes = 128 + 2 * text.len() as u64;
            if found.len() < NAMES_MAX && found.insert(text, value).is_none() {
                budget.reserve(bytes)?;
            }
        }
        Ok(())
    })?;
    Ok(Covered { value: found.into_values().collect(), coverage })
}

fn values_of(tag: &str, origin: &Origin, span: &Span) -> Vec<Value> {
    let text = |text: &str| vec![Value::String(text.to_owned())];
    let (scope, name) = scoped(tag);
    match (tag, name) {
        ("name", _) => text(&span.name),
        ("status", _) => text(span.status.name()),
        ("kind", _) => text(span.kind.name()),
        (_, "service.name") if scope != "span" => text(origin.service()),
        _ => {
            let resource = origin.resource.iter().filter(|_| scope != "span");
            let own = span.attributes.iter().filter(|_| scope != "resource");
            resource.chain(own).filter(|(own, _)| own == name).map(|(_, value)| value.clone()).collect()
        }
    }
}

/// Values as texts.
pub(super) async fn values_v1(
    api: Call,
    granted: Granted,
    Path(tag): Path<String>,
    params: Params,
) -> Result<Response, TempoError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let found = tag_values((api, &granted.scope), &tag, &params, budget)?;
        let texts: Vec<String> = found.value.iter().map(|value| value.text().into_owned()).collect();
        Ok(Reply::json(budget, &json!({"tagValues": texts}), Some(found.coverage))?)
    };
    api.answer(work).await
}

/// Values with their types.
pub(super) async fn values_v2(
    api: Call,
    granted: Granted,
    Path(tag): Path<String>,
    params: Params,
) -> Result<Response, TempoError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let found = tag_values((api, &granted.scope), &tag, &params, budget)?;
        let typed = |value: &Value| {
            let kind = match value {
                Value::Bool(_) => "bool",
                Value::Int(_) => "int",
                Value::Double(_) => "float",
                Value::String(_) if tag == "status" || tag == "kind" => "keyword",
                Value::String(_) | Value::Json(_) | Value::Bytes(_) => "string",
            };
            json!({"type": kind, "value": value.text()})
        };
        let values: Vec<Json> = found.value.iter().map(typed).collect();
        Ok(Reply::json(budget, &json!({"tagValues": values}), Some(found.coverage))?)
    };
    api.answer(work).await
}
