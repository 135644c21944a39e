//! `logs/volume`: lines and bytes per bucket and level, summed over the streams.

use axum::response::Response;
use serde_json::json;
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_logql::LogExpr;
use weir_logql::ast::{LineTest, StageKind};
use weir_logql::eval::lines::LogOptions;
use weir_logql::eval::volume::{self, Counts};
use weir_model::scope::Scope;
use weir_model::select::label_bytes;
use weir_model::select::{Budget, Covered, LineFilter, LogSelect};
use weir_model::time::{SECOND, TimeRange};

use super::super::Api;
use super::super::params::{HOUR, Params};
use super::super::reply::{Reply, Text};
use super::logs::log_query;
use super::{WeirError, end};
use crate::call::Call;

/// Any log query; from roll-ups where it has nothing but a selector.
pub(super) async fn volume(api: Call, granted: Granted, params: Params) -> Result<Response, WeirError> {
    api.answer(move |api, budget| buckets((api, &granted.scope), &params, budget)).await
}

fn buckets((api, scope): (&Api, &Scope), params: &Params, budget: &RequestBudget) -> Result<Reply, WeirError> {
    let log = log_query(params.get("query"))?;
    let range = params.range((api.clock)(), HOUR)?;
    let step = params.duration("step")?.unwrap_or(10 * SECOND);
    if step <= 0 || step % (10 * SECOND) != 0 {
        return Err("parameter step: a multiple of 10s is wanted, as volumes are kept in buckets of 10 seconds"
            .to_owned()
            .into());
    }
    let span = range.end.checked_sub(range.start).ok_or_else(|| "the time range is longer than 292 years".to_owned())?;
    if (span / step) as u64 > api.config.points_max {
        return Err(format!("more than query.points_max ({}) buckets: take a larger step", api.config.points_max).into());
    }
    let found = match filters(&log) {
        Some(filters) => from_store((api, scope), log, filters, range, step, budget)?,
        None => {
            let (scope, detected_level) = (scope.clone(), api.config.detected_level);
            let options = LogOptions { scope, range, limit: 0, newest_first: false, detected_level };
            volume::volume(&*api.logs, params.get("query").unwrap_or_default(), &log, step, &options, budget)?
        }
    };
    budget.reserve(64 * found.value.len() as u64)?;
    let mut text = Text::new(budget);
    text.raw("{\"buckets\":")?;
    text.each(
        found
            .value
            .into_iter()
            .map(|((at, level), (lines, bytes))| json!({"t": at.to_string(), "level": level, "lines": lines, "bytes": bytes})),
    )?;
    text.raw(&format!(",\"step\":\"{step}\""))?;
    end(text, found.coverage)
}

fn from_store(
    (api, scope): (&Api, &Scope),
    log: LogExpr,
    filters: Vec<LineFilter>,
    range: TimeRange,
    step: i64,
    budget: &RequestBudget,
) -> Result<Covered<Counts>, WeirError> {
    let select = LogSelect { scope: scope.clone(), matchers: log.matchers, range, filters, newest_first: false };
    let found = api.logs.volume(&select, step, budget)?;
    budget.reserve(found.value.iter().map(|one| 64 + label_bytes(&one.stream)).sum())?;
    let mut counts = Counts::new();
    for one in &found.value {
        let sums = counts.entry((one.bucket, one.level)).or_default();
        sums.0 += one.lines;
        sums.1 += one.bytes;
    }
    Ok(Covered { value: counts, coverage: found.coverage })
}

/// The line filters of a query that has nothing else.
fn filters(log: &LogExpr) -> Option<Vec<LineFilter>> {
    let filter = |kind: &StageKind| match kind {
        StageKind::Line(line) => match &line.test {
            LineTest::Store(filter) => Some(filter.clone()),
            LineTest::Patterns { .. } | LineTest::Addresses { .. } => None,
        },
        _ => None,
    };
    log.stages.iter().map(|stage| filter(&stage.kind)).collect()
}
