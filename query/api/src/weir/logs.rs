//! `logs` and `logs/line/{id}`.

use std::time::Instant;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_logql::eval::lines::{Entry, LogOptions, lines};
use weir_logql::pipeline::labels::LabelSet;
use weir_logql::pipeline::readable;
use weir_logql::{Expr, LogExpr, parse_open};
use weir_model::id::LineId;
use weir_model::log::level_name;
use weir_model::scope::Scope;
use weir_model::select::label_bytes;
use weir_model::select::{Budget, OwnedLine};

use super::super::Api;
use super::super::error::ApiError;
use super::super::params::{HOUR, Params};
use super::super::reply::Text;
use super::context::of_container;
use super::{WeirError, end};
use crate::call::Call;

/// docs/api.md: lines of one answer when nothing is said.
const LIMIT_DEFAULT: usize = 200;

/// Neighbours on each side that one request may ask for.
const CONTEXT_MAX: usize = 1000;

/// A log query; nothing is every line, and so is a selector without matchers.
pub(super) fn log_query(query: Option<&str>) -> Result<LogExpr, WeirError> {
    match query.map(str::trim) {
        None | Some("") => Ok(LogExpr { matchers: Vec::new(), stages: Vec::new() }),
        Some(query) => match parse_open(query)? {
            Expr::Log(log) => Ok(log),
            _ => Err("parameter query: a log query is wanted here, this is a metric query".to_owned().into()),
        },
    }
}

/// Lines, the newest or oldest first.
pub(super) async fn logs(api: Call, granted: Granted, params: Params) -> Result<Response, WeirError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let begun = Instant::now();
        let log = log_query(params.get("query"))?;
        let limit = params.number("limit", LIMIT_DEFAULT)?;
        if limit > api.config.lines_max {
            return Err(format!("parameter limit: {limit} is above query.lines_max ({})", api.config.lines_max).into());
        }
        let options = LogOptions {
            scope: Scope::clone(&granted.scope),
            range: params.range((api.clock)(), HOUR)?,
            limit,
            newest_first: params.newest_first()?,
            detected_level: api.config.detected_level,
        };
        let found = lines(&*api.logs, params.get("query").unwrap_or_default(), &log, &options, budget)?;
        let mut text = Text::new(budget);
        text.raw("{\"lines\":")?;
        text.each(found.value.iter().map(entry))?;
        let stats = json!({"lines_scanned": found.stats.lines_scanned, "took_ms": begun.elapsed().as_secs_f64() * 1e3});
        text.end_tagged();
        text.raw(",\"stats\":")?;
        text.json(&stats)?;
        Ok(end(text, found.coverage)?.with_stats(&stats))
    };
    api.answer(work).await
}

/// A line of a query.
pub(super) fn entry(entry: &Entry) -> Value {
    shape(&entry.source, entry.text(), &entry.labels)
}

fn shape(line: &OwnedLine, text: &[u8], labels: &LabelSet) -> Value {
    let hex = |none: bool, id: String| if none { String::new() } else { id };
    json!({
        "id": line.id,
        "t": line.timestamp.to_string(),
        "stream": line.stream,
        "line": readable(text),
        "level": level_name(line.severity),
        "trace_id": hex(line.trace_id.is_none(), line.trace_id.to_string()),
        "span_id": hex(line.span_id.is_none(), line.span_id.to_string()),
        "attributes": line.attributes,
        "labels": labels.to_json(),
    })
}

/// One line and its neighbours.
pub(super) async fn line(api: Call, granted: Granted, Path(id): Path<String>, params: Params) -> Result<Response, WeirError> {
    let id: LineId = id.parse().map_err(|error| format!("{error}"))?;
    let context = params.number("context", 10)?;
    if context > CONTEXT_MAX {
        return Err(format!("parameter context: at most {CONTEXT_MAX} lines on each side").into());
    }
    let work = move |api: &Api, budget: &RequestBudget| {
        let found = match params.get("across") {
            None | Some("stream") => api.logs.line(&granted.scope, id, context, budget)?,
            Some("container") => of_container(api, &granted.scope, (id, context), budget)?,
            Some(_) => return Err("parameter across: stream or container".to_owned().into()),
        };
        if found.value.is_empty() {
            let failure = ApiError::new(StatusCode::NOT_FOUND, format!("no line has the id {id}"));
            return Err(WeirError::with_coverage(failure, found.coverage));
        }
        budget.reserve(found.value.iter().map(|line| line.body.len() as u64 + label_bytes(&line.attributes)).sum())?;
        let mut text = Text::new(budget);
        text.raw("{\"lines\":")?;
        text.each(found.value.iter().map(|line| shape(line, &line.body, &all_labels(line))))?;
        end(text, found.coverage)
    };
    api.answer(work).await
}

/// The stream's labels and the line's own.
fn all_labels(line: &OwnedLine) -> LabelSet {
    LabelSet::from(&line.attributes.merged(&line.stream))
}
