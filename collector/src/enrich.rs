//! Which trace and span a line names. Cheap and bounded: it runs once a line on the way in, looks only at the head of a
//! line, and never changes it. Pure; used by every log source.

use memchr::memmem;
use weir_model::id::{SpanId, TraceId};

/// Ids stand in the head of a line or in its JSON; far into a stack trace nobody writes them.
const CONTEXT_HEAD: usize = 4096;
/// A span id stands this near to the trace id.
const SPAN_REACH: usize = 160;

/// What structured metadata with an id is called: OpenTelemetry's name, and those of its loggers before it.
const TRACE_NAMES: [&str; 5] = ["trace_id", "traceID", "traceId", "traceid", "TraceId"];
const SPAN_NAMES: [&str; 5] = ["span_id", "spanID", "spanId", "spanid", "SpanId"];

/// The trace and span id that metadata names, when it names a trace.
pub fn named_context<'a>(metadata: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Option<(TraceId, SpanId)> {
    let trace = |value: &str| value.parse().ok().filter(|id: &TraceId| !id.is_none());
    let trace = first_named(metadata.clone(), &TRACE_NAMES, trace)?;
    Some((trace, first_named(metadata, &SPAN_NAMES, |value| value.parse().ok()).unwrap_or_default()))
}

/// What `read` makes of the value that has the first of these names, of those that it makes something of.
fn first_named<'a, T>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    names: &[&str],
    read: impl Fn(&'a str) -> Option<T>,
) -> Option<T> {
    let ranked = pairs.filter_map(|(name, value)| Some((names.iter().position(|known| *known == name)?, read(value)?)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, found)| found)
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

    #[test]
    fn metadata_comes_before_the_line() {
        let line = format!("trace_id={} x", "1".repeat(32));
        let check = |names: &[(&str, &str)], expected_trace: &str, expected_span: &str| {
            let (trace, span) = named_context(names.iter().copied()).unwrap_or_else(|| context(line.as_bytes()));
            assert_eq!((trace.to_string().as_str(), span.to_string().as_str()), (expected_trace, expected_span), "{names:?}");
        };
        let (two, none) = ("2".repeat(32), "0".repeat(16));
        check(&[("trace_id", &two), ("span_id", "00f067aa0ba902b7")], &two, "00f067aa0ba902b7");
        check(&[("traceID", &two), ("spanId", "00f067aa0ba902b7")], &two, "00f067aa0ba902b7");
        check(&[("TraceId", &two)], &two, &none);
        check(&[("trace_id", "none")], &"1".repeat(32), &none);
        check(&[], &"1".repeat(32), &none);
    }
}
