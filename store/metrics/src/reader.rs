//! What queries see of metrics: the series of all heads and blocks, each once. Called by the query service.
//!
//! A block or group that cannot be read does not fail a query: what is missing is said in its coverage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_model::label::{Labels, NAME};
use weir_model::metric::{Aggregate, Exemplar, Family};
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, Cardinality, Coverage, Covered, MetricReader, MetricSelect, ReadError, Reservation, Series, SeriesCursor,
    SeriesExemplars, TakeLabels, each_present,
};

use super::MetricsEngine;
use super::aggregates;
use super::cardinality;
use super::exemplars;
use super::plan::{MetricsPlan, Wanted};
use super::present::{self, Source};
use super::samples::Samples;
use super::schema::MILLISECOND;
use super::stored::{Spending, StoredSeries};
use weir_blocks::hidden::Hidden;
use weir_blocks::segment::{Entries, Merge, Segment, SegmentError};
use weir_blocks::view::{BlockView, PartitionView, Views};

/// Budgets are checked every so many label sets.
const CHECK_EVERY: usize = 256;

/// Reads metrics out of the views of their partitions.
pub struct MetricsReader {
    views: Arc<dyn Views<MetricsEngine>>,
}

impl MetricsReader {
    /// Over the views that the partitions' owners keep.
    pub fn new(views: Arc<dyn Views<MetricsEngine>>) -> Self {
        Self { views }
    }

    /// As [`MetricReader::cursor`]; it outlives the reader.
    pub fn open<'a>(&self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        Ok(Box::new(self.merged(select, Wanted::Samples, budget)?))
    }

    /// As [`MetricReader::newest`]; it outlives the reader.
    pub fn open_newest<'a>(
        &self,
        select: &MetricSelect,
        budget: &'a dyn Budget,
    ) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        Ok(Box::new(self.merged(select, Wanted::Newest, budget)?))
    }

    fn merged<'a>(&self, select: &MetricSelect, wanted: Wanted, budget: &'a dyn Budget) -> Result<Merged<'a>, ReadError> {
        let views = self.views.views();
        let plan = reaching(MetricsPlan::new(select, wanted)?, &views);
        let (mut cursors, mut hidden, mut coverage) = (Vec::new(), Vec::new(), Coverage::default());
        let nanos = |milliseconds: i64| milliseconds.saturating_mul(MILLISECOND);
        let horizon = self.views.horizon();
        // An exemplar is hidden with a sample, which may be outside of the range.
        let is_of_samples = wanted != Wanted::Exemplars;
        let (start, end) = if is_of_samples { (nanos(plan.start_ms), nanos(plan.end_ms)) } else { (i64::MIN, i64::MAX) };
        // Names are told of series that have a sample: where one may be hidden, samples are read.
        let with_samples = if is_of_samples { plan.with_samples() } else { Arc::clone(&plan) };
        let plan_of = |is_touched: bool| if is_touched { &with_samples } else { &plan };
        for view in views {
            budget.check()?;
            for block in view.blocks {
                let own = block.hidden.with(horizon.as_ref());
                let is_touched = own.touches(&plan.tenant, start.max(block.summary.first), end.min(block.summary.last));
                if let Some(cursor) = cursor(block.block, plan_of(is_touched), budget) {
                    cursors.push(cursor);
                    hidden.push(if is_touched { own } else { Hidden::default() });
                }
            }
            let own = Hidden::default().with(horizon.as_ref());
            // What a head has came lately: its names are told without a look at its samples.
            let is_touched = wanted != Wanted::Labels && own.touches(&plan.tenant, start, end);
            for cursor in view.heads.into_iter().filter_map(|head| cursor(head, plan_of(is_touched), budget)) {
                cursors.push(cursor);
                hidden.push(if is_touched { own.clone() } else { Hidden::default() });
            }
            coverage.merge(Coverage { partitions: vec![view.coverage], missing: view.missing });
        }
        let (merge, held) = (Merge::new(cursors), Reservation::new(budget));
        Ok(Merged { plan, hidden, spending: Spending::new(budget), merge, found: Vec::new(), held, coverage })
    }
}

