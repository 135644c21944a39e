//! The parts, each built from the configuration. Who needs which: `up` all of them, a role its own.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_aggregator::{Aggregator, Clock, Dependencies, ScratchDirectory};
use weir_api::Api;
use weir_api::metrics::HttpMetrics;
use weir_blocks::StoreError;
use weir_blocks::blob::BlobCache;
use weir_blocks::manifest::{probe, random_nonces};
use weir_blocks::scratch::ScratchSpace;
use weir_bus::{BusError, BusMetrics, Log};
use weir_collector::Collector;
use weir_collector::metrics::ShipMetrics;
use weir_collector::ship::{Lanes, Shipper};
use weir_logs::LogsEngine;
use weir_metrics::{MetricsCounters, MetricsEngine};
use weir_model::label::Labels;
use weir_model::limits::Limits;
use weir_model::outage::Outages;
use weir_rules::{RuleDeps, RuleMetrics, SampleSink};
use weir_traces::{TracesCounters, TracesEngine};

use super::startup_gate::Waiting;
use crate::Failure;
use crate::config::{BusKind, Config};

/// Between two probes of an object store that does not answer; its client has tried for some seconds by then.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// At the end, records under way may take this long to be acknowledged.
const SHIP_AT_END: Duration = Duration::from_secs(5);

/// The bus; does not wait for a cluster's brokers.
pub(crate) fn open_bus(config: &Config, registry: &mut Registry) -> Result<Arc<dyn Log>, Failure> {
    let metrics = BusMetrics::default();
    metrics.register(registry);
    match config.bus.kind {
        BusKind::Disk => {
            let mut disk = config.bus.disk.clone();
            disk.path = config.data.join(disk.path);
            let log = weir_bus::disk::DiskLog::open(disk, metrics).map_err(refused)?;
            Ok(Arc::new(log))
        }
        BusKind::Kafka => {
            let log = weir_bus::kafka::KafkaLog::open(config.bus.kafka.clone(), metrics).map_err(refused)?;
            Ok(Arc::new(log))
        }
    }
}

fn refused(error: BusError) -> Failure {
    match error {
        BusError::Config(reason) => Failure::failed(format!("the bus: {reason}")),
        other => Failure::failed(other),
    }
}

/// The object store; a remote one is not asked for anything yet.
pub(crate) async fn open_store(config: &Config) -> Result<Arc<dyn ObjectStore>, Failure> {
    let location = config.location();
    let opened = tokio::task::spawn_blocking(move || location.open(SystemTime::now())).await;
    opened.map_err(Failure::failed)?.map_err(Failure::failed)
}

/// Errors when the store's conditional create cannot be trusted; one that does not answer is waited for.
pub(crate) async fn probe_store(config: &Config, store: &Arc<dyn ObjectStore>, waiting: &Waiting) -> Result<(), Failure> {
    let named = |error: StoreError| match config.store.url.as_str() {
        "" => error.to_string(),
        url => format!("store.url = {url:?}: {error}"),
    };
    loop {
        match probe(store, &random_nonces()).await {
            Err(error) if error.is_unanswered() => {
                let error = named(error);
                tracing::warn!(error, "the object store cannot be used yet; trying again");
                waiting.because(&error);
                tokio::time::sleep(PROBE_PAUSE).await;
            }
            probed => return probed.map_err(|error| Failure::failed(named(error))),
        }
    }
}

/// What an owner keeps of objects, and how it reads them.
fn blob_cache(config: &Config) -> BlobCache {
    let cache = BlobCache::new(config.store.cache_max.to_u64());
    match config.location().directory() {
        Ok(Some(directory)) => cache.with_files_of(&directory),
        // A URL that is wrong was refused when the store was opened.
        Ok(None) | Err(_) => cache,
    }
}

