//! The phase in which a partition takes records: what of its work is due.
//!
//! Three things go on beside each other: appending; opening blocks; and one change of the manifest at a time, a seal, a merge or an
//! expiry. A seal that fails keeps its frozen head and is tried again before anything else is changed. What becomes of work that ended
//! says [`outcomes`].

mod deletions;
mod downsampling;
mod expire;
mod outcomes;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use weir_blocks::hidden::Hidden;
use weir_blocks::manifest::{BlockEntry, Manifest};

use super::Rules;
use super::blocks::Blocks;
use super::event::{Appended, Claimed, Committed, Count, Effect, Event, Expired, How, Now, OwnerCommand, Reply, Shown};
use crate::AggregatorError;
use crate::backoff::Backoff;
use crate::budget::HeadBytes;
use crate::config::nanos;
use crate::expiry::Pace;
use crate::runs::{RunLimits, next_run};
use crate::steady::Steady;
use deletions::{DeletionQueue, Rewrite};
use downsampling::AgedBlocks;
use expire::ExcessBlocks;
use retention::OldBlocks;

/// Work that failed is tried again.
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));

/// A publish of unknown outcome is asked again.
const PUBLISH_RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// What is done to the manifest.
#[derive(Debug)]
enum Work {
    Idle,
    Sealing,
    /// The seal failed and is due again then.
    SealAgain(Duration),
    Merging(Vec<BlockEntry>),
    Rewriting(Rewrite),
    Publishing(Change),
    /// It is not known whether the version exists: until it is, nothing else may be tried.
    PublishAgain(Change, Duration),
    /// Removing garbage, after so much was forgotten.
    Collecting(Committed),
}

/// A next version of the manifest.
#[derive(Debug)]
struct Change {
    manifest: Arc<Manifest>,
    committed: Committed,
    of: ChangeOf,
}

#[derive(Clone, Copy, Debug)]
enum ChangeOf {
    Seal {
        quarantined_late: u64,
    },
    Merge,
    /// By age, and by bytes.
    Expiry([Expired; 2]),
    /// Requests were accepted or cancelled.
    Deletions,
    Rewrite(Count),
    Processed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    None,
    Asked,
    Held,
}

pub(super) struct Serving {
    steady: Steady,
    version: u64,
    manifest: Arc<Manifest>,
    /// The active head.
    active: Appended,
    is_appending: bool,
    /// Memory of the frozen head.
    frozen_bytes: usize,
    /// When the active head took the place of one that it goes on with.
    goes_on_since: Option<Duration>,
    work: Work,
    retry: Backoff,
    publish_retry: Backoff,
    has_sealed: bool,
    blocks: Blocks,
    is_opening: bool,
    opening_due: Duration,
    seals: Vec<(u64, Committed, Reply)>,
    compactions: Vec<(Committed, Reply)>,
    expiries: Vec<Reply>,
    /// Those that the expiry under way is for.
    expiring: Vec<Reply>,
    deletions: DeletionQueue,
    old: OldBlocks,
    /// Of which samples are to be downsampled.
    aged: AgedBlocks,
    excess: ExcessBlocks,
    /// Whether neighbours of one level are still to be merged.
    compaction_due: bool,
    turn: Turn,
    pace: Pace,
    /// When the pace was last told of the time.
    paced: Duration,
    expiry_due: Duration,
}

impl Serving {
    /// As a manifest says that this owner has published; no block is open.
    pub fn new(claimed: Claimed, rules: &Rules, now: Now) -> Self {
        let Claimed { version, manifest } = claimed;
        Self {
            steady: Steady::new(&manifest, now.wall, now.passed),
            version,
            active: Appended { indexed_offset: manifest.next_offset, since: None, bytes: 0 },
            manifest: Arc::new(manifest),
            is_appending: false,
            frozen_bytes: 0,
            goes_on_since: None,
            work: Work::Idle,
            retry: RETRY,
            publish_retry: PUBLISH_RETRY,
            has_sealed: false,
            blocks: Blocks::default(),
            is_opening: false,
            opening_due: now.passed,
            seals: Vec::new(),
            compactions: Vec::new(),
            expiries: Vec::new(),
            expiring: Vec::new(),
            deletions: DeletionQueue::default(),
            old: OldBlocks::default(),
            aged: AgedBlocks::default(),
            excess: ExcessBlocks::default(),
            compaction_due: false,
            turn: Turn::None,
            pace: Pace::default(),
            paced: now.passed,
            // Not at once: a claim comes with much to do, and nothing is older for it.
            expiry_due: now.passed.saturating_add(rules.config.tick),
        }
    }

