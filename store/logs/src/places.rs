//! Where lines lie: runs of places, as a chunk has them in a column, and which chunk of a block has a place. Drawn in
//! `docs/formats/logs_block.md`.
//!
//! A block's places are pages of runs, ascending, and a section that says where each page begins: a line is found by reading
//! that section and one page.

use std::ops::Range;

use weir_model::compression;

use super::schema::{Place, ZSTD_LEVEL};
use weir_blocks::StoreError;
use weir_blocks::columns::{Reader, put_varint, put_zigzag};
use weir_blocks::packed::unzstd;

/// Runs of a page: some 16 KiB before compression.
const PAGE_RUNS: usize = 4096;
/// Bytes of a page before compression at most: three numbers a run, of ten, five and five bytes.
const PAGE_BYTES_MAX: usize = PAGE_RUNS * 20;
/// Checksum and length before compression.
const PAGE_HEADER_BYTES: usize = 8;

/// Lines of one record that follow each other: ordinals grow by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaceRun {
    pub(crate) offset: u64,
    pub(crate) ordinal: u32,
    pub(crate) lines: u32,
}

impl PlaceRun {
    /// Whether it has a place.
    pub(crate) fn has(&self, (offset, ordinal): Place) -> bool {
        self.offset == offset && ordinal.checked_sub(self.ordinal).is_some_and(|line| line < self.lines)
    }

    /// Its places, ascending.
    pub(crate) fn places(self) -> impl Iterator<Item = Place> {
        (0..self.lines).map(move |line| (self.offset, self.ordinal + line))
    }
}

/// The runs of places.
pub(crate) fn runs(places: &[Place]) -> impl Iterator<Item = PlaceRun> {
    let follows = |a: &Place, b: &Place| a.0 == b.0 && a.1.checked_add(1) == Some(b.1);
    let run = |places: &[Place]| PlaceRun { offset: places[0].0, ordinal: places[0].1, lines: places.len() as u32 };
    places.chunk_by(follows).map(run)
}

/// Appends the column of a pack.
pub(crate) fn put_column(out: &mut Vec<u8>, places: &[Place]) {
    put_varint(out, runs(places).count() as u64);
    let mut before = 0_u64;
    for run in runs(places) {
        put_zigzag(out, run.offset.wrapping_sub(before) as i64);
        put_varint(out, u64::from(run.ordinal));
        put_varint(out, u64::from(run.lines));
        before = run.offset;
    }
}

/// Reads the column of a pack of `count` lines.
pub(crate) fn read_column(reader: &mut Reader<'_>, count: usize) -> Result<Vec<PlaceRun>, String> {
    let mut runs = Vec::new();
    let (mut offset, mut left) = (0_u64, count);
    for _ in 0..reader.count("runs of ids", 3)? {
        offset = offset.wrapping_add(reader.zigzag("offset")? as u64);
        let ordinal = reader.varint_u32("ordinal")?;
        let lines = reader.varint_u32("length of a run")?;
        if lines as usize > left || ordinal.checked_add(lines).is_none() {
            return Err(format!("a run of {lines} ids from {ordinal} does not fit {count} lines"));
        }
        left -= lines as usize;
        runs.push(PlaceRun { offset, ordinal, lines });
    }
    if left == 0 { Ok(runs) } else { Err(format!("{} ids for {count} lines", count - left)) }
}

/// A run of a block: where it begins, and its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlacedChunk {
    offset: u64,
    ordinal: u32,
    pub(crate) chunk: u32,
}

impl PlacedChunk {
    fn place(&self) -> Place {
        (self.offset, self.ordinal)
    }
}

/// Gathers the runs of a block's chunks.
#[derive(Default)]
pub(crate) struct PlacesBuilder(Vec<PlacedChunk>);

impl PlacesBuilder {
    /// Those of one chunk.
    pub(crate) fn push(&mut self, chunk: u32, runs: impl Iterator<Item = PlaceRun>) {
        self.0.extend(runs.map(|run| PlacedChunk { offset: run.offset, ordinal: run.ordinal, chunk }));
    }

    /// Memory of what it has and so many more.
    pub(crate) fn memory_with(&self, more: usize) -> usize {
        (self.0.len() + more) * size_of::<PlacedChunk>()
    }

    /// All, ascending.
    pub(crate) fn into_sorted(mut self) -> Vec<PlacedChunk> {
        self.0.sort_unstable();
        self.0
    }

    /// The section of pages, and the one that says where each begins.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        let all = self.into_sorted();
        let (mut pages, mut directory) = (Vec::new(), Vec::new());
        put_varint(&mut directory, all.len().div_ceil(PAGE_RUNS) as u64);
        for page in all.chunks(PAGE_RUNS) {
            let bytes = encode_page(page).map_err(|error| StoreError::engine("compress a page of places", error))?;
            put_varint(&mut directory, page[0].offset);
            put_varint(&mut directory, u64::from(page[0].ordinal));
            put_varint(&mut directory, bytes.len() as u64);
            pages.extend_from_slice(&bytes);
        }
        Ok((pages, directory))
    }
}

