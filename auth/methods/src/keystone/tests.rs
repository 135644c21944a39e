//! A Keystone as it answers weir. The real one is in tests/src/auth.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::Value;

use super::*;
use crate::config::AuthConfig;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Its tokens, by text; weir's own is the number of sign-ins.
#[derive(Default)]
struct State {
    tokens: Mutex<Vec<(String, Value)>>,
    sign_ins: AtomicUsize,
    validations: AtomicUsize,
    /// Own tokens up to this number are over.
    expired: AtomicUsize,
}

impl State {
    fn sign_in(&self, body: &Value) -> Response {
        let user = &body["auth"]["identity"]["password"]["user"];
        if user["password"] != "weir-pw" || body["auth"]["scope"]["project"]["name"] != "service" {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let number = self.sign_ins.fetch_add(1, Ordering::Relaxed) + 1;
        (StatusCode::CREATED, [("x-subject-token", number.to_string())], Json(json!({"token": {}}))).into_response()
    }

    fn validate(&self, headers: &HeaderMap) -> Response {
        self.validations.fetch_add(1, Ordering::Relaxed);
        let own: usize = headers["x-auth-token"].to_str().unwrap().parse().unwrap();
        if own <= self.expired.load(Ordering::Relaxed) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let subject = headers["x-subject-token"].to_str().unwrap();
        match self.tokens.lock().iter().find(|(text, _)| text == subject) {
            Some((_, token)) => Json(json!({"token": token})).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

fn token(user: &str, domain: &str, project: Option<&str>) -> Value {
    let mut token = json!({
        "user": {"id": format!("id-{user}"), "name": user, "domain": {"id": "d", "name": domain}},
        "roles": [{"id": "1", "name": "reader"}], "expires_at": "2199-01-02T03:04:05.000000Z",
    });
    if let Some(project) = project {
        token["project"] = json!({"id": format!("id-{project}"), "name": project, "domain": {"id": "d", "name": domain}});
    }
    token
}

struct Fixture {
    keystone: Keystone,
    state: Arc<State>,
    cache: VerdictCache,
    throttle: Throttle,
    folder: tempfile::TempDir,
}

impl Fixture {
    async fn start(tenant: TenantName) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let (signing, validating) = (Arc::clone(&state), Arc::clone(&state));
        let sign_in = async move |Json(body): Json<Value>| signing.sign_in(&body);
        let routes = Router::new()
            .route("/v3/auth/tokens", post(sign_in).get(async move |headers: HeaderMap| validating.validate(&headers)));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        std::fs::write(&password_file, "weir-pw\n").unwrap();
        let config = KeystoneConfig { url, user: "weir".into(), password_file, tenant, ..KeystoneConfig::default() };
        let keystone = Keystone::new(&config, DigestKey::new(), Duration::from_secs(60), AuthMetrics::default()).unwrap();
        let cache = VerdictCache::new(&AuthConfig::default(), AuthMetrics::default());
        Self { keystone, state, cache, throttle: Throttle::new(), folder }
    }

    fn issue(&self, text: &str, token: Value) {
        self.state.tokens.lock().push((text.into(), token));
    }

    async fn judge(&self, auth_token: Option<&str>, bearer: Option<&str>) -> Result<Verdict, Undecided> {
        let credentials = Credentials { basic: None, bearer, auth_token };
        self.keystone.judge(&credentials, HERE, &self.cache, &self.throttle).await
    }

    async fn known(&self, text: &str) -> Principal {
        match self.judge(Some(text), None).await {
            Ok(Verdict::Known(principal)) => Principal::clone(&principal),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_is_validated_once_in_either_header() {
    let fixture = Fixture::start(TenantName::Id).await;
    fixture.issue("gAAAA-alice", token("alice", "Default", Some("shop")));
    let expected = Principal {
        name: "alice".into(),
        uid: "id-alice".into(),
        groups: vec!["reader".into()],
        tenants: Some(vec!["id-shop".into()]),
        method: Method::Keystone,
    };
    assert_eq!(fixture.known("gAAAA-alice").await, expected);
    assert_eq!(fixture.judge(None, Some("gAAAA-alice")).await, Ok(Verdict::Known(Arc::new(expected))));
    assert_eq!(fixture.judge(Some("gAAAA-nobody"), None).await, Ok(Verdict::Wrong));
    assert_eq!(fixture.judge(None, Some("gAAAA-nobody")).await, Ok(Verdict::Pass));
    assert_eq!(fixture.judge(None, None).await, Ok(Verdict::Pass));
    let asked = (fixture.state.sign_ins.load(Ordering::Relaxed), fixture.state.validations.load(Ordering::Relaxed));
    assert_eq!(asked, (1, 2));
}

#[tokio::test]
async fn names_of_other_domains_do_not_pass_for_the_own_ones() {
    let fixture = Fixture::start(TenantName::Name).await;
    fixture.issue("1", token("alice", "Default", Some("shop")));
    fixture.issue("2", token("alice", "Customers", Some("shop")));
    fixture.issue("3", token("alice", "Default", None));
    let mut tenants = Vec::new();
    for text in ["1", "2", "3"] {
        let principal = fixture.known(text).await;
        tenants.push((principal.name, principal.tenants.unwrap().len()));
    }
    let expected = [("alice", 1), ("Customers/alice", 0), ("alice", 0)];
    assert_eq!(tenants, expected.map(|(name, count)| (name.to_owned(), count)));
}

#[tokio::test]
async fn weirs_own_token_is_renewed_and_a_wrong_password_decides_nothing() {
    let fixture = Fixture::start(TenantName::Id).await;
    fixture.issue("1", token("alice", "Default", Some("shop")));
    fixture.issue("2", token("bob", "Default", Some("shop")));
    fixture.known("1").await;
    fixture.state.expired.store(1, Ordering::Relaxed);
    assert_eq!(fixture.known("2").await.name, "bob");
    assert_eq!(fixture.state.sign_ins.load(Ordering::Relaxed), 2);
    fixture.state.expired.store(2, Ordering::Relaxed);
    std::fs::write(fixture.folder.path().join("password"), "wrong").unwrap();
    let undecided = fixture.judge(Some("3"), None).await.unwrap_err();
    assert!(undecided.to_string().contains("keystone") && !undecided.to_string().contains("127.0.0.1"), "{undecided}");
    assert_eq!(fixture.known("1").await.name, "alice", "what was validated counts on");
}

#[tokio::test]
async fn a_token_that_is_over_is_not_kept() {
    let fixture = Fixture::start(TenantName::Id).await;
    let mut over = token("alice", "Default", Some("shop"));
    over["expires_at"] = json!("2001-01-02T03:04:05.000000Z");
    fixture.issue("1", over);
    assert_eq!(fixture.judge(Some("1"), None).await, Ok(Verdict::Wrong));
}

#[tokio::test]
async fn a_silent_keystone_is_not_waited_for_one_after_the_other() {
    let fixture = Fixture::start(TenantName::Id).await;
    // Connections are made, and nobody takes them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_secs(1);
    let mut config = fixture.keystone.config.clone();
    config.url = format!("http://{}", silent.local_addr().unwrap());
    let cache = VerdictCache::new(&AuthConfig { timeout, ..AuthConfig::default() }, AuthMetrics::default());
    for tokens in [["same"; 10], ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]] {
        let keystone = Keystone::new(&config, DigestKey::new(), timeout, AuthMetrics::default()).unwrap();
        let begun = Instant::now();
        let credentials = tokens.map(|token| Credentials { basic: None, bearer: None, auth_token: Some(token) });
        let judge = |credentials| keystone.judge(credentials, HERE, &cache, &fixture.throttle);
        let outcomes = join_all(credentials.iter().map(judge)).await;
        assert!(
            outcomes.iter().all(|outcome| outcome.as_ref().is_err_and(|undecided| undecided.to_string().contains("try again")))
        );
        // Two timeouts, and as much again for a machine that is busy; one after the other they take ten.
        assert!(begun.elapsed() < timeout * 6, "{:?}", begun.elapsed());
    }
}
