//! Tables in pages of rows, and a section that says where each page begins: a row is found by reading that section and one page.
//! Drawn in `docs/formats/logs_block.md`.
//!
//! Not here: who reads and keeps them (`stored_table`), what rows mean (their owners).

use std::ops::Range;

use super::table::{SECTION_BYTES_MAX, Table, TableBuilder, decode_rows};
use weir_blocks::StoreError;
use weir_blocks::packed::{Cursor, put_varint};
use weir_blocks::scratch::{Growing, ScratchSpace, SectionBytes};

/// Rows of a page: of ids some 32 KiB before compression, which are read in a request and unpacked in a tenth of a millisecond.
const PAGE_ROWS: usize = 2048;
/// Bytes of a page's checksum.
const CRC_BYTES: usize = size_of::<u32>();

/// What kind of rows a table has, as stored.
pub(super) type TableCode = [u8; 2];

/// Tables on their way into a section of pages and one that says where they begin.
pub(super) struct PagesBuilder {
    pages: Growing,
    directory: Vec<u8>,
    tables: u64,
}

impl PagesBuilder {
    /// Without tables. Pages go to a file of `space` when they are many.
    pub(super) fn new(space: ScratchSpace) -> Self {
        Self { pages: Growing::new(space), directory: Vec::new(), tables: 0 }
    }

    /// The next table; codes ascend.
    pub(super) fn push(&mut self, code: TableCode, table: TableBuilder) -> Result<(), StoreError> {
        let (mut rows, mut list) = (0, Vec::new());
        table.finish(PAGE_ROWS, |first, count, page| {
            rows += count;
            put_varint(&mut list, (CRC_BYTES + page.len()) as u64);
            list.extend_from_slice(first);
            self.pages.append(&crc32c::crc32c(&page).to_le_bytes())?;
            self.pages.append(&page)
        })?;
        self.directory.extend_from_slice(&code);
        put_varint(&mut self.directory, rows as u64);
        self.directory.extend_from_slice(&list);
        self.tables += 1;
        Ok(())
    }

    /// The section of pages, and the one that says where each begins.
    pub(super) fn finish(self) -> Result<(SectionBytes, Vec<u8>), StoreError> {
        let mut directory = Vec::with_capacity(self.directory.len() + 1);
        put_varint(&mut directory, self.tables);
        directory.extend_from_slice(&self.directory);
        Ok((self.pages.finish()?, directory))
    }
}

/// Where the pages of a table lie.
pub(super) struct PageList {
    width: usize,
    rows: usize,
    /// The first row of each page.
    firsts: Vec<u8>,
    /// Where each page begins in its section, and the last one ends.
    starts: Vec<u64>,
}

/// Reads what [`PagesBuilder::finish`] wrote, of a section of so many bytes of pages. `width_of` says how wide a table's rows are.
/// Errors are sentences.
pub(super) fn decode_lists(
    directory: &[u8],
    section_bytes: u64,
    width_of: impl Fn(TableCode) -> Result<usize, String>,
) -> Result<Vec<(TableCode, PageList)>, String> {
    let mut cursor = Cursor::new(directory);
    let (mut tables, mut at, mut left) = (Vec::<(TableCode, PageList)>::new(), 0, SECTION_BYTES_MAX);
    for _ in 0..cursor.count(3)? {
        let code = cursor.array::<2>()?;
        if tables.last().is_some_and(|(before, _)| *before >= code) {
            return Err(format!("tables {code:?} do not ascend"));
        }
        // The next one would begin where it does, and what is kept of a table is kept by where it begins.
        if let Some((empty, _)) = tables.last().filter(|(_, list)| list.rows == 0) {
            return Err(format!("table {empty:?} has no row, and another one follows"));
        }
        let list = PageList::decode(&mut cursor, width_of(code)?, &mut at)?;
        let unpacked = list.rows.checked_mul(list.width).filter(|bytes| *bytes <= left);
        left -= unpacked
            .ok_or_else(|| format!("{} rows of {} bytes where at most {left} bytes are expected", list.rows, list.width))?;
        tables.push((code, list));
    }
    cursor.end()?;
    if at == section_bytes { Ok(tables) } else { Err(format!("pages of {at} bytes, {section_bytes} are there")) }
}

