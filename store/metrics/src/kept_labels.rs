//! Label sets of heads and blocks that readers asked for, kept so that the next query finds them made: those of a process within one
//! bound. Nothing is held before the first. Called by [`super::index`] and [`super::block`].

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};
use weir_model::label::Labels;
use weir_model::memory::allocation;

use super::block::MetricsBlock;

/// Of a process: the label sets of about 300,000 series. Beyond, they are made for each query.
const KEPT_BYTES_MAX: usize = 96 << 20;

/// About what a label set takes, for who makes room before there is any.
const LABELS_BYTES: usize = 256;

/// What was opened by so many openings lately is not given up for others: a query of more series than there is room for opens all heads
/// and blocks, and would find nothing kept the next time.
const RECENT_OPENINGS: u64 = 64;

/// Where there are more series than places, there are so many more at least: few runs, whatever the steps in which series come.
const GROWN_BY_ONE_IN: usize = 8;

/// Label sets of fewer series than one in so many are made for the query: places for those of all would take more.
const FEW_ONE_IN: usize = 64;

/// The room that the heads and blocks of an engine share.
pub(super) struct LabelRoom {
    bytes_max: usize,
    bytes: AtomicUsize,
    openings: AtomicU64,
    /// Guards who may have something kept; held while it is looked for what was opened longest ago.
    holders: Mutex<Vec<Weak<Holder>>>,
}

/// What one head or block keeps.
pub(super) struct KeptLabels {
    room: Arc<LabelRoom>,
    own: Arc<Holder>,
}

#[derive(Default)]
struct Holder {
    /// Which opening was the last of this one.
    opened: AtomicU64,
    /// Among those of the room.
    is_listed: AtomicBool,
    /// Guards which slots are in use; readers take the pointer along.
    slots: RwLock<Option<Arc<LabelSlots>>>,
}

/// Places for label sets, by number of the series. Where there are more series than before, those before are shared.
pub(super) struct LabelSlots(Vec<Arc<SlotRun>>);

/// Places of series that follow each other.
struct SlotRun {
    room: Arc<LabelRoom>,
    first: usize,
    labels: Box<[OnceLock<Labels>]>,
    /// Of label sets.
    bytes: AtomicUsize,
}

impl Default for LabelRoom {
    fn default() -> Self {
        Self::new(KEPT_BYTES_MAX)
    }
}

impl LabelRoom {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: AtomicUsize::new(0), openings: AtomicU64::new(0), holders: Mutex::default() }
    }

    /// Memory that is kept.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|all| *all <= self.bytes_max);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Lets go of what was opened longest ago until so many bytes are free, or what is left was opened lately.
    fn make_room(&self, bytes: usize) {
        let wanted = bytes.min(self.bytes_max / 2);
        let lacking = (self.bytes.load(Ordering::Relaxed) + wanted).saturating_sub(self.bytes_max);
        // Hundreds of thousands of label sets may be freed here, with no lock held.
        drop(self.oldest(lacking));
    }

    /// Takes so many bytes of what was opened longest ago. They count as free, even if a query that has opened them uses them still: what
    /// others keep would free nothing sooner.
    fn oldest(&self, bytes: usize) -> Vec<Arc<LabelSlots>> {
        if bytes == 0 {
            return Vec::new();
        }
        let holders = self.holders.lock();
        let mut known: Vec<(u64, Arc<Holder>)> = holders
            .iter()
            .filter_map(Weak::upgrade)
            .map(|holder| (holder.opened.load(Ordering::Relaxed), holder))
            .filter(|(opened, _)| opened + RECENT_OPENINGS < self.openings.load(Ordering::Relaxed))
            .collect();
        known.sort_unstable_by_key(|(opened, _)| *opened);
        let (mut taken, mut free) = (Vec::new(), 0);
        for (_, holder) in &known {
            if free >= bytes {
                break;
            }
            let slots = holder.slots.write().take();
            free += slots.as_ref().map_or(0, |slots| slots.memory());
            taken.extend(slots);
        }
        // Before `known`, whose head or block may have gone meanwhile.
        drop(holders);
        taken
    }

    /// What the holder keeps may be let go of from now on.
    fn list(&self, holder: &Arc<Holder>) {
        if holder.is_listed.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut holders = self.holders.lock();
        if holders.len() == holders.capacity() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(Arc::downgrade(holder));
    }
}

