//! Rows of one width, ascending, each with the chunks that have it. What is in a row is its owner's affair.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use roaring::RoaringBitmap;

use super::super::schema::ZSTD_LEVEL;
use super::runs::{OpenRun, Run, RunReader, Spill};
use weir_blocks::StoreError;
use weir_blocks::packed::{Cursor, UNPACKED_BYTES_MAX, put_packed, put_varint};
use weir_blocks::scratch::ScratchSpace;

/// Bytes of each row that are stored by column: of rows in ascending order these repeat, and take next to no room.
const COLUMNS: usize = 3;

/// Bytes that all tables of a section may have unpacked.
pub(super) const SECTION_BYTES_MAX: usize = UNPACKED_BYTES_MAX;

/// Rows that are sorted at once. Sorting takes four times the memory of what is sorted, and runs nothing beside their rows: of a table of
/// many runs it is next to nothing.
const RUN_ROWS: usize = 32 << 10;

/// The same of runs that go to disk, of which a table holds one: there are dozens of tables.
const RUN_ROWS_ON_DISK: usize = 8 << 10;

/// Gathers rows: one for each chunk that has it, chunks ascending.
pub(super) struct TableBuilder {
    width: usize,
    /// Those that are in no run yet.
    open: OpenRun,
    runs: Vec<Run>,
    count: usize,
    spill: Spill,
}

impl TableBuilder {
    /// Of rows of so many bytes, at least one. Runs of rows go to a file of `space`.
    pub(super) fn new(width: usize, space: ScratchSpace) -> Self {
        Self { width, open: OpenRun::default(), runs: Vec::new(), count: 0, spill: Spill::new(space) }
    }

    /// The chunk has a row.
    pub(super) fn push(&mut self, row: &[u8], chunk: u32) -> Result<(), StoreError> {
        debug_assert_eq!(row.len(), self.width);
        self.open.push(row, chunk);
        self.count += 1;
        let run_rows = if self.spill.is_on_disk() { RUN_ROWS_ON_DISK } else { RUN_ROWS };
        if self.open.len() == run_rows { self.close_run() } else { Ok(()) }
    }

    fn close_run(&mut self) -> Result<(), StoreError> {
        let run = self.spill.put(self.open.sorted(self.width))?;
        self.runs.push(run);
        self.open.clear();
        Ok(())
    }

    /// Bytes held, and those that sorting the open rows takes.
    pub(super) fn memory(&self) -> usize {
        self.open.memory() + self.runs.iter().map(Run::memory).sum::<usize>()
    }

    /// Of all rows, with those that are alike.
    pub(super) fn rows_bytes(&self) -> usize {
        self.count * self.width
    }

    /// The rows in pages of at most so many: of each its first row, their number and its bytes.
    pub(super) fn finish(
        mut self,
        page_rows: usize,
        mut take: impl FnMut(&[u8], usize, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // The last run needs no file: it is read at once.
        self.runs.push(Run::Memory(self.open.sorted(self.width)));
        self.open = OpenRun::default();
        let (width, file) = (self.width, self.spill.file());
        let mut ahead = BinaryHeap::with_capacity(self.runs.len());
        for (number, run) in self.runs.into_iter().enumerate() {
            ahead.extend(RunReader::open(run, (width, number), file)?.map(Reverse));
        }
        let mut page = Page { width, ..Page::default() };
        while let Some(mut next) = ahead.peek_mut() {
            let Reverse(run) = &mut *next;
            if !page.ends_with(run.row()) {
                if page.counts.len() == page_rows {
                    take(page.first(), page.counts.len(), page.encode())?;
                    page.clear();
                }
                page.begin(run.row());
            }
            page.add(run.chunk());
            if !run.advance()? {
                drop(PeekMut::pop(next));
            }
        }
        if page.counts.is_empty() { Ok(()) } else { take(page.first(), page.counts.len(), page.encode()) }
    }
}

/// Different rows, ascending, and the chunks of each, ascending.
#[derive(Default)]
struct Page {
    width: usize,
    rows: Vec<u8>,
    counts: Vec<u64>,
    chunks: Vec<u32>,
}

impl Page {
    fn ends_with(&self, row: &[u8]) -> bool {
        self.rows.len() >= self.width && self.rows[self.rows.len() - self.width..] == *row
    }

