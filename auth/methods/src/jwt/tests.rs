//! Tokens that a test signs, and what of them is taken.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;

/// A key that signs.
pub(crate) enum Signer {
    Es256(EcdsaKeyPair, SystemRandom),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn es256() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Self::Es256(pair, random)
    }

    fn ed_dsa() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::EdDsa(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    /// Its public key, as an issuer publishes it.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Es256(pair, _) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Self::EdDsa(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "alg": "EdDSA", "x": text(pair.public_key().as_ref())})
            }
        }
    }

    pub(crate) fn sign(&self, id: &str, claims: &Value) -> String {
        let algorithm = if matches!(self, Self::Es256(..)) { "ES256" } else { "EdDSA" };
        self.sign_with(&json!({"alg": algorithm, "typ": "JWT", "kid": id}), claims)
    }

    fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = match self {
            Self::Es256(pair, random) => pair.sign(random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

const NOW: u64 = 1_700_000_000;

fn right_for(claims: Value) -> Option<u64> {
    let audiences = ["weir".to_owned(), "other".to_owned()];
    let expected = Expected { issuer: "https://issuer", audiences: &audiences, skew: Duration::from_secs(30) };
    let token = Signer::ed_dsa().sign("1", &claims);
    Jwt::parse(&token).unwrap().right_for(&expected, NOW).map(|left| left.as_secs())
}

#[test]
fn signatures_of_each_kind_count_and_of_others_do_not() {
    for signer in [Signer::es256(), Signer::ed_dsa()] {
        let key = PublicKey::of_jwk(&signer.jwk("1")).unwrap();
        let token = signer.sign("1", &json!({"sub": "alice"}));
        let jwt = Jwt::parse(&token).unwrap();
        assert_eq!((jwt.key_id.as_deref(), jwt.text("sub")), (Some("1"), Some("alice")));
        assert!(jwt.is_signed_by(&key));
        for other in [Signer::es256(), Signer::ed_dsa()] {
            assert!(!jwt.is_signed_by(&PublicKey::of_jwk(&other.jwk("1")).unwrap()));
        }
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let forged = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"sub":"root"}"#));
        assert!(!Jwt::parse(&forged).unwrap().is_signed_by(&key));
    }
}

/// RFC 7515, appendix A.2: a key of RSA, and a signature by another program.
#[test]
fn the_example_of_the_rfc_is_verified() {
    let key = json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2m\
        JPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KX\
        BdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2\
        PAcDTW9gb54h4FRWyuXpoQ"});
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlf\
        Q.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjb\
        KBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc\
        6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let (key, jwt) = (PublicKey::of_jwk(&key).unwrap(), Jwt::parse(token).unwrap());
    assert!(jwt.is_signed_by(&key));
    assert!(key.fits(Algorithm::Ps256) && !key.fits(Algorithm::Es256));
    let mut other = key.clone();
    other.algorithm = Some(Algorithm::Ps256);
    assert!(!jwt.is_signed_by(&other), "a key is for the algorithm that it names");
}

#[test]
fn other_algorithms_types_and_extensions_are_not_read() {
    let signer = Signer::ed_dsa();
    let parses = |header: Value| Jwt::parse(&signer.sign_with(&header, &json!({"sub": "alice"}))).is_some();
    assert!(parses(json!({"alg": "EdDSA"})));
    assert!(parses(json!({"alg": "EdDSA", "typ": "at+jwt"})));
    assert!(parses(json!({"alg": "EdDSA", "typ": "application/at+JWT"})));
    for algorithm in ["none", "None", "HS256", "HS512", "RS512", "ES384", ""] {
        assert!(!parses(json!({"alg": algorithm})), "{algorithm}");
    }
    assert!(!parses(json!({"alg": "EdDSA", "typ": "logout+jwt"})));
    assert!(!parses(json!({"alg": "EdDSA", "crit": ["b64"], "b64": false})));
    assert!(!parses(json!({"kid": "1"})));
    for text in ["", ".", "..", "a.b.c", "a.b.c.d.e", "eyJhbGciOiJFZERTQSJ9.W10.", "gAAAAABn"] {
        assert!(Jwt::parse(text).is_none(), "{text}");
    }
}

#[test]
fn issuer_audience_and_times_count() {
    let base = json!({"iss": "https://issuer", "aud": "weir", "exp": NOW + 60});
    let with = |claim: &str, value: Value| {
        let mut claims = base.clone();
        claims[claim] = value;
        right_for(claims)
    };
    let without = |claim: &str| {
        let mut claims = base.clone();
        claims.as_object_mut().unwrap().remove(claim);
        right_for(claims)
    };
    assert_eq!(right_for(base.clone()), Some(90));
    for claim in ["iss", "aud", "exp"] {
        assert_eq!(without(claim), None, "{claim}");
    }
    assert_eq!(with("iss", json!("https://other")), None);
    assert_eq!(with("iss", json!(["https://issuer"])), None);
    assert_eq!(with("aud", json!(["account", "other"])), Some(90));
    assert_eq!(with("aud", json!(["account"])), None);
    assert_eq!(with("aud", json!([])), None);
    assert_eq!(with("aud", json!(["weir", 1])), None);
    assert_eq!(with("exp", json!(NOW - 29)), Some(1));
    assert_eq!(with("exp", json!(NOW - 30)), None);
    assert_eq!(with("exp", json!(NOW as f64 + 1.5)), Some(31));
    assert_eq!(with("exp", json!("soon")), None);
    assert_eq!(with("exp", json!(-1)), None);
    assert!(with("exp", json!(u64::MAX)).is_some());
    for claim in ["nbf", "iat"] {
        assert_eq!(with(claim, json!(NOW + 30)), Some(90), "{claim}");
        assert_eq!(with(claim, json!(NOW + 31)), None, "{claim}");
        assert_eq!(with(claim, json!("now")), None, "{claim}");
    }
}

#[test]
fn keys_for_other_things_are_left_out() {
    let whole = Signer::es256().jwk("1");
    assert!(PublicKey::of_jwk(&whole).is_some());
    for (name, value) in [
        ("use", json!("enc")),
        ("kty", json!("oct")),
        ("crv", json!("P-384")),
        ("alg", json!("ES384")),
        ("x", json!("AA")),
        ("y", json!(null)),
    ] {
        let mut jwk = whole.clone();
        jwk[name] = value;
        assert!(PublicKey::of_jwk(&jwk).is_none(), "{name}");
    }
    assert!(PublicKey::of_jwk(&json!({"kty": "oct", "k": "c2VjcmV0"})).is_none());
}

#[test]
fn claims_are_found_by_path() {
    let claims = json!({
        "groups": ["dev", 1, "ops"], "tenant": "shop", "realm_access": {"roles": ["admin"]}, "https://x.org/groups": ["a"],
    });
    let claims = claims.as_object().unwrap();
    assert_eq!(texts(claims, "groups"), ["dev", "ops"]);
    assert_eq!(texts(claims, "tenant"), ["shop"]);
    assert_eq!(texts(claims, "realm_access.roles"), ["admin"]);
    assert_eq!(texts(claims, "https://x.org/groups"), ["a"]);
    assert!(texts(claims, "realm_access").is_empty() && texts(claims, "groups.dev").is_empty() && texts(claims, "").is_empty());
}
