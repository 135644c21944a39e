//! Labels, their values, and series.

use std::collections::BTreeSet;

use axum::extract::Path;
use axum::response::Response;
use serde::Serialize;
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_logql::{Expr, parse};
use weir_model::label::{Labels, Matcher};
use weir_model::scope::Scope;
use weir_model::select::label_bytes;
use weir_model::select::{Budget, Coverage, Covered, LogSelect, ReadError};
use weir_model::time::TimeRange;

use super::super::Api;
use super::super::params::{HOUR, Params};
use super::super::reply::{Reply, Text};
use super::LokiError;
use super::query::end;
use crate::call::Call;

/// Loki's default range for names.
pub(super) const NAMES_RANGE: i64 = 6 * HOUR;

/// The matchers of a selector; none for an absent query or `{}`.
pub(super) fn matchers(query: Option<&str>) -> Result<Vec<Matcher>, LokiError> {
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

pub(super) fn select(scope: &Scope, matchers: Vec<Matcher>, range: TimeRange) -> LogSelect {
    LogSelect { scope: scope.clone(), matchers, range, filters: Vec::new(), newest_first: true }
}

pub(super) fn streams(
    (api, scope): (&Api, &Scope),
    matchers: Vec<Matcher>,
    range: TimeRange,
    budget: &RequestBudget,
) -> Result<Covered<Vec<Labels>>, ReadError> {
    let found = api.logs.streams(&select(scope, matchers, range), budget)?;
    budget.reserve(found.value.iter().map(label_bytes).sum())?;
    Ok(found)
}

pub(super) fn success(budget: &RequestBudget, data: &impl Serialize, coverage: Coverage) -> Result<Reply, LokiError> {
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