impl KeptLabels {
    pub(super) fn new(room: &Arc<LabelRoom>) -> Self {
        Self { room: Arc::clone(room), own: Arc::default() }
    }

    /// Places for the label sets of so many series, with those that are kept; `None` where there is no room.
    pub(super) fn open(&self, series: usize) -> Option<Arc<LabelSlots>> {
        let opening = self.room.openings.fetch_add(1, Ordering::Relaxed);
        self.own.opened.store(opening, Ordering::Relaxed);
        let known = self.own.slots.read().clone();
        if known.as_ref().is_some_and(|slots| slots.len() >= series) {
            return known;
        }
        let is_new = known.is_none();
        if slots_bytes(series) > self.room.bytes_max / 2 {
            // Others would go for places that leave no room for what is put there.
            return known;
        }
        drop(known);
        if is_new {
            self.room.make_room(slots_bytes(series) + series * LABELS_BYTES);
        }
        let mut own = self.own.slots.write();
        let before = own.as_deref();
        if before.is_none_or(|before| before.len() < series)
            && let Some(slots) = LabelSlots::with(&self.room, series, before)
        {
            *own = Some(Arc::new(slots));
        }
        // Where there is no room for more, what is kept stays.
        let opened = own.clone();
        drop(own);
        if is_new && opened.is_some() {
            self.room.list(&self.own);
        }
        opened
    }
}

impl LabelSlots {
    /// With those there were `before`, and then some more: each new series would ask for others otherwise.
    fn with(room: &Arc<LabelRoom>, series: usize, before: Option<&Self>) -> Option<Self> {
        let first = before.map_or(0, Self::len);
        let count = (series - first).max(first / GROWN_BY_ONE_IN);
        if !room.take(slots_bytes(count)) {
            return None;
        }
        let labels = (0..count).map(|_| OnceLock::new()).collect();
        let run = SlotRun { room: Arc::clone(room), first, labels, bytes: AtomicUsize::new(0) };
        let runs = before.map_or(&[][..], |before| &before.0);
        Some(Self(runs.iter().cloned().chain([Arc::new(run)]).collect()))
    }

    fn len(&self) -> usize {
        self.0.last().map_or(0, |run| run.first + run.labels.len())
    }

    fn memory(&self) -> usize {
        self.0.iter().map(|run| run.memory()).sum()
    }

    /// Those of a series; kept when there is room.
    pub(super) fn get(&self, id: u32, make: impl FnOnce() -> Labels) -> Labels {
        let id = id as usize;
        let run = self.0.iter().rfind(|run| run.first <= id);
        let Some((run, slot)) = run.and_then(|run| Some((run, run.labels.get(id - run.first)?))) else { return make() };
        if let Some(made) = slot.get() {
            return made.clone();
        }
        let made = make();
        let memory = made.memory();
        if run.room.take(memory) {
            match slot.set(made.clone()) {
                Ok(()) => run.bytes.fetch_add(memory, Ordering::Relaxed),
                Err(_) => run.room.bytes.fetch_sub(memory, Ordering::Relaxed),
            };
        }
        made
    }
}

/// Label sets of a tenant in a block for one query; they stay with the block while there is room.
pub(super) struct BlockLabels {
    block: Arc<MetricsBlock>,
    /// With the number of the tenant's first series.
    slots: Option<(Arc<LabelSlots>, u32)>,
}

