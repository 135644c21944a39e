//! What a stranger can send: seeded hostile requests for every listener of a weir, as bytes on a socket.
//!
//! Deep, wide, long, half, twice, compressed, not UTF-8, with numbers and times beyond every range, with headers of a page that
//! means harm. Used by the storm in `ledger/storm.rs`; each request is a function of its seed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Which of a weir's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Page and APIs.
    Main,
    /// OTLP over HTTP.
    OtlpHttp,
    /// OTLP over gRPC.
    OtlpGrpc,
}

/// One hostile request.
pub struct Attack {
    /// For messages.
    pub what: &'static str,
    /// Where it is sent.
    pub listener: Listener,
    /// What is written, all at once.
    pub bytes: Vec<u8>,
    /// The request ends before it says that it does: the connection is held open as long as the storm likes.
    pub half: bool,
}

type Maker = fn(&mut StdRng) -> Attack;

const MAKERS: [Maker; 16] = [
    deep_promql,
    deep_logql,
    deep_traceql,
    many_regexes,
    wide_push,
    deep_json,
    gzip_bomb,
    snappy_claim,
    times_beyond_range,
    long_head,
    half_body,
    half_head,
    twice,
    not_utf8,
    other_origin,
    noise,
];

/// The request of a seed.
pub fn attack(seed: u64) -> Attack {
    let mut random = StdRng::seed_from_u64(seed);
    let make = MAKERS.choose(&mut random).copied().unwrap_or(noise);
    make(&mut random)
}

fn get(what: &'static str, path: &str, parameters: &[(&str, &str)]) -> Attack {
    let query = url_encoded(parameters);
    let bytes = format!("GET {path}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").into_bytes();
    Attack { what, listener: Listener::Main, bytes, half: false }
}

fn form(what: &'static str, path: &str, parameters: &[(&str, &str)]) -> Attack {
    post(what, Listener::Main, path, "Content-Type: application/x-www-form-urlencoded\r\n", url_encoded(parameters).as_bytes())
}

fn post(what: &'static str, listener: Listener, path: &str, headers: &str, body: &[u8]) -> Attack {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
    Attack { what, listener, bytes: [head.as_bytes(), body].concat(), half: false }
}

fn url_encoded(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(key, value)| {
        let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("{key}={value}")
    });
    pairs.collect::<Vec<_>>().join("&")
}

const JSON: &str = "Content-Type: application/json\r\n";
const PUSH: &str = "/loki/api/v1/push";
const OTLP: [&str; 3] = ["/v1/logs", "/v1/metrics", "/v1/traces"];

fn otlp(random: &mut StdRng) -> &'static str {
    OTLP.choose(random).copied().unwrap_or(OTLP[0])
}

fn deep_promql(random: &mut StdRng) -> Attack {
    let count = random.random_range(100..30_000);
    let unit = ["1*", "1+", "-", "(", "1^", "up or ", "abs(", "up and ", "1 == bool "].choose(random).copied().unwrap_or("(");
    form("deep PromQL", "/api/v1/query", &[("query", &(unit.repeat(count.min(120_000 / unit.len())) + "1"))])
}

fn deep_logql(random: &mut StdRng) -> Attack {
    let count = random.random_range(100..20_000);
    let query = match random.random_range(0..4) {
        0 => format!("{}1", "1+".repeat(count)),
        1 => format!("{{a=\"b\"}} |= \"x\"{}", " or \"x\"".repeat(count)),
        2 => format!("{{a=\"b\"}} | logfmt | {}b=1", "a=1 or ".repeat(count)),
        _ => format!("{}{{a=\"b\"}}{}", "(".repeat(count), ")".repeat(count)),
    };
    form("deep LogQL", "/loki/api/v1/query_range", &[("query", &query)])
}

