//! Samples as a signal: placed by target, split by rows while there are several, then by columns.

use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::{Signal, part, parts};
use crate::metric::{MetricBatch, MetricRow, Schema};
use crate::wire::{self, Budget, Kind, Mark, Section, SectionHeader, WireError};

impl Signal for MetricBatch {
    const KIND: Kind = Kind::Metrics;

    fn records(&self) -> u64 {
        self.rows.len() as u64 * self.schema.series.len() as u64
    }

    fn active(&self) -> impl Iterator<Item = u64> {
        let target = self.target.process_hash().rotate_left(1);
        self.schema.series.iter().map(move |series| target ^ series.process_hash())
    }

    fn encode(&self, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
        wire::metrics::encode(self, budget, out)
    }

    fn decode(body: &[u8], records: u32, budget: &mut Budget) -> Result<Self, WireError> {
        wire::metrics::decode(body, records, budget)
    }

    fn weight(&self) -> usize {
        self.schema.weight() + self.rows.iter().map(|row| 8 + 8 * row.values.len()).sum::<usize>()
    }

    fn route(section: Section<Self>, partition_of: impl Fn(u64) -> u32) -> Vec<(u32, Section<Self>)> {
        let mut hash = Xxh3::new();
        hash.update(section.header.tenant.as_bytes());
        hash.update(&section.batch.target.stable_hash().to_le_bytes());
        vec![(partition_of(hash.digest()), section)]
    }

    fn split(section: Section<Self>) -> Result<[Section<Self>; 2], Section<Self>> {
        if section.batch.records() < 2 {
            return Err(section);
        }
        Ok(if section.batch.rows.len() > 1 { by_rows(&section) } else { by_columns(&section) })
    }

    /// A sampler's rows are told apart by their number; pushed rows have none.
    fn trim(self: &Arc<Self>, mark: &Mark, stored: u64) -> Arc<Self> {
        let Mark::Sequence { first, .. } = mark else { return Arc::clone(self) };
        let stored = usize::try_from(stored.saturating_sub(*first)).unwrap_or(usize::MAX).min(self.rows.len());
        Arc::new(self.with_rows(self.rows[stored..].to_vec()))
    }
}

impl MetricBatch {
    fn with_rows(&self, rows: Vec<MetricRow>) -> Self {
        Self { target: self.target.clone(), schema: Arc::clone(&self.schema), rows }
    }

    fn columns(&self, schema: &Arc<Schema>, range: Range<usize>) -> Self {
        let row = |row: &MetricRow| MetricRow::new(row.timestamp, row.values[range.clone()].to_vec());
        Self { target: self.target.clone(), schema: Arc::clone(schema), rows: self.rows.iter().map(row).collect() }
    }
}

fn by_rows(section: &Section<MetricBatch>) -> [Section<MetricBatch>; 2] {
    let batch = &section.batch;
    let half = batch.rows.len() / 2;
    let at = match section.header.mark {
        Mark::Sequence { first, .. } => Some(first + half as u64),
        Mark::Digest(_) => None,
    };
    let (first, second) = batch.rows.split_at(half);
    parts(&section.header, at, [batch.with_rows(first.to_vec()), batch.with_rows(second.to_vec())])
}

/// The second half goes under the source `<source>#1`, because one row number cannot be two positions of one source.
fn by_columns(section: &Section<MetricBatch>) -> [Section<MetricBatch>; 2] {
    let batch = &section.batch;
    let [first, second] = batch.schema.halves();
    let (half, all) = (first.series.len(), batch.schema.series.len());
    let source = match section.header.mark {
        Mark::Sequence { .. } => format!("{}#1", section.header.source),
        Mark::Digest(_) => section.header.source.clone(),
    };
    let other = SectionHeader { source, ..section.header.clone() };
    [part(&section.header, 0, None, batch.columns(first, 0..half)), part(&other, 1, None, batch.columns(second, half..all))]
}
