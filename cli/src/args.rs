//! What can be typed. Every flag has a `WEIR_…` environment variable.
//!
//! - this file: the commands, and what those that serve take;
//! - [`containers`], [`ask`], [`login`], [`certs`], [`access`]: what the others take; [`value`]: how single values are read;
//! - [`effect`]: what was typed and would do nothing is refused; [`examples`]: what stands below each `--help`.

mod access;
mod ask;
mod certs;
mod containers;
mod effect;
mod examples;
mod login;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use access::AccessArguments;
pub(crate) use ask::{
    AdminAction, CardinalityArguments, ColorWhen, CountBy, DeleteArguments, DeleteTenantArguments, LogsArguments,
    MetricsArguments, Output, RangeArguments, ServerArguments, Show, TlsArguments, TraceArguments, UsageArguments,
};
pub(crate) use certs::{CertsAction, CertsArguments, Holder};
pub(crate) use containers::{MonitorArguments, PsArguments, RmArguments, RunArguments, StopArguments};
pub(crate) use effect::is_metric;
pub(crate) use login::{LoginArguments, LogoutArguments};

/// Logs, metrics and traces of every container, collected, kept and searched
///
/// weir collects what containers log, use and trace, keeps it, and answers LogQL, PromQL and trace look-ups: on one machine with
/// `weir up`, in a cluster with `weir collector`, `weir aggregator` and `weir query` around Kafka.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = examples::WEIR, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start all of weir on this machine, in one process, with its page
    #[command(after_help = examples::UP)]
    Up(UpArguments),
    /// Start a node's part of a cluster: it collects containers, logs, samples and pushes, and ships them to Kafka
    #[command(after_help = examples::COLLECTOR)]
    Collector(NodeArguments),
    /// Start a part of a cluster that reads Kafka and keeps what it reads in the object store
    #[command(after_help = examples::AGGREGATOR)]
    Aggregator(AggregatorArguments),
    /// Start the part of a cluster that has the page and the APIs
    #[command(after_help = examples::QUERY)]
    Query(QueryNodeArguments),
    /// Start a container with runc; weir keeps its output and finds it in `weir logs`
    #[command(after_help = examples::RUN)]
    Run(RunArguments),
    /// List the containers that `weir run` started
    #[command(after_help = examples::PS)]
    Ps(PsArguments),
    /// Stop a container that `weir run` started: SIGTERM, then SIGKILL
    #[command(after_help = examples::STOP)]
    Stop(StopArguments),
    /// Remove a stopped container and its logs
    #[command(after_help = examples::RM)]
    Rm(RmArguments),
    /// Search logs for words, phrases and fields or with LogQL, or follow them
    #[command(after_help = examples::LOGS)]
    Logs(LogsArguments),
    /// Evaluate a PromQL query
    #[command(after_help = examples::METRICS)]
    Metrics(MetricsArguments),
    /// Show a trace by its id
    #[command(after_help = examples::TRACE)]
    Trace(TraceArguments),
    /// Show what tenants have sent and asked
    #[command(after_help = examples::USAGE)]
    Usage(UsageArguments),
    /// Show what makes the most series
    #[command(after_help = examples::CARDINALITY)]
    Cardinality(CardinalityArguments),
    /// Check a configuration or rule file before weir reads it, or what somebody may
    #[command(subcommand, after_help = examples::CHECK)]
    Check(CheckTarget),
    /// Print the default configuration, with every key explained
    #[command(after_help = examples::CONFIG)]
    Config,
    /// Make a CA and certificates for a small cluster, renew or revoke them
    #[command(after_help = examples::CERTS)]
    Certs(CertsArguments),
    /// Make a running weir do now what it would do by itself later
    #[command(subcommand, after_help = examples::ADMIN)]
    Admin(AdminAction),
    /// Sign in to a weir, and ask it from now on
    #[command(after_help = examples::LOGIN)]
    Login(LoginArguments),
    /// Forget the credentials of a weir
    #[command(after_help = examples::LOGOUT)]
    Logout(LogoutArguments),
    /// Show who one is to a weir, and what one may
    #[command(after_help = examples::WHOAMI)]
    Whoami(ServerArguments),
    /// Print a shell's completions of this command line
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write a manual page for each command into a directory
    #[command(after_help = examples::MAN)]
    Man {
        /// The directory; made if it is not there
        directory: PathBuf,
    },
    /// A container's monitor process; started by `run`
    #[command(hide = true)]
    Monitor(MonitorArguments),
}

