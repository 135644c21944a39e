//! What a request's head brings to show who asks: one `Authorization` (Basic, Bearer or Token), and `X-Auth-Token`. Within limits, and
//! without looking whether it is right.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_access::Denied;

/// Keystone's.
const AUTH_TOKEN: &str = "x-auth-token";
/// A JWT of an issuer that puts some hundred groups into it; what kube-apiserver takes as a whole head is 1 MiB.
pub(crate) const CREDENTIAL_BYTES_MAX: usize = 16 << 10;
const USER_BYTES_MAX: usize = 256;
const PASSWORD_BYTES_MAX: usize = 1 << 10;

/// What a request brings.
#[derive(Default, PartialEq)]
pub(crate) struct Credentials<'a> {
    pub basic: Option<Password>,
    pub bearer: Option<&'a str>,
    /// `X-Auth-Token`.
    pub auth_token: Option<&'a str>,
}

/// A user's name and password.
#[derive(PartialEq)]
pub(crate) struct Password {
    pub user: String,
    pub password: Vec<u8>,
}

/// Without the password.
impl fmt::Debug for Password {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Password").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Without any secret.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bearer, auth_token) = (self.bearer.is_some(), self.auth_token.is_some());
        write!(to, "Credentials {{ basic: {:?}, bearer: {bearer}, auth_token: {auth_token} }}", self.basic)
    }
}

impl<'a> Credentials<'a> {
    /// Errors where it cannot be read, is too long, or stands twice.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, Denied> {
        let mut credentials = Self { auth_token: single(headers, AUTH_TOKEN)?, ..Self::default() };
        let Some(text) = single(headers, AUTHORIZATION.as_str())? else { return Ok(credentials) };
        let (scheme, value) = text.split_once(' ').unwrap_or((text, ""));
        let value = value.trim_matches(' ');
        // `Token` is what InfluxDB's clients call it.
        let is_token = ["bearer", "token"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
        if is_token && !value.is_empty() {
            credentials.bearer = Some(value);
        } else if scheme.eq_ignore_ascii_case("basic") {
            credentials.basic = Some(Password::decode(value).ok_or_else(|| unreadable("the password"))?);
        } else {
            return Err(unreadable("Authorization is neither Basic nor Bearer, or"));
        }
        Ok(credentials)
    }

    pub fn is_empty(&self) -> bool {
        self.basic.is_none() && self.bearer.is_none() && self.auth_token.is_none()
    }
}

impl Password {
    fn decode(text: &str) -> Option<Self> {
        let mut user = STANDARD.decode(text).ok()?;
        let colon = user.iter().position(|byte| *byte == b':')?;
        let password = user.split_off(colon + 1);
        user.pop();
        if user.is_empty() || user.len() > USER_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        Some(Self { user: String::from_utf8(user).ok()?, password })
    }
}

fn unreadable(what: &str) -> Denied {
    Denied::Unauthenticated(format!("{what} cannot be read"))
}

/// The one value of a header; none where it is absent or empty.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Denied> {
    let mut values = headers.get_all(name).iter();
    let (first, more) = (values.next(), values.next());
    if more.is_some() {
        return Err(Denied::Unclear(format!("there is more than one {name}")));
    }
    let Some(value) = first else { return Ok(None) };
    if value.len() > CREDENTIAL_BYTES_MAX {
        return Err(Denied::Unauthenticated(format!("{name} is longer than {CREDENTIAL_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| unreadable(name))?.trim();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parsed = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        pairs.iter().map(parsed).collect()
    }

    #[test]
    fn both_schemes_in_any_case() {
        let basic = STANDARD.encode("alice:a:b");
        for scheme in ["Basic", "basic", "BASIC"] {
            let headers = headers(&[("authorization", &format!("{scheme} {basic}"))]);
            let password = Credentials::of(&headers).unwrap().basic.unwrap();
            assert_eq!((password.user.as_str(), password.password.as_slice()), ("alice", b"a:b".as_slice()));
        }
        let headers = headers(&[("authorization", "bearer  abc "), ("x-auth-token", "def")]);
        let both = Credentials::of(&headers).unwrap();
        assert_eq!((both.bearer, both.auth_token), (Some("abc"), Some("def")));
        let influx = [("authorization", HeaderValue::from_static("Token abc"))];
        let influx = influx.map(|(name, value)| (HeaderName::from_static(name), value)).into_iter().collect();
        assert_eq!(Credentials::of(&influx).unwrap().bearer, Some("abc"));
        assert!(Credentials::of(&HeaderMap::new()).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let check = |pairs: &[(&str, &str)], status: u16| {
            let headers = headers(pairs);
            let denied = Credentials::of(&headers).unwrap_err();
            assert_eq!(denied.status().as_u16(), status, "{pairs:?}: {denied}");
        };
        check(&[("authorization", "Bearer one"), ("authorization", "Bearer two")], 400);
        check(&[("x-auth-token", "one"), ("x-auth-token", "two")], 400);
        check(&[("authorization", "Bearer")], 401);
        check(&[("authorization", "Negotiate abc")], 401);
        check(&[("authorization", "Basic %%%")], 401);
        check(&[("authorization", &format!("Basic {}", STANDARD.encode("no colon")))], 401);
        check(&[("authorization", &format!("Basic {}", STANDARD.encode(":nobody")))], 401);
        check(&[("authorization", &format!("Basic {}", STANDARD.encode(format!("a:{}", "p".repeat(1025)))))], 401);
        check(&[("authorization", &format!("Bearer {}", "x".repeat(CREDENTIAL_BYTES_MAX)))], 401);
    }

    #[test]
    fn secrets_are_not_shown() {
        let headers =
            headers(&[("authorization", &format!("Basic {}", STANDARD.encode("alice:secret"))), ("x-auth-token", "secret")]);
        let shown = format!("{:?}", Credentials::of(&headers).unwrap());
        assert!(shown.contains("alice") && !shown.contains("secret"), "{shown}");
    }
}
