//! `labels`, `label/…/values`, `series`, `metadata`: what there is to query.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::Path;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use weir_access::Granted;
use weir_budget::{RequestBudget, millis};
use weir_model::clip;
use weir_model::label::{Labels, Matcher};
use weir_model::metric::Family;
use weir_model::scope::Scope;
use weir_model::select::label_bytes;
use weir_model::select::{Budget, Coverage, MetricSelect};
use weir_model::time::SECOND;

use super::Api;
use super::answer::{ApiError, Success};
use super::params::Params;
use crate::call::Call;
use crate::reply::Reply;

const TRUNCATED: &str = "results truncated due to limit";

/// `GET|POST labels?match[]&start&end&limit`
pub(super) async fn names(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let (found, coverage) = select(api, (&granted.scope, &params), params.selectors()?, budget)?;
        let names: BTreeSet<&str> = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        listed(names.into_iter(), coverage, &params, budget)
    };
    api.answer(work).await
}

/// `GET label/{name}/values?match[]&start&end&limit`
pub(super) async fn values(api: Call, granted: Granted, Path(name): Path<String>, params: Params) -> Result<Response, ApiError> {
    let name = plain_name(&name).ok_or_else(|| ApiError::bad_data(format!("invalid label name: {:?}", clip(&name))))?;
    let work = move |api: &Api, budget: &RequestBudget| {
        let (found, coverage) = select(api, (&granted.scope, &params), params.selectors()?, budget)?;
        let values: BTreeSet<&str> = found.iter().map(|labels| labels.get(&name)).filter(|value| !value.is_empty()).collect();
        listed(values.into_iter(), coverage, &params, budget)
    };
    api.answer(work).await
}

/// A label name out of a path: `U__a_2e_b` is `a.b`, Prometheus' spelling for names that are no identifiers.
fn plain_name(name: &str) -> Option<String> {
    let Some(escaped) = name.strip_prefix("U__") else { return (!name.is_empty()).then(|| name.to_owned()) };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if letter != '_' {
            out.push(letter);
        } else if let Some(tail) = rest.strip_prefix('_') {
            out.push('_');
            rest = tail;
        } else {
            let (code, tail) = rest.split_once('_')?;
            out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
            rest = tail;
        }
    }
    Some(out)
}

/// `GET|POST series?match[]&start&end&limit`
pub(super) async fn series(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let selectors = params.selectors()?;
        if selectors.is_empty() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        let (found, coverage) = select(api, (&granted.scope, &params), selectors, budget)?;
        listed(found.iter(), coverage, &params, budget)
    };
    api.answer(work).await
}

/// `GET metadata?metric&limit&limit_per_metric`
pub(super) async fn metadata(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let metric = params.get("metric").map(str::to_owned);
    let limit = params.count("limit")?.unwrap_or(usize::MAX);
    let per_metric = params.count("limit_per_metric")?.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let work = move |api: &Api, budget: &RequestBudget| {
        let read = api.metrics.families(&granted.scope, budget)?;
        let size = |family: &Family| (family.name.len() + family.help.len() + family.unit.len() + 256) as u64;
        budget.reserve(read.value.iter().map(size).sum())?;
        let mut families: BTreeMap<&str, Vec<serde_json::Value>> = BTreeMap::new();
        for family in read.value.iter().filter(|family| metric.as_ref().is_none_or(|name| *name == family.name)) {
            if families.len() >= limit && !families.contains_key(family.name.as_str()) {
                break;
            }
            let entries = families.entry(&family.name).or_default();
            if entries.len() < per_metric {
                entries.push(json!({"type": family.kind.name(), "help": family.help, "unit": family.unit}));
            }
        }
        Success::of(budget, &families)?.reply(Some(read.coverage))
    };
    api.answer(work).await
}

/// `start` and `end`. Where nothing is said, all that there is, or as far back as the tenants allow.
pub(super) fn range(api: &Api, params: &Params, budget: &RequestBudget) -> Result<(i64, i64), ApiError> {
    let end_ms = params.bound("end")?.unwrap_or(i64::MAX);
    Ok(match (params.bound("start")?, budget.range_max()) {
        (Some(start_ms), _) => (start_ms, end_ms),
        (None, None) => (i64::MIN, end_ms),
        (None, Some(max)) => {
            let end_ms = end_ms.min((api.clock)().div_euclid(SECOND / 1000));
            (end_ms.saturating_sub(millis(max)), end_ms)
        }
    })
}

/// Label sets that pass any of the selectors (all, when there is none), ascending.
fn select(
    api: &Api,
    (scope, params): (&Scope, &Params),
    selectors: Vec<Vec<Matcher>>,
    budget: &RequestBudget,
) -> Result<(BTreeSet<Labels>, Coverage), ApiError> {
    let (start_ms, end_ms) = range(api, params, budget)?;
    if end_ms < start_ms {
        return Ok(Default::default());
    }
    let selectors = if selectors.is_empty() { vec![Vec::new()] } else { selectors };
    let (mut found, mut coverage) = (BTreeSet::new(), Coverage::default());
    for matchers in selectors {
        budget.check()?;
        let select = MetricSelect { scope: scope.clone(), matchers, start_ms, end_ms };
        let read = api.metrics.series(&select, budget)?;
        coverage.merge(read.coverage);
        for labels in read.value {
            let bytes = label_bytes(&labels);
            if found.insert(labels) {
                budget.reserve(bytes)?;
            }
        }
    }
    Ok((found, coverage))
}

/// The first `limit` of a list.
fn listed<T: Serialize>(
    items: impl ExactSizeIterator<Item = T>,
    coverage: Coverage,
    params: &Params,
    budget: &RequestBudget,
) -> Result<Reply, ApiError> {
    let (count, limit) = (items.len(), params.limit("limit")?.unwrap_or(usize::MAX));
    let mut success = Success::write(budget, |text| text.each(items.take(limit)))?;
    if count > limit {
        success.warnings.push(TRUNCATED.to_owned());
    }
    success.reply(Some(coverage))
}
