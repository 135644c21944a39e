//! The sections of a block's index in the making.

use super::super::schema::{GRAMS, ID_PAGES, IDS, INDEX, PAIR_PAGES, PAIRS};
use super::super::tokens::{LONG, Tokens};
use super::grams::GramsBuilder;
use super::ids::{IdsBuilder, Written};
use super::pairs::PairsBuilder;
use super::words::WordsBuilder;
use weir_blocks::StoreError;

/// Gathers chunks.
pub(crate) struct IndexBuilder {
    words: WordsBuilder,
    ids: IdsBuilder,
    pairs: PairsBuilder,
    grams: GramsBuilder,
    chunks: u32,
}

impl IndexBuilder {
    /// Without chunks.
    pub(crate) fn new() -> Result<Self, StoreError> {
        let (ids, pairs, grams) = (IdsBuilder::default(), PairsBuilder::new(), GramsBuilder::new());
        Ok(Self { words: WordsBuilder::new()?, ids, pairs, grams, chunks: 0 })
    }

    /// The next chunk.
    pub(crate) fn push(&mut self, tokens: &Tokens) -> Result<(), StoreError> {
        for token in tokens.iter() {
            match self.ids.push(token, self.chunks) {
                Some(Written::Packed) => continue,
                Some(Written::AsIs) => {}
                None => self.words.push(token),
            }
            self.grams.push(token);
        }
        if tokens.has_long() {
            self.words.push(LONG);
            self.grams.push_long();
        }
        self.pairs.push(tokens.pairs(), self.chunks);
        self.chunks += 1;
        self.words.end_chunk()
    }

    /// Memory held.
    pub(crate) fn memory(&self) -> usize {
        self.words.memory() + self.ids.memory() + self.pairs.memory() + self.grams.memory()
    }

    /// The sections, with their names.
    pub(crate) fn finish(self) -> Result<[(&'static str, Vec<u8>); 6], StoreError> {
        let ((ids, id_pages), (pairs, pair_pages), grams) = (self.ids.finish(), self.pairs.finish(), self.grams.finish());
        let sections = [(IDS, ids), (ID_PAGES, id_pages), (PAIRS, pairs), (PAIR_PAGES, pair_pages), (GRAMS, grams)];
        let [ids, id_pages, pairs, pair_pages, grams] = sections;
        Ok([(INDEX, self.words.finish()?), ids, id_pages, pairs, pair_pages, grams])
    }
}
