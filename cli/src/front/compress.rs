//! Answers compressed on their way out: which coding the client likes best, whether an answer is worth it, and how many may be
//! under way at once. Neither gRPC, which compresses by itself, nor what is compressed already. Called by `gate` alone.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, InvalidHeaderValue, VARY,
};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use tokio::sync::Semaphore;

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

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// Of those that a client likes equally, the last is taken: the smallest for its CPU time (docs/decisions/0121).
    const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// Its name in HTTP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// What the request's `Accept-Encoding` likes best; `None` for the answer as it is. What cannot be read is not there.
    pub fn preferred(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
        let items: Vec<(&str, f32)> = texts.flat_map(|text| text.split(',')).filter_map(item).collect();
        let explicit = |wanted: &str| items.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, weight)| *weight);
        let weight = |coding: Self| {
            let alias = || explicit("x-gzip").filter(|_| coding == Self::Gzip);
            explicit(coding.name()).or_else(alias).or_else(|| explicit("*")).unwrap_or(0.0)
        };
        let best = Self::ALL.into_iter().max_by(|one, other| weight(*one).total_cmp(&weight(*other)))?;
        (weight(best) > 0.0 && weight(best) >= explicit("identity").unwrap_or(0.0)).then_some(best)
    }
}

/// `gzip;q=0.5`: its name and weight.
fn item(text: &str) -> Option<(&str, f32)> {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let Some((key, value)) = parameters.split_once('=') else { return Some((name.trim(), 1.0)) };
    let weight = value.trim().parse().ok().filter(|weight| (0.0..=1.0).contains(weight));
    Some((name.trim(), weight.filter(|_| key.trim().eq_ignore_ascii_case("q"))?))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accepted: &str, expected: Option<Coding>) {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accepted.parse().unwrap())]);
        assert_eq!(Coding::preferred(&headers), expected, "{accepted}");
    }

    #[test]
    fn the_client_says_what_it_likes_best() {
        assert_eq!(Coding::preferred(&HeaderMap::new()), None);
        check("", None);
        check("identity", None);
        check("compress, deflate, sdch", None);
        check("gzip", Some(Coding::Gzip));
        check("X-GZip", Some(Coding::Gzip));
        check("GZIP ; Q=0.5", Some(Coding::Gzip));
        check("gzip, deflate, br, zstd", Some(Coding::Zstd));
        check("gzip, deflate, br", Some(Coding::Brotli));
        check("zstd;q=0.3, br;q=0.4, gzip;q=0.5", Some(Coding::Gzip));
        check("gzip;q=0", None);
        check("gzip;q=0, *", Some(Coding::Zstd));
        check("*;q=0", None);
        check("zstd;q=0, br;q=0.000, *;q=0.1", Some(Coding::Gzip));
        check("identity;q=1, gzip;q=0.5", None);
        check("identity;q=0.5, gzip;q=1", Some(Coding::Gzip));
        check("gzip;q=2, zstd;q=-1, br;q=NaN", None);
        check("gzip;level=9", None);
        check(",;,=", None);
    }
}
