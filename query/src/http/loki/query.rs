//! `query`, `query_range` and `format_query`.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value as Json_, json};
use weir_model::resource::TENANT_DEFAULT;
use weir_model::select::{Budget, Coverage};
use weir_model::time::{SECOND, TimeRange};

use super::super::params::{HOUR, Params};
use super::super::{Api, covered};
use super::{Plain, shape};
use crate::logql::eval::lines::{LogOptions, lines};
use crate::logql::eval::metric::{MetricOptions, metric};
use crate::logql::eval::{Stats, Steps};
use crate::logql::{Expr, LogExpr, QueryError, parse};

/// Loki's default for `limit`.
const LIMIT_DEFAULT: usize = 100;

/// The data of an answer, what it covers and what it cost.
pub(super) type Data = (Json_, Coverage, Stats);

/// `/query`: a metric query at one instant.
pub(super) async fn instant(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Plain> {
    let query = params.need("query")?.to_owned();
    let at = params.time("time")?.unwrap_or((api.clock)());
    let expr = parse(&query)?;
    if matches!(expr, Expr::Log(_)) {
        return Err("log queries are not supported as an instant query type, please change your query to a range query type"
            .to_owned()
            .into());
    }
    let begun = Instant::now();
    let answer = api
        .run(move |api, budget| {
            let options = metric_options(api, Steps::instant(at));
            let answer = metric(&*api.logs, &query, &expr, &options, budget)?;
            Ok::<_, QueryError>((shape::instant(answer.value, at), answer.coverage, answer.stats))
        })
        .await?;
    Ok(envelope(answer, begun))
}

/// `/query_range`: lines, or a metric query at every step.
pub(super) async fn range(State(api): State<Arc<Api>>, headers: HeaderMap, params: Params) -> Result<Response, Plain> {
    let query = params.need("query")?.to_owned();
    let range = params.range((api.clock)(), HOUR)?;
    if params.duration("interval")?.unwrap_or(0) != 0 {
        return Err("parameter interval is not supported yet".to_owned().into());
    }
    let expr = parse(&query)?;
    let begun = Instant::now();
    let answer = match expr {
        Expr::Log(log) => {
            let limit = params.number("limit", LIMIT_DEFAULT)?;
            let newest_first = params.newest_first()?;
            let categorize = wants_categories(&headers);
            api.run(move |api, budget| {
                let options = LogOptions {
                    tenant: TENANT_DEFAULT.into(),
                    range,
                    limit: limit_of(api, limit)?,
                    newest_first,
                    detected_level: api.config.detected_level,
                };
                log_query(api, &query, &log, &options, categorize, budget)
            })
            .await?
        }
        expr => {
            let steps = steps(range, params.duration("step")?, api.config.points_max)?;
            api.run(move |api, budget| {
                let answer = metric(&*api.logs, &query, &expr, &metric_options(api, steps), budget)?;
                Ok::<_, QueryError>((shape::matrix(answer.value, steps), answer.coverage, answer.stats))
            })
            .await?
        }
    };
    Ok(envelope(answer, begun))
}

fn log_query(
    api: &Api,
    query: &str,
    log: &LogExpr,
    options: &LogOptions,
    categorize: bool,
    budget: &dyn Budget,
) -> Result<Data, QueryError> {
    let answer = lines(&*api.logs, query, log, options, budget)?;
    Ok((shape::streams(&answer.value, categorize), answer.coverage, answer.stats))
}

/// Errors above the limit of lines, as Loki does.
pub(super) fn limit_of(api: &Api, limit: usize) -> Result<usize, QueryError> {
    let most = api.config.lines_max;
    if limit > most {
        return Err(QueryError::Bad(format!("max entries limit per query exceeded, limit > query.lines_max ({limit} > {most})")));
    }
    if limit == 0 { Err(QueryError::Bad("limit must be a positive value".into())) } else { Ok(limit) }
}

fn metric_options(api: &Api, steps: Steps) -> MetricOptions {
    MetricOptions {
        tenant: TENANT_DEFAULT.into(),
        steps,
        detected_level: api.config.detected_level,
        series_max: api.config.series_max,
    }
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
fn steps(range: TimeRange, step: Option<i64>, points_max: u64) -> Result<Steps, String> {
    let span = range.end.checked_sub(range.start).ok_or("the time range is longer than 292 years")?;
    let step = step.unwrap_or_else(|| (span / 250 / SECOND).max(1) * SECOND);
    if step <= 0 {
        return Err(
            "parameter step: zero or negative query resolution step widths are not accepted. Try a positive integer".into()
        );
    }
    let count = span as u64 / step as u64 + 1;
    if count > points_max {
        return Err(format!(
            "exceeded maximum resolution of {points_max} points per time series ({count}). Try increasing the value of the step parameter"
        ));
    }
    Ok(Steps { start: range.start, step, count: count as usize })
}

/// `{"status": "success", "data": …}` with statistics and what the answer covers.
pub(super) fn envelope((mut data, coverage, stats): Data, begun: Instant) -> Response {
    data["stats"] = shape::stats(stats, begun.elapsed());
    let mut body = json!({"status": "success", "data": data});
    let warnings = covered::warnings(&coverage);
    if !warnings.is_empty() {
        body["warnings"] = warnings.into();
    }
    covered::with_header(&coverage, Json(body))
}

/// `/format_query`
pub(super) async fn format(params: Params) -> Result<Json<Json_>, Plain> {
    let expr = parse(params.need("query")?)?;
    Ok(Json(json!({"status": "success", "data": expr.to_string()})))
}
