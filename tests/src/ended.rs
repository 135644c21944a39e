//! Real containers that end between two samples: by themselves, by SIGKILL, for lack of memory, removed at once or not.
//! They are listed with how they ended, each end is told once, restarts of weir included, and alerts on them fire.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::containers::rootfs;
use crate::process::{Process, run};
use crate::weir::{Weir, binary, eventually};

const RULES: &str = r#"
groups:
  - name: ends
    interval: 1s
    rules:
      - alert: KilledForMemory
        expr: increase(weir_container_oom_kills_total[10m]) > 0
      - alert: KilledForMemoryByCadvisorsName
        expr: increase(container_oom_events_total{name!=""}[10m]) > 0
      - alert: Failed
        expr: weir_container_exit_code != 0
"#;

/// A weir that looks at the containers of `weir run` below `state`, and of podman behind `podman`; and at nobody else's.
async fn start(folder: &Path, state: &str, podman: &str) -> Weir {
    let (rules, config) = (folder.join("rules.yml"), folder.join("weir.toml"));
    std::fs::write(&rules, RULES).unwrap();
    let text = format!(
        "[node]\ncontainerd_socket = \"/none\"\ncri_sockets = []\ndocker_socket = \"/none\"\npodman_sockets = [{podman:?}]\n\
         podman_storage = \"/none\"\ncontainers = {state:?}\n[rules]\nfiles = [{rules:?}]\n[collector.sample]\ninterval = \"3s\"\n"
    );
    std::fs::write(&config, text).unwrap();
    Weir::start_with(&folder.join("data"), &["--config", config.to_str().unwrap()], &[]).await
}

/// State, exit code, signal and whether it was for memory, of a container by its name; once it is said how it ended.
async fn ended(weir: &Weir, name: &str) -> (Value, (String, Option<i64>, String, bool)) {
    eventually(&format!("the end of {name}"), || async {
        let answer = weir.get("/api/weir/v1/containers", &[]).await;
        let all = answer["containers"].as_array().cloned().unwrap_or_default();
        let own: Vec<&Value> = all.iter().filter(|container| container["name"] == name).collect();
        let [row] = own[..] else { return Err(format!("{} rows of it: {answer}", own.len())) };
        if row["finished"] == "" {
            return Err(format!("it has not ended: {row}"));
        }
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        Ok((row.clone(), (text("state"), row["exit_code"].as_i64(), text("signal"), row["oom_killed"] == true)))
    })
    .await
}

/// A query's values by container name.
async fn values(weir: &Weir, query: &str) -> BTreeMap<String, String> {
    let answer = weir.get("/api/v1/query", &[("query", query)]).await;
    let rows = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| (string(&row["metric"]["name"]), string(&row["value"][1]))).collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The containers on which an alert fires, ascending.
async fn firing(weir: &Weir, alert: &str) -> Vec<String> {
    let answer = weir.get("/api/v1/alerts", &[]).await;
    let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let firing = alerts.iter().filter(|own| own["labels"]["alertname"] == alert && own["state"] == "firing");
    let mut names: Vec<String> = firing.map(|own| string(&own["labels"]["name"])).collect();
    names.sort();
    names
}

