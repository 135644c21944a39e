//! Puts the parts together: three engines, their partitions, one group member.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use weir_blocks::engine::{Engine, Head};
use weir_blocks::periods::TenantPeriods;
use weir_heads::AdminResult;
use weir_logs::LogsEngine;
use weir_metrics::MetricsEngine;
use weir_model::status::OwnerStatus;
use weir_model::wire::Kind;
use weir_traces::TracesEngine;

use crate::AggregatorError;
use crate::budget::Budget;
use crate::config::AggregatorConfig;
use crate::dependencies::Dependencies;
use crate::group::Group;
use crate::heads::service::HeadService;
use crate::live::{LivePartition, Partitions};
use crate::machine::OwnerCommand;
use crate::metrics::PartitionLabels;
use crate::owners::{AllOwners, Owners, ToGroup};
use crate::pool::Pool;
use crate::registry::OwnerRegistry;
use crate::shell::{Deps, Shell};

/// The aggregator of this process.
pub struct Aggregator {
    /// For the logs reader.
    pub logs: Arc<Partitions<LogsEngine>>,
    /// For the metrics reader.
    pub metrics: Arc<Partitions<MetricsEngine>>,
    /// For the traces reader.
    pub traces: Arc<Partitions<TracesEngine>>,
    /// What answers query nodes in other processes.
    pub(crate) heads: HeadService,
    pub(crate) group: Group,
}

impl Aggregator {
    /// Ready to [`Self::run`].
    pub fn new(config: AggregatorConfig, engines: (LogsEngine, MetricsEngine, TracesEngine), dependencies: Dependencies) -> Self {
        let heads = HeadService::new(&config, dependencies.metrics.clone());
        let (bus, member) = (Arc::clone(&dependencies.bus), dependencies.member.clone());
        let (dependencies, budget, pool) = (Arc::new(dependencies), Arc::new(Budget::new(&config)), Arc::new(Pool::new()));
        let shared = (&dependencies, &budget, &pool);
        let (logs, metrics, traces) = (Arc::default(), Arc::default(), Arc::default());
        let samples = engines.1.with_merge_memory(config.merge_bytes_max());
        let mut all = AllOwners::new();
        all.insert(Kind::Logs.topic(), owners(engines.0, &logs, shared, &config));
        all.insert(Kind::Metrics.topic(), owners(samples, &metrics, shared, &config));
        all.insert(Kind::Spans.topic(), owners(engines.2, &traces, shared, &config));
        let group = Group { bus, owners: all, registry: OwnerRegistry::default(), member };
        Self { logs, metrics, traces, heads, group }
    }

    /// Consumes until told to stop; what is unsealed then is replayed by the next owner. Errors when the bus fails for good.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), AggregatorError> {
        self.group.run(shutdown).await
    }

    /// Seals everything that was on the bus when this was called.
    pub async fn seal(&self) -> Result<AdminResult, AggregatorError> {
        let mut ends = BTreeMap::new();
        for place in self.group.registry.places() {
            let (_, next) = self.group.bus.bounds(&place).await?;
            ends.insert(place, next);
        }
        let end = |place: &_| ends.get(place).copied().unwrap_or(0);
        self.group.registry.command_all(|place, reply| OwnerCommand::Seal(end(place), reply)).await
    }

    /// Merges everything mergeable.
    pub async fn compact(&self) -> Result<AdminResult, AggregatorError> {
        self.group.registry.command_all(|_, reply| OwnerCommand::Compact(reply)).await
    }

    /// Deletes everything that is too old by the clock and by what is stored, however much that is at once.
    pub async fn expire(&self) -> Result<AdminResult, AggregatorError> {
        self.group.registry.command_all(|_, reply| OwnerCommand::Expire(reply)).await
    }

    /// Partitions that the bus has assigned to this process, open or not; `None` until the group has answered, and after
    /// it has taken the last one until it answers again.
    pub fn assigned(&self) -> Option<usize> {
        self.group.assigned()
    }

    /// How far each partition is.
    pub fn status(&self) -> Vec<OwnerStatus> {
        [self.logs.status(), self.metrics.status(), self.traces.status()].concat()
    }
}

