//! `weir login --device`: signing in at the issuer that weir names, in a browser anywhere, and new tokens when the old ones end.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use weir_methods::device::{DeviceError, DeviceFlow, DeviceOffer, Grant, Pending, Tokens};

use super::address::Address;
use super::http;
use super::profile::{Profile, Profiles, Secret};
use crate::Failure;
use crate::text::safe;

const METHODS_PATH: &str = "/api/weir/v1/session/methods";
/// A token that ends within so long is replaced: clocks differ by as much (`auth.oidc.clock_skew`).
const RENEW_SECONDS: u64 = 30;
const NO_REFRESH_TOKEN: &str = "it gave no refresh token";

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
    let flow = DeviceFlow::discover(&offer.issuer, &offer.client_id, issuer_ca_file).await.map_err(failed)?;
    let pending = flow.begin(&offer.scopes).await.map_err(failed)?;
    eprint!("{}", instructions(&pending));
    let tokens = flow.finish(&pending).await.map_err(failed)?;
    let (DeviceOffer { issuer, client_id, .. }, ca_file) = (offer, issuer_ca_file.to_owned());
    let session = DeviceSession { issuer, client_id, ca_file, ends: 0, refresh_token: None };
    keep(profile, session, tokens);
    Ok(())
}

/// An issuer's words are a stranger's.
fn failed(error: DeviceError) -> Failure {
    Failure::failed(safe::line(&error.to_string()))
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
    Profiles::change(path, async |profiles| {
        let mut profile = profiles.named(name)?.clone();
        if let Some(session) = profile.device.clone().filter(|_| is_due(&profile)) {
            let granted = match &session.refresh_token {
                Some(Secret(token)) => refresh(&session, token).await,
                None => Err(DeviceError::Refused(NO_REFRESH_TOKEN.into())),
            };
            take(&mut profile, session, granted)?;
            profiles.profiles.insert(name.to_owned(), profile.clone());
        }
        Ok(profile)
    })
    .await
}

async fn refresh(session: &DeviceSession, token: &str) -> Result<Grant, DeviceError> {
    DeviceFlow::discover(&session.issuer, &session.client_id, &session.ca_file).await?.refresh(token).await
}

/// Puts what the issuer gave into the profile. Errors where it has ended the sign-in.
fn take(profile: &mut Profile, session: DeviceSession, granted: Result<Grant, DeviceError>) -> Result<(), Failure> {
    let again = format!("`weir login {} --device` begins another", safe::line(&profile.url));
    // The token of before may be good for a moment yet; else weir says that it is not.
    match granted {
        Ok(Grant::Tokens(tokens)) => keep(profile, session, tokens),
        Ok(Grant::NoIdToken { refresh_token }) => {
            let refresh_token = refresh_token.map(Secret).or(session.refresh_token);
            profile.device = Some(DeviceSession { refresh_token, ..session });
            eprintln!("no new token: the issuer gives no ID token for a refresh token; {again}");
        }
        Err(DeviceError::Refused(code)) if [NO_REFRESH_TOKEN, "invalid_grant"].contains(&code.as_str()) => {
            return Err(Failure::failed(format!("the issuer has ended this sign-in ({code}): {again}")));
        }
        Err(error) => eprintln!("no new token: {}", safe::line(&error.to_string())),
    }
    Ok(())
}

fn is_due(profile: &Profile) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    profile.device.as_ref().is_some_and(|session| session.ends <= now + RENEW_SECONDS)
}

#[cfg(test)]
mod tests {
    use weir_access::TENANT_HEADER;

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
        let all = Profiles { current: "far".into(), profiles: all.into_iter().collect() };
        Profiles::change(&path, async |profiles| {
            *profiles = all;
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(renewed(&path, "far").await.unwrap(), far);
        let ended = renewed(&path, "over").await.unwrap_err().message;
        assert!(ended.contains("weir login https://weir.example --device") && !ended.contains("geheim"), "{ended}");
        assert!(renewed(&path, "none").await.unwrap_err().message.contains("there is no such profile"));
        // A connection that is made again has the token of now, and its own tenant.
        let old = Profile { token: Some(Secret("over".into())), tenant: Some("shop".into()), ..far.clone() };
        let address = Address::of_profile(&old).unwrap().kept_as(path.clone(), "far".into());
        let headers = address.renewed().await.unwrap().headers().clone();
        assert_eq!(
            (&headers["authorization"], &headers[TENANT_HEADER]),
            (&"Bearer geheim".parse().unwrap(), &"shop".parse().unwrap())
        );
        let elsewhere = Profile { url: "https://other.example".into(), ..old };
        let address = Address::of_profile(&elsewhere).unwrap().kept_as(path, "far".into());
        assert_eq!(address.renewed().await.unwrap().headers()["authorization"], "Bearer over", "credentials of another address");
    }

    #[test]
    fn only_an_issuer_that_says_so_ends_a_sign_in_and_no_refresh_token_is_lost() {
        let refresh_token = Some(Secret("first".into()));
        let session =
            DeviceSession { issuer: "i".into(), client_id: "c".into(), ca_file: PathBuf::new(), ends: 1, refresh_token };
        let check = |granted: Result<Grant, DeviceError>, kept: Result<&str, &str>| {
            let mut profile = Profile { device: Some(session.clone()), ..Profile::default() };
            match (take(&mut profile, session.clone(), granted), kept) {
                (Ok(()), Ok(kept)) => assert_eq!(profile.device.unwrap().refresh_token, Some(Secret(kept.into()))),
                (Err(failure), Err(said)) => assert!(failure.message.contains(said), "{}", failure.message),
                (taken, kept) => panic!("{:?} in place of {kept:?}", taken.err().map(|failure| failure.message)),
            }
        };
        check(Ok(Grant::NoIdToken { refresh_token: Some("second".into()) }), Ok("second"));
        check(Ok(Grant::NoIdToken { refresh_token: None }), Ok("first"));
        check(Err(DeviceError::Refused("invalid_client".into())), Ok("first"));
        check(Err(DeviceError::Issuer("status 429".into())), Ok("first"));
        check(Err(DeviceError::Refused("invalid_grant".into())), Err("has ended this sign-in (invalid_grant)"));
        let said = failed(DeviceError::Refused("no\u{1b}[31m".into())).message;
        assert!(said.contains("no\\x1b[31m"), "{said}");
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
