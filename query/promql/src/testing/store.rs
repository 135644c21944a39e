//! Series in memory, as a reader.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use weir_model::label::{Labels, Matcher};
use weir_model::metric::Family;
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, Covered, MetricReader, MetricSelect, ReadError, Reservation, Series, SeriesCursor};

/// Series in memory. Knows no tenants.
#[derive(Clone, Debug, Default)]
pub struct MemoryReader {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    /// What `families` answers.
    pub metadata: Vec<Family>,
    /// What every answer says that it covers.
    pub coverage: Coverage,
}

impl MemoryReader {
    /// Adds a sample; a later one of the same time wins.
    pub fn push(&mut self, labels: &Labels, at_ms: i64, value: f64) {
        self.series.entry(labels.clone()).or_default().insert(at_ms, value);
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
    matching: std::vec::IntoIter<(&'a Labels, &'a BTreeMap<i64, f64>)>,
    range: RangeInclusive<i64>,
    budget: &'a dyn Budget,
    /// The series that was given last.
    held: Reservation<'a>,
}

impl SeriesCursor for MemoryCursor<'_> {
    fn next(&mut self, series: &mut Series) -> Result<bool, ReadError> {
        for (labels, samples) in self.matching.by_ref() {
            let (timestamps, values): (Vec<i64>, Vec<f64>) = samples.range(self.range.clone()).unzip();
            self.budget.spend(timestamps.len() as u64)?;
            self.held.settle(16 * timestamps.len() as u64)?;
            if !timestamps.is_empty() {
                *series = Series { labels: labels.clone(), timestamps, values, ..Series::default() };
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn coverage(self: Box<Self>) -> Coverage {
        self.reader.coverage.clone()
    }
}
