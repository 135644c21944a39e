//! `weir up`: all roles in one process, by default around the embedded log and a local directory.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_access::Routes;
use weir_aggregator::{Aggregator, Clock};
use weir_api::Api;
use weir_blocks::engine::{Engine, add_shares};
use weir_blocks::view::Views;
use weir_collector::Collector;
use weir_logs::LogsReader;
use weir_metrics::MetricsReader;
use weir_model::limits::Limits;
use weir_model::outage::Outages;
use weir_model::scope::Scope;
use weir_model::select::{Budget, ReadError};
use weir_model::status::{PartitionStatus, PathStatus};
use weir_model::usage::{LogsDisk, Stored, StoredUsage, Usage};
use weir_rules::RuleSet;
use weir_traces::TracesReader;

use crate::args::UpArguments;
use crate::audit::Auditing;
use crate::config::Config;
use crate::found::Found;
use crate::front::{Servers, whoami};
use crate::limits::LimitsWatch;
use crate::plan::Plan;
use crate::rules::Sink;
use crate::service::health::{self, CaughtUp, Readiness, Share};
use crate::service::memory::{self, Parts};
use crate::service::startup_gate::{self, Storage};
use crate::service::storing::Storing;
use crate::service::{build, lifecycle, listen};
use crate::usage::{self, Reporting};
use crate::{Failure, telemetry};

/// Runs until SIGTERM or SIGINT, then drains.
pub(crate) async fn up(arguments: UpArguments) -> Result<(), Failure> {
    let Plan { mut config, rules, scrape } = Plan::of(Config::of_up(&arguments)?)?;
    let (main, otlp) = (listen::bind_main(&mut config).await?, listen::Otlp::bind(&config).await?);
    let mut registry = Registry::default();
    let limits = LimitsWatch::start(&config.limits, &mut registry)?;
    let front = listen::front(&config, &mut registry)?;
    let parts = Parts { collector: true, aggregator: true, query: true };
    memory::declare(&config, parts, &mut registry);
    let (shutdown, consuming, outages) = (CancellationToken::new(), CancellationToken::new(), Outages::default());
    let clock: Clock = Arc::new(lifecycle::now);

    let [grpc, http] = otlp.listeners();
    let storage = startup_gate::storage(&config, &front, &[&main, grpc, http], &mut registry).await?;
    let Some(Storage { bus, object_store, places }) = storage else { return Ok(()) };
    let member = config.own_url();
    let aggregator = build::build_aggregator(
        &config,
        (Arc::clone(&bus), object_store),
        member,
        &clock,
        (&outages, limits.limits()),
        &mut registry,
    );
    let mut owning = run(&aggregator, &consuming);
    let mut collector =
        build::start_collector(&config, bus, &clock, (&outages, limits.limits()), &mut registry, &shutdown).await?;

    let tenant = config.collector.tenant.clone();
    let (spans, requests) = telemetry::start(collector.shipper(), tenant, build::node_name(&config));
    let auditing = Auditing::start(&front, Some(collector.shipper()), build::node_name(&config));
    let found = Found::of(&config, rules.summary(), scrape.as_ref());
    let storing = Storing::new(&config, parts, outages, Some(collector.shipper().watch()), &mut registry);
    let of_tenants = (limits.limits(), collector.shipper().usage().clone());
    usage::register(&of_tenants.1, &mut registry);
    let api = build_api(&config, &aggregator, &clock, (rules, of_tenants), (&storing, &collector), &mut registry);
    let sink = Sink::new(collector.shipper());
    let reporting = Reporting::start(&config, collector.shipper(), &clock, "weir");
    let mut evaluating = tokio::spawn(build::evaluate(&config, &api, sink, &clock, &mut registry, &shutdown));
    let readiness =
        Owning { storing, caught_up: CaughtUp { aggregator: Arc::clone(&aggregator), share: Share::All(places.len()) } };
    let reads = weir_api::router(api).map(|router| requests.around(config.telemetry.spans, router));
    let reads = reads.merge(front.sign_in_routes());
    let routes = routes(reads, (&collector, &aggregator), health::router(registry, limits.told_by(readiness)));

    tracing::info!(listen = %config.listen, otlp_grpc = %config.otlp_grpc, otlp_http = %config.otlp_http,
        data = %config.data.display(), "weir is up");
    let mut servers = Servers::new();
    front.serve(main, routes, &shutdown, &mut servers);
    otlp.serve(&front, &collector, &shutdown, &mut servers);
    tokio::spawn(found.say());
    let failure = tokio::select! {
        () = lifecycle::asked_to_end() => None,
        failure = lifecycle::server_ended(&mut servers) => Some(failure),
        failure = lifecycle::part_ended("the aggregator", &mut owning) => Some(failure),
        failure = lifecycle::part_ended("rules", &mut evaluating) => Some(failure),
        error = collector.failed() => Some(Failure::failed(error)),
    };
    shutdown.cancel();
    lifecycle::leave("rules", &mut evaluating).await;
    lifecycle::drain_requests(&mut servers).await;
    lifecycle::flush_spans(spans).await;
    auditing.end().await;
    reporting.end().await;
    collector.join().await;
    if failure.is_none() {
        lifecycle::seal_at_end(&aggregator).await;
    }
    consuming.cancel();
    lifecycle::leave("the aggregator", &mut owning).await;
    tracing::info!("weir is down");
    failure.map_or(Ok(()), Err)
}

