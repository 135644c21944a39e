//! What the audit log says of requests.

use axum::response::IntoResponse;
use serde_json::{Value, json};
use weir_access::{Mode, Needs, Telemetry, Verb};

use super::{
    AuthConfig, AuthorizationConfig, CancellationToken, Door, Front, FrontConfig, Identity, Listener, Registry, Routes, Servers,
    SocketAddr, status,
};

async fn fine() -> impl IntoResponse {
    "fine"
}

/// The lines of some requests, each the head of one, and how they are answered.
async fn lines(mode: Mode, requests: &[(&str, u16)]) -> Vec<Value> {
    let authorization = AuthorizationConfig { mode, ..AuthorizationConfig::default() };
    let identity = Identity::start(&AuthConfig::default(), &authorization, "default").unwrap();
    let routes = Routes::new()
        .get("/healthz", Needs::Nothing, fine)
        .get("/loki/api/v1/query", Needs::Tenant(Verb::Read, Telemetry::Logs), fine)
        .post("/api/weir/v1/admin/seal", Needs::Whole(Verb::Admin), fine);
    let (mut registry, shutdown, mut servers) = (Registry::default(), CancellationToken::new(), Servers::new());
    let front = Front::new(&FrontConfig::default(), identity, &[], &mut registry);
    let listener = Listener::bind("listen", SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.address().unwrap();
    front.serve(listener, routes, &shutdown, &mut servers);
    let mut audit = front.audit_lines().unwrap();
    let door = Door { address, registry, shutdown, servers };
    for (request, expected) in requests {
        let answer = door.send(&format!("{request}\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
        assert_eq!(status(&answer), *expected, "{request}: {answer}");
    }
    audit.close();
    let mut found = Vec::new();
    while let Some(batch) = audit.batch().await {
        found.extend(batch.iter().map(|line| serde_json::from_str(&line.text).unwrap()));
    }
    door.close().await;
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
