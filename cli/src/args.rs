//! What can be typed. Every flag has a `WEIR_…` environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  weir up                                       all of weir on this machine, page on http://127.0.0.1:9640
  weir run --name hello -- sh -c 'echo hello'   a container, its lines on the page at once
  weir logs 'error -timeout level:warn' --since 5m
  weir logs '{container=\"hello\"}'
  weir metrics 'rate(container_cpu_usage_seconds_total[1m])'
  weir trace 04c87ec97bae041b1b15b3c7676a43cc";

/// The observability and logging pipeline for container clusters.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start all of weir in one process: node, collector, embedded log, aggregator, query, page
    Up(UpArguments),
    /// Start a node's part: containers, logs, samples, scrapes and pushes, onto a Kafka cluster
    Collector(NodeArguments),
    /// Start an owner of partitions: from the Kafka cluster into blocks, and answers from what is not sealed yet
    Aggregator(AggregatorArguments),
    /// Start the APIs and the page over all aggregators' heads and all blocks
    Query(QueryNodeArguments),
    /// Start a container under runc; its lines are logged in CRI format and shipped
    Run(RunArguments),
    /// List weir's own containers
    Ps(PsArguments),
    /// Stop a container: SIGTERM, then SIGKILL
    Stop(StopArguments),
    /// Remove a stopped container and its logs
    Rm(RmArguments),
    /// Search logs: words, phrases, fields, or LogQL
    Logs(LogsArguments),
    /// Evaluate PromQL
    Metrics(MetricsArguments),
    /// Show a trace by its id
    Trace(TraceArguments),
    /// Check a file before weir reads it
    #[command(subcommand)]
    Check(CheckTarget),
    /// Print the default configuration, every key documented
    Config,
    /// Ask a running weir to do now what it would do by itself
    #[command(subcommand)]
    Admin(AdminAction),
    /// A container's monitor process; started by `run`
    #[command(hide = true)]
    Monitor(MonitorArguments),
}

