//! Real Kafka brokers for tests: fetched once by `tests/kafka/fetch`, one process and one directory each, ephemeral ports; several
//! are one cluster (KRaft, each broker and controller). Used by `tests` and by whoever needs a bus in
//! Kafka.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::signal;
use crate::weir::{PATIENCE, eventually, free_port};

/// A broker answers after 5 s on an idle machine; tests share theirs.
const START_TRIES: u32 = 600;
const START_LOOK: Duration = Duration::from_millis(200);
/// Any 16 bytes in base64 will do.
const CLUSTER_ID: &str = "d2VpcndlaXJ3ZWlyd2Vpcg";

/// How brokers talk to clients and to each other: in the clear and to anybody, unless a test says otherwise.
pub struct Listener {
    /// Its name, which is its security protocol.
    pub protocol: &'static str,
    /// Further lines of `server.properties`.
    pub properties: String,
    /// Further arguments of the tool that formats the directories: users.
    pub format: Vec<String>,
}

impl Default for Listener {
    fn default() -> Self {
        Self { protocol: "PLAINTEXT", properties: String::new(), format: Vec::new() }
    }
}

/// Running brokers that are one cluster; killed and their files deleted on drop.
pub struct Brokers {
    nodes: Vec<Node>,
    libs: PathBuf,
    _dir: tempfile::TempDir,
}

struct Node {
    /// None while it is dead.
    child: Option<Child>,
    port: u16,
    dir: PathBuf,
}

impl Brokers {
    /// Fetches the jars when they are not there, formats directories, starts the brokers and waits until all answer.
    pub async fn start(count: usize) -> io::Result<Self> {
        Self::start_as(count, &Listener::default()).await
    }

    /// As [`Self::start`], with another listener for clients.
    pub async fn start_as(count: usize, listener: &Listener) -> io::Result<Self> {
        let (libs, dir) = (libs()?, tempfile::tempdir()?);
        let ports = (0..count).map(|_| (free_port(), free_port())).collect::<Vec<_>>();
        let voters: Vec<String> =
            ports.iter().enumerate().map(|(i, (_, controller))| format!("{}@127.0.0.1:{controller}", i + 1)).collect();
        let mut nodes = Vec::new();
        let mut formats = Vec::new();
        for (i, (port, controller)) in ports.into_iter().enumerate() {
            let node = Node { child: None, port, dir: dir.path().join((i + 1).to_string()) };
            fs::create_dir(&node.dir)?;
            let cluster = Place { id: i + 1, count, voters: voters.join(",") };
            fs::write(node.properties(), properties(&node.dir, port, controller, &cluster, listener))?;
            let mut format = java(&libs, &node.dir)?;
            format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(node.properties());
            format.args(listener.format.iter());
            formats.push(format.spawn()?);
            nodes.push(node);
        }
        for (format, node) in formats.iter_mut().zip(&nodes) {
            if !format.wait()?.success() {
                return Err(failed("format", &node.dir));
            }
        }
        let mut brokers = Self { nodes, libs, _dir: dir };
        for i in 0..count {
            brokers.spawn(i)?;
        }
        for i in 0..count {
            brokers.wait_until_answered(i).await?;
        }
        Ok(brokers)
    }

    /// Starts a broker that was killed; does not wait for it.
    pub fn spawn(&mut self, broker: usize) -> io::Result<()> {
        let node = &mut self.nodes[broker];
        node.child = Some(java(&self.libs, &node.dir)?.arg("kafka.Kafka").arg(node.properties()).spawn()?);
        Ok(())
    }

    /// Until a broker takes connections.
    pub async fn wait_until_answered(&mut self, broker: usize) -> io::Result<()> {
        let node = &mut self.nodes[broker];
        for _ in 0..START_TRIES {
            if TcpStream::connect(("127.0.0.1", node.port)).is_ok() {
                return Ok(());
            }
            if node.child.as_mut().map(Child::try_wait).transpose()?.flatten().is_some() {
                break;
            }
            tokio::time::sleep(START_LOOK).await;
        }
        Err(failed("start", &node.dir))
    }

