//! `/metrics`, `/healthz`, `/readyz` of every process that serves, and sealing on demand where there is an aggregator.

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

/// What `/readyz` asks. Cheap: it is asked every second.
pub(crate) trait Readiness: Send + Sync + 'static {
    /// Errors with a sentence that says what is missing.
    fn ready(&self) -> Result<(), String>;
}

struct Health {
    registry: Registry,
    readiness: Box<dyn Readiness>,
}

/// Under the names that Kubernetes, Prometheus and Loki look for.
pub(crate) fn router(registry: Registry, readiness: impl Readiness) -> Router {
    let health = Arc::new(Health { registry, readiness: Box::new(readiness) });
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/ready", get(ready))
        .route("/-/healthy", get(|| async { "ok\n" }))
        .route("/-/ready", get(ready))
        .with_state(health)
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &health.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    match health.readiness.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

/// Sealing and merging now, of the partitions that this process owns.
pub(crate) fn admin_router(aggregator: Arc<Aggregator>) -> Router {
    Router::new()
        .route("/api/weir/v1/admin/seal", post(seal))
        .route("/api/weir/v1/admin/compact", post(compact))
        .with_state(aggregator)
}

async fn seal(State(aggregator): State<Arc<Aggregator>>) -> Response {
    answer(aggregator.seal().await)
}

async fn compact(State(aggregator): State<Arc<Aggregator>>) -> Response {
    answer(aggregator.compact().await)
}

fn answer(done: Result<Committed, String>) -> Response {
    match done {
        Ok(done) => axum::Json(json!({"blocks": done.blocks, "records": done.records})).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"error": error}))).into_response(),
    }
}

/// A partition this many bus records behind is still called ready: they arrive faster than they are asked for.
const READY_WITHIN: u64 = 64;

/// Which partitions have to be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// So many: all that the bus has.
    All(usize),
    /// Those that the group has assigned; at least one.
    Assigned,
}

/// Ready means: every partition of its share is open, and what was on the bus when it began can be found.
pub(crate) struct CaughtUp {
    pub aggregator: Arc<Aggregator>,
    pub share: Share,
}

impl Readiness for CaughtUp {
    fn ready(&self) -> Result<(), String> {
        let owned = self.aggregator.status();
        let behind: u64 = owned
            .iter()
            .map(|status| status.on_bus.saturating_sub(status.searchable))
            .filter(|behind| *behind > READY_WITHIN)
            .sum();
        match self.share {
            Share::All(partitions) if owned.len() < partitions => {
                Err(format!("{} of {partitions} partitions open, {behind} records to replay", owned.len()))
            }
            Share::Assigned if owned.is_empty() => Err("the group has assigned no partition yet".into()),
            _ if behind > 0 => Err(format!("{} partitions open, {behind} records to replay", owned.len())),
            _ => Ok(()),
        }
    }
}
