//! What the commands take that ask a running weir.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use weir_tls::ClientTls;

use super::{examples, value};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// All of the answer as one JSON document
    Json,
    /// One JSON document a line
    Ndjson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// Bytes of each stream, the largest first; of a selector alone
    Volume,
    /// Lines of each pattern and level, the most frequent first
    Patterns,
    /// Fields of the newest lines, with how many values each has
    Fields,
    /// Patterns and fields that were not there in the time before, as long as this one, and those that are gone
    New,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Words and "phrases" in any case and order, -not, field:value, OR; or LogQL: what begins with {, or a metric query over logs
    #[arg(required_unless_present_any = ["trace", "span"], allow_hyphen_values = true)]
    pub query: Option<String>,
    /// Only lines of this trace: with its id in the record or in the text
    #[arg(long, env = "WEIR_TRACE", value_name = "ID")]
    pub trace: Option<String>,
    /// Only lines of this span
    #[arg(long, env = "WEIR_SPAN", value_name = "ID")]
    pub span: Option<String>,
    #[command(flatten)]
    pub range: RangeArguments,
    /// At most this many lines, the newest
    #[arg(long, env = "WEIR_LIMIT", default_value_t = 100, value_name = "LINES", value_parser = value::positive)]
    pub limit: u64,
    /// For a metric query: values this far apart, for instance 15s; without it one value each, at the end of the range
    #[arg(long, env = "WEIR_STEP", value_name = "DURATION")]
    pub step: Option<String>,
    /// Not the lines, but what they are
    #[arg(long, value_enum, value_name = "WHAT")]
    pub show: Option<Show>,
    /// With so many lines before and behind each, of its whole container: stdout beside stderr
    #[arg(short = 'C', long, value_name = "LINES", conflicts_with_all = ["follow", "show"])]
    pub context: Option<u64>,
    /// Go on with new lines as they arrive, until Ctrl-C
    #[arg(short, long, env = "WEIR_FOLLOW")]
    pub follow: bool,
    /// Colour the name of each container
    #[arg(long, env = "WEIR_COLOR", value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: ColorWhen,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct MetricsArguments {
    /// PromQL
    pub query: String,
    #[command(flatten)]
    pub range: RangeArguments,
    /// At most this many series [default: all]
    #[arg(long, env = "WEIR_SERIES", value_name = "SERIES", value_parser = value::positive)]
    pub limit: Option<u64>,
    /// Values this far apart over the range, for instance 15s; without it one value each, at --to
    #[arg(long, env = "WEIR_STEP", value_name = "DURATION")]
    pub step: Option<String>,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RangeArguments {
    /// How far back from --to, for instance 15m or 7d [default: 1h]
    #[arg(long, env = "WEIR_SINCE", value_name = "DURATION")]
    pub since: Option<String>,
    /// Begin: now-2h, 2026-11-27, "2026-11-27 10:00" (local time), 2026-11-27T10:00:00Z, or a Unix time in s, ms or ns
    #[arg(long, env = "WEIR_FROM", value_name = "TIME")]
    pub from: Option<String>,
    /// End, written like --from [default: now]
    #[arg(long, env = "WEIR_TO", value_name = "TIME")]
    pub to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// For people, or JSON
    #[arg(short, long, env = "WEIR_OUTPUT", value_enum, default_value = "text")]
    pub output: Output,
    /// The weir to ask: HOST:PORT, or an http:// or https:// URL [default: the profile's, or else 127.0.0.1:9640]
    #[arg(long, env = "WEIR_ADDR", value_name = "ADDR")]
    pub addr: Option<String>,
    /// What `weir login` has kept under this name: address, credentials, tenant [default: the last one signed in to]
    #[arg(long, env = "WEIR_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
    /// Whose data to ask for: a tenant, or several with | between them [default: the profile's]
    #[arg(long, env = "WEIR_TENANT", value_name = "TENANT")]
    pub tenant: Option<String>,
    #[command(flatten)]
    pub tls: TlsArguments,
}

impl TlsArguments {
    /// What was typed, over what is kept. Errors with a path that cannot be made absolute.
    pub fn over(&self, kept: ClientTls) -> Result<ClientTls, String> {
        let file = |given: &Option<PathBuf>, kept: &PathBuf| match given {
            Some(path) => std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display())),
            None => Ok(kept.clone()),
        };
        Ok(ClientTls {
            ca_file: file(&self.ca_file, &kept.ca_file)?,
            cert_file: file(&self.cert, &kept.cert_file)?,
            key_file: file(&self.key, &kept.key_file)?,
            server_name: self.server_name.clone().unwrap_or(kept.server_name),
            ..kept
        })
    }
}

