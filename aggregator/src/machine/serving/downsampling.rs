//! Blocks that are written at a coarser resolution when all of them is older than an age that somebody has set for that.
//!
//! A block is looked at once for each such age, by the same clocks and no faster than blocks go that are past their retention: what is
//! downsampled does not come back. Whether that changes a block is told by its directory. It is published as a merge is.

use super::Serving;
use super::deletions::{Cause, Rewrite};
use crate::machine::Rules;

impl Serving {
    /// The next block to be written at a coarser resolution.
    pub(super) fn next_aged(&mut self, rules: &Rules) -> Option<Rewrite> {
        let blocks = &self.blocks;
        let (entry, age) = self.aged.take(|entry| blocks.can_rewrite(entry))?;
        // The limits may have changed since it was lined up.
        rules.resolutions.ages().contains(&age).then_some(Rewrite { entry, cause: Cause::Aged(age) })
    }
}
