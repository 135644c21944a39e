//! A real Kafka broker for tests: fetched once by `tests/kafka/fetch`, one process, one directory, ephemeral ports. Not a
//! cluster: what replication does is Kafka's own affair. Used by the tests at the foot of this file and by whoever needs a bus in
//! Kafka.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A broker answers after 5 s on an idle machine; tests share theirs.
const START_TRIES: u32 = 600;
const START_LOOK: Duration = Duration::from_millis(200);
/// Any 16 bytes in base64 will do.
const CLUSTER_ID: &str = "d2VpcndlaXJ3ZWlyd2Vpcg";

/// A running broker; killed and its files deleted on drop.
pub struct Broker {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Broker {
    /// Fetches the jars when they are not there, formats a directory, starts the broker and waits until it answers.
    pub async fn start() -> io::Result<Self> {
        let libs = libs()?;
        let dir = tempfile::tempdir()?;
        let (port, controller) = (free_port()?, free_port()?);
        let file = dir.path().join("server.properties");
        fs::write(&file, properties(dir.path(), port, controller))?;
        let format =
            java(&libs, dir.path())?.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&file).status()?;
        if !format.success() {
            return Err(failed("format", dir.path()));
        }
        let child = java(&libs, dir.path())?.arg("kafka.Kafka").arg(&file).spawn()?;
        let mut broker = Self { child, port, dir };
        for _ in 0..START_TRIES {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(broker);
            }
            if broker.child.try_wait()?.is_some() {
                break;
            }
            tokio::time::sleep(START_LOOK).await;
        }
        Err(failed("start", broker.dir.path()))
    }

    /// `host:port`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops it answering, as a long pause or a cut cable does.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// The inverse of [`Self::freeze`].
    pub fn thaw(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    /// Runs one of Kafka's own tools from the broker's jars to its end: all that it wrote. Errors when it fails.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> io::Result<String> {
        let output = Command::new("java").arg("-cp").arg(libs()?.join("*")).arg(class).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(text) } else { Err(io::Error::other(format!("{class} failed:\n{text}"))) }
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let done = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status()?;
        if done.success() { Ok(()) } else { Err(io::Error::other("kill failed")) }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have died already; either way nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
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

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn java(libs: &Path, dir: &Path) -> io::Result<Command> {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(libs.join("*"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

fn properties(dir: &Path, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         group.initial.rebalance.delay.ms=0\n",
        dir.join("data").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_bus::contract::Contract;
    use weir_bus::kafka::{KafkaConfig, KafkaLog};
    use weir_bus::{BusMetrics, Consumer, Event, Log, TopicPartition};

    fn open(broker: &Broker, change: impl FnOnce(&mut KafkaConfig)) -> KafkaLog {
        let mut config = KafkaConfig {
            brokers: broker.address(),
            partitions: 2,
            replication: 1,
            record_bytes: 8192,
            ..KafkaConfig::default()
        };
        config.queue_bytes = 1 << 20;
        change(&mut config);
        KafkaLog::open(config, BusMetrics::default()).unwrap()
    }

    /// Until the members own `counts` partitions each.
    async fn settle(members: &mut [(Box<dyn Consumer>, Vec<TopicPartition>)], counts: &[usize]) {
        while members.iter().map(|(_, owned)| owned.len()).ne(counts.iter().copied()) {
            for (member, owned) in &mut *members {
                match tokio::time::timeout(Duration::from_millis(100), member.next()).await {
                    Err(_) => {}
                    Ok(Ok(Event::Assigned(places))) => owned.extend(places),
                    Ok(Ok(Event::Revoked(places))) => owned.retain(|place| !places.contains(place)),
                    Ok(other) => panic!("{other:?}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn kafka_keeps_the_contract_of_the_bus() {
        let broker = Broker::start().await.unwrap();
        let log = open(&broker, |_| {});
        let quiet = Duration::from_millis(700);
        Contract { log: &log, topic: "weir.logs", record_bytes: 8192, quiet }.check().await;
        drop(log);

        // A frozen broker: appends wait, and go on when it does.
        let log = open(&broker, |config| config.queue_bytes = 64 << 10);
        let contract = Contract { log: &log, topic: "weir.logs", record_bytes: 8192, quiet };
        log.bounds(&TopicPartition { topic: "weir.logs".into(), partition: 0 }).await.unwrap();
        broker.freeze().unwrap();
        let taken = contract.check_back_pressure(async || broker.thaw().unwrap()).await;
        assert!((4..=16).contains(&taken), "{taken} records of 8 KiB in a queue of 64 KiB");
        drop(log);

        // A second member gets its share of a topic that the first had alone.
        let log = open(&broker, |config| config.group = "other".into());
        let mut members = vec![(log.consume(&["weir.spans"], "a").await.unwrap(), Vec::new())];
        settle(&mut members, &[2]).await;
        members.push((log.consume(&["weir.spans"], "b").await.unwrap(), Vec::new()));
        settle(&mut members, &[1, 1]).await;

        // For a third there is nothing, and it is told so.
        let mut third = log.consume(&["weir.spans"], "c").await.unwrap();
        let first = loop {
            for (member, _) in &mut members {
                let _nothing_yet = tokio::time::timeout(Duration::from_millis(20), member.next()).await;
            }
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(100), third.next()).await {
                break event.unwrap();
            }
        };
        assert!(matches!(&first, Event::Assigned(places) if places.is_empty()), "{first:?}");
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_an_error_and_not_a_wait() {
        let port = free_port().unwrap();
        let config = KafkaConfig { brokers: format!("127.0.0.1:{port}"), ..KafkaConfig::default() };
        let log = KafkaLog::open(config, BusMetrics::default()).unwrap();
        let error = log.partitions("weir.logs").await.unwrap_err().to_string();
        assert!(error.starts_with("kafka: fetch metadata:"), "{error}");
    }
}
