//! HTTP/2 without TLS, as gRPC speaks it, frame by frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::routing::post;
use weir_model::config::ByteSize;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HPACK: a header that is not indexed, with a new name.
fn literal(name: &str, value: &str) -> Vec<u8> {
    // Lengths of 127 and more take a second byte or more.
    let length = |text: &str| match text.len() {
        short @ 0..127 => vec![u8::try_from(short).unwrap()],
        long => {
            let (mut left, mut bytes) = (long - 127, vec![127]);
            while left >= 128 {
                bytes.push(u8::try_from(left % 128).unwrap() | 128);
                left /= 128;
            }
            bytes.push(u8::try_from(left).unwrap());
            bytes
        }
    };
    [vec![0], length(name), name.into(), length(value), value.into()].concat()
}

fn head(authority: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", "/svc/Export"), (":authority", authority)];
    for (name, value) in pseudo.iter().chain(more) {
        block.extend(literal(name, value));
    }
    block
}

struct Client(TcpStream);

impl Client {
    async fn connect(door: &Door) -> Self {
        let mut stream = door.connect().await;
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        Self(stream)
    }

    /// The next frame: kind, stream, payload; `None` at the end.
    async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        tokio::time::timeout(END, self.0.read_exact(&mut head)).await.expect("a frame").ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// The next frame of this kind.
    async fn wait_for(&mut self, kind: u8) -> Option<(u32, Vec<u8>)> {
        loop {
            let (found, stream, payload) = self.next().await?;
            if found == kind {
                return Some((stream, payload));
            }
        }
    }

    /// The rest of what the other side says, by kind.
    async fn rest(&mut self) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let Some((kind, ..)) = self.next().await {
            kinds.push(kind);
        }
        kinds
    }
}

fn counting() -> (Router, Arc<AtomicU32>) {
    let reached = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&reached);
    let export = move |body: axum::body::Bytes| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { body }
    };
    (Router::new().route("/svc/Export", post(export)), reached)
}

#[tokio::test]
async fn the_authority_is_a_host() {
    let (router, reached) = counting();
    let door = Door::open(FrontConfig::default(), router).await;
    let mut client = Client::connect(&door).await;
    let flags = END_HEADERS | END_STREAM;
    let grpc = ("content-type", "application/grpc");
    client.0.write_all(&frame(HEADERS, flags, 1, &head("evil.example:4317", &[grpc]))).await.unwrap();
    let (stream, answer) = client.wait_for(HEADERS).await.unwrap();
    assert_eq!(stream, 1);
    assert!(!answer.is_empty() && reached.load(Ordering::Relaxed) == 0);
    assert_eq!(door.metric("weir_front_refused_requests_total{listener=\"listen\",reason=\"host\"}"), 1);
    client.0.write_all(&frame(HEADERS, flags, 3, &head("localhost:4317", &[grpc]))).await.unwrap();
    let (stream, _) = client.wait_for(HEADERS).await.unwrap();
    assert_eq!((stream, reached.load(Ordering::Relaxed)), (3, 1));
    door.close().await;
}

#[tokio::test]
async fn half_a_body_of_a_stream_is_given_up() {
    let (router, reached) = counting();
    let door = Door::open(FrontConfig { body_timeout: Duration::from_millis(300), ..FrontConfig::default() }, router).await;
    let mut client = Client::connect(&door).await;
    client.0.write_all(&frame(HEADERS, END_HEADERS, 1, &head("localhost", &[]))).await.unwrap();
    client.0.write_all(&frame(DATA, 0, 1, b"half")).await.unwrap();
    client.wait_for(HEADERS).await.expect("an answer");
    assert_eq!(door.metric("weir_front_timeouts_total{listener=\"listen\",what=\"body\"}"), 1);
    assert_eq!(reached.load(Ordering::Relaxed), 0);
    door.close().await;
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_end_the_connection() {
    let (router, reached) = counting();
    let door = Door::open(FrontConfig::default(), router).await;
    let mut client = Client::connect(&door).await;
    let block = head("localhost", &[]);
    let mut flood = Vec::new();
    for stream in (1..20_001).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS, stream, &block));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    // The other side ends it in the middle.
    let _ = client.0.write_all(&flood).await;
    let said = client.rest().await;
    assert!(said.is_empty() || said.contains(&GOAWAY), "{said:?}");
    assert!(reached.load(Ordering::Relaxed) < 10_000);
    until("the connection is gone", || door.metric(CONNECTIONS) == 0).await;
    door.close().await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let (router, _) = counting();
    let door = Door::open(FrontConfig { streams_max: 3, ..FrontConfig::default() }, router).await;
    let mut client = Client::connect(&door).await;
    // SETTINGS_MAX_CONCURRENT_STREAMS is said at once.
    let (_, settings) = client.wait_for(SETTINGS).await.unwrap();
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 3]), "{settings:?}");
    let block = head("localhost", &[]);
    for stream in [1, 3, 5, 7] {
        client.0.write_all(&frame(HEADERS, END_HEADERS, stream, &block)).await.unwrap();
    }
    // 7: REFUSED_STREAM.
    assert_eq!(client.wait_for(RST_STREAM).await.unwrap(), (7, vec![0, 0, 0, 7]));
    drop(client);
    door.close().await;
}

#[tokio::test]
async fn heads_have_an_end_here_as_well() {
    let (router, reached) = counting();
    let door = Door::open(FrontConfig { head_max: ByteSize::kib(8), ..FrontConfig::default() }, router).await;
    let mut client = Client::connect(&door).await;
    let long = "x".repeat(12 << 10);
    client.0.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("localhost", &[("x", &long)]))).await.unwrap();
    // 431 in a response, or the stream's or the connection's end.
    while let Some((kind, ..)) = client.next().await {
        if [HEADERS, RST_STREAM, GOAWAY].contains(&kind) {
            break;
        }
    }
    assert_eq!(reached.load(Ordering::Relaxed), 0);
    client = Client::connect(&door).await;
    client.0.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("localhost", &[("x", "short")]))).await.unwrap();
    client.wait_for(HEADERS).await.expect("an answer");
    assert_eq!(reached.load(Ordering::Relaxed), 1);
    door.close().await;
}

#[tokio::test]
async fn an_idle_client_is_told_to_go() {
    let (router, reached) = counting();
    let door = Door::open(FrontConfig { idle_timeout: Duration::from_millis(300), ..FrontConfig::default() }, router).await;
    let mut client = Client::connect(&door).await;
    client.0.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("localhost", &[]))).await.unwrap();
    assert!(client.rest().await.contains(&GOAWAY));
    assert_eq!(reached.load(Ordering::Relaxed), 1);
    assert_eq!(door.metric("weir_front_timeouts_total{listener=\"listen\",what=\"idle\"}"), 1);
    door.close().await;
}
