//! `weir cardinality`: what makes the most series, a row each.

use serde_json::Value;

use super::address::Address;
use super::print::{number, text};
use super::{http, print, range};
use crate::Failure;
use crate::args::{CardinalityArguments, CountBy};
use crate::text::clock::Clock;
use crate::text::table::{Align, Table, screen};
use crate::text::units::bytes;

pub(crate) async fn cardinality(arguments: &CardinalityArguments) -> Result<(), Failure> {
    let (start, end) = range(&arguments.range, &Clock::local())?;
    let mut parameters = vec![("start", start.to_string()), ("end", end.to_string()), ("limit", arguments.limit.to_string())];
    parameters.extend(arguments.selector.clone().map(|selector| ("selector", selector)));
    let answer = http::get(&Address::of(&arguments.server).await?, "/api/weir/v1/cardinality", &parameters).await?;
    let rows = answer.body[list(arguments.by)].as_array().cloned().unwrap_or_default();
    let all = number(&answer.body["series"]);
    print::rows(&rows, &answer, arguments.server.output, || table(arguments.by, &rows, all).render(screen()))
}

fn list(by: CountBy) -> &'static str {
    match by {
        CountBy::Metrics => "metrics",
        CountBy::Labels => "labels",
        CountBy::Pairs => "pairs",
        CountBy::Targets => "targets",
        CountBy::Tenants => "tenants",
    }
}

/// `all`: series, of which a row has a share.
fn table(by: CountBy, rows: &[Value], all: i64) -> Table {
    let columns: &[(&str, &str)] = match by {
        CountBy::Metrics => &[("METRIC", "name")],
        CountBy::Labels => &[("LABEL", "name")],
        CountBy::Pairs => &[("LABEL", "name"), ("VALUE", "value")],
        CountBy::Targets => &[("JOB", "job"), ("INSTANCE", "instance")],
        CountBy::Tenants => &[("TENANT", "tenant")],
    };
    let mut heads: Vec<(&str, Align)> = columns.iter().map(|(head, _)| (*head, Align::Left)).collect();
    if by == CountBy::Labels {
        heads.extend([("VALUES", Align::Right), ("BYTES", Align::Right)]);
    }
    heads.extend([("SERIES", Align::Right), ("SHARE", Align::Left)]);
    let mut table = Table::new(&heads);
    for row in rows {
        let mut cells: Vec<String> = columns.iter().map(|(_, name)| text(&row[name]).to_owned()).collect();
        if by == CountBy::Labels {
            cells.extend([number(&row["values"]).to_string(), bytes(number(&row["bytes"]).unsigned_abs())]);
        }
        let series = number(&row["series"]);
        cells.extend([series.to_string(), format!("{:.1} %", 100.0 * series as f64 / all.max(1) as f64)]);
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_its_share() {
        let check = |by: CountBy, row: Value, expected: &str| {
            let text = table(by, &[row], 8).render(None);
            let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
            assert_eq!(words.join(" "), expected, "{text}");
        };
        check(CountBy::Metrics, json!({"name": "up", "series": 2}), "up 2 25.0 %");
        check(CountBy::Labels, json!({"name": "pod", "values": 3, "bytes": 2048, "series": 8}), "pod 3 2 KiB 8 100.0 %");
        check(CountBy::Pairs, json!({"name": "pod", "value": "a", "series": 1}), "pod a 1 12.5 %");
        check(CountBy::Targets, json!({"job": "j", "instance": "i:1", "series": 4}), "j i:1 4 50.0 %");
    }
}
