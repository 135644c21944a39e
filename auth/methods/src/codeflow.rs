//! Signing in from the page at an OpenID Connect issuer: the authorization-code flow with PKCE (RFC 7636, S256), a state and a
//! nonce. What is under way lies with the browser, sealed: any query node that shares the session's key can finish it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use weir_access::Principal;

use super::backend::{Backend, Slot};
use super::config::{OidcConfig, server};
use super::oidc::{Oidc, discovery};
use super::session::Sessions;
use super::throttle::Throttle;
use super::verdict::Undecided;

/// A person types a password, and looks for a second factor.
const UNDER_WAY: Duration = Duration::from_secs(600);
const COOKIE: &str = "__Host-weir-login";

/// The issuer's endpoints are asked for again after so long.
const ENDPOINTS_AGE: Duration = Duration::from_secs(600);
/// … and after so long where it did not say them.
const ENDPOINTS_PAUSE: Duration = Duration::from_secs(5);

/// Questions of sign-ins under way: whoever has no account here can begin many, and tokens are not to wait for them.
const AT_ONCE: usize = 4;

/// How often it is said at most that codes are refused: whoever has no account here can have them refused.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(60);

/// Longest address of the page that is come back to; longer ones become the first view.
const PATH_BYTES_MAX: usize = 1500;
/// An authorization code and a state; issuers' are some hundred bytes.
const CODE_BYTES_MAX: usize = 4096;

/// See above.
pub(crate) struct CodeFlow {
    config: OidcConfig,
    backend: Backend,
    endpoints: Mutex<KnownEndpoints>,
    /// Held by who asks for them.
    turn: tokio::sync::Mutex<()>,
    refusals: Mutex<Refusals>,
}

#[derive(Default)]
struct KnownEndpoints {
    endpoints: Option<Arc<Endpoints>>,
    /// They are not asked for before.
    until: Option<Instant>,
}

/// Codes that were refused since that was said last.
#[derive(Default)]
struct Refusals {
    said: Option<Instant>,
    unsaid: u64,
}

struct Endpoints {
    authorization: Url,
    token: Url,
    end_session: Option<Url>,
}

/// What a sign-in under way leaves with the browser.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    state: String,
    nonce: String,
    verifier: String,
    to: String,
}

/// What the issuer sends the browser back with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Callback {
    code: String,
    state: String,
    error: String,
}

/// Why nobody is signed in. The page says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The issuer says no, or its user did.
    Denied,
    /// It took too long, or was begun in another browser.
    Expired,
    /// What the issuer says of its user does not count here.
    Unknown,
    /// The issuer does not answer.
    Silent,
    /// Too many codes from there were wrong: nothing more is asked about for so many seconds.
    Throttled(u64),
}

impl Failed {
    /// `signin` in the page's address.
    pub fn code(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Silent => "silent",
            Self::Throttled(_) => "throttled",
        }
    }
}

/// Who has signed in, and where in the page they wanted to go.
pub(crate) struct SignedIn {
    pub principal: Arc<Principal>,
    pub to: String,
}

impl CodeFlow {
    /// `None` where the page's address is not configured.
    pub fn new(config: &OidcConfig, backend: Backend) -> Option<Self> {
        (!config.redirect_url.is_empty()).then(|| Self {
            config: config.clone(),
            backend: backend.with_slots(AT_ONCE),
            endpoints: Mutex::default(),
            turn: Default::default(),
            refusals: Mutex::default(),
        })
    }

    pub fn issuer(&self) -> &str {
        &self.config.issuer_url
    }

