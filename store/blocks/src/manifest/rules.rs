//! How a manifest may change. Pure: whoever publishes the result makes it true.

use std::collections::{BTreeMap, HashSet};

use weir_model::status::OwnerStatus;
use weir_model::wire::Kind;

use super::{BlockEntry, Loss, Manifest};
use crate::StoreError;

fn refuse(operation: &'static str, detail: String) -> StoreError {
    StoreError::Engine { operation, detail }
}

impl Manifest {
    /// Takes the blocks that hold everything of `[first, next)` (none when nothing was left of it after duplicates).
    /// Errors when `first` is not where the partition is sealed up to, or a block reaches outside: then offsets would
    /// be skipped or stored twice.
    pub fn seal(&mut self, first: u64, next: u64, blocks: Vec<BlockEntry>) -> Result<(), StoreError> {
        if first != self.next_offset || next < first {
            return Err(refuse(
                "seal",
                format!("offsets {first}..{next} do not follow the sealed ones, which end at {}", self.next_offset),
            ));
        }
        if let Some(block) = blocks.iter().find(|block| block.first_offset < first || block.next_offset > next) {
            let detail =
                format!("block {} ({}..{}) reaches outside of {first}..{next}", block.id, block.first_offset, block.next_offset);
            return Err(refuse("seal", detail));
        }
        self.insert(blocks);
        self.next_offset = next;
        Ok(())
    }

    /// Declares that the offsets from where the partition is sealed up to `next` are gone. Errors when that goes back.
    pub fn declare_loss(&mut self, next: u64, reason: impl Into<String>) -> Result<(), StoreError> {
        let first = self.next_offset;
        if next <= first {
            return Err(refuse("declare a loss", format!("up to offset {next}, but {first} is the next one")));
        }
        self.losses.push(Loss { first, next, reason: reason.into() });
        self.next_offset = next;
        Ok(())
    }

    /// Puts merged blocks in the place of those they were made of. Errors when one of those is not there, or when there
    /// are more records than before: a merge never doubles. That it loses nothing is for its caller to hold, because an
    /// engine may drop what two blocks both hold (a sample, a span).
    pub fn replace(&mut self, old: &[String], new: Vec<BlockEntry>) -> Result<(), StoreError> {
        let old_ids: HashSet<&String> = old.iter().collect();
        let (gone, kept): (Vec<_>, Vec<_>) = self.blocks.iter().cloned().partition(|block| old_ids.contains(&block.id));
        if gone.len() != old.len() {
            return Err(refuse("merge", format!("{} of {} merged blocks are in the manifest", gone.len(), old.len())));
        }
        let count = |blocks: &[BlockEntry]| blocks.iter().map(|block| block.summary.records).sum::<u64>();
        if count(&new) > count(&gone) {
            return Err(refuse("merge", format!("{} records became {}", count(&gone), count(&new))));
        }
        self.blocks = kept;
        self.insert(new);
        Ok(())
    }

    /// Forgets blocks (retention). What is not there is not missed.
    pub fn forget(&mut self, ids: &[String]) {
        let ids: HashSet<&String> = ids.iter().collect();
        self.blocks.retain(|block| !ids.contains(&block.id));
    }

    /// What this version says of its partition: nothing beyond what is sealed, and no heads.
    pub fn status(&self, kind: Kind, partition: u32, version: u64) -> OwnerStatus {
        OwnerStatus {
            topic: kind.topic().into(),
            partition,
            epoch: self.epoch,
            version,
            high_watermark: self.next_offset,
            bus_silent_seconds: None,
            indexed_offset: self.next_offset,
            committed_offset: self.next_offset,
            head_bytes: 0,
            head_records: 0,
            blocks: self.blocks.len() as u64,
            block_bytes: self.blocks.iter().map(|block| block.size).sum(),
            downsampled_bytes: self.downsampled_bytes(),
            blocks_opening: 0,
            blocks_unopened: 0,
            damage: None,
            duplicates: self.counters.duplicates,
            gaps: self.counters.gaps,
            quarantined: self.counters.quarantined,
            losses: self.losses.iter().map(|loss| (loss.first, loss.next)).collect(),
        }
    }

