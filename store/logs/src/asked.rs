//! The pack of the chunk that a request asked last, and what was found out of it. Chunks of a pack are mostly asked one after the other:
//! it is read, paid and unpacked once, and its templates, words and contexts, which all of them share, are looked at once.

use std::sync::Arc;

use parking_lot::Mutex;
use weir_model::select::Mention;

use super::block::LogsBlock;
use super::constant::Passing;
use super::needle::Candidates;
use super::opened::OpenedPack;

/// Of the pack that was asked last, by its identity.
#[derive(Default)]
pub(crate) struct LastPack {
    candidates: Last<Candidates>,
    passing: Last<Passing>,
    /// Texts of its templates for people.
    texts: Last<Vec<String>>,
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

/// The pack that a request has opened last, whether or not the cache for all requests keeps it.
#[derive(Default)]
pub(crate) struct HeldPack(Mutex<Option<Held>>);

/// Its block, its number in it, and the pack.
type Held = (Arc<LogsBlock>, u32, Arc<OpenedPack>);

impl HeldPack {
    /// The pack of a chunk, if it is that.
    pub(crate) fn get(&self, block: &Arc<LogsBlock>, chunk: u32) -> Option<Arc<OpenedPack>> {
        let held = self.0.lock();
        let own = held.as_ref().filter(|(own, number, _)| Arc::ptr_eq(own, block) && *number == block.pack_of(chunk));
        own.map(|(_, _, pack)| Arc::clone(pack))
    }

    /// Holds the pack of a chunk in place of another.
    pub(crate) fn hold(&self, block: &Arc<LogsBlock>, chunk: u32, pack: &Arc<OpenedPack>) {
        let held = (Arc::clone(block), block.pack_of(chunk), Arc::clone(pack));
        // What goes is dropped without the lock.
        let _before = self.0.lock().replace(held);
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

    /// Texts of its templates for people.
    pub(crate) fn texts(&self, pack: u64, find: impl FnOnce() -> Vec<String>) -> Result<Arc<Vec<String>>, String> {
        self.texts.get(pack, |_| true, || Ok(find()))
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
