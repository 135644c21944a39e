//! What to run: the command line of `weir run` as a value. Checked here, so that runc never sees nonsense.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RuntimeError;

/// kubelet's default for a container's log file.
const LOG_BYTES_MAX: u64 = 10 << 20;
/// kubelet's default for the number of a container's log files.
const LOG_FILES_MAX: usize = 5;
/// runc needs some memory of the container's to start it; below this it fails with no clear word.
const MEMORY_BYTES_MIN: u64 = 4 << 20;

/// When to start again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When it ended with another code than 0, at most this often (`None`: without end).
    OnFailure(Option<u64>),
    /// Whenever it ended.
    Always,
}

impl FromStr for Restart {
    type Err = RuntimeError;

    /// `no`, `always`, `on-failure` or `on-failure:<times>`.
    fn from_str(text: &str) -> Result<Self, RuntimeError> {
        let wrong = || RuntimeError::Spec(format!("restart is no, always, on-failure or on-failure:<times>, got {text:?}"));
        match text {
            "no" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "on-failure" => Ok(Self::OnFailure(None)),
            _ => {
                let times = text.strip_prefix("on-failure:").ok_or_else(wrong)?;
                times.parse().map(|times| Self::OnFailure(Some(times))).map_err(|_| wrong())
            }
        }
    }
}

/// A container to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Name, unique among weir's containers; the first 12 digits of the id when absent.
    pub name: Option<String>,
    /// Root file system, writable. When absent, the host's own root file system, read-only (see [`super::bundle`]).
    pub rootfs: Option<PathBuf>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory within the container.
    pub workdir: Option<String>,
    /// Memory limit in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU limit in cores.
    pub cpus: Option<f64>,
    /// Limit of tasks.
    pub pids: Option<u64>,
    /// When to start again.
    pub restart: Restart,
    /// Remove it and its logs when it is over.
    pub remove: bool,
    /// A log file is rotated when it has reached this size.
    pub log_bytes_max: u64,
    /// This many log files are kept, the present one included.
    pub log_files_max: usize,
}

impl RunSpec {
    /// A command with defaults for everything else.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            name: None,
            rootfs: None,
            labels: BTreeMap::new(),
            env: Vec::new(),
            workdir: None,
            memory_bytes: None,
            cpus: None,
            pids: None,
            restart: Restart::No,
            remove: false,
            log_bytes_max: LOG_BYTES_MAX,
            log_files_max: LOG_FILES_MAX,
        }
    }

    /// Errors with the field that cannot be run.
    pub fn check(&self) -> Result<(), RuntimeError> {
        let wrong = |text: String| Err(RuntimeError::Spec(text));
        if self.command.first().is_none_or(String::is_empty) {
            return wrong("there is no command".into());
        }
        if let Some(name) = self.name.as_deref().filter(|name| !is_name(name)) {
            return wrong(format!(
                "a name has up to 128 letters, digits, '.', '_' and '-' and begins with a letter or digit, got {name:?}"
            ));
        }
        if let Some(pair) = self.env.iter().find(|pair| pair.find('=').is_none_or(|at| at == 0)) {
            return wrong(format!("an environment variable reads NAME=value, got {pair:?}"));
        }
        if let Some(workdir) = self.workdir.as_deref().filter(|path| !path.starts_with('/')) {
            return wrong(format!("the working directory is an absolute path, got {workdir:?}"));
        }
        if let Some(cpus) = self.cpus.filter(|cpus| !(0.01..=4096.0).contains(cpus)) {
            return wrong(format!("cpus is between 0.01 and 4096, got {cpus}"));
        }
        if let Some(bytes) = self.memory_bytes.filter(|bytes| *bytes < MEMORY_BYTES_MIN) {
            return wrong(format!("memory is at least {} MiB, got {bytes} bytes", MEMORY_BYTES_MIN >> 20));
        }
        if self.pids == Some(0) {
            return wrong("pids is at least 1".into());
        }
        if let Some(rootfs) = self.rootfs.as_deref().filter(|path| !path.is_dir()) {
            return wrong(format!("the root file system {} is no directory", rootfs.display()));
        }
        if self.log_files_max == 0 || self.log_bytes_max < 1 << 10 {
            return wrong("at least one log file of 1 KiB is kept".into());
        }
        Ok(())
    }
}

/// Names appear in paths, labels and host names.
fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// A number of bytes as people write it: `64m`, `1.5GiB`, `4096`. Units are powers of 1024, as Docker's are.
pub fn parse_bytes(text: &str) -> Result<u64, RuntimeError> {
    let wrong = || RuntimeError::Spec(format!("a size reads 4096, 64k, 256m or 1.5g, got {text:?}"));
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<f64>().map_err(|_| wrong())?
        * f64::from(1_u32 << (shift % 30))
        * if shift >= 30 { 2_f64.powi(30) } else { 1.0 };
    if bytes.is_finite() && bytes < 2_f64.powi(60) { Ok(bytes as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_bytes(text).ok(), expected, "{text}");
        check("4096", Some(4096));
        check("64k", Some(64 << 10));
        check("256MiB", Some(256 << 20));
        check("1.5g", Some(3 << 29));
        check("2tb", Some(2 << 40));
        for wrong in ["", "m", "5x", "-1", "1.2.3", "99999999999t"] {
            check(wrong, None);
        }
    }

    #[test]
    fn restarts() {
        let check = |text: &str, expected: Option<Restart>| assert_eq!(text.parse().ok(), expected, "{text}");
        check("no", Some(Restart::No));
        check("on-failure", Some(Restart::OnFailure(None)));
        check("on-failure:3", Some(Restart::OnFailure(Some(3))));
        check("always", Some(Restart::Always));
        check("sometimes", None);
        check("on-failure:", None);
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let check = |change: fn(&mut RunSpec), word: &str| {
            let mut spec = RunSpec::new(["true"]);
            change(&mut spec);
            let error = spec.check().expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        };
        assert!(RunSpec::new(["true"]).check().is_ok());
        check(|spec| spec.command.clear(), "command");
        check(|spec| spec.name = Some("../x".into()), "name");
        check(|spec| spec.env = vec!["=x".into()], "environment");
        check(|spec| spec.workdir = Some("x".into()), "working directory");
        check(|spec| spec.cpus = Some(f64::NAN), "cpus");
        check(|spec| spec.memory_bytes = Some(1), "memory");
        check(|spec| spec.pids = Some(0), "pids");
        check(|spec| spec.rootfs = Some("/nowhere".into()), "/nowhere");
        check(|spec| spec.log_files_max = 0, "log file");
    }
}
