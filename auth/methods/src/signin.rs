//! Signing in from the page: credentials once, then a session. `docs/api.md` has the shapes.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use axum::http::header::{AUTHORIZATION, ORIGIN, RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use weir_access::audit::SignInOutcome;
use weir_access::{Denied, Needs, Peer, Principal, Routes};

use super::Authenticator;
use super::codeflow::{Callback, Failed};
use super::jwt::Jwt;
use super::oidc::unix_seconds;
use super::session::Sessions;

/// Credentials of more bytes are refused unread.
const BODY_BYTES_MAX: usize = 16 << 10;

/// A session that was begun with another server's token ends after so long, or with the token: that server does not say here
/// when it takes one back.
const TOKEN_SESSION_MAX: Duration = Duration::from_secs(3600);

const SESSION_PATH: &str = "/api/weir/v1/session";

/// One of the two.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Credentials {
    Password { user: String, password: String },
    Token { token: String },
}

const LOGIN_PATH: &str = "/auth/login";
/// What `auth.oidc.redirect_url` ends in.
pub(crate) const CALLBACK_PATH: &str = "/auth/callback";

/// The routes; they need nothing, since nobody has signed in yet.
pub fn routes(authenticator: Arc<Authenticator>) -> Routes {
    Routes::new()
        .get("/api/weir/v1/session/methods", Needs::Nothing, means)
        .post(SESSION_PATH, Needs::Nothing, begin)
        .on(&[Method::DELETE], SESSION_PATH, Needs::Nothing, end)
        .get(LOGIN_PATH, Needs::Nothing, login)
        .get(CALLBACK_PATH, Needs::Nothing, callback)
        .map(|router| router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
        .with_state(authenticator)
}

async fn means(State(authenticator): State<Arc<Authenticator>>) -> Response {
    let offers = authenticator.offers();
    let mut told = json!({"password": offers.password, "token": offers.token});
    if let Some((_, flow)) = authenticator.code_flow() {
        told["oidc"] = flow.issuer().into();
    }
    if let Some(offer) = authenticator.device_offer() {
        told["device"] = json!(offer);
    }
    Json(told).into_response()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    to: String,
}

/// To the issuer.
async fn login(State(authenticator): State<Arc<Authenticator>>, wanted: Result<Query<Wanted>, QueryRejection>) -> Response {
    let Some((_, flow)) = authenticator.code_flow() else {
        return refuse(StatusCode::NOT_FOUND, "no issuer is configured for the page: [auth.oidc] redirect_url");
    };
    let to = wanted.map(|Query(wanted)| wanted.to).unwrap_or_default();
    match flow.begin(&authenticator.sessions, &to, unix_seconds()).await {
        Ok((url, cookie)) => with_cookie(go(url.as_str()), &cookie),
        Err(failed) => go(&format!("/?signin={}", failed.code())),
    }
}

/// Back from the issuer.
async fn callback(
    State(authenticator): State<Arc<Authenticator>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    said: Result<Query<Callback>, QueryRejection>,
) -> Response {
    let Some((oidc, flow)) = authenticator.code_flow() else {
        return refuse(StatusCode::NOT_FOUND, "no issuer is configured for the page: [auth.oidc] redirect_url");
    };
    let Some(Extension(peer)) = peer else { return unknown_connection() };
    let said = said.map(|Query(said)| said).unwrap_or_default();
    let from = (peer.address.ip(), &authenticator.throttle);
    let (finished, gone) = flow.finish(oidc, &authenticator.sessions, (&headers, &said), from, unix_seconds()).await;
    let principal = finished.as_ref().ok().map(|signed_in| Arc::clone(&signed_in.principal));
    let begun = finished.and_then(|signed_in| {
        let session = authenticator.sessions.begin(&signed_in.principal, unix_seconds()).map_err(|_| Failed::Unknown)?;
        Ok(with_cookie(go(&signed_in.to), &session))
    });
    let response = begun.unwrap_or_else(|failed| match failed {
        Failed::Throttled(seconds) => refuse_as(&Denied::Throttled(seconds)),
        failed => go(&format!("/?signin={}", failed.code())),
    });
    audited(with_cookie(response, &gone), principal)
}

/// 303: by GET, whatever was asked.
fn go(to: &str) -> Response {
    Redirect::to(to).into_response()
}

async fn begin(
    State(authenticator): State<Arc<Authenticator>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(Extension(peer)) = peer else { return unknown_connection() };
    if !keeps_cookies(&peer, &headers) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "a browser keeps a session over https only: ask weir by https, or on this machine",
        );
    }
    let Ok(credentials) = serde_json::from_slice::<Credentials>(&body) else {
        // Not the parser's own words: they repeat what was sent.
        return refuse(StatusCode::BAD_REQUEST, "the body is neither {\"user\": …, \"password\": …} nor {\"token\": …}");
    };
    let Some(head) = head_with(&credentials) else {
        return refuse(StatusCode::UNAUTHORIZED, "these credentials are not known here");
    };
    // The connection's certificate is no credential of this sign-in.
    let peer = Peer { certificates: [].into(), ..peer };
    // Before it is verified: of a file that changes meanwhile, the session is over at once.
    let password = match &credentials {
        Credentials::Password { user, .. } => authenticator.password_of(user).await,
        Credentials::Token { .. } => None,
    };
    match authenticator.authenticate(&head, &peer).await {
        Ok(Some(principal)) => {
            let lasts = lasts(&credentials, &principal, unix_seconds());
            audited(session_of(&authenticator.sessions, &principal, lasts, password), Some(principal))
        }
        Ok(None) => audited(refuse(StatusCode::UNAUTHORIZED, "these credentials are not known here"), None),
        Err(denied) => audited(refuse_as(&denied), None),
    }
}

