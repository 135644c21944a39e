//! Reading ranges of a stored object: from the object store with a shared, byte-bounded cache, or from memory.
//!
//! Not here: what the bytes mean ([`crate::block`]). Blocks are opened by [`crate::manifest::OpenBlocks`].

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use object_store::local::LocalFileSystem;
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
    files: Option<Arc<LocalFileSystem>>,
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
        Self { ranges, turns: Arc::new(Semaphore::new(OPENED_AT_ONCE)), files: None }
    }

    /// Of an object store that is a directory: its files are read in place, by the thread that asks. Through the store each read would go to another
    /// thread and back, which costs more than reading what the system has in memory.
    #[must_use]
    pub fn with_files_of(self, directory: &Path) -> Self {
        // Where it cannot be opened so, the store says why.
        Self { files: LocalFileSystem::new_with_prefix(directory).ok().map(Arc::new), ..self }
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

    /// One read, as long as the policy waits for it.
    async fn read_waiting(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = self.read_from_store(range);
        match &self.policy {
            Some(policy) => policy.wait(read.boxed()).await,
            None => read.await,
        }
    }

    fn wait(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        match self.files() {
            Some(files) => self.read_file(files, range),
            None => self.runtime.block_on(self.read_waiting(range)),
        }
    }

    /// Several ranges, at once where that is a gain.
    fn wait_for_all(&self, ranges: impl Iterator<Item = Range<u64>>) -> Result<Vec<Bytes>, StoreError> {
        match self.files() {
            Some(files) => ranges.map(|range| self.read_file(files, range)).collect(),
            None => self.runtime.block_on(try_join_all(ranges.map(|range| self.read_waiting(range)))),
        }
    }

    /// A read that somebody stops waiting for goes through the store.
    fn files(&self) -> Option<&LocalFileSystem> {
        self.cache.files.as_deref().filter(|_| self.policy.is_none())
    }

    fn read_file(&self, files: &LocalFileSystem, range: Range<u64>) -> Result<Bytes, StoreError> {
        let refused = |source| StoreError::object("read", &self.path, source);
        let path = files.path_to_filesystem(&self.location).map_err(refused)?;
        let length = range.end.min(self.size).saturating_sub(range.start);
        match File::open(path).and_then(|file| read_at(&file, (range.start, length as usize))) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(refused(object_store::Error::NotFound { path: self.path.to_string(), source: error.into() }))
            }
            Err(error) => Err(refused(object_store::Error::Generic { store: "LocalFileSystem", source: error.into() })),
        }
    }

    fn key(&self, range: &Range<u64>) -> RangeKey {
        (Arc::clone(&self.path), range.start, range.end)
    }
}

