//! `GET /api/weir/v1/usage`: what tenants have sent and asked over a time, of all processes, and what blocks have of them now. Each process keeps what it counts as series of
//! weir's own tenant, of which the caller need not be: it is shown those of its own tenants and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weir_access::{Access, Granted, Needs, Verb};
use weir_budget::RequestBudget;
use weir_model::label::{MatchOp, Matcher, NAME};
use weir_model::scope::Scope;
use weir_model::select::{Coverage, MetricSelect, Series};
use weir_model::time::{SECOND, TimeRange};
use weir_model::usage::{
    Amount, INGESTED_BYTES, INGESTED_RECORDS, QUERIES, QUERY_READ_BYTES, QUERY_RECORDS, QUERY_SECONDS, signal,
};
use weir_model::wire::Kind;

use super::super::call::Call;
use super::super::error::ApiError;
use super::super::params::Params;
use super::super::{Api, params::HOUR};
use super::{WeirError, answer};

/// What is asked for when nothing is said.
const RANGE_DEFAULT: i64 = 24 * HOUR;
/// A counter that has a sample within so long before the range had that value when it began; another was zero. Processes tell at least every
/// ten minutes, and the bus may be away for a while.
const BEFORE: i64 = HOUR;

/// Figures of one tenant, by name and signal.
type Figures = BTreeMap<(String, String), f64>;

/// Those of the caller's tenants; with `all=true`, which takes an administrator, of every tenant.
pub(super) async fn usage(
    api: Call,
    granted: Granted,
    Extension(access): Extension<Access>,
    params: Params,
) -> Result<Response, WeirError> {
    let range = params.range((api.clock)(), RANGE_DEFAULT)?;
    let tenants = if params.flag("all")? {
        if let Err(denied) = access.grant(Needs::Whole(Verb::Admin)).await {
            return Ok(denied.into_response());
        }
        None
    } else {
        Some(whole_tenants(&granted.scope)?)
    };
    let work = move |api: &Api, budget: &RequestBudget| {
        let (mut found, mut coverage): (BTreeMap<String, Figures>, _) = (BTreeMap::new(), Coverage::default());
        match &tenants {
            None => coverage = read(api, None, range, budget, &mut found)?,
            Some(tenants) => {
                for tenant in tenants {
                    found.entry(tenant.to_string()).or_default();
                    coverage.merge(read(api, Some(tenant), range, budget, &mut found)?);
                }
            }
        }
        tenants.iter().flatten().for_each(|tenant| _ = found.entry(tenant.to_string()).or_default());
        let stored = api.stored.as_ref().map(|stored| stored.stored(budget)).transpose()?.unwrap_or_default();
        stored.missing.into_iter().for_each(|sentence| coverage.miss(sentence));
        if tenants.is_none() {
            stored.tenants.keys().for_each(|tenant| _ = found.entry(tenant.to_string()).or_default());
        }
        let of = |tenant: &str| stored.tenants.get(tenant).copied().unwrap_or_default();
        let shown: Vec<Value> = found.iter().map(|(tenant, figures)| shape(tenant, figures, &of(tenant))).collect();
        let body = json!({"start": range.start.to_string(), "end": range.end.to_string(), "tenants": shown});
        answer(budget, &body, coverage)
    };
    api.answer(work).await
}

/// Errors where a part of a tenant is visible only: usage is of all of it.
fn whole_tenants(scope: &Scope) -> Result<Vec<Arc<str>>, ApiError> {
    let mut tenants = Vec::new();
    for own in scope.tenants() {
        if !own.visible.is_all() {
            let text = format!("usage is of the whole of a tenant, and you may see a part of tenant {:?} only", own.tenant);
            return Err(ApiError::new(StatusCode::FORBIDDEN, text));
        }
        tenants.push(Arc::clone(&own.tenant));
    }
    Ok(tenants)
}

/// Adds what the series of a tenant, or of all, have grown by.
fn read(
    api: &Api,
    tenant: Option<&Arc<str>>,
    range: TimeRange,
    budget: &RequestBudget,
    found: &mut BTreeMap<String, Figures>,
) -> Result<Coverage, WeirError> {
    let Some(scope) = &api.usage_scope else { return Ok(Coverage::default()) };
    let names = Matcher::new(NAME, MatchOp::Regex, "weir_usage_.+_total").map_err(|error| error.to_string())?;
    let matchers = std::iter::once(names).chain(tenant.map(|tenant| Matcher::equal("tenant", &**tenant))).collect();
    let ms = |nanos: i64| nanos.div_euclid(SECOND / 1000);
    let (start_ms, end_ms) = (ms(range.start), ms(range.end));
    let select = MetricSelect { scope: scope.clone(), matchers, start_ms: ms(range.start.saturating_sub(BEFORE)), end_ms };
    let mut cursor = api.metrics.cursor(&select, budget)?;
    let mut series = Series::default();
    while cursor.next(&mut series)? {
        let label = |name: &str| series.labels.get(name).to_owned();
        let name = label(NAME).trim_end_matches("_total").to_owned();
        let grown = increase(&series.timestamps, &series.values, start_ms);
        *found.entry(label("tenant")).or_default().entry((name, label("signal"))).or_default() += grown;
    }
    Ok(cursor.coverage())
}

/// What a counter has grown by from `start_ms` on: since its last sample before, or since zero, where it and each process behind it began.
fn increase(timestamps: &[i64], values: &[f64], start_ms: i64) -> f64 {
    let (mut last, mut sum) = (0.0, 0.0);
    for (at, value) in timestamps.iter().zip(values).filter(|(_, value)| value.is_finite()) {
        if *at >= start_ms {
            sum += if *value >= last { value - last } else { *value };
        }
        last = *value;
    }
    sum
}

fn shape(tenant: &str, figures: &Figures, stored: &[Amount]) -> Value {
    let figure = |name: &str, signal: &str| figures.get(&(name.to_owned(), signal.to_owned())).copied().unwrap_or_default();
    let whole = |name: &str, signal: &str| figure(name, signal).round() as u64;
    let ingested = |signal: &str| json!({"bytes": whole(INGESTED_BYTES, signal), "records": whole(INGESTED_RECORDS, signal)});
    let amount = |own: &Amount| json!({"bytes": own.bytes, "records": own.records});
    let stored: serde_json::Map<String, Value> =
        Kind::ALL.into_iter().zip(stored).map(|(kind, own)| (signal(kind).to_owned(), amount(own))).collect();
    json!({
        "tenant": tenant,
        "stored": stored,
        "ingested": {"logs": ingested("logs"), "metrics": ingested("metrics"), "traces": ingested("traces")},
        "queries": {
            "count": whole(QUERIES, ""),
            "seconds": figure(QUERY_SECONDS, ""),
            "records": whole(QUERY_RECORDS, ""),
            "read_bytes": whole(QUERY_READ_BYTES, ""),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_counts_from_zero_or_from_what_it_was() {
        let check = |samples: &[(i64, f64)], expected: f64| {
            let (timestamps, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
            assert_eq!(increase(&timestamps, &values, 100), expected, "{samples:?}");
        };
        check(&[], 0.0);
        check(&[(100, 5.0)], 5.0);
        check(&[(99, 5.0)], 0.0);
        check(&[(50, 3.0), (99, 5.0), (100, 7.0), (200, 7.0), (300, 10.0)], 5.0);
        check(&[(99, 5.0), (100, 2.0), (200, 4.0)], 4.0);
        check(&[(100, 5.0), (150, f64::NAN), (200, 6.0)], 6.0);
    }
}
