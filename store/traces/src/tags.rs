//! What heads and blocks know of names and values. Called by `reader.rs`, which folds it: sorted lists of every block at once
//! would be more than the few that differ.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use weir_model::span::{SpanRef, Value, ValueRef};
use weir_model::time::TimeRange;

use super::block::TracesBlock;
use super::head::TracesHead;
use super::placed::HeadBatch;
use weir_blocks::StoreError;

/// Whose names and values, and when spans with them start.
pub(crate) struct TagSelect<'a> {
    pub tenant: &'a str,
    pub range: TimeRange,
}

/// Service, name and kind.
pub type Operations = BTreeSet<(String, String, u8)>;
/// `span` or `resource`, and the name.
pub(crate) type AttributeNames = BTreeSet<(&'static str, String)>;

/// A head or a block. Blocks know when each name was seen first and last, not whether it was in between.
pub(crate) trait Tags {
    fn add_operations(&self, select: &TagSelect<'_>, found: &mut Operations);
    fn add_attribute_names(&self, select: &TagSelect<'_>, found: &mut AttributeNames);
    /// Values of an attribute, of span or resource; what cannot be read goes to `unreadable`.
    fn add_attribute_values(
        &self,
        select: &TagSelect<'_>,
        name: &str,
        found: &mut Values,
        unreadable: &mut dyn FnMut(&StoreError),
    );
}

const SPAN: &str = "span";
const RESOURCE: &str = "resource";

/// Distinct values, ascending by text; only the first `limit` are kept.
pub(crate) struct Values {
    limit: usize,
    found: BTreeMap<(String, u8), Value>,
}

impl Values {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, found: BTreeMap::new() }
    }

    fn add(&mut self, value: &ValueRef<'_>) {
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

impl TagSelect<'_> {
    /// Batches of a head that have a span in the range.
    fn batches(&self, head: &TracesHead) -> impl Iterator<Item = HeadBatch> {
        let batches = head.batches(self.tenant).into_iter();
        batches.filter(|batch| {
            self.range.overlaps(batch.start_min, batch.start_max)
                && batch.spans.iter().any(|span| self.range.contains(span.start()))
        })
    }

    fn spans<'b>(&self, batch: &'b HeadBatch) -> impl Iterator<Item = SpanRef<'b>> {
        batch.spans.iter().filter(|span| self.range.contains(span.start()))
    }
}

impl Tags for TracesHead {
    fn add_operations(&self, select: &TagSelect<'_>, found: &mut Operations) {
        for batch in select.batches(self) {
            // Borrowed first: a batch has many spans and few operations.
            let own: HashSet<(&str, u8)> = select.spans(&batch).map(|span| (span.name(), span.kind() as u8)).collect();
            let service = batch.origin.origin.service();
            found.extend(own.into_iter().map(|(name, kind)| (service.to_owned(), name.to_owned(), kind)));
        }
    }

    fn add_attribute_names(&self, select: &TagSelect<'_>, found: &mut AttributeNames) {
        for batch in select.batches(self) {
            let own: HashSet<&str> = select.spans(&batch).flat_map(|span| span.attributes().map(|(name, _)| name)).collect();
            found.extend(own.into_iter().map(|name| (SPAN, name.to_owned())));
            found.extend(batch.origin.origin.resource.iter().map(|(name, _)| (RESOURCE, name.clone())));
        }
    }

    fn add_attribute_values(&self, select: &TagSelect<'_>, name: &str, found: &mut Values, _: &mut dyn FnMut(&StoreError)) {
        for batch in select.batches(self) {
            let own = select.spans(&batch).flat_map(|span| span.attributes());
            own.filter(|(own, _)| *own == name).for_each(|(_, value)| found.add(&value));
            let resource = batch.origin.origin.resource.iter();
            resource.filter(|(own, _)| own == name).for_each(|(_, value)| found.add(&value.view()));
        }
    }
}

impl Tags for TracesBlock {
    fn add_operations(&self, select: &TagSelect<'_>, found: &mut Operations) {
        let seen = self.operations(select.tenant).filter(|(_, seen)| select.range.overlaps(seen.first, seen.last));
        let text = |id: u32| self.string(id).to_owned();
        found.extend(seen.map(|((_, service, name, kind), _)| (text(*service), text(*name), *kind)));
    }

    fn add_attribute_names(&self, select: &TagSelect<'_>, found: &mut AttributeNames) {
        let seen = self.attribute_names(select.tenant).filter(|(.., seen)| select.range.overlaps(seen.first, seen.last));
        found.extend(seen.map(|(resource, name, _)| (if resource { RESOURCE } else { SPAN }, name.to_owned())));
    }

    fn add_attribute_values(
        &self,
        select: &TagSelect<'_>,
        name: &str,
        found: &mut Values,
        unreadable: &mut dyn FnMut(&StoreError),
    ) {
        let (tenant, range) = (select.tenant, select.range);
        let mut names = self.attribute_names(tenant);
        if !names.any(|(_, own, seen)| own == name && range.overlaps(seen.first, seen.last)) {
            return;
        }
        let Some(wanted) = self.string_id(name) else { return };
        let own = match self.table() {
            Ok(table) => table.tenant(tenant),
            Err(error) => return unreadable(&error),
        };
        let mut origins = BTreeSet::new();
        let groups = self.groups().iter().filter(|entry| own.contains(&entry.segments.start));
        for entry in groups.filter(|entry| range.overlaps(entry.start_min, entry.start_max)) {
            let group = match self.group(entry) {
                Ok(group) => group,
                Err(error) => {
                    unreadable(&error);
                    continue;
                }
            };
            for at in (0..group.starts.len()).filter(|at| range.contains(group.starts[*at])) {
                origins.insert(group.origins[at]);
                group.attributes.values(at, wanted).for_each(|value| found.add(&value.view()));
            }
        }
        for origin in origins {
            let resource = &self.origins()[origin as usize].origin.resource;
            resource.iter().filter(|(own, _)| own == name).for_each(|(_, value)| found.add(&value.view()));
        }
    }
}
