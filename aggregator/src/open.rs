//! Puts the parts together: three engines, their partitions, one group member.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::ObjectStore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_bus::{BusError, Log, TopicPartition};
use weir_model::wire::Kind;
use weir_store::StoreError;
use weir_store::blob::BlobCache;
use weir_store::engine::{Engine, Head};
use weir_store::heads::{Done, OwnerStatus};
use weir_store::logs::LogsEngine;
use weir_store::manifest::{Manifest, ManifestStore, NonceSource};
use weir_store::metrics::MetricsEngine;
use weir_store::traces::TracesEngine;

use crate::Clock;
use crate::budget::Budget;
use crate::commit::Committer;
use crate::config::AggregatorConfig;
use crate::dedup::{Marks, Memory};
use crate::group::{Group, Inboxes, Opened, Opener, ask_all, replaced};
use crate::heads::Desk;
use crate::metrics::Metrics;
use crate::owner::{Ask, Owner};
use crate::partition::Partition;
use crate::shared::{Partitions, Shared};
use crate::steady::Steady;

/// How long the bus is waited for before a partition is taken over.
const BOUNDS_WITHIN: Duration = Duration::from_secs(2);

/// What the aggregator works with.
pub struct Dependencies {
    /// Where records come from.
    pub bus: Arc<dyn Log>,
    /// Where blocks and manifests go; probed by the caller.
    pub object_store: Arc<dyn ObjectStore>,
    /// Ranges of blocks that were read.
    pub cache: BlobCache,
    /// Wall clock.
    pub clock: Clock,
    /// Names of blocks.
    pub nonces: NonceSource,
    /// Counters; the caller registers them.
    pub metrics: Metrics,
    /// Static identity in the group, and the owner's URL in the manifests.
    pub member: String,
}

/// The aggregator of this process.
pub struct Aggregator {
    /// For the logs reader.
    pub logs: Arc<Partitions<LogsEngine>>,
    /// For the metrics reader.
    pub metrics: Arc<Partitions<MetricsEngine>>,
    /// For the traces reader.
    pub traces: Arc<Partitions<TracesEngine>>,
    /// What answers query nodes in other processes.
    pub(crate) desk: Desk,
    group: Group,
}

impl Aggregator {
    /// Ready to [`Self::run`].
    pub fn new(config: AggregatorConfig, engines: (LogsEngine, MetricsEngine, TracesEngine), dependencies: Dependencies) -> Self {
        let inboxes = Inboxes::default();
        let (dependencies, budget) = (Arc::new(dependencies), Arc::new(Budget::new(&config)));
        let (logs, metrics, traces) = (Arc::default(), Arc::default(), Arc::default());
        let mut openers: BTreeMap<&'static str, Arc<dyn Opener>> = BTreeMap::new();
        openers.insert(Kind::Logs.topic(), opener(engines.0, &logs, &config, &dependencies, &budget));
        openers.insert(Kind::Metrics.topic(), opener(engines.1, &metrics, &config, &dependencies, &budget));
        openers.insert(Kind::Spans.topic(), opener(engines.2, &traces, &config, &dependencies, &budget));
        let (bus, member) = (Arc::clone(&dependencies.bus), dependencies.member.clone());
        let desk = Desk::new(&config, dependencies.metrics.clone());
        Self { logs, metrics, traces, desk, group: Group { bus, openers, inboxes, member, joined: AtomicBool::new(false) } }
    }

    /// Consumes until told to stop; what is unsealed then is replayed by the next owner. Errors when the bus or the
    /// store fails for good.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), BusError> {
        self.group.run(shutdown).await
    }

    /// Seals everything that was on the bus when this was called.
    pub async fn seal(&self) -> Result<Done, String> {
        let mut ends = BTreeMap::new();
        let places: Vec<TopicPartition> = self.group.inboxes.lock().keys().cloned().collect();
        for place in places {
            let (_, next) = self.group.bus.bounds(&place).await.map_err(|error| error.to_string())?;
            ends.insert(place, next);
        }
        ask_all(&self.group.inboxes, |place, reply| Ask::Seal(ends.get(place).copied().unwrap_or(0), reply)).await
    }

    /// Merges everything mergeable.
    pub async fn compact(&self) -> Result<Done, String> {
        ask_all(&self.group.inboxes, |_, reply| Ask::Compact(reply)).await
    }

    /// Deletes everything that is too old by the clock and by what is stored, however much that is at once.
    pub async fn expire(&self) -> Result<Done, String> {
        ask_all(&self.group.inboxes, |_, reply| Ask::Expire(reply)).await
    }

    /// Partitions that the bus has assigned to this process, open or not; `None` until the group has answered, and after
    /// it has taken the last one until it answers again.
    pub fn assigned(&self) -> Option<usize> {
        self.group.joined.load(Ordering::Acquire).then(|| self.group.inboxes.lock().len())
    }

    /// How far each partition is.
    pub fn status(&self) -> Vec<OwnerStatus> {
        [self.logs.status(), self.metrics.status(), self.traces.status()].concat()
    }
}

impl<E: Engine> Partitions<E> {
    pub(crate) fn status(&self) -> Vec<OwnerStatus> {
        let served = self.all().into_iter().map(|shared| shared.status());
        served.chain(self.damaged().into_iter().map(|(partition, reason)| damaged_status(E::KIND, partition, reason))).collect()
    }
}

fn damaged_status(kind: Kind, partition: u32, reason: String) -> OwnerStatus {
    OwnerStatus { topic: kind.topic().into(), partition, damage: Some(reason), ..OwnerStatus::default() }
}

