//! Histograms, starts and exemplars through head, block, merge and reader, against plain lists.

use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::metric::{Exemplar, RowExtras, STALE_NAN_BITS};

use super::hidden::{Kept, WithHorizon};
use super::*;
use crate::histogram_runs::tests::histogram;
use crate::schema::{EXEMPLARS, EXTRAS, HISTOGRAMS, SERIES, SERIES_EXTRAS, STARTS};
use weir_blocks::hidden::{Hidden, Horizon};

/// A sample: its bits, its start, and its histogram to the bit.
pub(super) type Told = (u64, i64, String);
pub(super) type Full = BTreeMap<Labels, Vec<(i64, Told)>>;
pub(super) type AllExemplars = BTreeMap<Labels, Vec<(i64, u64, Labels)>>;

fn bits(own: &Histogram) -> String {
    let numbers = [own.count, own.sum, own.zero_threshold, own.zero_count];
    let all = [&numbers[..], &own.positive.counts, &own.negative.counts, &own.custom_bounds];
    let all = all.map(|numbers| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>());
    let layout = (own.schema, own.reset, own.is_integer, &own.positive.spans, &own.negative.spans);
    format!("{layout:?} {all:?}")
}

fn full(fixed: Fixed, select: &MetricSelect) -> Full {
    let found = MetricsReader::new(Arc::new(fixed)).select(select, &NoBudget).unwrap();
    assert_eq!(found.coverage.missing, Vec::<String>::new());
    let samples = |series: &Series| {
        assert!(series.starts.is_empty() || series.starts.len() == series.timestamps.len());
        assert!(series.histograms.is_sorted_by(|a, b| a.0 < b.0));
        let mut histograms: BTreeMap<u32, String> = series.histograms.iter().map(|(at, own)| (*at, bits(own))).collect();
        let sample = |(at, timestamp): (usize, &i64)| {
            let start = series.starts.get(at).copied().unwrap_or_default();
            (*timestamp, (series.values[at].to_bits(), start, histograms.remove(&(at as u32)).unwrap_or_default()))
        };
        let samples = series.timestamps.iter().enumerate().map(sample).collect();
        assert_eq!(histograms, BTreeMap::new(), "of no sample");
        samples
    };
    found.value.iter().map(|series| (series.labels.clone(), samples(series))).collect()
}

fn exemplars(fixed: Fixed, select: &MetricSelect) -> AllExemplars {
    let found = MetricsReader::new(Arc::new(fixed)).exemplars(select, &NoBudget).unwrap();
    assert_eq!(found.coverage.missing, Vec::<String>::new());
    assert!(found.value.is_sorted_by(|a, b| a.labels < b.labels));
    let one = |own: &Exemplar| (own.timestamp, own.value.to_bits(), own.labels.clone());
    found.value.iter().map(|series| (series.labels.clone(), series.exemplars.iter().map(one).collect())).collect()
}

/// What should come back: the first sample of each series and millisecond, and each exemplar once.
fn expected(batches: &[MetricBatch], start_ms: i64, end_ms: i64) -> (Full, AllExemplars) {
    let mut samples: BTreeMap<Labels, BTreeMap<i64, Told>> = BTreeMap::new();
    let mut exemplars: BTreeMap<Labels, std::collections::BTreeSet<(i64, u64, Labels)>> = BTreeMap::new();
    for batch in batches {
        for row in &batch.rows {
            let none = RowExtras::default();
            let extras = row.extras.as_deref().unwrap_or(&none);
            for (column, (labels, value)) in (0..).zip(batch.schema.series.iter().zip(&row.values)) {
                let labels = batch.target.merged(labels);
                let histogram = extras.histogram(column);
                let value = if histogram.is_some() { STALE_NAN_BITS } else { value.to_bits() };
                let told =
                    (value, extras.start(column).div_euclid(1_000_000), histogram.map(|own| bits(own)).unwrap_or_default());
                let at = row.timestamp.div_euclid(1_000_000);
                if (start_ms..=end_ms).contains(&at) {
                    samples.entry(labels.clone()).or_default().entry(at).or_insert(told);
                }
                for own in extras.exemplars(column) {
                    if (start_ms..=end_ms).contains(&own.timestamp.div_euclid(1_000_000)) {
                        let one = (own.timestamp, own.value.to_bits(), own.labels.clone());
                        exemplars.entry(labels.clone()).or_default().insert(one);
                    }
                }
            }
        }
    }
    let list = |(labels, samples): (Labels, BTreeMap<i64, Told>)| (labels, samples.into_iter().collect());
    let exemplars = exemplars.into_iter().map(|(labels, own)| (labels, own.into_iter().collect()));
    (samples.into_iter().map(list).collect(), exemplars.collect())
}

