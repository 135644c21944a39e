//! OTLP over HTTP: `POST /v1/{logs,metrics,traces}`, protobuf and JSON, gzip. Errors are `google.rpc.Status` bodies in
//! the encoding of the request, as the protocol wants.

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Outcome, Rejected, finish, grpc, logs, metrics, traces};
use crate::body::{self, PushError};
use crate::push::PushContext;

/// The three routes.
pub fn router(context: PushContext) -> Router {
    let logs = |State(context): State<PushContext>, headers: HeaderMap, body: HttpBody| async move {
        serve_one(&context, headers, body, logs::outcome, grpc::logs_response).await
    };
    let metrics = |State(context): State<PushContext>, headers: HeaderMap, body: HttpBody| async move {
        serve_one(&context, headers, body, metrics::outcome, grpc::metrics_response).await
    };
    let traces = |State(context): State<PushContext>, headers: HeaderMap, body: HttpBody| async move {
        serve_one(&context, headers, body, traces::outcome, grpc::trace_response).await
    };
    let routes =
        Router::new().route("/v1/logs", post(logs)).route("/v1/metrics", post(metrics)).route("/v1/traces", post(traces));
    routes.with_state(context)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
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

type Convert<R> = fn(&PushContext, R) -> Result<Outcome, PushError>;

async fn serve_one<R, A>(
    context: &PushContext,
    headers: HeaderMap,
    body: HttpBody,
    convert: Convert<R>,
    respond: fn(Rejected) -> A,
) -> Response
where
    R: Message + Default + DeserializeOwned + 'static,
    A: Message + Serialize,
{
    let encoding = Encoding::of(&headers);
    let answered_in = *encoding.as_ref().unwrap_or(&Encoding::Json);
    let result = match encoding {
        Ok(encoding) => take(context, &headers, body, encoding, convert).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(rejected) => answered_in.answer(StatusCode::OK, &respond(rejected)),
        Err(error) => {
            context.metrics.event("otlp_http", error.reason(), 1);
            failure(answered_in, &error)
        }
    }
}

async fn take<R: Message + Default + DeserializeOwned + 'static>(
    context: &PushContext,
    headers: &HeaderMap,
    body: HttpBody,
    encoding: Encoding,
    convert: Convert<R>,
) -> Result<Rejected, PushError> {
    let _slot = context.slot()?;
    let bytes = body::read(headers, body, context.config.body_bytes_max).await?;
    let headers = headers.clone();
    let decode = move |context: &PushContext, bytes: Bytes| {
        let bytes = body::decode_content(&headers, bytes, context.config.decompressed_bytes_max)?;
        convert(context, parse(encoding, &bytes)?)
    };
    finish(context, context.decode(bytes, decode).await?).await
}

fn parse<R: Message + Default + DeserializeOwned>(encoding: Encoding, bytes: &[u8]) -> Result<R, PushError> {
    match encoding {
        Encoding::Protobuf => R::decode(bytes).map_err(|error| PushError::Malformed(format!("protobuf: {error}"))),
        Encoding::Json => serde_json::from_slice(bytes).map_err(|error| PushError::Malformed(format!("json: {error}"))),
    }
}

fn failure(encoding: Encoding, error: &PushError) -> Response {
    let mut response = encoding.answer(error.status(), &RpcStatus { code: error.grpc_code(), message: error.to_string() });
    if error.is_retryable() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
