//! `logs/tail`: lines as they arrive, over a WebSocket; `{"lines": [Line], "dropped": n}` at most every 100 ms.

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use serde_json::{Value, json};
use weir_access::{Access, Granted, Held};
use weir_budget::RequestBudget;

use super::super::error::ApiError;
use super::super::live::{Arrived, Live, bounded, follow};
use super::super::params::Params;
use super::super::{Api, TAIL_LOGS};
use super::WeirError;
use super::logs::{entry, log_query};
use crate::call::Call;

/// Upgrades to a WebSocket. Errors: a metric query, too many tails.
pub(super) async fn tail(
    api: Call,
    granted: Granted,
    Extension(access): Extension<Access>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    params: Params,
) -> Result<Response, WeirError> {
    let places = api.tail_places(&granted.scope)?;
    let held = Held::new(access, TAIL_LOGS, granted.clone());
    let work = move |api: &Api, _: &RequestBudget| {
        let (query, log) = (params.get("query"), log_query(params.get("query"))?);
        let (detected, counters) = (api.config.detected_level, api.counters.clone());
        Ok::<_, WeirError>(Live::open((&api.logs, &granted.scope), query.unwrap_or_default(), &log, detected, counters)?)
    };
    let mut live = api.run(work).await?;
    let upgrade = upgrade.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    let kept = (api.tail_timing, api.counters.clone(), held, places);
    let step = move || message(&live.poll()).map(|message| message.to_string());
    Ok(bounded(upgrade).on_upgrade(move |socket| follow(socket, kept, step)))
}

/// One message; `None` when there is nothing to say.
pub(super) fn message(arrived: &Arrived) -> Option<Value> {
    if arrived.lines.is_empty() && arrived.dropped == 0 {
        return None;
    }
    Some(json!({"lines": arrived.lines.iter().map(entry).collect::<Vec<_>>(), "dropped": arrived.dropped}))
}
