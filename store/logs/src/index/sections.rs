//! The sections of one block's index, opened when they are first needed and kept in the cache.

use std::ops::Range;
use std::sync::Arc;

use weir_model::panic_guard;

use super::super::schema::{FORMER_IDS, FORMER_INDEX, FORMER_PAIRS, ID_PAGES, IDS, INDEX, LONG_GRAMS, PAIR_PAGES, PAIRS};
use super::ask::BlockIndex;
use super::cache::{OpenSection, Part};
use super::ids::{IdLists, Ids, Shape};
use super::long::LongFilters;
use super::pages::PageList;
use super::pairs;
use super::stored_table::{PagedTable, StoredTable};
use super::table::Table;
use super::words::{FormerIndex, Words};
use weir_blocks::StoreError;

/// A section and what is made of it take about so many times its stored bytes: words are copied and unpacked besides, and of tables of
/// before each row, which is stored in a third, gets its place.
const UNPACKED_TIMES: u64 = 4;

/// The tables of ids.
pub(super) enum OpenIds {
    Paged(Arc<IdLists>),
    Whole(Arc<Ids>),
}

/// The table of pairs.
pub(super) enum OpenPairs {
    Paged(Arc<PageList>),
    Whole(Arc<Table>),
}

impl OpenIds {
    /// That of a shape, if there is one; `index` is the block's own.
    pub(super) fn table<'a>(&'a self, shape: Shape, index: &'a BlockIndex<'a>) -> Option<StoredTable<'a>> {
        match self {
            Self::Paged(lists) => lists.0.get(&shape).map(|list| paged(index, IDS, list)),
            Self::Whole(ids) => ids.0.get(&shape).map(StoredTable::Whole),
        }
    }

    /// All.
    pub(super) fn tables<'a>(&'a self, index: &'a BlockIndex<'a>) -> impl Iterator<Item = (Shape, StoredTable<'a>)> {
        let shapes: Vec<Shape> = match self {
            Self::Paged(lists) => lists.0.keys().copied().collect(),
            Self::Whole(ids) => ids.0.keys().copied().collect(),
        };
        shapes.into_iter().filter_map(move |shape| Some((shape, self.table(shape, index)?)))
    }

    /// Reads all of them. Errors with `Corrupt`.
    pub(super) fn verify(&self, index: &BlockIndex<'_>) -> Result<(), StoreError> {
        self.tables(index).try_for_each(|(_, table)| table.verify())
    }
}

impl OpenPairs {
    /// The one table; `index` is the block's own.
    pub(super) fn table<'a>(&'a self, index: &'a BlockIndex<'a>) -> StoredTable<'a> {
        match self {
            Self::Paged(list) => paged(index, PAIRS, list),
            Self::Whole(table) => StoredTable::Whole(table),
        }
    }
}

fn paged<'a>(index: &'a BlockIndex<'a>, section: &'static str, list: &'a PageList) -> StoredTable<'a> {
    StoredTable::Paged(PagedTable { index, section, list })
}

/// Sections that say where the pages of the tables of ids and of pairs lie, and those tables; and the filters of long tokens, which stand
/// for themselves.
pub(crate) const LISTS: [(&str, &str); 3] = [(ID_PAGES, IDS), (PAIR_PAGES, PAIRS), (LONG_GRAMS, LONG_GRAMS)];