impl PageList {
    fn decode(cursor: &mut Cursor<'_>, width: usize, at: &mut u64) -> Result<Self, String> {
        let rows = usize::try_from(cursor.varint()?).map_err(|error| error.to_string())?;
        let pages = rows.div_ceil(PAGE_ROWS);
        if pages > cursor.left() / (1 + width) {
            return Err(format!("{pages} pages in {} bytes", cursor.left()));
        }
        let (mut firsts, mut starts) = (Vec::with_capacity(pages * width), Vec::with_capacity(pages + 1));
        starts.push(*at);
        for page in 0..pages {
            let length = cursor.varint()?;
            if length <= CRC_BYTES as u64 {
                return Err(format!("page {page} of {pages} has {length} bytes"));
            }
            *at = at.checked_add(length).ok_or("a page ends beyond all bytes")?;
            starts.push(*at);
            let first = cursor.take(width)?;
            if page > 0 && &firsts[(page - 1) * width..] >= first {
                return Err(format!("page {page} of {pages} does not ascend"));
            }
            firsts.extend_from_slice(first);
        }
        Ok(Self { width, rows, firsts, starts })
    }

    /// Number of pages.
    pub(super) fn pages(&self) -> usize {
        self.starts.len() - 1
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.firsts.len() + self.starts.len() * size_of::<u64>()
    }

    /// The page that has a row, if there is one.
    pub(super) fn page_with(&self, row: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.pages());
        while low < high {
            let middle = low.midpoint(high);
            if self.first(middle) <= row { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
    }

    /// The page that has row number `at`.
    pub(super) fn page_of(&self, at: u32) -> usize {
        at as usize / PAGE_ROWS
    }

    /// The numbers of a page's rows. A table has fewer than 2³², of at most [`SECTION_BYTES_MAX`].
    pub(super) fn rows_of(&self, page: usize) -> Range<u32> {
        let start = page * PAGE_ROWS;
        start as u32..(start + PAGE_ROWS).min(self.rows) as u32
    }

    /// Bytes of all rows, unpacked.
    pub(super) fn rows_bytes(&self) -> usize {
        self.rows * self.width
    }

    /// Where a page lies in its section.
    pub(super) fn range(&self, page: usize) -> Range<u64> {
        self.starts[page]..self.starts[page + 1]
    }

    /// Where all pages lie.
    pub(super) fn all(&self) -> Range<u64> {
        self.starts[0]..self.starts[self.pages()]
    }

    fn first(&self, page: usize) -> &[u8] {
        &self.firsts[page * self.width..][..self.width]
    }

    /// A page that was read, of a block of so many chunks. Errors are sentences.
    pub(super) fn decode_page(&self, page: usize, bytes: &[u8], documents: u32) -> Result<Table, String> {
        let mut cursor = checked(bytes)?;
        let table = Table::decode(&mut cursor, self.width, documents, &mut { SECTION_BYTES_MAX })?;
        cursor.end()?;
        self.check_page(page, table.rows())?;
        Ok(table)
    }

    /// The rows of all pages, read in one piece. Errors are sentences.
    pub(super) fn decode_rows(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut rows = Vec::with_capacity(self.rows * self.width);
        for page in 0..self.pages() {
            let range = self.range(page);
            let (start, end) = (range.start - self.starts[0], range.end - self.starts[0]);
            let mut cursor = checked(&bytes[start as usize..end as usize])?;
            let own = decode_rows(&mut cursor, self.width, &mut { PAGE_ROWS * self.width })?;
            self.check_page(page, &own)?;
            rows.extend_from_slice(&own);
        }
        Ok(rows)
    }

    /// Errors when these rows are not the page's.
    fn check_page(&self, page: usize, rows: &[u8]) -> Result<(), String> {
        let expected = PAGE_ROWS.min(self.rows - page * PAGE_ROWS);
        let begins = rows.len() == expected * self.width && rows.starts_with(self.first(page));
        let is_before = || page + 1 == self.pages() || &rows[rows.len() - self.width..] < self.first(page + 1);
        if begins && is_before() { Ok(()) } else { Err(format!("page {page} has other rows than the list of pages says")) }
    }
}

/// What is behind the checksum of a page, when it is right.
fn checked(page: &[u8]) -> Result<Cursor<'_>, String> {
    let (stored, rest) = page.split_first_chunk::<CRC_BYTES>().ok_or("a page without a checksum")?;
    let (stored, computed) = (u32::from_le_bytes(*stored), crc32c::crc32c(rest));
    if computed == stored { Ok(Cursor::new(rest)) } else { Err(format!("page: checksum {computed:08x}, stored {stored:08x}")) }
}

#[cfg(test)]
mod tests {
    use roaring::RoaringBitmap;

    use super::*;
    use weir_blocks::testing::bytes_of;

    const WIDTH: usize = 4;

    /// Rows 0, 3, 6, … each in a chunk of its own number modulo seven.
    fn sections(rows: u32) -> (Vec<u8>, Vec<u8>) {
        let mut table = TableBuilder::new(WIDTH, ScratchSpace::default());
        for chunk in 0..7 {
            (0..rows).filter(|row| row % 7 == chunk).for_each(|row| table.push(&(row * 3).to_be_bytes(), chunk).unwrap());
        }
        of_table([1, 4], table)
    }

