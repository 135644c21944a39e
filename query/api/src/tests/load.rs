//! What many or large requests at once get: memory, places, tails; and that all of it comes back.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use weir_access::{Access, Authorizer, Principal};
use weir_budget::QueryConfig;
use weir_logql::memory::MemoryLogs;
use weir_model::config::ByteSize;
use weir_model::scope::Scope;
use weir_model::select::{Budget, ReadError};
use weir_model::time::SECOND;
use weir_rules::RuleSet;

use super::{Got, api, get, router, send};
use crate::Api;
use crate::live::Timing;
use crate::metrics::HttpMetrics;

fn over(logs: MemoryLogs, config: QueryConfig) -> Api {
    let (metrics, traces) = (Arc::new(super::MemoryMetrics::default()), Arc::new(super::MemoryTraces::default()));
    Api::new(Arc::new(logs), metrics, traces, config, Arc::new(RuleSet::empty())).with_clock(|| super::NOW)
}

fn lines(count: usize, bytes: usize) -> MemoryLogs {
    let mut store = MemoryLogs::default();
    for i in 0..count {
        store.push(&[("app", "x")], i as i64 * SECOND / 1000, &vec![b'x'; bytes]);
    }
    store
}

const LINES: &str = "/loki/api/v1/query_range?query=%7Bapp%3D%22x%22%7D&start=0&end=50&limit=1000";

#[tokio::test]
async fn a_query_that_holds_too_much_is_refused_by_the_limits_name_and_gives_back_what_it_held() {
    let check = async |config: QueryConfig, path: &str, status: u16, key: &str, reason: &'static str| {
        let counters = HttpMetrics::default();
        let api = Arc::new(over(lines(200, 10_000), config).with_counters(counters.clone()));
        let mut routes = router(Arc::clone(&api));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = tower_service::Service::call(&mut routes, request).await.unwrap();
        let retry = response.headers().get("retry-after").is_some();
        let (own, body) = (response.status().as_u16(), axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap());
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!((own, retry, text.contains(key)), (status, status == 503, true), "{path}: {text}");
        assert_eq!((counters.load.refusals(reason), api.load().used()), (1, 0), "{path}");
    };
    let small = QueryConfig { query_memory_max: ByteSize::mib(1), ..QueryConfig::default() };
    check(small.clone(), LINES, 400, "query.query_memory_max", "query_memory").await;
    let none = QueryConfig { memory_max: ByteSize::mib(1), ..QueryConfig::default() };
    check(none.clone(), LINES, 503, "query.memory_max", "memory").await;
    let text = QueryConfig { answer_max: ByteSize::mib(1), ..QueryConfig::default() };
    check(text, LINES, 400, "query.answer_max", "answer").await;
    // One series of 5,001 points, whatever lines there are.
    let points = "/loki/api/v1/query_range?query=count_over_time(%7Bapp%3D%22x%22%7D%5B1s%5D)&start=0&end=50&step=0.01";
    check(
        QueryConfig { query_memory_max: ByteSize::bytes(50_000), ..small },
        points,
        400,
        "query.query_memory_max",
        "query_memory",
    )
    .await;
    check(QueryConfig { memory_max: ByteSize::bytes(50_000), ..none }, points, 503, "query.memory_max", "memory").await;
}

