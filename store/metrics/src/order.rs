//! An order of all series of a head's index, made when it is first asked for. Series that come later are put in; where they are many, all
//! are sorted anew. Called by [`super::index`].

use std::cmp::Ordering;
use std::sync::OnceLock;

use weir_model::memory::allocation;

use super::head_postings::OrderKeys;

/// Fewer new series than one in so many are put into the order that there is, each with some 20 comparisons of labels; for more, all
/// are sorted by keys anew.
const NEW_ONE_IN: usize = 64;

#[derive(Default)]
pub(super) struct KeptOrder {
    /// Of all series.
    current: OnceLock<Vec<u32>>,
    /// Of those that there were before more came.
    before: Vec<u32>,
}

/// Whether the others of so many series are few enough to be put into an order of so many.
pub(super) fn are_nearly_all(ordered: usize, series: usize) -> bool {
    (series - ordered) * NEW_ONE_IN < series
}

impl KeptOrder {
    /// Whether there is an order, or one that the new ones of so many series are put into.
    pub(super) fn is_kept(&self, series: usize) -> bool {
        self.current.get().is_some() || are_nearly_all(self.before.len(), series)
    }

    /// The order of so many series; `keys` are what all of them are sorted by.
    pub(super) fn get(
        &self,
        series: usize,
        keys: impl FnOnce() -> OrderKeys,
        compare: impl Fn(u32, u32) -> Ordering + Copy,
    ) -> &[u32] {
        self.current.get_or_init(|| {
            if self.is_kept(series) {
                return extended(&self.before, series, compare);
            }
            let mut keys = keys();
            keys.sort();
            keys.into_order(compare)
        })
    }

    /// Takes an order of some of the first series, and how many there are by now.
    pub(super) fn set(&self, made: impl FnOnce() -> (Vec<u32>, usize), compare: impl Fn(u32, u32) -> Ordering) {
        self.current.get_or_init(|| {
            let (order, series) = made();
            if order.len() < series { extended(&order, series, compare) } else { order }
        });
    }

    /// There are so many series now.
    pub(super) fn grow(&mut self, series: usize) {
        if self.current.get().is_some_and(|order| order.len() < series)
            && let Some(order) = self.current.take()
        {
            self.before = order;
        }
    }

    pub(super) fn memory(&self) -> usize {
        let current = self.current.get().map_or(0, Vec::capacity);
        [current, self.before.capacity()].map(|count| allocation(count * size_of::<u32>())).iter().sum()
    }
}

/// The order of so many series, from that of the first of them.
fn extended(before: &[u32], series: usize, compare: impl Fn(u32, u32) -> Ordering) -> Vec<u32> {
    let mut new: Vec<u32> = (before.len() as u32..series as u32).collect();
    new.sort_unstable_by(|a, b| compare(*a, *b));
    let (mut order, mut rest) = (Vec::with_capacity(series), before);
    for id in new {
        let (smaller, larger) = rest.split_at(rest.partition_point(|other| compare(*other, id).is_lt()));
        order.extend_from_slice(smaller);
        order.push(id);
        rest = larger;
    }
    order.extend_from_slice(rest);
    order
}
