//! `weir metrics`, and how series are printed.

use serde_json::Value;

use super::address::Address;
use super::http::{self, Answer};
use super::print::{self, series, text};
use super::range;
use crate::Failure;
use crate::args::{MetricsArguments, Output};
use crate::text::clock::Clock;
use crate::text::safe;

pub(crate) async fn metrics(arguments: &MetricsArguments) -> Result<(), Failure> {
    let clock = Clock::local();
    let (start, end) = range(&arguments.range, &clock)?;
    let address = Address::of(&arguments.server).await?;
    let seconds = |nanos: i64| format!("{:.3}", nanos as f64 / 1e9);
    let mut parameters = vec![("query", arguments.query.clone())];
    parameters.extend(arguments.limit.map(|limit| ("limit", limit.to_string())));
    let path = if let Some(step) = &arguments.step {
        parameters.extend([("start", seconds(start)), ("end", seconds(end)), ("step", step.clone())]);
        "/api/v1/query_range"
    } else {
        parameters.push(("time", seconds(end)));
        "/api/v1/query"
    };
    let answer = http::get(&address, path, &parameters).await?;
    print_result(&answer, arguments.server.output)
}

/// A Prometheus or Loki result: vector, matrix, streams or scalar, a row a series.
pub(super) fn print_result(answer: &Answer, output: Output) -> Result<(), Failure> {
    let data = &answer.body["data"];
    let rows = match &data["result"] {
        Value::Array(rows) if data["resultType"] == "scalar" || data["resultType"] == "string" => {
            vec![serde_json::json!({"metric": {}, "value": rows})]
        }
        Value::Array(rows) => rows.clone(),
        _ => Vec::new(),
    };
    let clock = Clock::local();
    print::rows(&rows, answer, output, || rows.iter().map(|row| line(row, &clock)).collect())
}

/// `LABELS`, a tab, and `VALUE @TIME` for each value.
fn line(row: &Value, clock: &Clock) -> String {
    let labels = if row["metric"].is_object() { &row["metric"] } else { &row["stream"] };
    let values =
        if row["value"].is_array() { vec![row["value"].clone()] } else { row["values"].as_array().cloned().unwrap_or_default() };
    let at = |point: &Value| clock.millis((point[0].as_f64().unwrap_or_default() * 1e3).round() as i64 * 1_000_000);
    let points: Vec<String> = values.iter().map(|point| format!("{} @{}", safe::line(text(&point[1])), at(point))).collect();
    format!("{}\t{}\n", safe::line(&series(labels)), points.join(" "))
}
