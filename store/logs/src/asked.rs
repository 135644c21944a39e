//! What was found out of a pack for the chunk that was asked last. A pack's templates, words and contexts are the same for all of its
//! chunks, which are mostly asked one after the other: each is looked at once.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_model::select::Mention;

use super::constant::Passing;
use super::needle::Candidates;

/// Of the pack that was asked last, by its identity.
#[derive(Default)]
pub(crate) struct LastPack {
    candidates: Last<Candidates>,
    passing: Last<Passing>,
    /// Of each context whether it says what is mentioned.
    saying: Last<(Mention, Vec<bool>)>,
}

/// Held while a pointer is copied.
struct Last<T>(Mutex<Option<(u64, Arc<T>)>>);

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Last<T> {
    fn get(
        &self,
        pack: u64,
        is_same: impl FnOnce(&T) -> bool,
        find: impl FnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        if let Some((_, known)) = self.0.lock().as_ref().filter(|(own, known)| *own == pack && is_same(known)) {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(find()?);
        *self.0.lock() = Some((pack, Arc::clone(&found)));
        Ok(found)
    }
}

impl LastPack {
    /// What filters leave of its lines.
    pub(crate) fn candidates(
        &self,
        pack: u64,
        find: impl FnOnce() -> Result<Candidates, String>,
    ) -> Result<Arc<Candidates>, String> {
        self.candidates.get(pack, |_| true, find)
    }

    /// What of its lines passes by what is constant of their texts.
    pub(crate) fn passing(&self, pack: u64, find: impl FnOnce() -> Result<Passing, String>) -> Result<Arc<Passing>, String> {
        self.passing.get(pack, |_| true, find)
    }

    /// Which of its contexts say what is mentioned.
    pub(crate) fn saying(
        &self,
        pack: u64,
        mention: &Mention,
        find: impl FnOnce() -> Result<Vec<bool>, String>,
    ) -> Result<Arc<(Mention, Vec<bool>)>, String> {
        self.saying.get(pack, |(known, _)| known == mention, || Ok((mention.clone(), find()?)))
    }
}
