//! Puts the fan-out together: what is known of three engines' partitions, the way to their owners, and the readers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_access::Routes;
use weir_blocks::blob::BlobCache;
use weir_blocks::engine::{Engine, add_shares};
use weir_blocks::hidden::Horizon;
use weir_blocks::periods::TenantPeriods;
use weir_blocks::view::PartitionView;
use weir_heads::HeadProtocol;
use weir_logs::LogsEngine;
use weir_metrics::MetricsEngine;
use weir_model::deletion::Deletions;
use weir_model::id::TopicPartition;
use weir_model::limits::Limits;
use weir_model::select::{Budget, LogReader, MetricReader, ReadError, TraceReader};
use weir_model::status::PathStatus;
use weir_model::time::UnixNanos;
use weir_model::usage::{LogsDisk, Stored, StoredUsage};
use weir_traces::TracesEngine;

use super::admin;
use super::breaker::CircuitBreaker;
use super::collect::{CollectedViews, HeadClient, ViewRequest};
use super::config::FanOutConfig;
use super::deletions::DeletionClient;
use super::logs::FanOutLogs;
use super::metrics::FanOutMetrics;
use super::owners::Owners;
use super::registry::PartitionRegistry;
use super::samples::FanOutSamples;
use super::status::OwnersStatus;
use super::traces::FanOutTraces;

/// While owners are asked, this is how often a query's budget is.
const BUDGET_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Reads of blocks that are slow while the store answers ask for no more probes than one in this time.
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
    /// Limits by tenant, of which retention is asked here.
    pub limits: Limits,
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
    pub limits: Limits,
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
        let FanOutDeps { object_store, cache, engines, clock, metrics, shutdown, limits } = deps;
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
            limits,
        });
        let status = Arc::new(OwnersStatus::new(Arc::clone(&shared)));
        shared.runtime.spawn(follow(Arc::clone(&shared), Arc::clone(&status)));
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

    /// What the blocks of all partitions have of each tenant, as the manifests said at the last look.
    pub fn stored(&self) -> Arc<dyn StoredUsage> {
        Arc::clone(&self.shared) as Arc<dyn StoredUsage>
    }

    /// Where each partition stands, as its owner said at the last look.
    pub fn status(&self) -> Arc<dyn PathStatus> {
        Arc::clone(&self.status) as Arc<dyn PathStatus>
    }

    /// `POST /api/weir/v1/admin/{seal,compact,expire}`, passed on to the owners of all partitions. `places`: all that the bus has.
    pub fn admin_router(&self, places: Vec<TopicPartition>) -> Routes {
        admin::router(Arc::clone(&self.shared), places)
    }

    /// The way of requests to delete to the owners of all partitions. `places` as above.
    pub fn deletions(&self, places: Vec<TopicPartition>) -> Arc<dyn Deletions> {
        Arc::new(DeletionClient::new(Arc::clone(&self.shared), places))
    }

    /// Whether queries can be answered: the object store could be read at the last look. Errors with the reason.
    pub fn ready(&self) -> Result<(), String> {
        self.status.ready()
    }
}

impl StoredUsage for Shared {
    fn stored(&self, budget: &dyn Budget) -> Result<Stored, ReadError> {
        let mut stored = Stored::default();
        self.add_stored(&self.logs, &mut stored, budget)?;
        self.add_stored(&self.samples, &mut stored, budget)?;
        self.add_stored(&self.traces, &mut stored, budget)?;
        Ok(stored)
    }

    fn logs_disk(&self, budget: &dyn Budget) -> Result<LogsDisk, ReadError> {
        let (blocks, missing) = self.wait(self.logs.newest_blocks(), budget)?;
        let mut disk = LogsDisk { missing, ..LogsDisk::default() };
        for block in blocks {
            block.add_disk(&mut disk, budget)?;
        }
        Ok(disk)
    }
}

impl Shared {
    /// Blocks read by themselves when they are asked, so they are not asked within the runtime.
    fn add_stored<E: Engine>(
        &self,
        registry: &PartitionRegistry<E>,
        stored: &mut Stored,
        budget: &dyn Budget,
    ) -> Result<(), ReadError> {
        let (blocks, missing) = self.wait(registry.newest_blocks(), budget)?;
        stored.missing.extend(missing);
        add_shares::<E>(&blocks, stored, budget)
    }

    /// Waits from a reader's thread for as long as the budget allows.
    fn wait<T>(&self, found: impl Future<Output = T>, budget: &dyn Budget) -> Result<T, ReadError> {
        budget.check()?;
        self.runtime.block_on(async {
            let mut found = std::pin::pin!(found);
            let mut look = tokio::time::interval(BUDGET_POLL_INTERVAL);
            loop {
                tokio::select! {
                    found = &mut found => return Ok(found),
                    () = self.shutdown.cancelled() => return Err(ReadError::Cancelled("weir is stopping")),
                    _ = look.tick() => budget.check()?,
                }
            }
        })
    }
}

/// Follows manifests and owners until told to stop. Owners may be slow and the store silent, so that none of it waits for another.
async fn follow(shared: Arc<Shared>, status: Arc<OwnersStatus>) {
    let refreshed = Notify::new();
    tokio::select! {
        () = shared.shutdown.cancelled() => {}
        never = refresh(&shared, &status, &refreshed) => match never {},
        never = ask_owners(&status, &refreshed) => match never {},
        never = probe(&shared) => match never {},
    }
}

/// Refreshes manifests between queries.
async fn refresh(shared: &Shared, status: &OwnersStatus, refreshed: &Notify) -> Infallible {
    let mut tick = tokio::time::interval(shared.heads.config.refresh);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (logs, samples, traces) = tokio::join!(shared.logs.refresh(), shared.samples.refresh(), shared.traces.refresh());
        let outcome = logs.and(samples).and(traces);
        if outcome.is_ok() {
            shared.heads.store.answered();
        }
        status.note_look(outcome.map_err(|error| error.to_string()));
        refreshed.notify_one();
    }
}

