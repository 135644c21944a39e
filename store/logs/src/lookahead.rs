//! Indexes of several blocks read at once: where they lie in an object store, a request that asks one after the other waits for each.
//!
//! The first block that is not in memory when its turn comes is read together with the one that follows; the next time with three
//! others, and so on: who finds enough in the newest block has read one for nothing. Where indexes name few chunks, these are read
//! at once too. Blocks that are in memory cost nothing of it.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::block::LogsBlock;
use super::plan::LogsPlan;
use super::predicate::TokenPredicate;
use super::segment::Chunk;
use weir_blocks::segment::Segment;

/// Blocks that are read at once, each by a thread that waits for the store; as many as are opened at once.
const AT_ONCE_MAX: usize = weir_blocks::blob::OPENED_AT_ONCE;

/// More chunks are read one by one as their turn comes: they may be more than a cache keeps or a request wants.
const CHUNKS_MAX: usize = 64;

/// Chunks that an index leaves for a plan; `None` where it leaves all.
pub(crate) struct IndexMatches {
    pub(crate) filters: Option<RoaringBitmap>,
    pub(crate) mention: Option<RoaringBitmap>,
}

/// The blocks of a request whose turn has not come.
pub(crate) struct Lookahead {
    /// In the order of their turns, the last one first.
    blocks: Vec<Arc<LogsBlock>>,
    matches: HashMap<*const LogsBlock, IndexMatches>,
    at_once: usize,
}

impl Lookahead {
    /// Of blocks in the order of their turns. Nothing is read yet, and never when the plan asks for nothing of an index.
    pub(crate) fn new(blocks: impl IntoIterator<Item = Arc<LogsBlock>>, plan: &LogsPlan) -> Self {
        let is_asked = plan.index_predicates().iter().any(|predicate| **predicate != TokenPredicate::Anything);
        let matching = blocks.into_iter().filter(|block| is_asked && block.may_match(plan));
        let mut blocks: Vec<_> = matching.collect();
        blocks.reverse();
        Self { blocks, matches: HashMap::new(), at_once: 1 }
    }

    /// The chunk's turn has come: what its block's index says is known afterwards, if it asks one.
    pub(crate) fn reach(&mut self, chunk: &Chunk, plan: &LogsPlan) {
        let Some(block) = chunk.unasked_block().filter(|_| !self.blocks.is_empty() || !self.matches.is_empty()) else { return };
        if let Some(matches) = self.matches.remove(&Arc::as_ptr(block)) {
            return chunk.set_matches(matches);
        }
        let Some(at) = self.blocks.iter().rposition(|own| Arc::ptr_eq(own, block)) else { return };
        if let Some(matches) = at_hand(block, plan) {
            self.blocks.remove(at);
            return chunk.set_matches(matches);
        }
        self.at_once = (self.at_once * 2).min(AT_ONCE_MAX);
        let mut due: Vec<_> = self.blocks.drain((at + 1).saturating_sub(self.at_once)..=at).collect();
        due.retain(|own| Arc::ptr_eq(own, block) || own.select(plan).next().is_some());
        let matches: Vec<IndexMatches> = std::thread::scope(|scope| {
            let threads: Vec<_> = due.iter().map(|block| scope.spawn(move || read(block, plan))).collect();
            let matches = threads.into_iter().map(|thread| thread.join());
            matches.map(|matches| matches.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        read_named(&due, &matches, plan);
        self.matches.extend(due.iter().map(Arc::as_ptr).zip(matches));
        if let Some(matches) = self.matches.remove(&Arc::as_ptr(block)) {
            chunk.set_matches(matches);
        }
    }
}

impl IndexMatches {
    /// Whether it leaves a chunk for the plan, as far as that does not depend on the chunk's stream; false when it says nothing.
    fn names(&self, chunk: u32) -> bool {
        let has = |chunks: &Option<RoaringBitmap>| chunks.as_ref().is_none_or(|chunks| chunks.contains(chunk));
        (self.filters.is_some() || self.mention.is_some()) && has(&self.filters) && has(&self.mention)
    }
}

/// Reads the chunks that indexes name, if these are few; they are among the opened ones when their turn comes. What cannot be read is
/// reported then.
fn read_named(blocks: &[Arc<LogsBlock>], matches: &[IndexMatches], plan: &LogsPlan) {
    let named = blocks.iter().zip(matches).flat_map(|(block, matches)| {
        block.select(plan).filter(move |(chunk, _)| matches.names(*chunk)).map(move |(chunk, _)| (block, chunk))
    });
    let named: Vec<(&Arc<LogsBlock>, u32)> = named.take(CHUNKS_MAX + 1).collect();
    if named.len() > CHUNKS_MAX {
        return;
    }
    std::thread::scope(|scope| {
        for own in named.chunks(named.len().div_ceil(AT_ONCE_MAX).max(1)) {
            scope.spawn(move || own.iter().for_each(|(block, chunk)| block.fetch(*chunk)));
        }
    });
}

/// What an index says that is in memory; `None` when something of it has to be read.
fn at_hand(block: &LogsBlock, plan: &LogsPlan) -> Option<IndexMatches> {
    let [filters, mention] = plan.index_predicates().map(|predicate| block.candidates_at_hand(predicate));
    Some(IndexMatches { filters: filters.ok()?, mention: mention.ok()? })
}

fn read(block: &LogsBlock, plan: &LogsPlan) -> IndexMatches {
    let [filters, mention] = plan.index_predicates().map(|predicate| block.candidates_or_all(predicate));
    IndexMatches { filters, mention }
}
