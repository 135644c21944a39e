//! How many series carry what: `status/tsdb` in Prometheus' shape and `cardinality/…` in Mimir's, told by labels, without a look at
//! samples. What counts is a series that may have a sample in the range: the last hour where nothing is said.

use std::cmp::Reverse;
use std::collections::HashSet;

use axum::response::Response;
use serde_json::{Value, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::label::{Matcher, NAME};
use weir_model::scope::Scope;
use weir_model::select::{Budget, Cardinality, Covered, MetricSelect, Reservation};
use weir_model::time::SECOND;
use weir_promql::parse::parse_selector;

use super::Api;
use super::answer::{ApiError, Success};
use super::params::Params;
use crate::call::Call;

const HOUR_MS: i64 = 3_600_000;
/// As Mimir has it by default: seen within the last twenty minutes.
const ACTIVE_MS: i64 = 1_200_000;
/// Labels that one request may ask of: the values of each are sorted.
const NAMES_MAX: usize = 100;
/// Of a value in an answer, beside its text.
const SHOWN_BYTES: usize = 256;

/// Which series are asked for.
fn select(api: &Api, scope: &Scope, params: &Params, matchers: Vec<Matcher>, recent_ms: i64) -> Result<MetricSelect, ApiError> {
    let end_ms = params.bound("end")?.unwrap_or_else(|| (api.clock)().div_euclid(SECOND / 1000));
    let start_ms = params.bound("start")?.unwrap_or_else(|| end_ms.saturating_sub(recent_ms));
    Ok(MetricSelect { scope: scope.clone(), matchers, start_ms, end_ms })
}

/// Pairs, the greatest number first.
pub(crate) fn top<N: Ord>(items: impl Iterator<Item = (N, u64)>, limit: usize) -> Vec<(N, u64)> {
    let mut items: Vec<(N, u64)> = items.collect();
    items.sort_by(|one, other| (Reverse(one.1), &one.0).cmp(&(Reverse(other.1), &other.0)));
    items.truncate(limit);
    items
}

/// Values and series of each label name.
pub(crate) struct NameCount<'a> {
    pub name: &'a str,
    pub values: u64,
    pub series: u64,
    /// Of its values, in each of its series.
    pub bytes: u64,
}

pub(crate) fn names(found: &Cardinality) -> impl Iterator<Item = NameCount<'_>> {
    found.labels.iter().map(|(name, values)| NameCount {
        name,
        values: values.len() as u64,
        series: values.values().sum(),
        bytes: values.iter().map(|(value, series)| value.len() as u64 * series).sum(),
    })
}

