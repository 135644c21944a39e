//! Containers under the real runc. Needs root and runc; fails without.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_runtime::cgroup::{Limit, Mounts, Sampled, Sampler};
use weir_runtime::containers::State;
use weir_runtime::monitor::{self, Restart, RunSpec, Status};

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()).expect("before 2262")
}

/// Cargo builds the examples of a crate before it runs its tests, beside the directory of the tests themselves.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("we run");
    let path = own.parent().and_then(Path::parent).expect("target/<profile>/deps").join("examples/monitor");
    assert!(path.exists(), "{} is built together with the tests", path.display());
    path
}

fn run(state: &Path, spec: &RunSpec) -> monitor::Running {
    monitor::run(state, spec, &program(), now()).expect("it starts")
}

fn wait(state: &Path, id: &str) -> Status {
    monitor::wait(state, id, Some(Duration::from_secs(60))).expect("it ends")
}

fn shell(script: &str) -> RunSpec {
    RunSpec::new(["sh", "-c", script])
}

/// Waits for the first line of standard output: only then does the container's own program listen to signals.
fn until_ready(log: &Path) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while lines(log, "stdout").is_empty() {
        assert!(std::time::Instant::now() < deadline, "it never became ready");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Bodies of a stream of a CRI log, partial lines joined.
fn lines(log: &Path, stream: &str) -> Vec<String> {
    lines_of(&std::fs::read_to_string(log).expect("there is a log"), stream)
}

fn lines_of(text: &str, stream: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        let mut parts = line.splitn(4, ' ');
        let (_, own, tag, body) = (parts.next(), parts.next(), parts.next(), parts.next().expect("four parts"));
        if own == Some(stream) {
            open.push_str(body);
            if tag == Some("F") {
                lines.push(std::mem::take(&mut open));
            }
        }
    }
    lines
}

#[test]
fn output_exit_code_and_the_read_only_host_root() {
    let state = tempfile::tempdir().unwrap();
    let mut spec = shell(
        "echo out; echo err >&2; hostname; echo $GREETING; pwd; touch /etc/x || echo refused; touch /tmp/weir-private && ls /tmp; printf end; exit 7",
    );
    spec.name = Some("first".into());
    spec.env = vec!["GREETING=hello".into()];
    spec.workdir = Some("/usr".into());
    let running = run(state.path(), &spec);
    let status = wait(state.path(), "first");
    assert_eq!((status.state, status.exit_code, status.error.as_str()), (State::Exited, Some(7), ""));
    assert_eq!(lines(&status.log, "stdout"), ["out", "first", "hello", "/usr", "refused", "weir-private", "end"]);
    assert_eq!(lines(&status.log, "stderr")[0], "err");
    assert_eq!(monitor::list(state.path()).unwrap(), [status]);
    monitor::remove(state.path(), &running.id[..8], false).unwrap();
    assert!(monitor::list(state.path()).unwrap().is_empty());
    assert!(!Path::new("/tmp/weir-private").exists(), "its /tmp is its own");
}

#[test]
fn limits_reach_the_cgroup_and_stop_ends_it() {
    let state = tempfile::tempdir().unwrap();
    let mut spec = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    spec.memory_bytes = Some(64 << 20);
    spec.cpus = Some(0.5);
    spec.pids = Some(20);
    spec.restart = Restart::Always;
    let running = run(state.path(), &spec);
    let status = monitor::list(state.path()).unwrap().remove(0);
    assert_eq!((status.state, status.cgroup.as_str()), (State::Running, format!("/weir/{}", running.id).as_str()));
    let mut sampler = Sampler::new(Mounts::detect(Path::new("/")).unwrap(), 100);
    let Sampled::Sample(sample) = sampler.sample(&status.cgroup) else { panic!("its cgroup is there") };
    assert_eq!(sample.memory.limit, Some(Limit::At(64 << 20)));
    assert_eq!((sample.cpu.quota_micros, sample.cpu.period_micros), (Some(Limit::At(50_000)), Some(100_000)));
    assert_eq!(sample.pids.limit, Some(Limit::At(20)));
    assert!(sample.pids.processes.is_some_and(|count| count >= 1));
    assert!(monitor::remove(state.path(), &running.id, false).is_err(), "it runs");
    until_ready(&status.log);
    let status = monitor::stop(state.path(), &running.id, Duration::from_secs(20)).unwrap();
    assert_eq!((status.state, status.exit_code), (State::Exited, Some(0)));
    assert_eq!(lines(&status.log, "stdout"), ["ready", "bye"]);
    assert!(matches!(sampler.sample(&status.cgroup), Sampled::Gone));
}

