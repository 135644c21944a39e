//! Clients that take their time, or take room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::watch;
use weir_model::config::ByteSize;

use super::*;

/// Short enough for a test to wait for; long enough for a loaded machine to be on time with what is right.
const SHORT: Duration = Duration::from_millis(400);

fn router() -> Router {
    let large = || async { Response::new(Body::from(vec![b'x'; 64 << 20])) };
    let length = |body: axum::body::Bytes| async move { body.len().to_string() };
    Router::new().route("/", get(|| async { "here\n" })).route("/large", get(large)).route("/length", post(length))
}

/// `/held` answers once the sender says so; and how many requests it has got.
fn held() -> (Router, Arc<AtomicU32>, watch::Sender<bool>) {
    let ((tx, rx), entered) = (watch::channel(false), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&entered);
    let wait = move || {
        count.fetch_add(1, Ordering::Relaxed);
        let mut rx = rx.clone();
        async move {
            rx.wait_for(|open| *open).await.unwrap();
            "held\n"
        }
    };
    (Router::new().route("/held", get(wait)), entered, tx)
}

fn timeouts(door: &Door, what: &str) -> u64 {
    door.metric(&format!("weir_front_timeouts_total{{listener=\"listen\",what=\"{what}\"}}"))
}

/// Another client, which is well served meanwhile.
async fn served(door: &Door) {
    let answer = door.send("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("here\n"), "{answer}");
}

#[tokio::test]
async fn a_head_that_drips_in_is_not_waited_for() {
    let door = Door::open(FrontConfig { head_timeout: SHORT, ..FrontConfig::default() }, router()).await;
    let mut silent = door.connect().await;
    let (mut dripping, begun) = (door.connect().await, tokio::time::Instant::now());
    // A byte at a time, far more often than the limit, until the other side has enough.
    let dripped = async {
        dripping.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ").await.unwrap();
        while dripping.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(END, dripped).await.expect("the head is given up");
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(timeouts(&door, "head"), 2);
    served(&door).await;
    // The second request of a connection as the first.
    let mut second = door.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 17];
    second.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    second.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    read_to_end(&mut second).await;
    assert_eq!(timeouts(&door, "head"), 3);
    door.close().await;
}

#[tokio::test]
async fn half_a_body_is_given_up() {
    let config = FrontConfig { body_timeout: SHORT, body_rate_min: ByteSize::mib(1), ..FrontConfig::default() };
    let door = Door::open(config, router()).await;
    let head = "POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\nhalf a body";
    let mut halves = Vec::new();
    for _ in 0..64 {
        let mut stream = door.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        halves.push(stream);
    }
    served(&door).await;
    for stream in &mut halves {
        let answer = read_to_end(stream).await;
        assert_eq!(status(&answer), 408, "{answer}");
        assert!(answer.contains("did not come in time"), "{answer}");
    }
    assert_eq!(timeouts(&door, "body"), 64);
    // One byte now and then is no better.
    let mut dripping = door.connect().await;
    dripping.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = dripping.split();
    let drip = async {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let mut answer = [0; 12];
    tokio::select! {
        () = drip => panic!("no answer"),
        read = tokio::time::timeout(END, reading.read_exact(&mut answer)) => read.expect("an answer").unwrap(),
    };
    assert_eq!(&answer, b"HTTP/1.1 408");
    door.close().await;
}

#[tokio::test]
async fn who_does_not_read_loses_the_connection() {
    let door = Door::open(FrontConfig { write_timeout: SHORT, ..FrontConfig::default() }, router()).await;
    let mut deaf = door.connect().await;
    deaf.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until("the answer is given up", || timeouts(&door, "write") == 1).await;
    until("the connection is gone", || door.metric(CONNECTIONS) == 0).await;
    served(&door).await;
    assert!(read_to_end(&mut deaf).await.len() < 64 << 20);
    door.close().await;
}

#[tokio::test]
async fn an_idle_connection_is_ended_and_a_busy_one_is_not() {
    let slow = || async {
        tokio::time::sleep(SHORT * 2).await;
        "late\n"
    };
    let config = FrontConfig { idle_timeout: SHORT, head_timeout: SHORT, write_timeout: SHORT, ..FrontConfig::default() };
    let door = Door::open(config, router().route("/slow", get(slow))).await;
    let mut stream = door.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with("late\n"), "{answer}");
    assert_eq!((timeouts(&door, "idle"), timeouts(&door, "write"), timeouts(&door, "head")), (1, 0, 0));
    door.close().await;
}

#[tokio::test]
async fn two_thousand_idle_connections_leave_room_for_a_request() {
    crate::front::raise_descriptors();
    let long = Duration::from_secs(600);
    let config = FrontConfig { connections_max: 200, head_timeout: long, idle_timeout: long, ..FrontConfig::default() };
    let door = Door::open(config, router()).await;
    let mut idle = Vec::new();
    for number in 0..2000 {
        let mut stream = door.connect().await;
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
        }
        idle.push(stream);
        if number % 500 == 0 {
            served(&door).await;
        }
    }
    served(&door).await;
    assert!(door.metric(CONNECTIONS) <= 200);
    assert!(door.metric("weir_front_refused_connections_total{listener=\"listen\",reason=\"evicted\"}") >= 1800);
    drop(idle);
    door.close().await;
}

