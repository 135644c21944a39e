//! Loki's HTTP API under `/loki/api/v1`; push is the collector's, `/ready` the binary's.
//!
//! - [`query`]: query, query_range, format_query; [`shape`]: streams, vector and matrix as Loki writes them;
//! - [`delete`]: requests to delete;
//! - [`names`]: labels, label values, series, index statistics; [`tail`]: the WebSocket.
//!
//! Errors are plain text. Every answer has the header `X-Weir-Coverage`; one that is not complete also has `warnings`.

mod delete;
mod names;
mod query;
mod shape;
mod tail;

use std::sync::Arc;

use axum::Json;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use weir_access::{Needs, Routes};

use super::error::{ApiError, with_retry};
use super::{ADMIN_LOGS, Api, READ_LOGS, TAIL_LOGS};

/// Its routes.
pub fn router(api: Arc<Api>) -> Routes {
    Routes::new()
        .get_or_post("/loki/api/v1/query", READ_LOGS, query::instant)
        .get_or_post("/loki/api/v1/query_range", READ_LOGS, query::range)
        .get_or_post("/loki/api/v1/format_query", Needs::Caller, query::format)
        .get_or_post("/loki/api/v1/labels", READ_LOGS, names::labels)
        .get("/loki/api/v1/label", READ_LOGS, names::labels)
        .get("/loki/api/v1/label/{name}/values", READ_LOGS, names::label_values)
        .get_or_post("/loki/api/v1/series", READ_LOGS, names::series)
        .get_or_post("/loki/api/v1/index/stats", READ_LOGS, names::index_stats)
        .get_or_post("/loki/api/v1/index/volume", READ_LOGS, names::index_volume)
        .on(&[Method::POST, Method::PUT], "/loki/api/v1/delete", ADMIN_LOGS, delete::create)
        .get("/loki/api/v1/delete", ADMIN_LOGS, delete::list)
        .on(&[Method::DELETE], "/loki/api/v1/delete", ADMIN_LOGS, delete::cancel)
        .get("/loki/api/v1/tail", TAIL_LOGS, tail::tail)
        .get("/loki/api/v1/status/buildinfo", Needs::Caller, build_info)
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
