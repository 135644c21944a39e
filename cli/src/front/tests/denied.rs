//! Who is not known, or may not: told before a body is read, and no router sees what was brought.

use axum::http::HeaderMap;
use base64::Engine;
use weir_access::{Granted, Needs, Telemetry, Verb};

use super::matrix::parts::{OTHER, OWN, identity};
use super::*;

/// Whom the request was granted for, and every header that is left.
async fn seen(granted: Granted, headers: HeaderMap) -> String {
    let names: Vec<&str> = headers.keys().map(|name| name.as_str()).collect();
    let tenants: Vec<&str> = granted.scope.tenants().iter().map(|scope| &*scope.tenant).collect();
    format!("{} of {}; {}\n", granted.principal.name, tenants.join(","), names.join(" "))
}

async fn door(folder: &std::path::Path) -> Door {
    let routes = Routes::new()
        .get("/api/v1/seen", Needs::Tenant(Verb::Read, Telemetry::Metrics), seen)
        .post("/loki/api/v1/push", Needs::Tenant(Verb::Push, Telemetry::Logs), async |granted: Granted, body: String| {
            format!("{} bytes of {}\n", body.len(), granted.principal.name)
        })
        .get("/open", Needs::Nothing, async || "open\n");
    Door::open_for(FrontConfig::default(), identity(folder), routes).await
}

#[tokio::test]
async fn credentials_end_at_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let door = door(folder.path()).await;
    let get = async |path: &str, headers: &str| {
        door.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")).await
    };
    let brought = "authorization: Bearer token-shop\r\nx-scope-orgid: shop\r\ncookie: a=b\r\nx-auth-token: c\r\n\
                   proxy-authorization: Basic d\r\nx-forwarded-user: root\r\nx-forwarded-groups: e\r\naccept: */*\r\n";
    let answer = get("/api/v1/seen", brought).await;
    assert!(answer.ends_with("shop of shop; host connection accept\n"), "{answer}");
    // A header of a proxy that nobody trusts is none.
    let forged = get("/api/v1/seen", "x-forwarded-user: root\r\nx-scope-orgid: bank\r\n").await;
    assert_eq!(status(&forged), 401, "{forged}");
    let wrong = get("/api/v1/seen", "authorization: Bearer geheim\r\n").await;
    assert!(status(&wrong) == 401 && wrong.contains("www-authenticate: Bearer realm=\"weir\""), "{wrong}");
    assert!(wrong.contains("\"errorType\":\"unauthorized\"") && !wrong.contains("geheim"), "{wrong}");
    let unclear = get("/api/v1/seen", "authorization: Bearer token-shop\r\nx-scope-orgid: a/b\r\n").await;
    assert!(status(&unclear) == 400 && unclear.contains("X-Scope-OrgID"), "{unclear}");
    // What is open to all is open with credentials that do not count.
    for headers in ["", "authorization: Bearer geheim\r\n", "x-scope-orgid: a/b\r\n"] {
        assert_eq!(status(&get("/open", headers).await), 200, "{headers}");
    }
    let denied = |status| door.metric(&format!("weir_front_denied_total{{listener=\"listen\",status=\"{status}\"}}"));
    assert_eq!((denied(401), denied(403), denied(400)), (2, 0, 1));
    door.close().await;
}

/// The body never comes, and nobody waits for it.
#[tokio::test]
async fn a_body_is_not_waited_for_before_it_is_known_who_sends_it() {
    let folder = tempfile::tempdir().unwrap();
    let door = door(folder.path()).await;
    let begin =
        |headers: &str| format!("POST /loki/api/v1/push HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n{headers}\r\n");
    for (headers, expected) in [
        (String::new(), 401),
        ("authorization: Bearer wrong\r\n".to_owned(), 401),
        (format!("authorization: Bearer token-{OTHER}\r\nx-scope-orgid: {OWN}\r\n"), 403),
        ("authorization: Bearer token-push-less\r\n".to_owned(), 403),
    ] {
        let answer = door.send(&begin(&headers)).await;
        assert_eq!(status(&answer), expected, "{headers}: {answer}");
    }
    let sent = "POST /loki/api/v1/push HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 4\r\n\
                authorization: Bearer token-shop\r\n\r\nbody";
    let answer = door.send(sent).await;
    assert!(answer.ends_with("4 bytes of shop\n"), "{answer}");
    door.close().await;
}

#[tokio::test]
async fn whoever_guesses_is_told_when_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("htpasswd");
    // `agent-pw`, with bcrypt's lowest cost.
    std::fs::write(&file, "agent:$2b$04$JK4doID9cys5Ze/2il3sBOSqXsW7hU/HuKZZu7RD.7sScyNFwT.s6\n").unwrap();
    let text = format!("[auth]\nmethods = [\"basic\"]\nbasic_file = {file:?}\n");
    let config: crate::config::Config = toml::from_str(&text).unwrap();
    let identity = Identity::start(&config.auth, &config.authorization, "default").unwrap();
    let routes = Routes::new().get("/api/v1/seen", Needs::Tenant(Verb::Read, Telemetry::Metrics), seen).post(
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Needs::Tenant(Verb::Push, Telemetry::Traces),
        seen,
    );
    let door = Door::open_for(FrontConfig::default(), identity, routes).await;
    let guess = |number: usize| {
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("agent:guess {number}"));
        format!("host: localhost\r\nconnection: close\r\nauthorization: Basic {pair}\r\n")
    };
    let get = async |number: usize| door.send(&format!("GET /api/v1/seen HTTP/1.1\r\n{}\r\n", guess(number))).await;
    for number in 0..5 {
        assert_eq!(status(&get(number).await), 401);
    }
    let waits = get(5).await;
    assert_eq!(status(&waits), 429, "{waits}");
    assert!(waits.contains("retry-after: ") && waits.contains("too many wrong credentials; try again in"), "{waits}");
    // In gRPC, what clients try again.
    let head = "POST /opentelemetry.proto.collector.trace.v1.TraceService/Export HTTP/1.1\r\ncontent-type: application/grpc\r\n";
    let waits = door.send(&format!("{head}content-length: 0\r\n{}\r\n", guess(6))).await;
    assert!(waits.contains("grpc-status: 14") && waits.contains("retry-after: "), "{waits}");
    assert_eq!(door.metric("weir_front_denied_total{listener=\"listen\",status=\"429\"}"), 2);
    door.close().await;
}

/// What checks a path and what answers it is one route, so that no spelling passes by the check.
#[tokio::test]
async fn paths_are_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let door = door(folder.path()).await;
    for path in [
        "/api//v1/seen",
        "//api/v1/seen",
        "/api/v1/seen/",
        "/api/v1/./seen",
        "/open/../api/v1/seen",
        "/open/%2e%2e/api/v1/seen",
        "/%61pi/v1/seen",
        "/api/v1/seen%2f",
        "/API/v1/seen",
        "/api/v1/seen;a=b",
        "/api%2fv1%2fseen",
        "/%2561pi/v1/seen",
    ] {
        let answer = door.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
        assert!([400, 401, 404].contains(&status(&answer)) && !answer.contains(" of "), "{path}: {answer}");
    }
    door.close().await;
}
