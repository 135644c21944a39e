//! A bucket of tokens, one for a byte or a record. Pure: the time is passed in.

use std::time::Duration;

use weir_model::time::{SECOND, UnixNanos};

/// Begins full. It is in debt after something that is larger than a burst.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// Below a full bucket: so may `burst` change.
    missing: f64,
    at: UnixNanos,
}

impl Bucket {
    /// Whether `amount` may be taken now; errors with how long to wait. `limits`: a second's worth, and the most at once.
    pub fn check(&mut self, now: UnixNanos, (rate, burst): (u64, u64), amount: u64) -> Result<(), Duration> {
        // A clock that was set back fills nothing, and goes on from there.
        let seconds = now.saturating_sub(self.at).max(0) as f64 / SECOND as f64;
        (self.missing, self.at) = ((self.missing - seconds * rate as f64).max(0.0), now);
        let lacking = self.missing + amount.min(burst) as f64 - burst as f64;
        if lacking <= 0.0 { Ok(()) } else { Err(Duration::try_from_secs_f64(lacking / rate as f64).unwrap_or(Duration::MAX)) }
    }

    /// After a check that said so.
    pub fn take(&mut self, amount: u64) {
        self.missing += amount as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        let (mut bucket, limits) = (Bucket::default(), (10, 30));
        let mut check = |seconds: f64, amount: u64, expected: Result<(), f64>| {
            let checked = bucket.check(1_000_000 * SECOND + (seconds * 1e9) as i64, limits, amount);
            assert_eq!(checked.map_err(|wait| wait.as_secs_f64()), expected, "{amount} after {seconds}");
            if checked.is_ok() {
                bucket.take(amount);
            }
        };
        check(0.0, 20, Ok(()));
        check(0.0, 10, Ok(()));
        check(0.0, 1, Err(0.1));
        check(0.0, 10, Err(1.0));
        check(0.5, 5, Ok(()));
        check(0.5, 5, Err(0.5));
        // What is refused takes nothing.
        check(1.0, 5, Ok(()));
        // More than a burst, from a full bucket; its debt is waited for.
        check(60.0, 100, Ok(()));
        check(60.0, 1, Err(7.1));
        check(67.0, 1, Err(0.1));
        check(67.5, 1, Ok(()));
        // A clock that goes back neither fills it nor stops it.
        check(10.0, 4, Ok(()));
        check(10.0, 1, Err(0.1));
        check(11.0, 10, Ok(()));
    }

    #[test]
    fn limits_may_change_meanwhile() {
        let mut bucket = Bucket::default();
        bucket.check(0, (10, 10), 10).unwrap();
        bucket.take(10);
        assert!(bucket.check(0, (10, 10), 1).is_err());
        bucket.check(0, (10, 20), 10).unwrap();
        assert!(bucket.check(0, (10, 20), 11).is_err());
    }
}
