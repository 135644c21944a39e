//! Samples of all partitions: the store's own reader over collected views.

use std::sync::Arc;

use weir_blocks::view::Fixed;
use weir_heads::HeadQuery;
use weir_heads::request::SamplesQuery;
use weir_metrics::MetricsReader;
use weir_model::label::Labels;
use weir_model::metric::Family;
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, Cardinality, Coverage, Covered, MetricReader, MetricSelect, ReadError, Series, SeriesCursor, SeriesExemplars,
    SeriesList,
};

use super::collect::ViewRequest;
use super::start::Shared;

pub(super) struct FanOutSamples {
    shared: Arc<Shared>,
}

/// What of a series there is a use for.
#[derive(Clone, Copy)]
enum Wanted {
    All,
    Newest,
}

impl FanOutSamples {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn reader(&self, scope: &Scope, query: &HeadQuery, budget: &dyn Budget) -> Result<MetricsReader, ReadError> {
        Ok(self.reader_and_seen(scope, query, budget)?.0)
    }

    /// With what its views have seen.
    fn reader_and_seen(
        &self,
        scope: &Scope,
        query: &HeadQuery,
        budget: &dyn Budget,
    ) -> Result<(MetricsReader, Coverage), ReadError> {
        let request = ViewRequest { tenant: scope.one()?, query: query.clone(), only: None };
        let collected = self.shared.collect_views(&self.shared.samples, &request, budget)?;
        let mut seen = Coverage::default();
        for view in &collected.views {
            seen.merge(Coverage { partitions: vec![view.coverage.clone()], missing: view.missing.clone() });
        }
        Ok((MetricsReader::new(Arc::new(Fixed::new(collected.views).within(collected.horizon))), seen))
    }

    fn read<T>(
        &self,
        scope: &Scope,
        query: &HeadQuery,
        budget: &dyn Budget,
        read: impl Fn(&MetricsReader) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        self.shared.retrying(&self.shared.samples, || read(&self.reader(scope, query, budget)?))
    }

    fn open<'a>(&self, select: &MetricSelect, wanted: Wanted, budget: &'a dyn Budget) -> Result<Opened<'a>, ReadError> {
        let query = HeadQuery::Samples(SamplesQuery::new(select));
        let (reader, seen) = self.reader_and_seen(&select.scope, &query, budget)?;
        let cursor = match wanted {
            Wanted::All => reader.open(select, budget)?,
            Wanted::Newest => reader.open_newest(select, budget)?,
        };
        Ok((cursor, seen))
    }

    fn reopening<'a>(
        &'a self,
        select: &MetricSelect,
        wanted: Wanted,
        budget: &'a dyn Budget,
    ) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        let select = select.clone();
        let open = move || self.open(&select, wanted, budget);
        let noted = self.shared.samples.gone();
        let gone = move || {
            let gone = self.shared.samples.forget_gone(noted);
            if gone {
                self.shared.heads.metrics.blocks_gone.inc();
            }
            gone
        };
        Ok(Box::new(Reopening { opened: open()?, open, gone, given: None, again: false, before: None }))
    }
}

impl MetricReader for FanOutSamples {
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.reopening(select, Wanted::All, budget)
    }

    fn newest<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        self.reopening(select, Wanted::Newest, budget)
    }

    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        let query = HeadQuery::Series(SamplesQuery::new(select));
        self.read(&select.scope, &query, budget, |reader| reader.series(select, budget))
    }

    fn cardinality(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Cardinality>, ReadError> {
        let query = HeadQuery::Series(SamplesQuery::new(select));
        self.read(&select.scope, &query, budget, |reader| reader.cardinality(select, budget))
    }

    fn exemplars(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<SeriesExemplars>>, ReadError> {
        let query = HeadQuery::Exemplars(SamplesQuery::new(select));
        self.read(&select.scope, &query, budget, |reader| reader.exemplars(select, budget))
    }

    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Result<Covered<Vec<Family>>, ReadError> {
        self.read(scope, &HeadQuery::Families, budget, |reader| reader.families(scope, budget))
    }
}

/// Series of views, and what those have seen.
type Opened<'a> = (Box<dyn SeriesCursor + 'a>, Coverage);

/// Series of collected views. When a block was deleted while it was read, the views are collected once more and all is read
/// again: series that were given are passed over, and each of the others is of the newer state.
struct Reopening<'a, O, G> {
    opened: Opened<'a>,
    open: O,
    /// Whether a block was found gone since before the views were first collected.
    gone: G,
    /// The series that was given last.
    given: Option<Labels>,
    again: bool,
    /// What the views saw from which series were given before.
    before: Option<Coverage>,
}

impl<'a, O, G> SeriesCursor for Reopening<'a, O, G>
where
    O: Fn() -> Result<Opened<'a>, ReadError>,
    G: Fn() -> bool,
{
    fn next(&mut self, series: &mut Series) -> Result<bool, ReadError> {
        let mut read = self.opened.0.next(series);
        // Asked before the series is given: it would lack what the block has of it.
        if !self.again && (self.gone)() {
            self.again = true;
            // The views of before go before the others come: both at once would be twice what a query may hold.
            self.opened.0 = Box::new(SeriesList::new(Covered::default()));
            let opened = (self.open)()?;
            let (_, seen) = std::mem::replace(&mut self.opened, opened);
            self.before = self.given.is_some().then_some(seen);
            read = self.opened.0.next(series);
            while matches!(read, Ok(true)) && self.given.as_ref().is_some_and(|given| series.labels <= *given) {
                read = self.opened.0.next(series);
            }
        }
        let any = read?;
        self.given = any.then(|| series.labels.clone());
        Ok(any)
    }

    fn coverage(self: Box<Self>) -> Coverage {
        let now = self.opened.0.coverage();
        let Some(mut seen) = self.before else { return now };
        now.missing.into_iter().for_each(|sentence| seen.miss(sentence));
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Series by name, with one sample each.
    fn list(series: &[(&str, f64)], missing: &[&str]) -> Box<dyn SeriesCursor> {
        let one = |(pod, value): &(&str, f64)| {
            let labels = Labels::from_pairs([("pod", pod)]);
            Series { labels, timestamps: vec![1], values: vec![*value], ..Series::default() }
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
            let seen = |sentence: &str| Coverage { partitions: Vec::new(), missing: vec![sentence.to_owned()] };
            Ok(match opened.get() {
                1 => (
                    list(&[("a", 1.0), ("b", 1.0), ("d", 1.0)], &["an owner is silent", "a block is gone"]),
                    seen("an owner is silent"),
                ),
                2 => (list(&[("a", 2.0), ("b", 2.0), ("c", 2.0), ("d", 2.0)], &[]), Coverage::default()),
                more => panic!("opened {more} times"),
            })
        };
        let gone = || {
            pulled.set(pulled.get() + 1);
            pulled.get() >= gone_at
        };
        let mut cursor = Box::new(Reopening { opened: open().unwrap(), open, gone, given: None, again: false, before: None });
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
        // What the first views lacked holds for the series that came of them.
        check(2, &[("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 2.0)], &["an owner is silent"]);
        check(3, &[("a", 1.0), ("b", 1.0), ("c", 2.0), ("d", 2.0)], &["an owner is silent"]);
        // After the last series.
        check(4, &[("a", 1.0), ("b", 1.0), ("d", 1.0)], &["an owner is silent"]);
        check(5, &[("a", 1.0), ("b", 1.0), ("d", 1.0)], &["an owner is silent", "a block is gone"]);
    }
}
