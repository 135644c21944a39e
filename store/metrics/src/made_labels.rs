//! Label sets of a head's series that readers asked for, and the order of all: made once, so that the next query finds them made.
//! Nothing is held for them before the first. Called by [`super::index`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use weir_model::label::Labels;
use weir_model::memory::allocation;

/// Bytes of label sets that are kept, of one tenant: those of about 200,000 series. Beyond, they are made for each query.
const KEPT_BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
pub(super) struct MadeLabels {
    /// Series, ascending by labels.
    order: OnceLock<Vec<u32>>,
    /// The order before more series came, of those that there were.
    before: Vec<u32>,
    /// By series.
    labels: OnceLock<Vec<OnceLock<Labels>>>,
    /// Of label sets.
    kept: AtomicUsize,
    /// The whole head's.
    bytes: Arc<AtomicUsize>,
}

impl MadeLabels {
    pub(super) fn new(bytes: Arc<AtomicUsize>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Those of one of so many series.
    pub(super) fn labels(&self, id: u32, series: usize, make: impl FnOnce() -> Labels) -> Labels {
        let slots = self.labels.get_or_init(|| {
            self.bytes.fetch_add(slots_bytes(series), Ordering::Relaxed);
            vec![OnceLock::new(); series]
        });
        let slot = &slots[id as usize];
        if let Some(made) = slot.get() {
            return made.clone();
        }
        let made = make();
        let memory = made.memory();
        if self.kept.load(Ordering::Relaxed) + memory <= KEPT_BYTES_MAX && slot.set(made.clone()).is_ok() {
            self.kept.fetch_add(memory, Ordering::Relaxed);
            self.bytes.fetch_add(memory, Ordering::Relaxed);
        }
        made
    }

    /// Whether there is no order, and `is_anew` says of the one before that it is of no use for it.
    pub(super) fn is_unordered(&self, is_anew: impl FnOnce(&[u32]) -> bool) -> bool {
        self.order.get().is_none() && is_anew(&self.before)
    }

    /// `make` is given the order of the first of them, as far as there was one.
    pub(super) fn order(&self, make: impl FnOnce(&[u32]) -> Vec<u32>) -> &[u32] {
        self.order.get_or_init(|| {
            let order = make(&self.before);
            self.bytes.fetch_add(order_bytes(&order), Ordering::Relaxed);
            order
        })
    }

    /// There are so many series now: what was made of the first of them stays.
    pub(super) fn grow(&mut self, series: usize) {
        if self.order.get().is_some_and(|order| order.len() < series)
            && let Some(order) = self.order.take()
        {
            self.bytes.fetch_sub(order_bytes(&self.before), Ordering::Relaxed);
            self.before = order;
        }
        if let Some(slots) = self.labels.get_mut()
            && slots.len() < series
        {
            self.bytes.fetch_add(slots_bytes(series) - slots_bytes(slots.len()), Ordering::Relaxed);
            slots.reserve_exact(series - slots.len());
            slots.resize(series, OnceLock::new());
        }
    }
}

#[cfg(test)]
impl MadeLabels {
    /// Of the orders and of places for label sets.
    pub(super) fn list_bytes(&self) -> usize {
        let orders = order_bytes(&self.before) + self.order.get().map_or(0, |order| order_bytes(order));
        orders + self.labels.get().map_or(0, |slots| slots_bytes(slots.len()))
    }
}

fn slots_bytes(series: usize) -> usize {
    allocation(series * size_of::<OnceLock<Labels>>())
}

fn order_bytes(order: &[u32]) -> usize {
    allocation(size_of_val(order))
}
