//! weir's own endpoints: `/metrics`, `/healthz`, `/readyz`, and the admin actions.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use weir_aggregator::{Aggregator, Committed};

/// A partition this many bus records behind is still called ready: they arrive faster than they are asked for.
const READY_WITHIN: u64 = 64;

/// What these endpoints look at.
pub(crate) struct Admin {
    pub aggregator: Arc<Aggregator>,
    pub registry: Registry,
    /// Of all topics together.
    pub partitions: usize,
}

pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/ready", get(ready))
        .route("/-/healthy", get(|| async { "ok\n" }))
        .route("/-/ready", get(ready))
        .route("/api/weir/v1/admin/seal", post(seal))
        .route("/api/weir/v1/admin/compact", post(compact))
        .with_state(admin)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Ready means: every partition is owned and what was on the bus at start can be found.
async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if admin.aggregator.is_caught_up(admin.partitions, READY_WITHIN) {
        return "ready\n".into_response();
    }
    let owned = admin.aggregator.status();
    let behind: u64 = owned.iter().map(|status| status.on_bus.saturating_sub(status.searchable)).sum();
    let message = format!("not ready: {} of {} partitions open, {behind} records to replay\n", owned.len(), admin.partitions);
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

async fn seal(State(admin): State<Arc<Admin>>) -> Response {
    answer(admin.aggregator.seal().await)
}

async fn compact(State(admin): State<Arc<Admin>>) -> Response {
    answer(admin.aggregator.compact().await)
}

fn answer(done: Result<Committed, String>) -> Response {
    match done {
        Ok(done) => axum::Json(json!({"blocks": done.blocks, "records": done.records})).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"error": error}))).into_response(),
    }
}