impl BlockIndex<'_> {
    /// Keeps one of [`LISTS`] that was read with the block, so that an id takes one read, of its page. What is wrong with a list is said
    /// when it is asked, which reads it then.
    pub(crate) fn keep_list(&self, (name, table): (&'static str, &str), bytes: &[u8]) {
        let Some(pages) = self.reader.section_len(table) else { return };
        if let Ok(list) = self.open_list(name, bytes, pages) {
            self.cache.keep((Arc::clone(self.path), name, Part::Whole), list);
        }
    }

    fn open_list(&self, name: &'static str, bytes: &[u8], pages: u64) -> Result<OpenSection, StoreError> {
        let open = || match name {
            ID_PAGES => IdLists::decode(bytes, pages).map(|lists| OpenSection::IdLists(Arc::new(lists))),
            LONG_GRAMS => LongFilters::decode(bytes, self.chunks).map(|filters| OpenSection::Long(Arc::new(filters))),
            _ => pairs::decode_list(bytes, pages).map(|list| OpenSection::PairList(Arc::new(list))),
        };
        open().map_err(|detail| self.wrong(name, detail))
    }

    pub(super) fn words(&self) -> Result<Arc<Words>, StoreError> {
        let open = |bytes: &[u8]| {
            let words = self.guarded(INDEX, || Words::open(bytes))?;
            self.check_documents(INDEX, words.documents())?;
            Ok(OpenSection::Words(Arc::new(words)))
        };
        match self.section(INDEX, open)? {
            OpenSection::Words(words) => Ok(words),
            _ => Err(self.wrong(INDEX, ANOTHER)),
        }
    }

    /// The filters of long tokens; `None` when the block has none.
    pub(super) fn long(&self) -> Result<Option<Arc<LongFilters>>, StoreError> {
        let Some(length) = self.reader.section_len(LONG_GRAMS) else { return Ok(None) };
        match self.section(LONG_GRAMS, |bytes| self.open_list(LONG_GRAMS, bytes, length))? {
            OpenSection::Long(filters) => Ok(Some(filters)),
            _ => Err(self.wrong(LONG_GRAMS, ANOTHER)),
        }
    }

    pub(super) fn ids(&self) -> Result<OpenIds, StoreError> {
        let Some(pages) = self.reader.section_len(IDS) else { return self.former_ids().map(OpenIds::Whole) };
        match self.section(ID_PAGES, |bytes| self.open_list(ID_PAGES, bytes, pages))? {
            OpenSection::IdLists(lists) => Ok(OpenIds::Paged(lists)),
            _ => Err(self.wrong(ID_PAGES, ANOTHER)),
        }
    }

    fn former_ids(&self) -> Result<Arc<Ids>, StoreError> {
        let open = |bytes: &[u8]| {
            let ids = Ids::decode(bytes, self.chunks).map_err(|detail| self.wrong(FORMER_IDS, detail))?;
            Ok(OpenSection::FormerIds(Arc::new(ids)))
        };
        match self.section(FORMER_IDS, open)? {
            OpenSection::FormerIds(ids) => Ok(ids),
            _ => Err(self.wrong(FORMER_IDS, ANOTHER)),
        }
    }

    pub(super) fn pairs(&self) -> Result<OpenPairs, StoreError> {
        let Some(pages) = self.reader.section_len(PAIRS) else { return self.former_pairs().map(OpenPairs::Whole) };
        match self.section(PAIR_PAGES, |bytes| self.open_list(PAIR_PAGES, bytes, pages))? {
            OpenSection::PairList(list) => Ok(OpenPairs::Paged(list)),
            _ => Err(self.wrong(PAIR_PAGES, ANOTHER)),
        }
    }

    fn former_pairs(&self) -> Result<Arc<Table>, StoreError> {
        let open = |bytes: &[u8]| {
            let table = pairs::decode_former(bytes, self.chunks).map_err(|detail| self.wrong(FORMER_PAIRS, detail))?;
            Ok(OpenSection::Table(Arc::new(table)))
        };
        match self.section(FORMER_PAIRS, open)? {
            OpenSection::Table(table) => Ok(table),
            _ => Err(self.wrong(FORMER_PAIRS, ANOTHER)),
        }
    }

    pub(super) fn former(&self) -> Result<Arc<FormerIndex>, StoreError> {
        let open = |bytes: &[u8]| {
            let index = self.guarded(FORMER_INDEX, || FormerIndex::open(bytes))?;
            self.check_documents(FORMER_INDEX, index.documents())?;
            Ok(OpenSection::Former(Arc::new(index)))
        };
        match self.section(FORMER_INDEX, open)? {
            OpenSection::Former(index) => Ok(index),
            _ => Err(self.wrong(FORMER_INDEX, ANOTHER)),
        }
    }

    fn section(
        &self,
        name: &'static str,
        open: impl FnOnce(&[u8]) -> Result<OpenSection, StoreError>,
    ) -> Result<OpenSection, StoreError> {
        self.cache.get((Arc::clone(self.path), name, Part::Whole), || {
            self.may_read()?;
            let stored = self.reader.section_len(name).unwrap_or_default();
            let _turn = self.cache.turns.bytes(stored.saturating_mul(UNPACKED_TIMES), self.budget)?;
            open(&self.reader.section(name)?)
        })
    }

    /// A part of a section, which has checksums of its own.
    pub(super) fn part(
        &self,
        (name, part): (&'static str, Part),
        range: Range<u64>,
        open: impl FnOnce(&[u8]) -> Result<OpenSection, StoreError>,
    ) -> Result<OpenSection, StoreError> {
        self.cache.get((Arc::clone(self.path), name, part), || {
            self.may_read()?;
            open(&self.reader.section_range(name, range)?)
        })
    }

    /// Errors with `Unavailable` when nothing may be read, or the request has ended.
    pub(super) fn may_read(&self) -> Result<(), StoreError> {
        if self.at_hand { Err(StoreError::Unavailable) } else { self.check_ended() }
    }

    /// Errors with `Unavailable` when the request has ended.
    pub(super) fn check_ended(&self) -> Result<(), StoreError> {
        self.budget.check().map_err(|_ended| StoreError::Unavailable)
    }

    /// The section's checksum was right, so only bytes made to harm get this far; tantivy trusts its files and panics.
    pub(super) fn guarded<T, E: ToString>(&self, name: &str, ask: impl FnOnce() -> Result<T, E>) -> Result<T, StoreError> {
        match panic_guard::catch(ask) {
            Ok(answer) => answer.map_err(|error| self.wrong(name, error)),
            Err(_) => Err(self.wrong(name, "tantivy cannot read it")),
        }
    }

    fn check_documents(&self, name: &str, documents: u32) -> Result<(), StoreError> {
        match documents == self.chunks {
            true => Ok(()),
            false => Err(self.wrong(name, format!("{documents} chunks, {} are there", self.chunks))),
        }
    }

    pub(super) fn wrong(&self, name: &str, detail: impl ToString) -> StoreError {
        StoreError::corrupt(self.path, format!("section {name}: {}", detail.to_string()))
    }
}

/// Sections are kept by their names, so that none is taken for another.
pub(super) const ANOTHER: &str = "another section";
