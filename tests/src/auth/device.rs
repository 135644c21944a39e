//! `weir login --device` at a weir whose issuer is a real Keycloak: approved, denied, refreshed and ended. Called by the test of
//! Keycloak, whose start takes long.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use regex::Regex;
use reqwest::Method;
use serde_json::{Value, json};

use super::keycloak::Keycloak;
use crate::process::{Process, run};
use crate::weir::{Weir, binary, eventually};

/// Terminals' client: public, with tokens that end so soon that each command asks for a new one. Its ID tokens have what weir reads.
pub(super) fn client() -> Value {
    let mapper = |name: &str, kind: &str, claim: &str| {
        json!({
            "name": name, "protocol": "openid-connect", "protocolMapper": kind,
            "config": {
                "user.attribute": "tenant", "claim.name": claim, "multivalued": "true", "jsonType.label": "String",
                "id.token.claim": "true",
            },
        })
    };
    json!({
        "clientId": "terminal", "publicClient": true,
        "attributes": {"oauth2.device.authorization.grant.enabled": "true", "access.token.lifespan": "5"},
        "protocolMappers": [
            mapper("tenants", "oidc-usermodel-attribute-mapper", "tenants"),
            mapper("roles", "oidc-usermodel-realm-role-mapper", "realm_access.roles"),
        ],
    })
}

/// A person at a terminal, and in a browser.
struct Person {
    folder: PathBuf,
    /// The issuer's origin, for what is relative to it.
    site: String,
}

