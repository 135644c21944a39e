//! The queues of all receivers: an embedded log each, divided into shards by the partition that a record is of, so that a series stays
//! in order.
//!
//! A queue that is full gives up its oldest records; one whose disk does not take a record gives up that one. Both are counted, and
//! neither keeps the bus's record from being acknowledged.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_bus::disk::{DiskConfig, DiskLog};
use weir_bus::{BusMetrics, Log, TopicPartition};
use weir_model::config::ByteSize;
use weir_model::time::UnixNanos;

use super::client::{Client, Failure};
use super::config::RemoteWriteConfig;
use super::encoder::Encoder;
use super::metrics::{ReceiverMetrics, RemoteMetrics};
use super::position::{Position, PositionFile};
use super::shard::Shard;
use crate::error::CollectorError;
use crate::private;
use crate::push::Clock;

/// A full queue gives up this part of its fullest shard's records at once, so that not each record costs a release.
const GIVEN_UP: u64 = 16;
/// At the end, requests under way may take this long; what is not acknowledged is sent again at the next start.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Of a collector.
pub(crate) struct Queues(pub(super) Vec<Arc<Receiver>>);

/// The shards at work; ended after the lanes.
pub(crate) struct Senders {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// A receiver's queue.
pub(super) struct Receiver {
    pub config: Arc<RemoteWriteConfig>,
    pub name: String,
    pub log: DiskLog,
    pub metrics: ReceiverMetrics,
    pub(super) shards: Vec<Progress>,
    /// Of its log.
    pub queue_bytes: Gauge,
    clock: Clock,
    /// What the receiver took last not, and when; held only to read or write it.
    last_failure: parking_lot::Mutex<Option<(UnixNanos, Failure)>>,
    telling: parking_lot::Mutex<()>,
    /// Held by who makes room, so that two do not give up records for the same lack.
    making_room: Mutex<()>,
}

/// Offsets of a shard, as its task and the queue tell each other.
#[derive(Default)]
pub(super) struct Progress {
    /// Of the next record to come.
    end: AtomicU64,
    /// Below it nothing waits: it is sent, or being sent.
    taken: AtomicU64,
    /// Below it everything is sent, refused or given up.
    sent: AtomicU64,
    /// Below it everything was given up.
    floor: AtomicU64,
    /// Milliseconds of the newest sample that the receiver has taken since the start; 0 while it has taken none.
    acknowledged: AtomicI64,
}

impl Queues {
    /// Opens the queue of each receiver below `data`, and starts to send. `partitions`: of the bus's metrics.
    pub async fn start(
        configs: &[RemoteWriteConfig],
        (tenant, data): (&str, &Path),
        (partitions, clock): (u32, &Clock),
        registry: &mut Registry,
    ) -> Result<(Arc<Self>, Senders), CollectorError> {
        let (metrics, stop) = (RemoteMetrics::default(), CancellationToken::new());
        let (mut receivers, mut tasks) = (Vec::new(), JoinSet::new());
        if !configs.is_empty() {
            metrics.register(registry);
        }
        for config in configs {
            let mut config = config.clone();
            if config.tenants.is_empty() {
                config.tenants.insert(tenant.to_owned());
            }
            let directory = data.join("remote_write").join(config.name());
            let client = Arc::new(Client::new(&config).map_err(|reason| wrong(&config, "tls_config", reason))?);
            let receiver = open(Arc::new(config), &directory, (partitions, clock), &metrics).await?;
            for shard in 0..receiver.shards.len() {
                let position = open_position(&receiver, position_path(&directory, shard), shard).await?;
                let encoder = Encoder::new(Arc::clone(&receiver.config), receiver.metrics.clone(), Arc::clone(clock));
                let shard = Shard::new(Arc::clone(&receiver), shard, position, (encoder, Arc::clone(&client)));
                tasks.spawn(watched(shard.run(stop.clone()), receiver.name.clone()));
            }
            receivers.push(receiver);
        }
        Ok((Arc::new(Self(receivers)), Senders { tasks, stop }))
    }

    /// Whether there is no receiver.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Resolves when every receiver of one of these tenants has the record on disk, or has given up one.
    pub async fn append(&self, partition: u32, tenants: &[String], record: &Bytes) {
        let wanted = |own: &&Arc<Receiver>| tenants.iter().any(|tenant| own.config.tenants.contains(tenant));
        join_all(self.0.iter().filter(wanted).map(|own| own.append(partition, record.clone()))).await;
    }
}

impl Senders {
    pub async fn join(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_PATIENCE, ended).await.is_err() {
            tracing::warn!("a remote write receiver has not answered before the end; what it was sent is sent again");
            self.tasks.shutdown().await;
        }
    }
}

