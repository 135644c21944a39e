//! Signed tokens (JWS, RFC 7515, in their compact form) and public keys (JWK, RFC 7517): RS256, PS256, ES256 and EdDSA by ring, and
//! nothing else. Decision 0140 says why they are read here.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The signatures that are taken. All are of public keys: what verifies them makes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Algorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A token whose parts could be read. Nothing of it is verified.
#[derive(Debug)]
pub(crate) struct Jwt<'a> {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    pub claims: Map<String, Value>,
    /// What is signed.
    message: &'a str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Jwt<'a> {
    /// `None` for whatever is not such a token, or is for something else than access: an encrypted one, a logout token, one with
    /// extensions that must be understood.
    pub fn parse(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Header = decode(header)?;
        let typ = header.typ.as_deref().map(|typ| typ.to_ascii_lowercase());
        let typ = typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        if header.crit.is_some() || !matches!(typ, None | Some("jwt" | "at+jwt")) {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { algorithm: header.alg, key_id: header.kid, claims: decode(claims)?, message, signature })
    }

    /// A claim that is a text; unverified.
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verify(self.algorithm, self.message.as_bytes(), &self.signature)
    }

    /// How long the token is right from `now` on, in seconds since 1970: `iss`, `aud`, `exp`, `nbf`, `iat`. `None` where it is not.
    pub fn right_for(&self, expected: &Expected<'_>, now: u64) -> Option<Duration> {
        let audiences = match self.claims.get("aud")? {
            Value::String(audience) => std::slice::from_ref(audience).iter().map(String::as_str).collect(),
            Value::Array(audiences) => audiences.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?,
            _ => return None,
        };
        let is_meant = expected.audiences.iter().any(|audience| audiences.contains(&audience.as_str()));
        if self.text("iss") != Some(expected.issuer) || !is_meant {
            return None;
        }
        let skew = expected.skew.as_secs();
        let begins = [self.time("nbf"), self.time("iat")];
        if begins.into_iter().flatten().any(|begin| begin.is_none_or(|begin| begin > now.saturating_add(skew))) {
            return None;
        }
        let end = self.time("exp")??.saturating_add(skew);
        end.checked_sub(now).filter(|left| *left > 0).map(Duration::from_secs)
    }

    /// When it ends, in seconds since 1970; unverified.
    pub fn ends(&self) -> Option<u64> {
        self.time("exp")?
    }

    /// Seconds since 1970; the inner `None` where the claim is something else.
    fn time(&self, claim: &str) -> Option<Option<u64>> {
        let value = self.claims.get(claim)?;
        let rounded = || value.as_f64().filter(|time| (0.0..1e15).contains(time)).map(|time| time as u64);
        Some(value.as_u64().or_else(rounded))
    }
}

/// Whose tokens count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub issuer: &'a str,
    /// One of them must be among the token's.
    pub audiences: &'a [String],
    /// By how much the issuer's clock and this one may differ.
    pub skew: Duration,
}

/// A key that an issuer publishes.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    pub id: Option<String>,
    /// The only one that it is for, where it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed: 4, x, y.
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<Value>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl PublicKey {
    /// `None` for keys that verify no signature which is taken.
    pub fn of_jwk(jwk: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(jwk).ok()?;
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { modulus: bytes(&jwk.n)?, exponent: bytes(&jwk.e)? },
            ("EC", Some("P-256")) => {
                let (x, y): ([u8; 32], [u8; 32]) = (bytes(&jwk.x)?.try_into().ok()?, bytes(&jwk.y)?.try_into().ok()?);
                let mut point = [4; 65];
                point[1..33].copy_from_slice(&x);
                point[33..].copy_from_slice(&y);
                Material::P256(point)
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x)?.try_into().ok()?),
            _ => return None,
        };
        let algorithm = jwk.alg.map(Algorithm::deserialize).transpose().ok()?;
        Some(Self { id: jwk.kid, algorithm, material })
    }

    /// Whether it can be what signs so.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let is_of_kind = match self.material {
            Material::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        is_of_kind && self.algorithm.is_none_or(|only| only == algorithm)
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let outcome = match &self.material {
            Material::Rsa { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                let parameters =
                    if algorithm == Algorithm::Ps256 { &RSA_PSS_2048_8192_SHA256 } else { &RSA_PKCS1_2048_8192_SHA256 };
                key.verify(parameters, message, signature)
            }
            Material::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Material::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        };
        outcome.is_ok()
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// What stands at a path of claims: under the whole of it (`https://example.org/groups`), or nested (`realm_access.roles`).
pub(crate) fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

/// A claim's texts: one, or a list of them. What is no text is left out.
pub(crate) fn texts(claims: &Map<String, Value>, path: &str) -> Vec<String> {
    match claim(claims, path) {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
