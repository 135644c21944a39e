//! A table of a block wherever it lies: whole in memory as blocks of before have it, or in pages that are read when they are needed.

use std::ops::Deref;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::ask::BlockIndex;
use super::cache::{OpenSection, Part};
use super::pages::PageList;
use super::sections::ANOTHER;
use super::table::Table;
use weir_blocks::StoreError;

/// One table.
pub(super) enum StoredTable<'a> {
    Whole(&'a Table),
    Paged(PagedTable<'a>),
}

/// One whose pages lie in a section of its block.
pub(super) struct PagedTable<'a> {
    pub(super) index: &'a BlockIndex<'a>,
    pub(super) section: &'static str,
    pub(super) list: &'a PageList,
}

/// Rows, one after the other.
pub(super) enum Rows<'a> {
    Whole(&'a [u8]),
    Paged(Arc<Vec<u8>>),
}

impl Deref for Rows<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Whole(rows) => rows,
            Self::Paged(rows) => rows,
        }
    }
}

impl StoredTable<'_> {
    /// Bytes of a row.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Whole(table) => table.width(),
            Self::Paged(paged) => paged.list.width(),
        }
    }

    /// Adds the chunks of the row that is like this one, if there is one. Errors with `Corrupt`.
    pub(super) fn add_chunks_with(&self, row: &[u8], found: &mut RoaringBitmap) -> Result<(), StoreError> {
        match self {
            Self::Whole(table) => table.add_chunks_with(row, found),
            Self::Paged(paged) => {
                if let Some(page) = paged.list.page_with(row) {
                    paged.page(page)?.add_chunks_with(row, found);
                }
            }
        }
        Ok(())
    }

    /// Adds the chunks of row number `at`. Errors with `Corrupt`.
    pub(super) fn add_chunks_of(&self, at: usize, found: &mut RoaringBitmap) -> Result<(), StoreError> {
        match self {
            Self::Whole(table) => table.add_chunks_of(at, found),
            Self::Paged(paged) => {
                let (page, row) = paged.list.page_of(at);
                paged.page(page)?.add_chunks_of(row, found);
            }
        }
        Ok(())
    }

    /// Reads every page that is not in memory yet. Errors with `Corrupt`.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        match self {
            Self::Whole(_) => Ok(()),
            Self::Paged(paged) => (0..paged.list.pages()).try_for_each(|page| paged.page(page).map(drop)),
        }
    }

    /// All rows. Errors with `Corrupt`.
    pub(super) fn rows(&self) -> Result<Rows<'_>, StoreError> {
        match self {
            Self::Whole(table) => Ok(Rows::Whole(table.rows())),
            Self::Paged(paged) => paged.rows().map(Rows::Paged),
        }
    }
}

impl PagedTable<'_> {
    fn page(&self, page: usize) -> Result<Arc<Table>, StoreError> {
        let range = self.list.range(page);
        let open = |bytes: &[u8]| {
            let table = self.list.decode_page(page, bytes, self.index.chunks);
            Ok(OpenSection::Table(Arc::new(table.map_err(|detail| self.index.wrong(self.section, detail))?)))
        };
        match self.index.part((self.section, Part::Page(range.start)), range, open)? {
            OpenSection::Table(table) => Ok(table),
            _ => Err(self.index.wrong(self.section, ANOTHER)),
        }
    }

    fn rows(&self) -> Result<Arc<Vec<u8>>, StoreError> {
        let range = self.list.all();
        let open = |bytes: &[u8]| {
            let rows = self.list.decode_rows(bytes).map_err(|detail| self.index.wrong(self.section, detail))?;
            Ok(OpenSection::Rows(Arc::new(rows)))
        };
        match self.index.part((self.section, Part::Rows(range.start)), range, open)? {
            OpenSection::Rows(rows) => Ok(rows),
            _ => Err(self.index.wrong(self.section, ANOTHER)),
        }
    }
}