    /// What readers see as of now.
    pub fn shown(&self) -> Shown {
        let missing = self.blocks.missing(&self.manifest);
        Shown { version: self.version, manifest: Arc::clone(&self.manifest), missing }
    }

    pub fn head_bytes(&self) -> HeadBytes {
        HeadBytes { active: self.active.bytes, frozen: self.frozen_bytes }
    }

    /// Whether this owner has published a seal: proof that the partition was its.
    pub fn has_sealed(&self) -> bool {
        self.has_sealed
    }

    pub fn takes_commands(&self, rules: &Rules, now: Now) -> bool {
        let full = self.active.bytes >= rules.config.head_max.to_usize() && !matches!(self.work, Work::Idle);
        !self.is_appending && !full && !now.advice.wait
    }

    /// Errors when this owner must stop.
    pub fn step(&mut self, rules: &Rules, now: Now, event: Event) -> Result<Vec<Effect>, AggregatorError> {
        let mut effects = match event {
            Event::Command(command) => self.command(rules, now, command)?,
            Event::Appended(appended) => {
                (self.active, self.is_appending) = (appended?, false);
                Vec::new()
            }
            Event::Sealed(sealed) => self.sealed(now, sealed)?,
            Event::Merged(merged) => self.merged(merged)?,
            Event::Rewritten(rewritten) => self.rewritten(rewritten)?,
            Event::Published(published) => self.published(now, published)?,
            Event::Unpublishable(error) => self.unpublishable(now, &Arc::new(error)),
            Event::Collected(collected) => self.collected(collected)?,
            Event::SharesCounted(counted) => self.shares_counted(now, counted),
            Event::Opened(tried) => {
                self.is_opening = false;
                self.blocks.opened(&self.manifest, tried);
                vec![Effect::Show(self.shown())]
            }
            Event::MergeTurn => {
                self.turn = Turn::Held;
                Vec::new()
            }
            Event::Lost(error) => return Err(error),
            Event::Tick => {
                self.deletions.check_finished = true;
                Vec::new()
            }
            Event::Assigned | Event::Revoked | Event::Claimed(_) => Vec::new(),
        };
        effects.extend(self.next_effects(rules, now));
        Ok(effects)
    }

    fn command(&mut self, rules: &Rules, now: Now, command: OwnerCommand) -> Result<Vec<Effect>, AggregatorError> {
        match command {
            OwnerCommand::Append(records) => {
                self.is_appending = true;
                return Ok(vec![Effect::Append(records, self.steady.now(now.passed))]);
            }
            OwnerCommand::OutOfRange { wanted, next, .. } if wanted > next => {
                return Err(AggregatorError::BusReplaced { place: rules.place.clone(), committed: wanted, next });
            }
            OwnerCommand::OutOfRange { first, .. } => {
                self.is_appending = true;
                return Ok(vec![Effect::TrimLost(first, self.steady.now(now.passed))]);
            }
            OwnerCommand::Seal(upto, reply) => self.seals.push((upto, Committed::default(), reply)),
            OwnerCommand::Compact(reply) => self.compactions.push((Committed::default(), reply)),
            OwnerCommand::Expire(reply) => self.expiries.push(reply),
            OwnerCommand::Delete(acceptance, reply) => self.deletions.accept(acceptance, reply),
            OwnerCommand::CancelDeletion(key, reply) => self.deletions.cancel(key, reply),
            OwnerCommand::ApplyDeletions(reply) => self.deletions.apply(reply),
        }
        Ok(Vec::new())
    }

