//! `kubernetes`: tokens of service accounts, reviewed by the API server or verified here by the keys that it publishes. A pod's own
//! token names its tenant: the namespace.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_access::{Method, Principal};
use weir_watched::secret;

use super::backend::{Backend, Slot};
use super::cache::VerdictCache;
use super::config::{KubernetesConfig, TokenCheck, server};
use super::digest::DigestKey;
use super::exchange::Reply;
use super::jwks::{KeySet, Published};
use super::jwt::{Expected, Jwt, claim};
use super::metrics::AuthMetrics;
use super::oidc::unix_seconds;
use super::throttle::Throttle;
use super::verdict::{Found, Undecided, Verdict};

/// By how much the clocks of a cluster's machines may differ.
const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// See above.
pub(crate) struct Kubernetes {
    api: Api,
    audiences: Vec<String>,
    key: DigestKey,
    /// Where tokens are verified here.
    keys: Option<KeySet>,
}

/// The API server.
#[derive(Clone)]
struct Api {
    backend: Arc<Backend>,
    url: String,
    /// weir's own token, read for each question: the kubelet renews it.
    token_file: PathBuf,
}

impl Kubernetes {
    /// The API server is not asked before the first token comes.
    pub fn new(config: &KubernetesConfig, key: DigestKey, timeout: Duration, metrics: AuthMetrics) -> Result<Self, String> {
        let url = match config.api_server.as_str() {
            "" => of_this_cluster()?,
            url => url.trim_end_matches('/').to_owned(),
        };
        // An API server over plain http, on this machine alone, has no certificate to verify.
        let ca_file = if url.starts_with("https:") { config.ca_file.clone() } else { PathBuf::new() };
        let backend = Backend::new(Method::Kubernetes.name(), "auth.kubernetes.ca_file", &ca_file, timeout, metrics)?;
        let api = Api { backend: Arc::new(backend), url, token_file: config.token_file.clone() };
        let keys = (config.mode == TokenCheck::Offline).then(|| {
            let api = api.clone();
            KeySet::new(move || {
                let api = api.clone();
                async move { api.published().await }.boxed()
            })
        });
        Ok(Self { api, audiences: config.audiences.clone(), key, keys })
    }

    /// A bearer that the cluster does not know may be another method's. `from`: the peer's address.
    pub async fn judge(
        &self,
        bearer: Option<&str>,
        from: IpAddr,
        cache: &VerdictCache,
        throttle: &Throttle,
    ) -> Result<Verdict, Undecided> {
        let Some(bearer) = bearer else { return Ok(Verdict::Pass) };
        let method = Method::Kubernetes.name();
        let key = self.key.digest(&[b"kubernetes", bearer.as_bytes()]);
        if let Some(found) = cache.get(method, &key, Instant::now()) {
            return Ok(found.map_or(Verdict::Pass, Verdict::Known));
        }
        let Some(jwt) = Jwt::parse(bearer) else { return Ok(Verdict::Pass) };
        let found = match &self.keys {
            None => cache.get_or_verify(method, &key, self.review(bearer, from, throttle)).await?,
            Some(_) if ServiceAccount::of(&jwt).is_none() => return Ok(Verdict::Pass),
            Some(keys) => cache.get_or_verify(method, &key, self.verify(keys, &jwt)).await?,
        };
        Ok(found.map_or(Verdict::Pass, Verdict::Known))
    }

    async fn review(&self, token: &str, from: IpAddr, throttle: &Throttle) -> Result<(Found, Duration), Undecided> {
        throttle.admit(from)?;
        let slot = self.api.backend.slot().await?;
        // Again, with a slot that is held until this one counts: of tokens that came at once, no more are asked about.
        let attempt = throttle.attempt(from, None)?;
        let outcome = self.ask(&slot, token).await;
        attempt.end(&outcome);
        outcome
    }

    async fn ask(&self, slot: &Slot<'_>, token: &str) -> Result<(Found, Duration), Undecided> {
        let mut spec = json!({"token": token});
        if !self.audiences.is_empty() {
            spec["audiences"] = json!(self.audiences);
        }
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec});
        let url = format!("{}/apis/authentication.k8s.io/v1/tokenreviews", self.api.url);
        let reply = self.api.send(slot, self.api.backend.client().post(url).json(&review)).await?;
        let review: TokenReview = self.api.decode(&reply)?;
        Ok((review.status.principal(&self.audiences).map(Arc::new), Duration::MAX))
    }

    async fn verify(&self, keys: &KeySet, jwt: &Jwt<'_>) -> Result<(Found, Duration), Undecided> {
        let wrong = (None, Duration::ZERO);
        let Some(published) = keys.verify(jwt).await? else { return Ok(wrong) };
        // A projected token without another audience is for the API server, whose audience is the issuer.
        let own = [published.issuer.clone()];
        let audiences = if self.audiences.is_empty() { &own[..] } else { &self.audiences };
        let expected = Expected { issuer: &published.issuer, audiences, skew: CLOCK_SKEW };
        let Some(right_for) = jwt.right_for(&expected, unix_seconds()) else { return Ok(wrong) };
        let Some(account) = ServiceAccount::of(jwt) else { return Ok(wrong) };
        let uid = claim(&jwt.claims, "kubernetes.io").and_then(|own| own["serviceaccount"]["uid"].as_str());
        Ok((Some(Arc::new(account.principal(uid.unwrap_or_default()))), right_for))
    }
}

