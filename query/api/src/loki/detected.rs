//! What Logs Drilldown shows before anybody has asked for lines: labels worth choosing by, fields, patterns.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value as Json, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_logql::eval::fields::{Field, fields};
use weir_logql::eval::lines::{LogOptions, lines};
use weir_logql::eval::patterns::{Pattern, PatternOptions, patterns};
use weir_logql::{Expr, LogExpr, parse_open};
use weir_model::scope::Scope;
use weir_model::select::{Budget, Covered};
use weir_model::time::SECOND;

use super::super::Api;
use super::super::params::{HOUR, Params};
use super::super::reply::Reply;
use super::names::{NAMES_RANGE, matchers, streams, success};
use super::query::{limit_of, steps};
use super::volume::whole_step;
use super::{LokiError, query_of};
use crate::call::Call;

/// Labels that are shown whatever their values look like, as in Loki.
const ALWAYS: [&str; 4] = ["cluster", "namespace", "instance", "pod"];

/// Loki's defaults for `line_limit` and `limit` of fields.
const LINES_DEFAULT: usize = 100;
const FIELDS_DEFAULT: usize = 1000;

/// Lines that patterns are counted in: some seconds of one core.
const PATTERN_LINES_MAX: u64 = 5_000_000;

/// `/detected_labels`: how many values each label of the selected streams has. One whose values are all numbers or UUIDs is nothing to
/// choose by and is left out.
pub(super) async fn detected_labels(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), NAMES_RANGE)?;
        let found = streams((api, &granted.scope), matchers(params.get("query"))?, range, budget)?;
        let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        found.value.iter().flat_map(|stream| stream.iter()).for_each(|(name, value)| {
            labels.entry(name).or_default().insert(value);
        });
        let shown = labels.into_iter().filter(|(name, values)| ALWAYS.contains(name) || !are_ids(values));
        let list: Vec<Json> = shown.map(|(name, values)| json!({"label": name, "cardinality": values.len()})).collect();
        Ok(Reply::json(budget, &json!({"detectedLabels": list}), Some(found.coverage))?)
    };
    api.answer(work).await
}

/// Numbers and UUIDs throughout; yes and no, as 1 and 0, are none.
fn are_ids(values: &BTreeSet<&str>) -> bool {
    let is_uuid = |value: &str| {
        let digits = value.strip_prefix("urn:uuid:").unwrap_or(value).trim_start_matches('{').trim_end_matches('}');
        let hex = digits.chars().filter(|letter| *letter != '-');
        (digits.len() == 36 || digits.len() == 32)
            && hex.clone().count() == 32
            && hex.clone().all(|letter| letter.is_ascii_hexdigit())
    };
    let is_flag = values.iter().all(|value| matches!(*value, "0" | "1"));
    !is_flag && values.iter().all(|value| value.parse::<f64>().is_ok() || is_uuid(value))
}

/// A log query; all lines without one.
fn log_query(params: &Params) -> Result<(String, LogExpr), LokiError> {
    let query = params.get("query").map(str::trim).filter(|query| *query != "{}").unwrap_or("{}");
    match parse_open(query)? {
        Expr::Log(log) => Ok((query.to_owned(), log)),
        _ => Err("a log query is wanted here, not a metric query".to_owned().into()),
    }
}

/// How many are wanted: `limit`, which was called `field_limit` once.
fn fields_limit(params: &Params) -> Result<usize, String> {
    let name = if params.get("limit").is_some() { "limit" } else { "field_limit" };
    match params.number(name, FIELDS_DEFAULT)? {
        0 => Err("limit must be a positive value".into()),
        limit => Ok(limit),
    }
}

/// The fields of the newest `line_limit` lines.
fn newest_fields(
    (api, scope): (&Api, &Scope),
    params: &Params,
    budget: &RequestBudget,
) -> Result<Covered<BTreeMap<String, Field>>, LokiError> {
    let range = params.range((api.clock)(), HOUR)?;
    let (query, log) = log_query(params)?;
    let limit = limit_of(api, params.number("line_limit", LINES_DEFAULT)?)?;
    let (scope, detected_level) = (scope.clone(), api.config.detected_level);
    let options = LogOptions { scope, range, limit, newest_first: true, detected_level };
    let found = lines(&*api.logs, &query, &log, &options, budget)?;
    Ok(Covered { value: fields(&found.value, budget)?, coverage: found.coverage })
}

/// `/detected_fields`
pub(super) async fn detected_fields(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let limit = fields_limit(&params)?;
        let found = newest_fields((api, &granted.scope), &params, budget)?;
        let one = |(name, field): (&String, &Field)| {
            let parsers = if field.parsers.is_empty() { Json::Null } else { json!(field.parsers) };
            let mut one =
                json!({"label": name, "type": field.kind.name(), "cardinality": field.values.len(), "parsers": parsers});
            if !field.json_path.is_empty() {
                one["jsonPath"] = json!(field.json_path);
            }
            one
        };
        let list: Vec<Json> = found.value.iter().take(limit).map(one).collect();
        Ok(Reply::json(budget, &json!({"fields": list, "limit": limit}), Some(found.coverage))?)
    };
    api.answer(work).await
}

/// `/detected_field/{name}/values`
pub(super) async fn field_values(
    api: Call,
    granted: Granted,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let limit = fields_limit(&params)?;
        let found = newest_fields((api, &granted.scope), &params, budget)?;
        let values: Vec<&String> = found.value.get(&name).into_iter().flat_map(|field| &field.values).take(limit).collect();
        Ok(Reply::json(budget, &json!({"values": values, "limit": limit}), Some(found.coverage))?)
    };
    api.answer(work).await
}

/// `/patterns`: lines of each pattern and level by step, counted and not guessed from a sample. The most frequent come first.
pub(super) async fn pattern_counts(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), HOUR)?;
        let query = query_of(&params)?;
        let Expr::Log(log) = parse_open(query)? else {
            return Err("patterns are of lines: a metric query has none".to_owned().into());
        };
        let step = whole_step(steps(range, params.duration("step")?, api.config.points_max)?.step);
        let (scope, detected_level) = (Scope::clone(&granted.scope), api.config.detected_level);
        let lines_max = PATTERN_LINES_MAX;
        let options = PatternOptions { scope, range, step, detected_level, lines_max, by_line: false };
        let found = patterns(&*api.logs, query, &log, &options, budget)?;
        budget.reserve(found.value.iter().map(|pattern| 64 + 64 * pattern.lines.len() as u64).sum())?;
        let one = |pattern: &Pattern| {
            let samples: Vec<Json> = pattern.lines.iter().map(|(at, lines)| json!([at.div_euclid(SECOND), lines])).collect();
            json!({"pattern": pattern.text, "level": pattern.level, "samples": samples})
        };
        let list: Vec<Json> = found.value.iter().map(one).collect();
        success(budget, &list, found.coverage)
    };
    api.answer(work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_nothing_to_choose_by() {
        let check = |values: &[&str], expected: bool| {
            assert_eq!(are_ids(&values.iter().copied().collect()), expected, "{values:?}");
        };
        check(&["1", "2.5"], true);
        check(&["0af76519-16cd-43dd-8448-eb211c80319c", "7"], true);
        check(&["0af7651916cd43dd8448eb211c80319c"], true);
        check(&["1", "prod"], false);
        check(&["0", "1"], false);
        check(&["0af76519-16cd-43dd-8448-eb211c80319"], false);
    }
}
