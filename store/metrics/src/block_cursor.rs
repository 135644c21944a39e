//! A block as a segment: the series that pass, in the order of their labels.

use std::rc::Rc;
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::select::Budget;

use super::block::MetricsBlock;
use super::extras_reader::ExtrasReader;
use super::group::GroupEntry;
use super::kept_labels::BlockLabels;
use super::plan::{MetricsPlan, Wanted};
use super::stored::StoredSeries;
use super::walk::Walk;
use weir_blocks::StoreError;
use weir_blocks::segment::{Entries, Segment};

impl Segment<MetricsPlan> for MetricsBlock {
    type Key = Labels;
    type Item<'a> = StoredSeries<'a>;

    fn may_match(&self, plan: &MetricsPlan) -> bool {
        let tenant = self.tenants().iter().any(|(own, _)| **own == *plan.tenant);
        if plan.wanted == Wanted::Exemplars {
            return tenant && self.extras().exemplars.iter().any(|entry| plan.overlaps(entry.times.0, entry.times.1));
        }
        tenant && self.groups().iter().any(|group| plan.overlaps(group.first, group.last))
    }

    fn cursor<'a>(self: Arc<Self>, plan: Arc<MetricsPlan>, budget: &'a dyn Budget) -> Entries<'a, Labels, StoredSeries<'a>>
    where
        Self: 'a,
        MetricsPlan: 'a,
    {
        let open = move || -> Entries<'a, Labels, StoredSeries<'a>> {
            let ids = match ids(&self, &plan) {
                Ok(ids) => ids,
                Err(error) => return Box::new(std::iter::once(Err(error.into()))),
            };
            let labels = BlockLabels::new(&self, &plan.tenant, ids.len());
            if plan.wanted == Wanted::Labels {
                return Box::new(ids.into_iter().map(move |id| Ok((labels.get(id), StoredSeries::Unread))));
            }
            if plan.wanted == Wanted::Exemplars {
                let extras = Rc::new(ExtrasReader::new(self, budget));
                let one = move |id| Ok((labels.get(id), StoredSeries::Exemplars(Rc::clone(&extras), id)));
                return Box::new(ids.into_iter().map(one));
            }
            let walk = Walk::new(self, ids, budget);
            Box::new(walk.map(move |series| series.map(|series| (labels.get(series.id), StoredSeries::Block(series)))))
        };
        Box::new(std::iter::once_with(open).flatten())
    }
}

impl MetricsBlock {
    /// How long before the range samples are of use, milliseconds: the last one before it may be so much older than it was before the block
    /// was downsampled. Which series there are is told by the range alone.
    pub(super) fn reach(&self, plan: &MetricsPlan) -> i64 {
        if matches!(plan.wanted, Wanted::Labels | Wanted::Exemplars) {
            return 0;
        }
        let reach = i64::from(self.resolution(&plan.tenant).coarsest) * 1000;
        let is_of_use = |group: &GroupEntry| plan.overlaps(group.first, group.last.saturating_add(reach));
        if reach > 0 && self.groups().iter().any(is_of_use) { reach } else { 0 }
    }
}

/// Series that pass and whose groups may have samples in the range, ascending by labels.
pub(super) fn ids(block: &MetricsBlock, plan: &MetricsPlan) -> Result<Vec<u32>, StoreError> {
    let found = block.matching(&plan.tenant, &plan.matchers)?;
    let mut ids: Vec<u32> = Vec::with_capacity(found.len() as usize);
    let mut found = found.iter().peekable();
    if plan.wanted == Wanted::Exemplars {
        let may_have = |id: &u32| block.extras().may_have_exemplars(*id, plan.start_ms, plan.end_ms);
        ids.extend(found.by_ref().filter(may_have));
    }
    while let Some(first) = found.peek().copied() {
        let group = &block.groups()[block.group_of(first)];
        let wanted = plan.overlaps(group.first, group.last);
        while let Some(id) = found.next_if(|id| *id < group.series_first + group.series) {
            ids.extend(wanted.then_some(id));
        }
    }
    if !plan.visible.is_all() {
        // What is left out is not kept as labels either.
        ids.retain(|id| plan.visible.passes(&block.make_labels(*id)));
    }
    // A block has names first: series with a label that sorts before `__name__`, or without a name, stand elsewhere there.
    if !plan.one_name && !block.is_in_label_order() {
        ids.sort_by(|a, b| block.pairs_of(*a).cmp(block.pairs_of(*b)));
    }
    Ok(ids)
}
