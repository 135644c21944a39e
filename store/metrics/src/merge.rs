//! Several metrics blocks as one: every series once, its samples side by side. Called by compaction.
//!
//! The blocks' series are in one order, so their groups are read from front to back, each once: what is in memory is one
//! group a block and the output.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::block::MetricsBlock;
use super::counters::MetricsCounters;
use super::group::Group;
use super::samples::{Dropped, Samples};
use super::schema::series_order;
use super::writer::{BlockWriter, Families};
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;

/// Blocks oldest first: where two have another value for one millisecond, the older one's stays, and of two metadata the
/// newer one's.
pub(crate) fn merge(blocks: &[Arc<MetricsBlock>], counters: &MetricsCounters) -> Result<Vec<BuiltBlock>, StoreError> {
    let mut writer = BlockWriter::default();
    let mut dropped = Dropped::default();
    let mut walks: Vec<Walk<'_>> = blocks.iter().map(|block| Walk { block, group: 0, unpacked: None }).collect();
    let tenants: BTreeSet<&str> = blocks.iter().flat_map(|block| block.tenants()).map(|(tenant, _)| tenant.as_str()).collect();
    for tenant in tenants {
        merge_tenant(tenant, &mut walks, &mut writer, &mut dropped)?;
    }
    let mut families = Families::new();
    for (tenant, newer) in blocks.iter().flat_map(|block| block.families()) {
        families.entry(tenant.clone()).or_default().extend(newer.clone());
    }
    let built = writer.finish(&families);
    // Only now: a merge that failed dropped nothing.
    counters.add(dropped);
    Ok(built.into_iter().collect())
}

fn merge_tenant(tenant: &str, walks: &mut [Walk<'_>], writer: &mut BlockWriter, dropped: &mut Dropped) -> Result<(), StoreError> {
    let mut next: Vec<std::ops::Range<u32>> = walks
        .iter()
        .map(|walk| walk.block.tenants().iter().find(|(own, _)| own == tenant).map_or(0..0, |(_, range)| range.clone()))
        .collect();
    loop {
        let heads = walks.iter().zip(&next).filter(|(_, range)| range.start < range.end);
        let smallest = heads.map(|(walk, range)| walk.block.labels(range.start)).min_by(|a, b| series_order(a, b)).cloned();
        let Some(labels) = smallest else { return Ok(()) };
        let mut samples = Samples::default();
        for (walk, range) in walks.iter_mut().zip(&mut next) {
            if range.start < range.end && *walk.block.labels(range.start) == labels {
                samples.extend(walk.samples(range.start)?);
                range.start += 1;
            }
        }
        let own = samples.settle();
        dropped.repeated += own.repeated;
        dropped.conflicting += own.conflicting;
        writer.push(tenant, &labels, &samples);
    }
}

/// A block that is read from front to back.
struct Walk<'a> {
    block: &'a MetricsBlock,
    group: usize,
    unpacked: Option<Group>,
}

impl Walk<'_> {
    /// All samples of a series; ids ascend from call to call.
    fn samples(&mut self, id: u32) -> Result<Samples, StoreError> {
        let groups = self.block.groups();
        while groups.get(self.group).is_some_and(|entry| id >= entry.series_first + entry.series) {
            self.group += 1;
            self.unpacked = None;
        }
        let missing = || StoreError::corrupt(self.block.path(), format!("no group holds series {id}"));
        let entry = groups.get(self.group).ok_or_else(missing)?;
        let group = match self.unpacked.take() {
            Some(group) => group,
            None => self.block.group(entry)?,
        };
        let samples = group.samples((id - entry.series_first) as usize, i64::MIN, i64::MAX);
        self.unpacked = Some(group);
        samples.map_err(|detail| StoreError::corrupt(self.block.path(), format!("samples of series {id}: {detail}")))
    }
}
