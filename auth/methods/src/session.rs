//! Sessions of the page: a cookie that only weir can make and read. Nothing is kept of a session but, once it was ended, its id.
//!
//! A cookie is base64url of version (1 byte), nonce (12), and the sealed JSON (ChaCha20-Poly1305) with its tag (16); what it is
//! for is authenticated with it. Query nodes that share `[auth.session] key_file` take each other's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weir_access::{Method, Principal};
use weir_model::config::duration;

use super::ended::{EndedSessions, FinishedSignIns};

const VERSION: u8 = 1;

/// `__Host-`: of this host alone, over https alone, for all of its paths.
const SESSION_COOKIE: &str = "__Host-weir-session";

/// Browsers keep 4,096 bytes of a cookie, its name and attributes included.
const COOKIE_BYTES_MAX: usize = 3800;

/// A key of fewer bytes could be guessed.
const KEY_BYTES_MIN: usize = 32;
const KEY_BYTES_MAX: u64 = 4096;

/// `[auth.session]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// 32 random bytes or more, the same on all query nodes; a key of this process alone when empty.
    pub key_file: PathBuf,
    /// A session ends so long after signing in.
    #[serde(with = "duration")]
    pub lifetime: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        // A day's work.
        Self { key_file: PathBuf::new(), lifetime: Duration::from_secs(12 * 3600) }
    }
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the session is over; sign in again")]
    Over,
    #[error("a cookie has no room for {0} groups and {1} tenants")]
    TooLarge(usize, usize),
}

/// Makes, reads and ends sessions.
pub(crate) struct Sessions {
    key: LessSafeKey,
    random: SystemRandom,
    lifetime: Duration,
    ended: Mutex<EndedSessions>,
    finished: Mutex<FinishedSignIns>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sessions").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    id: String,
    /// Unix seconds.
    expires: u64,
    value: T,
}

#[derive(Serialize, Deserialize)]
struct Carried {
    name: String,
    uid: String,
    groups: Vec<String>,
    tenants: Option<Vec<String>>,
    method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// What a cookie says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub principal: Principal,
    /// A digest of what the file of passwords said of its user at the sign-in.
    pub password: Option<String>,
}

impl Sessions {
    /// Errors name the key.
    pub fn start(config: &SessionConfig) -> Result<Self, String> {
        let random = SystemRandom::new();
        let mut secret = vec![0; KEY_BYTES_MIN];
        if config.key_file.as_os_str().is_empty() {
            random.fill(&mut secret).map_err(|_| "session: this machine gives no random bytes".to_owned())?;
        } else {
            let wrong = |text: &dyn std::fmt::Display| format!("session.key_file {}: {text}", config.key_file.display());
            let length = std::fs::metadata(&config.key_file).map_err(|error| wrong(&error))?.len();
            if length > KEY_BYTES_MAX {
                return Err(wrong(&format_args!("more than {KEY_BYTES_MAX} bytes")));
            }
            secret = std::fs::read(&config.key_file).map_err(|error| wrong(&error))?;
            if secret.trim_ascii().len() < KEY_BYTES_MIN {
                return Err(wrong(&format_args!("fewer than {KEY_BYTES_MIN} bytes")));
            }
        }
        let hash = digest(&SHA256, secret.trim_ascii());
        let key = UnboundKey::new(&CHACHA20_POLY1305, hash.as_ref()).map_err(|_| "session: the key is refused".to_owned())?;
        let (ended, finished) = (Mutex::default(), Mutex::default());
        Ok(Self { key: LessSafeKey::new(key), random, lifetime: config.lifetime, ended, finished })
    }

    /// The `Set-Cookie` of a new session. `now`: Unix seconds, as everywhere here.
    pub fn begin(&self, principal: &Principal, now: u64) -> Result<String, SessionError> {
        self.begin_for(self.lifetime, principal, None, now)
    }

    /// … that ends after `lasts`, or after the configured lifetime if that is shorter. `password` as in [`Session`].
    pub fn begin_for(
        &self,
        lasts: Duration,
        principal: &Principal,
        password: Option<String>,
        now: u64,
    ) -> Result<String, SessionError> {
        let seconds = lasts.min(self.lifetime).as_secs();
        let Principal { name, uid, groups, tenants, method } = principal.clone();
        let too_large = SessionError::TooLarge(groups.len(), tenants.as_ref().map_or(0, Vec::len));
        let tenants = tenants.map(|all| all.iter().map(ToString::to_string).collect());
        let carried = Carried { name, uid, groups, tenants, method: method.name().to_owned(), password };
        let text = self.seal("session", &carried, now + seconds);
        if text.len() > COOKIE_BYTES_MAX {
            return Err(too_large);
        }
        Ok(set_cookie(SESSION_COOKIE, &text, seconds, "Strict"))
    }