impl Api {
    async fn send(&self, slot: &Slot<'_>, request: RequestBuilder) -> Result<Reply, Undecided> {
        let token = secret(&self.token_file).await;
        let token = token.map_err(|error| self.backend.undecided(&format!("auth.kubernetes.token_file: {error}")))?;
        let reply = self.backend.send_in(slot, request.bearer_auth(token.trim())).await?;
        if !reply.status.is_success() {
            return Err(self.backend.undecided(&format!("status {}; may weir create tokenreviews?", reply.status)));
        }
        Ok(reply)
    }

    fn decode<T: for<'de> Deserialize<'de>>(&self, reply: &Reply) -> Result<T, Undecided> {
        serde_json::from_slice(&reply.body).map_err(|error| self.backend.undecided(&error.to_string()))
    }

    /// The issuer and its keys. These are asked of the API server: where the document says they are may be out of reach.
    async fn published(&self) -> Result<Published, Undecided> {
        let get = |path: &str| self.backend.client().get(format!("{}/{path}", self.url));
        let slot = self.backend.slot().await?;
        let document: Value = self.decode(&self.send(&slot, get(".well-known/openid-configuration")).await?)?;
        let keys: Value = self.decode(&self.send(&slot, get("openid/v1/jwks")).await?)?;
        let published = match document["issuer"].as_str() {
            Some(issuer) => Published::new(issuer.to_owned(), &keys),
            None => Err("its discovery document names no issuer".to_owned()),
        };
        published.map_err(|error| self.backend.undecided(&error))
    }
}

/// As a pod finds it.
fn of_this_cluster() -> Result<String, String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    let (Some(host), Some(port)) = (host, port) else {
        return Err("auth.kubernetes.api_server is empty, and this is no pod of a cluster".into());
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = format!("https://{host}:{port}");
    server("KUBERNETES_SERVICE_HOST", &url).map(|_| url)
}

#[derive(Deserialize)]
struct TokenReview {
    #[serde(default)]
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    authenticated: bool,
    user: ReviewedUser,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewedUser {
    username: String,
    uid: String,
    groups: Vec<String>,
}

impl ReviewStatus {
    /// `audiences`: what was asked for. An API server that does not know audiences says none, and its yes is for itself alone.
    fn principal(self, audiences: &[String]) -> Option<Principal> {
        let is_meant = audiences.is_empty() || self.audiences.iter().any(|audience| audiences.contains(audience));
        if !self.authenticated || !is_meant {
            return None;
        }
        let ReviewedUser { username: name, uid, groups } = self.user;
        // A person of the cluster has no tenant that would bind, and a name that another method's user may have.
        let tenants = Some(vec![ServiceAccount::parse(&name)?.namespace.into()]);
        Some(Principal { name, uid, groups, tenants, method: Method::Kubernetes })
    }
}

/// `system:serviceaccount:NAMESPACE:NAME`
#[derive(Clone, Copy)]
struct ServiceAccount<'a> {
    subject: &'a str,
    namespace: &'a str,
}

impl<'a> ServiceAccount<'a> {
    fn parse(subject: &'a str) -> Option<Self> {
        let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some(Self { subject, namespace })
    }

    /// A token's, unverified; what it says of the namespace in two places must be the same.
    fn of(jwt: &'a Jwt<'_>) -> Option<Self> {
        let account = Self::parse(jwt.text("sub")?)?;
        let namespace = claim(&jwt.claims, "kubernetes.io")?.get("namespace")?.as_str()?;
        (namespace == account.namespace).then_some(account)
    }

    /// With the groups that the API server gives it.
    fn principal(self, uid: &str) -> Principal {
        let Self { subject, namespace } = self;
        let of_namespace = format!("system:serviceaccounts:{namespace}");
        let groups = vec!["system:serviceaccounts".into(), of_namespace, "system:authenticated".into()];
        let (name, uid, tenants) = (subject.to_owned(), uid.to_owned(), Some(vec![namespace.into()]));
        Principal { name, uid, groups, tenants, method: Method::Kubernetes }
    }
}

#[cfg(test)]
mod tests;
