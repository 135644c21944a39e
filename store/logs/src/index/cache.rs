//! What is open of the indexes of all blocks, bounded in bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::ids::Ids;
use super::pairs::Pairs;
use super::words::{FormerIndex, Words};
use weir_blocks::StoreError;

/// An opened section.
#[derive(Clone)]
pub(super) enum OpenSection {
    Words(Arc<Words>),
    Ids(Arc<Ids>),
    Pairs(Arc<Pairs>),
    Former(Arc<FormerIndex>),
}

/// Opened sections by the path of their block and their name.
#[derive(Clone)]
pub(crate) struct IndexCache(Arc<Cache<Key, OpenSection, ByBytes>>);

type Key = (Arc<str>, &'static str);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, OpenSection> for ByBytes {
    fn weight(&self, _: &Key, section: &OpenSection) -> u64 {
        let memory = match section {
            OpenSection::Words(words) => words.memory(),
            OpenSection::Ids(ids) => ids.memory(),
            OpenSection::Pairs(pairs) => pairs.memory(),
            OpenSection::Former(index) => index.memory(),
        };
        memory as u64 + 1024
    }
}

impl IndexCache {
    /// Holds at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self(Arc::new(Cache::with_weighter(256, bytes_max, ByBytes)))
    }

    /// A section of a block, opened by `open` when it is not there. Two that miss at once open it twice, which is harmless.
    pub(super) fn get(
        &self,
        key: Key,
        open: impl FnOnce() -> Result<OpenSection, StoreError>,
    ) -> Result<OpenSection, StoreError> {
        if let Some(section) = self.0.get(&key) {
            return Ok(section);
        }
        let section = open()?;
        self.0.insert(key, section.clone());
        Ok(section)
    }
}
