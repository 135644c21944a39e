//! `query_exemplars`: exemplars of the series that a query's selectors name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::label::{Labels, Matcher};
use weir_model::metric::Exemplar;
use weir_model::select::{Budget, Coverage, MetricSelect, label_bytes};
use weir_model::time::SECOND;
use weir_promql::ast::{Expr, Kind};
use weir_promql::parse::parse;

use super::Api;
use super::answer::{ApiError, Success, sample, timestamp};
use super::labels::range;
use super::params::Params;
use crate::call::Call;

/// `GET|POST query_exemplars?query&start&end`
pub(super) async fn query(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let (start_ms, end_ms) = (params.bound("start")?.unwrap_or(i64::MIN), params.bound("end")?.unwrap_or(i64::MAX));
    if end_ms < start_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = params.get("query").unwrap_or_default().to_owned();
    let parsing = api.run(move |_, _| {
        let expr = parse(&query).map_err(|error| ApiError::bad_data(error.to_string()))?;
        let mut found = Vec::new();
        selectors(&expr, &mut found);
        Ok::<_, ApiError>(found)
    });
    let found = parsing.await?;
    if found.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let work = move |api: &Api, budget: &RequestBudget| {
        let (start_ms, end_ms) = range(api, &params, budget)?;
        let (mut series, mut coverage) = (BTreeMap::<Labels, Vec<Exemplar>>::new(), Coverage::default());
        for matchers in found {
            budget.check()?;
            let read =
                api.metrics.exemplars(&MetricSelect { scope: (*granted.scope).clone(), matchers, start_ms, end_ms }, budget)?;
            coverage.merge(read.coverage);
            for own in read.value {
                let exemplars: u64 = own.exemplars.iter().map(bytes).sum();
                let labels = label_bytes(&own.labels);
                if let Entry::Vacant(free) = series.entry(own.labels) {
                    budget.reserve(labels + exemplars)?;
                    free.insert(own.exemplars);
                }
            }
        }
        let shown = series.iter().map(|(labels, exemplars)| {
            let exemplars: Vec<_> = exemplars.iter().map(shape).collect();
            json!({"seriesLabels": labels, "exemplars": exemplars})
        });
        Success::write(budget, |text| text.each(shown))?.reply(Some(coverage))
    };
    api.answer(work).await
}

fn bytes(exemplar: &Exemplar) -> u64 {
    size_of::<Exemplar>() as u64 + label_bytes(&exemplar.labels)
}

fn shape(exemplar: &Exemplar) -> serde_json::Value {
    let at: serde_json::Number = timestamp(exemplar.timestamp.div_euclid(SECOND / 1000)).parse().unwrap_or(0.into());
    json!({"labels": exemplar.labels, "value": sample(exemplar.value), "timestamp": at})
}

/// Every selector of an expression.
fn selectors(expr: &Expr, found: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        Kind::Selector(selector) => found.push(selector.matchers.clone()),
        Kind::Range(range) => found.push(range.selector.matchers.clone()),
        _ => expr.children().into_iter().for_each(|child| selectors(child, found)),
    }
}
