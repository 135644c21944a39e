//! The container file that all engines write: named sections with checksums. Format: `docs/formats/block.md`.
//!
//! ```text
//! "WBLK" | version u8 = 1 | kind u8 | reserved u16 = 0
//! section bytes, one after the other, each 8-byte aligned
//! directory: count u32, then per section: name length u8, name, offset u64, length u64, crc32c u32
//! directory length u32 | directory crc32c u32 | "WEND"
//! ```
//! Integers are little-endian. A reader takes the last 12 bytes, then the directory, then only the sections it needs.
//! What a section means is its engine's affair, and versioned by the section's name (`chunks.1`).

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use weir_model::wire::Kind;

use crate::StoreError;
use crate::scratch::{SectionBytes, Spilled};

const MAGIC: &[u8; 4] = b"WBLK";
const END: &[u8; 4] = b"WEND";
const VERSION: u8 = 1;
const HEADER_BYTES: u64 = 8;
const FOOTER_BYTES: u64 = 12;
/// Read from the end of a block at first: footer and directory, which has some 40 bytes a section.
const TAIL_BYTES: u64 = 2 << 10;
/// A directory of an honest block has a dozen sections; more than this is not read.
const DIRECTORY_BYTES_MAX: u32 = 1 << 20;
/// Fewest bytes of a directory entry: name length, offset, length, crc.
const ENTRY_BYTES_MIN: usize = 1 + 8 + 8 + 4;

/// A block that is built and not yet stored.
#[derive(Clone, Debug, Default)]
pub struct BlockData {
    /// In the order they will lie in the file. Names are distinct and at most 255 bytes long.
    pub sections: Vec<(&'static str, Vec<u8>)>,
    /// Those that are in files of the process and not in memory; they lie before the others.
    pub spilled: Vec<(&'static str, Spilled)>,
}

impl BlockData {
    /// All in memory.
    pub fn of(sections: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self { sections, spilled: Vec::new() }
    }

    /// Adds a section wherever it is.
    pub fn push(&mut self, name: &'static str, section: SectionBytes) {
        match section {
            SectionBytes::Memory(bytes) => self.sections.push((name, bytes)),
            SectionBytes::Spilled(spilled) => self.spilled.push((name, spilled)),
        }
    }

    /// The file's bytes in one piece: for tests. Copies every section; [`Self::into_file`] does not.
    pub fn encode(&self, kind: Kind) -> Vec<u8> {
        let file = self.clone().into_file(kind);
        file.read(0..file.size()).expect("invariant: what was written can be read").into()
    }

    /// The file. The sections become parts of it as they are: nothing is in memory twice.
    pub fn into_file(self, kind: Kind) -> BlockFile {
        const PADDING: &[u8; 8] = &[0; 8];
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&[VERSION, kind as u8, 0, 0]);
        let mut directory = ((self.sections.len() + self.spilled.len()) as u32).to_le_bytes().to_vec();
        let (mut parts, mut size) = (vec![Part::Memory(Bytes::from(header))], HEADER_BYTES);
        let spilled = self.spilled.into_iter().map(|(name, spilled)| (name, Part::Spilled(spilled)));
        for (name, part) in spilled.chain(self.sections.into_iter().map(|(name, bytes)| (name, Part::of(bytes)))) {
            let padding = size.next_multiple_of(8) - size;
            parts.push(Part::Memory(Bytes::from_static(&PADDING[..padding as usize])));
            size += padding;
            directory.push(u8::try_from(name.len()).expect("invariant: section names are short constants"));
            directory.extend_from_slice(name.as_bytes());
            directory.extend_from_slice(&size.to_le_bytes());
            directory.extend_from_slice(&part.size().to_le_bytes());
            directory.extend_from_slice(&part.crc().to_le_bytes());
            size += part.size();
            parts.push(part);
        }
        let directory_crc = crc32c::crc32c(&directory);
        let length = directory.len() as u32;
        directory.extend_from_slice(&length.to_le_bytes());
        directory.extend_from_slice(&directory_crc.to_le_bytes());
        directory.extend_from_slice(END);
        let directory = Bytes::from(directory);
        parts.push(Part::Memory(directory.clone()));
        BlockFile { parts, directory, directory_start: size, directory_crc }
    }
}

/// A part of a file.
#[derive(Clone, Debug)]
enum Part {
    Memory(Bytes),
    Spilled(Spilled),
}

impl Part {
    fn of(mut bytes: Vec<u8>) -> Self {
        // What a section reserved while it grew would be held as long as the file is on its way.
        bytes.shrink_to_fit();
        Self::Memory(bytes.into())
    }

    fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Spilled(spilled) => spilled.size(),
        }
    }

    fn crc(&self) -> u32 {
        match self {
            Self::Memory(bytes) => crc32c::crc32c(bytes),
            Self::Spilled(spilled) => spilled.crc(),
        }
    }
}

