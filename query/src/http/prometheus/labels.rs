//! `labels`, `label/…/values`, `series`, `metadata`: what there is to query.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::json;
use weir_model::label::{Labels, Matcher};
use weir_model::resource::TENANT_DEFAULT;
use weir_model::select::{Coverage, MetricSelect, ReadError};

use super::Api;
use super::answer::{Failure, Success};
use super::params::Params;

const TRUNCATED: &str = "results truncated due to limit";

/// `GET|POST labels?match[]&start&end&limit`
pub(super) async fn names(State(api): State<Arc<Api>>, params: Params) -> Result<Success, Failure> {
    let (found, coverage) = select(&api, &params, params.selectors()?).await?;
    let names: BTreeSet<&str> = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    listed(names.into_iter().map(str::to_owned).collect(), coverage, &params)
}

/// `GET label/{name}/values?match[]&start&end&limit`
pub(super) async fn values(State(api): State<Arc<Api>>, Path(name): Path<String>, params: Params) -> Result<Success, Failure> {
    let name = plain_name(&name).ok_or_else(|| Failure::bad_data(format!("invalid label name: {name:?}")))?;
    let (found, coverage) = select(&api, &params, params.selectors()?).await?;
    let values: BTreeSet<&str> = found.iter().map(|labels| labels.get(&name)).filter(|value| !value.is_empty()).collect();
    listed(values.into_iter().map(str::to_owned).collect(), coverage, &params)
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
pub(super) async fn series(State(api): State<Arc<Api>>, params: Params) -> Result<Success, Failure> {
    let selectors = params.selectors()?;
    if selectors.is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let (mut found, coverage) = select(&api, &params, selectors).await?;
    let limit = params.limit("limit")?.unwrap_or(usize::MAX);
    let warnings = if found.len() > limit { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    found.truncate(limit);
    Ok(Success { data: json!(found).to_string(), warnings, coverage: Some(coverage), ..Success::default() })
}

/// `GET metadata?metric&limit&limit_per_metric`
pub(super) async fn metadata(State(api): State<Arc<Api>>, params: Params) -> Result<Success, Failure> {
    let metric = params.get("metric").map(str::to_owned);
    let limit = params.limit("limit")?.unwrap_or(usize::MAX);
    let per_metric = params.limit("limit_per_metric")?.unwrap_or(usize::MAX);
    let read = api.run(|api, _| api.metrics.families(TENANT_DEFAULT)).await.map_err(|error: ReadError| Failure::from(error))?;
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
    Ok(Success { data: json!(families).to_string(), coverage: Some(read.coverage), ..Success::default() })
}

/// Label sets that pass any of the selectors (all, when there is none), ascending.
async fn select(api: &Arc<Api>, params: &Params, selectors: Vec<Vec<Matcher>>) -> Result<(Vec<Labels>, Coverage), Failure> {
    let start_ms = params.time("start")?.unwrap_or(i64::MIN);
    let end_ms = params.time("end")?.unwrap_or(i64::MAX);
    if end_ms < start_ms {
        return Err(Failure::bad_data("invalid parameter \"end\": end timestamp must not be before start time"));
    }
    let selectors = if selectors.is_empty() { vec![Vec::new()] } else { selectors };
    let found: Result<_, ReadError> = api
        .run(move |api, budget| {
            let (mut found, mut coverage) = (BTreeSet::new(), Coverage::default());
            for matchers in selectors {
                let select = MetricSelect { tenant: TENANT_DEFAULT.to_owned(), matchers, start_ms, end_ms };
                let read = api.metrics.series(&select, budget)?;
                coverage.merge(read.coverage);
                found.extend(read.value);
            }
            Ok((found.into_iter().collect(), coverage))
        })
        .await;
    Ok(found?)
}

fn listed(mut items: Vec<String>, coverage: Coverage, params: &Params) -> Result<Success, Failure> {
    let limit = params.limit("limit")?.unwrap_or(usize::MAX);
    let warnings = if items.len() > limit { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    items.truncate(limit);
    Ok(Success { data: json!(items).to_string(), warnings, coverage: Some(coverage), ..Success::default() })
}
