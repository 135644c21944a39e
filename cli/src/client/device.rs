//! `weir login --device`: signing in at the issuer that weir names, in a browser anywhere, and new tokens when the old ones end.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use weir_methods::device::{DeviceError, DeviceFlow, DeviceOffer, Pending, Tokens};

use super::address::Address;
use super::http;
use super::profile::{Profile, Profiles, Secret};
use crate::Failure;
use crate::text::safe;

const METHODS_PATH: &str = "/api/weir/v1/session/methods";
/// A token that ends within so long is replaced: clocks differ by as much (`auth.oidc.clock_skew`).
const RENEW_SECONDS: u64 = 30;

/// What is kept of such a sign-in beside its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceSession {
    issuer: String,
    client_id: String,
    /// Authorities of the issuer's certificate; the machine's where it is empty.
    #[serde(default, skip_serializing_if = "is_empty")]
    ca_file: PathBuf,
    /// When the profile's token ends, in Unix seconds.
    ends: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Secret>,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// Signs in and puts what the issuer gives into the profile. What a person has to do goes to stderr.
pub(super) async fn sign_in(profile: &mut Profile, issuer_ca_file: &Path) -> Result<(), Failure> {
    let address = Address::of_profile(profile)?;
    let methods = http::get(&address, METHODS_PATH, &[]).await?.body;
    let offer: DeviceOffer = serde_json::from_value(methods["device"].clone()).map_err(|_| {
        Failure::failed(format!("{address} offers no sign-in with --device: its [auth.oidc] has no device_client_id"))
    })?;
    let flow = DeviceFlow::discover(&offer.issuer, &offer.client_id, issuer_ca_file).await.map_err(Failure::failed)?;
    let pending = flow.begin(&offer.scopes).await.map_err(Failure::failed)?;
    eprint!("{}", instructions(&pending));
    let tokens = flow.finish(&pending).await.map_err(Failure::failed)?;
    let (DeviceOffer { issuer, client_id, .. }, ca_file) = (offer, issuer_ca_file.to_owned());
    let session = DeviceSession { issuer, client_id, ca_file, ends: 0, refresh_token: None };
    keep(profile, session, tokens);
    Ok(())
}

fn instructions(pending: &Pending) -> String {
    let minutes = pending.lasts.as_secs().div_ceil(60);
    let code = safe::line(&pending.user_code);
    let mut text = format!("Enter the code {code} in any browser, within {minutes} min:\n  {}\n", pending.verification_url);
    if let Some(url) = &pending.complete_url {
        text.push_str(&format!("or open this, which has the code:\n  {url}\n"));
    }
    text
}

fn keep(profile: &mut Profile, session: DeviceSession, tokens: Tokens) {
    profile.token = Some(Secret(tokens.id_token));
    // An issuer that gives no other refresh token lets the old one be used again.
    let refresh_token = tokens.refresh_token.map(Secret).or(session.refresh_token);
    profile.device = Some(DeviceSession { ends: tokens.ends, refresh_token, ..session });
}

/// The profile of that name, with a token that goes on being good. One process at a time asks for a new one: an issuer may take a
/// refresh token once.
pub(super) async fn renewed(path: &Path, name: &str) -> Result<Profile, Failure> {
    let profile = Profiles::read(path)?.named(name)?.clone();
    if !is_due(&profile) {
        return Ok(profile);
    }
    let lock = path.with_extension("lock");
    let wrong = |error: std::io::Error| Failure::failed(format!("{}: {error}", lock.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(wrong)?;
    file.lock().map_err(wrong)?;
    let mut profiles = Profiles::read(path)?;
    let mut profile = profiles.named(name)?.clone();
    let Some(session) = profile.device.clone().filter(|_| is_due(&profile)) else { return Ok(profile) };
    match refresh(&session).await {
        Ok(tokens) => keep(&mut profile, session, tokens),
        Err(DeviceError::Refused(code)) => {
            let url = safe::line(&profile.url).into_owned();
            let code = safe::line(&code).into_owned();
            return Err(Failure::failed(format!(
                "the issuer has ended this sign-in ({code}): `weir login {url} --device` begins another"
            )));
        }
        // The token may be good for a moment yet; else weir says that it is not.
        Err(error) => {
            eprintln!("no new token: {}", safe::line(&error.to_string()));
            return Ok(profile);
        }
    }
    profiles.profiles.insert(name.to_owned(), profile.clone());
    profiles.write(path)?;
    Ok(profile)
}

async fn refresh(session: &DeviceSession) -> Result<Tokens, DeviceError> {
    let Some(Secret(token)) = &session.refresh_token else { return Err(DeviceError::Refused("it gave no refresh token".into())) };
    DeviceFlow::discover(&session.issuer, &session.client_id, &session.ca_file).await?.refresh(token).await
}

fn is_due(profile: &Profile) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    profile.device.as_ref().is_some_and(|session| session.ends <= now + RENEW_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_kept_while_it_is_good_and_a_session_without_more_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profiles.toml");
        let session = |ends, refresh_token: Option<&str>| DeviceSession {
            issuer: "https://issuer.invalid".into(),
            client_id: "cli".into(),
            ca_file: PathBuf::new(),
            ends,
            refresh_token: refresh_token.map(|token| Secret(token.into())),
        };
        let profile = |device| Profile {
            url: "https://weir.example".into(),
            token: Some(Secret("geheim".into())),
            device: Some(device),
            ..Profile::default()
        };
        let far = profile(session(u64::MAX >> 1, Some("again")));
        let over = profile(session(0, None));
        let all = [("far".to_owned(), far.clone()), ("over".to_owned(), over)];
        Profiles { current: "far".into(), profiles: all.into_iter().collect() }.write(&path).unwrap();
        assert_eq!(renewed(&path, "far").await.unwrap(), far);
        let ended = renewed(&path, "over").await.unwrap_err().message;
        assert!(ended.contains("weir login https://weir.example --device") && !ended.contains("geheim"), "{ended}");
        assert!(renewed(&path, "none").await.unwrap_err().message.contains("there is no such profile"));
    }

    /// What is kept with a token of another kind has no such table, and a token that is given anew keeps the rest.
    #[test]
    fn a_refresh_token_goes_on_where_no_other_is_given() {
        let mut profile = Profile::default();
        let refresh_token = Some(Secret("first".into()));
        let session =
            DeviceSession { issuer: "i".into(), client_id: "c".into(), ca_file: PathBuf::new(), ends: 1, refresh_token };
        let tokens = |refresh_token: Option<&str>| Tokens {
            id_token: "jwt".into(),
            ends: 7,
            refresh_token: refresh_token.map(str::to_owned),
        };
        keep(&mut profile, session.clone(), tokens(None));
        let kept = profile.device.clone().unwrap();
        assert_eq!((kept.ends, kept.refresh_token), (7, Some(Secret("first".into()))));
        keep(&mut profile, session, tokens(Some("second")));
        assert_eq!(profile.device.unwrap().refresh_token, Some(Secret("second".into())));
        assert_eq!(profile.token, Some(Secret("jwt".into())));
    }
}
