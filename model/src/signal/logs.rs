//! Log lines as a signal: placed by source, split where the bytes are about half.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::{Signal, parts};
use crate::log::LogBatch;
use crate::wire::{self, Budget, Kind, Mark, Section, WireError};

/// Timestamp, length, severity and their like of a line.
const LINE_WEIGHT: usize = 24;

impl Signal for LogBatch {
    const KIND: Kind = Kind::Logs;

    fn records(&self) -> u64 {
        self.len() as u64
    }

    fn active(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.stream.process_hash())
    }

    fn encode(&self, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
        wire::logs::encode(self, budget, out)
    }

    fn decode(body: &[u8], records: u32, budget: &mut Budget) -> Result<Self, WireError> {
        wire::logs::decode(body, records, budget)
    }

    fn weight(&self) -> usize {
        let stream: usize = self.stream.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        self.body_bytes() + LINE_WEIGHT * self.len() + stream + self.attributes().bytes() + size_of_val(&*self.sets)
    }

    fn route(section: Section<Self>, partition_of: impl Fn(u64) -> u32) -> Vec<(u32, Section<Self>)> {
        let mut hash = Xxh3::new();
        hash.update(section.header.tenant.as_bytes());
        hash.update(&[0xff]);
        hash.update(section.header.source.as_bytes());
        vec![(partition_of(hash.digest()), section)]
    }

    /// With sequences: `[first, s)` and `[s, last)`, where `s` is the sequence of the last line of the first part.
    fn split(section: Section<Self>) -> Result<[Section<Self>; 2], Section<Self>> {
        let batch = &section.batch;
        if batch.len() < 2 {
            return Err(section);
        }
        let half = middle(batch);
        let mut halves = [Self::new(batch.stream.clone()), Self::new(batch.stream.clone())];
        for (i, record) in batch.iter().enumerate() {
            halves[usize::from(i >= half)].push(record);
        }
        Ok(parts(&section.header, Some(batch.get(half - 1).sequence), halves))
    }

    fn trim(self: &Arc<Self>, _: &Mark, stored: u64) -> Arc<Self> {
        if self.sequences.iter().all(|sequence| *sequence > stored) { Arc::clone(self) } else { Arc::new(self.after(stored)) }
    }
}

/// The line at which the bytes are about half: lines are of very different lengths. Between 1 and `len - 1`.
fn middle(batch: &LogBatch) -> usize {
    let mut bytes = 0;
    let half = batch.iter().position(|record| {
        bytes += record.body.len() + LINE_WEIGHT;
        bytes * 2 >= batch.body_bytes() + LINE_WEIGHT * batch.len()
    });
    half.unwrap_or(0).clamp(1, batch.len() - 1)
}
