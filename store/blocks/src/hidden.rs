//! What of a segment may not be seen: records that a deletion means, and those that are past their retention. Readers leave them out,
//! and a rewrite of a block leaves them behind. Pure.
//!
//! A deletion hides what lies in blocks below its offset alone, so that what arrives after it stays: a partition seals its head before it
//! takes a deletion, and merges no blocks from both sides of the offset (`docs/formats/manifest.md`). Retention hides in heads as well.

use std::sync::Arc;

use weir_model::deletion::Deletion;
use weir_model::label::Labels;
use weir_model::time::UnixNanos;

use crate::manifest::{BlockEntry, Manifest, PendingDeletion};

/// How long records of one kind are kept, by whose they are.
pub trait Periods: Send + Sync {
    /// Nanoseconds; `None` for ever.
    fn period(&self, tenant: &str, labels: &Labels) -> Option<i64>;
    /// The shortest that any label set of the tenant has.
    fn shortest(&self, tenant: &str) -> Option<i64>;
}

/// From when on records are seen, at one moment.
#[derive(Clone)]
pub struct Horizon {
    pub now: UnixNanos,
    pub periods: Arc<dyn Periods>,
}

/// Of a head or block. Cheap to copy; the default hides nothing.
#[derive(Clone, Default)]
pub struct Hidden {
    deletions: Option<Arc<[Arc<Deletion>]>>,
    horizon: Option<Horizon>,
}

/// Of one label set.
#[derive(Clone, Default)]
pub struct HiddenRows {
    deletions: Vec<Arc<Deletion>>,
    /// What is earlier is hidden.
    before: Option<UnixNanos>,
}

impl Hidden {
    /// What these deletions mean.
    pub fn by(deletions: Vec<Arc<Deletion>>) -> Self {
        Self { deletions: (!deletions.is_empty()).then(|| deletions.into()), horizon: None }
    }

    /// And what is past its retention.
    #[must_use]
    pub fn with(self, horizon: Option<&Horizon>) -> Self {
        Self { horizon: horizon.cloned(), ..self }
    }

    pub fn is_nothing(&self) -> bool {
        self.deletions.is_none() && self.horizon.is_none()
    }

    /// Whether records of a tenant from `first` to `last`, inclusive, may be hidden; false is certain.
    pub fn touches(&self, tenant: &str, first: UnixNanos, last: UnixNanos) -> bool {
        let means = |deletion: &Arc<Deletion>| *deletion.tenant == *tenant && deletion.range.overlaps(first, last);
        let is_old =
            |horizon: &Horizon| horizon.periods.shortest(tenant).is_some_and(|period| first < horizon.now.saturating_sub(period));
        self.deletions.iter().flat_map(|deletions| &**deletions).any(means) || self.horizon.as_ref().is_some_and(is_old)
    }

    /// Whether a deletion means all of a tenant.
    pub fn is_whole(&self, tenant: &str) -> bool {
        self.deletions.iter().flat_map(|deletions| &**deletions).any(|one| *one.tenant == *tenant && one.is_whole())
    }

    /// What is hidden of a label set.
    pub fn of(&self, tenant: &str, labels: &Labels) -> HiddenRows {
        let all = self.deletions.iter().flat_map(|deletions| &**deletions);
        let period = |horizon: &Horizon| Some(horizon.now.saturating_sub(horizon.periods.period(tenant, labels)?));
        HiddenRows {
            deletions: all.filter(|deletion| deletion.is_of(tenant, labels)).cloned().collect(),
            before: self.horizon.as_ref().and_then(period),
        }
    }
}

impl HiddenRows {
    pub fn is_nothing(&self) -> bool {
        self.deletions.is_empty() && self.before.is_none()
    }

    /// Whether a record is hidden; `body` is empty but for log lines.
    pub fn has(&self, timestamp: UnixNanos, body: &[u8]) -> bool {
        self.before.is_some_and(|before| timestamp < before)
            || self.deletions.iter().any(|deletion| deletion.has(timestamp, body))
    }

