//! Against a server: what it is sent, and what is decided of what it answers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_access::{AuthorizationConfig, Authorizer, Denied, Method, Mode, Needs, OnFailure, Principal, Telemetry, Verb};

use super::*;

#[derive(Default)]
struct Seen {
    count: AtomicUsize,
    last: Mutex<Option<(HeaderMap, Value)>>,
}

/// Answers as its path says.
async fn answer(
    State(seen): State<Arc<Seen>>,
    Path(how): Path<String>,
    headers: HeaderMap,
    Json(mut review): Json<Value>,
) -> Response {
    seen.count.fetch_add(1, Ordering::SeqCst);
    *seen.last.lock() = Some((headers, review.clone()));
    let mut decided = |status: Value| {
        review["status"] = status;
        Json(review.clone()).into_response()
    };
    match how.as_str() {
        "yes" => decided(json!({"allowed": true})),
        "created" => (StatusCode::CREATED, decided(json!({"allowed": true}))).into_response(),
        "no" => decided(json!({"allowed": false, "reason": "not today"})),
        "broken" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "elsewhere" => Redirect::temporary("/yes").into_response(),
        "large" => decided(json!({"allowed": true, "reason": "x".repeat(100_000)})),
        "garbage" => "<html>yes</html>".into_response(),
        "slow" => std::future::pending().await,
        other => panic!("{other}"),
    }
}

async fn serve() -> (String, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let router = Router::new().route("/{how}", post(answer)).with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

fn config(url: String) -> AuthorizationConfig {
    // What does not time out in a test may take as long as a slow machine does.
    let timeout = if url.ends_with("slow") { Duration::from_millis(100) } else { Duration::from_secs(60) };
    let webhook = WebhookConfig { url, timeout, ..WebhookConfig::default() };
    AuthorizationConfig { mode: Mode::Webhook, webhook, ..AuthorizationConfig::default() }
}

fn alice() -> Principal {
    let groups = vec!["dev".to_owned(), "ops".to_owned()];
    Principal { name: "alice".into(), uid: "7".into(), groups, tenants: None, method: Method::Oidc }
}

const TAIL: Needs = Needs::Tenant(Verb::Tail, Telemetry::Logs);

async fn decide(config: &AuthorizationConfig) -> Result<Vec<String>, Denied> {
    let authorizer = Authorizer::start(config, "own", webhook).unwrap();
    let scope = authorizer.decide(&alice(), &["shop".into()], TAIL).await?;
    Ok(scope.tenants().iter().map(|scope| scope.tenant.to_string()).collect())
}

#[tokio::test]
async fn a_review_is_what_kubernetes_sends() {
    let (url, seen) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(format!("{url}/yes"));
    config.webhook.token_file = folder.path().join("token");
    std::fs::write(&config.webhook.token_file, "one\n").unwrap();
    assert_eq!(decide(&config).await, Ok(vec!["shop".to_owned()]));
    let (headers, review) = seen.last.lock().take().unwrap();
    assert_eq!(headers["authorization"], "Bearer one");
    let expected = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "alice",
            "uid": "7",
            "groups": ["dev", "ops"],
            "extra": { "weir/method": ["oidc"] },
            "resourceAttributes": { "namespace": "shop", "verb": "tail", "group": "weir", "resource": "logs" },
        },
    });
    assert_eq!(review, expected);
    std::fs::write(&config.webhook.token_file, "two").unwrap();
    decide(&config).await.unwrap();
    assert_eq!(seen.last.lock().take().unwrap().0["authorization"], "Bearer two");

    let authorizer = Authorizer::start(&config, "own", webhook).unwrap();
    authorizer.decide(&alice(), &[], Needs::Whole(Verb::Admin)).await.unwrap();
    let whole = json!({ "namespace": "", "verb": "admin", "group": "weir", "resource": "*" });
    assert_eq!(seen.last.lock().take().unwrap().1["spec"]["resourceAttributes"], whole);
    let asked = seen.count.load(Ordering::SeqCst);
    authorizer.decide(&alice(), &[], Needs::AnyOf(Verb::Read)).await.unwrap();
    assert_eq!(seen.count.load(Ordering::SeqCst), asked + 3, "one for each signal");
    assert_eq!(seen.last.lock().take().unwrap().1["spec"]["resourceAttributes"]["namespace"], "own");

    // What credentials forbid is not asked.
    let bound = Principal { tenants: Some(vec!["bank".into()]), ..alice() };
    let asked = seen.count.load(Ordering::SeqCst);
    assert!(matches!(authorizer.decide(&bound, &["shop".into()], TAIL).await, Err(Denied::Forbidden(_))));
    assert!(matches!(authorizer.decide(&bound, &[], Needs::Whole(Verb::Read)).await, Err(Denied::Forbidden(_))));
    assert_eq!(seen.count.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn answers_decide_and_what_is_none_is_a_failure() {
    let (url, _seen) = serve().await;
    for how in ["yes", "created"] {
        assert!(decide(&config(format!("{url}/{how}"))).await.is_ok(), "{how}");
    }
    let refused = decide(&config(format!("{url}/no"))).await.unwrap_err();
    assert_eq!(refused, Denied::Forbidden("\"alice\" may not tail logs of tenant \"shop\": not today".into()));
    let closed = "http://127.0.0.1:1".to_owned();
    let failing = ["broken", "elsewhere", "large", "garbage", "slow"].map(|how| format!("{url}/{how}"));
    for url in failing.into_iter().chain([closed]) {
        let mut config = config(url);
        let undecided = decide(&config).await.unwrap_err();
        assert!(matches!(&undecided, Denied::Undecided(text) if !text.contains("127.0.0.1")), "{undecided}");
        config.webhook.on_failure = OnFailure::Allow;
        assert_eq!(decide(&config).await, Ok(vec!["shop".to_owned()]), "{}", config.webhook.url);
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_named_by_its_file() {
    let (url, seen) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(format!("{url}/yes"));
    config.webhook.token_file = folder.path().join("token");
    let reviewer = webhook(&config.webhook).unwrap();
    let check = async |expected: &str| {
        let error = reviewer.review("{}".into()).await.unwrap_err();
        assert!(error.starts_with("token_file: ") && error.contains(expected) && !error.contains("hush"), "{error}");
    };
    check("No such file").await;
    std::fs::write(&config.webhook.token_file, "hush\nhush").unwrap();
    check("holds no token").await;
    std::fs::write(&config.webhook.token_file, "hush".repeat(20_000)).unwrap();
    check("is larger than").await;
    assert_eq!(seen.count.load(Ordering::SeqCst), 0);
}

#[test]
fn urls_without_use_are_refused() {
    let refused = |url: &str| webhook(&WebhookConfig { url: url.into(), ..WebhookConfig::default() }).unwrap_err();
    assert!(refused("http://").starts_with("url: "));
    let error = refused("https://weir:hush@authz.example/");
    assert!(error.contains("token_file") && !error.contains("hush"), "{error}");
    let config = WebhookConfig { url: "https://a".into(), ca_file: "/none/ca.crt".into(), ..WebhookConfig::default() };
    assert!(webhook(&config).unwrap_err().contains("/none/ca.crt"));
}
