//! `keystone`: OpenStack's tokens, validated by Keystone with weir's own account. The project that a token is scoped to is its
//! tenant, its roles are the groups.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::json;
use weir_access::{Method, Principal};
use weir_watched::secret;

use super::backend::{Backend, Slot};
use super::cache::VerdictCache;
use super::config::{KeystoneConfig, TenantName};
use super::credentials::Credentials;
use super::digest::DigestKey;
use super::exchange::Reply;
use super::jwt::Jwt;
use super::metrics::AuthMetrics;
use super::oidc::unix_seconds;
use super::throttle::Throttle;
use super::verdict::{Found, Undecided, Verdict};

/// A sign-in of weir's own that has failed is not tried again for so long: whoever waits for it would try one after the other.
const SIGN_IN_PAUSE: Duration = Duration::from_secs(1);

/// See above.
pub(crate) struct Keystone {
    config: KeystoneConfig,
    backend: Backend,
    /// `…/v3/auth/tokens`
    tokens_url: String,
    key: DigestKey,
    /// weir's own token, until Keystone does not take it any more.
    own: RwLock<Option<Arc<str>>>,
    /// Held by who asks for the next one. When and why that was in vain last.
    turn: tokio::sync::Mutex<Option<(Instant, Undecided)>>,
}

impl Keystone {
    /// Keystone is not asked before the first token comes.
    pub fn new(config: &KeystoneConfig, key: DigestKey, timeout: Duration, metrics: AuthMetrics) -> Result<Self, String> {
        let backend = Backend::new(Method::Keystone.name(), "auth.keystone.ca_file", &config.ca_file, timeout, metrics)?;
        let url = config.url.trim_end_matches('/');
        let tokens_url = format!("{}/v3/auth/tokens", url.strip_suffix("/v3").unwrap_or(url));
        Ok(Self { config: config.clone(), backend, tokens_url, key, own: RwLock::default(), turn: Default::default() })
    }

    /// `X-Auth-Token` is Keystone's alone; a bearer that it does not know may be another method's. `from`: the peer's address.
    pub async fn judge(
        &self,
        credentials: &Credentials<'_>,
        from: IpAddr,
        cache: &VerdictCache,
        throttle: &Throttle,
    ) -> Result<Verdict, Undecided> {
        let (token, otherwise) = match (credentials.auth_token, credentials.bearer) {
            (Some(token), _) => (token, Verdict::Wrong),
            // Some issuer's, or a pod's.
            (None, Some(bearer)) if Jwt::parse(bearer).is_some_and(|jwt| jwt.text("iss").is_some()) => return Ok(Verdict::Pass),
            (None, Some(bearer)) => (bearer, Verdict::Pass),
            (None, None) => return Ok(Verdict::Pass),
        };
        let key = self.key.digest(&[b"keystone", token.as_bytes()]);
        let found = match cache.get(Method::Keystone.name(), &key, Instant::now()) {
            Some(found) => found,
            None => cache.get_or_verify(Method::Keystone.name(), &key, self.verify(token, from, throttle)).await?,
        };
        Ok(found.map_or(otherwise, Verdict::Known))
    }

    async fn verify(&self, token: &str, from: IpAddr, throttle: &Throttle) -> Result<(Found, Duration), Undecided> {
        throttle.admit(from)?;
        let slot = self.backend.slot().await?;
        // Again, with a slot that is held until this one counts: of tokens that came at once, no more are asked about.
        let attempt = throttle.attempt(from, None)?;
        let outcome = self.ask(&slot, token).await;
        attempt.end(&outcome);
        outcome
    }

    async fn ask(&self, slot: &Slot<'_>, token: &str) -> Result<(Found, Duration), Undecided> {
        let mut own = self.own_token(slot, None).await?;
        let mut reply = self.validate(slot, &own, token).await?;
        if reply.status == StatusCode::UNAUTHORIZED {
            own = self.own_token(slot, Some(&own)).await?;
            reply = self.validate(slot, &own, token).await?;
        }
        let found = match reply.status {
            StatusCode::OK => {
                let validated: Validated =
                    serde_json::from_slice(&reply.body).map_err(|error| self.backend.undecided(&error.to_string()))?;
                validated.token.right_for().map(|right_for| (validated.token.principal(&self.config), right_for))
            }
            // It does not exist, or is revoked. With a token of weir's that is just made, 401 is said of the other.
            StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED => None,
            status => return Err(self.backend.undecided(&format!("status {status}; may weir's account validate tokens?"))),
        };
        Ok(found.map_or((None, Duration::ZERO), |(principal, right_for)| (Some(Arc::new(principal)), right_for)))
    }

