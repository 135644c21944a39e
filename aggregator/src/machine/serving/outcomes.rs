//! What becomes of work that ended: the next version of the manifest, another try, or the end of this owner.

use std::sync::Arc;

use weir_blocks::manifest::{BlockEntry, Loss, Manifest};

use super::{Change, ChangeOf, Serving, Turn, Work};
use crate::AggregatorError;
use crate::machine::event::{Committed, Count, Effect, Now, Sealed, Shares};

/// Of a loss that a seal declares.
const LOST: &str = "the bus no longer had these offsets";

/// Each errors when this owner must stop.
impl Serving {
    pub(super) fn sealed(&mut self, now: Now, sealed: Result<Sealed, AggregatorError>) -> Result<Vec<Effect>, AggregatorError> {
        let changed = sealed.and_then(|sealed| Ok((self.after_seal(&sealed)?, sealed)));
        match changed {
            Ok((manifest, sealed)) => {
                let real: Vec<BlockEntry> = sealed.entries.iter().filter(|entry| !entry.quarantine).cloned().collect();
                self.blocks.written(&real);
                let of = ChangeOf::Seal { quarantined_late: sealed.quarantined_late };
                Ok(vec![self.publish(manifest, Committed::of(&real), of)])
            }
            Err(error) if error.is_fenced() => Err(error),
            Err(_) => Ok(self.seal_again(now)),
        }
    }

    /// The manifest with what was sealed. Only the blocks and losses of the last one go on: the rest is the seal's.
    fn after_seal(&self, sealed: &Sealed) -> Result<Manifest, AggregatorError> {
        let last = &self.manifest;
        let mut manifest = Manifest {
            epoch: last.epoch,
            owner: last.owner.clone(),
            next_offset: last.next_offset,
            blocks: last.blocks.clone(),
            losses: last.losses.clone(),
            counters: last.counters,
            deletions: last.deletions.clone(),
            ..Manifest::default()
        };
        manifest.seal(last.next_offset, sealed.next_offset, sealed.entries.clone())?;
        manifest.losses.extend(sealed.losses.iter().map(|(first, next)| Loss {
            first: *first,
            next: *next,
            reason: LOST.into(),
        }));
        sealed.dedup.store(&mut manifest);
        manifest.counters.quarantined += sealed.quarantined;
        Ok(manifest)
    }

    pub(super) fn merged(
        &mut self,
        merged: Result<Option<Vec<BlockEntry>>, AggregatorError>,
    ) -> Result<Vec<Effect>, AggregatorError> {
        let Work::Merging(run) = std::mem::replace(&mut self.work, Work::Idle) else { return Ok(Vec::new()) };
        let after = |entries: Vec<BlockEntry>| Ok((self.after_merge(&run, &entries)?, entries));
        match merged.and_then(|entries| entries.map(after).transpose()) {
            Ok(None) => {
                self.blocks.do_not_fit(&run);
                self.turn = Turn::None;
                Ok(vec![Effect::EndMergeTurn])
            }
            Ok(Some((manifest, entries))) => {
                self.blocks.written(&entries);
                self.aged.merged(&run, &entries);
                Ok(vec![self.publish(manifest, Committed::of(&entries), ChangeOf::Merge)])
            }
            Err(error) if error.is_fenced() => Err(error),
            Err(error) => {
                self.blocks.failed_to_merge(&run, &error);
                Ok(self.refuse_compactions(&Arc::new(error)))
            }
        }
    }

    fn after_merge(&self, run: &[BlockEntry], entries: &[BlockEntry]) -> Result<Manifest, AggregatorError> {
        let mut manifest = Manifest::clone(&self.manifest);
        let old: Vec<String> = run.iter().map(|entry| entry.id.clone()).collect();
        manifest.replace(&old, entries.to_vec())?;
        Ok(manifest)
    }

    /// Whoever told it to hears of it, and may tell it again.
    pub(super) fn refuse_compactions(&mut self, error: &Arc<AggregatorError>) -> Vec<Effect> {
        let applications = self.answer_applications(Some(error));
        (self.compaction_due, self.turn) = (false, Turn::None);
        let refused =
            self.compactions.drain(..).map(|(_, reply)| Effect::Answer(reply, Err(AggregatorError::Refused(Arc::clone(error)))));
        [Effect::Count(Count::Failure), Effect::EndMergeTurn].into_iter().chain(refused).chain(applications).collect()
    }

