//! Samples as a signal: placed by target, split by rows while there are several, then by columns.

use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::{Signal, part, parts};
use crate::metric::{ChosenColumns, MetricBatch, MetricRow, Schema};
use crate::wire::{self, Budget, Kind, Mark, Section, SectionHeader, WireError};

impl Signal for MetricBatch {
    const KIND: Kind = Kind::Metrics;

    fn records(&self) -> u64 {
        self.rows.len() as u64 * self.schema.series.len() as u64
    }

    fn active(&self) -> impl Iterator<Item = u64> {
        let target = self.target.process_hash().rotate_left(1);
        self.schema.hashes().iter().map(move |series| target ^ series)
    }

    fn encode(&self, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError> {
        wire::metrics::encode(self, budget, out)
    }

    fn wire_version(&self) -> u8 {
        if self.schema.is_part() {
            return wire::VERSION_PARTS;
        }
        let has_extras = |row: &MetricRow| row.extras.as_ref().is_some_and(|extras| !extras.is_empty());
        if self.rows.iter().any(has_extras) { wire::VERSION_EXTRAS } else { wire::VERSION_BASE }
    }

    fn decode(body: &[u8], records: u32, budget: &mut Budget) -> Result<Self, WireError> {
        wire::metrics::decode(body, records, budget)
    }

    fn weight(&self) -> usize {
        let rows: usize = self.rows.iter().map(|row| 8 + 8 * row.values.len()).sum();
        let mut before = None;
        let extras = self.rows.iter().filter_map(|row| row.extras.as_deref());
        let extras: usize = extras.map(|own| own.weight(before.replace(own))).sum();
        self.schema.weight() + rows + extras
    }

    fn sent_weight(&self) -> usize {
        self.weight() - self.schema.weight() + self.schema.own_weight()
    }

    fn route(section: Section<Self>, partition_of: impl Fn(u64) -> u32) -> Vec<(u32, Section<Self>)> {
        let mut hash = Xxh3::new();
        hash.update(section.header.tenant.as_bytes());
        hash.update(&section.batch.target.stable_hash().to_le_bytes());
        vec![(partition_of(hash.digest()), section)]
    }

    fn split(section: Section<Self>) -> Result<[Section<Self>; 2], Section<Self>> {
        if section.batch.records() < 2 {
            return Err(section);
        }
        Ok(if section.batch.rows.len() > 1 { by_rows(&section) } else { by_columns(&section) })
    }

    /// A sampler's rows are told apart by their number; pushed rows have none.
    fn trim(self: &Arc<Self>, mark: &Mark, stored: u64) -> Arc<Self> {
        let Mark::Sequence { first, .. } = mark else { return Arc::clone(self) };
        let stored = usize::try_from(stored.saturating_sub(*first)).unwrap_or(usize::MAX).min(self.rows.len());
        Arc::new(self.with_rows(self.rows[stored..].to_vec()))
    }
}

impl MetricBatch {
    fn with_rows(&self, rows: Vec<MetricRow>) -> Self {
        Self { target: self.target.clone(), schema: Arc::clone(&self.schema), rows }
    }