#[tokio::test]
async fn memory_comes_back_after_a_panic_and_when_the_client_has_gone() {
    let api = Arc::new(over(MemoryLogs::default(), QueryConfig::default()));
    let failed: Result<(), ReadError> = super::call(&api)
        .run(|_, budget| {
            budget.reserve(1000)?;
            panic!("a fault");
        })
        .await;
    assert!(failed.unwrap_err().to_string().contains("fault"));
    assert_eq!(api.load().used(), 0);

    let (begun, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (has_begun, has_ended, own) = (Arc::clone(&begun), Arc::clone(&ended), Arc::clone(&api));
    let client = tokio::spawn(async move {
        let work = move |_: &Api, budget: &weir_budget::RequestBudget| {
            budget.reserve(1000)?;
            has_begun.store(true, Ordering::SeqCst);
            let stopped = loop {
                if let Err(stopped) = budget.check() {
                    break stopped;
                }
                std::thread::yield_now();
            };
            has_ended.store(true, Ordering::SeqCst);
            Err::<(), _>(stopped)
        };
        super::call(&own).run(work).await
    });
    until(|| begun.load(Ordering::SeqCst)).await;
    assert_eq!(api.load().used(), 1000);
    client.abort();
    until(|| ended.load(Ordering::SeqCst) && api.load().used() == 0).await;
}

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition.
async fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "it never came");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn beyond_those_who_run_and_wait_a_query_is_refused_and_told_when_to_come_again() {
    let config = QueryConfig { concurrency: 1, queue_max: 0, ..QueryConfig::default() };
    let api = Arc::new(over(lines(1, 1), config));
    let (begun, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (has_begun, may_go, own) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&api));
    let first = tokio::spawn(async move {
        let work = move |_: &Api, _: &weir_budget::RequestBudget| {
            has_begun.store(true, Ordering::SeqCst);
            while !may_go.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok::<_, ReadError>(())
        };
        super::call(&own).run(work).await
    });
    until(|| begun.load(Ordering::SeqCst)).await;
    let ask = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = tower_service::Service::call(&mut router(Arc::clone(&api)), request).await.unwrap();
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let (status, body) = (response.status().as_u16(), axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap());
        (status, retry, String::from_utf8_lossy(&body).into_owned())
    };
    // Every API, and what only parses as well: its regexes are compiled by a query that has its turn.
    let paths = [
        LINES,
        "/loki/api/v1/format_query?query=%7Ba%3D%22b%22%7D",
        "/api/v1/query?query=1",
        "/api/v1/format_query?query=1",
        "/api/v1/rules?match%5B%5D=%7Ba%3D~%22b%22%7D",
        "/api/v1/labels?match%5B%5D=%7Ba%3D~%22b%22%7D",
        "/tempo/api/search?q=%7B%7D",
        "/jaeger/api/services",
        "/api/weir/v1/logs?query=%7Ba%3D~%22b%22%7D",
        "/api/weir/v1/logs/tail?query=%7Ba%3D~%22b%22%7D",
    ];
    for path in paths {
        // What only parses is nobody's; of a tenant's own limit Prometheus' clients hear 503 as well.
        let is_503 = path.contains("format_query") || path.starts_with("/api/v1/");
        let (status, retry, text) = ask(path).await;
        let expected = if is_503 { 503 } else { 429 };
        assert_eq!((status, retry.as_deref(), text.contains("query.queue_max")), (expected, Some("2"), true), "{path}: {text}");
    }
    assert_eq!(api.counters.load.refusals("queue"), paths.len() as u64);
    go.store(true, Ordering::SeqCst);
    first.await.unwrap().unwrap();
    assert_eq!(ask(LINES).await.0, 200);
}

#[tokio::test]
async fn forms_and_parameters_have_an_end() {
    let form = |body: String| {
        let kind = "application/x-www-form-urlencoded";
        Request::post("/api/v1/query").header("Content-Type", kind).body(Body::from(body)).unwrap()
    };
    let empty = || api(MemoryLogs::default(), Default::default(), Default::default());
    let check = |got: Got, status: u16, expected: &str| {
        assert!(got.status == status && got.text().contains(expected), "{} {}", got.status, got.text());
    };
    check(send(empty(), form("query=1".into())).await, 200, "scalar");
    check(send(empty(), form(format!("query={}", "1".repeat(1 << 20)))).await, 413, "the form has more bytes");
    check(send(empty(), form("a&".repeat(1000))).await, 400, "1001 parameters are more than the 1000");
    let many = format!("/loki/api/v1/series?{}", "match[]=%7B%7D&".repeat(1001));
    check(get(empty(), &many).await, 400, "parameters are more than the 1000");
}

/// Connections without a socket.
struct Wires(mpsc::UnboundedReceiver<DuplexStream>);

impl axum::serve::Listener for Wires {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(wire) => (wire, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Asks for a tail; the status, and the connection.
async fn tail(wires: &mpsc::UnboundedSender<DuplexStream>, path: &str) -> (u16, DuplexStream) {
    let (mut near, far) = tokio::io::duplex(64 << 10);
    wires.send(far).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    near.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, near.read_u8()).await.expect("the answer's head comes");
        head.push(byte.unwrap());
    }
    let status = std::str::from_utf8(&head[9..12]).unwrap().parse().unwrap();
    (status, near)
}

