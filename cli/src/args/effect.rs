//! What is typed must have an effect: an option that would do nothing is refused. Variables of the environment are for many
//! commands at once, so that one which does not apply is passed over, and what is typed wins over it.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use weir_logql::search::{Search, to_logql};
use weir_logql::{Expr, parse_open};

use super::ask::{
    AdminAction, CardinalityArguments, DeleteArguments, DeleteTenantArguments, LogsArguments, MetricsArguments, Output,
    ServerArguments, TraceArguments, UsageArguments,
};
use super::{Arguments, Command as Given};

/// Why, and for which command.
pub(super) struct NoEffect {
    command: String,
    message: String,
}

impl NoEffect {
    /// As clap says it, with the usage of the command.
    pub fn under(self, root: &mut Command) -> clap::Error {
        let command = root.find_subcommand_mut(&self.command).expect("invariant: it was parsed");
        command.error(ErrorKind::ArgumentConflict, self.message)
    }
}

/// Errors with the first option that would do nothing.
pub(super) fn check(matches: &ArgMatches) -> Result<(), NoEffect> {
    let Some((command, own)) = matches.subcommand() else { return Ok(()) };
    let checked = match command {
        "up" | "collector" => node(own),
        "logs" => tls(own).and_then(|()| logs(own)),
        "metrics" => tls(own).and_then(|()| metrics(own)),
        "trace" => tls(own),
        "usage" | "cardinality" => tls(own).and_then(|()| one_begin(own)),
        "admin" => own.subcommand().map_or(Ok(()), |(_, own)| tls(own)),
        _ => Ok(()),
    };
    let checked = checked.and_then(|()| one_address(server(own)));
    checked.map_err(|message| NoEffect { command: command.to_owned(), message })
}

/// `--since` that was typed wins over a `WEIR_FROM` of the environment, the other way round `--from` wins anyway; `--addr` over
/// `WEIR_PROFILE`, and `--profile` over `WEIR_ADDR`.
pub(super) fn prefer_typed(matches: &ArgMatches, arguments: &mut Arguments) {
    if let (Some((_, own)), Some(asked)) = (matches.subcommand(), asked(&mut arguments.command)) {
        if is_typed(server(own), "profile") {
            asked.addr = None;
        } else if is_typed(server(own), "addr") {
            asked.profile = None;
        }
    }
    let (Given::Logs(LogsArguments { range, .. })
    | Given::Metrics(MetricsArguments { range, .. })
    | Given::Usage(UsageArguments { range, .. })
    | Given::Cardinality(CardinalityArguments { range, .. })) = &mut arguments.command
    else {
        return;
    };
    if matches.subcommand().is_some_and(|(_, own)| is_typed(own, "since")) {
        range.from = None;
    }
}

fn node(matches: &ArgMatches) -> Result<(), String> {
    if matches.get_flag("no_node") {
        without(matches, &["containers"], "--no-node leaves this machine's containers out")?;
    }
    Ok(())
}

fn tls(matches: &ArgMatches) -> Result<(), String> {
    // A profile's is known later.
    if matches.get_one::<String>("addr").is_none_or(|addr| addr.starts_with("https://")) {
        return Ok(());
    }
    // As they are typed.
    for (id, flag) in [("ca_file", "ca-file"), ("cert", "cert"), ("key", "key"), ("server_name", "server-name")] {
        if is_typed(matches, id) {
            return Err(format!("--{flag} would have no effect here: --addr is not https://"));
        }
    }
    Ok(())
}

fn logs(matches: &ArgMatches) -> Result<(), String> {
    one_begin(matches)?;
    let output = matches.get_one::<Output>("output").copied().unwrap_or(Output::Text);
    if output != Output::Text {
        without(matches, &["color"], "JSON has no colours")?;
    }
    if matches.contains_id("show") {
        without(matches, &["limit", "color", "follow", "step"], "--show prints no lines")?;
    }
    let follow = matches.get_flag("follow");
    // What is no LogQL is searched for: `weir logs 404` has lines.
    let as_logql = |text: &String| to_logql(&Search { text, ..Search::default() }).ok();
    if matches.get_one("query").and_then(as_logql).is_some_and(|query| is_metric(&query)) {
        without(matches, &["limit"], "a metric query has series, not lines")?;
        without(matches, &["color"], "a metric query has series, not lines")?;
        without(matches, &["trace", "span"], "a metric query counts the lines that it selects itself")?;
        without(matches, &["follow"], "a metric query is evaluated once; use it without --follow")?;
    } else {
        without(matches, &["step"], "this query is for lines, not a metric query such as 'rate({…}[1m])'")?;
    }
    if follow {
        without(matches, &["to"], "--follow goes on until Ctrl-C")?;
        if output == Output::Json {
            without(matches, &["output"], "--follow has no end, and JSON is one document; use -o ndjson")?;
        }
    }
    Ok(())
}

fn metrics(matches: &ArgMatches) -> Result<(), String> {
    one_begin(matches)?;
    if !matches.contains_id("step") {
        without(matches, &["since", "from"], "without --step a query is evaluated once, at --to")?;
    }
    Ok(())
}

fn one_begin(matches: &ArgMatches) -> Result<(), String> {
    let both = is_typed(matches, "since") && is_typed(matches, "from");
    if both { Err("--since and --from both say where the range begins: use one of them".into()) } else { Ok(()) }
}

/// Where the options of who is asked stand: with `admin`, at its own commands.
fn server(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, own)| own)
}

/// Who is asked, by the commands that ask.
fn asked(command: &mut Given) -> Option<&mut ServerArguments> {
    match command {
        Given::Logs(LogsArguments { server, .. })
        | Given::Metrics(MetricsArguments { server, .. })
        | Given::Trace(TraceArguments { server, .. })
        | Given::Usage(UsageArguments { server, .. })
        | Given::Cardinality(CardinalityArguments { server, .. })
        | Given::Whoami(server)
        | Given::Admin(
            AdminAction::Seal(server) | AdminAction::Compact(server) | AdminAction::Expire(server) | AdminAction::Disk(server),
        )
        | Given::Admin(AdminAction::Delete(DeleteArguments { server, .. }))
        | Given::Admin(AdminAction::DeleteTenant(DeleteTenantArguments { server, .. })) => Some(server),
        _ => None,
    }
}

fn one_address(matches: &ArgMatches) -> Result<(), String> {
    let both = is_typed(matches, "addr") && is_typed(matches, "profile");
    if both { Err("--addr and --profile both say which weir is asked: use one of them".into()) } else { Ok(()) }
}

/// Errors when one of these was typed.
fn without(matches: &ArgMatches, ids: &[&str], why: &str) -> Result<(), String> {
    match ids.iter().find(|id| is_typed(matches, id)) {
        Some(id) => Err(format!("--{id} would have no effect here: {why}")),
        None => Ok(()),
    }
}

fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// Whether a LogQL query asks for values over lines. One that cannot be read is for the server to refuse.
pub(crate) fn is_metric(query: &str) -> bool {
    parse_open(query.trim()).is_ok_and(|expr| !matches!(expr, Expr::Log(_)))
}