    /// Where the browser goes, and the cookie that it brings back.
    pub async fn begin(&self, sessions: &Sessions, to: &str, now: u64) -> Result<(Url, String), Failed> {
        let endpoints = self.endpoints().await?;
        let [state, nonce, verifier] = std::array::from_fn(|_| sessions.random_text());
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let mut url = endpoints.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.config.redirect_url)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let under_way = UnderWay { state, nonce, verifier, to: own_path(to).to_owned() };
        Ok((url, sessions.leave(COOKIE, &under_way, now, UNDER_WAY)))
    }

    /// What has become of it, and the cookie that takes away what was left with the browser. `from`: the peer's address, and who
    /// has to wait.
    pub async fn finish(
        &self,
        oidc: &Oidc,
        sessions: &Sessions,
        (headers, callback): (&HeaderMap, &Callback),
        from: (IpAddr, &Throttle),
        now: u64,
    ) -> (Result<SignedIn, Failed>, String) {
        let (under_way, gone) = sessions.take::<UnderWay>(COOKIE, headers, now);
        let finished = async {
            // The state first: without it, somebody else's page may have sent the browser here.
            let under_way = under_way.filter(|begun| begun.state == callback.state).ok_or(Failed::Expired)?;
            if !callback.error.is_empty() || callback.code.is_empty() || callback.code.len() > CODE_BYTES_MAX {
                return Err(Failed::Denied);
            }
            let token = self.exchange(&callback.code, &under_way.verifier, from).await?;
            let principal = oidc.identify(&token, &under_way.nonce).await.map_err(|_| Failed::Silent)?;
            Ok(SignedIn { principal: principal.ok_or(Failed::Unknown)?, to: under_way.to })
        };
        (finished.await, gone)
    }

    /// Where the issuer ends its own session, and comes back from to the page.
    pub async fn sign_out_url(&self) -> Option<Url> {
        let mut url = self.endpoints().await.ok()?.end_session.clone()?;
        let page = Url::parse(&self.config.redirect_url).and_then(|callback| callback.join("/")).ok()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.config.client_id)
            .append_pair("post_logout_redirect_uri", page.as_str());
        Some(url)
    }

    /// The code for an ID token.
    async fn exchange(&self, code: &str, verifier: &str, (from, throttle): (IpAddr, &Throttle)) -> Result<String, Failed> {
        let endpoints = self.endpoints().await?;
        let slot = self.backend.slot().await.map_err(|_| Failed::Silent)?;
        // With a slot that is held until this code counts: of codes that came at once, no more are asked about.
        let attempt = throttle.attempt(from, None).map_err(|undecided| match undecided {
            Undecided::Throttled(seconds) => Failed::Throttled(seconds),
            Undecided::Silent(_) => Failed::Silent,
        })?;
        let outcome = self.ask(&slot, &endpoints.token, code, verifier).await;
        if !matches!(outcome, Err(Failed::Denied)) {
            attempt.pardon();
        }
        outcome
    }

    async fn ask(&self, slot: &Slot<'_>, endpoint: &Url, code: &str, verifier: &str) -> Result<String, Failed> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.config.redirect_url),
            ("client_id", &self.config.client_id),
            ("code_verifier", verifier),
        ];
        let mut request = self.backend.client().post(endpoint.clone()).form(&form);
        if let Some(secret) = self.secret().await.map_err(|error| self.silent(&error))? {
            request = request.basic_auth(form_encoded(&self.config.client_id), Some(form_encoded(&secret)));
        }
        let reply = self.backend.send_in(slot, request).await.map_err(|_| Failed::Silent)?;
        if !reply.status.is_success() {
            // The issuer's reason goes to the log; it may say what is wrong with the client's registration, and names no secret.
            let reason = reply.json().ok().and_then(|said| said["error"].as_str().map(str::to_owned)).unwrap_or_default();
            self.say_refused(reply.status.as_u16(), &reason);
            return Err(Failed::Denied);
        }
        let said = reply.json().map_err(|error| self.silent(&error))?;
        said["id_token"].as_str().map(str::to_owned).ok_or(Failed::Unknown)
    }

    /// Read anew each time: it may be replaced while weir runs.
    async fn secret(&self) -> Result<Option<String>, String> {
        let path = &self.config.client_secret_file;
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let text = weir_watched::secret(path).await.map_err(|error| format!("auth.oidc.client_secret_file: {error}"))?;
        Ok(Some(text.trim().to_owned()))
    }

    fn say_refused(&self, status: u16, reason: &str) {
        let mut refusals = self.refusals.lock();
        refusals.unsaid += 1;
        if refusals.said.is_none_or(|at| at.elapsed() >= REFUSALS_INTERVAL) {
            tracing::warn!(status, reason, codes = refusals.unsaid, "the issuer gives no token for a code");
            *refusals = Refusals { said: Some(Instant::now()), unsaid: 0 };
        }
    }

    async fn endpoints(&self) -> Result<Arc<Endpoints>, Failed> {
        if let Some(known) = self.known_endpoints() {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known_endpoints() {
            return known;
        }
        let read = discovery(&self.backend, &self.config.issuer_url).await.and_then(|document| self.read(&document));
        let mut known = self.endpoints.lock();
        known.until = Some(Instant::now() + if read.is_ok() { ENDPOINTS_AGE } else { ENDPOINTS_PAUSE });
        // Old ones count on while the issuer is silent.
        if let Ok(endpoints) = read {
            known.endpoints = Some(Arc::new(endpoints));
        }
        known.endpoints.clone().ok_or(Failed::Silent)
    }

    /// `None` where they are to be asked for.
    fn known_endpoints(&self) -> Option<Result<Arc<Endpoints>, Failed>> {
        let known = self.endpoints.lock();
        known.until.is_some_and(|until| Instant::now() < until).then(|| known.endpoints.clone().ok_or(Failed::Silent))
    }

    fn read(&self, document: &Value) -> Result<Endpoints, Undecided> {
        let endpoint = |name: &str| {
            let url = document[name].as_str().unwrap_or_default();
            endpoint_url(name, url).map_err(|error| self.backend.undecided(&error))
        };
        let end_session =
            if document["end_session_endpoint"].is_string() { Some(endpoint("end_session_endpoint")?) } else { None };
        Ok(Endpoints { authorization: endpoint("authorization_endpoint")?, token: endpoint("token_endpoint")?, end_session })
    }

    fn silent(&self, error: &str) -> Failed {
        self.backend.undecided(error);
        Failed::Silent
    }
}