    fn begin(&mut self, row: &[u8]) {
        self.rows.extend_from_slice(row);
        self.counts.push(0);
    }

    /// The last row has a chunk more.
    fn add(&mut self, chunk: u32) {
        if let Some(count) = self.counts.last_mut() {
            *count += 1;
        }
        self.chunks.push(chunk);
    }

    fn first(&self) -> &[u8] {
        &self.rows[..self.width]
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.counts.clear();
        self.chunks.clear();
    }

    fn encode(&self) -> Vec<u8> {
        let columns = COLUMNS.min(self.width);
        let mut keys = Vec::with_capacity(self.rows.len());
        let rows = || self.rows.chunks_exact(self.width);
        (0..columns).for_each(|column| keys.extend(rows().map(|row| row[column])));
        let by_column = keys.len();
        rows().for_each(|row| keys.extend_from_slice(&row[columns..]));
        let (mut counts, mut chunks) = (Vec::with_capacity(self.counts.len()), Vec::with_capacity(self.chunks.len() * 2));
        let mut left = &self.chunks[..];
        for count in &self.counts {
            put_varint(&mut counts, *count);
            let (own, rest) = left.split_at(*count as usize);
            left = rest;
            let mut before = 0;
            for chunk in own {
                put_varint(&mut chunks, u64::from(chunk - before));
                before = *chunk;
            }
        }
        let mut out = Vec::new();
        put_varint(&mut out, self.counts.len() as u64);
        for run in [&keys[..by_column], &keys[by_column..], &counts, &chunks] {
            put_packed(&mut out, run, ZSTD_LEVEL);
        }
        out
    }
}

/// A run, taken from what may still be unpacked.
fn unpacked(cursor: &mut Cursor<'_>, left: &mut usize) -> Result<Vec<u8>, String> {
    let run = cursor.unpacked(*left)?;
    *left -= run.len();
    Ok(run)
}

/// The rows alone, which a table begins with: see [`Table::decode`]. Errors are sentences.
pub(super) fn decode_rows(cursor: &mut Cursor<'_>, width: usize, left: &mut usize) -> Result<Vec<u8>, String> {
    let count = usize::try_from(cursor.varint()?).map_err(|error| error.to_string())?;
    let columns = unpacked(cursor, left)?;
    let rest = unpacked(cursor, left)?;
    let by_column = COLUMNS.min(width);
    if count.checked_mul(by_column) != Some(columns.len()) || count.checked_mul(width - by_column) != Some(rest.len()) {
        return Err(format!("{} and {} bytes of {count} rows of {width}", columns.len(), rest.len()));
    }
    let mut rows = vec![0; columns.len() + rest.len()];
    for (at, row) in rows.chunks_exact_mut(width).enumerate() {
        (0..by_column).for_each(|column| row[column] = columns[column * count + at]);
        row[by_column..].copy_from_slice(&rest[at * (width - by_column)..][..width - by_column]);
    }
    if !rows.chunks_exact(width).zip(rows.chunks_exact(width).skip(1)).all(|(row, next)| row < next) {
        return Err(format!("{count} rows do not ascend"));
    }
    Ok(rows)
}

/// A table that is read.
pub(super) struct Table {
    width: usize,
    rows: Vec<u8>,
    /// Of each row and behind the last: where its chunks begin.
    starts: Vec<u32>,
    chunks: Vec<u32>,
}

impl Table {
    /// Reads a page of [`TableBuilder::finish`], or all of a table of before, of a block of so many chunks. What it unpacks is taken
    /// from `left`, which all tables of a section may share: see [`SECTION_BYTES_MAX`]. Errors are sentences.
    pub(super) fn decode(cursor: &mut Cursor<'_>, width: usize, documents: u32, left: &mut usize) -> Result<Self, String> {
        let rows = decode_rows(cursor, width, left)?;
        let count = rows.len() / width;
        let mut unpacked = |cursor: &mut Cursor<'_>| unpacked(cursor, left);
        let counts = unpacked(cursor)?;
        let packed = unpacked(cursor)?;
        let (mut counts, mut deltas) = (Cursor::new(&counts), Cursor::new(&packed));
        let (mut starts, mut chunks) = (Vec::with_capacity(count + 1), Vec::new());
        for _ in 0..count {
            starts.push(chunks.len() as u32);
            let mut chunk = 0;
            let places = counts.varint()?;
            if places == 0 {
                return Err("a row of no chunk".into());
            }
            for place in 0..places {
                let delta = deltas.varint()?;
                chunk = delta.checked_add(chunk).filter(|_| place == 0 || delta > 0).ok_or("chunks do not ascend")?;
                chunks.push(u32::try_from(chunk).ok().filter(|chunk| *chunk < documents).ok_or("a chunk that is not there")?);
            }
        }
        starts.push(u32::try_from(chunks.len()).map_err(|error| error.to_string())?);
        counts.end().and_then(|()| deltas.end())?;
        Ok(Self { width, rows, starts, chunks })
    }

