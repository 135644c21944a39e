//! Counts of lines and bytes by bucket, stream and level: from roll-ups where they are exact, else from the lines.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use weir_model::label::Labels;
use weir_model::select::{Budget, Coverage, LogVolume, ReadError};

use super::plan::LogsPlan;
use super::schema::{ROLLUP_NANOS, level_of, level_text};
use super::segment::Chunk;

/// Counts in the making.
pub(crate) struct Volume {
    step: i64,
    streams: Vec<Labels>,
    indexes: HashMap<Labels, usize>,
    counts: BTreeMap<(i64, usize, u8), (u64, u64)>,
}

impl Volume {
    /// In buckets of `step` nanoseconds, above 0.
    pub(crate) fn new(step: i64) -> Self {
        let (streams, indexes, counts) = Default::default();
        Self { step, streams, indexes, counts }
    }

    /// Counts the lines of a chunk that pass.
    pub(crate) fn add_chunk(
        &mut self,
        chunk: &Chunk,
        plan: &LogsPlan,
        budget: &dyn Budget,
        coverage: &mut Coverage,
    ) -> Result<(), ReadError> {
        let (meta, source) = (chunk.source.meta(), &chunk.source);
        let inside = plan.range.contains(meta.first) && plan.range.contains(meta.last);
        if plan.filters.is_empty() && inside && self.step % ROLLUP_NANOS == 0 && source.has_rollups() {
            budget.spend(meta.rollups.len() as u64)?;
            let stream = self.stream(&chunk.stream);
            for rollup in &meta.rollups {
                self.add(stream, rollup.bucket.saturating_mul(ROLLUP_NANOS), rollup.level, rollup.lines, rollup.bytes);
            }
        } else if chunk.may_match(plan)
            && let Some(lines) = source.open(budget, coverage)?
        {
            let stream = self.stream(&chunk.stream);
            let mut add = |time, level, bytes: usize| self.add(stream, time, level, 1, bytes as u64);
            let counted = if plan.filters.is_empty() {
                lines.measure(plan.range, &mut add)
            } else {
                let all = lines.visit(plan.range, &plan.filters, &mut |_, record| {
                    add(record.timestamp, level_of(record.severity), record.body.len());
                    ControlFlow::Continue(())
                });
                all.map(drop)
            };
            counted.unwrap_or_else(|error| coverage.miss(error.to_string()));
        }
        Ok(())
    }

    fn stream(&mut self, stream: &Labels) -> usize {
        if let Some(known) = self.indexes.get(stream) {
            return *known;
        }
        self.streams.push(stream.clone());
        self.indexes.insert(stream.clone(), self.streams.len() - 1);
        self.streams.len() - 1
    }

    fn add(&mut self, stream: usize, at: i64, level: u8, lines: u64, bytes: u64) {
        let bucket = at.div_euclid(self.step).saturating_mul(self.step);
        let counts = self.counts.entry((bucket, stream, level)).or_default();
        counts.0 += lines;
        counts.1 += bytes;
    }

    /// By bucket.
    pub(crate) fn finish(self) -> Vec<LogVolume> {
        let row = |((bucket, stream, level), (lines, bytes)): ((i64, usize, u8), (u64, u64))| LogVolume {
            stream: self.streams[stream].clone(),
            level: level_text(level),
            bucket,
            lines,
            bytes,
        };
        self.counts.into_iter().map(row).collect()
    }
}
