//! Run, list, wait, stop, remove: what the command line and the inventory call. A container is a directory
//! (`docs/formats/runtime_state.md`); whether its monitor lives is told by the lock that it holds.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weir_model::time::UnixNanos;

use super::bundle::{Config, cgroup_path};
use super::process::{BUNDLE, LOCK, SPEC, STOP};
use super::spec::RunSpec;
use super::status::{Status, VERSION};
use crate::RuntimeError;
use crate::lifecycle::State;
use crate::private::{self, write_atomically};
use crate::processes;

/// State files change a few times in a container's life; a person or a script waits for it.
const POLL: Duration = Duration::from_millis(20);

/// A container that has been started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// 64 hex digits.
    pub id: String,
    /// Its directory below the state directory.
    pub directory: PathBuf,
}

/// Makes a container below `state_dir` and starts it; returns when its process runs or could not be started (then with
/// the reason, and nothing is left behind). `monitor` is the program whose hidden subcommand `monitor --dir DIR` calls
/// [`super::monitor_main`]: as a rule the running one, `std::env::current_exe()`.
pub fn run(state_dir: &Path, spec: &RunSpec, monitor: &Path, now: UnixNanos) -> Result<Running, RuntimeError> {
    spec.check()?;
    // The bundle and the log are told to others, who stand elsewhere.
    let state_dir = &std::path::absolute(state_dir).map_err(RuntimeError::file("find", state_dir))?;
    let id = new_id()?;
    let name = spec.name.clone().unwrap_or_else(|| id[..12].to_owned());
    // Guards the names between two runs at once.
    private::make_directory(state_dir).map_err(RuntimeError::file("create", state_dir))?;
    let names = private::create(&state_dir.join(".names.lock")).map_err(RuntimeError::file("lock", state_dir))?;
    rustix::fs::flock(&names, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| RuntimeError::file("lock", state_dir)(error.into()))?;
    if list(state_dir)?.iter().any(|status| status.name == name) {
        return Err(RuntimeError::Spec(format!("there is a container named {name:?} already")));
    }
    let directory = state_dir.join(&id);
    let started = prepare(&directory, spec, &id, &name, now).and_then(|()| start_monitor(&directory, monitor));
    match started {
        Ok(()) => Ok(Running { id, directory }),
        Err(error) => {
            std::fs::remove_dir_all(&directory).map_err(RuntimeError::file("remove", &directory))?;
            Err(error)
        }
    }
}

fn prepare(directory: &Path, spec: &RunSpec, id: &str, name: &str, now: UnixNanos) -> Result<(), RuntimeError> {
    let empty = directory.join(BUNDLE).join("rootfs");
    private::make_directory(&empty).map_err(RuntimeError::file("create", &empty))?;
    let mut spec = spec.clone();
    if let Some(rootfs) = &mut spec.rootfs {
        *rootfs = std::fs::canonicalize(&*rootfs).map_err(RuntimeError::file("find", &*rootfs))?;
    }
    write_atomically(&directory.join(SPEC), &json(&spec))?;
    write_atomically(&directory.join(BUNDLE).join("config.json"), &json(&Config::new(&spec, id, name, &empty)))?;
    let status = Status {
        version: VERSION,
        id: id.to_owned(),
        name: name.to_owned(),
        command: spec.command.clone(),
        rootfs: spec.rootfs.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        labels: spec.labels.clone(),
        state: State::Created,
        created: now,
        cgroup: cgroup_path(id),
        log: directory.join("logs/0.log"),
        ..Status::default()
    };
    status.write(directory)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("invariant: plain data")
}

fn start_monitor(directory: &Path, monitor: &Path) -> Result<(), RuntimeError> {
    let program = || monitor.display().to_string();
    let errors = directory.join("monitor.log");
    let stderr = private::create(&errors).map_err(RuntimeError::file("create", &errors))?;
    let mut command = Command::new(monitor);
    command.arg("monitor").arg("--dir").arg(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut child = command.spawn().map_err(|error| RuntimeError::Program { program: program(), reason: error.to_string() })?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // The monitor says one line; a broken one that says more is not listened to for ever.
        BufReader::new(stdout.take(4096)).read_line(&mut line).map_err(RuntimeError::file("read", monitor))?;
    }
    if line.trim() == "started" {
        // Whoever lives on after this should not keep a zombie of each monitor.
        std::thread::spawn(move || child.wait());
        return Ok(());
    }
    let _ = child.wait();
    let reason = line.trim().strip_prefix("error: ").map(str::to_owned);
    let reason = reason.unwrap_or_else(|| std::fs::read_to_string(&errors).unwrap_or_default().trim().to_owned());
    Err(RuntimeError::Program { program: program(), reason })
}