impl<E: Engine> Partitions<E> {
    pub(crate) fn status(&self) -> Vec<OwnerStatus> {
        let served = self.all().into_iter().map(|live| live.status());
        served.chain(self.damaged().into_iter().map(|(partition, reason)| damaged_status(E::KIND, partition, reason))).collect()
    }
}

fn damaged_status(kind: Kind, partition: u32, reason: String) -> OwnerStatus {
    OwnerStatus { topic: kind.topic().into(), partition, damage: Some(reason), ..OwnerStatus::default() }
}

impl<E: Engine> LivePartition<E> {
    fn status(&self) -> OwnerStatus {
        let snapshot = self.snapshot.read();
        let heads = || snapshot.frozen.iter().chain(std::iter::once(&snapshot.active));
        let searchable = self.indexed_offset.load(Ordering::Acquire);
        OwnerStatus {
            high_watermark: self.high_watermark.load(Ordering::Acquire).max(searchable),
            bus_silent_seconds: self.watermark_age_seconds(),
            indexed_offset: searchable,
            head_bytes: heads().map(|head| (head.bytes() + head.handed_on_bytes()) as u64).sum(),
            head_records: heads().map(|head| head.records()).sum(),
            blocks_opening: snapshot.missing.opening,
            blocks_unopened: snapshot.missing.unopened(),
            ..snapshot.manifest.status(E::KIND, self.partition, snapshot.version)
        }
    }
}

/// Owns the partitions of one engine.
struct EngineOwners<E: Engine>(Arc<Deps<E>>);

pub(crate) fn owners<E: Engine>(
    engine: E,
    partitions: &Arc<Partitions<E>>,
    (dependencies, budget, pool): (&Arc<Dependencies>, &Arc<Budget>, &Arc<Pool>),
    config: &AggregatorConfig,
) -> Arc<dyn Owners> {
    let (periods, clock) = (TenantPeriods::overrides(dependencies.limits.clone(), E::KIND), Arc::clone(&dependencies.clock));
    let stored = Arc::clone(budget);
    partitions.see_within(move || periods.clone().horizon(clock(), stored.newest()));
    Arc::new(EngineOwners(Arc::new(Deps {
        engine: Arc::new(engine),
        partitions: Arc::clone(partitions),
        config: config.clone(),
        dependencies: Arc::clone(dependencies),
        budget: Arc::clone(budget),
        pool: Arc::clone(pool),
    })))
}