fn exemplar(trace: &str, value: f64, at_ms: i64) -> Exemplar {
    Exemplar { labels: Labels::from_pairs([("trace_id", trace)]), value, timestamp: at_ms * 1_000_000 + 5 }
}

/// Batches of [`batches`], of which some rows have more than numbers.
pub(super) fn batches_with_extras() -> impl Strategy<Value = Vec<MetricBatch>> {
    let histograms = proptest::collection::btree_map(0..5_u32, histogram(), 0..4);
    let starts = (0..4_usize, proptest::collection::vec(0..3_i64, 5));
    let told =
        (0..5_u32, "[ab]", value(), -80_i64..5200).prop_map(|(column, trace, value, at)| (column, exemplar(&trace, value, at)));
    let extras = (histograms, starts, proptest::collection::vec(told, 0..3), 0..3_u8);
    (batches(), proptest::collection::vec(extras, 96)).prop_map(|(mut batches, extras)| {
        let mut extras = extras.into_iter();
        for batch in &mut batches {
            let width = batch.schema.series.len();
            for row in &mut batch.rows {
                let Some((histograms, (every, starts), mut told, some)) = extras.next().filter(|own| own.3 > 0) else { continue };
                told.retain(|(column, _)| (*column as usize) < width);
                told.sort_by_key(|(column, _)| *column);
                let histograms = histograms.into_iter().filter(|(column, _)| (*column as usize) < width).collect();
                let starts = starts[..width].iter().map(|start| start * 7_000_000_000).collect();
                let starts = (every == 0 && some == 2).then_some(starts);
                row.extras = Some(Box::new(RowExtras { histograms, starts, exemplars: told }));
            }
        }
        batches
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_rows_have_beside_numbers_comes_out(batches in batches_with_extras(), cut in 0..12_usize, start in -60_i64..4000, length in 0_i64..6000) {
        let engine = MetricsEngine::default();
        let (old, new) = batches.split_at(cut.min(batches.len()));
        let heads = [old, new].map(|batches| {
            let head = Arc::new(engine.head());
            batches.iter().for_each(|batch| insert(&head, "t", batch.clone()));
            head
        });
        let built: Vec<_> = heads.iter().flat_map(|head| head.build().unwrap()).collect();
        let blocks: Vec<_> = built.iter().map(|built| open(&engine, built)).collect();
        let pointers: Vec<_> = blocks.iter().map(|view| Arc::clone(&view.block)).collect();
        let merged: Vec<_> = engine.merge(&pointers).unwrap().iter().map(|built| {
            let view = open(&engine, built);
            engine.verify(&view.block, &built.summary).unwrap();
            view
        }).collect();
        for (start_ms, end_ms) in [(i64::MIN, i64::MAX), (start, start + length)] {
            let select = MetricSelect { start_ms, end_ms, ..all("t", Vec::new()) };
            let expected = expected(&batches, start_ms, end_ms);
            let of = |blocks: &[BlockView<MetricsEngine>], heads: &[Arc<MetricsHead>]| {
                let fixed = || Fixed { blocks: blocks.to_vec(), heads: heads.to_vec() };
                (full(fixed(), &select), exemplars(fixed(), &select))
            };
            prop_assert_eq!(&of(&[], &heads), &expected);
            prop_assert_eq!(&of(&blocks[..blocks.len().min(1)], &heads[1..]), &expected);
            prop_assert_eq!(&of(&blocks, &[]), &expected);
            prop_assert_eq!(&of(&merged, &[]), &expected);
        }
    }
}

fn counter(at: i64) -> Arc<Histogram> {
    let counts: Vec<f64> = (0..3).map(|bucket| (at * (bucket + 1)) as f64).collect();
    let positive = Buckets { spans: vec![Span { offset: -1, length: 2 }, Span { offset: 4, length: 1 }], counts };
    Arc::new(Histogram {
        schema: 2,
        reset: ResetHint::NotReset,
        is_integer: true,
        count: (at * 6) as f64,
        sum: at as f64 * 0.5,
        zero_threshold: 1e-128,
        zero_count: 0.0,
        positive,
        negative: Buckets::default(),
        custom_bounds: Vec::new(),
    })
}

/// Seconds from 1 on: a histogram and a counter, with starts and an exemplar of the second before.
fn batch_of(seconds: std::ops::RangeInclusive<i64>) -> MetricBatch {
    let starts: Arc<[i64]> = [500_000_000, 500_000_000].into();
    let one = |at: i64| MetricRow {
        extras: Some(Box::new(RowExtras {
            histograms: vec![(0, counter(at))],
            starts: Some(Arc::clone(&starts)),
            exemplars: vec![(0, exemplar(&at.to_string(), 0.25, at * 1000 - 1000))],
        })),
        ..row(at * 1000, &[0.0, at as f64])
    };
    batch(&[("job", "x")], &[&[(NAME, "seconds")], &[(NAME, "rq_total")]], seconds.map(one).collect())
}

fn sealed(engine: &MetricsEngine, batch: MetricBatch) -> BuiltBlock {
    let head = engine.head();
    insert(&head, "t", batch);
    head.build().unwrap().remove(0)
}

pub(super) fn golden_extras() -> BuiltBlock {
    sealed(&MetricsEngine::default(), batch_of(1..=5))
}

/// All samples and exemplars of a block of tenant `t`.
pub(super) fn all_of(built: &BuiltBlock) -> (Full, AllExemplars) {
    let engine = MetricsEngine::default();
    let view = open(&engine, built);
    engine.verify(&view.block, &built.summary).unwrap();
    let fixed = || Fixed { blocks: vec![view.clone()], heads: Vec::new() };
    (full(fixed(), &all("t", Vec::new())), exemplars(fixed(), &all("t", Vec::new())))
}

#[test]
fn a_block_with_extras_is_of_a_version_of_its_own_and_others_are_as_before() {
    let names = |built: &BuiltBlock| built.data.sections.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let built = golden_extras();
    assert!([SERIES_EXTRAS, EXTRAS, HISTOGRAMS, STARTS, EXEMPLARS].iter().all(|name| names(&built).contains(name)));
    assert!(!names(&built).contains(&SERIES));
    assert!(names(&golden()).contains(&SERIES) && !names(&golden()).contains(&EXTRAS));
    // The format to the byte.
    let found: String = built.data.sections.iter().map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes))).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/golden_extras.txt");
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(path).unwrap(), "found:\n{found}");
}

