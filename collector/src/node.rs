//! This node's own facts: who runs on it (for labels and log files), and its samples. One task; the runtime crate does
//! the looking, this ships what it sees; what ends is [`super::deaths`]' affair.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weir_model::metric::MetricBatch;
use weir_model::wire::{Mark, Section, SectionHeader};
use weir_runtime::containers::{Container, Inventory, InventoryConfig};
use weir_runtime::samples::{NodeSampler, SamplerConfig};

use crate::config::SampleConfig;
use crate::deaths::Deaths;
use crate::epoch::Rows;
use crate::error::ShipError;
use crate::metrics::CollectorMetrics;
use crate::push::Clock;
use crate::ship::Shipper;

const SOURCE: &str = "node";
/// Engines are asked this often: a container's lines are on the page within a second of its start.
const INVENTORY_INTERVAL: Duration = Duration::from_secs(1);

/// Of a log that was just born the engine tells at once, if it is not one of those that are busy starting others.
const RECOUNT_PATIENCE: Duration = Duration::from_millis(300);
/// There is one caller.
const RECOUNTS_MAX: usize = 1;

/// The containers of this node, as last seen. Shared with the tail, which finds their log files by it.
pub(crate) type Containers = Arc<RwLock<Arc<Vec<Container>>>>;

/// Lets others have the engines asked at once: a log was born, and whose it is should be known before its first line is
/// shipped.
#[derive(Clone, Debug)]
pub struct Recount {
    wanted: mpsc::Sender<oneshot::Sender<()>>,
}

impl Recount {
    /// With what [`Node`] takes.
    pub(crate) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (wanted, asked) = mpsc::channel(RECOUNTS_MAX);
        (Self { wanted }, asked)
    }

    /// Returns when the engines have been asked, from now on.
    pub(crate) async fn ask(&self) {
        let (done, is_done) = oneshot::channel();
        if self.wanted.send(done).await.is_ok() {
            let _ended_instead = is_done.await;
        }
    }
}

pub(crate) struct Node {
    pub config: SampleConfig,
    pub inventory: InventoryConfig,
    pub tenant: String,
    pub node: String,
    pub shipper: Shipper,
    pub metrics: CollectorMetrics,
    pub clock: Clock,
    pub containers: Containers,
    pub recounts: mpsc::Receiver<oneshot::Sender<()>>,
    pub rows: Rows,
    /// Of what is said once of each run that ended.
    pub ended_rows: Rows,
    /// The collector's own directory.
    pub data: PathBuf,
    pub shutdown: CancellationToken,
}

/// What a sample is taken with.
struct Sampling {
    sampler: NodeSampler,
    deaths: Deaths,
}