/// A block's file that is not stored yet, in the parts that follow each other in it.
#[derive(Clone, Debug)]
pub struct BlockFile {
    parts: Vec<Part>,
    /// Directory and footer: the last part.
    directory: Bytes,
    /// Where the directory begins.
    pub(crate) directory_start: u64,
    /// Checksum of the directory.
    pub(crate) directory_crc: u32,
}

impl BlockFile {
    /// Size of the file, bytes.
    pub fn size(&self) -> u64 {
        self.directory_start + self.directory.len() as u64
    }

    /// All of it in order; `None` when some of it is not in memory.
    pub(crate) fn parts_in_memory(&self) -> Option<Vec<Bytes>> {
        let bytes = |part: &Part| if let Part::Memory(bytes) = part { Some(bytes.clone()) } else { None };
        self.parts.iter().map(bytes).collect()
    }

    /// A copy of a range that lies within. Reads from disk where it is not in memory; errors with `Scratch`.
    pub fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut out = Vec::with_capacity((range.end - range.start) as usize);
        let mut start = 0;
        for part in &self.parts {
            let end = start + part.size();
            let own = range.start.max(start)..range.end.min(end);
            if own.start < own.end {
                let own = own.start - start..own.end - start;
                match part {
                    Part::Memory(bytes) => out.extend_from_slice(&bytes[own.start as usize..own.end as usize]),
                    Part::Spilled(spilled) => spilled.read(own, &mut out)?,
                }
            }
            start = end;
        }
        Ok(out.into())
    }

    /// Directory and footer.
    pub(crate) fn directory(&self) -> &Bytes {
        &self.directory
    }
}

/// Which kind of block; says which engine reads it.
pub type BlockKind = Kind;

/// Bytes of a stored block, by range. Implementations cache; a call may block on I/O and is made off the async threads.
pub trait Blob: Send + Sync {
    /// For messages: the object's path.
    fn path(&self) -> &str;
    /// Size of the object.
    fn len(&self) -> u64;
    /// Whether it is empty, which no block is.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The bytes of a range that lies within.
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError>;
    /// The same for who reads everything once: nothing of it is put into a cache.
    fn read_once(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.read(range)
    }
    /// Several ranges at once, in their order; neighbours may be one read.
    fn read_all(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        ranges.iter().map(|range| self.read(range.clone())).collect()
    }
}

/// A block's directory, and the way to its sections.
pub struct BlockReader {
    blob: Arc<dyn Blob>,
    kind: Kind,
    directory_crc: u32,
    sections: Vec<SectionEntry>,
}

struct SectionEntry {
    name: String,
    bytes: Range<u64>,
    crc: u32,
}

impl BlockReader {
    /// Reads footer, directory and header, and verifies them; no section. Errors with `Corrupt` that says where, or with
    /// `Version` when a newer weir wrote it.
    pub fn open(blob: Arc<dyn Blob>) -> Result<Self, StoreError> {
        let path = blob.path();
        let size = blob.len();
        let wrong = |detail: String| StoreError::corrupt(path, detail);
        if size < HEADER_BYTES + 4 + FOOTER_BYTES {
            return Err(wrong(format!("{size} bytes are fewer than any block has")));
        }
        let tail = size.saturating_sub(TAIL_BYTES)..size;
        let ends = read_exact_all(&*blob, &[0..HEADER_BYTES, tail.clone()])?;
        let (kind, start, tail) = (check_header(path, &ends[0])?, tail.start, &ends[1]);
        let footer = &tail[tail.len() - FOOTER_BYTES as usize..];
        if &footer[8..] != END {
            return Err(wrong(format!("no end mark at byte {}: cut off or not a block", size - 4)));
        }
        let (length, stored) = (u32_at(footer, 0), u32_at(footer, 4));
        let room = size - FOOTER_BYTES - HEADER_BYTES;
        if length > DIRECTORY_BYTES_MAX || u64::from(length) > room {
            return Err(wrong(format!("directory length {length} at byte {} does not fit", size - FOOTER_BYTES)));
        }
        let (end, begin) = (size - FOOTER_BYTES, size - FOOTER_BYTES - u64::from(length));
        let directory = match begin.checked_sub(start) {
            Some(at) => tail.slice(at as usize..(end - start) as usize),
            None => read_exact(&*blob, begin..end)?,
        };
        let (computed, start) = (crc32c::crc32c(&directory), begin);
        if computed != stored {
            return Err(wrong(format!("directory at byte {start}: checksum {computed:08x}, stored {stored:08x}")));
        }
        let sections =
            parse_directory(&directory, start).map_err(|detail| wrong(format!("directory at byte {start}: {detail}")))?;
        Ok(Self { kind, directory_crc: stored, sections, blob: Arc::clone(&blob) })
    }

