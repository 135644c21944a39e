//! All methods in their order, over one request.

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use prometheus_client::registry::Registry;
use weir_access::{Denied, Peer, Principal};

use super::basic::Basic;
use super::cache::VerdictCache;
use super::certificates;
use super::codeflow::CodeFlow;
use super::config::{AuthConfig, CertificateName, MethodName};
use super::credentials::Credentials;
use super::device::DeviceOffer;
use super::digest::DigestKey;
use super::keystone::Keystone;
use super::kubernetes::Kubernetes;
use super::metrics::AuthMetrics;
use super::oidc::{Oidc, unix_seconds};
use super::proxy::TrustedPeers;
use super::session::{Session, Sessions};
use super::throttle::Throttle;
use super::tokens::Tokens;
use super::verdict::Verdict;

/// Of every credential that does not count, so that it does not tell which users there are, or what is wrong.
const WRONG: &str = "the credentials are not right";

/// Knows who asks.
pub struct Authenticator {
    /// With none everybody is anonymous.
    methods: Vec<AuthMethod>,
    anonymous: Arc<Principal>,
    cache: VerdictCache,
    pub(crate) throttle: Throttle,
    metrics: AuthMetrics,
    pub(crate) sessions: Sessions,
}

/// What a page can ask its user for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offers {
    pub password: bool,
    pub token: bool,
}

enum AuthMethod {
    Certificates(CertificateName),
    Tokens(Tokens),
    Basic(Basic),
    Oidc(Box<Oidc>),
    Kubernetes(Box<Kubernetes>),
    Keystone(Box<Keystone>),
    Proxy(TrustedPeers),
}

impl Authenticator {
    /// As `[auth]` says. Reads its files; asks nobody. Errors name the key.
    pub fn start(config: &AuthConfig) -> Result<Self, String> {
        config.check().map_err(|error| format!("auth.{error}"))?;
        let (metrics, key) = (AuthMetrics::default(), DigestKey::new());
        let open = |name: &MethodName| AuthMethod::open(*name, config, &key, &metrics);
        Ok(Self {
            methods: config.methods.iter().map(open).collect::<Result<_, _>>()?,
            anonymous: Arc::new(Principal::anonymous()),
            cache: VerdictCache::new(config, metrics.clone()),
            throttle: Throttle::new(),
            metrics,
            sessions: Sessions::start(&config.session).map_err(|error| format!("auth.{error}"))?,
        })
    }

    /// Shows how it is doing under `weir_auth_…`.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Whom a request's credentials stand for, by its head and its connection alone; `None` where it brings none. Where no
    /// method is configured, everybody is anonymous.
    pub async fn authenticate(&self, head: &Parts, peer: &Peer) -> Result<Option<Arc<Principal>>, Denied> {
        if self.methods.is_empty() {
            return Ok(Some(Arc::clone(&self.anonymous)));
        }
        let credentials = Credentials::of(&head.headers).inspect_err(|_| self.metrics.request("none", "wrong"))?;
        let mut undecided = None;
        for method in &self.methods {
            let name = method.name().method().name();
            match self.judge(method, &credentials, head, peer).await {
                Ok(Verdict::Pass) => {}
                Ok(Verdict::Known(principal)) => {
                    self.metrics.request(name, "ok");
                    return Ok(Some(principal));
                }
                Ok(Verdict::Wrong) => {
                    self.metrics.request(name, "wrong");
                    return Err(Denied::Unauthenticated(WRONG.into()));
                }
                Err(denied) => {
                    let result =
                        if matches!(denied, Denied::Undecided(_) | Denied::Throttled(_)) { "undecided" } else { "wrong" };
                    self.metrics.request(name, result);
                    // Another method may know it.
                    undecided.get_or_insert(denied);
                }
            }
        }
        match undecided {
            Some(denied) => Err(denied),
            None if credentials.is_empty() => Ok(self.of_session(&head.headers).await),
            None => {
                self.metrics.request("none", "wrong");
                Err(Denied::Unauthenticated(WRONG.into()))
            }
        }
    }

    /// Who has signed in with the page. A session that is over is as good as none: its browser has to get the page that signs in.
    async fn of_session(&self, headers: &HeaderMap) -> Option<Arc<Principal>> {
        let found = self.sessions.session(headers, unix_seconds());
        let principal = match &found {
            Some(Ok(session)) if self.is_known_still(session).await => Some(session.principal.clone()),
            _ => None,
        };
        let result = match (&found, &principal) {
            (None, _) => "absent",
            (_, Some(_)) => "ok",
            _ => "wrong",
        };
        self.metrics.request(if found.is_some() { "session" } else { "none" }, result);
        principal.map(Arc::new)
    }

