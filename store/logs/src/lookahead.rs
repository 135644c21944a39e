//! Indexes of several blocks read at once: where they lie in an object store, a request that asks one after the other waits for each.
//!
//! The first block that is not in memory when its turn comes is read together with the one that follows; the next time with three
//! others, and so on: who finds enough in the newest block has read one for nothing. Where indexes name few chunks, these are read
//! at once too. Blocks that are in memory cost nothing of it.
//!
//! The blocks of a round are taken one after the other by the thread of the request and by threads that all requests share a number of: who
//! is done with one takes the next, so that none waits for the slowest. Where no thread is left, that of the request reads all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use parking_lot::Mutex;
use roaring::RoaringBitmap;
use weir_model::select::{Budget, ReadError};

use super::block::LogsBlock;
use super::chunks_ahead::address;
use super::index::{Known, THREADS_MAX, Turns, is_scanned_for};
use super::plan::LogsPlan;
use super::predicate::TokenPredicate;
use super::segment::Chunk;
use super::selected::Left;

/// Blocks of a round: a few times as many as there are threads, so that these are seldom without work at its end. What is found of each is a
/// set of chunks, some KiB; what is being read is bounded in bytes over all requests.
pub(crate) const ROUND_MAX: usize = 4 * THREADS_MAX;

/// More chunks are read one by one as their turn comes: they may be more than a cache keeps or a request wants.
const CHUNKS_MAX: usize = 64;

/// The blocks of a request whose turn has not come.
pub(crate) struct Lookahead {
    /// In the order of their turns, the last one first.
    blocks: Vec<Arc<LogsBlock>>,
    left: HashMap<*const LogsBlock, Left>,
    fetched: Fetched,
    round: usize,
    /// Whether indexes are asked for a part of an id.
    scans: bool,
}

/// Chunks that were read ahead, by where their block lies in memory, which it does as long as the request.
#[derive(Default)]
pub(crate) struct Fetched(HashSet<(usize, u32)>);

impl Fetched {
    /// A chunk's turn has come: it is told if it is one of them.
    pub(crate) fn tell(&self, chunk: &Chunk) {
        if !self.0.is_empty()
            && let Some((block, number)) = chunk.stored()
            && self.0.contains(&(address(block), number))
        {
            chunk.set_fetched();
        }
    }
}

impl Lookahead {
    /// Of blocks that may match, in the order of their turns. Nothing is read yet, and never when the plan asks for nothing of an index.
    pub(crate) fn new(blocks: impl IntoIterator<Item = Arc<LogsBlock>>, plan: &LogsPlan) -> Self {
        let is_asked = plan.index_predicates().iter().any(|predicate| **predicate != TokenPredicate::Anything);
        let mut blocks: Vec<_> = blocks.into_iter().filter(|_| is_asked).collect();
        blocks.reverse();
        let scans = plan.index_predicates().into_iter().any(scans_ids);
        Self { blocks, left: HashMap::new(), fetched: Fetched::default(), round: 1, scans }
    }

    /// Chunks that were read ahead so far.
    pub(crate) fn fetched(&self) -> &Fetched {
        &self.fetched
    }

    /// What the index of a block leaves, whose turn has come: all when it is not asked. Errors when the request ends.
    pub(crate) fn left_of(&mut self, block: &Arc<LogsBlock>, plan: &LogsPlan, budget: &dyn Budget) -> Result<Left, ReadError> {
        if let Some(left) = self.left.remove(&Arc::as_ptr(block)) {
            return Ok(left);
        }
        let Some(at) = self.blocks.iter().rposition(|own| Arc::ptr_eq(own, block)) else { return Ok(None) };
        self.blocks.remove(at);
        if block.select(plan).next().is_none() {
            return Ok(Some(RoaringBitmap::new()));
        }
        budget.check()?;
        let mut known = Known::default();
        // Ids that are read from end to end are so by several threads, even where they are in memory.
        if !self.scans
            && let Ok(left) = block.left_at_hand(plan, &mut known)
        {
            return Ok(left);
        }
        self.round = (self.round * 2).min(ROUND_MAX);
        let ahead = self.take_ahead(at, plan);
        let (own, others) = read_at_once((block, known), &ahead, plan, budget);
        budget.check()?;
        let named = std::iter::once((block, &own)).chain(ahead.iter().zip(&others));
        self.fetched.0.extend(read_named(named, plan, budget)?);
        self.left.extend(ahead.iter().map(Arc::as_ptr).zip(others));
        Ok(own)
    }

