//! `weir trace`: the spans of a trace as a tree, with what failed and why. Its lines: `trace_logs`.

use std::collections::HashMap;

use serde_json::Value;
use weir_model::id::TraceId;

use super::address::Address;
use super::print::{number, text};
use super::{http, print};
use crate::Failure;
use crate::args::TraceArguments;
use crate::text::clock::Clock;
use crate::text::safe;
use crate::text::units::{count, duration};

/// A tree that is deeper is drawn no deeper.
const DEPTH_SHOWN: usize = 40;
/// What stands left of a span: where it begins, and how long it takes.
const LEFT_COLUMNS: usize = 24;

pub(crate) async fn trace(arguments: &TraceArguments) -> Result<(), Failure> {
    let id = arguments.id.parse::<TraceId>().map_err(Failure::input)?;
    let address = Address::of(&arguments.server).await?;
    if arguments.logs {
        return super::trace_logs::trace_logs(id, arguments, &address).await;
    }
    let answer = http::get(&address, &format!("/api/weir/v1/traces/{id}"), &[]).await?;
    let mut spans = answer.body["trace"]["spans"].as_array().cloned().unwrap_or_default();
    spans.sort_by_key(|span| number(&span["start"]));
    let depths = depths(&spans);
    for (span, depth) in spans.iter_mut().zip(depths) {
        span["depth"] = depth.into();
    }
    print::rows(&spans, &answer, arguments.server.output, || draw(&spans, &Clock::local()))
}

/// A line about the trace, then one a span, with its message and its exceptions below.
fn draw(spans: &[Value], clock: &Clock) -> String {
    let first = spans.iter().map(|span| number(&span["start"])).min().unwrap_or(0);
    let end = spans.iter().map(|span| number(&span["start"]).saturating_add(number(&span["duration"]))).max().unwrap_or(0);
    let failed = spans.iter().filter(|span| span["status"] == "error").count();
    let errors = if failed > 0 { format!(", {}", count(failed as u64, "error")) } else { String::new() };
    let spans_counted = count(spans.len() as u64, "span");
    let mut drawn = format!("{}  {}  {spans_counted}{errors}\n", clock.millis(first), duration(end.saturating_sub(first)));
    for span in spans {
        let indent = "  ".repeat(usize::try_from(number(&span["depth"])).unwrap_or(0).min(DEPTH_SHOWN));
        let failed = if span["status"] == "error" { " ERROR" } else { "" };
        let orphan = if span["orphan"] == true { " (its parent has not been seen)" } else { "" };
        let begins = format!("+{}", duration(number(&span["start"]).saturating_sub(first)));
        let (service, name) = (safe::line(text(&span["service"])), safe::line(text(&span["name"])));
        let took = duration(number(&span["duration"]));
        drawn.push_str(&format!("{begins:>11} {took:>11}  {indent}{service} {name}{failed}{orphan}\n"));
        let left = format!("{}{indent}  ", " ".repeat(LEFT_COLUMNS + 1));
        below(&mut drawn, &left, text(&span["status_message"]));
        for event in span["events"].as_array().into_iter().flatten() {
            draw_event(&mut drawn, &left, event, first);
        }
    }
    drawn
}

/// `+12 ms exception: type: message`, and the stack trace below; any other event with its attributes.
fn draw_event(drawn: &mut String, left: &str, event: &Value, first: i64) {
    let at = duration(number(&event["t"]).saturating_sub(first));
    let attributes = event["attributes"].as_object().cloned().unwrap_or_default();
    let shown = |key: &str| attributes.get(key).map(shown).unwrap_or_default();
    let name = text(&event["name"]);
    if name == "exception" {
        let what: Vec<String> =
            ["exception.type", "exception.message"].map(shown).into_iter().filter(|part| !part.is_empty()).collect();
        below(drawn, left, &format!("+{at} exception: {}", what.join(": ")));
        below(drawn, &format!("{left}  "), &shown("exception.stacktrace"));
        return;
    }
    let pairs: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={}", self::shown(value))).collect();
    below(drawn, left, format!("+{at} {name} {}", pairs.join(" ")).trim_end());
}

/// Text of several lines, each behind `left`; nothing for none.
fn below(drawn: &mut String, left: &str, text: &str) {
    for line in safe::block(text.trim_end()).lines() {
        drawn.push_str(&format!("{left}{}\n", line.replace('\t', "    ")));
    }
}

/// An attribute's value without the quotes of a text.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Depth of each span below its root; a span whose parent is not there counts as a root.
fn depths(spans: &[Value]) -> Vec<i64> {
    let place: HashMap<&str, usize> = spans.iter().enumerate().map(|(i, span)| (text(&span["id"]), i)).collect();
    let depth = |i: usize| {
        let (mut depth, mut at) = (0, i);
        // A ring of parents, which only a broken sender makes, ends at the number of spans.
        while depth < spans.len() as i64 {
            match place.get(text(&spans[at]["parent_id"])) {
                Some(parent) if *parent != at => (depth, at) = (depth + 1, *parent),
                _ => break,
            }
        }
        depth
    };
    (0..spans.len()).map(depth).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failed_span_says_why_and_a_stack_trace_keeps_its_lines() {
        let stack = "Error: no\n\tat shop.pay(Shop.java:7)\r\n\tat \x1b[31mmain\x1b[0m";
        let exception = json!({"exception.type": "Error", "exception.message": "no", "exception.stacktrace": stack});
        let spans = [
            json!({"id": "a", "start": "1000000000", "duration": "30000000", "service": "shop", "name": "GET /\n", "depth": 0}),
            json!({"id": "b", "parent_id": "a", "start": "1005000000", "duration": "1500", "service": "db", "name": "query", "depth": 1,
                "status": "error", "status_message": "refused\x07", "events": [
                    {"t": "1006000000", "name": "exception", "attributes": exception},
                    {"t": "1007000000", "name": "retry", "attributes": {"times": 2}}]}),
        ];
        let drawn = draw(&spans, &Clock::local());
        let lines: Vec<&str> = drawn.lines().map(str::trim_start).collect();
        assert!(lines[0].ends_with("30 ms  2 spans, 1 error"), "{drawn}");
        let expected = [
            "+0 ns       30 ms  shop GET /\\n",
            "+5 ms      1.5 µs    db query ERROR",
            "refused\\x07",
            "+6 ms exception: Error: no",
            "Error: no",
            "at shop.pay(Shop.java:7)",
            "at \\x1b[31mmain\\x1b[0m",
            "+7 ms retry times=2",
        ];
        assert_eq!(lines[1..], expected, "{drawn}");
        assert!(drawn.lines().nth(6).unwrap().contains("      at shop.pay"), "{drawn}");
    }

    #[test]
    fn depths_end_in_rings_of_parents() {
        let span = |id: &str, parent: &str| json!({"id": id, "parent_id": parent});
        assert_eq!(depths(&[span("a", ""), span("b", "a"), span("c", "b"), span("d", "away")]), [0, 1, 2, 0]);
        assert!(depths(&[span("a", "b"), span("b", "a")]).iter().all(|depth| *depth <= 2));
    }
}