/// Answers pings until one more than `pings` has come, or the connection ends; how many it answered.
async fn answer_pings(mut wire: DuplexStream, pings: usize) -> usize {
    for answered in 0..pings {
        let mut frame = [0; 2];
        if tokio::time::timeout(PATIENCE, wire.read_exact(&mut frame)).await.expect("a ping or the end comes").is_err() {
            return answered;
        }
        assert_eq!(frame, [0x89, 0], "a ping without a payload");
        // A pong, masked with zeros as clients must.
        wire.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
    }
    pings
}

fn served(silence: Duration) -> (mpsc::UnboundedSender<DuplexStream>, HttpMetrics, impl Future<Output = ()>) {
    let counters = HttpMetrics::default();
    let api = over(lines(1, 1), QueryConfig::default()).with_counters(counters.clone());
    let routes = router(Arc::new(api.with_tail_timing(Timing::within(silence))));
    let (wires, listener) = mpsc::unbounded_channel();
    let serving = async move { axum::serve(Wires(listener), routes).await.unwrap() };
    (wires, counters, serving)
}

#[tokio::test]
async fn sixty_four_half_open_tails_make_room_for_another() {
    let (wires, counters, serving) = served(Duration::from_secs(1));
    let serving = tokio::spawn(serving);
    let mut silent = Vec::new();
    for i in 0..64 {
        let path = ["/loki/api/v1/tail?query=%7Bapp%3D%22y%22%7D", "/api/weir/v1/logs/tail?query=%7Bapp%3D%22y%22%7D"][i % 2];
        let (status, wire) = tail(&wires, path).await;
        // Under load the first may be gone before the last has come.
        assert!(status == 101, "tail {i}: {status}");
        silent.push(wire);
    }
    let begun = Instant::now();
    let another = loop {
        let (status, wire) = tail(&wires, "/api/weir/v1/logs/tail?query=%7Bapp%3D%22y%22%7D").await;
        match status {
            101 => break wire,
            429 => assert!(begun.elapsed() < PATIENCE, "no place became free"),
            other => panic!("{other}"),
        }
    };
    assert!(counters.tails_closed("silent") > 0, "a place became free because its client was silent");
    // One that answers pings stays, twice as long as those that did not.
    assert_eq!(answer_pings(another, 6).await, 6);
    assert_eq!(counters.tails_closed("slow"), 0);
    drop(silent);
    serving.abort();
}

/// Credentials that can be taken back.
#[derive(Debug)]
struct Revocable(Arc<AtomicBool>);

#[async_trait::async_trait]
impl weir_access::Reauthenticate for Revocable {
    async fn principal(&self) -> Result<Option<Arc<Principal>>, weir_access::Denied> {
        Ok((!self.0.load(Ordering::SeqCst)).then(|| Arc::new(Principal::anonymous())))
    }
}

#[tokio::test]
async fn a_tail_is_closed_with_the_reason_when_its_credentials_end() {
    let (revoked, counters) = (Arc::new(AtomicBool::new(false)), HttpMetrics::default());
    let api = over(lines(1, 1), QueryConfig::default()).with_counters(counters.clone());
    let api = Arc::new(api.with_tail_timing(Timing::within(Duration::from_secs(3))));
    let access = Access::new(Some(Arc::new(Principal::anonymous())), Vec::new(), Arc::new(Authorizer::allow("default")));
    let access = access.with_credentials(Arc::new(Revocable(Arc::clone(&revoked))));
    let routes = crate::router(api).into_router().layer(Extension(access));
    let (wires, listener) = mpsc::unbounded_channel();
    let serving = tokio::spawn(async move { axum::serve(Wires(listener), routes).await.unwrap() });
    for path in ["/loki/api/v1/tail?query=%7Bapp%3D%22y%22%7D", "/api/weir/v1/logs/tail?query=%7Bapp%3D%22y%22%7D"] {
        revoked.store(false, Ordering::SeqCst);
        let (status, mut wire) = tail(&wires, path).await;
        assert_eq!(status, 101);
        revoked.store(true, Ordering::SeqCst);
        let mut frame = Vec::new();
        // A ping may have been on its way.
        while !matches!(frame.first(), Some(0x88)) {
            frame.clear();
            let mut head = [0; 2];
            tokio::time::timeout(PATIENCE, wire.read_exact(&mut head)).await.expect("a close comes").unwrap();
            let mut payload = vec![0; head[1].into()];
            wire.read_exact(&mut payload).await.unwrap();
            frame.extend([&head[..], &payload].concat());
            if head[0] == 0x89 {
                // The close may come right behind it, and nobody take the pong.
                drop(wire.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await);
            }
        }
        assert_eq!(u16::from_be_bytes([frame[2], frame[3]]), 1008, "a policy's violation");
        let reason = String::from_utf8(frame[4..].to_vec()).unwrap();
        assert!(reason.starts_with("no credentials"), "{reason}");
    }
    assert_eq!((counters.tails_closed("denied"), counters.tails_closed("silent")), (2, 0));
    serving.abort();
}