#[test]
fn what_is_deleted_takes_its_histograms_and_exemplars_along() {
    let engine = MetricsEngine::default();
    let batch = batch_of(1..=5);
    let view = open(&engine, &sealed(&engine, batch.clone()));
    let asked =
        weir_model::deletion::DeletionQuery { selectors: vec![vec![Matcher::equal(NAME, "seconds")]], ..Default::default() };
    let range = weir_model::time::TimeRange { start: 2_000_000_000, end: 4_000_000_000 };
    let request = weir_model::deletion::DeletionRequest::new(("t", Kind::Metrics), asked, range, 0, false).unwrap();
    let hidden = Hidden::by(vec![Arc::new(request.compile().unwrap())]);
    let select = all("t", vec![Matcher::equal(NAME, "seconds")]);
    let (mut samples, mut told) = expected(&[batch], i64::MIN, i64::MAX);
    samples.retain(|labels, _| labels.get(NAME) == "seconds");
    samples.values_mut().for_each(|own| own.retain(|(at, _)| !(2000..4000).contains(at)));
    // That of second 0 lies before all samples, and goes with the first of them.
    told.values_mut().for_each(|own| own.retain(|(at, ..)| !(2_000_000_000..4_000_000_000).contains(at)));
    let shown = |view: &BlockView<MetricsEngine>| {
        let fixed = || Fixed { blocks: vec![view.clone()], heads: Vec::new() };
        (full(fixed(), &select), exemplars(fixed(), &select))
    };
    let expected = (samples, told);
    assert_eq!(expected.1.values().map(Vec::len).sum::<usize>(), 3);
    assert_eq!(shown(&BlockView { hidden: hidden.clone(), ..view.clone() }), expected);
    let rewritten = engine.rewrite(&view.block, &hidden).unwrap().unwrap();
    assert_eq!(shown(&open(&engine, &rewritten[0])), expected);
}

