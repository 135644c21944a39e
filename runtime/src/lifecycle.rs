//! How far a container is, and how a run of it ended: as engines and the kernel tell it, and as weir's own monitor writes it down.

use serde::{Deserialize, Serialize};
use weir_model::time::UnixNanos;

/// Runs that ended and are remembered of a container. One that ends as fast as the pauses between its runs let it ends six times
/// within the first five seconds, and whoever reads the monitor's file does so every second.
pub(crate) const ENDS_MAX: usize = 16;

/// How far a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Between two runs.
    Restarting,
    /// Over.
    Exited,
    /// The engine does not say.
    #[default]
    Unknown,
}

impl State {
    /// The name in labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Unknown => "unknown",
        }
    }
}

/// The end of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// Unix nanoseconds, by the engine's word; when it was noticed where no engine says.
    pub at: UnixNanos,
    /// When that run began.
    pub started: Option<UnixNanos>,
    /// 128 + signal when a signal ended it; `None` when nobody knows.
    pub exit_code: Option<i32>,
    /// Its processes that the kernel killed for lack of memory. An engine that only says that there were some counts as 1.
    pub oom_kills: u64,
}

impl End {
    /// The signal that ended it (`SIGKILL`), by the exit code; "" when none did.
    pub fn signal(&self) -> &'static str {
        let number = self.exit_code.and_then(|code| usize::try_from(code.checked_sub(128)?).ok()).unwrap_or(0);
        SIGNALS.get(number).copied().unwrap_or("")
    }
}

/// By number, as Linux has them on all but MIPS, SPARC and Alpha.
const SIGNALS: [&str; 32] = [
    "",
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        let check = |exit_code, expected| assert_eq!(End { exit_code, ..End::default() }.signal(), expected, "{exit_code:?}");
        check(Some(137), "SIGKILL");
        check(Some(143), "SIGTERM");
        check(Some(159), "SIGSYS");
        for none in [None, Some(0), Some(3), Some(128), Some(160), Some(255), Some(-1), Some(i32::MIN)] {
            check(none, "");
        }
    }
}
