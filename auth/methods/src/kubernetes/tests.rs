//! An API server as it answers weir: TokenReview, discovery, keys.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::future::join_all;

use super::*;
use crate::config::AuthConfig;
use crate::jwt::tests::Signer;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

struct Cluster {
    url: String,
    signer: Signer,
    asked: Arc<AtomicUsize>,
    folder: tempfile::TempDir,
    cache: VerdictCache,
    throttle: Throttle,
}

impl Cluster {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (signer, asked) = (Signer::es256(), Arc::new(AtomicUsize::new(0)));
        let (keys, count) = (signer.jwk("1"), Arc::clone(&asked));
        let review = async move |headers: HeaderMap, Json(review): Json<Value>| {
            count.fetch_add(1, Ordering::Relaxed);
            assert_eq!(review["kind"], "TokenReview");
            reviewed(&headers, &review["spec"])
        };
        let discovery = || async { Json(json!({"issuer": ISSUER, "jwks_uri": "https://10.0.0.1/openid/v1/jwks"})) };
        let routes = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/openid/v1/jwks", get(move || async move { Json(json!({"keys": [keys]})) }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "weirs-own\n").unwrap();
        let cache = VerdictCache::new(&AuthConfig::default(), AuthMetrics::default());
        Self { url, signer, asked, folder, cache, throttle: Throttle::new() }
    }

    fn kubernetes(&self, mode: TokenCheck, audiences: &[&str]) -> Kubernetes {
        let config = KubernetesConfig {
            api_server: self.url.clone(),
            token_file: self.folder.path().join("token"),
            audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            mode,
            ..KubernetesConfig::default()
        };
        Kubernetes::new(&config, DigestKey::new(), Duration::from_secs(60), AuthMetrics::default()).unwrap()
    }

    async fn judge(&self, kubernetes: &Kubernetes, token: &str) -> Result<Verdict, Undecided> {
        kubernetes.judge(Some(token), HERE, &self.cache, &self.throttle).await
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": [ISSUER], "sub": "system:serviceaccount:shop:web", "exp": unix_seconds() + 600,
            "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web", "uid": "u1"}},
        });
        change(&mut claims);
        self.signer.sign("1", &claims)
    }
}

/// As kube-apiserver answers: the shop's account is known, for itself and for weir.
fn reviewed(headers: &HeaderMap, spec: &Value) -> (StatusCode, Json<Value>) {
    if headers["authorization"] != "Bearer weirs-own" {
        return (StatusCode::UNAUTHORIZED, Json(json!({"kind": "Status", "code": 401})));
    }
    let jwt = Jwt::parse(spec["token"].as_str().unwrap()).unwrap();
    let asked = spec["audiences"].as_array().cloned().unwrap_or_else(|| vec![json!(ISSUER)]);
    let is_known = jwt.text("sub") == Some("system:serviceaccount:shop:web") && asked.contains(&jwt.claims["aud"][0]);
    let status = match is_known {
        true => json!({
            "authenticated": true, "audiences": [jwt.claims["aud"][0]],
            "user": {
                "username": "system:serviceaccount:shop:web", "uid": "u1", "extra": {"authentication.kubernetes.io/pod-name": ["web-0"]},
                "groups": ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
            },
        }),
        false => json!({"user": {}, "error": "[invalid bearer token]"}),
    };
    (StatusCode::CREATED, Json(json!({"kind": "TokenReview", "metadata": {}, "spec": spec, "status": status})))
}

fn web() -> Principal {
    ServiceAccount::parse("system:serviceaccount:shop:web").unwrap().principal("u1")
}

#[tokio::test]
async fn a_review_and_the_keys_say_the_same_of_a_pods_token() {
    let cluster = Cluster::start().await;
    let token = cluster.token(|_| ());
    for mode in [TokenCheck::Review, TokenCheck::Offline] {
        let kubernetes = cluster.kubernetes(mode, &[]);
        for _ in 0..3 {
            let Ok(Verdict::Known(principal)) = cluster.judge(&kubernetes, &token).await else { panic!("{mode:?}") };
            assert_eq!(*principal, web(), "{mode:?}");
        }
        let other = cluster.token(|claims| {
            claims["sub"] = json!("system:serviceaccount:bank:web");
            claims["aud"] = json!(["other"]);
        });
        assert_eq!(cluster.judge(&kubernetes, &other).await, Ok(Verdict::Pass), "{mode:?}");
        assert_eq!(cluster.judge(&kubernetes, "not a token").await, Ok(Verdict::Pass), "{mode:?}");
    }
    assert_eq!(cluster.asked.load(Ordering::Relaxed), 2, "each token was reviewed once");
    assert_eq!(web().tenants, Some(vec!["shop".into()]));
}

