//! The disk log as a [`Log`]: opening, locking, and the way to the writer.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::config::DiskConfig;
use super::consumer::DiskConsumer;
use super::partition::Partition;
use super::shared::{Shared, Space};
use super::storage::{FILE_MODE, Files, Storage, disk_error, make_dirs};
use super::writer::{self, Append};
use crate::{Ack, BusError, BusMetrics, Consumer, Log, TopicPartition};

/// The embedded durable log. Dropping it writes what is queued and gives the directory free.
pub struct DiskLog {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Append>>,
    room: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
    _lock: fs::File,
}

impl DiskLog {
    /// Opens or makes the log in `config.path` and repairs what a crash left. Blocks while it reads the segments.
    /// Errors with `Config` when a value cannot work or another process has it open, with `Disk` otherwise.
    pub fn open(config: DiskConfig, metrics: BusMetrics) -> Result<Self, BusError> {
        Self::open_on(Arc::new(Files), config, metrics)
    }

    pub(crate) fn open_on(storage: Arc<dyn Storage>, config: DiskConfig, metrics: BusMetrics) -> Result<Self, BusError> {
        config.validate()?;
        make_dirs(&*storage, &config.path).map_err(disk_error("create", &config.path))?;
        let lock = lock(&config.path)?;
        let room = Arc::new(Semaphore::new(config.queue_max.to_usize()));
        let shared = Arc::new(Shared::new(config, metrics, storage));
        open_all(&shared)?;
        let (queue, appends) = mpsc::channel();
        let own = shared.clone();
        let writer = std::thread::Builder::new()
            .name("weir-bus-writer".into())
            .spawn(move || writer::run(&own, &appends))
            .map_err(disk_error("start the writer of", &shared.config.path))?;
        Ok(Self { shared, queue: Some(queue), room, writer: Some(writer), _lock: lock })
    }

    async fn reserve(&self, bytes: u64) -> Result<(), BusError> {
        loop {
            let freed = self.shared.space.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            self.shared.check()?;
            if self.shared.space.try_reserve(bytes) {
                return Ok(());
            }
            freed.await;
        }
    }

    /// As [`Log::append`], but `None` at once where the byte cap has no room for it: what else an append waits for passes by itself.
    pub async fn try_append(&self, place: &TopicPartition, value: Bytes) -> Result<Option<Ack>, BusError> {
        let (partition, bytes) = self.prepare(place, &value).await?;
        let began = Instant::now();
        self.shared.check()?;
        if !self.shared.space.try_reserve(bytes) {
            return Ok(None);
        }
        self.enqueue(partition, value, bytes, began).await.map(Some)
    }

    /// Whether the byte cap has room for a record of so many bytes.
    pub fn has_room(&self, value_bytes: usize) -> bool {
        self.shared.space.has_room(DiskConfig::record_cost(value_bytes))
    }

    /// Bytes stored from this offset on; a batch that begins before it counts in proportion.
    pub async fn bytes_from(&self, place: &TopicPartition, offset: u64) -> Result<u64, BusError> {
        Ok(self.shared.partition(place).await?.bytes_from(offset))
    }

    /// The record's partition, and what it costs under the byte cap.
    async fn prepare(&self, place: &TopicPartition, value: &Bytes) -> Result<(Arc<Partition>, u64), BusError> {
        let limit = self.shared.config.record_max.to_usize();
        if value.len() > limit {
            return Err(BusError::TooLarge { bytes: value.len(), limit });
        }
        Ok((self.shared.partition(place).await?, DiskConfig::record_cost(value.len())))
    }

    /// Gives a record to the writer. `bytes` are reserved.
    async fn enqueue(&self, partition: Arc<Partition>, value: Bytes, bytes: u64, began: Instant) -> Result<Ack, BusError> {
        let mut reservation = Reservation { space: &self.shared.space, bytes };
        let stopped = || BusError::Stopped("the disk log is closed".into());
        let queued = self.room.clone().acquire_many_owned(bytes as u32).await.map_err(|_| stopped())?;
        self.shared.metrics.append_wait_seconds.inc_by(began.elapsed().as_secs_f64());
        self.shared.check()?;
        let (ack, answer) = oneshot::channel();
        let append = Append { partition, value, reserved: bytes, ack, _queued: queued };
        self.queue.as_ref().ok_or_else(stopped)?.send(append).map_err(|_| stopped())?;
        reservation.bytes = 0;
        Ok(Box::pin(
            async move { answer.await.unwrap_or_else(|_| Err(BusError::Stopped("the disk log's writer is gone".into()))) },
        ))
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the disk log's writer panicked");
        }
    }
}

fn open_all(shared: &Shared) -> Result<(), BusError> {
    let root = &shared.config.path;
    for entry in fs::read_dir(root).map_err(disk_error("list", root))? {
        let path = entry.map_err(disk_error("list", root))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && path.is_dir()
            && !name.starts_with('.')
        {
            shared.topic(name)?;
        }
    }
    Ok(())
}

fn lock(root: &Path) -> Result<fs::File, BusError> {
    let path = root.join("lock");
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(disk_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            return Err(BusError::Config(format!(
                "{} is in use by process {}: give each weir a data directory of its own",
                root.display(),
                pid.trim()
            )));
        }
        Err(fs::TryLockError::Error(error)) => return Err(disk_error("lock", &path)(error)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(disk_error("write", &path))?;
    Ok(file)
}

/// A guard that gives an unused reservation back when an append is cancelled.
struct Reservation<'a> {
    space: &'a Space,
    bytes: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.space.give_back(self.bytes);
        }
    }
}

#[async_trait]
impl Log for DiskLog {
    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        Ok(self.shared.open(topic).await?.len() as u32)
    }

    async fn append(&self, place: &TopicPartition, value: Bytes) -> Result<Ack, BusError> {
        let (partition, bytes) = self.prepare(place, &value).await?;
        let began = Instant::now();
        self.reserve(bytes).await?;
        self.enqueue(partition, value, bytes, began).await
    }

    async fn consume(&self, topics: &[&str], _member: &str) -> Result<Box<dyn Consumer>, BusError> {
        let mut opened = Vec::new();
        for topic in topics {
            opened.push(self.shared.open(topic).await?);
        }
        let partitions = opened.iter().flat_map(|topic| topic.iter().cloned()).collect();
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Ok(Box::new(DiskConsumer::new(self.shared.clone(), topics, partitions)?))
    }

    async fn bounds(&self, place: &TopicPartition) -> Result<(u64, u64), BusError> {
        Ok(self.shared.partition(place).await?.bounds())
    }

    async fn release(&self, place: &TopicPartition, offset: u64) -> Result<(), BusError> {
        let partition = self.shared.partition(place).await?;
        let freed = tokio::task::spawn_blocking(move || partition.release(offset));
        let freed = freed.await.map_err(|error| BusError::Stopped(format!("release: {error}")))??;
        self.shared.space.release(freed);
        Ok(())
    }
}
