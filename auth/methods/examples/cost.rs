//! What it costs to know who asks, a line for each kind of request: `cargo run --release -p weir-methods --example cost`.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use axum::http::Request;
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use weir_access::Peer;
use weir_methods::{AuthConfig, Authenticator, MethodName};

const REQUESTS: usize = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let issuer = Issuer::start().await?;
    let mut config = AuthConfig {
        methods: vec![MethodName::Tokens, MethodName::Basic, MethodName::Oidc],
        tokens_file: folder.path().join("tokens.csv"),
        basic_file: folder.path().join("htpasswd"),
        ..AuthConfig::default()
    };
    (config.oidc.issuer_url, config.oidc.client_id) = (issuer.url.clone(), "weir".into());
    let tokens: String = (0..1000).map(|number| format!("token-{number},user-{number},{number},\"a,b\"\n")).collect();
    std::fs::write(&config.tokens_file, tokens)?;
    std::fs::write(&config.basic_file, format!("alice:{}\n", bcrypt::hash("secret", 10)?))?;
    let authenticator = Authenticator::start(&config)?;
    let bearer = |token: &str| format!("Bearer {token}");
    let password = format!("Basic {}", STANDARD.encode("alice:secret"));
    measure(&authenticator, "no credentials", &[None]).await?;
    measure(&authenticator, "a static token of 1000", &[Some(bearer("token-500"))]).await?;
    measure(&authenticator, "an unknown token", &[Some(bearer("nobody"))]).await?;
    measure(&authenticator, "a password that is known", &[Some(password)]).await?;
    measure(&authenticator, "a JWT that is known", &[Some(bearer(&issuer.token(0)?))]).await?;
    let fresh = (1..=2000).map(|number| issuer.token(number).map(|token| Some(bearer(&token))));
    measure(&authenticator, "a JWT (ES256) that is new", &fresh.collect::<Result<Vec<_>, _>>()?).await
}

/// Each of `headers` in turn; where there is one, it is tried before.
async fn measure(authenticator: &Authenticator, what: &str, headers: &[Option<String>]) -> Result<(), Box<dyn Error>> {
    let peer = Peer { address: ([127, 0, 0, 1], 1).into(), certificates: [].into(), is_tls: false };
    let heads = headers.iter().map(|header| head(header.as_deref())).collect::<Result<Vec<Parts>, _>>()?;
    let rounds = if let [only] = &heads[..] {
        black_box(authenticator.authenticate(only, &peer).await.is_ok());
        REQUESTS
    } else {
        heads.len()
    };
    let mut nanos = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let begun = Instant::now();
        black_box(authenticator.authenticate(&heads[round % heads.len()], &peer).await.is_ok());
        nanos.push(begun.elapsed().as_nanos());
    }
    nanos.sort_unstable();
    println!("{what:28} median {:7} ns, p99 {:7} ns", nanos[rounds / 2], nanos[rounds * 99 / 100]);
    Ok(())
}

fn head(authorization: Option<&str>) -> Result<Parts, axum::http::Error> {
    let mut request = Request::get("/api/v1/query?query=up").header("host", "127.0.0.1:9640").header("accept", "*/*");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    Ok(request.body(())?.into_parts().0)
}

struct Issuer {
    url: String,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Issuer {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let random = SystemRandom::new();
        let unspecified = |_| "no key could be made";
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(unspecified)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = pair.public_key().as_ref();
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": text(&point[1..33]), "y": text(&point[33..])});
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(discovery)))
            .route("/keys", get(async move || Json(json!({"keys": [key]}))));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { url, pair, random })
    }

    fn token(&self, number: u32) -> Result<String, Box<dyn Error>> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)? + Duration::from_secs(600);
        let claims =
            json!({"iss": self.url, "aud": "weir", "sub": "alice", "jti": number, "exp": end.as_secs(), "groups": ["a", "b"]});
        let message = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "1", "typ": "JWT"})), part(&claims));
        let signature = self.pair.sign(&self.random, message.as_bytes()).map_err(|_| "signing failed")?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
