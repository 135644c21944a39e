//! Roles as processes: started with what they need, refused without it, honest about being ready, drained at SIGTERM.
//! What a cluster survives is shown elsewhere; here there is one broker.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::process::signal;
use crate::weir::{PATIENCE, binary, eventually, free_port};

/// A running role; killed when dropped. Survives being started again.
pub struct Role {
    child: Option<Child>,
    /// `collector`, `aggregator` or `query`.
    pub role: &'static str,
    /// Where it listens.
    pub listen: String,
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Role {
    /// Starts it; its log is `<folder>/<role>-<port>.log`.
    pub fn start(folder: &Path, role: &'static str, arguments: &[&str]) -> Self {
        Self::start_with(folder, role, arguments, &[])
    }

    /// With these environment variables besides.
    pub fn start_with(folder: &Path, role: &'static str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let environment = environment.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let listen = format!("127.0.0.1:{}", free_port());
        let mut started = Self { child: None, role, listen, folder: folder.to_path_buf(), arguments, environment };
        started.spawn();
        started
    }

    /// Starts the process again with the same arguments.
    pub fn spawn(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_file()).expect("open a log");
        let mut command = Command::new(binary());
        command.arg(self.role).args(["--listen", &self.listen]).args(&self.arguments);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("start weir"));
    }

    /// Waits until it says that it is ready.
    pub async fn wait_ready(&self) {
        eventually(&format!("{} is not ready\n{}", self.role, self.log()), async || self.ready().await).await;
    }

    /// What `/readyz` says; errors with its reason.
    pub async fn ready(&self) -> Result<(), String> {
        let answer = weir_tls::client().get(self.url("/readyz")).send().await.map_err(|error| error.to_string())?;
        let ready = answer.status().is_success();
        let said = answer.text().await.unwrap_or_default();
        if ready { Ok(()) } else { Err(said) }
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
            assert!(begun.elapsed() < PATIENCE, "{} does not stop\n{}", self.role, self.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone_already = child.kill();
            child.wait().expect("wait for weir");
        }
    }

    /// SIGSTOP: it is there, and does nothing.
    pub fn freeze(&self) {
        signal("STOP", &[self.pid().expect("it runs")]);
    }

    /// The inverse of [`Self::freeze`].
    pub fn thaw(&self) {
        signal("CONT", &[self.pid().expect("it runs")]);
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A URL of its listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    /// All that it wrote to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        let port = self.listen.rsplit(':').next().unwrap_or_default();
        self.folder.join(format!("{}-{port}.log", self.role))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};
    use weir_heads::STATUS_PATH;

    use super::*;
    use crate::kafka::Brokers;

    fn refused(arguments: &[&str]) -> String {
        let output = Command::new(binary()).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        said
    }

    #[test]
    fn what_a_role_cannot_do_without_is_said_by_name() {
        for role in ["collector", "aggregator", "query"] {
            let said = refused(&[role, "--listen", "127.0.0.1:0"]);
            assert!(said.contains("cannot be shared between processes") && said.contains("bus.kafka.brokers"), "{said}");
            let said = refused(&[role, "--listen", "0.0.0.0:0"]);
            assert!(said.contains("--allow-plaintext"), "{said}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        std::fs::write(&file, "[bus]\nkind = \"kafka\"").unwrap();
        let said = refused(&[
            "aggregator",
            "--config",
            file.to_str().unwrap(),
            "--listen",
            "0.0.0.0:0",
            "--allow-plaintext",
            "--allow-anonymous",
        ]);
        assert!(said.contains("--advertise"), "{said}");
    }

    async fn push(collector: &Role, line: &str) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos().to_string();
        let body = json!({"streams": [{"stream": {"app": "roles"}, "values": [[now, line]]}]});
        let answer = weir_tls::client().post(collector.url("/loki/api/v1/push")).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 204, "{}", collector.log());
    }

    async fn seal(aggregator: &Role) -> Value {
        let answer = weir_tls::client().post(aggregator.url("/api/weir/v1/admin/seal")).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", aggregator.log());
        answer.json().await.unwrap()
    }

    fn weir_admin(action: &str, to: &Role) -> (bool, String) {
        let output = Command::new(binary()).args(["admin", action, "--addr", &to.url("")]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Beside one aggregator of three partitions a topic: three more, so that one of the four has nothing of each topic, and a query node.
    async fn more_aggregators_than_partitions(first: &Role, folder: &Path, config: &str, store: &str) {
        let arguments = ["--config", config, "--store", store];
        let mut more: Vec<Role> = (0..3).map(|_| Role::start(folder, "aggregator", &arguments)).collect();
        for aggregator in &more {
            aggregator.wait_ready().await;
        }
        let query = Role::start(folder, "query", &arguments);
        query.wait_ready().await;
        crate::peers::check_metrics(&query.url("/metrics")).await;
        // Partitions may still be on their way from the first to the others.
        let said = eventually("a seal", async || match weir_admin("seal", &query) {
            (true, said) => Ok(said),
            (false, said) => Err(said),
        })
        .await;
        assert!(said.contains(" blocks, ") && said.contains(" records"), "{said}");
        // Each topic is spread over three of them, the fourth has nothing of it, and all are ready, once the group has settled.
        let owners = eventually("three owners of each topic", async || {
            let path: Value = weir_tls::client().get(query.url("/api/weir/v1/path")).send().await.unwrap().json().await.unwrap();
            let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for partition in path["partitions"].as_array().unwrap() {
                let (topic, owner) = (partition["topic"].as_str().unwrap(), partition["owner"].as_str().unwrap());
                owners.entry(topic).or_default().insert(owner);
            }
            if owners.len() != 3 || owners.values().any(|owners| owners.len() != 3) {
                return Err(format!("{owners:?}"));
            }
            for role in std::iter::once(first).chain(&more) {
                role.ready().await?;
            }
            Ok(owners.values().flatten().map(|owner| (*owner).to_owned()).collect::<BTreeSet<String>>())
        })
        .await;

        let dead = more.iter_mut().find(|role| owners.contains(&role.url(""))).unwrap();
        dead.kill();
        let (done, said) = weir_admin("compact", &query);
        assert!(!done && said.contains(&format!("of {}: Connection refused", dead.url(""))), "{said}");
    }

    #[tokio::test]
    async fn a_role_without_brokers_or_object_store_lives_and_says_what_it_waits_for() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("weir.toml");
        let address = || format!("127.0.0.1:{}", free_port());
        std::fs::write(&config, format!("[bus]\nkind = \"kafka\"\n[bus.kafka]\nbrokers = {:?}\n", address())).unwrap();
        let store = format!("file://{}", folder.path().join("store").display());
        let config = config.to_str().unwrap();
        let (stored, data) = (["--config", config, "--store", &store], folder.path().join("data").display().to_string());
        let (grpc, http) = (address(), address());
        let shipped = ["--config", config, "--data", &data, "--otlp-grpc", &grpc, "--otlp-http", &http, "--no-node"];
        let (away, endpoint) = (["--config", config, "--store", "s3://nowhere"], format!("http://{}", address()));
        let environment = ["AWS_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name, endpoint.as_str()));
        let no_brokers = "not ready: kafka: fetch metadata:";
        let mut roles = [
            (Role::start(folder.path(), "collector", &shipped), no_brokers),
            (Role::start(folder.path(), "aggregator", &stored), no_brokers),
            (Role::start(folder.path(), "query", &stored), no_brokers),
            (
                Role::start_with(folder.path(), "aggregator", &away, &environment),
                "not ready: store.url = \"s3://nowhere\": create",
            ),
        ];
        for (role, waits_for) in &mut roles {
            eventually("it says what it waits for", async || match role.ready().await {
                Err(why) if why.contains(*waits_for) => Ok(()),
                other => Err(format!("{}: {other:?}", role.role)),
            })
            .await;
            let answers = async |url: String| weir_tls::client().get(url).send().await.unwrap().status().as_u16();
            assert_eq!((answers(role.url("/healthz")).await, answers(role.url("/loki/api/v1/push")).await), (200, 503));
            if role.role == "collector" {
                assert_eq!(answers(format!("http://{http}/v1/logs")).await, 503);
            }
            assert_eq!(role.terminate().await, Some(0), "{}", role.log());
        }
    }

    /// The first has all three until the second comes; then one of them moves.
    #[tokio::test]
    async fn two_aggregators_share_topics_of_one_partition() {
        let folder = tempfile::tempdir().unwrap();
        let broker = Brokers::start(1).await.unwrap();
        let config = folder.path().join("weir.toml");
        let kafka = format!("brokers = {:?}\npartitions = 1\nreplication = 1", broker.addresses());
        std::fs::write(&config, format!("[bus]\nkind = \"kafka\"\n[bus.kafka]\n{kafka}\n")).unwrap();
        let store = format!("file://{}", folder.path().join("store").display());
        let arguments = ["--config", config.to_str().unwrap(), "--store", &store];
        let topics = async |role: &Role| {
            let status: Value = weir_tls::client().get(role.url(STATUS_PATH)).send().await.unwrap().json().await.unwrap();
            let topics = status.as_array().unwrap().iter().map(|of| of["topic"].as_str().unwrap().to_owned());
            topics.collect::<Vec<String>>()
        };
        let first = Role::start(folder.path(), "aggregator", &arguments);
        first.wait_ready().await;
        assert_eq!(topics(&first).await, ["weir.logs", "weir.metrics", "weir.spans"]);
        let second = Role::start(folder.path(), "aggregator", &arguments);
        second.wait_ready().await;
        eventually("the second has something", async || {
            let (ours, theirs) = (topics(&first).await, topics(&second).await);
            if (ours.len(), theirs.len()) == (2, 1) && !ours.contains(&theirs[0]) {
                return Ok(());
            }
            Err(format!("{ours:?} and {theirs:?}"))
        })
        .await;
    }

    #[tokio::test]
    async fn a_collector_and_an_aggregator_around_a_broker() {
        let folder = tempfile::tempdir().unwrap();
        let broker = Brokers::start(1).await.unwrap();
        let config = folder.path().join("weir.toml");
        let kafka = format!("brokers = {:?}\npartitions = 3\nreplication = 1", broker.addresses());
        std::fs::write(&config, format!("[bus]\nkind = \"kafka\"\n[bus.kafka]\n{kafka}\n")).unwrap();
        let config = config.to_str().unwrap();
        let store = format!("file://{}", folder.path().join("store").display());
        let data = folder.path().join("data").display().to_string();
        let address = || format!("127.0.0.1:{}", free_port());
        let (grpc, http) = (address(), address());

        let mut aggregator = Role::start(folder.path(), "aggregator", &["--config", config, "--store", &store]);
        let arguments = ["--config", config, "--data", &data, "--otlp-grpc", &grpc, "--otlp-http", &http, "--no-node"];
        let mut collector = Role::start(folder.path(), "collector", &arguments);
        aggregator.wait_ready().await;
        collector.wait_ready().await;
        push(&collector, "one").await;
        for role in [&aggregator, &collector] {
            crate::peers::check_metrics(&role.url("/metrics")).await;
        }
        assert_eq!(seal(&aggregator).await["blocks"].as_u64().map(|blocks| blocks > 0), Some(true));

        // Neither says that it is ready while the bus is not there, and each says why.
        broker.freeze();
        for role in [&aggregator, &collector] {
            eventually("not ready", async || match role.ready().await {
                Err(reason) if reason.contains("the bus: weir.") => Ok(()),
                other => Err(format!("{}: {other:?}", role.role)),
            })
            .await;
        }
        broker.thaw();
        aggregator.wait_ready().await;
        collector.wait_ready().await;
        push(&collector, "two").await;
        more_aggregators_than_partitions(&aggregator, folder.path(), config, &store).await;

        assert_eq!(collector.terminate().await, Some(0), "{}", collector.log());
        assert_eq!(aggregator.terminate().await, Some(0), "{}", aggregator.log());
        assert!(!folder.path().join("data/store").exists() && !folder.path().join("data/bus").exists());
    }
}
