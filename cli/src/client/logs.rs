//! `weir logs`: lines, or with a metric query values.

use std::borrow::Cow;

use serde_json::Value;
use weir_logql::search::{Search, to_logql};
use weir_model::time::UnixNanos;

use super::address::Address;
use super::http::{self, Answer};
use super::print::{self, number, series, text};
use super::{follow, metrics, range};
use crate::Failure;
use crate::args::{LogsArguments, Output, is_metric};
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

pub(crate) async fn logs(arguments: &LogsArguments) -> Result<(), Failure> {
    let style = Style { clock: Clock::local(), colors: Colors::of_stdout(arguments.color) };
    let address = Address::parse(&arguments.server.addr)?;
    let query = Query { text: log_query(arguments)?, range: range(&arguments.range, &style.clock)?, limit: arguments.limit };
    if is_metric(&query.text) {
        return values(&query, arguments, &address).await;
    }
    if arguments.follow {
        return follow::follow(&query, &address, arguments.server.output, &style).await;
    }
    let (lines, answer) = newest(&query, &address).await?;
    print::rows(&lines, &answer, arguments.server.output, || lines.iter().map(|line| style.line(line)).collect())?;
    note_limit(lines.len(), query.limit);
    Ok(())
}

/// What was typed, as LogQL: the same as the page makes of it.
fn log_query(arguments: &LogsArguments) -> Result<String, Failure> {
    fn id<T: std::str::FromStr<Err = impl std::fmt::Display>>(name: &str, text: Option<&str>) -> Result<Option<T>, Failure> {
        text.map(str::parse).transpose().map_err(|error| Failure::input(format!("{name}: {error}")))
    }
    let (trace, span) = (id("--trace", arguments.trace.as_deref())?, id("--span", arguments.span.as_deref())?);
    let search = Search { text: arguments.query.as_deref().unwrap_or_default(), selector: "", trace, span };
    to_logql(&search).map_err(Failure::input)
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

/// A metric query: over the range with `--step`, else at its end.
async fn values(query: &Query, arguments: &LogsArguments, address: &Address) -> Result<(), Failure> {
    let ((start, end), query) = (query.range, ("query", query.text.clone()));
    let answer = match &arguments.step {
        Some(step) => {
            let parameters = [query, ("start", start.to_string()), ("end", end.to_string()), ("step", step.clone())];
            http::get(address, "/loki/api/v1/query_range", &parameters).await?
        }
        None => http::get(address, "/loki/api/v1/query", &[query, ("time", end.to_string())]).await?,
    };
    metrics::print_result(&answer, arguments.server.output)
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
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::args::{Arguments, Command};

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
