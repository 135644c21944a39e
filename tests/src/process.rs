//! A real part that a test starts beside weir: waited for, killed when dropped.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::weir::PATIENCE;

/// A running program.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts it with its output in `<folder>/<name>.log`; `name` may be a path.
    pub fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let file = Path::new(name).file_name().expect("a program");
        let log = std::fs::File::create(folder.join(file).with_extension("log")).expect("create a log");
        let errors = log.try_clone().expect("clone a handle");
        let child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started ({error}); `make test` installs it"));
        Self { child, name: name.to_owned() }
    }

    /// Waits until a URL answers with success.
    pub async fn wait_for(&mut self, url: &str) {
        self.wait_for_status(url, |status| status.is_success()).await;
    }

    /// Waits until a URL answers, whatever it says.
    pub async fn wait_until_answered(&mut self, url: &str) {
        self.wait_for_status(url, |_| true).await;
    }

    async fn wait_for_status(&mut self, url: &str, enough: impl Fn(reqwest::StatusCode) -> bool) {
        let begun = Instant::now();
        loop {
            if weir_tls::client().get(url).send().await.is_ok_and(|answer| enough(answer.status())) {
                return;
            }
            assert!(self.child.try_wait().expect("wait").is_none(), "{} ended while starting", self.name);
            assert!(begun.elapsed() < PATIENCE, "{} does not answer at {url}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// SIGSTOP: it is there, and does not answer.
    pub fn freeze(&self) {
        signal("STOP", &[self.pid()]);
    }

    /// The inverse of [`Self::freeze`].
    pub fn thaw(&self) {
        signal("CONT", &[self.pid()]);
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal, `TERM`, `STOP` or `CONT`, to processes that run.
pub fn signal(name: &str, pids: &[u32]) {
    let sent = Command::new("kill").arg(format!("-{name}")).args(pids.iter().map(u32::to_string)).status();
    assert!(sent.expect("run kill").success(), "{pids:?} cannot be sent SIG{name}");
}

/// Runs a program to its end: whether it succeeded, and all that it wrote.
pub fn run(name: &str, arguments: &[&str], input: &[u8]) -> (bool, String) {
    use std::io::Write;
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} cannot be started ({error}); `make test` installs it"));
    // A program that does not read its input is not an error.
    let _closed = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("wait");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}
