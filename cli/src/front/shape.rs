//! An error of the front door's own in the words of the API that was asked, so that a client reads it as it reads all others.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::json;

/// What gRPC wants encoded of its message, beside all that is not ASCII.
const GRPC_MESSAGE: AsciiSet = CONTROLS.add(b'%');

/// How the API that a request asks writes its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Trailers, with the status of HTTP always 200.
    Grpc,
    /// OTLP over HTTP: `google.rpc.Status` in the encoding of the request.
    OtlpProtobuf,
    OtlpJson,
    /// `{"status": "error", "errorType": …, "error": …}`
    Prometheus,
    /// `{"data": null, …, "errors": [{"code": …, "msg": …}]}`
    Jaeger,
    /// `{"code": …, "message": …}` of 2.x, and `{"error": …}` of 1.x: each client reads its own.
    Influx,
    /// `{"error": …}`
    Weir,
    /// A line of text: Loki, Tempo, health, metrics, the page's files.
    Text,
}

impl Shape {
    pub fn of(head: &Parts) -> Self {
        let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let path = head.uri.path();
        let is_below = |root: &str| path.starts_with(root);
        let is_otlp = ["/v1/", "/otlp/v1/", "/api/v1/otlp/v1/"].into_iter().any(is_below);
        let is_influx = matches!(path, "/write" | "/query") || is_below("/api/v2/") || is_below("/influx/");
        match path {
            _ if kind.starts_with(b"application/grpc") => Self::Grpc,
            _ if is_otlp && kind.starts_with(b"application/x-protobuf") => Self::OtlpProtobuf,
            _ if is_otlp => Self::OtlpJson,
            _ if is_below("/jaeger/") => Self::Jaeger,
            _ if is_influx => Self::Influx,
            _ if is_below("/api/weir/") => Self::Weir,
            _ if is_below("/api/") => Self::Prometheus,
            _ => Self::Text,
        }
    }

    /// The status and the text as the API writes them.
    pub fn error(self, status: StatusCode, text: &str) -> Response<Body> {
        match self {
            Self::Grpc => grpc(status, text),
            Self::OtlpProtobuf => whole(status, "application/x-protobuf", rpc_status(grpc_code(status), text)),
            Self::OtlpJson => json(status, &json!({"code": grpc_code(status), "message": text})),
            Self::Prometheus => json(status, &json!({"status": "error", "errorType": error_type(status), "error": text})),
            Self::Jaeger => {
                let errors = json!([{"code": status.as_u16(), "msg": text}]);
                json(status, &json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": errors}))
            }
            Self::Influx => json(status, &json!({"code": influx_code(status), "message": text, "error": text})),
            Self::Weir => json(status, &json!({"error": text})),
            Self::Text => whole(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes()),
        }
    }
}

fn whole(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    whole(status, "application/json", format!("{body}\n").into_bytes())
}

fn grpc(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = whole(StatusCode::OK, "application/grpc", Vec::new());
    let out = response.headers_mut();
    out.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(grpc_code(status)));
    if let Ok(text) = HeaderValue::from_str(&utf8_percent_encode(text, &GRPC_MESSAGE).to_string()) {
        out.insert(HeaderName::from_static("grpc-message"), text);
    }
    response
}

/// gRPC's code of a status: INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, DEADLINE_EXCEEDED and UNAVAILABLE (which OTLP's
/// clients try again), UNKNOWN.
fn grpc_code(status: StatusCode) -> u16 {
    match status {
        StatusCode::BAD_REQUEST => 3,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::REQUEST_TIMEOUT => 4,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => 14,
        _ => 2,
    }
}

/// Prometheus' own word where it has one.
fn error_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "bad_data",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "unavailable",
        _ => "internal",
    }
}

/// InfluxDB's word.
fn influx_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "invalid",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::TOO_MANY_REQUESTS => "too many requests",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ => "internal error",
    }
}

/// `google.rpc.Status`: field 1 is the code, field 2 the message.
fn rpc_status(code: u16, text: &str) -> Vec<u8> {
    // Both the code and each piece of the length are below 128.
    let mut bytes = vec![0x08, code as u8, 0x12];
    let mut length = text.len();
    while length >= 0x80 {
        bytes.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn check(path: &str, kind: &str, status: StatusCode, expected: &[u8]) {
        let (head, ()) = Request::get(path).header("content-type", kind).body(()).unwrap().into_parts();
        let response = Shape::of(&head).error(status, "who are you? ü");
        let is_grpc = kind.starts_with("application/grpc");
        assert_eq!(response.status(), if is_grpc { StatusCode::OK } else { status }, "{path}");
        let told = response.headers().get("grpc-message").map(|text| [b"7 ", text.as_bytes()].concat());
        let body = axum::body::to_bytes(response.into_body(), 1 << 10).await.unwrap();
        assert_eq!(told.as_deref().unwrap_or(&body), expected, "{path}: {}", String::from_utf8_lossy(&body));
    }

    #[tokio::test]
    async fn an_error_is_said_as_the_api_that_was_asked_says_its_own() {
        let (unknown, denied) = (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
        let prometheus = "{\"error\":\"who are you? ü\",\"errorType\":\"unauthorized\",\"status\":\"error\"}\n";
        check("/api/v1/query?query=up", "", unknown, prometheus.as_bytes()).await;
        check("/api/weir/v1/logs", "", unknown, "{\"error\":\"who are you? ü\"}\n".as_bytes()).await;
        for path in ["/loki/api/v1/query", "/loki/api/v1/push", "/tempo/api/search", "/metrics", "/"] {
            check(path, "application/json", denied, "who are you? ü\n".as_bytes()).await;
        }
        let jaeger =
            "{\"data\":null,\"errors\":[{\"code\":403,\"msg\":\"who are you? ü\"}],\"limit\":0,\"offset\":0,\"total\":0}\n";
        check("/jaeger/api/services", "", denied, jaeger.as_bytes()).await;
        let influx = "{\"code\":\"unauthorized\",\"error\":\"who are you? ü\",\"message\":\"who are you? ü\"}\n";
        for path in ["/write?db=x", "/api/v2/write", "/influx/write"] {
            check(path, "text/plain", unknown, influx.as_bytes()).await;
        }
        let otlp = "{\"code\":7,\"message\":\"who are you? ü\"}\n";
        check("/api/v1/otlp/v1/metrics", "application/json", denied, otlp.as_bytes()).await;
        check("/v1/logs", "application/json", unknown, "{\"code\":16,\"message\":\"who are you? ü\"}\n".as_bytes()).await;
        check("/v1/logs", "application/x-protobuf", denied, b"\x08\x07\x12\x0fwho are you? \xc3\xbc").await;
        check("/a.b.Service/Export", "application/grpc+proto", denied, b"7 who are you? %C3%BC").await;
    }

    #[test]
    fn a_long_message_has_a_long_length() {
        let text = "x".repeat(300);
        assert_eq!(rpc_status(7, &text)[..5], [0x08, 7, 0x12, 0xAC, 0x02]);
    }
}
