//! Answers compressed on their way out: whether an answer is worth it, and how many may be under way at once. Neither gRPC, which
//! compresses by itself, nor what is compressed already. Called by `gate` alone.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, InvalidHeaderValue, VARY,
};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use tokio::sync::Semaphore;

use super::coding::Coding;
use super::encoder::{Compressed, Encoder};
use super::metrics::FrontMetrics;

/// Below it, a packet carries the answer either way.
const ANSWER_BYTES_MIN: u64 = 1 << 10;

/// What a compressor takes at most, its pieces included: Brotli's 3 MB are the most (docs/decisions/0121).
pub(crate) const COMPRESSOR_BYTES: u64 = 4 << 20;

/// What shrinks, beside everything that begins with `text/`.
const KINDS: [&str; 6] = [
    "application/json",
    "application/openmetrics-text",
    "application/protobuf",
    "application/x-ndjson",
    "application/x-protobuf",
    "image/svg+xml",
];

/// The compressors of a process, which has so many and no more.
pub(crate) struct Compressors {
    places: Arc<Semaphore>,
}

impl Compressors {
    pub fn new(count: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(count)) }
    }

    /// Compresses the answer where the client wants it and it pays. Where every compressor is busy, perhaps for clients
    /// that read slowly, the answer leaves as it is.
    pub fn apply(
        &self,
        (listener, metrics): (&'static str, &FrontMetrics),
        (method, coding): (&Method, Option<Coding>),
        mut response: Response,
    ) -> Response {
        if response.status().is_informational() {
            return response;
        }
        vary(response.headers_mut());
        let Some(coding) = coding.filter(|_| method != Method::HEAD && pays(&response)) else { return response };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics.uncompressed(listener);
            return response;
        };
        let encoder = match Encoder::new(coding) {
            Ok(encoder) => encoder,
            Err(error) => {
                tracing::warn!(%error, "an answer could not be compressed");
                return response;
            }
        };
        metrics.compressed(listener, coding.name());
        let out = response.headers_mut();
        out.remove(CONTENT_LENGTH);
        out.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        if let Some(Ok(weak)) = out.get(ETAG).and_then(weakened) {
            out.insert(ETAG, weak);
        }
        response.map(|body| Body::new(Compressed::new(body, encoder, place)))
    }
}

fn pays(response: &Response) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let bytes: Option<u64> = said.or_else(|| response.body().size_hint().exact());
    !headers.contains_key(CONTENT_ENCODING)
        && ![StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT].contains(&status)
        && (kind.starts_with("text/") || KINDS.contains(&kind))
        && bytes.is_none_or(|bytes| bytes >= ANSWER_BYTES_MIN)
}

/// Caches keep an answer for each coding.
fn vary(out: &mut HeaderMap) {
    let mut texts = out.get_all(VARY).into_iter().filter_map(|value| value.to_str().ok());
    if !texts.any(|text| text.to_ascii_lowercase().contains("accept-encoding")) {
        out.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// A strong tag promises the same bytes, which another coding has not.
fn weakened(tag: &HeaderValue) -> Option<Result<HeaderValue, InvalidHeaderValue>> {
    let strong = !tag.as_bytes().starts_with(b"W/");
    strong.then(|| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()))
}
