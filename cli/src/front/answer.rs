//! What the front door answers by itself: refusals, preflights of configured origins, and headers that every answer has.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE, HeaderName, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::json;

use super::admit::Refusal;

/// gRPC's PERMISSION_DENIED, and DEADLINE_EXCEEDED, which OTLP's clients try again.
const GRPC_DENIED: HeaderValue = HeaderValue::from_static("7");
const GRPC_TOO_LATE: HeaderValue = HeaderValue::from_static("4");

/// What gRPC wants encoded of its message, beside all that is not ASCII.
const GRPC_MESSAGE: AsciiSet = CONTROLS.add(b'%');

/// A browser asks again after so many seconds; ten minutes, so that a changed configuration is not far away.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const WANTS_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What the client speaks, and so wants to be answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Grpc,
    Http,
}

impl Kind {
    pub fn of(head: &Parts) -> Self {
        let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"application/grpc") { Self::Grpc } else { Self::Http }
    }
}

/// The request may not come in.
pub(crate) fn refuse(head: &Parts, refusal: &Refusal) -> Response<Body> {
    let text = refusal.to_string();
    match (Kind::of(head), refusal) {
        (Kind::Grpc, _) => grpc(GRPC_DENIED, &text),
        (Kind::Http, Refusal::Malformed(_)) => json(StatusCode::BAD_REQUEST, "bad_data", &text),
        (Kind::Http, _) => json(StatusCode::FORBIDDEN, "forbidden", &text),
    }
}

/// The request's body did not come in time.
pub(crate) fn stalled(kind: Kind) -> Response<Body> {
    let text = "the request's body did not come in time: [front] body_timeout and body_rate_min say how long it is waited for";
    match kind {
        Kind::Grpc => grpc(GRPC_TOO_LATE, text),
        Kind::Http => json(StatusCode::REQUEST_TIMEOUT, "timeout", text),
    }
}

fn json(status: StatusCode, kind: &str, text: &str) -> Response<Body> {
    let error = json!({"status": "error", "errorType": kind, "error": text});
    let mut response = Response::new(Body::from(format!("{error}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn grpc(status: HeaderValue, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    out.insert(HeaderName::from_static("grpc-status"), status);
    if let Ok(text) = HeaderValue::from_str(&utf8_percent_encode(text, &GRPC_MESSAGE).to_string()) {
        out.insert(HeaderName::from_static("grpc-message"), text);
    }
    response
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
    out.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-weir-coverage, x-weir-outage, x-weir-stats, retry-after"),
    );
    out.append(VARY, HeaderValue::from_static("origin"));
}

/// Nothing is taken for what it is not, and no other page embeds it.
pub(crate) fn harden(out: &mut HeaderMap) {
    out.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    out.entry(RESOURCE_POLICY).or_insert(HeaderValue::from_static("same-origin"));
}