    /// SIGKILL.
    pub fn kill(&mut self, broker: usize) {
        if let Some(mut child) = self.nodes[broker].child.take() {
            // It may have died already; either way nothing is left to do.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, as for an upgrade: it hands over what it leads first. Returns when it is gone.
    pub async fn terminate(&mut self, broker: usize) {
        let Some(mut child) = self.nodes[broker].child.take() else { return };
        signal("TERM", &[child.id()]);
        let begun = Instant::now();
        while child.try_wait().is_ok_and(|ended| ended.is_none()) {
            assert!(begun.elapsed() < PATIENCE, "broker {broker} does not stop");
            tokio::time::sleep(START_LOOK).await;
        }
    }

    /// Until every partition has all its replicas again.
    pub async fn wait_in_sync(&self) {
        let arguments = ["--bootstrap-server", &self.addresses(), "--describe", "--under-replicated-partitions"];
        eventually("all replicas are in sync", async || {
            let said = self.tool("org.apache.kafka.tools.TopicCommand", &arguments).map_err(|error| error.to_string())?;
            if said.contains("Partition:") { Err(said) } else { Ok(()) }
        })
        .await;
    }

    /// How many there are, dead or alive.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// `host:port,…`
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    /// Stops all of them answering, as a long pause or a cut cable does.
    pub fn freeze(&self) {
        signal("STOP", &self.pids());
    }

    /// The inverse of [`Self::freeze`].
    pub fn thaw(&self) {
        signal("CONT", &self.pids());
    }

    /// MB/s of Kafka's own ProducerPerformance, writing so many records of so many bytes to a topic, acknowledged by all replicas.
    pub fn producer_speed(&self, topic: &str, records: u64, bytes: u64) -> f64 {
        let (records, bytes) = (records.to_string(), bytes.to_string());
        let properties = format!("bootstrap.servers={}", self.addresses());
        let what = ["--topic", topic, "--num-records", &records, "--record-size", &bytes, "--throughput", "-1"];
        let how = ["--producer-props", &properties, "acks=all", "max.request.size=2097152"];
        let output = self.tool("org.apache.kafka.tools.ProducerPerformance", &[&what[..], &how[..]].concat());
        let output = output.expect("ProducerPerformance runs");
        // At its end: `…, N records/sec (N MB/sec), …`; its megabytes are 2²⁰ bytes.
        let last = output.lines().rfind(|line| line.contains("MB/sec"));
        let speed = last.and_then(|line| line.split(" MB/sec").next()?.rsplit('(').next()?.trim().parse::<f64>().ok());
        speed.unwrap_or_else(|| panic!("no figure in:\n{output}")) * f64::from(1 << 20) / 1e6
    }

    /// Runs one of Kafka's own tools from the brokers' jars to its end: all that it wrote. Errors when it fails.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new("java");
        command.arg("-cp").arg(self.libs.join("*")).arg(class).args(arguments);
        let output = tokio::task::block_in_place(|| command.output())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(text) } else { Err(io::Error::other(format!("{class} failed:\n{text}"))) }
    }

    fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.child.as_ref()).map(Child::id).collect()
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|broker| self.kill(broker));
    }
}

impl Node {
    fn properties(&self) -> PathBuf {
        self.dir.join("server.properties")
    }
}

fn failed(what: &str, dir: &Path) -> io::Error {
    let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
    io::Error::other(format!("the broker did not {what}:\n{log}"))
}

/// Where the jars are; fetched when they are not.
fn libs() -> io::Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libs = std::env::var_os("WEIR_KAFKA_LIBS").map_or_else(|| own.join("../.cache/kafka/libs"), PathBuf::from);
    let fetched = Command::new(own.join("kafka/fetch")).arg(&libs).status()?;
    if fetched.success() { Ok(libs) } else { Err(io::Error::other("tests/kafka/fetch failed")) }
}

fn java(libs: &Path, dir: &Path) -> io::Result<Command> {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(libs.join("*"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// A broker's place in its cluster.
struct Place {
    /// From 1.
    id: usize,
    count: usize,
    voters: String,
}

fn properties(dir: &Path, port: u16, controller: u16, place: &Place, listener: &Listener) -> String {
    let Place { id, count, voters } = place;
    let Listener { protocol, properties: further, .. } = listener;
    let in_sync = count.div_ceil(2);
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={protocol}://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         unclean.leader.election.enable=false\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor={count}\n\
         transaction.state.log.replication.factor={count}\n\
         transaction.state.log.min.isr={in_sync}\n\
         group.initial.rebalance.delay.ms=0\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n\
         {further}",
        dir.join("data").display()
    )
}

#[cfg(test)]
mod tests;
