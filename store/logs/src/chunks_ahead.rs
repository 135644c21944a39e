//! Packs of chunks read before their turn, where a request opens many: those of its block that follow are read together with the one whose
//! turn has come, none at first, then one, three, and so on, so that who finds enough has read no more for nothing than it needed. Few chunks that
//! indexes name are read by `lookahead`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use weir_model::select::{Budget, ReadError};

use super::block::LogsBlock;
use super::index::THREADS_MAX;
use super::lookahead::with_helpers;
use super::opened::OpenedPack;

/// Bytes that are held for a request until their turn comes, as stored: some thirty packs. Where there is no room for more, they are read at
/// their turn.
const BYTES_MAX: u64 = 4 << 20;

/// Packs of a block that are known to follow; whoever opens more of it reads the others at their turn.
const LIST_MAX: usize = 4096;

/// A request's, until it ends.
#[derive(Default)]
pub(crate) struct ChunksAhead(Mutex<State>);

#[derive(Default)]
struct State {
    /// By where the block lies in memory, which it does as long as this.
    blocks: HashMap<usize, Upcoming>,
    /// Packs that were read ahead, by block and number. They are reserved, and paid when they are reached.
    read: HashMap<(usize, u32), Arc<OpenedPack>>,
    held_bytes: u64,
    /// There was no memory for it once: it is not asked for again.
    has_no_room: bool,
}

/// The packs of a block that the request may open, a chunk of each, in the order of their turns.
struct Upcoming {
    _block: Arc<LogsBlock>,
    chunks: VecDeque<u32>,
    /// Packs that were read together the last time.
    window: usize,
}

/// Where a block lies in memory.
pub(crate) fn address(block: &Arc<LogsBlock>) -> usize {
    Arc::as_ptr(block) as usize
}

impl ChunksAhead {
    /// The chunk is opened next: its pack, paid, where it was read before or is read now, together with others. `list` gives the chunks of the
    /// block in the order of their turns. What could not be read is read again by who opens it, to say what is wrong with it. Errors when
    /// the budget has no room for it.
    pub(crate) fn reach(
        &self,
        (block, chunk): (&Arc<LogsBlock>, u32),
        list: impl FnOnce() -> Vec<u32>,
        budget: &dyn Budget,
    ) -> Result<Option<Arc<OpenedPack>>, ReadError> {
        if !block.has_packs() {
            return Ok(None);
        }
        let packs = {
            let mut state = self.0.lock();
            if let Some(read) = state.remove((block, chunk), budget)? {
                return Ok(Some(read));
            }
            state.take(block, chunk, list)
        };
        if packs.len() < 2 {
            return Ok(None);
        }
        let bytes: u64 = packs.iter().map(|chunk| block.pack_bytes(*chunk)).sum();
        if budget.reserve(bytes).is_err() {
            self.0.lock().has_no_room = true;
            return Ok(None);
        }
        let read = fetch(block, &packs, budget);
        let mut state = self.0.lock();
        budget.release(bytes - state.hold(block, read));
        state.remove((block, chunk), budget)
    }

    /// Nothing is opened any more: gives back what is held.
    pub(crate) fn end(&self, budget: &dyn Budget) {
        budget.release(std::mem::take(&mut *self.0.lock()).held_bytes);
    }
}

impl State {
    /// Of packs that were read the bytes, which are reserved.
    fn hold(&mut self, block: &Arc<LogsBlock>, read: Vec<(u32, Arc<OpenedPack>)>) -> u64 {
        let bytes: u64 = read.iter().map(|(chunk, _)| block.pack_bytes(*chunk)).sum();
        self.held_bytes += bytes;
        self.read.extend(read.into_iter().map(|(chunk, pack)| ((address(block), block.pack_of(chunk)), pack)));
        bytes
    }

    fn remove(
        &mut self,
        (block, chunk): (&Arc<LogsBlock>, u32),
        budget: &dyn Budget,
    ) -> Result<Option<Arc<OpenedPack>>, ReadError> {
        let Some(read) = self.read.remove(&(address(block), block.pack_of(chunk))) else { return Ok(None) };
        let bytes = block.pack_bytes(chunk);
        self.held_bytes -= bytes;
        budget.release(bytes);
        budget.read(bytes)?;
        Ok(Some(read))
    }

    /// The chunk and those after it that are read with it: of each pack one.
    fn take(&mut self, block: &Arc<LogsBlock>, chunk: u32, list: impl FnOnce() -> Vec<u32>) -> Vec<u32> {
        let upcoming = self.blocks.entry(address(block)).or_insert_with(|| {
            let mut chunks = list();
            chunks.dedup_by_key(|chunk| block.pack_of(*chunk));
            chunks.truncate(LIST_MAX);
            chunks.shrink_to_fit();
            Upcoming { _block: Arc::clone(block), chunks: chunks.into(), window: 0 }
        });
        let pack = block.pack_of(chunk);
        let Some(at) = upcoming.chunks.iter().position(|next| block.pack_of(*next) == pack) else { return Vec::new() };
        // Those before it were passed over, by their roll-ups or times.
        upcoming.chunks.drain(..=at);
        // What was opened lately is found in memory when its turn comes.
        if block.is_opened(chunk) || self.has_no_room {
            return Vec::new();
        }
        upcoming.window = (upcoming.window * 2).clamp(1, THREADS_MAX * 2);
        let (mut packs, mut bytes) = (vec![chunk], self.held_bytes + block.pack_bytes(chunk));
        while packs.len() < upcoming.window
            && let Some(next) = upcoming.chunks.front().filter(|next| !block.is_opened(**next))
        {
            bytes += block.pack_bytes(*next);
            if bytes > BYTES_MAX {
                break;
            }
            packs.extend(upcoming.chunks.pop_front());
        }
        packs
    }
}

/// Reads packs, by as many threads as there are for it: those of these chunks that can be read.
fn fetch(block: &Arc<LogsBlock>, chunks: &[u32], budget: &dyn Budget) -> Vec<(u32, Arc<OpenedPack>)> {
    let (next, read) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(chunks.len())));
    let take_next = || {
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| budget.check().is_ok()) {
            if let Ok(pack) = block.opened(*chunk) {
                read.lock().push((*chunk, Arc::new(pack)));
            }
        }
    };
    with_helpers(block.turns(), chunks.len() - 1, take_next, || ());
    read.into_inner()
}
