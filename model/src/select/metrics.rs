//! What is asked of metrics: series with their samples, one at a time.

use std::sync::Arc;

use super::{Budget, Cardinality, CountSeries, Coverage, Covered, ReadError, each_present};
use crate::histogram::Histogram;
use crate::label::{Labels, Matcher};
use crate::metric::{Aggregate, Exemplar, Family, is_stale};
use crate::scope::Scope;

/// Which series, and which of their samples.
#[derive(Clone, Debug)]
pub struct MetricSelect {
    /// Series outside are as if they were not there.
    pub scope: Scope,
    /// All must pass.
    pub matchers: Vec<Matcher>,
    /// First millisecond since the Unix epoch, inclusive. A series comes with its last sample before as well where that is the last
    /// one of a downsampled stretch and a resolution older at most: the next one may come so much later.
    pub start_ms: i64,
    /// Last millisecond, inclusive (as Prometheus' querier has it).
    pub end_ms: i64,
}

/// A series and its samples in the asked range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// `__name__` and all others.
    pub labels: Labels,
    /// Milliseconds since the Unix epoch, strictly ascending.
    pub timestamps: Vec<i64>,
    /// As many; staleness markers are kept.
    pub values: Vec<f64>,
    /// Of samples that are histograms, which of the samples they are, ascending; their values are staleness markers.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// Since when each sample counts, milliseconds since the Unix epoch, 0 where that is unknown. As many as samples, or none.
    pub starts: Vec<i64>,
    /// Where data is downsampled: what a sample is the last one of, and stands for; ascending. Of no sample whose time is not among
    /// `timestamps`.
    pub aggregates: Vec<Aggregate>,
}

impl Series {
    /// Gives back what its lists have beyond what is in them, which may be much: for one that is kept.
    pub fn shrink_to_fit(&mut self) {
        self.timestamps.shrink_to_fit();
        self.values.shrink_to_fit();
        self.histograms.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.aggregates.shrink_to_fit();
    }

    /// Leaves out what comes before a range, for who has no use for the last sample there; whether anything is left.
    pub fn drop_before(&mut self, start_ms: i64) -> bool {
        let count = self.timestamps.partition_point(|at| *at < start_ms);
        if count > 0 {
            self.timestamps.drain(..count);
            self.values.drain(..count);
            self.starts.drain(..count.min(self.starts.len()));
            self.histograms.drain(..self.histograms.partition_point(|(at, _)| (*at as usize) < count));
            self.histograms.iter_mut().for_each(|(at, _)| *at -= count as u32);
            self.aggregates.drain(..self.aggregates.partition_point(|own| own.last_ms < start_ms));
        }
        !self.timestamps.is_empty()
    }

    /// Whether its newest sample is there and no staleness marker.
    pub fn is_present(&self) -> bool {
        let Some(last) = self.values.len().checked_sub(1) else { return false };
        let histogram = self.histograms.last().filter(|(at, _)| *at as usize == last);
        !is_stale(self.values[last]) || histogram.is_some_and(|(_, own)| !own.is_stale())
    }
}

/// Takes the label sets of series.
pub type TakeLabels<'t> = &'t mut dyn FnMut(&Labels) -> Result<(), ReadError>;

/// A series and its exemplars in the asked range.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    pub labels: Labels,
    /// Ascending by timestamp.
    pub exemplars: Vec<Exemplar>,
}

