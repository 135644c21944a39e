//! What queries see of metrics: the series of all heads and blocks, each once. Called by the query service.
//!
//! A block or group that cannot be read does not fail a query: what is missing is said in its coverage.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_model::label::Labels;
use weir_model::metric::Family;
use weir_model::select::{Budget, Coverage, Covered, MetricReader, MetricSelect, ReadError, Series};

use super::MetricsEngine;
use super::block::MetricsBlock;
use super::group::GroupEntry;
use super::samples::Samples;
use weir_blocks::view::Views;

/// Budgets are checked every so many series.
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

    /// Visits heads and blocks, oldest first.
    fn collect(
        &self,
        select: &MetricSelect,
        budget: &dyn Budget,
        with_samples: bool,
    ) -> Result<Covered<Vec<(Labels, Samples)>>, ReadError> {
        let (places, series, coverage) = (HashMap::new(), Vec::new(), Coverage::default());
        let mut found = Found { select, budget, with_samples, places, series, coverage };
        for view in self.views.views() {
            budget.check()?;
            for block in &view.blocks {
                // From whole milliseconds to the nanoseconds of the summary, saturating at the ends of time.
                let first = block.summary.first.div_euclid(1_000_000);
                let last = block.summary.last.div_euclid(1_000_000);
                if first <= select.end_ms && last >= select.start_ms {
                    found.block(&block.block)?;
                }
            }
            for head in &view.heads {
                found.head(head)?;
            }
            found.coverage.merge(Coverage { partitions: vec![view.coverage], missing: view.missing });
        }
        Ok(Covered { value: found.series, coverage: found.coverage })
    }
}

impl MetricReader for MetricsReader {
    fn select(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Series>>, ReadError> {
        let Covered { value, coverage } = self.collect(select, budget, true)?;
        let mut all: Vec<Series> = Vec::with_capacity(value.len());
        for (labels, mut samples) in value {
            samples.settle();
            if !samples.timestamps.is_empty() {
                all.push(Series { labels, timestamps: samples.timestamps, values: samples.values });
            }
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Covered { value: all, coverage })
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let Covered { value, coverage } = self.collect(select, budget, false)?;
        let mut labels: Vec<Labels> = value.into_iter().map(|(labels, _)| labels).collect();
        labels.sort();
        Ok(Covered { value: labels, coverage })
    }

    fn families(&self, tenant: &str) -> Result<Covered<Vec<Family>>, ReadError> {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut coverage = Coverage::default();
        for view in self.views.views() {
            for block in &view.blocks {
                families.extend(block.block.families().get(tenant).cloned().unwrap_or_default());
            }
            for head in &view.heads {
                families.extend(head.families(tenant));
            }
            coverage.merge(Coverage { partitions: vec![view.coverage], missing: view.missing });
        }
        Ok(Covered { value: families.into_values().collect(), coverage })
    }
}

/// What a visit has found so far.
struct Found<'a> {
    select: &'a MetricSelect,
    budget: &'a dyn Budget,
    with_samples: bool,
    /// Where each label set lies in `series`.
    places: HashMap<Labels, usize>,
    series: Vec<(Labels, Samples)>,
    coverage: Coverage,
}

impl Found<'_> {
    fn add(&mut self, labels: &Labels, samples: Samples) {
        match self.places.get(labels) {
            Some(at) => self.series[*at].1.extend(samples),
            None => {
                self.places.insert(labels.clone(), self.series.len());
                self.series.push((labels.clone(), samples));
            }
        }
    }

    fn head(&mut self, head: &super::MetricsHead) -> Result<(), ReadError> {
        let (start, end) = (self.select.start_ms, self.select.end_ms);
        let matched = head.matching(&self.select.tenant, &self.select.matchers);
        let matched = matched.map_err(|error| ReadError::Store(error.to_string()))?;
        for (at, (labels, places)) in matched.series.iter().enumerate() {
            if at % CHECK_EVERY == 0 {
                self.budget.check()?;
            }
            let mut samples = matched.samples(places);
            samples.settle();
            samples.clip(start, end);
            if samples.timestamps.is_empty() {
                continue;
            }
            if self.with_samples {
                self.budget.spend(samples.timestamps.len() as u64)?;
            } else {
                samples = Samples::default();
            }
            self.add(labels, samples);
        }
        Ok(())
    }

    fn block(&mut self, block: &MetricsBlock) -> Result<(), ReadError> {
        let ids = match block.matching(&self.select.tenant, &self.select.matchers) {
            Ok(ids) => ids,
            Err(error) => {
                self.coverage.miss(error.to_string());
                return Ok(());
            }
        };
        let mut ids = ids.iter().peekable();
        while let Some(first) = ids.peek().copied() {
            let at = block.groups().partition_point(|group| group.series_first + group.series <= first);
            let Some(entry) = block.groups().get(at) else { break };
            let mut wanted = Vec::new();
            while let Some(id) = ids.next_if(|id| *id < entry.series_first + entry.series) {
                wanted.push(id);
            }
            if entry.first <= self.select.end_ms && entry.last >= self.select.start_ms {
                self.group(block, entry, &wanted)?;
            }
        }
        Ok(())
    }

    fn group(&mut self, block: &MetricsBlock, entry: &GroupEntry, wanted: &[u32]) -> Result<(), ReadError> {
        self.budget.check()?;
        if !self.with_samples {
            wanted.iter().for_each(|id| self.add(block.labels(*id), Samples::default()));
            return Ok(());
        }
        let group = match block.group(entry) {
            Ok(group) => group,
            Err(error) => {
                self.coverage.miss(error.to_string());
                return Ok(());
            }
        };
        for id in wanted {
            let at = (id - entry.series_first) as usize;
            self.budget.spend(group.count(at) as u64)?;
            match group.samples(at, self.select.start_ms, self.select.end_ms) {
                Ok(samples) if samples.timestamps.is_empty() => {}
                Ok(samples) => self.add(block.labels(*id), samples),
                Err(detail) => self.coverage.miss(format!("{} is corrupt: samples of series {id}: {detail}", block.path())),
            }
        }
        Ok(())
    }
}