impl BlockLabels {
    /// For a query that asks for so many of them.
    pub(super) fn new(block: &Arc<MetricsBlock>, tenant: &str, wanted: usize) -> Self {
        let are_few = |series: &Range<u32>| wanted.saturating_mul(FEW_ONE_IN) < series.len();
        let kept = block.kept(tenant).filter(|(_, series)| !are_few(series));
        let slots = kept.and_then(|(kept, series)| Some((kept.open(series.len())?, series.start)));
        Self { block: Arc::clone(block), slots }
    }

    /// Those of a series of the tenant.
    pub(super) fn get(&self, id: u32) -> Labels {
        match &self.slots {
            Some((slots, first)) => slots.get(id - first, || self.block.make_labels(id)),
            None => self.block.make_labels(id),
        }
    }
}

impl SlotRun {
    fn memory(&self) -> usize {
        slots_bytes(self.labels.len()) + self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for SlotRun {
    fn drop(&mut self) {
        self.room.bytes.fetch_sub(self.memory(), Ordering::Relaxed);
    }
}

fn slots_bytes(series: usize) -> usize {
    allocation(series * size_of::<OnceLock<Labels>>())
}

#[cfg(test)]
mod tests {
    use weir_blocks::blob::MemoryBlob;
    use weir_model::wire::Kind;

    use super::super::samples::Samples;
    use super::super::writer::{BlockWriter, Families};
    use super::*;

    fn labels(id: u32) -> Labels {
        Labels::from_pairs([("pod", format!("checkout-{id:08}"))])
    }

    #[test]
    fn what_is_kept_is_found_again_until_its_room_is_needed() {
        const SERIES: usize = 100;
        let one = slots_bytes(SERIES) + (0..SERIES as u32).map(|id| labels(id).memory()).sum::<usize>();
        let room = Arc::new(LabelRoom::new(2 * one));
        let (old, new) = (KeptLabels::new(&room), KeptLabels::new(&room));
        let fill = |kept: &KeptLabels| {
            let slots = kept.open(SERIES).unwrap();
            (0..SERIES as u32).for_each(|id| assert_eq!(slots.get(id, || labels(id)), labels(id)));
        };
        fill(&old);
        fill(&new);
        assert_eq!(room.bytes(), 2 * one);
        let is_kept = |kept: &KeptLabels| {
            let slots = kept.own.slots.read().clone();
            slots.is_some_and(|slots| slots.get(7, || panic!("it is made")) == labels(7))
        };
        assert!(is_kept(&old) && is_kept(&new));
        // Both were opened lately: a third keeps nothing, and is answered.
        let third = KeptLabels::new(&room);
        assert!(third.open(SERIES).is_none() && is_kept(&old) && is_kept(&new));
        // Only one of them goes on being opened.
        (0..=RECENT_OPENINGS).for_each(|_| drop(new.open(SERIES)));
        fill(&third);
        assert!(!is_kept(&old) && is_kept(&new) && is_kept(&third));
        assert_eq!(room.bytes(), 2 * one);
        drop((new, third));
        assert_eq!(room.bytes(), 0);
    }

    #[test]
    fn what_is_kept_of_the_first_series_stays_when_there_are_more() {
        let room = Arc::new(LabelRoom::default());
        let kept = KeptLabels::new(&room);
        let before = kept.open(100).unwrap();
        (0..100).for_each(|id| drop(before.get(id, || labels(id))));
        let after = kept.open(101).unwrap();
        (0..100).for_each(|id| assert_eq!(after.get(id, || panic!("it is made")), labels(id)));
        assert_eq!(after.get(111, || labels(111)), labels(111));
        // Others that come fit already.
        assert!(Arc::ptr_eq(&kept.open(112).unwrap(), &after) && !Arc::ptr_eq(&kept.open(113).unwrap(), &after));
        // Who has opened it before goes on with what there was then.
        assert_eq!(before.get(111, || labels(7)), labels(7));
        // Nothing is counted twice meanwhile.
        let memory = (0..100).chain([111]).map(|id| labels(id).memory()).sum::<usize>();
        assert_eq!(room.bytes(), slots_bytes(100) + slots_bytes(12) + slots_bytes(14) + memory);
    }

    #[test]
    fn one_more_series_in_a_full_room_gives_up_nothing() {
        const SERIES: usize = 100;
        let room =
            Arc::new(LabelRoom::new(slots_bytes(SERIES) + (0..SERIES as u32).map(|id| labels(id).memory()).sum::<usize>()));
        let kept = KeptLabels::new(&room);
        let slots = kept.open(SERIES).unwrap();
        (0..SERIES as u32).for_each(|id| drop(slots.get(id, || labels(id))));
        drop(slots);
        let after = kept.open(SERIES + 1).unwrap();
        assert_eq!(after.get(7, || panic!("it is made")), labels(7));
        assert_eq!(after.get(SERIES as u32, || labels(1)), labels(1), "beyond, it is made");
    }

    #[test]
    fn places_that_would_take_most_of_the_room_cost_others_nothing() {
        const SERIES: usize = 100;
        let one = slots_bytes(SERIES) + labels(0).memory();
        let room = Arc::new(LabelRoom::new(3 * one));
        let (old, large) = (KeptLabels::new(&room), KeptLabels::new(&room));
        old.open(SERIES).unwrap().get(0, || labels(0));
        (0..=RECENT_OPENINGS).for_each(|_| drop(large.open(2 * SERIES)));
        assert_eq!(room.bytes(), one);
        assert_eq!(old.open(SERIES).unwrap().get(0, || panic!("it is made")), labels(0));
    }

    #[test]
    fn no_more_goes_because_a_query_uses_what_went() {
        const SERIES: usize = 100;
        let room = Arc::new(LabelRoom::new(4 * slots_bytes(SERIES)));
        let old: Vec<KeptLabels> = (0..3).map(|_| KeptLabels::new(&room)).collect();
        let in_use = old[0].open(SERIES).unwrap();
        old[1..].iter().for_each(|kept| drop(kept.open(SERIES)));
        (0..=RECENT_OPENINGS).for_each(|_| drop(old[2].open(SERIES)));
        // Twice its places are wanted, with the label sets: one has to go.
        let new = KeptLabels::new(&room);
        assert!(new.open(SERIES).is_some());
        let is_kept = |kept: &KeptLabels| kept.own.slots.read().is_some();
        assert_eq!(old.iter().map(is_kept).collect::<Vec<_>>(), [false, true, true]);
        drop(in_use);
        assert_eq!(room.bytes(), 3 * slots_bytes(SERIES));
    }

    #[test]
    fn of_a_block_each_tenant_has_places_for_its_own_series() {
        let mut writer = BlockWriter::default();
        let samples = Samples { timestamps: vec![1], values: vec![0.5], ..Samples::default() };
        for (tenant, series) in [("large", 2000), ("small", 20)] {
            (0..series).for_each(|id| writer.push(tenant, &labels(id), &samples));
        }
        let built = writer.finish(&Families::new()).remove(0);
        let room = Arc::new(LabelRoom::default());
        let blob = Arc::new(MemoryBlob::new("metrics/0/test", built.data.encode(Kind::Metrics)));
        let block = Arc::new(MetricsBlock::open_within(blob, &room).unwrap());
        let own = BlockLabels::new(&block, "small", 20);
        (0..20).for_each(|id| assert_eq!(own.get(2000 + id), labels(id)));
        let all = slots_bytes(20) + (0..20).map(|id| labels(id).memory()).sum::<usize>();
        assert_eq!(room.bytes(), all);
        let again = BlockLabels::new(&block, "small", 20).slots.unwrap().0;
        assert_eq!(again.get(7, || panic!("it is made")), labels(7));
    }
}
