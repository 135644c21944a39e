//! `weir aggregator`: owns the partitions that the group gives it, seals them into blocks, and answers from their heads.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_access::Routes;
use weir_aggregator::{Aggregator, Clock};
use weir_model::outage::Outages;

use crate::Failure;
use crate::args::AggregatorArguments;
use crate::audit::Auditing;
use crate::config::Config;
use crate::front::{Servers, whoami};
use crate::limits::LimitsWatch;
use crate::service::bus_health::BusHealth;
use crate::service::health::{self, CaughtUp, Readiness, Share};
use crate::service::memory::{self, Parts};
use crate::service::startup_gate::{self, Storage};
use crate::service::storing::Storing;
use crate::service::{build, lifecycle, listen};
use crate::up::run as own;

/// Runs until SIGTERM or SIGINT, then seals and leaves the group.
pub(crate) async fn run(arguments: AggregatorArguments) -> Result<(), Failure> {
    let mut config = Config::of_aggregator(&arguments)?;
    let main = listen::bind_main(&mut config).await?;
    let mut registry = Registry::default();
    let limits = LimitsWatch::start(&config.limits, &mut registry)?;
    let front = listen::front(&config, &mut registry)?;
    let parts = Parts { aggregator: true, ..Parts::default() };
    memory::declare(&config, parts, &mut registry);
    let (shutdown, consuming, outages) = (CancellationToken::new(), CancellationToken::new(), Outages::default());
    let clock: Clock = Arc::new(lifecycle::now);

    let storage = startup_gate::storage(&config, &front, &[&main], &mut registry).await?;
    let Some(Storage { bus, object_store, places }) = storage else { return Ok(()) };
    let bus_health = BusHealth::watch(Arc::clone(&bus), places, shutdown.clone());
    let member = config.advertise.clone();
    let aggregator =
        build::build_aggregator(&config, (bus, object_store), member, &clock, (&outages, limits.limits()), &mut registry);
    let auditing = Auditing::start(&front, None, build::node_name(&config));
    let storing = Storing::new(&config, parts, outages, None, &mut registry);
    let mut owning = own(&aggregator, &consuming);
    let readiness =
        Owning { bus_health, storing, caught_up: CaughtUp { aggregator: Arc::clone(&aggregator), share: Share::Assigned } };
    let routes = routes(&aggregator, health::router(registry, limits.told_by(readiness)));

    tracing::info!(listen = %config.listen, advertise = config.advertise, "the aggregator is up");
    let mut servers = Servers::new();
    front.serve(main, routes, &shutdown, &mut servers);
    let failure = tokio::select! {
        () = lifecycle::asked_to_end() => None,
        failure = lifecycle::server_ended(&mut servers) => Some(failure),
        failure = lifecycle::part_ended("the aggregator", &mut owning) => Some(failure),
    };
    // Sealed while the heads can still be asked for.
    if failure.is_none() {
        lifecycle::seal_at_end(&aggregator).await;
    }
    consuming.cancel();
    lifecycle::leave("the aggregator", &mut owning).await;
    shutdown.cancel();
    lifecycle::drain_requests(&mut servers).await;
    auditing.end().await;
    tracing::info!("the aggregator is down");
    failure.map_or(Ok(()), Err)
}

/// All that an aggregator answers.
pub(crate) fn routes(aggregator: &Arc<Aggregator>, health: Routes) -> Routes {
    health
        .merge(weir_aggregator::admin::router(Arc::clone(aggregator)))
        .merge(weir_aggregator::heads::router(Arc::clone(aggregator)))
        .merge(whoami::routes())
}

/// Ready means: the bus answers, blocks can be stored, and what the group has assigned, be it nothing, is open and caught up.
struct Owning {
    bus_health: BusHealth,
    storing: Storing,
    caught_up: CaughtUp,
}

impl Readiness for Owning {
    fn ready(&self) -> Result<(), String> {
        self.bus_health.check()?;
        self.storing.check()?;
        self.caught_up.ready()
    }

    fn quarantined(&self) -> Vec<String> {
        self.caught_up.quarantined()
    }
}
