//! A tenant's names as heads share them, and what was found among them. Called by [`super::head`].

use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use weir_model::label::{Labels, Matcher};
use weir_model::memory::allocation;
use weir_model::scope::Visible;

use super::head_postings::{OrderBy, OrderKeys};
use super::head_tables::UsedTables;
use super::index::Index;
use super::kept_labels::{KeptLabels, LabelRoom, LabelSlots};
use weir_blocks::StoreError;

/// Label sets are made of names that are held so long: a schema that is seen for the first time waits for as many.
const MADE_AT_ONCE: usize = 256;
/// And not beyond so much memory, which no budget knows of until each is pulled.
const MADE_BYTES: usize = 64 << 10;

/// Series that come while all are sorted, more than are put in one at a time, are sorted with them so often.
const SORTS_MAX: usize = 4;

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
            some.iter().for_each(|id| take(*id, self.labels(*id, slots, &mut index)));
        }
    }

    /// Those of one, for which the index is locked where they are not kept; whoever goes on to the next has it locked already.
    fn labels<'a>(&'a self, id: u32, slots: Option<&LabelSlots>, index: &mut Option<RwLockReadGuard<'a, Index>>) -> Labels {
        let mut make = || index.get_or_insert_with(|| self.index.read()).make_labels(id);
        match slots {
            Some(slots) => slots.get(id, make),
            None => make(),
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
        self.sort(OrderBy::Labels, unsorted);
        Ok(())
    }

    /// The same for a seal.
    pub(super) fn prepare_all(&self) {
        let unsorted = self.index.read().unsorted(OrderBy::NameThenLabels);
        self.sort(OrderBy::NameThenLabels, unsorted);
    }

    fn sort(&self, by: OrderBy, mut unsorted: Option<OrderKeys>) {
        for again in (0..SORTS_MAX).rev() {
            let Some(mut keys) = unsorted else { return };
            keys.sort();
            unsorted = self.set_order(by, keys, again > 0);
        }
    }

    /// Takes sorted keys; where many series have come since they were made, gives others instead, to be sorted `again` without the lock.
    fn set_order(&self, by: OrderBy, sorted: OrderKeys, again: bool) -> Option<OrderKeys> {
        let index = self.index.read();
        if again && !index.are_nearly_all(&sorted) {
            return index.unsorted(by);
        }
        index.set_order(by, sorted);
        None
    }
}

impl OrderedSeries {
    /// The labels of the first of these places, which exist: not more than are made at once.
    pub(super) fn labels(&self, places: impl Iterator<Item = usize>, names: &Names) -> Vec<(usize, Labels)> {
        let places: Vec<usize> = places.take(MADE_AT_ONCE).collect();
        let (mut made, mut bytes, mut index) = (Vec::new(), 0, None);
        for at in places {
            let labels = match self.labels.get(at) {
                Some(known) => known.clone(),
                None => names.labels(self.ids[at], self.slots.as_deref(), &mut index),
            };
            bytes += labels.memory();
            made.push((at, labels));
            if bytes >= MADE_BYTES {
                break;
            }
        }
        made
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
        let own =
            (0..SERIES).map(|i| Labels::from_pairs([(NAME, "up"), ("pod", &*format!("{i:04}")), ("zone", ["a", "b"][i % 2])]));
        let batch =
            MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(own.collect(), Vec::new())), rows: Vec::new() };
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
        let made = |first: usize| found.labels(first..found.ids.len(), &names);
        let memory: usize = [0, 256].into_iter().flat_map(made).map(|(_, labels)| labels.memory()).sum();
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

    #[test]
    fn label_sets_are_made_some_at_a_time() {
        let count = |texts: usize| {
            let own = (0..SERIES).map(|i| Labels::from_pairs([("pod", format!("{i:0texts$}"))]));
            let schema = Arc::new(Schema::new(own.collect(), Vec::new()));
            let mut index = Index::new(false);
            index.table(&MetricBatch { target: Labels::EMPTY, schema, rows: Vec::new() });
            let names = Names::new(index, &Arc::default());
            let found = names.matching(&[], &UsedTables::all(1), &Visible::default()).unwrap();
            let made = found.labels((1..SERIES).step_by(2), &names);
            assert!(made.iter().zip((1..).step_by(2)).all(|((at, _), expected)| *at == expected));
            made.len()
        };
        assert_eq!(count(10), MADE_AT_ONCE);
        assert!((30..64).contains(&count(1100)), "of more than 1 KiB each");
    }

    #[test]
    fn many_series_that_come_while_others_are_sorted_are_sorted_as_well() {
        let names = names(&Arc::default());
        let by = OrderBy::NameThenLabels;
        let mut keys = names.index.read().unsorted(by).unwrap();
        let own = (0..20).map(|i| Labels::from_pairs([(NAME, format!("new_{i}"))])).collect();
        names.index.write().table(&MetricBatch {
            target: Labels::EMPTY,
            schema: Arc::new(Schema::new(own, Vec::new())),
            rows: Vec::new(),
        });
        keys.sort();
        let mut again = names.set_order(by, keys, true).expect("20 of 1000 are many");
        assert!(again.len() == SERIES + 20 && !names.index.read().is_ordered(by));
        again.sort();
        assert!(names.set_order(by, again, true).is_none() && names.index.read().is_ordered(by));
    }
}
