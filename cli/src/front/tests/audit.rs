//! What the audit log says of requests.

use std::sync::Arc;

use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;
use weir_access::audit::AuditLines;
use weir_access::{Mode, Needs, Telemetry, Verb};

use super::{
    AsyncWriteExt, AuthConfig, AuthorizationConfig, CancellationToken, Door, END, Front, FrontConfig, Identity, Listener,
    Registry, Routes, Servers, SocketAddr, status,
};

async fn fine() -> impl IntoResponse {
    "fine"
}

/// A door that lets nobody or everybody do what its routes need, and its audit log.
async fn open(mode: Mode, routes: Routes) -> (Door, AuditLines) {
    let authorization = AuthorizationConfig { mode, ..AuthorizationConfig::default() };
    let identity = Identity::start(&AuthConfig::default(), &authorization, "default").unwrap();
    let (mut registry, shutdown, mut servers) = (Registry::default(), CancellationToken::new(), Servers::new());
    let front = Front::new(&FrontConfig::default(), identity, &[], &mut registry);
    let listener = Listener::bind("listen", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.address().unwrap();
    front.serve(listener, routes, &shutdown, &mut servers);
    let audit = front.audit_lines().unwrap();
    (Door { address, registry, shutdown, servers }, audit)
}

/// The lines of some requests, each the head of one, and how they are answered.
async fn lines(mode: Mode, requests: &[(&str, u16)]) -> Vec<Value> {
    let routes = Routes::new()
        .get("/healthz", Needs::Nothing, fine)
        .get("/loki/api/v1/query", Needs::Tenant(Verb::Read, Telemetry::Logs), fine)
        .post("/api/weir/v1/admin/seal", Needs::Whole(Verb::Admin), fine);
    let (door, mut audit) = open(mode, routes).await;
    for (request, expected) in requests {
        let answer = door.send(&format!("{request}\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
        assert_eq!(status(&answer), *expected, "{request}: {answer}");
    }
    audit.close();
    let found = rest(&mut audit).await;
    door.close().await;
    found
}

/// All that comes.
async fn rest(audit: &mut AuditLines) -> Vec<Value> {
    let mut found = Vec::new();
    while let Some(batch) = audit.batch().await {
        found.extend(batch.iter().map(|line| serde_json::from_str(&line.text).unwrap()));
    }
    found
}

#[tokio::test]
async fn refusals_and_admin_actions_are_said_and_nothing_else() {
    let query = "GET /loki/api/v1/query?query=hush HTTP/1.1\r\nx-scope-orgid: shop\r\nauthorization: Bearer hush";
    let (seal, health) = ("POST /api/weir/v1/admin/seal HTTP/1.1\r\ncontent-length: 0", "GET /healthz HTTP/1.1");
    let denied = lines(Mode::Deny, &[(query, 403), (seal, 403), (health, 200)]).await;
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert!(!denied[0].to_string().contains("hush"), "{}", denied[0]);
    let expected = [
        ("action", json!("denied")),
        ("principal", json!("anonymous")),
        ("path", json!("/loki/api/v1/query")),
        ("request", json!("GET")),
        ("status", json!(403)),
        ("tenants", json!(["shop"])),
        ("verb", json!("read")),
        ("signal", json!("logs")),
        ("reason", json!("\"anonymous\" may not read logs")),
    ];
    for (key, value) in expected {
        assert_eq!(denied[0][key], value, "{key}");
    }
    assert!(denied[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!((&denied[1]["verb"], &denied[1]["status"]), (&json!("admin"), &json!(403)));

    let allowed = lines(Mode::Allow, &[(query, 200), (seal, 200), (health, 200)]).await;
    assert_eq!(allowed.len(), 1, "{allowed:?}");
    assert_eq!((&allowed[0]["action"], &allowed[0]["status"]), (&json!("admin"), &json!(200)));
}

/// Whoever names its tenants wrongly is known all the same, and counted by why it was refused.
#[tokio::test]
async fn a_wrong_header_hides_nobody() {
    let routes = Routes::new().get("/metrics", Needs::Whole(Verb::Read), fine);
    let (door, mut audit) = open(Mode::Allow, routes).await;
    let answer = door.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-scope-orgid: a/b\r\n\r\n").await;
    assert_eq!(status(&answer), 400, "{answer}");
    audit.close();
    let found = rest(&mut audit).await;
    assert_eq!((&found[0]["principal"], &found[0]["status"], found.len()), (&json!("anonymous"), &json!(400), 1));
    assert!(found[0]["reason"].as_str().unwrap().starts_with("X-Scope-OrgID: "), "{}", found[0]);
    assert_eq!(door.metric(r#"weir_auth_denied_total{reason="unclear",verb="read",signal="all"}"#), 1);
    door.close().await;
}

async fn broken() -> String {
    let numbers: Vec<u32> = Vec::new();
    numbers[numbers.len()].to_string()
}

#[tokio::test]
async fn an_admin_action_is_said_whatever_becomes_of_its_answer() {
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let seal = move || {
        begins.notify_one();
        std::future::pending::<String>()
    };
    let admin = Needs::Whole(Verb::Admin);
    let read = Needs::Tenant(Verb::Read, Telemetry::Logs);
    let routes = Routes::new().post("/seal", admin, seal.clone()).post("/broken", admin, broken).post("/read", read, seal);
    let (door, mut audit) = open(Mode::Allow, routes).await;
    // What is read and not waited for is no event.
    for path in ["/read", "/seal"] {
        let mut stream = door.connect().await;
        let request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        timeout(END, begun.notified()).await.expect("the action begins");
    }
    let left = timeout(END, audit.batch()).await.expect("an action whose client left is said").unwrap();
    let left: Value = serde_json::from_str(&left[0].text).unwrap();
    assert_eq!((&left["action"], &left["status"], &left["path"]), (&json!("admin"), &json!(499), &json!("/seal")));
    assert_eq!((&left["verb"], &left["principal"]), (&json!("admin"), &json!("anonymous")));

    let answer = door.send("POST /broken HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(status(&answer), 500, "{answer}");
    door.close().await;
    audit.close();
    let found = rest(&mut audit).await;
    assert_eq!((&found[0]["action"], &found[0]["status"], found.len()), (&json!("admin"), &json!(500), 1), "{found:?}");
}