/// Asks the owners that the last refresh has found; refreshes that end meanwhile are one.
async fn ask_owners(status: &OwnersStatus, refreshed: &Notify) -> Infallible {
    loop {
        refreshed.notified().await;
        status.ask().await;
    }
}

/// Asks the object store for something small while a read of it waits.
async fn probe(shared: &Shared) -> Infallible {
    loop {
        shared.heads.store.probe_wanted().await;
        let begun = Instant::now();
        // Whether it is answered is all that counts, and `watch` has told.
        let _answer = shared.heads.store.watch(shared.logs.discover()).await;
        tokio::time::sleep_until(begun + PROBE_INTERVAL_MIN).await;
    }
}

impl Shared {
    /// Gathers views from a reader's thread, which waits; stops waiting when the budget says so.
    pub(super) fn collect_views<'a, E: HeadProtocol>(
        &self,
        known: &PartitionRegistry<E>,
        request: &ViewRequest<'_>,
        budget: &'a dyn Budget,
    ) -> Result<CollectedViews<'a, E>, ReadError> {
        let mut collected = self.wait(self.heads.collect_views(known, request, budget), budget)??;
        collected.horizon = self.horizon(&collected.views);
        Ok(collected)
    }

    /// By the newest record in blocks: a clock that jumps hides nothing.
    fn horizon<E: HeadProtocol>(&self, views: &[PartitionView<E>]) -> Option<Horizon> {
        let newest = views.iter().flat_map(|view| &view.blocks).map(|block| block.summary.last).max()?;
        TenantPeriods::overrides(self.limits.clone(), E::KIND).horizon((self.clock)(), newest)
    }

    /// Reads, and reads once more when a block was deleted meanwhile: then the newest manifest no longer names it.
    pub(super) fn retrying<E: HeadProtocol, T>(
        &self,
        known: &PartitionRegistry<E>,
        mut read: impl FnMut() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let noted = known.gone();
        let first = read();
        if !known.forget_gone(noted) {
            return first;
        }
        // What was read goes before it is read again: both at once would be twice what a query may hold.
        drop(first);
        self.heads.metrics.blocks_gone.inc();
        read()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    use weir_blocks::manifest::{Manifest, ManifestStore, random_nonces};
    use weir_metrics::MetricsCounters;
    use weir_model::select::Cancellation;
    use weir_model::wire::Kind;
    use weir_traces::TracesCounters;

    use super::*;

    /// Of everything in the configuration, so that only the probe can be sooner.
    const LONG: Duration = Duration::from_secs(600);
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Says to stop once its client has gone.
    struct Gone(Cancellation);

    impl Budget for Gone {
        fn check(&self) -> Result<(), ReadError> {
            if self.0.is_cancelled() { Err(ReadError::Cancelled("gone")) } else { Ok(()) }
        }

        fn spend(&self, _count: u64) -> Result<(), ReadError> {
            self.check()
        }
    }

    #[tokio::test]
    async fn a_silent_store_is_probed_while_an_owner_is_slow() {
        // Takes connections and never answers.
        let owner = TcpListener::bind("127.0.0.1:0").expect("binds");
        let owner = (format!("http://{}", owner.local_addr().expect("an address")), owner);
        let throttled = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
        let object_store = Arc::clone(&throttled) as Arc<dyn ObjectStore>;
        let nonces = random_nonces();
        let manifests = ManifestStore { object_store: Arc::clone(&object_store), kind: Kind::Logs, partition: 0, nonces };
        manifests.publish(1, &Manifest { epoch: 1, owner: owner.0.clone(), ..Manifest::default() }).await.expect("publishes");
        let clock = Arc::new(|| 0);
        let spans = TracesEngine::new(Arc::clone(&clock) as _, TracesCounters::default());
        let deps = FanOutDeps {
            object_store,
            cache: BlobCache::new(1 << 20),
            engines: (LogsEngine::default(), MetricsEngine::new(MetricsCounters::default()), spans),
            clock,
            metrics: FanOutMetrics::default(),
            shutdown: CancellationToken::new(),
            limits: Limits::default(),
        };
        let config = FanOutConfig { owner_timeout: LONG, store_timeout: LONG, refresh: LONG, ..FanOutConfig::default() };
        let fan_out = FanOut::start(config, deps).expect("starts");
        owner.1.set_nonblocking(true).expect("a listener");
        let owner = tokio::net::TcpListener::from_std(owner.1).expect("a listener");
        let _asked = tokio::time::timeout(PATIENCE, owner.accept()).await.expect("the owner is asked").expect("accepts");
        throttled.config_mut(|config| {
            (config.wait_get_per_call, config.wait_list_per_call) = (LONG, LONG);
            config.wait_list_with_delimiter_per_call = LONG;
        });
        let read = fan_out.shared.heads.store.wait(std::future::pending::<Result<(), weir_blocks::StoreError>>());
        let waited = tokio::time::timeout(PATIENCE, read).await.expect("the silence is found out");
        assert_eq!(waited.unwrap_err().to_string(), "the object store does not answer");
        // What is stored is looked up for as long as who asks is there.
        let (stored, (cancelled, gone)) = (fan_out.stored(), Cancellation::new());
        drop(gone);
        let looked_up = tokio::task::spawn_blocking(move || stored.stored(&Gone(cancelled)).map(|_| ()));
        let error = looked_up.await.expect("no panic").expect_err("nobody asks any more");
        assert!(matches!(error, ReadError::Cancelled("gone")), "{error}");
    }
}
