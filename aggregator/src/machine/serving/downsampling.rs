//! Blocks that are written at a coarser resolution when all of them is older than an age that somebody has set for that.
//!
//! A block is looked at once for each such age, by the same clocks and no faster than blocks go that are past their retention: what is
//! downsampled does not come back. Whether that changes a block is told by its directory. It is published as a merge is.
//!
//! A block of which a request may still delete something waits until that is done: what is meant by time and is part of an aggregate could
//! not be taken out of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_blocks::manifest::BlockEntry;
use weir_blocks::resolutions::TenantResolutions;
use weir_model::limits::Overrides;

use super::Serving;
use super::deletions::{Cause, Rewrite};
use super::retention::OldBlocks;
use crate::machine::Rules;
use crate::machine::event::Now;

/// Blocks to be looked at.
#[derive(Default)]
pub(super) struct AgedBlocks {
    blocks: OldBlocks,
    /// By which they were looked at.
    overrides: Option<Arc<Overrides>>,
    /// What is to be said of those.
    never_finer: Vec<String>,
}

impl AgedBlocks {
    /// Lines up what is due; how many blocks are held back.
    pub fn line_up(
        &mut self,
        resolutions: &TenantResolutions,
        blocks: &[BlockEntry],
        elapsed: Duration,
        now: Now,
        all: bool,
    ) -> u64 {
        let (ages, overrides) = (resolutions.ages(), resolutions.overrides());
        let before = self.overrides.replace(Arc::clone(&overrides));
        if before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &overrides)) {
            self.never_finer = resolutions.never_finer();
            // A tenant may have got an age for which all blocks were looked at for the sake of others.
            if before.is_some() {
                self.blocks.look_again();
            }
        }
        let was = |entry: &BlockEntry, age: Duration| {
            entry.summary.resolution > 0 && entry.summary.resolution >= resolutions.coarsest(age)
        };
        self.blocks.line_up_known(blocks, &ages, now, was);
        self.blocks.line_up(blocks, &ages, elapsed, now, all)
    }

    /// Which blocks are due, for which age. They are not merged with those that are not: what is younger would keep them from it.
    pub fn due(&self) -> BTreeMap<&str, Duration> {
        self.blocks.queued()
    }

    /// Due blocks have been merged; what they became is not there yet.
    pub fn merged(&mut self, gone: &[BlockEntry], merged: &[BlockEntry]) {
        self.blocks.follow(gone, merged);
    }

    /// Tenants of whom it is to be said that their samples never have the finer resolution: once for each change of the overrides.
    pub fn take_never_finer(&mut self) -> Vec<String> {
        std::mem::take(&mut self.never_finer)
    }

    pub fn set_looked(&mut self, id: &str, age: Duration) {
        self.blocks.set_looked(id, age);
    }
}

impl Serving {
    /// The next block to be written at a coarser resolution, and the age that all of it is past.
    pub(super) fn next_aged(&mut self, rules: &Rules) -> Option<(Rewrite, Duration)> {
        // What a request means that waits to be accepted is not looked at: any block may be of it.
        if self.deletions.is_accepting() {
            return None;
        }
        let (blocks, deletions, manifest) = (&self.blocks, &self.deletions, &self.manifest);
        let is_meant = |entry: &BlockEntry| manifest.deletions.iter().any(|known| deletions.may_mean(known, entry));
        // One that was merged may not have been published.
        let is_there = |entry: &BlockEntry| manifest.blocks.iter().any(|own| own.id == entry.id);
        let can = |entry: &BlockEntry| blocks.can_rewrite(entry) && !is_meant(entry) && is_there(entry);
        let ages = rules.resolutions.ages();
        loop {
            let (entry, age) = self.aged.blocks.take(can)?;
            // The limits may have changed since it was lined up.
            if ages.contains(&age) {
                return Some((Rewrite { entry, cause: Cause::Aged(age) }, age));
            }
        }
    }
}
