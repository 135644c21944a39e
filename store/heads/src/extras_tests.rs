//! Histograms, starts and exemplars of a head reach the other side as the head has them.

use std::ops::Range;
use std::sync::Arc;

use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::{Labels, Matcher, NAME};
use weir_model::metric::{ChosenColumns, Exemplar, MetricBatch, MetricRow, RowExtras, Schema};
use weir_model::scope::Scope;
use weir_model::select::{MetricReader, MetricSelect, NoBudget, PartitionCoverage};
use weir_model::wire::{Mark, Section, SectionHeader};

use super::request::{HeadQuery, SamplesQuery};
use super::{ExtractLimits, HeadProtocol};
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::view::{Fixed, PartitionView};
use weir_metrics::{MetricsEngine, MetricsHead, MetricsReader};

const LIMITS: ExtractLimits = ExtractLimits { bytes_max: 64 << 20, key: "test.bytes_max" };
const COLUMNS: u32 = 300;

fn histogram(count: f64, buckets: u32) -> Arc<Histogram> {
    let mut counts = vec![0.0; buckets as usize];
    counts[0] = count;
    Arc::new(Histogram {
        schema: 0,
        reset: ResetHint::Unknown,
        is_integer: true,
        count,
        sum: f64::from_bits(0x7ff8_dead_beef_0001),
        zero_threshold: 0.0,
        zero_count: 0.0,
        positive: Buckets { spans: vec![Span { offset: 0, length: buckets }], counts },
        negative: Buckets::default(),
        custom_bounds: Vec::new(),
    })
}

/// Two sources that share their series, each with some rows of histograms that make a section large.
fn head() -> Arc<MetricsHead> {
    let head = MetricsEngine::default().head();
    let starts: Arc<[i64]> = (0..COLUMNS).map(|column| i64::from(column) * 1_000_000_000).collect();
    for (source, first) in [("a", 0_i64), ("b", 40)] {
        let row = |at: i64| {
            let exemplar = |value: f64| Exemplar {
                labels: Labels::from_pairs([("trace_id", at.to_string())]),
                value,
                timestamp: (at - 5) * 1_000_000,
            };
            let extras = RowExtras {
                histograms: (0..COLUMNS).step_by(3).map(|column| (column, histogram(at as f64, 400))).collect(),
                starts: Some(Arc::clone(&starts)),
                exemplars: vec![(1, exemplar(0.5)), (3, exemplar(1.5))],
            };
            let extras = (at % 4 != 3).then(|| Box::new(extras));
            MetricRow { extras, ..MetricRow::new(at * 1_000_000, (0..COLUMNS).map(f64::from).collect()) }
        };
        let series = (0..COLUMNS).map(|i| Labels::from_pairs([(NAME, "m"), ("i", &*i.to_string())]));
        // One more, so that the tables differ.
        let own = Labels::from_pairs([(NAME, source)]);
        let schema = Arc::new(Schema::new(series.chain([own]).collect(), Vec::new()));
        let widened = |row: MetricRow| {
            let mut extras = row.extras;
            if let Some(starts) = extras.as_mut().and_then(|extras| extras.starts.as_mut()) {
                *starts = starts.iter().copied().chain([7_000_000]).collect();
            }
            MetricRow { values: row.values.into_iter().chain([1.0]).collect(), extras, ..row }
        };
        for at in first..first + 30 {
            let own = widened(row(at));
            let cut = if at % 5 == 0 { 1 + at as usize } else { 0 };
            // Of each fifth row one part comes after the other, cut elsewhere each time.
            for columns in [0..cut, cut..schema.series.len()].into_iter().filter(|columns| !columns.is_empty()) {
                let batch = part(&schema, columns, &own);
                let mark = Mark::Digest([1; 16]);
                let section = Section::new(SectionHeader { tenant: "t".into(), source: source.into(), mark, records: 0 }, batch);
                head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
            }
        }
    }
    Arc::new(head)
}

fn part(schema: &Arc<Schema>, columns: Range<usize>, row: &MetricRow) -> MetricBatch {
    let mut chosen = ChosenColumns::new(columns.start as u32..columns.end as u32);
    let extras = row.extras.as_ref().and_then(|extras| chosen.of(extras));
    let rows = vec![MetricRow { extras, ..MetricRow::new(row.timestamp, row.values[columns.clone()].to_vec()) }];
    MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::part(schema, columns)), rows }
}

fn reader(head: Arc<MetricsHead>) -> MetricsReader {
    let (coverage, heads) = (PartitionCoverage::default(), vec![head]);
    MetricsReader::new(Arc::new(Fixed::new(vec![PartitionView { coverage, blocks: Vec::new(), heads, missing: Vec::new() }])))
}

#[test]
fn what_rows_have_beside_numbers_travels() {
    let head = head();
    let matchers = vec![Matcher::equal(NAME, "m")];
    let select = MetricSelect { scope: Scope::of("t"), matchers, start_ms: 3, end_ms: 60 };
    let travel = |query: &HeadQuery| {
        let heads = [Arc::clone(&head)];
        let extract = MetricsEngine::extract(&Scope::of("t"), query, &heads, LIMITS, &NoBudget).unwrap();
        let records: usize = extract.heads.iter().map(Vec::len).sum();
        let head = MetricsEngine::default().rebuild_head(0, "t", &extract.heads[0], 1 << 30).unwrap();
        (reader(Arc::new(head)), records)
    };
    let own = reader(Arc::clone(&head));
    let (sent, records) = travel(&HeadQuery::Samples(SamplesQuery::new(&select)));
    assert!(records > 1, "{records}: histograms count for the size of a section");
    let [own_series, sent_series] = [&own, &sent].map(|reader| reader.select(&select, &NoBudget).unwrap().value);
    assert_eq!(own_series.len(), COLUMNS as usize);
    // NaN is not equal to itself.
    let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
    assert_eq!(text(&sent_series), text(&own_series));
    let with: usize = own_series.iter().map(|series| series.histograms.len()).sum();
    assert_eq!(with, 100 * (27 + 21 - 7 - 5), "rows 3 to 29 and 40 to 60, of which each fourth has none");
    assert!(
        own_series
            .iter()
            .zip(&sent_series)
            .all(|(own, sent)| { own.histograms.iter().zip(&sent.histograms).all(|((_, own), (_, sent))| own.same_bits(sent)) })
    );
    assert!(sent.exemplars(&select, &NoBudget).unwrap().value.is_empty(), "they do not travel with samples");

    let (sent, _) = travel(&HeadQuery::Exemplars(SamplesQuery::new(&select)));
    let [own, sent] = [&own, &sent].map(|reader| reader.exemplars(&select, &NoBudget).unwrap().value);
    assert_eq!(sent, own);
    let times = |i: usize| own[i].exemplars.iter().map(|own| own.timestamp / 1_000_000).collect::<Vec<_>>();
    let expected: Vec<i64> = (8..30).chain(40..66).filter(|at| at % 4 != 3).map(|at| at - 5).collect();
    assert_eq!((own.len(), times(0), times(1)), (2, expected.clone(), expected));
}