/// Whatever a series has before the range is read, not of downsampled blocks alone: what came after an aggregate may end it.
fn reaching(plan: Arc<MetricsPlan>, views: &[PartitionView<MetricsEngine>]) -> Arc<MetricsPlan> {
    let blocks = views.iter().flat_map(|view| &view.blocks);
    let reach_ms = blocks.map(|view| view.block.reach(&plan)).max().unwrap_or(0);
    plan.reaching(reach_ms)
}

fn cursor<'a, S>(
    segment: Arc<S>,
    plan: &Arc<MetricsPlan>,
    budget: &'a dyn Budget,
) -> Option<Entries<'a, Labels, StoredSeries<'a>>>
where
    S: Segment<MetricsPlan, Key = Labels, Item<'a> = StoredSeries<'a>> + 'a,
{
    segment.may_match(plan).then(|| segment.cursor(Arc::clone(plan), budget))
}

impl MetricReader for MetricsReader {
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.open(select, budget)
    }

    fn newest<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.open_newest(select, budget)
    }

    fn present(&self, select: &MetricSelect, budget: &dyn Budget, take: TakeLabels<'_>) -> Result<Coverage, ReadError> {
        if let Some((plan, sources, mut coverage)) = self.shown(select, budget)? {
            present::each(&sources, &plan, budget, &mut coverage, take)?;
            return Ok(coverage);
        }
        each_present(self.open_newest(select, budget)?, take)
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let mut merged = self.merged(select, Wanted::Labels, budget)?;
        let (mut value, mut held, mut bytes): (Vec<Labels>, _, _) = (Vec::new(), Reservation::new(budget), 0);
        while let Some(labels) = merged.next_shown()? {
            bytes += labels.memory();
            value.push(labels);
            if value.len().is_multiple_of(CHECK_EVERY) {
                budget.check()?;
                held.settle((bytes + value.capacity() * size_of::<Labels>()) as u64)?;
            }
        }
        Ok(Covered { value, coverage: merged.coverage })
    }

    fn cardinality(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Cardinality>, ReadError> {
        cardinality::count(self.merged(select, Wanted::Labels, budget)?, &select.scope.one()?.tenant, budget)
    }

    fn exemplars(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<SeriesExemplars>>, ReadError> {
        let mut merged = self.merged(select, Wanted::Exemplars, budget)?;
        let (mut value, mut held, mut bytes) = (Vec::new(), Reservation::new(budget), 0);
        while let Some(labels) = merged.next_labels()? {
            let mut exemplars = merged.found_exemplars(&labels)?;
            exemplars::settle(&mut exemplars);
            if !exemplars.is_empty() {
                bytes += exemplars::memory(&exemplars) + labels.memory();
                held.settle(bytes as u64)?;
                value.push(SeriesExemplars { labels, exemplars });
            }
        }
        Ok(Covered { value, coverage: merged.coverage })
    }

    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Result<Covered<Vec<Family>>, ReadError> {
        let own = scope.one()?;
        let mut coverage = Coverage::default();
        let views = self.views.views();
        // A name of which all is deleted is not told, as one of which nothing may be seen.
        let horizon = self.views.horizon();
        let hides = |block: &BlockView<MetricsEngine>| {
            let hidden = block.hidden.clone().with(horizon.as_ref());
            hidden.touches(&own.tenant, block.summary.first, block.summary.last)
        };
        let is_whole = own.visible.is_all() && !views.iter().flat_map(|view| &view.blocks).any(hides);
        let names = if is_whole { None } else { Some(self.visible_names(scope, budget, &mut coverage)?) };
        let is_visible = |family: &Family| names.as_ref().is_none_or(|names| has_series(family, names));
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for view in views {
            budget.check()?;
            for block in &view.blocks {
                let all = block.block.families().get(&*own.tenant).cloned().unwrap_or_default();
                families.extend(all.into_iter().filter(|(_, family)| is_visible(family)));
            }
            for head in &view.heads {
                // Of a head that another one has given only what is visible is here, and no series.
                let all = head.families(&own.tenant);
                families.extend(all.into_iter().filter(|(_, family)| head.is_selected() || is_visible(family)));
            }
            coverage.merge(Coverage { partitions: vec![view.coverage], missing: view.missing });
        }
        Ok(Covered { value: families.into_values().collect(), coverage })
    }
}

impl MetricsReader {
    /// The heads and blocks of a select for the newest samples, with the coverage; `None` where something of one may be hidden.
    fn shown<'a>(&self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Option<Shown<'a>>, ReadError> {
        let views = self.views.views();
        let plan = reaching(MetricsPlan::new(select, Wanted::Newest)?, &views);
        let (mut sources, mut coverage) = (Vec::new(), Coverage::default());
        let nanos = |milliseconds: i64| milliseconds.saturating_mul(MILLISECOND);
        let (start, end) = (nanos(plan.start_ms), nanos(plan.end_ms));
        let horizon = self.views.horizon();
        for view in views {
            budget.check()?;
            for block in view.blocks {
                let hidden = block.hidden.with(horizon.as_ref());
                if hidden.touches(&plan.tenant, start.max(block.summary.first), end.min(block.summary.last)) {
                    return Ok(None);
                }
                if block.block.may_match(&plan) {
                    sources.extend(Source::of_block(block.block, &plan, &mut coverage));
                }
            }
            if Hidden::default().with(horizon.as_ref()).touches(&plan.tenant, start, end) {
                return Ok(None);
            }
            for head in view.heads.into_iter().filter(|head| head.may_match(&plan)) {
                sources.push(Source::of_head(&head, &plan, budget)?);
            }
            coverage.merge(Coverage { partitions: vec![view.coverage], missing: view.missing });
        }
        Ok(Some((plan, sources, coverage)))
    }

    /// Names of the metrics that have a series in the scope. Labels alone are read, of as many series as the tenant has.
    fn visible_names(&self, scope: &Scope, budget: &dyn Budget, coverage: &mut Coverage) -> Result<BTreeSet<String>, ReadError> {
        let select = MetricSelect { scope: scope.clone(), matchers: Vec::new(), start_ms: i64::MIN, end_ms: i64::MAX };
        let mut merged = self.merged(&select, Wanted::Labels, budget)?;
        let (mut names, mut series) = (BTreeSet::new(), 0_usize);
        while let Some(labels) = merged.next_shown()? {
            if series.is_multiple_of(CHECK_EVERY) {
                budget.check()?;
            }
            series += 1;
            if !names.contains(labels.get(NAME)) {
                names.insert(labels.get(NAME).to_owned());
            }
        }
        merged.coverage.missing.into_iter().for_each(|sentence| coverage.miss(sentence));
        Ok(names)
    }
}

/// What series of a family have behind its name.
const SUFFIXES: [&str; 9] = ["", "_total", "_info", "_bucket", "_sum", "_count", "_created", "_gsum", "_gcount"];

pub(crate) fn has_series(family: &Family, names: &BTreeSet<String>) -> bool {
    SUFFIXES.iter().any(|suffix| names.contains(&format!("{}{suffix}", family.name)))
}

/// Segments of which nothing is hidden, with their plan and coverage.
type Shown<'a> = (Arc<MetricsPlan>, Vec<Source<'a>>, Coverage);

