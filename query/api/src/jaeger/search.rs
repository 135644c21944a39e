//! `/jaeger/api/traces?service=…`: newest traces with a span that passes all conditions.

use axum::response::Response;
use serde_json::Value as Json;
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::clip;
use weir_model::id::TraceId;
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, TraceSelect};
use weir_model::time::{TimeRange, parse_duration};

use super::super::params::Params;
use super::super::reply::Reply;
use super::super::trace_search::{find, read_trace};
use super::super::{Api, logfmt};
use super::{Data, JaegerError, shape};
use crate::call::Call;

/// Jaeger's own limit.
const LIMIT_MAX: usize = 1500;

/// Jaeger's default range when `start` and `lookback` are absent: two days.
const LOOKBACK_MICROS: i64 = 48 * 3600 * 1_000_000;

pub(super) async fn traces(api: Call, granted: Granted, params: Params) -> Result<Response, JaegerError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let parsed = params.all("traceID").map(str::parse::<TraceId>).collect::<Result<Vec<_>, _>>();
        let ids = parsed.map_err(|error| error.to_string())?;
        if !ids.is_empty() {
            return by_ids((api, &granted.scope), &ids, budget);
        }
        let select = select(&granted.scope, &params, (api.clock)())?;
        let mut data = Data::new(budget)?;
        let ended = find(&*api.traces, &select, &[], budget, |_, trace| data.push(&shape::trace(trace)))?;
        data.reply_cut(ended.coverage, ended.cut.as_deref())
    };
    api.answer(work).await
}

fn by_ids((api, scope): (&Api, &Scope), ids: &[TraceId], budget: &RequestBudget) -> Result<Reply, JaegerError> {
    if ids.len() > LIMIT_MAX {
        return Err(format!("parameter traceID: at most {LIMIT_MAX} of them").into());
    }
    let (mut data, mut coverage) = (Data::new(budget)?, Coverage::default());
    for id in ids {
        budget.check()?;
        let (found, bytes) = read_trace(&*api.traces, scope, *id, budget)?;
        coverage.merge(found.coverage);
        if let Some(trace) = &found.value {
            data.push(&shape::trace(trace))?;
        }
        budget.release(bytes);
    }
    data.reply(coverage)
}

fn select(scope: &Scope, params: &Params, now: i64) -> Result<TraceSelect, String> {
    let micros = |name: &str, default: i64| match params.get(name) {
        None => Ok(default),
        Some(text) => {
            text.parse::<i64>().map_err(|_| format!("parameter {name}: {:?} is no Unix time in microseconds", clip(text)))
        }
    };
    let duration = |name: &str| {
        let parse = |text: &str| parse_duration(text).map_err(|error| format!("parameter {name}: {error}"));
        params.get(name).map(parse).transpose()
    };
    let end = micros("end", now / 1000)?;
    // Jaeger's page sends both, and may say "custom" then.
    let lookback = match params.get("start") {
        Some(_) => None,
        None => duration("lookback")?.map(|nanos| nanos / 1000),
    };
    let start = micros("start", end.saturating_sub(lookback.unwrap_or(LOOKBACK_MICROS)))?;
    let limit = params.number("limit", 20)?;
    if limit > LIMIT_MAX {
        return Err(format!("parameter limit: at most {LIMIT_MAX} traces"));
    }
    Ok(TraceSelect {
        scope: scope.clone(),
        range: TimeRange { start: start.saturating_mul(1000), end: end.saturating_add(1).saturating_mul(1000) },
        service: Some(params.need("service")?.to_owned()),
        operation: params.get("operation").filter(|name| *name != "all").map(str::to_owned),
        attributes: tags(params)?,
        duration_min: duration("minDuration")?,
        duration_max: duration("maxDuration")?,
        limit,
    })
}

/// `tags={"a":"b"}`, `tags=a=b c="d e"` and `tag=a:b`.
fn tags(params: &Params) -> Result<Vec<(String, String)>, String> {
    let mut tags = Vec::new();
    for text in params.all("tags") {
        if !text.trim_start().starts_with('{') {
            tags.extend(logfmt::tags("tags", text)?);
            continue;
        }
        let map: serde_json::Map<String, Json> =
            serde_json::from_str(text).map_err(|error| format!("parameter tags: not a JSON object of strings: {error}"))?;
        for (name, value) in map {
            match value {
                Json::String(value) => tags.push((name, value)),
                other => {
                    let (name, other) = (clip(&name), clip(&other.to_string()));
                    return Err(format!("parameter tags: the value of {name:?} is {other}, not a string"));
                }
            }
        }
    }
    for text in params.all("tag") {
        let (name, value) = text.split_once(':').ok_or_else(|| format!("parameter tag: {:?} reads name:value", clip(text)))?;
        tags.push((name.into(), value.into()));
    }
    Ok(tags)
}
