//! `rules`, `alerts`, `alertmanagers`: as last evaluated.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Failure, Success};
use super::params::Params;
use crate::budget::RequestBudget;

/// `GET rules?type=alert|record`
pub(super) async fn rules(State(api): State<Arc<Api>>, params: Params) -> Result<Response, Failure> {
    let kind = params.get("type").unwrap_or("").to_ascii_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(Failure::bad_data(format!("invalid parameter \"type\": not supported value {kind:?}")));
    }
    api.answer(move |api, budget| Success::of(budget, &api.rules.rules_json(&kind))?.reply(None)).await
}

/// `GET alerts`
pub(super) async fn alerts(State(api): State<Arc<Api>>) -> Result<Response, Failure> {
    api.answer(|api, budget| Success::of(budget, &api.rules.alerts_json())?.reply(None)).await
}

/// `GET alertmanagers`
pub(super) async fn alertmanagers(State(api): State<Arc<Api>>) -> Result<Response, Failure> {
    let work = |api: &Api, budget: &RequestBudget| {
        let active: Vec<Value> = api.rules.alertmanagers().iter().map(|url| json!({"url": url})).collect();
        Success::of(budget, &json!({"activeAlertmanagers": active, "droppedAlertmanagers": []}))?.reply(None)
    };
    api.answer(work).await
}
