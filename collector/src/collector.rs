//! The collector as a whole: starts the shipper and the sources, hands out the push routes, and drains at the end.
//! Called by the binary.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_access::Routes;
use weir_bus::Log;
use weir_model::limits::Limits;
use weir_model::outage::Outages;
use weir_model::targets::ScrapeTargets;
use weir_model::wire::Kind;
use weir_runtime::containers::InventoryConfig;
use weir_runtime::logs::LogPlace;

use crate::bounds::Retention;
use crate::config::CollectorConfig;
use crate::epoch::{Epochs, Rows};
use crate::error::CollectorError;
use crate::metrics::CollectorMetrics;
use crate::node::{Containers, Node, Recount};
use crate::push::{Clock, PushService};
use crate::quota::Quotas;
use crate::remote_write_out::{Queues, ReceiverWatch, Senders};
use crate::scrape::registry::TargetRegistry;
use crate::self_report::SelfReport;
use crate::ship::{Lanes, Shipper};
use crate::tail::{self, Configured, Discover, LogSpec, Root, SpecOf, Unseen};
use crate::{elasticsearch, influx, loki_push, otlp, push_gateway, remote_write, scrape};

/// What the collector is given.
pub struct Deps<'a> {
    /// Where sections go.
    pub bus: Arc<dyn Log>,
    /// Where its own metrics are registered.
    pub registry: &'a mut Registry,
    /// The time.
    pub clock: Clock,
    /// This node's name.
    pub node: String,
    /// Where the engines of this node are.
    pub inventory: InventoryConfig,
    /// How long aggregators keep what is pushed here.
    pub retention: Retention,
    /// What each tenant may send.
    pub limits: Limits,
    /// A directory of the collector's own, for the checkpoint, the pins, the epochs and the containers' history.
    pub data: PathBuf,
    /// Told of what the bus and the collector's own files refuse.
    pub outages: Outages,
    /// Sources stop when it is cancelled.
    pub shutdown: CancellationToken,
}

/// A log of which no engine has told has the labels that its path says, which lack its pod's and its image. A busy engine
/// tells within a second or two; one that is not there never does.
const IDENTIFY_PATIENCE: Duration = Duration::from_secs(5);

/// At shutdown, records under way may take this long to be acknowledged; what is not is read or sent again.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// A running collector.
pub struct Collector {
    push: PushService,
    shipper: Shipper,
    lanes: Lanes,
    /// To remote write receivers.
    senders: Senders,
    receivers: ReceiverWatch,
    sources: JoinSet<Result<(), CollectorError>>,
    /// Where it scrapes.
    targets: Arc<TargetRegistry>,
    stop_lanes: CancellationToken,
}

impl Collector {
    /// Checks the configuration, asks the bus for its partitions and starts all sources.
    pub async fn start(config: CollectorConfig, mut deps: Deps<'_>) -> Result<Self, CollectorError> {
        config.check()?;
        let metrics = CollectorMetrics::telling(deps.outages.clone());
        metrics.register(deps.registry);
        let stop_lanes = CancellationToken::new();
        let (queues, senders) = start_senders(&config, &mut deps).await?;
        let receivers = queues.as_ref().map(ReceiverWatch::of).unwrap_or_default();
        let (bus, ship) = (deps.bus.clone(), metrics.ship.clone());
        let (shipper, lanes) = Shipper::start_with(bus, &config.ship, ship, stop_lanes.clone(), queues).await?;
        shipper.register(deps.registry);
        let quotas = Quotas::new(deps.limits.clone(), deps.clock.clone());
        let push = PushService::new(shipper.clone(), config.push.clone(), metrics.clone(), deps.clock.clone())
            .with_retention(deps.retention)
            .with_otlp(config.otlp.clone())
            .with_quotas(quotas.clone());
        let epochs = Arc::new(open_epochs(deps.data.clone()).await?.with_outages(deps.outages.clone()));
        let mut sources = JoinSet::new();
        let (containers, (recount, recounts)) = (Containers::default(), Recount::new());
        if config.files.containers || config.sample.enabled {
            let node = node(&config, &deps, &shipper, &metrics, (containers.clone(), recounts, &epochs));
            sources.spawn(async move {
                node.run().await;
                Ok(())
            });
        }
        let ways = (&shipper, &quotas);
        if config.files.containers || !config.files.paths.is_empty() {
            sources.spawn(follow_files(&config, &deps, ways, &metrics, (containers, recount, epochs.clone())));
        }
        let targets = scrape(&config, &deps, ways, (&metrics, &epochs), &mut sources)?;
        let self_report = SelfReport {
            tenant: config.tenant.clone(),
            node: deps.node.clone(),
            shipper: shipper.clone(),
            metrics: metrics.clone(),
            clock: deps.clock.clone(),
            rows: Rows::new(epochs.clone()),
            shutdown: deps.shutdown.clone(),
        };
        sources.spawn(async move {
            self_report.run().await;
            Ok(())
        });
        tracing::info!(node = deps.node, tenant = config.tenant, "collector started");
        Ok(Self { push, shipper, lanes, senders, receivers, sources, targets, stop_lanes })
    }