    /// Which engine's block it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// For messages: the object's path.
    pub fn path(&self) -> &str {
        self.blob.path()
    }

    /// Checksum of the directory, and with it of everything: it holds the sections' checksums.
    pub fn directory_crc(&self) -> u32 {
        self.directory_crc
    }

    /// Names of the sections, in file order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|section| section.name.as_str())
    }

    /// Length of a section; `None` when there is no such section.
    pub fn section_len(&self, name: &str) -> Option<u64> {
        self.find(name).map(|section| section.bytes.end - section.bytes.start)
    }

    /// A whole section, verified. Errors with `Corrupt` when it is absent or its checksum does not fit.
    pub fn section(&self, name: &str) -> Result<Bytes, StoreError> {
        let entry = self.entry(name)?;
        self.check_section(entry, read_exact(&*self.blob, entry.bytes.clone())?)
    }

    /// The same of several sections at once: of each that is there the bytes, or how its checksum does not fit. Errors when they cannot be
    /// read.
    pub fn sections(&self, names: &[&str]) -> Result<Vec<Option<Result<Bytes, StoreError>>>, StoreError> {
        let entries: Vec<_> = names.iter().map(|name| self.find(name)).collect();
        let ranges: Vec<Range<u64>> = entries.iter().flatten().map(|entry| entry.bytes.clone()).collect();
        let mut read = read_exact_all(&*self.blob, &ranges)?.into_iter();
        let section = |entry: Option<&SectionEntry>| Some(self.check_section(entry?, read.next()?));
        Ok(entries.into_iter().map(section).collect())
    }

    fn check_section(&self, entry: &SectionEntry, bytes: Bytes) -> Result<Bytes, StoreError> {
        let computed = crc32c::crc32c(&bytes);
        if computed == entry.crc {
            return Ok(bytes);
        }
        let (name, stored, start) = (&entry.name, entry.crc, entry.bytes.start);
        let detail = format!("section {name} at byte {start}: checksum {computed:08x}, stored {stored:08x}");
        Err(StoreError::corrupt(self.path(), detail))
    }

    /// A part of a section, as it lies: its integrity is the caller's affair. Errors with `Corrupt` when the section is
    /// absent or shorter.
    pub fn section_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        read_exact(&*self.blob, self.range(name, range)?)
    }

    /// The same for who reads a section once, from one end to the other: see [`Blob::read_once`].
    pub fn section_range_once(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let range = self.range(name, range)?;
        check_length(&*self.blob, &range, self.blob.read_once(range.clone())?)
    }

    /// A part of a section as a part of the file.
    fn range(&self, name: &str, range: Range<u64>) -> Result<Range<u64>, StoreError> {
        let entry = self.entry(name)?;
        let length = entry.bytes.end - entry.bytes.start;
        if range.start > range.end || range.end > length {
            let detail = format!("section {name} has {length} bytes, bytes {}..{} were expected", range.start, range.end);
            return Err(StoreError::corrupt(self.path(), detail));
        }
        Ok(entry.bytes.start + range.start..entry.bytes.start + range.end)
    }

    fn find(&self, name: &str) -> Option<&SectionEntry> {
        self.sections.iter().find(|section| section.name == name)
    }

    fn entry(&self, name: &str) -> Result<&SectionEntry, StoreError> {
        self.find(name).ok_or_else(|| StoreError::corrupt(self.path(), format!("there is no section {name}")))
    }
}

fn check_header(path: &str, header: &[u8]) -> Result<Kind, StoreError> {
    if &header[..4] != MAGIC {
        return Err(StoreError::corrupt(path, "the first four bytes are not those of a block"));
    }
    if header[4] != VERSION {
        return Err(StoreError::Version { path: path.into(), version: u32::from(header[4]) });
    }
    Kind::ALL
        .into_iter()
        .find(|kind| *kind as u8 == header[5])
        .ok_or_else(|| StoreError::corrupt(path, format!("kind {} at byte 5 is unknown", header[5])))
}

/// A blob that gives another number of bytes than asked for was changed under us.
fn read_exact(blob: &dyn Blob, range: Range<u64>) -> Result<Bytes, StoreError> {
    check_length(blob, &range, blob.read(range.clone())?)
}

/// The same of several ranges at once.
fn read_exact_all(blob: &dyn Blob, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
    let all = blob.read_all(ranges)?;
    if all.len() != ranges.len() {
        return Err(StoreError::corrupt(blob.path(), format!("{} ranges where {} were asked for", all.len(), ranges.len())));
    }
    ranges.iter().zip(all).map(|(range, bytes)| check_length(blob, range, bytes)).collect()
}

