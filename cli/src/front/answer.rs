//! What the front door answers by itself: refusals, preflights of configured origins, and headers that every answer has.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE, HeaderName, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::admit::Refusal;

/// gRPC's PERMISSION_DENIED.
const GRPC_DENIED: HeaderValue = HeaderValue::from_static("7");

/// A browser asks again after so many seconds; ten minutes, so that a changed configuration is not far away.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const WANTS_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// In the words of the protocol that asked: a gRPC status where that was gRPC, else JSON.
pub(crate) fn refuse(head: &Parts, refusal: &Refusal) -> Response<Body> {
    let status = match refusal {
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    };
    let text = refusal.to_string();
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if kind.starts_with(b"application/grpc") {
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        out.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        out.insert(HeaderName::from_static("grpc-status"), GRPC_DENIED);
        if let Ok(text) = HeaderValue::from_str(&percent_encoded(&text)) {
            out.insert(HeaderName::from_static("grpc-message"), text);
        }
        return response;
    }
    let error = json!({"status": "error", "errorType": "forbidden", "error": text});
    let mut response = Response::new(Body::from(format!("{error}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// As gRPC wants its message.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// A page of a configured origin may ask with whatever it wants to; it may not bring the browser's cookies.
pub(crate) fn preflight(head: &Parts, origin: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let out = response.headers_mut();
    out.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE"));
    if let Some(wanted) = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        out.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    if head.headers.contains_key(WANTS_PRIVATE) {
        out.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
    }
    out.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    allow(out, origin);
    response
}

/// A page of this origin may read the answer.
pub(crate) fn allow(out: &mut HeaderMap, origin: HeaderValue) {
    out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-weir-coverage, retry-after"));
    out.append(VARY, HeaderValue::from_static("origin"));
}

/// Nothing is taken for what it is not, and no other page embeds it.
pub(crate) fn harden(out: &mut HeaderMap) {
    out.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    out.entry(RESOURCE_POLICY).or_insert(HeaderValue::from_static("same-origin"));
}
