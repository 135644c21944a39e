//! Answers compressed on their way out: decoded they are what they were, and what does not pay is left alone.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::FutureExt;
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::front::coding::Coding;
use crate::front::encoder::{Compressed, Encoder};
use crate::service::health::{self, Readiness};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// Reads so much, or to the end.
fn decoded(coding: &str, bytes: &[u8], count: Option<usize>) -> Vec<u8> {
    let mut reader: Box<dyn Read> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        "zstd" => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        _ => Box::new(bytes),
    };
    let mut out = vec![0; count.unwrap_or(0)];
    match count {
        Some(_) => reader.read_exact(&mut out).unwrap(),
        None => _ = reader.read_to_end(&mut out).unwrap(),
    }
    out
}

struct Ready;

impl Readiness for Ready {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// As `logs` and `query_range` answer.
fn lines() -> String {
    let line = |i: u32| {
        format!("{{\"id\":\"0-{i}-0\",\"t\":\"16749817423831509{i:02}\",\"line\":\"GET /cart/{} took {i} ms\"}}", i * 7919)
    };
    format!("{{\"lines\":[{}]}}", (0..2000).map(line).collect::<Vec<_>>().join(","))
}

/// What does not shrink, without an end.
fn noise(produced: Arc<AtomicU64>) -> Body {
    let pieces = futures_util::stream::unfold(0x9E37_79B9_7F4A_7C15_u64, move |mut state| {
        let produced = Arc::clone(&produced);
        async move {
            let mut piece = Vec::with_capacity(64 << 10);
            while piece.len() < 64 << 10 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                piece.extend_from_slice(&state.to_le_bytes());
            }
            produced.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(piece)), state))
        }
    });
    Body::from_stream(pieces)
}

fn of_kind(kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert("content-type", kind.parse().unwrap());
    response.headers_mut().insert("etag", "\"strong\"".parse().unwrap());
    response
}

fn router(produced: &Arc<AtomicU64>) -> Router {
    let mut registry = Registry::default();
    crate::front::metrics::FrontMetrics::default().register(&mut registry);
    for _ in 0..20 {
        registry.register(
            "weir_test",
            "A metric that makes the scrape longer",
            prometheus_client::metrics::counter::Counter::<u64>::default(),
        );
    }
    let produced = Arc::clone(produced);
    let echo = |mut socket: axum::extract::ws::WebSocket| async move {
        while let Some(Ok(Message::Text(text))) = socket.recv().await {
            socket.send(Message::Text(text)).await.unwrap();
        }
    };
    Router::new()
        .route("/lines", get(|| async { of_kind("application/json", lines()) }))
        .route("/small", get(|| async { of_kind("application/json", "x".repeat(1023)) }))
        .route("/packed", get(|| async { of_kind("application/octet-stream", "x".repeat(4096)) }))
        .route("/grpc", get(|| async { of_kind("application/grpc", "x".repeat(4096)) }))
        .route("/endless", get(move || async { of_kind("text/plain", noise(produced)) }))
        .route("/tail", get(move |upgrade: WebSocketUpgrade| async move { upgrade.on_upgrade(echo) }))
        .merge(health::router(registry, Ready).into_router())
        .merge(weir_dashboards::router().into_router())
}

struct Got {
    coding: String,
    length: Option<String>,
    tag: String,
    vary: String,
    bytes: Vec<u8>,
}

async fn ask(door: &Door, path: &str, accepted: &str) -> Got {
    let request = weir_tls::client().get(format!("http://{}{path}", door.address)).header("accept-encoding", accepted);
    let response = tokio::time::timeout(END, request.send()).await.expect("an answer").unwrap();
    let header = |name: &str| {
        let texts: Vec<&str> = response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        texts.join(", ")
    };
    let (coding, tag, vary) = (header("content-encoding"), header("etag"), header("vary"));
    let length = Some(header("content-length")).filter(|length| !length.is_empty());
    Got { coding, length, tag, vary, bytes: response.bytes().await.unwrap().to_vec() }
}

#[tokio::test]
async fn each_coding_is_the_same_answer_and_what_does_not_pay_is_left_alone() {
    let door = Door::open(FrontConfig::default(), router(&Arc::default())).await;
    let page = String::from_utf8(ask(&door, "/", "identity").await.bytes).unwrap();
    let script = format!("/assets/{}.js", page.split_once("/assets/").unwrap().1.split_once(".js").unwrap().0);
    for path in ["/lines", "/metrics", &script] {
        let vary = if path == "/metrics" { "accept, accept-encoding" } else { "accept-encoding" };
        let plain = ask(&door, path, "identity").await;
        assert_eq!((&*plain.coding, &*plain.vary), ("", vary), "{path}");
        assert_eq!(plain.length, Some(plain.bytes.len().to_string()), "{path}");
        for coding in CODINGS {
            let packed = ask(&door, path, coding).await;
            assert_eq!((&*packed.coding, &*packed.vary), (coding, vary), "{path}");
            assert!(packed.bytes.len() < plain.bytes.len() * 2 / 3, "{path} {coding}: {}", packed.bytes.len());
            assert!(decoded(coding, &packed.bytes, None) == plain.bytes, "{path} {coding}");
        }
        for accepted in ["deflate, compress", "gzip;q=0", "*;q=0", "identity;q=1, *;q=0.1", "nonsense;;=,"] {
            let got = ask(&door, path, accepted).await;
            assert!(got.coding.is_empty() && got.bytes == plain.bytes, "{path} {accepted}");
        }
    }
    assert_eq!((&*ask(&door, "/lines", "br").await.tag, &*ask(&door, "/lines", "").await.tag), ("W/\"strong\"", "\"strong\""));
    // The page's own gzip is handed out as it lies there.
    assert!(ask(&door, &script, "gzip").await.length.is_some());
    for path in ["/small", "/packed", "/grpc", "/healthz"] {
        let got = ask(&door, path, "gzip, br, zstd").await;
        assert_eq!((&*got.coding, got.length), ("", Some(got.bytes.len().to_string())), "{path}");
    }
    let counted =
        |coding| door.metric(&format!("weir_front_compressed_responses_total{{listener=\"listen\",coding=\"{coding}\"}}"));
    assert_eq!((counted("gzip"), counted("br"), counted("zstd")), (2, 4, 3));
    let head = door.send("HEAD /lines HTTP/1.1\r\nhost: localhost\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n").await;
    assert!(status(&head) == 200 && !head.contains("content-encoding"), "{head}");
    let call = "GET /lines HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc\r\naccept-encoding: gzip\r\nconnection: close\r\n\r\n";
    let call = door.send(call).await;
    assert!(call.ends_with("]}") && !call.contains("content-encoding"), "{call}");
    door.close().await;
}

