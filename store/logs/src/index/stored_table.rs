//! A table of a block wherever it lies: whole in memory as blocks of before have it, or in pages that are read when they are needed.

use std::ops::ControlFlow;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::ask::BlockIndex;
use super::cache::{Key, OpenSection, Part};
use super::pages::PageList;
use super::sections::ANOTHER;
use super::table::Table;
use weir_blocks::StoreError;

/// Pages of a table that are read one by one for the rows of a question, and kept; of more all that lies between them is read. Of an id
/// that stands in several places, or of a long part of one, there are no more.
const PAGES_EACH: usize = 4;

/// Pages that are kept of those taken out of a piece that was read for its rows: some 100 KiB each. A part of an id may be one of several.
const PAGES_KEPT: usize = 16;

/// Bytes of neighbouring pages that are read in one piece: no more than other reads of a store, and two dozen for the largest table.
pub(super) const PIECE_BYTES: u64 = 8 << 20;

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

impl StoredTable<'_> {
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

    /// Adds the chunks of rows by their numbers. Errors with `Corrupt`.
    pub(super) fn add_chunks_of(&self, rows: &RoaringBitmap, found: &mut RoaringBitmap) -> Result<(), StoreError> {
        match self {
            Self::Whole(table) => rows.iter().for_each(|row| table.add_chunks_of(row as usize, found)),
            Self::Paged(paged) => paged.add_chunks_of(rows, found)?,
        }
        Ok(())
    }

    /// Reads every page, and keeps none. Errors with `Corrupt`.
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        match self {
            Self::Whole(_) => Ok(()),
            Self::Paged(paged) => paged.each_page(&Vec::from_iter(0..paged.list.pages()), |_, _| ControlFlow::Continue(())),
        }
    }
}

impl PagedTable<'_> {
    fn page(&self, page: usize) -> Result<Arc<Table>, StoreError> {
        let open = |bytes: &[u8]| Ok(OpenSection::Table(Arc::new(self.decode(page, bytes)?)));
        let range = self.list.range(page);
        self.table(self.index.part((self.section, Part::Page(range.start)), range, open)?)
    }

    /// One that is in memory.
    fn kept_page(&self, page: usize) -> Result<Option<Arc<Table>>, StoreError> {
        self.index.cache.peek(&self.page_key(page)).map(|section| self.table(section)).transpose()
    }

    fn table(&self, section: OpenSection) -> Result<Arc<Table>, StoreError> {
        match section {
            OpenSection::Table(table) => Ok(table),
            _ => Err(self.index.wrong(self.section, ANOTHER)),
        }
    }

    fn decode(&self, page: usize, bytes: &[u8]) -> Result<Table, StoreError> {
        let table = self.list.decode_page(page, bytes, self.index.chunks);
        table.map_err(|detail| self.index.wrong(self.section, detail))
    }

    /// Pages in memory first; nothing is read any more when all chunks are found.
    fn add_chunks_of(&self, rows: &RoaringBitmap, found: &mut RoaringBitmap) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for page in self.pages_of(rows) {
            match self.kept_page(page)? {
                Some(table) if self.add(rows, (page, &table), found).is_break() => return Ok(()),
                Some(_) => {}
                None => missing.push(page),
            }
        }
        if missing.len() > PAGES_EACH {
            return self.each_page(&missing, |page, table| self.add(rows, (page, table), found));
        }
        for page in missing {
            if self.add(rows, (page, &*self.page(page)?), found).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads pages, ascending, until `take` breaks: neighbours in one piece, with what lies between. None is kept.
    fn each_page(&self, pages: &[usize], mut take: impl FnMut(usize, &Table) -> ControlFlow<()>) -> Result<(), StoreError> {
        let mut left = pages;
        while let Some(first) = left.first() {
            let start = self.list.range(*first).start;
            let count = left.partition_point(|page| self.list.range(*page).end - start <= PIECE_BYTES).max(1);
            let (own, rest) = left.split_at(count);
            let end = self.list.range(own[count - 1]).end;
            self.index.may_read()?;
            let _turn = self.index.cache.turns.bytes(end - start, self.index.budget)?;
            let bytes = self.index.reader.section_range(self.section, start..end)?;
            for page in own {
                self.index.may_read()?;
                let range = self.list.range(*page);
                let table = self.decode(*page, &bytes[(range.start - start) as usize..(range.end - start) as usize])?;
                if take(*page, &table).is_break() {
                    return Ok(());
                }
            }
            left = rest;
        }
        Ok(())
    }

    /// What its rows are kept by.
    pub(super) fn rows_key(&self) -> Key {
        (Arc::clone(self.index.path), self.section, Part::Rows(self.list.all().start))
    }

    /// The rows if they are in memory.
    pub(super) fn kept_rows(&self) -> Result<Option<Arc<Vec<u8>>>, StoreError> {
        match self.index.cache.peek(&self.rows_key()) {
            None => Ok(None),
            Some(OpenSection::Rows(rows)) => Ok(Some(rows)),
            Some(_) => Err(self.index.wrong(self.section, ANOTHER)),
        }
    }

    /// Adds the chunks of rows by their numbers, out of `stored`: bytes of the section from `start` on, which have all of the table. Few pages
    /// are kept.
    pub(super) fn add_chunks_out_of(
        &self,
        (stored, start): (&[u8], u64),
        rows: &RoaringBitmap,
        found: &mut RoaringBitmap,
    ) -> Result<(), StoreError> {
        let pages = self.pages_of(rows);
        for page in &pages {
            self.index.check_ended()?;
            let range = self.list.range(*page);
            let table = Arc::new(self.decode(*page, &stored[(range.start - start) as usize..(range.end - start) as usize])?);
            let flow = self.add(rows, (*page, &table), found);
            if pages.len() <= PAGES_KEPT {
                self.index.cache.keep(self.page_key(*page), OpenSection::Table(table));
            }
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn page_key(&self, page: usize) -> Key {
        (Arc::clone(self.index.path), self.section, Part::Page(self.list.range(page).start))
    }

    /// The pages of rows, ascending.
    fn pages_of(&self, rows: &RoaringBitmap) -> Vec<usize> {
        let mut pages: Vec<usize> = rows.iter().map(|row| self.list.page_of(row)).collect();
        pages.dedup();
        pages
    }

    /// Adds the chunks of those rows that a page has; breaks when all chunks are found.
    fn add(&self, rows: &RoaringBitmap, (page, table): (usize, &Table), found: &mut RoaringBitmap) -> ControlFlow<()> {
        let own = self.list.rows_of(page);
        let named = own.clone().filter(|row| rows.contains(*row));
        named.for_each(|row| table.add_chunks_of((row - own.start) as usize, found));
        if found.len() == u64::from(self.index.chunks) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
