//! `weir run`, `ps`, `stop`, `rm`, and the hidden `monitor`. They work on files and runc; no running weir is needed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_runtime::RuntimeError;
use weir_runtime::containers::State;
use weir_runtime::monitor::{self, RunSpec, Status};

use crate::args::{MonitorArguments, Output, PsArguments, RmArguments, RunArguments, StopArguments};
use crate::text::clock::Clock;
use crate::text::table::{Align, Table, screen};
use crate::{Failure, stdout};

/// Where weir keeps its containers when nothing else is said.
pub(crate) const DIRECTORY: &str = "/var/lib/weir/containers";

/// Output of a container in the foreground is looked for this often.
const FOLLOW: Duration = Duration::from_millis(50);

fn directory(given: &Option<PathBuf>) -> PathBuf {
    given.clone().unwrap_or_else(|| DIRECTORY.into())
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

pub(crate) fn monitor(arguments: &MonitorArguments) -> Result<(), Failure> {
    monitor::monitor_main(&arguments.dir, now).map_err(Failure::failed)
}

pub(crate) fn run(arguments: RunArguments) -> Result<(), Failure> {
    let state_dir = directory(&arguments.dir);
    let mut spec = spec(&arguments)?;
    // In the foreground it is removed here, after its exit code has been read.
    spec.remove &= arguments.detach;
    let monitor = std::env::current_exe().map_err(|error| Failure::failed(format!("own path: {error}")))?;
    let running = monitor::run(&state_dir, &spec, &monitor, now()).map_err(failure)?;
    if arguments.detach {
        stdout::line(&running.id)?;
        return Ok(());
    }
    let followed = follow(&state_dir, &running.id);
    if arguments.rm {
        monitor::remove(&state_dir, &running.id, true).map_err(failure)?;
    }
    followed
}

fn spec(arguments: &RunArguments) -> Result<RunSpec, Failure> {
    let mut spec = RunSpec::new(arguments.command.iter());
    spec.name.clone_from(&arguments.name);
    spec.rootfs.clone_from(&arguments.rootfs);
    for label in &arguments.labels {
        let (key, value) =
            label.split_once('=').ok_or_else(|| Failure::input(format!("--label {label:?}: a label reads key=value")))?;
        spec.labels.insert(key.to_owned(), value.to_owned());
    }
    spec.env.clone_from(&arguments.env);
    spec.workdir = arguments.workdir.as_ref().map(|path| path.display().to_string());
    let memory = arguments.memory.as_deref().map(monitor::parse_bytes).transpose();
    spec.memory_bytes = memory.map_err(|error| of_option("--memory", error))?;
    (spec.cpus, spec.pids, spec.remove) = (arguments.cpus, arguments.pids, arguments.rm);
    spec.restart = arguments.restart.parse().map_err(|error| of_option("--restart", error))?;
    Ok(spec)
}

fn of_option(option: &str, error: RuntimeError) -> Failure {
    let failure = failure(error);
    Failure { message: format!("{option}: {}", failure.message), ..failure }
}

fn failure(error: RuntimeError) -> Failure {
    match error {
        RuntimeError::Spec(what) => Failure::input(what),
        RuntimeError::State { id, reason } => {
            let id: String = id.chars().take(12).collect();
            Failure::failed(format!("container {id}: {reason}"))
        }
        RuntimeError::NoSuchContainer(name) => Failure::input(format!("no container {name:?} here; `weir ps` lists them")),
        other => Failure::failed(other),
    }
}

/// Prints what the container writes until it is over, and ends as it ended. Ctrl-C leaves the container running.
fn follow(state_dir: &Path, id: &str) -> Result<(), Failure> {
    eprintln!("weir: {id} runs; Ctrl-C leaves it running, `weir stop {}` stops it", &id[..12]);
    let mut log: Option<(u64, BufReader<File>)> = None;
    loop {
        let status = monitor::list(state_dir).map_err(failure)?.into_iter().find(|status| status.id == id);
        let over = status.as_ref().is_none_or(|status| status.state.name() == "exited");
        let path = status.as_ref().map(|status| status.log.clone()).unwrap_or_default();
        print_new(&path, &mut log).map_err(Failure::failed)?;
        if over {
            return ended(status);
        }
        std::thread::park_timeout(FOLLOW);
    }
}

fn ended(status: Option<Status>) -> Result<(), Failure> {
    let Some(status) = status else { return Ok(()) };
    match status.exit_code {
        Some(0) => Ok(()),
        code => {
            let why = if status.oom_killed { ": killed for lack of memory" } else { "" };
            let message =
                format!("the container ended with code {}{why}", code.map_or("unknown".into(), |code| code.to_string()));
            Err(Failure { code: code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1), message })
        }
    }
}