/// The aggregator, ready to run. `member` is its identity in the group and its URL in the manifests.
pub(crate) fn build_aggregator(
    config: &Config,
    (bus, object_store): (Arc<dyn Log>, Arc<dyn ObjectStore>),
    member: String,
    clock: &Clock,
    (outages, limits): (&Outages, Limits),
    registry: &mut Registry,
) -> Arc<Aggregator> {
    let metrics = weir_aggregator::Metrics { outages: outages.clone(), ..weir_aggregator::Metrics::default() };
    let (samples, spans) = (MetricsCounters::default(), TracesCounters::default());
    metrics.register(registry);
    samples.register(registry);
    spans.register(registry);
    let scratch = ScratchSpace::new(Arc::new(ScratchDirectory::new(config.data.join("scratch"))));
    let logs = LogsEngine::new(config.store.logs_options()).with_scratch(scratch);
    let engines = (logs, MetricsEngine::new(samples), TracesEngine::new(Arc::clone(clock), spans));
    let dependencies = Dependencies {
        bus,
        object_store,
        cache: blob_cache(config),
        clock: Arc::clone(clock),
        nonces: random_nonces(),
        metrics,
        member,
        limits,
    };
    let aggregator = Arc::new(Aggregator::new(config.aggregator.clone(), engines, dependencies));
    aggregator.register(registry);
    aggregator
}

/// The collector with all its sources.
pub(crate) async fn start_collector(
    config: &Config,
    bus: Arc<dyn Log>,
    clock: &Clock,
    (outages, limits): (&Outages, Limits),
    registry: &mut Registry,
    shutdown: &CancellationToken,
) -> Result<Collector, Failure> {
    let deps = weir_collector::Deps {
        bus,
        registry,
        clock: Arc::clone(clock),
        node: node_name(config),
        inventory: config.node.inventory(),
        retention: retention(&config.aggregator.retention),
        limits,
        data: config.data.join("collector"),
        outages: outages.clone(),
        shutdown: shutdown.clone(),
    };
    Collector::start(config.collector.clone(), deps).await.map_err(Failure::failed)
}

/// What aggregators keep, for the refusals of pushes; every role reads the same file.
fn retention(kept: &weir_aggregator::Retention) -> weir_collector::Retention {
    weir_collector::Retention { logs: kept.logs, metrics: kept.metrics, spans: kept.traces }
}

/// A way onto the bus without sources: for what a query node makes itself.
pub(crate) async fn start_shipper(
    config: &Config,
    bus: Arc<dyn Log>,
    outages: &Outages,
    registry: &mut Registry,
    stop: &CancellationToken,
) -> Result<(Shipper, Lanes), Failure> {
    let metrics = ShipMetrics::telling(outages.clone());
    metrics.register(registry);
    let started = Shipper::start(bus, &config.collector.ship, metrics, stop.clone()).await.map_err(Failure::failed)?;
    started.0.register(registry);
    Ok(started)
}

/// After the last shipper was dropped: waits for what is on its way to the bus, for a bounded time.
pub(crate) async fn drain_shipper(lanes: Lanes, stop: &CancellationToken) {
    if tokio::time::timeout(SHIP_AT_END, lanes.join()).await.is_err() {
        tracing::warn!("the bus did not acknowledge everything before the end");
        stop.cancel();
    }
}

/// Of what is federated, as of alerts.
pub(crate) fn external_labels(config: &Config) -> Labels {
    Labels::from_pairs(&config.rules.external_labels)
}

/// Counters of the APIs.
pub(crate) fn http_metrics(registry: &mut Registry) -> HttpMetrics {
    let counters = HttpMetrics::default();
    counters.register(registry);
    counters
}

/// The rules' loop; ends at shutdown.
pub(crate) fn evaluate(
    config: &Config,
    api: &Api,
    sink: Arc<dyn SampleSink>,
    clock: &Clock,
    registry: &mut Registry,
    shutdown: &CancellationToken,
) -> impl Future<Output = Result<(), String>> + Send + use<> {
    let metrics = Arc::new(RuleMetrics::default());
    metrics.register(registry);
    let clock = Arc::clone(clock);
    let deps = RuleDeps {
        rules: Arc::clone(&api.rules),
        reader: Arc::clone(&api.metrics),
        logs: Arc::clone(&api.logs),
        sink: Some(sink),
        query: config.query.clone(),
        load: api.load().clone(),
        clock: Arc::new(move || clock() / 1_000_000),
        metrics,
    };
    weir_rules::run(config.rules.clone(), deps, shutdown.clone())
}

/// The node's name, as configured or as the host has it.
pub(crate) fn node_name(config: &Config) -> String {
    if config.node.name.is_empty() {
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        return if host.is_empty() { "localhost".into() } else { host.into_owned() };
    }
    config.node.name.clone()
}
