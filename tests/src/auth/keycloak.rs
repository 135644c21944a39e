//! A real Keycloak as OpenID Connect issuer: grants, audiences, ends, a terminal's sign-in, and keys that come and go.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use weir_methods::{AuthConfig, Authenticator, MethodName};

use super::{ask_bearer, device, fetched, known, refusal};
use crate::process::Process;
use crate::weir::{eventually, free_port};

pub(super) struct Keycloak {
    process: Process,
    pub url: String,
    pub http: reqwest::Client,
}

impl Keycloak {
    async fn start(folder: &std::path::Path) -> Self {
        let (server, port) = (fetched("keycloak").join("server"), free_port());
        // What kc.sh would start beside itself; C1 alone and the simple collector halve what a start takes.
        let arguments = [
            "KC_BOOTSTRAP_ADMIN_USERNAME=admin".to_owned(),
            "KC_BOOTSTRAP_ADMIN_PASSWORD=admin-pw".to_owned(),
            "java".to_owned(),
            "-Xmx512m".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-XX:+UseSerialGC".to_owned(),
            format!("-Dkc.home.dir={}", server.display()),
            "-Djava.util.logging.manager=org.jboss.logmanager.LogManager".to_owned(),
            "-cp".to_owned(),
            server.join("lib/quarkus-run.jar").display().to_string(),
            "io.quarkus.bootstrap.runner.QuarkusEntryPoint".to_owned(),
            "start".to_owned(),
            "--optimized".to_owned(),
            "--cache=local".to_owned(),
            "--http-enabled=true".to_owned(),
            "--hostname-strict=false".to_owned(),
            "--http-host=127.0.0.1".to_owned(),
            format!("--http-port={port}"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (process, url) = (Process::start(folder, "env", &arguments), format!("http://127.0.0.1:{port}"));
        let mut keycloak = Self { process, url, http: weir_tls::client() };
        let discovery = format!("{}/realms/master/.well-known/openid-configuration", keycloak.url);
        keycloak.process.wait_for(&discovery).await;
        keycloak.administrate(Method::POST, "", &realm()).await;
        keycloak
    }

    pub fn issuer(&self) -> String {
        format!("{}/realms/weir", self.url)
    }

    async fn grant(&self, realm: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}/realms/{realm}/protocol/openid-connect/token", self.url);
        let answer = self.http.post(url).form(form).send().await.expect("Keycloak answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Tokens of alice, as a client gets them for her password.
    async fn sign_in(&self, client: &str) -> Value {
        let secret = format!("{client}-secret");
        let client = [("grant_type", "password"), ("client_id", client), ("client_secret", &secret)];
        self.grant("weir", &[&client[..], &[("username", "alice"), ("password", "alice-pw")]].concat()).await
    }

    async fn token(&self, client: &str) -> String {
        access_token(&self.sign_in(client).await)
    }

    /// Below `/admin/realms`; where what was made lies. An administrator's token lives for a minute, so each has its own.
    pub async fn administrate(&self, method: Method, path: &str, body: &Value) -> String {
        let form = [("grant_type", "password"), ("client_id", "admin-cli"), ("username", "admin"), ("password", "admin-pw")];
        let token = access_token(&self.grant("master", &form).await);
        let request = self.http.request(method, format!("{}/admin/realms{path}", self.url)).bearer_auth(token).json(body);
        let answer = request.send().await.expect("Keycloak answers");
        let location = answer.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {text}");
        location.unwrap_or_default()
    }

    /// Makes a key and signs with it from now on. Its id.
    async fn rotate(&self, provider: &str, algorithm: &str, config: Value) -> String {
        let mut config = config;
        config["priority"] = json!(["200"]);
        let key = json!({
            "name": algorithm, "providerId": provider, "providerType": "org.keycloak.keys.KeyProvider", "config": config,
        });
        let location = self.administrate(Method::POST, "/weir/components", &key).await;
        self.administrate(Method::PUT, "/weir", &json!({"defaultSignatureAlgorithm": algorithm})).await;
        location.rsplit('/').next().expect("an id").to_owned()
    }

    fn authenticator(&self, change: impl FnOnce(&mut AuthConfig)) -> Authenticator {
        let mut config =
            AuthConfig { methods: vec![MethodName::Oidc], cache_ttl: Duration::from_millis(1), ..AuthConfig::default() };
        (config.oidc.issuer_url, config.oidc.client_id) = (self.issuer(), "weir".into());
        (config.oidc.username_claim, config.oidc.groups_claim) = ("preferred_username".into(), "realm_access.roles".into());
        (config.oidc.tenants_claim, config.oidc.clock_skew) = ("tenants".into(), Duration::ZERO);
        change(&mut config);
        Authenticator::start(&config).expect("start")
    }
}

fn access_token(grant: &Value) -> String {
    grant["access_token"].as_str().expect("an access token").to_owned()
}

/// Alice of two tenants; clients whose tokens are for weir, for nobody in particular, and soon over.
fn realm() -> Value {
    let audience = json!({
        "name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
        "config": {"included.client.audience": "weir", "access.token.claim": "true"},
    });
    let tenants = json!({
        "name": "tenants", "protocol": "openid-connect", "protocolMapper": "oidc-usermodel-attribute-mapper",
        "config": {
            "user.attribute": "tenant", "claim.name": "tenants", "multivalued": "true", "jsonType.label": "String",
            "access.token.claim": "true",
        },
    });
    let client = |name: &str, mappers: Value, seconds: &str| {
        json!({
            "clientId": name, "secret": format!("{name}-secret"), "directAccessGrantsEnabled": true, "serviceAccountsEnabled": true,
            "attributes": {"access.token.lifespan": seconds}, "protocolMappers": mappers,
        })
    };
    json!({
        "realm": "weir", "enabled": true, "roles": {"realm": [{"name": "reader"}]},
        "users": [{
            "username": "alice", "enabled": true, "email": "alice@example.org", "firstName": "Alice", "lastName": "Example",
            "attributes": {"tenant": ["shop", "bank"]}, "realmRoles": ["reader"],
            "credentials": [{"type": "password", "value": "alice-pw", "temporary": false}],
        }],
        "clients": [
            client("weir", json!([audience, tenants]), "600"),
            client("other", json!([]), "600"),
            client("brief", json!([audience]), "2"),
            device::client(),
        ],
        "oauth2DevicePollingInterval": 1,
    })
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().expect("a header");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn tokens_of_a_real_keycloak() {
    let folder = tempfile::tempdir().unwrap();
    let keycloak = Keycloak::start(folder.path()).await;
    let authenticator = keycloak.authenticator(|_| ());
    let first = grants_and_audiences(&keycloak, &authenticator).await;
    ends(&keycloak, &authenticator).await;
    device::signs_in(&keycloak, folder.path()).await;
    let last = rotations(&keycloak, &authenticator, &first).await;

    // Gone: known keys count on, unknown ones are undecided once the issuer is asked again.
    let (_, rest) = last.split_once('.').unwrap();
    let unknown = URL_SAFE_NO_PAD.encode(json!({"alg": "EdDSA", "kid": "unknown", "typ": "JWT"}).to_string());
    let unknown = format!("{unknown}.{rest}");
    drop(keycloak);
    eventually("an unknown key is undecided", async || match refusal(&authenticator, &unknown).await {
        503 => Ok(()),
        other => Err(format!("status {other}")),
    })
    .await;
    assert_eq!(known(&authenticator, &last).await.name, "alice");
}

/// Alice's token.
async fn grants_and_audiences(keycloak: &Keycloak, authenticator: &Authenticator) -> String {
    let grant = keycloak.sign_in("weir").await;
    let token = access_token(&grant);
    let alice = known(authenticator, &token).await;
    assert_eq!((alice.name.as_str(), &alice.groups[..]), ("alice", &["reader".to_owned()][..]));
    let tenants = alice.tenants.expect("they are claimed");
    assert!(tenants.len() == 2 && ["shop", "bank"].iter().all(|tenant| tenants.contains(&(*tenant).into())), "{tenants:?}");

    let client = [("grant_type", "client_credentials"), ("client_id", "weir"), ("client_secret", "weir-secret")];
    let machine = known(authenticator, &access_token(&keycloak.grant("weir", &client).await)).await;
    assert_eq!((machine.name.as_str(), machine.tenants), ("service-account-weir", Some(vec![])));

    assert_eq!(refusal(authenticator, &keycloak.token("other").await).await, 401, "another audience");
    let refresh = grant["refresh_token"].as_str().expect("a refresh token");
    assert_eq!(header(refresh)["alg"], "HS512");
    assert_eq!(refusal(authenticator, refresh).await, 401, "a refresh token");
    let (message, _) = token.rsplit_once('.').unwrap();
    let other = keycloak.token("weir").await;
    let (_, signature) = other.rsplit_once('.').unwrap();
    assert_eq!(refusal(authenticator, &format!("{message}.{signature}")).await, 401, "another token's signature");
    let elsewhere = keycloak.authenticator(|config| config.oidc.issuer_url = format!("{}/realms/master", keycloak.url));
    assert_eq!(refusal(&elsewhere, &token).await, 401, "another realm's issuer");
    token
}

async fn ends(keycloak: &Keycloak, authenticator: &Authenticator) {
    let token = keycloak.token("brief").await;
    eventually("the token ends", async || match ask_bearer(authenticator, &token).await {
        Err(denied) if denied.status() == 401 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // Its end was the reason: for who allows clocks an hour of difference it is right.
    let lenient = keycloak.authenticator(|config| config.oidc.clock_skew = Duration::from_secs(3600));
    assert_eq!(known(&lenient, &token).await.name, "alice");
}

/// Each kind of key in turn; the newest token.
async fn rotations(keycloak: &Keycloak, authenticator: &Authenticator, first: &str) -> String {
    let second = keycloak.rotate("rsa-generated", "RS256", json!({"algorithm": ["RS256"]})).await;
    let by_second = keycloak.token("weir").await;
    assert_ne!(header(&by_second)["kid"], header(first)["kid"]);
    becomes_known(authenticator, &by_second).await;
    known(authenticator, first).await;
    keycloak.administrate(Method::DELETE, &format!("/weir/components/{second}"), &Value::Null).await;
    let mut last = by_second.clone();
    for (provider, algorithm, config) in [
        ("rsa-generated", "PS256", json!({"algorithm": ["PS256"]})),
        ("ecdsa-generated", "ES256", json!({"ecdsaEllipticCurveKey": ["P-256"]})),
        ("eddsa-generated", "EdDSA", json!({"eddsaEllipticCurveKey": ["Ed25519"]})),
    ] {
        keycloak.rotate(provider, algorithm, config).await;
        last = keycloak.token("weir").await;
        assert_eq!(header(&last)["alg"], algorithm);
        becomes_known(authenticator, &last).await;
        known(authenticator, first).await;
    }
    assert_eq!(refusal(authenticator, &by_second).await, 401, "its key was withdrawn");
    last
}

/// The issuer is asked for new keys at most every few seconds.
async fn becomes_known(authenticator: &Authenticator, token: &str) {
    eventually("a new key is found", async || match ask_bearer(authenticator, token).await {
        Ok(Some(principal)) if principal.name == "alice" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
