//! Who asks: makes a request's [`Access`] of its credentials and of the tenants that it names, and takes both out of its head, so that
//! no router, log line or span behind the door can see a secret, or a tenant that was asked for and not granted.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request};
use prometheus_client::registry::Registry;
use weir_access::{
    Access, AuthorizationConfig, Authorizer, Denied, Peer, Principal, Reauthenticate, Routes, TENANT_HEADER, asked_tenants,
};
use weir_methods::{AuthConfig, Authenticator, MethodName, signin};
use weir_tls::Acceptor;

/// What says who asks and for whom.
const CREDENTIALS: [HeaderName; 6] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-forwarded-user"),
    HeaderName::from_static("x-forwarded-groups"),
    HeaderName::from_static(TENANT_HEADER),
];

/// Where sessions begin and end: these routes alone see cookies.
const SIGN_IN: [&str; 2] = ["/auth/", "/api/weir/v1/session"];

pub(crate) struct Identity {
    authenticator: Arc<Authenticator>,
    authorizer: Arc<Authorizer>,
    /// Of the listeners, where they speak TLS.
    acceptor: Option<Acceptor>,
    /// What a 401 asks for.
    challenges: Vec<HeaderValue>,
}

impl Identity {
    /// As `[auth]` and `[authorization]` say. `own`: the tenant of this process' own data. Errors name the key.
    pub fn start(auth: &AuthConfig, authorization: &AuthorizationConfig, own: &str) -> Result<Self, String> {
        let authenticator = Arc::new(Authenticator::start(auth)?);
        let authorizer = Authorizer::start(authorization, own, weir_methods::webhook);
        let authorizer = authorizer.map_err(|error| format!("authorization.{error}"))?;
        let bearer = HeaderValue::from_static("Bearer realm=\"weir\"");
        let basic = HeaderValue::from_static("Basic realm=\"weir\", charset=\"UTF-8\"");
        let has_basic = auth.methods.contains(&MethodName::Basic);
        let challenges = if has_basic { vec![bearer, basic] } else { vec![bearer] };
        Ok(Self { authenticator, authorizer: Arc::new(authorizer), acceptor: None, challenges })
    }

    /// Looks at the client certificates of web sockets again, too.
    #[must_use]
    pub fn with_tls(self, acceptor: Option<Acceptor>) -> Self {
        Self { acceptor, ..self }
    }

    /// Shows how it is doing under `weir_auth_…`.
    pub fn register(&self, registry: &mut Registry) {
        self.authenticator.register(registry);
        self.authorizer.register(registry);
    }

    /// A browser that hears of Basic asks its user by itself, in a window that no page can shape: a page has a form of its own.
    pub fn challenges(&self, of_a_page: bool) -> &[HeaderValue] {
        if of_a_page { &self.challenges[..1] } else { &self.challenges }
    }

    /// Where the page gets a session.
    pub fn sign_in_routes(&self) -> Routes {
        signin::routes(Arc::clone(&self.authenticator))
    }

    /// Puts the request's [`Access`] into its extensions. Where its credentials, or the tenants that it names, do not count, it goes on,
    /// for what is open to all; routes that need something say why it is refused.
    pub async fn admit(&self, head: &mut Parts) {
        let access = self.access(head).await;
        let access = match (is_web_socket(head), head.extensions.get::<Peer>()) {
            (true, Some(peer)) => access.with_credentials(Arc::new(Shown {
                authenticator: Arc::clone(&self.authenticator),
                acceptor: self.acceptor.clone(),
                headers: credentials(&head.headers),
                peer: peer.clone(),
            })),
            _ => access,
        };
        for name in &CREDENTIALS {
            head.headers.remove(name);
        }
        if !SIGN_IN.iter().any(|root| head.uri.path().starts_with(root)) {
            head.headers.remove(COOKIE);
        }
        head.extensions.insert(access);
    }

    async fn access(&self, head: &Parts) -> Access {
        let authorizer = Arc::clone(&self.authorizer);
        let principal = match self.principal(head).await {
            Ok(Some(principal)) => principal,
            Ok(None) => return Access::new(None, Vec::new(), authorizer),
            Err(denied) => return Access::wrong(None, denied, authorizer),
        };
        match asked(head) {
            Ok(asked) => Access::new(Some(principal), asked, authorizer),
            Err(denied) => Access::wrong(Some(principal), denied, authorizer),
        }
    }

    async fn principal(&self, head: &Parts) -> Result<Option<Arc<Principal>>, Denied> {
        let Some(peer) = head.extensions.get::<Peer>() else {
            return Err(Denied::Undecided("the peer of this connection is not known, a fault of weir's".into()));
        };
        self.authenticator.authenticate(head, peer).await
    }
}

/// What a web socket was opened with, kept while it is open.
struct Shown {
    authenticator: Arc<Authenticator>,
    acceptor: Option<Acceptor>,
    headers: HeaderMap,
    peer: Peer,
}

/// Without what it brought.
impl std::fmt::Debug for Shown {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Shown").finish_non_exhaustive()
    }
}

#[async_trait]
impl Reauthenticate for Shown {
    async fn principal(&self) -> Result<Option<Arc<Principal>>, Denied> {
        if self.acceptor.as_ref().is_some_and(|acceptor| !acceptor.takes(&self.peer.certificates)) {
            return Err(Denied::Unauthenticated("the client certificate counts no longer".into()));
        }
        let (mut head, ()) = Request::new(()).into_parts();
        head.headers.clone_from(&self.headers);
        self.authenticator.authenticate(&head, &self.peer).await
    }
}

fn credentials(headers: &HeaderMap) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| CREDENTIALS.contains(name) || **name == COOKIE);
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_web_socket(head: &Parts) -> bool {
    head.headers.get(UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The tenants that a request names: in the header; where a page opens a web socket, which cannot send one, by `tenant` in its address.
fn asked(head: &Parts) -> Result<Vec<Arc<str>>, Denied> {
    if head.headers.contains_key(TENANT_HEADER) || !is_web_socket(head) {
        return asked_tenants(&head.headers);
    }
    let pairs = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let mut headers = HeaderMap::new();
    for (_, tenant) in pairs.filter(|(name, _)| name == "tenant") {
        let tenant = HeaderValue::from_str(&tenant).map_err(|_| Denied::Unclear("tenant is not a tenant's name".into()))?;
        headers.append(TENANT_HEADER, tenant);
    }
    asked_tenants(&headers)
}
