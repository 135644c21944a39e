//! `weir logs`: lines, or with a metric query values.

use weir_logql::search::{Search, to_logql};

use super::address::Address;
use super::lines::{Query, Style, newest, note_limit};
use super::{context, follow, http, metrics, print, range, show};
use crate::Failure;
use crate::args::{LogsArguments, is_metric};
use crate::text::clock::Clock;
use crate::text::color::Colors;

pub(crate) async fn logs(arguments: &LogsArguments) -> Result<(), Failure> {
    let style = Style { clock: Clock::local(), colors: Colors::of_stdout(arguments.color) };
    let address = Address::of(&arguments.server).await?;
    let query = Query { text: log_query(arguments)?, range: range(&arguments.range, &style.clock)?, limit: arguments.limit };
    if let Some(what) = arguments.show {
        return show::show(what, &query, &address, arguments.server.output).await;
    }
    if is_metric(&query.text) && arguments.context.is_some() {
        return Err(Failure::input("--context is for lines, and this is a metric query"));
    }
    if is_metric(&query.text) {
        return values(&query, arguments, &address).await;
    }
    if arguments.follow {
        return follow::follow(&query, &address, arguments.server.output, &style).await;
    }
    let (lines, answer) = newest(&query, &address).await?;
    match arguments.context {
        Some(context) => context::around(&lines, context, (&address, answer), (arguments.server.output, &style)).await?,
        None => {
            print::rows(&lines, &answer, arguments.server.output, || lines.iter().map(|line| style.line(line)).collect())?;
        }
    }
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
