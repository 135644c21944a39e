//! `weir admin disk`: what logs take on disk, a row a tenant, stream and part of the format, the largest streams first.

use serde_json::Value;

use super::address::Address;
use super::print::{number, series, text};
use super::{http, print};
use crate::Failure;
use crate::args::ServerArguments;
use crate::text::table::{Align, Table, screen};
use crate::text::units::bytes;

pub(super) async fn disk(server: &ServerArguments) -> Result<(), Failure> {
    let answer = http::get(&Address::of(server).await?, "/api/weir/v1/admin/disk", &[]).await?;
    print::rows(std::slice::from_ref(&answer.body), &answer, server.output, || table(&answer.body).render(screen()))
}

fn table(disk: &Value) -> Table {
    let mut table = Table::new(&[("OF", Align::Left), ("BYTES", Align::Right), ("LINES", Align::Right), ("WHAT", Align::Left)]);
    let size = |value: &Value| bytes(number(value).unsigned_abs());
    let lines = |value: &Value| number(value).to_string();
    table.row(["all".into(), size(&disk["bytes"]), lines(&disk["records"]), format!("{} blocks", number(&disk["blocks"]))]);
    let rows = |name: &str| disk[name].as_array().cloned().unwrap_or_default();
    for row in rows("tenants") {
        let stored = &row["stored"];
        table.row(["tenant".into(), size(&stored["bytes"]), lines(&stored["records"]), text(&row["tenant"]).to_owned()]);
    }
    for row in rows("streams") {
        let (stored, what) = (&row["stored"], format!("{} {}", text(&row["tenant"]), series(&row["stream"])));
        table.row(["stream".into(), size(&stored["bytes"]), lines(&stored["records"]), what]);
    }
    for row in rows("parts") {
        table.row(["part".into(), size(&row["bytes"]), String::new(), text(&row["part"]).to_owned()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tenants_streams_and_parts_have_a_row_each() {
        let stored = json!({"bytes": 1024, "records": 7});
        let disk = json!({"blocks": 2, "bytes": 2048, "records": 7, "tenants": [{"tenant": "shop", "stored": stored}],
            "streams": [{"tenant": "shop", "stream": {"pod": "x"}, "stored": stored}], "parts": [{"part": "ids.1", "bytes": 5}]});
        let text = table(&disk).render(None);
        let rows: Vec<String> = text.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = ["all 2 KiB 7 2 blocks", "tenant 1 KiB 7 shop", "stream 1 KiB 7 shop {pod=\"x\"}", "part 5 B ids.1"];
        assert_eq!(rows, expected, "{text}");
    }
}
