//! `weir query`: all APIs, the page and the rules, over every owner's head and all blocks. Keeps nothing.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_access::Routes;
use weir_aggregator::Clock;
use weir_api::Api;
use weir_blocks::blob::BlobCache;
use weir_fanout::{FanOut, FanOutDeps, FanOutMetrics};
use weir_logs::LogsEngine;
use weir_metrics::{MetricsCounters, MetricsEngine};
use weir_model::limits::Limits;
use weir_model::outage::Outages;
use weir_model::scope::Scope;
use weir_model::status::PathStatus;
use weir_traces::{TracesCounters, TracesEngine};

use crate::args::QueryNodeArguments;
use crate::audit::Auditing;
use crate::config::Config;
use crate::front::{Servers, whoami};
use crate::limits::LimitsWatch;
use crate::rules::{self, Sink};
use crate::service::bus_health::{self, BusHealth};
use crate::service::health::{self, Readiness};
use crate::service::memory::{self, Parts};
use crate::service::storing::Storing;
use crate::service::{build, lifecycle, listen, startup_gate};
use crate::usage::{self, Reporting};
use crate::{Failure, telemetry};

/// Runs until SIGTERM or SIGINT, then finishes the requests that are open.
pub(crate) async fn run(arguments: QueryNodeArguments) -> Result<(), Failure> {
    let mut config = Config::of_query(&arguments)?;
    let rules = Arc::new(rules::load(&config.rules, &config.collector.tenant)?);
    let main = listen::bind_main(&mut config).await?;
    let mut registry = Registry::default();
    let limits = LimitsWatch::start(&config.limits, &mut registry)?;
    let front = listen::front(&config, &mut registry)?;
    let parts = Parts { query: true, ..Parts::default() };
    memory::declare(&config, parts, &mut registry);
    let (shutdown, shipping, outages) = (CancellationToken::new(), CancellationToken::new(), Outages::default());
    let clock: Clock = Arc::new(lifecycle::now);

    // The bus is where samples of rules and weir's own spans go.
    let bus = build::open_bus(&config, &mut registry)?;
    let places = startup_gate::until(&front, &[&main], async |waiting| bus_health::places(&*bus, waiting).await).await?;
    let Some(places) = places else { return Ok(()) };
    let partitions = places.len();
    let bus_health = BusHealth::watch(Arc::clone(&bus), places.clone(), shutdown.clone());
    let (shipper, lanes) = build::start_shipper(&config, bus, &outages, &mut registry, &shipping).await?;
    let storing = Storing::new(&config, parts, outages, Some(shipper.watch()), &mut registry);
    let fanout = start_fanout(&config, &clock, &mut registry, (&shutdown, limits.limits())).await?;

    let tenant = config.collector.tenant.clone();
    let (spans, requests) = telemetry::start(shipper.clone(), tenant.clone(), build::node_name(&config));
    let auditing = Auditing::start(&front, Some(shipper.clone()), build::node_name(&config));
    let api = Api::new(fanout.logs(), fanout.metrics(), fanout.traces(), config.query.clone(), rules);
    let used = shipper.usage().clone();
    usage::register(&used, &mut registry);
    let api = api.with_counters(build::http_metrics(&mut registry)).with_tenants(limits.limits(), used);
    let api = api.with_usage_of(Scope::of(&tenant), fanout.stored()).with_status(fanout.status());
    let api = api.with_deletions(fanout.deletions(places.clone())).with_external_labels(build::external_labels(&config));
    let told = storing.clone();
    let api = Arc::new(api.with_outages(Arc::new(move || told.status())));
    let reporting = Reporting::start(&config, shipper.clone(), &clock, "weir-query");
    let sink = Sink::new(shipper);
    let mut evaluating = tokio::spawn(build::evaluate(&config, &api, sink, &clock, &mut registry, &shutdown));
    let admin = fanout.admin_router(places);
    let readiness = Answering { bus_health, storing, status: fanout.status(), fanout, partitions };
    let reads = weir_api::router(api).map(|router| requests.around(config.telemetry.spans, router));
    let reads = reads.merge(front.sign_in_routes());
    let routes = routes(reads, admin, health::router(registry, limits.told_by(readiness)));

    tracing::info!(listen = %config.listen, "the query node is up");
    let mut servers = Servers::new();
    front.serve(main, routes, &shutdown, &mut servers);
    let failure = tokio::select! {
        () = lifecycle::asked_to_end() => None,
        failure = lifecycle::server_ended(&mut servers) => Some(failure),
        failure = lifecycle::part_ended("rules", &mut evaluating) => Some(failure),
    };
    shutdown.cancel();
    lifecycle::leave("rules", &mut evaluating).await;
    lifecycle::drain_requests(&mut servers).await;
    lifecycle::flush_spans(spans).await;
    auditing.end().await;
    reporting.end().await;
    build::drain_shipper(lanes, &shipping).await;
    tracing::info!("the query node is down");
    failure.map_or(Ok(()), Err)
}

/// All that a query node answers. `reads`: the APIs; `admin`: what it passes on to owners.
pub(crate) fn routes(reads: Routes, admin: Routes, health: Routes) -> Routes {
    reads.merge(admin).merge(health).merge(whoami::routes()).merge(weir_dashboards::router())
}

pub(crate) async fn start_fanout(
    config: &Config,
    clock: &Clock,
    registry: &mut Registry,
    (shutdown, limits): (&CancellationToken, Limits),
) -> Result<FanOut, Failure> {
    let (metrics, samples, spans) = (FanOutMetrics::default(), MetricsCounters::default(), TracesCounters::default());
    metrics.register(registry);
    samples.register(registry);
    spans.register(registry);
    let logs = LogsEngine::new(config.store.logs_options());
    let deps = FanOutDeps {
        // Not probed: nothing is written here, so a key that may only read will do.
        object_store: build::open_store(config).await?,
        cache: BlobCache::new(config.store.cache_max.to_u64()),
        engines: (logs, MetricsEngine::new(samples), TracesEngine::new(Arc::clone(clock), spans)),
        clock: Arc::clone(clock),
        metrics,
        shutdown: shutdown.clone(),
        limits,
    };
    FanOut::start(config.fanout.clone(), deps).map_err(|error| Failure::input(format!("fanout.{error}")))
}

/// Ready means: the manifests of all partitions were read, every owner answers, and so does the bus, which takes what rules make.
struct Answering {
    bus_health: BusHealth,
    storing: Storing,
    fanout: FanOut,
    status: Arc<dyn PathStatus>,
    partitions: usize,
}

impl Readiness for Answering {
    fn ready(&self) -> Result<(), String> {
        self.fanout.ready()?;
        let known = self.status.status();
        if let Some(silent) = known.iter().find(|partition| !partition.answers) {
            let count = known.iter().filter(|partition| !partition.answers).count();
            return Err(format!(
                "{count} of {} partitions have an owner that does not answer, the first {} partition {} at {}",
                self.partitions, silent.progress.topic, silent.progress.partition, silent.owner
            ));
        }
        if known.len() < self.partitions {
            return Err(format!("{} of {} partitions have a manifest", known.len(), self.partitions));
        }
        self.bus_health.check()?;
        self.storing.check()
    }
}
