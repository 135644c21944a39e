//! Several traces blocks as one: every trace in one place, every span once. Called by compaction.
//!
//! The blocks' traces are in one order, so their groups are read from front to back, each once: what is in memory is one
//! group a block, one trace, and the output.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::block::{Table, TracesBlock};
use super::content::{OriginSpan, unique};
use super::counters::TracesCounters;
use super::group::Group;
use super::state::{Arrival, is_complete, joined};
use super::writer::BlockWriter;
use weir_blocks::StoreError;
use weir_blocks::engine::BuiltBlock;

/// Blocks oldest first.
pub(crate) fn merge(blocks: &[Arc<TracesBlock>], counters: &TracesCounters) -> Result<Vec<BuiltBlock>, StoreError> {
    let mut writer = BlockWriter::default();
    let mut walks = Vec::with_capacity(blocks.len());
    for block in blocks {
        walks.push(Walk { table: block.table()?, block, segment: 0, group: 0, unpacked: None });
    }
    let tenants: BTreeSet<&str> = walks.iter().flat_map(|walk| &walk.table.tenants).map(|(tenant, _)| tenant.as_str()).collect();
    let mut repeated = 0;
    for tenant in tenants {
        loop {
            let smallest = walks.iter().filter_map(|walk| walk.next(tenant)).min();
            let Some(id) = smallest else { break };
            let (mut spans, mut arrivals) = (Vec::new(), Vec::new());
            for walk in &mut walks {
                let mut own: Option<Arrival> = None;
                while walk.next(tenant) == Some(id) {
                    own = Some(walk.table.arrivals[walk.segment]);
                    spans.extend(walk.take()?);
                }
                arrivals.extend(own);
            }
            repeated += unique(&mut spans);
            spans.sort_by_key(|own| own.span().start());
            let complete = is_complete(spans.iter().map(OriginSpan::ids));
            let arrival = Arrival { complete, ..joined(arrivals).unwrap_or_default() };
            writer.push(tenant, id, &spans, arrival);
        }
    }
    let built = writer.finish();
    // Only now: a merge that failed dropped nothing.
    counters.repeated.inc_by(repeated);
    Ok(built.into_iter().collect())
}

/// A block that is read from front to back.
struct Walk<'a> {
    block: &'a TracesBlock,
    table: &'a Table,
    /// The next segment.
    segment: usize,
    group: usize,
    unpacked: Option<Group>,
}

impl Walk<'_> {
    /// The next trace, when it is this tenant's.
    fn next(&self, tenant: &str) -> Option<weir_model::id::TraceId> {
        self.table.tenant(tenant).contains(&self.segment).then(|| self.table.ids[self.segment])
    }

    /// The spans of the next segment.
    fn take(&mut self) -> Result<Vec<OriginSpan>, StoreError> {
        let groups = self.block.groups();
        while groups.get(self.group).is_some_and(|entry| self.segment >= entry.segments.end) {
            self.group += 1;
            self.unpacked = None;
        }
        let missing = || StoreError::corrupt(self.block.path(), format!("no group holds segment {}", self.segment));
        let entry = groups.get(self.group).ok_or_else(missing)?;
        let group = match self.unpacked.take() {
            Some(group) => group,
            None => self.block.group(entry)?,
        };
        let spans = self.block.spans(&group, self.segment - entry.segments.start, self.table.ids[self.segment]);
        self.unpacked = Some(group);
        self.segment += 1;
        Ok(spans)
    }
}
