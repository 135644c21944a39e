//! How severe a line is, by what it and its labels say. Cheap and bounded: it runs once a line on the way in, looks only at
//! the head of a line, and never changes it. Pure; used by every log source.

use memchr::{memchr, memchr_iter, memmem};
use weir_model::log::{SEVERITY_CRITICAL, replace_colours, severity_of_name};

/// A level's word stands at the head of a line or not at all.
const WORD_HEAD: usize = 128;
/// A level's field may stand behind many others.
const FIELD_HEAD: usize = 4096;

/// What fields with a level are called, in JSON and logfmt, in any case.
const FIELDS: [&str; 11] = [
    "level",
    "severity",
    "lvl",
    "log.level",
    "log_level",
    "loglevel",
    "severity_text",
    "severitytext",
    "levelname",
    "@l",
    "@level",
];
/// What labels and structured metadata with a level are called, in any case.
const LABELS: [&str; 9] =
    ["detected_level", "level", "severity", "lvl", "log_level", "loglevel", "severity_text", "severitytext", "levelname"];

/// OpenTelemetry's severity number, 0 when the line does not say. A JSON object says it in a field. Other lines, in this
/// order: syslog's `<11>`, klog's `I0102 ` and its like, logfmt's `level=`, a word such as ` INFO ` or `[error]`, a JSON
/// object further on. Colours do not matter.
pub fn of_line(line: &[u8]) -> u8 {
    let head = trim_start(&line[..line.len().min(FIELD_HEAD)]);
    if memchr(0x1b, head).is_none() {
        return of_text(head, head);
    }
    // A coloured word is set apart as one in brackets is.
    of_text(trim_start(&replace_colours(head, b"")), &replace_colours(head, b"|"))
}

/// What labels or structured metadata say.
pub fn of_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Option<u8> {
    let rank = |name: &str| LABELS.iter().position(|known| known.eq_ignore_ascii_case(name));
    let ranked = labels.filter_map(|(name, value)| Some((rank(name)?, severity_of_name(value.as_bytes())?)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, severity)| severity)
}

fn of_text(head: &[u8], words: &[u8]) -> u8 {
    if head.first() == Some(&b'{') {
        return json_field(head).unwrap_or(0);
    }
    syslog(head)
        .or_else(|| letter(head))
        .or_else(|| logfmt_field(head))
        .or_else(|| word(&words[..words.len().min(WORD_HEAD)]))
        .or_else(|| json_field(&head[memmem::find(head, b"{\"")?..]))
        .unwrap_or(0)
}

fn is_field(name: &[u8]) -> bool {
    FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
}

fn json_field(head: &[u8]) -> Option<u8> {
    let mut before = 0;
    for quote in memchr_iter(b'"', head) {
        let name = &head[before..quote];
        before = quote + 1;
        if is_field(name)
            && let Some(value) = trim_start(&head[before..]).strip_prefix(b":")
            && let Some(number) = level(trim_start(value))
        {
            return Some(number);
        }
    }
    None
}

fn logfmt_field(head: &[u8]) -> Option<u8> {
    memchr_iter(b'=', head).find_map(|equals| {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@');
        let start = head[..equals].iter().rposition(|byte| !is_name(byte)).map_or(0, |at| at + 1);
        is_field(&head[start..equals]).then(|| level(&head[equals + 1..])).flatten()
    })
}

/// A quoted or bare level, or pino's and bunyan's number (10 trace … 60 fatal).
fn level(text: &[u8]) -> Option<u8> {
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(text.len());
    severity_of_name(&text[..end]).or(match &text[..end] {
        b"10" => Some(1),
        b"20" => Some(5),
        b"30" => Some(9),
        b"40" => Some(13),
        b"50" => Some(17),
        b"60" => Some(21),
        _ => None,
    })
}

/// `<11>…`: facility times eight, and how severe: 0 emergency … 7 debug (RFC 5424).
fn syslog(head: &[u8]) -> Option<u8> {
    const SEVERITIES: [u8; 8] = [21, SEVERITY_CRITICAL, SEVERITY_CRITICAL, 17, 13, 10, 9, 5];
    let digits = head.strip_prefix(b"<")?;
    let digits = &digits[..memchr(b'>', &digits[..digits.len().min(4)])?];
    let priority = digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + usize::from(byte - b'0')))?;
    (!digits.is_empty() && priority < 192).then(|| SEVERITIES[priority % 8])
}

/// A letter and a date: `I0102 15:04:05` (klog), `I20260102 15:04:05` (glog), `[I 2026-01-02` (Python), `I, [2026-01-02` (Ruby).
fn letter(head: &[u8]) -> Option<u8> {
    let bracketed = head.first() == Some(&b'[');
    let head = head.strip_prefix(b"[").unwrap_or(head);
    let number = match head.first()? {
        b'D' => 5,
        b'I' => 9,
        b'W' => 13,
        b'E' => 17,
        b'C' if bracketed => SEVERITY_CRITICAL,
        b'F' => 21,
        _ => return None,
    };
    let rest = &head[1..];
    let date = match (bracketed, rest.strip_prefix(b", [")) {
        (true, _) => rest.strip_prefix(b" ")?.iter().take(2).all(u8::is_ascii_digit),
        (false, Some(date)) => date.first().is_some_and(u8::is_ascii_digit),
        (false, None) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            matches!(digits, 4 | 8) && rest.get(digits) == Some(&b' ')
        }
    };
    date.then_some(number)
}

