//! What all partitions of a process share: room for heads, turns at sealing and at merging, so that its memory is a declared sum,
//! and how new what they stored is.
//!
//! An owner reports the bytes of its heads and asks what to do: seal, because the heads together hold more than half of their
//! room and its own is the largest; or take nothing more, because they hold all of it. Who waits is looked at again by its
//! partition's own tick. Not here: a partition's own cap (`machine`), and what a seal and a merge cost (`weir_blocks::engine::BlockCost`).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use weir_bus::TopicPartition;
use weir_model::time::UnixNanos;

use crate::config::AggregatorConfig;

/// Memory of one partition's heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeadBytes {
    /// Taking records.
    pub active: usize,
    /// Being sealed.
    pub frozen: usize,
}

/// Waits for a turn at merging. Cancel-safe where it is kept between polls.
pub(crate) type Turn = Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>;

/// Shared by the owners of a process.
pub(crate) struct Budget {
    heads_bytes_max: usize,
    /// Guards the figures; held only to read or write them.
    heads: Mutex<BTreeMap<TopicPartition, HeadBytes>>,
    seals: Semaphore,
    merges: Arc<Semaphore>,
    /// Of the newest record in any block of this process: what retention goes by besides the clock.
    newest: AtomicI64,
}

impl Budget {
    pub fn new(config: &AggregatorConfig) -> Self {
        let (seals, merges) = (Semaphore::new(config.seals_max.max(1)), Arc::new(Semaphore::new(config.compactions_max.max(1))));
        let (heads_bytes_max, newest) = (config.heads_memory_max.to_usize(), AtomicI64::new(i64::MIN));
        Self { heads_bytes_max, heads: Mutex::default(), seals, merges, newest }
    }

    /// A record of this time is stored.
    pub fn stored(&self, newest: UnixNanos) {
        self.newest.fetch_max(newest, Ordering::Relaxed);
    }

    /// Time of the newest record that is stored.
    pub fn newest(&self) -> UnixNanos {
        self.newest.load(Ordering::Relaxed)
    }

    /// A turn at building a head's blocks and storing them.
    pub async fn sealing(&self) -> SemaphorePermit<'_> {
        self.seals.acquire().await.expect("invariant: nobody closes it")
    }

    /// A turn at merging, in the order in which they were asked for: with tries now and then, those that try last never get one.
    pub fn turn(&self) -> Turn {
        let merges = Arc::clone(&self.merges);
        Box::pin(async move { merges.acquire_owned().await.expect("invariant: nobody closes it") })
    }

    /// A partition's share, given back when it is dropped.
    pub fn share(self: &Arc<Self>, place: TopicPartition) -> HeadShare {
        HeadShare { budget: Arc::clone(self), place }
    }
}

/// One partition's part of the budget.
pub(crate) struct HeadShare {
    budget: Arc<Budget>,
    place: TopicPartition,
}

/// What a partition should do for the sake of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Seal now, however young the head is.
    pub seal: bool,
    /// Take nothing more until something is sealed.
    pub wait: bool,
}

impl HeadShare {
    /// Says what the heads hold, and hears what to do.
    pub fn report(&self, bytes: HeadBytes) -> Advice {
        let mut heads = self.budget.heads.lock();
        heads.insert(self.place.clone(), bytes);
        let sum: usize = heads.values().map(|held| held.active + held.frozen).sum();
        // One that is being sealed is on its way out; the largest of the others follows it.
        let largest = heads.iter().filter(|(_, held)| held.frozen == 0 && held.active > 0).max_by_key(|(_, held)| held.active);
        let is_largest = largest.is_some_and(|(place, _)| *place == self.place);
        let max = self.budget.heads_bytes_max;
        Advice { seal: is_largest && sum >= max / 2, wait: sum >= max }
    }
}

impl Drop for HeadShare {
    fn drop(&mut self) {
        self.budget.heads.lock().remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use weir_model::config::ByteSize;

    use super::*;

    fn place(partition: u32) -> TopicPartition {
        TopicPartition { topic: "weir.logs".into(), partition }
    }

    #[test]
    fn the_largest_is_sealed_above_half_and_nobody_takes_above_all() {
        let config = AggregatorConfig { heads_memory_max: ByteSize::bytes(100), ..AggregatorConfig::default() };
        let budget = Arc::new(Budget::new(&config));
        let (one, two) = (budget.share(place(1)), budget.share(place(2)));
        let active = |active| HeadBytes { active, frozen: 0 };
        let advice = |seal, wait| Advice { seal, wait };
        assert_eq!(one.report(active(30)), advice(false, false));
        assert_eq!(two.report(active(25)), advice(false, false));
        assert_eq!(one.report(active(30)), advice(true, false));
        // Frozen still counts, and the next largest follows.
        assert_eq!(one.report(HeadBytes { active: 0, frozen: 30 }), advice(false, false));
        assert_eq!(two.report(active(70)), advice(true, true));
        assert_eq!(one.report(HeadBytes { active: 0, frozen: 30 }), advice(false, true));
        assert_eq!(one.report(active(0)), advice(false, false));
        drop(two);
        assert_eq!(one.report(active(99)), advice(true, false));
    }

    #[tokio::test]
    async fn turns_at_merging_are_counted_and_given_in_order() {
        let budget = Budget::new(&AggregatorConfig { compactions_max: 1, ..AggregatorConfig::default() });
        let turn = budget.turn().await;
        let (mut second, mut third) = (budget.turn(), budget.turn());
        let asked = (futures_util::poll!(&mut second).is_pending(), futures_util::poll!(&mut third).is_pending());
        assert_eq!(asked, (true, true));
        drop(turn);
        assert!(futures_util::poll!(&mut third).is_pending());
        let turn = second.await;
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(turn);
        drop(third.await);
    }
}
