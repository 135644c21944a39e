//! Sealing, merging and deleting what is too old now, of the partitions that this process owns: routes that whoever listens merges
//! into its own. Query nodes pass on to them what they are told, and are let in as processes of the cluster.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use weir_access::{Needs, Routes, Verb};
use weir_heads::{AdminResult, COMPACT_PATH, EXPIRE_PATH, SEAL_PATH};

use crate::AggregatorError;
use crate::deletions;
use crate::open::Aggregator;

/// Answers `POST /api/weir/v1/admin/{seal,compact,expire}` when it is done; 503 with what refused when not.
pub fn router(aggregator: Arc<Aggregator>) -> Routes {
    let needs = Needs::Whole(Verb::Admin);
    let routes = Routes::new().post(SEAL_PATH, needs, seal).post(COMPACT_PATH, needs, compact);
    routes.post(EXPIRE_PATH, needs, expire).merge(deletions::routes()).with_state(aggregator)
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