/// Certificates of a command that asks.
#[derive(Debug, Args)]
pub(crate) struct TlsArguments {
    /// Certificates of the authorities that weir's is of, PEM [default: this machine's]
    #[arg(long, env = "WEIR_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Certificate to show to weir, PEM
    #[arg(long, env = "WEIR_CERT", value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, env = "WEIR_KEY", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Name that weir's certificate is of [default: the host of the address]
    #[arg(long, env = "WEIR_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UsageArguments {
    /// Of every tenant; takes an administrator
    #[arg(long, env = "WEIR_ALL_TENANTS")]
    pub all: bool,
    #[command(flatten)]
    pub range: RangeArguments,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CountBy {
    /// Series of each metric
    Metrics,
    /// Values of each label
    Labels,
    /// Series of each label value
    Pairs,
    /// Series of each target
    Targets,
    /// Series of each tenant
    Tenants,
}

#[derive(Debug, Args)]
pub(crate) struct CardinalityArguments {
    /// Of the series that it selects alone, for instance '{job="web"}'
    pub selector: Option<String>,
    /// What is counted
    #[arg(long, env = "WEIR_BY", value_enum, default_value = "metrics", value_name = "WHAT")]
    pub by: CountBy,
    /// The greatest so many
    #[arg(long, env = "WEIR_ROWS", default_value_t = 20, value_name = "ROWS", value_parser = value::positive)]
    pub limit: u64,
    #[command(flatten)]
    pub range: RangeArguments,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArguments {
    /// Its id, up to 32 hex digits; its spans are looked for at all times
    pub id: String,
    /// Not its spans, but the log lines of all containers that took part, in causal order: those up to an hour from its spans, or
    /// of the last hour where it has none (`weir logs --trace ID` takes a range)
    #[arg(long)]
    pub logs: bool,
    /// With --logs: at most this many lines, the oldest
    #[arg(long, default_value_t = 1000, value_name = "LINES", value_parser = value::positive, requires = "logs")]
    pub limit: u64,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminAction {
    /// Write everything that was acknowledged before into blocks; returns when it is done
    #[command(after_help = examples::ADMIN)]
    Seal(ServerArguments),
    /// Merge every block that can be merged
    #[command(after_help = examples::ADMIN)]
    Compact(ServerArguments),
    /// Delete everything older than its retention, also what weir holds back because a clock may have jumped
    #[command(after_help = examples::ADMIN)]
    Expire(ServerArguments),
    /// Show what logs take on disk, by tenant, stream and part of the format
    #[command(after_help = examples::ADMIN)]
    Disk(ServerArguments),
    /// Delete log lines: they are unseen at once, and go from disk when the cancel period is over
    #[command(after_help = examples::ADMIN)]
    Delete(DeleteArguments),
    /// Delete all logs, metrics and traces of a tenant; waits until they are gone from all blocks
    #[command(after_help = examples::ADMIN)]
    DeleteTenant(DeleteTenantArguments),
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    /// A LogQL selector, with line filters: '{app="shop"} |= "card"'
    pub query: String,
    /// First instant: now-15m, 2026-01-31 12:00, or a Unix time
    #[arg(long, value_name = "TIME")]
    pub start: String,
    /// Last instant [default: now]
    #[arg(long, value_name = "TIME")]
    pub end: Option<String>,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteTenantArguments {
    /// The tenant's name
    pub name: String,
    /// Its name once more: nothing of it comes back
    #[arg(long, value_name = "NAME")]
    pub confirm: String,
    #[command(flatten)]
    pub server: ServerArguments,
}