    /// Those who had it begun hear of an error; what is too old goes nevertheless.
    pub(super) fn shares_counted(&mut self, now: Now, counted: Result<Shares, AggregatorError>) -> Vec<Effect> {
        let failed = self.excess.counted(counted);
        let Some(error) = failed.map(Arc::new) else { return Vec::new() };
        if now.passed < self.expiry_due {
            self.excess.ask_again();
        }
        self.expiring.append(&mut self.expiries);
        self.refuse_expiries(&error)
    }

    fn refuse_expiries(&mut self, error: &Arc<AggregatorError>) -> Vec<Effect> {
        let refused =
            self.expiring.drain(..).map(|reply| Effect::Answer(reply, Err(AggregatorError::Refused(Arc::clone(error)))));
        std::iter::once(Effect::Count(Count::Failure)).chain(refused).collect()
    }

    pub(super) fn published(&mut self, now: Now, published: Result<(), AggregatorError>) -> Result<Vec<Effect>, AggregatorError> {
        let Work::Publishing(change) = std::mem::replace(&mut self.work, Work::Idle) else { return Ok(Vec::new()) };
        match published {
            Ok(()) => Ok(self.changed(change)),
            Err(error) if error.is_fenced() => Err(error),
            Err(_) => {
                self.work = Work::PublishAgain(change, now.passed.saturating_add(self.publish_retry.pause()));
                Ok(vec![Effect::Count(Count::Failure)])
            }
        }
    }

    /// The version was not sent: what it was to say cannot be said.
    pub(super) fn unpublishable(&mut self, now: Now, error: &Arc<AggregatorError>) -> Vec<Effect> {
        let Work::Publishing(change) = std::mem::replace(&mut self.work, Work::Idle) else { return Vec::new() };
        match change.of {
            ChangeOf::Seal { .. } => self.seal_again(now),
            ChangeOf::Merge | ChangeOf::Rewrite(_) | ChangeOf::Processed => self.refuse_compactions(error),
            ChangeOf::Deletions => self.answer_deletions(Some(error)),
            ChangeOf::Expiry(_) => self.refuse_expiries(error),
        }
    }

    fn seal_again(&mut self, now: Now) -> Vec<Effect> {
        self.work = Work::SealAgain(now.passed.saturating_add(self.retry.pause()));
        vec![Effect::Count(Count::Failure)]
    }

    /// A version is published: readers see it, and whoever waited for it goes on.
    fn changed(&mut self, change: Change) -> Vec<Effect> {
        let Change { manifest, committed, of } = change;
        (self.version, self.manifest) = (self.version + 1, manifest);
        self.retry.reset();
        self.deletions.check_finished = true;
        if !matches!(of, ChangeOf::Seal { .. }) {
            self.blocks.retain(&self.manifest);
            self.deletions.retain(&self.manifest);
        }
        let mut effects = vec![Effect::Show(self.shown())];
        match of {
            ChangeOf::Seal { quarantined_late } => {
                (self.frozen_bytes, self.has_sealed) = (0, true);
                self.seals.iter_mut().for_each(|(_, sum, _)| *sum += committed);
                effects.push(Effect::Count(Count::Sealed { blocks: committed.blocks, quarantined_late }));
                effects.push(Effect::Release(self.manifest.next_offset));
            }
            // One run at a time: seals come between, and other partitions.
            ChangeOf::Merge => {
                self.turn = Turn::None;
                self.compactions.iter_mut().for_each(|(sum, _)| *sum += committed);
                effects.push(Effect::EndMergeTurn);
            }
            ChangeOf::Rewrite(count) => {
                self.turn = Turn::None;
                self.add_rewritten(committed);
                effects.extend([Effect::Count(count), Effect::EndMergeTurn]);
            }
            ChangeOf::Deletions => {
                self.compaction_due = true;
                effects.extend(self.answer_deletions(None));
            }
            ChangeOf::Processed => {}
            ChangeOf::Expiry(expired) => {
                self.work = Work::Collecting(committed);
                effects
                    .extend(expired.iter().filter(|one| one.committed.blocks > 0).map(|one| Effect::Count(Count::Expired(*one))));
                effects.push(Effect::Collect { version: self.version });
            }
        }
        effects
    }

    pub(super) fn collected(&mut self, collected: Result<(), AggregatorError>) -> Result<Vec<Effect>, AggregatorError> {
        let Work::Collecting(committed) = std::mem::replace(&mut self.work, Work::Idle) else { return Ok(Vec::new()) };
        match collected {
            Ok(()) => {
                self.compaction_due = true;
                Ok(self.expiring.drain(..).map(|reply| Effect::Answer(reply, Ok(committed))).collect())
            }
            Err(error) if error.is_fenced() => Err(error),
            Err(error) => Ok(self.refuse_expiries(&Arc::new(error))),
        }
    }
}
