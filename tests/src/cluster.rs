//! A whole weir cluster on this machine: real brokers, and every role as a process of its own. Whoever starts it says how many, and
//! where the blocks go. What it survives is shown by the ledger; what it carries, by a benchmark.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ask;
use crate::kafka::Brokers;
use crate::roles::Role;
use crate::weir::{PATIENCE, eventually, free_port, node_at, pods_of};

/// Of a log.
const LAST_LINES: usize = 40;

/// What to start.
pub struct Plan<'a> {
    /// Brokers; every topic has as many replicas.
    pub brokers: usize,
    /// Of a topic.
    pub partitions: u32,
    /// Processes.
    pub aggregators: usize,
    /// Processes.
    pub queries: usize,
    /// URL of the object store.
    pub store: String,
    /// What the store's client has to be told.
    pub environment: Vec<(&'a str, &'a str)>,
    /// Further TOML, of tables that the fixture does not write itself: not `[bus]`, `[bus.kafka]`, `[node]`.
    pub config: &'a str,
}

/// All of it, running; killed when dropped.
pub struct Cluster {
    /// Kafka.
    pub brokers: Brokers,
    /// The only collector; follows [`Cluster::pods`].
    pub collector: Role,
    /// Where the collector takes OTLP over HTTP.
    pub otlp_http: String,
    /// Owners of the partitions between them.
    pub aggregators: Vec<Role>,
    /// Each answers for all.
    pub queries: Vec<Role>,
    /// Stands for `/var/log/pods`.
    pub pods: PathBuf,
    /// For requests.
    pub http: reqwest::Client,
}

impl Cluster {
    /// Starts it below `folder` and waits until every part is ready.
    pub async fn start(folder: &Path, plan: &Plan<'_>) -> Self {
        let brokers = Brokers::start(plan.brokers).await.expect("brokers");
        let config = folder.join("weir.toml");
        std::fs::write(&config, configuration(folder, &brokers, plan)).expect("write the configuration");
        let config = config.display().to_string();
        let data = folder.join("collector").display().to_string();
        std::fs::create_dir_all(&data).expect("create the collector's directory");
        let address = || format!("127.0.0.1:{}", free_port());
        let (otlp_grpc, otlp_http) = (address(), address());
        let stored = ["--config", &config, "--store", &plan.store];
        let shipped = ["--config", &config, "--data", &data, "--otlp-grpc", &otlp_grpc, "--otlp-http", &otlp_http];
        let many = |role, count| (0..count).map(|_| Role::start_with(folder, role, &stored, &plan.environment)).collect();
        let cluster = Self {
            collector: Role::start(folder, "collector", &shipped),
            aggregators: many("aggregator", plan.aggregators),
            queries: many("query", plan.queries),
            pods: pods_of(folder),
            brokers,
            otlp_http,
            http: weir_tls::client_builder().timeout(PATIENCE).build().expect("a client"),
        };
        cluster.wait_ready().await;
        cluster
    }

    /// All roles.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        std::iter::once(&self.collector).chain(&self.aggregators).chain(&self.queries)
    }

    /// The ends of all roles' logs.
    pub fn last_words(&self) -> String {
        let ends = self.roles().map(|role| {
            let log = role.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            format!("--- {} at {}\n{end}", role.role, role.listen)
        });
        ends.collect::<Vec<_>>().join("\n")
    }

    /// Until every role says that it is ready, all at once.
    pub async fn wait_ready(&self) {
        eventually("the cluster is ready", async || {
            for role in self.roles() {
                let why = |reason| format!("{} at {}: {reason}\n{}", role.role, role.listen, role.log());
                role.ready().await.map_err(why)?;
            }
            Ok(())
        })
        .await;
    }

    /// Asks one query node until its answer is there and complete; panics with the last refusal when it does not come.
    pub async fn ask(&self, query: usize, path: &str, parameters: &[(&str, &str)]) -> Value {
        let role = &self.queries[query];
        let ask = async || ask::complete(self.try_ask(role, path, parameters).await?);
        eventually(&format!("{path} {parameters:?}"), ask).await
    }

    /// Asks once. Errors with what was said instead of JSON. Every answer has its `coverage`.
    pub async fn try_ask(&self, role: &Role, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        ask::get(&self.http, &role.url(path), parameters).await
    }
}

/// Whoever reads of a test that failed has no other way to see them: they go with its folder.
impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}

fn configuration(folder: &Path, brokers: &Brokers, plan: &Plan<'_>) -> String {
    let in_sync = plan.brokers.div_ceil(2);
    format!(
        "[bus]\nkind = \"kafka\"\n[bus.kafka]\nbrokers = {:?}\npartitions = {}\nreplication = {}\nmin_insync_replicas = {in_sync}\n\
         queue_max = \"2MiB\"\n{}\n{}\n",
        brokers.addresses(),
        plan.partitions,
        plan.brokers,
        node_at(folder),
        plan.config
    )
}
