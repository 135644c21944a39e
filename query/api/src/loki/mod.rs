//! Loki's HTTP API under `/loki/api/v1`; push is the collector's, `/ready` the binary's.
//!
//! - [`query`]: query, query_range, format_query; [`shape`]: streams, vector and matrix as Loki writes them;
//! - [`names`]: labels, label values, series, index statistics; [`tail`]: the WebSocket.
//!
//! Errors are plain text. Every answer has the header `X-Weir-Coverage`; one that is not complete also has `warnings`.

mod names;
mod query;
mod shape;
mod tail;

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Api;
use super::error::{ApiError, with_retry};

/// Its routes.
pub fn router(api: Arc<Api>) -> axum::Router {
    axum::Router::new()
        .route("/loki/api/v1/query", get(query::instant).post(query::instant))
        .route("/loki/api/v1/query_range", get(query::range).post(query::range))
        .route("/loki/api/v1/format_query", get(query::format).post(query::format))
        .route("/loki/api/v1/labels", get(names::labels).post(names::labels))
        .route("/loki/api/v1/label", get(names::labels))
        .route("/loki/api/v1/label/{name}/values", get(names::label_values))
        .route("/loki/api/v1/series", get(names::series).post(names::series))
        .route("/loki/api/v1/index/stats", get(names::index_stats).post(names::index_stats))
        .route("/loki/api/v1/index/volume", get(names::index_volume).post(names::index_volume))
        .route("/loki/api/v1/tail", get(tail::tail))
        .route("/loki/api/v1/status/buildinfo", get(build_info))
        .with_state(api)
}

/// An error as Loki writes it: plain text.
pub(super) struct LokiError(ApiError);

impl<T: Into<ApiError>> From<T> for LokiError {
    fn from(failure: T) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for LokiError {
    fn into_response(self) -> Response {
        with_retry((self.0.status, self.0.message).into_response())
    }
}

/// The newest Loki of which every call for reading is here (docs/decisions/0103).
const LOKI_VERSION: &str = "2.8.0";

async fn build_info() -> Json<serde_json::Value> {
    let weir = env!("CARGO_PKG_VERSION");
    Json(serde_json::json!({
        "application": "weir",
        "version": format!("{LOKI_VERSION}+weir.{weir}"),
        "revision": format!("weir-{weir}"),
    }))
}