    /// Whether a record from `first` to `last`, inclusive, may be hidden; false is certain.
    pub fn overlaps(&self, first: UnixNanos, last: UnixNanos) -> bool {
        self.before.is_some_and(|before| first < before)
            || self.deletions.iter().any(|deletion| deletion.range.overlaps(first, last))
    }

    /// Whether all from `first` to `last`, inclusive, are hidden; true is certain.
    pub fn covers(&self, first: UnixNanos, last: UnixNanos) -> bool {
        self.before.is_some_and(|before| last < before) || self.deletions.iter().any(|deletion| deletion.covers(first, last))
    }
}

/// The deletions of a manifest that are not processed.
#[derive(Default)]
pub struct HiddenBlocks(Vec<PendingDeletion>);

impl HiddenBlocks {
    pub fn of(manifest: &Manifest) -> Self {
        let pending = manifest.deletions.iter().filter(|deletion| !deletion.is_processed());
        Self(pending.cloned().collect())
    }

    /// What a block may not show.
    pub fn of_block(&self, entry: &BlockEntry) -> Hidden {
        let meant = self.0.iter().filter(|deletion| deletion.may_mean(entry));
        Hidden::by(meant.map(|deletion| Arc::clone(deletion.request.deletion())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use weir_model::deletion::{DeletionQuery, DeletionRequest};
    use weir_model::time::TimeRange;
    use weir_model::wire::Kind;

    use super::*;
    use crate::engine::BlockSummary;
    use crate::manifest::DeletionState;

    struct ByTenant(BTreeMap<&'static str, i64>);

    impl Periods for ByTenant {
        fn period(&self, tenant: &str, _: &Labels) -> Option<i64> {
            self.0.get(tenant).copied()
        }

        fn shortest(&self, tenant: &str) -> Option<i64> {
            self.period(tenant, &Labels::EMPTY)
        }
    }

    #[test]
    fn a_deletion_hides_in_blocks_below_its_offset() {
        let range = TimeRange { start: 10, end: 20 };
        let request = DeletionRequest::new(("t", Kind::Logs), DeletionQuery::default(), range, 0, true).unwrap();
        let deletion = PendingDeletion {
            request: Arc::new(request.into()),
            upto: 7,
            accepted: 0,
            partitions: 1,
            state: DeletionState::Received,
        };
        let manifest = Manifest { deletions: vec![deletion.clone()], ..Manifest::default() };
        let blocks = HiddenBlocks::of(&manifest);
        let hidden = |next_offset, first, last| {
            let summary = BlockSummary { first, last, ..BlockSummary::default() };
            !blocks.of_block(&BlockEntry { next_offset, summary, ..BlockEntry::default() }).is_nothing()
        };
        assert_eq!([hidden(7, 0, 10), hidden(8, 0, 10), hidden(3, 20, 30), hidden(3, 0, 9)], [true, false, false, false]);
        let processed =
            Manifest { deletions: vec![PendingDeletion { state: DeletionState::Processed, ..deletion }], ..Manifest::default() };
        assert!(HiddenBlocks::of(&processed).0.is_empty());
    }

    #[test]
    fn retention_hides_what_is_older_than_the_tenants_period() {
        let horizon = Horizon { now: 100, periods: Arc::new(ByTenant([("t", 30)].into())) };
        let hidden = Hidden::default().with(Some(&horizon));
        let rows = hidden.of("t", &Labels::EMPTY);
        assert_eq!([rows.has(69, b""), rows.has(70, b""), rows.covers(0, 69), rows.covers(0, 70)], [true, false, true, false]);
        assert_eq!([hidden.touches("t", 69, 90), hidden.touches("t", 70, 90), hidden.touches("u", 0, 0)], [true, false, false]);
        assert!(hidden.of("u", &Labels::EMPTY).is_nothing() && Hidden::default().is_nothing());
    }
}
