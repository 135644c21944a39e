//! A head as a segment: its series as they were when it was opened, their rows shared.

use std::rc::Rc;
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::select::Budget;

use super::head::MetricsHead;
use super::plan::{MetricsPlan, Wanted};
use super::rows::PulledLabels;
use super::stored::{Found, HeadSamples, StoredSeries};
use weir_blocks::segment::{Entries, Segment, SegmentError};

/// Budgets are checked every so many series.
const CHECK_EVERY: usize = 256;

impl Segment<MetricsPlan> for MetricsHead {
    type Key = Labels;
    type Item<'a> = StoredSeries<'a>;

    fn may_match(&self, plan: &MetricsPlan) -> bool {
        self.has_tenant(&plan.tenant)
    }

    fn cursor<'a>(self: Arc<Self>, plan: Arc<MetricsPlan>, budget: &'a dyn Budget) -> Entries<'a, Labels, StoredSeries<'a>>
    where
        Self: 'a,
        MetricsPlan: 'a,
    {
        Box::new(HeadCursor { head: self, plan, budget, found: None, labels: PulledLabels::default(), pulled: 0 })
    }
}

struct HeadCursor<'a> {
    head: Arc<MetricsHead>,
    plan: Arc<MetricsPlan>,
    budget: &'a dyn Budget,
    /// From the first pull on.
    found: Option<Rc<Found<'a>>>,
    labels: PulledLabels,
    pulled: usize,
}

impl<'a> HeadCursor<'a> {
    fn open(&self) -> Result<Rc<Found<'a>>, SegmentError> {
        Ok(Rc::new(Found::new(self.head.matching(&self.plan)?, self.budget)?))
    }
}

impl<'a> Iterator for HeadCursor<'a> {
    type Item = Result<(Labels, StoredSeries<'a>), SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = match &self.found {
            Some(found) => Rc::clone(found),
            None => match self.open() {
                Ok(found) => Rc::clone(self.found.insert(found)),
                Err(error) => return Some(Err(error)),
            },
        };
        if self.pulled.is_multiple_of(CHECK_EVERY)
            && let Err(stopped) = self.budget.check()
        {
            return Some(Err(stopped.into()));
        }
        self.pulled += 1;
        let (at, labels) = self.labels.next(&found.series)?;
        let series = match self.plan.wanted {
            Wanted::Samples | Wanted::Newest | Wanted::Exemplars => StoredSeries::Head(HeadSamples { found, at }),
            Wanted::Labels => StoredSeries::Unread,
        };
        Some(Ok((labels, series)))
    }
}