    /// For sections that other parts of the process make: weir's own spans, the samples of recording rules.
    pub fn shipper(&self) -> Shipper {
        self.shipper.clone()
    }

    /// What it scrapes.
    pub fn targets(&self) -> Arc<dyn ScrapeTargets> {
        Arc::clone(&self.targets) as _
    }

    /// How far remote write receivers are.
    pub fn receivers(&self) -> ReceiverWatch {
        self.receivers.clone()
    }

    /// Loki's two inputs, Prometheus' for OTLP, Elasticsearch's bulk API, InfluxDB's writes, the Pushgateway's and
    /// Prometheus' remote write, for the main listener.
    pub fn push_router(&self) -> Routes {
        let loki = loki_push::router(self.push.clone()).merge(otlp::http::loki_router(self.push.clone()));
        let routes = loki.merge(elasticsearch::router(self.push.clone())).merge(influx::router(self.push.clone()));
        let routes =
            routes.merge(otlp::http::prometheus_router(self.push.clone())).merge(push_gateway::router(self.push.clone()));
        routes.merge(remote_write::router(self.push.clone()))
    }

    /// OTLP over HTTP: `/v1/{logs,metrics,traces}`.
    pub fn otlp_http_router(&self) -> Routes {
        otlp::http::router(self.push.clone())
    }

    /// OTLP over gRPC: the three export services.
    pub fn otlp_grpc_router(&self) -> Routes {
        otlp::grpc::router(&self.push)
    }

    /// Resolves when a source has ended with an error: what it reads is no longer collected. Cancel-safe.
    pub async fn failed(&mut self) -> CollectorError {
        while let Some(ended) = self.sources.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => return CollectorError::Serve { what: "a source", reason: error.to_string() },
            }
        }
        std::future::pending().await
    }

    /// After `shutdown` was cancelled and the listeners have ended: waits for the sources and for what is on its way to
    /// the bus, for a bounded time. What was not acknowledged by then is read again at the next start.
    pub async fn join(self) {
        let Self { push, shipper, lanes, senders, mut sources, stop_lanes, .. } = self;
        while let Some(ended) = sources.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::error!(%error, "a source ended with an error");
            }
        }
        drop((push, shipper));
        let drained = tokio::time::timeout(DRAIN_PATIENCE, lanes.join()).await;
        if drained.is_err() {
            tracing::warn!("the bus did not acknowledge everything before the end");
            stop_lanes.cancel();
        }
        senders.join().await;
    }
}

/// The queues of remote write receivers, where there are any.
async fn start_senders(config: &CollectorConfig, deps: &mut Deps<'_>) -> Result<(Option<Arc<Queues>>, Senders), CollectorError> {
    let topic = Kind::Metrics.topic();
    let partitions = deps.bus.partitions(topic).await.map_err(|source| CollectorError::Bus { topic, source })?;
    let own = (config.tenant.as_str(), deps.data.as_path());
    let (queues, senders) = Queues::start(&config.remote_write, own, (partitions, &deps.clock), deps.registry).await?;
    Ok(((!queues.is_empty()).then_some(queues), senders))
}

/// Scrapes the jobs of the file that is configured, if there is one; returns what is known of their targets.
fn scrape(
    config: &CollectorConfig,
    deps: &Deps<'_>,
    (shipper, quotas): (&Shipper, &Quotas),
    (metrics, epochs): (&CollectorMetrics, &Arc<Epochs>),
    sources: &mut JoinSet<Result<(), CollectorError>>,
) -> Result<Arc<TargetRegistry>, CollectorError> {
    let Some(path) = &config.scrape.config_file else { return Ok(Arc::new(TargetRegistry::none(&config.tenant))) };
    let mut jobs = scrape::file::PrometheusConfig::read(path)?;
    let created = config.scrape.created_timestamps;
    jobs.scrape_configs.iter_mut().for_each(|job| job.created_timestamps = created);
    let targets = Arc::new(TargetRegistry::new(&config.tenant, path, &jobs));
    let deps = scrape::Deps {
        shipper: shipper.clone(),
        tenant: config.tenant.clone(),
        quotas: quotas.clone(),
        metrics: metrics.clone(),
        clock: deps.clock.clone(),
        epochs: epochs.clone(),
        targets: Arc::clone(&targets),
        shutdown: deps.shutdown.clone(),
    };
    sources.spawn(async move {
        scrape::run(jobs, deps).await;
        Ok(())
    });
    Ok(targets)
}