impl<E: Engine> Owners for EngineOwners<E> {
    fn own(&self, group: ToGroup, revoked: CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Shell::new(Arc::clone(&self.0), group).run(revoked))
    }

    fn close(&self, partition: u32) {
        self.0.partitions.remove(partition);
    }

    fn quarantine(&self, partition: u32, reason: String) {
        let labels = PartitionLabels { topic: E::KIND.topic().into(), partition };
        self.0.dependencies.metrics.interruptions.get_or_create(&labels).inc();
        self.0.partitions.quarantine(partition, reason);
    }

    fn record_watermark(&self, partition: u32, high_watermark: u64, asked: tokio::time::Instant) {
        if let Some(live) = self.0.partitions.get(partition) {
            live.high_watermark.store(high_watermark, Ordering::Release);
            *live.watermark_at.lock() = Some(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use object_store::ObjectStore;
    use object_store::memory::InMemory;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use weir_blocks::blob::BlobCache;
    use weir_blocks::manifest::random_nonces;
    use weir_bus::sim::{Sim, SimConfig};
    use weir_metrics::MetricsCounters;
    use weir_model::deletion::{DeletionChange, DeletionError, DeletionOrder, DeletionQuery, DeletionRequest, Deletions};
    use weir_model::time::TimeRange;
    use weir_traces::TracesCounters;

    use super::*;
    use crate::dependencies::Clock;
    use crate::metrics::Metrics;

    fn member(sim: &Sim, store: &Arc<InMemory>, name: &str) -> Arc<Aggregator> {
        let clock: Clock = Arc::new(|| 0);
        let spans = TracesEngine::new(Arc::clone(&clock), TracesCounters::default());
        let engines = (LogsEngine::default(), MetricsEngine::new(MetricsCounters::default()), spans);
        let dependencies = Dependencies {
            bus: Arc::new(sim.clone()),
            object_store: Arc::clone(store) as Arc<dyn ObjectStore>,
            cache: BlobCache::new(1 << 20),
            clock,
            nonces: random_nonces(),
            metrics: Metrics::default(),
            member: name.to_owned(),
            limits: Default::default(),
        };
        Arc::new(Aggregator::new(AggregatorConfig::default(), engines, dependencies))
    }

    async fn until(aggregator: &Aggregator, wanted: Option<usize>) {
        let reached = async {
            while aggregator.assigned() != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("the group decides");
    }

    #[tokio::test]
    async fn a_deletion_is_made_in_all_partitions_or_an_error() {
        let sim = Sim::new(SimConfig { partitions: 2, ..SimConfig::default() });
        let aggregator = member(&sim, &Arc::new(InMemory::new()), "a");
        let request = DeletionRequest::new(("t", Kind::Logs), DeletionQuery::default(), TimeRange::ALL, 0, false).unwrap();
        let order = DeletionOrder { kinds: vec![Kind::Logs], change: DeletionChange::Accept(request) };
        let nobodys = DeletionError::Incomplete("0 of 2 partitions are this process's now".into());
        assert_eq!(aggregator.change(order).await, Err(nobodys));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_group_has_said_is_known_even_when_it_is_nothing() {
        let sim = Sim::new(SimConfig { partitions: 1, ..SimConfig::default() });
        let (store, shutdown) = (Arc::new(InMemory::new()), CancellationToken::new());
        let run = |aggregator: &Arc<Aggregator>, stop: &CancellationToken| {
            let (aggregator, stop) = (Arc::clone(aggregator), stop.clone());
            tokio::spawn(async move { aggregator.run(stop).await })
        };
        // Three topics of one partition, four members.
        let (first, mut running) = (member(&sim, &store, "a"), Vec::new());
        assert_eq!(first.assigned(), None);
        let leaving = shutdown.child_token();
        running.push(run(&first, &leaving));
        until(&first, Some(3)).await;
        let others: Vec<_> = ["b", "c", "d"].map(|name| member(&sim, &store, name)).into();
        running.extend(others.iter().map(|other| run(other, &shutdown)));
        for (aggregator, share) in [(&first, 1), (&others[0], 1), (&others[1], 1), (&others[2], 0)] {
            until(aggregator, Some(share)).await;
        }
        // Metrics are of the partitions that a member has; the spare one has none.
        let mut registry = Registry::default();
        others[2].register(&mut registry);
        let scrape = || {
            let mut text = String::new();
            encode(&mut text, &registry).expect("encode");
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(scrape(), Vec::<String>::new());
        // One leaves: it has no place in the group any more, and the spare one gets its share.
        leaving.cancel();
        until(&first, None).await;
        until(&others[2], Some(1)).await;
        let heard = async {
            while !scrape().iter().any(|line| line.starts_with("weir_aggregator_watermark_age_seconds{")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), heard).await.expect("the bus is heard");
        let labels = format!("{{topic=\"{}\",partition=\"0\"}}", others[2].status().remove(0).topic);
        let gauges = [
            "lag_records",
            "watermark_age_seconds",
            "unsealed_records",
            "head_bytes",
            "blocks",
            "block_bytes",
            "downsampled_block_bytes",
            "unopened_blocks",
            "quarantined_partitions",
        ];
        assert_eq!(scrape(), gauges.map(|gauge| format!("weir_aggregator_{gauge}{labels} 0")));
        shutdown.cancel();
        for task in running {
            task.await.expect("no panic").expect("ends well");
        }
    }
}