impl Receiver {
    /// Of a shard's log.
    pub fn place(shard: usize) -> TopicPartition {
        TopicPartition { topic: topic(shard), partition: 0 }
    }

    pub fn progress(&self, shard: usize) -> &Progress {
        &self.shards[shard]
    }

    /// For the gauge. Told by shards and lanes: one after the other, so that none sets what was so before.
    pub fn tell_pending(&self) {
        let _one = self.telling.lock();
        let pending: u64 = self.shards.iter().map(Progress::pending).sum();
        self.metrics.pending_records.set(pending as i64);
    }

    /// For [`super::status`].
    pub fn tell_failure(&self, failure: &Failure) {
        *self.last_failure.lock() = Some(((self.clock)(), failure.clone()));
    }

    pub fn last_failure(&self) -> Option<(UnixNanos, Failure)> {
        self.last_failure.lock().clone()
    }

    pub fn now(&self) -> UnixNanos {
        (self.clock)()
    }

    async fn append(&self, partition: u32, record: Bytes) {
        let shard = partition as usize % self.shards.len();
        match self.put(shard, record).await {
            Ok(offset) => {
                self.shards[shard].end.fetch_max(offset + 1, Ordering::AcqRel);
                self.tell_pending();
            }
            Err(reason) => self.metrics.dropped_records(reason, 1),
        }
    }

    /// The reason where it is given up. Waits for the queue's writer, and never for room.
    async fn put(&self, shard: usize, record: Bytes) -> Result<u64, &'static str> {
        let place = Self::place(shard);
        loop {
            let appended = self.log.try_append(&place, record.clone()).await.map_err(|_| "queue_failed")?;
            if let Some(ack) = appended {
                return ack.await.map_err(|_| "queue_failed");
            }
            if !self.make_room(record.len()).await {
                return Err("queue_full");
            }
        }
    }

    /// Deletes what is sent, then gives up the oldest records of the shard that has most bytes, until a record of so many bytes fits.
    /// False where nothing is left to give up.
    async fn make_room(&self, bytes: usize) -> bool {
        let _one = self.making_room.lock().await;
        if self.log.has_room(bytes) {
            return true;
        }
        for (shard, progress) in self.shards.iter().enumerate() {
            if self.log.release(&Self::place(shard), progress.sent_below()).await.is_err() {
                return false;
            }
        }
        while !self.log.has_room(bytes) {
            let Some(shard) = self.fullest().await else { return false };
            let progress = &self.shards[shard];
            let (first, pending) = (progress.first(), progress.pending());
            let floor = first + pending.div_ceil(GIVEN_UP);
            if self.log.release(&Self::place(shard), floor).await.is_err() {
                return false;
            }
            progress.floor.fetch_max(floor, Ordering::AcqRel);
            self.metrics.dropped_records("queue_full", floor - first);
            self.tell_pending();
        }
        true
    }

    /// The shard whose waiting records take most bytes; `None` where none waits.
    async fn fullest(&self) -> Option<usize> {
        let mut most = None;
        for (shard, progress) in self.shards.iter().enumerate().filter(|(_, own)| own.pending() > 0) {
            let bytes = self.log.bytes_from(&Self::place(shard), progress.first()).await.ok()?;
            most = most.max(Some((bytes, shard)));
        }
        most.map(|(_, shard)| shard)
    }
}

impl Progress {
    /// Told by the shard's task: what lies below is sent, or being sent.
    pub fn take(&self, offset: u64) {
        self.taken.fetch_max(offset, Ordering::AcqRel);
    }

    /// Told by the shard's task: nothing below it is needed any more.
    pub fn sent(&self, offset: u64) {
        self.sent.fetch_max(offset, Ordering::AcqRel);
    }

    pub fn sent_below(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Told by the shard's task: a sample of this millisecond is taken.
    pub fn acknowledged(&self, newest: i64) {
        self.acknowledged.fetch_max(newest, Ordering::AcqRel);
    }

    /// Milliseconds of the newest sample that the receiver has taken; `None` while it has taken none since the start.
    pub fn newest(&self) -> Option<i64> {
        Some(self.acknowledged.load(Ordering::Acquire)).filter(|newest| *newest > 0)
    }

    /// Whether something is being sent, or waits for it.
    pub fn is_behind(&self) -> bool {
        self.sent_below().max(self.floor()) < self.end.load(Ordering::Acquire)
    }

    /// Told at the start.
    pub fn found(&self, next: u64) {
        self.end.fetch_max(next, Ordering::AcqRel);
    }

    /// Below it nothing is sent any more.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    fn first(&self) -> u64 {
        self.taken.load(Ordering::Acquire).max(self.floor())
    }

    pub fn pending(&self) -> u64 {
        self.end.load(Ordering::Acquire).saturating_sub(self.first())
    }
}

