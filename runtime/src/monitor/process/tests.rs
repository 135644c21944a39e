//! A monitor over an OCI runtime of the test's own: what fails is undone or said, and a full disk is waited for.

use super::*;

/// A file system of 1 MiB; unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "weir-test"]).arg(directory.path()).status();
        assert!(mounted.unwrap().success(), "mounting a tmpfs takes root");
        Self(directory)
    }

    fn fill(&self) {
        let mut file = File::create(self.0.path().join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Of a container that was started before, under a runtime that is this script; it writes its calls down.
fn monitor(directory: &Path, script: &str) -> Monitor {
    let rotation = Rotation { bytes_max: 1 << 20, files_max: 2 };
    let log = Arc::new(Mutex::new(LogFile::open(&directory.join("logs/0.log"), rotation).unwrap()));
    let status = Status { version: super::super::status::VERSION, id: "ab".into(), restarts: 7, ..Status::default() };
    let program = directory.join("program");
    let text = format!("#!/bin/sh\ncd {}\necho \"$*\" >> calls\n{script}\n", directory.display());
    // Another process writes it: a process that another test forks meanwhile would hold our open file for a moment, and what is
    // open for writing cannot be run.
    std::fs::write(directory.join("text"), text).unwrap();
    let installed = Command::new("install").args(["-m", "700"]).arg(directory.join("text")).arg(&program).status();
    assert!(installed.unwrap().success());
    let spec = RunSpec { restart: Restart::Always, ..RunSpec::new(["true"]) };
    Monitor { directory: directory.to_owned(), spec, status, log, program }
}

/// How often the runtime was asked to do this.
fn calls(directory: &Path, what: &str) -> usize {
    let calls = std::fs::read_to_string(directory.join("calls")).unwrap_or_default();
    calls.lines().filter(|line| line.split(' ').any(|word| word == what)).count()
}

#[test]
fn what_is_created_and_cannot_be_started_is_undone() {
    // The first says of no process; the second's process cannot be started.
    for (script, word) in [("exit 0", "pid"), ("case \"$*\" in *create*) echo 1 > pid;; *start*) exit 1;; esac", "start")] {
        let directory = tempfile::tempdir().unwrap();
        let mut monitor = monitor(directory.path(), script);
        let error = monitor.run_once(|| 7).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert_eq!((calls(directory.path(), "create"), calls(directory.path(), "delete")), (1, 1), "{script}");
        assert_eq!(monitor.status.pid, None);
    }
}

#[test]
fn a_later_start_that_fails_is_a_run_that_failed() {
    let directory = tempfile::tempdir().unwrap();
    // Nobody stops it before the third attempt.
    let mut monitor = monitor(directory.path(), "[ $(grep -c create calls) -lt 3 ] || touch stop\nexit 1");
    monitor.run(|| 7).unwrap();
    assert_eq!((calls(directory.path(), "create"), monitor.status.restarts), (3, 9));
    let status = Status::read(directory.path()).unwrap();
    assert_eq!((status.state, status.exit_code), (State::Exited, None));
    assert!(status.error.contains("runc create"), "{}", status.error);
}

#[test]
fn on_a_full_disk_the_state_waits_for_room() {
    let small = Small::mount();
    let directory = small.0.path().to_owned();
    let monitor = monitor(&directory, "");
    small.fill();
    std::thread::scope(|scope| {
        let kept = scope.spawn(|| monitor.keep());
        // Its first attempt leaves the file beside.
        while !directory.join("state.new").exists() {
            assert!(!kept.is_finished(), "it waits");
            std::thread::yield_now();
        }
        std::fs::remove_file(directory.join("filler")).unwrap();
        kept.join().unwrap().unwrap();
    });
    assert_eq!(Status::read(&directory).unwrap(), monitor.status);
    // Who stops it does not wait for room.
    small.fill();
    File::create(directory.join(STOP)).unwrap();
    assert!(matches!(monitor.keep(), Err(RuntimeError::File { source, .. }) if is_full(&source)));
}
