//! The index of one block, asked which chunks may meet a predicate. A section is opened when it is first needed.

use std::sync::Arc;

use roaring::RoaringBitmap;
use weir_model::panic_guard;

use super::super::predicate::{Edge, TokenPredicate};
use super::super::schema::{FORMER_INDEX, IDS, INDEX, PAIRS};
use super::super::tokens::{LONG, TOKEN_BYTES_MAX, fold};
use super::cache::{IndexCache, OpenSection};
use super::grams::Grams;
use super::ids::{Ids, is_hex, is_id};
use super::pairs::Pairs;
use super::words::{FormerIndex, Words};
use weir_blocks::StoreError;
use weir_blocks::block::BlockReader;

/// Parts of fewer characters are in every chunk.
const PART_BYTES_MIN: usize = 3;

/// The index of a block.
pub(crate) struct BlockIndex<'a> {
    pub(crate) path: &'a Arc<str>,
    pub(crate) reader: &'a BlockReader,
    pub(crate) cache: &'a IndexCache,
    /// Chunks of the block.
    pub(crate) chunks: u32,
    pub(crate) grams: Option<&'a Grams>,
}

type Found = Result<Option<RoaringBitmap>, StoreError>;

impl BlockIndex<'_> {
    /// The chunks that may meet a predicate; `None` when any may. Errors with `Corrupt` that names the section.
    pub(crate) fn candidates(&self, predicate: &TokenPredicate) -> Found {
        if self.reader.section_len(INDEX).is_some() {
            combine(predicate, &mut |leaf| self.chunks_with(leaf))
        } else {
            combine(predicate, &mut |leaf| self.former_chunks_with(leaf))
        }
    }

    /// Opens all of it. Errors with `Corrupt` when it is of other chunks than there are.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        if self.reader.section_len(INDEX).is_some() {
            self.words()?;
            self.ids()?;
            self.pairs()?;
        } else {
            self.former()?;
        }
        Ok(())
    }

    fn chunks_with(&self, leaf: &TokenPredicate) -> Found {
        match leaf {
            TokenPredicate::Token(token) | TokenPredicate::AnyCase(Edge::Whole, token) => self.chunks_with_token(&fold(token)),
            TokenPredicate::Part(edge, part) | TokenPredicate::AnyCase(edge, part) => self.chunks_with_part(*edge, &fold(part)),
            TokenPredicate::Pair { hash, id, .. } => {
                let mut found = self.pairs()?.chunks_with(*hash);
                if let Some(id) = id {
                    self.ids()?.add_chunks_with(id, &mut found);
                }
                Ok(Some(found))
            }
            TokenPredicate::Anything | TokenPredicate::All(_) | TokenPredicate::OneOf(_) => Ok(None),
        }
    }

    /// False when no token has a folded part at this edge.
    fn may_have(&self, edge: Edge, part: &[u8]) -> bool {
        is_hex(part) || self.grams.is_none_or(|grams| grams.may_have(edge, part))
    }

    fn chunks_with_token(&self, token: &[u8]) -> Found {
        let mut found = RoaringBitmap::new();
        if !self.may_have(Edge::Whole, token) {
            return Ok(Some(found));
        }
        if token.len() > TOKEN_BYTES_MAX {
            self.ask_words(|words| words.add_chunks_with(LONG, &mut found))?;
        } else if is_id(token) {
            self.ids()?.add_chunks_with(token, &mut found);
        } else {
            self.ask_words(|words| words.add_chunks_with(token, &mut found))?;
        }
        Ok(Some(found))
    }

    fn chunks_with_part(&self, edge: Edge, part: &[u8]) -> Found {
        if part.len() < PART_BYTES_MIN {
            return Ok(None);
        }
        let mut found = RoaringBitmap::new();
        if !self.may_have(edge, part) {
            return Ok(Some(found));
        }
        self.ask_words(|words| {
            words.add_chunks_with(LONG, &mut found)?;
            if part.len() <= TOKEN_BYTES_MAX { words.add_chunks_with_part(edge, part, &mut found) } else { Ok(()) }
        })?;
        if found.len() < u64::from(self.chunks) {
            self.ids()?.add_chunks_with_part(edge, part, &mut found);
        }
        Ok(Some(found))
    }

    fn former_chunks_with(&self, leaf: &TokenPredicate) -> Found {
        let index = match leaf {
            TokenPredicate::Pair { tokens, .. } => return self.candidates(tokens),
            _ => self.former()?,
        };
        let found = self.guarded(FORMER_INDEX, || match leaf {
            TokenPredicate::Token(token) if token.len() > TOKEN_BYTES_MAX => index.chunks_with(LONG).map(Some),
            TokenPredicate::Token(token) => index.chunks_with(token).map(Some),
            TokenPredicate::Part(edge, part) => index.chunks_with_part(*edge, part).map(Some),
            TokenPredicate::AnyCase(edge, part) => index.chunks_with_any_case(*edge, part).map(Some),
            _ => Ok(None),
        })?;
        Ok(found)
    }

    fn ask_words(&self, ask: impl FnOnce(&Words) -> std::io::Result<()>) -> Result<(), StoreError> {
        let words = self.words()?;
        self.guarded(INDEX, || ask(&words))
    }

    fn words(&self) -> Result<Arc<Words>, StoreError> {
        let open = |bytes: &[u8]| {
            let words = self.guarded(INDEX, || Words::open(bytes))?;
            self.check_documents(INDEX, words.documents())?;
            Ok(OpenSection::Words(Arc::new(words)))
        };
        match self.section(INDEX, open)? {
            OpenSection::Words(words) => Ok(words),
            _ => Err(self.wrong(INDEX, "another section")),
        }
    }

    fn ids(&self) -> Result<Arc<Ids>, StoreError> {
        let open = |bytes: &[u8]| {
            let ids = Ids::decode(bytes, self.chunks).map_err(|detail| self.wrong(IDS, detail))?;
            Ok(OpenSection::Ids(Arc::new(ids)))
        };
        match self.section(IDS, open)? {
            OpenSection::Ids(ids) => Ok(ids),
            _ => Err(self.wrong(IDS, "another section")),
        }
    }

    fn pairs(&self) -> Result<Arc<Pairs>, StoreError> {
        let open = |bytes: &[u8]| {
            let pairs = Pairs::decode(bytes, self.chunks).map_err(|detail| self.wrong(PAIRS, detail))?;
            Ok(OpenSection::Pairs(Arc::new(pairs)))
        };
        match self.section(PAIRS, open)? {
            OpenSection::Pairs(pairs) => Ok(pairs),
            _ => Err(self.wrong(PAIRS, "another section")),
        }
    }

    fn former(&self) -> Result<Arc<FormerIndex>, StoreError> {
        let open = |bytes: &[u8]| {
            let index = self.guarded(FORMER_INDEX, || FormerIndex::open(bytes))?;
            self.check_documents(FORMER_INDEX, index.documents())?;
            Ok(OpenSection::Former(Arc::new(index)))
        };
        match self.section(FORMER_INDEX, open)? {
            OpenSection::Former(index) => Ok(index),
            _ => Err(self.wrong(FORMER_INDEX, "another section")),
        }
    }

    fn section(
        &self,
        name: &'static str,
        open: impl FnOnce(&[u8]) -> Result<OpenSection, StoreError>,
    ) -> Result<OpenSection, StoreError> {
        self.cache.get((Arc::clone(self.path), name), || open(&self.reader.section(name)?))
    }

    /// The section's checksum was right, so only bytes made to harm get this far; tantivy trusts its files and panics.
    fn guarded<T, E: ToString>(&self, name: &str, ask: impl FnOnce() -> Result<T, E>) -> Result<T, StoreError> {
        match panic_guard::catch(ask) {
            Ok(answer) => answer.map_err(|error| self.wrong(name, error)),
            Err(_) => Err(self.wrong(name, "tantivy cannot read it")),
        }
    }

    fn check_documents(&self, name: &str, documents: u32) -> Result<(), StoreError> {
        match documents == self.chunks {
            true => Ok(()),
            false => Err(self.wrong(name, format!("{documents} chunks, {} are there", self.chunks))),
        }
    }

    fn wrong(&self, name: &str, detail: impl ToString) -> StoreError {
        StoreError::corrupt(self.path, format!("section {name}: {}", detail.to_string()))
    }
}

/// Conjunctions and alternatives of what the leaves find.
fn combine(predicate: &TokenPredicate, leaf: &mut dyn FnMut(&TokenPredicate) -> Found) -> Found {
    match predicate {
        TokenPredicate::Anything => Ok(None),
        TokenPredicate::All(predicates) => {
            let mut found: Option<RoaringBitmap> = None;
            for predicate in predicates {
                if let Some(chunks) = combine(predicate, leaf)? {
                    found = Some(match found {
                        Some(found) => found & chunks,
                        None => chunks,
                    });
                }
                if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                    break;
                }
            }
            Ok(found)
        }
        TokenPredicate::OneOf(predicates) => {
            let mut found = RoaringBitmap::new();
            for predicate in predicates {
                match combine(predicate, leaf)? {
                    Some(chunks) => found |= chunks,
                    None => return Ok(None),
                }
            }
            Ok(Some(found))
        }
        one => leaf(one),
    }
}
