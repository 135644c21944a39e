//! Shipping: sections in, acknowledged records out. Every source uses it; nothing else appends to the bus.
//!
//! The contract:
//! - A section's [`Receipt`] resolves with `Ok` only once every record that carries a part of it is durable.
//! - Sections of one (tenant, source) are stored in the order in which `send` returned: they share a lane, a lane is one
//!   partition, and a lane has **one record in flight**. A record whose acknowledgement fails is appended again, the same
//!   bytes, before anything later: were a later record stored first, the reader's mark would hide the earlier one. A record holds
//!   up to 1 MiB compressed, 5 to 15 MiB of log lines, so an acknowledgement in 5 ms allows far more than a core can compress; and
//!   nothing depends on how a bus orders its retries.
//! - Queues are bounded in bytes; a full lane makes `send` wait, and the source stays where it is. Tenants share the room of a lane and
//!   take turns in it ([`room`], [`fair`]): one that sends more than the bus takes waits for itself.
//! - There is no spool. Log files are their own: the reader waits, and rotated files are pinned by hard links within a byte budget.
//!   Pushes are answered 503 after `push.patience`; the client's next attempt has the same digests. Samples are skipped and counted.
//!
//! - [`fair`], [`room`], `queue`: what waits for a lane, and how much may.
//! - [`lane`]: gather, encode, append, acknowledge. One a partition of each signal.
//! - [`size`]: sections that are too large for one record.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_bus::{Log, TopicPartition, partition_of};
use weir_model::log::LogBatch;
use weir_model::metric::MetricBatch;
use weir_model::signal::Signal;
use weir_model::span::SpanBatch;
use weir_model::usage::{Amount, Usage};
use weir_model::wire::{Kind, Limits, Section};

use crate::config::ShipConfig;
use crate::error::{CollectorError, ShipError};
use crate::metrics::ShipMetrics;
use crate::remote_write_out::Queues;

mod fair;
mod gauges;
mod lane;
mod queue;
mod room;
mod size;
#[cfg(test)]
mod tests;

use fair::Entrance;
pub use gauges::LaneWatch;
pub(crate) use gauges::NAMES;
use queue::{Completion, InFlight, QueuedSection};
use room::Rooms;

/// Resolves once the section is durable, or when it never will be.
pub struct Receipt(oneshot::Receiver<Result<(), ShipError>>);

impl Future for Receipt {
    type Output = Result<(), ShipError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(ShipError::Stopped)))
    }
}

/// One partition's entrance.
pub struct LaneSender<S> {
    entrance: Entrance<S>,
    rooms: Arc<Rooms>,
    budget_units: u32,
    partition: u32,
    in_flight: InFlight,
}

/// How a lane is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// Its topic.
    pub topic: &'static str,
    /// Its partition.
    pub partition: u32,
    /// Uncompressed bytes that wait, those in flight included.
    pub queued_bytes: u64,
    /// Above it sources stay where they are.
    pub queue_bytes_max: u64,
    /// How long the record in flight has waited for its acknowledgement; `None` when there is none.
    pub waiting: Option<Duration>,
}

/// The lanes of each signal, by partition.
pub struct LaneSenders {
    logs: Vec<LaneSender<LogBatch>>,
    metrics: Vec<LaneSender<MetricBatch>>,
    spans: Vec<LaneSender<SpanBatch>>,
}

/// A signal that has lanes.
pub trait Shipped: Signal {
    /// Its own among all; never empty.
    fn lanes(all: &LaneSenders) -> &[LaneSender<Self>];
}

impl Shipped for LogBatch {
    fn lanes(all: &LaneSenders) -> &[LaneSender<Self>] {
        &all.logs
    }
}

impl Shipped for MetricBatch {
    fn lanes(all: &LaneSenders) -> &[LaneSender<Self>] {
        &all.metrics
    }
}

impl Shipped for SpanBatch {
    fn lanes(all: &LaneSenders) -> &[LaneSender<Self>] {
        &all.spans
    }
}

/// Ships sections. Cheap to clone.
#[derive(Clone)]
pub struct Shipper {
    lanes: Arc<LaneSenders>,
    limits: Limits,
    usage: Usage,
}

/// The lanes at work; joined at shutdown.
pub struct Lanes(JoinSet<()>);

/// Sections that may wait in a lane, however small: each takes its part of the room at least.
const LANE_SECTIONS: u32 = 4096;
/// Budgets are counted in this many bytes, so that a `u32` of permits reaches 4 TiB.
const BUDGET_UNIT: usize = 1024;

impl Shipper {
    /// Asks the bus for the partitions of all topics and opens a lane for each.
    pub async fn start(
        bus: Arc<dyn Log>,
        config: &ShipConfig,
        metrics: ShipMetrics,
        stop: CancellationToken,
    ) -> Result<(Self, Lanes), CollectorError> {
        Self::start_with(bus, config, metrics, stop, None).await
    }

    /// As [`Self::start`]; metrics go into these queues as well.
    pub(crate) async fn start_with(
        bus: Arc<dyn Log>,
        config: &ShipConfig,
        metrics: ShipMetrics,
        stop: CancellationToken,
        queues: Option<Arc<Queues>>,
    ) -> Result<(Self, Lanes), CollectorError> {
        let limits = Limits::default();
        let usage = metrics.usage.clone();
        let mut opening = Opening { bus, config, metrics, stop, limits, queues, tasks: JoinSet::new() };
        let lanes = LaneSenders { logs: opening.lanes().await?, metrics: opening.lanes().await?, spans: opening.lanes().await? };
        Ok((Self { lanes: Arc::new(lanes), limits, usage }, Lanes(opening.tasks)))
    }

