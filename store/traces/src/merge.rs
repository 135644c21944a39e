//! Several traces blocks as one: every trace in one place, every span once. Called by compaction.
//!
//! What is in memory is one group a block, one trace, and the output.

use std::sync::Arc;

use weir_model::select::NoBudget;

use super::block::TracesBlock;
use super::content::unique;
use super::counters::TracesCounters;
use super::parts::EveryTrace;
use super::state::joined;
use super::writer::BlockWriter;
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;
use weir_blocks::segment::{Merge, Segment, SegmentError};

/// Blocks oldest first.
pub(crate) fn merge(blocks: &[Arc<TracesBlock>], counters: &TracesCounters) -> Result<Vec<BuiltBlock>, StoreError> {
    let mut writer = BlockWriter::default();
    let plan = Arc::new(EveryTrace);
    let mut traces = Merge::new(blocks.iter().map(|block| Arc::clone(block).cursor(Arc::clone(&plan), &NoBudget)).collect());
    let (mut parts, mut repeated) = (Vec::new(), 0);
    while let Some(next) = traces.next_group(&mut parts) {
        let (tenant, id) = next.map_err(|error| match error {
            SegmentError::Unreadable(error) => error,
            SegmentError::Ended(ended) => StoreError::engine("merge blocks", ended),
        })?;
        let mut spans = Vec::new();
        for (_, part) in &parts {
            spans.extend(part.spans()?);
        }
        // The segments of one block came as one part.
        let arrivals = parts.chunk_by(|(a, _), (b, _)| a == b).filter_map(|own| own.first());
        let arrival = joined(arrivals.map(|(_, part)| part.arrival).collect()).unwrap_or_default();
        repeated += unique(&mut spans);
        writer.push(&tenant, id, spans, arrival);
    }
    let built = writer.finish();
    // Only now: a merge that failed dropped nothing.
    counters.repeated.inc_by(repeated);
    Ok(built)
}