fn new_id() -> Result<String, RuntimeError> {
    let mut bytes = [0; 32];
    let mut random = File::open("/dev/urandom").map_err(RuntimeError::file("open", "/dev/urandom"))?;
    random.read_exact(&mut bytes).map_err(RuntimeError::file("read", "/dev/urandom"))?;
    Ok(hex::encode(bytes))
}

/// All containers below `state_dir`, oldest first. One whose monitor is gone without having said how it ended is shown
/// as exited, with that as its error. A directory whose state cannot be read is passed over (it may be in the making).
pub fn list(state_dir: &Path) -> Result<Vec<Status>, RuntimeError> {
    let entries = match std::fs::read_dir(state_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(RuntimeError::file("list", state_dir)(error)),
    };
    let mut found: Vec<Status> = entries.filter_map(|entry| status(&entry.ok()?.path()).ok()).collect();
    found.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(found)
}

/// One container's state, with the monitor's death taken into account.
fn status(directory: &Path) -> Result<Status, RuntimeError> {
    let mut status = Status::read(directory)?;
    if status.state != State::Exited && !has_monitor(directory) && !is_in_the_making(directory, status.state) {
        // It may have ended properly between the two looks.
        status = Status::read(directory)?;
        if status.state != State::Exited {
            let what = if status.state == State::Created { "it was never started" } else { "how it ended is not known" };
            status.error = format!("its monitor is gone; {what}");
            status.state = State::Exited;
        }
    }
    Ok(status)
}

/// A container that was just made has no monitor yet, as long as whoever makes it holds the lock on the names.
fn is_in_the_making(directory: &Path, state: State) -> bool {
    let Some(lock) = directory.parent().and_then(|all| File::open(all.join(".names.lock")).ok()) else { return false };
    state == State::Created && rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
}

fn has_monitor(directory: &Path) -> bool {
    let Ok(lock) = File::open(directory.join(LOCK)) else { return false };
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
}

/// Finds a container by name, id or the beginning of an id (at least 4 digits, unique).
fn find(state_dir: &Path, wanted: &str) -> Result<(Status, PathBuf), RuntimeError> {
    let all = list(state_dir)?;
    let exact = all.iter().find(|status| status.name == wanted || status.id == wanted);
    let mut beginning = all.iter().filter(|status| wanted.len() >= 4 && status.id.starts_with(wanted));
    let found = match (exact, beginning.next(), beginning.next()) {
        (Some(exact), _, _) => exact,
        (None, Some(one), None) => one,
        _ => return Err(RuntimeError::NoSuchContainer(wanted.to_owned())),
    };
    Ok((found.clone(), state_dir.join(&found.id)))
}

/// Waits until a container is over for good, at most for `timeout` (`None`: for ever). Blocks.
/// Errors with its state when it is not over in time. A container that has been removed meanwhile is `NoSuchContainer`.
pub fn wait(state_dir: &Path, wanted: &str, timeout: Option<Duration>) -> Result<Status, RuntimeError> {
    let began = Instant::now();
    let (first, directory) = find(state_dir, wanted)?;
    loop {
        let status = match status(&directory) {
            Ok(status) => status,
            Err(_) if !directory.exists() => return Err(RuntimeError::NoSuchContainer(first.id)),
            Err(error) => return Err(error),
        };
        if status.state == State::Exited && !has_monitor(&directory) {
            return Ok(status);
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            return Err(RuntimeError::State { id: status.id, reason: format!("still {}", status.state.name()) });
        }
        std::thread::park_timeout(POLL);
    }
}

/// Asks a container to end (SIGTERM), makes it end after `grace` (SIGKILL), and waits for that. No restart follows.
/// Stopping what is over is no error. With `--rm` its directory is gone afterwards, and the answer is what was last known.
pub fn stop(state_dir: &Path, wanted: &str, grace: Duration) -> Result<Status, RuntimeError> {
    let (status, directory) = find(state_dir, wanted)?;
    if status.state == State::Exited {
        return Ok(status);
    }
    let request = directory.join(STOP);
    private::create(&request).map_err(RuntimeError::file("create", &request))?;
    signal(&status, rustix::process::Signal::TERM)?;
    match wait(state_dir, &status.id, Some(grace)) {
        Err(RuntimeError::State { .. }) => {}
        Err(RuntimeError::NoSuchContainer(_)) => return Ok(Status { state: State::Exited, ..status }),
        other => return other,
    }
    // It may have been between two runs at first: look again.
    let (status, _) = find(state_dir, &status.id)?;
    signal(&status, rustix::process::Signal::KILL)?;
    match wait(state_dir, &status.id, Some(Duration::from_secs(10))) {
        Err(RuntimeError::NoSuchContainer(_)) => Ok(Status { state: State::Exited, ..status }),
        other => other,
    }
}