    /// What is due now.
    pub fn next_effects(&mut self, rules: &Rules, now: Now) -> Vec<Effect> {
        let mut effects = self.answer_seals();
        if !self.is_opening && now.passed >= self.opening_due {
            let closed: Vec<BlockEntry> = self.blocks.closed(&self.manifest).cloned().collect();
            self.opening_due = now.passed.saturating_add(rules.config.tick);
            if !closed.is_empty() {
                self.is_opening = true;
                effects.push(Effect::Open(closed));
            }
        }
        match std::mem::replace(&mut self.work, Work::Idle) {
            Work::PublishAgain(change, at) if now.passed >= at => {
                self.work = Work::Publishing(change);
                effects.push(Effect::PublishAgain);
            }
            Work::SealAgain(at) if now.passed >= at && !self.is_appending => effects.push(self.seal(now)),
            Work::Idle => self.next_work(rules, now, &mut effects),
            other => self.work = other,
        }
        self.give_turn_back(&mut effects);
        effects
    }

    /// A turn that it has when it begins something else, or waits to try that again: others merge meanwhile.
    fn give_turn_back(&mut self, effects: &mut Vec<Effect>) {
        let is_used = match &self.work {
            Work::Idle | Work::Merging(_) | Work::Rewriting(_) => true,
            Work::Publishing(change) | Work::PublishAgain(change, _) => {
                matches!(change.of, ChangeOf::Merge | ChangeOf::Rewrite(_))
            }
            Work::Sealing | Work::SealAgain(_) | Work::Collecting(_) => false,
        };
        if !is_used && self.turn == Turn::Held {
            self.turn = Turn::None;
            effects.push(Effect::EndMergeTurn);
        }
    }

    /// Answers those whose offset is sealed.
    fn answer_seals(&mut self) -> Vec<Effect> {
        let committed_offset = self.manifest.next_offset;
        let (done, waiting) = std::mem::take(&mut self.seals).into_iter().partition(|(upto, ..)| *upto <= committed_offset);
        self.seals = waiting;
        let done: Vec<(u64, Committed, Reply)> = done;
        done.into_iter().map(|(_, committed, reply)| Effect::Answer(reply, Ok(committed))).collect()
    }

    fn next_work(&mut self, rules: &Rules, now: Now, effects: &mut Vec<Effect>) {
        if self.is_seal_due(rules, now) {
            effects.push(self.seal(now));
            return;
        }
        if self.is_before_unused(rules, now) {
            self.goes_on_since = None;
            effects.push(Effect::ForgetBefore);
        }
        if self.change_deletions(rules, now, effects) {
            return;
        }
        if (!self.expiries.is_empty() || now.passed >= self.expiry_due) && self.shares_known(rules, effects) {
            self.expiry_due = now.passed.saturating_add(rules.config.tick);
            self.expiring = std::mem::take(&mut self.expiries);
            self.expire(rules, now, effects);
            return;
        }
        if !self.compaction_due && self.compactions.is_empty() && !self.deletions.is_awaited() {
            return;
        }
        if let Some(publish) = self.finish_deletions(rules, now) {
            effects.push(publish);
            return;
        }
        match self.turn {
            Turn::None => {
                self.turn = Turn::Asked;
                effects.push(Effect::AskMergeTurn);
            }
            // While others merge, this one goes on sealing.
            Turn::Asked => {}
            Turn::Held => self.use_turn(rules, now, effects),
        }
    }

