//! Requests of strangers' pages: refused before any route sees them, counted, on every listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::ws::WebSocketUpgrade;
use axum::routing::{get, post};

use super::*;
use crate::Failure;
use crate::service::startup_gate;

/// A router that counts what reaches it.
fn counting() -> (Router, Arc<AtomicU32>) {
    let reached = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&reached);
    let seal = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async { "sealed\n" }
    };
    let tail = |upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(|_| async {}) };
    let router = Router::new().route("/api/seal", post(seal.clone()).get(seal)).route("/api/tail", get(tail));
    (router.merge(weir_dashboards::router().into_router()), reached)
}

fn config() -> FrontConfig {
    FrontConfig { hosts: vec!["weir.example".into()], origins: vec!["https://app.example".into()], ..FrontConfig::default() }
}

#[tokio::test]
async fn a_strangers_page_gets_nothing_and_reaches_nothing() {
    let (router, reached) = counting();
    let door = Door::open(config(), router).await;
    let check = async |request: &str, headers: &str, expected: u16, said: &str| {
        let answer = door.send(&format!("{request} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")).await;
        assert_eq!(status(&answer), expected, "{request} {headers}: {answer}");
        assert!(answer.contains(said), "{request} {headers}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
        let readable = answer.contains("access-control-allow-origin");
        assert_eq!(readable, headers.contains("https://app.example"), "{answer}");
    };
    check("POST /api/seal", "host: evil.example\r\norigin: http://evil.example\r\n", 403, "[front] hosts").await;
    check("POST /api/seal", "host: localhost\r\norigin: http://evil.example\r\n", 403, "[front] origins").await;
    check("POST /api/seal", "host: localhost\r\norigin: null\r\n", 403, "[front] origins").await;
    check("GET /api/seal", "host: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-dest: image\r\n", 403, "another site")
        .await;
    check("GET /", "host: evil.example\r\n", 403, "evil.example").await;
    check("GET /", "", 400, "no Host").await;
    let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let socket = async |origin: &str, expected: u16| {
        let mut stream = door.connect().await;
        let request = format!("GET /api/tail HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n{upgrade}{origin}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(END, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
        assert_eq!(status(&format!("{} ", String::from_utf8_lossy(&answer))), expected, "{origin}");
    };
    socket("origin: http://evil.example\r\n", 403).await;
    let preflight = "host: localhost\r\norigin: http://evil.example\r\naccess-control-request-method: POST\r\n";
    check("OPTIONS /api/seal", preflight, 403, "").await;
    assert_eq!(reached.load(Ordering::Relaxed), 0);
    let refused = |reason| door.metric(&format!("weir_front_refused_requests_total{{listener=\"listen\",reason=\"{reason}\"}}"));
    assert_eq!((refused("host"), refused("origin"), refused("site"), refused("malformed")), (2, 4, 1, 1));

    // And what has to go on working.
    check("POST /api/seal", "host: localhost\r\norigin: http://localhost\r\n", 200, "sealed").await;
    check("POST /api/seal", "host: weir.example\r\norigin: https://weir.example\r\n", 200, "sealed").await;
    check("POST /api/seal", "host: advertised.example:9640\r\n", 200, "sealed").await;
    check("POST /api/seal", "host: 127.0.0.1:1\r\n", 200, "sealed").await;
    check("POST /api/seal", "host: localhost\r\norigin: https://app.example\r\n", 200, "vary: origin").await;
    let preflight = "host: localhost\r\norigin: https://app.example\r\naccess-control-request-method: POST\r\n\
                     access-control-request-headers: content-type\r\n";
    check("OPTIONS /api/seal", preflight, 204, "access-control-allow-headers: content-type").await;
    let link = "host: localhost\r\naccept: text/html\r\nsec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: document\r\n";
    check("GET /logs?query=x", link, 200, "frame-ancestors 'none'").await;
    socket("origin: http://localhost\r\n", 101).await;
    socket("", 101).await;
    assert_eq!(reached.load(Ordering::Relaxed), 5);
    door.close().await;
}

#[tokio::test]
async fn grpc_is_refused_in_its_own_words() {
    let (router, _) = counting();
    let door = Door::open(config(), router).await;
    let answer = door
        .send("POST /svc/Export HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\ncontent-type: application/grpc+proto\r\n\r\n")
        .await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("grpc-status: 7\r\n") && answer.contains("grpc-message: the host \"evil.example\""), "{answer}");
    door.close().await;
}

#[tokio::test]
async fn a_process_that_waits_for_its_bus_refuses_them_as_well() {
    let identity = Identity::start(&AuthConfig::default(), &AuthorizationConfig::default(), "default").unwrap();
    let front = Front::new(&FrontConfig::default(), identity, &[], &mut Registry::default());
    let listener = Listener::bind("listen", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.address().unwrap();
    let ask = async |host: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        status(&read_to_end(&mut stream).await)
    };
    let listeners = [&listener];
    let asked = async |_: &startup_gate::Waiting| Ok::<_, Failure>((ask("evil.example").await, ask("localhost").await));
    assert_eq!(startup_gate::until(&front, &listeners, asked).await.unwrap(), Some((403, 503)));
}

/// A socket that is served elsewhere has no door.
#[test]
fn nothing_else_serves() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let crates = ["cli", "collector", "aggregator", "query/api", "query/fanout", "query/rules", "dashboards"];
    let mut folders: Vec<_> = crates.map(|folder| root.join(folder).join("src")).into();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                let serves = ["TcpListener", "axum::serve", "Server::builder"].iter().any(|word| code.contains(word));
                found.extend(serves.then(|| path.strip_prefix(root).unwrap().display().to_string()));
            }
        }
    }
    found.sort();
    assert_eq!(found, ["cli/src/front/accept.rs", "cli/src/front/serve.rs"]);
}