    /// All rows, one after the other.
    pub(super) fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.rows.len() + (self.starts.len() + self.chunks.len()) * size_of::<u32>()
    }

    /// Adds the chunks of the row that is like this one, if there is one.
    pub(super) fn add_chunks_with(&self, row: &[u8], found: &mut RoaringBitmap) {
        let (mut low, mut high) = (0, self.starts.len() - 1);
        while low < high {
            let middle = low.midpoint(high);
            match self.rows[middle * self.width..][..self.width].cmp(row) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.add_chunks_of(middle, found),
            }
        }
    }

    /// Adds the chunks of row number `at`.
    pub(super) fn add_chunks_of(&self, at: usize, found: &mut RoaringBitmap) {
        found.extend(&self.chunks[self.starts[at] as usize..self.starts[at + 1] as usize]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_blocks::testing::MemoryScratch;

    use super::*;

    fn table(width: usize, rows: &[(&[u8], u32)]) -> Vec<u8> {
        let (mut builder, mut out) = (TableBuilder::new(width, ScratchSpace::default()), Vec::new());
        rows.iter().try_for_each(|(row, chunk)| builder.push(row, *chunk)).unwrap();
        let take = |_: &[u8], _, page| {
            out = page;
            Ok(())
        };
        builder.finish(usize::MAX, take).unwrap();
        out
    }

    fn chunks(table: &Table, row: &[u8]) -> Vec<u32> {
        let mut found = RoaringBitmap::new();
        table.add_chunks_with(row, &mut found);
        found.into_iter().collect()
    }

    #[test]
    fn rows_have_their_chunks() {
        for width in [1, 2, 3, 4, 16, 64] {
            let rows: Vec<Vec<u8>> =
                (0..50_u8).map(|i| (0..width as u8).map(|byte| i.wrapping_mul(byte | 5)).collect()).collect();
            let mut pushed = Vec::new();
            for chunk in 0..20_u32 {
                pushed.extend(
                    rows.iter().enumerate().filter(|(i, _)| chunk % (*i as u32 + 1) == 0).map(|(_, row)| (&row[..], chunk)),
                );
            }
            let bytes = table(width, &pushed);
            let decoded = Table::decode(&mut Cursor::new(&bytes), width, 20, &mut { SECTION_BYTES_MAX }).unwrap();
            for (i, row) in rows.iter().enumerate() {
                let expected: Vec<u32> = (0..20).filter(|chunk| chunk % (i as u32 + 1) == 0).collect();
                assert_eq!(chunks(&decoded, row), expected, "row {i} of {width}");
            }
            assert_eq!(chunks(&decoded, &vec![0xff; width]), Vec::<u32>::new());
        }
    }

    #[test]
    fn rows_of_many_runs_are_one_table() {
        check_many_runs(ScratchSpace::default(), RUN_ROWS * 40 + 4 * RUN_ROWS * 8);
    }

    #[test]
    fn rows_of_many_runs_on_disk_are_the_same_table() {
        check_many_runs(ScratchSpace::new(Arc::new(MemoryScratch::default())), RUN_ROWS * 40);
    }

    fn check_many_runs(space: ScratchSpace, memory: usize) {
        // Each row in several chunks, some of them in one run and some in several.
        let rows = 3 * RUN_ROWS as u32 + 17;
        let row = |i: u32| (i.wrapping_mul(0x9e37_79b1) % 50_021).to_be_bytes();
        let (mut builder, mut expected) = (TableBuilder::new(4, space), std::collections::BTreeMap::<[u8; 4], Vec<u32>>::new());
        for i in 0..rows {
            builder.push(&row(i), i).unwrap();
            expected.entry(row(i)).or_default().push(i);
        }
        assert!(builder.memory() < memory, "{} bytes of {rows} rows", builder.memory());
        let (mut pages, mut found) = (0, Vec::new());
        let take = |first: &[u8], count, page: Vec<u8>| {
            let table = Table::decode(&mut Cursor::new(&page), 4, rows, &mut { SECTION_BYTES_MAX }).unwrap();
            assert_eq!((table.rows().len() / 4, &table.rows()[..4]), (count, first));
            pages += 1;
            for (at, row) in table.rows().chunks(4).enumerate() {
                let mut chunks = RoaringBitmap::new();
                table.add_chunks_of(at, &mut chunks);
                found.push((row.try_into().unwrap(), chunks.into_iter().collect::<Vec<_>>()));
            }
            Ok(())
        };
        builder.finish(1000, take).unwrap();
        assert_eq!(pages, expected.len().div_ceil(1000));
        assert!(found.into_iter().eq(expected));
    }

    #[test]
    fn golden_bytes() {
        let bytes = table(4, &[(&[1, 2, 3, 4], 0), (&[1, 2, 3, 9], 0), (&[0, 7, 7, 7], 1), (&[1, 2, 3, 4], 5)]);
        assert_eq!(hex::encode(bytes), "03090900010107020207030303030704090303010201040401000500");
    }

    #[test]
    fn tables_that_lie_are_refused() {
        let check = |bytes: &[u8], width, documents, expected: &str| {
            let error = Table::decode(&mut Cursor::new(bytes), width, documents, &mut 100).err().unwrap();
            assert!(error.contains(expected), "{error:?}, expected {expected:?}");
        };
        let bytes = table(2, &[(&[1, 2], 0), (&[3, 4], 1)]);
        check(&bytes, 2, 1, "a chunk that is not there");
        check(&bytes, 3, 2, "bytes of 2 rows of 3");
        check(&bytes[..bytes.len() - 1], 2, 2, "bytes");
        let mut swapped = table(1, &[(&[1], 0), (&[3], 1)]);
        swapped[3] = 9;
        check(&swapped, 1, 2, "2 rows do not ascend");
        let mut without = table(1, &[(&[1], 0), (&[3], 1)]);
        let counts = without.len() - 8;
        assert_eq!(without[counts..], [2, 2, 1, 1, 2, 2, 0, 1]);
        without[counts + 3] = 0;
        check(&without, 1, 2, "a row of no chunk");
    }

    #[test]
    fn tables_of_a_section_share_one_allowance() {
        let bytes = table(4, &[(&[1, 2, 3, 4], 0), (&[1, 2, 3, 9], 0)]);
        // Two rows, and of each a count and a chunk.
        let mut left = 23;
        assert!(Table::decode(&mut Cursor::new(&bytes), 4, 1, &mut left).is_ok());
        assert_eq!(left, 11);
        let error = Table::decode(&mut Cursor::new(&bytes), 4, 1, &mut left).err().unwrap();
        assert!(error.contains("at most 1 are expected"), "{error}");
    }
}
