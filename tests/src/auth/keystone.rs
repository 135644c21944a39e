//! A real Keystone: tokens that are right, unknown, revoked, without a project; the project as tenant.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use weir_methods::{AuthConfig, Authenticator, KeystoneConfig, MethodName, TenantName};

use super::{ask, ask_bearer, fetched, known, refusal};
use crate::process::Process;
use crate::weir::{eventually, free_port};

struct Keystone {
    process: Process,
    url: String,
    http: reqwest::Client,
    /// An administrator's.
    token: String,
}

impl Keystone {
    async fn start(folder: &Path) -> Self {
        let (cache, port) = (fetched("keystone"), free_port());
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("keystone");
        let state = folder.join("state");
        let copied = std::process::Command::new("cp").arg("-r").arg(cache.join("state")).arg(&state).status();
        assert!(copied.is_ok_and(|copied| copied.success()), "Keystone's state cannot be copied");
        let configuration = std::fs::read_to_string(own.join("keystone.conf")).unwrap();
        std::fs::write(state.join("keystone.conf"), configuration.replace("@FOLDER@", &state.display().to_string())).unwrap();
        let (python, serve) = (cache.join("bin/python"), own.join("serve.py"));
        let (python, serve) = (python.display().to_string(), serve.display().to_string());
        let arguments = [python.as_str(), serve.as_str(), &port.to_string(), &state.display().to_string()];
        let (process, url) = (Process::start(folder, "env", &arguments), format!("http://127.0.0.1:{port}"));
        let mut keystone = Self { process, url, http: weir_tls::client(), token: String::new() };
        let versions = format!("{}/v3", keystone.url);
        keystone.process.wait_for(&versions).await;
        keystone.token = keystone.sign_in("admin", "admin-pw", Some("admin")).await;
        keystone
    }

    /// A token by password, scoped to a project or not at all.
    async fn sign_in(&self, user: &str, password: &str, project: Option<&str>) -> String {
        let domain = json!({"name": "Default"});
        let user = json!({"name": user, "domain": domain, "password": password});
        let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": user}}});
        match project {
            Some(project) => auth["scope"] = json!({"project": {"name": project, "domain": domain}}),
            None => auth["scope"] = json!("unscoped"),
        }
        let request = self.http.post(format!("{}/v3/auth/tokens", self.url)).json(&json!({"auth": auth}));
        let answer = request.send().await.expect("Keystone answers");
        assert_eq!(answer.status(), 201);
        answer.headers()["x-subject-token"].to_str().unwrap().to_owned()
    }

    async fn administrate(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let request = self.http.request(method, format!("{}/v3/{path}", self.url)).header("x-auth-token", &self.token);
        let request = if let Some(body) = body { request.json(body) } else { request };
        let answer = request.send().await.expect("Keystone answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A project of the default domain, and a user with a role in it. The ids of both.
    async fn create(&self, project: &str, user: &str, password: &str, role: &str) -> [String; 2] {
        let id = |made: &Value| made["id"].as_str().expect("an id").to_owned();
        let body = json!({"project": {"name": project, "domain_id": "default"}});
        let project = id(&self.administrate(Method::POST, "projects", Some(&body)).await["project"]);
        let body = json!({"user": {"name": user, "domain_id": "default", "password": password}});
        let user = id(&self.administrate(Method::POST, "users", Some(&body)).await["user"]);
        let role = id(&self.administrate(Method::GET, &format!("roles?name={role}"), None).await["roles"][0]);
        self.administrate(Method::PUT, &format!("projects/{project}/users/{user}/roles/{role}"), None).await;
        [project, user]
    }

    async fn revoke(&self, token: &str) {
        let request = self.http.delete(format!("{}/v3/auth/tokens", self.url));
        let request = request.header("x-auth-token", &self.token).header("x-subject-token", token);
        assert_eq!(request.send().await.expect("Keystone answers").status(), 204);
    }

    fn authenticator(&self, password_file: &Path, cache_ttl: Duration, tenant: TenantName) -> Authenticator {
        let keystone = KeystoneConfig {
            url: self.url.clone(),
            user: "weir".into(),
            password_file: password_file.to_owned(),
            tenant,
            ..KeystoneConfig::default()
        };
        let config = AuthConfig { methods: vec![MethodName::Keystone], cache_ttl, keystone, ..AuthConfig::default() };
        Authenticator::start(&config).expect("start")
    }
}

#[tokio::test]
async fn tokens_of_a_real_keystone() {
    let folder = tempfile::tempdir().unwrap();
    let keystone = Keystone::start(folder.path()).await;
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "weir-pw\n").unwrap();
    // The role that Keystone's policy has for services: it may validate tokens and little else.
    keystone.create("service", "weir", "weir-pw", "service").await;
    let [project, user] = keystone.create("shop", "alice", "alice-pw", "reader").await;
    let authenticator = keystone.authenticator(&password_file, Duration::from_millis(1), TenantName::Id);
    let caching = keystone.authenticator(&password_file, Duration::from_secs(3600), TenantName::Name);

    let token = keystone.sign_in("alice", "alice-pw", Some("shop")).await;
    let alice = known(&authenticator, &token).await;
    assert_eq!((alice.name.as_str(), alice.uid, alice.tenants), ("alice", user, Some(vec![project.as_str().into()])));
    assert_eq!(alice.groups, ["reader"]);
    let by_header = ask(&authenticator, "x-auth-token", &token).await.unwrap().expect("alice is known");
    assert_eq!(by_header.name, "alice");
    assert_eq!(known(&caching, &token).await.tenants, Some(vec!["shop".into()]));

    let unscoped = keystone.sign_in("alice", "alice-pw", None).await;
    assert_eq!(known(&authenticator, &unscoped).await.tenants, Some(vec![]));

    let unknown = ask(&authenticator, "x-auth-token", "gAAAAABunknown").await.unwrap_err();
    assert_eq!(unknown.status(), 401);
    assert_eq!(refusal(&authenticator, "gAAAAABunknown").await, 401);

    // What is cached counts on for its time, as the documentation says.
    keystone.revoke(&token).await;
    eventually("a revoked token is refused", async || match ask_bearer(&authenticator, &token).await {
        Err(denied) if denied.status() == 401 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(known(&caching, &token).await.name, "alice");
    drop(keystone);
    assert_eq!(refusal(&authenticator, &unscoped).await, 503);
}