/// Reads metrics.
pub trait MetricReader: Send + Sync {
    /// Series with at least one sample in the range, ascending by labels: of one state of each partition, that of this call or of
    /// the first pull.
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError>;
    /// The same for who has a use for the newest sample of each alone: it is there, others may be left out.
    fn newest<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.cursor(select, budget)
    }
    /// Gives the labels of series whose newest sample in the range is no staleness marker, ascending: for who counts them.
    fn present(&self, select: &MetricSelect, budget: &dyn Budget, take: TakeLabels<'_>) -> Result<Coverage, ReadError> {
        each_present(self.newest(select, budget)?, take)
    }
    /// All of them at once, for callers that have a use for all.
    fn select(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Series>>, ReadError> {
        let mut cursor = self.cursor(select, budget)?;
        let (mut value, mut series) = (Vec::new(), Series::default());
        while cursor.next(&mut series)? {
            series.shrink_to_fit();
            value.push(std::mem::take(&mut series));
        }
        Ok(Covered { value, coverage: cursor.coverage() })
    }
    /// Label sets of series that may have a sample in the range, ascending, without reading samples.
    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError>;
    /// Series with an exemplar in the range, ascending by labels.
    /// A reader that keeps none need not say so.
    fn exemplars(&self, _select: &MetricSelect, _budget: &dyn Budget) -> Result<Covered<Vec<SeriesExemplars>>, ReadError> {
        Ok(Covered::default())
    }
    /// Counts of what [`Self::series`] gives, of a scope of one tenant.
    fn cardinality(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Cardinality>, ReadError> {
        let tenant = select.scope.one()?;
        let (read, mut count) = (self.series(select, budget)?, CountSeries::new(budget));
        read.value.iter().try_for_each(|labels| count.add(labels))?;
        Ok(Covered { value: count.finish(&tenant.tenant)?, coverage: read.coverage })
    }
    /// Metadata of the families seen, ascending by name. Where a scope does not see all of a tenant, those that have a series in it.
    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Result<Covered<Vec<Family>>, ReadError>;
}

/// Series under way: each is decoded when it is pulled, and none is kept.
pub trait SeriesCursor {
    /// Puts the next series in the place of what is there, whose buffers are used again; false, and nothing of use there, after
    /// the last one. What it takes is reserved until the next one is pulled, or the cursor goes. After an error the cursor is of no
    /// use.
    fn next(&mut self, series: &mut Series) -> Result<bool, ReadError>;
    /// What the series given so far are made of, and what could not be read.
    fn coverage(self: Box<Self>) -> Coverage;
}

/// Series that lie in memory, as a cursor.
pub struct SeriesList {
    series: std::vec::IntoIter<Series>,
    coverage: Coverage,
}

impl SeriesList {
    /// Of series that ascend by labels.
    pub fn new(read: Covered<Vec<Series>>) -> Self {
        Self { series: read.value.into_iter(), coverage: read.coverage }
    }
}

impl SeriesCursor for SeriesList {
    fn next(&mut self, series: &mut Series) -> Result<bool, ReadError> {
        let next = self.series.next();
        let any = next.is_some();
        *series = next.unwrap_or_default();
        Ok(any)
    }

    fn coverage(self: Box<Self>) -> Coverage {
        self.coverage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_range_is_left_out() {
        let histogram = Arc::new(Histogram::empty(0));
        let series = Series {
            timestamps: vec![10, 20, 30],
            values: vec![1.0, 2.0, 3.0],
            histograms: vec![(0, Arc::clone(&histogram)), (2, Arc::clone(&histogram))],
            starts: vec![1, 2, 3],
            aggregates: vec![Aggregate::of(5, 10, 1.0), Aggregate::of(5, 20, 2.0)],
            ..Series::default()
        };
        let after = |start_ms: i64| {
            let mut own = series.clone();
            let any = own.drop_before(start_ms);
            let aggregates: Vec<i64> = own.aggregates.iter().map(|own| own.last_ms).collect();
            let places: Vec<u32> = own.histograms.iter().map(|(at, _)| *at).collect();
            (any, own.timestamps, own.starts, places, aggregates)
        };
        assert_eq!(after(10), (true, vec![10, 20, 30], vec![1, 2, 3], vec![0, 2], vec![10, 20]));
        assert_eq!(after(11), (true, vec![20, 30], vec![2, 3], vec![1], vec![20]));
        assert_eq!(after(31), (false, vec![], vec![], vec![], vec![]));
    }
}
