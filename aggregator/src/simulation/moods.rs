//! A store and a bus with moods, for the schedules of whole aggregators.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use weir_bus::sim::Sim;
use weir_bus::{Ack, BusError, Consumer, Log, TopicPartition};

/// A store in memory with moods.
#[derive(Debug)]
pub(super) struct Moody {
    inner: InMemory,
    mood: Mutex<Mood>,
    changed: Notify,
}

#[derive(Debug)]
struct Mood {
    random: StdRng,
    /// In a hundred requests.
    fails: u32,
    /// Writes and listings take up to so long. Reads do not: those of blocks hold the clock of the test while they wait.
    slow: Duration,
    /// Writes, listings and manifests get no answer.
    silent: bool,
}

impl Moody {
    pub(super) fn new(seed: u64) -> Self {
        let mood = Mood { random: StdRng::seed_from_u64(seed), fails: 0, slow: Duration::ZERO, silent: false };
        Self { inner: InMemory::new(), mood: Mutex::new(mood), changed: Notify::new() }
    }

    pub(super) fn set(&self, fails: u32, slow: Duration, silent: bool) {
        let mut mood = self.mood.lock();
        (mood.fails, mood.slow, mood.silent) = (fails, slow, silent);
        self.changed.notify_waiters();
    }

    async fn answers(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.mood.lock().silent {
                return;
            }
            changed.await;
        }
    }

    fn fails(&self) -> bool {
        let mut mood = self.mood.lock();
        let fails = mood.fails;
        fails > mood.random.random_range(0..100)
    }

    async fn pause(&self) {
        self.answers().await;
        let pause = {
            let mut mood = self.mood.lock();
            let slow = mood.slow.as_millis() as u64;
            Duration::from_millis(mood.random.random_range(0..=slow))
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

fn moody() -> object_store::Error {
    object_store::Error::Generic { store: "moody", source: "not now".into() }
}

impl fmt::Display for Moody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Moody")
    }
}

type Stored<T> = object_store::Result<T>;

#[async_trait]
impl ObjectStore for Moody {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Stored<PutResult> {
        self.pause().await;
        if self.fails() {
            return Err(moody());
        }
        let stored = self.inner.put_opts(location, payload, options).await?;
        // Stored, and the answer is lost.
        if self.fails() { Err(moody()) } else { Ok(stored) }
    }
    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Stored<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Stored<GetResult> {
        if location.as_ref().contains("/manifest/") {
            self.answers().await;
        }
        if self.fails() { Err(moody()) } else { self.inner.get_opts(location, options).await }
    }
    fn delete_stream(&self, locations: BoxStream<'static, Stored<Path>>) -> BoxStream<'static, Stored<Path>> {
        self.inner.delete_stream(locations)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Stored<ObjectMeta>> {
        if self.fails() {
            return futures_util::stream::once(async { Err(moody()) }).boxed();
        }
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Stored<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Stored<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The simulated bus on a disk that is full by turns: appends fail, and so does letting go of what is sealed.
pub(super) struct Disk {
    pub(super) sim: Sim,
    pub(super) full: AtomicBool,
}

impl Disk {
    fn write(&self, operation: &'static str) -> Result<(), BusError> {
        if !self.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(BusError::Disk { operation, path: "segment".into(), source: std::io::ErrorKind::StorageFull.into() })
    }
}

#[async_trait]
impl Log for Disk {
    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        self.sim.partitions(topic).await
    }
    async fn append(&self, place: &TopicPartition, value: Bytes) -> Result<Ack, BusError> {
        self.write("append to")?;
        self.sim.append(place, value).await
    }
    async fn consume(&self, topics: &[&str], member: &str) -> Result<Box<dyn Consumer>, BusError> {
        self.sim.consume(topics, member).await
    }
    async fn bounds(&self, place: &TopicPartition) -> Result<(u64, u64), BusError> {
        self.sim.bounds(place).await
    }
    async fn release(&self, place: &TopicPartition, offset: u64) -> Result<(), BusError> {
        self.write("release")?;
        self.sim.release(place, offset).await
    }
}
