//! A real weir as a child process: own ports, own data directory, killed when dropped.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::signal;

/// How long anything may take before a test gives up on it. Long, because CI machines are slow; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A running weir.
pub struct Weir {
    child: Option<Child>,
    binary: PathBuf,
    /// Data directory; survives restarts.
    pub data: PathBuf,
    /// Page and APIs.
    pub listen: String,
    /// OTLP over gRPC.
    pub otlp_grpc: String,
    /// OTLP over HTTP.
    pub otlp_http: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// For requests.
    pub http: reqwest::Client,
    scheme: &'static str,
}

/// The binary under test: it lies beside this test's own.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let folder = own.ancestors().find(|folder| folder.join("weir").is_file());
    folder.expect("target/release/weir is built before the tests, as `make test` does it").join("weir")
}

/// A port of loopback for a process that is started later: given to nobody else here, and not of those that Linux gives to outgoing
/// connections, one of which could have it by then.
pub fn free_port() -> u16 {
    const PORTS: Range<u32> = 10_000..30_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        // Processes begin apart from each other.
        let nth = std::process::id().wrapping_mul(97).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + nth % (PORTS.end - PORTS.start)).expect("the range is of ports");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free on loopback")
}

impl Weir {
    /// Starts one without this machine's own containers, and waits until it is ready.
    pub async fn start(data: &Path) -> Self {
        Self::start_with(data, &["--no-node"], &[]).await
    }

    /// Starts one at an address that was known before, and waits until it is ready.
    pub async fn start_at(listen: &str, data: &Path, arguments: &[&str]) -> Self {
        let mut weir = Self::new(&binary(), data, arguments, &[]);
        weir.listen = listen.to_owned();
        weir.spawn();
        weir.wait_ready().await;
        weir
    }

    /// Starts one with these further arguments and environment variables, and waits until it is ready.
    pub async fn start_with(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_binary(&binary(), data, arguments, environment).await
    }

    /// Starts one whose configuration has `[tls]`, asked with these certificates.
    pub async fn start_tls(data: &Path, arguments: &[&str], tls: &weir_tls::ClientTls) -> Self {
        let mut weir = Self::new(&binary(), data, arguments, &[]);
        let client = weir_tls::client_builder_with(tls).expect("its files").build();
        (weir.http, weir.scheme) = (client.expect("a client"), "https");
        weir.spawn();
        weir.wait_ready().await;
        weir
    }

    /// The same with another binary than the one under test.
    pub async fn start_binary(binary: &Path, data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut weir = Self::new(binary, data, arguments, environment);
        weir.spawn();
        weir.wait_ready().await;
        weir
    }

    fn new(binary: &Path, data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let [listen, otlp_grpc, otlp_http] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
        Self {
            child: None,
            binary: binary.to_path_buf(),
            data: data.to_path_buf(),
            listen,
            otlp_grpc,
            otlp_http,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: environment.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            http: weir_tls::client(),
            scheme: "http",
        }
    }

    /// Starts the process again on the same data and ports.
    pub fn spawn(&mut self) {
        std::fs::create_dir_all(&self.data).expect("create the data directory");
        let log = std::fs::File::options().create(true).append(true).open(self.data.join("weir.log")).expect("open weir.log");
        let child = Command::new(&self.binary)
            .arg("up")
            .arg("--data")
            .arg(&self.data)
            .args(["--listen", &self.listen, "--otlp-grpc", &self.otlp_grpc, "--otlp-http", &self.otlp_http])
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start weir");
        self.child = Some(child);
    }

    /// Waits until `/readyz` says so.
    pub async fn wait_ready(&mut self) {
        let begun = Instant::now();
        loop {
            let answer = self.http.get(self.url("/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "weir ended while starting: {ended:?}\n{}", self.log());
            assert!(begun.elapsed() < PATIENCE, "weir is not ready\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            child.wait().expect("wait for weir");
        }
    }

    /// SIGTERM; returns the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        signal("TERM", &[child.id()]);
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("wait for weir") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "weir does not stop\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The most bytes that were resident since it started.
    pub fn resident_peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Bytes that are resident now.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// A line of `/proc/<pid>/status`, in bytes.
    fn memory(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().expect("it runs"))).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel shows it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") << 10
    }

    /// The sum of the limits of its memory, as it says itself.
    pub async fn declared_memory(&self) -> u64 {
        let (_, metrics) = self.try_get("/metrics", &[]).await;
        let limits = metrics.lines().filter(|line| line.starts_with("weir_memory_limit_bytes{"));
        let bytes = limits.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        assert!(bytes > 0, "no weir_memory_limit_bytes in\n{metrics}");
        bytes
    }

    /// The last lines it wrote to stderr.
    pub fn log(&self) -> String {
        let Ok(file) = std::fs::File::open(self.data.join("weir.log")) else { return String::new() };
        let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// A URL of the main listener.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.listen)
    }

    /// A GET with parameters; panics unless it succeeds with JSON.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let (status, body) = self.try_get(path, parameters).await;
        assert!(status == 200, "{path} {parameters:?}: {status} {body}\n{}", self.log());
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// A GET with parameters: status and body, whatever they are.
    pub async fn try_get(&self, path: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        let url = reqwest::Url::parse_with_params(&self.url(path), parameters).expect("a URL");
        let answer = self.http.get(url).send().await.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()));
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    }

    /// Everything in heads sealed, or everything mergeable merged.
    pub async fn admin(&self, action: &str) -> Value {
        let answer = self.http.post(self.url(&format!("/api/weir/v1/admin/{action}"))).send().await.expect("weir answers");
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        assert!(status.is_success(), "{action}: {status} {body}\n{}", self.log());
        serde_json::from_str(&body).expect("JSON")
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again and again until the answer is there; panics with the last refusal when it does not come.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(refusal) => assert!(begun.elapsed() < PATIENCE, "{what}: {refusal}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Configuration of a node whose root is `root`: its pods' logs are followed, and nothing of this machine is looked at.
/// Start it without `--no-node`.
pub fn node_at(root: &Path) -> String {
    format!(
        "[node]\nname = \"test\"\nroot = {root:?}\ncontainerd_socket = \"/none\"\ncri_sockets = []\ndocker_socket = \"/none\"\n\
         podman_sockets = []\npodman_storage = \"/none\"\ncontainers = \"/none\"\n[collector.sample]\nenabled = false\n"
    )
}

/// Where that node's pods log.
pub fn pods_of(root: &Path) -> PathBuf {
    let pods = root.join("var/log/pods");
    std::fs::create_dir_all(&pods).expect("create the pods' folder");
    pods
}
