//! `query`, `query_range` and `format_query`.

use std::time::Instant;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json_, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_logql::eval::Steps;
use weir_logql::eval::interval::spaced_lines;
use weir_logql::eval::lines::{LogOptions, lines};
use weir_logql::eval::metric::{MetricOptions, metric};
use weir_logql::{Expr, LogExpr, QueryError, parse};
use weir_model::scope::Scope;
use weir_model::select::{Coverage, ReadError};
use weir_model::time::{SECOND, TimeRange};

use super::super::params::{HOUR, Params, thousands};
use super::super::reply::{Reply, Text};
use super::super::{Api, coverage_header};
use super::{LokiError, query_of, shape};
use crate::call::Call;

/// Loki's default for `limit`.
const LIMIT_DEFAULT: usize = 100;

/// Parameters of queries that would make another answer, and that weir does not know.
const UNSUPPORTED: [&str; 1] = ["shards"];

/// `/query`: a metric query at one instant.
pub(super) async fn instant(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let begun = Instant::now();
        params.refuse(&UNSUPPORTED)?;
        // An `interval` is of lines, here and with a metric query below.
        let query = query_of(&params)?;
        let at = params.time("time")?.unwrap_or((api.clock)());
        let expr = parse(query)?;
        if matches!(expr, Expr::Log(_)) {
            let text = "log queries are not supported as an instant query type, please change your query to a range query type";
            return Err(text.to_owned().into());
        }
        let options = metric_options((api, &granted.scope), Steps::instant(at));
        let answer = metric(&*api.logs, query, &expr, &options, budget)?;
        let mut text = open(budget)?;
        shape::instant(&mut text, &answer.value, at)?;
        close(text, answer.coverage, &shape::stats(answer.stats, None, begun.elapsed(), budget.waited))
    };
    api.answer(work).await
}

/// `/query_range`: lines, or a metric query at every step.
pub(super) async fn range(api: Call, granted: Granted, headers: HeaderMap, params: Params) -> Result<Response, LokiError> {
    let categorize = wants_categories(&headers);
    let work = move |api: &Api, budget: &RequestBudget| {
        params.refuse(&UNSUPPORTED)?;
        let range = params.range((api.clock)(), HOUR)?;
        match parse(query_of(&params)?)? {
            Expr::Log(log) => log_query((api, &granted.scope), &params, &log, range, categorize, budget),
            expr => metric_query((api, &granted.scope), &params, &expr, range, budget),
        }
    };
    api.answer(work).await
}

fn log_query(
    (api, scope): (&Api, &Scope),
    params: &Params,
    log: &LogExpr,
    range: TimeRange,
    categorize: bool,
    budget: &RequestBudget,
) -> Result<Reply, LokiError> {
    let begun = Instant::now();
    let options = LogOptions {
        scope: scope.clone(),
        range,
        limit: limit_of(api, params.number("limit", LIMIT_DEFAULT)?)?,
        newest_first: params.newest_first()?,
        detected_level: api.config.detected_level,
    };
    let (query, interval) = (query_of(params)?, params.duration("interval")?.unwrap_or(0));
    let answer = match interval {
        0 => lines(&*api.logs, query, log, &options, budget)?,
        _ => spaced_lines(&*api.logs, query, log, &options, interval, budget)?,
    };
    let mut text = open(budget)?;
    shape::streams(&mut text, &answer.value, categorize)?;
    let stats = shape::stats(answer.stats, Some(answer.value.len()), begun.elapsed(), budget.waited);
    close(text, answer.coverage, &stats)
}

fn metric_query(
    (api, scope): (&Api, &Scope),
    params: &Params,
    expr: &Expr,
    range: TimeRange,
    budget: &RequestBudget,
) -> Result<Reply, LokiError> {
    let begun = Instant::now();
    let steps = steps(range, params.duration("step")?, api.config.points_max)?;
    let answer = metric(&*api.logs, query_of(params)?, expr, &metric_options((api, scope), steps), budget)?;
    let mut text = open(budget)?;
    shape::matrix(&mut text, answer.value, steps)?;
    close(text, answer.coverage, &shape::stats(answer.stats, None, begun.elapsed(), budget.waited))
}

/// The envelope up to the members of `data`.
fn open(budget: &RequestBudget) -> Result<Text<'_>, ReadError> {
    let mut text = Text::new(budget);
    text.raw("{\"status\":\"success\",\"data\":{")?;
    Ok(text)
}

/// The rest of the envelope: statistics, and what the answer does not cover.
fn close(mut text: Text<'_>, coverage: Coverage, stats: &Json_) -> Result<Reply, LokiError> {
    text.raw(",\"stats\":")?;
    text.json(stats)?;
    text.raw("}")?;
    end(text, coverage)
}

/// The end of an answer with warnings.
pub(super) fn end(mut text: Text<'_>, coverage: Coverage) -> Result<Reply, LokiError> {
    let warnings = coverage_header::warnings(&coverage);
    if !warnings.is_empty() {
        text.raw(",\"warnings\":")?;
        text.json(&warnings)?;
    }
    text.raw("}")?;
    Ok(text.reply(Some(coverage)))
}

/// Errors above the limit of lines, as Loki does.
pub(super) fn limit_of(api: &Api, limit: usize) -> Result<usize, QueryError> {
    let most = api.config.lines_max;
    if limit > most {
        return Err(QueryError::Bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {most}): query.lines_max is {most}"
        )));
    }
    if limit == 0 { Err(QueryError::Bad("limit must be a positive value".into())) } else { Ok(limit) }
}

fn metric_options((api, scope): (&Api, &Scope), steps: Steps) -> MetricOptions {
    MetricOptions { scope: scope.clone(), steps, detected_level: api.config.detected_level, series_max: api.config.series_max }
}

pub(super) fn wants_categories(headers: &HeaderMap) -> bool {
    let flags = headers.get_all("x-loki-response-encoding-flags");
    flags
        .iter()
        .filter_map(|flags| flags.to_str().ok())
        .flat_map(|flags| flags.split(','))
        .any(|flag| flag.trim() == "categorize-labels")
}

/// `step`, by default a 250th of the range, at least a second.
pub(super) fn steps(range: TimeRange, step: Option<i64>, points_max: u64) -> Result<Steps, String> {
    let span = range.end.checked_sub(range.start).ok_or("the time range is longer than 292 years")?;
    let step = step.unwrap_or_else(|| (span / 250 / SECOND).max(1) * SECOND);
    if step <= 0 {
        return Err(
            "parameter step: zero or negative query resolution step widths are not accepted. Try a positive integer".into()
        );
    }
    // As Loki and Prometheus count: one point more than there are steps is allowed.
    let count = span as u64 / step as u64;
    if count > points_max {
        return Err(format!(
            "exceeded maximum resolution of {} points per time series. Try increasing the value of the step parameter ({count} points)",
            thousands(points_max)
        ));
    }
    Ok(Steps { start: range.start, step, count: count as usize + 1 })
}

/// `/format_query`: the one call whose errors are JSON.
pub(super) async fn format(api: Call, params: Params) -> Result<Response, LokiError> {
    let work = move |_: &Api, budget: &RequestBudget| {
        let expr = parse(query_of(&params)?)?;
        Ok(Reply::json(budget, &json!({"status": "success", "data": expr.to_string()}), None)?)
    };
    match api.answer(work).await {
        Err(LokiError(error)) if error.status == StatusCode::BAD_REQUEST => {
            let body = json!({"status": "invalid-query", "error": error.message});
            Ok((error.status, axum::Json(body)).into_response())
        }
        other => other,
    }
}
