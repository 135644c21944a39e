//! What the front door answers by itself: refusals, denials, preflights of configured origins, and headers that every answer has.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HeaderName, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use weir_access::Denied;

use super::admit::Refusal;
use super::shape::Shape;

/// Who decides is asked again after so many seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// A browser asks again after so many seconds; ten minutes, so that a changed configuration is not far away.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const WANTS_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The request may not come in.
pub(crate) fn refuse(head: &Parts, refusal: &Refusal) -> Response<Body> {
    let status = match refusal {
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::FORBIDDEN,
    };
    Shape::of(head).error(status, &refusal.to_string())
}

/// The request's body did not come in time.
pub(crate) fn stalled(shape: Shape) -> Response<Body> {
    let text = "the request's body did not come in time: [front] body_timeout and body_rate_min say how long it is waited for";
    shape.error(StatusCode::REQUEST_TIMEOUT, text)
}

/// Its principal may not, or has none. `challenges`: the credentials that would count.
pub(crate) fn deny(shape: Shape, denied: &Denied, challenges: &[HeaderValue]) -> Response<Body> {
    let mut response = shape.error(denied.status(), &denied.to_string());
    let out = response.headers_mut();
    match denied {
        Denied::Unauthenticated(_) => {
            for challenge in challenges {
                out.append(WWW_AUTHENTICATE, challenge.clone());
            }
        }
        Denied::Throttled(seconds) => _ = out.insert(RETRY_AFTER, HeaderValue::from(*seconds)),
        Denied::Undecided(_) => _ = out.insert(RETRY_AFTER, RETRY_SECONDS),
        Denied::Forbidden(_) | Denied::Unclear(_) => {}
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