fn encode_page(runs: &[PlacedChunk]) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::with_capacity(runs.len() * 4);
    let mut before = 0;
    for run in runs {
        put_varint(&mut raw, run.offset - before);
        put_varint(&mut raw, u64::from(run.ordinal));
        put_varint(&mut raw, u64::from(run.chunk));
        before = run.offset;
    }
    let mut page = vec![0; 4];
    page.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    page.extend_from_slice(&compression::compress(&raw, ZSTD_LEVEL)?);
    let crc = crc32c::crc32c(&page[4..]);
    page[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(page)
}

/// Reads a page; errors are sentences.
pub(crate) fn decode_page(page: &[u8]) -> Result<Vec<PlacedChunk>, String> {
    let (header, packed) = page.split_first_chunk::<PAGE_HEADER_BYTES>().ok_or("a page is shorter than its header")?;
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (stored, computed, length) = (number(0), crc32c::crc32c(&page[4..]), number(4) as usize);
    if stored != computed {
        return Err(format!("a page's checksum {computed:08x}, stored {stored:08x}"));
    }
    if length > PAGE_BYTES_MAX {
        return Err(format!("a page of {length} bytes, {PAGE_BYTES_MAX} are the most"));
    }
    let raw = unzstd(packed, length).map_err(|error| error.to_string())?;
    if raw.len() != length {
        return Err(format!("a page of {} bytes, {length} were expected", raw.len()));
    }
    let mut reader = Reader::new(&raw);
    let (mut runs, mut offset) = (Vec::new(), 0_u64);
    while reader.left() > 0 {
        offset = offset.wrapping_add(reader.varint("offset")?);
        let (ordinal, chunk) = (reader.varint_u32("ordinal")?, reader.varint_u32("chunk")?);
        runs.push(PlacedChunk { offset, ordinal, chunk });
    }
    Ok(runs)
}

/// The pages of a block.
pub(crate) struct PlacePages(Vec<(Place, Range<u64>)>);

impl PlacePages {
    /// From the section's bytes; errors are sentences.
    pub(crate) fn decode(section: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::new(section);
        let (mut pages, mut at) = (Vec::new(), 0_u64);
        for _ in 0..reader.count("pages", 3)? {
            let first = (reader.varint("offset")?, reader.varint_u32("ordinal")?);
            let end = at.saturating_add(reader.varint("length of a page")?);
            pages.push((first, at..end));
            at = end;
        }
        reader.finish()?;
        Ok(Self(pages))
    }

    /// Where each page lies in its section.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(_, range)| range.clone())
    }

    /// The page that has the run of a place; `None` when the place is before all.
    pub(crate) fn page_of(&self, place: Place) -> Option<Range<u64>> {
        before(&self.0, place, |(first, _)| *first).map(|(_, range)| range.clone())
    }
}

/// The chunk of the last run of a page that begins at a place or before it.
pub(crate) fn chunk_of(page: &[PlacedChunk], place: Place) -> Option<u32> {
    before(page, place, PlacedChunk::place).map(|run| run.chunk)
}

/// The last one that begins at a place or before it.
fn before<T>(ascending: &[T], place: Place, first: impl Fn(&T) -> Place) -> Option<&T> {
    ascending[..ascending.partition_point(|one| first(one) <= place)].last()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three chunks that take turns, over several pages; the first record begins late.
    fn turns() -> PlacesBuilder {
        let mut builder = PlacesBuilder::default();
        for chunk in 0..3 {
            let run = |offset: u64| PlaceRun { offset: 100 + offset * 3, ordinal: chunk * 10 + 5, lines: 7 };
            builder.push(chunk, (0..3000).map(run));
        }
        builder
    }

    #[test]
    fn a_place_has_the_chunk_of_the_run_before_it() {
        let (section, directory) = turns().finish().unwrap();
        let pages = PlacePages::decode(&directory).unwrap();
        assert_eq!(pages.ranges().count(), 3);
        assert_eq!(pages.ranges().last().unwrap().end as usize, section.len());
        let find = |place: Place| {
            let range = pages.page_of(place)?;
            chunk_of(&decode_page(&section[range.start as usize..range.end as usize]).unwrap(), place)
        };
        for offset in (0..3000).map(|offset| 100 + offset * 3) {
            for chunk in 0..3 {
                assert_eq!([5, 11, 14].map(|ordinal| find((offset, chunk * 10 + ordinal))), [Some(chunk); 3]);
            }
        }
        assert_eq!([(0, 0), (100, 4)].map(find), [None; 2]);
        // Behind the last run: its chunk does not have the line, and says so when it is opened.
        assert_eq!(find((u64::MAX, 0)), Some(2));
    }

    #[test]
    fn damage_is_noticed() {
        let (section, directory) = turns().finish().unwrap();
        let first = PlacePages::decode(&directory).unwrap().ranges().next().unwrap();
        let page = &section[..first.end as usize];
        assert_eq!(decode_page(page).unwrap().len(), PAGE_RUNS);
        for at in (0..page.len()).step_by(7) {
            let mut bad = page.to_vec();
            bad[at] ^= 1;
            assert!(decode_page(&bad).is_err(), "byte {at}");
        }
        assert!(decode_page(&page[..6]).is_err());
        for cut in 0..directory.len() {
            assert!(PlacePages::decode(&directory[..cut]).is_err(), "{cut} bytes");
        }
    }
}
