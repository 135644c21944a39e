//! Samples of all partitions: the store's own reader over collected views.

use std::sync::Arc;

use weir_blocks::view::Fixed;
use weir_heads::HeadQuery;
use weir_heads::request::SamplesQuery;
use weir_metrics::MetricsReader;
use weir_model::label::Labels;
use weir_model::metric::Family;
use weir_model::select::{Budget, Coverage, Covered, MetricReader, MetricSelect, NoBudget, ReadError, Series, SeriesCursor};

use super::collect::ViewRequest;
use super::start::Shared;

pub(super) struct FanOutSamples {
    shared: Arc<Shared>,
}

impl FanOutSamples {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn reader(&self, tenant: &str, query: &HeadQuery, budget: &dyn Budget) -> Result<MetricsReader, ReadError> {
        let request = ViewRequest { tenant, query: query.clone(), only: None };
        let collected = self.shared.collect_views(&self.shared.samples, &request, budget)?;
        Ok(MetricsReader::new(Arc::new(Fixed::new(collected.views))))
    }

    fn read<T>(
        &self,
        tenant: &str,
        query: &HeadQuery,
        budget: &dyn Budget,
        read: impl Fn(&MetricsReader) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.shared.retrying(&self.shared.samples, || read(&self.reader(tenant, query, budget)?))
    }

    fn open<'a>(&self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.reader(&select.tenant, &HeadQuery::Samples(SamplesQuery::new(select)), budget)?.open(select, budget)
    }
}

impl MetricReader for FanOutSamples {
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        let select = select.clone();
        let open = move || self.open(&select, budget);
        let gone = || {
            let gone = self.shared.samples.forget_gone();
            if gone {
                self.shared.heads.metrics.blocks_gone.inc();
            }
            gone
        };
        Ok(Box::new(Reopening { opened: open()?, open, gone, given: None, again: false }))
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let query = HeadQuery::Series(SamplesQuery::new(select));
        self.read(&select.tenant, &query, budget, |reader| reader.series(select, budget))
    }

    fn families(&self, tenant: &str) -> Result<Covered<Vec<Family>>, ReadError> {
        self.read(tenant, &HeadQuery::Families, &NoBudget, |reader| reader.families(tenant))
    }
}

/// Series of collected views. When a block was deleted while it was read, the views are collected once more and all is read
/// again: series that were given are passed over, and each of the others is of the newer state.
struct Reopening<'a, O, G> {
    opened: Box<dyn SeriesCursor + 'a>,
    open: O,
    /// Whether a block was gone since the last call.
    gone: G,
    /// The series that was given last.
    given: Option<Labels>,
    again: bool,
}

impl<'a, O, G> SeriesCursor for Reopening<'a, O, G>
where
    O: Fn() -> Result<Box<dyn SeriesCursor + 'a>, ReadError>,
    G: Fn() -> bool,
{
    fn next(&mut self, series: &mut Series) -> Result<bool, ReadError> {
        let mut read = self.opened.next(series);
        // Asked before the series is given: it would lack what the block has of it.
        if !self.again && (self.gone)() {
            self.again = true;
            self.opened = (self.open)()?;
            read = self.opened.next(series);
            while matches!(read, Ok(true)) && self.given.as_ref().is_some_and(|given| series.labels <= *given) {
                read = self.opened.next(series);
            }
        }
        let any = read?;
        self.given = any.then(|| series.labels.clone());
        Ok(any)
    }

    fn coverage(self: Box<Self>) -> Coverage {
        self.opened.coverage()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use weir_model::select::SeriesList;

    use super::*;

    /// Series by name, with one sample each.
    fn list(series: &[(&str, f64)], missing: &[&str]) -> Box<dyn SeriesCursor> {
        let one = |(pod, value): &(&str, f64)| {
            let labels = Labels::from_pairs([("pod", pod)]);
            Series { labels, timestamps: vec![1], values: vec![*value] }
        };
        let missing = missing.iter().map(|text| (*text).to_owned()).collect();
        let coverage = Coverage { partitions: Vec::new(), missing };
        Box::new(SeriesList::new(Covered { value: series.iter().map(one).collect(), coverage }))
    }

    /// What comes of reading when a block turns out to be gone at the pull of this number.
    fn read(gone_at: usize) -> (Vec<(String, f64)>, Vec<String>) {
        let (opened, pulled) = (Cell::new(0), Cell::new(0));
        let open = || {
            opened.set(opened.get() + 1);
            Ok(match opened.get() {
                1 => list(&[("a", 1.0), ("b", 1.0), ("d", 1.0)], &["a block is gone"]),
                2 => list(&[("a", 2.0), ("b", 2.0), ("c", 2.0), ("d", 2.0)], &[]),
                more => panic!("opened {more} times"),
            })
        };
        let gone = || {
            pulled.set(pulled.get() + 1);
            pulled.get() >= gone_at
        };
        let mut cursor = Box::new(Reopening { opened: open().unwrap(), open, gone, given: None, again: false });
        let (mut found, mut series) = (Vec::new(), Series::default());
        while cursor.next(&mut series).unwrap() {
            found.push((series.labels.get("pod").to_owned(), series.values[0]));
        }
        (found, cursor.coverage().missing)
    }

    #[test]
    fn what_is_read_again_gives_no_series_twice_and_none_with_less_than_it_has() {
        let check = |gone_at, expected: &[(&str, f64)], missing: &[&str]| {
            let (found, said) = read(gone_at);
            let found: Vec<(&str, f64)> = found.iter().map(|(pod, value)| (pod.as_str(), *value)).collect();
            assert_eq!((&found[..], said), (expected, missing.iter().map(|text| (*text).to_owned()).collect()), "{gone_at}");
        };
        check(1, &[("a", 2.0), ("b", 2.0), ("c", 2.0), ("d", 2.0)], &[]);
        check(2, &[("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 2.0)], &[]);
        check(3, &[("a", 1.0), ("b", 1.0), ("c", 2.0), ("d", 2.0)], &[]);
        // After the last series.
        check(4, &[("a", 1.0), ("b", 1.0), ("d", 1.0)], &[]);
        check(5, &[("a", 1.0), ("b", 1.0), ("d", 1.0)], &["a block is gone"]);
    }
}
