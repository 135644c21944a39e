//! `weir usage`: what tenants have sent and asked over a range, a row each.

use serde_json::Value;

use super::address::Address;
use super::print::{number, text};
use super::{http, print, range};
use crate::Failure;
use crate::args::UsageArguments;
use crate::text::clock::Clock;
use crate::text::table::{Align, Table, screen};
use crate::text::units::{bytes, duration};

pub(crate) async fn usage(arguments: &UsageArguments) -> Result<(), Failure> {
    let (start, end) = range(&arguments.range, &Clock::local())?;
    let mut parameters = vec![("start", start.to_string()), ("end", end.to_string())];
    parameters.extend(arguments.all.then(|| ("all", "true".to_owned())));
    let answer = http::get(&Address::of(&arguments.server).await?, "/api/weir/v1/usage", &parameters).await?;
    let rows = answer.body["tenants"].as_array().cloned().unwrap_or_default();
    print::rows(&rows, &answer, arguments.server.output, || table(&rows).render(screen()))
}

fn table(rows: &[Value]) -> Table {
    let mut table = Table::new(&[
        ("TENANT", Align::Left),
        ("LOGS", Align::Right),
        ("LINES", Align::Right),
        ("METRICS", Align::Right),
        ("SAMPLES", Align::Right),
        ("TRACES", Align::Right),
        ("SPANS", Align::Right),
        ("STORED", Align::Right),
        ("QUERIES", Align::Right),
        ("QUERY TIME", Align::Right),
        ("READ", Align::Left),
    ]);
    let size = |value: &Value| bytes(number(value).unsigned_abs());
    for row in rows {
        let (ingested, queries) = (&row["ingested"], &row["queries"]);
        let mut cells = vec![text(&row["tenant"]).to_owned()];
        for signal in ["logs", "metrics", "traces"] {
            cells.extend([size(&ingested[signal]["bytes"]), number(&ingested[signal]["records"]).to_string()]);
        }
        let stored = ["logs", "metrics", "traces"].iter().map(|signal| number(&row["stored"][signal]["bytes"]).unsigned_abs());
        cells.push(bytes(stored.sum()));
        let seconds = queries["seconds"].as_f64().unwrap_or_default();
        cells.extend([number(&queries["count"]).to_string(), duration((seconds * 1e9) as i64), size(&queries["read_bytes"])]);
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tenant_has_a_row() {
        let amount = |bytes: u64, records: u64| json!({"bytes": bytes, "records": records});
        let row = json!({"tenant": "shop", "ingested": {"logs": amount(2048, 7), "metrics": amount(0, 0), "traces": amount(1, 2)},
            "stored": {"logs": amount(1024, 1), "metrics": amount(512, 1), "traces": amount(0, 0)},
            "queries": {"count": 3, "seconds": 1.5, "records": 9, "read_bytes": 1 << 20}});
        let text = table(&[row]).render(None);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words.join(" "), "shop 2 KiB 7 0 B 0 1 B 2 1.5 KiB 3 1.5 s 1 MiB", "{text}");
    }
}
