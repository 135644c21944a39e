//! Which request gets which file of the page, and the headers that keep it safe. Called by the binary, which merges
//! [`router`] with the APIs: it answers only what no API route does.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use weir_access::Routes;

use crate::assets::{Asset, Assets};

/// Nothing from anywhere else, no inline script, no frame around it.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// First path segments that belong to APIs: an unknown path below them is an error for a program, never the page.
const API_ROOTS: [&str; 13] =
    ["api", "loki", "tempo", "jaeger", "v1", "otlp", "apis", "metrics", "federate", "healthz", "readyz", "ready", "-"];

/// Whether a path belongs to an API, so that the page is never there.
pub fn is_api(path: &str) -> bool {
    let root = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    API_ROOTS.contains(&root)
}

/// The page as the fallback of the whole HTTP service: merge it with a router that has no fallback of its own.
///
/// `GET` and `HEAD` only. Files of `dist/` under their own path; `/`, and any other path that a browser asks for as a
/// document, gets `index.html`, so that each view's address can be opened, sent and reloaded. Paths below an API's prefix
/// never do.
pub fn router() -> Routes {
    let assets = Arc::new(Assets::load());
    Routes::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap| {
        let assets = Arc::clone(&assets);
        async move { answer(&assets, &method, uri.path(), &headers) }
    })
}

fn answer(assets: &Assets, method: &Method, path: &str, headers: &HeaderMap) -> Response<Body> {
    let name = path.trim_start_matches('/');
    if is_api(path) {
        return plain(
            StatusCode::NOT_FOUND,
            "application/json",
            r#"{"status":"error","error":"there is no such path in weir's APIs"}"#,
        );
    }
    if method != Method::GET && method != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "the page is only read: GET or HEAD\n");
        put(refused.headers_mut(), ALLOW, "GET, HEAD");
        return refused;
    }
    if let Some(asset) = assets.get(name).filter(|_| name != "index.html") {
        return file(asset, method, headers, name.starts_with("assets/"));
    }
    let document = name.is_empty() || (wants_document(headers) && !name.starts_with("assets/"));
    match assets.get("index.html").filter(|_| document) {
        Some(index) => file(index, method, headers, false),
        None => plain(StatusCode::NOT_FOUND, "text/plain", "there is nothing here\n"),
    }
}

/// Whether a browser asks for a document: it says `text/html`, where a script's fetch says `*/*` or less.
fn wants_document(headers: &HeaderMap) -> bool {
    list(headers, &ACCEPT).any(|kind| kind.eq_ignore_ascii_case("text/html"))
}

/// `immutable`: its name carries a hash of its content, so it may be kept for ever.
fn file(asset: &Asset, method: &Method, headers: &HeaderMap, immutable: bool) -> Response<Body> {
    let known = list(headers, &IF_NONE_MATCH).any(|tag| tag == asset.etag || tag.strip_prefix("W/") == Some(&asset.etag));
    let gzip = asset.gzip.as_ref().filter(|_| list(headers, &ACCEPT_ENCODING).any(|coding| coding == "gzip"));
    let body = match (known, gzip) {
        (true, _) => Body::empty(),
        (false, _) if method == Method::HEAD => Body::empty(),
        (false, Some(packed)) => Body::from(packed.clone()),
        (false, None) => Body::from(asset.raw.clone()),
    };
    let mut response = Response::new(body);
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    put(out, CONTENT_TYPE, asset.kind);
    put(out, ETAG, &asset.etag);
    put(out, VARY, "accept-encoding");
    put(out, CACHE_CONTROL, if immutable { "public, max-age=31536000, immutable" } else { "no-cache" });
    if gzip.is_some() && !known {
        put(out, CONTENT_ENCODING, "gzip");
    }
    safe(out);
    response
}

fn plain(status: StatusCode, kind: &'static str, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    put(response.headers_mut(), CONTENT_TYPE, kind);
    safe(response.headers_mut());
    response
}

fn safe(out: &mut HeaderMap) {
    put(out, CONTENT_SECURITY_POLICY, CONTENT_SECURITY);
    put(out, X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(out, X_FRAME_OPTIONS, "DENY");
    put(out, REFERRER_POLICY, "same-origin");
    put(out, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    put(out, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
}

fn put(out: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        out.insert(name, value);
    }
}

/// The items of a comma-separated header, without their parameters (`;q=…`).
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(|item| item.split(';').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests;
