//! Distinct values of an attribute, out of heads and blocks. Called by `reader.rs`.

use std::collections::{BTreeMap, BTreeSet};

use weir_model::select::Coverage;
use weir_model::span::{Value, ValueRef};
use weir_model::time::TimeRange;

use super::block::TracesBlock;
use weir_blocks::StoreError;

/// Distinct values, ascending by text; only the first `limit` are kept.
pub(crate) struct Values {
    limit: usize,
    found: BTreeMap<(String, u8), Value>,
}

impl Values {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, found: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, value: &ValueRef<'_>) {
        // "1" and 1 read the same and are two values.
        let kind = match value {
            ValueRef::String(_) => 0,
            ValueRef::Bool(_) => 1,
            ValueRef::Int(_) => 2,
            ValueRef::Double(_) => 3,
            ValueRef::Json(_) => 4,
            ValueRef::Bytes(_) => 5,
        };
        self.found.entry((value.text().into_owned(), kind)).or_insert_with(|| value.to_value());
        if self.found.len() > self.limit {
            self.found.pop_last();
        }
    }

    pub(crate) fn finish(self) -> Vec<Value> {
        self.found.into_values().collect()
    }
}

/// Adds the values of an attribute, of span or resource, on the spans of a tenant that start within the range.
/// Errors when the block's id table cannot be read; a group that cannot be is in the coverage.
pub(crate) fn block_values(
    block: &TracesBlock,
    tenant: &str,
    name: &str,
    range: TimeRange,
    values: &mut Values,
    coverage: &mut Coverage,
) -> Result<(), StoreError> {
    let own = block.table()?.tenant(tenant);
    let Some(wanted) = block.string_id(name) else { return Ok(()) };
    let mut origins = BTreeSet::new();
    let groups = block.groups().iter().filter(|entry| own.contains(&entry.segments.start));
    for entry in groups.filter(|entry| range.overlaps(entry.start_min, entry.start_max)) {
        let group = match block.group(entry) {
            Ok(group) => group,
            Err(error) => {
                coverage.merge(Coverage { partitions: Vec::new(), missing: vec![error.to_string()] });
                continue;
            }
        };
        for at in (0..group.starts.len()).filter(|at| range.contains(group.starts[*at])) {
            origins.insert(group.origins[at]);
            group.attributes.list(at).filter(|(name, _)| *name == wanted).for_each(|(_, value)| values.add(&value.view()));
        }
    }
    for origin in origins {
        let resource = &block.origins()[origin as usize].origin.resource;
        resource.iter().filter(|(own, _)| own == name).for_each(|(_, value)| values.add(&value.view()));
    }
    Ok(())
}
