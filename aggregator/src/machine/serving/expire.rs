//! What goes by retention, at each tick and when it is told: blocks that are too old, and what tenants have beyond their
//! `retention_bytes` ([`crate::byte_limit`]).
//!
//! Whose a block is says its directory, which is read once for each block, and only while some tenant has such a limit: expiry waits for
//! that, nothing else does. What cannot go with whole blocks is lined up, and rewritten in turns at merging.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use weir_blocks::hidden::Hidden;
use weir_blocks::manifest::{BlockEntry, Manifest};
use weir_model::time::UnixNanos;

use super::deletions::{Cause, Rewrite};
use super::{ChangeOf, Serving, Work};
use crate::AggregatorError;
use crate::byte_limit::{Cut, Excess, KnownBlock, excess, hidden};
use crate::expiry::Due;
use crate::machine::Rules;
use crate::machine::event::{Committed, Count, Effect, Expired, ExpiryReason, Now, Shares};

/// What tenants have beyond their limits.
#[derive(Default)]
pub(super) struct ExcessBlocks {
    count: CountState,
    /// That the kind has, as the bus said last.
    partitions: Option<u32>,
    /// By id.
    known: BTreeMap<String, KnownBlock>,
    /// What was earlier of a tenant is gone, since this owner began.
    cut_before: BTreeMap<Arc<str>, UnixNanos>,
    /// To be rewritten, oldest first.
    queue: Vec<(BlockEntry, Vec<Cut>)>,
}

/// How far it is known whose the blocks are.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum CountState {
    #[default]
    Idle,
    Asked,
    /// Or could not be told: the next expiry does without.
    Told,
}

impl ExcessBlocks {
    /// Takes note of whose blocks are; gives the error if that could not be told.
    pub fn counted(&mut self, counted: Result<Shares, AggregatorError>) -> Option<AggregatorError> {
        self.count = CountState::Told;
        match counted {
            Ok(Shares { partitions, blocks }) => {
                self.partitions = Some(partitions);
                let known = |shares| KnownBlock { shares, ..KnownBlock::default() };
                self.known.extend(blocks.into_iter().map(|(id, shares)| (id, known(shares))));
                // Here and not where blocks are asked for: of merged ones it is known now.
                let known = &self.known;
                self.cut_before.retain(|tenant, _| known.values().any(|of| of.shares.contains_key(tenant)));
                None
            }
            Err(error) => {
                self.partitions = None;
                Some(error)
            }
        }
    }

    /// Nothing is due that would have to do without.
    pub fn ask_again(&mut self) {
        self.count = CountState::Idle;
    }

    /// A rewrite has found nothing of what was to go: the tenants' records of the block are later, or none.
    pub fn set_untouched(&mut self, id: &str, cuts: &[Cut]) {
        let Some(known) = self.known.get_mut(id) else { return };
        for Cut { tenant, before } in cuts {
            match before {
                Some(before) => {
                    known.none_before.insert(Arc::clone(tenant), *before);
                }
                None => {
                    known.shares.insert(Arc::clone(tenant), 0);
                }
            }
        }
    }

    /// A block is written without this.
    pub fn set_cut(&mut self, entry: &BlockEntry, cuts: &[Cut]) {
        for Cut { tenant, before } in cuts {
            let end = before.unwrap_or(entry.summary.last.saturating_add(1));
            let cut_before = self.cut_before.entry(Arc::clone(tenant)).or_insert(end);
            *cut_before = end.max(*cut_before);
        }
    }

    /// Whole blocks that go; others are lined up.
    fn line_up(&mut self, blocks: &[BlockEntry], rules: &Rules) -> Vec<BlockEntry> {
        self.queue.clear();
        let Some(partitions) = self.partitions else { return Vec::new() };
        let Excess { gone, cut } =
            excess(blocks, (&self.known, &self.cut_before), |tenant| rules.byte_limits.share(tenant, partitions));
        self.queue = cut;
        for entry in &gone {
            let tenants = self.known.get(&entry.id).into_iter().flat_map(|known| known.shares.keys());
            let cuts: Vec<Cut> = tenants.map(|tenant| Cut { tenant: Arc::clone(tenant), before: None }).collect();
            self.set_cut(entry, &cuts);
        }
        gone
    }
}

impl Serving {
    /// Whether it is known whose the blocks are, as far as that matters; else it is asked.
    pub(super) fn shares_known(&mut self, rules: &Rules, effects: &mut Vec<Effect>) -> bool {
        if !rules.byte_limits.any() {
            // What was asked may still be told, and is then of no interest.
            self.excess = ExcessBlocks::default();
            return true;
        }
        match self.excess.count {
            CountState::Idle => {
                let named: HashSet<&str> = self.manifest.blocks.iter().map(|entry| entry.id.as_str()).collect();
                self.excess.known.retain(|id, _| named.contains(id.as_str()));
                let is_new = |entry: &&BlockEntry| self.blocks.is_open(entry) && !self.excess.known.contains_key(&entry.id);
                effects.push(Effect::CountShares(self.manifest.blocks.iter().filter(is_new).cloned().collect()));
                self.excess.count = CountState::Asked;
                false
            }
            CountState::Asked => false,
            CountState::Told => {
                self.excess.count = CountState::Idle;
                true
            }
        }
    }

    pub(super) fn expire(&mut self, rules: &Rules, now: Now, effects: &mut Vec<Effect>) {
        let ((periods, for_ever), blocks) = (rules.periods.all(), &self.manifest.blocks);
        let (keep, shorter) = match periods.split_last() {
            Some((longest, shorter)) if !for_ever => (*longest, shorter),
            _ => (Duration::ZERO, &periods[..]),
        };
        let (elapsed, all) = (now.passed.saturating_sub(self.paced), !self.expiring.is_empty());
        self.pace.pass(elapsed, blocks, keep);
        self.paced = now.passed;
        let Due { gone: old, held } = self.pace.due(blocks, now.wall, now.newest, keep, all);
        let held = held + self.old.line_up(blocks, shorter, elapsed, now, all);
        let held = held + self.aged.line_up(&rules.resolutions, blocks, elapsed, now, all);
        effects.push(Effect::Count(Count::Held(held)));
        let never_finer = self.aged.take_never_finer();
        // One partition says it for all.
        if !never_finer.is_empty() && rules.place.partition == 0 {
            effects.push(Effect::NeverFiner(never_finer));
        }
        let left: Vec<BlockEntry> = blocks.iter().filter(|entry| !old.contains(entry)).cloned().collect();
        let excess = self.excess.line_up(&left, rules);
        if old.is_empty() && excess.is_empty() {
            self.work = Work::Collecting(Committed::default());
            effects.push(Effect::Collect { version: self.version });
            return;
        }
        let mut manifest = Manifest::clone(&self.manifest);
        let gone: Vec<BlockEntry> = old.iter().chain(&excess).cloned().collect();
        manifest.forget(&gone.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>());
        let expired = [Expired::of(ExpiryReason::Age, &old), Expired::of(ExpiryReason::Bytes, &excess)];
        effects.push(self.publish(manifest, Committed::of(&gone), ChangeOf::Expiry(expired)));
    }

    /// The next block to be written without what tenants have beyond their limits.
    pub(super) fn next_excess(&mut self) -> Option<(Rewrite, Hidden, u64)> {
        let blocks = &self.blocks;
        let at = self.excess.queue.iter().position(|(entry, _)| blocks.can_rewrite(entry))?;
        let (entry, cuts) = self.excess.queue.remove(at);
        let hidden = hidden(&cuts);
        Some((Rewrite { entry, cause: Cause::Excess(cuts) }, hidden, 0))
    }
}