/// So many bytes from there on; a file that is too short gives less, as the store does: whoever reads it knows how much there has to be. In one
/// piece: of several the system would take it that what follows is wanted too, and read more of the disk.
fn read_at(file: &File, (start, length): (u64, usize)) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut read) = (vec![0; length], 0);
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], start + read as u64) {
            Ok(0) => bytes.truncate(read),
            Ok(more) => read += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// What lies between two ranges is read with them up to so much: sections begin at multiples of eight.
const GAP_BYTES: u64 = 4 << 10;

/// Ranges that are one read, each with where its own ranges are among `ranges`.
fn joined(ranges: &[Range<u64>], wanted: impl Iterator<Item = usize>) -> Vec<(Range<u64>, Vec<usize>)> {
    let mut order: Vec<usize> = wanted.collect();
    order.sort_unstable_by_key(|at| ranges[*at].start);
    let mut reads = Vec::<(Range<u64>, Vec<usize>)>::new();
    for at in order {
        let range = &ranges[at];
        match reads.last_mut().filter(|(read, _)| range.start <= read.end.saturating_add(GAP_BYTES)) {
            Some((read, own)) => {
                read.end = read.end.max(range.end);
                own.push(at);
            }
            None => reads.push((range.clone(), vec![at])),
        }
    }
    reads
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
        let key = self.key(&range);
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

    fn read_all(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        let mut found: Vec<Option<Bytes>> = ranges
            .iter()
            .map(|range| if range.is_empty() { Some(Bytes::new()) } else { self.cache.ranges.get(&self.key(range)) })
            .collect();
        let reads = joined(ranges, (0..ranges.len()).filter(|at| found[*at].is_none()));
        let all = self.wait_for_all(reads.iter().map(|(read, _)| read.clone()))?;
        for ((read, own), bytes) in reads.into_iter().zip(all) {
            if bytes.len() as u64 != read.end - read.start {
                let detail =
                    format!("{} bytes at byte {} where {} were expected", bytes.len(), read.start, read.end - read.start);
                return Err(StoreError::corrupt(&self.path, detail));
            }
            for at in &own {
                let (range, alone) = (&ranges[*at], own.len() == 1);
                // A copy, so that who keeps one range does not keep its neighbours.
                let part = bytes.slice((range.start - read.start) as usize..(range.end - read.start) as usize);
                let part = if alone { part } else { Bytes::copy_from_slice(&part) };
                self.cache.ranges.insert(self.key(range), part.clone());
                found[*at] = Some(part);
            }
        }
        Ok(found.into_iter().flatten().collect())
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
    fn files_are_read_as_the_store_reads_them() {
        let (runtime, folder) = (tokio::runtime::Builder::new_current_thread().build().unwrap(), tempfile::tempdir().unwrap());
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        runtime.block_on(store.put(&object_store::path::Path::from("logs/0 %/a"), "0123456789".into())).unwrap();
        for cache in [BlobCache::new(0), BlobCache::new(0).with_files_of(folder.path())] {
            let is_file = cache.files.is_some();
            let blob = |path, size| StoreBlob::new(Arc::clone(&store), path, size, cache.clone(), runtime.handle().clone(), None);
            assert_eq!(blob("logs/0 %/a", 10).files().is_some(), is_file);
            assert_eq!(&blob("logs/0 %/a", 10).read(2..5).unwrap()[..], b"234");
            let all = blob("logs/0 %/a", 10).read_all(&[0..2, 9..10]).unwrap();
            assert_eq!(all, [&b"01"[..], b"9"]);
            // Less than the manifest says is there.
            assert_eq!(&blob("logs/0 %/a", 20).read_once(8..20).unwrap()[..], b"89");
            let error = blob("logs/0 %/b", 10).read(0..2).unwrap_err();
            assert!(matches!(error, StoreError::Object { source: object_store::Error::NotFound { .. }, .. }), "{error}");
        }
    }

    #[test]
    fn neighbours_are_one_read_and_others_are_read_at_once() {
        let range = |start, end| start..end;
        let ranges = [range(9000, 9010), range(0, 8), range(8, 16), range(3, 5), range(30_000, 30_001)];
        let reads = joined(&ranges, 0..5);
        assert_eq!(reads, [(0..16, vec![1, 3, 2]), (9000..9010, vec![0]), (30_000..30_001, vec![4])]);

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let bytes: Vec<u8> = (0..40_000_u32).map(|at| (at * 7 % 251) as u8).collect();
        runtime.block_on(store.put(&object_store::path::Path::from("a"), bytes.clone().into())).unwrap();
        for cache_bytes in [0, 1 << 20] {
            let cache = BlobCache::new(cache_bytes);
            let blob = StoreBlob::new(Arc::clone(&store), "a", 40_000, cache.clone(), runtime.handle().clone(), None);
            blob.read(8..16).unwrap();
            for empty in [0, 1] {
                let ranges: Vec<Range<u64>> = ranges.iter().cloned().chain((0..empty).map(|_| 5..5)).collect();
                let read = blob.read_all(&ranges).unwrap();
                let expected: Vec<&[u8]> = ranges.iter().map(|range| &bytes[range.start as usize..range.end as usize]).collect();
                assert_eq!(read, expected);
            }
            assert_eq!(cache.bytes() > 0, cache_bytes > 0);
        }
        let blob = StoreBlob::new(store, "a", 50_000, BlobCache::new(0), runtime.handle().clone(), None);
        assert!(blob.read_all(&[range(0, 4), range(39_990, 45_000)]).is_err());
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
