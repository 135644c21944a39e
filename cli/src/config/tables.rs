//! The tables of the configuration that belong to no crate of their own: `[node]`, `[bus]`, `[store]`, `[telemetry]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_logs::LogsOptions;
use weir_model::config::{ByteSize, duration};
use weir_runtime::containers::InventoryConfig;

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
    /// `""` for `<data>/store`; `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`.
    pub url: String,
    /// Endpoint, region, credentials.
    pub options: BTreeMap<String, String>,
    /// How a remote store is known, and what is shown to it.
    pub tls: weir_tls::ClientTls,
    /// Memory for ranges of blocks that were read.
    pub cache_max: ByteSize,
    /// Memory for opened indexes of logs, a quarter of it for what is being read and unpacked.
    pub index_cache_max: ByteSize,
    /// Memory for chunks of logs that were opened, with what of them is unpacked.
    pub chunk_cache_max: ByteSize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let logs = LogsOptions::default();
        Self {
            url: String::new(),
            options: BTreeMap::new(),
            tls: Default::default(),
            cache_max: ByteSize::mib(256),
            index_cache_max: ByteSize::bytes(logs.index_cache_bytes),
            chunk_cache_max: ByteSize::bytes(logs.chunk_cache_bytes),
        }
    }
}

impl StoreConfig {
    /// How the engine of logs caches.
    pub(crate) fn logs_options(&self) -> LogsOptions {
        let (index, chunks) = (self.index_cache_max.to_u64(), self.chunk_cache_max.to_u64());
        LogsOptions { index_cache_bytes: index, chunk_cache_bytes: chunks, ..LogsOptions::default() }
    }
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetryConfig {
    /// Whether weir keeps spans of its own queries and seals.
    pub spans: bool,
    /// How often a process stores what it has counted of each tenant's usage.
    #[serde(with = "duration")]
    pub usage_interval: Duration,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { spans: true, usage_interval: Duration::from_secs(60) }
    }
}

impl TelemetryConfig {
    /// Errors with the key and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let fits = (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.usage_interval);
        if fits { Ok(()) } else { Err("usage_interval: must be at least 1s and at most 10m".into()) }
    }
}