/// The series of all segments, oldest segment first.
pub(super) struct Merged<'a> {
    plan: Arc<MetricsPlan>,
    /// Of each segment.
    hidden: Vec<Hidden>,
    spending: Spending<'a>,
    merge: Merge<Entries<'a, Labels, StoredSeries<'a>>, Labels, StoredSeries<'a>>,
    /// What the segments have of the series that was pulled last.
    found: Vec<(usize, StoredSeries<'a>)>,
    /// For the samples of the series that was given last.
    held: Reservation<'a>,
    pub(super) coverage: Coverage,
}

impl Merged<'_> {
    /// The next series that has a sample that is not hidden, as far as labels were asked for; its samples are not kept.
    pub(super) fn next_shown(&mut self) -> Result<Option<Labels>, ReadError> {
        let mut samples = Samples::default();
        while let Some(labels) = self.next_labels()? {
            let is_known = self.found.iter().any(|(_, stored)| matches!(stored, StoredSeries::Unread));
            samples.clear();
            if !is_known {
                self.read_found(&labels, &mut samples)?;
            }
            if is_known || !samples.timestamps.is_empty() {
                return Ok(Some(labels));
            }
        }
        Ok(None)
    }

    /// Appends what is shown of the series that was pulled last.
    fn read_found(&mut self, labels: &Labels, samples: &mut Samples) -> Result<(), ReadError> {
        let newest = self.newest_known();
        for (segment, stored) in self.found.drain(..) {
            if newest.is_some_and(|newest| stored.is_before(newest)) {
                continue;
            }
            let first = samples.timestamps.len();
            match stored.read(&self.plan, &mut self.spending, samples, &mut self.held) {
                Ok(()) => {}
                Err(SegmentError::Unreadable(error)) => self.coverage.miss(error.to_string()),
                Err(SegmentError::Ended(error)) => return Err(error),
            }
            let hidden = &self.hidden[segment];
            if !hidden.is_nothing() {
                samples.hide(first, &hidden.of(&self.plan.tenant, labels));
            }
        }
        Ok(())
    }

    /// Where the newest sample is all that is of use: no older one is of the series that was pulled last.
    fn newest_known(&self) -> Option<i64> {
        if self.plan.wanted != Wanted::Newest {
            return None;
        }
        let shown = self.found.iter().filter(|(segment, _)| self.hidden[*segment].is_nothing());
        shown.filter_map(|(_, stored)| stored.newest()).max()
    }

    /// What is shown of the exemplars of the series that was pulled last.
    fn found_exemplars(&mut self, labels: &Labels) -> Result<Vec<Exemplar>, ReadError> {
        let mut exemplars = Vec::new();
        for (segment, stored) in self.found.drain(..) {
            let hidden = self.hidden[segment].of(&self.plan.tenant, labels);
            let shows = |at: i64| !hidden.has(at.saturating_mul(MILLISECOND), b"");
            match stored.exemplars(&self.plan, &mut self.spending, &shows, &mut exemplars) {
                Ok(()) => {}
                Err(SegmentError::Unreadable(error)) => self.coverage.miss(error.to_string()),
                Err(SegmentError::Ended(error)) => return Err(error),
            }
            self.held.settle(exemplars::memory(&exemplars) as u64)?;
        }
        Ok(exemplars)
    }

    fn next_labels(&mut self) -> Result<Option<Labels>, ReadError> {
        loop {
            match self.merge.next_group(&mut self.found) {
                None => {
                    self.spending.tell()?;
                    return Ok(None);
                }
                Some(Ok(labels)) => return Ok(Some(labels)),
                Some(Err(SegmentError::Unreadable(error))) => self.coverage.miss(error.to_string()),
                Some(Err(SegmentError::Ended(error))) => return Err(error),
            }
        }
    }
}

