//! Commands that ask a running weir over HTTP and print what it says.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use weir_model::time::{format_rfc3339, parse_duration, parse_time_loki};
use weir_query::logql::search::{Search, to_logql};

use crate::Failure;
use crate::args::{AdminAction, LogsArguments, MetricsArguments, Output, RangeArguments, ServerArguments, TraceArguments};

/// A line of text output never grows longer than a terminal can bear; `-o json` has all of it.
const TEXT_LINE_MAX: usize = 64 * 1024;

pub(crate) async fn logs(arguments: &LogsArguments) -> Result<(), Failure> {
    let (start, end) = range(&arguments.range)?;
    let query = log_query(arguments)?;
    if let Some(step) = &arguments.step {
        let parameters = [("query", query), ("start", start.to_string()), ("end", end.to_string()), ("step", step.clone())];
        let answer = get(&arguments.server, "/loki/api/v1/query_range", &parameters).await?;
        return print_result(&answer["data"], &answer, arguments.server.output);
    }
    let parameters =
        [("query", query), ("start", start.to_string()), ("end", end.to_string()), ("limit", arguments.limit.to_string())];
    let answer = get(&arguments.server, "/api/weir/v1/logs", &parameters).await?;
    // The newest come first on the wire, so that a limit keeps them; people read downward.
    let mut lines = answer["lines"].as_array().cloned().unwrap_or_default();
    lines.reverse();
    print_rows(&lines, &answer, arguments.server.output, |line| {
        let at = line["t"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        let body: String = text(&line["line"]).chars().take(TEXT_LINE_MAX).collect();
        format!("{} {} {}", format_rfc3339(at), origin(&line["stream"]), body)
    })
}

/// What was typed, as LogQL: the same as the page makes of it.
fn log_query(arguments: &LogsArguments) -> Result<String, Failure> {
    let search = Search {
        text: arguments.query.as_deref().unwrap_or_default(),
        selector: "",
        trace: arguments
            .trace
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error| Failure::input(format!("--trace: {error}")))?,
        span: arguments
            .span
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error| Failure::input(format!("--span: {error}")))?,
    };
    to_logql(&search).map_err(Failure::input)
}

pub(crate) async fn metrics(arguments: &MetricsArguments) -> Result<(), Failure> {
    let (start, end) = range(&arguments.range)?;
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
    let answer = get(&arguments.server, path, &parameters).await?;
    print_result(&answer["data"], &answer, arguments.server.output)
}

pub(crate) async fn trace(arguments: &TraceArguments) -> Result<(), Failure> {
    let id = arguments.id.parse::<weir_model::id::TraceId>().map_err(Failure::input)?;
    let answer = get(&arguments.server, &format!("/api/weir/v1/traces/{id}"), &[]).await?;
    let mut spans = answer["trace"]["spans"].as_array().cloned().unwrap_or_default();
    spans.sort_by_key(|span| number(&span["start"]));
    let first = spans.first().map_or(0, |span| number(&span["start"]));
    let depths = depths(&spans);
    let rows: Vec<Value> = spans
        .into_iter()
        .zip(depths)
        .map(|(mut span, depth)| {
            span["depth"] = depth.into();
            span
        })
        .collect();
    print_rows(&rows, &answer, arguments.server.output, |span| {
        let indent = "  ".repeat(usize::try_from(number(&span["depth"])).unwrap_or(0).min(40));
        let failed = if span["status"] == "error" { " ERROR" } else { "" };
        let (offset, took) = (number(&span["start"]) - first, number(&span["duration"]));
        format!(
            "{:>10.3} ms {:>10.3} ms  {indent}{} {}{failed}",
            offset as f64 / 1e6,
            took as f64 / 1e6,
            text(&span["service"]),
            text(&span["name"])
        )
    })
}

pub(crate) async fn admin(action: &AdminAction) -> Result<(), Failure> {
    let (server, path) = match action {
        AdminAction::Seal(server) => (server, "/api/weir/v1/admin/seal"),
        AdminAction::Compact(server) => (server, "/api/weir/v1/admin/compact"),
        AdminAction::Expire(server) => (server, "/api/weir/v1/admin/expire"),
    };
    let answer = send(server, reqwest::Client::new().post(url(server, path))).await?;
    print_rows(std::slice::from_ref(&answer), &answer, server.output, |answer| {
        format!("{} blocks, {} records", answer["blocks"], answer["records"])
    })
}

fn range(range: &RangeArguments) -> Result<(i64, i64), Failure> {
    let end = match &range.to {
        Some(to) => parse_time_loki(to).map_err(|error| Failure::input(format!("--to: {error}")))?,
        None => now(),
    };
    let start = match &range.from {
        Some(from) => parse_time_loki(from).map_err(|error| Failure::input(format!("--from: {error}")))?,
        None => end - parse_duration(&range.since).map_err(|error| Failure::input(format!("--since: {error}")))?,
    };
    if start >= end {
        return Err(Failure::input("the range is empty: --from is not before --to"));
    }
    Ok((start, end))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn url(server: &ServerArguments, path: &str) -> String {
    format!("{}{path}", server.addr.trim_end_matches('/'))
}

async fn get(server: &ServerArguments, path: &str, parameters: &[(&str, String)]) -> Result<Value, Failure> {
    let url = reqwest::Url::parse_with_params(&url(server, path), parameters)
        .map_err(|error| Failure::input(format!("--addr {:?}: {error}", server.addr)))?;
    send(server, reqwest::Client::new().get(url)).await
}

async fn send(server: &ServerArguments, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
    let answer = request.send().await.map_err(|error| {
        let hint = if error.is_connect() { "; is weir up there?" } else { "" };
        Failure::failed(format!("no answer from {}: {}{hint}", server.addr, error.without_url()))
    })?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| Failure::failed(format!("answer of {}: {error}", server.addr)))?;
    let parsed: Option<Value> = serde_json::from_str(&body).ok();
    match parsed {
        Some(answer) if status.is_success() => Ok(answer),
        Some(answer) if answer["error"].is_string() => Err(refusal(status, text(&answer["error"]))),
        _ => Err(refusal(status, &body.chars().take(500).collect::<String>())),
    }
}

