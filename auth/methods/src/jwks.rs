//! The keys that an issuer publishes. They are asked for when a token names one that is not known, not for each request: at most
//! once in `REFRESH_PAUSE` however many such tokens come, and now and then so that withdrawn keys go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use serde_json::Value;

use super::jwt::{Jwt, PublicKey};
use super::verdict::Undecided;

/// Between two questions. A token with a key that is younger waits for it in vain and is sent again.
const REFRESH_PAUSE: Duration = Duration::from_secs(5);
/// After so long the keys are asked for again though none is missing; while the issuer is silent, they count on.
const REFRESH_INTERVAL: Duration = Duration::from_secs(600);
/// Keycloak publishes two, large providers some ten.
const KEYS_MAX: usize = 64;

/// What an issuer publishes.
#[derive(Debug)]
pub(crate) struct Published {
    pub issuer: String,
    keys: Vec<PublicKey>,
}

impl Published {
    /// `document`: a JWK set. Keys that verify nothing which is taken are left out.
    pub fn new(issuer: String, document: &Value) -> Result<Self, String> {
        let keys = document["keys"].as_array().ok_or("it publishes no \"keys\"")?;
        if keys.len() > KEYS_MAX {
            return Err(format!("it publishes {} keys, and {KEYS_MAX} are taken at most", keys.len()));
        }
        Ok(Self { issuer, keys: keys.iter().filter_map(PublicKey::of_jwk).collect() })
    }

    /// The key that a token names; where it names none, the only one that fits.
    fn key(&self, jwt: &Jwt<'_>) -> Option<&PublicKey> {
        let mut keys = self.keys.iter().filter(|key| key.fits(jwt.algorithm));
        match &jwt.key_id {
            Some(id) => keys.find(|key| key.id.as_ref() == Some(id)),
            None => keys.next().filter(|_| keys.next().is_none()),
        }
    }
}

type Fetch = dyn Fn() -> BoxFuture<'static, Result<Published, Undecided>> + Send + Sync;

/// See above. Cloning shares them.
#[derive(Clone)]
pub(crate) struct KeySet {
    fetch: Arc<Fetch>,
    state: Arc<RwLock<State>>,
    /// Held by who asks the issuer.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    published: Option<Arc<Published>>,
    /// When the issuer was asked last, and what it said instead of keys.
    asked: Option<(Instant, Option<Undecided>)>,
}

impl KeySet {
    pub fn new(fetch: impl Fn() -> BoxFuture<'static, Result<Published, Undecided>> + Send + Sync + 'static) -> Self {
        Self { fetch: Arc::new(fetch), state: Arc::default(), turn: Arc::default() }
    }

    /// The issuer, where the token is signed by one of its keys. Undecided where the key is not known and the issuer is silent.
    pub async fn verify(&self, jwt: &Jwt<'_>) -> Result<Option<Arc<Published>>, Undecided> {
        if let Some(verified) = self.verify_by_known(jwt) {
            self.refresh_aged();
            return Ok(verified);
        }
        let asked = {
            let _turn = self.turn.lock().await;
            self.refresh(REFRESH_PAUSE).await
        };
        match self.verify_by_known(jwt) {
            Some(verified) => Ok(verified),
            None => asked.map(|()| None),
        }
    }

    /// `None` where its key is not known.
    fn verify_by_known(&self, jwt: &Jwt<'_>) -> Option<Option<Arc<Published>>> {
        let published = self.state.read().published.clone()?;
        let is_right = jwt.is_signed_by(published.key(jwt)?);
        Some(is_right.then_some(published))
    }

    /// Asks the issuer unless that was done within `pause`; what it said then stands.
    async fn refresh(&self, pause: Duration) -> Result<(), Undecided> {
        if let Some((at, outcome)) = &self.state.read().asked
            && at.elapsed() < pause
        {
            return outcome.clone().map_or(Ok(()), Err);
        }
        let outcome = (self.fetch)().await;
        let mut state = self.state.write();
        state.asked = Some((Instant::now(), outcome.as_ref().err().cloned()));
        state.published = Some(Arc::new(outcome?));
        Ok(())
    }

    /// Beside the request that found them old. It ends by itself: the question has an end.
    fn refresh_aged(&self) {
        let is_aged = self.state.read().asked.as_ref().is_some_and(|(at, _)| at.elapsed() >= REFRESH_INTERVAL);
        if !is_aged {
            return;
        }
        let keys = self.clone();
        tokio::spawn(async move {
            if let Ok(_turn) = keys.turn.try_lock() {
                // Said by the backend; the keys that are known count on.
                let _silent = keys.refresh(REFRESH_INTERVAL).await;
            }
        });
    }

