//! Who has failed too often waits before what they bring is looked at again. By user and by address, in tables of a fixed size.
//! Credentials that are known (`cache`) are not looked at, so that their owner does not wait for what a stranger does.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::digest::Digest;
use super::verdict::{Found, Undecided};

/// Entries of each table, at about 100 bytes; those that fail most stay.
const ENTRIES_MAX: usize = 16_384;
/// Failures that cost nothing: a person's, and those of all behind one address.
const FREE_USER: u32 = 5;
const FREE_ADDRESS: u32 = 20;
/// The first wait, doubled with each further failure …
const WAIT_MIN: Duration = Duration::from_secs(1);
/// … until this: an attacker has 2,880 guesses a day, and who mistypes waits for half a minute at most.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Failures are forgotten after so long without another.
const FORGET: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

struct Table<K> {
    failures: Cache<K, Failures>,
    free: u32,
}

impl<K: Eq + Hash + Clone> Table<K> {
    fn new(free: u32) -> Self {
        Self { failures: Cache::new(ENTRIES_MAX), free }
    }

    fn count(&self, key: &K, now: Instant) -> Option<Failures> {
        self.failures.get(key).filter(|failures| now.saturating_duration_since(failures.last) < FORGET)
    }

    fn wait(&self, key: &K, now: Instant) -> Duration {
        let Some(failures) = self.count(key, now) else { return Duration::ZERO };
        let Some(beyond) = failures.count.checked_sub(self.free) else { return Duration::ZERO };
        let wait = WAIT_MIN.saturating_mul(1 << beyond.min(16)).min(WAIT_MAX);
        wait.saturating_sub(now.saturating_duration_since(failures.last))
    }

    fn fail(&self, key: K, now: Instant) {
        let count = self.count(&key, now).map_or(0, |failures| failures.count).saturating_add(1);
        self.failures.insert(key, Failures { count, last: now });
    }
}

/// See above.
pub(crate) struct Throttle {
    /// By the digest of their name, whether there is such a user or not.
    users: Table<Digest>,
    addresses: Table<IpAddr>,
}

impl Throttle {
    pub fn new() -> Self {
        Self { users: Table::new(FREE_USER), addresses: Table::new(FREE_ADDRESS) }
    }

    /// How long what comes from here, for this user, is not looked at.
    fn wait(&self, address: IpAddr, user: Option<&Digest>, now: Instant) -> Duration {
        let user = user.map_or(Duration::ZERO, |user| self.users.wait(user, now));
        user.max(self.addresses.wait(&network(address), now))
    }

    /// Whether a credential from here would be looked at now.
    pub fn admit(&self, address: IpAddr) -> Result<(), Undecided> {
        self.admit_user(address, None)
    }

    /// Begins to look at a credential from here, of this user where it names one.
    pub fn attempt(&self, address: IpAddr, user: Option<Digest>) -> Result<Attempt<'_>, Undecided> {
        self.admit_user(address, user.as_ref())?;
        Ok(Attempt { throttle: self, address, user, is_wrong: true })
    }

    fn admit_user(&self, address: IpAddr, user: Option<&Digest>) -> Result<(), Undecided> {
        let wait = self.wait(address, user, Instant::now());
        if wait.is_zero() {
            return Ok(());
        }
        Err(Undecided::Throttled(wait.as_secs() + 1))
    }

    fn fail(&self, address: IpAddr, user: Option<Digest>, now: Instant) {
        self.addresses.fail(network(address), now);
        if let Some(user) = user {
            self.users.fail(user, now);
        }
    }

    /// The user has shown who it is. Its address still counts: one account of an attacker's own would clear the others'.
    fn succeed(&self, user: &Digest) {
        self.users.failures.remove(user);
    }
}

/// A credential that is looked at. Dropped, it counts as wrong, so that a request which is cancelled is a guess like others.
#[must_use]
pub(crate) struct Attempt<'a> {
    throttle: &'a Throttle,
    address: IpAddr,
    user: Option<Digest>,
    is_wrong: bool,
}

impl Attempt<'_> {
    /// By what the credential was found to be.
    pub fn end(self, outcome: &Result<(Found, Duration), Undecided>) {
        match outcome {
            Ok((None, _)) => {}
            Ok((Some(_), _)) => {
                if let Some(user) = &self.user {
                    self.throttle.succeed(user);
                }
                self.pardon();
            }
            Err(_) => self.pardon(),
        }
    }

    /// It does not count.
    pub fn pardon(mut self) {
        self.is_wrong = false;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_wrong {
            self.throttle.fail(self.address, self.user, Instant::now());
        }
    }
}

/// One client has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_user_waits_longer_with_each_failure_and_others_do_not() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let (alice, bob) = ([1; 32], [2; 32]);
        for _ in 0..FREE_USER - 1 {
            throttle.fail(HERE, Some(alice), now);
        }
        assert_eq!(throttle.wait(HERE, Some(&alice), now), Duration::ZERO);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            throttle.fail(HERE, Some(alice), now);
            assert_eq!(throttle.wait(HERE, Some(&alice), now), Duration::from_secs(seconds));
        }
        assert_eq!(throttle.wait(HERE, Some(&alice), now + Duration::from_secs(29)), Duration::from_secs(1));
        assert_eq!(throttle.wait(HERE, Some(&alice), now + FORGET), Duration::ZERO);
        assert_eq!(throttle.wait(HERE, Some(&bob), now), Duration::ZERO);
        throttle.succeed(&alice);
        assert_eq!(throttle.wait(HERE, Some(&alice), now), Duration::ZERO);
    }

    #[test]
    fn an_address_waits_whoever_it_names_and_so_does_its_network() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        for number in 0..FREE_ADDRESS {
            throttle.fail(address, Some([number as u8; 32]), now);
        }
        let wait = |address: &str| throttle.wait(address.parse().unwrap(), None, now);
        assert_eq!(wait("2001:db8::ffff"), WAIT_MIN);
        assert_eq!(wait("2001:db8:0:1::1"), Duration::ZERO);
        assert_eq!(wait("192.0.2.1"), Duration::ZERO);
    }

    #[test]
    fn the_tables_are_bounded() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for number in 0..100_000u32 {
            throttle.fail(IpAddr::from(number.to_be_bytes()), None, now);
        }
        assert!(throttle.addresses.failures.len() <= ENTRIES_MAX);
    }
}
