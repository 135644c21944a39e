//! Signing in with credentials, and at an issuer that gives no token for a code. The real one is in tests/page.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::http::Uri;
use axum::http::header::{COOKIE, LOCATION};
use axum::routing::{get, post};
use futures_util::future::join_all;
use url::Url;

use super::*;
use crate::certificates::tests::peer;
use crate::config::{AuthConfig, MethodName};
use crate::jwt::tests::Signer;

struct Fixture {
    url: String,
    signer: Signer,
    authenticator: Arc<Authenticator>,
    /// Whether it answers 500 to what it is asked of itself; how often that was; and for how many codes a token was wanted.
    is_broken: Arc<AtomicBool>,
    discovered: Arc<AtomicUsize>,
    codes: Arc<AtomicUsize>,
}

impl Fixture {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (signer, is_broken) = (Signer::es256(), Arc::new(AtomicBool::new(false)));
        let (discovered, codes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (keys, base, broken) = (json!({"keys": [signer.jwk("1")]}), url.clone(), Arc::clone(&is_broken));
        let (count, wanted) = (Arc::clone(&discovered), Arc::clone(&codes));
        let discovery = async move || {
            count.fetch_add(1, Ordering::Relaxed);
            let status = if broken.load(Ordering::Relaxed) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
            let at = |path: &str| format!("{base}/{path}");
            let endpoints = json!({
                "issuer": base, "jwks_uri": at("keys"), "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
            });
            (status, Json(endpoints))
        };
        let token = async move || {
            wanted.fetch_add(1, Ordering::Relaxed);
            (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"})))
        };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(async move || Json(keys)))
            .route("/token", post(token));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let mut config = AuthConfig { methods: vec![MethodName::Oidc, MethodName::Certificates], ..AuthConfig::default() };
        config.timeout = Duration::from_secs(60);
        (config.oidc.issuer_url, config.oidc.client_id) = (url.clone(), "weir".into());
        config.oidc.redirect_url = "https://weir.example/auth/callback".into();
        let authenticator = Arc::new(Authenticator::start(&config).unwrap());
        Self { url, signer, authenticator, is_broken, discovered, codes }
    }

    fn token(&self, lasts: u64) -> String {
        let claims = json!({"iss": self.url, "aud": "weir", "sub": "alice", "exp": unix_seconds() + lasts});
        self.signer.sign("1", &claims)
    }

    /// By a client that has a certificate.
    async fn begin(&self, token: &str) -> Response {
        let body = json!({"token": token}).to_string().into();
        begin(State(Arc::clone(&self.authenticator)), Some(Extension(peer(&["web"], None, vec![]))), HeaderMap::new(), body).await
    }

    async fn login(&self) -> Response {
        login(State(Arc::clone(&self.authenticator)), Ok(Query(Wanted::default()))).await
    }

    /// Where the browser ends, with what a login has left with it and a code; the status where it stays.
    async fn callback(&self, login: &Response) -> String {
        let state = Url::parse(&header(login, LOCATION)).unwrap();
        let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let said: Uri = format!("/auth/callback?code=guess&state={state}").parse().unwrap();
        let cookie = header(login, SET_COOKIE).split(';').next().unwrap().parse().unwrap();
        let (headers, from) = (HeaderMap::from_iter([(COOKIE, cookie)]), Some(Extension(peer(&[], None, vec![]))));
        let response = callback(State(Arc::clone(&self.authenticator)), from, headers, Query::try_from_uri(&said)).await;
        match response.status() {
            StatusCode::SEE_OTHER => header(&response, LOCATION),
            status => format!("{} {}", status.as_u16(), if response.headers().contains_key(RETRY_AFTER) { "later" } else { "" }),
        }
    }
}

fn header(response: &Response, name: axum::http::HeaderName) -> String {
    response.headers()[name].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_certificate_signs_nobody_in() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.begin(&fixture.token(600)).await.status(), StatusCode::OK);
    let junk = fixture.begin("junk").await;
    assert_eq!((junk.status(), junk.headers().get(SET_COOKIE)), (StatusCode::UNAUTHORIZED, None));
    let bare = Peer { certificates: [].into(), ..peer(&[], None, vec![]) };
    for (method, counts) in [(weir_access::Method::Certificate, false), (weir_access::Method::Oidc, true)] {
        let principal = Principal { name: "web".into(), method, ..Principal::anonymous() };
        let set = fixture.authenticator.sessions.begin(&principal, unix_seconds()).unwrap();
        let (head, ()) = Request::get("/").header(COOKIE, set.split(';').next().unwrap()).body(()).unwrap().into_parts();
        assert_eq!(fixture.authenticator.authenticate(&head, &bare).await.unwrap().is_some(), counts, "{method:?}");
    }
}

#[tokio::test]
async fn a_session_ends_with_the_token_that_began_it_or_after_an_hour() {
    let fixture = Fixture::start().await;
    for (lasts, expected) in [(600, 540..=600), (86_400, 3600..=3600)] {
        let set = header(&fixture.begin(&fixture.token(lasts)).await, SET_COOKIE);
        let age: u64 = set.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
        assert!(expected.contains(&age), "{lasts}: {set}");
    }
    let (alice, token) = (Principal { method: weir_access::Method::Keystone, ..Principal::anonymous() }, "gAAAA".to_owned());
    assert_eq!(lasts(&Credentials::Token { token }, &alice, 0), TOKEN_SESSION_MAX);
}

#[tokio::test]
async fn a_sign_in_is_finished_once() {
    let fixture = Fixture::start().await;
    let login = fixture.login().await;
    assert_eq!(fixture.callback(&login).await, "/?signin=denied");
    assert_eq!(fixture.callback(&login).await, "/?signin=expired");
    assert_eq!(fixture.codes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn codes_that_are_refused_make_their_sender_wait() {
    let fixture = Fixture::start().await;
    let guess = async |_: usize| fixture.callback(&fixture.login().await).await;
    let ends = join_all((0..100).map(guess)).await;
    let (codes, refused) = (fixture.codes.load(Ordering::Relaxed), ends.iter().filter(|end| *end == "/?signin=denied").count());
    assert!((1..=20 + 4).contains(&codes) && codes == refused, "{codes} {refused}");
    assert_eq!(ends.iter().filter(|end| *end == "429 later").count(), 100 - refused, "{ends:?}");
}

#[tokio::test]
async fn an_issuer_that_is_silent_is_asked_by_one_of_many() {
    let fixture = Fixture::start().await;
    fixture.is_broken.store(true, Ordering::Relaxed);
    let ends = join_all((0..20).map(|_| fixture.login())).await;
    assert!(ends.iter().all(|end| header(end, LOCATION) == "/?signin=silent"));
    assert_eq!(fixture.discovered.load(Ordering::Relaxed), 1);
}