    #[cfg(test)]
    pub fn expire_pause(&self) {
        if let Some((at, _)) = &mut self.state.write().asked {
            *at -= REFRESH_PAUSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;
    use crate::jwt::tests::Signer;

    /// An issuer that publishes what the test says, `None` while it is silent, and how often it was asked.
    fn issuer() -> (KeySet, Arc<Mutex<Option<Value>>>, Arc<AtomicUsize>) {
        let (document, asked) = (Arc::new(Mutex::new(None::<Value>)), Arc::new(AtomicUsize::new(0)));
        let (published, count) = (Arc::clone(&document), Arc::clone(&asked));
        let keys = KeySet::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let published = published.lock().clone().ok_or_else(|| Undecided::Silent("silent".into()));
            async move { published.map(|document| Published::new("https://issuer".into(), &document).unwrap()) }.boxed()
        });
        (keys, document, asked)
    }

    async fn verify(keys: &KeySet, token: &str) -> Result<bool, Undecided> {
        keys.verify(&Jwt::parse(token).unwrap()).await.map(|published| published.is_some())
    }

    #[tokio::test]
    async fn unknown_keys_are_asked_for_and_seldom() {
        let (keys, document, asked) = issuer();
        let (one, two) = (Signer::es256(), Signer::es256());
        let (by_one, by_two) = (one.sign("1", &json!({})), two.sign("2", &json!({})));
        *document.lock() = Some(json!({"keys": [one.jwk("1")]}));
        for _ in 0..3 {
            assert_eq!(verify(&keys, &by_one).await, Ok(true));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        // Rotation: the new key is found once the pause is over.
        *document.lock() = Some(json!({"keys": [one.jwk("1"), two.jwk("2")]}));
        for _ in 0..100 {
            assert_eq!(verify(&keys, &by_two).await, Ok(false));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        keys.expire_pause();
        assert_eq!((verify(&keys, &by_two).await, verify(&keys, &by_one).await), (Ok(true), Ok(true)));
        // A key under another's id.
        assert_eq!(verify(&keys, &one.sign("2", &json!({}))).await, Ok(false));
        // A withdrawn key is gone with the next question.
        *document.lock() = Some(json!({"keys": [two.jwk("2")]}));
        keys.expire_pause();
        assert_eq!(verify(&keys, &one.sign("3", &json!({}))).await, Ok(false));
        assert_eq!(verify(&keys, &by_one).await, Ok(false));
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_silent_issuer_matters_to_unknown_keys_alone() {
        let (keys, document, asked) = issuer();
        let (one, two) = (Signer::es256(), Signer::es256());
        let (by_one, by_two) = (one.sign("1", &json!({})), two.sign("2", &json!({})));
        for _ in 0..10 {
            assert_eq!(verify(&keys, &by_one).await, Err(Undecided::Silent("silent".into())));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        *document.lock() = Some(json!({"keys": [one.jwk("1")]}));
        keys.expire_pause();
        assert_eq!(verify(&keys, &by_one).await, Ok(true));
        *document.lock() = None;
        keys.expire_pause();
        assert_eq!(verify(&keys, &by_two).await, Err(Undecided::Silent("silent".into())));
        assert_eq!(verify(&keys, &by_one).await, Ok(true));
    }

    #[tokio::test]
    async fn a_token_without_a_key_id_counts_where_one_key_fits() {
        let (keys, document, _) = issuer();
        let (one, two) = (Signer::es256(), Signer::es256());
        let unnamed = |signer: &Signer| signer.sign("", &json!({}));
        *document.lock() = Some(json!({"keys": [one.jwk("1"), two.jwk("2")]}));
        let token = unnamed(&one);
        let mut jwt = Jwt::parse(&token).unwrap();
        jwt.key_id = None;
        assert!(keys.verify(&jwt).await.unwrap().is_none());
        *document.lock() = Some(json!({"keys": [one.jwk("1")]}));
        keys.expire_pause();
        assert!(keys.verify(&jwt).await.unwrap().is_some());
    }

    #[test]
    fn a_set_is_bounded_and_must_be_one() {
        let published = |document: Value| Published::new(String::new(), &document).map(|published| published.keys.len());
        let key = Signer::es256().jwk("1");
        assert_eq!(published(json!({"keys": [key, {"kty": "oct", "k": "AA"}]})), Ok(1));
        assert!(published(json!({"keys": vec![key; KEYS_MAX + 1]})).is_err());
        assert!(published(json!([])).is_err());
    }
}
