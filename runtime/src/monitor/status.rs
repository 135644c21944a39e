//! The state file of a container: written by its monitor whenever something changes, replaced in one step, read by
//! everybody. Format: docs/formats/runtime_state.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_model::time::UnixNanos;

use crate::RuntimeError;
use crate::lifecycle::{ENDS_MAX, End, State};
use crate::private::write_atomically;

/// Of [`Status`] on disk.
pub const VERSION: u32 = 1;

/// How a container is. Times are Unix nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// 64 hex digits.
    pub id: String,
    /// Unique among the containers here.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Root file system; "" for the host's.
    pub rootfs: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How far it is.
    pub state: State,
    /// First process of the present run.
    pub pid: Option<u32>,
    /// When it was made.
    pub created: UnixNanos,
    /// When the present or last run began.
    pub started: Option<UnixNanos>,
    /// When the last run ended.
    pub finished: Option<UnixNanos>,
    /// Exit code of the last run; 128 + signal when one ended it.
    pub exit_code: Option<i32>,
    /// Whether the kernel killed a process of the last run for lack of memory.
    pub oom_killed: bool,
    /// The newest 16 runs that ended, ascending.
    pub ends: Vec<End>,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it could not be started, or what else went wrong.
    pub error: String,
    /// Path in the cgroup tree.
    pub cgroup: String,
    /// The log file that is written now.
    pub log: PathBuf,
    /// How often a log write had to wait for the disk to have room again.
    pub log_waits: u64,
    /// How often a rotation failed, and the file went on growing.
    pub log_rotation_errors: u64,
}

/// Name of the state file in a container's directory.
const FILE: &str = "state.json";

impl Status {
    /// Notes that the present run has ended.
    pub(super) fn push_end(&mut self, end: End) {
        (self.finished, self.exit_code, self.oom_killed) = (Some(end.at), end.exit_code, end.oom_kills > 0);
        self.pid = None;
        self.ends.push(end);
        self.ends.drain(..self.ends.len().saturating_sub(ENDS_MAX));
    }

    /// Reads the state file in a container's directory.
    pub fn read(directory: &Path) -> Result<Self, RuntimeError> {
        let path = directory.join(FILE);
        let bytes = std::fs::read(&path).map_err(RuntimeError::file("read", &path))?;
        let status: Self =
            serde_json::from_slice(&bytes).map_err(|error| RuntimeError::file("parse", &path)(std::io::Error::other(error)))?;
        if status.version == VERSION {
            return Ok(status);
        }
        let other = std::io::Error::other(format!("version {} is not {VERSION}", status.version));
        Err(RuntimeError::file("parse", &path)(other))
    }

    /// Replaces the state file: a reader sees the old or the new one, also after a crash.
    pub fn write(&self, directory: &Path) -> Result<(), RuntimeError> {
        let bytes = serde_json::to_vec_pretty(self).expect("invariant: a status is plain data");
        write_atomically(&directory.join(FILE), &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_comes_back_and_its_spelling_is_fixed() {
        let directory = tempfile::tempdir().unwrap();
        let status = Status {
            version: VERSION,
            id: "ab".into(),
            state: State::Running,
            pid: Some(7),
            exit_code: Some(137),
            ..Status::default()
        };
        status.write(directory.path()).unwrap();
        assert_eq!(Status::read(directory.path()).unwrap(), status);
        let text = std::fs::read_to_string(directory.path().join("state.json")).unwrap();
        let golden = r#"{"version":1,"id":"ab","name":"","command":[],"rootfs":"","labels":{},"state":"running","pid":7,"created":0,
            "started":null,"finished":null,"exit_code":137,"oom_killed":false,"ends":[],"restarts":0,"error":"","cgroup":"","log":"",
            "log_waits":0,"log_rotation_errors":0}"#;
        let compact = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(compact(&text), compact(golden));
    }

    #[test]
    fn another_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for (content, word) in [(r#"{"version": 2}"#, "version 2"), ("{", "parse")] {
            std::fs::write(directory.path().join("state.json"), content).unwrap();
            let error = Status::read(directory.path()).unwrap_err().to_string();
            assert!(error.contains(word) || error.contains("state.json"), "{error}");
        }
    }
}
