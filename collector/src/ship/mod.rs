//! Shipping: sections in, acknowledged records out. Every source uses it; nothing else appends to the bus.
//!
//! The contract:
//! - A section's [`Receipt`] resolves with `Ok` only once every record that carries a part of it is durable.
//! - Sections of one (tenant, source) are stored in the order in which `send` returned: they share a lane, a lane is one
//!   partition, and a lane has **one record in flight**. A record whose acknowledgement fails is appended again, the same
//!   bytes, before anything later: were a later record stored first, the reader's mark would hide the earlier one. A record holds
//!   up to 1 MiB compressed, 5 to 15 MiB of log lines, so an acknowledgement in 5 ms allows far more than a core can compress; and
//!   nothing depends on how a bus orders its retries.
//! - Queues are bounded in bytes; a full lane makes `send` wait, and the source stays where it is.
//! - There is no spool. Log files are their own: the reader waits, and rotated files are pinned by hard links within a byte budget.
//!   Pushes are answered 503 after `push.patience`; the client's next attempt has the same digests. Samples are skipped and counted.
//!
//! - [`route`]: which partition, and what a section weighs.
//! - [`split`]: sections that are too large for one record.
//! - [`lane`]: gather, encode, append, acknowledge.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_bus::{Log, TopicPartition};
use weir_model::wire::{Kind, Limits, Section};

use crate::config::ShipConfig;
use crate::error::{CollectorError, ShipError};
use crate::metrics::ShipMetrics;

mod gauges;
mod lane;
mod route;
mod split;
#[cfg(test)]
mod tests;

pub(crate) use gauges::NAMES;

pub(crate) use route::weight;
pub(crate) use split::derive_digest;

/// Resolves once the section is durable, or when it never will be.
pub struct Receipt(oneshot::Receiver<Result<(), ShipError>>);

impl Future for Receipt {
    type Output = Result<(), ShipError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(ShipError::Stopped)))
    }
}

/// A section on its way, with what it holds of the lane's byte budget.
struct Parcel {
    section: Section,
    weight: usize,
    done: Completion,
}

/// Tells the sender, when the last part is durable or the first has failed.
struct Completion {
    tx: oneshot::Sender<Result<(), ShipError>>,
    _budget: tokio::sync::OwnedSemaphorePermit,
}

impl Completion {
    fn resolve(self, outcome: Result<(), ShipError>) {
        // The sender may have given up waiting; the section is stored all the same.
        let _ = self.tx.send(outcome);
    }
}

/// One partition's entrance.
struct Lane {
    tx: mpsc::Sender<Parcel>,
    budget: Arc<Semaphore>,
    budget_units: u32,
    partition: u32,
    flight: Flight,
}

/// Since when the record in flight has waited for its acknowledgement. Written by the lane, read by whoever asks how
/// shipping goes.
type Flight = Arc<Mutex<Option<Instant>>>;

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

/// Ships sections. Cheap to clone.
#[derive(Clone)]
pub struct Shipper {
    lanes: Arc<HashMap<Kind, Vec<Lane>>>,
    limits: Limits,
}

/// The lanes at work; joined at shutdown.
pub struct Lanes(JoinSet<()>);

/// Sections that may wait in a lane besides its byte budget: bounds the cost of many tiny ones.
const LANE_SECTIONS: usize = 4096;
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
        let limits = Limits::default();
        let mut lanes = HashMap::new();
        let mut tasks = JoinSet::new();
        for kind in Kind::ALL {
            let partitions =
                bus.partitions(kind.topic()).await.map_err(|source| CollectorError::Bus { topic: kind.topic(), source })?;
            let mut entrances = Vec::new();
            for partition in 0..partitions.max(1) {
                let (tx, rx) = mpsc::channel(LANE_SECTIONS);
                let budget_units =
                    u32::try_from(config.queue_max.to_usize().div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX >> 3).max(1);
                let (budget, flight) = (Arc::new(Semaphore::new(budget_units as usize)), Flight::default());
                entrances.push(Lane { tx, budget, budget_units, partition, flight: flight.clone() });
                let place = TopicPartition { topic: kind.topic().to_owned(), partition };
                let (bus, linger, metrics) = (bus.clone(), config.linger, metrics.clone());
                let lane = lane::Lane { kind, place, bus, limits, linger, metrics, flight };
                lane.spawn(rx, stop.clone(), &mut tasks);
            }
            lanes.insert(kind, entrances);
        }
        Ok((Self { lanes: Arc::new(lanes), limits }, Lanes(tasks)))
    }

    /// How each lane is doing, by topic and partition.
    pub fn lanes(&self) -> Vec<LaneState> {
        states(&self.lanes)
    }

    /// Queues a section; waits while its lane is full. Parts of a section (other partitions, too large) share the receipt.
    pub async fn send(&self, section: Section) -> Result<Receipt, ShipError> {
        let lanes = &self.lanes[&section.body.kind()];
        let mut receipts = Vec::with_capacity(1);
        for routed in route::by_partition(section, lanes.len() as u32) {
            for part in split::to_size(routed.section, &self.limits) {
                receipts.push(lanes[routed.partition as usize].queue(part).await?);
            }
        }
        Ok(join(receipts))
    }

    /// Sends all sections and waits for all receipts, for at most `patience`.
    pub async fn send_and_wait(&self, sections: Vec<Section>, patience: Duration) -> Result<(), ShipError> {
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

fn states(lanes: &HashMap<Kind, Vec<Lane>>) -> Vec<LaneState> {
    Kind::ALL.into_iter().flat_map(|kind| lanes[&kind].iter().map(move |lane| lane.state(kind))).collect()
}

impl Lane {
    fn state(&self, kind: Kind) -> LaneState {
        let units = u64::from(self.budget_units);
        let free = self.budget.available_permits() as u64;
        LaneState {
            topic: kind.topic(),
            partition: self.partition,
            queued_bytes: units.saturating_sub(free) * BUDGET_UNIT as u64,
            queue_bytes_max: units * BUDGET_UNIT as u64,
            waiting: self.flight.lock().map(|since| since.elapsed()),
        }
    }

    async fn queue(&self, section: Section) -> Result<Receipt, ShipError> {
        let weight = weight(&section.body);
        let units = u32::try_from(weight.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX).clamp(1, self.budget_units);
        // A closed semaphore cannot be: nobody closes it.
        let budget = self.budget.clone().acquire_many_owned(units).await.map_err(|_| ShipError::Stopped)?;
        let (tx, rx) = oneshot::channel();
        let parcel = Parcel { section, weight, done: Completion { tx, _budget: budget } };
        self.tx.send(parcel).await.map_err(|_| ShipError::Stopped)?;
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