#[tokio::test]
async fn connections_that_are_at_work_are_waited_for_and_not_ended() {
    let (held, entered, tx) = held();
    let door = Door::open(FrontConfig { connections_max: 2, ..FrontConfig::default() }, router().merge(held)).await;
    let request = b"GET /held HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (mut one, mut two) = (door.connect().await, door.connect().await);
    one.write_all(request).await.unwrap();
    two.write_all(request).await.unwrap();
    until("two are at work", || entered.load(Ordering::Relaxed) == 2).await;
    let mut three = door.connect().await;
    three.write_all(request).await.unwrap();
    tx.send(true).unwrap();
    for stream in [&mut one, &mut two, &mut three] {
        assert!(read_to_end(stream).await.ends_with("held\n"));
    }
    door.close().await;
}

/// Tells this test's own child that it is one.
const CHILD: &str = "WEIR_TEST_DESCRIPTORS";

#[tokio::test]
async fn a_process_without_descriptors_goes_on() {
    use tokio::io::AsyncBufReadExt;
    if std::env::var(CHILD).is_ok() {
        let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let door = Door::open(FrontConfig::default(), router()).await;
        println!("\nport {}", door.address.port());
        until("descriptors ran out", || {
            door.metric("weir_front_refused_connections_total{listener=\"listen\",reason=\"descriptors\"}") > 0
        })
        .await;
        println!("\nout");
        std::future::pending::<()>().await;
    }
    let own = "front::tests::slow::a_process_without_descriptors_goes_on";
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", own, "--nocapture"]).env(CHILD, "1").stdout(std::process::Stdio::piped());
    let mut child = child.kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async |start: &str| loop {
        let line = tokio::time::timeout(END, lines.next_line()).await.expect("the child speaks").unwrap();
        let line = line.expect("the child lives");
        if let Some(rest) = line.strip_prefix(start) {
            return rest.to_owned();
        }
    };
    let address = SocketAddr::from(([127, 0, 0, 1], line("port ").await.parse().unwrap()));
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    line("out").await;
    // All of them still there, and yet:
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with("here\n"));
    child.kill().await.unwrap();
}

#[tokio::test]
async fn what_is_under_way_is_finished_at_the_end() {
    let (held, entered, tx) = held();
    let door = Door::open(FrontConfig::default(), router().merge(held)).await;
    let (mut under_way, mut idle, mut half) = (door.connect().await, door.connect().await, door.connect().await);
    under_way.write_all(b"GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
    until("all are there", || door.metric(CONNECTIONS) == 3 && entered.load(Ordering::Relaxed) == 1).await;
    door.shutdown.cancel();
    // Neither waits for its limit.
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut half).await, "");
    tx.send(true).unwrap();
    assert!(read_to_end(&mut under_way).await.ends_with("held\n"));
    door.close().await;
}