impl<E: Engine> Shared<E> {
    fn status(&self) -> OwnerStatus {
        let state = self.state.read();
        let heads = || state.frozen.iter().chain(std::iter::once(&state.active));
        let searchable = self.searchable.load(Ordering::Acquire);
        OwnerStatus {
            on_bus: self.on_bus.load(Ordering::Acquire).max(searchable),
            bus_silent_seconds: self.bus_silent_seconds(),
            searchable,
            head_bytes: heads().map(|head| head.bytes() as u64).sum(),
            head_records: heads().map(|head| head.records()).sum(),
            blocks_opening: state.opening,
            blocks_unopened: state.missing.len() as u64,
            ..OwnerStatus::of_manifest(E::KIND, self.partition, state.version, &state.manifest)
        }
    }
}

/// Opens partitions of one engine.
struct EngineOpener<E: Engine> {
    engine: Arc<E>,
    partitions: Arc<Partitions<E>>,
    config: AggregatorConfig,
    dependencies: Arc<Dependencies>,
    budget: Arc<Budget>,
}

pub(crate) fn opener<E: Engine>(
    engine: E,
    partitions: &Arc<Partitions<E>>,
    config: &AggregatorConfig,
    dependencies: &Arc<Dependencies>,
    budget: &Arc<Budget>,
) -> Arc<dyn Opener> {
    let (engine, partitions) = (Arc::new(engine), Arc::clone(partitions));
    let (dependencies, budget) = (Arc::clone(dependencies), Arc::clone(budget));
    Arc::new(EngineOpener { engine, partitions, config: config.clone(), dependencies, budget })
}

impl<E: Engine> EngineOpener<E> {
    /// The newest manifest under the next epoch: from now on every older owner is fenced.
    async fn claim(&self, place: &TopicPartition, store: &ManifestStore) -> Result<(u64, Manifest), StoreError> {
        let (version, mut manifest) = store.load_latest().await?.unwrap_or_default();
        // A bus that does not answer is asked again when it is read from.
        let bounds = tokio::time::timeout(BOUNDS_WITHIN, self.dependencies.bus.bounds(place)).await;
        if let Ok(Ok((_, next))) = bounds
            && next < manifest.next_offset
        {
            let detail = replaced(place, manifest.next_offset, next);
            return Err(StoreError::Engine { operation: "take a partition over", detail });
        }
        manifest.epoch += 1;
        manifest.owner = self.dependencies.member.clone();
        store.publish(version + 1, &manifest).await?;
        Ok((version + 1, manifest))
    }
}

#[async_trait]
impl<E: Engine> Opener for EngineOpener<E> {
    async fn open(&self, place: &TopicPartition, inbox: mpsc::Receiver<Ask>) -> Result<Opened, StoreError> {
        let dependencies = &self.dependencies;
        let store = ManifestStore {
            object_store: Arc::clone(&dependencies.object_store),
            kind: E::KIND,
            partition: place.partition,
            nonces: Arc::clone(&dependencies.nonces),
        };
        let (version, manifest) = self.claim(place, &store).await?;
        let steady = Steady::new(&manifest, (dependencies.clock)());
        let (next_offset, marks) = (manifest.next_offset, Marks::new(Memory::of(&self.config), &manifest));
        let shared = Arc::new(Shared::new(place.partition, version, Arc::new(manifest), self.engine.head()));
        let (engine, config, metrics) = (Arc::clone(&self.engine), self.config.clone(), dependencies.metrics.clone());
        let (cache, bus, clock) = (dependencies.cache.clone(), Arc::clone(&dependencies.bus), Arc::clone(&dependencies.clock));
        let committer = Committer::new(
            Arc::clone(&engine),
            store,
            (cache, Arc::clone(&self.budget)),
            Arc::clone(&shared),
            config.clone(),
            metrics.clone(),
            version,
        );
        let show = {
            let (partitions, shared) = (Arc::clone(&self.partitions), Arc::clone(&shared));
            Box::new(move || partitions.insert(shared))
        };
        let partition = Partition::new(engine, shared, Arc::clone(&self.partitions), marks, metrics);
        let owner = Owner::new(place.clone(), partition, committer, bus, config, (clock, steady), &self.budget);
        Ok(Opened { next_offset, show, run: Box::pin(owner.run(inbox)) })
    }

    fn close(&self, partition: u32) {
        self.partitions.remove(partition);
    }

    fn quarantine(&self, partition: u32, reason: String) {
        self.partitions.quarantine(partition, reason);
    }

    fn count_interruption(&self, partition: u32) {
        let labels = crate::PartitionLabels { topic: E::KIND.topic().into(), partition };
        self.dependencies.metrics.interruptions.get_or_create(&labels).inc();
    }

    fn measure(&self, partition: u32, on_bus: u64, asked: tokio::time::Instant) {
        if let Some(shared) = self.partitions.get(partition) {
            shared.on_bus.store(on_bus, Ordering::Release);
            *shared.bus_heard.lock() = Some(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use weir_bus::sim::{Sim, SimConfig};
    use weir_store::manifest::random_nonces;
    use weir_store::metrics::MetricsCounters;
    use weir_store::traces::TracesCounters;

    use super::*;

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
            while !scrape().iter().any(|line| line.starts_with("weir_aggregator_bus_silent_seconds{")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), heard).await.expect("the bus is heard");
        let labels = format!("{{topic=\"{}\",partition=\"0\"}}", others[2].status().remove(0).topic);
        let gauges = [
            "lag_records",
            "bus_silent_seconds",
            "unsealed_records",
            "head_bytes",
            "blocks",
            "block_bytes",
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
