//! `logs/tail`: lines as they arrive, over a WebSocket; `{"lines": [Line], "dropped": n}` at most every 100 ms.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use weir_model::fault;

use super::super::Api;
use super::super::failure::Failure;
use super::super::live::{Arrived, Live, TICK};
use super::super::params::Params;
use super::Wrong;
use super::logs::{entry, log_query};

/// Upgrades to a WebSocket. Errors: a metric query, too many tails.
pub(super) async fn tail(
    State(api): State<Arc<Api>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    params: Params,
) -> Result<Response, Wrong> {
    let log = log_query(params.get("query"))?;
    let permit = Arc::clone(&api.tails)
        .try_acquire_owned()
        .map_err(|_| Failure::new(StatusCode::TOO_MANY_REQUESTS, "too many tails are open on this weir"))?;
    let upgrade = upgrade.map_err(|error| Failure::new(error.status(), error.body_text()))?;
    let live =
        Live::open(&api.logs, params.get("query").unwrap_or_default(), &log, api.config.detected_level, api.counters.clone())?;
    Ok(upgrade.on_upgrade(move |socket| follow(socket, live, permit)))
}

/// One message; `None` when there is nothing to say.
pub(super) fn message(arrived: &Arrived) -> Option<Value> {
    if arrived.lines.is_empty() && arrived.dropped == 0 {
        return None;
    }
    Some(json!({"lines": arrived.lines.iter().map(entry).collect::<Vec<_>>(), "dropped": arrived.dropped}))
}

async fn follow(mut socket: WebSocket, mut live: Live, _permit: OwnedSemaphorePermit) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = tick.tick() => {}
        }
        let polled = tokio::task::spawn_blocking(move || {
            fault::contained(|| {
                let text = message(&live.poll()).map(|message| message.to_string());
                (live, text)
            })
        });
        let Ok(Ok((next, text))) = polled.await else { return };
        live = next;
        if let Some(text) = text
            && socket.send(Message::text(text)).await.is_err()
        {
            return;
        }
    }
}