#[test]
fn an_exemplar_between_two_samples_is_deleted_where_no_sample_is() {
    let engine = MetricsEngine::default();
    let mut batch = batch_of(1..=2);
    batch.rows[1].extras.as_mut().unwrap().exemplars.push((0, exemplar("between", 0.5, 1700)));
    let view = open(&engine, &sealed(&engine, batch));
    let times = |view: &BlockView<MetricsEngine>| {
        let found = exemplars(Fixed { blocks: vec![view.clone()], heads: Vec::new() }, &all("t", Vec::new()));
        found.into_values().flatten().map(|(at, ..)| at / 1_000_000).collect::<Vec<_>>()
    };
    assert_eq!(times(&view), [0, 1000, 1700]);
    let hidden = Hidden::by(vec![hidden::deletion("t", Vec::new(), 1500, 1900)]);
    assert_eq!(times(&BlockView { hidden: hidden.clone(), ..view.clone() }), [0, 1000]);
    let rewritten = engine.rewrite(&view.block, &hidden).unwrap().expect("an exemplar is deleted");
    let left = open(&engine, &rewritten[0]);
    assert_eq!((left.summary.records, times(&left)), (view.summary.records, vec![0, 1000]));
    assert!(engine.rewrite(&left.block, &hidden).unwrap().is_none());
}

#[test]
fn an_exemplar_is_seen_as_long_as_a_sample_of_its_time() {
    let engine = MetricsEngine::default();
    let view = open(&engine, &sealed(&engine, batch_of(1..=5)));
    let select = all("t", vec![Matcher::equal(NAME, "seconds")]);
    let views = |now_ms: i64| {
        let horizon = Horizon { now: now_ms * 1_000_000, periods: Arc::new(Kept(1_000_000_000)) };
        WithHorizon(Fixed { blocks: vec![view.clone()], heads: Vec::new() }, horizon)
    };
    for now_ms in (0..8000).step_by(250) {
        let samples = MetricsReader::new(Arc::new(views(now_ms))).select(&select, &NoBudget).unwrap().value;
        let samples: Vec<i64> = samples.iter().flat_map(|series| series.timestamps.clone()).collect();
        let found = MetricsReader::new(Arc::new(views(now_ms))).exemplars(&select, &NoBudget).unwrap().value;
        let told: Vec<i64> = found.iter().flat_map(|own| &own.exemplars).map(|own| own.timestamp / 1_000_000).collect();
        // Those of second 0 to 4, the first of which goes with the sample of second 1.
        let expected: Vec<i64> = (0..5).map(|second| second * 1000).filter(|at| *at.max(&1000) >= now_ms - 1000).collect();
        assert_eq!(told, expected, "at {now_ms}");
        assert!(samples.len() < 5 || told.len() == 5, "one goes while all samples are seen: at {now_ms}");
        assert!(!samples.is_empty() || told.is_empty(), "one is left without a sample: at {now_ms}");
    }
}