fn refusal(status: reqwest::StatusCode, message: &str) -> Failure {
    if status == reqwest::StatusCode::BAD_REQUEST {
        Failure::input(message)
    } else {
        Failure::failed(format!("{message} ({status})"))
    }
}

/// A Prometheus or Loki result: vector, matrix, streams or scalar, a row a series.
fn print_result(data: &Value, answer: &Value, output: Output) -> Result<(), Failure> {
    let rows = match &data["result"] {
        Value::Array(rows) if data["resultType"] == "scalar" || data["resultType"] == "string" => {
            vec![serde_json::json!({"metric": {}, "value": rows})]
        }
        Value::Array(rows) => rows.clone(),
        _ => Vec::new(),
    };
    print_rows(&rows, answer, output, |row| {
        let labels = if row["metric"].is_object() { &row["metric"] } else { &row["stream"] };
        let values = if row["value"].is_array() {
            vec![row["value"].clone()]
        } else {
            row["values"].as_array().cloned().unwrap_or_default()
        };
        let points: Vec<String> = values.iter().map(|point| format!("{} @{}", text(&point[1]), point[0])).collect();
        format!("{}\t{}", series(labels), points.join(" "))
    })
}

fn print_rows(rows: &[Value], answer: &Value, output: Output, line: impl Fn(&Value) -> String) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = match output {
        Output::Json => writeln!(out, "{answer}"),
        Output::Ndjson => rows.iter().try_for_each(|row| writeln!(out, "{row}")),
        Output::Text => rows.iter().try_for_each(|row| writeln!(out, "{}", line(row))),
    };
    match written.and_then(|()| out.flush()) {
        // `weir logs … | head` is not an error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(Failure::failed(error)),
        _ => {}
    }
    note_coverage(answer, rows.is_empty());
    Ok(())
}

/// "No results" and "not arrived yet" are different answers: says which, on stderr.
fn note_coverage(answer: &Value, empty: bool) {
    let coverage = &answer["coverage"];
    for missing in coverage["missing"].as_array().into_iter().flatten() {
        eprintln!("weir: incomplete: {}", text(missing));
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        eprintln!("weir: {}", text(warning));
    }
    let behind: i64 = coverage["partitions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|partition| number(&partition["on_bus"]) - number(&partition["searchable"]))
        .sum();
    if behind > 0 {
        eprintln!("weir: {behind} records are on the bus and not searchable yet");
    } else if empty {
        eprintln!("weir: no results");
    }
}

fn origin(stream: &Value) -> String {
    let parts: Vec<&str> =
        ["pod", "container", "service_name"].iter().map(|name| text(&stream[*name])).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { series(stream) } else { parts.join("/") }
}

fn series(labels: &Value) -> String {
    let object = labels.as_object().cloned().unwrap_or_default();
    let name = object.get("__name__").map_or("", text).to_owned();
    let rest: Vec<String> =
        object.iter().filter(|(key, _)| *key != "__name__").map(|(key, value)| format!("{key}={value}")).collect();
    format!("{name}{{{}}}", rest.join(", "))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number, or a number in a string as times are.
fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).unwrap_or_default()
}

/// Depth of each span below its root; a span whose parent is not there counts as a root.
fn depths(spans: &[Value]) -> Vec<i64> {
    let place: std::collections::HashMap<&str, usize> =
        spans.iter().enumerate().map(|(i, span)| (text(&span["id"]), i)).collect();
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
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    #[test]
    fn logs_are_searched_for_what_is_typed() {
        let query = |arguments: &[&str]| {
            let parsed =
                Arguments::try_parse_from(["weir", "logs"].iter().chain(arguments)).map_err(|error| error.to_string())?;
            let Command::Logs(logs) = parsed.command else { panic!("{parsed:?}") };
            log_query(&logs).map_err(|error| format!("{error:?}"))
        };
        assert_eq!(query(&["error level:warn"]).as_deref(), Ok(r#"{} |~ "(?i)error" | detected_level="warn""#));
        assert_eq!(query(&["-debug"]).as_deref(), Ok(r#"{} !~ "(?i)debug""#));
        assert_eq!(query(&[r#"{app="x"}"#, "--since", "5m"]).as_deref(), Ok(r#"{app="x"}"#));
        assert_eq!(query(&["rate({a=\"b\"}[1m])", "--step", "15s"]).as_deref(), Ok("rate({a=\"b\"}[1m])"));
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(
            query(&["--trace", id, "timeout"]).unwrap(),
            format!(r#"{{}} |~ "(?i)timeout" | trace_id="{id}" or __line__=~"(?i).*{id}.*""#)
        );
        assert!(query(&["--span", "ff"]).unwrap().contains("span_id"));
        assert!(query(&[]).unwrap_err().contains("QUERY"));
        assert!(query(&["--trace", "zz"]).unwrap_err().contains("--trace: a trace id has 1 to 32 hex digits"));
        assert!(query(&["\"open"]).unwrap_err().contains("col 1: the phrase that begins here has no closing"));
    }
}
