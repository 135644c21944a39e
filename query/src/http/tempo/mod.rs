//! Tempo's HTTP API under `/tempo`, as Grafana's data source calls it.
//!
//! - this file: traces by id, in protobuf or JSON; [`otlp`] turns ours into OTLP's messages, [`shape`] into Tempo's JSON;
//! - [`search`]: search by tags or TraceQL, tag names and values; [`traceql`]: the part of TraceQL that is understood.
//!
//! Errors are plain text. Every answer has the header `X-Weir-Coverage`.

mod otlp;
mod search;
mod shape;
mod traceql;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prost::Message;
use serde_json::{Value, json};
use weir_model::id::TraceId;
use weir_model::resource::TENANT_DEFAULT;
use weir_model::select::{Covered, Trace};

use super::failure::Failure;
use super::{Api, covered};

/// Its routes.
pub fn router(api: Arc<Api>) -> axum::Router {
    axum::Router::new()
        .route("/tempo/api/echo", get(|| async { "echo" }))
        .route("/tempo/api/status/buildinfo", get(build_info))
        .route("/tempo/api/traces/{id}", get(trace_v1))
        .route("/tempo/api/v2/traces/{id}", get(trace_v2))
        .route("/tempo/api/search", get(search::search))
        .route("/tempo/api/search/tags", get(search::tags_v1))
        .route("/tempo/api/v2/search/tags", get(search::tags_v2))
        .route("/tempo/api/search/tag/{tag}/values", get(search::values_v1))
        .route("/tempo/api/v2/search/tag/{tag}/values", get(search::values_v2))
        .with_state(api)
}

/// An error as Tempo writes it: plain text.
pub(super) struct Plain(Failure);

impl<T: Into<Failure>> From<T> for Plain {
    fn from(failure: T) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        (self.0.status, self.0.message).into_response()
    }
}

/// Grafana decides by `version` which of Tempo's abilities it may use.
async fn build_info() -> Json<Value> {
    Json(json!({
        "version": "2.6.0",
        "revision": concat!("weir-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

async fn read(api: &Arc<Api>, id: &str) -> Result<Covered<Option<Trace>>, Plain> {
    let id: TraceId = id.parse().map_err(|error| format!("{error}"))?;
    Ok(api.run(move |api, _| api.traces.trace(TENANT_DEFAULT, id)).await?)
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/protobuf"))
}

fn protobuf(message: &impl Message) -> Response {
    ([(header::CONTENT_TYPE, "application/protobuf")], message.encode_to_vec()).into_response()
}

/// `Trace`; 404 when no span has been seen.
async fn trace_v1(State(api): State<Arc<Api>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Plain> {
    let found = read(&api, &id).await?;
    let answer = match &found.value {
        None => (StatusCode::NOT_FOUND, "trace not found").into_response(),
        Some(trace) if wants_protobuf(&headers) => protobuf(&otlp::trace(trace)),
        Some(trace) => Json(json!({"batches": shape::resource_spans(trace)})).into_response(),
    };
    Ok(covered::with_header(&found.coverage, answer))
}

/// `TraceByIDResponse`; partial with a message when the coverage is not complete.
async fn trace_v2(State(api): State<Arc<Api>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Plain> {
    let found = read(&api, &id).await?;
    let missing = covered::warnings(&found.coverage).join("; ");
    let answer = match &found.value {
        None => (StatusCode::NOT_FOUND, "trace not found").into_response(),
        Some(trace) if wants_protobuf(&headers) => protobuf(&otlp::trace_by_id(trace, &missing)),
        Some(trace) => {
            let mut body = json!({"trace": {"resourceSpans": shape::resource_spans(trace)}, "metrics": {}});
            if !missing.is_empty() {
                body["status"] = "PARTIAL".into();
                body["message"] = missing.into();
            }
            Json(body).into_response()
        }
    };
    Ok(covered::with_header(&found.coverage, answer))
}