fn deep_traceql(random: &mut StdRng) -> Attack {
    let count = random.random_range(10..4000);
    let query = match random.random_range(0..3) {
        0 => format!("{{ {} }}", ".a=1 && ".repeat(count) + ".b=2"),
        1 => format!("{{ {}.a=1{} }}", "(".repeat(count), ")".repeat(count)),
        _ => "{} >> ".repeat(count) + "{}",
    };
    get("deep TraceQL", "/tempo/api/search", &[("q", &query)])
}

fn many_regexes(random: &mut StdRng) -> Attack {
    let count = random.random_range(1..2000);
    let pattern =
        ["(a{1000}){1000}", "(x+x+)+y", "[\\\\pL]{500}", "((((((((a?){30}){30}))))))"].choose(random).copied().unwrap_or("a");
    let matchers = format!("a=~\"{pattern}\",").repeat(count.min(100_000 / pattern.len()));
    form("regular expressions", "/api/v1/query", &[("query", &format!("{{{matchers}b=\"c\"}}"))])
}

fn wide_push(random: &mut StdRng) -> Attack {
    let labels = random.random_range(1..5000);
    let value = "v".repeat(random.random_range(1..200));
    let pairs: Vec<String> = (0..labels).map(|i| format!("\"l{i}\":\"{value}\"")).collect();
    let (stream, metadata) =
        if random.random() { (pairs.join(","), String::new()) } else { ("\"a\":\"b\"".into(), pairs.join(",")) };
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let line = format!("[\"{at}\",\"\",{{{metadata}}}],").repeat(random.random_range(1..50));
    let body = format!("{{\"streams\":[{{\"stream\":{{{stream}}},\"values\":[{}]}}]}}", line.trim_end_matches(','));
    post("a wide push", Listener::Main, PUSH, JSON, body.as_bytes())
}

fn deep_json(random: &mut StdRng) -> Attack {
    let count = random.random_range(50..50_000);
    if random.random() {
        let value = format!("{}{}", "{\"arrayValue\":{\"values\":[".repeat(count), "]}}".repeat(count));
        let body = format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{\"body\":{value}}}]}}]}}]}}");
        post("deep OTLP JSON", Listener::OtlpHttp, "/v1/logs", JSON, body.as_bytes())
    } else {
        post("deep JSON", Listener::Main, PUSH, JSON, "[".repeat(count).as_bytes())
    }
}

fn gzip_bomb(random: &mut StdRng) -> Attack {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let mebibytes = random.random_range(1..96);
    let filler = if random.random() { vec![b' '; 1 << 20] } else { [0x0a, 0x00].repeat(1 << 19) };
    let written = (0..mebibytes).try_for_each(|_| packed.write_all(&filler));
    let body = written.and_then(|()| packed.finish()).unwrap_or_default();
    let kind = if random.random() { JSON } else { "Content-Type: application/x-protobuf\r\n" };
    let headers = format!("{kind}Content-Encoding: gzip\r\n");
    if random.random() {
        post("a gzip bomb", Listener::Main, PUSH, &headers, &body)
    } else {
        post("a gzip bomb", Listener::OtlpHttp, otlp(random), &headers, &body)
    }
}

fn snappy_claim(random: &mut StdRng) -> Attack {
    let mut body = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
    body.extend((0..random.random_range(0..200)).map(|_| random.random::<u8>()));
    post("snappy that claims 4 GiB", Listener::Main, PUSH, "Content-Type: application/x-protobuf\r\n", &body)
}

