//! Against an issuer that answers as a test says, in its order.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::{Form, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::json;

use super::*;

type Fields = Vec<(String, String)>;

/// The answers of its token endpoint, and what that was sent.
#[derive(Clone, Default)]
struct Issuer {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<Fields>>>,
}

impl Issuer {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let document = json!({
            "issuer": url, "token_endpoint": format!("{url}/token"), "device_authorization_endpoint": format!("{url}/device"),
        });
        let codes = json!({
            "device_code": "hidden", "user_code": "ABCD-EFGH", "verification_uri": format!("{url}/enter"),
            "verification_uri_complete": format!("{url}/enter?code=ABCD-EFGH"), "expires_in": 300,
        });
        let token = async |State(own): State<Self>, Form(form): Form<Fields>| {
            own.asked.lock().push(form);
            let (status, body) = own.answers.lock().pop_front().expect("no question too many");
            (StatusCode::from_u16(status).unwrap(), Json(body))
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(document)))
            .route("/device", post(async move || Json(codes)))
            .route("/token", post(token))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn answer(&self, status: u16, body: Value) -> &Self {
        self.answers.lock().push_back((status, body));
        self
    }

    fn refuse(&self, code: &str) -> &Self {
        self.answer(400, json!({"error": code, "error_description": "in words"}))
    }
}

fn tokens(name: &str) -> Value {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let id_token = format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(json!({"sub": name, "exp": 2_000_000_000_u64})));
    json!({"id_token": id_token, "access_token": "opaque", "refresh_token": format!("{name}-again")})
}

/// It polls at once, and not after the seconds that the issuer says.
async fn begin(issuer: &Issuer) -> (DeviceFlow, Pending) {
    let url = issuer.serve().await;
    let flow = DeviceFlow::discover(&url, "cli", Path::new("")).await.unwrap();
    let pending = flow.begin(&["openid".into(), "groups".into()]).await.unwrap();
    assert_eq!(pending.interval, INTERVAL);
    (flow, Pending { interval: Duration::from_millis(1), ..pending })
}

fn fields(pairs: [(&str, &str); 3]) -> Fields {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

#[tokio::test]
async fn it_polls_until_there_are_tokens_and_refreshes_them() {
    let issuer = Issuer::default();
    let (flow, pending) = begin(&issuer).await;
    assert_eq!((pending.user_code.as_str(), pending.lasts), ("ABCD-EFGH", Duration::from_secs(300)));
    assert!(pending.verification_url.path() == "/enter" && pending.complete_url.is_some());
    issuer.refuse("authorization_pending").answer(503, json!({})).refuse("authorization_pending").answer(200, tokens("alice"));
    let given = flow.finish(&pending).await.unwrap();
    assert_eq!((given.ends, given.refresh_token.as_deref()), (2_000_000_000, Some("alice-again")));
    let expected = fields([("grant_type", DEVICE_GRANT), ("device_code", "hidden"), ("client_id", "cli")]);
    assert_eq!(*issuer.asked.lock(), [expected.clone(), expected.clone(), expected.clone(), expected]);
    issuer.answer(200, tokens("alice"));
    let again = flow.refresh("alice-again").await;
    assert!(matches!(&again, Ok(Grant::Tokens(given)) if given.id_token.contains('.')), "{:?}", again.err());
    let expected = fields([("grant_type", "refresh_token"), ("refresh_token", "alice-again"), ("client_id", "cli")]);
    assert_eq!(issuer.asked.lock().last(), Some(&expected));
}

#[test]
fn it_asks_more_rarely_when_told_so_or_told_nothing() {
    let check = |error: DeviceError, seconds: u64, expected: Result<DeviceError, DeviceError>| {
        let mut interval = INTERVAL;
        assert_eq!((after(error, &mut interval), interval.as_secs()), (expected, seconds));
    };
    let refused = |code: &str| DeviceError::Refused(code.into());
    let silent = || DeviceError::Issuer("status 503".into());
    check(refused("authorization_pending"), 5, Ok(DeviceError::Expired));
    check(refused("slow_down"), 10, Ok(DeviceError::Expired));
    check(silent(), 10, Ok(silent()));
    check(refused("access_denied"), 5, Err(refused("access_denied")));
    check(refused("expired_token"), 5, Err(DeviceError::Expired));
    let mut interval = INTERVAL;
    for _ in 0..20 {
        assert!(after(silent(), &mut interval).is_ok());
    }
    assert_eq!(interval, INTERVAL_MAX);
}

/// A refresh token may be taken once: the next one is not lost with an answer that has no ID token.
#[tokio::test]
async fn a_refresh_says_what_may_be_tried_again_and_loses_no_refresh_token() {
    let issuer = Issuer::default();
    let (flow, _) = begin(&issuer).await;
    issuer.answer(200, json!({"access_token": "opaque", "refresh_token": "second"}));
    let given = flow.refresh("first").await;
    assert!(matches!(&given, Ok(Grant::NoIdToken { refresh_token: Some(token) }) if token == "second"), "{:?}", given.err());
    let check = async |status: u16, code: &str, is_refused: bool| {
        issuer.answer(status, json!({"error": code}));
        let error = flow.refresh("second").await.err();
        let expected = if is_refused {
            matches!(error, Some(DeviceError::Refused(_)))
        } else {
            matches!(error, Some(DeviceError::Issuer(_)))
        };
        assert!(expected, "{status} {code}: {error:?}");
    };
    check(400, "invalid_grant", true).await;
    check(429, "slow_down", true).await;
    check(429, "rate_limited", false).await;
    check(400, "temporarily_unavailable", false).await;
    check(400, "server_error", false).await;
}

#[tokio::test]
async fn what_ends_it_is_said_without_the_codes() {
    let issuer = Issuer::default();
    let (flow, pending) = begin(&issuer).await;
    let ends = async |expected: DeviceError| assert_eq!(flow.finish(&pending).await.err(), Some(expected));
    issuer.refuse("authorization_pending").refuse("access_denied");
    ends(DeviceError::Refused("access_denied".into())).await;
    issuer.refuse("expired_token");
    ends(DeviceError::Expired).await;
    issuer.answer(200, json!({"access_token": "opaque"}));
    ends(DeviceError::Refused("it gives no ID token that ends; is openid among auth.oidc.scopes?".into())).await;
    // Until the code is over, though the issuer is silent.
    for _ in 0..20 {
        issuer.answer(500, json!({}));
    }
    let pending = Pending { lasts: Duration::from_millis(100), ..pending };
    let ended = flow.finish(&pending).await.err();
    assert!(matches!(ended, Some(DeviceError::Issuer(_) | DeviceError::Expired)), "{ended:?}");
}

#[tokio::test]
async fn an_issuer_is_the_one_that_was_named_and_asked_over_tls() {
    let refused = async |issuer: &str| match DeviceFlow::discover(issuer, "cli", Path::new("")).await {
        Err(DeviceError::Issuer(reason)) => reason,
        _ => panic!("{issuer} is taken"),
    };
    assert!(refused("http://issuer.example").await.contains("https://"));
    let url = Issuer::default().serve().await;
    assert!(refused(&format!("{url}/")).await.contains("another issuer"));
    assert!(refused(&format!("{url}/realms/a")).await.contains("404"));
}
