//! When a shard says in the log that its receiver takes nothing, or refuses samples: of each once a minute at most, however they alternate.
//! Pure; [`super::shard`] has the words.

use std::time::Duration;

use tokio::time::Instant;

/// Between two warnings of one kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Outage {
    /// Since when the receiver takes nothing, and whether that was said.
    open: Option<(Instant, bool)>,
    outage_said: Option<Instant>,
    refusal_said: Option<Instant>,
}

impl Outage {
    /// The receiver takes nothing now. Whether to say so.
    pub fn later(&mut self, now: Instant) -> bool {
        let is_due = is_due(&mut self.outage_said, now);
        let (_, is_said) = self.open.get_or_insert((now, false));
        *is_said |= is_due;
        is_due
    }

    /// The receiver refuses something for good, which neither begins an outage nor ends one. Whether to say so.
    pub fn refused(&mut self, now: Instant) -> bool {
        is_due(&mut self.refusal_said, now)
    }

    /// The receiver takes something. How long an outage was that ends so, where it was said to have begun.
    pub fn end(&mut self, now: Instant) -> Option<Duration> {
        self.open.take().filter(|(_, is_said)| *is_said).map(|(since, _)| now.duration_since(since))
    }
}

fn is_due(said: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = said.is_none_or(|said| now.duration_since(said) >= WARNING_INTERVAL);
    if is_due {
        *said = Some(now);
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_between_halves_that_are_taken_are_said_once_a_minute() {
        let (mut outage, begin) = (Outage::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let said = (0..180).filter(|second| {
            let is_said = outage.refused(at(*second));
            assert_eq!(outage.end(at(*second)), None, "a refusal is no outage");
            is_said
        });
        assert_eq!(said.collect::<Vec<_>>(), [0, 60, 120]);
    }

    #[test]
    fn outages_are_said_once_a_minute_and_their_ends_where_their_beginning_was() {
        let (mut outage, begin) = (Outage::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        assert!(outage.later(at(0)) && !outage.later(at(5)));
        assert!(outage.refused(at(6)), "a refusal is said apart");
        assert_eq!(outage.end(at(10)), Some(Duration::from_secs(10)));
        assert!(!outage.later(at(20)));
        assert_eq!(outage.end(at(21)), None, "it was not said to have begun");
        assert!(!outage.later(at(50)) && outage.later(at(60)));
        assert_eq!(outage.end(at(70)), Some(Duration::from_secs(20)));
    }
}
