//! Packs of chunks that were opened lately, with what was unpacked of their columns: bounded in bytes, shared by all blocks.

use std::ops::Deref;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::stored::StoredLines;
use weir_blocks::StoreError;

/// By the path of their block and their number in it.
#[derive(Clone)]
pub(crate) struct OpenedPacks(Arc<Cache<Key, Kept, ByMemory>>);

pub(crate) type Key = (Arc<str>, u32);

/// A key and its place among the others.
const ENTRY_BYTES: u64 = 256;

#[derive(Clone)]
struct Kept {
    lines: Arc<StoredLines>,
    memory: u64,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<Key, Kept> for ByMemory {
    fn weight(&self, _: &Key, kept: &Kept) -> u64 {
        kept.memory + ENTRY_BYTES
    }
}

impl OpenedPacks {
    /// Holds at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self(Arc::new(Cache::with_weighter(1024, bytes_max, ByMemory)))
    }

    /// Whether there is room for anything.
    pub(crate) fn keeps(&self) -> bool {
        self.0.capacity() > 0
    }

    /// Whether a pack is there.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.0.peek(key).is_some()
    }

    /// A pack, opened by `open` when it is not there. Two that miss at once open it twice, which is harmless.
    pub(crate) fn get(&self, key: Key, open: impl FnOnce() -> Result<StoredLines, StoreError>) -> Result<OpenedPack, StoreError> {
        let (lines, known) = match self.0.get(&key) {
            Some(kept) => (kept.lines, kept.memory),
            None => (Arc::new(open()?), 0),
        };
        Ok(OpenedPack { lines, home: Some((self.clone(), key, known)) })
    }
}

/// A pack that somebody reads. Columns are unpacked while it is read, so that only afterwards it is known how large it is: it
/// goes into the cache when it is dropped, in place of what was there of it.
pub(crate) struct OpenedPack {
    lines: Arc<StoredLines>,
    home: Option<(OpenedPacks, Key, u64)>,
}

impl From<StoredLines> for OpenedPack {
    /// One that goes to no cache.
    fn from(lines: StoredLines) -> Self {
        Self { lines: Arc::new(lines), home: None }
    }
}

impl Deref for OpenedPack {
    type Target = StoredLines;

    fn deref(&self) -> &StoredLines {
        &self.lines
    }
}

impl Drop for OpenedPack {
    fn drop(&mut self) {
        let Some((cache, key, known)) = self.home.take() else { return };
        let memory = self.lines.memory() as u64;
        if memory != known {
            cache.0.insert(key, Kept { lines: Arc::clone(&self.lines), memory });
        }
    }
}
