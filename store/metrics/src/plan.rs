//! A select, compiled once for all heads and blocks of a request.

use std::sync::Arc;

use weir_model::label::{MatchOp, Matcher, NAME};
use weir_model::scope::{TenantScope, Visible};
use weir_model::select::{MetricSelect, ReadError};

pub struct MetricsPlan {
    pub(super) tenant: Arc<str>,
    pub(super) visible: Visible,
    /// All must pass.
    pub(super) matchers: Vec<Matcher>,
    /// What is read: milliseconds since the Unix epoch, both inclusive.
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    /// Where the range begins that was asked for. Of what is before it the last sample is of use, if it is an aggregate that reaches it.
    pub(super) asked_ms: i64,
    /// Some block of it has aggregates.
    pub(super) is_coarse: bool,
    pub(super) wanted: Wanted,
    /// Whatever passes has one metric name: then a block has it in the order of labels.
    pub(super) one_name: bool,
}

/// What of a series a request has a use for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Samples,
    /// Samples of which the newest of a series is there: others may be left out.
    Newest,
    /// Nothing is unpacked.
    Labels,
    /// And no samples.
    Exemplars,
}

impl MetricsPlan {
    /// The same, with samples.
    pub(super) fn with_samples(&self) -> Arc<Self> {
        let (visible, matchers) = (self.visible.clone(), self.matchers.clone());
        Arc::new(Self { tenant: Arc::clone(&self.tenant), visible, matchers, wanted: Wanted::Samples, ..*self })
    }

    pub(super) fn new(select: &MetricSelect, wanted: Wanted) -> Result<Arc<Self>, ReadError> {
        let MetricSelect { scope, matchers, start_ms, end_ms } = select.clone();
        let TenantScope { tenant, visible } = scope.one()?.clone();
        let one_name = matchers.iter().any(|matcher| matcher.name == NAME && matcher.op == MatchOp::Equal);
        Ok(Arc::new(Self { tenant, visible, matchers, start_ms, end_ms, asked_ms: start_ms, is_coarse: false, wanted, one_name }))
    }

    /// The same, of so many milliseconds before the range as well.
    pub(super) fn reaching(self: Arc<Self>, reach_ms: i64) -> Arc<Self> {
        if reach_ms == 0 {
            return self;
        }
        let (visible, matchers, start_ms) = (self.visible.clone(), self.matchers.clone(), self.asked_ms.saturating_sub(reach_ms));
        Arc::new(Self { tenant: Arc::clone(&self.tenant), visible, matchers, start_ms, is_coarse: true, ..*self })
    }

    /// Whether samples from `first` to `last`, milliseconds and inclusive, may be in the range.
    pub(super) fn overlaps(&self, first: i64, last: i64) -> bool {
        first <= self.end_ms && last >= self.start_ms
    }
}
