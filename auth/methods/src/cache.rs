//! Verdicts that cost something (a password's hash, a signature, a question to another server), kept for a while by the digest of
//! the credential. Requests with the same credential share one verification.

use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::config::AuthConfig;
use super::digest::Digest;
use super::metrics::AuthMetrics;
use super::verdict::{Found, Undecided};

/// A wrong credential is asked about again after so long: it may have been made just now, and its maker's server be behind.
pub(crate) const REFUSAL_TTL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
struct CachedVerdict {
    found: Found,
    until: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Digest, CachedVerdict> for ByBytes {
    fn weight(&self, _: &Digest, verdict: &CachedVerdict) -> u64 {
        // The entry, its key and the principal's own fields.
        let principal = verdict.found.as_ref().map_or(0, |principal| {
            let groups = principal.groups.iter().map(|group| group.len() + size_of::<String>());
            let tenants = principal.tenants.iter().flatten().map(|tenant| tenant.len() + 32);
            principal.name.len() + principal.uid.len() + groups.sum::<usize>() + tenants.sum::<usize>()
        });
        principal as u64 + 256
    }
}

/// See above.
pub(crate) struct VerdictCache {
    verdicts: Cache<Digest, CachedVerdict, ByBytes>,
    /// The longest that a credential which was right is believed.
    ttl: Duration,
    /// How long a request waits for another's verification.
    timeout: Duration,
    metrics: AuthMetrics,
}

impl VerdictCache {
    pub fn new(config: &AuthConfig, metrics: AuthMetrics) -> Self {
        let bytes_max = config.cache_max.to_u64();
        // A principal takes about 512 bytes; the estimate only sizes the table.
        let estimate = (bytes_max / 512).clamp(64, 1 << 20) as usize;
        let verdicts = Cache::with_weighter(estimate, bytes_max, ByBytes);
        Self { verdicts, ttl: config.cache_ttl, timeout: config.timeout, metrics }
    }

    /// What is known of a credential. `method`: for the count of hits.
    pub fn get(&self, method: &'static str, key: &Digest, now: Instant) -> Option<Found> {
        let verdict = self.verdicts.get(key).filter(|verdict| now < verdict.until)?;
        self.metrics.cache(method, "hit");
        Some(verdict.found)
    }

    /// What is known of a credential, or what `verify` says: the principal and how long it is right at most. What is undecided
    /// is not kept.
    pub async fn get_or_verify(
        &self,
        method: &'static str,
        key: &Digest,
        verify: impl Future<Output = Result<(Found, Duration), Undecided>>,
    ) -> Result<Found, Undecided> {
        let found_or_turn = async {
            loop {
                match self.verdicts.get_value_or_guard_async(key).await {
                    Ok(verdict) if Instant::now() < verdict.until => break Ok(verdict.found),
                    Ok(_) => drop(self.verdicts.remove_if(key, |verdict| verdict.until <= Instant::now())),
                    Err(guard) => break Err(guard),
                }
            }
        };
        // Where one gets no answer in time, those behind it do not try in turn.
        let guard = match tokio::time::timeout(self.timeout, found_or_turn).await {
            Ok(Ok(found)) => {
                self.metrics.cache(method, "hit");
                return Ok(found);
            }
            Ok(Err(guard)) => guard,
            Err(_) => return Err(Undecided::Silent(format!("{method} does not answer who this is; try again later"))),
        };
        self.metrics.cache(method, "miss");
        let (found, right_for) = verify.await?;
        let ttl = if found.is_some() { self.ttl.min(right_for) } else { REFUSAL_TTL };
        // Whoever has emptied the cache meanwhile loses nothing.
        let _ = guard.insert(CachedVerdict { found: found.clone(), until: Instant::now() + ttl });
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_access::Principal;
    use weir_model::config::ByteSize;

    use super::*;

    fn cache() -> VerdictCache {
        VerdictCache::new(&AuthConfig::default(), AuthMetrics::default())
    }

    #[tokio::test]
    async fn a_verdict_is_asked_for_once_and_until_it_ends() {
        let cache = cache();
        let known = Some(Arc::new(Principal::anonymous()));
        let key = [1; 32];
        for right_for in [Duration::ZERO, Duration::from_secs(10)] {
            let found = cache.get_or_verify("oidc", &key, async { Ok((known.clone(), right_for)) }).await;
            assert_eq!(found, Ok(known.clone()));
        }
        // The first was over at once, so that the second was asked for; it stands.
        let unasked = async { Err(Undecided::Silent("asked again".into())) };
        assert_eq!(cache.get_or_verify("oidc", &key, unasked).await, Ok(known.clone()));
        let now = Instant::now();
        assert_eq!(cache.get("oidc", &key, now), Some(known));
        assert_eq!(cache.get("oidc", &key, now + Duration::from_secs(11)), None);
        assert_eq!(cache.metrics.cached("oidc", "miss"), 2);
    }

    #[tokio::test]
    async fn what_is_undecided_is_not_kept_and_what_is_wrong_briefly() {
        let cache = cache();
        let key = [2; 32];
        let silent = Undecided::Silent("silent".into());
        assert_eq!(cache.get_or_verify("keystone", &key, async { Err(silent.clone()) }).await, Err(silent));
        assert_eq!(cache.get_or_verify("keystone", &key, async { Ok((None, Duration::MAX)) }).await, Ok(None));
        assert_eq!(cache.get("keystone", &key, Instant::now()), Some(None));
        assert_eq!(cache.get("keystone", &key, Instant::now() + REFUSAL_TTL), None);
    }

    #[tokio::test]
    async fn it_stays_within_its_bytes() {
        let config = AuthConfig { cache_max: ByteSize::bytes(64 << 10), ..AuthConfig::default() };
        let cache = VerdictCache::new(&config, AuthMetrics::default());
        for number in 0..10_000u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            let verdict = async { Ok((Some(Arc::new(Principal::anonymous())), Duration::from_secs(60))) };
            assert!(cache.get_or_verify("basic", &key, verdict).await.is_ok());
        }
        assert!((1..=64 << 10).contains(&cache.verdicts.weight()), "{}", cache.verdicts.weight());
    }
}
