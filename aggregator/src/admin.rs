//! Sealing, merging and deleting what is too old now, of the partitions that this process owns: routes that whoever listens merges into its router.
//! Query nodes pass on to them what they are told.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use weir_heads::{AdminResult, COMPACT_PATH, EXPIRE_PATH, SEAL_PATH};

use crate::AggregatorError;
use crate::open::Aggregator;

/// Answers `POST /api/weir/v1/admin/{seal,compact,expire}` when it is done; 503 with what refused when not.
pub fn router(aggregator: Arc<Aggregator>) -> Router {
    let routes = Router::new().route(SEAL_PATH, post(seal)).route(COMPACT_PATH, post(compact));
    routes.route(EXPIRE_PATH, post(expire)).with_state(aggregator)
}

async fn seal(State(aggregator): State<Arc<Aggregator>>) -> Response {
    answer(aggregator.seal().await)
}

async fn compact(State(aggregator): State<Arc<Aggregator>>) -> Response {
    answer(aggregator.compact().await)
}

async fn expire(State(aggregator): State<Arc<Aggregator>>) -> Response {
    answer(aggregator.expire().await)
}

fn answer(done: Result<AdminResult, AggregatorError>) -> Response {
    match done {
        Ok(done) => Json(done).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": error.to_string()}))).into_response(),
    }
}