async fn fires_on(weir: &Weir, alert: &str, names: &[&str]) {
    eventually(&format!("{alert} on {names:?}"), || async {
        let found = firing(weir, alert).await;
        if found == names { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// Each container has so many ends, and as many after a restart of weir.
async fn are_told_once(weir: &mut Weir, ends: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = ends.iter().map(|(name, count)| ((*name).to_owned(), (*count).to_owned())).collect();
    // Containers without a name are of engines that this weir does not ask.
    let query = "sum by (name) (count_over_time(weir_container_ended{name!=\"\"}[1h]))";
    eventually("all ends", || async {
        let found = values(weir, query).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}")) }
    })
    .await;
    let kills = values(weir, "weir_container_oom_kills_total{name!=\"\"}").await;
    weir.kill();
    weir.spawn();
    weir.wait_ready().await;
    // Samples of the new process.
    let started = weir.get("/api/weir/v1/status", &[]).await["started"].as_str().unwrap().parse::<i64>().unwrap() / 1_000_000_000;
    let fresh =
        format!("weir_container_oom_kills_total{{name!=\"\"}} and timestamp(weir_container_oom_kills_total) > {}", started + 7);
    eventually("samples after the restart", || async {
        let found = values(weir, &fresh).await;
        if found == kills { Ok(()) } else { Err(format!("{found:?}, not {kills:?}\n{}", weir.log())) }
    })
    .await;
    assert_eq!(values(weir, query).await, expected, "after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weirs_own_dead_stay_visible_and_alerts_on_them_fire() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("containers").display().to_string();
    let mut weir = start(folder.path(), &state, "/none").await;
    let (binary, root) = (binary().display().to_string(), rootfs(folder.path()).display().to_string());
    let start = |name: &str, more: &[&str], script: &str| {
        let arguments = ["run", "-d", "--dir", &state, "--rootfs", &root, "--name", name];
        let (done, text) = run(&binary, &[&arguments, more, &["--", "sh", "-c", script]].concat(), b"");
        assert!(done, "{name}: {text}");
        text.trim().to_owned()
    };
    let three = start("three", &[], "echo three lines; echo before; echo the end; exit 3");
    start("killed", &[], "echo waiting; while :; do sleep 1; done");
    start("memory", &["--memory", "16Mi"], "echo greedy; tail /dev/zero");
    start("fine", &[], "exit 0");
    start("again", &["--restart", "on-failure:3"], "exit 7");
    start("lives", &[], "while :; do sleep 1; done");
    let (done, text) = run(&binary, &["stop", "--dir", &state, "--time", "0", "killed"], b"");
    assert!(done, "{text}");

    let exited = |code, signal: &str, oom| ("exited".to_owned(), Some(code), signal.to_owned(), oom);
    assert_eq!(ended(&weir, "three").await.1, exited(3, "", false));
    assert_eq!(ended(&weir, "killed").await.1, exited(137, "SIGKILL", false));
    assert_eq!(ended(&weir, "memory").await.1, exited(137, "SIGKILL", true));
    assert_eq!(ended(&weir, "fine").await.1, exited(0, "", false));
    assert_eq!(ended(&weir, "again").await.1, exited(7, "", false));
    let last = eventually("last lines", || async {
        let answer = weir.get(&format!("/api/weir/v1/containers/{three}/lines"), &[("limit", "2")]).await;
        let lines: Vec<String> = answer["lines"].as_array().unwrap().iter().map(|line| string(&line["line"])).collect();
        if lines == ["before", "the end"] { Ok(()) } else { Err(format!("{answer}")) }
    });
    last.await;
    let (done, table) = run(&binary, &["ps", "--dir", &state], b"");
    let row = |name: &str| {
        table
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_default()
            .split_whitespace()
            .take(5)
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(done && row("memory") == ["memory", "exited", "137", "oom"], "{table}");

    fires_on(&weir, "KilledForMemory", &["memory"]).await;
    fires_on(&weir, "KilledForMemoryByCadvisorsName", &["memory"]).await;
    fires_on(&weir, "Failed", &["again", "killed", "memory", "three"]).await;
    are_told_once(&mut weir, &[("again", "4"), ("fine", "1"), ("killed", "1"), ("memory", "1"), ("three", "1")]).await;

    // Its directory goes, and it stays.
    let (done, text) = run(&binary, &["rm", "--dir", &state, "memory"], b"");
    assert!(done, "{text}");
    let (done, text) = run(&binary, &["rm", "--dir", &state, "--force", "lives"], b"");
    assert!(done, "{text}");
    assert_eq!(ended(&weir, "lives").await.1.0, "exited");
    assert_eq!(ended(&weir, "memory").await.1, exited(137, "SIGKILL", true));
}

/// Podman with stores of its own, its service, and an image of busybox.
struct Podman {
    folder: PathBuf,
}

impl Podman {
    fn new(folder: &Path) -> Self {
        let podman = Self { folder: folder.to_owned() };
        let archive = folder.join("image.tar").display().to_string();
        let root = rootfs(folder).display().to_string();
        assert!(run("tar", &["-C", &root, "-cf", &archive, "."], b"").0);
        podman.run(&["import", &archive, "localhost/weir-test:1"]);
        podman
    }

    fn arguments(&self) -> Vec<String> {
        let own = |name: &str| self.folder.join("podman").join(name).display().to_string();
        let paths = ["--root".into(), own("graph"), "--runroot".into(), own("run"), "--tmpdir".into(), own("tmp")];
        let fixed = ["--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"];
        paths.into_iter().chain(fixed.map(str::to_owned)).collect()
    }

    /// Whatever its exit code: that of `run` is the container's.
    fn run(&self, arguments: &[&str]) {
        let output = Command::new("podman").args(self.arguments()).args(arguments).output().expect("podman is installed");
        println!("{arguments:?}: {:?} {}", output.status.code(), String::from_utf8_lossy(&output.stderr));
    }

    fn container(&self, name: &str, more: &[&str], script: &str) {
        let limits = ["--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        self.run(&[&["run", "--name", name][..], &limits, more, &["localhost/weir-test:1", "sh", "-c", script]].concat());
    }

    fn serve(&self) -> (Process, String) {
        let socket = self.folder.join("podman.sock").display().to_string();
        let mut arguments = self.arguments();
        arguments.extend(["system", "service", "--time", "0"].map(str::to_owned));
        arguments.push(format!("unix://{socket}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        (Process::start(&self.folder, "podman", &arguments), socket)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podmans_dead_are_told_of_even_when_they_are_removed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let podman = Podman::new(folder.path());
    let (_service, socket) = podman.serve();
    eventually("podman's service", || async {
        std::os::unix::net::UnixStream::connect(&socket).map(drop).map_err(|error| error.to_string())
    })
    .await;
    let mut weir = start(folder.path(), "/none", &socket).await;
    // Its events are listened to from its first start on.
    eventually("samples", || async {
        if values(&weir, "machine_cpu_cores").await.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
    podman.container("three", &[], "exit 3");
    podman.container("gone", &["--rm", "--label", "team=a"], "exit 4");
    podman.container("memory", &["--memory", "16m"], "tail /dev/zero");
    podman.container("gone-memory", &["--rm", "--memory", "16m"], "tail /dev/zero");
    let exited = |code, signal: &str, oom| ("exited".to_owned(), Some(code), signal.to_owned(), oom);
    assert_eq!(ended(&weir, "three").await.1, exited(3, "", false));
    let (row, how) = ended(&weir, "gone").await;
    assert_eq!((how, &row["labels"]["team"]), (exited(4, "", false), &Value::from("a")));
    // Podman itself says of neither that it was for memory.
    assert_eq!(ended(&weir, "memory").await.1, exited(137, "SIGKILL", true));
    assert_eq!(ended(&weir, "gone-memory").await.1, exited(137, "SIGKILL", true));
    fires_on(&weir, "KilledForMemory", &["gone-memory", "memory"]).await;
    fires_on(&weir, "Failed", &["gone", "gone-memory", "memory", "three"]).await;
    are_told_once(&mut weir, &[("gone", "1"), ("gone-memory", "1"), ("memory", "1"), ("three", "1")]).await;

    // Nobody looks while it ends: podman tells afterwards.
    weir.kill();
    podman.container("meanwhile", &["--rm"], "exit 5");
    weir.spawn();
    weir.wait_ready().await;
    assert_eq!(ended(&weir, "meanwhile").await.1, exited(5, "", false));
}