/// `GET status/tsdb?limit&start&end`
pub(super) async fn tsdb(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    const LIMIT_MAX: usize = 10_000;
    let limit = match params.get("limit").map(str::parse::<usize>) {
        None => 10,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(Ok(limit)) if limit > 0 => return Err(ApiError::bad_data(format!("limit must not exceed {LIMIT_MAX}"))),
        Some(_) => return Err(ApiError::bad_data("limit must be a positive number")),
    };
    let work = move |api: &Api, budget: &RequestBudget| {
        let select = select(api, &granted.scope, &params, Vec::new(), HOUR_MS)?;
        let Covered { value: found, coverage } = api.metrics.cardinality(&select, budget)?;
        let list = |items: Vec<(String, u64)>| -> Vec<Value> {
            items.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
        };
        let of_names = |of: fn(&NameCount<'_>) -> u64| list(top(names(&found).map(|own| (own.name.to_owned(), of(&own))), limit));
        let metrics = found.labels.get(NAME).into_iter().flatten().map(|(name, series)| (name.clone(), *series));
        let pairs =
            found.labels.iter().flat_map(|(name, values)| values.iter().map(move |(value, series)| ((name, value), *series)));
        let pairs = top(pairs, limit).into_iter().map(|((name, value), series)| (format!("{name}={value}"), series));
        let body = json!({
            "headStats": {
                "numSeries": found.series,
                "numLabelPairs": found.pairs(),
                "chunkCount": 0,
                "minTime": select.start_ms,
                "maxTime": select.end_ms,
            },
            "seriesCountByMetricName": list(top(metrics, limit)),
            "labelValueCountByLabelName": of_names(|own| own.values),
            "memoryInBytesByLabelName": of_names(|own| own.bytes),
            "seriesCountByLabelValuePair": list(pairs.collect()),
        });
        Success::of(budget, &body)?.reply(Some(coverage))
    };
    api.answer(work).await
}

/// `selector` and `limit` of Mimir's calls.
fn asked(params: &Params) -> Result<(Vec<Matcher>, usize), ApiError> {
    const LIMIT_MAX: usize = 500;
    let matchers = match params.get("selector") {
        None => Vec::new(),
        Some(text) => {
            parse_selector(text).map_err(|error| ApiError::bad_data(format!("invalid parameter \"selector\": {error}")))?.matchers
        }
    };
    let limit = match params.get("limit").map(str::parse::<usize>) {
        None => 20,
        Some(Ok(limit)) if limit <= LIMIT_MAX => limit,
        Some(_) => return Err(ApiError::bad_data(format!("'limit' param must be a whole number from 0 to {LIMIT_MAX}"))),
    };
    Ok((matchers, limit))
}

/// How far back a series counts.
fn recent(params: &Params) -> Result<i64, ApiError> {
    match params.get("count_method") {
        None | Some("inmemory") => Ok(HOUR_MS),
        Some("active") => Ok(ACTIVE_MS),
        Some(_) => Err(ApiError::bad_data("invalid 'count_method' param, valid options are: [inmemory active]")),
    }
}

/// `GET|POST cardinality/label_names?selector&limit&count_method`
pub(super) async fn label_names(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let recent_ms = recent(&params)?;
    let work = move |api: &Api, budget: &RequestBudget| {
        let (matchers, limit) = asked(&params)?;
        let read = api.metrics.cardinality(&select(api, &granted.scope, &params, matchers, recent_ms)?, budget)?;
        let shown = top(names(&read.value).map(|own| (own.name, own.values)), limit);
        let shown: Vec<Value> =
            shown.into_iter().map(|(name, values)| json!({"label_name": name, "label_values_count": values})).collect();
        let body = json!({
            "label_values_count_total": read.value.pairs(),
            "label_names_count": read.value.labels.len(),
            "cardinality": shown,
        });
        Ok::<_, ApiError>(crate::reply::Reply::json(budget, &body, Some(read.coverage))?)
    };
    api.answer(work).await
}

/// `GET|POST cardinality/label_values?label_names[]&selector&limit&count_method`
pub(super) async fn label_values(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let recent_ms = recent(&params)?;
    let mut known = HashSet::new();
    let wanted = params.all("label_names[]").filter(|name| !name.is_empty() && known.insert(*name));
    let wanted: Vec<String> = wanted.map(str::to_owned).collect();
    if wanted.is_empty() {
        return Err(ApiError::bad_data("'label_names[]' param is required"));
    }
    if wanted.len() > NAMES_MAX {
        return Err(ApiError::bad_data(format!("'label_names[]' param may name {NAMES_MAX} labels, these are {}", wanted.len())));
    }
    let work = move |api: &Api, budget: &RequestBudget| {
        let (matchers, limit) = asked(&params)?;
        let read = api.metrics.cardinality(&select(api, &granted.scope, &params, matchers, recent_ms)?, budget)?;
        let of = |name: &String| -> Result<Value, ApiError> {
            budget.check()?;
            let mut sorting = Reservation::new(budget);
            sorting.settle(read.value.labels.get(name).map_or(0, |values| values.len() * size_of::<(&String, u64)>()) as u64)?;
            let values = read.value.labels.get(name).into_iter().flatten().map(|(value, series)| (value, *series));
            let (count, series) = values.clone().fold((0_u64, 0), |(count, sum), (_, series)| (count + 1, sum + series));
            let shown = top(values, limit);
            budget.reserve(shown.iter().map(|(value, _)| (value.len() + SHOWN_BYTES) as u64).sum())?;
            let shown: Vec<Value> =
                shown.into_iter().map(|(value, series)| json!({"label_value": value, "series_count": series})).collect();
            Ok(json!({"label_name": name, "label_values_count": count, "series_count": series, "cardinality": shown}))
        };
        let labels = wanted.iter().map(of).collect::<Result<Vec<Value>, _>>()?;
        let body = json!({"series_count_total": read.value.series, "labels": labels});
        Ok::<_, ApiError>(crate::reply::Reply::json(budget, &body, Some(read.coverage))?)
    };
    api.answer(work).await
}

/// `GET|POST cardinality/active_series?selector`
pub(super) async fn active_series(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let (matchers, _) = asked(&params)?;
        if matchers.is_empty() {
            return Err(ApiError::bad_data("the 'selector' param is required"));
        }
        let read = api.metrics.series(&select(api, &granted.scope, &params, matchers, ACTIVE_MS)?, budget)?;
        let mut text = crate::reply::Text::new(budget);
        text.raw("{\"data\":")?;
        text.each(&read.value)?;
        text.raw("}")?;
        Ok(text.reply(Some(read.coverage)))
    };
    api.answer(work).await
}