    /// Blocks whose turn comes after that of number `at`, as many as the round has beside it.
    fn take_ahead(&mut self, at: usize, plan: &LogsPlan) -> Vec<Arc<LogsBlock>> {
        let mut ahead = Vec::new();
        for next in (0..at).rev() {
            if ahead.len() + 1 >= self.round {
                break;
            }
            let block = self.blocks.remove(next);
            if block.select(plan).next().is_some() {
                ahead.push(block);
            }
        }
        ahead
    }
}

/// Whether ids have to be read from end to end for a predicate.
fn scans_ids(predicate: &TokenPredicate) -> bool {
    match predicate {
        TokenPredicate::Part(_, part) | TokenPredicate::AnyCase(_, part) => is_scanned_for(part),
        TokenPredicate::All(predicates) | TokenPredicate::OneOf(predicates) => predicates.iter().any(scans_ids),
        TokenPredicate::Anything | TokenPredicate::Token(_) | TokenPredicate::Pair { .. } => false,
    }
}

/// What the index of a block says, of which something is known, and those of others, in their order.
fn read_at_once(
    (block, mut known): (&LogsBlock, Known),
    ahead: &[Arc<LogsBlock>],
    plan: &LogsPlan,
    budget: &dyn Budget,
) -> (Left, Vec<Left>) {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(ahead.len())));
    let take_next = || {
        while let Some((at, block)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, ahead.get(at)?))) {
            let left = block.left_or_all(plan, &mut Known::default(), budget);
            found.lock().push((at, left));
        }
    };
    let own = with_helpers(block.turns(), ahead.len(), take_next, || block.left_or_all(plan, &mut known, budget));
    let mut found = found.into_inner();
    found.sort_unstable_by_key(|(at, _)| *at);
    (own, found.into_iter().map(|(_, left)| left).collect())
}

/// Does `own` here, and then `work`, which takes pieces until there are none; meanwhile others do `work`, at most so many and as many as there are
/// turns for, which they give back when they are done.
pub(crate) fn with_helpers<T>(turns: &Turns, most: usize, work: impl Fn() + Sync, own: impl FnOnce() -> T) -> T {
    let work = &work;
    // A panic of one is that of the scope.
    std::thread::scope(|scope| {
        for turn in std::iter::from_fn(|| turns.thread()).take(most) {
            let helper = Builder::new().name("weir-index".into()).spawn_scoped(scope, move || {
                work();
                drop(turn);
            });
            // What a machine without room for a thread leaves is done in place.
            drop(helper);
        }
        let own = own();
        work();
        own
    })
}

/// Reads the chunks that indexes name, if these are few, and says which; they are among the opened ones when their turn comes, and paid.
/// What cannot be read is reported then. Errors when the budget has no room for them.
fn read_named<'a>(
    left: impl Iterator<Item = (&'a Arc<LogsBlock>, &'a Left)>,
    plan: &'a LogsPlan,
    budget: &dyn Budget,
) -> Result<Vec<(usize, u32)>, ReadError> {
    let named = left
        .filter(|(block, _)| block.keeps_chunks())
        .flat_map(|(block, left)| left.iter().flat_map(|left| block.select_of(left, plan)).map(move |(chunk, _)| (block, chunk)));
    let named: Vec<(&Arc<LogsBlock>, u32)> = named.take(CHUNKS_MAX + 1).collect();
    let Some((first, _)) = named.first().filter(|_| named.len() <= CHUNKS_MAX) else { return Ok(Vec::new()) };
    // Of each pack the first chunk that is named: those of a block ascend.
    let mut packs = named.clone();
    packs.dedup_by_key(|(block, chunk)| (Arc::as_ptr(block), block.pack_of(*chunk)));
    for (block, chunk) in &packs {
        budget.read(block.pack_bytes(*chunk))?;
    }
    let next = AtomicUsize::new(0);
    // What nobody reads is read when its turn comes.
    let fetch = || {
        while let Some((block, chunk)) = packs.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| budget.check().is_ok()) {
            block.fetch(*chunk);
        }
    };
    with_helpers(first.turns(), packs.len().min(THREADS_MAX) - 1, fetch, || ());
    Ok(named.into_iter().map(|(block, chunk)| (address(block), chunk)).collect())
}
