//! The store and the bus of a schedule, and what must hold of every version of the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_blocks::engine::BlockSummary;
use weir_blocks::manifest::{BlockEntry, Manifest};

use super::Seen;
use crate::AggregatorError;
use crate::machine::Now;
use crate::machine::tests::{fenced, store_fails};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Store {
    Answers,
    /// Nothing ends.
    Silent,
    /// Nothing is written.
    Full,
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
    pub(super) store: Store,
    pub(super) now: Now,
    pub(super) numbers: u64,
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let (random, numbers, seen) = (StdRng::seed_from_u64(seed), 0, Seen::new());
        let (versions, contents, now) = (BTreeMap::new(), BTreeMap::new(), Now::default());
        Self { random, versions, contents, first: 0, next: 0, expired: 0, store: Store::Answers, now, numbers, seen }
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
        let of = |blocks: &[BlockEntry]| blocks.iter().map(|entry| entry.id.clone()).collect::<BTreeSet<_>>();
        let (old, new) = (of(&before.blocks), of(&manifest.blocks));
        if new.is_subset(&old) && new.len() < old.len() {
            self.expired += old.difference(&new).map(|id| self.contents[id].len() as u64).sum::<u64>();
        }
        let mut offsets: Vec<u64> = new.iter().flat_map(|id| self.contents[id].clone()).collect();
        let stored = offsets.len() as u64;
        offsets.sort_unstable();
        offsets.dedup();
        assert_eq!(offsets.len() as u64, stored, "an offset is in two blocks");
        let lost: u64 = manifest.losses.iter().map(|loss| loss.next - loss.first).sum();
        assert_eq!(stored + lost + self.expired, manifest.next_offset, "each offset once: {manifest:?}");
    }

    pub(super) fn block(&mut self, offsets: Vec<u64>, (first_offset, next_offset): (u64, u64), level: u8) -> BlockEntry {
        let id = format!("{:08}", self.number());
        let summary = BlockSummary { records: offsets.len() as u64, last: self.now.newest, ..BlockSummary::default() };
        self.contents.insert(id.clone(), offsets);
        BlockEntry { id, size: 100, level, first_offset, next_offset, summary, ..BlockEntry::default() }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.passed += time;
        self.now.wall += i64::try_from(time.as_nanos()).expect("a short time");
        self.now.newest = self.now.newest.max(self.now.passed.as_nanos() as i64);
    }
}
