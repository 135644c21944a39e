//! OTLP over gRPC: the three export calls, compressed or not. Each is unary, and so is this: the body is read as any other
//! push's, within the same limits of size, time and memory, before anything is decoded. (`tonic`'s own services decode as
//! they read, up to the limit of a message for each call that was ever begun.)

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::Status;
use weir_access::{Needs, Routes, Telemetry, Verb};

use super::export::{Export, Logs, Metrics, Traces};
use super::{Encoded, Format, Rejected, take};
use crate::body;
use crate::push::{PushContext, PushService};
use crate::push_error::PushError;

/// Before each message: whether it is compressed, and its length.
const FRAME_HEAD_BYTES: usize = 5;
/// What [`body::decode_content`] undoes.
const ENCODINGS: HeaderValue = HeaderValue::from_static("identity,gzip,deflate,zstd");

/// The three services, for whoever serves HTTP/2.
pub fn router(service: &PushService) -> Routes {
    let unknown = || async { Status::unimplemented("").into_http::<HttpBody>() };
    let push = |telemetry| Needs::Tenant(Verb::Push, telemetry);
    Routes::new()
        .post("/opentelemetry.proto.collector.logs.v1.LogsService/Export", push(Telemetry::Logs), export::<Logs>)
        .post("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", push(Telemetry::Metrics), export::<Metrics>)
        .post("/opentelemetry.proto.collector.trace.v1.TraceService/Export", push(Telemetry::Traces), export::<Traces>)
        .fallback(unknown)
        .with_state(service.clone())
}

async fn export<E: Export>(context: PushContext, headers: HeaderMap, body: HttpBody) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !content_type.starts_with(b"application/grpc") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    match receive::<E>(&context, headers, body).await {
        Ok(rejected) => success(&E::response(rejected)),
        Err(error) => {
            context.metrics.event("otlp_grpc", error.reason(), 1);
            failure(&error)
        }
    }
}

async fn receive<E: Export>(context: &PushContext, headers: HeaderMap, body: HttpBody) -> Result<Rejected, PushError> {
    let admission = context.admit();
    let bytes = body::read(&context.config, &admission, &headers, body).await?;
    let (compressed, bytes) = message(bytes)?;
    let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok()).filter(|name| *name != "identity");
    let encoding = match (compressed, encoding) {
        (false, _) => String::new(),
        (true, Some(name)) => name.to_owned(),
        (true, None) => return Err(PushError::Malformed("a compressed message without grpc-encoding".into())),
    };
    take::<E>(context, &admission, Encoded { bytes, encoding, format: Format::Protobuf }).await
}

/// The one message of a unary call's body, and whether it is compressed.
fn message(mut bytes: Bytes) -> Result<(bool, Bytes), PushError> {
    let wrong = |text: &str| Err(PushError::Malformed(format!("gRPC frame: {text}")));
    let Some((head, _)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else { return wrong("ends early") };
    let [flag, length @ ..] = *head;
    if flag > 1 {
        return wrong("neither compressed nor not");
    }
    let length = u32::from_be_bytes(length) as usize;
    if bytes.len() - FRAME_HEAD_BYTES != length {
        return wrong("its length is not that of the body");
    }
    Ok((flag == 1, bytes.split_off(FRAME_HEAD_BYTES)))
}

fn success(answer: &impl Message) -> Response {
    let message = answer.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&message);
    let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(HttpBody::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn failure(error: &PushError) -> Response {
    // A gRPC client takes 12 (unimplemented) with the list for "compress in another way".
    let unsupported = matches!(error, PushError::Unsupported(_));
    let code = if unsupported { 12 } else { error.grpc_code() };
    let status = match error {
        PushError::Limited { .. } => Status::with_details(code.into(), error.to_string(), retry_info(code, error)),
        _ => Status::new(code.into(), error.to_string()),
    };
    let mut response = status.into_http::<HttpBody>();
    if unsupported {
        response.headers_mut().insert("grpc-accept-encoding", ENCODINGS);
    }
    response
}

/// `google.rpc.Status` with a `RetryInfo`: without one a client takes RESOURCE_EXHAUSTED for final.
fn retry_info(code: i32, error: &PushError) -> Bytes {
    let delay = Delay { seconds: error.retry_after().unwrap_or(1) as i64 };
    let info = Detail {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: RetryInfo { retry_delay: Some(delay) }.encode_to_vec(),
    };
    RpcStatus { code, message: error.to_string(), details: vec![info] }.encode_to_vec().into()
}

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[cfg(test)]
mod tests {
    use weir_model::fuzz::{Fuzz, MemoryLimit};

    use super::*;

    #[test]
    fn a_body_is_one_message() {
        let check = |body: &[u8], expected: Result<(bool, &[u8]), &str>| match (message(Bytes::copy_from_slice(body)), expected) {
            (Ok((compressed, bytes)), Ok(expected)) => assert_eq!((compressed, &bytes[..]), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{body:?}: {error}"),
            (seen, _) => panic!("{body:?}: {seen:?}"),
        };
        check(&[0, 0, 0, 0, 0], Ok((false, &[])));
        check(&[1, 0, 0, 0, 2, 7, 8], Ok((true, &[7, 8])));
        check(&[], Err("ends early"));
        check(&[0, 0, 0, 0], Err("ends early"));
        check(&[2, 0, 0, 0, 0], Err("neither compressed nor not"));
        check(&[0, 0, 0, 0, 3, 7, 8], Err("not that of the body"));
        check(&[0, 0, 0, 0, 1, 7, 8], Err("not that of the body"));
        check(&[0, 0xff, 0xff, 0xff, 0xff], Err("not that of the body"));
    }

    #[test]
    fn fuzz_a_frame_is_a_message_or_none() {
        let limit = MemoryLimit { bytes: 64 << 10, per_input_byte: 4 };
        let fuzz =
            Fuzz::new("grpc-frame").seed([0; 5]).seed([1, 0, 0, 0, 2, 7, 8]).seed([&[0, 0, 0, 1, 0][..], &[9; 256]].concat());
        fuzz.words(&["\0", "\u{1}", "\u{7f}"]).memory(limit).run(|input| match message(Bytes::copy_from_slice(input)) {
            Ok((compressed, bytes)) => assert_eq!((&input[FRAME_HEAD_BYTES..], u8::from(compressed)), (&bytes[..], input[0])),
            Err(error) => assert!(error.to_string().contains("gRPC frame: "), "{error}"),
        });
    }
}
