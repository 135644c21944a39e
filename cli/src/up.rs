//! `weir up`: all roles in one process, an embedded log, local disk.
//!
//! Parse → build → serve → drain. Nothing here decides anything about data: it hands each part what it works with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_aggregator::{Aggregator, Clock, Dependencies, Status};
use weir_bus::{BusMetrics, Log};
use weir_collector::Collector;
use weir_model::wire::Kind;
use weir_query::http::Api;
use weir_query::http::metrics::HttpMetrics;
use weir_query::http::status::{PartitionStatus, PathStatus};
use weir_query::rules::{RuleDeps, RuleMetrics, RuleSet};
use weir_store::blob::BlobCache;
use weir_store::logs::{LogsEngine, LogsReader};
use weir_store::manifest::{durable_local, probe, random_nonces};
use weir_store::metrics::{MetricsCounters, MetricsEngine, MetricsReader};
use weir_store::traces::{TracesCounters, TracesEngine, TracesReader};

use crate::Failure;
use crate::admin::{self, Admin};
use crate::args::UpArguments;
use crate::config::{BusKind, Config};
use crate::rules::{self, Sink};
use crate::telemetry;

/// At the end, open requests may take this long to finish.
const DRAIN: Duration = Duration::from_secs(5);

/// Sealing at the end saves the next start a replay; it is not needed for anything to be safe.
const SEAL_AT_END: Duration = Duration::from_secs(20);

/// Runs until SIGTERM or SIGINT, then drains.
pub(crate) async fn up(arguments: UpArguments) -> Result<(), Failure> {
    let config = Config::resolve(&arguments)?;
    let rules = Arc::new(rules::load(&config.rules)?);
    let listeners = Listeners::bind(&config).await?;
    let mut registry = Registry::default();
    let shutdown = CancellationToken::new();
    let clock: Clock = Arc::new(now);

    let bus = open_bus(&config, &mut registry)?;
    let partitions = count_partitions(&*bus).await?;
    let object_store = open_store(&config.data).await?;
    let aggregator = Arc::new(build_aggregator(&config, Arc::clone(&bus), object_store, &clock, &mut registry));
    let consuming = CancellationToken::new();
    let running = tokio::spawn({
        let (aggregator, consuming) = (Arc::clone(&aggregator), consuming.clone());
        async move { aggregator.run(consuming).await }
    });

    let node = node_name(&config);
    let deps = weir_collector::Deps {
        bus,
        registry: &mut registry,
        clock: Arc::clone(&clock),
        node: node.clone(),
        inventory: config.node.inventory(),
        data: config.data.join("collector"),
        shutdown: shutdown.clone(),
    };
    let collector = Collector::start(config.collector.clone(), deps).await.map_err(Failure::failed)?;
    let (spans, requests) = telemetry::start(collector.shipper(), config.collector.tenant.clone(), node);

    let sink = Sink::new(collector.shipper(), config.collector.tenant.clone(), node_name(&config), &clock);
    let api = build_api(&config, &aggregator, &clock, Arc::clone(&rules), &mut registry);
    let evaluating = tokio::spawn(evaluate(&config, &api, sink, &clock, &mut registry, &shutdown));
    let admin = Arc::new(Admin { aggregator: Arc::clone(&aggregator), registry, partitions });
    let mut pages = weir_query::http::router(api);
    if config.telemetry.spans {
        pages = pages.layer(axum::middleware::from_fn(move |request, next| {
            let requests = requests.clone();
            async move { requests.trace(request, next).await }
        }));
    }
    let router = pages.merge(collector.push_router()).merge(admin::router(admin)).merge(weir_dashboards::router());

    tracing::info!(listen = %config.listen, otlp_grpc = %config.otlp_grpc, otlp_http = %config.otlp_http,
        data = %config.data.display(), "weir is up");
    let mut servers = listeners.serve(router, &collector, &shutdown);
    let failure = wait(running, &mut servers, &shutdown).await;
    shutdown.cancel();
    if let Ok(Err(error)) = evaluating.await {
        tracing::error!(error, "rules");
    }
    drain(servers, collector, spans, &aggregator, failure.is_none()).await;
    consuming.cancel();
    tracing::info!("weir is down");
    failure.map_or(Ok(()), Err)
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Bound before anything else, so that a taken port is the first thing said.
struct Listeners {
    pages: TcpListener,
    otlp_grpc: TcpListener,
    otlp_http: TcpListener,
}

type Servers = JoinSet<Result<(), String>>;

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, Failure> {
        Ok(Self {
            pages: listen("listen", config.listen).await?,
            otlp_grpc: listen("otlp_grpc", config.otlp_grpc).await?,
            otlp_http: listen("otlp_http", config.otlp_http).await?,
        })
    }

    fn serve(self, router: axum::Router, collector: &Collector, shutdown: &CancellationToken) -> Servers {
        let mut servers = JoinSet::new();
        let stop = shutdown.clone().cancelled_owned();
        let pages = axum::serve(self.pages, router).with_graceful_shutdown(stop);
        servers.spawn(async move { pages.await.map_err(|error| error.to_string()) });
        let (grpc, http) = (collector.serve_otlp_grpc(self.otlp_grpc), collector.serve_otlp_http(self.otlp_http));
        servers.spawn(async move { grpc.await.map_err(|error| error.to_string()) });
        servers.spawn(async move { http.await.map_err(|error| error.to_string()) });
        servers
    }
}

