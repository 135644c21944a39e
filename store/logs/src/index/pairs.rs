//! Which chunks have lines with a name and a value among their metadata: hashes of both, with the chunks of each.

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::table::{SECTION_BYTES_MAX, Table, TableBuilder};
use weir_blocks::packed::Cursor;

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
    pub(super) fn new() -> Self {
        Self(TableBuilder::new(HASH_BYTES))
    }

    /// The next chunk's.
    pub(super) fn push(&mut self, pairs: &[u32], chunk: u32) {
        pairs.iter().for_each(|pair| self.0.push(&pair.to_be_bytes(), chunk));
    }

    pub(super) fn memory(&self) -> usize {
        self.0.memory()
    }

    /// The section.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.0.finish(&mut out);
        out
    }
}

/// The section, opened.
pub(super) struct Pairs(Table);

impl Pairs {
    /// Of a block of so many chunks; errors are sentences.
    pub(super) fn decode(section: &[u8], documents: u32) -> Result<Self, String> {
        let mut cursor = Cursor::new(section);
        let table = Table::decode(&mut cursor, HASH_BYTES, documents, &mut { SECTION_BYTES_MAX })?;
        cursor.end()?;
        Ok(Self(table))
    }

    pub(super) fn memory(&self) -> usize {
        self.0.memory()
    }

    /// Chunks with a pair of this hash.
    pub(super) fn chunks_with(&self, pair: u32) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        self.0.add_chunks_with(&pair.to_be_bytes(), &mut found);
        found
    }
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
