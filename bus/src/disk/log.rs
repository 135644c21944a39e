//! The disk log as a [`Log`]: opening, locking, topics, room, and the way to the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use super::config::DiskConfig;
use super::consumer::DiskConsumer;
use super::partition::{Partition, disk_error};
use super::storage::{FILE_MODE, Files, Storage, make_dirs};
use super::writer::{self, Append};
use crate::{Ack, BusError, BusMetrics, Consumer, Log, TopicPartition};

type Topic = Arc<[Arc<Partition>]>;

/// What the log, its writer and its consumers share.
pub(crate) struct Shared {
    pub(crate) config: DiskConfig,
    pub(crate) metrics: BusMetrics,
    storage: Arc<dyn Storage>,
    /// Topics found or made; held while one is made, so that it is made once.
    topics: Mutex<BTreeMap<String, Topic>>,
    pub(crate) space: Space,
    /// Counts published rounds: consumers wake by it.
    pub(crate) published: watch::Sender<u64>,
    /// Why it stopped, once it did.
    stopped: OnceLock<String>,
    /// Topics that have a consumer.
    pub(crate) consumed: Mutex<BTreeSet<String>>,
}

impl Shared {
    /// Errors once the log has stopped.
    pub(crate) fn check(&self) -> Result<(), BusError> {
        self.stopped.get().map_or(Ok(()), |why| Err(BusError::Stopped(why.clone())))
    }

    /// Stops the log for good and wakes everybody who waits.
    pub(crate) fn stop(&self, error: &BusError) {
        if self.stopped.set(error.to_string()).is_ok() {
            tracing::error!(error = %error, "the disk log stops; restart after mending the disk");
        }
        self.space.freed.notify_waiters();
        self.published.send_modify(|round| *round += 1);
    }

    /// The partitions of a topic, made when absent. Touches the disk.
    pub(crate) fn topic(&self, name: &str) -> Result<Topic, BusError> {
        let mut topics = self.topics.lock();
        if let Some(topic) = topics.get(name) {
            return Ok(topic.clone());
        }
        check_topic_name(name)?;
        let dir = self.config.path.join(name);
        if !dir.exists() {
            self.make_topic(name, &dir)?;
        }
        let topic = self.open_topic(name, &dir)?;
        topics.insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    /// All partitions or none: a crash in between leaves a directory that nobody looks at.
    fn make_topic(&self, name: &str, dir: &Path) -> Result<(), BusError> {
        let temporary = self.config.path.join(format!(".{name}"));
        for partition in 0..self.config.partitions {
            let path = temporary.join(partition.to_string());
            make_dirs(&*self.storage, &path).map_err(disk_error("create", &path))?;
            self.storage.sync_dir(&path).map_err(disk_error("fsync", &path))?;
        }
        self.storage.sync_dir(&temporary).map_err(disk_error("fsync", &temporary))?;
        fs::rename(&temporary, dir).map_err(disk_error("create", dir))?;
        self.storage.sync_dir(&self.config.path).map_err(disk_error("fsync", &self.config.path))
    }

    fn open_topic(&self, name: &str, dir: &Path) -> Result<Topic, BusError> {
        let mut partitions = Vec::new();
        while dir.join(partitions.len().to_string()).exists() {
            let number = partitions.len() as u32;
            let place = TopicPartition { topic: name.to_owned(), partition: number };
            let path = dir.join(number.to_string());
            let partition =
                Partition::open(place, path, self.storage.clone(), self.metrics.clone(), self.config.cache_max.to_usize())?;
            self.space.found(partition.unreleased_bytes());
            partitions.push(Arc::new(partition));
        }
        if partitions.is_empty() {
            return Err(BusError::Config(format!("{} has no partition", dir.display())));
        }
        Ok(partitions.into())
    }

    /// As [`Self::topic`], off the async threads when it is not open yet.
    async fn open(self: &Arc<Self>, name: &str) -> Result<Topic, BusError> {
        self.check()?;
        if let Some(topic) = self.topics.try_lock().and_then(|topics| topics.get(name).cloned()) {
            return Ok(topic);
        }
        let (own, name) = (self.clone(), name.to_owned());
        let opened = tokio::task::spawn_blocking(move || own.topic(&name));
        opened.await.map_err(|error| BusError::Stopped(format!("open a topic: {error}")))?
    }

    async fn partition(self: &Arc<Self>, place: &TopicPartition) -> Result<Arc<Partition>, BusError> {
        let unknown = || BusError::UnknownPartition { topic: place.topic.clone(), partition: place.partition };
        self.open(&place.topic).await?.get(place.partition as usize).cloned().ok_or_else(unknown)
    }
}

fn check_topic_name(name: &str) -> Result<(), BusError> {
    let fine = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(fine) {
        return Err(BusError::Config(format!("topic name {name:?}: letters, digits, '.', '_', '-'; not '.' first")));
    }
    Ok(())
}

/// The byte cap.
pub(crate) struct Space {
    bytes_max: u64,
    /// Reserved by appends on their way, and stored but not released.
    used: Mutex<(u64, u64)>,
    freed: Notify,
    metrics: BusMetrics,
}

impl Space {
    fn change(&self, change: impl FnOnce(&mut (u64, u64))) {
        let mut used = self.used.lock();
        change(&mut used);
        self.metrics.unreleased_bytes.set(used.1 as i64);
        drop(used);
        self.freed.notify_waiters();
    }

    fn found(&self, bytes: u64) {
        self.change(|(_, stored)| *stored += bytes);
    }

    /// What was reserved is now stored.
    pub(crate) fn store(&self, reserved: u64, bytes: u64) {
        self.change(|used| *used = (used.0 - reserved, used.1 + bytes));
    }

    /// What was reserved is not stored.
    pub(crate) fn give_back(&self, reserved: u64) {
        self.change(|used| used.0 -= reserved);
    }

    fn release(&self, bytes: u64) {
        self.change(|(_, stored)| *stored = stored.saturating_sub(bytes));
    }

    fn try_reserve(&self, bytes: u64) -> bool {
        let mut used = self.used.lock();
        let fits = used.0 + used.1 + bytes <= self.bytes_max;
        if fits {
            used.0 += bytes;
        }
        fits
    }
}

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
        let space = Space {
            bytes_max: config.backlog_max.to_u64(),
            used: Mutex::default(),
            freed: Notify::new(),
            metrics: metrics.clone(),
        };
        let room = Arc::new(Semaphore::new(config.queue_max.to_usize()));
        let shared = Arc::new(Shared {
            config,
            metrics,
            storage,
            topics: Mutex::default(),
            space,
            published: watch::Sender::new(0),
            stopped: OnceLock::new(),
            consumed: Mutex::default(),
        });
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
        let limit = self.shared.config.record_max.to_usize();
        if value.len() > limit {
            return Err(BusError::TooLarge { bytes: value.len(), limit });
        }
        let partition = self.shared.partition(place).await?;
        let bytes = DiskConfig::record_cost(value.len());
        let began = Instant::now();
        self.reserve(bytes).await?;
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
