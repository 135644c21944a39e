//! Log lines: asked for, and written for people. Shared by `weir logs` and its `--follow`.

use std::borrow::Cow;

use serde_json::Value;
use weir_model::time::UnixNanos;

use super::address::Address;
use super::http::{self, Answer};
use super::print::{self, number, series, text};
use crate::Failure;
use crate::args::Output;
use crate::text::clock::Clock;
use crate::text::color::Colors;
use crate::text::safe;
use crate::text::units::{bytes, count};

/// A line of text output never grows longer than a terminal can bear; `-o json` has all of it.
const TEXT_LINE_MAX: usize = 64 * 1024;

/// What is asked for.
pub(super) struct Query {
    /// LogQL.
    pub text: String,
    pub range: (UnixNanos, UnixNanos),
    /// Lines at most.
    pub limit: u64,
}

/// How lines are written for people.
pub(super) struct Style {
    pub clock: Clock,
    pub colors: Colors,
}

/// The newest lines of a range, the oldest of them first: people read downward.
pub(super) async fn newest(query: &Query, address: &Address) -> Result<(Vec<Value>, Answer), Failure> {
    let (start, end) = query.range;
    let parameters = [
        ("query", query.text.clone()),
        ("start", start.to_string()),
        ("end", end.to_string()),
        ("limit", query.limit.to_string()),
    ];
    let answer = http::get(address, "/api/weir/v1/logs", &parameters).await?;
    let mut lines = answer.body["lines"].as_array().cloned().unwrap_or_default();
    lines.reverse();
    Ok((lines, answer))
}

pub(super) fn note_limit(lines: usize, limit: u64) {
    if lines as u64 >= limit {
        let lines = count(limit, "line");
        print::note(&format!("only the newest {lines}, as --limit has it; older ones of the range may be missing"));
    }
}

impl Style {
    /// `TIME CONTAINER LINE`, with the container in its colour.
    pub fn line(&self, line: &Value) -> String {
        let body = shortened(text(&line["line"]));
        let origin = origin(&line["stream"]);
        let name = self.colors.of_name(&origin, &safe::line(&origin));
        format!("{} {name} {}\n", self.clock.millis(number(&line["t"])), safe::log_line(&body))
    }

    /// In the form that was asked for; a follower has no end, and so no single document.
    pub fn written(&self, line: &Value, output: Output) -> String {
        if output == Output::Text { self.line(line) } else { format!("{line}\n") }
    }
}

/// With a word about what is left out.
fn shortened(body: &str) -> Cow<'_, str> {
    match body.char_indices().nth(TEXT_LINE_MAX) {
        None => Cow::Borrowed(body),
        Some((end, _)) => Cow::Owned(format!("{}… ({} more, see -o json)", &body[..end], bytes((body.len() - end) as u64))),
    }
}

/// Who wrote it: the labels that name a container, or all of them.
fn origin(stream: &Value) -> String {
    let parts: Vec<&str> =
        ["pod", "container", "service_name"].iter().map(|name| text(&stream[*name])).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { series(stream) } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_of_a_line_is_said() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(TEXT_LINE_MAX + 1024);
        let shown = shortened(&long);
        assert!(shown.ends_with("ä… (2 KiB more, see -o json)"), "{}", &shown[shown.len() - 80..]);
    }

    #[test]
    fn lines_are_named_by_their_container() {
        let check = |stream: Value, expected: &str| assert_eq!(origin(&stream), expected);
        check(json!({"pod": "web-1", "container": "app", "node": "n"}), "web-1/app");
        check(json!({"service_name": "shop"}), "shop");
        check(json!({"filename": "/var/log/x"}), "{filename=\"/var/log/x\"}");
    }
}
