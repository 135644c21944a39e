//! Loki's HTTP API under `/loki/api/v1`; push is the collector's, `/ready` the binary's.
//!
//! - [`query`]: query, query_range, format_query; [`shape`]: streams, vector and matrix as Loki writes them;
//! - [`delete`]: requests to delete;
//! - [`names`]: labels, label values, series; [`volume`]: how much there is of which streams;
//! - [`detected`]: labels, fields and patterns as Logs Drilldown shows them; [`tail`]: the WebSocket;
//! - [`rules`]: rules in LogQL; [`status`]: version, limits.
//!
//! Errors are plain text. Every answer has the header `X-Weir-Coverage`; one that is not complete also has `warnings`.

mod delete;
mod detected;
mod names;
mod query;
mod rules;
mod shape;
mod status;
mod tail;
mod volume;

use std::sync::Arc;

use axum::http::Method;
use axum::response::{IntoResponse, Response};
use weir_access::{Needs, Routes};
use weir_logql::{ParseError, parse};

use super::error::{ApiError, with_retry};
use super::params::Params;
use super::{ADMIN_LOGS, Api, LOG_RULES, READ_LOGS, TAIL_LOGS};

/// Its routes.
pub fn router(api: Arc<Api>) -> Routes {
    Routes::new()
        .get_or_post("/loki/api/v1/query", READ_LOGS, query::instant)
        .get_or_post("/loki/api/v1/query_range", READ_LOGS, query::range)
        .get_or_post("/loki/api/v1/format_query", Needs::Caller, query::format)
        .get_or_post("/loki/api/v1/labels", READ_LOGS, names::labels)
        .get_or_post("/loki/api/v1/label", READ_LOGS, names::labels)
        .get_or_post("/loki/api/v1/label/{name}/values", READ_LOGS, names::label_values)
        .get_or_post("/loki/api/v1/series", READ_LOGS, names::series)
        .get_or_post("/loki/api/v1/index/stats", READ_LOGS, volume::index_stats)
        .get_or_post("/loki/api/v1/index/volume", READ_LOGS, volume::index_volume)
        .get_or_post("/loki/api/v1/index/volume_range", READ_LOGS, volume::volume_range)
        .get_or_post("/loki/api/v1/index/shards", READ_LOGS, volume::index_shards)
        .get_or_post("/loki/api/v1/detected_labels", READ_LOGS, detected::detected_labels)
        .get_or_post("/loki/api/v1/detected_fields", READ_LOGS, detected::detected_fields)
        .get_or_post("/loki/api/v1/detected_field/{name}/values", READ_LOGS, detected::field_values)
        .get_or_post("/loki/api/v1/patterns", READ_LOGS, detected::pattern_counts)
        .on(&[Method::POST, Method::PUT], "/loki/api/v1/delete", ADMIN_LOGS, delete::create)
        .get("/loki/api/v1/delete", ADMIN_LOGS, delete::list)
        .on(&[Method::DELETE], "/loki/api/v1/delete", ADMIN_LOGS, delete::cancel)
        .get("/loki/api/v1/tail", TAIL_LOGS, tail::tail)
        .get("/loki/api/v1/drilldown-limits", Needs::Caller, status::drilldown_limits)
        .get("/loki/api/v1/status/buildinfo", Needs::Caller, status::build_info)
        .get("/loki/api/v1/rules", LOG_RULES, rules::groups)
        .get("/loki/api/v1/rules/{namespace}", LOG_RULES, rules::of_namespace)
        .get("/loki/api/v1/rules/{namespace}/{group}", LOG_RULES, rules::group)
        .get("/prometheus/api/v1/rules", LOG_RULES, rules::rules)
        .get("/prometheus/api/v1/alerts", LOG_RULES, rules::alerts)
        .with_state(api)
}

/// An error as Loki writes it: plain text.
pub(super) struct LokiError(ApiError);

impl<T: Into<ApiError>> From<T> for LokiError {
    fn from(failure: T) -> Self {
        Self(failure.into())
    }
}

/// The query, which has to be there. Where it is not, the error is that of an empty one, which clients know for one of the query.
pub(super) fn query_of(params: &Params) -> Result<&str, ParseError> {
    match params.get("query") {
        Some(query) => Ok(query),
        None => parse("").map(|_| ""),
    }
}

impl IntoResponse for LokiError {
    fn into_response(self) -> Response {
        with_retry((self.0.status, self.0.message).into_response())
    }
}