/// A shard that panics is seen when it does, not when the process ends.
async fn watched(shard: impl Future<Output = ()>, remote_name: String) {
    if AssertUnwindSafe(shard).catch_unwind().await.is_err() {
        tracing::error!(remote_name, "a task of a remote write queue panicked; its shard is sent nothing until a restart");
    }
}

fn topic(shard: usize) -> String {
    format!("shard-{shard}")
}

fn position_path(directory: &Path, shard: usize) -> PathBuf {
    directory.join(format!("shard-{shard}.position"))
}

fn wrong(config: &RemoteWriteConfig, key: &str, reason: impl ToString) -> CollectorError {
    CollectorError::Config { key: format!("remote_write: of {:?}: {key}", config.name()), reason: reason.to_string() }
}

/// With as many shards as it should have, or, while records wait, as it has.
async fn open(
    config: Arc<RemoteWriteConfig>,
    directory: &Path,
    (partitions, clock): (u32, &Clock),
    metrics: &RemoteMetrics,
) -> Result<Arc<Receiver>, CollectorError> {
    let name = config.name();
    let wanted = partitions.clamp(1, config.queue_config.max_shards) as usize;
    let mut found = (0..).take_while(|shard| directory.join(topic(*shard)).exists()).count();
    let queue_bytes = metrics.queue_bytes(&name);
    let mut log = open_log(&config, directory, queue_bytes.clone()).await?;
    if found > 0 && found != wanted && is_empty(&log, directory, found).await {
        drop(log);
        let remove = |path: &Path| std::fs::remove_dir_all(path);
        remove(directory).map_err(|source| CollectorError::File { operation: "delete", path: directory.to_owned(), source })?;
        log = open_log(&config, directory, queue_bytes.clone()).await?;
        found = 0;
    }
    let shards = if found > 0 { found } else { wanted };
    let receiver = Receiver {
        metrics: metrics.of(&name),
        config: Arc::clone(&config),
        name,
        log,
        shards: (0..shards).map(|_| Progress::default()).collect(),
        queue_bytes,
        clock: Arc::clone(clock),
        last_failure: parking_lot::Mutex::default(),
        telling: parking_lot::Mutex::default(),
        making_room: Mutex::new(()),
    };
    for shard in 0..shards {
        let opened = receiver.log.partitions(&topic(shard)).await;
        opened.map_err(|error| wrong(&config, "queue", error))?;
    }
    Ok(Arc::new(receiver))
}

/// How far a shard is; on disk before anything is appended, if it is not what was found: as the log grows what was found might come to
/// lie within it.
async fn open_position(receiver: &Receiver, path: PathBuf, shard: usize) -> Result<(PositionFile, Position), CollectorError> {
    let bounds = receiver.log.bounds(&Receiver::place(shard)).await;
    let bounds = bounds.map_err(|error| wrong(&receiver.config, "queue", error))?;
    let opened = PositionFile::open(&path).and_then(|(file, found)| {
        let position = Position::within(found, bounds);
        if found != Some(position) {
            file.write(position)?;
            file.sync()?;
        }
        Ok((file, position))
    });
    opened.map_err(|source| CollectorError::File { operation: "open", path, source })
}

async fn open_log(config: &Arc<RemoteWriteConfig>, directory: &Path, queue_bytes: Gauge) -> Result<DiskLog, CollectorError> {
    private::make_directory(directory).map_err(|source| CollectorError::File {
        operation: "create",
        path: directory.to_owned(),
        source,
    })?;
    let queue_max = config.queue_config.queue_max;
    let own = DiskConfig {
        path: directory.to_owned(),
        partitions: 1,
        // What is released is deleted by segments, so that a queue takes a little more than it holds.
        segment_max: ByteSize::bytes(queue_max.to_u64() / 64).max(ByteSize::mib(1)),
        backlog_max: queue_max,
        queue_max: ByteSize::mib(16),
        cache_max: ByteSize::mib(1),
        ..DiskConfig::default()
    };
    let metrics = BusMetrics { unreleased_bytes: queue_bytes, ..BusMetrics::default() };
    let opened = tokio::task::spawn_blocking(move || DiskLog::open(own, metrics)).await;
    match opened {
        Ok(opened) => opened.map_err(|error| wrong(config, "queue", error)),
        Err(error) => Err(wrong(config, "queue", error)),
    }
}

/// Whether all that lies in these shards is sent.
async fn is_empty(log: &DiskLog, directory: &Path, shards: usize) -> bool {
    for shard in 0..shards {
        let Ok((first, next)) = log.bounds(&Receiver::place(shard)).await else { return false };
        let position = PositionFile::open(&position_path(directory, shard)).ok().and_then(|(_, position)| position);
        if Position::within(position, (first, next)).begin < next {
            return false;
        }
    }
    true
}
