//! Deletions of a partition: accepted with all that is sealed below them, cancelled while they may be, and carried out block by block.
//!
//! A request is accepted when everything that was on the bus when it was made is sealed: then it means the blocks that there are, and
//! none that comes. Readers leave out what it means from that version on. When its cancel period is over by the partition's own time,
//! each block that it may mean is rewritten, one at a time in a turn at merging; when none is left it is processed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use weir_blocks::hidden::Hidden;
use weir_blocks::manifest::{BlockEntry, DeletionKey, DeletionState, Manifest, PendingDeletion};

use super::{ChangeOf, Serving, Turn, Work};
use crate::AggregatorError;
use crate::byte_limit::Cut;
use crate::config::nanos;
use crate::machine::Rules;
use crate::machine::event::{Acceptance, Committed, Count, Effect, Expired, ExpiryReason, Now, Reply};

/// What is asked of a partition's deletions.
#[derive(Default)]
pub(super) struct DeletionQueue {
    accepting: Vec<(Acceptance, Reply)>,
    cancelling: Vec<(DeletionKey, Reply)>,
    /// Whose change is being published.
    changing: Vec<Reply>,
    /// Those who wait until nothing is left to rewrite.
    applying: Vec<(Committed, Reply)>,
    /// Blocks that were looked at, by deletion: nothing that it means is in them.
    clean: HashMap<DeletionKey, HashSet<String>>,
    /// Whether requests may have come to an end since that was last looked at.
    pub check_finished: bool,
}

/// A block on its way to be written without some of its records.
#[derive(Clone, Debug)]
pub(super) struct Rewrite {
    pub entry: BlockEntry,
    pub cause: Cause,
}

#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// These requests mean something of it.
    Deleted(Vec<DeletionKey>),
    /// All of it is past this period, which some tenants have.
    Old(Duration),
    /// Tenants have more than they may keep.
    Excess(Vec<Cut>),
    /// All of it is past this age, from which on some tenants have a coarser resolution.
    Aged(Duration),
}

impl DeletionQueue {
    /// Forgets what the manifest names no more.
    pub fn retain(&mut self, manifest: &Manifest) {
        let blocks: HashSet<&str> = manifest.blocks.iter().map(|entry| entry.id.as_str()).collect();
        let known: HashSet<&DeletionKey> = manifest.deletions.iter().map(|known| known.request.key()).collect();
        self.clean.retain(|key, _| known.contains(key));
        self.clean.values_mut().for_each(|clean| clean.retain(|id| blocks.contains(id.as_str())));
    }

    pub fn accept(&mut self, acceptance: Acceptance, reply: Reply) {
        self.accepting.push((acceptance, reply));
    }

    pub fn cancel(&mut self, key: DeletionKey, reply: Reply) {
        self.cancelling.push((key, reply));
    }

    pub fn apply(&mut self, reply: Reply) {
        self.applying.push((Committed::default(), reply));
        self.check_finished = true;
    }

    /// Whether a block was looked at, and has nothing that a request means.
    fn is_clean(&self, known: &PendingDeletion, entry: &BlockEntry) -> bool {
        self.clean.get(known.request.key()).is_some_and(|blocks| blocks.contains(&entry.id))
    }

    /// Whether a request may still have something to take from a block.
    pub fn may_mean(&self, known: &PendingDeletion, entry: &BlockEntry) -> bool {
        !known.is_processed() && known.may_mean(entry) && !self.is_clean(known, entry)
    }

    /// Whether somebody waits for blocks to be rewritten.
    pub fn is_awaited(&self) -> bool {
        !self.applying.is_empty()
    }

    /// Whether a request waits for what lies below it to be sealed.
    pub fn is_accepting(&self) -> bool {
        !self.accepting.is_empty()
    }

    /// Whether a request waits for what lies between these offsets to be sealed.
    pub fn needs_seal(&self, committed_offset: u64, indexed_offset: u64) -> bool {
        self.accepting.iter().any(|(asked, _)| asked.upto > committed_offset && asked.upto <= indexed_offset)
    }
}

