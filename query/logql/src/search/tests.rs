//! Texts as people type them: what they become, and what that finds.

use proptest::prelude::{prop_assert, proptest};
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::select::NoBudget;
use weir_model::time::TimeRange;

use super::{Search, to_logql};
use crate::eval::lines::{LogOptions, lines};
use crate::memory::MemoryLogs;
use crate::{Expr, parse_open};

fn logql(text: &str) -> Result<String, String> {
    to_logql(&Search { text, ..Search::default() }).map_err(|error| error.to_string())
}

#[test]
fn what_is_typed_becomes() {
    let check = |text: &str, expected: &str| assert_eq!(logql(text).as_deref(), Ok(expected), "{text}");
    check("", "{}");
    check("  ", "{}");
    check("error", r#"{} |~ "(?i)error""#);
    check("checkout failed", r#"{} |~ "(?i)checkout" |~ "(?i)failed""#);
    check("checkout AND failed", r#"{} |~ "(?i)checkout" |~ "(?i)failed""#);
    check(r#""checkout failed""#, r#"{} |~ "(?i)checkout failed""#);
    check(r#""say \"no\"""#, r#"{} |~ `(?i)say "no"`"#);
    check("503", r#"{} |= "503""#);
    check("main.go", r"{} |~ `(?i)main\.go`");
    check("-debug", r#"{} !~ "(?i)debug""#);
    check("NOT debug", r#"{} !~ "(?i)debug""#);
    check("error -timeout -\"not found\"", r#"{} |~ "(?i)error" !~ "(?i)timeout" !~ "(?i)not found""#);
    check("--flag", r"{} |~ `(?i)\-\-flag`");
    check("a - b", r#"{} |~ "(?i)a" |= "-" |~ "(?i)b""#);
    check("error OR warn", r#"{} |~ "(?i)error" or "(?i)warn""#);
    check("500 OR 503", r#"{} |= "500" or "503""#);
    check("-(error OR warn)", r#"{} !~ "(?i)error" !~ "(?i)warn""#);
    check("open() failed", "{} |~ `(?i)open\\(\\)` |~ \"(?i)failed\"");
    check("(error OR warn) timeout", r#"{} |~ "(?i)error" or "(?i)warn" |~ "(?i)timeout""#);
    // Words of which one has to be there come first, for the index.
    check(
        "disk full OR panic",
        r#"{} |~ "(?i)disk" or "(?i)panic" | (__line__=~"(?i).*disk.*" and __line__=~"(?i).*full.*") or __line__=~"(?i).*panic.*""#,
    );
    check("error or warn", r#"{} |~ "(?i)error" |~ "(?i)or" |~ "(?i)warn""#);
    check("error: x", r#"{} |~ "(?i)error:" |~ "(?i)x""#);
    check("https://x", r#"{} |~ "(?i)https://x""#);
    check("12:30", r#"{} |= "12:30""#);
}

#[test]
fn fields_become() {
    let check = |text: &str, expected: &str| assert_eq!(logql(text).as_deref(), Ok(expected), "{text}");
    check("level=error", r#"{} | detected_level="error""#);
    check("level:WARNING", r#"{} | detected_level="warn""#);
    check("-detected_level:info", r#"{} | detected_level!="info""#);
    check("level!=fatal", r#"{} | detected_level!~"critical|fatal""#);
    check("level:unknown", r#"{} | detected_level="unknown""#);
    check("status:500", r#"{} | json_or_logfmt | status="500" or __line__=~"(?i).*status:500.*""#);
    check("app:\"Web Shop\"", r#"{} | json_or_logfmt | app=~"(?i)Web Shop""#);
    check("app!=shop", r#"{} | json_or_logfmt | app!~"(?i)shop""#);
    check("pod:cart-*", r#"{} | json_or_logfmt | pod=~`(?i)cart\-.*`"#);
    check("user:*", r#"{} | json_or_logfmt | user=~".+""#);
    check("service.name=\"7\"", r#"{} | json_or_logfmt | service_name="7""#);
    check("json:\"7\"", r#"{} | json_or_logfmt | (json="7")"#);
    check("-code=5", r#"{} !~ "(?i)code=5" | json_or_logfmt | code!="5""#);
    check("timeout OR level:error", r#"{} | __line__=~"(?i).*timeout.*" or detected_level="error""#);
    check("timeout level:error", r#"{} |~ "(?i)timeout" | detected_level="error""#);
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    check(&format!("trace_id:{trace}"), &format!(r#"{{}} | trace_id="{trace}" or __line__=~"(?i).*{trace}.*""#));
    check(&format!("-spanId={span}"), &format!(r#"{{}} !~ "(?i){span}" | span_id!="{span}""#));
    check("code:\"5\" level:error", r#"{} | detected_level="error" | json_or_logfmt | code="5""#);
}

#[test]
fn logql_stays_as_it_is() {
    for text in [r#"{app="x"} |= "y""#, "  {", r#"rate({app="x"}[5m])"#, r#"sum by (a) (count_over_time({app="x"}[5m]))"#] {
        assert_eq!(logql(text).as_deref(), Ok(text));
    }
    assert_eq!(logql("42").as_deref(), Ok(r#"{} |= "42""#));
    let trace = Some(TraceId([1; 16]));
    let error = to_logql(&Search { text: "{}", trace, ..Search::default() }).unwrap_err().to_string();
    assert!(error.contains("a trace or span is asked for beside a search text"), "{error}");
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let check = |text: &str, expected: &str| {
        assert_eq!(logql(text), Err(format!("parse error at line 1, col {expected}")), "{text}");
    };
    check("a \"b", "3: the phrase that begins here has no closing \"");
    check("app:\"b", "5: the phrase that begins here has no closing \"");
    check("a \"\"", "3: the phrase is empty");
    check("OR a", "1: OR has nothing on its left");
    check("a OR", "3: OR has nothing on its right");
    check("ä OR OR b", "6: OR has nothing on its left");
    check("a AND OR b", "3: AND has nothing on its right");
    check("a AND", "3: AND has nothing on its right");
    check("a NOT", "3: NOT has nothing on its right");
    check("(a OR b", "1: the bracket that opens here is not closed");
    check("a ()", "3: the brackets that open here are empty");
    check(&"a ".repeat(65), "129: a search has at most 64 words, phrases and fields, this is one more");
    check(&"(".repeat(20), "17: brackets and negations stand at most 16 deep");
    check(&"a".repeat(4097), "1: a search has at most 4096 bytes, this one has 4097");
}

/// Lines of a shop; the query's answer as their numbers.
fn finds(search: &Search<'_>) -> Vec<u64> {
    let mut store = MemoryLogs::default();
    let mut push = |stream: &[(&str, &str)], severity: u8, body: &str| {
        let at = store.lines.len() as i64;
        let line = store.push(stream, at, body.as_bytes());
        line.severity = severity;
        at as usize
    };
    push(&[("app", "shop")], 17, "ERROR Checkout failed: card declined");
    push(&[("app", "shop")], 13, r#"{"level":"warn","msg":"retrying","user":"Ann","code":500}"#);
    push(&[("app", "mail")], 9, "level=info msg=\"sent error report\" user=bob code=200");
    push(&[("app", "mail")], 0, "failed to open main.go:12 of checkout");
    let with_ids = push(&[("app", "pay")], 9, "paid");
    push(&[("app", "pay")], 9, "[pay,0000000000000000AB02030405060708,0102030405060708] charged");
    push(&[("app", "pay")], 22, "request ab02030405060708 took long");
    let line = &mut store.lines[with_ids];
    line.attributes = Labels::from_pairs([("user", "cy")]);
    (line.trace_id, line.span_id) = (trace(), SpanId([1, 2, 3, 4, 5, 6, 7, 8]));
    let query = to_logql(search).unwrap();
    let Ok(Expr::Log(log)) = parse_open(&query) else { panic!("{query}") };
    let range = TimeRange { start: 0, end: 100 };
    let options =
        LogOptions { scope: weir_model::scope::Scope::of("t"), range, limit: 100, newest_first: false, detected_level: true };
    let found = lines(&store, &query, &log, &options, &NoBudget).unwrap().value;
    assert!(found.iter().all(|entry| entry.labels.get("__error__").is_none()), "{query}");
    found.iter().map(|entry| entry.source.id.offset).collect()
}

fn trace() -> TraceId {
    "ab02030405060708".parse().unwrap()
}

#[test]
fn what_is_typed_finds() {
    let check = |text: &str, expected: &[u64]| assert_eq!(finds(&Search { text, ..Search::default() }), expected, "{text}");
    check("", &[0, 1, 2, 3, 4, 5, 6]);
    check("error", &[0, 2]);
    check("failed checkout", &[0, 3]);
    check("\"checkout failed\"", &[0]);
    check("error -report", &[0]);
    check("error OR retrying", &[0, 1, 2]);
    check("level=error", &[0]);
    check("level:error OR level:warn", &[0, 1]);
    check("level:fatal", &[6]);
    check("-level:info -level:unknown", &[0, 1, 6]);
    check("app:shop", &[0, 1]);
    check("user=ann", &[1]);
    check("user:bob", &[2]);
    check("user:cy", &[4]);
    check("user:*", &[1, 2, 4]);
    check("code:500", &[1]);
    check("main.go:12", &[3]);
    check("-app:shop failed", &[3]);
    check("failed -main.go:12", &[0]);
    check("user:ann OR checkout app:mail", &[1, 3]);
    check("(user:ann OR checkout) app:mail", &[3]);
    check("-(failed OR app:pay)", &[1, 2]);
    check("-(failed app:mail)", &[0, 1, 2, 4, 5, 6]);
}

#[test]
fn the_lines_of_a_trace_or_span_have_the_id_in_the_record_or_in_the_text() {
    let (trace, span) = (Some(trace()), Some(SpanId([1, 2, 3, 4, 5, 6, 7, 8])));
    assert_eq!(finds(&Search { trace, ..Search::default() }), [4, 5, 6]);
    assert_eq!(finds(&Search { span, ..Search::default() }), [4, 5]);
    assert_eq!(finds(&Search { trace, span, ..Search::default() }), [4, 5]);
    assert_eq!(finds(&Search { trace, text: "charged", ..Search::default() }), [5]);
    assert_eq!(finds(&Search { trace, selector: r#"{app="shop"}"#, ..Search::default() }), [0_u64; 0]);
    let query = to_logql(&Search { trace: Some(TraceId([0xab; 16])), ..Search::default() }).unwrap();
    let id = "ab".repeat(16);
    assert_eq!(query, format!(r#"{{}} | trace_id="{id}" or __line__=~"(?i).*{id}.*""#));
}

#[test]
fn the_longest_searches_are_queries() {
    let words = |letter: &str, count: usize| vec![letter.repeat(4095 / count / letter.len() - 8); count];
    for letter in ["a", "ü", "错", "ſ"] {
        for (count, between) in [(1, ""), (64, " "), (64, " OR "), (32, " x:y OR ")] {
            let query = logql(&words(letter, count).join(between)).unwrap();
            assert!(parse_open(&query).is_ok(), "{letter} {count} {between}: {:?}", parse_open(&query).err());
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_or_becomes_a_log_query(text in r#"(OR |AND |NOT |-|\(|\)|"|[a-z]{1,3}[:=]|json:|or:|[ -~ü\n`\\]){0,12}"#) {
        if let Ok(query) = logql(&text) {
            let is_log = matches!(parse_open(&query), Ok(Expr::Log(_)));
            prop_assert!(is_log || text.trim_start().starts_with('{'), "{:?} became {}: {:?}", text, query, parse_open(&query).err());
        }
    }
}
