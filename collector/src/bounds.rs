//! Which timestamps a push may carry: what retention would delete at once is refused when it arrives, and so is what lies
//! further ahead than clocks differ. Pure. Not for files: what a file says is shipped as it is.

use std::fmt;
use std::time::Duration;

use weir_model::time::{UnixNanos, format_duration, format_rfc3339};
use weir_model::wire::Kind;

/// How long blocks are kept after their newest record, of each kind; zero for ever. `[aggregator.retention]`, told by who
/// starts the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Log lines.
    pub logs: Duration,
    /// Samples.
    pub metrics: Duration,
    /// Spans, by their start.
    pub spans: Duration,
}

impl Retention {
    pub(crate) fn of(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Logs => self.logs,
            Kind::Metrics => self.metrics,
            Kind::Spans => self.spans,
        }
    }
}

/// Bounds as of one moment, inclusive. One request has one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeBounds {
    oldest: UnixNanos,
    newest: UnixNanos,
    older_than: Duration,
    ahead_of: Duration,
}

/// A timestamp outside of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutOfTime {
    Old { at: UnixNanos, bounds: TimeBounds },
    New { at: UnixNanos, bounds: TimeBounds },
}

impl TimeBounds {
    /// Zero is no bound.
    pub fn new(now: UnixNanos, older_than: Duration, ahead_of: Duration) -> Self {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let oldest = if older_than.is_zero() { i64::MIN } else { now.saturating_sub(nanos(older_than)) };
        let newest = if ahead_of.is_zero() { i64::MAX } else { now.saturating_add(nanos(ahead_of)) };
        Self { oldest, newest, older_than, ahead_of }
    }

    pub fn check(&self, at: UnixNanos) -> Result<(), OutOfTime> {
        match at {
            _ if at < self.oldest => Err(OutOfTime::Old { at, bounds: *self }),
            _ if at > self.newest => Err(OutOfTime::New { at, bounds: *self }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for OutOfTime {
    /// Begins as Loki's messages do: clients and people look for these words.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |duration: Duration| format_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
        match self {
            Self::Old { at, bounds } => {
                let (at, oldest, kept) = (format_rfc3339(*at), format_rfc3339(bounds.oldest), text(bounds.older_than));
                write!(out, "has timestamp too old: {at}, oldest acceptable timestamp is: {oldest} (kept for {kept})")
            }
            Self::New { at, bounds } => {
                let (at, newest, ahead) = (format_rfc3339(*at), format_rfc3339(bounds.newest), text(bounds.ahead_of));
                write!(out, "has timestamp too new: {at}, newest acceptable timestamp is: {newest} ({ahead} ahead)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_model::time::SECOND;

    use super::*;

    #[test]
    fn bounds_are_inclusive_and_zero_is_none() {
        let check = |older: u64, ahead: u64, at: i64, expected: &str| {
            let bounds = TimeBounds::new(100 * SECOND, Duration::from_secs(older), Duration::from_secs(ahead));
            let seen = match bounds.check(at) {
                Ok(()) => "",
                Err(OutOfTime::Old { .. }) => "too_old",
                Err(OutOfTime::New { .. }) => "too_new",
            };
            assert_eq!(seen, expected, "{at} within {older} and {ahead}");
        };
        check(10, 10, 90 * SECOND, "");
        check(10, 10, 90 * SECOND - 1, "too_old");
        check(10, 10, 110 * SECOND, "");
        check(10, 10, 110 * SECOND + 1, "too_new");
        check(10, 10, i64::MIN, "too_old");
        check(10, 10, i64::MAX, "too_new");
        check(0, 10, i64::MIN, "");
        check(10, 0, i64::MAX, "");
    }

    #[test]
    fn the_message_names_the_time_the_bound_and_how_long_is_kept() {
        let bounds = TimeBounds::new(1_700_000_000 * SECOND, Duration::from_secs(14 * 86_400), Duration::from_secs(600));
        let text = |at| bounds.check(at).unwrap_err().to_string();
        assert_eq!(
            text(1_570_818_238 * SECOND),
            "has timestamp too old: 2019-10-11T18:23:58Z, oldest acceptable timestamp is: 2023-10-31T22:13:20Z (kept for 14d)"
        );
        assert_eq!(
            text(1_700_000_601 * SECOND),
            "has timestamp too new: 2023-11-14T22:23:21Z, newest acceptable timestamp is: 2023-11-14T22:23:20Z (10m ahead)"
        );
    }
}
