//! Tokens of an issuer that speaks HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::config::AuthConfig;
use crate::jwt::tests::Signer;

struct Issuer {
    url: String,
    signer: Signer,
    /// What it says of itself.
    claimed: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/weir", listener.local_addr().unwrap());
        let (signer, claimed, asked) = (Signer::es256(), Arc::new(Mutex::new(url.clone())), Arc::new(AtomicUsize::new(0)));
        let (keys, said, base, count) = (signer.jwk("1"), Arc::clone(&claimed), url.clone(), Arc::clone(&asked));
        let discovery = move || {
            count.fetch_add(1, Ordering::Relaxed);
            let document = json!({"issuer": *said.lock(), "jwks_uri": format!("{base}/keys")});
            async move { axum::Json(document) }
        };
        let keys = move || async move { axum::Json(json!({"keys": [keys]})) };
        let routes = Router::new().route("/realms/weir/.well-known/openid-configuration", get(discovery));
        let routes = routes.route("/realms/weir/keys", get(keys));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, signer, claimed, asked }
    }

    fn oidc(&self, change: impl FnOnce(&mut OidcConfig)) -> Oidc {
        let mut config = OidcConfig { issuer_url: self.url.clone(), client_id: "weir".into(), ..OidcConfig::default() };
        change(&mut config);
        Oidc::new(&config, DigestKey::new(), Duration::from_secs(60), AuthMetrics::default()).unwrap()
    }

    fn token(&self, extra: Value) -> String {
        let mut claims = json!({"iss": self.url, "aud": ["account", "weir"], "sub": "u1", "exp": unix_seconds() + 600});
        claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.signer.sign("1", &claims)
    }
}

fn cache() -> VerdictCache {
    VerdictCache::new(&AuthConfig::default(), AuthMetrics::default())
}

#[tokio::test]
async fn claims_become_a_principal_and_the_issuer_is_asked_once() {
    let issuer = Issuer::start().await;
    let oidc = issuer.oidc(|config| {
        (config.username_claim, config.username_prefix) = ("preferred_username".into(), "kc:".into());
        (config.groups_claim, config.groups_prefix) = ("realm_access.roles".into(), "kc:".into());
        config.tenants_claim = "tenants".into();
    });
    let cache = cache();
    for number in 0..3 {
        let token = issuer.token(json!({
            "preferred_username": "alice", "realm_access": {"roles": ["dev"]}, "tenants": ["shop", "bank"], "number": number,
        }));
        let Ok(Verdict::Known(alice)) = oidc.judge(Some(&token), &cache).await else { panic!("alice is not known") };
        let expected = Principal {
            name: "kc:alice".into(),
            uid: "u1".into(),
            groups: vec!["kc:dev".into()],
            tenants: Some(vec!["shop".into(), "bank".into()]),
            method: Method::Oidc,
        };
        assert_eq!(*alice, expected);
    }
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1);
    // Where the claim is configured, a token without it has no tenant.
    let token = issuer.token(json!({"preferred_username": "alice"}));
    let Ok(Verdict::Known(alice)) = oidc.judge(Some(&token), &cache).await else { panic!("alice is not known") };
    assert_eq!(alice.tenants, Some(vec![]));
}

#[tokio::test]
async fn what_is_not_meant_for_weir_is_wrong_and_what_is_anothers_passes() {
    let issuer = Issuer::start().await;
    let (oidc, cache) = (issuer.oidc(|_| ()), cache());
    let judge = async |token: &str| oidc.judge(Some(token), &cache).await;
    let Ok(Verdict::Known(user)) = judge(&issuer.token(json!({}))).await else { panic!("u1 is not known") };
    assert_eq!((user.name.as_str(), &user.tenants), ("u1", &None));
    for extra in [
        json!({"aud": "other"}),
        json!({"exp": unix_seconds() - 60}),
        json!({"nbf": unix_seconds() + 600}),
        json!({"sub": ""}),
        json!({"sub": "system:serviceaccount:shop:web"}),
        json!({"groups": ["weir:cluster"]}),
    ] {
        assert_eq!(judge(&issuer.token(extra.clone())).await, Ok(Verdict::Wrong), "{extra}");
    }
    let forged = Signer::es256().sign("1", &json!({"iss": issuer.url, "aud": "weir", "sub": "u1", "exp": unix_seconds() + 9}));
    assert_eq!(judge(&forged).await, Ok(Verdict::Wrong));
    for other in [issuer.token(json!({"iss": "https://other.example"})), "not a token".to_owned()] {
        assert_eq!(judge(&other).await, Ok(Verdict::Pass));
    }
    assert_eq!(oidc.judge(None, &cache).await, Ok(Verdict::Pass));
}

#[tokio::test]
async fn an_email_address_must_be_verified() {
    let issuer = Issuer::start().await;
    let (oidc, cache) = (issuer.oidc(|config| config.username_claim = "email".into()), cache());
    for (verified, known) in [(json!(true), true), (json!(false), false), (json!("true"), false)] {
        let token = issuer.token(json!({"email": "alice@example.org", "email_verified": verified}));
        assert_eq!(matches!(oidc.judge(Some(&token), &cache).await, Ok(Verdict::Known(_))), known, "{verified}");
    }
    let token = issuer.token(json!({"email": "alice@example.org"}));
    assert_eq!(oidc.judge(Some(&token), &cache).await, Ok(Verdict::Wrong), "nobody says that it is verified");
}

#[tokio::test]
async fn an_issuer_that_names_another_or_is_silent_leaves_it_undecided() {
    let issuer = Issuer::start().await;
    *issuer.claimed.lock() = "https://other.example".into();
    let error = issuer.oidc(|_| ()).judge(Some(&issuer.token(json!({}))), &cache()).await.unwrap_err();
    assert!(error.to_string().contains("oidc") && !error.to_string().contains("127.0.0.1"), "{error}");
    // Nobody listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let oidc = issuer.oidc(|config| config.issuer_url = format!("http://{free}"));
    let token = issuer.token(json!({"iss": format!("http://{free}")}));
    assert!(oidc.judge(Some(&token), &cache()).await.is_err());
}
