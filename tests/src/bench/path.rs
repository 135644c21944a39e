//! The path in one process: the parts that `weir up` wires, each started alone so that each step can be timed. Not its
//! listeners, rules and page; those are measured through the binary.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_aggregator::{Aggregator, AggregatorConfig, AggregatorError, Clock, Dependencies, Retention};
use weir_blocks::blob::BlobCache;
use weir_blocks::manifest::{durable_local, random_nonces};
use weir_bus::disk::{DiskConfig, DiskLog};
use weir_bus::{BusMetrics, Log};
use weir_collector::config::{FileFormat, PathConfig};
use weir_collector::{Collector, CollectorConfig, Deps};
use weir_logs::{LogsEngine, LogsReader};
use weir_metrics::{MetricsCounters, MetricsEngine};
use weir_model::status::OwnerStatus;
use weir_model::wire::Kind;
use weir_runtime::containers::InventoryConfig;
use weir_traces::{TracesCounters, TracesEngine};

use super::bus::Counted;
use super::until;

/// As in the binary's default configuration.
const CACHE_BYTES: u64 = 256 << 20;

/// The embedded log below this folder, as it comes, fsync included.
pub fn disk_bus(folder: &Path) -> Arc<Counted> {
    let config = DiskConfig { path: folder.join("bus"), ..DiskConfig::default() };
    Counted::new(Arc::new(DiskLog::open(config, BusMetrics::default()).expect("open the disk log")))
}

/// The time.
pub fn clock() -> Clock {
    let now =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    Arc::new(now)
}

/// A running collector.
pub struct Collecting {
    /// For sections and listeners.
    pub collector: Collector,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Collecting {
    /// A collector that follows the pods' logs below `pods` where given, and samples nothing by itself.
    pub async fn start(bus: Arc<Counted>, folder: &Path, pods: Option<&Path>) -> Self {
        let mut config = CollectorConfig::default();
        config.files.containers = false;
        config.sample.enabled = false;
        config.files.paths.extend(pods.map(|pods| PathConfig {
            path: format!("{}/*/*/0.log", pods.display()),
            format: FileFormat::Cri,
            labels: [("namespace".to_owned(), "nezha".to_owned())].into(),
        }));
        let stop = CancellationToken::new();
        let deps = Deps {
            bus,
            registry: &mut Registry::default(),
            clock: clock(),
            node: "bench".into(),
            inventory: InventoryConfig { root: folder.to_path_buf(), ..InventoryConfig::default() },
            retention: weir_collector::Retention::default(),
            limits: weir_model::limits::Limits::default(),
            data: folder.join("collector"),
            outages: weir_model::outage::Outages::default(),
            shutdown: stop.clone(),
        };
        Self { collector: Collector::start(config, deps).await.expect("the collector starts"), stop }
    }

    /// Stops it and waits for what is under way.
    pub async fn end(self) {
        self.stop.cancel();
        self.collector.join().await;
    }
}

/// A running aggregator.
pub struct Aggregating {
    /// For readers.
    pub aggregator: Arc<Aggregator>,
    bus: Arc<Counted>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), AggregatorError>>,
}

impl Aggregating {
    /// An aggregator whose blocks go below this folder. Nothing expires, and nothing is sealed before it is asked for.
    pub fn start(bus: Arc<Counted>, folder: &Path) -> Self {
        let store: Arc<dyn ObjectStore> =
            Arc::new(durable_local(&folder.join("store"), SystemTime::now()).expect("open the store"));
        let config = AggregatorConfig {
            retention: Retention { logs: Duration::ZERO, metrics: Duration::ZERO, traces: Duration::ZERO },
            head_age_max: Duration::from_secs(3600),
            ..AggregatorConfig::default()
        };
        let traces = TracesEngine::new(clock(), TracesCounters::default());
        let engines = (LogsEngine::default(), MetricsEngine::new(MetricsCounters::default()), traces);
        let dependencies = Dependencies {
            bus: Arc::clone(&bus) as Arc<dyn Log>,
            object_store: store,
            cache: BlobCache::new(CACHE_BYTES),
            clock: clock(),
            nonces: random_nonces(),
            metrics: weir_aggregator::Metrics::default(),
            member: "bench".into(),
            limits: Default::default(),
        };
        let (aggregator, stop) = (Arc::new(Aggregator::new(config, engines, dependencies)), CancellationToken::new());
        let task = tokio::spawn({
            let (aggregator, stop) = (Arc::clone(&aggregator), stop.clone());
            async move { aggregator.run(stop).await }
        });
        Self { aggregator, bus, stop, task }
    }

    /// The partitions of a kind.
    pub fn status(&self, kind: Kind) -> Vec<OwnerStatus> {
        self.aggregator.status().into_iter().filter(|status| status.topic == kind.topic()).collect()
    }

    /// Waits until everything of a kind that is on the bus can be found.
    pub async fn searchable(&self, kind: Kind) {
        let end = self.bus.end(kind).await;
        until("everything is searchable", || self.status(kind).iter().map(|status| status.indexed_offset).sum::<u64>() >= end)
            .await;
    }

    /// Bytes of all blocks of a kind.
    pub fn block_bytes(&self, kind: Kind) -> u64 {
        self.status(kind).iter().map(|status| status.block_bytes).sum()
    }

    /// Reads log lines.
    pub fn logs(&self) -> LogsReader {
        LogsReader { views: self.aggregator.logs.clone(), tails: self.aggregator.logs.clone() }
    }

    /// Stops it.
    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the aggregator ends").expect("the aggregator ends well");
    }
}
