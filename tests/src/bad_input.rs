//! Bad input: a table of what was tried and the answer given. Each answer names what is wrong; weir goes on serving.

use crate::weir::{Weir, binary};

struct Case {
    what: &'static str,
    method: &'static str,
    /// Path on the main listener, or `otlp:` and a path on the OTLP one.
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    status: u16,
    /// Must stand in the answer.
    says: &'static str,
}

fn case(what: &'static str, path: &'static str, status: u16, says: &'static str) -> Case {
    Case { what, method: "GET", path, headers: &[], body: Vec::new(), status, says }
}

fn post(
    what: &'static str,
    path: &'static str,
    kind: &'static [(&'static str, &'static str)],
    body: &[u8],
    status: u16,
    says: &'static str,
) -> Case {
    Case { what, method: "POST", path, headers: kind, body: body.to_vec(), status, says }
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const PROTOBUF: &[(&str, &str)] = &[("content-type", "application/x-protobuf")];
const GZIP: &[(&str, &str)] = &[("content-type", "application/json"), ("content-encoding", "gzip")];
const UNKNOWN: &[(&str, &str)] = &[("content-type", "text/csv")];

fn cases() -> Vec<Case> {
    let huge = vec![b'a'; 40 << 20];
    // Snappy that declares 4 GiB - 1.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    vec![
        case("PromQL without a closing parenthesis", "/api/v1/query?query=rate(a[5m]", 400, "parse error"),
        case("PromQL with an unknown function", "/api/v1/query?query=nope(a)", 400, "nope"),
        case("PromQL without a query", "/api/v1/query", 400, "query"),
        case("a range query of a million points", "/api/v1/query_range?query=a&start=0&end=1000000&step=1", 400, "11,000"),
        case("a step of zero", "/api/v1/query_range?query=a&start=0&end=10&step=0", 400, "step"),
        case("an end before its start", "/api/v1/query_range?query=a&start=10&end=1&step=1", 400, "end"),
        case("a time that is none", "/api/v1/query?query=a&time=yesterday", 400, "yesterday"),
        case("a matcher with a broken pattern", "/api/v1/query?query=a%7Bb%3D~%22(%22%7D", 400, "("),
        case("LogQL without a selector", "/loki/api/v1/query_range?query=foo", 400, "foo"),
        case("LogQL with an open brace", "/loki/api/v1/query_range?query=%7Ba%3D%22b%22", 400, "parse error"),
        case("LogQL that matches everything", "/loki/api/v1/query_range?query=%7B%7D", 400, "matcher"),
        case("a log query on the instant endpoint", "/loki/api/v1/query?query=%7Ba%3D%22b%22%7D", 400, "log"),
        case("a trace id that is not hex", "/api/weir/v1/traces/xyz", 400, "hex"),
        case("a trace id that is too long", "/jaeger/api/traces/00000000000000000000000000000000000000001", 400, "trace id"),
        case("a trace that is not there", "/jaeger/api/traces/1", 404, "trace"),
        case("a line id that is none", "/api/weir/v1/logs/line/abc", 400, "line id"),
        case("a path that is not there", "/api/v1/nope", 404, ""),
        post("an OTLP body that is not protobuf", "otlp:/v1/traces", PROTOBUF, b"\xff\xff\xff", 400, "protobuf"),
        post("an OTLP body that is not JSON", "otlp:/v1/logs", JSON, b"{", 400, "json"),
        post("an OTLP body that is not gzip", "otlp:/v1/logs", GZIP, b"not gzip", 400, "gzip"),
        post("an OTLP body of an unknown type", "otlp:/v1/logs", UNKNOWN, b"a,b", 415, "text/csv"),
        post("an OTLP body that is too large", "otlp:/v1/logs", JSON, &huge, 413, "bytes"),
        post("a push that is not JSON", "/loki/api/v1/push", JSON, b"{\"streams\": 5}", 400, "expected a sequence"),
        post("a push that is not snappy", "/loki/api/v1/push", PROTOBUF, b"\x01\x02", 400, "snappy"),
        post("a push that declares 4 GiB", "/loki/api/v1/push", PROTOBUF, &bomb, 413, "bytes"),
        post("a remote write that is not snappy", "/api/v1/write", PROTOBUF, b"\x01\x02", 400, "snappy"),
        post("a remote write that declares 4 GiB", "/api/v1/write", PROTOBUF, &bomb, 413, "bytes"),
        post("a remote write of an unknown type", "/api/v1/write", UNKNOWN, b"a,b", 415, "text/csv"),
        post("a remote read that declares 4 GiB", "/api/v1/read", PROTOBUF, &bomb, 400, "declares"),
        post(
            "a push without labels",
            "/loki/api/v1/push",
            JSON,
            br#"{"streams":[{"stream":{},"values":[["1","a"]]}]}"#,
            400,
            "label",
        ),
        post("a push without streams", "/loki/api/v1/push", JSON, br#"{"streams":[]}"#, 422, "stream"),
        post(
            "a push with a time that is none",
            "/loki/api/v1/push",
            JSON,
            br#"{"streams":[{"stream":{"a":"b"},"values":[["x","a"]]}]}"#,
            400,
            "x",
        ),
        post("a push that is too large", "/loki/api/v1/push", JSON, &huge, 413, "bytes"),
    ]
}

/// Whether the other side ended the connection while the request was sent; not that it is away, or silent.
fn was_closed(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let of_io = |cause: &&(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| matches!(error.kind(), BrokenPipe | ConnectionReset))
    };
    !error.is_connect() && !error.is_timeout() && causes.into_iter().any(|cause| of_io(&cause))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_refused_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let weir = Weir::start(&folder.path().join("data")).await;
    let mut wrong = Vec::new();
    for case in cases() {
        let url = match case.path.strip_prefix("otlp:") {
            Some(path) => format!("http://{}{path}", weir.otlp_http),
            None => weir.url(case.path),
        };
        let request = weir.http.request(case.method.parse().unwrap(), url).body(case.body);
        let request = case.headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (status, text) = match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            // A server may close on a body that is far too large before the client has sent all of it, and the answer is lost.
            Err(error) if case.status == 413 && was_closed(&error) => continue,
            Err(error) => (0, error.to_string()),
        };
        println!("{}: {status} {}", case.what, text.chars().take(160).collect::<String>().trim_end());
        if status != case.status || !text.contains(case.says) {
            wrong.push(format!("{}: wanted {} with {:?}, got {status} {text}", case.what, case.status, case.says));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (status, _) = weir.try_get("/readyz", &[]).await;
    assert_eq!(status, 200, "weir goes on serving");
}

#[tokio::test]
async fn lines_that_are_not_utf_8_or_very_long_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let pods = crate::weir::pods_of(folder.path());
    let log = pods.join("ns_bytes_00000000-0000-4000-8000-000000000000/server/0.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    let mut text =
        b"2026-01-01T00:00:00Z stdout F before \xff\xfe after\nnot a CRI line at all\n2026-01-01T00:00:01Z stdout F ".to_vec();
    text.extend(vec![b'x'; 700 << 10]);
    text.extend(b"\n2026-01-01T00:00:02Z stdout F last\n");
    std::fs::write(&log, text).unwrap();
    let config = folder.path().join("weir.toml");
    std::fs::write(&config, format!("{}[aggregator.retention]\nlogs = \"0s\"\n", crate::weir::node_at(folder.path()))).unwrap();
    let weir = Weir::start_with(&folder.path().join("data"), &["--config", config.to_str().unwrap()], &[]).await;
    let lines = crate::weir::eventually("all lines", || async {
        let parameters = [
            ("query", "{pod=\"bytes\"}"),
            ("start", "2025-01-01T00:00:00Z"),
            ("end", "2100-01-01T00:00:00Z"),
            ("limit", "100"),
            ("direction", "forward"),
        ];
        let answer = weir.get("/api/weir/v1/logs", &parameters).await;
        let lines: Vec<String> =
            answer["lines"].as_array().unwrap().iter().map(|line| line["line"].as_str().unwrap().to_owned()).collect();
        if lines.iter().any(|line| line == "last") && lines.iter().any(|line| line.contains("not a CRI")) {
            Ok(lines)
        } else {
            Err(format!("{} lines", lines.len()))
        }
    })
    .await;
    assert!(lines.iter().any(|line| line == "before \\xff\\xfe after"), "{:?}", lines[0]);
    let long: usize = lines.iter().filter(|line| line.starts_with('x')).map(String::len).sum();
    assert_eq!(long, 700 << 10, "a long line is split, and whole");
}

#[test]
fn the_command_line_refuses_with_what_is_wrong_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (unknown, open, kafka) = (
        file("unknown.toml", "listne = 1"),
        file("open.toml", "listen = \"0.0.0.0:9640\""),
        file("rules.yml", "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: rate(a[5m\n"),
    );
    let check = |arguments: &[&str], code: i32, says: &str| {
        let output = std::process::Command::new(binary()).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        println!("{arguments:?}: {:?} {}", output.status.code(), text.trim_end());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "{arguments:?}: errors go to stderr");
    };
    check(&["check", "config", &unknown], 2, "listne");
    check(&["check", "config", &open], 2, "allow_plaintext");
    check(&["check", "config", "/nonexistent.toml"], 2, "/nonexistent.toml");
    check(&["check", "rules", &kafka], 2, "parse error");
    check(&["up", "--listen", "nowhere"], 2, "nowhere");
    check(&["logs", "{a=\"b\"}", "--since", "yesterday"], 2, "yesterday");
    check(&["logs", "{a=\"b\"}", "--addr", "http://127.0.0.1:1"], 1, "127.0.0.1:1");
    check(&["trace", "xyz"], 2, "hex");
    check(&["nonsense"], 2, "nonsense");
}
