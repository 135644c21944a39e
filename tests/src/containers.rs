//! Real containers of every engine that the machine has: they are seen, with their cgroup metrics and their log lines.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::process::{Process, run};
use crate::weir::{Weir, binary, eventually};

/// The root file system of a container: busybox and its names.
pub(crate) fn rootfs(folder: &Path) -> std::path::PathBuf {
    let root = folder.join("rootfs");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    for name in ["etc", "tmp", "proc", "dev", "sys"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is there");
    for name in ["sh", "echo", "sleep", "date", "yes", "head", "tail"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    root
}

async fn line(weir: &Weir, selector: &str, needle: &str) -> Value {
    let query = format!("{selector} |= {needle:?}");
    eventually(&format!("the line {needle:?} of {selector}"), || async {
        let answer = weir.get("/api/weir/v1/logs", &[("query", &query), ("limit", "10")]).await;
        answer["lines"].as_array().and_then(|lines| lines.first().cloned()).ok_or_else(|| weir.log())
    })
    .await
}

async fn container(weir: &Weir, name: &str) -> Value {
    eventually(&format!("the container {name}"), || async {
        let answer = weir.get("/api/weir/v1/containers", &[]).await;
        let all = answer["containers"].as_array().cloned().unwrap_or_default();
        all.into_iter()
            .find(|container| container["name"] == name && container["memory_bytes"].as_f64().unwrap_or(0.0) > 0.0)
            .ok_or_else(|| "not there".into())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weirs_own_containers_are_seen_and_their_lines_found() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("containers");
    let directory = state.display().to_string();
    let weir = Weir::start_with(&folder.path().join("data"), &[], &[("WEIR_RUNTIME_DIR", &directory)]).await;
    let root = rootfs(folder.path()).display().to_string();
    let weir_binary = binary().display().to_string();
    let name = format!("own-{}", std::process::id());
    let script = "i=0; while :; do echo \"own line $i at $(date +%s)\"; i=$((i+1)); sleep 0.2; done";
    let (done, id) = run(
        &weir_binary,
        &[
            "run", "-d", "--dir", &directory, "--name", &name, "--rootfs", &root, "--memory", "64Mi", "--cpus", "0.5", "--label",
            "team=a b", "--", "sh", "-c", script,
        ],
        b"",
    );
    assert!(done, "{id}");
    let written = SystemTime::now();
    let found = line(&weir, &format!("{{container={name:?}}}"), "own line 1 ").await;
    let at: u128 = found["t"].as_str().unwrap().parse().unwrap();
    assert!(at.abs_diff(written.duration_since(UNIX_EPOCH).unwrap().as_nanos()) < Duration::from_secs(60).as_nanos());
    assert_eq!(found["stream"]["stream"], "stdout");

    let seen = container(&weir, &name).await;
    assert_eq!(seen["runtime"], "weir");
    assert_eq!(seen["memory_limit_bytes"].as_f64(), Some(64.0 * 1024.0 * 1024.0), "{seen}");
    assert_eq!(seen["cpu_limit_cores"].as_f64(), Some(0.5), "{seen}");

    let (done, table) = run(&weir_binary, &["ps", "--dir", &directory], b"");
    assert!(done && table.contains(&name) && table.contains("running"), "{table}");
    let (done, lines) = run(&weir_binary, &["logs", &format!("{{container={name:?}}}"), "--addr", &weir.url("")], b"");
    assert!(done && lines.contains("own line 0 at"), "{lines}");
    let query = format!("container_memory_working_set_bytes{{name={name:?}}}");
    let (done, value) = run(&weir_binary, &["metrics", &query, "--addr", &weir.url("")], b"");
    assert!(done && value.contains(&name), "{value}");

    let (done, text) = run(&weir_binary, &["stop", "--dir", &directory, "--time", "1", &name], b"");
    assert!(done, "{text}");
    let (done, text) = run(&weir_binary, &["rm", "--dir", &directory, &name], b"");
    assert!(done, "{text}");
    let (done, text) = run(&weir_binary, &["rm", "--dir", &directory, &name], b"");
    assert!(!done && text.contains(&name), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_in_the_foreground_gives_its_output_and_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let root = rootfs(folder.path()).display().to_string();
    let directory = folder.path().join("containers").display().to_string();
    let output = std::process::Command::new(binary())
        .args(["run", "--dir", &directory, "--rootfs", &root, "--rm", "--", "sh", "-c", "echo out; echo err >&2; exit 7"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("err\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containerds_containers_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = path("containerd.toml");
    // An address of its own: a containerd that the machine runs is not touched.
    let text = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {:?}\n[debug]\nlevel = \"warn\"\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n",
        path("root"),
        path("state"),
        path("containerd.sock")
    );
    std::fs::write(&config, text).unwrap();
    let _containerd = Process::start(folder.path(), "containerd", &["--config", &config]);
    let socket = path("containerd.sock");
    let ctr = |arguments: &[&str]| run("ctr", &[&["--address", &socket], arguments].concat(), b"");
    eventually("containerd", || async { if ctr(&["version"]).0 { Ok(()) } else { Err("no answer".into()) } }).await;
    let root = rootfs(folder.path()).display().to_string();
    let name = format!("ctr-{}", std::process::id());
    let (done, text) = ctr(&["run", "-d", "--rootfs", &root, &name, "/bin/sleep", "300"]);
    assert!(done, "{text}");
    let file = path("weir.toml");
    std::fs::write(&file, format!("[node]\ncontainerd_socket = {socket:?}\n")).unwrap();
    let weir = Weir::start_with(&folder.path().join("data"), &["--config", &file], &[]).await;
    let seen = container(&weir, &name).await;
    assert_eq!(seen["runtime"], "containerd", "{seen}");
    let (_, text) = ctr(&["task", "kill", "--signal", "SIGKILL", &name]);
    println!("{text}");
}
