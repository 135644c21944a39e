//! Labels, their values, series, and the volume of an index.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Path;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value as Json_, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_logql::{Expr, parse};
use weir_model::label::{Labels, Matcher};
use weir_model::scope::Scope;
use weir_model::select::label_bytes;
use weir_model::select::{Budget, Coverage, Covered, LogSelect, LogVolume, ReadError};
use weir_model::time::{SECOND, TimeRange};

use super::super::Api;
use super::super::params::{HOUR, Params};
use super::super::reply::{Reply, Text};
use super::LokiError;
use super::query::end;
use super::shape::{sample, seconds};
use crate::call::Call;

/// Loki's default range for names.
const NAMES_RANGE: i64 = 6 * HOUR;

/// The matchers of a selector; none for an absent query or `{}`.
fn matchers(query: Option<&str>) -> Result<Vec<Matcher>, LokiError> {
    match query.map(str::trim) {
        None | Some("{}") => Ok(Vec::new()),
        Some(query) => match parse(query)? {
            Expr::Log(log) if log.stages.is_empty() => Ok(log.matchers),
            _ => {
                Err(format!("{:?} is more than a selector such as {{app=\"x\"}}", query.chars().take(200).collect::<String>())
                    .into())
            }
        },
    }
}

fn select(scope: &Scope, matchers: Vec<Matcher>, range: TimeRange) -> LogSelect {
    LogSelect { scope: scope.clone(), matchers, range, filters: Vec::new(), newest_first: true }
}

fn streams(
    (api, scope): (&Api, &Scope),
    matchers: Vec<Matcher>,
    range: TimeRange,
    budget: &RequestBudget,
) -> Result<Covered<Vec<Labels>>, ReadError> {
    let found = api.logs.streams(&select(scope, matchers, range), budget)?;
    budget.reserve(found.value.iter().map(label_bytes).sum())?;
    Ok(found)
}

fn success(budget: &RequestBudget, data: &impl Serialize, coverage: Coverage) -> Result<Reply, LokiError> {
    let mut text = Text::new(budget);
    text.raw("{\"status\":\"success\",\"data\":")?;
    text.json(data)?;
    end(text, coverage)
}

/// `/labels`
pub(super) async fn labels(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), NAMES_RANGE)?;
        let found = streams((api, &granted.scope), matchers(params.get("query"))?, range, budget)?;
        let names: BTreeSet<&str> = found.value.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        success(budget, &names, found.coverage)
    };
    api.answer(work).await
}

/// `/label/{name}/values`
pub(super) async fn label_values(
    api: Call,
    granted: Granted,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), NAMES_RANGE)?;
        let found = streams((api, &granted.scope), matchers(params.get("query"))?, range, budget)?;
        let values = found.value.iter().map(|labels| labels.get(&name));
        let values: BTreeSet<&str> = values.filter(|value| !value.is_empty()).collect();
        success(budget, &values, found.coverage)
    };
    api.answer(work).await
}

/// `/series`: the streams that any `match[]` selects.
pub(super) async fn series(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), NAMES_RANGE)?;
        let named = params.all("match[]").chain(params.all("match"));
        let mut selectors = named.map(|query| matchers(Some(query))).collect::<Result<Vec<_>, _>>()?;
        if selectors.is_empty() {
            selectors.push(Vec::new());
        }
        let mut all = Covered::<BTreeSet<Labels>>::default();
        for matchers in selectors {
            budget.check()?;
            let found = streams((api, &granted.scope), matchers, range, budget)?;
            all.value.extend(found.value);
            all.coverage.merge(found.coverage);
            if all.value.len() > api.config.series_max {
                let (limit, what, key) = (api.config.series_max as u64, "series", "query.series_max");
                return Err(ReadError::Budget { limit, what, key }.into());
            }
        }
        success(budget, &all.value, all.coverage)
    };
    api.answer(work).await
}

/// Volume of the whole range, in as few buckets as the readers allow.
fn volume(
    (api, scope): (&Api, &Scope),
    params: &Params,
    budget: &RequestBudget,
) -> Result<(Covered<Vec<LogVolume>>, TimeRange), LokiError> {
    let range = params.range((api.clock)(), HOUR)?;
    let matchers = matchers(params.get("query"))?;
    let ten = 10 * SECOND;
    let step = (range.end.saturating_sub(range.start) / ten).saturating_add(1).saturating_mul(ten).min(i64::MAX / ten * ten);
    let found = api.logs.volume(&select(scope, matchers, range), step, budget)?;
    budget.reserve(found.value.iter().map(|one| 64 + label_bytes(&one.stream)).sum())?;
    Ok((found, range))
}

/// `/index/stats`. weir has no count of chunks; Grafana adds the number up, so there is one.
pub(super) async fn index_stats(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let (found, _) = volume((api, &granted.scope), &params, budget)?;
        let streams: BTreeSet<&Labels> = found.value.iter().map(|one| &one.stream).collect();
        let entries: u64 = found.value.iter().map(|one| one.lines).sum();
        let bytes: u64 = found.value.iter().map(|one| one.bytes).sum();
        let body = json!({"streams": streams.len(), "chunks": 0, "entries": entries, "bytes": bytes});
        Ok(Reply::json(budget, &body, Some(found.coverage))?)
    };
    api.answer(work).await
}

/// `/index/volume`: bytes by `targetLabels`, else by the labels that the selector names; the largest first.
pub(super) async fn index_volume(api: Call, granted: Granted, params: Params) -> Result<Response, LokiError> {
    api.answer(move |api, budget| volume_by_labels((api, &granted.scope), &params, budget)).await
}

fn volume_by_labels(of: (&Api, &Scope), params: &Params, budget: &RequestBudget) -> Result<Reply, LokiError> {
    let by_label = match params.get("aggregateBy") {
        None | Some("series") => false,
        Some("labels") => true,
        Some(_) => return Err("parameter aggregateBy is series or labels".to_owned().into()),
    };
    let limit = params.number("limit", 100)?;
    let targets: Vec<String> = match params.get("targetLabels") {
        Some(targets) => targets.split(',').map(|target| target.trim().to_owned()).collect(),
        None => matchers(params.get("query"))?.into_iter().map(|matcher| matcher.name).collect(),
    };
    let (found, range) = volume(of, params, budget)?;
    let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
    for one in &found.value {
        if by_label {
            for (name, _) in
                one.stream.iter().filter(|(name, _)| targets.is_empty() || targets.iter().any(|target| target == name))
            {
                *sums.entry(Labels::from_pairs([(name, name)])).or_default() += one.bytes;
            }
        } else {
            *sums.entry(one.stream.without(|name| !targets.iter().any(|target| target == name))).or_default() += one.bytes;
        }
    }
    let mut ordered: Vec<_> = sums.into_iter().collect();
    ordered.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ordered.truncate(limit);
    let result: Vec<Json_> = ordered
        .into_iter()
        .map(|(labels, bytes)| {
            let metric = if by_label { json!({labels.iter().next().map_or("", |(name, _)| name): ""}) } else { json!(labels) };
            json!({"metric": metric, "value": [seconds(range.end), sample(bytes as f64)]})
        })
        .collect();
    success(budget, &json!({"resultType": "vector", "result": result}), found.coverage)
}