/// What every process that serves takes.
#[derive(Debug, Default, Args)]
pub(crate) struct ServiceArguments {
    /// Configuration file (TOML; see `weir config`)
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where it listens [default: 127.0.0.1:9640]
    #[arg(long, env = "WEIR_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Listen on addresses that others can reach, without TLS and authentication
    #[arg(long, env = "WEIR_INSECURE_LISTEN")]
    pub insecure_listen: bool,
    /// Further names that clients and proxies ask under, separated by commas: weir.example,*.monitoring.svc
    #[arg(long, env = "WEIR_HOSTS", value_delimiter = ',', value_name = "NAMES")]
    pub hosts: Vec<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct StoreArguments {
    /// Object store: file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix [default: <data>/store]
    #[arg(long = "store", env = "WEIR_STORE", value_name = "URL")]
    pub url: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    pub node: NodeArguments,
    #[command(flatten)]
    pub store: StoreArguments,
}

#[derive(Debug, Default, Args)]
pub(crate) struct NodeArguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    /// Where everything is kept [default: ./weir-data, or data of the configuration]
    #[arg(long, env = "WEIR_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// OTLP over gRPC [default: 127.0.0.1:4317]
    #[arg(long, env = "WEIR_OTLP_GRPC", value_name = "ADDR")]
    pub otlp_grpc: Option<SocketAddr>,
    /// OTLP over HTTP [default: 127.0.0.1:4318]
    #[arg(long, env = "WEIR_OTLP_HTTP", value_name = "ADDR")]
    pub otlp_http: Option<SocketAddr>,
    /// Where `weir run` keeps its containers [default: /var/lib/weir/containers]
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub containers: Option<PathBuf>,
    /// This node's name [default: node.name of the configuration, or the host's]
    #[arg(long, env = "WEIR_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Leave out this machine's own containers, logs and scrapes
    #[arg(long, env = "WEIR_NO_NODE")]
    pub no_node: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AggregatorArguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    #[command(flatten)]
    pub store: StoreArguments,
    /// Where query nodes reach this aggregator; stands in the manifests of its partitions [default: http://LISTEN]
    #[arg(long, env = "WEIR_ADVERTISE", value_name = "URL")]
    pub advertise: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct QueryNodeArguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    #[command(flatten)]
    pub store: StoreArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Name, unique among weir's containers [default: made up from the command]
    #[arg(long, env = "WEIR_RUN_NAME")]
    pub name: Option<String>,
    /// Memory limit, for instance 64Mi or 1G
    #[arg(long, env = "WEIR_RUN_MEMORY")]
    pub memory: Option<String>,
    /// CPU limit in cores, for instance 0.5
    #[arg(long, env = "WEIR_RUN_CPUS")]
    pub cpus: Option<f64>,
    /// Limit on processes and threads
    #[arg(long, env = "WEIR_RUN_PIDS")]
    pub pids: Option<u64>,
    /// Root file system [default: this machine's, read-only, with its own /tmp]
    #[arg(long, env = "WEIR_RUN_ROOTFS", value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// Label, as key=value; may be repeated
    #[arg(long = "label", env = "WEIR_RUN_LABELS", value_delimiter = ',', value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Environment variable, as KEY=value; may be repeated
    #[arg(long = "env", env = "WEIR_RUN_ENV", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Working directory inside
    #[arg(long, env = "WEIR_RUN_WORKDIR", value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Restart policy: no, on-failure[:times] or always
    #[arg(long, env = "WEIR_RUN_RESTART", default_value = "no")]
    pub restart: String,
    /// Return as soon as the container has started
    #[arg(short, long, env = "WEIR_RUN_DETACH")]
    pub detach: bool,
    /// Remove it when it has ended
    #[arg(long, env = "WEIR_RUN_RM")]
    pub rm: bool,
    /// Where weir keeps its containers
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What to run
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PsArguments {
    /// As a table or as JSON
    #[arg(short, long, env = "WEIR_OUTPUT", value_enum, default_value = "text")]
    pub output: Output,
    /// Where weir keeps its containers
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// Name or id
    pub container: String,
    /// Seconds between SIGTERM and SIGKILL
    #[arg(short, long, env = "WEIR_STOP_TIME", default_value_t = 10)]
    pub time: u64,
    /// Where weir keeps its containers
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RmArguments {
    /// Name or id
    pub container: String,
    /// Stop it first if it runs
    #[arg(short, long, env = "WEIR_RM_FORCE")]
    pub force: bool,
    /// Where weir keeps its containers
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MonitorArguments {
    /// The container's directory
    #[arg(long)]
    pub dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON document
    Json,
    /// One JSON document a line
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Words and \"phrases\" in any case and order, -not, field:value, OR; or LogQL, which begins with {
    #[arg(required_unless_present_any = ["trace", "span"], allow_hyphen_values = true)]
    pub query: Option<String>,
    /// Only lines of this trace: with its id in the record or in the text
    #[arg(long, env = "WEIR_TRACE", value_name = "ID", conflicts_with = "step")]
    pub trace: Option<String>,
    /// Only lines of this span
    #[arg(long, env = "WEIR_SPAN", value_name = "ID", conflicts_with = "step")]
    pub span: Option<String>,
    #[command(flatten)]
    pub range: RangeArguments,
    /// At most this many lines, the newest
    #[arg(long, env = "WEIR_LIMIT", default_value_t = 100)]
    pub limit: u64,
    /// For a metric query: points this far apart, for instance 15s
    #[arg(long, env = "WEIR_STEP", conflicts_with = "limit")]
    pub step: Option<String>,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct MetricsArguments {
    /// The query
    pub query: String,
    #[command(flatten)]
    pub range: RangeArguments,
    /// At most this many series [default: as many as there are]
    #[arg(long, env = "WEIR_SERIES")]
    pub limit: Option<u64>,
    /// Points this far apart, for instance 15s; without it the query is evaluated once, at the end of the range
    #[arg(long, env = "WEIR_STEP")]
    pub step: Option<String>,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RangeArguments {
    /// How far back from now, for instance 15m
    #[arg(long, env = "WEIR_SINCE", default_value = "1h", conflicts_with = "from")]
    pub since: String,
    /// Begin: RFC 3339, or Unix seconds
    #[arg(long, env = "WEIR_FROM")]
    pub from: Option<String>,
    /// End: RFC 3339, or Unix seconds [default: now]
    #[arg(long, env = "WEIR_TO")]
    pub to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// As text, as one JSON document, or as one JSON document a line
    #[arg(short, long, env = "WEIR_OUTPUT", value_enum, default_value = "text")]
    pub output: Output,
    /// The weir to ask
    #[arg(long, env = "WEIR_ADDR", value_name = "URL", default_value = "http://127.0.0.1:9640")]
    pub addr: String,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArguments {
    /// Trace id in hex; it is looked for at all times
    pub id: String,
    #[command(flatten)]
    pub server: ServerArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckTarget {
    /// A configuration file
    Config {
        /// TOML
        file: PathBuf,
        /// Also try what it names: brokers, topics, the consumer group, the object store
        #[arg(long, env = "WEIR_CHECK_CONNECT")]
        connect: bool,
    },
    /// A Prometheus rule file
    Rules {
        /// YAML
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminAction {
    /// Seal every head: when it returns, everything acknowledged before is in blocks
    Seal(ServerArguments),
    /// Merge every block that can be merged
    Compact(ServerArguments),
    /// Delete everything older than its retention, also what weir holds back because a clock may have jumped
    Expire(ServerArguments),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_would_do_nothing_is_refused_by_name() {
        let refused = |arguments: &[&str], flag: &str| {
            let error = Arguments::try_parse_from(["weir"].iter().chain(arguments)).unwrap_err().to_string();
            assert!(error.contains(flag), "{arguments:?}: {error}");
        };
        refused(&["trace", "1", "--since", "5m"], "--since");
        refused(&["trace", "1", "--to", "5"], "--to");
        refused(&["logs", "rate({a=\"b\"}[1m])", "--step", "15s", "--limit", "5"], "--limit");
        let parsed = Arguments::try_parse_from(["weir", "metrics", "up", "--limit", "3", "--step", "15s"]).unwrap();
        let Command::Metrics(metrics) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!((metrics.limit, metrics.step.as_deref()), (Some(3), Some("15s")));
    }
}
