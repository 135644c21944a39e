//! A seal: the frozen head as blocks; by halves, and less what cannot be sealed, when that fails for the records (decision 0104).

use std::sync::Arc;

use weir_bus::Record;
use weir_store::StoreError;
use weir_store::engine::{Engine, Head};
use weir_store::manifest::{Loss, Manifest, NewBlock};

use super::{Committed, Committer, Entry, off_thread};
use crate::dedup::{Marks, Memory};
use crate::partition::{Cut, Poison, replay};
use crate::poison;

/// What a cut became.
struct Sealed<E: Engine> {
    entries: Vec<Entry<E>>,
    poison: Vec<Poison>,
}

/// Whether an error says that these records cannot be sealed, however often it is tried.
fn is_of_the_records(error: &StoreError) -> bool {
    matches!(error, StoreError::Engine { .. } | StoreError::Corrupt { .. })
}

impl<E: Engine> Committer<E> {
    pub(super) async fn seal(&mut self, cut: &Cut<E>) -> Result<Committed, StoreError> {
        let mut manifest = Manifest::clone(&self.manifest());
        let first = manifest.next_offset;
        let new = NewBlock { first_offset: first, next_offset: cut.next_offset, level: 0, quarantine: false };
        let whole = self.put_head(Arc::clone(&cut.head), new).await;
        let Sealed { mut entries, poison } = match whole {
            Ok(entries) => Sealed { entries, poison: cut.poison.clone() },
            Err(error) if is_of_the_records(&error) => {
                let (topic, partition) = (self.shared.topic, self.shared.partition);
                tracing::error!(topic, partition, %error, "what was taken cannot be sealed whole; it is sealed by halves");
                self.count_failure();
                self.seal_by_halves(cut).await?
            }
            Err(error) => return Err(error),
        };
        let committed =
            Committed { blocks: entries.len() as u64, records: entries.iter().map(|(entry, _)| entry.summary.records).sum() };
        if let Some(block) = poison::build(&poison) {
            let new = NewBlock { quarantine: true, ..new };
            let entry = self.store.put_block(new, block.summary.clone(), block.data.into_file(E::KIND)).await?;
            entries.push((entry, None));
        }
        manifest.seal(first, cut.next_offset, entries.iter().map(|(entry, _)| entry.clone()).collect())?;
        let reason = "the bus no longer had these offsets";
        manifest.losses.extend(cut.losses.iter().map(|(first, next)| Loss { first: *first, next: *next, reason: reason.into() }));
        cut.remembered.store(&mut manifest);
        manifest.counters.quarantined += poison.len() as u64;
        self.publish(manifest, entries).await?;
        self.metrics.sealed.get_or_create(&self.labels).inc_by(committed.blocks);
        // Counted when it is known that they are kept; those that could not be decoded were when they were taken.
        self.metrics.quarantined.get_or_create(&self.labels).inc_by((poison.len() - cut.poison.len()) as u64);
        Ok(committed)
    }

    async fn put_head(&self, head: Arc<E::Head>, new: NewBlock) -> Result<Vec<Entry<E>>, StoreError> {
        let _turn = self.budget.sealing().await;
        let mut built = off_thread(move || head.build()).await?;
        self.put(new, &mut built).await
    }

    /// Takes the records again, half by half, as a new owner would from the bus, down to those that cannot be sealed alone: these
    /// are quarantined. Nothing is published here. Errors are the store's.
    async fn seal_by_halves(&self, cut: &Cut<E>) -> Result<Sealed<E>, StoreError> {
        let mut sealed = Sealed { entries: Vec::new(), poison: Vec::new() };
        let mut marks = Marks::new(Memory::of(&self.config), &self.manifest());
        let half = cut.taken.len().div_ceil(2);
        // In offset order from the end: the marks of one piece are those after the piece before.
        let mut pieces = vec![half..cut.taken.len(), 0..half];
        while let Some(piece) = pieces.pop() {
            let Some(first) = cut.taken.get(piece.start).filter(|_| !piece.is_empty()) else { continue };
            let next_offset = cut.taken.get(piece.end).map_or(cut.next_offset, |taken| taken.record.offset);
            let new = NewBlock { first_offset: first.record.offset, next_offset, level: 0, quarantine: false };
            let (engine, partition, before) = (Arc::clone(&self.engine), self.shared.partition, marks.clone());
            let taken = cut.taken[piece.clone()].to_vec();
            let (head, poison, after) = off_thread(move || Ok(replay(&engine, partition, before, &taken))).await?;
            match self.put_head(head, new).await {
                Ok(entries) => {
                    sealed.entries.extend(entries);
                    sealed.poison.extend(poison);
                    marks = after;
                }
                Err(error) if is_of_the_records(&error) && piece.len() == 1 => {
                    let Record { offset, value, .. } = first.record.clone();
                    let (topic, partition, reason) = (self.shared.topic, self.shared.partition, error.to_string());
                    tracing::error!(topic, partition, offset, reason, "a bus record cannot be sealed and is put into quarantine");
                    sealed.poison.push(Poison { offset, reason, value });
                    marks = after;
                }
                Err(error) if is_of_the_records(&error) => {
                    let middle = piece.start + piece.len() / 2;
                    pieces.extend([middle..piece.end, piece.start..middle]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sealed)
    }
}
