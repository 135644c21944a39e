//! One partition's lane: gathers sections into records, encodes them off the async threads, and appends them one at a
//! time. While a record waits for its acknowledgement the next is being gathered and encoded, no more than that one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_bus::{BusError, Log, TopicPartition};
use weir_model::outage::Target;
use weir_model::signal::Signal;
use weir_model::wire::{Kind, Limits, RecordBuilder, Section, WireError};

use super::fair::Exit;
use super::queue::{Completion, InFlight, QueuedSection};
use crate::error::ShipError;
use crate::metrics::ShipMetrics;
use crate::remote_write_out::Queues;

/// Bodies gathered before anything is known of how well they compress: logs reach five to fifteen.
const GATHER_BYTES_FIRST: usize = 4 << 20;
/// Never more, so that a reader's memory for one record stays small.
const GATHER_BYTES_MAX: usize = 8 << 20;
/// Never less, so that one incompressible record does not make all later ones tiny.
const GATHER_BYTES_MIN: usize = 512 << 10;
/// Waits between attempts to append: doubles up to the maximum. A disk that was full or a broker that was away is
/// noticed within the maximum.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

pub(super) struct Lane {
    pub place: TopicPartition,
    pub bus: Arc<dyn Log>,
    pub limits: Limits,
    pub linger: Duration,
    pub metrics: ShipMetrics,
    pub in_flight: InFlight,
    /// Of receivers that are sent what the bus gets.
    pub queues: Option<Arc<Queues>>,
}

/// A record and everyone who waits for it.
struct Encoded {
    record: Bytes,
    /// Bodies before compression.
    raw: usize,
    /// Log lines, metric values or spans.
    records: u64,
    /// Whose they are, where that is asked for.
    tenants: Vec<String>,
    /// Whose last part this record carries, with their tenants.
    waiting: Vec<(String, Completion)>,
}

/// Sections with the index of the queued one that each is of.
type Run<S> = Vec<(usize, Section<S>)>;

impl Lane {
    /// Two tasks: gather and encode, append and acknowledge. They end when all senders are gone and all is durable, or
    /// when `stop` says so.
    pub fn spawn<S: Signal>(self, rx: Exit<S>, stop: CancellationToken, tasks: &mut JoinSet<()>) {
        let lane = Arc::new(self);
        // One encoded record may wait while another is in flight.
        let (encoded_tx, encoded_rx) = mpsc::channel(1);
        tasks.spawn(lane.clone().gather(rx, encoded_tx));
        tasks.spawn(lane.append_all(S::KIND, encoded_rx, stop));
    }

