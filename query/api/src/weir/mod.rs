//! Our own API under `/api/weir/v1`, for the page and the command line. Shapes: `docs/api.md`.
//!
//! - [`logs`]: lines, one line with its neighbours; [`volume`]: how many; [`tail`]: lines as they arrive; [`search`]: what is
//!   typed, as LogQL;
//! - [`containers`]: what runs now, from stored samples, [`ended`] what did, and [`nodes`] beside it; [`traces`]: by id, search, services,
//!   [`trace_logs`]: the lines of one;
//! - [`tenants`]: all of a tenant deleted;
//! - [`usage`]: what tenants have sent and asked; [`disk`]: what logs take on disk;
//! - `status`: where the partitions stand; [`path`]: the whole path. Sealing and compacting on demand are the binary's.

mod cardinality;
mod containers;
mod context;
mod diff;
mod disk;
mod ended;
mod logs;
mod nodes;
mod path;
mod search;
mod tail;
mod tenants;
mod trace_logs;
mod traces;
mod usage;
mod volume;

use std::sync::Arc;

use axum::Json;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weir_access::{Needs, Routes, Verb};
use weir_budget::RequestBudget;
use weir_model::select::Coverage;

use super::coverage_header;
use super::error::{ApiError, with_retry};
use super::reply::{Reply, Text};
use super::revalidate;
use super::{Api, READ_LOGS, READ_METRICS, READ_TRACES, TAIL_LOGS};
use crate::call::Call;

/// Its routes.
pub fn router(api: Arc<Api>) -> Routes {
    Routes::new()
        .get("/api/weir/v1/containers", READ_METRICS, containers::containers)
        .get("/api/weir/v1/containers/{id}/lines", READ_LOGS, ended::last_lines)
        .get("/api/weir/v1/logs", READ_LOGS, logs::logs)
        .get("/api/weir/v1/logs/volume", READ_LOGS, volume::volume)
        .get("/api/weir/v1/logs/query", Needs::Caller, search::query)
        .get("/api/weir/v1/logs/line/{id}", READ_LOGS, logs::line)
        .get("/api/weir/v1/logs/diff", READ_LOGS, diff::diff)
        .get("/api/weir/v1/logs/tail", TAIL_LOGS, tail::tail)
        .get("/api/weir/v1/traces", READ_TRACES, traces::search)
        .get("/api/weir/v1/traces/services", READ_TRACES, traces::services)
        .get("/api/weir/v1/traces/operations", READ_TRACES, traces::operations)
        .get("/api/weir/v1/traces/{id}", READ_TRACES, traces::trace)
        .get("/api/weir/v1/traces/{id}/logs", READ_LOGS, trace_logs::trace_logs)
        .get("/api/weir/v1/path", READ_METRICS, path::path)
        .on(&[Method::DELETE], "/api/weir/v1/tenants/{tenant}", Needs::Whole(Verb::Admin), tenants::delete)
        .get("/api/weir/v1/tenants/{tenant}/deletions", Needs::Whole(Verb::Admin), tenants::deletions)
        .get("/api/weir/v1/cardinality", READ_METRICS, cardinality::cardinality)
        .get("/api/weir/v1/admin/disk", Needs::Whole(Verb::Admin), disk::disk)
        .get("/api/weir/v1/usage", Needs::AnyOf(Verb::Read), usage::usage)
        .get("/api/weir/v1/status", Needs::AnyOf(Verb::Read), status)
        .with_state(api)
}

/// An error as `docs/api.md` has it, with the coverage where one is known.
pub(super) struct WeirError {
    failure: ApiError,
    coverage: Option<Coverage>,
}

impl WeirError {
    fn with_coverage(failure: ApiError, coverage: Coverage) -> Self {
        Self { failure, coverage: Some(coverage) }
    }
}

impl<T: Into<ApiError>> From<T> for WeirError {
    fn from(failure: T) -> Self {
        Self { failure: failure.into(), coverage: None }
    }
}

impl IntoResponse for WeirError {
    fn into_response(self) -> Response {
        let mut body = json!({"error": self.failure.message});
        let Some(coverage) = self.coverage else { return with_retry((self.failure.status, Json(body)).into_response()) };
        body["coverage"] = coverage_header::to_json(&coverage);
        with_retry(coverage_header::with_header(&coverage, (self.failure.status, Json(body))))
    }
}

/// An answer with its coverage, as a member and as a header.
fn answer(budget: &RequestBudget, body: &Value, coverage: Coverage) -> Result<Reply, WeirError> {
    let mut text = Text::new(budget);
    text.open_object(body)?;
    end(text, coverage)
}

/// The same for a body that lacks only its coverage and its end.
fn end(mut text: Text<'_>, coverage: Coverage) -> Result<Reply, WeirError> {
    text.end_tagged();
    text.raw(",\"coverage\":")?;
    text.json(&coverage_header::to_json(&coverage))?;
    text.raw("}")?;
    Ok(text.reply(Some(coverage)))
}

async fn status(api: Call) -> Response {
    revalidate::json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": api.started.to_string(),
        "outages": (api.outages)(),
        "path": api.path.status(),
        "remote_write": (api.remote_writes)(),
    }))
}