impl Arguments {
    /// What was typed, or an error that says what is wrong with it.
    pub fn read(words: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        effect::check(&matches).map_err(|error| error.under(&mut command))?;
        let mut arguments = Self::from_arg_matches(&matches)?;
        effect::prefer_typed(&matches, &mut arguments);
        Ok(arguments)
    }
}

/// What every process that serves takes.
#[derive(Debug, Default, Args)]
pub(crate) struct ServiceArguments {
    /// Configuration file; `weir config` prints one with every key explained
    #[arg(long, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// IP address and port to listen on, for page, APIs, health and metrics [default: 127.0.0.1:9640]
    #[arg(long, env = "WEIR_LISTEN", value_name = "ADDR", value_parser = value::address)]
    pub listen: Option<SocketAddr>,
    /// Allow addresses that other machines can reach although there is no TLS ([tls] cert_file)
    #[arg(long, env = "WEIR_ALLOW_PLAINTEXT")]
    pub allow_plaintext: bool,
    /// Allow addresses that other machines can reach although nobody is asked who they are ([auth] methods)
    #[arg(long, env = "WEIR_ALLOW_ANONYMOUS")]
    pub allow_anonymous: bool,
    /// Further names that clients and proxies ask under, separated by commas: weir.example,*.monitoring.svc
    #[arg(long, env = "WEIR_HOSTS", value_delimiter = ',', value_name = "NAMES")]
    pub hosts: Vec<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct StoreArguments {
    /// Where data is kept for good: file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix
    /// [default: `store` below the data directory]
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
    /// Directory that weir keeps its data in [default: ./weir-data]
    #[arg(long, env = "WEIR_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// IP address and port for OTLP over gRPC [default: 127.0.0.1:4317]
    #[arg(long, env = "WEIR_OTLP_GRPC", value_name = "ADDR", value_parser = value::address)]
    pub otlp_grpc: Option<SocketAddr>,
    /// IP address and port for OTLP over HTTP [default: 127.0.0.1:4318]
    #[arg(long, env = "WEIR_OTLP_HTTP", value_name = "ADDR", value_parser = value::address)]
    pub otlp_http: Option<SocketAddr>,
    /// Directory of the containers that `weir run` starts [default: /var/lib/weir/containers]
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub containers: Option<PathBuf>,
    /// What this machine is called in labels [default: its host name]
    #[arg(long, env = "WEIR_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Do not look at this machine's own containers, their logs and their use of CPU and memory
    #[arg(long, env = "WEIR_NO_NODE")]
    pub no_node: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AggregatorArguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    #[command(flatten)]
    pub store: StoreArguments,
    /// URL at which `weir query` reaches this process [default: --listen, as https:// where [tls] has a certificate]
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

#[derive(Debug, Subcommand)]
pub(crate) enum CheckTarget {
    /// Check a configuration file: everything that `weir up` would refuse
    #[command(after_help = examples::CHECK_CONFIG)]
    Config {
        /// The file
        file: PathBuf,
        /// Also try what it names: the Kafka brokers, the topics, the consumer group, the object store
        #[arg(long, env = "WEIR_CHECK_CONNECT")]
        connect: bool,
    },
    /// Check a rule file, Prometheus' or Loki's
    #[command(after_help = examples::CHECK_RULES)]
    Rules {
        /// The file
        file: PathBuf,
        /// Its expressions are LogQL
        #[arg(long)]
        logql: bool,
    },
    /// Explain whether somebody may: which policies allow it, and what of it they would see
    ///
    /// Decides as a weir with this configuration would, for a user or workload whose credentials name no tenants: those that a claim,
    /// a namespace or a project names restrict further, and are not considered here. With a webhook, the webhook is asked. Exit codes: 0 allowed (for one signal at least), 1 denied, 2 wrong usage or a wrong file.
    #[command(after_help = examples::CHECK_ACCESS)]
    Access(AccessArguments),
}

#[cfg(test)]
mod tests;
