//! Times that lines say of themselves, as a difference to the line's timestamp: `16:42:22.383`, `2023-01-29T08:42:22.383Z`.
//!
//! Only what is written back byte by byte is a time here: two digits a field, hours below 24, days that the month has.

use super::tokens::is_token_byte;

const DAY_SECONDS: i64 = 86_400;
/// A time of day that is up to a minute behind the timestamp has a small negative difference, not one of nearly a day.
const EARLY_SECONDS: i64 = 60;
/// So that timestamps in nanoseconds hold it.
const YEARS: std::ops::RangeInclusive<i64> = 1970..=2261;

/// How a time is written, as a byte: the bits below, and in the lowest two the digits of the fraction, divided by three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockFormat(u8);

/// `,` before the fraction, else `.`.
const COMMA: u8 = 4;
/// A date stands before.
const DATE: u8 = 8;
/// `T` between date and time, else a space.
const T: u8 = 16;
/// `Z` behind.
const ZULU: u8 = 32;

impl ClockFormat {
    /// From the byte; `None` when no format has it.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let format = Self(byte);
        let known = byte < 64 && (byte & COMMA == 0 || format.digits() > 0) && (byte & T == 0 || byte & DATE != 0);
        known.then_some(format)
    }

    /// The byte.
    pub(crate) fn byte(self) -> u8 {
        self.0
    }

    /// Bytes of a time.
    pub(crate) fn text_bytes(self) -> usize {
        let fraction = if self.digits() == 0 { 0 } else { 1 + self.digits() };
        8 + fraction + if self.has(DATE) { 11 } else { 0 } + usize::from(self.has(ZULU))
    }

    /// Whether a time has tokens that are indexed: other than of one to four digits.
    pub(crate) fn has_tokens(self) -> bool {
        self.has(T) || self.has(ZULU) || self.digits() >= super::tokens::NUMBER_BYTES_MIN
    }

    fn digits(self) -> usize {
        usize::from(self.0 & 3) * 3
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// In a second.
    fn units(self) -> i64 {
        10_i64.pow(self.digits() as u32)
    }

    /// Whole units of a timestamp.
    fn of_timestamp(self, timestamp: i64) -> i64 {
        timestamp.div_euclid(1_000_000_000 / self.units())
    }

    /// A time's difference to a timestamp; `time` as [`parse`] gives it.
    pub(crate) fn difference(self, time: i64, timestamp: i64) -> i64 {
        let difference = time.wrapping_sub(self.of_timestamp(timestamp));
        if self.has(DATE) {
            return difference;
        }
        let early = EARLY_SECONDS * self.units();
        (difference + early).rem_euclid(DAY_SECONDS * self.units()) - early
    }

    /// Appends the time that has this difference to a timestamp. Any difference gives a text of [`Self::text_bytes`] bytes.
    pub(crate) fn render(self, difference: i64, timestamp: i64, out: &mut Vec<u8>) {
        let time = difference.wrapping_add(self.of_timestamp(timestamp));
        let (seconds, fraction) = (time.div_euclid(self.units()), time.rem_euclid(self.units()));
        let second = seconds.rem_euclid(DAY_SECONDS);
        if self.has(DATE) {
            let (year, month, day) = civil_of_days(seconds.div_euclid(DAY_SECONDS));
            put_digits(out, year.rem_euclid(10_000), 4);
            out.push(b'-');
            put_digits(out, month, 2);
            out.push(b'-');
            put_digits(out, day, 2);
            out.push(if self.has(T) { b'T' } else { b' ' });
        }
        put_digits(out, second / 3600, 2);
        out.push(b':');
        put_digits(out, second / 60 % 60, 2);
        out.push(b':');
        put_digits(out, second % 60, 2);
        if self.digits() > 0 {
            out.push(if self.has(COMMA) { b',' } else { b'.' });
            put_digits(out, fraction, self.digits());
        }
        if self.has(ZULU) {
            out.push(b'Z');
        }
    }
}

