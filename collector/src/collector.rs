//! The collector as a whole: starts the shipper and the sources, hands out the push routes, and drains at the end.
//! Called by the binary.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_bus::Log;

use crate::config::CollectorConfig;
use crate::error::CollectorError;
use crate::metrics::CollectorMetrics;
use crate::push::{Clock, PushContext};
use crate::ship::{Lanes, Shipper};
use crate::{loki_push, otlp};

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
    /// Sources stop when it is cancelled.
    pub shutdown: CancellationToken,
}

/// At shutdown, records under way may take this long to be acknowledged; what is not is read or sent again.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// A running collector.
pub struct Collector {
    push: PushContext,
    shipper: Shipper,
    lanes: Lanes,
    stop_lanes: CancellationToken,
    shutdown: CancellationToken,
}

impl Collector {
    /// Checks the configuration, asks the bus for its partitions and starts all sources.
    pub async fn start(config: CollectorConfig, deps: Deps<'_>) -> Result<Self, CollectorError> {
        config.check()?;
        let metrics = CollectorMetrics::default();
        metrics.register(deps.registry);
        let stop_lanes = CancellationToken::new();
        let (shipper, lanes) = Shipper::start(deps.bus, &config.ship, metrics.ship.clone(), stop_lanes.clone()).await?;
        let push = PushContext::new(shipper.clone(), &config.tenant, config.push.clone(), metrics.clone(), deps.clock.clone());
        tracing::info!(node = deps.node, tenant = config.tenant, "collector started");
        Ok(Self { push, shipper, lanes, stop_lanes, shutdown: deps.shutdown })
    }

    /// The Loki push, for the main listener.
    pub fn push_router(&self) -> Router {
        loki_push::router(self.push.clone())
    }

    /// `/v1/{logs,metrics,traces}`, for a listener of the caller's own.
    pub fn otlp_http_router(&self) -> Router {
        otlp::http::router(self.push.clone())
    }

    /// Serves OTLP over HTTP until shutdown.
    pub fn serve_otlp_http(&self, listener: TcpListener) -> impl Future<Output = Result<(), CollectorError>> + Send + use<> {
        otlp::http::serve(listener, self.push.clone(), self.shutdown.clone())
    }

    /// Serves OTLP over gRPC until shutdown.
    pub fn serve_otlp_grpc(&self, listener: TcpListener) -> impl Future<Output = Result<(), CollectorError>> + Send + use<> {
        otlp::grpc::serve(listener, self.push.clone(), self.shutdown.clone())
    }

    /// After `shutdown` was cancelled and the listeners have ended: waits for the sources and for what is on its way to
    /// the bus, for a bounded time. What was not acknowledged by then is read again at the next start.
    pub async fn join(self) {
        let Self { push, shipper, lanes, stop_lanes, .. } = self;
        drop((push, shipper));
        let drained = tokio::time::timeout(DRAIN_PATIENCE, lanes.join()).await;
        if drained.is_err() {
            tracing::warn!("the bus did not acknowledge everything before the end");
            stop_lanes.cancel();
        }
    }
}