    /// The session that a request shows; `None` where it shows none.
    pub fn session(&self, headers: &HeaderMap, now: u64) -> Option<Result<Session, SessionError>> {
        let text = cookie(headers, SESSION_COOKIE)?;
        Some(self.open_session(text, now).and_then(|sealed| session(sealed.value)).ok_or(SessionError::Over))
    }

    /// Whose it is.
    pub fn principal(&self, headers: &HeaderMap, now: u64) -> Option<Result<Principal, SessionError>> {
        self.session(headers, now).map(|shown| shown.map(|session| session.principal))
    }

    /// Ends the session that a request shows: the `Set-Cookie` that takes it away. The same cookie, kept by somebody, is refused
    /// from now on by this process, until the user has ended a hundred others.
    pub fn end(&self, headers: &HeaderMap, now: u64) -> String {
        let shown = cookie(headers, SESSION_COOKIE).and_then(|text| self.open_session(text, now));
        if let Some(Sealed { id, expires, value }) = shown
            && !self.ended.lock().insert(&value.name, (id, expires), now)
        {
            tracing::warn!("too many sessions were ended lately; a copy of this one's cookie would still count");
        }
        set_cookie(SESSION_COOKIE, "", 0, "Strict")
    }

    /// A cookie that a sign-in under way leaves with the browser. `Lax`: the issuer's page leads back here.
    pub(crate) fn leave<T: Serialize>(&self, name: &'static str, value: &T, now: u64, lasts: Duration) -> String {
        set_cookie(name, &self.seal(name, value, now + lasts.as_secs()), lasts.as_secs(), "Lax")
    }

    /// What was left, and the `Set-Cookie` that takes it away. A copy of it is not taken again by this process.
    pub(crate) fn take<T: DeserializeOwned>(&self, name: &'static str, headers: &HeaderMap, now: u64) -> (Option<T>, String) {
        let sealed: Option<Sealed<T>> = cookie(headers, name).and_then(|text| self.open_sealed(name, text, now));
        let sealed = sealed.filter(|sealed| self.finished.lock().insert((sealed.id.clone(), sealed.expires), now));
        (sealed.map(|sealed| sealed.value), set_cookie(name, "", 0, "Lax"))
    }

    /// Random text of 256 bits.
    pub(crate) fn random_text(&self) -> String {
        let mut bytes = [0; 32];
        // The system's generator does not fail once the process runs; without randomness nobody may sign in.
        self.random.fill(&mut bytes).unwrap_or_else(|_| panic!("this machine gives no random bytes"));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn seal<T: Serialize>(&self, purpose: &str, value: &T, expires: u64) -> String {
        let id = self.random_text();
        let mut bytes = serde_json::to_vec(&Sealed { id, expires, value }).unwrap_or_default();
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).unwrap_or_else(|_| panic!("this machine gives no random bytes"));
        let sealed =
            self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose.as_bytes()), &mut bytes);
        sealed.unwrap_or_else(|_| panic!("a cookie is shorter than what can be sealed"));
        let mut out = vec![VERSION];
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&bytes);
        URL_SAFE_NO_PAD.encode(out)
    }

    /// A session that was not ended.
    fn open_session(&self, text: &str, now: u64) -> Option<Sealed<Carried>> {
        let sealed = self.open_sealed::<Carried>("session", text, now)?;
        let is_ended = self.ended.lock().contains(&sealed.value.name, &sealed.id);
        (!is_ended).then_some(sealed)
    }

    fn open_sealed<T: DeserializeOwned>(&self, purpose: &str, text: &str, now: u64) -> Option<Sealed<T>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        if *version != VERSION {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut sealed).ok()?;
        serde_json::from_slice::<Sealed<T>>(opened).ok().filter(|sealed| sealed.expires > now)
    }
}

fn session(carried: Carried) -> Option<Session> {
    let Carried { name, uid, groups, tenants, method, password } = carried;
    let method = Method::ALL.into_iter().find(|known| known.name() == method)?;
    let tenants = tenants.map(|all| all.into_iter().map(Arc::from).collect());
    Some(Session { principal: Principal { name, uid, groups, tenants, method }, password })
}