    /// What goes leaves first. Downsampling comes last: of samples that two blocks have, a merge drops one, and of aggregates it cannot.
    fn use_turn(&mut self, rules: &Rules, now: Now, effects: &mut Vec<Effect>) {
        let (rewrite, how) = if let Some((rewrite, hidden, least)) = self.next_without(rules, now) {
            (rewrite, How::Without { hidden, least })
        } else if let Some(run) = self.next_run(rules) {
            effects.push(Effect::Merge(run.clone()));
            self.work = Work::Merging(run);
            return;
        } else if let Some((rewrite, age)) = self.next_aged(rules) {
            (rewrite, How::Downsampled { resolutions: rules.resolutions.clone(), age })
        } else {
            (self.compaction_due, self.turn) = (false, Turn::None);
            effects.push(Effect::EndMergeTurn);
            let left = self.deletion_left(rules, now).map(Arc::new);
            effects.extend(self.answer_applications(left.as_ref()));
            effects.extend(self.compactions.drain(..).map(|(sum, reply)| Effect::Answer(reply, Ok(sum))));
            return;
        };
        effects.push(Effect::Rewrite { entry: rewrite.entry.clone(), how });
        self.work = Work::Rewriting(rewrite);
    }

    /// The next block to be written without some of its records, for a request first.
    fn next_without(&mut self, rules: &Rules, now: Now) -> Option<(Rewrite, Hidden, u64)> {
        let for_request = self.next_rewrite(rules, now).map(|(rewrite, hidden)| (rewrite, hidden, 0));
        for_request.or_else(|| self.next_old(rules, now)).or_else(|| self.next_excess())
    }

    fn is_seal_due(&self, rules: &Rules, now: Now) -> bool {
        // The head is whole only while nothing is appended to it.
        let Some(since) = self.active.since.filter(|_| !self.is_appending) else { return false };
        let age = self.steady.now(now.passed).saturating_sub(since);
        // A head that holds nothing but an offset is sealed by age as well: the bus waits for it.
        age >= nanos(rules.config.head_age_max)
            || now.advice.seal
            || self.active.bytes >= rules.config.head_max.to_usize()
            || self.seals.iter().any(|(upto, ..)| *upto <= self.active.indexed_offset)
            || self.deletions.needs_seal(self.manifest.next_offset, self.active.indexed_offset)
    }

    /// Whether the active head holds nothing for as long as a head may be old, or its memory is needed: what it knows of the one before
    /// would stay otherwise, for as long as nothing comes.
    fn is_before_unused(&self, rules: &Rules, now: Now) -> bool {
        let Some(since) = self.goes_on_since.filter(|_| !self.is_appending && self.active.since.is_none()) else { return false };
        now.advice.seal || now.passed.saturating_sub(since) >= rules.config.head_age_max
    }

    /// A head that is frozen already is sealed once more.
    fn seal(&mut self, now: Now) -> Effect {
        if self.frozen_bytes == 0 {
            self.frozen_bytes = self.active.bytes.max(1);
            (self.active.bytes, self.active.since) = (0, None);
            self.goes_on_since = Some(now.passed);
        }
        self.work = Work::Sealing;
        Effect::Seal { manifest: Arc::clone(&self.manifest), now: self.steady.now(now.passed) }
    }

    fn next_run(&self, rules: &Rules) -> Option<Vec<BlockEntry>> {
        let config = &rules.config;
        let (blocks, bytes, memory) = (config.compaction_blocks, config.compaction_block_max.to_u64(), rules.run_bytes_max);
        let limits = RunLimits { blocks, bytes, memory, all: !self.compactions.is_empty() };
        let can = |entry: &BlockEntry| self.blocks.can_merge(entry);
        // What is coarse would be taken for fine, and be looked at again.
        let due = self.aged.due();
        let parts = |a: &BlockEntry, b: &BlockEntry| {
            let is_other = |a: &BlockEntry, b: &BlockEntry| due.get(a.id.as_str()) != due.get(b.id.as_str());
            a.summary.resolution != b.summary.resolution || is_other(a, b) || self.manifest.parts(a, b)
        };
        next_run(&self.manifest.blocks, (can, parts), rules.merge_cost, limits).map(<[BlockEntry]>::to_vec)
    }

    fn publish(&mut self, manifest: Manifest, committed: Committed, of: ChangeOf) -> Effect {
        let manifest = Arc::new(manifest);
        self.work = Work::Publishing(Change { manifest: Arc::clone(&manifest), committed, of });
        self.publish_retry.reset();
        Effect::Publish { version: self.version + 1, manifest }
    }
}
