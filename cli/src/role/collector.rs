//! `weir collector`: a node's containers, logs, samples, scrapes and pushes, onto the bus.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_access::Routes;
use weir_aggregator::Clock;
use weir_collector::Collector;
use weir_model::outage::Outages;

use crate::Failure;
use crate::args::NodeArguments;
use crate::audit::Auditing;
use crate::config::Config;
use crate::front::{Servers, whoami};
use crate::limits::LimitsWatch;
use crate::service::bus_health::{self, BusHealth};
use crate::service::health::{self, Readiness};
use crate::service::memory::{self, Parts};
use crate::service::storing::Storing;
use crate::service::{build, lifecycle, listen, startup_gate};
use crate::usage::{self, Reporting};

/// Runs until SIGTERM or SIGINT, then ships what was taken in.
pub(crate) async fn run(arguments: NodeArguments) -> Result<(), Failure> {
    let mut config = Config::of_collector(&arguments)?;
    let (main, otlp) = (listen::bind_main(&mut config).await?, listen::Otlp::bind(&config).await?);
    let mut registry = Registry::default();
    let limits = LimitsWatch::start(&config.limits, &mut registry)?;
    let front = listen::front(&config, &mut registry)?;
    let parts = Parts { collector: true, ..Parts::default() };
    memory::declare(&config, parts, &mut registry);
    let (shutdown, outages) = (CancellationToken::new(), Outages::default());
    let clock: Clock = Arc::new(lifecycle::now);

    let bus = build::open_bus(&config, &mut registry)?;
    let [grpc, http] = otlp.listeners();
    let places =
        startup_gate::until(&front, &[&main, grpc, http], async |waiting| bus_health::places(&*bus, waiting).await).await?;
    let Some(places) = places else { return Ok(()) };
    let bus_health = BusHealth::watch(Arc::clone(&bus), places, shutdown.clone());
    let mut collector =
        build::start_collector(&config, bus, &clock, (&outages, limits.limits()), &mut registry, &shutdown).await?;
    let auditing = Auditing::start(&front, Some(collector.shipper()), build::node_name(&config));
    usage::register(collector.shipper().usage(), &mut registry);
    let reporting = Reporting::start(&config, collector.shipper(), &clock, "weir-collector");
    let storing = Storing::new(&config, parts, outages, Some(collector.shipper().watch()), &mut registry);
    let readiness = Shipping { bus_health, storing };
    let routes = routes(&collector, health::router(registry, limits.told_by(readiness)));

    tracing::info!(listen = %config.listen, otlp_grpc = %config.otlp_grpc, otlp_http = %config.otlp_http,
        data = %config.data.display(), "the collector is up");
    let mut servers = Servers::new();
    front.serve(main, routes, &shutdown, &mut servers);
    otlp.serve(&front, &collector, &shutdown, &mut servers);
    let failure = tokio::select! {
        () = lifecycle::asked_to_end() => None,
        failure = lifecycle::server_ended(&mut servers) => Some(failure),
        error = collector.failed() => Some(Failure::failed(error)),
    };
    shutdown.cancel();
    lifecycle::drain_requests(&mut servers).await;
    auditing.end().await;
    reporting.end().await;
    collector.join().await;
    tracing::info!("the collector is down");
    failure.map_or(Ok(()), Err)
}

/// All that a collector answers, but for OTLP, which has listeners of its own.
pub(crate) fn routes(collector: &Collector, health: Routes) -> Routes {
    let targets = weir_api::prometheus::targets::router(collector.targets());
    collector.push_router().merge(health).merge(whoami::routes()).merge(targets)
}

/// Ready means: every partition of the bus answers, and what comes in can be stored.
/// Sources need not be asked: one that ends by itself ends the process.
struct Shipping {
    bus_health: BusHealth,
    storing: Storing,
}

impl Readiness for Shipping {
    fn ready(&self) -> Result<(), String> {
        self.bus_health.check()?;
        self.storing.check()
    }
}