fn times_beyond_range(random: &mut StdRng) -> Attack {
    let wild = [
        "1e300",
        "-9223372036854775808",
        "9223372036854775807",
        "NaN",
        "Inf",
        "1e-320",
        "18446744073709551615",
        "0",
        "2200-01-01T00:00:00Z",
    ];
    let mut one = || wild.choose(random).copied().unwrap_or("0").to_owned();
    let (start, end, step) = (one(), one(), one());
    let parameters = [("start", start.as_str()), ("end", &end), ("step", &step), ("time", &start)];
    match random.random_range(0..4) {
        0 => {
            get("times beyond range", "/api/v1/query_range", &[&parameters[..], &[("query", "rate(up[5m] offset -1d)")]].concat())
        }
        1 => get("times beyond range", "/loki/api/v1/query_range", &[&parameters[..], &[("query", "{a=\"b\"}")]].concat()),
        2 => get("times beyond range", "/tempo/api/search", &[&parameters[..], &[("q", "{}")]].concat()),
        _ => {
            let span = format!(
                "{{\"traceId\":\"{:032x}\",\"spanId\":\"{:016x}\",\"startTimeUnixNano\":\"{start}\",\"endTimeUnixNano\":\"{end}\"}}",
                1, 1
            );
            let body = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{span}]}}]}}]}}");
            post("times beyond range", Listener::OtlpHttp, "/v1/traces", JSON, body.as_bytes())
        }
    }
}

fn long_head(random: &mut StdRng) -> Attack {
    let bytes = "x".repeat(random.random_range(10_000..400_000));
    let head = match random.random_range(0..3) {
        0 => format!("GET /{bytes} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        1 => format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {bytes}\r\n\r\n"),
        _ => format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", "A: b\r\n".repeat(bytes.len() / 6)),
    };
    Attack { what: "a long head", listener: any(random), bytes: head.into_bytes(), half: false }
}

fn half_body(random: &mut StdRng) -> Attack {
    let (listener, path) = if random.random() { (Listener::Main, PUSH) } else { (Listener::OtlpHttp, otlp(random)) };
    let length = random.random_range(100..60_000_000);
    let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{JSON}Content-Length: {length}\r\n\r\n{{\"streams\":[");
    Attack { what: "half a body", listener, bytes: head.into_bytes(), half: true }
}

fn half_head(random: &mut StdRng) -> Attack {
    let head = ["GET / HT", "POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", "", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let bytes = head.choose(random).copied().unwrap_or_default().as_bytes().to_vec();
    Attack { what: "half a head", listener: any(random), bytes, half: true }
}

fn twice(random: &mut StdRng) -> Attack {
    let one = "GET /api/v1/query?query=up HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(random.random_range(2..200));
    Attack { what: "many requests at once", listener: Listener::Main, bytes: one.into_bytes(), half: true }
}

fn not_utf8(random: &mut StdRng) -> Attack {
    let noise: Vec<u8> = (0..random.random_range(1..2000)).map(|_| random.random::<u8>()).collect();
    let listener = if random.random() { Listener::Main } else { Listener::OtlpHttp };
    let path = if listener == Listener::Main { PUSH } else { otlp(random) };
    let body =
        [b"{\"streams\":[{\"stream\":{\"a\":\"", noise.as_slice(), b"\"},\"values\":[[\"1\",\"", noise.as_slice(), b"\"]]}]}"]
            .concat();
    post("bytes that are no UTF-8", listener, path, JSON, &body)
}

fn other_origin(random: &mut StdRng) -> Attack {
    let path =
        ["/api/weir/v1/admin/seal", "/api/weir/v1/admin/compact", PUSH, "/api/v1/query"].choose(random).copied().unwrap_or(PUSH);
    let headers = [
        "Host: evil.example\r\n",
        "Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n",
        "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n",
    ];
    let headers = headers.choose(random).copied().unwrap_or_default();
    let head = format!("POST {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: 0\r\n\r\n");
    Attack { what: "another site's page", listener: Listener::Main, bytes: head.into_bytes(), half: false }
}

fn noise(random: &mut StdRng) -> Attack {
    let bytes: Vec<u8> = (0..random.random_range(1..20_000)).map(|_| random.random::<u8>()).collect();
    Attack { what: "noise", listener: any(random), bytes, half: random.random() }
}

fn any(random: &mut StdRng) -> Listener {
    [Listener::Main, Listener::OtlpHttp, Listener::OtlpGrpc].choose(random).copied().unwrap_or(Listener::Main)
}
