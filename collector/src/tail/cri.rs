//! One physical line of a CRI log: `<RFC 3339 time> <stdout|stderr> <tags> <message>`, where the first tag is `P` (goes on
//! in the stream's next line) or `F`. Pure; called by [`super::assemble`].

use weir_model::time::UnixNanos;

use super::{Part, Stream};

/// The line without its line end; `None` when it is no CRI line.
pub(super) fn parse(line: &[u8]) -> Option<Part<'_>> {
    let space = memchr::memchr(b' ', line)?;
    let timestamp = timestamp(&line[..space])?;
    let rest = &line[space + 1..];
    let (stream, rest) = match rest.get(..7)? {
        b"stdout " => (Stream::Stdout, &rest[7..]),
        b"stderr " => (Stream::Stderr, &rest[7..]),
        _ => return None,
    };
    // A message may be empty, and some writers then leave the space out.
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let partial = match rest[..end].split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Part { timestamp, stream, partial, body: rest.get(end + 1..).unwrap_or_default().into() })
}

/// `2016-10-06T00:17:09.669794202Z` or with an offset such as `+02:00`; up to nine digits of the second. Years 1970 to 2261.
pub(super) fn timestamp(text: &[u8]) -> Option<UnixNanos> {
    let fixed = text.get(..19)?;
    let shape =
        fixed[4] == b'-' && fixed[7] == b'-' && matches!(fixed[10], b'T' | b't') && fixed[13] == b':' && fixed[16] == b':';
    if !shape {
        return None;
    }
    let (year, month, day) = (number(&fixed[..4])?, number(&fixed[5..7])?, number(&fixed[8..10])?);
    let (hour, minute, second) = (number(&fixed[11..13])?, number(&fixed[14..16])?, number(&fixed[17..19])?);
    let in_range = (1970..2262).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, zone) = fraction(&text[19..])?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_seconds(zone)?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Nanoseconds and what follows them.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    if !(1..=9).contains(&length) {
        return None;
    }
    Some((number(&rest[..length])? * 10_i64.pow(9 - length as u32), &rest[length..]))
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let seconds = number(&[*h1, *h2])? * 3600 + number(&[*m1, *m2])? * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |line: &str, expected: Option<(i64, Stream, bool, &str)>| {
            let part = parse(line.as_bytes());
            let seen =
                part.as_ref().map(|part| (part.timestamp, part.stream, part.partial, std::str::from_utf8(&part.body).unwrap()));
            assert_eq!(seen, expected, "{line}");
        };
        let at = 1_475_713_029_669_794_202;
        check("2016-10-06T00:17:09.669794202Z stdout F log content 1", Some((at, Stream::Stdout, false, "log content 1")));
        check("2016-10-06T00:17:09.669794202Z stderr P log  content 2", Some((at, Stream::Stderr, true, "log  content 2")));
        check("2016-10-06T02:17:09.669794202+02:00 stdout F x", Some((at, Stream::Stdout, false, "x")));
        check("2016-10-06T00:17:09Z stdout P:TAG x", Some((at / 1_000_000_000 * 1_000_000_000, Stream::Stdout, true, "x")));
        check("2016-10-06T00:17:09.669794202Z stdout F:a:b x", Some((at, Stream::Stdout, false, "x")));
        check("2016-10-06T00:17:09.669794202Z stdout F ", Some((at, Stream::Stdout, false, "")));
        check("2016-10-06T00:17:09.669794202Z stdout F", Some((at, Stream::Stdout, false, "")));
        check("2016-10-06T00:17:09.669794202Z stdin F x", None);
        check("2016-10-06T00:17:09.669794202Z stdout Q x", None);
        check("2016-10-06 stdout F x", None);
        check("2016-13-06T00:17:09Z stdout F x", None);
        check("2016-10-06T00:17:09.Z stdout F x", None);
        check("2016-10-06T00:17:09.0000000001Z stdout F x", None);
        check("2016-10-06T00:17:09+2:00 stdout F x", None);
        check("", None);
        check(" ", None);
    }

    #[test]
    fn timestamps_agree_with_the_calendar() {
        for seconds in (0..9_000_000_000_i64).step_by(86_400 * 37 + 12_345) {
            let text = weir_model::time::format_rfc3339(seconds * 1_000_000_000);
            assert_eq!(timestamp(text.as_bytes()), Some(seconds * 1_000_000_000), "{text}");
        }
    }
}
