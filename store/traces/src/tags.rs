//! What heads and blocks know of names and values. Called by `reader.rs`, which folds it: sorted lists of every block at once
//! would be more than the few that differ.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use weir_model::scope::TenantScope;
use weir_model::select::{Budget, ReadError};
use weir_model::span::{SpanRef, Value, ValueRef};
use weir_model::time::TimeRange;

use super::block::TracesBlock;
use super::group::Group;
use super::head::TracesHead;
use super::placed::HeadBatch;
use super::visible::{self, HiddenSpans, VisibleOrigins};
use weir_blocks::StoreError;
use weir_blocks::hidden::Hidden;

/// Whose names and values, when spans with them start, and what may be read for them.
pub(crate) struct TagSelect<'a> {
    pub own: &'a TenantScope,
    pub range: TimeRange,
    /// Of the head or block.
    pub hidden: Hidden,
    pub budget: &'a dyn Budget,
}

type Unreadable<'a> = dyn FnMut(&StoreError) + 'a;
type Ended = Result<(), ReadError>;

/// Service, name and kind.
pub type Operations = BTreeSet<(String, String, u8)>;
/// `span` or `resource`, and the name.
pub(crate) type AttributeNames = BTreeSet<(&'static str, String)>;

/// A head or a block. What cannot be read goes to `unreadable`. Blocks know when each name was seen first and last, not whether it
/// was in between, and of all spans: where some are not visible, spans are read instead. Errors when the budget is over.
pub(crate) trait Tags {
    fn add_operations(&self, select: &TagSelect<'_>, found: &mut Operations, unreadable: &mut Unreadable<'_>) -> Ended;
    fn add_attribute_names(&self, select: &TagSelect<'_>, found: &mut AttributeNames, unreadable: &mut Unreadable<'_>) -> Ended;
    /// Values of an attribute, of span or resource.
    fn add_attribute_values(
        &self,
        select: &TagSelect<'_>,
        name: &str,
        found: &mut Values,
        unreadable: &mut Unreadable<'_>,
    ) -> Ended;
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
    /// Batches of a head that may be seen and have a span in the range.
    fn batches(&self, head: &TracesHead) -> impl Iterator<Item = HeadBatch> {
        let batches = head.batches(&self.own.tenant).into_iter();
        let mut visible = VisibleOrigins::new(&self.own.visible);
        let all = head.is_selected();
        batches.filter(move |batch| {
            self.range.overlaps(batch.start_min, batch.start_max)
                && (all || visible.sees(&batch.origin))
                && self.spans(batch).next().is_some()
        })
    }

    fn spans<'b>(&self, batch: &'b HeadBatch) -> impl Iterator<Item = SpanRef<'b>> {
        let mut hidden = HiddenSpans::new(&self.hidden, &self.own.tenant);
        batch.spans.iter().filter(move |span| self.range.contains(span.start()) && !hidden.has(&batch.origin, span.start()))
    }

    /// Whether what a block says of all of its spans is true of those that are shown.
    fn sees_all(&self, block: &TracesBlock) -> bool {
        self.own.visible.is_all() && !block.is_touched(&self.hidden, &self.own.tenant)
    }

    /// Shows every span of a block that may be seen and starts in the range: its group and its place there. The budget is asked
    /// before each group.
    fn scan(&self, block: &TracesBlock, unreadable: &mut Unreadable<'_>, mut take: impl FnMut(&Group, usize)) -> Ended {
        let visible = visible::of_block(&self.own.visible, block);
        if visible.as_ref().is_some_and(|visible| !visible.contains(&true)) {
            return Ok(());
        }
        let hidden = visible::hidden_of_block(&self.hidden, &self.own.tenant, block);
        let own = match block.table() {
            Ok(table) => table.tenant(&self.own.tenant),
            Err(error) => {
                unreadable(&error);
                return Ok(());
            }
        };
        let groups = block.groups().iter().filter(|entry| own.contains(&entry.segments.start));
        for entry in groups.filter(|entry| self.range.overlaps(entry.start_min, entry.start_max)) {
            self.budget.check()?;
            self.budget.spend(entry.spans)?;
            self.budget.read(entry.stored_bytes())?;
            let group = match block.group(entry) {
                Ok(group) => group,
                Err(error) => {
                    unreadable(&error);
                    continue;
                }
            };
            let is_visible = |at: &usize| visible.as_ref().is_none_or(|visible| visible[group.origins[*at] as usize]);
            let is_shown = |at: &usize| !visible::is_hidden(&hidden, group.origins[*at], group.starts[*at]);
            let spans = (0..group.starts.len()).filter(|at| self.range.contains(group.starts[*at])).filter(is_shown);
            spans.filter(is_visible).for_each(|at| take(&group, at));
        }
        Ok(())
    }
}

