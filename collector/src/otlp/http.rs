//! OTLP over HTTP: `POST /v1/{logs,metrics,traces}`, protobuf and JSON, gzip. Errors are `google.rpc.Status` bodies in
//! the encoding of the request, as the protocol wants.

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde::Serialize;
use weir_access::{Needs, Routes, Telemetry, Verb};

use super::export::{Export, Logs, Metrics, Traces};
use super::{Encoded, Format, Rejected, take};
use crate::body;
use crate::push::{PushContext, PushService};
use crate::push_error::PushError;

/// The three routes.
pub fn router(service: PushService) -> Routes {
    let push = |telemetry| Needs::Tenant(Verb::Push, telemetry);
    Routes::new()
        .post("/v1/logs", push(Telemetry::Logs), export::<Logs>)
        .post("/v1/metrics", push(Telemetry::Metrics), export::<Metrics>)
        .post("/v1/traces", push(Telemetry::Traces), export::<Traces>)
        .with_state(service)
}

/// The path of Loki's OTLP input, for the main listener.
pub fn loki_router(service: PushService) -> Routes {
    let push = Needs::Tenant(Verb::Push, Telemetry::Logs);
    Routes::new().post("/otlp/v1/logs", push, export::<Logs>).with_state(service)
}

/// The path of Prometheus' OTLP input, for the main listener.
pub fn prometheus_router(service: PushService) -> Routes {
    let push = Needs::Tenant(Verb::Push, Telemetry::Metrics);
    Routes::new().post("/api/v1/otlp/v1/metrics", push, export::<Metrics>).with_state(service)
}

impl Format {
    fn of(headers: &HeaderMap) -> Result<Self, PushError> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        match content_type.split(';').next().unwrap_or("").trim() {
            "application/x-protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            other => Err(PushError::Unsupported(format!(
                "content type {other:?} is neither application/x-protobuf nor application/json"
            ))),
        }
    }

    fn answer(self, status: StatusCode, message: &(impl Message + Serialize)) -> Response {
        let (kind, bytes) = match self {
            Self::Protobuf => ("application/x-protobuf", message.encode_to_vec()),
            Self::Json => ("application/json", serde_json::to_vec(message).unwrap_or_else(|_| b"{}".to_vec())),
        };
        (status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], bytes).into_response()
    }
}

/// `google.rpc.Status` without details.
#[derive(Clone, PartialEq, Message, Serialize)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

async fn export<E: Export>(context: PushContext, headers: HeaderMap, body: HttpBody) -> Response {
    let format = Format::of(&headers);
    let answered_in = *format.as_ref().unwrap_or(&Format::Json);
    let result = match format {
        Ok(format) => receive::<E>(&context, &headers, body, format).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(rejected) => answered_in.answer(StatusCode::OK, &E::response(rejected)),
        Err(error) => {
            context.metrics.event("otlp_http", error.reason(), 1);
            failure(answered_in, &error)
        }
    }
}

async fn receive<E: Export>(
    context: &PushContext,
    headers: &HeaderMap,
    body: HttpBody,
    format: Format,
) -> Result<Rejected, PushError> {
    let admission = context.admit();
    let bytes = body::read(&context.config, &admission, headers, body).await?;
    let encoding = body::content_encoding(headers);
    take::<E>(context, &admission, Encoded { bytes, encoding, format }).await
}

fn failure(format: Format, error: &PushError) -> Response {
    error.timed(format.answer(error.status(), &RpcStatus { code: error.grpc_code(), message: error.to_string() }))
}
