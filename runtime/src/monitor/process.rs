//! The monitor process: one a container, for all of its runs. It starts the container under runc, is the reaper of its
//! first process, owns its output pipes, and keeps its state file. Started by [`super::control::run`] through
//! `weir monitor --dir DIR`. Sync, two threads for the two streams.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_model::time::UnixNanos;

use super::bundle::cgroup_path;
use super::cri::Splitter;
use super::log_file::{LogFile, Rotation, WAIT, is_full};
use super::spec::{Restart, RunSpec};
use super::status::Status;
use crate::RuntimeError;
use crate::cgroup::{Mounts, Sampled, Sampler};
use crate::lifecycle::{End, State};
use crate::private;

/// Largest read of a pipe at once: the size we ask the kernel to give the pipe.
const PIPE_BYTES: usize = 1 << 20;
/// First pause before a restart; doubles up to [`PAUSE_MAX`]. Docker's figures.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A run of this length was a good one: the pause begins anew.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Names in a container's directory.
pub(super) const SPEC: &str = "spec.json";
pub(super) const BUNDLE: &str = "bundle";
pub(super) const STOP: &str = "stop";
pub(super) const LOCK: &str = "monitor.lock";

/// What the monitor holds for all runs.
struct Monitor {
    directory: PathBuf,
    spec: RunSpec,
    status: Status,
    /// Guards the log file between the threads of the two streams: each takes it for one write of whole lines.
    log: Arc<Mutex<LogFile>>,
    /// The OCI runtime: `runc`, or a test's own.
    program: PathBuf,
}

/// Runs the container in `directory` (made by [`super::control::run`]) until it is over for good. Called by the binary's
/// hidden subcommand. Says `started` or what went wrong on standard output, once, and then lets go of it.
/// `now` gives Unix nanoseconds.
pub fn monitor_main(directory: &Path, now: fn() -> UnixNanos) -> Result<(), RuntimeError> {
    // Fails only for a process that leads a group already, and then there is nothing to leave.
    let _ = rustix::process::setsid();
    let subreaper = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    subreaper.map_err(|error| RuntimeError::Program { program: "prctl".into(), reason: error.to_string() })?;
    let lock = private::create(&directory.join(LOCK)).map_err(RuntimeError::file("create", directory.join(LOCK)))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| RuntimeError::file("lock", directory.join(LOCK))(error.into()))?;
    let mut monitor = Monitor::open(directory)?;
    let outcome = monitor.run(now);
    if let Err(error) = &outcome {
        monitor.status.state = State::Exited;
        monitor.status.error = error.to_string();
        monitor.status.finished = Some(now());
        // Who started it is told first, and waits for no room: nothing is left of it.
        say(&format!("error: {error}"));
        monitor.status.write(directory)?;
    }
    if monitor.spec.remove {
        std::fs::remove_dir_all(directory).map_err(RuntimeError::file("remove", directory))?;
    }
    outcome
}

/// One line to whoever started us; afterwards standard output leads nowhere. Nobody may be listening any more.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

impl Monitor {
    fn open(directory: &Path) -> Result<Self, RuntimeError> {
        let path = directory.join(SPEC);
        let bytes = std::fs::read(&path).map_err(RuntimeError::file("read", &path))?;
        let spec: RunSpec =
            serde_json::from_slice(&bytes).map_err(|error| RuntimeError::file("parse", &path)(io::Error::other(error)))?;
        let status = Status::read(directory)?;
        let rotation = Rotation { bytes_max: spec.log_bytes_max, files_max: spec.log_files_max };
        let log = LogFile::open(&status.log, rotation).map_err(RuntimeError::file("open", &status.log))?;
        Ok(Self { directory: directory.to_owned(), spec, status, log: Arc::new(Mutex::new(log)), program: "runc".into() })
    }

