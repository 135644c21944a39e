//! Rules in LogQL, as Loki's ruler tells of them: groups in YAML, and in Prometheus' shape how they went. Those in PromQL are below
//! `/api/v1/rules`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weir_access::Granted;
use weir_model::clip;
use weir_rules::{RuleFilter, RuleLanguage, WantedKind};

use super::super::params::Params;
use super::{Api, LokiError};

/// `/rules`
pub(super) async fn groups(State(api): State<Arc<Api>>, granted: Granted) -> Response {
    yaml(api.rules.loki_groups(&granted.scope, None), "no rule groups found\n")
}

/// `/rules/{namespace}`
pub(super) async fn of_namespace(State(api): State<Arc<Api>>, granted: Granted, Path(namespace): Path<String>) -> Response {
    yaml(api.rules.loki_groups(&granted.scope, Some(&namespace)), "no rule groups found\n")
}

/// `/rules/{namespace}/{group}`
pub(super) async fn group(
    State(api): State<Arc<Api>>,
    granted: Granted,
    Path((namespace, group)): Path<(String, String)>,
) -> Response {
    yaml(api.rules.loki_group(&granted.scope, &namespace, &group), "group does not exist\n")
}

fn yaml(found: Option<String>, absent: &'static str) -> Response {
    match found {
        Some(text) => ([(CONTENT_TYPE, "application/yaml")], text).into_response(),
        None => (StatusCode::NOT_FOUND, absent).into_response(),
    }
}

/// `/prometheus/api/v1/rules?type&rule_name[]&rule_group[]&file[]&exclude_alerts`
pub(super) async fn rules(State(api): State<Arc<Api>>, granted: Granted, params: Params) -> Result<Json<Value>, LokiError> {
    let kind = match params.get("type").unwrap_or_default() {
        "" => None,
        "alert" => Some(WantedKind::Alert),
        "record" => Some(WantedKind::Record),
        other => return Err(format!("invalid parameter \"type\": not supported value {:?}", clip(other)).into()),
    };
    let list = |name: &str| params.all(name).map(str::to_owned).collect();
    let filter = RuleFilter {
        language: RuleLanguage::LogQl,
        kind,
        names: list("rule_name[]"),
        groups: list("rule_group[]"),
        files: list("file[]"),
        exclude_alerts: params.flag("exclude_alerts")?,
        ..RuleFilter::default()
    };
    Ok(success(&api.rules.rules_json(&filter, &granted.scope)?))
}

/// `/prometheus/api/v1/alerts`
pub(super) async fn alerts(State(api): State<Arc<Api>>, granted: Granted) -> Json<Value> {
    success(&api.rules.alerts_json(&granted.scope, RuleLanguage::LogQl))
}

fn success(data: &Value) -> Json<Value> {
    Json(json!({"status": "success", "data": data, "errorType": "", "error": ""}))
}
