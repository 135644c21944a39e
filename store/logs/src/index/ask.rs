//! The index of one block, asked which chunks may meet a predicate. A section is opened when it is first needed.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::super::predicate::{Edge, TokenPredicate};
use super::super::schema::{FORMER_INDEX, INDEX};
use super::super::tokens::{LONG, TOKEN_BYTES_MAX, fold};
use super::cache::IndexCache;
use super::grams::Grams;
use super::ids::{self, PART_BYTES_MIN, is_hex, is_id};
use super::pairs;
use super::words::Words;
use weir_blocks::StoreError;
use weir_blocks::block::BlockReader;
use weir_model::select::Budget;

/// The index of a block.
pub(crate) struct BlockIndex<'a> {
    pub(crate) path: &'a Arc<str>,
    pub(crate) reader: &'a BlockReader,
    pub(crate) cache: &'a IndexCache,
    /// Chunks of the block.
    pub(crate) chunks: u32,
    pub(crate) grams: Option<&'a Grams>,
    /// Nothing is read: what is not in memory is an error, `Unavailable`.
    pub(crate) at_hand: bool,
    /// Of the request: when it ends nothing more is read, and what is asked is an error, `Unavailable`.
    pub(crate) budget: &'a dyn Budget,
}

/// What leaves of a request's predicates found, by where these lie: a second try does not ask them again.
#[derive(Default)]
pub(crate) struct Known(HashMap<*const TokenPredicate, Option<RoaringBitmap>>);

type Found = Result<Option<RoaringBitmap>, StoreError>;

impl BlockIndex<'_> {
    /// The chunks that may meet a predicate; `None` when any may. Errors with `Corrupt` that names the section.
    pub(crate) fn candidates(&self, predicate: &TokenPredicate, known: &mut Known) -> Found {
        let is_former = self.reader.section_len(INDEX).is_none();
        combine(predicate, &mut |leaf| {
            if let Some(found) = known.0.get(&std::ptr::from_ref(leaf)) {
                return Ok(found.clone());
            }
            let found = if is_former { self.former_chunks_with(leaf) } else { self.chunks_with(leaf) }?;
            known.0.insert(leaf, found.clone());
            Ok(found)
        })
    }

    /// Opens all of it. Errors with `Corrupt` when it is of other chunks than there are.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        if self.reader.section_len(INDEX).is_some() {
            self.words()?;
            self.long()?;
            self.ids()?.verify(self)?;
            self.pairs()?.table(self).verify()?;
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
                let mut found = RoaringBitmap::new();
                self.pairs()?.table(self).add_chunks_with(&pairs::row(*hash), &mut found)?;
                if let Some(id) = id {
                    self.add_chunks_with_id(id, &mut found)?;
                }
                Ok(Some(found))
            }
            TokenPredicate::Anything | TokenPredicate::All(_) | TokenPredicate::OneOf(_) => Ok(None),
        }
    }

    /// False when no word, and no id that is not packed, has a folded part at this edge; what is too long for the index aside.
    fn may_be_written(&self, edge: Edge, part: &[u8]) -> bool {
        self.grams.is_none_or(|grams| grams.may_have(edge, part))
    }

    /// False when no token that is too long for the index may have a folded part at this edge.
    fn may_be_long(&self, edge: Edge, part: &[u8]) -> bool {
        self.grams.is_none_or(|grams| grams.may_have_long(edge, part))
    }

    /// Adds the chunks with a token too long for the index that may have a folded part.
    fn add_chunks_with_long(&self, part: &[u8], found: &mut RoaringBitmap) -> Result<(), StoreError> {
        match self.long()? {
            Some(filters) => {
                filters.add_chunks_with(part, found);
                Ok(())
            }
            None => self.ask_words(|words| words.add_chunks_with(LONG, found)),
        }
    }

    fn add_chunks_with_id(&self, id: &[u8], found: &mut RoaringBitmap) -> Result<(), StoreError> {
        let ids = self.ids()?;
        ids::add_chunks_with(id, |shape| ids.table(shape, self), found)
    }

    fn chunks_with_token(&self, token: &[u8]) -> Found {
        let mut found = RoaringBitmap::new();
        if token.len() > TOKEN_BYTES_MAX {
            if self.may_be_long(Edge::Whole, token) {
                self.add_chunks_with_long(token, &mut found)?;
            }
            return Ok(Some(found));
        }
        let is_packed = is_id(token) && is_hex(token);
        if !is_packed && !self.may_be_written(Edge::Whole, token) {
            return Ok(Some(found));
        }
        if is_id(token) {
            self.add_chunks_with_id(token, &mut found)?;
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
        let (may_be_long, fits) = (self.may_be_long(edge, part), part.len() <= TOKEN_BYTES_MAX);
        let may_be_written = fits && self.may_be_written(edge, part);
        let may_be_word = may_be_written && !ids::are_in_ids_alone(part);
        if may_be_long {
            self.add_chunks_with_long(part, &mut found)?;
        }
        if may_be_word {
            self.ask_words(|words| words.add_chunks_with_part(edge, part, &mut found))?;
        }
        if !may_be_written && !is_hex(part) || found.len() == u64::from(self.chunks) {
            return Ok(Some(found));
        }
        let ids = self.ids()?;
        let tables: Vec<_> = ids.tables(self).filter(|(shape, _)| may_be_written || shape.is_packed()).collect();
        ids::add_chunks_with_part(&tables, (edge, part), self.chunks, &mut found)?;
        Ok(Some(found))
    }

    fn former_chunks_with(&self, leaf: &TokenPredicate) -> Found {
        let index = match leaf {
            TokenPredicate::Pair { tokens, .. } => return self.candidates(tokens, &mut Known::default()),
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