async fn listen(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| Failure::failed(format!("{key}: cannot listen on {address}: {error}")))
}

fn open_bus(config: &Config, registry: &mut Registry) -> Result<Arc<dyn Log>, Failure> {
    let metrics = BusMetrics::default();
    metrics.register(registry);
    match config.bus.kind {
        BusKind::Disk => {
            let mut disk = config.bus.disk.clone();
            disk.path = config.data.join(disk.path);
            let log = weir_bus::disk::DiskLog::open(disk, metrics).map_err(Failure::failed)?;
            Ok(Arc::new(log))
        }
        BusKind::Kafka => {
            let log = weir_bus::kafka::KafkaLog::open(config.bus.kafka.clone(), metrics).map_err(Failure::failed)?;
            Ok(Arc::new(log))
        }
    }
}

/// Of all topics, which are made here when absent.
async fn count_partitions(bus: &dyn Log) -> Result<usize, Failure> {
    let mut partitions = 0;
    for kind in Kind::ALL {
        partitions += bus.partitions(kind.topic()).await.map_err(Failure::failed)? as usize;
    }
    Ok(partitions)
}

async fn open_store(data: &Path) -> Result<Arc<dyn ObjectStore>, Failure> {
    let root: PathBuf = data.join("store");
    std::fs::create_dir_all(&root).map_err(|error| Failure::failed(format!("create {}: {error}", root.display())))?;
    let store: Arc<dyn ObjectStore> = Arc::new(durable_local(&root, SystemTime::now()).map_err(Failure::failed)?);
    probe(&store, &random_nonces()).await.map_err(Failure::failed)?;
    Ok(store)
}

fn build_aggregator(
    config: &Config,
    bus: Arc<dyn Log>,
    object_store: Arc<dyn ObjectStore>,
    clock: &Clock,
    registry: &mut Registry,
) -> Aggregator {
    let (metrics, samples, spans) = (weir_aggregator::Metrics::default(), MetricsCounters::default(), TracesCounters::default());
    metrics.register(registry);
    samples.register(registry);
    spans.register(registry);
    let engines = (LogsEngine::default(), MetricsEngine::new(samples), TracesEngine::new(Arc::clone(clock), spans));
    let dependencies = Dependencies {
        bus,
        object_store,
        cache: BlobCache::new(config.store.cache_bytes),
        clock: Arc::clone(clock),
        nonces: random_nonces(),
        metrics,
        member: format!("http://{}", config.listen),
    };
    Aggregator::new(config.aggregator.clone(), engines, dependencies)
}