impl SeriesCursor for Merged<'_> {
    fn next(&mut self, series: &mut Series) -> Result<bool, ReadError> {
        let Series { timestamps, values, histograms, starts, mut aggregates, .. } = std::mem::take(series);
        let mut samples = Samples { timestamps, values, histograms, starts, ..Samples::default() };
        samples.clear();
        while samples.timestamps.is_empty() {
            let Some(labels) = self.next_labels()? else { return Ok(false) };
            series.labels = labels;
            self.read_found(&series.labels, &mut samples)?;
            self.held.settle((samples.memory_with(0) + samples.settling_memory()) as u64)?;
            samples.settle();
            if self.plan.is_coarse {
                aggregates::trim(&mut samples, self.plan.asked_ms);
            }
        }
        aggregates.clear();
        // Else all histograms would be looked at in vain.
        let found = if self.plan.is_coarse { aggregates::count(&samples) } else { 0 };
        let count = found.max(aggregates.capacity());
        self.held.settle((samples.memory_with(0) + count * size_of::<Aggregate>()) as u64)?;
        if found > 0 {
            aggregates::take(&mut samples, &mut aggregates);
        }
        series.aggregates = aggregates;
        (series.timestamps, series.values) = (samples.timestamps, samples.values);
        (series.histograms, series.starts) = (samples.histograms, samples.starts);
        Ok(true)
    }

    fn coverage(self: Box<Self>) -> Coverage {
        self.coverage
    }
}