    fn of_table(code: TableCode, table: TableBuilder) -> (Vec<u8>, Vec<u8>) {
        let mut builder = PagesBuilder::new(ScratchSpace::default());
        builder.push(code, table).unwrap();
        let (pages, directory) = builder.finish().unwrap();
        (bytes_of(&pages), directory)
    }

    fn list(pages: &[u8], directory: &[u8]) -> Result<PageList, String> {
        decode_lists(directory, pages.len() as u64, |_| Ok(WIDTH)).map(|mut lists| lists.remove(0).1)
    }

    #[test]
    fn each_row_is_in_one_page() {
        for rows in [1, 2047, 2048, 2049, 6000] {
            let (pages, directory) = sections(rows);
            let list = list(&pages, &directory).unwrap();
            assert_eq!(list.pages(), (rows as usize).div_ceil(PAGE_ROWS));
            let page = |page: usize| {
                let range = list.range(page);
                list.decode_page(page, &pages[range.start as usize..range.end as usize], 7).unwrap()
            };
            let tables: Vec<Table> = (0..list.pages()).map(page).collect();
            for row in 0..rows * 3 + 2 {
                let mut found = RoaringBitmap::new();
                let page = list.page_with(&row.to_be_bytes()).expect("none is before the first");
                tables[page].add_chunks_with(&row.to_be_bytes(), &mut found);
                let expected = (row % 3 == 0 && row / 3 < rows).then_some(row / 3 % 7);
                assert_eq!(found.into_iter().collect::<Vec<_>>(), Vec::from_iter(expected), "row {row} of {rows}");
            }
            let all = list.decode_rows(&pages).unwrap();
            assert!(all.chunks(WIDTH).eq((0..rows).map(|row| (row * 3).to_be_bytes())));
        }
        let (pages, directory) = sections(0);
        let empty = list(&pages, &directory).unwrap();
        assert_eq!((empty.page_with(&[0; 4]), empty.decode_rows(&pages).unwrap()), (None, Vec::new()));
    }

    #[test]
    fn rows_before_the_first_are_in_no_page() {
        let mut table = TableBuilder::new(WIDTH, ScratchSpace::default());
        table.push(&[0, 0, 0, 9], 0).unwrap();
        let (pages, directory) = of_table([1, 4], table);
        let list = list(&pages, &directory).unwrap();
        assert_eq!((list.page_with(&[0, 0, 0, 8]), list.page_with(&[0, 0, 0, 9])), (None, Some(0)));
    }

    #[test]
    fn pages_that_lie_are_refused() {
        let (pages, directory) = sections(3000);
        let good = list(&pages, &directory).unwrap();
        for at in (0..good.range(0).end as usize).step_by(7) {
            let mut bad = pages[..good.range(0).end as usize].to_vec();
            bad[at] ^= 0x41;
            assert!(good.decode_page(0, &bad, 7).is_err(), "byte {at}");
        }
        assert!(good.decode_page(1, &pages[..good.range(0).end as usize], 7).err().unwrap().contains("other rows"));
        let refused = |directory: &[u8], bytes: u64, expected: &str| {
            let error = decode_lists(directory, bytes, |_| Ok(WIDTH)).err().unwrap();
            assert!(error.contains(expected), "{error:?}, expected {expected:?}");
        };
        refused(&directory, pages.len() as u64 + 1, "are there");
        refused(&[directory[..].to_vec(), vec![0]].concat(), pages.len() as u64, "left over");
        // A table, [1, 4], as many rows as there are numbers.
        refused(&[[1, 1, 4].to_vec(), vec![0xff; 9], vec![1]].concat(), 0, "pages in 0 bytes");
        refused(&[2, 0, 9, 0, 1, 4, 0], 0, "table [0, 9] has no row");
        refused(&[1, 1, 4, 1, 4, 0, 0, 0, 0], 4, "page 0 of 1 has 4 bytes");
        let twice = [&[2_u8][..], &directory[1..], &directory[1..]].concat();
        refused(&twice, 2 * pages.len() as u64, "do not ascend");
        let mut swapped = directory.clone();
        let second = swapped.len() - WIDTH;
        swapped[second..].fill(0);
        refused(&swapped, pages.len() as u64, "does not ascend");
    }

    #[test]
    fn golden_bytes() {
        let mut table = TableBuilder::new(2, ScratchSpace::default());
        table.push(&[1, 2], 0).unwrap();
        table.push(&[0, 7], 1).unwrap();
        let (pages, directory) = of_table([0, 4], table);
        assert_eq!(hex::encode(pages), "5ff68ac30204040001070200000202010102020100");
        assert_eq!(hex::encode(directory), "01000402150007");
    }
}