fn build_api(
    config: &Config,
    aggregator: &Arc<Aggregator>,
    clock: &Clock,
    rules: Arc<RuleSet>,
    registry: &mut Registry,
) -> Arc<Api> {
    let counters = HttpMetrics::default();
    counters.register(registry);
    let logs = LogsReader { views: aggregator.logs.clone(), tails: aggregator.logs.clone() };
    let metrics = MetricsReader::new(aggregator.metrics.clone());
    let traces = TracesReader::new(aggregator.traces.clone(), Arc::clone(clock));
    let api = Api::new(Arc::new(logs), Arc::new(metrics), Arc::new(traces), config.query.clone(), rules);
    Arc::new(api.with_counters(counters).with_status(Arc::new(AggregatorStatus(Arc::clone(aggregator)))))
}

/// The rules' loop.
fn evaluate(
    config: &Config,
    api: &Api,
    sink: Arc<Sink>,
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
        sink: Some(sink),
        query: config.query.clone(),
        clock: Arc::new(move || clock() / 1_000_000),
        metrics,
    };
    weir_query::rules::run(config.rules.clone(), deps, shutdown.clone())
}

/// Where the path stands, for the query service.
struct AggregatorStatus(Arc<Aggregator>);

impl PathStatus for AggregatorStatus {
    fn status(&self) -> Vec<PartitionStatus> {
        self.0.status().into_iter().map(partition_status).collect()
    }
}

fn partition_status(status: Status) -> PartitionStatus {
    PartitionStatus {
        lag: status.on_bus.saturating_sub(status.searchable),
        topic: status.topic,
        partition: status.partition,
        on_bus: status.on_bus,
        searchable: status.searchable,
        sealed: status.sealed,
        head_bytes: status.head_bytes,
        head_records: status.head_records,
        blocks: status.blocks,
        block_bytes: status.block_bytes,
        duplicates: status.duplicates,
        gaps: status.gaps,
        quarantined: status.quarantined,
        losses: status.losses,
    }
}

fn node_name(config: &Config) -> String {
    if config.node.name.is_empty() {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        return if host.is_empty() { "localhost".into() } else { host.into() };
    }
    config.node.name.clone()
}

type Running = tokio::task::JoinHandle<Result<(), weir_bus::BusError>>;

/// Until a signal asks for the end (`None`), or a part that weir cannot do without has ended.
async fn wait(running: Running, servers: &mut Servers, shutdown: &CancellationToken) -> Option<Failure> {
    tokio::select! {
        () = signal() => None,
        () = shutdown.cancelled() => None,
        ended = running => Some(match ended {
            Ok(Ok(())) => Failure::failed("the aggregator ended by itself"),
            Ok(Err(error)) => Failure::failed(error),
            Err(error) => Failure::failed(error),
        }),
        Some(ended) = servers.join_next() => Some(match ended {
            Ok(Ok(())) => Failure::failed("a listener ended by itself"),
            Ok(Err(error)) => Failure::failed(error),
            Err(error) => Failure::failed(error),
        }),
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        },
        // Without handlers the signals end the process by themselves, which loses nothing either.
        _ => std::future::pending().await,
    }
}

/// Requests first, then what was taken in but not yet acknowledged, then the heads.
async fn drain(
    mut servers: Servers,
    collector: Collector,
    spans: opentelemetry_sdk::trace::SdkTracerProvider,
    aggregator: &Aggregator,
    seal: bool,
) {
    let finished = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, finished).await.is_err() {
        tracing::warn!("some requests did not finish in time");
        servers.abort_all();
    }
    let flushed = tokio::task::spawn_blocking(move || spans.shutdown());
    if let Ok(Err(error)) = flushed.await {
        tracing::debug!(%error, "spans of weir's own were dropped");
    }
    collector.join().await;
    if seal {
        match tokio::time::timeout(SEAL_AT_END, aggregator.seal()).await {
            Ok(Ok(committed)) => tracing::info!(blocks = committed.blocks, records = committed.records, "sealed"),
            Ok(Err(error)) => tracing::warn!(error, "not sealed; the next start replays the bus"),
            Err(_) => tracing::warn!("not sealed in time; the next start replays the bus"),
        }
    }
}