#[tokio::test]
async fn a_web_socket_passes_as_it_is() {
    let door = Door::open(FrontConfig::default(), router(&Arc::default())).await;
    let mut stream = door.connect().await;
    let upgrade = "GET /tail HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\naccept-encoding: gzip, br, zstd\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        tokio::time::timeout(END, stream.read_exact(&mut byte)).await.expect("an answer").unwrap();
        answer.extend_from_slice(&byte);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(status(&answer) == 101 && !answer.contains("encoding"), "{answer}");
    // A masked text frame of 2,000 bytes, the mask being zeros, comes back unmasked.
    let text = [b'l'; 2000];
    stream.write_all(&[&[0x81, 0xFE, 0x07, 0xD0, 0, 0, 0, 0], &text[..]].concat()).await.unwrap();
    let mut frame = vec![0; 4 + text.len()];
    tokio::time::timeout(END, stream.read_exact(&mut frame)).await.expect("a frame").unwrap();
    assert!(frame[..4] == [0x81, 0x7E, 0x07, 0xD0] && frame[4..] == text);
    drop(stream);
    door.close().await;
}

/// Its compressor is held until it reads or is ended; what it holds is bounded, and others are answered without.
#[tokio::test]
async fn who_does_not_read_holds_one_compressor_and_a_bounded_part_of_the_answer() {
    let produced = Arc::new(AtomicU64::new(0));
    let config = FrontConfig { compressors_max: 1, write_timeout: Duration::from_secs(2), ..FrontConfig::default() };
    let door = Door::open(config, router(&produced)).await;
    let mut deaf = door.connect().await;
    deaf.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\naccept-encoding: zstd\r\n\r\n").await.unwrap();
    until("it is being compressed", || produced.load(Ordering::Relaxed) > 0).await;
    let other = ask(&door, "/lines", "zstd").await;
    assert!(other.coding.is_empty() && other.bytes == lines().as_bytes());
    assert_eq!(door.metric("weir_front_uncompressed_responses_total{listener=\"listen\"}"), 1);
    let ended = "weir_front_timeouts_total{listener=\"listen\",what=\"write\"}";
    until("it is ended", || door.metric(ended) == 1 && door.metric(CONNECTIONS) <= 1).await;
    // The sockets' buffers are the kernel's: some megabytes.
    let taken = produced.load(Ordering::Relaxed);
    assert!(taken < 64 << 20, "{taken} bytes of an answer that nobody reads");
    let waited = async { while ask(&door, "/lines", "zstd").await.coding != "zstd" {} };
    tokio::time::timeout(END, waited).await.expect("the compressor is free again");
    door.close().await;
}

#[tokio::test]
async fn compressing_can_be_turned_off() {
    let door = Door::open(FrontConfig { compressors_max: 0, ..FrontConfig::default() }, router(&Arc::default())).await;
    assert_eq!(ask(&door, "/lines", "gzip").await.bytes, lines().as_bytes());
    door.close().await;
}

async fn next(body: &mut Compressed) -> Option<Bytes> {
    let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.unwrap().into_data().unwrap())
}

/// Whatever was written is there as soon as the body pauses.
#[tokio::test]
async fn a_stream_stays_one() {
    for (coding, name) in [(Coding::Gzip, "gzip"), (Coding::Brotli, "br"), (Coding::Zstd, "zstd")] {
        let (tx, rx) = mpsc::channel::<&'static str>(1);
        let parts =
            futures_util::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|part| (Ok::<_, std::io::Error>(part), rx)) });
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let mut body = Compressed::new(Body::from_stream(parts), Encoder::new(coding).unwrap(), place);
        let mut received = Vec::new();
        for (part, all) in [("first ", "first "), ("second", "first second")] {
            tx.send(part).await.unwrap();
            let first = tokio::time::timeout(END, next(&mut body)).await.expect("what was sent").unwrap();
            received.extend_from_slice(&first);
            // A header may precede what was flushed.
            while let Some(more) = next(&mut body).now_or_never() {
                received.extend_from_slice(&more.unwrap());
            }
            assert_eq!(decoded(name, &received, Some(all.len())), all.as_bytes(), "{name}");
        }
        drop(tx);
        while let Some(more) = next(&mut body).await {
            received.extend_from_slice(&more);
        }
        assert_eq!((decoded(name, &received, None), places.available_permits()), (b"first second".to_vec(), 1), "{name}");
    }
}