/// A time at the start of a text that no token byte follows: how it is written, and what it says in units of its fraction, since
/// midnight, or since 1970 when it has a date.
pub(crate) fn parse(text: &[u8]) -> Option<(ClockFormat, i64)> {
    let (mut format, mut days, mut at) = (0, 0, 0);
    if text.get(4) == Some(&b'-') && text.get(7) == Some(&b'-') {
        let (year, month, day) = (number(text, 0, 4)?, number(text, 5, 2)?, number(text, 8, 2)?);
        days = days_of_civil(year, month, day);
        if !YEARS.contains(&year) || civil_of_days(days) != (year, month, day) {
            return None;
        }
        format |= match text.get(10)? {
            b'T' => DATE | T,
            b' ' => DATE,
            _ => return None,
        };
        at = 11;
    }
    if text.get(at + 2) != Some(&b':') || text.get(at + 5) != Some(&b':') {
        return None;
    }
    let (hour, minute, second) = (number(text, at, 2)?, number(text, at + 3, 2)?, number(text, at + 6, 2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    at += 8;
    let mut fraction = 0;
    if let Some(separator @ (b'.' | b',')) = text.get(at) {
        let digits = text[at + 1..].iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
        if matches!(digits, 3 | 6 | 9) {
            fraction = number(text, at + 1, digits)?;
            format |= (digits as u8 / 3) | if *separator == b',' { COMMA } else { 0 };
            at += 1 + digits;
        }
    }
    if text.get(at) == Some(&b'Z') {
        format |= ZULU;
        at += 1;
    }
    if text.get(at).is_some_and(|byte| is_token_byte(*byte)) {
        return None;
    }
    let format = ClockFormat(format);
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    Some((format, seconds.checked_mul(format.units())? + fraction))
}

fn number(text: &[u8], at: usize, digits: usize) -> Option<i64> {
    let text = text.get(at..at + digits)?;
    text.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

fn put_digits(out: &mut Vec<u8>, mut number: i64, digits: usize) {
    let start = out.len();
    out.resize(start + digits, b'0');
    for byte in out[start..].iter_mut().rev() {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Days since 1970 of a date of the Gregorian calendar, after Howard Hinnant's `days_from_civil`.
fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse, after his `civil_from_days`.
fn civil_of_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_were_written() {
        let check = |text: &str, read: Option<usize>| {
            let parsed = parse(text.as_bytes());
            assert_eq!(parsed.map(|(format, _)| format.text_bytes()), read, "{text:?}");
            let Some((format, time)) = parsed else { return };
            assert_eq!(ClockFormat::from_byte(format.byte()), Some(format));
            for timestamp in [0, 1_674_981_742_383_150_913, -1, i64::MIN, i64::MAX] {
                let mut out = Vec::new();
                format.render(format.difference(time, timestamp), timestamp, &mut out);
                assert_eq!(std::str::from_utf8(&out), Ok(&text[..out.len()]), "{text:?} at {timestamp}");
            }
        };
        check("16:42:22.383 INFO", Some(12));
        check("00:00:00", Some(8));
        check("23:59:59,999999 x", Some(15));
        check("2023-01-29T08:42:22.383150913Z", Some(30));
        check("2024-02-29 00:00:00", Some(19));
        check("1970-01-01T00:00:00Z]", Some(20));
        check("2261-12-31 23:59:59.999", Some(23));
        for no in
            ["24:00:00", "12:60:00", "12:00:60", "2023-02-29 00:00:00", "2300-01-01T00:00:00", "1:02:03", "12:34", "12:34:5x"]
        {
            check(no, None);
        }
        for no in ["12:34:56x", "12:34:56.123a", "2023-13-01 00:00:00", "2023-01-00 00:00:00", "2023-01-29_08:42:22"] {
            check(no, None);
        }
        // Of a fraction of another length the seconds are a time, and the rest is none.
        check("12:34:56.12", Some(8));
        check("12:34:56.1234567890", Some(8));
    }

    #[test]
    fn a_time_just_before_its_timestamp_has_a_small_difference() {
        let (format, time) = parse(b"23:59:59.990").unwrap();
        assert_eq!(format.difference(time, 1_000_000), -11);
        assert_eq!(format.difference(time, 86_399_000_000_000), 990);
    }

    /// What only harmful bytes have.
    #[test]
    fn any_difference_gives_a_text_of_the_same_length() {
        for format in (0..=u8::MAX).filter_map(ClockFormat::from_byte) {
            for (difference, timestamp) in [(i64::MIN, i64::MIN), (i64::MAX, i64::MAX), (i64::MAX, 0), (0, i64::MIN)] {
                let mut out = Vec::new();
                format.render(difference, timestamp, &mut out);
                assert_eq!(out.len(), format.text_bytes());
            }
        }
    }
}
