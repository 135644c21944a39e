//! Whether a span passes a search, by the columns of a block. Whole spans are asked by `TraceSelect::passes`.
//!
//! Pure. What `reader.rs` does with the traces found is its affair.

use weir_model::select::{SpanFacts, TraceSelect};

use super::block::TracesBlock;
use super::group::Group;
use super::schema::GroupEntry;

/// A search, prepared for one block.
pub(crate) struct BlockSearch<'a> {
    select: &'a TraceSelect,
    block: &'a TracesBlock,
    /// Numbers of the asked service and operation in the block.
    service: Option<u32>,
    operation: Option<u32>,
}

impl<'a> BlockSearch<'a> {
    /// `None` when the block cannot have a span that passes.
    pub(crate) fn new(select: &'a TraceSelect, block: &'a TracesBlock) -> Option<Self> {
        let id = |text: &Option<String>| match text {
            Some(text) => block.string_id(text).map(Some),
            None => Some(None),
        };
        Some(Self { select, block, service: id(&select.service)?, operation: id(&select.operation)? })
    }

    /// Whether a group may have a span that passes; false is certain.
    pub(crate) fn may_hold(&self, entry: &GroupEntry) -> bool {
        self.select.range.overlaps(entry.start_min, entry.start_max)
            && self.select.duration_min.is_none_or(|shortest| entry.duration_max >= shortest)
            && self.select.duration_max.is_none_or(|longest| entry.duration_min <= longest)
            && self.service.is_none_or(|service| entry.services.contains(&service))
    }

    /// Whether a span of a group passes, by its columns.
    pub(crate) fn passes(&self, group: &Group, at: usize) -> bool {
        if !self.select.range.contains(group.starts[at])
            || !self.select.duration_passes(group.durations[at])
            || self.operation.is_some_and(|name| name != group.names[at])
        {
            return false;
        }
        let origin = &self.block.origins()[group.origins[at] as usize].origin;
        if self.select.service.as_ref().is_some_and(|service| service != origin.service()) {
            return false;
        }
        let own = |name: &str, text: &str| {
            let mut list = group.attributes.list(at);
            list.any(|(own, value)| self.block.string(own) == name && value.matches_text(text))
        };
        let (kind, status) = group.kind(at);
        self.select.attributes_pass(&SpanFacts { origin, kind, status, own: &own })
    }
}
