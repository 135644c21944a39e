//! `basic`: users and the hashes of their passwords, as `htpasswd -B` (bcrypt) or argon2 write them. What a hash costs is paid on
//! other threads, by few at once; whoever fails often waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::{Argon2, Params, PasswordHash, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;
use weir_access::{Method, Principal};
use weir_watched::Watched;

use super::cache::VerdictCache;
use super::credentials::Password;
use super::digest::DigestKey;
use super::file;
use super::metrics::AuthMetrics;
use super::throttle::Throttle;
use super::verdict::{Found, Undecided, Verdict};

/// Passwords that are verified at once: at most two threads' CPU and twice `MEMORY_MAX` of memory.
const AT_ONCE: usize = 2;
/// bcrypt's cost, about 4 s; htpasswd's is 5 by default, and 10 to 12 is usual.
const COST_MAX: u32 = 16;
/// argon2's memory in KiB, 128 MiB: RFC 9106's second choice is 64 MiB.
const MEMORY_MAX: u32 = 128 << 10;
/// argon2's passes times lanes.
const WORK_MAX: u32 = 64;

/// See above.
pub(crate) struct Basic {
    key: DigestKey,
    users: Arc<Watched<Users>>,
    slots: Arc<Semaphore>,
    timeout: Duration,
}

#[derive(Debug, Default)]
struct Users {
    by_name: HashMap<String, User>,
    /// Verified against for those who do not exist, so that they take as long.
    decoy: Option<Arc<str>>,
}

#[derive(Debug)]
struct User {
    hash: Arc<str>,
    principal: Arc<Principal>,
}

impl Basic {
    /// `timeout`: how long a password waits for its turn.
    pub fn open(path: &Path, key: DigestKey, timeout: Duration, metrics: AuthMetrics) -> Result<Self, String> {
        let users = file::open("auth.basic_file", path, parse, metrics)?;
        Ok(Self { key, users, slots: Arc::new(Semaphore::new(AT_ONCE)), timeout })
    }

    /// A digest of the hash that the file has of this user, for sessions: they end when it is another.
    pub async fn password_of(&self, user: &str) -> Option<String> {
        let users = self.users.get().await;
        let hash = &users.by_name.get(user)?.hash;
        Some(URL_SAFE_NO_PAD.encode(&digest(&SHA256, hash.as_bytes()).as_ref()[..16]))
    }

    /// `from`: the peer's address.
    pub async fn judge(
        &self,
        password: Option<&Password>,
        from: IpAddr,
        cache: &VerdictCache,
        throttle: &Throttle,
    ) -> Result<Verdict, Undecided> {
        let Some(Password { user, password }) = password else { return Ok(Verdict::Pass) };
        let users = self.users.get().await;
        let known = users.by_name.get(user);
        let Some(hash) = known.map(|known| &known.hash).or(users.decoy.as_ref()) else { return Ok(Verdict::Wrong) };
        // The hash is part of it: a password that was changed in the file is verified again.
        let key = self.key.digest(&[b"basic", user.as_bytes(), hash.as_bytes(), password]);
        if let Some(Some(principal)) = cache.get(Method::Basic.name(), &key, Instant::now()) {
            return Ok(Verdict::Known(principal));
        }
        let principal = known.map(|known| Arc::clone(&known.principal));
        let verify = self.verify(user, password, hash, principal, from, throttle);
        let found = cache.get_or_verify(Method::Basic.name(), &key, verify).await?;
        Ok(found.map_or(Verdict::Wrong, Verdict::Known))
    }

    async fn verify(
        &self,
        user: &str,
        password: &[u8],
        hash: &Arc<str>,
        principal: Found,
        from: IpAddr,
        throttle: &Throttle,
    ) -> Result<(Found, Duration), Undecided> {
        let busy = |_| Undecided::Silent("too many passwords are being verified; try again later".into());
        let slot = tokio::time::timeout(self.timeout, Arc::clone(&self.slots).acquire_owned()).await.map_err(busy)?;
        let user = self.key.digest(&[b"user", user.as_bytes()]);
        // Here and not before the wait for a slot: guesses that came at once count one after the other.
        let attempt = throttle.attempt(from, Some(user))?;
        let (password, hash) = (password.to_vec(), Arc::clone(hash));
        let verify = move || {
            let _slot = slot;
            is_right(&password, &hash)
        };
        let is_right = tokio::task::spawn_blocking(verify).await.unwrap_or(false);
        let outcome = Ok((principal.filter(|_| is_right), Duration::MAX));
        attempt.end(&outcome);
        outcome
    }
}

