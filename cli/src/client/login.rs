//! `weir login`, `logout` and `whoami`.

use std::io::{Read, stdin};
use std::path::Path;

use serde_json::Value;
use weir_tls::ClientTls;

use super::address::Address;
use super::print::{self, text};
use super::profile::{Profile, Profiles, Secret};
use super::{device, http};
use crate::args::{LoginArguments, LogoutArguments, Output, ServerArguments};
use crate::text::safe;
use crate::{Failure, stdout};

const WHOAMI_PATH: &str = "/api/weir/v1/whoami";
/// A token with many groups is a few kilobytes, and a header's limit 128.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Keeps the credentials once weir has taken them.
pub(crate) async fn login(arguments: &LoginArguments) -> Result<(), Failure> {
    let path = Profiles::path()?;
    let mut profile = Profile {
        url: arguments.url.clone(),
        tenant: arguments.tenant.clone(),
        token: arguments.token_file.as_deref().map(|file| secret("--token-file", file)).transpose()?,
        user: arguments.user.clone(),
        password: password(arguments)?,
        tls: arguments.tls.over(ClientTls::default()).map_err(Failure::input)?,
        device: None,
    };
    if arguments.device {
        check_way(&Address::of_profile(&profile)?, arguments.allow_plaintext)?;
        device::sign_in(&mut profile, arguments.issuer_ca_file.as_deref().unwrap_or(Path::new(""))).await?;
    }
    let said = sign_in(&profile, arguments.allow_plaintext).await?;
    Profiles::change(&path, async |profiles| {
        profiles.profiles.insert(arguments.profile.clone(), profile);
        profiles.current.clone_from(&arguments.profile);
        Ok(())
    })
    .await?;
    stdout::write(&described(&said)).map(drop)
}

/// What weir says of who asks with this.
async fn sign_in(profile: &Profile, allow_plaintext: bool) -> Result<Value, Failure> {
    let address = Address::of_profile(profile)?;
    if profile.has_credentials() {
        check_way(&address, allow_plaintext)?;
    }
    Ok(http::get(&address, WHOAMI_PATH, &[]).await?.body)
}

fn check_way(address: &Address, allow_plaintext: bool) -> Result<(), Failure> {
    if address.is_plain() && !allow_plaintext {
        return Err(Failure::input(format!(
            "{address} is http:// on another machine: whoever is on the way could read the credentials. Ask an https:// address, or \
             say --allow-plaintext"
        )));
    }
    Ok(())
}

fn password(arguments: &LoginArguments) -> Result<Option<Secret>, Failure> {
    match (&arguments.user, &arguments.password_file) {
        (None, _) => Ok(None),
        (Some(_), Some(file)) => secret("--password-file", file).map(Some),
        (Some(user), None) => {
            let prompt = format!("Password of {}: ", safe::line(user));
            let asked = rpassword::prompt_password(prompt);
            let asked = asked.map_err(|error| Failure::input(format!("no password ({error}): say --password-file FILE")))?;
            Ok(Some(Secret(asked)))
        }
    }
}

/// The first line of a file, or of stdin.
fn secret(option: &str, file: &Path) -> Result<Secret, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::input(format!("{option} {}: {error}", file.display()));
    let mut read = String::new();
    let taken = if file == Path::new("-") {
        stdin().take(SECRET_BYTES_MAX).read_to_string(&mut read)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut read))
    };
    taken.map_err(|error| wrong(&error))?;
    match read.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(Secret(line.to_owned())),
        _ => Err(wrong(&"its first line is empty")),
    }
}

/// Forgets a profile's credentials.
pub(crate) async fn logout(arguments: &LogoutArguments) -> Result<(), Failure> {
    let name = Profiles::change(&Profiles::path()?, async |profiles| {
        let name = arguments.profile.clone().unwrap_or_else(|| profiles.current.clone());
        if name.is_empty() {
            return Err(Failure::input("nobody is signed in"));
        }
        profiles.named(&name)?;
        profiles.profiles.remove(&name);
        if profiles.current == name {
            profiles.current.clear();
        }
        Ok(name)
    })
    .await?;
    stdout::line(&format!("signed out of {}", safe::line(&name)))
}

pub(crate) async fn whoami(server: &ServerArguments) -> Result<(), Failure> {
    let answer = http::get(&Address::of(server).await?, WHOAMI_PATH, &[]).await?;
    match server.output {
        Output::Text => stdout::write(&described(&answer.body)).map(drop),
        Output::Json | Output::Ndjson => print::rows(std::slice::from_ref(&answer.body), &answer, server.output, String::new),
    }
}

/// Name, groups, tenants and rights, a line each.
fn described(said: &Value) -> String {
    let list = |value: &Value| {
        let words: Vec<&str> = value.as_array().into_iter().flatten().map(text).collect();
        if words.is_empty() { "none".to_owned() } else { safe::line(&words.join(", ")).into_owned() }
    };
    let own = if said["tenants"].is_array() { list(&said["tenants"]) } else { "any".to_owned() };
    let mut lines = format!("{} ({})\n", safe::line(text(&said["name"])), safe::line(text(&said["method"])));
    let mut row = |name: &str, value: &str| lines.push_str(&format!("  {name:<8} {value}\n"));
    row("groups", &list(&said["groups"]));
    row("tenants", &own);
    row("asks for", &list(&said["scope"]));
    for telemetry in ["logs", "metrics", "traces"] {
        row(telemetry, &list(&said["verbs"][telemetry]));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn who_one_is_is_said_in_words() {
        let said = json!({"name": "ann\u{1b}[31m", "method": "tokens", "groups": ["dev", "ops"], "tenants": null, "scope": ["shop"],
            "verbs": {"logs": ["read", "tail"], "metrics": [], "traces": ["read"]}, "admin": false});
        let expected = "ann\\x1b[31m (tokens)\n  groups   dev, ops\n  tenants  any\n  asks for shop\n  \
                        logs     read, tail\n  metrics  none\n  traces   read\n";
        assert_eq!(described(&said), expected);
    }

    #[tokio::test]
    async fn credentials_go_with_the_question_and_not_in_the_clear_to_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let asked = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                socket.read_exact(&mut byte).await.unwrap();
                head.extend_from_slice(&byte);
            }
            let body = "{\"error\":\"who is that?\"}";
            let answer = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        let token = Some(Secret("geheim".into()));
        let mut profile = Profile { url, tenant: Some("shop".into()), token, ..Profile::default() };
        let refused = sign_in(&profile, false).await.unwrap_err();
        assert!(refused.message.contains("who is that?") && refused.message.contains("weir login"), "{}", refused.message);
        let head = asked.await.unwrap();
        assert!(head.starts_with("GET /api/weir/v1/whoami "), "{head}");
        assert!(head.contains("authorization: Bearer geheim\r\n") && head.contains("x-scope-orgid: shop\r\n"), "{head}");
        profile.url = "http://weir.example:9640".into();
        let refused = sign_in(&profile, false).await.unwrap_err();
        assert!(refused.message.contains("--allow-plaintext") && !refused.message.contains("geheim"), "{}", refused.message);
        assert_eq!(refused.code, 2);
    }

    #[test]
    fn a_secret_is_the_first_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "  geheim \nmore\n").unwrap();
        assert_eq!(secret("--token-file", &path).unwrap(), Secret("geheim".into()));
        std::fs::write(&path, "\ngeheim\n").unwrap();
        let empty = secret("--token-file", &path).unwrap_err().message;
        assert!(empty.contains("--token-file") && empty.contains("first line") && !empty.contains("geheim"), "{empty}");
    }
}
