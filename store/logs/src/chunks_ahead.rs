//! Packs of chunks read before their turn, where a request opens many: those of its block that follow are read together with the one whose
//! turn has come, none at first, then one, three, and so on, so that who finds enough has read no more for nothing than it needed. Few chunks that
//! indexes name are read by `lookahead`.
//!
//! Where lines are looked for, the threads that read packs also see whether any line passes. Mostly none does, and the thread of the request, which
//! gives lines in their order, passes over such a pack.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use weir_model::select::{Budget, ReadError};

use super::block::LogsBlock;
use super::index::THREADS_MAX;
use super::lookahead::with_helpers;
use super::opened::OpenedPack;
use super::plan::LogsPlan;

/// Bytes that are held for a request until their turn comes, as stored: some thirty packs. Where there is no room for more, they are read at
/// their turn.
const BYTES_MAX: u64 = 4 << 20;

/// Of packs that were looked through what is unpacked of those with lines that pass.
const UNPACKED_MAX: u64 = 16 << 20;

/// Fewer packs of a block are not looked through: that there are few for a request its index has said, which is seldom wrong.
const LOOKED_MIN: usize = 32;

/// Packs of a block that are known to follow.
const LIST_MAX: usize = 4096;

/// A request's, until it ends.
#[derive(Default)]
pub(crate) struct ChunksAhead {
    /// Whether packs are looked through, and not read alone.
    looks: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By where the block lies in memory, which it does as long as this.
    blocks: HashMap<usize, Upcoming>,
    /// Packs that were read ahead, by block and number. They are paid when they are reached.
    read: HashMap<(usize, u32), Ahead>,
    held_bytes: u64,
    /// There was no memory for it once: it is not asked for again.
    has_no_room: bool,
}

/// A pack that was read ahead.
struct Ahead {
    /// `None` when no line of it passes.
    pack: Option<Arc<OpenedPack>>,
    /// What is reserved for it.
    held_bytes: u64,
}

/// The packs of a block that the request may open, a chunk of each, in the order of their turns.
struct Upcoming {
    _block: Arc<LogsBlock>,
    chunks: VecDeque<u32>,
    /// More follow.
    is_cut: bool,
    /// There are enough of them to be looked through.
    are_many: bool,
    /// Packs that were read together the last time.
    window: usize,
    /// The pack that was reached last, if no line of it passes: its other chunks follow.
    empty: Option<u32>,
}

/// What is known of a pack whose turn has come.
pub(crate) enum Reached {
    /// Nothing: who opens it pays for it.
    Unread,
    /// It is paid.
    Read(Arc<OpenedPack>),
    /// It is paid, and no line of it passes.
    Empty,
}

/// Where a block lies in memory.
pub(crate) fn address(block: &Arc<LogsBlock>) -> usize {
    Arc::as_ptr(block) as usize
}

impl ChunksAhead {
    /// Of a request for the lines that pass.
    pub(crate) fn looking() -> Self {
        Self { looks: true, ..Self::default() }
    }

    /// The chunk is opened next: its pack, where it was read before or is read now, together with others. `list` gives the chunks of the
    /// block in the order of their turns. What could not be read is read again by who opens it, to say what is wrong with it. Errors when
    /// the budget has no room for it.
    pub(crate) fn reach(
        &self,
        (block, chunk): (&Arc<LogsBlock>, u32),
        plan: &LogsPlan,
        list: impl FnOnce() -> Vec<u32>,
        budget: &dyn Budget,
    ) -> Result<Reached, ReadError> {
        if !block.has_packs() {
            return Ok(Reached::Unread);
        }
        let (packs, looks) = {
            let mut state = self.state.lock();
            if let Some(reached) = state.reached((block, chunk), budget)? {
                return Ok(reached);
            }
            state.take((block, chunk), self.looks, list)
        };
        if packs.len() < 2 {
            return Ok(Reached::Unread);
        }
        let bytes: u64 = packs.iter().map(|chunk| block.pack_bytes(*chunk)).sum();
        if budget.reserve(bytes).is_err() {
            self.state.lock().has_no_room = true;
            return Ok(Reached::Unread);
        }
        let mut read = fetch(block, &packs, looks.then_some(plan), budget);
        let mut held: u64 = read.iter().map(|(_, ahead)| ahead.held_bytes).sum();
        let mut state = self.state.lock();
        if held > bytes && budget.reserve(held - bytes).is_err() {
            state.has_no_room = true;
            read.retain(|(_, ahead)| ahead.pack.is_none());
            held = 0;
        }
        budget.release(bytes.saturating_sub(held));
        state.held_bytes += held;
        state.read.extend(read.into_iter().map(|(chunk, ahead)| ((address(block), block.pack_of(chunk)), ahead)));
        Ok(state.reached((block, chunk), budget)?.unwrap_or(Reached::Unread))
    }

