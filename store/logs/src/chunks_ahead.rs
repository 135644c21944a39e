//! Packs of chunks read before their turn, where a request opens many: those of its block that follow are read together with the one whose
//! turn has come, first one, then three, and so on, so that who finds enough has read no more for nothing than it needed. Few chunks that
//! indexes name are read by `lookahead`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use weir_model::select::{Budget, ReadError};

use super::block::LogsBlock;
use super::index::{THREADS_MAX, Turn};
use super::lookahead::spawn;
use super::opened::OpenedPack;

/// Bytes that are held for a request until their turn comes, as stored: some thirty packs. Where its chunks lie so that more would be held,
/// all go where packs that were opened lately are kept.
const BYTES_MAX: u64 = 4 << 20;

/// A request's, until it ends.
#[derive(Default)]
pub(crate) struct ChunksAhead(Mutex<State>);

#[derive(Default)]
struct State {
    /// Packs that were read together the last time.
    window: usize,
    /// By where the block lies in memory, which it does as long as this.
    blocks: HashMap<usize, Upcoming>,
    /// Packs that were read ahead, by block and number; `None` of one that could not be read.
    read: HashMap<(usize, u32), Option<Arc<OpenedPack>>>,
    held_bytes: u64,
}

/// What is known of a pack whose turn has come.
pub(crate) enum Reached {
    /// It is read and paid now.
    Unread,
    /// It is paid; what could not be read is tried again, to say what is wrong with it.
    Paid(Option<Arc<OpenedPack>>),
}

/// The packs of a block that the request may open, a chunk of each, in the order of their turns.
struct Upcoming {
    _block: Arc<LogsBlock>,
    chunks: VecDeque<u32>,
}

fn address(block: &Arc<LogsBlock>) -> usize {
    Arc::as_ptr(block) as usize
}

impl ChunksAhead {
    /// The chunk is opened next. Unless its pack was read before, it may be read now, with others. `list` gives the chunks of the block in
    /// the order of their turns. Errors when the budget has no room for them.
    pub(crate) fn reach(
        &self,
        (block, chunk): (&Arc<LogsBlock>, u32),
        list: impl FnOnce() -> Vec<u32>,
        budget: &dyn Budget,
    ) -> Result<Reached, ReadError> {
        if !block.has_packs() {
            return Ok(Reached::Unread);
        }
        let packs = {
            let mut state = self.0.lock();
            if let Some(read) = state.remove((block, chunk), budget) {
                return Ok(Reached::Paid(read));
            }
            state.take(block, chunk, list)
        };
        let bytes: u64 = packs.iter().map(|chunk| block.pack_bytes(*chunk)).sum();
        // Where there is no memory for it, each is read when its turn comes.
        if packs.len() < 2 || budget.reserve(bytes).is_err() {
            return Ok(Reached::Unread);
        }
        for chunk in &packs {
            budget.read(block.pack_bytes(*chunk))?;
        }
        let read = fetch(block, &packs, budget);
        let mut state = self.0.lock();
        budget.release(bytes - state.hold(block, read, budget));
        Ok(state.remove((block, chunk), budget).map_or(Reached::Unread, Reached::Paid))
    }
}

impl State {
    /// Of packs that were read the bytes, which are reserved.
    fn hold(&mut self, block: &Arc<LogsBlock>, read: Vec<(u32, Option<Arc<OpenedPack>>)>, budget: &dyn Budget) -> u64 {
        let held = read.iter().filter(|(_, pack)| pack.is_some()).map(|(chunk, _)| block.pack_bytes(*chunk));
        let bytes: u64 = held.sum();
        if self.held_bytes + bytes > BYTES_MAX {
            self.read.values_mut().for_each(|pack| drop(pack.take()));
            budget.release(std::mem::take(&mut self.held_bytes));
        }
        self.held_bytes += bytes;
        self.read.extend(read.into_iter().map(|(chunk, pack)| ((address(block), block.pack_of(chunk)), pack)));
        bytes
    }

    fn remove(&mut self, (block, chunk): (&Arc<LogsBlock>, u32), budget: &dyn Budget) -> Option<Option<Arc<OpenedPack>>> {
        let read = self.read.remove(&(address(block), block.pack_of(chunk)))?;
        if read.is_some() {
            let bytes = block.pack_bytes(chunk);
            self.held_bytes -= bytes;
            budget.release(bytes);
        }
        Some(read)
    }

    /// The chunk and those after it that are read with it: of each pack one.
    fn take(&mut self, block: &Arc<LogsBlock>, chunk: u32, list: impl FnOnce() -> Vec<u32>) -> Vec<u32> {
        let upcoming = self.blocks.entry(address(block)).or_insert_with(|| {
            let mut chunks = list();
            chunks.dedup_by_key(|chunk| block.pack_of(*chunk));
            Upcoming { _block: Arc::clone(block), chunks: chunks.into() }
        });
        let pack = block.pack_of(chunk);
        let Some(at) = upcoming.chunks.iter().position(|next| block.pack_of(*next) == pack) else { return Vec::new() };
        // Those before it were passed over, by their roll-ups or times.
        upcoming.chunks.drain(..=at);
        // What was opened lately is found in memory when its turn comes.
        if block.is_opened(chunk) {
            return Vec::new();
        }
        self.window = (self.window * 2).clamp(1, THREADS_MAX * 2);
        let (mut packs, mut bytes) = (vec![chunk], block.pack_bytes(chunk));
        while packs.len() < self.window
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

/// Reads packs, by as many threads as there are for it: those of these chunks.
fn fetch(block: &Arc<LogsBlock>, chunks: &[u32], budget: &dyn Budget) -> Vec<(u32, Option<Arc<OpenedPack>>)> {
    let (next, read) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(chunks.len())));
    let take_next = || {
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| budget.check().is_ok()) {
            let pack = block.opened(*chunk).ok().map(Arc::new);
            read.lock().push((*chunk, pack));
        }
    };
    let turns: Vec<Turn> = std::iter::from_fn(|| block.turns().thread()).take(chunks.len() - 1).collect();
    std::thread::scope(|scope| {
        turns.iter().for_each(|_| drop(spawn(scope, take_next)));
        take_next();
    });
    read.into_inner()
}
