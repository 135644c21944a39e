//! What `weir run`, `ps`, `stop`, `rm` and the hidden `monitor` take.

use std::path::PathBuf;

use clap::Args;

use super::ask::Output;
use super::value;

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Name, unique among the containers that `weir run` started [default: the first 12 digits of its id]
    #[arg(long, env = "WEIR_RUN_NAME")]
    pub name: Option<String>,
    /// Most memory it may use, for instance 64Mi or 1G
    #[arg(long, env = "WEIR_RUN_MEMORY", value_name = "SIZE")]
    pub memory: Option<String>,
    /// Most CPU it may use, in cores, for instance 0.5
    #[arg(long, env = "WEIR_RUN_CPUS", value_name = "CORES", value_parser = value::number)]
    pub cpus: Option<f64>,
    /// Most processes and threads it may have
    #[arg(long, env = "WEIR_RUN_PIDS", value_name = "COUNT", value_parser = value::whole)]
    pub pids: Option<u64>,
    /// Its root file system [default: this machine's, read-only, with its own /tmp]
    #[arg(long, env = "WEIR_RUN_ROOTFS", value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// A label; may be repeated
    #[arg(long = "label", env = "WEIR_RUN_LABELS", value_delimiter = ',', value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// An environment variable of the command; may be repeated
    #[arg(long = "env", env = "WEIR_RUN_ENV", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Directory inside that the command starts in [default: /]
    #[arg(long, env = "WEIR_RUN_WORKDIR", value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// When to start it again: no, on-failure, on-failure:TIMES or always
    #[arg(long, env = "WEIR_RUN_RESTART", default_value = "no", value_name = "WHEN")]
    pub restart: String,
    /// Return as soon as it has started, and print its id
    #[arg(short, long, env = "WEIR_RUN_DETACH")]
    pub detach: bool,
    /// Remove it and its logs when it has ended
    #[arg(long, env = "WEIR_RUN_RM")]
    pub rm: bool,
    /// Directory of the containers that `weir run` starts [default: /var/lib/weir/containers]
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PsArguments {
    /// A table, or JSON
    #[arg(short, long, env = "WEIR_OUTPUT", value_enum, default_value = "text")]
    pub output: Output,
    /// Directory of the containers that `weir run` starts [default: /var/lib/weir/containers]
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// Name or id
    pub container: String,
    /// Seconds between SIGTERM and SIGKILL
    #[arg(short, long, env = "WEIR_STOP_TIME", default_value_t = 10, value_name = "SECONDS", value_parser = value::whole)]
    pub time: u64,
    /// Directory of the containers that `weir run` starts [default: /var/lib/weir/containers]
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
    /// Directory of the containers that `weir run` starts [default: /var/lib/weir/containers]
    #[arg(long, env = "WEIR_RUNTIME_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MonitorArguments {
    /// The container's directory
    #[arg(long)]
    pub dir: PathBuf,
}