/// Prints the messages that were added to a CRI log since the last call, over a rotation.
fn print_new(path: &Path, log: &mut Option<(u64, BufReader<File>)>) -> std::io::Result<()> {
    loop {
        if let Some((_, reader)) = log.as_mut() {
            print_lines(reader)?;
        }
        let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
        if log.as_ref().is_some_and(|(inode, _)| *inode == metadata.ino()) {
            return Ok(());
        }
        *log = Some((metadata.ino(), BufReader::new(File::open(path)?)));
    }
}

fn print_lines(reader: &mut BufReader<File>) -> std::io::Result<()> {
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        let mut parts = line.splitn(4, |byte| *byte == b' ').skip(1);
        let (stream, tag, message) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        let message = if tag == Some(b"P") { message.strip_suffix(b"\n").unwrap_or(message) } else { message };
        if stream == Some(b"stderr") {
            std::io::stderr().write_all(message)?
        } else {
            std::io::stdout().write_all(message)?
        }
        line.clear();
    }
    std::io::stdout().flush()?;
    // Half a line: it is read again when the rest is there.
    reader.seek_relative(-i64::try_from(line.len()).unwrap_or(0))
}

pub(crate) fn ps(arguments: &PsArguments) -> Result<(), Failure> {
    let directory = directory(&arguments.dir);
    let all = monitor::list(&directory).map_err(failure)?;
    match arguments.output {
        Output::Json => stdout::line(&serde_json::to_string(&all).map_err(Failure::failed)?)?,
        Output::Ndjson => {
            let lines: Result<Vec<String>, _> = all.iter().map(serde_json::to_string).collect();
            stdout::write(&lines.map_err(Failure::failed)?.into_iter().map(|line| line + "\n").collect::<String>())?;
        }
        Output::Text => {
            stdout::write(&table(&all, &Clock::local()).render(screen()))?;
            if all.is_empty() {
                eprintln!("weir: no containers in {}", directory.display());
            }
        }
    }
    Ok(())
}

fn table(all: &[Status], clock: &Clock) -> Table {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new(&[
        ("ID", left),
        ("NAME", left),
        ("STATE", left),
        ("EXIT", right),
        ("OOM", left),
        ("RESTARTS", right),
        ("STARTED", left),
        ("COMMAND", left),
    ]);
    for status in all {
        let has_ended = status.state != State::Running && status.exit_code.is_some();
        table.row([
            status.id.chars().take(12).collect(),
            status.name.clone(),
            status.state.name().to_owned(),
            status.exit_code.filter(|_| has_ended).map(|code| code.to_string()).unwrap_or_default(),
            if has_ended && status.oom_killed { "oom".to_owned() } else { String::new() },
            status.restarts.to_string(),
            status.started.map(|at| clock.seconds(at)).unwrap_or_default(),
            status.command.join(" "),
        ]);
    }
    table
}

pub(crate) fn stop(arguments: &StopArguments) -> Result<(), Failure> {
    let status =
        monitor::stop(&directory(&arguments.dir), &arguments.container, Duration::from_secs(arguments.time)).map_err(failure)?;
    stdout::line(&status.id)
}

pub(crate) fn remove(arguments: &RmArguments) -> Result<(), Failure> {
    monitor::remove(&directory(&arguments.dir), &arguments.container, arguments.force).map_err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_a_container_ended() {
        let status = |state, exit_code, oom_killed| Status {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            command: vec!["sh".into(), "-c".into(), "echo\n\techo \x1b[2J".into()],
            state,
            exit_code,
            oom_killed,
            ..Status::default()
        };
        let all = [
            status(State::Exited, Some(137), true),
            status(State::Running, Some(1), true),
            status(State::Exited, Some(0), false),
        ];
        let text = table(&all, &Clock::local()).render(None);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["ID", "NAME", "STATE", "EXIT", "OOM", "RESTARTS", "STARTED", "COMMAND"]);
        assert_eq!(rows[1][..6], ["0123456789ab", "web", "exited", "137", "oom", "0"], "{text}");
        assert_eq!(rows[2][..4], ["0123456789ab", "web", "running", "0"], "of an earlier run nothing is said: {text}");
        assert_eq!(rows[3][..5], ["0123456789ab", "web", "exited", "0", "0"], "{text}");
        assert_eq!(rows.len(), 4, "{text}");
        assert!(text.contains("sh -c echo\\n\\techo \\x1b[2J"), "{text}");
    }
}