#[tokio::test]
async fn audiences_that_are_configured_count() {
    let cluster = Cluster::start().await;
    let for_weir = cluster.token(|claims| claims["aud"] = json!(["weir"]));
    for mode in [TokenCheck::Review, TokenCheck::Offline] {
        let kubernetes = cluster.kubernetes(mode, &["weir"]);
        assert!(matches!(cluster.judge(&kubernetes, &for_weir).await, Ok(Verdict::Known(_))), "{mode:?}");
        assert_eq!(cluster.judge(&kubernetes, &cluster.token(|_| ())).await, Ok(Verdict::Pass), "{mode:?}");
    }
    let mut without = ReviewStatus { authenticated: true, ..ReviewStatus::default() };
    without.user.username = "system:serviceaccount:shop:web".into();
    assert!(without.principal(&["weir".to_owned()]).is_none(), "it did not say for whom");
}

#[test]
fn a_review_names_service_accounts_alone() {
    let named = |username: &str| {
        let user = ReviewedUser { username: username.into(), ..ReviewedUser::default() };
        ReviewStatus { authenticated: true, user, audiences: Vec::new() }.principal(&[]).map(|principal| principal.name)
    };
    assert_eq!(named("system:serviceaccount:shop:web").as_deref(), Some("system:serviceaccount:shop:web"));
    for person in ["", "alice", "system:admin", "system:serviceaccount:shop", "system:serviceaccount:shop:web:x"] {
        assert_eq!(named(person), None, "{person}");
    }
}

#[tokio::test]
async fn offline_whatever_is_not_as_the_cluster_signs_it_is_refused() {
    let cluster = Cluster::start().await;
    let kubernetes = cluster.kubernetes(TokenCheck::Offline, &[]);
    let changes: [fn(&mut Value); 5] = [
        |claims| claims["iss"] = json!("https://other"),
        |claims| claims["exp"] = json!(unix_seconds() - 60),
        |claims| claims["kubernetes.io"]["namespace"] = json!("bank"),
        |claims| claims["sub"] = json!("system:serviceaccount:shop:web:x"),
        |claims| claims["sub"] = json!("admin"),
    ];
    for change in changes {
        assert_eq!(cluster.judge(&kubernetes, &cluster.token(change)).await, Ok(Verdict::Pass));
    }
    let forged = Jwt::parse(&cluster.token(|_| ())).map(|jwt| Signer::es256().sign("1", &Value::Object(jwt.claims))).unwrap();
    assert_eq!(cluster.judge(&kubernetes, &forged).await, Ok(Verdict::Pass));
    assert_eq!(cluster.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_api_server_that_refuses_weir_decides_nothing() {
    let cluster = Cluster::start().await;
    let kubernetes = cluster.kubernetes(TokenCheck::Review, &[]);
    let token = cluster.token(|_| ());
    std::fs::write(cluster.folder.path().join("token"), "expired").unwrap();
    assert!(cluster.judge(&kubernetes, &token).await.is_err());
    std::fs::remove_file(cluster.folder.path().join("token")).unwrap();
    assert!(cluster.judge(&kubernetes, &token).await.is_err());
    // The kubelet has renewed it.
    std::fs::write(cluster.folder.path().join("token"), "weirs-own").unwrap();
    assert!(matches!(cluster.judge(&kubernetes, &token).await, Ok(Verdict::Known(_))));
}

#[tokio::test]
async fn an_address_that_sends_wrong_tokens_waits() {
    let cluster = Cluster::start().await;
    let kubernetes = cluster.kubernetes(TokenCheck::Review, &[]);
    let mut undecided = 0;
    for number in 0..40 {
        let token = cluster.token(|claims| claims["sub"] = json!(format!("system:serviceaccount:shop:{number}")));
        undecided += usize::from(cluster.judge(&kubernetes, &token).await.is_err());
    }
    assert!(undecided > 0 && cluster.asked.load(Ordering::Relaxed) < 40, "{undecided}");
}

#[tokio::test]
async fn wrong_tokens_that_come_at_once_are_not_all_asked_about() {
    let cluster = Cluster::start().await;
    let kubernetes = cluster.kubernetes(TokenCheck::Review, &[]);
    let subject = |number| json!(format!("system:serviceaccount:shop:{number}"));
    let tokens: Vec<_> = (0..100).map(|number| cluster.token(|claims| claims["sub"] = subject(number))).collect();
    let outcomes = join_all(tokens.iter().map(|token| cluster.judge(&kubernetes, token))).await;
    let (asked, undecided) = (cluster.asked.load(Ordering::Relaxed), outcomes.iter().filter(|outcome| outcome.is_err()).count());
    assert!((1..=20 + 16).contains(&asked), "{asked}");
    assert_eq!(asked + undecided, 100);
}

#[tokio::test]
async fn a_token_that_is_taken_back_while_it_is_asked_about_counts() {
    let cluster = Cluster::start().await;
    let kubernetes = cluster.kubernetes(TokenCheck::Review, &[]);
    for number in 0..100 {
        let token = cluster.token(|claims| claims["sub"] = json!(format!("system:serviceaccount:shop:{number}")));
        let asked = async {
            while cluster.asked.load(Ordering::Relaxed) == number {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = asked => {}
            outcome = cluster.judge(&kubernetes, &token) => {
                assert!(number > 0 && matches!(outcome, Err(Undecided::Throttled(_))));
                return;
            }
        }
    }
    panic!("none of the tokens counted");
}
