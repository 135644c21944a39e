//! `rules`, `alerts`, `alertmanagers`: as last evaluated.

use axum::response::Response;
use serde_json::{Value, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::clip;
use weir_rules::{RuleFilter, RuleLanguage, WantedKind};

use super::Api;
use super::answer::{ApiError, Success};
use super::params::{Params, not_a_number};
use crate::call::Call;

/// `GET rules?type&rule_name[]&rule_group[]&file[]&match[]&exclude_alerts&group_limit&group_next_token`
pub(super) async fn rules(api: Call, granted: Granted, params: Params) -> Result<Response, ApiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let shown = api.rules.rules_json(&filter(&params)?, &granted.scope).map_err(ApiError::bad_data)?;
        Success::of(budget, &shown)?.reply(None)
    };
    api.answer(work).await
}

fn filter(params: &Params) -> Result<RuleFilter, ApiError> {
    let kind = match params.get("type").unwrap_or("").to_ascii_lowercase().as_str() {
        "" => None,
        "alert" => Some(WantedKind::Alert),
        "record" => Some(WantedKind::Record),
        other => return Err(ApiError::bad_data(format!("invalid parameter \"type\": not supported value {:?}", clip(other)))),
    };
    let list = |name: &str| params.all(name).filter(|value| !value.is_empty()).map(str::to_owned).collect();
    let wrong_limit =
        |reason: String| ApiError::bad_data(format!("invalid parameter \"group_limit\": group_limit needs to be {reason}"));
    let group_limit = match params.get("group_limit").map(|text| (text, text.parse::<i32>())) {
        None => None,
        Some((_, Ok(limit))) if limit > 0 => usize::try_from(limit).ok(),
        Some((_, Ok(_))) => return Err(wrong_limit("greater than 0".into())),
        Some((text, Err(_))) => return Err(wrong_limit(format!("a valid number: {}", not_a_number("ParseInt", text)))),
    };
    let next_token = params.get("group_next_token").map(str::to_owned);
    if next_token.is_some() && group_limit.is_none() {
        let message = "group_limit needs to be present in order to paginate over the groups";
        return Err(ApiError::bad_data(format!("invalid parameter \"group_next_token\": {message}")));
    }
    Ok(RuleFilter {
        language: RuleLanguage::PromQl,
        kind,
        names: list("rule_name[]"),
        groups: list("rule_group[]"),
        files: list("file[]"),
        selectors: params.selectors()?,
        exclude_alerts: exclude_alerts(params)?,
        group_limit,
        next_token,
    })
}

fn exclude_alerts(params: &Params) -> Result<bool, ApiError> {
    params.flag("exclude_alerts").map_err(|_| {
        let text = params.get("exclude_alerts").unwrap_or_default().to_ascii_lowercase();
        let reason = format!("error converting exclude_alerts: {}", not_a_number("ParseBool", &text));
        ApiError::bad_data(format!("invalid parameter \"exclude_alerts\": {reason}"))
    })
}

/// `GET alerts`
pub(super) async fn alerts(api: Call, granted: Granted) -> Result<Response, ApiError> {
    api.answer(move |api, budget| Success::of(budget, &api.rules.alerts_json(&granted.scope, RuleLanguage::PromQl))?.reply(None))
        .await
}

/// `GET alertmanagers`
pub(super) async fn alertmanagers(api: Call, granted: Granted) -> Result<Response, ApiError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let active: Vec<Value> = api.rules.alertmanagers(&granted.scope).iter().map(|url| json!({"url": url})).collect();
        Success::of(budget, &json!({"activeAlertmanagers": active, "droppedAlertmanagers": []}))?.reply(None)
    };
    api.answer(work).await
}
