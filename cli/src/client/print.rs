//! Rows to stdout; to stderr what an answer does not hold.

use serde_json::Value;

use super::http::Answer;
use crate::args::Output;
use crate::text::safe;
use crate::text::units::count;
use crate::{Failure, stdout};

/// Prints rows, or all of the answer, and what it does not cover.
pub(super) fn rows(rows: &[Value], answer: &Answer, output: Output, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let written = match output {
        Output::Json => format!("{}\n", answer.body),
        Output::Ndjson => rows.iter().map(|row| format!("{row}\n")).collect(),
        Output::Text => text(),
    };
    stdout::write(&written)?;
    note_coverage(answer, rows.is_empty());
    Ok(())
}

/// A notice for whoever reads along.
pub(super) fn note(text: &str) {
    eprintln!("weir: {}", safe::line(text));
}

/// "No results" and "not arrived yet" are different answers: says which.
pub(super) fn note_coverage(answer: &Answer, empty: bool) {
    for text in notices(answer, empty) {
        note(&text);
    }
}

fn notices(answer: &Answer, empty: bool) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut notices = answer.outages.clone();
    notices.extend(list(&answer.coverage["missing"]).iter().map(|missing| format!("incomplete: {}", text(missing))));
    // What is missing stands among the warnings of other APIs as well.
    let warnings = list(&answer.body["warnings"]).into_iter().chain(list(&answer.body["infos"]));
    notices.extend(
        warnings
            .map(|warning| text(&warning).to_owned())
            .filter(|warning| !notices.iter().any(|said| said.contains(warning)))
            .collect::<Vec<_>>(),
    );
    let behind: i64 = list(&answer.coverage["partitions"])
        .iter()
        .map(|partition| (number(&partition["on_bus"]) - number(&partition["searchable"])).max(0))
        .sum();
    if behind > 0 {
        let (records, are) = (count(behind.unsigned_abs(), "record"), if behind == 1 { "is" } else { "are" });
        notices.push(format!("{records} {are} on the bus and not searchable yet"));
    } else if empty {
        notices.push("no results".into());
    }
    notices
}

/// Labels as `name{key="value"}`.
pub(super) fn series(labels: &Value) -> String {
    let object = labels.as_object().cloned().unwrap_or_default();
    let name = object.get("__name__").map_or("", text).to_owned();
    let rest: Vec<String> =
        object.iter().filter(|(key, _)| *key != "__name__").map(|(key, value)| format!("{key}={value}")).collect();
    format!("{name}{{{}}}", rest.join(", "))
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number, or a number in a string as times are.
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_answer_does_not_hold_is_said_once() {
        let check = |body: Value, coverage: Value, empty: bool, expected: &[&str]| {
            assert_eq!(notices(&Answer { body, coverage, outages: Vec::new() }, empty), expected);
        };
        check(json!({}), json!({}), false, &[]);
        check(json!({}), json!({}), true, &["no results"]);
        let behind = |on_bus: u64| json!({"partitions": [{"on_bus": on_bus, "searchable": 4}, {"on_bus": 0, "searchable": 3}]});
        check(json!({}), behind(5), true, &["1 record is on the bus and not searchable yet"]);
        check(json!({}), behind(6), false, &["2 records are on the bus and not searchable yet"]);
        let missing = json!({"missing": ["an owner is away"]});
        let warned = json!({"warnings": ["an owner is away", "results truncated due to limit"]});
        check(warned, missing, false, &["incomplete: an owner is away", "results truncated due to limit"]);
        let outages = vec!["disk full".into()];
        assert_eq!(notices(&Answer { body: json!({}), coverage: json!({}), outages }, true), ["disk full", "no results"]);
    }
}
