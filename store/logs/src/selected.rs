//! Which chunks of a block a plan has: those of streams that pass, with lines in its range, that the index leaves.
//!
//! A block of a large cluster has tens of thousands of chunks. Of a plan that asks for a word the index is asked first, and only what it
//! leaves is looked at; of one that names a stream only its chunks are.

use roaring::RoaringBitmap;
use weir_model::select::{Budget, NoBudget};

use super::block::LogsBlock;
use super::index::{BlockIndex, Known};
use super::plan::{ChunkOrder, LogsPlan};
use super::predicate::TokenPredicate;
use super::schema::{ChunkMeta, StreamKey};
use weir_blocks::StoreError;

/// Chunks that an index leaves of a block; `None` where that is all of them.
pub(crate) type Left = Option<RoaringBitmap>;

impl LogsBlock {
    /// Chunks of streams that pass, with lines in the range, those of a stream together. Matchers run once a stream.
    pub(crate) fn select<'a>(&'a self, plan: &'a LogsPlan) -> impl Iterator<Item = (u32, &'a ChunkMeta)> {
        let passing = (0..).zip(&self.streams).filter(|(_, key)| plan.passes_stream(&key.tenant, &key.labels));
        let chunks = passing.flat_map(|(stream, _)| self.directory.of_stream(stream));
        chunks.map(|(chunk, entry)| (chunk, &entry.meta)).filter(|(_, meta)| plan.overlaps(meta))
    }

    /// Those of them that an index leaves. Matchers run once a stream that has such a chunk.
    pub(crate) fn select_of<'a>(
        &'a self,
        left: &'a RoaringBitmap,
        plan: &'a LogsPlan,
    ) -> impl Iterator<Item = (u32, &'a ChunkMeta)> {
        let mut last = None;
        let mut passes = move |stream: u32| match last {
            Some((known, passes)) if known == stream => passes,
            _ => {
                let StreamKey { tenant, labels } = &self.streams[stream as usize];
                last.insert((stream, plan.passes_stream(tenant, labels))).1
            }
        };
        // A damaged index may name chunks that are not there.
        let entries = left.iter().filter_map(|chunk| Some((chunk, self.directory.chunks.get(chunk as usize)?)));
        let selected = entries.filter(move |(_, entry)| plan.overlaps(&entry.meta) && passes(entry.stream));
        selected.map(|(chunk, entry)| (chunk, &entry.meta))
    }

    /// What is left for a plan in the order of its turns: all chunks of a pack together, so that it is opened once, by the earliest or
    /// latest of those that are selected.
    pub(crate) fn in_turn(&self, plan: &LogsPlan, left: &Left) -> Vec<(ChunkOrder, u32)> {
        let selected: Vec<(u32, &ChunkMeta)> = match left {
            Some(left) => self.select_of(left, plan).collect(),
            None => self.select(plan).collect(),
        };
        let mut chunks = Vec::with_capacity(selected.len());
        for of_pack in selected.chunk_by(|a, b| self.pack_of(a.0) == self.pack_of(b.0)) {
            let orders = of_pack.iter().map(|(_, meta)| plan.order(meta));
            let first = orders.clone().min();
            chunks.extend(orders.zip(of_pack).map(|(own, (chunk, _))| (first, self.pack_of(*chunk), own, *chunk)));
        }
        chunks.sort_unstable();
        chunks.into_iter().filter_map(|(first, _, _, chunk)| Some((first?, chunk))).collect()
    }

    /// What the index leaves for a plan by what is in memory. Errors with `Unavailable` when something has to be read for it.
    pub(crate) fn left_at_hand(&self, plan: &LogsPlan, known: &mut Known) -> Result<Left, StoreError> {
        let index = BlockIndex { at_hand: true, ..self.index(&NoBudget) };
        self.left(plan, |predicate| index.candidates(predicate, known))
    }

    /// What the index leaves for a plan: all when it cannot be read, which costs time and no lines, or the request ends before it is.
    pub(crate) fn left_or_all(&self, plan: &LogsPlan, known: &mut Known, budget: &dyn Budget) -> Left {
        let index = self.index(budget);
        self.left(plan, |predicate| index.candidates(predicate, known)).unwrap_or_else(|error| {
            if budget.check().is_ok() {
                tracing::warn!(%error, "an index cannot be read; its block is searched without");
            }
            None
        })
    }

    /// By the filters, and by the mention where the labels of the stream do not say it.
    fn left(
        &self,
        plan: &LogsPlan,
        mut ask: impl FnMut(&TokenPredicate) -> Result<Left, StoreError>,
    ) -> Result<Left, StoreError> {
        let of_filters = ask(&plan.tokens)?;
        let Some(mention) = &plan.mention else { return Ok(of_filters) };
        if of_filters.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return Ok(of_filters);
        }
        let Some(mut saying) = ask(&mention.tokens)? else { return Ok(of_filters) };
        let streams = if mention.labels.iter().any(|name| self.has_label(name)) { &self.streams[..] } else { &[] };
        for (stream, _) in (0..).zip(streams).filter(|(_, key)| mention.is_of_stream(&key.labels)) {
            saying.extend(self.directory.of_stream(stream).map(|(chunk, _)| chunk));
        }
        Ok(Some(match of_filters {
            Some(of_filters) => of_filters & saying,
            None => saying,
        }))
    }

    /// The chunks that may meet a predicate; `None` when any may. Errors when the index cannot be read.
    #[cfg(test)]
    pub(crate) fn candidates(&self, predicate: &TokenPredicate) -> Result<Left, StoreError> {
        self.index(&NoBudget).candidates(predicate, &mut Known::default())
    }
}
