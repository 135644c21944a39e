//! A seal: the frozen head as blocks; by halves, and less what cannot be sealed, when that fails for the records (decision 0104).

use std::sync::Arc;

use weir_blocks::engine::{Engine, Head};
use weir_blocks::manifest::{Manifest, NewBlock};
use weir_bus::Record;

use super::blocks::{BlockStore, NewBlocks, Written};
use crate::AggregatorError;
use crate::append::{Cut, Quarantined, replay};
use crate::dedup::DedupState;
use crate::machine::Sealed;
use crate::pool::Class;
use crate::quarantine;

impl<E: Engine> BlockStore<E> {
    /// Stores what was cut; no manifest names it yet. Errors are the store's.
    pub async fn seal(&self, cut: &Cut<E>, manifest: &Manifest) -> Result<(Sealed, NewBlocks<E>), AggregatorError> {
        let new = NewBlock { first_offset: manifest.next_offset, next_offset: cut.next_offset, level: 0, quarantine: false };
        let (mut written, quarantined) = match self.put_head(Arc::clone(&cut.head), new).await {
            Ok(written) => (written, cut.quarantined.clone()),
            Err(error) if error.is_of_the_records() => {
                let (topic, partition) = (&self.place.topic, self.place.partition);
                tracing::error!(topic, partition, %error, "what was appended cannot be sealed whole; it is sealed by halves");
                self.seal_by_halves(cut, manifest).await?
            }
            Err(error) => return Err(error),
        };
        if let Some(block) = quarantine::build(&quarantined) {
            let new = NewBlock { quarantine: true, ..new };
            let entry = self.manifests.put_block(new, block.summary.clone(), block.data.into_file(E::KIND)).await?;
            written.entries.push(entry);
        }
        let sealed = Sealed {
            entries: written.entries,
            next_offset: cut.next_offset,
            quarantined: quarantined.len() as u64,
            quarantined_late: (quarantined.len() - cut.quarantined.len()) as u64,
            losses: cut.losses.clone(),
            dedup: cut.dedup.clone(),
        };
        Ok((sealed, written.open))
    }

    async fn put_head(&self, head: Arc<E::Head>, new: NewBlock) -> Result<Written<E>, AggregatorError> {
        let _turn = self.budget.sealing().await;
        let built = self.work(Class::Seal, "build blocks", move || head.build()).await?;
        self.put(Class::Seal, new, built).await
    }

    /// Appends the records again, half by half, as a new owner would from the bus, down to those that cannot be sealed alone: these
    /// are quarantined. Errors are the store's.
    async fn seal_by_halves(&self, cut: &Cut<E>, manifest: &Manifest) -> Result<(Written<E>, Vec<Quarantined>), AggregatorError> {
        let (mut written, mut quarantined) = (Written::default(), Vec::new());
        let mut dedup = DedupState::new(self.dedup_limits, manifest);
        let half = cut.records.len().div_ceil(2);
        // In offset order from the end: the dedup state of one piece is that after the piece before.
        let mut pieces = vec![half..cut.records.len(), 0..half];
        while let Some(piece) = pieces.pop() {
            let Some(first) = cut.records.get(piece.start).filter(|_| !piece.is_empty()) else { continue };
            let next_offset = cut.records.get(piece.end).map_or(cut.next_offset, |kept| kept.record.offset);
            let new = NewBlock { first_offset: first.record.offset, next_offset, level: 0, quarantine: false };
            let (engine, partition, before) = (Arc::clone(&self.engine), self.place.partition, dedup.clone());
            let records = cut.records[piece.clone()].to_vec();
            let replayed = move || Ok(replay(&engine, partition, before, &records));
            let (head, not_decoded, after) = self.work(Class::Seal, "append records again", replayed).await?;
            match self.put_head(head, new).await {
                Ok(more) => {
                    written.extend(more);
                    quarantined.extend(not_decoded);
                    dedup = after;
                }
                Err(error) if error.is_of_the_records() && piece.len() == 1 => {
                    let Record { offset, value, .. } = first.record.clone();
                    let (topic, partition, reason) = (&self.place.topic, self.place.partition, error.to_string());
                    tracing::error!(topic, partition, offset, reason, "a bus record cannot be sealed and is put into quarantine");
                    quarantined.push(Quarantined { offset, reason, value });
                    dedup = after;
                }
                Err(error) if error.is_of_the_records() => {
                    let middle = piece.start + piece.len() / 2;
                    pieces.extend([middle..piece.end, piece.start..middle]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((written, quarantined))
    }
}