fn set_cookie(name: &str, value: &str, seconds: u64, same_site: &str) -> String {
    format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite={same_site}")
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(own, value)| *own == name && value.len() <= COOKIE_BYTES_MAX).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn alice() -> Principal {
        Principal {
            name: "alice".into(),
            uid: "7".into(),
            groups: vec!["dev".into()],
            tenants: Some(vec!["shop".into()]),
            method: Method::Basic,
        }
    }

    /// What a browser sends back of a `Set-Cookie`.
    fn shown(set: &str) -> HeaderMap {
        let pair = set.split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, format!("other=1; {pair}").parse().unwrap())])
    }

    #[test]
    fn a_session_is_shown_until_it_is_over_or_ended() {
        let sessions = Sessions::start(&SessionConfig::default()).unwrap();
        let set = sessions.begin(&alice(), 100).unwrap();
        assert!(
            set.starts_with("__Host-weir-session=")
                && set.ends_with("; Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Strict")
        );
        assert!(!set.contains("alice"));
        let headers = shown(&set);
        assert_eq!(sessions.principal(&headers, 100 + 11 * HOUR), Some(Ok(alice())));
        assert_eq!(sessions.principal(&headers, 100 + 12 * HOUR), Some(Err(SessionError::Over)));
        assert_eq!(sessions.principal(&HeaderMap::new(), 100), None);
        assert_eq!(sessions.end(&headers, 200), "__Host-weir-session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
        assert_eq!(sessions.principal(&headers, 300), Some(Err(SessionError::Over)));
        let again = shown(&sessions.begin(&alice(), 300).unwrap());
        assert_eq!(sessions.principal(&again, 300), Some(Ok(alice())));
    }

    #[test]
    fn a_session_can_be_shorter_than_all_and_not_longer() {
        let sessions = Sessions::start(&SessionConfig::default()).unwrap();
        let begin = |seconds| sessions.begin_for(Duration::from_secs(seconds), &alice(), None, 100).unwrap();
        let set = begin(60);
        assert!(set.contains("Max-Age=60;"), "{set}");
        assert_eq!(sessions.principal(&shown(&set), 159), Some(Ok(alice())));
        assert_eq!(sessions.principal(&shown(&set), 160), Some(Err(SessionError::Over)));
        assert!(begin(24 * HOUR).contains("Max-Age=43200;"));
    }

    #[test]
    fn what_was_changed_or_made_elsewhere_or_for_something_else_is_no_session() {
        let sessions = Sessions::start(&SessionConfig::default()).unwrap();
        let set = sessions.begin(&alice(), 100).unwrap();
        let value = set.split(['=', ';']).nth(1).unwrap().to_owned();
        for at in 0..value.len() {
            let mut changed = value.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let text = format!("{SESSION_COOKIE}={}", String::from_utf8(changed).unwrap());
            let headers = HeaderMap::from_iter([(COOKIE, text.parse().unwrap())]);
            assert_eq!(sessions.principal(&headers, 100), Some(Err(SessionError::Over)), "byte {at}");
        }
        let other = Sessions::start(&SessionConfig::default()).unwrap();
        assert_eq!(other.principal(&shown(&set), 100), Some(Err(SessionError::Over)));
        let left = sessions.leave("__Host-weir-login", &alice().name, 100, Duration::from_secs(60));
        let renamed = shown(&left.replace("__Host-weir-login", SESSION_COOKIE));
        assert_eq!(sessions.principal(&renamed, 100), Some(Err(SessionError::Over)));
        let (taken, gone) = sessions.take::<String>("__Host-weir-login", &shown(&left), 159);
        assert_eq!((taken.as_deref(), gone.contains("Max-Age=0")), (Some("alice"), true));
        assert_eq!(sessions.take::<String>("__Host-weir-login", &shown(&left), 159).0, None, "it is taken once");
        let left = sessions.leave("__Host-weir-login", &alice().name, 100, Duration::from_secs(60));
        assert_eq!(sessions.take::<String>("__Host-weir-login", &shown(&left), 160).0, None);
    }

    #[test]
    fn nodes_with_one_key_take_each_others_sessions() {
        let directory = tempfile::tempdir().unwrap();
        let key_file = directory.path().join("key");
        let config = SessionConfig { key_file: key_file.clone(), ..SessionConfig::default() };
        let refused = |text: &str| Sessions::start(&config).unwrap_err().contains(text);
        assert!(refused("key_file"));
        std::fs::write(&key_file, "short\n").unwrap();
        assert!(refused("fewer than 32 bytes"));
        std::fs::write(&key_file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let (one, other) = (Sessions::start(&config).unwrap(), Sessions::start(&config).unwrap());
        assert_eq!(other.principal(&shown(&one.begin(&alice(), 1).unwrap()), 1), Some(Ok(alice())));
        let mut many = alice();
        many.groups = (0..1000).map(|i| format!("group-{i}")).collect();
        assert_eq!(one.begin(&many, 1), Err(SessionError::TooLarge(1000, 1)));
    }
}
