//! Tempo's HTTP API under `/tempo`, as Grafana's data source calls it.
//!
//! - this file: traces by id, in protobuf or JSON; [`otlp`] turns ours into OTLP's messages, [`shape`] into Tempo's JSON;
//! - [`search`]: search by tags or TraceQL; [`tags`]: their names and values; [`traceql`]: the part of TraceQL that is
//!   understood.
//!
//! Errors are plain text. Every answer has the header `X-Weir-Coverage`.

mod otlp;
mod search;
mod shape;
mod tags;

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde_json::{Value, json};
use weir_access::{Granted, Needs, Routes};
use weir_budget::RequestBudget;
use weir_model::id::TraceId;
use weir_model::select::Trace;

use super::error::{ApiError, with_retry};
use super::reply::Reply;
use super::trace_search::read_trace;
use super::{Api, READ_TRACES, coverage_header};
use crate::call::Call;

/// Its routes.
pub fn router(api: Arc<Api>) -> Routes {
    Routes::new()
        .get("/tempo/api/echo", Needs::Caller, || async { "echo" })
        .get("/tempo/api/status/buildinfo", Needs::Caller, build_info)
        .get("/tempo/api/traces/{id}", READ_TRACES, trace_v1)
        .get("/tempo/api/v2/traces/{id}", READ_TRACES, trace_v2)
        .get("/tempo/api/search", READ_TRACES, search::search)
        .get("/tempo/api/search/tags", READ_TRACES, tags::names_v1)
        .get("/tempo/api/v2/search/tags", READ_TRACES, tags::names_v2)
        .get("/tempo/api/search/tag/{tag}/values", READ_TRACES, tags::values_v1)
        .get("/tempo/api/v2/search/tag/{tag}/values", READ_TRACES, tags::values_v2)
        .with_state(api)
}

/// An error as Tempo writes it: plain text.
pub(super) struct TempoError(ApiError);

impl<T: Into<ApiError>> From<T> for TempoError {
    fn from(failure: T) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for TempoError {
    fn into_response(self) -> Response {
        with_retry((self.0.status, self.0.message).into_response())
    }
}

/// The last Tempo before Grafana takes streaming over gRPC for granted (docs/decisions/0103).
const TEMPO_VERSION: &str = "2.1.0";

async fn build_info() -> Json<Value> {
    let weir = env!("CARGO_PKG_VERSION");
    Json(json!({
        "application": "weir",
        "version": format!("{TEMPO_VERSION}+weir.{weir}"),
        "revision": format!("weir-{weir}"),
    }))
}

/// The two versions of a trace's envelope.
#[derive(Clone, Copy)]
enum Envelope {
    /// `Trace`
    V1,
    /// `TraceByIDResponse`; partial with a message when the coverage is not complete.
    V2,
}

async fn trace_v1(call: Call, granted: Granted, id: Path<String>, headers: HeaderMap) -> Result<Response, TempoError> {
    trace(call, granted, id, &headers, Envelope::V1).await
}

async fn trace_v2(call: Call, granted: Granted, id: Path<String>, headers: HeaderMap) -> Result<Response, TempoError> {
    trace(call, granted, id, &headers, Envelope::V2).await
}

/// 404 when no span has been seen. `start` and `end` only say where Tempo may look; weir looks everywhere.
async fn trace(
    api: Call,
    granted: Granted,
    Path(id): Path<String>,
    headers: &HeaderMap,
    envelope: Envelope,
) -> Result<Response, TempoError> {
    let id: TraceId = id.parse().map_err(|error| format!("{error}"))?;
    let protobuf = wants_protobuf(headers);
    let work = move |api: &Api, budget: &RequestBudget| {
        let (found, _) = read_trace(&*api.traces, &granted.scope, id, budget)?;
        let missing = coverage_header::warnings(&found.coverage).join("; ");
        let Some(trace) = found.value else {
            let body = b"trace not found".to_vec();
            return Ok(Reply::of(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", body, found.coverage));
        };
        if protobuf {
            let body = match envelope {
                Envelope::V1 => otlp::trace(&trace).encode_to_vec(),
                Envelope::V2 => otlp::trace_by_id(&trace, &missing).encode_to_vec(),
            };
            budget.check_answer(body.len())?;
            return Ok(Reply::of(StatusCode::OK, "application/protobuf", body, found.coverage));
        }
        Ok(Reply::json(budget, &shape_of(&trace, envelope, &missing), Some(found.coverage))?)
    };
    api.answer(work).await
}

fn shape_of(trace: &Trace, envelope: Envelope, missing: &str) -> Value {
    let spans = shape::resource_spans(trace);
    match envelope {
        Envelope::V1 => json!({"batches": spans}),
        Envelope::V2 if missing.is_empty() => json!({"trace": {"resourceSpans": spans}, "metrics": {}}),
        Envelope::V2 => json!({
            "trace": {"resourceSpans": spans}, "metrics": {}, "status": "PARTIAL", "message": missing,
        }),
    }
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/protobuf"))
}
