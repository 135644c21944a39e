//! How far a trace has come: open → quiescent → sealed, and reopened by a late span.
//!
//! Pure: heads and blocks say when spans came, the reader says what time it is.

use std::collections::HashSet;
use std::sync::Arc;

use weir_model::id::SpanId;
use weir_model::select::TraceState;
use weir_model::time::{SECOND, UnixNanos};

/// Tells the time, Unix nanoseconds: of arrivals, and of how long a trace has been idle.
pub type Clock = Arc<dyn Fn() -> UnixNanos + Send + Sync>;

/// Idle for so long, a trace with its root and all parents is quiescent.
const IDLE_COMPLETE: i64 = 2 * SECOND;
/// Idle for so long, any trace is.
const IDLE_ANY: i64 = 10 * SECOND;

/// When the spans of one part of a trace (a head's, a block's) came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Of the first span.
    pub first: UnixNanos,
    /// Of the last span.
    pub last: UnixNanos,
    /// Spans that came after the trace had become quiescent or was sealed, counted by occasion.
    pub revision: u32,
    /// Those of them that came after it was sealed.
    pub reopened: u32,
    /// Whether its root and all parents are there.
    pub complete: bool,
}

impl Arrival {
    /// Takes note of a span that comes now; `complete` is asked only when it matters.
    pub(crate) fn touch(&mut self, now: UnixNanos, complete: impl Fn() -> bool) {
        let idle = now.saturating_sub(self.last);
        if idle >= IDLE_ANY || (idle >= IDLE_COMPLETE && complete()) {
            self.revision = self.revision.saturating_add(1);
        }
        self.last = self.last.max(now);
    }

    /// This part of a trace, sealed, and one that came later. Whether the trace is complete is the caller's to say.
    pub(crate) fn then(self, later: Self) -> Self {
        let late = u32::from(self.complete || later.first.saturating_sub(self.last) >= IDLE_ANY);
        Self {
            first: self.first.min(later.first),
            last: self.last.max(later.last),
            revision: self.revision.saturating_add(later.revision).saturating_add(late),
            reopened: self.reopened.saturating_add(later.reopened).saturating_add(late),
            complete: later.complete,
        }
    }
}

/// Parts in the order of their arrival as one. `None` when there is none.
pub(crate) fn joined(mut parts: Vec<Arrival>) -> Option<Arrival> {
    parts.sort_by_key(|part| (part.first, part.last));
    parts.into_iter().reduce(Arrival::then)
}

/// State and revision of a trace out of its parts in blocks and in heads, with all of its spans.
pub(crate) fn state(blocks: Vec<Arrival>, heads: &[Arrival], complete: bool, now: UnixNanos) -> (TraceState, u32) {
    // A frozen and an active head are one part: between them nothing was sealed yet.
    let unsealed = heads.iter().copied().reduce(|a, b| Arrival {
        first: a.first.min(b.first),
        last: a.last.max(b.last),
        revision: a.revision.saturating_add(b.revision),
        reopened: 0,
        complete,
    });
    let sealed = joined(blocks);
    match (sealed, unsealed) {
        (None, None) => (TraceState::Open, 0),
        (Some(sealed), None) if sealed.reopened > 0 => (TraceState::Reopened, sealed.revision),
        (Some(sealed), None) => (TraceState::Sealed, sealed.revision),
        (Some(sealed), Some(unsealed)) if sealed.then(unsealed).reopened > 0 => {
            (TraceState::Reopened, sealed.then(unsealed).revision)
        }
        (sealed, Some(unsealed)) => {
            let idle = now.saturating_sub(unsealed.last);
            let quiet = idle >= IDLE_ANY || (idle >= IDLE_COMPLETE && complete);
            let revision = unsealed.revision.saturating_add(sealed.map_or(0, |sealed| sealed.revision));
            (if quiet { TraceState::Quiescent } else { TraceState::Open }, revision)
        }
    }
}

/// Whether a root and every named parent are among the spans, of each of which come the id and its parent's.
pub(crate) fn is_complete(spans: impl Iterator<Item = (SpanId, SpanId)> + Clone) -> bool {
    let ids: HashSet<SpanId> = spans.clone().map(|(id, _)| id).collect();
    let mut root = false;
    let resolved = spans.into_iter().all(|(_, parent)| {
        root |= parent.is_none();
        parent.is_none() || ids.contains(&parent)
    });
    resolved && root
}
