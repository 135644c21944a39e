//! Puts the fan-out together: what is known of three engines' partitions, the way to their owners, and the readers.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;
use weir_access::Routes;
use weir_blocks::blob::BlobCache;
use weir_heads::HeadProtocol;
use weir_logs::LogsEngine;
use weir_metrics::MetricsEngine;
use weir_model::id::TopicPartition;
use weir_model::select::{Budget, LogReader, MetricReader, ReadError, TraceReader};
use weir_model::status::PathStatus;
use weir_model::time::UnixNanos;
use weir_traces::TracesEngine;

use super::admin;
use super::breaker::CircuitBreaker;
use super::collect::{CollectedViews, HeadClient, ViewRequest};
use super::config::FanOutConfig;
use super::logs::FanOutLogs;
use super::metrics::FanOutMetrics;
use super::owners::Owners;
use super::registry::PartitionRegistry;
use super::samples::FanOutSamples;
use super::status::OwnersStatus;
use super::traces::FanOutTraces;

/// While owners are asked, this is how often a query's budget is.
const BUDGET_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Reads of blocks that are slow while manifests are not ask for no more looks than this.
const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(250);

/// What the fan-out works with.
pub struct FanOutDeps {
    /// Where manifests and blocks are; the same as the aggregators'.
    pub object_store: Arc<dyn ObjectStore>,
    /// Ranges of blocks that were read.
    pub cache: BlobCache,
    /// The engines, as the aggregators have them.
    pub engines: (LogsEngine, MetricsEngine, TracesEngine),
    /// Wall clock.
    pub clock: Arc<dyn Fn() -> UnixNanos + Send + Sync>,
    /// Counters; the caller registers them.
    pub metrics: FanOutMetrics,
    /// Ends the looks between queries, and all tails.
    pub shutdown: CancellationToken,
}

/// What all readers share.
pub(super) struct Shared {
    pub logs: PartitionRegistry<LogsEngine>,
    pub samples: PartitionRegistry<MetricsEngine>,
    pub traces: PartitionRegistry<TracesEngine>,
    pub heads: HeadClient,
    pub clock: Arc<dyn Fn() -> UnixNanos + Send + Sync>,
    pub runtime: tokio::runtime::Handle,
    pub shutdown: CancellationToken,
}

/// A query node's way to all partitions.
pub struct FanOut {
    shared: Arc<Shared>,
    status: Arc<OwnersStatus>,
}

impl FanOut {
    /// Begins to look at manifests. Call within a tokio runtime; it returns at once, and a query that comes before the
    /// first look has ended looks by itself. Errors name the configuration key that cannot work.
    pub fn start(config: FanOutConfig, deps: FanOutDeps) -> Result<Self, String> {
        config.check()?;
        let runtime = tokio::runtime::Handle::current();
        let FanOutDeps { object_store, cache, engines, clock, metrics, shutdown } = deps;
        let owners = Owners::new(&config, metrics.clone())?;
        let breaker = Arc::new(CircuitBreaker::new(config.store_timeout));
        let shared = Arc::new(Shared {
            logs: PartitionRegistry::new(engines.0, Arc::clone(&object_store), cache.clone(), Arc::clone(&breaker)),
            samples: PartitionRegistry::new(engines.1, Arc::clone(&object_store), cache.clone(), Arc::clone(&breaker)),
            traces: PartitionRegistry::new(engines.2, object_store, cache, Arc::clone(&breaker)),
            heads: HeadClient { owners, store: breaker, config, metrics },
            clock,
            runtime,
            shutdown,
        });
        let status = Arc::new(OwnersStatus::new(Arc::clone(&shared)));
        shared.runtime.spawn(refresh(Arc::clone(&shared), Arc::clone(&status)));
        Ok(Self { shared, status })
    }

    /// Log lines of all partitions.
    pub fn logs(&self) -> Arc<dyn LogReader> {
        Arc::new(FanOutLogs::new(Arc::clone(&self.shared)))
    }

    /// Samples of all partitions.
    pub fn metrics(&self) -> Arc<dyn MetricReader> {
        Arc::new(FanOutSamples::new(Arc::clone(&self.shared)))
    }

    /// Spans of all partitions.
    pub fn traces(&self) -> Arc<dyn TraceReader> {
        Arc::new(FanOutTraces::new(Arc::clone(&self.shared)))
    }

    /// Where each partition stands, as its owner said at the last look.
    pub fn status(&self) -> Arc<dyn PathStatus> {
        Arc::clone(&self.status) as Arc<dyn PathStatus>
    }

    /// `POST /api/weir/v1/admin/{seal,compact,expire}`, passed on to the owners of all partitions. `places`: all that the bus has.
    pub fn admin_router(&self, places: Vec<TopicPartition>) -> Routes {
        admin::router(Arc::clone(&self.shared), places)
    }

    /// Whether queries can be answered: the object store could be read at the last look. Errors with the reason.
    pub fn ready(&self) -> Result<(), String> {
        self.status.ready()
    }
}

/// Looks at manifests and owners until told to stop.
async fn refresh(shared: Arc<Shared>, status: Arc<OwnersStatus>) {
    let mut look = tokio::time::interval(shared.heads.config.refresh);
    let mut begun = tokio::time::Instant::now();
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            _ = look.tick() => {}
            () = shared.heads.store.probe_wanted() => tokio::time::sleep_until(begun + PROBE_INTERVAL_MIN).await,
        }
        begun = tokio::time::Instant::now();
        let looked = async {
            let looks = tokio::join!(shared.logs.refresh(), shared.samples.refresh(), shared.traces.refresh());
            looks.0.and(looks.1).and(looks.2).map_err(|error| error.to_string())
        };
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            looked = looked => {
                if looked.is_ok() {
                    shared.heads.store.answered();
                }
                status.note_look(looked);
            }
        }
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = status.ask() => {}
        }
    }
}

impl Shared {
    /// Gathers views from a reader's thread, which waits; stops waiting when the budget says so.
    pub(super) fn collect_views<E: HeadProtocol>(
        &self,
        known: &PartitionRegistry<E>,
        request: &ViewRequest<'_>,
        budget: &dyn Budget,
    ) -> Result<CollectedViews<E>, ReadError> {
        self.runtime.block_on(async {
            let mut collecting = std::pin::pin!(self.heads.collect_views(known, request));
            let mut look = tokio::time::interval(BUDGET_POLL_INTERVAL);
            loop {
                tokio::select! {
                    collected = &mut collecting => return collected,
                    () = self.shutdown.cancelled() => return Err(ReadError::Cancelled("weir is stopping")),
                    _ = look.tick() => budget.check()?,
                }
            }
        })
    }

    /// Reads, and reads once more when a block was deleted meanwhile: then the newest manifest no longer names it.
    pub(super) fn retrying<E: HeadProtocol, T>(
        &self,
        known: &PartitionRegistry<E>,
        mut read: impl FnMut() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let first = read();
        if !known.forget_gone() {
            return first;
        }
        self.heads.metrics.blocks_gone.inc();
        read()
    }
}
