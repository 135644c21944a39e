//! `rules`, `alerts`, `alertmanagers`: as last evaluated.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use super::Api;
use super::answer::Success;

/// `GET rules`
pub(super) async fn rules(State(api): State<Arc<Api>>) -> Success {
    Success::of(&json!({"groups": api.rules.group_names()}))
}

/// `GET alerts`
pub(super) async fn alerts(State(_api): State<Arc<Api>>) -> Success {
    Success::of(&json!({"alerts": []}))
}

/// `GET alertmanagers`
pub(super) async fn alertmanagers(State(_api): State<Arc<Api>>) -> Success {
    Success::of(&json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}))
}
