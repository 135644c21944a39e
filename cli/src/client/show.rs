//! `weir logs --show`: what lines are, instead of the lines: how much of which streams, their patterns, their fields, what is new of them.

use serde_json::Value;

use super::address::Address;
use super::http;
use super::lines::Query;
use super::print::{self, number, series, text};
use crate::Failure;
use crate::args::{Output, Show};
use crate::text::table::{Align, Table, screen};
use crate::text::units::bytes;

pub(super) async fn show(what: Show, query: &Query, address: &Address, output: Output) -> Result<(), Failure> {
    let path = match what {
        Show::Volume => "/loki/api/v1/index/volume",
        Show::Patterns => "/loki/api/v1/patterns",
        Show::Fields => "/loki/api/v1/detected_fields",
        Show::New => "/api/weir/v1/logs/diff",
    };
    let (start, end) = query.range;
    let parameters = [("query", query.text.clone()), ("start", start.to_string()), ("end", end.to_string())];
    let answer = http::get(address, path, &parameters).await?;
    let rows = match what {
        Show::Volume => list(&answer.body["data"]["result"]),
        Show::Patterns => list(&answer.body["data"]),
        Show::Fields => list(&answer.body["fields"]),
        Show::New => changes(&answer.body),
    };
    print::rows(&rows, &answer, output, || table(what, &rows).render(screen()))
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Patterns, then fields, each with its `change`.
fn changes(body: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for (of, change) in [("patterns", "new"), ("patterns", "gone"), ("fields", "new"), ("fields", "gone")] {
        all.extend(list(&body[of][change]).into_iter().map(|mut one| {
            one["change"] = change.into();
            one
        }));
    }
    all
}

fn table(what: Show, rows: &[Value]) -> Table {
    let mut table = Table::new(match what {
        Show::Volume => &[("BYTES", Align::Right), ("STREAM", Align::Left)],
        Show::Patterns => &[("LINES", Align::Right), ("LEVEL", Align::Left), ("PATTERN", Align::Left)],
        Show::Fields => &[("FIELD", Align::Left), ("TYPE", Align::Left), ("VALUES", Align::Right), ("FROM", Align::Left)],
        Show::New => {
            &[("CHANGE", Align::Left), ("LINES", Align::Right), ("LEVEL", Align::Left), ("PATTERN OR FIELD", Align::Left)]
        }
    });
    for row in rows {
        table.row(match what {
            Show::Volume => vec![bytes(number(&row["value"][1]).unsigned_abs()), series(&row["metric"])],
            Show::Patterns => vec![lines(row).to_string(), text(&row["level"]).to_owned(), text(&row["pattern"]).to_owned()],
            Show::Fields => {
                let (name, kind) = (text(&row["label"]).to_owned(), text(&row["type"]).to_owned());
                vec![name, kind, number(&row["cardinality"]).to_string(), origin(row)]
            }
            Show::New => {
                let change = text(&row["change"]).to_owned();
                match row["pattern"].as_str() {
                    Some(pattern) => {
                        vec![change, number(&row["lines"]).to_string(), text(&row["level"]).to_owned(), pattern.to_owned()]
                    }
                    None => vec![change, String::new(), String::new(), format!("field {}", text(&row["label"]))],
                }
            }
        });
    }
    table
}

/// Lines of a pattern, over all steps.
fn lines(pattern: &Value) -> i64 {
    pattern["samples"].as_array().into_iter().flatten().map(|sample| number(&sample[1])).sum()
}

fn origin(field: &Value) -> String {
    let parsers: Vec<&str> = field["parsers"].as_array().into_iter().flatten().map(text).collect();
    if parsers.is_empty() { "metadata".into() } else { parsers.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_is_a_table() {
        let check = |what, row: Value, expected: &str| assert_eq!(table(what, &[row]).render(None), expected);
        check(Show::Volume, json!({"metric": {"app": "x"}, "value": [5, "2048"]}), "BYTES  STREAM\n2 KiB  {app=\"x\"}\n");
        let pattern = json!({"pattern": "took <_>", "level": "info", "samples": [[10, 2], [20, 3]]});
        check(Show::Patterns, pattern, "LINES  LEVEL  PATTERN\n    5  info   took <_>\n");
        let field = json!({"label": "took", "type": "duration", "cardinality": 2, "parsers": ["json", "logfmt"]});
        check(Show::Fields, field, "FIELD  TYPE      VALUES  FROM\ntook   duration       2  json, logfmt\n");
        let metadata = json!({"label": "user", "type": "string", "cardinality": 1, "parsers": null});
        check(Show::Fields, metadata, "FIELD  TYPE    VALUES  FROM\nuser   string       1  metadata\n");
        let body = json!({
            "patterns": {"new": [{"pattern": "took <_>", "level": "info", "lines": 5}], "gone": []},
            "fields": {"new": [], "gone": [{"label": "user"}]},
        });
        let text = table(Show::New, &changes(&body)).render(None);
        let words: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, [vec!["new", "5", "info", "took", "<_>"], vec!["gone", "field", "user"]], "{text}");
    }
}