/// Credentials that nobody decides.
#[derive(Debug)]
struct Hanging;

#[async_trait::async_trait]
impl weir_access::Reauthenticate for Hanging {
    async fn principal(&self) -> Result<Option<Arc<Principal>>, weir_access::Denied> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_tail_goes_on_beside_an_authenticator_that_hangs() {
    let api = Arc::new(over(lines(1, 1), QueryConfig::default()).with_tail_timing(Timing::within(Duration::from_secs(1))));
    let access = Access::new(Some(Arc::new(Principal::anonymous())), Vec::new(), Arc::new(Authorizer::allow("default")));
    let routes = crate::router(api).into_router().layer(Extension(access.with_credentials(Arc::new(Hanging))));
    let (wires, listener) = mpsc::unbounded_channel();
    let serving = tokio::spawn(async move { axum::serve(Wires(listener), routes).await.unwrap() });
    let (status, wire) = tail(&wires, "/api/weir/v1/logs/tail?query=%7Bapp%3D%22y%22%7D").await;
    assert_eq!((status, answer_pings(wire, 4).await), (101, 4));
    serving.abort();
}

#[tokio::test]
async fn a_tail_beyond_the_places_is_refused_by_the_limits_name() {
    let (wires, counters, serving) = served(Duration::from_secs(600));
    let serving = tokio::spawn(serving);
    let path = "/loki/api/v1/tail?query=%7Bapp%3D%22y%22%7D";
    let mut open = Vec::new();
    for _ in 0..64 {
        let (status, wire) = tail(&wires, path).await;
        assert_eq!(status, 101);
        open.push(wire);
    }
    assert_eq!((tail(&wires, path).await.0, counters.load.refusals("tails")), (429, 1));
    // A client that goes in the ordinary way leaves its place at once.
    open.pop();
    let begun = Instant::now();
    while tail(&wires, path).await.0 != 101 {
        assert!(begun.elapsed() < PATIENCE, "no place became free");
    }
    serving.abort();
}

#[tokio::test]
async fn a_tail_of_several_tenants_takes_as_many_places() {
    let api = Arc::new(over(lines(1, 1), QueryConfig { tails_max: 3, ..QueryConfig::default() }));
    let routes = crate::router(Arc::clone(&api));
    let status = async |tenants: &[&str], path: &str| {
        let asked = tenants.iter().map(|tenant| (*tenant).into()).collect();
        let access = Access::new(Some(Arc::new(Principal::anonymous())), asked, Arc::new(Authorizer::allow("own")));
        let mut router = routes.clone().into_router().layer(Extension(access));
        let request = Request::get(format!("{path}?query=%7Bapp%3D%22y%22%7D")).body(Body::empty()).unwrap();
        tower_service::Service::call(&mut router, request).await.unwrap().status().as_u16()
    };
    for path in ["/loki/api/v1/tail", "/api/weir/v1/logs/tail"] {
        let held = api.tail_places(&Scope::of("d")).unwrap_or_else(|refused| panic!("{}", refused.message));
        // Without a socket there is no upgrade, but a place.
        assert_eq!((status(&["a", "b"], path).await, status(&["a", "b", "c"], path).await), (400, 429), "{path}");
        drop(held);
        assert_eq!(status(&["a", "b", "c"], path).await, 400, "{path}");
    }
    assert_eq!(api.counters.load.refusals("tails"), 2);
}