impl Person {
    fn new(folder: &Path, name: &str, keycloak: &Keycloak) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self { folder, site: keycloak.url.clone() }
    }

    fn command(&self, words: &[&str]) -> Vec<String> {
        let home = format!("XDG_CONFIG_HOME={}", self.folder.display());
        let words = words.iter().map(|word| (*word).to_owned());
        [home, binary().display().to_string()].into_iter().chain(words).collect()
    }

    /// Begins to sign in: the process, and the page that it names.
    async fn login(&self, weir: &Weir) -> (Process, String) {
        let command = self.command(&["login", &weir.url(""), "--device"]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let process = Process::start(&self.folder, "env", &command);
        let page = eventually("a page is named", async || {
            let said = self.said();
            let page = said.lines().map(str::trim).find(|line| line.starts_with("http") && line.contains("user_code="));
            page.map(str::to_owned).ok_or(said.clone())
        })
        .await;
        (process, page)
    }

    /// What `login` has printed so far.
    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("env.log")).unwrap_or_default()
    }

    async fn is_told(&self, what: &str) {
        eventually(what, async || if self.said().contains(what) { Ok(()) } else { Err(self.said()) }).await;
    }

    fn run(&self, words: &[&str]) -> (bool, String) {
        let command = self.command(words);
        run("env", &command.iter().map(String::as_str).collect::<Vec<_>>(), b"")
    }

    fn profiles(&self) -> String {
        std::fs::read_to_string(self.folder.join("weir/profiles.toml")).unwrap_or_default()
    }

    /// A page, after what leads to it; with the cookies of this person.
    fn browse(&self, url: &str, form: &[(String, String)]) -> String {
        let jar = self.folder.join("jar").display().to_string();
        let mut arguments: Vec<String> = ["-sSL", "--fail", "-c", &jar, "-b", &jar, url].map(str::to_owned).to_vec();
        for (name, value) in form {
            arguments.extend(["--data-urlencode".to_owned(), format!("{name}={value}")]);
        }
        let (is_done, page) = run("curl", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), b"");
        assert!(is_done, "{url}: {page}");
        page
    }

    /// Sends the form of a page with what is typed into it.
    fn submit(&self, page: &str, typed: &[(&str, &str)]) -> String {
        let find = |pattern: &str, text: &str| {
            let found = Regex::new(pattern).expect("a pattern").captures(text).map(|found| found[1].replace("&amp;", "&"));
            found.unwrap_or_else(|| panic!("no {pattern} in {text}"))
        };
        let hidden = Regex::new(r#"<input[^>]*type="hidden"[^>]*>"#).expect("a pattern");
        let hidden = hidden.find_iter(page).map(|input| {
            let input = input.as_str();
            let value = if input.contains("value=") { find(r#"value="([^"]*)""#, input) } else { String::new() };
            (find(r#"name="([^"]*)""#, input), value)
        });
        let typed = typed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let action = find(r#"action="([^"]+)""#, page);
        let action = if action.starts_with('/') { format!("{}{action}", self.site) } else { action };
        self.browse(&action, &hidden.chain(typed).collect::<Vec<_>>())
    }
}

pub(super) async fn signs_in(keycloak: &Keycloak, folder: &Path) {
    let config = folder.join("weir.toml");
    let text = format!(
        "[auth]\nmethods = [\"oidc\"]\n[auth.oidc]\nissuer_url = \"{}\"\nclient_id = \"weir\"\ndevice_client_id = \"terminal\"\n\
         username_claim = \"preferred_username\"\ngroups_claim = \"realm_access.roles\"\ntenants_claim = \"tenants\"\n",
        keycloak.issuer()
    );
    std::fs::write(&config, text).expect("a configuration");
    let weir = Weir::start_with(&folder.join("data"), &["--no-node", "--config", &config.display().to_string()], &[]).await;
    slows_down(keycloak).await;

    let alice = Person::new(folder, "alice", keycloak);
    let (login, page) = alice.login(&weir).await;
    let consent = alice.submit(&alice.browse(&page, &[]), &[("username", "alice"), ("password", "alice-pw")]);
    assert_eq!(alice.profiles(), "", "nothing is kept before she agrees");
    alice.submit(&consent, &[("accept", "Yes")]);
    alice.is_told("alice (oidc)").await;
    drop(login);
    let said = alice.said();
    assert!(said.contains("groups   reader") && said.contains("shop"), "{said}");
    let mode = std::fs::metadata(alice.folder.join("weir/profiles.toml")).expect("it is kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Her token has ended, or is about to: another is asked for, kept and used.
    let first = alice.profiles();
    let (is_known, said) = alice.run(&["whoami"]);
    assert!(is_known && said.contains("alice (oidc)"), "{said}");
    let second = alice.profiles();
    let token = |profiles: &str| profiles.lines().find(|line| line.starts_with("token = ")).expect("a token").to_owned();
    assert_ne!(token(&first), token(&second));
    assert!(!said.contains(token(&second).trim_start_matches("token = ").trim_matches('"')), "{said}");

    let (_login, page) = alice.login(&weir).await;
    alice.submit(&alice.browse(&page, &[]), &[("cancel", "No")]);
    alice.is_told("access_denied").await;
    assert_eq!(alice.profiles(), second, "what she had is left");

    keycloak.administrate(Method::POST, "/weir/logout-all", &json!({})).await;
    let (is_known, said) = alice.run(&["whoami"]);
    assert!(!is_known && said.contains("has ended this sign-in (invalid_grant)") && said.contains("--device"), "{said}");

    let without = Person::new(folder, "without", keycloak);
    let stranger = Weir::start(&folder.join("other")).await;
    let (is_known, said) = without.run(&["login", &stranger.url(""), "--device"]);
    assert!(!is_known && said.contains("device_client_id"), "{said}");
}

/// What the client's rule is made for: who asks too often is told so.
async fn slows_down(keycloak: &Keycloak) {
    let post = async |path: &str, form: &[(&str, &str)]| -> Value {
        let url = format!("{}/protocol/openid-connect/{path}", keycloak.issuer());
        keycloak.http.post(url).form(form).send().await.expect("Keycloak answers").json().await.expect("JSON")
    };
    let begun = post("auth/device", &[("client_id", "terminal"), ("scope", "openid")]).await;
    let code = begun["device_code"].as_str().expect("a code");
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let mut said = Vec::new();
    for _ in 0..2 {
        let answer = post("token", &[("client_id", "terminal"), ("grant_type", grant), ("device_code", code)]).await;
        said.push(answer["error"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(said.last().map(String::as_str), Some("slow_down"), "{said:?}");
}
