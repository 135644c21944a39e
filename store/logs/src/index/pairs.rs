//! Which chunks have lines with a name and a value among their metadata: hashes of both, with the chunks of each.

use xxhash_rust::xxh3::xxh3_64;

use super::pages::{PageList, PagesBuilder, TableCode, decode_lists};
use super::table::{SECTION_BYTES_MAX, Table, TableBuilder};
use weir_blocks::StoreError;
use weir_blocks::packed::Cursor;
use weir_blocks::scratch::{ScratchSpace, SectionBytes};

/// Of the one table: rows as they are, of four bytes.
const CODE: TableCode = [1, HASH_BYTES as u8];

/// 32 bits: of a million pairs in a block one question in four thousand reads a chunk for nothing.
const HASH_BYTES: usize = size_of::<u32>();

/// What languages put behind a metadata's name when a label of the stream has it.
const TAKEN: &[u8] = b"extracted";

/// The hash of a name and its whole value. Names count without what is neither letter nor digit and without a trailing
/// `_extracted`: languages ask for `http_method` where a client sent `http.method`.
pub(crate) fn pair_hash(name: &str, value: &[u8]) -> u32 {
    let mut text = pair_name(name);
    text.push(0);
    text.extend_from_slice(value);
    xxh3_64(&text) as u32
}

/// A name as pairs have it: the same for all names that may be asked for it.
pub(crate) fn pair_name(name: &str) -> Vec<u8> {
    let mut text: Vec<u8> = name.bytes().filter(u8::is_ascii_alphanumeric).collect();
    while text.ends_with(TAKEN) {
        text.truncate(text.len() - TAKEN.len());
    }
    text
}

/// The section in the making.
pub(super) struct PairsBuilder(TableBuilder);

impl PairsBuilder {
    pub(super) fn new(space: ScratchSpace) -> Self {
        Self(TableBuilder::new(HASH_BYTES, space))
    }

    /// The next chunk's.
    pub(super) fn push(&mut self, pairs: &[u32], chunk: u32) -> Result<(), StoreError> {
        pairs.iter().try_for_each(|pair| self.0.push(&row(*pair), chunk))
    }

    pub(super) fn memory(&self) -> usize {
        self.0.memory()
    }

    pub(super) fn rows_bytes(&self) -> usize {
        self.0.rows_bytes()
    }

    /// The section of pages, and the one that says where they begin.
    pub(super) fn finish(self, space: ScratchSpace) -> Result<(SectionBytes, Vec<u8>), StoreError> {
        let mut pages = PagesBuilder::new(space);
        pages.push(CODE, self.0)?;
        pages.finish()
    }
}

/// The row of a hash.
pub(super) fn row(pair: u32) -> [u8; HASH_BYTES] {
    pair.to_be_bytes()
}

/// Where the pages of a section of so many bytes begin; errors are sentences.
pub(super) fn decode_list(section: &[u8], section_bytes: u64) -> Result<PageList, String> {
    let width = |code| if code == CODE { Ok(HASH_BYTES) } else { Err(format!("a table {code:?} of pairs")) };
    decode_lists(section, section_bytes, width)?.pop().map(|(_, list)| list).ok_or_else(|| "no table".to_owned())
}

/// The section of a block of before, of so many chunks; errors are sentences.
pub(super) fn decode_former(section: &[u8], documents: u32) -> Result<Table, String> {
    let mut cursor = Cursor::new(section);
    let table = Table::decode(&mut cursor, HASH_BYTES, documents, &mut { SECTION_BYTES_MAX })?;
    cursor.end()?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_by_its_letters_and_digits() {
        let same = |name: &str, other: &str| pair_hash(name, b"7") == pair_hash(other, b"7");
        assert!(
            same("http.method", "http_method")
                && same("a.extracted", "a_extracted_extracted")
                && same("user", "user_extracted")
                && same("größe", "gr____e")
        );
        assert!(!same("user", "User") && !same("user", "user2"));
        assert_ne!(pair_hash("user", b"7"), pair_hash("user", b"8"));
        assert_ne!(pair_hash("user7", b""), pair_hash("user", b"7"));
    }
}
