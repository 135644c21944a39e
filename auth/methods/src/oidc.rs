//! `oidc`: API tokens of an OpenID Connect issuer, verified here by the keys that it publishes.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use serde_json::Value;
use url::Url;
use weir_access::{Method, Principal};

use super::backend::Backend;
use super::cache::VerdictCache;
use super::codeflow::CodeFlow;
use super::config::{OidcConfig, server};
use super::device::DeviceOffer;
use super::digest::DigestKey;
use super::jwks::{KeySet, Published};
use super::jwt::{Expected, Jwt, claim, texts};
use super::metrics::AuthMetrics;
use super::verdict::{Found, Undecided, Verdict};

/// See above.
pub(crate) struct Oidc {
    config: OidcConfig,
    audiences: Vec<String>,
    key: DigestKey,
    keys: KeySet,
    /// For the page.
    pub code_flow: Option<CodeFlow>,
}

impl Oidc {
    /// The issuer is not asked before the first token comes.
    pub fn new(config: &OidcConfig, key: DigestKey, timeout: Duration, metrics: AuthMetrics) -> Result<Self, String> {
        let backend =
            Arc::new(Backend::new(Method::Oidc.name(), "auth.oidc.ca_file", &config.ca_file, timeout, metrics.clone())?);
        let of_page = Backend::new(Method::Oidc.name(), "auth.oidc.ca_file", &config.ca_file, timeout, metrics)?;
        let (issuer, code_flow) = (config.issuer_url.clone(), CodeFlow::new(config, of_page));
        let keys = KeySet::new(move || {
            let (backend, issuer) = (Arc::clone(&backend), issuer.clone());
            async move { discover(&backend, &issuer).await }.boxed()
        });
        let mut audiences = config.audiences.clone();
        audiences.extend([&config.client_id, &config.device_client_id].into_iter().filter(|id| !id.is_empty()).cloned());
        Ok(Self { config: config.clone(), audiences, key, keys, code_flow })
    }

    /// Where terminals sign in, if they do.
    pub fn device_offer(&self) -> Option<DeviceOffer> {
        let OidcConfig { issuer_url: issuer, device_client_id: client_id, scopes, .. } = self.config.clone();
        (!client_id.is_empty()).then_some(DeviceOffer { issuer, client_id, scopes })
    }

    /// A bearer that is no token of this issuer may be another method's.
    pub async fn judge(&self, bearer: Option<&str>, cache: &VerdictCache) -> Result<Verdict, Undecided> {
        let Some(bearer) = bearer else { return Ok(Verdict::Pass) };
        let method = Method::Oidc.name();
        let key = self.key.digest(&[b"oidc", bearer.as_bytes()]);
        if let Some(found) = cache.get(method, &key, Instant::now()) {
            return Ok(found.map_or(Verdict::Wrong, Verdict::Known));
        }
        let Some(jwt) = Jwt::parse(bearer) else { return Ok(Verdict::Pass) };
        if jwt.text("iss") != Some(&self.config.issuer_url) {
            return Ok(Verdict::Pass);
        }
        let found = cache.get_or_verify(method, &key, self.verify(&jwt)).await?;
        Ok(found.map_or(Verdict::Wrong, Verdict::Known))
    }

    /// Whom an ID token stands for: one for the page itself, made for the sign-in that `nonce` belongs to.
    pub async fn identify(&self, id_token: &str, nonce: &str) -> Result<Option<Arc<Principal>>, Undecided> {
        let audiences = [self.config.client_id.clone()];
        let expected = Expected { issuer: &self.config.issuer_url, audiences: &audiences, skew: self.config.clock_skew };
        let Some(jwt) = Jwt::parse(id_token).filter(|jwt| jwt.text("nonce") == Some(nonce)) else { return Ok(None) };
        if jwt.right_for(&expected, unix_seconds()).is_none() || self.keys.verify(&jwt).await?.is_none() {
            return Ok(None);
        }
        Ok(self.principal(&jwt).map(Arc::new))
    }

    async fn verify(&self, jwt: &Jwt<'_>) -> Result<(Found, Duration), Undecided> {
        let wrong = (None, Duration::ZERO);
        // First what costs nothing: an expired token has no key asked for.
        let expected = Expected { issuer: &self.config.issuer_url, audiences: &self.audiences, skew: self.config.clock_skew };
        let Some(right_for) = jwt.right_for(&expected, unix_seconds()) else { return Ok(wrong) };
        if self.keys.verify(jwt).await?.is_none() {
            return Ok(wrong);
        }
        Ok((self.principal(jwt).map(Arc::new), right_for))
    }

    /// `None` for a token that names no user, or one that only weir's own methods name.
    fn principal(&self, jwt: &Jwt<'_>) -> Option<Principal> {
        let config = &self.config;
        let name = claim(&jwt.claims, &config.username_claim)?.as_str().filter(|name| !name.is_empty())?;
        // An address that nobody has verified names nobody; an issuer that does not say so has not verified it.
        if config.username_claim == "email" && jwt.claims.get("email_verified") != Some(&Value::Bool(true)) {
            return None;
        }
        let name = format!("{}{name}", config.username_prefix);
        let groups = if config.groups_claim.is_empty() { Vec::new() } else { texts(&jwt.claims, &config.groups_claim) };
        let groups: Vec<_> = groups.into_iter().map(|group| format!("{}{group}", config.groups_prefix)).collect();
        let is_reserved = |name: &String| name.starts_with("system:") || name.starts_with("weir:");
        if is_reserved(&name) || groups.iter().any(is_reserved) {
            return None;
        }
        let tenants = texts(&jwt.claims, &config.tenants_claim).iter().map(|tenant| tenant.as_str().into()).collect();
        let tenants = (!config.tenants_claim.is_empty()).then_some(tenants);
        let uid = jwt.text("sub").unwrap_or_default().to_owned();
        Some(Principal { name, uid, groups, tenants, method: Method::Oidc })
    }
}

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Discovery, then the keys that it names.
async fn discover(backend: &Backend, issuer: &str) -> Result<Published, Undecided> {
    let document = discovery(backend, issuer).await?;
    let keys = document["jwks_uri"].as_str().unwrap_or_default();
    let keys: Url = server("jwks_uri", keys).map_err(|error| backend.undecided(&error))?;
    let document = get(backend, keys.as_str()).await?;
    Published::new(issuer.to_owned(), &document).map_err(|error| backend.undecided(&error))
}

/// What the issuer says of itself.
pub(crate) async fn discovery(backend: &Backend, issuer: &str) -> Result<Value, Undecided> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document = get(backend, &url).await?;
    if document["issuer"].as_str() != Some(issuer) {
        return Err(backend.undecided("its discovery document names another issuer than auth.oidc.issuer_url"));
    }
    Ok(document)
}

async fn get(backend: &Backend, url: &str) -> Result<Value, Undecided> {
    let reply = backend.send(backend.client().get(url)).await?;
    if !reply.status.is_success() {
        return Err(backend.undecided(&format!("status {}", reply.status)));
    }
    reply.json().map_err(|error| backend.undecided(&error))
}

#[cfg(test)]
mod tests;
