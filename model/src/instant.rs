//! Instants as people write them: what the page's address and the command line take.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::clip;
use crate::time::{SECOND, TimeError, UnixNanos, parse_duration, parse_time_seconds};

/// An integer of fewer digits is Unix seconds: until the year 5138.
const MILLISECOND_DIGITS: usize = 12;
/// One of at least so many is Unix nanoseconds, from 1970-01-12 on.
const NANOSECOND_DIGITS: usize = 16;

/// `now`, `now-1h30m`, a date with or without a time of day (in `zone` unless it names its own: `2026-11-27`, `2026-11-27 10:00`,
/// `2026-11-27T10:00:00.5Z`), or a Unix time in seconds, milliseconds or nanoseconds, told apart by their digits. A time that a
/// change of clocks leaves out or repeats is read as browsers do.
/// Errors with [`TimeError::Instant`].
pub fn parse_instant(text: &str, now: UnixNanos, zone: &TimeZone) -> Result<UnixNanos, TimeError> {
    let text = text.trim();
    let wrong = || TimeError::Instant(clip(text));
    if text == "now" {
        return Ok(now);
    }
    if let Some(back) = text.strip_prefix("now-") {
        // A bare number is a duration elsewhere; here it could be seconds or minutes.
        let has_unit = back.ends_with(|last: char| last.is_alphabetic());
        let back = parse_duration(back).ok().filter(|_| has_unit).ok_or_else(wrong)?;
        return now.checked_sub(back).ok_or_else(wrong);
    }
    if let Ok(number) = text.parse::<i64>() {
        let unit = match text.trim_start_matches(['-', '+']).len() {
            ..MILLISECOND_DIGITS => SECOND,
            MILLISECOND_DIGITS..NANOSECOND_DIGITS => SECOND / 1000,
            _ => 1,
        };
        return number.checked_mul(unit).ok_or_else(wrong);
    }
    parse_time_seconds(text).or_else(|_| in_zone(text, zone)).map_err(|_| wrong())
}

/// A date, with or without a time of day, that names no zone.
fn in_zone(text: &str, zone: &TimeZone) -> Result<UnixNanos, TimeError> {
    let wrong = || TimeError::Instant(clip(text));
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"-:. T".contains(&byte));
    let date: DateTime = text.parse().ok().filter(|_| is_plain).ok_or_else(wrong)?;
    let at = date.to_zoned(zone.clone()).map_err(|_| wrong())?.timestamp();
    i64::try_from(at.as_nanosecond()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = 1_795_773_600 * SECOND + 5;

    fn check(text: &str, expected: Option<UnixNanos>) {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(parse_instant(text, NOW, &zone).ok(), expected, "{text:?}");
    }

    #[test]
    fn relative_to_now() {
        check("now", Some(NOW));
        check(" now-1h30m ", Some(NOW - 5400 * SECOND));
        check("now-250ms", Some(NOW - SECOND / 4));
        for wrong in ["now-", "now-5", "now+1h", "now - 1h", "Now", "-1h", "1h", "now-999999y"] {
            check(wrong, None);
        }
    }

    #[test]
    fn numbers_by_their_digits() {
        check("1795773600", Some(1_795_773_600 * SECOND));
        check("1795773600.5", Some(1_795_773_600 * SECOND + SECOND / 2));
        check("1795773600500", Some(1_795_773_600 * SECOND + SECOND / 2));
        check("1795773600000000005", Some(NOW));
        check("0", Some(0));
        for wrong in ["99999999999", "99999999999999999999", "1e300", "NaN"] {
            check(wrong, None);
        }
    }

    #[test]
    fn dates_in_the_zone_and_in_their_own() {
        let ten = 1_795_766_400 * SECOND;
        for same in
            ["2026-11-27 10:00", "2026-11-27T10:00", "2026-11-27 10:00:00", "2026-11-27T08:00:00Z", "2026-11-27T09:00+01:00"]
        {
            check(same, Some(ten));
        }
        check("2026-11-27", Some(ten - 36_000 * SECOND));
        check("2026-11-27 10:00:00.000000001", Some(ten + 1));
        for wrong in
            ["", "yesterday", "2026-13-01", "2026-11-27 25:00", "27.11.2026", "2026-11-27 10:00 Berlin", "2026-11-27 10:00[UTC]"]
        {
            check(wrong, None);
        }
    }
}