impl Serving {
    /// Publishes what can be accepted and cancelled now. A request whose client has gone is forgotten.
    pub(super) fn change_deletions(&mut self, rules: &Rules, now: Now, effects: &mut Vec<Effect>) -> bool {
        let queue = &mut self.deletions;
        queue.accepting.retain(|(.., reply)| !reply.is_closed());
        let committed_offset = self.manifest.next_offset;
        let (ready, waiting) =
            std::mem::take(&mut queue.accepting).into_iter().partition(|(asked, _)| asked.upto <= committed_offset);
        queue.accepting = waiting;
        let (ready, cancelling): (Vec<_>, _) = (ready, std::mem::take(&mut queue.cancelling));
        let (mut manifest, mut changing, own_time) = (Manifest::clone(&self.manifest), Vec::new(), self.steady.now(now.passed));
        for (Acceptance { request, partitions, .. }, reply) in ready {
            let key = request.key().clone();
            match manifest.accept(request, partitions, own_time) {
                Ok(()) => {
                    self.deletions.clean.remove(&key);
                    changing.push(reply);
                }
                Err(error) => effects.push(Effect::Answer(reply, Err(error.into()))),
            }
        }
        for (key, reply) in cancelling {
            match manifest.deletion(&key) {
                // Cancelled before, or never accepted here.
                None => effects.push(Effect::Answer(reply, Ok(Committed::default()))),
                Some(known) if known.state == DeletionState::Received && !is_due(known, rules, own_time) => {
                    manifest.cancel(&key);
                    changing.push(reply);
                }
                Some(_) => effects.push(Effect::Answer(reply, Err(AggregatorError::DeletionBegun { id: key.id }))),
            }
        }
        if changing.is_empty() {
            return false;
        }
        self.deletions.changing = changing;
        effects.push(self.publish(manifest, Committed::default(), ChangeOf::Deletions));
        true
    }

    /// The next block to be written without what is deleted.
    pub(super) fn next_rewrite(&self, rules: &Rules, now: Now) -> Option<(Rewrite, Hidden)> {
        let own_time = self.steady.now(now.passed);
        let due = self.manifest.deletions.iter().filter(|known| is_due(known, rules, own_time));
        // What a request means that cannot be read is not known: it hides, and nothing is taken for it.
        let due: Vec<_> = due.filter_map(|known| Some((known, known.request.removable()?))).collect();
        let means = |known: &PendingDeletion, entry: &BlockEntry| known.may_mean(entry) && !self.is_clean(known, entry);
        let can = |entry: &&BlockEntry| self.blocks.can_rewrite(entry) && due.iter().any(|(known, _)| means(known, entry));
        let entry = self.manifest.blocks.iter().find(can)?;
        let meant: Vec<_> = due.iter().filter(|(known, _)| means(known, entry)).collect();
        let hidden = Hidden::by(meant.iter().map(|(_, removable)| Arc::clone(removable)).collect());
        let keys = meant.iter().map(|(known, _)| known.request.key().clone()).collect();
        Some((Rewrite { entry: entry.clone(), cause: Cause::Deleted(keys) }, hidden))
    }

    /// Publishes that requests are processed of which no block has anything (those that cannot be opened or rewritten may), and forgets
    /// old ones. Looks at all blocks, and only when something has changed.
    pub(super) fn finish_deletions(&mut self, rules: &Rules, now: Now) -> Option<Effect> {
        if !std::mem::take(&mut self.deletions.check_finished) {
            return None;
        }
        let own_time = self.steady.now(now.passed);
        let is_done = |known: &&PendingDeletion| {
            is_due(known, rules, own_time) && known.request.removable().is_some() && self.first_left(known).is_none()
        };
        let done: Vec<DeletionKey> =
            self.manifest.deletions.iter().filter(is_done).map(|known| known.request.key().clone()).collect();
        if done.is_empty() && !self.manifest.deletions.iter().any(|known| known.is_forgettable(own_time)) {
            return None;
        }
        let mut manifest = Manifest::clone(&self.manifest);
        manifest.processed(&done, own_time);
        done.iter().for_each(|key| drop(self.deletions.clean.remove(key)));
        Some(self.publish(manifest, Committed::default(), ChangeOf::Processed))
    }

    /// The first block of which a request may still mean something.
    fn first_left(&self, known: &PendingDeletion) -> Option<&BlockEntry> {
        self.manifest.blocks.iter().find(|entry| known.may_mean(entry) && !self.is_clean(known, entry))
    }

    /// What keeps a request that is due from being processed, when no block can be rewritten any more.
    pub(super) fn deletion_left(&self, rules: &Rules, now: Now) -> Option<AggregatorError> {
        let own_time = self.steady.now(now.passed);
        let mut due = self.manifest.deletions.iter().filter(|known| is_due(known, rules, own_time));
        due.find_map(|known| {
            let block = self.first_left(known)?.id.clone();
            let is_readable = known.request.removable().is_some();
            let why = if is_readable { "it is not open or cannot be rewritten" } else { "the request cannot be read" };
            Some(AggregatorError::DeletionLeft { id: known.request.said().id.clone(), block, why })
        })
    }

