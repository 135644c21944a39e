//! Series in memory, as a reader.

use std::collections::BTreeMap;

use weir_model::label::{Labels, Matcher};
use weir_model::metric::Family;
use weir_model::select::{Budget, Coverage, Covered, MetricReader, MetricSelect, ReadError, Series};

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

    fn matching<'a>(&'a self, select: &'a MetricSelect) -> impl Iterator<Item = (&'a Labels, &'a BTreeMap<i64, f64>)> {
        let passes = |labels: &Labels| select.matchers.iter().all(|matcher: &Matcher| matcher.matches(labels.get(&matcher.name)));
        self.series.iter().filter(move |(labels, _)| passes(labels))
    }
}

impl MetricReader for MemoryReader {
    fn select(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Series>>, ReadError> {
        let mut found = Vec::new();
        if select.start_ms > select.end_ms {
            return Ok(Covered { value: found, coverage: self.coverage.clone() });
        }
        for (labels, samples) in self.matching(select) {
            let (timestamps, values): (Vec<i64>, Vec<f64>) =
                samples.range(select.start_ms..=select.end_ms).map(|(at, value)| (*at, *value)).unzip();
            budget.spend(timestamps.len() as u64)?;
            if !timestamps.is_empty() {
                found.push(Series { labels: labels.clone(), timestamps, values });
            }
        }
        Ok(Covered { value: found, coverage: self.coverage.clone() })
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let found = self.select(select, budget)?;
        Ok(Covered { value: found.value.into_iter().map(|series| series.labels).collect(), coverage: found.coverage })
    }

    fn families(&self, _tenant: &str) -> Result<Covered<Vec<Family>>, ReadError> {
        Ok(Covered { value: self.metadata.clone(), coverage: self.coverage.clone() })
    }
}
