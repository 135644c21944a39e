//! `rules`, `alerts`, `alertmanagers`: as last evaluated.

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Failure, Success};
use super::params::Params;

/// `GET rules?type=alert|record`
pub(super) async fn rules(State(api): State<Arc<Api>>, params: Params) -> Result<Success, Failure> {
    let kind = params.get("type").unwrap_or("").to_ascii_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(Failure::bad_data(format!("invalid parameter \"type\": not supported value {kind:?}")));
    }
    Ok(Success::of(&api.rules.rules_json(&kind)))
}

/// `GET alerts`
pub(super) async fn alerts(State(api): State<Arc<Api>>) -> Success {
    Success::of(&api.rules.alerts_json())
}

/// `GET alertmanagers`
pub(super) async fn alertmanagers(State(api): State<Arc<Api>>) -> Success {
    let active: Vec<Value> = api.rules.alertmanagers().iter().map(|url| json!({"url": url})).collect();
    Success::of(&json!({"activeAlertmanagers": active, "droppedAlertmanagers": []}))
}