impl Node {
    /// Looks and samples until shutdown. Without cgroups there are no samples, and that is said once.
    pub async fn run(mut self) {
        let mut sampling = if self.config.enabled { self.sampling().await } else { None };
        let mut inventory = Inventory::new(self.inventory.clone());
        let mut look = tokio::time::interval(INVENTORY_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sample = tokio::time::interval(self.config.interval);
        sample.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let clock = self.clock.clone();
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                _ = look.tick() => self.look(&mut inventory, sampling.as_mut(), Duration::MAX).await,
                Some(done) = self.recounts.recv() => {
                    self.look(&mut inventory, sampling.as_mut(), RECOUNT_PATIENCE).await;
                    // Whoever asked may have gone on.
                    let _ = done.send(());
                }
                () = told(sampling.as_mut(), &clock) => {
                    self.look(&mut inventory, sampling.as_mut(), RECOUNT_PATIENCE).await;
                }
                _ = sample.tick(), if sampling.is_some() => {
                    let Some(mark) = self.mark().await else { continue };
                    let Some(taken) = sampling.take() else { continue };
                    sampling = self.sample(taken, mark).await;
                }
            }
        }
        let now = (self.clock)();
        if let Some(mut sampling) = sampling {
            let _ = tokio::task::spawn_blocking(move || sampling.deaths.save(now)).await;
        }
    }

    async fn sampling(&self) -> Option<Sampling> {
        let sampler = SamplerConfig { root: self.inventory.root.clone(), ..SamplerConfig::local(&*self.node) };
        match NodeSampler::new(sampler) {
            Ok(sampler) => {
                let keep = (&*self.data, self.config.ended_for);
                let deaths = Deaths::open(keep, &self.inventory, &sampler, self.metrics.clone(), (self.clock)()).await;
                Some(Sampling { sampler, deaths })
            }
            Err(error) => {
                self.metrics.event(SOURCE, "no_cgroups", 1);
                tracing::warn!(%error, "this node cannot be sampled");
                None
            }
        }
    }

    /// The next sample's mark; without one the sample is left out, counted, and the next tries again.
    async fn mark(&mut self) -> Option<Mark> {
        let mark = self.rows.next((self.clock)()).await;
        if mark.is_err() {
            self.metrics.event(SOURCE, "epoch_not_written", 1);
        }
        mark.ok()
    }

    async fn look(&self, inventory: &mut Inventory, sampling: Option<&mut Sampling>, patience: Duration) {
        let cgroups = sampling.as_ref().map(|sampling| sampling.sampler.cgroups().to_vec()).unwrap_or_default();
        let view = inventory.refresh_within(&cgroups, patience).await;
        if !view.blind.is_empty() {
            self.metrics.event(SOURCE, "engine_not_seen", view.blind.len() as u64);
        }
        if let Some(Sampling { sampler, deaths }) = sampling {
            sampler.set_containers(deaths.observe((self.clock)(), &view.containers, sampler.mounts()));
        }
        *self.containers.write() = Arc::new(view.containers);
    }

    /// Samples and ships. A bus that is slow makes us skip samples, not queue them; each skip is counted. Ends wait for the
    /// next one.
    async fn sample(&mut self, mut taken: Sampling, mark: Mark) -> Option<Sampling> {
        let now = (self.clock)();
        let sampled = tokio::task::spawn_blocking(move || {
            let batches = taken.sampler.sample(now);
            let ended = taken.deaths.unshipped(now, &mut taken.sampler);
            taken.deaths.save(now);
            (batches, ended, taken)
        });
        let Ok((batches, (deaths, ended), mut taken)) = sampled.await else {
            self.metrics.event(SOURCE, "sampler_panicked", 1);
            return None;
        };
        let mut sections: Vec<Section<MetricBatch>> = Vec::new();
        for batch in batches.into_iter().filter(|batch| !batch.schema.series.is_empty()) {
            sections.push(self.section(format!("node:{}/{}", self.node, batch.target.get("job")), mark, batch));
        }
        for batch in ended {
            let Ok(mark) = self.ended_rows.next(now).await else { return Some(taken) };
            sections.push(self.section(format!("node:{}/ended", self.node), mark, batch));
        }
        let sent = self.shipper.send_and_wait(sections, self.config.interval);
        let sent = tokio::select! {
            sent = sent => sent,
            () = self.shutdown.cancelled() => Err(ShipError::Stopped),
        };
        match sent {
            Ok(()) => taken.deaths.set_shipped(&deaths),
            Err(error) => {
                let reason = if error == ShipError::Busy { "sample_late" } else { "sample_not_shipped" };
                self.metrics.event(SOURCE, reason, 1);
            }
        }
        Some(taken)
    }

    fn section(&self, source: String, mark: Mark, batch: MetricBatch) -> Section<MetricBatch> {
        Section::new(SectionHeader { tenant: self.tenant.clone(), source, mark, records: 0 }, batch)
    }
}

/// Waits until an engine or the kernel has told something.
async fn told(sampling: Option<&mut Sampling>, clock: &Clock) {
    match sampling {
        Some(sampling) => sampling.deaths.told(clock).await,
        None => std::future::pending().await,
    }
}