/// All that it answers, but for OTLP, which has listeners of its own. `reads`: the APIs.
pub(crate) fn routes(reads: Routes, (collector, aggregator): (&Collector, &Arc<Aggregator>), health: Routes) -> Routes {
    reads
        .merge(collector.push_router())
        .merge(health)
        .merge(weir_aggregator::admin::router(Arc::clone(aggregator)))
        .merge(whoami::routes())
        .merge(weir_dashboards::router())
}

/// Ready means: what comes in can be stored, and everything is open and caught up.
struct Owning {
    storing: Storing,
    caught_up: CaughtUp,
}

impl Readiness for Owning {
    fn ready(&self) -> Result<(), String> {
        self.storing.check()?;
        self.caught_up.ready()
    }

    fn quarantined(&self) -> Vec<String> {
        self.caught_up.quarantined()
    }
}

/// Consumes until `consuming` is cancelled.
pub(crate) fn run(aggregator: &Arc<Aggregator>, consuming: &CancellationToken) -> lifecycle::Running {
    let (aggregator, consuming) = (Arc::clone(aggregator), consuming.clone());
    tokio::spawn(async move { aggregator.run(consuming).await.map_err(|error| error.to_string()) })
}

/// Answers from this process's own partitions.
pub(crate) fn build_api(
    config: &Config,
    aggregator: &Arc<Aggregator>,
    clock: &Clock,
    (rules, (limits, usage)): (Arc<RuleSet>, (Limits, Usage)),
    (storing, collector): (&Storing, &Collector),
    registry: &mut Registry,
) -> Arc<Api> {
    let logs = LogsReader { views: aggregator.logs.clone(), tails: aggregator.logs.clone() };
    let metrics = MetricsReader::new(aggregator.metrics.clone());
    let traces = TracesReader::new(aggregator.traces.clone(), Arc::clone(clock));
    let api = Api::new(Arc::new(logs), Arc::new(metrics), Arc::new(traces), config.query.clone(), rules);
    let status = AggregatorStatus(Arc::clone(aggregator), config.own_url());
    let storing = storing.clone();
    let api = api.with_counters(build::http_metrics(registry)).with_tenants(limits, usage).with_status(Arc::new(status));
    let api = api.with_usage_of(Scope::of(&config.collector.tenant), Arc::new(AggregatorStored(Arc::clone(aggregator))));
    let api = api.with_deletions(Arc::clone(aggregator) as _).with_targets(collector.targets());
    let receivers = collector.receivers();
    let api = api.with_remote_writes(Arc::new(move || receivers.status()));
    let api = api.with_external_labels(build::external_labels(config));
    Arc::new(api.with_outages(Arc::new(move || storing.status())))
}

/// What this process's own partitions have in blocks.
struct AggregatorStored(Arc<Aggregator>);

impl StoredUsage for AggregatorStored {
    fn stored(&self, budget: &dyn Budget) -> Result<Stored, ReadError> {
        fn add<E: Engine>(views: &impl Views<E>, stored: &mut Stored, budget: &dyn Budget) -> Result<(), ReadError> {
            for view in views.views() {
                add_shares::<E>(view.blocks.iter().map(|own| &own.block), stored, budget)?;
                stored.missing.extend(view.missing);
            }
            Ok(())
        }
        let mut stored = Stored::default();
        add(&*self.0.logs, &mut stored, budget)?;
        add(&*self.0.metrics, &mut stored, budget)?;
        add(&*self.0.traces, &mut stored, budget)?;
        Ok(stored)
    }

    fn logs_disk(&self, budget: &dyn Budget) -> Result<LogsDisk, ReadError> {
        let mut disk = LogsDisk::default();
        for view in self.0.logs.views() {
            budget.check()?;
            view.blocks.iter().try_for_each(|own| own.block.add_disk(&mut disk, budget))?;
            disk.missing.extend(view.missing);
        }
        Ok(disk)
    }
}

/// Where the path stands, for the query service, and where its owner is.
struct AggregatorStatus(Arc<Aggregator>, String);

impl PathStatus for AggregatorStatus {
    fn status(&self) -> Vec<PartitionStatus> {
        self.0.status().into_iter().map(|status| PartitionStatus::new(status, self.1.clone(), true)).collect()
    }
}
