//! What `weir login` keeps: where weirs are, and the credentials for each, in a file that its owner alone can read. Credentials go to
//! the address of their profile and nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use weir_access::TENANT_HEADER;
use weir_tls::ClientTls;

use super::device::DeviceSession;
use crate::Failure;

/// A token or a password, which no message shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("(secret)")
    }
}

/// One weir, and how to ask it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Profile {
    /// As it was typed.
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Where the token comes from, if an issuer gave it to this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceSession>,
    #[serde(skip_serializing_if = "is_default")]
    pub tls: ClientTls,
}

fn is_default(tls: &ClientTls) -> bool {
    *tls == ClientTls::default()
}

impl Profile {
    /// Errors with what cannot stand in a header.
    pub fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        let credentials = match (&self.token, &self.user) {
            (Some(Secret(token)), _) => Some(("the token", format!("Bearer {token}"))),
            (None, Some(user)) => {
                let Secret(password) = self.password.clone().unwrap_or(Secret(String::new()));
                Some(("the user", format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))))
            }
            (None, None) => None,
        };
        if let Some((what, text)) = credentials {
            let mut value = header(what, &text)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(tenant) = &self.tenant {
            headers.insert(HeaderName::from_static(TENANT_HEADER), header("the tenant", tenant)?);
        }
        Ok(headers)
    }

    pub fn has_credentials(&self) -> bool {
        self.token.is_some() || self.user.is_some()
    }
}

fn header(what: &str, text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| Failure::input(format!("{what} has letters that no header can carry")))
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Profiles {
    /// The one that is used where none is named; empty when it was signed out of.
    pub current: String,
    pub profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// `$XDG_CONFIG_HOME/weir/profiles.toml`, or below `~/.config`.
    pub fn path() -> Result<PathBuf, Failure> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
        let folder = folder.ok_or_else(|| Failure::input("neither XDG_CONFIG_HOME nor HOME says where profiles are kept"))?;
        Ok(folder.join("weir/profiles.toml"))
    }

    /// Empty where there is no file. Errors where others can read it, and where it is none of weir's.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: &dyn fmt::Display| Failure::input(format!("{}: {error}", path.display()));
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(wrong(&error)),
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(wrong(&format!("others can read this file, which has credentials: chmod 600 {}", path.display())));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        // The whole error would show the line, and with it what is secret.
        toml::from_str(&text).map_err(|error| wrong(&error.message()))
    }

    /// Changes the file; one process at a time does, and the others wait for it. What `change` has changed is kept also where it errors.
    pub async fn change<T>(path: &Path, change: impl AsyncFnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let lock = path.with_extension("lock");
        let wrong = |error: std::io::Error| Failure::failed(format!("{}: {error}", lock.display()));
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(wrong)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(wrong)?;
        file.lock().map_err(wrong)?;
        let before = Self::read(path)?;
        let mut profiles = before.clone();
        let outcome = change(&mut profiles).await;
        if profiles != before {
            profiles.write(path)?;
        }
        outcome
    }

    /// Replaces the file, readable by its owner alone from its first byte on.
    fn write(&self, path: &Path) -> Result<(), Failure> {
        let wrong = |error: &dyn fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
        let text = toml::to_string(self).map_err(|error| wrong(&error))?;
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let written = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        written().map_err(|error| {
            let _nothing_left = std::fs::remove_file(&new);
            wrong(&error)
        })
    }

    /// Errors with the names that there are.
    pub fn named(&self, name: &str) -> Result<&Profile, Failure> {
        self.profiles.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::input(format!("--profile {name:?}: there is no such profile (there is: {known}); `weir login` makes one"))
        })
    }

    pub fn current_name(&self) -> Option<&str> {
        self.profiles.contains_key(&self.current).then_some(self.current.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let tenant = Some("shop|bank".to_owned());
        Profile { url: "https://weir.example".into(), tenant, token: Some(Secret("geheim".into())), ..Profile::default() }
    }

    #[test]
    fn changes_at_once_lose_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir/profiles.toml");
        let change = |name: String| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let insert = async |profiles: &mut Profiles| Ok(profiles.profiles.insert(name, profile()));
            runtime.block_on(Profiles::change(&path, insert)).unwrap_or_else(|failure| panic!("{}", failure.message))
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let change = &change;
                scope.spawn(move || (0..4).for_each(|i| assert_eq!(change(format!("{thread}-{i}")), None)));
            }
        });
        assert_eq!(Profiles::read(&path).unwrap().profiles.len(), 16);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let failing = async |profiles: &mut Profiles| {
            profiles.current = "0-0".into();
            Err::<(), _>(Failure::failed("no"))
        };
        assert_eq!(runtime.block_on(Profiles::change(&path, failing)).unwrap_err().message, "no");
        assert_eq!(Profiles::read(&path).unwrap().current, "0-0");
    }

    #[test]
    fn a_file_is_its_owner_s_alone_and_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir/profiles.toml");
        assert_eq!(Profiles::read(&path).unwrap(), Profiles::default());
        let user = Profile { user: Some("ann".into()), password: Some(Secret("p:w".into())), ..Profile::default() };
        let kept = [("default".to_owned(), profile()), ("b".to_owned(), user)];
        let profiles = Profiles { current: "default".into(), profiles: kept.into_iter().collect() };
        std::fs::create_dir(folder.path().join("weir")).unwrap();
        for _ in 0..2 {
            profiles.write(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(Profiles::read(&path).unwrap(), profiles);
        }
        assert_eq!(std::fs::read_dir(folder.path().join("weir")).unwrap().count(), 1, "nothing beside it");
        assert_eq!(profiles.current_name(), Some("default"));
        let unknown = profiles.named("c").unwrap_err().message;
        assert!(unknown.contains("\"c\"") && unknown.contains("b, default"), "{unknown}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let open = Profiles::read(&path).unwrap_err().message;
        assert!(open.contains("chmod 600"), "{open}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "[profiles.a]\ntoken = \"geheim\" \"geheim\"\n").unwrap();
        let broken = Profiles::read(&path).unwrap_err().message;
        assert!(broken.contains("profiles.toml") && !broken.contains("geheim"), "{broken}");
    }

    #[test]
    fn credentials_are_headers_that_no_message_shows() {
        let headers = profile().headers().unwrap();
        assert_eq!(
            (&headers[AUTHORIZATION], &headers[TENANT_HEADER]),
            (&"Bearer geheim".parse().unwrap(), &"shop|bank".parse().unwrap())
        );
        assert!(headers[AUTHORIZATION].is_sensitive());
        let user = Profile { user: Some("ann".into()), password: Some(Secret("p:w".into())), ..Profile::default() };
        assert_eq!(user.headers().unwrap()[AUTHORIZATION], "Basic YW5uOnA6dw==");
        assert!(Profile::default().headers().unwrap().is_empty());
        let broken = Profile { token: Some(Secret("gehe\nim".into())), ..Profile::default() };
        let message = broken.headers().unwrap_err().message;
        for text in [message, format!("{:?} {broken:?} {headers:?}", profile())] {
            assert!(!text.contains("gehe"), "{text}");
        }
    }
}
