//! `weir trace --logs`: the log lines of a trace over all containers, in causal order, and how clocks were set for it.

use serde_json::Value;
use weir_model::id::TraceId;

use super::address::Address;
use super::lines::Style;
use super::print::{number, text};
use super::{http, print};
use crate::Failure;
use crate::args::{ColorWhen, TraceArguments};
use crate::text::clock::Clock;
use crate::text::color::Colors;
use crate::text::units::{count, duration};

pub(super) async fn trace_logs(id: TraceId, arguments: &TraceArguments, address: &Address) -> Result<(), Failure> {
    let style = Style { clock: Clock::local(), colors: Colors::of_stdout(ColorWhen::Auto) };
    let parameters = [("limit", arguments.limit.to_string())];
    let answer = http::get(address, &format!("/api/weir/v1/traces/{id}/logs"), &parameters).await?;
    let lines = answer.body["lines"].as_array().cloned().unwrap_or_default();
    print::rows(&lines, &answer, arguments.server.output, || lines.iter().map(|line| written(line, &style)).collect())?;
    notes(&answer.body, arguments.limit).iter().for_each(|note| print::note(note));
    Ok(())
}

/// The time that it is placed at, and in brackets how far that is from what its own clock said.
fn written(line: &Value, style: &Style) -> String {
    let moved = number(&line["at"]).saturating_sub(number(&line["t"]));
    let mut shown = line.clone();
    shown["t"] = line["at"].clone();
    let text = style.line(&shown);
    match text.split_once('\n') {
        Some((first, rest)) if moved != 0 => format!("{first}  ({})\n{rest}", signed(moved)),
        _ => text,
    }
}

fn signed(nanos: i64) -> String {
    let sign = if nanos < 0 { '-' } else { '+' };
    format!("{sign}{}", duration(nanos.saturating_abs()))
}

/// How the order came about.
fn notes(body: &Value, limit: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
    let by_time = list("lines").iter().filter(|line| line["placed"] == "time").count();
    if by_time > 0 {
        notes.push(format!("placed by their own time alone, since no span says more: {}", count(by_time as u64, "line")));
    }
    let refused = text(&body["spans_refused"]);
    if !refused.is_empty() {
        notes.push(format!("the spans of the trace were not read: {refused}"));
    }
    for clock in list("clocks").iter().filter(|clock| number(&clock["offset"]) != 0) {
        let (offset, calls) = (number(&clock["offset"]), count(number(&clock["calls"]).unsigned_abs(), "call"));
        let goes = if offset > 0 { "behind" } else { "ahead" };
        let by = duration(offset.saturating_abs());
        notes.push(format!(
            "the clock of {} is taken to be {by} {goes}, from {calls}; its lines were moved",
            text(&clock["clock"])
        ));
    }
    if body["more"] == true {
        notes.push(format!("only the oldest {}, as --limit has it; the trace has more", count(limit, "line")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moved_line_says_by_how_much() {
        let style = Style { clock: Clock::local(), colors: Colors::of_stdout(ColorWhen::Never) };
        let line =
            |t: i64, at: i64| json!({"t": t.to_string(), "at": at.to_string(), "stream": {"pod": "cart-1"}, "line": "found"});
        let second = 1_000_000_000;
        let moved = written(&line(15 * second, 20 * second), &style);
        let still = written(&line(20 * second, 20 * second), &style);
        assert_eq!(moved.trim_end(), format!("{}  (+5 s)", still.trim_end()));
        assert!(written(&line(20 * second, 18 * second), &style).ends_with("(-2 s)\n"));
        assert!(still.ends_with("cart-1 found\n"), "{still}");
    }

    #[test]
    fn what_the_order_rests_on_is_said() {
        let clocks = json!([{"clock": "a", "offset": "0", "calls": 0}, {"clock": "b", "offset": "-5000000000", "calls": 1}]);
        let lines = json!([{"placed": "span"}, {"placed": "time"}]);
        let body = json!({"lines": lines, "clocks": clocks, "spans_refused": "u may not read traces", "more": true});
        assert_eq!(
            notes(&body, 2),
            [
                "placed by their own time alone, since no span says more: 1 line",
                "the spans of the trace were not read: u may not read traces",
                "the clock of b is taken to be 5 s ahead, from 1 call; its lines were moved",
                "only the oldest 2 lines, as --limit has it; the trace has more",
            ]
        );
        assert_eq!(notes(&json!({"lines": [{"placed": "span"}], "clocks": []}), 2), [] as [String; 0]);
    }
}
