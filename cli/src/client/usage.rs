//! `weir usage`: what tenants have sent and asked over a range, a row each. What may not be read is a dash.

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
        ("STREAMS", Align::Right),
        ("METRICS", Align::Right),
        ("SAMPLES", Align::Right),
        ("SERIES", Align::Right),
        ("TRACES", Align::Right),
        ("SPANS", Align::Right),
        ("STORED", Align::Right),
        ("QUERIES", Align::Right),
        ("QUERY TIME", Align::Right),
        ("READ", Align::Left),
    ]);
    let known = |value: &Value, show: fn(&Value) -> String| if value.is_null() { "-".to_owned() } else { show(value) };
    let size = |value: &Value| known(value, |value| bytes(number(value).unsigned_abs()));
    let count = |value: &Value| known(value, |value| number(value).to_string());
    for row in rows {
        let (ingested, queries, active) = (&row["ingested"], &row["queries"], &row["active"]);
        let mut cells = vec![text(&row["tenant"]).to_owned()];
        for (signal, what) in [("logs", Some("streams")), ("metrics", Some("series")), ("traces", None)] {
            cells.extend([size(&ingested[signal]["bytes"]), count(&ingested[signal]["records"])]);
            cells.extend(what.map(|what| count(&active[what])));
        }
        let stored = ["logs", "metrics", "traces"].iter().map(|signal| number(&row["stored"][signal]["bytes"]).unsigned_abs());
        cells.push(bytes(stored.sum()));
        let time = known(&queries["seconds"], |seconds| duration((seconds.as_f64().unwrap_or_default() * 1e9) as i64));
        cells.extend([count(&queries["count"]), time, size(&queries["read_bytes"])]);
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
            "active": {"streams": 4, "series": 5}, "queries": {"count": 3, "seconds": 1.5, "records": 9, "read_bytes": 1 << 20}});
        let text = table(&[row]).render(None);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words.join(" "), "shop 2 KiB 7 4 0 B 0 5 1 B 2 1.5 KiB 3 1.5 s 1 MiB", "{text}");
        let logs = json!({"tenant": "shop", "ingested": {"logs": amount(2048, 7)}, "stored": {"logs": amount(1024, 1)},
            "active": {"streams": 4}});
        let text = table(&[logs]).render(None);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words.join(" "), "shop 2 KiB 7 4 - - - - - 1 KiB - - -", "{text}");
    }
}
