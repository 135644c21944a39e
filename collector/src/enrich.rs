//! What a line says about itself: its severity and its trace context. Cheap and bounded: it runs once a line on the way
//! in, looks only at the head of a line, and never changes it. Pure; used by every log source.

use memchr::memmem;
use weir_model::id::{SpanId, TraceId};

/// A severity word stands at the head of a line or not at all.
const SEVERITY_HEAD: usize = 128;
/// A JSON line's level may stand behind a few other fields.
const JSON_HEAD: usize = 512;
/// Ids stand in the head of a line or in its JSON; far into a stack trace nobody writes them.
const CONTEXT_HEAD: usize = 4096;
/// A span id stands this near to the trace id.
const SPAN_REACH: usize = 160;

/// OpenTelemetry's severity number, 0 when the line does not say. In this order: JSON `level|severity|lvl`, logfmt
/// `level=`, klog's `I0102 `, a level word such as ` INFO ` or `[error]`.
pub fn severity(line: &[u8]) -> u8 {
    let start = line.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(line.len());
    let line = &line[start..];
    if line.first() == Some(&b'{') {
        return json_level(&line[..line.len().min(JSON_HEAD)]);
    }
    let head = &line[..line.len().min(SEVERITY_HEAD)];
    klog(head).or_else(|| logfmt_level(head)).or_else(|| word(head)).unwrap_or(0)
}

/// The number of a level's name in any case: `warn` and `WARNING` are 13. `None` when it is no level.
pub fn severity_of_name(name: &[u8]) -> Option<u8> {
    const NAMES: [(&str, u8); 19] = [
        ("trace", 1),
        ("trc", 1),
        ("debug", 5),
        ("dbg", 5),
        ("info", 9),
        ("information", 9),
        ("inf", 9),
        ("notice", 10),
        ("warn", 13),
        ("warning", 13),
        ("wrn", 13),
        ("error", 17),
        ("err", 17),
        ("severe", 17),
        ("fatal", 21),
        ("critical", 21),
        ("crit", 21),
        ("panic", 21),
        ("emerg", 21),
    ];
    if !(3..=11).contains(&name.len()) {
        return None;
    }
    NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, number)| *number)
}

fn json_level(head: &[u8]) -> u8 {
    for key in [&b"level\""[..], b"severity\"", b"lvl\"", b"log.level\""] {
        for at in memmem::find_iter(head, key) {
            // The key's opening quote.
            if at == 0 || head[at - 1] != b'"' {
                continue;
            }
            let rest = trim_start(&head[at + key.len()..]);
            let Some(rest) = rest.strip_prefix(b":") else { continue };
            if let Some(number) = level_value(trim_start(rest)) {
                return number;
            }
        }
    }
    0
}

/// A quoted or bare level, or pino's and bunyan's number (10 trace … 60 fatal).
fn level_value(text: &[u8]) -> Option<u8> {
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

fn logfmt_level(head: &[u8]) -> Option<u8> {
    for key in [&b"level="[..], b"lvl=", b"severity="] {
        for at in memmem::find_iter(head, key) {
            if (at == 0 || !head[at - 1].is_ascii_alphanumeric())
                && let Some(number) = level_value(&head[at + key.len()..])
            {
                return Some(number);
            }
        }
    }
    None
}

/// `I0102 15:04:05`: Kubernetes' own components.
fn klog(head: &[u8]) -> Option<u8> {
    let number = match head.first()? {
        b'I' => 9,
        b'W' => 13,
        b'E' => 17,
        b'F' => 21,
        _ => return None,
    };
    let digits = head.get(1..5)?.iter().all(u8::is_ascii_digit);
    (digits && head.get(5) == Some(&b' ')).then_some(number)
}

/// The first word of the head that is a level in capitals, or in any case between brackets or before a colon.
fn word(head: &[u8]) -> Option<u8> {
    let mut at = 0;
    while at < head.len() {
        if !head[at].is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        let end = head[at..].iter().position(|byte| !byte.is_ascii_alphanumeric()).map_or(head.len(), |length| at + length);
        let text = &head[at..end];
        let bracketed = at > 0 && matches!(head[at - 1], b'[' | b'<' | b'|') || head.get(end) == Some(&b':');
        if (bracketed || text.iter().all(u8::is_ascii_uppercase))
            && let Some(number) = severity_of_name(text)
        {
            return Some(number);
        }
        at = end;
    }
    None
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len());
    &text[start..]
}