#[test]
fn a_deaf_container_is_killed() {
    let state = tempfile::tempdir().unwrap();
    let running = run(state.path(), &shell("trap '' TERM; echo ready; while :; do sleep 1; done"));
    until_ready(&running.directory.join("logs/0.log"));
    let status = monitor::stop(state.path(), &running.id, Duration::from_millis(100)).unwrap();
    assert_eq!(status.exit_code, Some(137));
}

#[test]
fn restarts_on_failure_are_counted_and_end() {
    let state = tempfile::tempdir().unwrap();
    let mut spec = shell("echo again; exit 3");
    spec.restart = Restart::OnFailure(Some(2));
    let running = run(state.path(), &spec);
    let status = wait(state.path(), &running.id);
    assert_eq!((status.restarts, status.exit_code), (2, Some(3)));
    // Each of its runs is told of, whoever looks how seldom.
    let codes: Vec<_> = status.ends.iter().map(|end| end.exit_code).collect();
    assert_eq!(codes, [Some(3); 3]);
    assert!(
        status.ends.is_sorted_by(|a, b| a.at < b.at) && status.ends.iter().all(|end| end.started.is_some_and(|at| at <= end.at))
    );
    assert_eq!(lines(&status.log, "stdout"), ["again"; 3]);
}

#[test]
fn the_kernel_killing_for_memory_is_said() {
    let state = tempfile::tempdir().unwrap();
    let mut spec = shell("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo survived");
    spec.memory_bytes = Some(16 << 20);
    let running = run(state.path(), &spec);
    let status = wait(state.path(), &running.id);
    assert!(status.oom_killed, "{status:?}");
    assert!(status.ends[0].oom_kills > 0, "{status:?}");
}

#[test]
fn every_line_is_in_the_files_over_rotation() {
    let state = tempfile::tempdir().unwrap();
    let mut spec = shell(
        "i=0; while [ $i -lt 40000 ]; do echo line $i of many; i=$((i+1)); done; head -c 40000 /dev/zero | tr '\\0' y; echo",
    );
    spec.log_bytes_max = 256 << 10;
    spec.log_files_max = 1000;
    let running = run(state.path(), &spec);
    let status = wait(state.path(), &running.id);
    let files = weir_runtime::logs::generations(&status.log).unwrap();
    assert!(files.len() > 3, "{} files", files.len());
    // A line in parts may lie across a rotation.
    let text: String = files.iter().map(|file| std::fs::read_to_string(&file.path).unwrap()).collect();
    let all = lines_of(&text, "stdout");
    let expected: Vec<String> = (0..40_000).map(|i| format!("line {i} of many")).chain(["y".repeat(40_000)]).collect();
    assert!(all == expected, "{} lines of {}", all.len(), expected.len());
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let error = monitor::run(state.path(), &RunSpec::new(["/no/such/program"]), &program(), now()).unwrap_err().to_string();
    assert!(error.contains("/no/such/program"), "{error}");
    let error = monitor::run(state.path(), &shell("true"), Path::new("/no/monitor"), now()).unwrap_err().to_string();
    assert!(error.contains("/no/monitor"), "{error}");
    assert!(monitor::list(state.path()).unwrap().is_empty());
    assert!(monitor::stop(state.path(), "nobody", Duration::ZERO).is_err());
    let mut named = shell("sleep 100");
    named.name = Some("one".into());
    run(state.path(), &named);
    let error = monitor::run(state.path(), &named, &program(), now()).unwrap_err().to_string();
    assert!(error.contains("\"one\""), "{error}");
    monitor::remove(state.path(), "one", true).unwrap();
}

#[test]
fn a_relative_state_directory_is_of_here() {
    let here = tempfile::tempdir_in(".").unwrap();
    let relative = Path::new(here.path().file_name().expect("a name"));
    let running = run(relative, &shell("echo out"));
    assert!(running.directory.is_absolute(), "{}", running.directory.display());
    let status = wait(relative, &running.id);
    assert_eq!((status.exit_code, lines(&status.log, "stdout")), (Some(0), vec!["out".to_owned()]));
}

#[test]
fn removed_when_over() {
    let state = tempfile::tempdir().unwrap();
    let mut spec = shell("true");
    spec.remove = true;
    let running = run(state.path(), &spec);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while running.directory.exists() {
        assert!(std::time::Instant::now() < deadline, "its directory stays");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(monitor::list(state.path()).unwrap().is_empty());
}
