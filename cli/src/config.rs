//! The one configuration file: TOML, every key with a default, unknown keys refused by name.
//!
//! Flags and `WEIR_…` variables win over the file. The documented default is `weir.toml` beside this file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_runtime::containers::InventoryConfig;

use crate::Failure;
use crate::args::UpArguments;

/// The default, every key documented; a test holds it equal to [`Config::default`].
pub(crate) const DOCUMENTED: &str = include_str!("weir.toml");

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Everything weir keeps lies below.
    pub data: PathBuf,
    /// Page and APIs.
    pub listen: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Listen on addresses that others can reach, without TLS and authentication.
    pub insecure_listen: bool,
    /// This machine.
    pub node: NodeConfig,
    /// The bus.
    pub bus: BusConfig,
    /// The object store.
    pub store: StoreConfig,
    /// Node facts and pushed telemetry into batches.
    pub collector: weir_collector::config::CollectorConfig,
    /// Batches into blocks.
    pub aggregator: weir_aggregator::AggregatorConfig,
    /// Answers.
    pub query: weir_query::budget::QueryConfig,
    /// Alerting and recording rules.
    pub rules: weir_query::rules::RulesConfig,
    /// weir's own spans.
    pub telemetry: TelemetryConfig,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodeConfig {
    /// Its name; the host's when empty.
    pub name: String,
    /// Its root directory, as a collector in a container sees it.
    pub root: PathBuf,
    /// containerd's socket.
    pub containerd_socket: PathBuf,
    /// Sockets that may speak CRI.
    pub cri_sockets: Vec<PathBuf>,
    /// Docker's socket.
    pub docker_socket: PathBuf,
    /// podman's sockets.
    pub podman_sockets: Vec<PathBuf>,
    /// podman's storage, read when no socket answers.
    pub podman_storage: PathBuf,
    /// Where `weir run` keeps its containers.
    pub containers: PathBuf,
}

impl Default for NodeConfig {
    fn default() -> Self {
        let stock = InventoryConfig::default();
        Self {
            name: String::new(),
            root: stock.root,
            containerd_socket: stock.containerd_socket,
            cri_sockets: stock.cri_sockets,
            docker_socket: stock.docker_socket,
            podman_sockets: stock.podman_sockets,
            podman_storage: stock.podman_storage,
            containers: stock.weir_dir,
        }
    }
}

impl NodeConfig {
    /// For the runtime.
    pub fn inventory(&self) -> InventoryConfig {
        InventoryConfig {
            root: self.root.clone(),
            containerd_socket: self.containerd_socket.clone(),
            cri_sockets: self.cri_sockets.clone(),
            docker_socket: self.docker_socket.clone(),
            podman_sockets: self.podman_sockets.clone(),
            podman_storage: self.podman_storage.clone(),
            weir_dir: self.containers.clone(),
            ..InventoryConfig::default()
        }
    }
}

/// `[bus]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BusConfig {
    /// Which.
    pub kind: BusKind,
    /// The embedded log.
    pub disk: weir_bus::disk::DiskConfig,
    /// An Apache Kafka cluster.
    pub kafka: weir_bus::kafka::KafkaConfig,
}

/// `bus.kind`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BusKind {
    /// The embedded log of one machine.
    #[default]
    Disk,
    /// Apache Kafka.
    Kafka,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreConfig {
    /// Memory for ranges of blocks that were read.
    pub cache_bytes: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { cache_bytes: 256 << 20 }
    }
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetryConfig {
    /// Whether weir keeps spans of its own queries and seals.
    pub spans: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { spans: true }
    }
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data: PathBuf::from("weir-data"),
            listen: loopback(9640),
            otlp_grpc: loopback(4317),
            otlp_http: loopback(4318),
            insecure_listen: false,
            node: NodeConfig::default(),
            bus: BusConfig::default(),
            store: StoreConfig::default(),
            collector: Default::default(),
            aggregator: Default::default(),
            query: Default::default(),
            rules: Default::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Config {
    /// Reads a file. Errors name the file, the line and the key.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::input(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let config: Self = toml::from_str(&text).map_err(|error| wrong(&error))?;
        config.check().map_err(|error| wrong(&error))?;
        Ok(config)
    }

    /// From flags, environment and file.
    pub fn resolve(arguments: &UpArguments) -> Result<Self, Failure> {
        let mut config = match &arguments.config {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        if let Some(data) = &arguments.data {
            config.data.clone_from(data);
        }
        config.listen = arguments.listen.unwrap_or(config.listen);
        config.otlp_grpc = arguments.otlp_grpc.unwrap_or(config.otlp_grpc);
        config.otlp_http = arguments.otlp_http.unwrap_or(config.otlp_http);
        if let Some(containers) = &arguments.containers {
            config.node.containers.clone_from(containers);
        }
        if arguments.no_node {
            config.collector.files.containers = false;
            config.collector.sample.enabled = false;
        }
        config.check().map_err(Failure::input)?;
        Ok(config)
    }

    /// What serde cannot see: values that cannot work together. The message names the key.
    pub fn check(&self) -> Result<(), String> {
        for (key, address) in [("listen", self.listen), ("otlp_grpc", self.otlp_grpc), ("otlp_http", self.otlp_http)] {
            if !address.ip().is_loopback() && !self.insecure_listen {
                return Err(format!(
                    "{key} = \"{address}\" can be reached by others, and there is neither TLS nor authentication: \
                     listen on 127.0.0.1, or say insecure_listen = true"
                ));
            }
        }
        self.collector.check().map_err(|error| format!("collector: {error}"))?;
        self.rules.validate()?;
        self.aggregator.check().map_err(|error| format!("aggregator.{error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_default_is_the_default() {
        let documented: Config = toml::from_str(DOCUMENTED).unwrap();
        assert_eq!(documented, Config::default());
    }

    #[test]
    fn every_key_is_documented() {
        let default = toml::Value::try_from(Config::default()).unwrap();
        let documented: toml::Value = toml::from_str(DOCUMENTED).unwrap();
        fn missing(path: &str, default: &toml::Value, documented: &toml::Value, found: &mut Vec<String>) {
            for (key, value) in default.as_table().into_iter().flatten() {
                match documented.get(key) {
                    Some(other) => missing(&format!("{path}{key}."), value, other, found),
                    None => found.push(format!("{path}{key}")),
                }
            }
        }
        let mut found = Vec::new();
        missing("", &default, &documented, &mut found);
        assert!(found.is_empty(), "not in weir.toml: {found:?}");
    }

    #[test]
    fn wrong_files_are_refused_by_name_of_key() {
        let check = |text: &str, expected: &str| {
            let folder = std::env::temp_dir().join(format!("weir-config-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("weir.toml");
            std::fs::write(&path, text).unwrap();
            let message = Config::read(&path).unwrap_err().message;
            assert!(message.contains(expected), "{text:?}: {message}");
        };
        check("listne = 1", "listne");
        check("listen = 5", "listen");
        check("[aggregator]\nhead_bytes_max = 5", "aggregator.head_bytes_max");
        check("[collector.files]\npoll_intervall = \"1s\"", "poll_intervall");
        check("listen = \"0.0.0.0:80\"", "insecure_listen");
        check("[query]\nconcurrency = \"many\"", "concurrency");
        check("[", "TOML");
    }
}