    fn run(&mut self, now: fn() -> UnixNanos) -> Result<(), RuntimeError> {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            if let Err(error) = self.run_once(now) {
                // Who asked for it is told of a first start that failed; a later one is a run that failed.
                if self.status.restarts == 0 {
                    return Err(error);
                }
                self.status.error = error.to_string();
                let at = now();
                self.status.push_end(End { at, started: Some(at), ..End::default() });
            }
            if !self.is_to_restart() {
                self.status.state = State::Exited;
                return self.keep();
            }
            if began.elapsed() >= GOOD_RUN {
                pause = PAUSE_MIN;
            }
            self.status.state = State::Restarting;
            self.status.restarts += 1;
            self.keep()?;
            let until = Instant::now() + pause;
            while let Some(rest) = until.checked_duration_since(Instant::now())
                && !self.is_stopped()
            {
                std::thread::park_timeout(rest.min(PAUSE_MIN));
            }
            if self.is_stopped() {
                self.status.state = State::Exited;
                return self.keep();
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Writes the state down. On a full disk it waits for room, as lines do: a container that is to be started again must not
    /// be given up for that. Who stops it does not wait; then its end is told by the monitor's.
    fn keep(&self) -> Result<(), RuntimeError> {
        loop {
            match self.status.write(&self.directory) {
                Err(RuntimeError::File { source, .. }) if is_full(&source) && !self.is_stopped() => {
                    std::thread::park_timeout(WAIT)
                }
                written => return written,
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.directory.join(STOP).exists()
    }

    fn is_to_restart(&self) -> bool {
        let failed = self.status.exit_code != Some(0);
        let wanted = match self.spec.restart {
            Restart::No => false,
            Restart::OnFailure(times) => failed && times.is_none_or(|times| self.status.restarts < times),
            Restart::Always => true,
        };
        wanted && !self.is_stopped()
    }

    /// From `runc create` to `runc delete`.
    fn run_once(&mut self, now: fn() -> UnixNanos) -> Result<(), RuntimeError> {
        let pid_file = self.directory.join("pid");
        let (out_reader, out_writer) = pipe()?;
        let (err_reader, err_writer) = pipe()?;
        let bundle = self.directory.join(BUNDLE);
        let log = self.directory.join("runc.log");
        let mut create = self.runc();
        create.arg("--log").arg(&log).arg("create").arg("--bundle").arg(bundle).arg("--pid-file").arg(&pid_file);
        create.arg(&self.status.id).stdin(Stdio::null()).stdout(out_writer).stderr(err_writer);
        let created = create.status();
        // Our copies of the writing ends go with the command, so that the readers see the end.
        drop(create);
        let created =
            created.map_err(|error| RuntimeError::Program { program: "runc create".into(), reason: error.to_string() })?;
        let readers = [("stdout", out_reader), ("stderr", err_reader)].map(|(stream, reader)| self.pump(stream, reader, now));
        if !created.success() {
            readers.into_iter().for_each(|reader| drop(reader.join()));
            return Err(RuntimeError::Program { program: "runc create".into(), reason: last_words(&log) });
        }
        // What is created is started, or undone: nothing is left between the two.
        let started = read_pid(&pid_file).and_then(|pid| self.start(pid, &log, now).map(|()| pid));
        let pid = match started {
            Ok(pid) => pid,
            Err(error) => {
                self.delete();
                self.status.pid = None;
                readers.into_iter().for_each(|reader| drop(reader.join()));
                return Err(error);
            }
        };
        let code = wait_for(pid)?;
        self.ended(code, now);
        // The pipes end when the last process that holds them does: with the pid namespace, that is now.
        for reader in readers {
            if let Ok(Err(error)) = reader.join() {
                self.status.error = format!("write {}: {error}", self.status.log.display());
            }
        }
        self.delete();
        let troubles = self.log.lock().unwrap_or_else(PoisonError::into_inner).troubles();
        self.status.log_waits = troubles.waits;
        self.status.log_rotation_errors = troubles.rotation_errors;
        self.keep()
    }

    /// Whatever runc has of it goes, running or not.
    fn delete(&self) {
        let _ = self.runc().args(["delete", "--force", &self.status.id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    fn start(&mut self, pid: rustix::process::Pid, log: &Path, now: fn() -> UnixNanos) -> Result<(), RuntimeError> {
        self.status.pid = u32::try_from(pid.as_raw_nonzero().get()).ok();
        self.status.started = Some(now());
        self.status.state = State::Running;
        self.keep()?;
        let mut start = self.runc();
        start.arg("--log").arg(log).args(["start", &self.status.id]).stdout(Stdio::null()).stderr(Stdio::null());
        let started = start.status().is_ok_and(|status| status.success());
        if !started {
            return Err(RuntimeError::Program { program: "runc start".into(), reason: last_words(log) });
        }
        if self.status.restarts == 0 {
            say("started");
        }
        Ok(())
    }

    fn ended(&mut self, code: i32, now: fn() -> UnixNanos) {
        let oom_kills = oom_kills(&self.status.id);
        self.status.push_end(End { at: now(), started: self.status.started, exit_code: Some(code), oom_kills });
    }

    /// runc with a state directory of the container's own.
    fn runc(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.directory.join("runc")).arg("--log-format").arg("json");
        command
    }

    fn pump(&self, stream: &'static str, mut reader: PipeReader, now: fn() -> UnixNanos) -> JoinHandle<io::Result<()>> {
        let log = self.log.clone();
        std::thread::spawn(move || {
            let mut splitter = Splitter::new(stream);
            let mut buffer = vec![0; PIPE_BYTES];
            let mut lines = Vec::new();
            loop {
                let count = match reader.read(&mut buffer) {
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => 0,
                };
                // Taken after the lock, so that times in the file ascend over both streams.
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let at = now();
                splitter.feed(&buffer[..count], at, &mut lines);
                if count == 0 {
                    splitter.finish(at, &mut lines);
                }
                // Broken for good, not full: the pipe closes with us, the container notices, and the state says why.
                log.append(&lines, at, |_| ())?;
                drop(log);
                lines.clear();
                if count == 0 {
                    return Ok(());
                }
            }
        })
    }
}

fn pipe() -> Result<(PipeReader, io::PipeWriter), RuntimeError> {
    let (reader, writer) = io::pipe().map_err(RuntimeError::file("open", "pipe"))?;
    // More room means fewer wake-ups; where it is refused, the default does.
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, PIPE_BYTES);
    Ok((reader, writer))
}

fn read_pid(path: &Path) -> Result<rustix::process::Pid, RuntimeError> {
    let text = std::fs::read_to_string(path).map_err(RuntimeError::file("read", path))?;
    let pid = text.trim().parse::<i32>().ok().and_then(rustix::process::Pid::from_raw);
    pid.ok_or_else(|| RuntimeError::Program { program: "runc create".into(), reason: format!("no pid in {text:?}") })
}

/// Exit code, or 128 + signal. Reaps whatever else was left to us on the way.
fn wait_for(pid: rustix::process::Pid) -> Result<i32, RuntimeError> {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Ok(Some((ended, status))) if ended == pid => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or(signal).unwrap_or(255));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(RuntimeError::Program { program: "wait".into(), reason: error.to_string() }),
        }
    }
}

/// Processes of the container that the kernel killed for lack of memory; its cgroup is still there.
fn oom_kills(id: &str) -> u64 {
    let Ok(mounts) = Mounts::detect(Path::new("/")) else { return 0 };
    match Sampler::new(mounts, 0).sample(&cgroup_path(id)) {
        Sampled::Sample(sample) => sample.memory.oom_kills.unwrap_or(0),
        Sampled::Gone => 0,
    }
}

/// The last error in runc's JSON log.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let message = text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        (entry["level"] == "error").then(|| entry["msg"].as_str().unwrap_or_default().to_owned())
    });
    message.unwrap_or_else(|| format!("it failed without a word in {}", log.display()))
}

#[cfg(test)]
mod tests;
