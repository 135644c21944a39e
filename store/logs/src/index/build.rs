//! The sections of a block's index in the making.

use super::super::schema::{GRAMS, ID_PAGES, IDS, INDEX, LONG_GRAMS, PAIR_PAGES, PAIRS};
use super::super::tokens::{LONG, Tokens};
use super::grams::GramsBuilder;
use super::ids::{IdsBuilder, Written};
use super::long::LongFiltersBuilder;
use super::pairs::PairsBuilder;
use super::table::SECTION_BYTES_MAX;
use super::words::WordsBuilder;
use weir_blocks::StoreError;
use weir_blocks::block::BlockData;
use weir_blocks::scratch::ScratchSpace;

/// Rows of a table, unpacked, which a question about a part of an id reads at once.
const TABLE_BYTES_MAX: usize = 60 << 20;
/// Rows of all tables of ids: some four of the largest, which are one for each length that ids have.
const TABLES_BYTES_MAX: usize = 256 << 20;
const _: () = assert!(2 * TABLES_BYTES_MAX <= SECTION_BYTES_MAX);

/// Gathers chunks.
pub(crate) struct IndexBuilder {
    words: WordsBuilder,
    ids: IdsBuilder,
    pairs: PairsBuilder,
    grams: GramsBuilder,
    long: LongFiltersBuilder,
    chunks: u32,
    space: ScratchSpace,
}

impl IndexBuilder {
    /// Without chunks. Rows go to files of `space` once they are sorted.
    pub(crate) fn new(space: ScratchSpace) -> Result<Self, StoreError> {
        let (ids, pairs, grams) = (IdsBuilder::new(space.clone()), PairsBuilder::new(space.clone()), GramsBuilder::new());
        Ok(Self { words: WordsBuilder::new()?, ids, pairs, grams, long: LongFiltersBuilder::default(), chunks: 0, space })
    }

    /// The next chunk.
    pub(crate) fn push(&mut self, tokens: &Tokens) -> Result<(), StoreError> {
        for token in tokens.iter() {
            match self.ids.push(token, self.chunks)? {
                Some(Written::Packed) => continue,
                Some(Written::AsIs) => {}
                None => self.words.push(token),
            }
            self.grams.push(token);
        }
        if let Some(long) = tokens.long() {
            self.words.push(LONG);
            self.grams.push_long();
            self.long.push(self.chunks, long);
        }
        self.pairs.push(tokens.pairs(), self.chunks)?;
        self.chunks += 1;
        self.words.end_chunk()
    }

    /// Memory held.
    pub(crate) fn memory(&self) -> usize {
        self.words.memory() + self.ids.memory() + self.pairs.memory() + self.grams.memory() + self.long.memory()
    }

    /// Whether its tables stay so small that questions can read the rows of each at once.
    pub(crate) fn has_room(&self) -> bool {
        let (largest, all) = self.ids.rows_bytes();
        largest.max(self.pairs.rows_bytes()) <= TABLE_BYTES_MAX && all <= TABLES_BYTES_MAX
    }

    /// Adds the sections.
    pub(crate) fn finish(self, data: &mut BlockData) -> Result<(), StoreError> {
        // What is in memory first: it is not held while tables are written.
        data.push(INDEX, self.words.finish(self.space.clone())?);
        let (ids, id_pages) = self.ids.finish()?;
        data.push(IDS, ids);
        data.sections.push((ID_PAGES, id_pages));
        let (pairs, pair_pages) = self.pairs.finish(self.space)?;
        data.push(PAIRS, pairs);
        data.sections.extend([(PAIR_PAGES, pair_pages), (GRAMS, self.grams.finish())]);
        let long = self.long.finish();
        if !long.is_empty() {
            data.sections.push((LONG_GRAMS, long));
        }
        Ok(())
    }
}
