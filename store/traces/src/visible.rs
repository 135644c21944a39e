//! Which origins a scope sees: each is judged once. Called by searches, tags and whoever puts a trace together.

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::scope::Visible;

use super::block::TracesBlock;
use super::content::{KnownOrigin, OriginSpan};
use weir_blocks::hidden::{Hidden, HiddenRows};
use weir_model::time::UnixNanos;

/// Judged origins; one that was judged is held, so that none comes to lie where another was.
pub(crate) struct VisibleOrigins {
    visible: Visible,
    judged: HashMap<*const KnownOrigin, (Arc<KnownOrigin>, bool)>,
}

impl VisibleOrigins {
    pub(crate) fn new(visible: &Visible) -> Self {
        Self { visible: visible.clone(), judged: HashMap::new() }
    }

    pub(crate) fn sees(&mut self, origin: &Arc<KnownOrigin>) -> bool {
        if self.visible.is_all() {
            return true;
        }
        let judge = || (Arc::clone(origin), self.visible.passes(&origin.origin.labels()));
        self.judged.entry(Arc::as_ptr(origin)).or_insert_with(judge).1
    }

    pub(crate) fn retain(&mut self, spans: &mut Vec<OriginSpan>) {
        if !self.visible.is_all() {
            spans.retain(|own| self.sees(&own.origin));
        }
    }
}

/// What is hidden of each origin of a block, by number; none when nothing of the tenant is.
pub(crate) fn hidden_of_block(hidden: &Hidden, tenant: &str, block: &TracesBlock) -> Vec<HiddenRows> {
    if !block.is_touched(hidden, tenant) {
        return Vec::new();
    }
    block.origins().iter().map(|own| hidden.of(tenant, &own.origin.labels())).collect()
}

/// Whether a span of this origin and start is hidden.
pub(crate) fn is_hidden(hidden: &[HiddenRows], origin: u32, start: UnixNanos) -> bool {
    hidden.get(origin as usize).is_some_and(|rows| rows.has(start, b""))
}

/// Hidden spans of one tenant in one segment; what is said of an origin is kept.
pub(crate) struct HiddenSpans<'a> {
    hidden: &'a Hidden,
    tenant: &'a str,
    judged: HashMap<*const KnownOrigin, (Arc<KnownOrigin>, HiddenRows)>,
}

impl<'a> HiddenSpans<'a> {
    pub(crate) fn new(hidden: &'a Hidden, tenant: &'a str) -> Self {
        Self { hidden, tenant, judged: HashMap::new() }
    }

    pub(crate) fn has(&mut self, origin: &Arc<KnownOrigin>, start: UnixNanos) -> bool {
        if self.hidden.is_nothing() {
            return false;
        }
        let judge = || (Arc::clone(origin), self.hidden.of(self.tenant, &origin.origin.labels()));
        self.judged.entry(Arc::as_ptr(origin)).or_insert_with(judge).1.has(start, b"")
    }

    /// How many it leaves out.
    pub(crate) fn leave_out(&mut self, spans: &mut Vec<OriginSpan>) -> usize {
        let all = spans.len();
        if !self.hidden.is_nothing() {
            spans.retain(|own| !self.has(&own.origin, own.span().start()));
        }
        all - spans.len()
    }
}

/// Which origins of a block are visible, by number; `None` when all are. They are of all tenants: it says nothing by itself.
pub(crate) fn of_block(visible: &Visible, block: &TracesBlock) -> Option<Vec<bool>> {
    let judge = |own: &Arc<KnownOrigin>| visible.passes(&own.origin.labels());
    (!visible.is_all()).then(|| block.origins().iter().map(judge).collect())
}
