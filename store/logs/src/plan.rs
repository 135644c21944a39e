//! A select of lines, compiled once: what blocks, heads, tails and extracts of heads are asked with.

use weir_model::label::{Labels, Matcher};
use weir_model::scope::Scope;
use weir_model::select::{Budget, LogSelect, Mention};
use weir_model::time::{TimeRange, UnixNanos};

use super::asked::HeldPack;
use super::chunks_ahead::ChunksAhead;
use super::filter::Filters;
use super::predicate::{TokenPredicate, labels_of, may_be_among};
use super::rollup::Rollups;
use super::schema::ChunkMeta;

/// Orders chunks by time, ascending by their first line, or descending by their last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkOrder(i64);

/// A compiled select.
pub struct LogsPlan {
    scope: Scope,
    matchers: Vec<Matcher>,
    pub(crate) range: TimeRange,
    newest_first: bool,
    pub(crate) filters: Filters,
    /// Of chunks with lines that pass the filters.
    pub(crate) tokens: TokenPredicate,
    pub(crate) mention: Option<MentionPlan>,
    /// The pack that was opened last for it.
    pub(crate) held: HeldPack,
    /// Those that were read ahead for it; `None` when its chunks are answered from what is known of them, mostly.
    pub(crate) ahead: Option<ChunksAhead>,
}

/// A compiled [`Mention`].
pub(crate) struct MentionPlan {
    pub(crate) mention: Mention,
    /// It says nothing of the lines of a stream that has one of these.
    pub(crate) labels: Vec<String>,
    /// Of chunks with lines that say it.
    pub(crate) tokens: TokenPredicate,
}

impl LogsPlan {
    /// Of every line that passes.
    pub fn new(select: &LogSelect) -> Self {
        Self {
            scope: select.scope.clone(),
            matchers: select.matchers.clone(),
            range: select.range,
            newest_first: select.newest_first,
            filters: Filters::new(&select.filters),
            tokens: TokenPredicate::of(&select.filters),
            mention: None,
            held: HeldPack::default(),
            ahead: None,
        }
    }

    /// Of a request that opens what may match: packs are read before their turn.
    pub(crate) fn reading_ahead(self) -> Self {
        Self { ahead: Some(ChunksAhead::default()), ..self }
    }

    /// Of one that gives the lines that pass: packs are looked through too.
    pub(crate) fn looking_ahead(self) -> Self {
        if self.filters.is_empty() { self.reading_ahead() } else { Self { ahead: Some(ChunksAhead::looking()), ..self } }
    }

    /// Nothing is opened for it any more: gives back what was read before its turn.
    pub(crate) fn end(&self, budget: &dyn Budget) {
        self.ahead.iter().for_each(|ahead| ahead.end(budget));
    }

    /// Of those lines only that say this; others may come along.
    pub(crate) fn with_mention(self, mention: Option<Mention>) -> Self {
        Self { mention: mention.map(MentionPlan::new), ..self }
    }

    /// What an index is asked: of the filters, and of the mention.
    pub(crate) fn index_predicates(&self) -> [&TokenPredicate; 2] {
        [&self.tokens, self.mention.as_ref().map_or(&TokenPredicate::Anything, |mention| &mention.tokens)]
    }

    /// Whether lines of a stream may pass.
    pub(crate) fn passes_stream(&self, tenant: &str, labels: &Labels) -> bool {
        self.scope.sees(tenant, labels) && self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// Whether a chunk has a line in the range, as far as its first and last time tell.
    pub(crate) fn overlaps(&self, meta: &ChunkMeta) -> bool {
        self.range.overlaps(meta.first, meta.last)
    }

    pub(crate) fn newest_first(&self) -> bool {
        self.newest_first
    }

    /// Where a chunk stands among all.
    pub(crate) fn order(&self, meta: &ChunkMeta) -> ChunkOrder {
        self.turn((meta.first, meta.last))
    }

    /// Where what has these times, its earliest and its latest, stands among the like.
    pub(crate) fn turn(&self, (first, last): (UnixNanos, UnixNanos)) -> ChunkOrder {
        // Unlike a negation it has no overflow.
        ChunkOrder(if self.newest_first { !last } else { first })
    }
}

impl MentionPlan {
    fn new(mention: Mention) -> Self {
        let labels = labels_of(&mention).into_iter().map(str::to_owned).collect();
        let tokens = TokenPredicate::of_mention(&mention);
        Self { mention, labels, tokens }
    }

    /// Whether it may be met by a label of the stream, whatever its lines say.
    pub(crate) fn is_of_stream(&self, labels: &Labels) -> bool {
        self.labels.iter().any(|label| !labels.get(label).is_empty())
    }

    /// Whether lines of a chunk that has these levels may say it.
    pub(crate) fn may_be_among(&self, rollups: &Rollups) -> bool {
        may_be_among(&self.mention, rollups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_ordered_by_time_either_way() {
        let metas = [(i64::MIN, 5), (-3, i64::MAX), (0, 0), (7, 9)].map(|(first, last)| ChunkMeta {
            first,
            last,
            ..ChunkMeta::default()
        });
        let order = |newest_first| {
            let (matchers, filters) = Default::default();
            let plan =
                LogsPlan::new(&LogSelect { scope: Scope::of("t"), matchers, range: TimeRange::ALL, filters, newest_first });
            let mut metas = metas.to_vec();
            metas.sort_by_key(|meta| plan.order(meta));
            metas
        };
        assert_eq!(order(false), metas);
        assert_eq!(order(true).iter().map(|meta| meta.last).collect::<Vec<_>>(), [i64::MAX, 9, 5, 0]);
    }
}
