//! `GET /api/weir/v1/cardinality`: what makes the most series, by metric, label, label value, target and tenant.

use axum::response::Response;
use serde_json::{Value, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::label::NAME;
use weir_model::select::MetricSelect;
use weir_model::time::SECOND;
use weir_promql::parse::parse_selector;

use super::{WeirError, answer};
use crate::Api;
use crate::call::Call;
use crate::params::{HOUR, Params};
use crate::prometheus::cardinality::{names, top};

const LIMIT_DEFAULT: usize = 10;
/// An answer has five lists of so many.
const LIMIT_MAX: usize = 10_000;

/// `selector`, `limit` and a range, of which the default is the last hour.
pub(super) async fn cardinality(api: Call, granted: Granted, params: Params) -> Result<Response, WeirError> {
    let range = params.range((api.clock)(), HOUR)?;
    let limit = params.number("limit", LIMIT_DEFAULT)?;
    if limit > LIMIT_MAX {
        return Err(format!("parameter limit: {limit} is more than the {LIMIT_MAX} that weir takes").into());
    }
    let work = move |api: &Api, budget: &RequestBudget| {
        let matchers = match params.get("selector") {
            None => Vec::new(),
            Some(text) => parse_selector(text).map_err(|error| format!("parameter selector: {error}"))?.matchers,
        };
        let millis = |nanos: i64| nanos.div_euclid(SECOND / 1000);
        let (start_ms, end_ms) = (millis(range.start), millis(range.end));
        let read =
            api.metrics.cardinality(&MetricSelect { scope: (*granted.scope).clone(), matchers, start_ms, end_ms }, budget)?;
        let found = &read.value;
        let metrics = found.labels.get(NAME).into_iter().flatten().map(|(name, series)| (name, *series));
        let metrics: Vec<Value> =
            top(metrics, limit).into_iter().map(|(name, series)| json!({"name": name, "series": series})).collect();
        let by_name = names(found).map(|own| ((own.name, own.series, own.bytes), own.values));
        let labels: Vec<Value> = top(by_name, limit)
            .into_iter()
            .map(|((name, series, bytes), values)| json!({"name": name, "values": values, "series": series, "bytes": bytes}))
            .collect();
        let pairs = found.labels.iter().filter(|(name, _)| *name != NAME);
        let pairs = pairs.flat_map(|(name, values)| values.iter().map(move |(value, series)| ((name, value), *series)));
        let pairs: Vec<Value> = top(pairs, limit)
            .into_iter()
            .map(|((name, value), series)| json!({"name": name, "value": value, "series": series}))
            .collect();
        let targets = found.targets.iter().map(|(target, series)| (target, *series));
        let targets: Vec<Value> = top(targets, limit)
            .into_iter()
            .map(|((job, instance), series)| json!({"job": job, "instance": instance, "series": series}))
            .collect();
        let tenants = found.tenants.iter().map(|(tenant, series)| (tenant, *series));
        let tenants: Vec<Value> =
            top(tenants, limit).into_iter().map(|(tenant, series)| json!({"tenant": tenant, "series": series})).collect();
        let body = json!({
            "start": range.start.to_string(),
            "end": range.end.to_string(),
            "series": found.series,
            "label_pairs": found.pairs(),
            "metrics": metrics,
            "labels": labels,
            "pairs": pairs,
            "targets": targets,
            "tenants": tenants,
        });
        answer(budget, &body, read.coverage)
    };
    api.answer(work).await
}