    async fn validate(&self, slot: &Slot<'_>, own: &str, token: &str) -> Result<Reply, Undecided> {
        let request = self.backend.client().get(format!("{}?nocatalog", self.tokens_url));
        self.backend.send_in(slot, request.header("x-auth-token", own).header("x-subject-token", token)).await
    }

    /// weir's own token, another one than `refused`.
    async fn own_token(&self, slot: &Slot<'_>, refused: Option<&Arc<str>>) -> Result<Arc<str>, Undecided> {
        let held = || self.own.read().clone().filter(|own| Some(own) != refused);
        if let Some(own) = held() {
            return Ok(own);
        }
        let mut failed = self.turn.lock().await;
        if let Some(own) = held() {
            return Ok(own);
        }
        if let Some((at, undecided)) = &*failed
            && at.elapsed() < SIGN_IN_PAUSE
        {
            return Err(undecided.clone());
        }
        let signed_in = self.sign_in(slot).await;
        *failed = signed_in.as_ref().err().map(|undecided| (Instant::now(), undecided.clone()));
        let own = signed_in?;
        *self.own.write() = Some(Arc::clone(&own));
        Ok(own)
    }

    async fn sign_in(&self, slot: &Slot<'_>) -> Result<Arc<str>, Undecided> {
        let password = secret(&self.config.password_file).await;
        let password = password.map_err(|error| self.backend.undecided(&format!("auth.keystone.password_file: {error}")))?;
        let domain = json!({"name": self.config.domain});
        let user = json!({"name": self.config.user, "domain": domain, "password": password});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": self.config.project, "domain": domain}},
        }});
        let reply = self.backend.send_in(slot, self.backend.client().post(&self.tokens_url).json(&body)).await?;
        let token = reply.headers.get("x-subject-token").and_then(|token| token.to_str().ok());
        match token.filter(|_| reply.status == StatusCode::CREATED) {
            Some(token) => Ok(token.into()),
            None => Err(self.backend.undecided(&format!("weir's own account cannot sign in: status {}", reply.status))),
        }
    }
}

#[derive(Deserialize)]
struct Validated {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    user: Named,
    /// Absent where it is scoped to a domain, the system, or nothing.
    project: Option<Named>,
    #[serde(default)]
    roles: Vec<Role>,
    /// ISO 8601, UTC.
    expires_at: String,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
    domain: Domain,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
}

#[derive(Deserialize)]
struct Role {
    name: String,
}

impl Token {
    /// `None` where it is over. Keystone says so first; this bounds how long its yes is kept.
    fn right_for(&self) -> Option<Duration> {
        let nanos = weir_model::time::parse_time_seconds(&self.expires_at).ok()?;
        let end = u64::try_from(nanos / 1_000_000_000).ok()?;
        end.checked_sub(unix_seconds()).map(Duration::from_secs)
    }

    fn principal(self, config: &KeystoneConfig) -> Principal {
        let is_own = |named: &Named| named.domain.name == config.domain;
        // A user's name is unique in its domain. The own domain's stand alone, as policies name them; nobody outside of it
        // can take one of these names.
        let name = if is_own(&self.user) { self.user.name } else { format!("{}/{}", self.user.domain.name, self.user.name) };
        let tenant = self.project.and_then(|project| match config.tenant {
            TenantName::Id => Some(project.id),
            TenantName::Name => is_own(&project).then_some(project.name),
        });
        let tenants = tenant.into_iter().map(|tenant| tenant.as_str().into()).collect();
        let groups = self.roles.into_iter().map(|role| role.name).collect();
        Principal { name, uid: self.user.id, groups, tenants: Some(tenants), method: Method::Keystone }
    }
}

#[cfg(test)]
mod tests;