#[test]
fn exemplars_are_those_of_the_scope() {
    let engine = MetricsEngine::default();
    let head = Arc::new(engine.head());
    insert(&head, "t", batch_of(1..=2));
    let view = open(&engine, &sealed(&engine, batch_of(3..=4)));
    let part = |matcher: Matcher| {
        let visible = Visible::any_of(vec![vec![matcher]]);
        let scope = TenantScope { tenant: "t".into(), visible }.into();
        let select = MetricSelect { scope, ..all("t", Vec::new()) };
        exemplars(Fixed { blocks: vec![view.clone()], heads: vec![Arc::clone(&head)] }, &select)
    };
    assert_eq!(part(Matcher::equal("job", "x")).values().map(Vec::len).collect::<Vec<_>>(), [4]);
    assert_eq!(part(Matcher::equal("job", "y")), AllExemplars::new());
    assert_eq!(part(Matcher::equal(NAME, "rq_total")), AllExemplars::new());
}

#[test]
fn a_block_has_the_newest_exemplars_of_a_series_and_says_how_many_went() {
    let counters = MetricsCounters::default();
    let engine = MetricsEngine::new(counters.clone());
    let blocks = [1..=80, 81..=130].map(|seconds| open(&engine, &sealed(&engine, batch_of(seconds))).block);
    assert_eq!(counters.exemplars.get(), 0);
    let merged = open(&engine, &engine.merge(&blocks).unwrap()[0]);
    assert_eq!(counters.exemplars.get(), 30);
    let found = exemplars(Fixed { blocks: vec![merged], heads: Vec::new() }, &all("t", Vec::new()));
    let times: Vec<i64> = found.values().flatten().map(|(at, ..)| at / 1_000_000_000).collect();
    assert_eq!(times, (30..130).collect::<Vec<_>>());
}

#[test]
fn a_histogram_that_cannot_be_read_is_missing_and_no_staleness_marker() {
    let engine = MetricsEngine::default();
    let mut built = sealed(&engine, batch_of(1..=5));
    let (_, bytes) = built.data.sections.iter_mut().find(|(name, _)| *name == HISTOGRAMS).unwrap();
    *bytes.last_mut().unwrap() ^= 0x55;
    let view = open(&engine, &built);
    let failed = engine.verify(&view.block, &built.summary).unwrap_err().to_string();
    assert!(failed.contains("histograms.1 of series 1 to 1: checksum"), "{failed}");
    let found = MetricsReader::new(Arc::new(Fixed { blocks: vec![view], heads: Vec::new() }));
    let found = found.select(&all("t", Vec::new()), &NoBudget).unwrap();
    assert_eq!(found.value.iter().map(|series| series.labels.get(NAME)).collect::<Vec<_>>(), ["rq_total"]);
    assert_eq!(found.coverage.missing.len(), 1, "{:?}", found.coverage.missing);
}

#[test]
fn what_histograms_take_is_counted() {
    let engine = MetricsEngine::default();
    let head = engine.head();
    insert(&head, "t", batch_of(1..=200));
    let memory = 200 * counter(1).memory();
    assert!(head.bytes() > memory, "{} {memory}", head.bytes());
    let view = open(&engine, &head.build().unwrap()[0]);
    let reader = MetricsReader::new(Arc::new(Fixed { blocks: vec![view], heads: Vec::new() }));
    let (held, mut series) = (Held::default(), Series::default());
    let mut cursor = reader.cursor(&all("t", vec![Matcher::equal(NAME, "seconds")]), &held).unwrap();
    assert!(cursor.next(&mut series).unwrap());
    assert_eq!(series.histograms.len(), 200);
    let now = held.now.load(Ordering::Relaxed) as usize;
    assert!((memory..memory + (128 << 10)).contains(&now), "{now} {memory}");
    drop(cursor);
    assert_eq!(held.now.load(Ordering::Relaxed), 0);
}