/// Signals a container's first process, and only if it still is that: a handle is taken first, then its cgroup checked.
fn signal(status: &Status, signal: rustix::process::Signal) -> Result<(), RuntimeError> {
    let Some(pid) = status.pid.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) else { return Ok(()) };
    let wrong = |error: rustix::io::Errno| RuntimeError::State { id: status.id.clone(), reason: format!("signal: {error}") };
    let handle = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(wrong(error)),
    };
    let cgroups = processes::cgroups(Path::new("/"), pid.as_raw_nonzero().get().cast_unsigned());
    if !cgroups.is_some_and(|cgroups| cgroups.iter().any(|cgroup| cgroup.pathname.ends_with(&status.cgroup))) {
        return Ok(());
    }
    match rustix::process::pidfd_send_signal(&handle, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(wrong(error)),
    }
}

/// Removes a container that is over, its logs included. With `force` it is stopped first.
pub fn remove(state_dir: &Path, wanted: &str, force: bool) -> Result<(), RuntimeError> {
    let (status, directory) = find(state_dir, wanted)?;
    if status.state != State::Exited || has_monitor(&directory) {
        if !force {
            let reason = format!("it is {}; stop it first, or remove it with --force", status.state.name());
            return Err(RuntimeError::State { id: status.id, reason });
        }
        stop(state_dir, &status.id, Duration::ZERO)?;
    }
    if !directory.exists() {
        return Ok(());
    }
    // Where the monitor was killed, runc's state and the cgroup are still there.
    let mut runc = Command::new("runc");
    runc.arg("--root").arg(directory.join("runc")).args(["delete", "--force", &status.id]);
    let _ = runc.stdout(Stdio::null()).stderr(Stdio::null()).status();
    std::fs::remove_dir_all(&directory).map_err(RuntimeError::file("remove", &directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Every file and directory below, with its mode.
    fn modes(directory: &Path, found: &mut Vec<(PathBuf, u32)>) {
        let metadata = std::fs::metadata(directory).unwrap();
        found.push((directory.to_owned(), metadata.permissions().mode() & 0o777));
        if metadata.is_dir() {
            std::fs::read_dir(directory).unwrap().for_each(|entry| modes(&entry.unwrap().path(), found));
        }
    }

    #[test]
    fn what_was_made_and_never_started_is_over_and_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("containers");
        let id = "ab".repeat(32);
        prepare(&state_dir.join(&id), &RunSpec::new(["true"]), &id, "name", 1).unwrap();
        let names = private::create(&state_dir.join(".names.lock")).unwrap();
        rustix::fs::flock(&names, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(list(&state_dir).unwrap()[0].state, State::Created, "it is in the making");
        drop(names);
        let status = list(&state_dir).unwrap().remove(0);
        assert_eq!(status.state, State::Exited);
        assert!(status.error.contains("never started"), "{}", status.error);
        remove(&state_dir, "name", false).unwrap();
        assert!(list(&state_dir).unwrap().is_empty());
    }

    #[test]
    fn secrets_of_a_container_are_for_nobody_else_whatever_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("containers").join("ab");
        let mut spec = RunSpec::new(["true"]);
        spec.env = vec!["PASSWORD=secret".into()];
        let before = rustix::process::umask(rustix::fs::Mode::empty());
        prepare(&directory, &spec, "ab", "name", 1).unwrap();
        let rotation = super::super::log_file::Rotation { bytes_max: 1, files_max: 2 };
        let mut log = super::super::log_file::LogFile::open(&directory.join("logs/0.log"), rotation).unwrap();
        log.append(b"line\n", 1, |_| ()).unwrap();
        rustix::process::umask(before);
        let mut found = Vec::new();
        modes(&folder.path().join("containers"), &mut found);
        assert!(found.len() >= 9, "{found:?}");
        for (path, mode) in found {
            assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        }
    }
}
