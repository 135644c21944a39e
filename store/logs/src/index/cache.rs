//! What is open of the indexes of all blocks, bounded in bytes.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::ids::{IdLists, Ids};
use super::long::LongFilters;
use super::pages::PageList;
use super::table::Table;
use super::turns::Turns;
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
    Long(Arc<LongFilters>),
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
pub(crate) struct IndexCache {
    kept: Arc<Cache<Key, OpenSection, ByBytes>>,
    pub(crate) turns: Turns,
}

pub(super) type Key = (Arc<str>, &'static str, Part);

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
            OpenSection::Long(filters) => filters.memory(),
            OpenSection::FormerIds(ids) => ids.memory(),
            OpenSection::Former(index) => index.memory(),
        };
        memory as u64 + 1024
    }
}

impl IndexCache {
    /// Holds at most so many bytes: three quarters are kept, the last one is for what is being read and unpacked. Of 160 MiB that
    /// is 40, where the rows of a large block have 60 at most, which are read alone.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let reading = bytes_max / 4;
        Self { kept: Self::kept(bytes_max - reading), turns: Turns::new(reading) }
    }

    /// One that keeps nothing, for who reads a block once; turns are those of this one.
    pub(crate) fn keeping_nothing(&self) -> Self {
        Self { kept: Self::kept(0), turns: self.turns.clone() }
    }

    fn kept(bytes_max: u64) -> Arc<Cache<Key, OpenSection, ByBytes>> {
        // In one piece: a part of it would keep nothing that is larger than the part, and the rows of a large block's ids are.
        let entries = (bytes_max / ENTRY_BYTES).clamp(64, 1 << 16) as usize;
        let options = OptionsBuilder::new().shards(1).estimated_items_capacity(entries).weight_capacity(bytes_max).build();
        let options = options.expect("invariant: all that it asks for is said");
        Arc::new(Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default()))
    }

    /// What is there of it.
    pub(super) fn peek(&self, key: &Key) -> Option<OpenSection> {
        self.kept.get(key)
    }

    /// Keeps what was opened.
    pub(super) fn keep(&self, key: Key, section: OpenSection) {
        self.kept.insert(key, section);
    }

    /// A section or a part of a block, opened by `open` when it is not there. Two that miss at once open it twice, which is harmless.
    pub(super) fn get(
        &self,
        key: Key,
        open: impl FnOnce() -> Result<OpenSection, StoreError>,
    ) -> Result<OpenSection, StoreError> {
        if let Some(section) = self.kept.get(&key) {
            return Ok(section);
        }
        let section = open()?;
        self.kept.insert(key, section.clone());
        Ok(section)
    }
}
