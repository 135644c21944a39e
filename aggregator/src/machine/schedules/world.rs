//! The store and the bus of a schedule, and what must hold of every version of the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use weir_blocks::engine::BlockSummary;
use weir_blocks::manifest::{BlockEntry, DeletionKey, DeletionState, Manifest, PendingDeletion};
use weir_model::deletion::{DeletionQuery, DeletionRequest};
use weir_model::time::TimeRange;
use weir_model::wire::Kind;

use super::Seen;
use crate::AggregatorError;
use crate::machine::tests::{fenced, store_fails};
use crate::machine::{Acceptance, Committed, Now, OwnerCommand};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Store {
    Answers,
    /// Nothing ends.
    Silent,
    /// Nothing is written.
    Full,
}

/// A request that an owner was given.
pub(super) struct Asked {
    pub id: String,
    pub end: u64,
    pub is_cancel: bool,
    pub answer: oneshot::Receiver<Result<Committed, AggregatorError>>,
}

pub(super) struct World {
    pub(super) random: StdRng,
    /// Versions that exist, each with the nonce of who made it.
    pub(super) versions: BTreeMap<u64, (Manifest, u64)>,
    /// Offsets of each block.
    pub(super) contents: BTreeMap<String, Vec<u64>>,
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) expired: u64,
    /// What the tenant may keep: an offset is a byte of it, and one of somebody who may keep all.
    pub(super) bytes_max: Option<u64>,
    /// Offsets that were deleted from blocks.
    pub(super) deleted: BTreeSet<u64>,
    /// Requests on their way, with the bus's end when they were made.
    pub(super) asked: Vec<Asked>,
    /// Accepted, as their clients have heard.
    pub(super) accepted: BTreeSet<String>,
    pub(super) store: Store,
    pub(super) now: Now,
    pub(super) numbers: u64,
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let (random, numbers, seen) = (StdRng::seed_from_u64(seed), 0, Seen::new());
        let (versions, contents, now) = (BTreeMap::new(), BTreeMap::new(), Now::default());
        Self {
            random,
            versions,
            contents,
            first: 0,
            next: 0,
            expired: 0,
            bytes_max: None,
            deleted: BTreeSet::new(),
            asked: Vec::new(),
            accepted: BTreeSet::new(),
            store: Store::Answers,
            now,
            numbers,
            seen,
        }
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn newest(&self) -> (u64, Manifest) {
        self.versions.last_key_value().map(|(version, (manifest, _))| (*version, manifest.clone())).unwrap_or_default()
    }

    /// A conditional create, as the store does it, and what its caller hears.
    pub(super) fn create(&mut self, version: u64, manifest: &Manifest, nonce: u64) -> Result<(), AggregatorError> {
        if self.store == Store::Full || self.chance(10) {
            return Err(store_fails());
        }
        match self.versions.get(&version) {
            Some((_, theirs)) if *theirs != nonce => return Err(fenced()),
            Some(_) => {}
            None => {
                self.check(manifest);
                self.versions.insert(version, (manifest.clone(), nonce));
            }
        }
        if self.newest().0 > version {
            return Err(fenced());
        }
        if self.chance(10) {
            self.seen.insert("published unknown");
            return Err(store_fails());
        }
        Ok(())
    }

    fn check(&mut self, manifest: &Manifest) {
        manifest.check().expect("a manifest that holds together");
        let (_, before) = self.newest();
        assert!(manifest.epoch >= before.epoch && manifest.next_offset >= before.next_offset, "goes back");
        self.check_deletions(&before, manifest);
        let of = |blocks: &[BlockEntry]| blocks.iter().map(|entry| entry.id.clone()).collect::<BTreeSet<_>>();
        let (old, new) = (of(&before.blocks), of(&manifest.blocks));
        if new.is_subset(&old) && new.len() < old.len() {
            self.expired += old.difference(&new).map(|id| self.contents[id].len() as u64).sum::<u64>();
            let stored = old.iter().map(|id| self.contents[id].len() as u64).sum::<u64>();
            if self.bytes_max.is_some_and(|most| stored > most) {
                self.seen.insert("beyond bytes");
            }
        }
        let mut offsets: Vec<u64> = new.iter().flat_map(|id| self.contents[id].clone()).collect();
        let stored = offsets.len() as u64;
        offsets.sort_unstable();
        offsets.dedup();
        assert_eq!(offsets.len() as u64, stored, "an offset is in two blocks");
        let lost: u64 = manifest.losses.iter().map(|loss| loss.next - loss.first).sum();
        assert_eq!(
            stored + lost + self.expired + self.deleted.len() as u64,
            manifest.next_offset,
            "each offset once: {manifest:?}"
        );
    }

    /// What leaves a block is meant by a request that was accepted after it; what was accepted stays so until it is processed, and
    /// then nothing of it is left.
    fn check_deletions(&mut self, before: &Manifest, manifest: &Manifest) {
        let ids = |blocks: &[BlockEntry]| blocks.iter().map(|entry| entry.id.clone()).collect::<BTreeSet<_>>();
        let contents = &self.contents;
        let offsets = |ids: BTreeSet<&String>| ids.into_iter().flat_map(|id| contents[id].clone()).collect::<BTreeSet<u64>>();
        let (old, new) = (ids(&before.blocks), ids(&manifest.blocks));
        // A change that adds no block is an expiry, or a rewrite of which nothing is left.
        if new.difference(&old).next().is_some() {
            let (gone, added) = (offsets(old.difference(&new).collect()), offsets(new.difference(&old).collect()));
            for offset in gone.difference(&added) {
                let means = |known: &PendingDeletion| *offset < known.upto && known.request.deletion().has(*offset as i64, b"");
                let begun = manifest.deletions.iter().filter(|known| known.state == DeletionState::Begun);
                assert!(begun.into_iter().any(means), "offset {offset} is deleted and no request means it");
                self.deleted.insert(*offset);
            }
        }
        for id in &self.accepted {
            assert!(manifest.deletions.iter().any(|known| known.request.said().id == *id), "an accepted request is lost");
        }
        for known in manifest.deletions.iter().filter(|known| known.is_processed()) {
            self.seen.insert("processed");
            let left = manifest
                .blocks
                .iter()
                .filter(|entry| entry.next_offset <= known.upto)
                .flat_map(|entry| &self.contents[&entry.id]);
            let meant = left.filter(|offset| known.request.deletion().has(**offset as i64, b""));
            assert_eq!(meant.count(), 0, "processed, and something is left");
        }
    }

    /// A request for all offsets below some, which are times in the model.
    pub(super) fn deletion(&mut self) -> OwnerCommand {
        let end = self.random.random_range(1..self.next as i64 + 3);
        let (asked, can_cancel) = (DeletionQuery { query: self.number().to_string(), ..Default::default() }, self.chance(50));
        let request = DeletionRequest::new(("t", Kind::Logs), asked, TimeRange { start: 0, end }, 0, can_cancel);
        let request = request.expect("a request");
        let (reply, answer) = oneshot::channel();
        // Owners of the model are far behind the bus: most would never come to its end.
        let upto = self.random.random_range(self.newest().1.next_offset..=self.next);
        self.asked.push(Asked { id: request.id.clone(), end: upto, is_cancel: false, answer });
        OwnerCommand::Delete(Acceptance { request: Arc::new(request.into()), upto, partitions: 1 }, reply)
    }

    /// Of a request that was accepted, which may be gone from then on.
    pub(super) fn cancel(&mut self) -> OwnerCommand {
        let at = self.random.random_range(0..self.accepted.len().max(1));
        let id = self.accepted.iter().nth(at).cloned().unwrap_or_default();
        self.accepted.remove(&id);
        let (reply, answer) = oneshot::channel();
        let key = DeletionKey { tenant: "t".into(), id: id.clone() };
        let is_there = self.newest().1.deletion(&key).is_some();
        self.asked.extend(is_there.then_some(Asked { id, end: 0, is_cancel: true, answer }));
        OwnerCommand::CancelDeletion(key, reply)
    }

    /// Hears of what became of requests.
    pub(super) fn hear(&mut self) {
        let newest = self.newest().1;
        for mut asked in std::mem::take(&mut self.asked) {
            match asked.answer.try_recv() {
                Ok(Ok(_)) if asked.is_cancel => {
                    self.seen.insert("cancelled");
                }
                Ok(Ok(_)) => {
                    let key = DeletionKey { tenant: "t".into(), id: asked.id.clone() };
                    let known = newest.deletion(&key).expect("what is accepted is in the manifest");
                    assert!(known.upto >= asked.end, "what was on the bus is meant");
                    self.seen.insert("accepted");
                    self.accepted.insert(asked.id);
                }
                Err(TryRecvError::Empty) => self.asked.push(asked),
                Ok(Err(_)) | Err(TryRecvError::Closed) => {}
            }
        }
    }

    pub(super) fn block(&mut self, offsets: Vec<u64>, (first_offset, next_offset): (u64, u64), level: u8) -> BlockEntry {
        let id = format!("{:08}", self.number());
        let records = offsets.len() as u64;
        let summary = BlockSummary { records, last: self.now.newest, ..BlockSummary::default() };
        self.contents.insert(id.clone(), offsets);
        BlockEntry { id, size: 2 * records, level, first_offset, next_offset, summary, ..BlockEntry::default() }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.passed += time;
        self.now.wall += i64::try_from(time.as_nanos()).expect("a short time");
        self.now.newest = self.now.newest.max(self.now.passed.as_nanos() as i64);
    }
}