fn refuse_as(denied: &Denied) -> Response {
    let mut response = refuse(denied.status(), &denied.to_string());
    if let Denied::Throttled(seconds) = denied {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
    }
    response
}

async fn end(State(authenticator): State<Arc<Authenticator>>, headers: HeaderMap) -> Response {
    let shown = authenticator.sessions.principal(&headers, unix_seconds());
    let is_issuers = matches!(&shown, Some(Ok(principal)) if principal.method == weir_access::Method::Oidc);
    let mut told = json!({});
    if let Some((_, flow)) = authenticator.code_flow().filter(|_| is_issuers)
        && let Some(url) = flow.sign_out_url().await
    {
        told["continue"] = url.as_str().into();
    }
    let ended = with_cookie(Json(told).into_response(), &authenticator.sessions.end(&headers, unix_seconds()));
    match shown {
        Some(Ok(principal)) => audited(ended, Some(Arc::new(principal))),
        _ => ended,
    }
}

/// How long a session of these credentials, which were found right, lasts at most.
fn lasts(credentials: &Credentials, principal: &Principal, now: u64) -> Duration {
    use weir_access::Method::{Keystone, Kubernetes, Oidc};
    match credentials {
        Credentials::Token { token } if matches!(principal.method, Oidc | Kubernetes | Keystone) => {
            let ends = Jwt::parse(token).and_then(|jwt| jwt.ends());
            ends.map_or(TOKEN_SESSION_MAX, |ends| TOKEN_SESSION_MAX.min(Duration::from_secs(ends.saturating_sub(now))))
        }
        _ => Duration::MAX,
    }
}

fn session_of(sessions: &Sessions, principal: &Principal, lasts: Duration, password: Option<String>) -> Response {
    match sessions.begin_for(lasts, principal, password, unix_seconds()) {
        Ok(cookie) => with_cookie(Json(json!({"name": principal.name})).into_response(), &cookie),
        Err(error) => refuse(StatusCode::FORBIDDEN, &error.to_string()),
    }
}

/// A request's head that brings these credentials as any client would. `None` for what no header can carry.
fn head_with(credentials: &Credentials) -> Option<Parts> {
    let text = match credentials {
        // The first colon ends the name.
        Credentials::Password { user, .. } if user.contains(':') => return None,
        Credentials::Password { user, password } => format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
        Credentials::Token { token } => format!("Bearer {token}"),
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    let (head, ()) = Request::builder().header(AUTHORIZATION, value).body(()).ok()?.into_parts();
    Some(head)
}

/// Whether the browser keeps a cookie that is for https alone. It says itself where the page came from; a proxy may have taken
/// TLS away since.
fn keeps_cookies(peer: &Peer, headers: &HeaderMap) -> bool {
    let page_is_https = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    peer.is_tls || peer.address.ip().is_loopback() || page_is_https
}

/// For the audit log.
fn audited(mut response: Response, principal: Option<Arc<Principal>>) -> Response {
    response.extensions_mut().insert(SignInOutcome { principal });
    response
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

fn unknown_connection() -> Response {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "the connection is not known")
}

fn refuse(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"status": "error", "error": text}))).into_response()
}

#[cfg(test)]
mod tests;