    pub(super) fn rewritten(
        &mut self,
        rewritten: Result<Option<Vec<BlockEntry>>, AggregatorError>,
    ) -> Result<Vec<Effect>, AggregatorError> {
        let Work::Rewriting(Rewrite { entry, cause }) = std::mem::replace(&mut self.work, Work::Idle) else {
            return Ok(Vec::new());
        };
        let after = |entries: Vec<BlockEntry>| {
            let mut manifest = Manifest::clone(&self.manifest);
            manifest.replace(std::slice::from_ref(&entry.id), entries.clone())?;
            if let Cause::Deleted(keys) = &cause {
                manifest.begin_deletions(keys);
            }
            Ok((manifest, entries))
        };
        match rewritten.and_then(|entries| entries.map(after).transpose()) {
            Ok(None) => {
                self.set_looked(&cause, std::slice::from_ref(&entry));
                match &cause {
                    Cause::Excess(cuts) => self.excess.set_untouched(&entry.id, cuts),
                    // A directory that lies in memory told it: the turn has not been made use of.
                    Cause::Aged(_) => return Ok(Vec::new()),
                    Cause::Deleted(_) | Cause::Old(_) => {}
                }
                self.turn = Turn::None;
                Ok(vec![Effect::EndMergeTurn])
            }
            Ok(Some((manifest, entries))) => {
                self.blocks.written(&entries);
                self.set_looked(&cause, &entries);
                if let Cause::Excess(cuts) = &cause {
                    self.excess.set_cut(&entry, cuts);
                }
                let (gone, committed) = (std::slice::from_ref(&entry), Committed::of(&entries));
                let records = Committed::of(gone).records.saturating_sub(committed.records);
                let bytes = entry.size.saturating_sub(entries.iter().map(|entry| entry.size).sum());
                let expired = |reason| Count::Expired(Expired { reason, committed: Committed { blocks: 0, records }, bytes });
                let count = match cause {
                    Cause::Deleted(_) => Count::Deleted(records),
                    Cause::Old(_) => expired(ExpiryReason::Age),
                    Cause::Excess(_) => expired(ExpiryReason::Bytes),
                    Cause::Aged(_) => Count::Downsampled { records: Committed::of(gone).records, left: committed.records },
                };
                Ok(vec![self.publish(manifest, committed, ChangeOf::Rewrite(count))])
            }
            Err(error) if error.is_fenced() => Err(error),
            Err(error) => {
                self.blocks.failed_to_rewrite(&entry, &error);
                let error = Arc::new(error);
                Ok(self.refuse_compactions(&error))
            }
        }
    }

    fn set_looked(&mut self, cause: &Cause, entries: &[BlockEntry]) {
        match cause {
            Cause::Deleted(keys) => self.set_clean(keys, entries),
            Cause::Old(period) => entries.iter().for_each(|entry| self.old.set_looked(&entry.id, *period)),
            Cause::Aged(age) => entries.iter().for_each(|entry| self.aged.set_looked(&entry.id, *age)),
            Cause::Excess(_) => {}
        }
    }

    fn is_clean(&self, known: &PendingDeletion, entry: &BlockEntry) -> bool {
        self.deletions.is_clean(known, entry)
    }

    fn set_clean(&mut self, keys: &[DeletionKey], entries: &[BlockEntry]) {
        for key in keys {
            self.deletions.clean.entry(key.clone()).or_default().extend(entries.iter().map(|entry| entry.id.clone()));
        }
        self.deletions.check_finished = true;
    }

    /// The change is published, or cannot be.
    pub(super) fn answer_deletions(&mut self, error: Option<&Arc<AggregatorError>>) -> Vec<Effect> {
        let answer = || error.map_or(Ok(Committed::default()), |error| Err(AggregatorError::Refused(Arc::clone(error))));
        std::mem::take(&mut self.deletions.changing).into_iter().map(|reply| Effect::Answer(reply, answer())).collect()
    }

    pub(super) fn add_rewritten(&mut self, committed: Committed) {
        self.deletions.applying.iter_mut().for_each(|(sum, _)| *sum += committed);
    }

    /// Nothing is left to rewrite, or it failed.
    pub(super) fn answer_applications(&mut self, error: Option<&Arc<AggregatorError>>) -> Vec<Effect> {
        let answer = |sum| error.map_or(Ok(sum), |error| Err(AggregatorError::Refused(Arc::clone(error))));
        std::mem::take(&mut self.deletions.applying).into_iter().map(|(sum, reply)| Effect::Answer(reply, answer(sum))).collect()
    }
}

/// Whether a request may be carried out.
fn is_due(known: &PendingDeletion, rules: &Rules, own_time: i64) -> bool {
    let period = nanos(rules.config.delete_request_cancel_period);
    match known.state {
        DeletionState::Received => !known.request.said().can_cancel || own_time.saturating_sub(known.accepted) >= period,
        DeletionState::Begun => true,
        DeletionState::Processed => false,
    }
}
