//! The ends of this node's containers: gathers what engines tell by themselves and what the kernel says of those it killed,
//! has the history make one account of it, and ships each end once. [`super::node`] calls it with each look at the engines
//! and each sample. An end that cannot be shipped stays for the next sample, and over a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use weir_model::metric::MetricBatch;
use weir_model::outage::Target;
use weir_model::time::UnixNanos;
use weir_runtime::cgroup::{KernelLog, Mounts, OomCount, OomWatch};
use weir_runtime::containers::{Container, ContainerRecord, Death, Event, Events, History, InventoryConfig, Observed, paths};
use weir_runtime::samples::NodeSampler;

use crate::metrics::CollectorMetrics;
use crate::push::Clock;

/// Below the collector's data directory.
const FILE: &str = "containers";
const SOURCE: &str = "node";
/// Engines are asked once for what they tell of within this time: each look asks for every container that runs.
const GATHER: Duration = Duration::from_millis(250);
/// Deaths of one sample; further ones wait for the next.
const DEATHS_MAX: usize = 1000;

pub(crate) struct Deaths {
    history: History,
    events: Events,
    kernel_log: Option<KernelLog>,
    watch: Option<Watch>,
    root: PathBuf,
    metrics: CollectorMetrics,
    /// What was told and not taken in yet.
    told: Vec<Event>,
    counts: Vec<(UnixNanos, OomCount)>,
}

impl Deaths {
    /// Goes on where the last process stopped. What cannot be had is said, and the rest works without it.
    pub async fn open(
        (data, keep): (&Path, Duration),
        inventory: &InventoryConfig,
        sampler: &NodeSampler,
        metrics: CollectorMetrics,
        now: UnixNanos,
    ) -> Self {
        let file = data.join(FILE);
        let opened = tokio::task::spawn_blocking(move || History::open(&file, keep)).await;
        let (history, error) = opened.unwrap_or_else(|_| (History::new(keep), None));
        if let Some(error) = error {
            metrics.event(SOURCE, "history_not_read", 1);
            tracing::warn!(%error, "what ended before this start is not known");
        }
        let kernel_log = KernelLog::open(&inventory.root, history.kernel_log());
        if let Err(error) = &kernel_log {
            tracing::info!(%error, "the kernel's log cannot be read; kills for lack of memory are told by cgroups and engines");
        }
        let events = Events::listen(inventory, history.events_since(now));
        let watch = watch(sampler.mounts(), &metrics);
        let root = inventory.root.clone();
        Self { history, events, kernel_log: kernel_log.ok(), watch, root, metrics, told: Vec::new(), counts: Vec::new() }
    }

    /// Waits until something was told that a look at the engines should follow. Cancel-safe.
    pub async fn told(&mut self, now: &Clock) {
        loop {
            tokio::select! {
                events = self.events.next() => {
                    self.told.extend(events);
                    tokio::time::sleep(GATHER).await;
                    return;
                }
                count = changed(&mut self.watch) => self.counts.push((now(), count)),
            }
        }
    }

    /// Takes in what was seen, and returns the containers as the sampler should know them.
    pub fn observe(&mut self, now: UnixNanos, containers: &[Container], mounts: &Mounts) -> Vec<ContainerRecord> {
        let mut kills = Vec::new();
        if let Some(log) = &mut self.kernel_log {
            kills = log.read(now);
            self.history.set_kernel_log(log.position());
        }
        if let Some(watch) = &mut self.watch {
            while let Ok(count) = watch.counts.try_recv() {
                self.counts.push((now, count));
            }
            watch.cgroups.watch(containers.iter().filter_map(|container| container.cgroup.as_deref()));
        }
        let (events, counts) = (std::mem::take(&mut self.told), std::mem::take(&mut self.counts));
        self.history
            .observe(now, Observed { containers, events, kills, counts }, |record| paths::is_alive(&self.root, mounts, record));
        self.history.records(now)
    }

    /// What is to be shipped beside a sample that was taken at `now`, a batch a section of its own.
    pub fn unshipped(&mut self, now: UnixNanos, sampler: &mut NodeSampler) -> (Vec<Death>, Vec<MetricBatch>) {
        self.counts.extend(sampler.take_oom_counts().into_iter().map(|count| (now, count)));
        let mut deaths = self.history.unshipped(now);
        deaths.truncate(DEATHS_MAX);
        self.history.set_sampled();
        let batches = sampler.ended(&deaths);
        (deaths, batches)
    }

    /// The bus has them.
    pub fn set_shipped(&mut self, deaths: &[Death]) {
        self.history.set_shipped(deaths);
    }

    /// Writes down what is known. Blocks.
    pub fn save(&mut self, now: UnixNanos) {
        let outages = &self.metrics.ship.outages;
        match self.history.save(now) {
            Ok(()) => outages.ended(Target::CollectorFiles, "history of containers"),
            Err(error) => {
                self.metrics.event(SOURCE, "history_not_written", 1);
                outages.failed(Target::CollectorFiles, "history of containers", &error);
            }
        }
    }
}

/// What is watched, and what that told.
struct Watch {
    cgroups: OomWatch,
    counts: mpsc::Receiver<OomCount>,
}

fn watch(mounts: &Mounts, metrics: &CollectorMetrics) -> Option<Watch> {
    let started = OomWatch::start(mounts).unwrap_or_else(|error| {
        metrics.event(SOURCE, "not_watched", 1);
        tracing::warn!(%error, "kill counters of cgroups are not watched; they are read with the samples");
        None
    });
    started.map(|(cgroups, counts)| Watch { cgroups, counts })
}

/// A counter that has changed; never, where none is watched.
async fn changed(watch: &mut Option<Watch>) -> OomCount {
    if let Some(watch) = watch
        && let Some(count) = watch.counts.recv().await
    {
        return count;
    }
    std::future::pending().await
}
