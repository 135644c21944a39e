//! Answers that are not repeated: a GET's answer carries a weak tag of its body, and is 304 for a client that has that body.
//!
//! The tag is of what the body says, but in our own API for its coverage and statistics: headers have these as well, a 304's own
//! are those of now, and they differ with each record that was stored in between. Nothing is saved but the sending: the query
//! has run.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

/// Larger answers have no tag: no client polls them, and browsers need not keep them.
const TAGGED_BYTES_MAX: usize = 1 << 20;

/// The tag of a response's body, for [`conditional`].
#[derive(Clone)]
struct Tag(HeaderValue);

/// Remembers the tag of the answer's body where it is small enough.
pub(super) fn tag(response: &mut Response, body: &[u8]) {
    if response.status() != StatusCode::OK || body.len() > TAGGED_BYTES_MAX {
        return;
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("W/\"{:032x}\"", xxh3_128(body))) {
        response.extensions_mut().insert(Tag(tag));
    }
}

/// A value that no query made, as JSON with its tag.
pub(super) fn json(value: &Value) -> Response {
    let text = Bytes::from(value.to_string());
    let mut response = ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text.clone()).into_response();
    tag(&mut response, &text);
    response
}

/// Around every handler: a GET or HEAD whose answer the client has is answered 304, with the headers of now.
pub(super) async fn conditional(request: Request, next: Next) -> Response {
    let known = request.headers().clone();
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let mut response = next.run(request).await;
    let Some(Tag(tag)) = response.extensions_mut().remove().filter(|_| reads) else { return response };
    if has(&known, &tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().remove(CONTENT_TYPE);
    }
    let out = response.headers_mut();
    out.insert(ETAG, tag);
    // A browser keeps it and asks each time.
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Whether `If-None-Match` names it, compared weakly.
fn has(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = tag.to_str().map(opaque) else { return false };
    let texts = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|known| known.trim() == "*" || opaque(known) == tag)
}
