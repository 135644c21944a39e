//! A tenant's names as heads share them, and what was found among them. Called by [`super::head`].

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use weir_model::label::{Labels, Matcher};
use weir_model::memory::allocation;
use weir_model::scope::Visible;

use super::head_postings::OrderBy;
use super::index::Index;
use super::head_tables::UsedTables;
use super::kept_labels::{KeptLabels, LabelRoom, LabelSlots};
use weir_blocks::StoreError;

/// Label sets are made of names that are held so long: a schema that is seen for the first time waits for as many.
const MADE_AT_ONCE: usize = 256;

/// Names of a tenant, of one head after the other.
pub(super) struct Names {
    /// Held by the reader that sorts all series; others wait for their order.
    sorting: Mutex<()>,
    /// Guards the names: written only when a schema is first seen.
    pub(super) index: RwLock<Index>,
    /// Of all series of the index.
    kept: KeptLabels,
}

/// Series in an order, with the label sets that finding them has made.
#[derive(Default)]
pub(super) struct OrderedSeries {
    pub ids: Vec<u32>,
    /// Those of all where they are few, else none.
    pub labels: Vec<Labels>,
    /// Where those of many are kept, while there is room.
    pub slots: Option<Arc<LabelSlots>>,
}

impl Names {
    pub(super) fn new(index: Index, room: &Arc<LabelRoom>) -> Self {
        Self { sorting: Mutex::default(), index: RwLock::new(index), kept: KeptLabels::new(room) }
    }

    /// Series of used tables that pass all matchers and may be seen, ascending by labels.
    pub(super) fn matching(
        &self,
        matchers: &[Matcher],
        used: &UsedTables,
        visible: &Visible,
    ) -> Result<OrderedSeries, StoreError> {
        let index = self.index.read();
        let (found, series) = (index.matching(matchers, used)?, index.series());
        drop(index);
        if !found.are_ordered {
            let mut few = Vec::new();
            self.each_labels(&found.ids, None, |id, labels| few.extend(visible.passes(&labels).then_some((labels, id))));
            few.sort_by(|a, b| a.0.cmp(&b.0));
            let (labels, ids) = few.into_iter().unzip();
            return Ok(OrderedSeries { ids, labels, slots: None });
        }
        let slots = self.kept.open(series);
        let mut ids = found.ids;
        if !visible.is_all() {
            let mut seen = Vec::new();
            self.each_labels(&ids, slots.as_deref(), |id, labels| seen.extend(visible.passes(&labels).then_some(id)));
            ids = seen;
        }
        Ok(OrderedSeries { ids, labels: Vec::new(), slots })
    }

    /// Label sets of series, made where they are not kept.
    fn each_labels(&self, ids: &[u32], slots: Option<&LabelSlots>, mut take: impl FnMut(u32, Labels)) {
        for some in ids.chunks(MADE_AT_ONCE) {
            let mut index = None;
            for id in some {
                let mut make = || index.get_or_insert_with(|| self.index.read()).make_labels(*id);
                let labels = match slots {
                    Some(slots) => slots.get(*id, make),
                    None => make(),
                };
                take(*id, labels);
            }
        }
    }

    /// Makes what the first reader of many series has to make, and lets go of the names in between: a schema that is seen for the
    /// first time waits for a piece of it.
    pub(super) fn prepare(&self, matchers: &[Matcher]) -> Result<(), StoreError> {
        if self.index.read().is_ordered(OrderBy::Labels) {
            return Ok(());
        }
        let _sorting = self.sorting.lock();
        let unsorted = self.index.read().unsorted_matching(matchers)?;
        let Some(mut keys) = unsorted else { return Ok(()) };
        keys.sort();
        self.index.read().set_order(OrderBy::Labels, keys);
        Ok(())
    }

    /// The same for a seal.
    pub(super) fn prepare_all(&self) {
        let unsorted = self.index.read().unsorted(OrderBy::NameThenLabels);
        if let Some(mut keys) = unsorted {
            keys.sort();
            self.index.read().set_order(OrderBy::NameThenLabels, keys);
        }
    }
}

impl OrderedSeries {
    /// The labels of the one at a place, which exists.
    pub(super) fn labels(&self, at: usize, names: &Names) -> Labels {
        if let Some(made) = self.labels.get(at) {
            return made.clone();
        }
        let id = self.ids[at];
        let make = || names.index.read().make_labels(id);
        match &self.slots {
            Some(slots) => slots.get(id, make),
            None => make(),
        }
    }

    /// Memory, what is kept for others apart.
    pub(super) fn memory(&self) -> usize {
        let labels: usize = self.labels.iter().map(Labels::memory).sum();
        let lists = [self.ids.capacity() * size_of::<u32>(), self.labels.capacity() * size_of::<Labels>()];
        labels + lists.into_iter().map(allocation).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use weir_model::label::NAME;
    use weir_model::metric::{MetricBatch, Schema};

    use super::*;

    const SERIES: usize = 1000;

    fn names(room: &Arc<LabelRoom>) -> Names {
        let own = (0..SERIES).map(|i| Labels::from_pairs([(NAME, "up"), ("pod", &*format!("{i:04}")), ("zone", ["a", "b"][i % 2])]));
        let batch = MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(own.collect(), Vec::new())), rows: Vec::new() };
        let mut index = Index::new(false);
        index.table(&batch);
        Names::new(index, room)
    }

    fn visible() -> Visible {
        Visible::any_of(vec![vec![Matcher::equal("zone", "a")]])
    }

    #[test]
    fn label_sets_of_many_that_not_all_may_be_seen_are_made_once() {
        let room = Arc::default();
        let names = names(&room);
        let found = names.matching(&[], &UsedTables::all(1), &visible()).unwrap();
        assert_eq!(found.ids.len(), SERIES / 2);
        let kept = room.bytes();
        let memory: usize = (0..found.ids.len()).map(|at| found.labels(at, &names).memory()).sum();
        assert!(memory > 0 && kept > memory && room.bytes() == kept, "{kept} bytes are kept");
    }

    #[test]
    fn few_are_ascending_by_labels_and_seen() {
        let names = names(&Arc::default());
        let few = Matcher::new("pod", weir_model::label::MatchOp::Regex, "0.*7").unwrap();
        let found = names.matching(&[few], &UsedTables::all(1), &visible()).unwrap();
        assert!(found.ids.is_empty(), "odd ones are in the other zone");
        let few = Matcher::new("pod", weir_model::label::MatchOp::Regex, "00.6").unwrap();
        let found = names.matching(&[few], &UsedTables::all(1), &visible()).unwrap();
        assert!(found.labels.len() == 10 && found.labels.is_sorted() && found.slots.is_none());
    }
}