    /// Nothing is opened any more: gives back what is held.
    pub(crate) fn end(&self, budget: &dyn Budget) {
        budget.release(std::mem::take(&mut *self.state.lock()).held_bytes);
    }
}

impl State {
    /// What was read of a pack whose turn has come.
    fn reached(&mut self, (block, chunk): (&Arc<LogsBlock>, u32), budget: &dyn Budget) -> Result<Option<Reached>, ReadError> {
        let (key, pack) = (address(block), block.pack_of(chunk));
        let mut upcoming = self.blocks.get_mut(&key);
        if upcoming.as_ref().is_some_and(|upcoming| upcoming.empty == Some(pack)) {
            return Ok(Some(Reached::Empty));
        }
        let Some(ahead) = self.read.remove(&(key, pack)) else { return Ok(None) };
        self.held_bytes -= ahead.held_bytes;
        budget.release(ahead.held_bytes);
        budget.read(block.pack_bytes(chunk))?;
        if let Some(upcoming) = &mut upcoming {
            upcoming.empty = ahead.pack.is_none().then_some(pack);
        }
        Ok(Some(ahead.pack.map_or(Reached::Empty, Reached::Read)))
    }

    /// The chunk and those after it that are read with it, of each pack one; and whether they are looked through.
    fn take(&mut self, (block, chunk): (&Arc<LogsBlock>, u32), looks: bool, list: impl FnOnce() -> Vec<u32>) -> (Vec<u32>, bool) {
        let upcoming = self.blocks.entry(address(block)).or_insert_with(|| Upcoming {
            _block: Arc::clone(block),
            chunks: VecDeque::new(),
            is_cut: true,
            are_many: false,
            window: 0,
            empty: None,
        });
        let Some(at) = upcoming.position(block, chunk, list) else { return (Vec::new(), false) };
        // Those before it were passed over, by their roll-ups or times.
        upcoming.chunks.drain(..=at);
        upcoming.window = (upcoming.window * 2).clamp(1, THREADS_MAX * 2);
        // What was opened lately is found in memory when its turn comes.
        let looks = looks && upcoming.are_many;
        let is_known = |chunk: u32| !looks && block.is_opened(chunk);
        if is_known(chunk) || self.has_no_room {
            return (Vec::new(), false);
        }
        let (mut packs, mut bytes) = (vec![chunk], self.held_bytes + block.pack_bytes(chunk));
        while packs.len() < upcoming.window
            && let Some(next) = upcoming.chunks.front().filter(|next| !is_known(**next))
        {
            bytes += block.pack_bytes(*next);
            if bytes > BYTES_MAX {
                break;
            }
            packs.extend(upcoming.chunks.pop_front());
        }
        (packs, looks)
    }
}

impl Upcoming {
    /// Where the pack of a chunk is among those that follow, which are listed again when they are through.
    fn position(&mut self, block: &LogsBlock, chunk: u32, list: impl FnOnce() -> Vec<u32>) -> Option<usize> {
        let is_own = |next: &u32| block.pack_of(*next) == block.pack_of(chunk);
        let known = self.chunks.iter().position(is_own);
        if !self.chunks.is_empty() || !self.is_cut {
            return known;
        }
        let mut all = list();
        all.dedup_by_key(|chunk| block.pack_of(*chunk));
        let from = all.iter().position(is_own)?;
        (self.is_cut, self.are_many) = (all.len() - from > LIST_MAX, all.len() >= LOOKED_MIN);
        self.chunks = all.into_iter().skip(from).take(LIST_MAX).collect();
        Some(0)
    }
}

/// Reads packs, by as many threads as there are for it: those of these chunks that can be read. Looks through them for a plan.
fn fetch(block: &Arc<LogsBlock>, chunks: &[u32], looking: Option<&LogsPlan>, budget: &dyn Budget) -> Vec<(u32, Ahead)> {
    let (next, read, unpacked) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(chunks.len())), AtomicU64::new(0));
    let look = |pack: OpenedPack, chunk: u32| {
        let Some(plan) = looking else {
            return Some(Ahead { pack: Some(Arc::new(pack)), held_bytes: block.pack_bytes(chunk) });
        };
        // What cannot be told is told at its turn.
        if pack.any_passes(plan.range, &plan.filters) == Ok(false) {
            return Some(Ahead { pack: None, held_bytes: 0 });
        }
        let held_bytes = pack.memory() as u64;
        let has_room = unpacked.fetch_add(held_bytes, Ordering::Relaxed) + held_bytes <= UNPACKED_MAX;
        has_room.then(|| Ahead { pack: Some(Arc::new(pack)), held_bytes })
    };
    let take_next = || {
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| budget.check().is_ok()) {
            if let Some(ahead) = block.opened(*chunk).ok().and_then(|pack| look(pack, *chunk)) {
                read.lock().push((*chunk, ahead));
            }
        }
    };
    with_helpers(block.turns(), chunks.len() - 1, take_next, || ());
    read.into_inner()
}