/// The first word of the head that is a level in capitals, or in any case: between brackets, before a colon, as the first
/// word behind a time, or as the line's first word when it is bad news or stands in a column of its own.
fn word(head: &[u8]) -> Option<u8> {
    let (mut at, mut leading) = (0, true);
    while at < head.len() {
        if !head[at].is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        let end = head[at..].iter().position(|byte| !byte.is_ascii_alphanumeric()).map_or(head.len(), |length| at + length);
        let (text, rest) = (&head[at..end], &head[end..]);
        let bracketed = at > 0 && matches!(head[at - 1], b'[' | b'<' | b'|') || rest.first() == Some(&b':');
        let apart = rest.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'));
        let column = at > 0 || rest.starts_with(b"  ") || rest.starts_with(b"\t");
        if let Some(number) = severity_of_name(text)
            && (bracketed || text.iter().all(u8::is_ascii_uppercase) || leading && apart && (column || matches!(number, 13..=21)))
        {
            return Some(number);
        }
        // Letters of a time: `T12`, `Z`.
        leading &= text.len() == 1 || text.iter().any(u8::is_ascii_digit);
        at = end;
    }
    None
}

fn trim_start(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: u8) {
        assert_eq!(of_line(line.as_bytes()), expected, "{line}");
    }

    #[test]
    fn fields() {
        check(r#"{"ts":1,"level":"warn","msg":"x"}"#, 13);
        check(r#"{"severity": "ERROR"}"#, 17);
        check(r#"{"SeverityText" : "Critical"}"#, SEVERITY_CRITICAL);
        check(r#"{"level":30,"pid":1}"#, 9);
        check(r#"{"logLevel":"error","a":1}"#, 17);
        check(r#"{"@level":"error","a":1}"#, 17);
        check(r#"{"loglevels":"error","a":1}"#, 0);
        check("LOG_LEVEL=warn msg=x", 13);
        check(r#"{"msg":"level: error"}"#, 0);
        check(r#"{"msg":"say \"level\":\"error\"","level":"info"}"#, 9);
        check(&format!(r#"{{"msg":"{}","level":"error"}}"#, "x".repeat(2000)), 17);
        check("time=1 level=debug msg=x", 5);
        check("sublevel=error level=info", 9);
        check(&format!(r#"msg="{}" Level="Error""#, "x".repeat(300)), 17);
        check(r#"2026-01-01T12:00:00Z stdout {"level":"error"}"#, 17);
        check(r#"from shop: {"a":{"level":"error"}}"#, 17);
    }

    #[test]
    fn letters_and_priorities() {
        check("I0102 15:04:05.000000       1 main.go:1] hi", 9);
        check("E0102 15:04:05.000000       1 main.go:1] hi", 17);
        check("W20260102 15:04:05.000000  1 main.cc:1] hi", 13);
        check("[E 2026-01-02 15:04:05.000 ServerApp] hi", 17);
        check("F, [2026-01-02T15:04:05.000000 #1] FATAL -- : hi", 21);
        check("E02 is a room", 0);
        check("[I am here]", 0);
        check("<11>1 2026-01-01T12:00:00Z host app - - - it failed", 17);
        check("<190>Jan  1 12:00:00 host app: all is well", 9);
        check("<2>the disk is gone", SEVERITY_CRITICAL);
        check("<192>x", 0);
        check("<>x", 0);
    }

    #[test]
    fn words() {
        check("2026-01-01 12:00:00 INFO starting", 9);
        check("2026-01-01 [error] 12#0: open() failed", 17);
        check("WARNING: low disk", 13);
        check("panic: runtime error", 21);
        check("2026-01-01T12:00:00.123Z info starting", 9);
        check("[2026-01-01T12:00:00Z warn  hyper] retrying", 13);
        check("12:00:00 [main] debug is on", 0);
        check("Error opening the file", 17);
        check("Alert sent to all", 0);
        check("info  - ready", 9);
        check("info about the error", 0);
        check("the error was fine", 0);
        check("INFORMATIVE text", 0);
        check("", 0);
        check(&format!("{} ERROR", "x".repeat(200)), 0);
    }

    #[test]
    fn colours_hide_nothing() {
        check("\x1b[2m2026-01-01T12:00:00Z\x1b[0m \x1b[31mERROR\x1b[0m boom", 17);
        check("\x1b[32minfo\x1b[39m ready", 9);
        check("\x1b[33mwarn\x1b[0m: low", 13);
        check("\x1b[36mlevel\x1b[0m=\x1b[31merror\x1b[0m msg=x", 17);
        check("12:00:00.123 \x1b[31mERR\x1b[0m failed", 17);
        check("\x1b[1;31mE0102 15:04:05.000000 1 main.go:1] hi\x1b[0m", 17);
        check("\x1b[31mthe error was fine\x1b[0m", 0);
    }

    #[test]
    fn labels_say_it_too() {
        let said = |name: &str, value: &str| of_labels([("app", "error"), (name, value)].into_iter());
        assert_eq!(said("level", "ERROR"), Some(17));
        assert_eq!(said("severity_text", "Warn"), Some(13));
        for name in ["LEVEL", "Level", "SEVERITY", "SeverityText", "logLevel"] {
            assert_eq!(said(name, "error"), Some(17), "{name}");
        }
        assert_eq!(of_labels([("Level", "info"), ("DETECTED_LEVEL", "warn")].into_iter()), Some(13), "the surest name counts");
        assert_eq!(said("level", "high"), None);
        assert_eq!(said("floor", "info"), None);
    }
}
