//! Series in memory, as a reader.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use weir_model::histogram::Histogram;
use weir_model::label::{Labels, Matcher};
use weir_model::metric::{Family, STALE_NAN};
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, Covered, MetricReader, MetricSelect, ReadError, Reservation, Series, SeriesCursor};

/// Series in memory. Knows no tenants.
#[derive(Clone, Debug, Default)]
pub struct MemoryReader {
    series: BTreeMap<Labels, BTreeMap<i64, Stored>>,
    /// What `families` answers.
    pub metadata: Vec<Family>,
    /// What every answer says that it covers.
    pub coverage: Coverage,
}

#[derive(Clone, Debug)]
struct Stored {
    value: f64,
    histogram: Option<Arc<Histogram>>,
    start_ms: i64,
}

impl MemoryReader {
    /// Adds a sample; a later one of the same time wins.
    pub fn push(&mut self, labels: &Labels, at_ms: i64, value: f64) {
        self.insert(labels, at_ms, Stored { value, histogram: None, start_ms: 0 });
    }

    /// Adds a sample that is a histogram.
    pub fn push_histogram(&mut self, labels: &Labels, at_ms: i64, histogram: Arc<Histogram>) {
        self.insert(labels, at_ms, Stored { value: STALE_NAN, histogram: Some(histogram), start_ms: 0 });
    }

    /// Says since when a sample that is there counts.
    pub fn set_start(&mut self, labels: &Labels, at_ms: i64, start_ms: i64) {
        if let Some(stored) = self.series.get_mut(labels).and_then(|samples| samples.get_mut(&at_ms)) {
            stored.start_ms = start_ms;
        }
    }

    fn insert(&mut self, labels: &Labels, at_ms: i64, stored: Stored) {
        self.series.entry(labels.clone()).or_default().insert(at_ms, stored);
    }
}

impl MetricReader for MemoryReader {
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        let (start_ms, end_ms) = (select.start_ms, select.end_ms);
        let passes = |labels: &Labels| select.matchers.iter().all(|matcher: &Matcher| matcher.matches(labels.get(&matcher.name)));
        let matching = self.series.iter().filter(|(labels, _)| start_ms <= end_ms && passes(labels)).collect::<Vec<_>>();
        let (matching, held) = (matching.into_iter(), Reservation::new(budget));
        Ok(Box::new(MemoryCursor { reader: self, matching, range: start_ms..=end_ms, budget, held }))
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let found = self.select(select, budget)?;
        Ok(Covered { value: found.value.into_iter().map(|series| series.labels).collect(), coverage: found.coverage })
    }

    fn families(&self, _: &Scope, _: &dyn Budget) -> Result<Covered<Vec<Family>>, ReadError> {
        Ok(Covered { value: self.metadata.clone(), coverage: self.coverage.clone() })
    }
}

struct MemoryCursor<'a> {
    reader: &'a MemoryReader,
    matching: std::vec::IntoIter<(&'a Labels, &'a BTreeMap<i64, Stored>)>,
    range: RangeInclusive<i64>,
    budget: &'a dyn Budget,
    /// The series that was given last.
    held: Reservation<'a>,
}

impl SeriesCursor for MemoryCursor<'_> {
    fn next(&mut self, series: &mut Series) -> Result<bool, ReadError> {
        for (labels, samples) in self.matching.by_ref() {
            let range = || samples.range(self.range.clone());
            let (timestamps, values): (Vec<i64>, Vec<f64>) = range().map(|(at, own)| (*at, own.value)).unzip();
            self.budget.spend(timestamps.len() as u64)?;
            self.held.settle(16 * timestamps.len() as u64)?;
            if !timestamps.is_empty() {
                let histograms =
                    range().enumerate().filter_map(|(i, (_, own))| Some((i as u32, own.histogram.clone()?))).collect();
                let mut starts: Vec<i64> = range().map(|(_, own)| own.start_ms).collect();
                if starts.iter().all(|start| *start == 0) {
                    starts.clear();
                }
                *series = Series { labels: labels.clone(), timestamps, values, histograms, starts, ..Series::default() };
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn coverage(self: Box<Self>) -> Coverage {
        self.reader.coverage.clone()
    }
}
