//! Rows of one width, ascending, each with the chunks that have it. What is in a row is its owner's affair.

use roaring::RoaringBitmap;

use super::super::schema::ZSTD_LEVEL;
use weir_blocks::packed::{Cursor, UNPACKED_BYTES_MAX, put_packed, put_varint};

/// Bytes of each row that are stored by column: of rows in ascending order these repeat, and take next to no room.
const COLUMNS: usize = 3;

/// Bytes that all tables of a section may have unpacked.
pub(super) const SECTION_BYTES_MAX: usize = UNPACKED_BYTES_MAX;

/// Gathers rows: one for each chunk that has it, chunks ascending.
pub(super) struct TableBuilder {
    width: usize,
    rows: Vec<u8>,
    chunks: Vec<u32>,
}

impl TableBuilder {
    /// Of rows of so many bytes, at least one.
    pub(super) fn new(width: usize) -> Self {
        Self { width, rows: Vec::new(), chunks: Vec::new() }
    }

    /// The chunk has a row.
    pub(super) fn push(&mut self, row: &[u8], chunk: u32) {
        debug_assert_eq!(row.len(), self.width);
        self.rows.extend_from_slice(row);
        self.chunks.push(chunk);
    }

    /// Bytes held, and those that sorting takes: of each a key, and at most a slice of them.
    pub(super) fn memory(&self) -> usize {
        self.rows.capacity() + self.chunks.capacity() * size_of::<u32>() + self.chunks.len() * 2 * size_of::<(u64, u32)>()
    }

    /// The rows in pages of at most so many: of each its first row, their number and its bytes.
    pub(super) fn finish(self, page_rows: usize, mut take: impl FnMut(&[u8], usize, Vec<u8>)) {
        let mut order: Vec<(u64, u32)> = (0..self.chunks.len() as u32).map(|at| (head(self.row(at)), at)).collect();
        // A row's places ascend as its chunks do.
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.row(a.1).cmp(self.row(b.1))).then(a.1.cmp(&b.1)));
        let mut rows = order.chunk_by(|a, b| a.0 == b.0 && self.row(a.1) == self.row(b.1));
        loop {
            let page: Vec<&[(u64, u32)]> = rows.by_ref().take(page_rows).collect();
            let Some(first) = page.first() else { break };
            take(self.row(first[0].1), page.len(), self.encode(&page));
        }
    }

    fn row(&self, at: u32) -> &[u8] {
        &self.rows[at as usize * self.width..][..self.width]
    }

    fn encode(&self, rows: &[&[(u64, u32)]]) -> Vec<u8> {
        let columns = COLUMNS.min(self.width);
        let mut keys = Vec::with_capacity(rows.len() * self.width);
        (0..columns).for_each(|column| keys.extend(rows.iter().map(|same| self.row(same[0].1)[column])));
        let by_column = keys.len();
        rows.iter().for_each(|same| keys.extend_from_slice(&self.row(same[0].1)[columns..]));
        let (mut counts, mut chunks) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len() * 2));
        for same in rows {
            put_varint(&mut counts, same.len() as u64);
            let mut before = 0;
            for (_, at) in *same {
                let chunk = self.chunks[*at as usize];
                put_varint(&mut chunks, u64::from(chunk - before));
                before = chunk;
            }
        }
        let mut out = Vec::new();
        put_varint(&mut out, rows.len() as u64);
        for run in [&keys[..by_column], &keys[by_column..], &counts, &chunks] {
            put_packed(&mut out, run, ZSTD_LEVEL);
        }
        out
    }
}

/// The first eight bytes as a number that is ordered as they are.
fn head(row: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = row.len().min(8);
    bytes[..length].copy_from_slice(&row[..length]);
    u64::from_be_bytes(bytes)
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

    /// Bytes of a row.
    pub(super) fn width(&self) -> usize {
        self.width
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
    use super::*;

    fn table(width: usize, rows: &[(&[u8], u32)]) -> Vec<u8> {
        let (mut builder, mut out) = (TableBuilder::new(width), Vec::new());
        rows.iter().for_each(|(row, chunk)| builder.push(row, *chunk));
        builder.finish(usize::MAX, |_, _, page| out = page);
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