/// As the issuer's own URL, but that a query is allowed.
pub(crate) fn endpoint_url(name: &str, text: &str) -> Result<Url, String> {
    let (base, query) = text.split_once('?').map_or((text, None), |(base, query)| (base, Some(query)));
    let mut url = server(name, base)?;
    url.set_query(query);
    Ok(url)
}

/// RFC 6749 has both encoded as in a form before they become a password.
fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A path of weir's own page; the first view in place of anything else, which could lead elsewhere.
pub(crate) fn own_path(to: &str) -> &str {
    let leads_away = |rest: &str| rest.starts_with(['/', '\\']) || rest.contains(|letter: char| letter.is_control());
    match to.strip_prefix('/') {
        Some(rest) if to.len() <= PATH_BYTES_MAX && !leads_away(rest) && !rest.starts_with("auth/") => to,
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_our_own_are_gone_to() {
        let check = |to: &str, expected: &str| assert_eq!(own_path(to), expected, "{to:?}");
        check("/logs?q=a&tenant=shop", "/logs?q=a&tenant=shop");
        check("/", "/");
        for elsewhere in [
            "",
            "logs",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/auth/login?to=/auth/login",
            "/a\r\nSet-Cookie: a=b",
        ] {
            check(elsewhere, "/");
        }
        check(&format!("/{}", "a".repeat(PATH_BYTES_MAX)), "/");
    }

    #[test]
    fn endpoints_are_https_or_of_this_machine() {
        let check = |text: &str, is_right: bool| assert_eq!(endpoint_url("token_endpoint", text).is_ok(), is_right, "{text}");
        check("https://issuer.example/token?realm=a", true);
        check("http://127.0.0.1:8080/token", true);
        check("http://issuer.example/token", false);
        check("", false);
    }
}
