//! Engines started by hand: containerd and podman, each below a directory of the test's own.

pub mod cri;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Waits for a condition.
pub fn poll(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn output(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// An image archive `localhost/weir-test:1` of busybox and nothing else; made once a directory.
pub fn image(here: &Path) -> PathBuf {
    let archive = here.join("image.tar");
    if archive.exists() {
        return archive;
    }
    let bin = here.join("rootfs/bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    std::fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
    for name in ["sh", "sleep", "echo"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).expect("a link");
    }
    output(Command::new("tar").arg("-C").arg(here.join("rootfs")).arg("-cf").arg(here.join("rootfs.tar")).arg("."));
    let podman = Podman::new(&here.join("image-store"));
    podman.run(&[
        "import",
        "--change",
        "CMD [\"/bin/sleep\",\"100000\"]",
        here.join("rootfs.tar").to_str().expect("UTF-8"),
        "localhost/weir-test:1",
    ]);
    podman.run(&["save", "-o", archive.to_str().expect("UTF-8"), "localhost/weir-test:1"]);
    archive
}

/// A containerd of our own.
pub struct Containerd {
    child: Child,
    here: PathBuf,
}

impl Containerd {
    pub fn start(here: &Path) -> Self {
        let root = here.join("containerd");
        std::fs::create_dir_all(&root).expect("a directory");
        let root = root.display();
        let config = format!(
            "version = 2\nroot = '{root}/root'\nstate = '{root}/state'\n[grpc]\naddress = '{root}/sock'\n\
             [plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'localhost/weir-test:1'\nrestrict_oom_score_adj = true\n\
             [plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native'\n"
        );
        let path = here.join("containerd.toml");
        std::fs::write(&path, config).expect("a file");
        let log = std::fs::File::create(here.join("containerd.log")).expect("a file");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(&path).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("containerd is installed");
        let started = Self { child, here: here.to_owned() };
        poll("containerd", || {
            Command::new("ctr")
                .arg("-a")
                .arg(started.socket())
                .arg("version")
                .output()
                .is_ok_and(|output| output.status.success())
        });
        started
    }

    pub fn socket(&self) -> PathBuf {
        self.here.join("containerd/sock")
    }

    pub fn ctr(&self, namespace: &str, arguments: &[&str]) {
        output(Command::new("ctr").arg("-a").arg(self.socket()).args(["-n", namespace]).args(arguments));
    }

    /// Whatever comes of it.
    pub fn try_ctr(&self, namespace: &str, arguments: &[&str]) {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.socket()).args(["-n", namespace]).args(arguments);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("ctr is installed");
    }

    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends whatever still runs, so that a test that failed leaves nothing behind.
    fn clear(&self) {
        let ctr = |arguments: &[&str]| {
            let output = Command::new("ctr").arg("-a").arg(self.socket()).args(arguments).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        for namespace in ctr(&["namespaces", "ls", "-q"]).lines() {
            for task in ctr(&["-n", namespace, "tasks", "ls", "-q"]).lines() {
                ctr(&["-n", namespace, "tasks", "rm", "-f", task]);
            }
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.clear();
        }
        self.end();
    }
}

/// Podman with stores of our own.
pub struct Podman {
    here: PathBuf,
}

/// A running `podman system service`.
pub struct Service {
    child: Child,
    socket: PathBuf,
}

impl Podman {
    pub fn new(here: &Path) -> Self {
        Self { here: here.join("podman") }
    }

    pub fn graph(&self) -> PathBuf {
        self.here.join("graph")
    }

    pub fn run_root(&self) -> PathBuf {
        self.here.join("run")
    }

    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.graph()).arg("--runroot").arg(self.run_root()).arg("--tmpdir").arg(self.here.join("tmp"));
        command.args([
            "--storage-driver",
            "vfs",
            "--runtime",
            "runc",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
        ]);
        command
    }

    pub fn run(&self, arguments: &[&str]) {
        output(self.command().args(arguments));
    }

    pub fn output(&self, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&output(self.command().args(arguments)).stdout).into_owned()
    }

    pub fn serve(&self) -> Service {
        let socket = self.here.join("sock");
        let mut command = self.command();
        command.args(["system", "service", "--time", "0"]).arg(format!("unix://{}", socket.display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("podman is installed");
        let service = Service { child, socket };
        poll("podman's service", || std::os::unix::net::UnixStream::connect(&service.socket).is_ok());
        service
    }
}

impl Service {
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
