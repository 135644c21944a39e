//! Several metrics blocks as one: every series once, its samples side by side. Called by compaction.
//!
//! The blocks' series are in one order, so their groups are read from front to back, each once: what is in memory is one
//! group a block (two where a series is the last of its group) and the output.

use std::sync::Arc;

use weir_model::select::{NoBudget, Reservation};

use super::block::MetricsBlock;
use super::counters::MetricsCounters;
use super::samples::{Dropped, Samples};
use super::schema::BlockOrder;
use super::stored::BlockSamples;
use super::walk::Walk;
use super::writer::{BlockWriter, Families};
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;
use weir_blocks::segment::{Merge, SegmentError};

/// Blocks oldest first: where two have another value for one millisecond, the older one's stays, and of two metadata the
/// newer one's.
pub(crate) fn merge(blocks: &[Arc<MetricsBlock>], counters: &MetricsCounters) -> Result<Vec<BuiltBlock>, StoreError> {
    let mut writer = BlockWriter::default();
    let mut dropped = Dropped::default();
    let mut merge = Merge::new(blocks.iter().map(all).collect());
    let (mut found, mut samples, mut held) = (Vec::new(), Samples::default(), Reservation::new(&NoBudget));
    while let Some(next) = merge.next_group(&mut found) {
        let (tenant, BlockOrder(labels)) = next.map_err(failed)?;
        samples.clear();
        for (_, series) in found.drain(..) {
            series.read(i64::MIN, i64::MAX, &mut samples, &mut held).map_err(failed)?;
        }
        let own = samples.settle();
        dropped.repeated += own.repeated;
        dropped.conflicting += own.conflicting;
        writer.push(tenant, &labels, &samples);
    }
    let mut families = Families::new();
    for (tenant, newer) in blocks.iter().flat_map(|block| block.families()) {
        families.entry(tenant.clone()).or_default().extend(newer.clone());
    }
    let built = writer.finish(&families);
    // Only now: a merge that failed dropped nothing.
    counters.add(dropped);
    Ok(built)
}

type Entry<'a> = Result<((&'a str, BlockOrder), BlockSamples<'static>), SegmentError>;

/// All series of a block, in its order.
fn all(block: &Arc<MetricsBlock>) -> impl Iterator<Item = Entry<'_>> {
    let mut tenants = block.tenants().iter().peekable();
    let walk = Walk::new(Arc::clone(block), (0..block.series()).collect(), &NoBudget);
    walk.map(move |series| {
        let series = series?;
        while tenants.next_if(|(_, range)| range.end <= series.id).is_some() {}
        let tenant = tenants.peek().map_or("", |(tenant, _)| tenant);
        Ok(((tenant, BlockOrder(block.make_labels(series.id))), series))
    })
}

fn failed(error: SegmentError) -> StoreError {
    match error {
        SegmentError::Unreadable(error) => error,
        SegmentError::Ended(error) => StoreError::engine("merge metrics", error),
    }
}
