//! Unix nanoseconds, time ranges, and the spellings of times and durations in the field's APIs.

use thiserror::Error;

use crate::clip;

/// Nanoseconds since the Unix epoch, UTC. Signed, as OTLP and Loki have years 1677 to 2262 in common.
pub type UnixNanos = i64;

/// Nanoseconds of a second.
pub const SECOND: i64 = 1_000_000_000;

/// From `start` (inclusive) to `end` (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// Inclusive.
    pub start: UnixNanos,
    /// Exclusive.
    pub end: UnixNanos,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// Whether an instant lies within.
    pub fn contains(&self, at: UnixNanos) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether the closed span from `first` to `last` has an instant in common with this range.
    pub fn overlaps(&self, first: UnixNanos, last: UnixNanos) -> bool {
        first < self.end && last >= self.start
    }
}

/// What is wrong with the text of a time or duration.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TimeError {
    /// Neither a number nor RFC 3339.
    #[error("not a time: {0:?} (a Unix time in seconds or nanoseconds, or RFC 3339 such as 2026-01-31T12:00:00Z)")]
    Time(String),
    /// Nothing that [`parse_instant`](crate::instant::parse_instant) takes.
    #[error(
        "not a time: {0:?} (now, now-15m, 2026-01-31 12:00 in local time, 2026-01-31T12:00:00Z, or a Unix time in seconds, \
             milliseconds or nanoseconds)"
    )]
    Instant(String),
    /// Not a Prometheus duration.
    #[error("not a duration: {0:?} (for instance 90s, 5m, 1h30m, 7d)")]
    Duration(String),
}

/// A time as Prometheus' API takes it: seconds (with a fraction if need be) or RFC 3339.
pub fn parse_time_seconds(text: &str) -> Result<UnixNanos, TimeError> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < i64::MAX as f64 / 1e9 => Ok(seconds_to_nanos(seconds)),
        Ok(_) => Err(TimeError::Time(clip(text))),
        Err(_) => parse_rfc3339(text),
    }
}

/// A time as Loki's API takes it: an integer of up to 10 digits is seconds, a longer one nanoseconds, a number with a
/// fraction seconds, else RFC 3339.
pub fn parse_time_loki(text: &str) -> Result<UnixNanos, TimeError> {
    match text.parse::<i64>() {
        Ok(number) if text.trim_start_matches(['-', '+']).len() <= 10 => Ok(number * SECOND),
        Ok(number) => Ok(number),
        Err(_) => parse_time_seconds(text),
    }
}

fn parse_rfc3339(text: &str) -> Result<UnixNanos, TimeError> {
    let time: jiff::Timestamp = text.parse().map_err(|_| TimeError::Time(clip(text)))?;
    i64::try_from(time.as_nanosecond()).map_err(|_| TimeError::Time(clip(text)))
}

/// RFC 3339 in UTC with as many digits of the second as it takes.
pub fn format_rfc3339(at: UnixNanos) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at)).map_or_else(|_| at.to_string(), |time| time.to_string())
}

fn seconds_to_nanos(seconds: f64) -> UnixNanos {
    // Split first: a product of f64 would lose the milliseconds' last digits at today's dates.
    let whole = seconds.floor();
    whole as i64 * SECOND + ((seconds - whole) * 1e6).round() as i64 * 1000
}

const UNITS: [(&str, i64); 9] = [
    ("ns", 1),
    ("us", 1000),
    ("µs", 1000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", 24 * 3600 * SECOND),
    ("w", 7 * 24 * 3600 * SECOND),
];
const YEAR: (&str, i64) = ("y", 365 * 24 * 3600 * SECOND);

/// A duration as PromQL and LogQL write it (`1h30m`, `250ms`, `1.5h`), or a number of seconds; in nanoseconds, never negative.
pub fn parse_duration(text: &str) -> Result<i64, TimeError> {
    let wrong = || TimeError::Duration(clip(text));
    if let Ok(seconds) = text.parse::<f64>() {
        let fits = seconds.is_finite() && (0.0..i64::MAX as f64 / 1e9).contains(&seconds);
        return if fits { Ok(seconds_to_nanos(seconds)) } else { Err(wrong()) };
    }
    let mut total = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, nanos) = UNITS.iter().chain(std::iter::once(&YEAR)).find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = match number.parse::<i64>() {
            Ok(number) => number.checked_mul(*nanos).ok_or_else(wrong)?,
            Err(_) => {
                let part = number.parse::<f64>().map_err(|_| wrong())? * *nanos as f64;
                if part < i64::MAX as f64 { part as i64 } else { return Err(wrong()) }
            }
        };
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// A duration as Prometheus prints it: `1h30m`, `250ms`, `0s`. Below a millisecond it goes on with `us` and `ns`.
pub fn format_duration(nanos: i64) -> String {
    let mut rest = nanos.unsigned_abs();
    let mut text = String::from(if nanos < 0 { "-" } else { "" });
    for (name, unit) in std::iter::once(&YEAR).chain(UNITS.iter().rev()).filter(|(name, _)| !matches!(*name, "µs" | "w")) {
        let count = rest / unit.unsigned_abs();
        rest %= unit.unsigned_abs();
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
        }
    }
    if nanos == 0 { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse_duration(text).ok(), expected, "{text}");
        check("5m", Some(300 * SECOND));
        check("1h30m", Some(5400 * SECOND));
        check("1.5h", Some(5400 * SECOND));
        check("250ms", Some(SECOND / 4));
        check("15", Some(15 * SECOND));
        check("1y", Some(365 * 86400 * SECOND));
        for wrong in ["", "m", "5", "5x", "5m3", "-5m", "1e400", "999999999999y", "inf", "NaN"] {
            if wrong != "5" {
                check(wrong, None);
            }
        }
        assert_eq!(format_duration(5_400_250_000_000), "1h30m250ms");
        assert_eq!(format_duration(0), "0s");
    }

    #[test]
    fn times() {
        assert_eq!(parse_time_loki("1661145522"), Ok(1_661_145_522 * SECOND));
        assert_eq!(parse_time_loki("1661145522908318000"), Ok(1_661_145_522_908_318_000));
        assert_eq!(parse_time_loki("1661145522.5"), Ok(1_661_145_522_500_000_000));
        assert_eq!(parse_time_seconds("2022-08-22T05:18:42.908318Z"), Ok(1_661_145_522_908_318_000));
        assert_eq!(parse_time_seconds("1661145522.908"), Ok(1_661_145_522_908_000_000));
        for wrong in ["", "yesterday", "NaN", "1e300", "2022-13-01T00:00:00Z"] {
            assert!(parse_time_seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format_rfc3339(1_661_145_522_908_318_000), "2022-08-22T05:18:42.908318Z");
    }
}
