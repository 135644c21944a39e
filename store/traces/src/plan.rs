//! A search, compiled: what heads and blocks are skipped by, and what it is in a block's numbers.

use std::sync::Arc;

use weir_model::scope::Visible;
use weir_model::select::{ReadError, SearchedSpan, TraceSelect};
use weir_model::span::{Origin, SpanKind, StatusCode};
use weir_model::time::UnixNanos;

use super::block::TracesBlock;
use super::content::KnownOrigin;
use super::group::Group;
use super::schema::GroupEntry;
use super::visible;
use weir_blocks::hidden::{Hidden, HiddenRows};

/// A search, compiled once for all heads and blocks.
pub(crate) struct TracesPlan {
    pub select: TraceSelect,
    pub tenant: Arc<str>,
    pub visible: Visible,
    /// Of the segment that is asked.
    pub hidden: Hidden,
    /// Names of which a span that passes has one, for each condition that looks at attributes alone.
    names: Vec<Vec<String>>,
}

impl TracesPlan {
    pub(crate) fn new(select: &TraceSelect) -> Result<Arc<Self>, ReadError> {
        let own = select.scope.one()?.clone();
        let names = select.attribute_names().map(|some| some.map(str::to_owned).collect()).collect();
        Ok(Arc::new(Self { select: select.clone(), tenant: own.tenant, visible: own.visible, hidden: Hidden::default(), names }))
    }

    /// The same of a segment of which some is hidden.
    pub(crate) fn hiding(plan: &Arc<Self>, hidden: Hidden) -> Arc<Self> {
        if hidden.is_nothing() {
            return Arc::clone(plan);
        }
        let (select, tenant, visible) = (plan.select.clone(), Arc::clone(&plan.tenant), plan.visible.clone());
        Arc::new(Self { select, tenant, visible, hidden, names: plan.names.clone() })
    }

    /// Whether spans of these starts and this origin may pass.
    pub(crate) fn may_pass(&self, start_min: UnixNanos, start_max: UnixNanos, origin: &KnownOrigin) -> bool {
        let own = |service: &String| service == origin.origin.service();
        self.select.range.overlaps(start_min, start_max) && self.select.service.as_ref().is_none_or(own)
    }

    /// Whether a group may have a span that passes, by times and durations.
    pub(crate) fn may_hold(&self, entry: &GroupEntry) -> bool {
        let select = &self.select;
        select.range.overlaps(entry.start_min, entry.start_max)
            && select.duration_min.is_none_or(|shortest| entry.duration_max >= shortest)
            && select.duration_max.is_none_or(|longest| entry.duration_min <= longest)
    }
}

/// A plan in the numbers of one block's strings.
pub(crate) struct BlockPlan {
    plan: Arc<TracesPlan>,
    block: Arc<TracesBlock>,
    /// Which origins; `None` when all.
    visible: Option<Vec<bool>>,
    /// Of each origin; empty when nothing is hidden.
    hidden: Vec<HiddenRows>,
    service: Option<u32>,
    operation: Option<u32>,
    /// Those attribute names of the plan that the block has.
    names: Vec<(String, u32)>,
}

impl BlockPlan {
    /// `None` when no span of the block passes: it lacks a text that each would have.
    pub(crate) fn new(plan: Arc<TracesPlan>, block: Arc<TracesBlock>) -> Option<Self> {
        let id = |text: &Option<String>| match text {
            Some(text) => block.string_id(text).map(Some),
            None => Some(None),
        };
        let (service, operation) = (id(&plan.select.service)?, id(&plan.select.operation)?);
        let visible = visible::of_block(&plan.visible, &block);
        if visible.as_ref().is_some_and(|visible| !visible.contains(&true)) {
            return None;
        }
        let hidden = visible::hidden_of_block(&plan.hidden, &plan.tenant, &block);
        let mut names = Vec::new();
        for any in &plan.names {
            let known = names.len();
            names.extend(any.iter().filter_map(|name| Some((name.clone(), block.string_id(name)?))));
            if names.len() == known {
                return None;
            }
        }
        // Names that are a span's own fields as well prune nothing, and may still be those of an attribute.
        for (name, _) in &plan.select.attributes {
            if !names.iter().any(|(own, _)| own == name)
                && let Some(number) = block.string_id(name)
            {
                names.push((name.clone(), number));
            }
        }
        Some(Self { plan, block, visible, hidden, service, operation, names })
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.plan.tenant
    }

    pub(crate) fn block(&self) -> &TracesBlock {
        &self.block
    }

    /// Whether a group may have a span that passes; false is certain.
    pub(crate) fn may_hold(&self, entry: &GroupEntry) -> bool {
        self.plan.may_hold(entry) && self.service.is_none_or(|service| entry.services.contains(&service))
    }

    /// Whether a span of a group passes.
    pub(crate) fn passes(&self, group: &Group, at: usize) -> bool {
        let is_visible = self.visible.as_ref().is_none_or(|visible| visible[group.origins[at] as usize]);
        let is_hidden = || visible::is_hidden(&self.hidden, group.origins[at], group.starts[at]);
        is_visible && !is_hidden() && self.plan.select.passes(&GroupSpan { plan: self, group, at })
    }
}

/// A span in the columns of a group.
struct GroupSpan<'a> {
    plan: &'a BlockPlan,
    group: &'a Group,
    at: usize,
}

impl SearchedSpan for GroupSpan<'_> {
    fn origin(&self) -> &Origin {
        &self.plan.block.origins()[self.group.origins[self.at] as usize].origin
    }

    fn start(&self) -> UnixNanos {
        self.group.starts[self.at]
    }

    fn duration(&self) -> i64 {
        self.group.durations[self.at]
    }

    fn kind(&self) -> SpanKind {
        self.group.kind(self.at).0
    }

    fn status(&self) -> StatusCode {
        self.group.kind(self.at).1
    }

    /// Asked only for the operation of the plan.
    fn is_named(&self, _: &str) -> bool {
        self.plan.operation == Some(self.group.names[self.at])
    }

    fn has(&self, name: &str, text: &str) -> bool {
        let number = self.plan.names.iter().find(|(own, _)| own == name).map(|(_, number)| *number);
        number.is_some_and(|number| self.group.attributes.values(self.at, number).any(|value| value.matches_text(text)))
    }
}