impl Tags for TracesHead {
    fn add_operations(&self, select: &TagSelect<'_>, found: &mut Operations, _: &mut Unreadable<'_>) -> Ended {
        for batch in select.batches(self) {
            select.budget.check()?;
            // Borrowed first: a batch has many spans and few operations.
            let own: HashSet<(&str, u8)> = select.spans(&batch).map(|span| (span.name(), span.kind() as u8)).collect();
            let service = batch.origin.origin.service();
            found.extend(own.into_iter().map(|(name, kind)| (service.to_owned(), name.to_owned(), kind)));
        }
        Ok(())
    }

    fn add_attribute_names(&self, select: &TagSelect<'_>, found: &mut AttributeNames, _: &mut Unreadable<'_>) -> Ended {
        for batch in select.batches(self) {
            select.budget.check()?;
            let own: HashSet<&str> = select.spans(&batch).flat_map(|span| span.attributes().map(|(name, _)| name)).collect();
            found.extend(own.into_iter().map(|name| (SPAN, name.to_owned())));
            found.extend(batch.origin.origin.resource.iter().map(|(name, _)| (RESOURCE, name.clone())));
        }
        Ok(())
    }

    fn add_attribute_values(&self, select: &TagSelect<'_>, name: &str, found: &mut Values, _: &mut Unreadable<'_>) -> Ended {
        for batch in select.batches(self) {
            select.budget.check()?;
            let own = select.spans(&batch).flat_map(|span| span.attributes());
            own.filter(|(own, _)| *own == name).for_each(|(_, value)| found.add(&value));
            let resource = batch.origin.origin.resource.iter();
            resource.filter(|(own, _)| own == name).for_each(|(_, value)| found.add(&value.view()));
        }
        Ok(())
    }
}

impl Tags for TracesBlock {
    fn add_operations(&self, select: &TagSelect<'_>, found: &mut Operations, unreadable: &mut Unreadable<'_>) -> Ended {
        let text = |id: u32| self.string(id).to_owned();
        if select.sees_all(self) {
            let seen = self.operations(&select.own.tenant).filter(|(_, seen)| select.range.overlaps(seen.first, seen.last));
            found.extend(seen.map(|((_, service, name, kind), _)| (text(*service), text(*name), *kind)));
            return Ok(());
        }
        let mut own = HashSet::new();
        select.scan(self, unreadable, |group, at| {
            own.insert((group.origins[at], group.names[at], group.kind(at).0 as u8));
        })?;
        let service = |origin: u32| self.origins()[origin as usize].origin.service().to_owned();
        found.extend(own.into_iter().map(|(origin, name, kind)| (service(origin), text(name), kind)));
        Ok(())
    }

    fn add_attribute_names(&self, select: &TagSelect<'_>, found: &mut AttributeNames, unreadable: &mut Unreadable<'_>) -> Ended {
        if select.sees_all(self) {
            let all = self.attribute_names(&select.own.tenant);
            let seen = all.filter(|(.., seen)| select.range.overlaps(seen.first, seen.last));
            found.extend(seen.map(|(resource, name, _)| (if resource { RESOURCE } else { SPAN }, name.to_owned())));
            return Ok(());
        }
        let (mut names, mut origins) = (HashSet::new(), HashSet::new());
        select.scan(self, unreadable, |group, at| {
            names.extend(group.attributes.list(at).map(|(name, _)| name));
            origins.insert(group.origins[at]);
        })?;
        found.extend(names.into_iter().map(|name| (SPAN, self.string(name).to_owned())));
        let resources = origins.into_iter().flat_map(|origin| &self.origins()[origin as usize].origin.resource);
        found.extend(resources.map(|(name, _)| (RESOURCE, name.clone())));
        Ok(())
    }

    fn add_attribute_values(
        &self,
        select: &TagSelect<'_>,
        name: &str,
        found: &mut Values,
        unreadable: &mut Unreadable<'_>,
    ) -> Ended {
        let mut names = self.attribute_names(&select.own.tenant);
        if !names.any(|(_, own, seen)| own == name && select.range.overlaps(seen.first, seen.last)) {
            return Ok(());
        }
        let Some(wanted) = self.string_id(name) else { return Ok(()) };
        let mut origins = BTreeSet::new();
        select.scan(self, unreadable, |group, at| {
            origins.insert(group.origins[at]);
            group.attributes.values(at, wanted).for_each(|value| found.add(&value.view()));
        })?;
        for origin in origins {
            let resource = &self.origins()[origin as usize].origin.resource;
            resource.iter().filter(|(own, _)| own == name).for_each(|(_, value)| found.add(&value.view()));
        }
        Ok(())
    }
}
