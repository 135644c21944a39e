//! What can go wrong on the node side. Bad content of a kernel file is no error: the value is then absent.

use std::path::PathBuf;

/// Why something about this node could not be learned or done.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A file or directory could not be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried: `read`, `write`, `open`, ….
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No cgroup hierarchy is mounted.
    #[error("no cgroup hierarchy is mounted according to {0}")]
    NoCgroups(PathBuf),
    /// An engine answered with something else than was asked for, or not at all.
    #[error("{engine} at {address}: {reason}")]
    Engine {
        /// Which.
        engine: &'static str,
        /// Where.
        address: String,
        /// What it said.
        reason: String,
    },
    /// A container specification that cannot be run.
    #[error("container specification: {0}")]
    Spec(String),
    /// An external program failed.
    #[error("{program}: {reason}")]
    Program {
        /// Which.
        program: String,
        /// Its last words or the reason it did not start.
        reason: String,
    },
    /// There is no such container.
    #[error("no container {0:?} here")]
    NoSuchContainer(String),
    /// A container is in the wrong state for what was asked.
    #[error("container {id}: {reason}")]
    State {
        /// Which.
        id: String,
        /// Why not.
        reason: String,
    },
}

impl RuntimeError {
    /// For `map_err` around file operations.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

/// An error with its causes, which those of the transports leave out of their text.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