    async fn gather<S: Signal>(self: Arc<Self>, rx: Exit<S>, tx: mpsc::Sender<Encoded>) {
        let mut gather_bytes = GATHER_BYTES_FIRST;
        while let Some(first) = rx.next().await {
            let queued = self.fill(first, &rx, gather_bytes).await;
            let lane = self.clone();
            let Ok(records) = tokio::task::spawn_blocking(move || lane.encode(queued)).await else {
                tracing::error!(
                    partition = self.place.partition,
                    "encoding a record panicked; its sections are not acknowledged"
                );
                continue;
            };
            for encoded in records {
                gather_bytes = next_gather_bytes(&encoded, self.limits.record_bytes as usize);
                if tx.send(encoded).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Takes what comes within the linger, up to the byte target.
    async fn fill<S>(&self, first: QueuedSection<S>, rx: &Exit<S>, gather_bytes: usize) -> Vec<QueuedSection<S>> {
        let deadline = Instant::now() + self.linger;
        let mut bytes = first.weight;
        let mut queued = vec![first];
        while bytes < gather_bytes && queued.len() < self.limits.sections as usize {
            match tokio::time::timeout_at(deadline, rx.next()).await {
                Ok(Some(next)) => {
                    bytes += next.weight;
                    queued.push(next);
                }
                Ok(None) | Err(_) => break,
            }
        }
        queued
    }

    /// Records of all sections, in order. What can never be encoded is refused to its sender here.
    fn encode<S: Signal>(&self, queued: Vec<QueuedSection<S>>) -> Vec<Encoded> {
        let mut run: Run<S> = Vec::with_capacity(queued.len());
        let mut completions = Vec::with_capacity(queued.len());
        for (owner, queued) in queued.into_iter().enumerate() {
            run.push((owner, queued.section));
            completions.push(Some(queued.done));
        }
        let mut records: Vec<(Encoded, Vec<(usize, String)>)> = Vec::with_capacity(1);
        // Runs still to encode, the next on top: a run that does not fit is replaced by its halves.
        let mut work = vec![run];
        while let Some(run) = work.pop() {
            match self.encode_run(&run) {
                Ok(encoded) => {
                    records.push((encoded, run.into_iter().map(|(owner, section)| (owner, section.header.tenant)).collect()))
                }
                Err(error) => match split(run) {
                    Ok([first, second]) => work.extend([second, first]),
                    Err(owner) => {
                        self.metrics.refused(S::KIND);
                        if let Some(done) = completions[owner].take() {
                            done.resolve(Err(error.into()));
                        }
                    }
                },
            }
        }
        attach(records, completions)
    }

    fn encode_run<S: Signal>(&self, run: &Run<S>) -> Result<Encoded, WireError> {
        let weight = run.iter().map(|(_, section)| section.batch.weight()).sum();
        let mut builder = RecordBuilder::with_capacity(self.limits, weight);
        for (_, section) in run {
            builder.push(section)?;
        }
        let raw = builder.body_bytes();
        let records = run.iter().map(|(_, section)| section.batch.records()).sum();
        let mut tenants = Vec::new();
        for (_, section) in run.iter().filter(|_| self.queues.is_some()) {
            if !tenants.contains(&section.header.tenant) {
                tenants.push(section.header.tenant.clone());
            }
        }
        Ok(Encoded { record: builder.finish()?.into(), raw, records, tenants, waiting: Vec::new() })
    }

    async fn append_all(self: Arc<Self>, kind: Kind, mut rx: mpsc::Receiver<Encoded>, stop: CancellationToken) {
        while let Some(encoded) = rx.recv().await {
            *self.in_flight.lock() = Some(Instant::now());
            let outcome = tokio::select! {
                outcome = self.store(kind, &encoded) => outcome,
                () = stop.cancelled() => Err(ShipError::Stopped),
            };
            *self.in_flight.lock() = None;
            if outcome.is_ok() {
                self.metrics.shipped(kind, encoded.records, encoded.record.len(), encoded.raw);
            }
            for (tenant, done) in encoded.waiting {
                if outcome.is_ok() {
                    self.metrics.usage.ingested(&tenant, kind, done.amount.records, done.amount.bytes);
                }
                done.resolve(outcome.clone());
            }
        }
    }

    /// On the bus, and in the queues of those who are sent it: its sources are told of both at once.
    async fn store(&self, kind: Kind, encoded: &Encoded) -> Result<(), ShipError> {
        let queued = async {
            if let Some(queues) = &self.queues {
                queues.append(self.place.partition, &encoded.tenants, &encoded.record).await;
            }
        };
        tokio::join!(self.append_until_durable(kind, &encoded.record), queued).0
    }

    /// Appends the same bytes until the bus has them. A duplicate that this makes is dropped by its mark.
    async fn append_until_durable(&self, kind: Kind, record: &Bytes) -> Result<(), ShipError> {
        let mut wait = RETRY_FIRST;
        loop {
            let error = match self.append_once(record.clone()).await {
                Ok(()) => {
                    self.metrics.outages.ended(Target::Bus, &self.place);
                    return Ok(());
                }
                Err(BusError::TooLarge { bytes, limit }) => {
                    self.metrics.refused(kind);
                    return Err(ShipError::Refused(format!("record of {bytes} bytes is above the bus's limit of {limit}")));
                }
                Err(error) => error,
            };
            self.metrics.retried(kind);
            self.metrics.outages.failed(Target::Bus, &self.place, &error);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn append_once(&self, record: Bytes) -> Result<(), BusError> {
        self.bus.append(&self.place, record).await?.await.map(|_offset| ())
    }
}

/// Two runs in order: between sections, or through the only one. The owner when it cannot be split.
fn split<S: Signal>(mut run: Run<S>) -> Result<[Run<S>; 2], usize> {
    if run.len() > 1 {
        let second = run.split_off(run.len() / 2);
        return Ok([run, second]);
    }
    let (owner, section) = run.pop().expect("invariant: a run holds a section");
    match S::split(section) {
        Ok([first, second]) => Ok([vec![(owner, first)], vec![(owner, second)]]),
        Err(_) => Err(owner),
    }
}

/// A completion goes with the last record that carries a part of its section: records of a lane become durable in order.
fn attach(records: Vec<(Encoded, Vec<(usize, String)>)>, mut completions: Vec<Option<Completion>>) -> Vec<Encoded> {
    let mut attached: Vec<Encoded> = Vec::with_capacity(records.len());
    for (mut encoded, owners) in records.into_iter().rev() {
        let waiting = owners.into_iter().filter_map(|(owner, tenant)| Some((tenant, completions[owner].take()?)));
        encoded.waiting = waiting.collect();
        attached.push(encoded);
    }
    attached.reverse();
    attached
}

/// The next record's target: what would have filled nine tenths of a record at this record's ratio.
fn next_gather_bytes(encoded: &Encoded, record_bytes: usize) -> usize {
    let ratio = encoded.raw as f64 / encoded.record.len().max(1) as f64;
    ((record_bytes as f64 * 0.9 * ratio) as usize).clamp(GATHER_BYTES_MIN, GATHER_BYTES_MAX)
}
