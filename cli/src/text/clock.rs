//! Times as the command line reads and writes them: in the local zone (`TZ`, or the system's), which every time written names by
//! its offset.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use weir_model::instant::parse_instant;
use weir_model::time::{TimeError, UnixNanos};

/// Reads and writes times.
pub(crate) struct Clock {
    zone: TimeZone,
}

impl Clock {
    /// In the zone of `TZ`, else of the system; UTC where neither is known.
    pub fn local() -> Self {
        let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
        Self { zone }
    }

    /// An instant as people write it; without a zone of its own it is local.
    pub fn parse(&self, text: &str, now: UnixNanos) -> Result<UnixNanos, TimeError> {
        parse_instant(text, now, &self.zone)
    }

    /// To the millisecond: `2026-11-27T10:00:00.250+01:00`, with `Z` for UTC.
    pub fn millis(&self, at: UnixNanos) -> String {
        self.format(at, "%Y-%m-%dT%H:%M:%S%.3f")
    }

    /// To the second.
    pub fn seconds(&self, at: UnixNanos) -> String {
        self.format(at, "%Y-%m-%dT%H:%M:%S")
    }

    fn format(&self, at: UnixNanos, format: &str) -> String {
        let Ok(time) = Timestamp::from_nanosecond(i128::from(at)) else { return at.to_string() };
        let time = time.to_zoned(self.zone.clone());
        let offset = if time.offset().seconds() == 0 { "Z".to_owned() } else { time.strftime("%:z").to_string() };
        format!("{}{offset}", time.strftime(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_name_their_zone_and_are_read_again() {
        let at = 1_795_766_400_250_000_000;
        let clock = |hours| Clock { zone: TimeZone::fixed(jiff::tz::offset(hours)) };
        let check = |hours, expected: &str| {
            let text = clock(hours).millis(at);
            assert_eq!(text, expected);
            assert_eq!(clock(-3).parse(&text, 0), Ok(at), "{text}");
        };
        check(0, "2026-11-27T08:00:00.250Z");
        check(2, "2026-11-27T10:00:00.250+02:00");
        check(-9, "2026-11-26T23:00:00.250-09:00");
        assert_eq!(clock(2).seconds(at), "2026-11-27T10:00:00+02:00");
        assert_eq!(clock(2).parse("2026-11-27 10:00:00.25", 0), Ok(at), "without a zone it is local");
    }
}
