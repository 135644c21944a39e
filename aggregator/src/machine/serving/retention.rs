//! Blocks that are written without what is past its retention, where tenants or streams of one block are kept for different times.
//!
//! A block goes whole when it is older than the longest period (`expiry`). When all of its records are past a shorter one it is looked at
//! once for that: it is rewritten where a quarter of its records at least are past their own period, and else left until the next period.
//! What is past its period is not seen meanwhile. Blocks are due by the same clocks, and no faster, than those that go whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_blocks::hidden::{Hidden, Horizon};
use weir_blocks::manifest::BlockEntry;
use weir_blocks::periods::NEWEST_MARGIN;

use super::Serving;
use super::deletions::{Cause, Rewrite};
use crate::config::nanos;
use crate::expiry::{Due, Pace};
use crate::machine::Rules;
use crate::machine::event::Now;

/// Of the records of a block, one in so many at least is past its period where it is rewritten: the others are copied for it.
const WORTHWHILE: u64 = 4;

#[derive(Default)]
pub(super) struct OldBlocks {
    pace: Pace,
    /// The longest period for which a block was looked at, by id.
    looked: BTreeMap<String, Duration>,
    /// To be looked at, each for a period that all of it is past.
    queue: Vec<(BlockEntry, Duration)>,
}

impl OldBlocks {
    /// Lines up what is due; how many blocks are held back. `shorter`: periods but for the longest, ascending.
    pub fn line_up(&mut self, blocks: &[BlockEntry], shorter: &[Duration], elapsed: Duration, now: Now, all: bool) -> u64 {
        let Some(shortest) = shorter.first() else {
            self.queue.clear();
            return 0;
        };
        self.looked.retain(|id, _| blocks.iter().any(|entry| entry.id == *id));
        self.queue.retain(|(queued, _)| blocks.iter().any(|entry| entry.id == queued.id));
        self.pace.pass(elapsed, blocks, *shortest);
        let mut held = 0;
        for period in shorter.iter().rev() {
            let candidates = self.not_looked_at(blocks, *period);
            let Due { gone, held: more } = self.pace.due(&candidates, now.wall, now.newest, *period, all);
            self.queue.extend(gone.into_iter().map(|entry| (entry, *period)));
            held += more;
        }
        held
    }

    /// Those that are not looked at for a period, and not lined up.
    fn not_looked_at(&self, blocks: &[BlockEntry], period: Duration) -> Vec<BlockEntry> {
        let is_new = |entry: &&BlockEntry| {
            let queued = self.queue.iter().any(|(queued, _)| queued.id == entry.id);
            !queued && self.looked.get(&entry.id).is_none_or(|looked| *looked < period)
        };
        blocks.iter().filter(is_new).cloned().collect()
    }

    /// Lines up those that were rewritten for a period before, by an owner whose `looked` is gone: they take nothing from what may go.
    pub fn line_up_known(
        &mut self,
        blocks: &[BlockEntry],
        ages: &[Duration],
        now: Now,
        was: impl Fn(&BlockEntry, Duration) -> bool,
    ) {
        for age in ages.iter().rev() {
            let known: Vec<BlockEntry> = self.not_looked_at(blocks, *age).into_iter().filter(|entry| was(entry, *age)).collect();
            let Due { gone, .. } = Pace::default().due(&known, now.wall, now.newest, *age, true);
            self.queue.extend(gone.into_iter().map(|entry| (entry, *age)));
        }
    }

    /// Nothing is known of what was looked at.
    pub fn look_again(&mut self) {
        self.looked.clear();
    }

    /// The first that is lined up and `can` be rewritten.
    pub fn take(&mut self, can: impl Fn(&BlockEntry) -> bool) -> Option<(BlockEntry, Duration)> {
        let at = self.queue.iter().position(|(entry, _)| can(entry))?;
        Some(self.queue.remove(at))
    }

    /// What is lined up, by id.
    pub fn queued(&self) -> BTreeMap<&str, Duration> {
        self.queue.iter().map(|(entry, period)| (entry.id.as_str(), *period)).collect()
    }

    /// Lines up what blocks were merged to that were all lined up for one period.
    pub fn follow(&mut self, gone: &[BlockEntry], merged: &[BlockEntry]) {
        let of = |entry: &BlockEntry| self.queue.iter().find(|(queued, _)| queued.id == entry.id).map(|(_, period)| *period);
        let Some(period) = gone.first().and_then(of).filter(|period| gone.iter().all(|entry| of(entry) == Some(*period))) else {
            return;
        };
        self.queue.retain(|(queued, _)| gone.iter().all(|entry| entry.id != queued.id));
        self.queue.extend(merged.iter().map(|entry| (entry.clone(), period)));
    }

    pub fn set_looked(&mut self, id: &str, period: Duration) {
        self.looked.insert(id.to_owned(), period);
    }
}

impl Serving {
    /// The next block to be written without what is too old, with the fewest records that are worth it.
    pub(super) fn next_old(&mut self, rules: &Rules, now: Now) -> Option<(Rewrite, Hidden, u64)> {
        let blocks = &self.blocks;
        let (entry, period) = self.old.take(|entry| blocks.can_rewrite(entry))?;
        let clock = now.wall.min(now.newest.saturating_add(nanos(NEWEST_MARGIN)));
        let horizon = Horizon { now: clock, periods: Arc::new(rules.periods.clone()) };
        let least = entry.summary.records.div_ceil(WORTHWHILE);
        Some((Rewrite { entry, cause: Cause::Old(period) }, Hidden::default().with(Some(&horizon)), least))
    }
}

#[cfg(test)]
mod tests {
    use weir_blocks::engine::BlockSummary;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_block_is_looked_at_once_for_each_period_that_all_of_it_is_past() {
        let entry = |day: i64| BlockEntry {
            id: day.to_string(),
            size: 100,
            summary: BlockSummary { last: day * nanos(DAY), ..BlockSummary::default() },
            ..BlockEntry::default()
        };
        let (blocks, mut old) = ((1..=10).map(entry).collect::<Vec<_>>(), OldBlocks::default());
        let line_up = |old: &mut OldBlocks, today: i64, all| {
            let now = Now { wall: today * nanos(DAY) + 1, newest: today * nanos(DAY), ..Now::default() };
            let held = old.line_up(&blocks, &[DAY * 2, DAY * 7], DAY, now, all);
            let queued: Vec<(String, u64)> =
                old.queue.drain(..).map(|(entry, period)| (entry.id, period.as_secs() / DAY.as_secs())).collect();
            queued.iter().for_each(|(id, days)| old.set_looked(id, DAY * *days as u32));
            (queued, held)
        };
        let (queued, held) = line_up(&mut old, 10, true);
        let expected: Vec<(String, u64)> =
            (1..=3).map(|day| (day.to_string(), 7)).chain((4..=8).map(|day| (day.to_string(), 2))).collect();
        assert_eq!((queued, held), (expected, 0));
        assert_eq!(line_up(&mut old, 10, true), (Vec::new(), 0), "each was looked at");
        assert_eq!(line_up(&mut old, 11, true).0, [("4".to_owned(), 7), ("9".to_owned(), 2)]);
        // A clock that jumps with all senders lets no more through than time allows.
        let mut jumped = OldBlocks::default();
        let (queued, held) = line_up(&mut jumped, 40, false);
        assert!(!queued.is_empty() && queued.len() < 10 && held > 0, "{queued:?}, {held}");
        assert_eq!(jumped.line_up(&blocks, &[], DAY, Now::default(), true), 0, "nobody has a period of its own");
    }
}
