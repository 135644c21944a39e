//! Reading ranges of a stored object: from the object store with a shared, byte-bounded cache, or from memory.
//!
//! Not here: what the bytes mean ([`crate::block`]). Blocks are opened by [`crate::manifest::OpenBlocks`].

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::{ObjectStore, ObjectStoreExt};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::StoreError;
use crate::block::Blob;

/// Blocks that are opened at once in a process; each waits for the object store on a thread of its own.
pub const OPENED_AT_ONCE: usize = 16;

/// What all blobs of a process share: ranges of objects that were read lately, and turns at opening blocks. Clones are the same.
/// Objects never change, so nothing in it is ever stale.
#[derive(Clone)]
pub struct BlobCache {
    ranges: Arc<Cache<RangeKey, Bytes, ByBytes>>,
    turns: Arc<Semaphore>,
}

type RangeKey = (Arc<str>, u64, u64);

#[derive(Clone)]
struct ByBytes;

impl Weighter<RangeKey, Bytes> for ByBytes {
    fn weight(&self, _: &RangeKey, bytes: &Bytes) -> u64 {
        // The key and the entry take about as much as a short path.
        bytes.len() as u64 + 128
    }
}

impl BlobCache {
    /// A cache that holds at most `bytes_max`. A range that alone is larger than a shard of it is not kept.
    pub fn new(bytes_max: u64) -> Self {
        // Ranges read are chunks and sections, 64 KiB and more; the estimate only sizes the table.
        let ranges = (bytes_max / (64 << 10)).clamp(64, 1 << 20) as usize;
        let ranges = Arc::new(Cache::with_weighter(ranges, bytes_max, ByBytes));
        Self { ranges, turns: Arc::new(Semaphore::new(OPENED_AT_ONCE)) }
    }

    /// Waits for a turn at opening a block; held by the thread that does it.
    pub async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.turns).acquire_owned().await.expect("invariant: nobody closes it")
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.ranges.weight()
    }
}

/// How long a read of the object store is waited for, and who else hears of its outcome: the affair of whoever reads.
pub trait ReadPolicy: Send + Sync {
    /// The read's outcome, or `Unavailable` when it is not waited for any longer.
    fn wait<'a>(&'a self, read: ObjectRead<'a>) -> ObjectRead<'a>;
}

/// A read of the object store under way.
pub type ObjectRead<'a> = BoxFuture<'a, Result<Bytes, StoreError>>;

/// An object in the object store.
///
/// `read` waits for the store on the given runtime (`Handle::block_on`): call it only off the async threads
/// (`spawn_blocking`), where it would panic otherwise.
pub struct StoreBlob {
    store: Arc<dyn ObjectStore>,
    location: object_store::path::Path,
    path: Arc<str>,
    size: u64,
    cache: BlobCache,
    runtime: tokio::runtime::Handle,
    policy: Option<Arc<dyn ReadPolicy>>,
}

impl StoreBlob {
    /// An object whose size is known (the manifest says it); nothing is read yet. Without a policy a read takes as long as the store's
    /// client goes on trying.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        path: &str,
        size: u64,
        cache: BlobCache,
        runtime: tokio::runtime::Handle,
        policy: Option<Arc<dyn ReadPolicy>>,
    ) -> Self {
        let location = object_store::path::Path::from(path);
        Self { store, location, path: path.into(), size, cache, runtime, policy }
    }

    async fn read_from_store(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = self.store.get_range(&self.location, range).await;
        read.map_err(|source| StoreError::object("read", &self.path, source))
    }

    fn wait(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = self.read_from_store(range);
        self.runtime.block_on(async {
            match &self.policy {
                Some(policy) => policy.wait(read.boxed()).await,
                None => read.await,
            }
        })
    }
}

impl Blob for StoreBlob {
    fn path(&self) -> &str {
        &self.path
    }

    fn len(&self) -> u64 {
        self.size
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let key = (Arc::clone(&self.path), range.start, range.end);
        if let Some(bytes) = self.cache.ranges.get(&key) {
            return Ok(bytes);
        }
        let bytes = self.wait(range)?;
        self.cache.ranges.insert(key, bytes.clone());
        Ok(bytes)
    }

    fn read_once(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() { Ok(Bytes::new()) } else { self.wait(range) }
    }
}

/// Bytes in memory that read like a stored object; for tests, and for blocks that were just built.
pub struct MemoryBlob {
    path: String,
    bytes: Bytes,
}

impl MemoryBlob {
    /// Under a path that messages will name.
    pub fn new(path: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { path: path.into(), bytes: bytes.into() }
    }
}

impl Blob for MemoryBlob {
    fn path(&self) -> &str {
        &self.path
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.start > range.end || range.end > self.len() {
            let detail = format!("bytes {}..{} of {} were asked for", range.start, range.end, self.len());
            return Err(StoreError::corrupt(&self.path, detail));
        }
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn a_range_is_read_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = object_store::path::Path::from("a/b");
        runtime.block_on(store.put(&path, "0123456789".into())).unwrap();
        let cache = BlobCache::new(1 << 20);
        let blob = StoreBlob::new(Arc::clone(&store), "a/b", 10, cache.clone(), runtime.handle().clone(), None);
        assert_eq!(&blob.read(2..5).unwrap()[..], b"234");
        runtime.block_on(store.delete(&path)).unwrap();
        assert_eq!(&blob.read(2..5).unwrap()[..], b"234");
        assert!(cache.bytes() >= 3);
        let message = blob.read(2..6).unwrap_err().to_string();
        assert!(message.starts_with("read a/b: "), "{message}");
    }

    #[test]
    fn what_is_read_once_is_not_kept() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        runtime.block_on(store.put(&object_store::path::Path::from("a"), "0123456789".into())).unwrap();
        let cache = BlobCache::new(1 << 20);
        let blob = StoreBlob::new(store, "a", 10, cache.clone(), runtime.handle().clone(), None);
        assert_eq!(&blob.read_once(2..5).unwrap()[..], b"234");
        assert_eq!(&blob.read_once(5..5).unwrap()[..], b"");
        assert_eq!(cache.bytes(), 0);
        assert!(blob.read_once(20..30).is_err());
    }

    #[test]
    fn the_cache_stays_below_its_bytes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        runtime.block_on(store.put(&object_store::path::Path::from("a"), vec![1_u8; 1 << 20].into())).unwrap();
        let cache = BlobCache::new(64 << 10);
        let blob = StoreBlob::new(store, "a", 1 << 20, cache.clone(), runtime.handle().clone(), None);
        for at in 0..1024 {
            blob.read(at * 1024..(at + 1) * 1024).unwrap();
        }
        assert!(cache.bytes() <= 64 << 10, "{}", cache.bytes());
    }
}
