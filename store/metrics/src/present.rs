//! Which series are there at an instant: those whose newest sample is no staleness marker. A head says it of its newest row; a block
//! is read where no head has anything newer of a series. Called by [`super::reader`], where nothing is hidden.

use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::metric::is_stale;
use weir_model::select::{Budget, Coverage, ReadError, Reservation, TakeLabels};

use super::aggregates;
use super::block::MetricsBlock;
use super::block_cursor;
use super::head::MetricsHead;
use super::kept_labels::BlockLabels;
use super::plan::MetricsPlan;
use super::samples::Samples;
use super::stored::{Found, Spending, StoredSeries};
use super::walk::Way;
use weir_blocks::segment::{Merge, SegmentError};

/// Budgets are checked every so many series.
const CHECK_EVERY: usize = 256;

/// The series of a segment that pass, ascending by labels.
pub(super) enum Source<'a> {
    Head(Found<'a>),
    Block(Arc<MetricsBlock>, Vec<u32>, BlockLabels),
}

/// Labels and the place in the source: of a block, its number of the series.
type Entries<'s> = Box<dyn Iterator<Item = Result<(Labels, u32), SegmentError>> + 's>;

impl<'a> Source<'a> {
    pub(super) fn of_head(head: &MetricsHead, plan: &MetricsPlan, budget: &'a dyn Budget) -> Result<Self, ReadError> {
        Ok(Self::Head(Found::new(head.matching(plan)?, budget)?))
    }

    /// `None` of one that cannot be read, which `coverage` says then.
    pub(super) fn of_block(block: Arc<MetricsBlock>, plan: &MetricsPlan, coverage: &mut Coverage) -> Option<Self> {
        match block_cursor::ids(&block, plan) {
            Ok(ids) => {
                let labels = BlockLabels::new(&block, &plan.tenant, ids.len());
                Some(Self::Block(block, ids, labels))
            }
            Err(error) => {
                coverage.miss(error.to_string());
                None
            }
        }
    }

    fn series(&self) -> Entries<'_> {
        match self {
            Self::Head(found) => Box::new(found.series.with_labels().map(|(at, labels)| Ok((labels, at as u32)))),
            Self::Block(_, ids, labels) => Box::new(ids.iter().map(|id| Ok((labels.get(*id), *id)))),
        }
    }
}

/// The newest sample of a series, as far as it is known.
#[derive(Clone, Copy)]
struct Newest {
    at: i64,
    source: usize,
    is_present: bool,
}

impl Newest {
    /// Of one millisecond the first source's stays.
    fn or(known: Option<Self>, other: Self) -> Self {
        known.filter(|known| (known.at, other.source) >= (other.at, known.source)).unwrap_or(other)
    }
}

/// Gives the labels of series that are there, ascending.
pub(super) fn each(
    sources: &[Source<'_>],
    plan: &MetricsPlan,
    budget: &dyn Budget,
    coverage: &mut Coverage,
    take: TakeLabels<'_>,
) -> Result<(), ReadError> {
    let mut reading = Reading::new(sources, plan, budget);
    let mut merge = Merge::new(sources.iter().map(Source::series).collect());
    let (mut found, mut passed) = (Vec::new(), 0_usize);
    while let Some(next) = merge.next_group(&mut found) {
        if passed.is_multiple_of(CHECK_EVERY) {
            budget.check()?;
        }
        passed += 1;
        let newest = next.and_then(|labels| Ok(reading.newest(&found, coverage)?.filter(|own| own.is_present).map(|_| labels)));
        match newest {
            Ok(Some(labels)) => take(&labels)?,
            Ok(None) => {}
            Err(SegmentError::Unreadable(error)) => coverage.miss(error.to_string()),
            Err(SegmentError::Ended(error)) => return Err(error),
        }
    }
    reading.spending.tell()
}

struct Reading<'s, 'a> {
    sources: &'s [Source<'s>],
    /// Of sources that are blocks.
    ways: Vec<Option<Way<'a>>>,
    plan: &'s MetricsPlan,
    spending: Spending<'a>,
    samples: Samples,
    held: Reservation<'a>,
}

impl<'s, 'a> Reading<'s, 'a> {
    fn new(sources: &'s [Source<'s>], plan: &'s MetricsPlan, budget: &'a dyn Budget) -> Self {
        let way = |source: &Source<'_>| match source {
            Source::Head(_) => None,
            Source::Block(block, ids, _) => Some(Way::new(Arc::clone(block), ids, budget)),
        };
        let ways = sources.iter().map(way).collect();
        let (spending, held) = (Spending::new(budget), Reservation::new(budget));
        Self { sources, ways, plan, spending, samples: Samples::default(), held }
    }

    /// The newest sample of a series that these sources have.
    fn newest(&mut self, found: &[(usize, u32)], coverage: &mut Coverage) -> Result<Option<Newest>, SegmentError> {
        let mut newest = None;
        for (source, at) in found {
            if let Source::Head(head) = &self.sources[*source]
                && let Some(places) = head.series.places(*at as usize)
                && let Some((at, is_present)) = head.series.newest(places)
            {
                self.spending.spend(1)?;
                let is_present = is_present && at >= self.plan.asked_ms;
                newest = Some(Newest::or(newest, Newest { at, source: *source, is_present }));
            }
        }
        for (source, id) in found {
            let Some(way) = &mut self.ways[*source] else { continue };
            let last = way.last(*id);
            if newest.is_some_and(|newest| last < newest.at) {
                way.pass(*id);
                continue;
            }
            let stored = StoredSeries::Block(way.series(*id));
            self.samples.clear();
            match stored.read(self.plan, &mut self.spending, &mut self.samples, &mut self.held) {
                Err(SegmentError::Unreadable(error)) => coverage.miss(error.to_string()),
                done => done?,
            }
            let own = self.last_read().map(|(at, is_present)| Newest { at, source: *source, is_present });
            newest = own.map(|own| Newest::or(newest, own)).or(newest);
        }
        Ok(newest)
    }

    /// Of what was read of a block, where samples ascend.
    fn last_read(&self) -> Option<(i64, bool)> {
        let at = *self.samples.timestamps.last()?;
        let last = self.samples.timestamps.len() - 1;
        let histogram = self.samples.histograms.last().filter(|(own, _)| *own as usize == last);
        if !aggregates::reaches(&self.samples, last, self.plan.asked_ms) {
            return Some((at, false));
        }
        Some((at, !is_stale(self.samples.values[last]) || histogram.is_some_and(|(_, own)| !own.is_stale())))
    }
}
