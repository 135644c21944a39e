//! What is written, what is counted, what is dropped.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::{Method, Needs, Principal, Telemetry, Verb};
use super::*;

fn event(action: Action, status: u16) -> Event {
    Event {
        action,
        principal: None,
        peer: Some(SocketAddr::from(([10, 0, 0, 7], 4711))),
        needs: Some(Needs::Tenant(Verb::Read, Telemetry::Logs)),
        tenants: vec!["shop".into()],
        request: "GET".into(),
        path: "/loki/api/v1/query".into(),
        status,
        reason: "no credentials".into(),
    }
}

#[tokio::test]
async fn an_event_is_a_line_without_secrets() {
    let (audit, mut lines) = open(&mut Registry::default());
    let principal = Principal {
        name: "alice".into(),
        uid: "7".into(),
        groups: (0..10).map(|i| format!("g{i}")).collect(),
        tenants: None,
        method: Method::Oidc,
    };
    let long = format!("/x/{}?access_token=hush", "y".repeat(300));
    audit.record(&Event { principal: Some(Arc::new(principal)), path: long, ..event(Action::Admin, 200) });
    audit.record(&event(Action::Denied, 401));
    let batch = lines.batch().await.unwrap();
    assert_eq!(batch.len(), 2);
    let read = |line: &AuditLine| serde_json::from_str::<Value>(&line.text).unwrap();
    let (admin, denied) = (read(&batch[0]), read(&batch[1]));
    assert!(!batch[0].text.contains("hush"));
    let check = |line: &Value, key: &str, expected: Value| assert_eq!(line[key], expected, "{key}");
    check(&admin, "action", json!("admin"));
    check(&admin, "principal", json!("alice"));
    check(&admin, "method", json!("oidc"));
    check(&admin, "groups", json!(["g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7", "… 2 more"]));
    check(&admin, "peer", json!("10.0.0.7:4711"));
    check(&admin, "verb", json!("read"));
    check(&admin, "signal", json!("logs"));
    check(&admin, "tenants", json!(["shop"]));
    check(&admin, "path", json!(format!("/x/{}…", "y".repeat(197))));
    check(&admin, "time", json!(weir_model::time::format_rfc3339(batch[0].at)));
    check(&denied, "principal", Value::Null);
    check(&denied, "status", json!(401));
    check(&denied, "reason", json!("no credentials"));
}

#[tokio::test]
async fn a_line_has_an_end_whatever_it_holds() {
    let long = "\u{1}".repeat(10_000);
    let groups = vec![long.clone(); 100];
    let (name, method) = (long.clone(), Method::Token);
    let principal = Principal { name, uid: String::new(), groups, tenants: None, method };
    let tenants = vec!["t".repeat(150).into(); 100];
    let (path, reason, request) = (format!("/{long}"), long.clone(), long);
    let event = Event { principal: Some(Arc::new(principal)), tenants, path, reason, request, ..event(Action::Denied, 403) };
    let line = event.line(0);
    assert!(line.len() <= event::LINE_BYTES_MAX && serde_json::from_str::<Value>(&line).is_ok(), "{}", line.len());
}

#[test]
fn a_flood_is_counted_and_hides_nothing_else() {
    let (mut limits, began) = (Limits::default(), Instant::now());
    let after = |seconds: u64| began + Duration::from_secs(seconds);
    let written = (0..1_000_000).filter(|_| limits.admits(Action::Denied, 401, after(1))).count();
    assert_eq!(written, 100);
    assert!(limits.admits(Action::Denied, 403, after(1)) && limits.admits(Action::SignIn, 401, after(1)));
    assert!(limits.take(Some(after(10))).is_empty(), "the window is not over");
    assert!(!limits.admits(Action::Denied, 401, after(12)), "what was hidden is said first");
    let counted = limits.take(Some(after(12)));
    let lines: Vec<Value> = counted.iter().map(|counted| serde_json::from_str(&counted.line(0)).unwrap()).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["summarised"], &lines[0]["status"]), (&json!(999_901), &json!(401)));
    assert!(limits.admits(Action::Denied, 401, after(12)) && limits.take(Some(after(13))).is_empty());
    let kinds = (400..500).filter(|status| limits.admits(Action::Denied, *status, after(14))).count();
    assert_eq!(kinds, 32, "kinds are bounded");
}

#[tokio::test]
async fn what_is_counted_is_said_at_the_end() {
    let (audit, mut lines) = open(&mut Registry::default());
    // A redirect without anybody is a failed sign-in, too; one of somebody is written.
    (0..150).for_each(|_| audit.record(&event(Action::SignIn, 303)));
    let principal = Some(Arc::new(Principal::anonymous()));
    (0..10).for_each(|_| audit.record(&Event { principal: principal.clone(), ..event(Action::SignIn, 303) }));
    drop(audit);
    let mut texts = Vec::new();
    while let Some(batch) = lines.batch().await {
        texts.extend(batch.into_iter().map(|line| line.text));
    }
    assert_eq!(texts.len(), 111);
    let counted = texts.iter().filter(|text| text.contains("\"summarised\":50")).count();
    assert_eq!(counted, 1, "{texts:?}");
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let mut registry = Registry::default();
    let (audit, lines) = open(&mut registry);
    (0..QUEUE_LINES + 5).for_each(|_| audit.record(&event(Action::Deletion, 200)));
    lines.lost(3);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [r#"weir_audit_dropped_total{reason="queue"} 5"#, r#"weir_audit_dropped_total{reason="bus"} 3"#] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}