/// The trace and span id that the line names (`trace_id=…`, `"traceId": "…"`, `TraceID: …`), none where it does not.
/// A trace id has 32 hex digits, a span id 16; a span id counts only near a trace id.
pub fn context(line: &[u8]) -> (TraceId, SpanId) {
    let head = &line[..line.len().min(CONTEXT_HEAD)];
    for at in memmem::find_iter(head, b"race") {
        if at == 0 || !head[at - 1].eq_ignore_ascii_case(&b't') {
            continue;
        }
        let Some((bytes, _)) = id_after::<16>(&head[at + 4..]) else { continue };
        let near = &head[at.saturating_sub(SPAN_REACH)..head.len().min(at + SPAN_REACH)];
        return (TraceId(bytes), span_near(near));
    }
    (TraceId::default(), SpanId::default())
}

fn span_near(near: &[u8]) -> SpanId {
    memmem::find_iter(near, b"pan")
        .filter(|at| *at > 0 && near[*at - 1].eq_ignore_ascii_case(&b's'))
        .find_map(|at| id_after::<8>(&near[at + 3..]))
        .map(|(bytes, _)| SpanId(bytes))
        .unwrap_or_default()
}

/// `_id": "` and the like, then `2 N` hex digits that end there; not all zero.
fn id_after<const N: usize>(text: &[u8]) -> Option<([u8; N], usize)> {
    let text = match text.first()? {
        b'_' | b'-' | b'.' => &text[1..],
        _ => text,
    };
    if !text.get(..2)?.eq_ignore_ascii_case(b"id") {
        return None;
    }
    let between =
        text[2..].iter().take(6).take_while(|byte| matches!(byte, b'"' | b'\'' | b':' | b'=' | b' ' | b'[' | b'(' | b'\\'));
    let start = 2 + between.count();
    let digits = text.get(start..start + 2 * N)?;
    let ends = start > 2 && !text.get(start + 2 * N).is_some_and(u8::is_ascii_hexdigit);
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    (ends && bytes != [0; N]).then_some((bytes, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities() {
        let check = |line: &str, expected: u8| assert_eq!(severity(line.as_bytes()), expected, "{line}");
        check(r#"{"ts":1,"level":"warn","msg":"x"}"#, 13);
        check(r#"{"severity": "ERROR"}"#, 17);
        check(r#"{"level":30,"pid":1}"#, 9);
        check(r#"{"loglevel":"error","a":1}"#, 0);
        check(r#"{"msg":"level: error"}"#, 0);
        check("time=1 level=debug msg=x", 5);
        check("sublevel=error level=info", 9);
        check("I0102 15:04:05.000000       1 main.go:1] hi", 9);
        check("E0102 15:04:05.000000       1 main.go:1] hi", 17);
        check("2026-01-01 12:00:00 INFO starting", 9);
        check("2026-01-01 [error] 12#0: open() failed", 17);
        check("WARNING: low disk", 13);
        check("panic: runtime error", 21);
        check("the error was fine", 0);
        check("INFORMATIVE text", 0);
        check("", 0);
        check(&format!("{} ERROR", "x".repeat(200)), 0);
    }

    #[test]
    fn contexts() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        let check = |line: String, expected_trace: &str, expected_span: &str| {
            let (trace, span) = context(line.as_bytes());
            let text = |none: bool, text: String| if none { String::new() } else { text };
            assert_eq!(text(trace.is_none(), trace.to_string()), expected_trace, "{line}");
            assert_eq!(text(span.is_none(), span.to_string()), expected_span, "{line}");
        };
        check(format!("trace_id={trace} span_id={span} x"), trace, span);
        check(format!(r#"{{"span_id":"{span}","traceId": "{trace}"}}"#), trace, span);
        check(format!("TraceID: {trace} SpanID: {span} hello"), trace, span);
        check(format!(r#"{{\"trace.id\":\"{trace}\"}}"#), trace, "");
        check(format!("trace_id={trace}0"), "", "");
        check(format!("trace_id={}", "0".repeat(32)), "", "");
        check(format!("traceid{trace}"), "", "");
        check(format!("span_id={span}"), "", "");
        check(format!("stacktrace id={trace}"), "", "");
        check("trace_id=".into(), "", "");
        check("race".into(), "", "");
    }
}