    /// Where is counted what each tenant has sent.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// How each lane is doing, by topic and partition.
    pub fn lanes(&self) -> Vec<LaneState> {
        self.lanes.states()
    }

    /// Queues a section; waits while its lane is full. Parts of a section (other partitions, too large) share the receipt.
    pub async fn send<S: Shipped>(&self, section: Section<S>) -> Result<Receipt, ShipError> {
        self.usage.active(&section.header.tenant, S::KIND, section.batch.active());
        let lanes = S::lanes(&self.lanes);
        let mut receipts = Vec::with_capacity(1);
        for (partition, routed) in S::route(section, |key| partition_of(key, lanes.len() as u32)) {
            for part in size::to_size(routed, &self.limits) {
                receipts.push(lanes[partition as usize].queue(part).await?);
            }
        }
        Ok(join(receipts))
    }

    /// Sends all sections and waits for all receipts, for at most `patience`.
    pub async fn send_and_wait<S: Shipped>(&self, sections: Vec<Section<S>>, patience: Duration) -> Result<(), ShipError> {
        let all = async {
            let mut receipts = Vec::with_capacity(sections.len());
            for section in sections {
                receipts.push(self.send(section).await?);
            }
            for receipt in receipts {
                receipt.await?;
            }
            Ok(())
        };
        tokio::time::timeout(patience, all).await.unwrap_or(Err(ShipError::Busy))
    }
}

/// What lanes are opened with.
struct Opening<'a> {
    bus: Arc<dyn Log>,
    config: &'a ShipConfig,
    metrics: ShipMetrics,
    stop: CancellationToken,
    limits: Limits,
    queues: Option<Arc<Queues>>,
    tasks: JoinSet<()>,
}

impl Opening<'_> {
    /// One for each partition of a signal's topic.
    async fn lanes<S: Signal>(&mut self) -> Result<Vec<LaneSender<S>>, CollectorError> {
        let topic = S::KIND.topic();
        let partitions = self.bus.partitions(topic).await.map_err(|source| CollectorError::Bus { topic, source })?;
        Ok((0..partitions.max(1)).map(|partition| self.lane(partition)).collect())
    }

    fn lane<S: Signal>(&mut self, partition: u32) -> LaneSender<S> {
        let (entrance, exit) = fair::queue();
        let budget_units = u32::try_from(self.config.queue_max.to_usize().div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX >> 3).max(1);
        let (rooms, in_flight) = (Rooms::new(budget_units), InFlight::default());
        let place = TopicPartition { topic: S::KIND.topic().to_owned(), partition };
        let (bus, linger, metrics) = (Arc::clone(&self.bus), self.config.linger, self.metrics.clone());
        let queues = self.queues.clone().filter(|_| S::KIND == Kind::Metrics);
        let lane = lane::Lane { place, bus, limits: self.limits, linger, metrics, in_flight: in_flight.clone(), queues };
        lane.spawn(exit, self.stop.clone(), &mut self.tasks);
        LaneSender { entrance, rooms, budget_units, partition, in_flight }
    }
}

impl LaneSenders {
    fn states(&self) -> Vec<LaneState> {
        let (logs, metrics) = (self.logs.iter().map(LaneSender::state), self.metrics.iter().map(LaneSender::state));
        logs.chain(metrics).chain(self.spans.iter().map(LaneSender::state)).collect()
    }
}

impl<S: Signal> LaneSender<S> {
    fn state(&self) -> LaneState {
        let units = u64::from(self.budget_units);
        LaneState {
            topic: S::KIND.topic(),
            partition: self.partition,
            queued_bytes: u64::from(self.rooms.held()) * BUDGET_UNIT as u64,
            queue_bytes_max: units * BUDGET_UNIT as u64,
            waiting: self.in_flight.lock().map(|since| since.elapsed()),
        }
    }

    async fn queue(&self, section: Section<S>) -> Result<Receipt, ShipError> {
        let weight = section.batch.weight();
        let units = u32::try_from(weight.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX);
        let units = units.max(self.budget_units / LANE_SECTIONS).clamp(1, self.budget_units);
        let room = self.rooms.take(&section.header.tenant, units).await;
        let (tx, rx) = oneshot::channel();
        let amount = Amount { records: section.batch.records(), bytes: section.batch.sent_weight() as u64 };
        let queued = QueuedSection { section, weight, done: Completion { tx, amount, _room: room } };
        self.entrance.push(queued)?;
        Ok(Receipt(rx))
    }
}

impl Lanes {
    /// Waits until everything queued is durable. Call after the last [`Shipper`] is dropped.
    pub async fn join(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// One receipt for several: resolves when all have, with the first error.
fn join(mut receipts: Vec<Receipt>) -> Receipt {
    if receipts.len() == 1 {
        return receipts.remove(0);
    }
    let (tx, rx) = oneshot::channel();
    tokio::spawn(async move {
        let mut outcome = Ok(());
        for receipt in receipts {
            outcome = outcome.and(receipt.await);
        }
        let _ = tx.send(outcome);
    });
    Receipt(rx)
}