    fn downsampled_bytes(&self) -> BTreeMap<u32, u64> {
        let mut bytes = BTreeMap::new();
        for block in self.blocks.iter().filter(|block| block.summary.resolution > 0) {
            *bytes.entry(block.summary.resolution).or_default() += block.size;
        }
        bytes
    }

    /// What must hold of every manifest, however it came to be; a sentence when it does not.
    pub fn check(&self) -> Result<(), String> {
        let mut ids = HashSet::new();
        for block in &self.blocks {
            if block.first_offset > block.next_offset || block.next_offset > self.next_offset {
                let (first, next, end) = (block.first_offset, block.next_offset, self.next_offset);
                return Err(format!("block {} has offsets {first}..{next}, sealed is up to {end}", block.id));
            }
            if !ids.insert(&block.id) {
                return Err(format!("block {} is named twice", block.id));
            }
        }
        let mut end = 0;
        for loss in &self.losses {
            if loss.first < end || loss.next <= loss.first || loss.next > self.next_offset {
                return Err(format!("the loss of offsets {}..{} is out of order", loss.first, loss.next));
            }
            end = loss.next;
        }
        self.check_deletions()
    }

    fn insert(&mut self, blocks: Vec<BlockEntry>) {
        self.blocks.extend(blocks);
        // Of blocks of one merge, which have the same offsets, one may go on in the next merge and reach further: it is then the newer one.
        let place = |block: &BlockEntry| (block.first_offset, block.next_offset);
        self.blocks.sort_by(|a, b| (place(a), &a.id).cmp(&(place(b), &b.id)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewBlock;
    use super::*;

    fn entry(id: &str, new: NewBlock) -> BlockEntry {
        let NewBlock { first_offset, next_offset, level, quarantine } = new;
        BlockEntry { id: id.into(), first_offset, next_offset, level, quarantine, ..BlockEntry::default() }
    }

    #[test]
    fn what_reaches_further_is_newer() {
        let mut manifest = Manifest::default();
        for (id, first_offset) in [("a", 0), ("b", 10), ("c", 20)] {
            let next_offset = first_offset + 10;
            let new = NewBlock { first_offset, next_offset, ..NewBlock::default() };
            manifest.seal(first_offset, next_offset, vec![entry(id, new)]).unwrap();
        }
        let mut merge = |from: usize, merged: &[&str]| {
            let run = manifest.blocks[from..from + 2].to_vec();
            let new = NewBlock::of_run(&run);
            let old: Vec<String> = run.iter().map(|block| block.id.clone()).collect();
            manifest.replace(&old, merged.iter().map(|id| entry(id, new)).collect()).unwrap();
            let of = |block: &BlockEntry| (block.id.clone(), (block.first_offset, block.next_offset, block.level));
            manifest.blocks.iter().map(of).collect::<Vec<_>>()
        };
        let [large, small] = [("5", (0, 20, 1)), ("9", (0, 20, 1))].map(|(id, place)| (id.to_owned(), place));
        assert_eq!(merge(0, &["9", "5"])[..2], [large.clone(), small]);
        // What was small went on: its name sorts before that of the other, and its samples are newer.
        assert_eq!(merge(1, &["0"]), [large, ("0".to_owned(), (0, 30, 2))]);
        assert_eq!(merge(0, &["7"]), [("7".to_owned(), (0, 30, 3))]);
        // Whatever their order was.
        let run = [(0, 30), (0, 20), (10, 25)]
            .map(|(first_offset, next_offset)| entry("x", NewBlock { first_offset, next_offset, ..NewBlock::default() }));
        let new = NewBlock::of_run(&run[1..]);
        assert_eq!((new.first_offset, new.next_offset), (0, 25));
        assert_eq!(NewBlock::of_run(&run).next_offset, 30);
    }
}