    fn columns(&self, schema: &Arc<Schema>, range: Range<usize>) -> Self {
        let mut chosen = ChosenColumns::new(range.start as u32..range.end as u32);
        let row = |row: &MetricRow| MetricRow {
            extras: row.extras.as_ref().and_then(|extras| chosen.of(extras)),
            ..MetricRow::new(row.timestamp, row.values[range.clone()].to_vec())
        };
        Self { target: self.target.clone(), schema: Arc::clone(schema), rows: self.rows.iter().map(row).collect() }
    }
}

fn by_rows(section: &Section<MetricBatch>) -> [Section<MetricBatch>; 2] {
    let batch = &section.batch;
    let half = batch.rows.len() / 2;
    let at = match section.header.mark {
        Mark::Sequence { first, .. } => Some(first + half as u64),
        Mark::Digest(_) => None,
    };
    let (first, second) = batch.rows.split_at(half);
    parts(&section.header, at, [batch.with_rows(first.to_vec()), batch.with_rows(second.to_vec())])
}

/// The second half goes under the source `<source>#1`, because one row number cannot be two positions of one source.
fn by_columns(section: &Section<MetricBatch>) -> [Section<MetricBatch>; 2] {
    let batch = &section.batch;
    let [first, second] = batch.schema.halves();
    let (half, all) = (first.series.len(), batch.schema.series.len());
    let source = match section.header.mark {
        Mark::Sequence { .. } => format!("{}#1", section.header.source),
        Mark::Digest(_) => section.header.source.clone(),
    };
    let other = SectionHeader { source, ..section.header.clone() };
    [part(&section.header, 0, None, batch.columns(first, 0..half)), part(&other, 1, None, batch.columns(second, half..all))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Buckets, Histogram, ResetHint, Span};
    use crate::label::Labels;
    use crate::metric::{Exemplar, RowExtras};

    fn histogram(count: f64) -> Arc<Histogram> {
        let positive = Buckets { spans: vec![Span { offset: 0, length: 1 }], counts: vec![count] };
        let (negative, custom_bounds) = (Buckets::default(), Vec::new());
        let (zero_threshold, zero_count, reset) = (0.0, 0.0, ResetHint::Unknown);
        Arc::new(Histogram {
            schema: 0,
            reset,
            is_integer: true,
            count,
            sum: 1.0,
            zero_threshold,
            zero_count,
            positive,
            negative,
            custom_bounds,
        })
    }

    fn section() -> Section<MetricBatch> {
        let exemplar = |value: f64| Exemplar { labels: Labels::from_pairs([("trace_id", "7")]), value, timestamp: 5 };
        let starts: Arc<[i64]> = [10, 11, 12, 0].into();
        let row = |at: i64| {
            let histograms = vec![(1, histogram(at as f64)), (2, histogram(9.0))];
            let exemplars = vec![(0, exemplar(0.5)), (2, exemplar(1.5)), (2, exemplar(2.5))];
            let extras = RowExtras { histograms, starts: Some(Arc::clone(&starts)), exemplars };
            MetricRow { extras: Some(Box::new(extras)), ..MetricRow::new(at, vec![1.0; 4]) }
        };
        let series = (0..4).map(|i| Labels::from_pairs([("i", i.to_string())])).collect();
        let rows = vec![row(1), row(2)];
        let batch = MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(series, Vec::new())), rows };
        let mark = Mark::Sequence { epoch: 1, first: 0, last: 2 };
        Section::new(SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 0 }, batch)
    }

    fn extras(section: &Section<MetricBatch>, row: usize) -> &RowExtras {
        section.batch.rows[row].extras.as_deref().unwrap()
    }

    #[test]
    fn parts_of_a_section_have_their_share_of_what_rows_have() {
        let whole = section();
        let [first, second] = MetricBatch::split(whole.clone()).unwrap();
        assert_eq!((extras(&first, 0), extras(&second, 0)), (extras(&whole, 0), extras(&whole, 1)));
        let [left, right] = by_columns(&whole);
        for row in 0..2 {
            let (all, left, right) = (extras(&whole, row), extras(&left, row), extras(&right, row));
            assert_eq!((&left.histograms[..], &right.histograms[..]), (&all.histograms[..1], &[(0, histogram(9.0))][..]));
            assert_eq!((&left.exemplars[..], right.exemplars.len()), (&all.exemplars[..1], 2));
            assert!(right.exemplars.iter().all(|(column, _)| *column == 0));
            assert_eq!([left, right].map(|side| side.starts.clone().unwrap().to_vec()), [vec![10, 11], vec![12, 0]]);
            left.check(2).and(right.check(2)).unwrap();
        }
        let shared = |section: &Section<MetricBatch>| [0, 1].map(|row| extras(section, row).starts.clone().unwrap());
        let [one, other] = shared(&right);
        assert!(Arc::ptr_eq(&one, &other), "rows share their starts as before");
        let mark = Mark::Sequence { epoch: 1, first: 4, last: 6 };
        assert_eq!(whole.batch.trim(&mark, 5).rows[..], whole.batch.rows[1..]);
    }

    #[test]
    fn what_rows_have_is_weighed() {
        let whole = section();
        let mut bare = Arc::unwrap_or_clone(whole.batch.clone());
        bare.rows.iter_mut().for_each(|row| row.extras = None);
        assert!(whole.batch.weight() > bare.weight() + 2 * (2 * 32 + 3 * 24), "{} {}", whole.batch.weight(), bare.weight());
        assert_eq!((whole.batch.wire_version(), bare.wire_version()), (3, 2));
        let (first, second) = (extras(&whole, 0), extras(&whole, 1));
        assert_eq!(first.memory(None) - second.memory(Some(first)), crate::memory::shared(32), "starts are shared");
    }

    #[test]
    fn what_does_not_belong_to_a_row_is_told() {
        let own = extras(&section(), 0).clone();
        assert_eq!(own.check(3).unwrap_err(), "4 starts for 3 columns");
        assert_eq!(own.check(2).unwrap_err(), "columns of histograms do not ascend below 2");
        let twice = RowExtras { histograms: vec![(1, histogram(1.0)), (1, histogram(1.0))], ..RowExtras::default() };
        assert_eq!(twice.check(4).unwrap_err(), "columns of histograms do not ascend below 4");
        let back = RowExtras { exemplars: own.exemplars.iter().rev().cloned().collect(), ..RowExtras::default() };
        assert_eq!(back.check(4).unwrap_err(), "columns of exemplars do not ascend below 4");
        let broken = Histogram { schema: 99, ..(*histogram(1.0)).clone() };
        let broken = RowExtras { histograms: vec![(3, Arc::new(broken))], ..RowExtras::default() };
        assert_eq!(broken.check(4).unwrap_err(), "column 3: histogram schema 99 is unknown: -4 to 8 and -53 are known");
    }
}
