//! Who asks: makes a request's [`Access`] of its credentials and of the tenants that it names, and takes both out of its head, so that
//! no router, log line or span behind the door can see a secret, or a tenant that was asked for and not granted.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use weir_access::{Access, AuthorizationConfig, Authorizer, Denied, Peer, TENANT_HEADER};
use weir_methods::{AuthConfig, Authenticator, MethodName};

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

/// As long as Loki and Mimir allow one.
const TENANT_BYTES_MAX: usize = 150;
/// A query over more would be over all.
const TENANTS_MAX: usize = 100;

pub(crate) struct Identity {
    authenticator: Authenticator,
    authorizer: Arc<Authorizer>,
    /// What a 401 asks for.
    challenges: Vec<HeaderValue>,
}

impl Identity {
    /// As `[auth]` and `[authorization]` say. `own`: the tenant of this process' own data. Errors name the key.
    pub fn start(auth: &AuthConfig, authorization: &AuthorizationConfig, own: &str) -> Result<Self, String> {
        let authenticator = Authenticator::start(auth)?;
        let authorizer = Authorizer::start(authorization, own).map_err(|error| format!("authorization.{error}"))?;
        let bearer = HeaderValue::from_static("Bearer realm=\"weir\"");
        let basic = HeaderValue::from_static("Basic realm=\"weir\", charset=\"UTF-8\"");
        let has_basic = auth.methods.contains(&MethodName::Basic);
        let challenges = if has_basic { vec![bearer, basic] } else { vec![bearer] };
        Ok(Self { authenticator, authorizer: Arc::new(authorizer), challenges })
    }

    pub fn challenges(&self) -> &[HeaderValue] {
        &self.challenges
    }

    /// Puts the request's [`Access`] into its extensions. Where its credentials, or the tenants that it names, do not count, it goes on
    /// as one without credentials, for what is open to all; returned is why, for an answer that asks for credentials.
    pub async fn admit(&self, head: &mut Parts) -> Option<Denied> {
        let (principal, wrong) = match self.known(head).await {
            Ok(known) => (known, None),
            Err(denied) => ((None, Vec::new()), Some(denied)),
        };
        for name in &CREDENTIALS {
            head.headers.remove(name);
        }
        if !SIGN_IN.iter().any(|root| head.uri.path().starts_with(root)) {
            head.headers.remove(COOKIE);
        }
        let (principal, named) = principal;
        head.extensions.insert(Access::new(principal, named, Arc::clone(&self.authorizer)));
        wrong
    }

    async fn known(&self, head: &Parts) -> Result<(Option<Arc<weir_access::Principal>>, Vec<Arc<str>>), Denied> {
        let Some(peer) = head.extensions.get::<Peer>() else {
            return Err(Denied::Undecided("the peer of this connection is not known, a fault of weir's".into()));
        };
        match self.authenticator.authenticate(head, peer).await? {
            Some(principal) => Ok((Some(principal), tenants_named(&head.headers)?)),
            None => Ok((None, Vec::new())),
        }
    }
}

/// The tenants of `X-Scope-OrgID`, each once: `a` or `a|b`. A name is what Loki and Mimir take for one.
fn tenants_named(headers: &HeaderMap) -> Result<Vec<Arc<str>>, Denied> {
    let wrong = |why: &str| Err(Denied::Unclear(format!("X-Scope-OrgID: {why}")));
    let mut values = headers.get_all(TENANT_HEADER).iter();
    let Some(value) = values.next() else { return Ok(Vec::new()) };
    if values.next().is_some() {
        return wrong("is there more than once");
    }
    let Ok(text) = value.to_str() else { return wrong("is no text") };
    let mut named = BTreeSet::new();
    for tenant in text.split('|').map(str::trim) {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
        if tenant.is_empty() || tenant.len() > TENANT_BYTES_MAX {
            return wrong("a tenant's name has 1 to 150 bytes");
        }
        if !tenant.bytes().all(is_name) || tenant == "." || tenant == ".." {
            return wrong("a tenant's name has letters, digits and !-_.*'() only, and is neither . nor ..");
        }
        named.insert(Arc::from(tenant));
        if named.len() > TENANTS_MAX {
            return wrong("names more than 100 tenants");
        }
    }
    Ok(named.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_named_by_one_header() {
        let named = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TENANT_HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            tenants_named(&headers).map(|named| named.join(",")).map_err(|denied| denied.to_string())
        };
        let check = |values: &[&str], expected: &str| assert_eq!(named(values).as_deref(), Ok(expected), "{values:?}");
        check(&[], "");
        check(&["shop"], "shop");
        check(&["shop|bank|shop"], "bank,shop");
        check(&["team-1_a.b!*'()"], "team-1_a.b!*'()");
        check(&[&"x".repeat(150)], &"x".repeat(150));
        let refused = |values: &[&str], why: &str| {
            let error = named(values).unwrap_err();
            assert!(error.contains(why) && error.contains("X-Scope-OrgID"), "{values:?}: {error}");
        };
        refused(&["a", "b"], "more than once");
        refused(&[""], "1 to 150");
        refused(&["a|"], "1 to 150");
        refused(&[&"x".repeat(151)], "1 to 150");
        refused(&[".."], "neither");
        refused(&["a/b"], "letters");
        refused(&["a\u{fc}"], "no text");
        let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
        refused(&[&many.join("|")], "100");
    }
}