    /// Whether its method is configured still, and knows whom it knew where a file says that. Nobody signs in by what the connection
    /// says.
    async fn is_known_still(&self, session: &Session) -> bool {
        let principal = &session.principal;
        match self.methods.iter().find(|own| own.name().method() == principal.method) {
            None | Some(AuthMethod::Certificates(_) | AuthMethod::Proxy(_)) => false,
            Some(AuthMethod::Basic(basic)) => {
                let password = basic.password_of(&principal.name).await;
                password.is_some() && password == session.password
            }
            Some(AuthMethod::Tokens(tokens)) => tokens.has(principal).await,
            Some(AuthMethod::Oidc(_) | AuthMethod::Kubernetes(_) | AuthMethod::Keystone(_)) => true,
        }
    }

    /// What a session of a user of the file of passwords goes by; `None` where there is no such user.
    pub(crate) async fn password_of(&self, user: &str) -> Option<String> {
        let basic = self.methods.iter().find_map(|method| match method {
            AuthMethod::Basic(basic) => Some(basic),
            _ => None,
        });
        basic?.password_of(user).await
    }

    /// What a page can ask its user for, of the methods that are configured.
    pub(crate) fn offers(&self) -> Offers {
        let mut offers = Offers::default();
        for method in &self.methods {
            match method.name() {
                MethodName::Basic => offers.password = true,
                MethodName::Tokens | MethodName::Oidc | MethodName::Kubernetes | MethodName::Keystone => offers.token = true,
                MethodName::Certificates | MethodName::Proxy => {}
            }
        }
        offers
    }

    /// How the page signs in at an issuer, where that is configured.
    pub(crate) fn code_flow(&self) -> Option<(&Oidc, &CodeFlow)> {
        self.methods.iter().find_map(|method| match method {
            AuthMethod::Oidc(oidc) => Some((&**oidc, oidc.code_flow.as_ref()?)),
            _ => None,
        })
    }

    /// How a terminal does, where that is configured.
    pub(crate) fn device_offer(&self) -> Option<DeviceOffer> {
        self.methods.iter().find_map(|method| match method {
            AuthMethod::Oidc(oidc) => oidc.device_offer(),
            _ => None,
        })
    }

    async fn judge(
        &self,
        method: &AuthMethod,
        credentials: &Credentials<'_>,
        head: &Parts,
        peer: &Peer,
    ) -> Result<Verdict, Denied> {
        let (from, cache, throttle) = (peer.address.ip(), &self.cache, &self.throttle);
        let bearer = credentials.bearer;
        match method {
            AuthMethod::Certificates(name) => Ok(certificates::judge(peer, *name)),
            AuthMethod::Tokens(tokens) => Ok(tokens.judge(bearer).await),
            AuthMethod::Basic(basic) => Ok(basic.judge(credentials.basic.as_ref(), from, cache, throttle).await?),
            AuthMethod::Oidc(oidc) => Ok(oidc.judge(bearer, cache).await?),
            AuthMethod::Kubernetes(kubernetes) => Ok(kubernetes.judge(bearer, from, cache, throttle).await?),
            AuthMethod::Keystone(keystone) => Ok(keystone.judge(credentials, from, cache, throttle).await?),
            AuthMethod::Proxy(peers) => peers.judge(&head.headers, peer),
        }
    }
}

/// Without what it knows.
impl fmt::Debug for Authenticator {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.methods.iter().map(AuthMethod::name).collect();
        to.debug_struct("Authenticator").field("methods", &names).finish_non_exhaustive()
    }
}

impl AuthMethod {
    fn open(name: MethodName, config: &AuthConfig, key: &DigestKey, metrics: &AuthMetrics) -> Result<Self, String> {
        let (timeout, key, metrics) = (config.timeout, key.clone(), metrics.clone());
        Ok(match name {
            MethodName::Certificates => Self::Certificates(config.certificates.name),
            MethodName::Tokens => Self::Tokens(Tokens::open(&config.tokens_file, key, metrics)?),
            MethodName::Basic => Self::Basic(Basic::open(&config.basic_file, key, timeout, metrics)?),
            MethodName::Oidc => Self::Oidc(Box::new(Oidc::new(&config.oidc, key, timeout, metrics)?)),
            MethodName::Kubernetes => Self::Kubernetes(Box::new(Kubernetes::new(&config.kubernetes, key, timeout, metrics)?)),
            MethodName::Keystone => Self::Keystone(Box::new(Keystone::new(&config.keystone, key, timeout, metrics)?)),
            MethodName::Proxy => {
                let peers = TrustedPeers::parse(&config.proxy.peers);
                Self::Proxy(peers.map_err(|error| format!("auth.proxy.peers: {error}"))?)
            }
        })
    }

    fn name(&self) -> MethodName {
        match self {
            Self::Certificates(_) => MethodName::Certificates,
            Self::Tokens(_) => MethodName::Tokens,
            Self::Basic(_) => MethodName::Basic,
            Self::Oidc(_) => MethodName::Oidc,
            Self::Kubernetes(_) => MethodName::Kubernetes,
            Self::Keystone(_) => MethodName::Keystone,
            Self::Proxy(_) => MethodName::Proxy,
        }
    }
}

#[cfg(test)]
mod tests;