/// Bytes that were read of a range, if they are all.
fn check_length(blob: &dyn Blob, range: &Range<u64>, bytes: Bytes) -> Result<Bytes, StoreError> {
    let wanted = range.end - range.start;
    if bytes.len() as u64 != wanted {
        let detail = format!("{} bytes at byte {} where {wanted} were expected", bytes.len(), range.start);
        return Err(StoreError::corrupt(blob.path(), detail));
    }
    Ok(bytes)
}

fn parse_directory(directory: &[u8], end: u64) -> Result<Vec<SectionEntry>, String> {
    let early = || "ends early".to_owned();
    let (count, mut rest) = directory.split_first_chunk::<4>().ok_or_else(early)?;
    let count = u32::from_le_bytes(*count) as usize;
    if count > rest.len() / ENTRY_BYTES_MIN {
        return Err(format!("{count} sections do not fit into it"));
    }
    let mut sections: Vec<SectionEntry> = Vec::with_capacity(count);
    for i in 0..count {
        let (&length, tail) = rest.split_first().ok_or_else(early)?;
        let (name, tail) = tail.split_at_checked(length as usize).ok_or_else(early)?;
        let (numbers, tail) = tail.split_first_chunk::<20>().ok_or_else(early)?;
        rest = tail;
        let name = std::str::from_utf8(name).map_err(|_| format!("name of section {i} is not UTF-8"))?.to_owned();
        let (offset, length) = (u64_at(numbers, 0), u64_at(numbers, 8));
        let last = offset.checked_add(length).filter(|last| offset >= HEADER_BYTES && offset % 8 == 0 && *last <= end);
        let last = last.ok_or_else(|| format!("section {name} cannot lie at byte {offset} with length {length}"))?;
        if sections.iter().any(|section| section.name == name) {
            return Err(format!("section {name} is there twice"));
        }
        sections.push(SectionEntry { name, bytes: offset..last, crc: u32_at(numbers, 16) });
    }
    if rest.is_empty() { Ok(sections) } else { Err(format!("{} bytes are left over", rest.len())) }
}

/// Little-endian at `at`; the caller has checked that it is there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::MemoryBlob;

    fn open(bytes: Vec<u8>) -> Result<BlockReader, StoreError> {
        BlockReader::open(Arc::new(MemoryBlob::new("logs/00000/blocks/x", bytes)))
    }

    fn sample() -> Vec<u8> {
        BlockData::of(vec![("a.1", b"hello".to_vec()), ("empty.1", Vec::new()), ("b.2", vec![7; 9])]).encode(Kind::Logs)
    }

    #[test]
    fn golden_bytes() {
        let bytes = BlockData::of(vec![("a.1", b"hi".to_vec())]).encode(Kind::Spans);
        let expected = [
            "57424c4b 01 03 0000 6869",
            "01000000 03 612e31 0800000000000000 0200000000000000 c2d99df5",
            "1c000000 f0d16571 57454e44",
        ];
        assert_eq!(hex::encode(&bytes), expected.concat().replace(' ', ""));
        assert_eq!(bytes.len(), 8 + 2 + 28 + 12);
    }

    #[test]
    fn sections_come_back() {
        let block = open(sample()).unwrap();
        assert_eq!((block.kind(), block.names().collect::<Vec<_>>()), (Kind::Logs, vec!["a.1", "empty.1", "b.2"]));
        assert_eq!(&block.section("a.1").unwrap()[..], b"hello");
        assert_eq!(&block.section("empty.1").unwrap()[..], b"");
        assert_eq!(&block.section_range("a.1", 1..3).unwrap()[..], b"el");
        assert_eq!(block.section_len("b.2"), Some(9));
        assert!(block.section("c.1").unwrap_err().to_string().contains("there is no section c.1"));
        assert!(block.section_range("a.1", 3..6).is_err());
    }

    #[test]
    fn every_flipped_byte_is_noticed_or_harmless() {
        let good = sample();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let Ok(block) = open(bad) else { continue };
            let same = ["a.1", "empty.1", "b.2"].iter().all(|name| block.section(name).is_ok());
            // Reserved bytes and padding between sections carry nothing.
            let silent = (6..8).contains(&at) || (13..16).contains(&at);
            assert_eq!(same, silent, "byte {at}");
        }
    }

    #[test]
    fn every_cut_is_an_error_that_names_the_object() {
        let good = sample();
        for length in 0..good.len() {
            let message = open(good[..length].to_vec()).err().expect("cut").to_string();
            assert!(message.starts_with("logs/00000/blocks/x is corrupt: "), "{message}");
        }
        let mut newer = good;
        newer[4] = 9;
        assert!(matches!(open(newer), Err(StoreError::Version { version: 9, .. })));
    }
}