fn is_right(password: &[u8], hash: &str) -> bool {
    match is_bcrypt(hash) {
        true => bcrypt::verify(password, hash).unwrap_or(false),
        false => Argon2::default().verify_password(password, hash).is_ok(),
    }
}

fn is_bcrypt(hash: &str) -> bool {
    ["$2y$", "$2b$", "$2a$"].iter().any(|prefix| hash.starts_with(prefix))
}

/// Errors name the line, and nothing of its hash.
fn parse(text: &str) -> Result<Users, String> {
    let mut users = Users::default();
    for (at, line) in text.lines().enumerate() {
        let (number, line) = (at + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) = line.split_once(':').ok_or_else(|| format!("line {number} is not user:hash"))?;
        if name.is_empty() {
            return Err(format!("line {number} has no user"));
        }
        check(hash).map_err(|error| format!("line {number}: {error}"))?;
        let hash: Arc<str> = hash.into();
        users.decoy.get_or_insert_with(|| Arc::clone(&hash));
        let principal =
            Principal { name: name.into(), uid: String::new(), groups: Vec::new(), tenants: None, method: Method::Basic };
        if users.by_name.insert(name.into(), User { hash, principal: Arc::new(principal) }).is_some() {
            return Err(format!("line {number}: {name:?} stands further up"));
        }
    }
    Ok(users)
}

