//! A tenant's names as heads share them, and what was found among them. Called by [`super::head`].

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use weir_model::label::{Labels, Matcher};
use weir_model::memory::allocation;

use super::head_postings::OrderBy;
use super::index::Index;
use super::kept_labels::LabelSlots;
use weir_blocks::StoreError;

/// Names of a tenant, of one head after the other.
pub(super) struct Names {
    /// Held by the reader that sorts all series; others wait for their order.
    sorting: Mutex<()>,
    /// Guards the names: written only when a schema is first seen.
    pub(super) index: RwLock<Index>,
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
    pub(super) fn new(index: Index) -> Self {
        Self { sorting: Mutex::default(), index: RwLock::new(index) }
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
