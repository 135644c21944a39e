//! `query`, `query_range`, `format_query`.

use std::time::{Duration, Instant};

use axum::response::Response;
use serde_json::json;
use weir_access::Granted;
use weir_budget::{RequestBudget, millis};
use weir_model::scope::Scope;
use weir_model::select::{Budget, ReadError};
use weir_model::time::{SECOND, TimeRange};
use weir_promql::parse::parse;
use weir_promql::{Answer, Engine, Output, QueryError, Request};

use super::Api;
use super::answer::{ApiError, Success, write_output};
use super::params::Params;
use crate::call::Call;
use crate::params::thousands;

/// `GET|POST query?query&time&timeout&lookback_delta&limit&stats`
pub(super) async fn instant(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let at_ms = params.bound("time")?.unwrap_or_else(|| (api.clock)().div_euclid(SECOND / 1000));
    run(&api, (&granted.scope, &params), at_ms, at_ms, 0).await
}

/// `GET|POST query_range?query&start&end&step&timeout&lookback_delta&limit&stats`
pub(super) async fn range(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let (start_ms, end_ms) = (params.required_time("start")?, params.required_time("end")?);
    if end_ms < start_ms {
        return Err(ApiError::bad_data("invalid parameter \"end\": end timestamp must not be before start time"));
    }
    let step_ms = params
        .duration("step")?
        .ok_or_else(|| ApiError::bad_data("invalid parameter \"step\": cannot parse \"\" to a valid duration"))?;
    if step_ms <= 0 {
        let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::bad_data(format!("invalid parameter \"step\": {message}")));
    }
    let points = end_ms.saturating_sub(start_ms) / step_ms;
    if points.unsigned_abs() > api.config.points_max {
        return Err(ApiError::bad_data(format!(
            "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
            thousands(api.config.points_max)
        )));
    }
    run(&api, (&granted.scope, &params), start_ms, end_ms, step_ms).await
}

async fn run(
    api: &Call,
    (scope, params): (&Scope, &Params),
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    let default_lookback = millis(api.config.lookback);
    let own_lookback =
        params.duration("lookback_delta").map_err(|error| error.instead("error parsing lookback delta duration"))?;
    let lookback_ms = own_lookback.filter(|own| *own > 0).unwrap_or(default_lookback);
    let request = Request { scope: scope.clone(), query: params.query()?, start_ms, end_ms, step_ms, lookback_ms };
    let timeout = params.duration("timeout")?.map(|millis| Duration::from_millis(millis.max(0).unsigned_abs()));
    let limit = params.limit("limit")?;
    let stats = params.get("stats").map(str::to_owned);
    let work = move |api: &Api, budget: &RequestBudget| {
        let until = Until { budget, deadline: timeout.and_then(|timeout| began.checked_add(timeout)) };
        let engine = Engine { reader: &*api.metrics, budget: &until };
        let mut answer = engine.query(&request)?;
        let count = truncate(&mut answer.output, limit);
        if count.min(limit.unwrap_or(usize::MAX)) > api.config.series_max {
            let (limit, what, key) = (api.config.series_max as u64, "series in the answer", "query.series_max");
            return Err(ReadError::Budget { limit, what, key }.into());
        }
        if limit.is_some_and(|limit| count > limit) {
            answer.warnings.push("results truncated due to limit".into());
        }
        let mut success = Success::write(budget, |text| {
            write_output(text, &answer.output, request.start_ms)?;
            if stats.is_some() {
                text.raw(&format!(",\"stats\":{}", stats_json(&answer, began.elapsed(), budget.waited)))?;
            }
            text.raw("}")
        })?;
        (success.warnings, success.infos) = (answer.warnings, answer.infos);
        success.warnings.extend(stats.filter(|own| !["true", "all"].contains(&own.as_str())).map(|own| {
            format!(
                "value {:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"",
                weir_model::clip(&own)
            )
        }));
        success.reply(Some(answer.coverage))
    };
    api.answer(work).await
}

/// Only what is measured; Prometheus' other timings have no counterpart here.
fn stats_json(answer: &Answer, took: Duration, waited: Duration) -> serde_json::Value {
    let evaluated = took.saturating_sub(waited).as_secs_f64();
    json!({
        "timings": {"evalTotalTime": evaluated, "execQueueTime": waited.as_secs_f64(), "execTotalTime": took.as_secs_f64()},
        "samples": {"totalQueryableSamples": answer.samples},
    })
}

/// Keeps the first `limit` series and tells how many there were.
fn truncate(output: &mut Output, limit: Option<usize>) -> usize {
    let limit = limit.unwrap_or(usize::MAX);
    match output {
        Output::Vector(samples) => {
            let count = samples.len();
            samples.truncate(limit);
            count
        }
        Output::Matrix(rows) => {
            let count = rows.len();
            rows.truncate(limit);
            count
        }
        Output::Scalar(_) | Output::String(_) => 0,
    }
}

/// `GET|POST format_query?query`
pub(super) async fn format(api: Call, params: Params) -> Result<Response, ApiError> {
    let work = move |_: &Api, budget: &RequestBudget| {
        let expr = parse(&params.query()?).map_err(QueryError::from)?;
        Success::of(budget, &weir_promql::pretty(&expr))?.reply(None)
    };
    api.answer(work).await
}

/// The request's budget, and its own shorter deadline.
struct Until<'a> {
    budget: &'a dyn Budget,
    deadline: Option<Instant>,
}

impl Budget for Until<'_> {
    fn check(&self) -> Result<(), ReadError> {
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(ReadError::Cancelled("it took longer than the request's timeout"));
        }
        self.budget.check()
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        self.budget.spend(count)?;
        if self.deadline.is_some() { self.check() } else { Ok(()) }
    }

    fn read(&self, bytes: u64) -> Result<(), ReadError> {
        self.budget.read(bytes)
    }

    fn span(&self, range: TimeRange) -> Result<(), ReadError> {
        self.budget.span(range)
    }

    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        self.budget.reserve(bytes)
    }

    fn release(&self, bytes: u64) {
        self.budget.release(bytes);
    }
}
