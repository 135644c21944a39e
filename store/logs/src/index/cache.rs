//! What is open of the indexes of all blocks, bounded in bytes.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::ids::{IdLists, Ids};
use super::pages::PageList;
use super::table::Table;
use super::words::{FormerIndex, Words};
use weir_blocks::StoreError;

/// An opened section, or a part of one.
#[derive(Clone)]
pub(super) enum OpenSection {
    Words(Arc<Words>),
    IdLists(Arc<IdLists>),
    PairList(Arc<PageList>),
    Table(Arc<Table>),
    /// Of a table, without their chunks.
    Rows(Arc<Vec<u8>>),
    FormerIds(Arc<Ids>),
    Former(Arc<FormerIndex>),
}

/// What of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Whole,
    /// The page that begins there.
    Page(u64),
    /// The rows of the pages of a table that begins there.
    Rows(u64),
}

/// Opened sections by the path of their block and their name.
#[derive(Clone)]
pub(crate) struct IndexCache(Arc<Cache<Key, OpenSection, ByBytes>>);

type Key = (Arc<str>, &'static str, Part);

/// For the size of the table only: pages and rows have some 64 KiB.
const ENTRY_BYTES: u64 = 64 << 10;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, OpenSection> for ByBytes {
    fn weight(&self, _: &Key, section: &OpenSection) -> u64 {
        let memory = match section {
            OpenSection::Words(words) => words.memory(),
            OpenSection::IdLists(lists) => lists.memory(),
            OpenSection::PairList(list) => list.memory(),
            OpenSection::Table(table) => table.memory(),
            OpenSection::Rows(rows) => rows.len(),
            OpenSection::FormerIds(ids) => ids.memory(),
            OpenSection::Former(index) => index.memory(),
        };
        memory as u64 + 1024
    }
}

impl IndexCache {
    /// Holds at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        // In one piece: a part of it would keep nothing that is larger than the part, and the rows of a large block's ids are.
        let entries = (bytes_max / ENTRY_BYTES).clamp(64, 1 << 16) as usize;
        let options = OptionsBuilder::new().shards(1).estimated_items_capacity(entries).weight_capacity(bytes_max).build();
        let options = options.expect("invariant: all that it asks for is said");
        Self(Arc::new(Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default())))
    }

    /// A section or a part of a block, opened by `open` when it is not there. Two that miss at once open it twice, which is harmless.
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
