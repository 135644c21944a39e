//! Which origins a scope sees: each is judged once. Called by searches, tags and whoever puts a trace together.

use std::collections::HashMap;
use std::sync::Arc;

use weir_model::scope::Visible;

use super::block::TracesBlock;
use super::content::{KnownOrigin, OriginSpan};

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

/// Which origins of a block are visible, by number; `None` when all are. They are of all tenants: it says nothing by itself.
pub(crate) fn of_block(visible: &Visible, block: &TracesBlock) -> Option<Vec<bool>> {
    let judge = |own: &Arc<KnownOrigin>| visible.passes(&own.origin.labels());
    (!visible.is_all()).then(|| block.origins().iter().map(judge).collect())
}