async fn open_epochs(data: PathBuf) -> Result<Epochs, CollectorError> {
    let path = data.clone();
    let opened = tokio::task::spawn_blocking(move || Epochs::open(&data)).await;
    opened.unwrap_or_else(|error| Err(CollectorError::File { operation: "read", path, source: std::io::Error::other(error) }))
}

fn node(
    config: &CollectorConfig,
    deps: &Deps<'_>,
    shipper: &Shipper,
    metrics: &CollectorMetrics,
    (containers, recounts, epochs): (Containers, mpsc::Receiver<oneshot::Sender<()>>, &Arc<Epochs>),
) -> Node {
    Node {
        config: config.sample.clone(),
        inventory: deps.inventory.clone(),
        tenant: config.tenant.clone(),
        node: deps.node.clone(),
        shipper: shipper.clone(),
        metrics: metrics.clone(),
        clock: deps.clock.clone(),
        containers,
        recounts,
        rows: Rows::new(epochs.clone()),
        ended_rows: Rows::new(epochs.clone()),
        data: deps.data.clone(),
        shutdown: deps.shutdown.clone(),
    }
}

fn follow_files(
    config: &CollectorConfig,
    deps: &Deps<'_>,
    (shipper, quotas): (&Shipper, &Quotas),
    metrics: &CollectorMetrics,
    (containers, recount, epochs): (Containers, Recount, Arc<Epochs>),
) -> impl Future<Output = Result<(), CollectorError>> + Send + use<> {
    let (files, root, node) = (config.files.clone(), deps.inventory.root.clone(), deps.node.clone());
    let tail_deps = tail::Deps {
        shipper: shipper.clone(),
        tenant: config.tenant.clone(),
        quotas: quotas.clone(),
        node: deps.node.clone(),
        metrics: metrics.clone(),
        clock: deps.clock.clone(),
        data: deps.data.clone(),
        epochs,
        recount: config.files.containers.then_some(recount),
        identify_patience: IDENTIFY_PATIENCE,
        shutdown: deps.shutdown.clone(),
    };
    let mut roots: Vec<Root> = files.paths.iter().filter_map(|path| tail::root_of(path, &node)).collect();
    if files.containers {
        roots.extend(container_roots(&deps.inventory, &node, &containers));
    }
    let mut configured: Vec<Configured> = files.paths.iter().map(|path| Configured::new(path.clone(), node.clone())).collect();
    let of_containers = files.containers;
    let counts = metrics.clone();
    let mut unseen = Unseen::default();
    let discover: Discover = Box::new(move |is_seen| {
        let mut specs: Vec<LogSpec> = Vec::new();
        if of_containers {
            let seen = containers.read().clone();
            let found = weir_runtime::logs::find(&root, &node, &seen);
            if !found.unreadable.is_empty() {
                counts.event("files", "directory_unreadable", found.unreadable.len() as u64);
            }
            let found: Vec<LogSpec> = found.files.into_iter().map(|file| tail::of_container(file, &root)).collect();
            let paths: HashSet<&Path> = found.iter().map(|spec| spec.current.as_path()).collect();
            unseen.update(&root, &seen, &|path| paths.contains(path) || is_seen(path), &counts);
            specs.extend(found);
        }
        specs.extend(configured.iter_mut().flat_map(Configured::find));
        specs
    });
    tail::run(files, tail_deps, discover, roots)
}

/// Where engines put their containers' logs.
fn container_roots(inventory: &InventoryConfig, node: &str, containers: &Containers) -> Vec<Root> {
    let of_engine = |place: LogPlace| {
        let (root, node, containers) = (inventory.root.clone(), node.to_owned(), containers.clone());
        let (directory, depth) = (place.directory.clone(), place.depth);
        let spec_of: SpecOf = Box::new(move |path| {
            let seen = containers.read().clone();
            weir_runtime::logs::of_path(&root, &node, &place, path, &seen).map(|file| tail::of_container(file, &root))
        });
        Root { directory, depth, is_containers: true, spec_of }
    };
    weir_runtime::logs::places(inventory).into_iter().map(of_engine).collect()
}