fn check(hash: &str) -> Result<(), String> {
    if is_bcrypt(hash) {
        let parts: bcrypt::HashParts = hash.parse().map_err(|_| "the bcrypt hash is not whole".to_owned())?;
        return match parts.get_cost() {
            4..=COST_MAX => Ok(()),
            cost => Err(format!("bcrypt's cost is {cost}; 4 to {COST_MAX} are taken")),
        };
    }
    if !hash.starts_with("$argon2id$") {
        return Err("the hash is neither bcrypt ($2y$, as `htpasswd -B` writes it) nor $argon2id$".into());
    }
    let whole = || "the argon2id hash is not whole".to_owned();
    let parsed = PasswordHash::new(hash).map_err(|_| whole())?;
    let params = Params::try_from(&parsed).map_err(|_| whole())?;
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err(whole());
    }
    if params.m_cost() > MEMORY_MAX || params.t_cost().saturating_mul(params.p_cost()) > WORK_MAX {
        return Err(format!("argon2id takes more than m={MEMORY_MAX} or t*p={WORK_MAX}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;
    use futures_util::FutureExt;

    use super::*;
    use crate::config::AuthConfig;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn bcrypted(password: &str) -> String {
        bcrypt::hash_with_salt(password, 4, *b"0123456789abcdef").unwrap().format_for_version(bcrypt::Version::TwoY)
    }

    fn argoned(password: &str) -> String {
        let cheap = Argon2::from(Params::new(8, 1, 1, None).unwrap());
        cheap.hash_password_with_salt(password.as_bytes(), b"a salt of some length").unwrap().to_string()
    }

    struct Fixture {
        folder: tempfile::TempDir,
        basic: Basic,
        cache: VerdictCache,
        throttle: Throttle,
        metrics: AuthMetrics,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("htpasswd");
            std::fs::write(&path, format!("alice:{}\nbob:{}\n", bcrypted("a-pw"), argoned("b-pw"))).unwrap();
            let metrics = AuthMetrics::default();
            let cache = VerdictCache::new(&AuthConfig::default(), metrics.clone());
            let basic = Basic::open(&path, DigestKey::new(), Duration::from_secs(60), metrics.clone()).unwrap();
            Self { folder, basic, cache, throttle: Throttle::new(), metrics }
        }

        async fn judge(&self, user: &str, password: &str) -> Result<Verdict, Undecided> {
            let password = Password { user: user.into(), password: password.into() };
            self.basic.judge(Some(&password), HERE, &self.cache, &self.throttle).await
        }
    }

    #[tokio::test]
    async fn both_hashes_are_verified_and_once() {
        let fixture = Fixture::new();
        for _ in 0..3 {
            for (user, password) in [("alice", "a-pw"), ("bob", "b-pw")] {
                let Ok(Verdict::Known(principal)) = fixture.judge(user, password).await else { panic!("{user}") };
                assert_eq!((principal.name.as_str(), principal.method), (user, Method::Basic));
            }
        }
        assert_eq!((fixture.metrics.cached("basic", "miss"), fixture.metrics.cached("basic", "hit")), (2, 4));
        for (user, password) in [("alice", "b-pw"), ("alice", ""), ("carol", "a-pw")] {
            assert_eq!(fixture.judge(user, password).await, Ok(Verdict::Wrong), "{user}");
        }
        assert_eq!(fixture.basic.judge(None, HERE, &fixture.cache, &fixture.throttle).await, Ok(Verdict::Pass));
    }

    #[tokio::test]
    async fn a_password_that_was_changed_does_not_count_any_more() {
        let fixture = Fixture::new();
        assert!(matches!(fixture.judge("alice", "a-pw").await, Ok(Verdict::Known(_))));
        std::fs::write(fixture.folder.path().join("htpasswd"), format!("alice:{}\n", argoned("new"))).unwrap();
        fixture.basic.users.poll();
        fixture.basic.users.poll();
        assert_eq!(fixture.judge("alice", "a-pw").await, Ok(Verdict::Wrong));
        assert!(matches!(fixture.judge("alice", "new").await, Ok(Verdict::Known(_))));
        assert_eq!(fixture.judge("bob", "b-pw").await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn who_fails_often_waits_and_who_is_known_does_not() {
        let fixture = Fixture::new();
        assert!(matches!(fixture.judge("alice", "a-pw").await, Ok(Verdict::Known(_))));
        for guess in 0..5 {
            assert_eq!(fixture.judge("alice", &format!("guess {guess}")).await, Ok(Verdict::Wrong));
            assert_eq!(fixture.judge("nobody", &format!("guess {guess}")).await, Ok(Verdict::Wrong));
        }
        // Whether there is such a user or not.
        for user in ["alice", "nobody"] {
            let waits = fixture.judge(user, "another guess").await.unwrap_err();
            assert!(waits == Undecided::Throttled(1), "{waits}");
        }
        assert!(matches!(fixture.judge("alice", "a-pw").await, Ok(Verdict::Known(_))), "the cache knows alice");
        assert!(matches!(fixture.judge("bob", "b-pw").await, Ok(Verdict::Known(_))), "bob has not failed");
    }

    #[tokio::test]
    async fn a_guess_that_is_cancelled_counts() {
        let (fixture, begun) = (Fixture::new(), Instant::now());
        for guess in 0.. {
            // Else the file is looked at in between.
            fixture.basic.users.get().await;
            // Pending where it waits for a slot, too; that is no guess yet.
            if let Some(Err(undecided)) = fixture.judge("alice", &format!("guess {guess}")).now_or_never() {
                assert!(undecided == Undecided::Throttled(1), "{undecided}");
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{guess} guesses were cancelled, and none counted");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn other_hashes_are_refused_by_line() {
        let refused = |line: &str, expected: &str| {
            let error = parse(&format!("# users\nalice:{}\n{line}\n", bcrypted("a"))).unwrap_err();
            assert!(error.contains("line 3") && error.contains(expected), "{line}: {error}");
            assert!(!error.contains("secret"), "{error}");
        };
        refused("bob:secret", "neither bcrypt");
        refused("bob:$apr1$secret$secret", "neither bcrypt");
        refused("bob:{SHA}secret", "neither bcrypt");
        refused("bob:$2y$05$secret", "not whole");
        refused(&format!("bob:{}", bcrypted("b").replace("$2y$04$", "$2y$31$")), "cost is 31");
        refused("bob:$argon2id$v=19$secret", "not whole");
        refused(&format!("bob:{}", argoned("b").replace("m=8", "m=1000000")), "more than m=");
        refused("bob", "not user:hash");
        refused(":x", "no user");
        refused(&format!("alice:{}", bcrypted("b")), "further up");
        assert!(parse("").unwrap().by_name.is_empty());
    }
}
