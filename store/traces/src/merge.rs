//! Several traces blocks as one: every trace in one place, every span once. Called by compaction.
//!
//! What is in memory is one group a block, one trace, and the output.

use std::sync::Arc;

use weir_model::select::NoBudget;

use super::block::TracesBlock;
use super::content::unique;
use super::counters::TracesCounters;
use super::parts::EveryTrace;
use super::schema::GroupEntry;
use super::state::joined;
use super::visible::{self, HiddenSpans};
use super::writer::BlockWriter;
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;
use weir_blocks::hidden::Hidden;
use weir_blocks::segment::{Merge, Segment, SegmentError};

/// Blocks oldest first.
pub(crate) fn merge(blocks: &[Arc<TracesBlock>], counters: &TracesCounters) -> Result<Vec<BuiltBlock>, StoreError> {
    merge_without(blocks, (&Hidden::default(), &mut 0), counters)
}

/// A block less its hidden spans; `None` when it has none.
pub(crate) fn rewrite(
    block: &Arc<TracesBlock>,
    without: &Hidden,
    counters: &TracesCounters,
) -> Result<Option<Vec<BuiltBlock>>, StoreError> {
    let (first, last) = block.starts();
    let may_hide = |(tenant, _): &(Arc<str>, _)| {
        visible::hidden_of_block(without, tenant, block).iter().any(|rows| rows.overlaps(first, last))
    };
    if !block.table()?.tenants.iter().any(may_hide) {
        return Ok(None);
    }
    let mut left_out = 0;
    let built = merge_without(std::slice::from_ref(block), (without, &mut left_out), counters)?;
    Ok((left_out > 0).then_some(built))
}

/// Spans of groups of which all are hidden, whatever their origin. A group is of one tenant.
pub(crate) fn count_hidden(block: &TracesBlock, hidden: &Hidden) -> Result<u64, StoreError> {
    let table = block.table()?;
    let mut sum = 0;
    for (tenant, segments) in &table.tenants {
        let rows = visible::hidden_of_block(hidden, tenant, block);
        let own = block.groups().iter().filter(|group| segments.contains(&group.segments.start));
        let all = |group: &&GroupEntry| !rows.is_empty() && rows.iter().all(|rows| rows.covers(group.start_min, group.start_max));
        sum += own.filter(all).map(|group| group.spans).sum::<u64>();
    }
    Ok(sum)
}

/// Counts the spans that it leaves out.
fn merge_without(
    blocks: &[Arc<TracesBlock>],
    (without, left_out): (&Hidden, &mut usize),
    counters: &TracesCounters,
) -> Result<Vec<BuiltBlock>, StoreError> {
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
        *left_out += HiddenSpans::new(without, &tenant).leave_out(&mut spans);
        if spans.is_empty() {
            continue;
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
