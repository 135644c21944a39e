//! `search`: the newest traces that pass.

use std::collections::BTreeMap;

use axum::response::Response;
use serde_json::{Value as Json_, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::select::{Trace, TraceSelect, TraceSummary};
use weir_model::time::parse_duration;

use super::super::params::{HOUR, Params};
use super::super::reply::Text;
use super::super::trace_search::{Condition, find, matching};
use super::super::{Api, logfmt};
use super::{TempoError, shape};
use crate::call::Call;

/// Traces of one answer at most.
pub(super) const LIMIT_MAX: usize = 1000;

/// Spans of one trace that an answer shows.
const SPANS_DEFAULT: usize = 3;

/// By `q` (TraceQL) or by `tags`, `minDuration` and `maxDuration`.
pub(super) async fn search(api: Call, granted: Granted, params: Params) -> Result<Response, TempoError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let limit = params.number("limit", 20)?;
        if limit > LIMIT_MAX {
            return Err(format!("parameter limit: at most {LIMIT_MAX} traces").into());
        }
        let spans_max = params.number("spss", SPANS_DEFAULT)?;
        let mut select = TraceSelect::any(&granted.scope, params.range((api.clock)(), HOUR)?, limit);
        let conditions = match params.get("q") {
            Some(q) => {
                if let Some(name) = ["tags", "minDuration", "maxDuration"].into_iter().find(|name| params.get(name).is_some()) {
                    return Err(format!("parameter {name}: cannot be said beside q").into());
                }
                Condition::all_of(weir_traceql::parse(q)?, &mut select)
            }
            None => {
                by_tags(&params, &mut select)?;
                Vec::new()
            }
        };
        let (mut text, mut count) = (Text::new(budget), 0);
        text.raw("{\"traces\":[")?;
        let ended = find(&*api.traces, &select, &conditions, budget, |summary, trace| {
            text.raw(if count == 0 { "" } else { "," })?;
            count += 1;
            text.json(&summary_shape(summary, trace, &select, &conditions, spans_max))
        })?;
        // No index says how many traces or bytes it passed over, so the metrics stay empty.
        text.raw("],\"metrics\":{}")?;
        if let Some(cut) = &ended.cut {
            text.raw(",\"status\":\"PARTIAL\",\"message\":")?;
            text.json(cut)?;
        }
        text.raw("}")?;
        Ok(text.reply(Some(ended.coverage)))
    };
    api.answer(work).await
}

fn by_tags(params: &Params, select: &mut TraceSelect) -> Result<(), String> {
    let duration = |name: &str| {
        let parse = |text: &str| parse_duration(text).map_err(|error| format!("parameter {name}: {error}"));
        params.get(name).map(parse).transpose()
    };
    select.duration_min = duration("minDuration")?;
    select.duration_max = duration("maxDuration")?;
    for (name, value) in logfmt::tags("tags", params.get("tags").unwrap_or_default())? {
        let once = match name.as_str() {
            "service.name" => &mut select.service,
            "name" => &mut select.operation,
            _ => {
                select.attributes.push((name, value));
                continue;
            }
        };
        if once.replace(value).is_some() {
            return Err(format!("parameter tags: {name} is said twice, and no span has two"));
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
