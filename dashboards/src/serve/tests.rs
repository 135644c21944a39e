//! What each kind of request gets.

use axum::Router;
use axum::body::to_bytes;
use axum::http::Request;
use axum::routing::get;
use flate2::read::GzDecoder;
use std::io::Read;
use tower::ServiceExt;

use super::*;

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let app = Router::new().route("/api/known", get(|| async { "known" })).merge(router().into_router());
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status, head.headers, to_bytes(body, 1 << 20).await.unwrap().to_vec())
}

fn script() -> String {
    Assets::load().paths().find(|path| path.starts_with("assets/") && path.ends_with(".js")).unwrap().to_owned()
}

#[tokio::test]
async fn views_get_the_page() {
    for path in ["/", "/logs?q=%7B%7D", "/trace/0af7651916cd43dd8448eb211c80319c", "/no/such/view", "/metricsx"] {
        let (status, headers, body) = ask("GET", path, &[("accept", BROWSER)]).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert_eq!(headers[CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
        assert_eq!(headers[CACHE_CONTROL], "no-cache", "{path}");
        assert!(String::from_utf8(body).unwrap().contains("<div id=\"app\">"), "{path}");
    }
}

#[tokio::test]
async fn apis_are_left_alone() {
    let (status, _, body) = ask("GET", "/api/known", &[("accept", BROWSER)]).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, b"known".as_slice()));
    for path in ["/api/v1/nothing", "/loki/api/v1/nothing", "/jaeger/nothing", "/tempo/x", "/v1/logs"] {
        for method in ["GET", "POST"] {
            let (status, headers, body) = ask(method, path, &[("accept", BROWSER)]).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}");
            assert_eq!(headers[CONTENT_TYPE], "application/json", "{method} {path}");
            assert!(!String::from_utf8(body).unwrap().contains("<html"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn programs_do_not_get_the_page() {
    let (status, ..) = ask("GET", "/logs", &[("accept", "*/*")]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // But at the root, where there is nothing else to be found, everybody does.
    for headers in [&[("accept", "*/*")][..], &[]] {
        let (status, headers, body) = ask("GET", "/", headers).await;
        assert_eq!((status, &headers[CONTENT_TYPE]), (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap()));
        assert!(String::from_utf8(body).unwrap().contains("<div id=\"app\">"));
    }
    let (status, headers, _) = ask("POST", "/logs", &[("accept", BROWSER)]).await;
    assert_eq!((status, &headers[ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap()));
    let (status, ..) = ask("GET", "/assets/index-old.js", &[("accept", BROWSER)]).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "an old build's file is missing, not a document");
}

#[tokio::test]
async fn hashed_files_are_kept_for_ever_and_compressed() {
    let path = format!("/{}", script());
    let (status, headers, raw) = ask("GET", &path, &[]).await;
    assert_eq!((status, &headers[CONTENT_TYPE]), (StatusCode::OK, &"text/javascript; charset=utf-8".parse().unwrap()));
    assert!(headers[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    let (_, packed_headers, packed) = ask("GET", &path, &[("accept-encoding", "br;q=1.0, gzip;q=0.8")]).await;
    assert_eq!(packed_headers[CONTENT_ENCODING], "gzip");
    let mut unpacked = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, raw);
    let tag = headers[ETAG].to_str().unwrap();
    let (status, _, body) = ask("GET", &path, &[("if-none-match", tag)]).await;
    assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
    let (status, _, body) = ask("HEAD", &path, &[]).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn every_answer_carries_the_policy() {
    for (method, path) in [("GET", "/"), ("GET", "/icon.svg"), ("GET", "/nothing"), ("POST", "/"), ("GET", "/api/x")] {
        let (_, headers, _) = ask(method, path, &[("accept", BROWSER)]).await;
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{method} {path}: {policy}");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff", "{method} {path}");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_outside() {
    let assets = Assets::load();
    let index = assets.get("index.html").unwrap();
    let text = std::str::from_utf8(&index.raw).unwrap();
    assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("style=") && !text.contains("<style"));
    for (_, rest) in
        text.match_indices("src=\"").chain(text.match_indices("href=\"")).map(|(at, found)| (at, &text[at + found.len()..]))
    {
        let target = rest.split('"').next().unwrap().trim_start_matches('/');
        assert!(assets.get(target).is_some(), "index.html names {target}, which is not in dist");
    }
}
