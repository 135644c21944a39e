//! What a disk log, its writer and its consumers share: topics, room, and whether it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::config::DiskConfig;
use super::partition::Partition;
use super::storage::{Storage, disk_error, make_dirs};
use crate::{BusError, BusMetrics, TopicPartition};

type Topic = Arc<[Arc<Partition>]>;

/// Held by the log, its writer and its consumers.
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
    pub(crate) fn new(config: DiskConfig, metrics: BusMetrics, storage: Arc<dyn Storage>) -> Self {
        let bytes_max = config.backlog_max.to_u64();
        let space = Space { bytes_max, used: Mutex::default(), freed: Notify::new(), metrics: metrics.clone() };
        Self {
            config,
            metrics,
            storage,
            topics: Mutex::default(),
            space,
            published: watch::Sender::new(0),
            stopped: OnceLock::new(),
            consumed: Mutex::default(),
        }
    }

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
    pub(crate) async fn open(self: &Arc<Self>, name: &str) -> Result<Topic, BusError> {
        self.check()?;
        if let Some(topic) = self.topics.try_lock().and_then(|topics| topics.get(name).cloned()) {
            return Ok(topic);
        }
        let (own, name) = (self.clone(), name.to_owned());
        let opened = tokio::task::spawn_blocking(move || own.topic(&name));
        opened.await.map_err(|error| BusError::Stopped(format!("open a topic: {error}")))?
    }

    pub(crate) async fn partition(self: &Arc<Self>, place: &TopicPartition) -> Result<Arc<Partition>, BusError> {
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
    pub(crate) freed: Notify,
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

    pub(crate) fn release(&self, bytes: u64) {
        self.change(|(_, stored)| *stored = stored.saturating_sub(bytes));
    }

    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let used = self.used.lock();
        used.0 + used.1 + bytes <= self.bytes_max
    }

    pub(crate) fn try_reserve(&self, bytes: u64) -> bool {
        let mut used = self.used.lock();
        let fits = used.0 + used.1 + bytes <= self.bytes_max;
        if fits {
            used.0 += bytes;
        }
        fits
    }
}
