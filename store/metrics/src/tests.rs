//! The metrics engine as a whole: head, block, merge and reader against plain lists of samples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use weir_model::label::{Labels, MatchOp, Matcher, NAME};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, STALE_NAN, Schema};
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{Budget, MetricReader, MetricSelect, NoBudget, PartitionCoverage, ReadError, Series};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::{MetricsBlock, MetricsCounters, MetricsEngine, MetricsHead, MetricsReader};
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_blocks::view::{BlockView, PartitionView, Views};

mod cardinality;
mod downsampled;
mod extras;
pub(super) mod hidden;
mod layouts;
mod newest;
mod next_head;
mod parts;

struct Fixed {
    blocks: Vec<BlockView<MetricsEngine>>,
    heads: Vec<Arc<MetricsHead>>,
}

impl Views<MetricsEngine> for Fixed {
    fn views(&self) -> Vec<PartitionView<MetricsEngine>> {
        let coverage = PartitionCoverage { topic: "weir.metrics".into(), ..PartitionCoverage::default() };
        vec![PartitionView { coverage, blocks: self.blocks.clone(), heads: self.heads.clone(), missing: Vec::new() }]
    }
}

fn section(tenant: &str, source: &str, batch: MetricBatch) -> Section<MetricBatch> {
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
    Section::new(SectionHeader { tenant: tenant.into(), source: source.into(), mark, records: 0 }, batch)
}

fn insert(head: &MetricsHead, tenant: &str, batch: MetricBatch) {
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section(tenant, "source", batch)).unwrap();
}

fn open(engine: &MetricsEngine, built: &BuiltBlock) -> BlockView<MetricsEngine> {
    let blob = MemoryBlob::new("metrics/0/test", built.data.encode(Kind::Metrics));
    BlockView {
        summary: built.summary.clone(),
        block: Arc::new(engine.open(Arc::new(blob)).unwrap()),
        hidden: Default::default(),
    }
}

fn all(tenant: &str, matchers: Vec<Matcher>) -> MetricSelect {
    MetricSelect { scope: Scope::of(tenant), matchers, start_ms: i64::MIN, end_ms: i64::MAX }
}

type Plain = BTreeMap<Labels, Vec<(i64, u64)>>;

fn read(fixed: Fixed, select: &MetricSelect) -> Plain {
    let found = MetricsReader::new(Arc::new(fixed)).select(select, &NoBudget).unwrap();
    assert_eq!(found.coverage.missing, Vec::<String>::new());
    assert!(found.value.is_sorted_by(|a, b| a.labels < b.labels));
    let bits = |series: &weir_model::select::Series| {
        series.timestamps.iter().copied().zip(series.values.iter().map(|value| value.to_bits())).collect()
    };
    found.value.iter().map(|series| (series.labels.clone(), bits(series))).collect()
}

fn row(milliseconds: i64, values: &[f64]) -> MetricRow {
    MetricRow::new(milliseconds * 1_000_000 + 999, values.to_vec())
}

fn batch(target: &[(&str, &str)], series: &[&[(&str, &str)]], rows: Vec<MetricRow>) -> MetricBatch {
    let series = series.iter().map(|pairs| Labels::from_pairs(pairs.iter().copied())).collect();
    let families = vec![Family { name: "up".into(), kind: MetricKind::Gauge, help: "Is it up".into(), unit: String::new() }];
    MetricBatch { target: Labels::from_pairs(target.iter().copied()), schema: Arc::new(Schema::new(series, families)), rows }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<i16>().prop_map(f64::from),
        2 => (any::<i32>(), 0..12_i32).prop_map(|(integer, power)| f64::from(integer) / 10_f64.powi(power)),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(STALE_NAN),
        1 => Just(-0.0),
        1 => Just(f64::INFINITY),
    ]
}

/// Batches of up to five series out of a small world, at irregular and repeated milliseconds.
fn batches() -> impl Strategy<Value = Vec<MetricBatch>> {
    let labels = (0..3_u8, 0..4_u8, 0..3_u8, 0..3_u8).prop_map(|(name, pod, odd, zone)| {
        let pod = ["", "a", "b", "ü\n"][pod as usize];
        let odd = ["", "1", "2"][odd as usize];
        // Sorts before the name, so that a block has another order than a reader.
        let zone = ["", "", "z"][zone as usize];
        Labels::from_pairs([(NAME, ["up", "cpu", ""][name as usize]), ("pod", pod), ("odd", odd), ("Zone", zone)])
    });
    let schema = proptest::collection::vec(labels, 1..6);
    let batch = (schema, 0..3_u8, proptest::collection::vec((-50_i64..5000, proptest::collection::vec(value(), 5)), 1..8));
    let batch = batch.prop_map(|(series, target, rows)| {
        let rows = rows.into_iter().map(|(at, values)| row(at, &values[..series.len()])).collect();
        let target = Labels::from_pairs([("job", ["", "x", "y"][target as usize])]);
        MetricBatch { target, schema: Arc::new(Schema::new(series, Vec::new())), rows }
    });
    proptest::collection::vec(batch, 1..12)
}

/// What should come back: the first sample of each series and millisecond.
fn plain(batches: &[MetricBatch]) -> Plain {
    let mut found: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
    for batch in batches {
        for row in &batch.rows {
            for (labels, value) in batch.schema.series.iter().zip(&row.values) {
                let samples = found.entry(batch.target.merged(labels)).or_default();
                samples.entry(row.timestamp.div_euclid(1_000_000)).or_insert(value.to_bits());
            }
        }
    }
    found.into_iter().map(|(labels, samples)| (labels, samples.into_iter().collect())).collect()
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let matcher = (0..5_usize, 0..4_usize, 0..8_usize).prop_map(|(name, op, value)| {
        let op = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex][op];
        let value = ["", "a", "up", ".*", ".+", "a|up|1", "a|", "b.*"][value];
        Matcher::new([NAME, "pod", "odd", "job", "absent"][name], op, value).unwrap()
    });
    proptest::collection::vec(matcher, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_goes_in_comes_out(batches in batches(), cut in 0..12_usize, matchers in matchers()) {
        let engine = MetricsEngine::default();
        let (old, new) = batches.split_at(cut.min(batches.len()));
        let heads = [old, new].map(|batches| {
            let head = Arc::new(engine.head());
            batches.iter().for_each(|batch| insert(&head, "t", batch.clone()));
            head
        });
        let expected = plain(&batches);
        let blocks: Vec<_> = heads.iter().flat_map(|head| head.build().unwrap()).map(|built| open(&engine, &built)).collect();
        let pointers: Vec<_> = blocks.iter().map(|view| Arc::clone(&view.block)).collect();
        let merged: Vec<_> = engine.merge(&pointers).unwrap().iter().map(|built| open(&engine, built)).collect();
        prop_assert_eq!(merged.len(), 1);
        let samples: usize = expected.values().map(Vec::len).sum();
        prop_assert_eq!(merged[0].summary.records, samples as u64);
        let passing: Plain =
            expected.into_iter().filter(|(labels, _)| matchers.iter().all(|matcher| matcher.matches_labels(labels))).collect();
        let select = all("t", matchers);
        prop_assert_eq!(&read(Fixed { blocks: Vec::new(), heads: heads.to_vec() }, &select), &passing);
        prop_assert_eq!(&read(Fixed { blocks: blocks[..blocks.len().min(1)].to_vec(), heads: heads[1..].to_vec() }, &select), &passing);
        prop_assert_eq!(&read(Fixed { blocks, heads: Vec::new() }, &select), &passing);
        let labels = MetricsReader::new(Arc::new(Fixed { blocks: merged.clone(), heads: heads.to_vec() })).series(&select, &NoBudget);
        prop_assert_eq!(labels.unwrap().value, passing.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(&read(Fixed { blocks: merged, heads: Vec::new() }, &select), &passing);
    }
}

#[test]
fn tenants_and_ranges_are_kept_apart() {
    let engine = MetricsEngine::default();
    let head = Arc::new(engine.head());
    let of = |value: f64| batch(&[("job", "x")], &[&[(NAME, "up")]], (0..10).map(|i| row(i * 1000, &[value])).collect());
    insert(&head, "b", of(2.0));
    insert(&head, "a", of(1.0));
    let block = open(&engine, &head.build().unwrap()[0]);
    assert_eq!((block.summary.first, block.summary.last, block.summary.records), (0, 9_000_000_000, 20));
    for (blocks, heads) in [(vec![block], vec![]), (vec![], vec![head])] {
        let select = MetricSelect { start_ms: 1000, end_ms: 2999, ..all("a", Vec::new()) };
        let found = read(Fixed { blocks: blocks.clone(), heads: heads.clone() }, &select);
        assert_eq!(found.into_values().collect::<Vec<_>>(), [[(1000, 1_f64.to_bits()), (2000, 1_f64.to_bits())]]);
        let reader = MetricsReader::new(Arc::new(Fixed { blocks, heads }));
        assert_eq!(reader.families(&Scope::of("a"), &NoBudget).unwrap().value[0].help, "Is it up");
        assert_eq!(reader.families(&Scope::of("c"), &NoBudget).unwrap().value, []);
        let late = MetricSelect { start_ms: 9001, ..select };
        assert_eq!(reader.series(&late, &NoBudget).unwrap().value, []);
    }
}

#[test]
fn what_is_dropped_is_counted() {
    let counters = MetricsCounters::default();
    let engine = MetricsEngine::new(counters.clone());
    let head = engine.head();
    insert(&head, "t", batch(&[], &[&[(NAME, "up")]], vec![row(5, &[1.0]), row(5, &[1.0]), row(5, &[2.0]), row(4, &[3.0])]));
    assert_eq!(head.records(), 4);
    let built = head.build().unwrap();
    assert_eq!((built[0].summary.records, counters.repeated.get(), counters.conflicting.get()), (2, 1, 1));
    let block = open(&engine, &built[0]).block;
    engine.merge(&[Arc::clone(&block), block]).unwrap();
    assert_eq!((counters.repeated.get(), counters.conflicting.get()), (3, 1));
}

#[test]
fn a_section_that_does_not_fit_is_refused_whole() {
    let head = MetricsEngine::default().head();
    let bad = batch(&[], &[&[(NAME, "up")]], vec![row(1, &[1.0]), row(2, &[1.0, 2.0])]);
    let refused = head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section("t", "s", bad));
    assert_eq!(refused.unwrap_err().to_string(), "take metrics: s sent 2 values for 1 series");
    assert_eq!((head.records(), head.build().unwrap().len()), (0, 0));
}

#[test]
fn changing_schemas_keep_one_series() {
    let head = Arc::new(MetricsEngine::default().head());
    for i in 0..20 {
        let series: &[&[(&str, &str)]] = if i % 2 == 0 { &[&[(NAME, "up")]] } else { &[&[(NAME, "down")], &[(NAME, "up")]] };
        insert(&head, "t", batch(&[], series, vec![row(i, &vec![i as f64; series.len()])]));
    }
    let found = read(Fixed { blocks: Vec::new(), heads: vec![head] }, &all("t", vec![Matcher::equal(NAME, "up")]));
    assert_eq!(found.values().next().unwrap(), &(0..20).map(|i| (i, (i as f64).to_bits())).collect::<Vec<_>>());
}

/// A block of two tenants and every value encoding but that of long series.
fn golden() -> BuiltBlock {
    let head = MetricsEngine::default().head();
    let rows = (0..4).map(|i| row(1000 + i * 15_000, &[1.0, 10.0 + 0.5 * i as f64, 1.0 / (3.0 + i as f64)])).collect();
    insert(
        &head,
        "a",
        batch(&[("job", "x")], &[&[(NAME, "up")], &[(NAME, "cpu"), ("core", "0")], &[(NAME, "cpu"), ("core", "1")]], rows),
    );
    insert(&head, "b", batch(&[], &[&[(NAME, "up")]], vec![row(7, &[STALE_NAN])]));
    head.build().unwrap().remove(0)
}

#[test]
fn the_bytes_are_what_the_format_says() {
    let expected = include_str!("golden.txt");
    let found: String = golden().data.sections.iter().map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes))).collect();
    assert_eq!(found, expected, "found:\n{found}");
}

#[test]
fn a_corrupt_group_is_missing_and_nothing_panics() {
    let engine = MetricsEngine::default();
    let built = golden();
    let good = built.data.encode(Kind::Metrics);
    let mut seen_missing = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let Ok(block) = MetricsBlock::open(Arc::new(MemoryBlob::new("metrics/0/bad", bad))) else { continue };
        let view = BlockView { summary: built.summary.clone(), block: Arc::new(block), hidden: Default::default() };
        let reader = MetricsReader::new(Arc::new(Fixed { blocks: vec![view], heads: Vec::new() }));
        let found = reader.select(&all("a", Vec::new()), &NoBudget).unwrap();
        if !found.coverage.missing.is_empty() {
            assert!(found.coverage.missing[0].starts_with("metrics/0/bad is corrupt: samples of series 0..4: checksum"));
            assert_eq!(found.value, []);
            seen_missing += 1;
        }
    }
    assert!(seen_missing > 10, "{seen_missing}");
    assert_eq!(engine.merge(&[]).unwrap().len(), 0);
}

#[test]
fn a_budget_stops_a_query() {
    struct Few(AtomicU64);
    impl Budget for Few {
        fn check(&self) -> Result<(), ReadError> {
            Ok(())
        }
        fn spend(&self, count: u64) -> Result<(), ReadError> {
            let spent = self.0.fetch_add(count, Ordering::Relaxed) + count;
            if spent > 5 { Err(ReadError::Budget { limit: 5, what: "samples", key: "query.samples" }) } else { Ok(()) }
        }
    }
    let view = open(&MetricsEngine::default(), &golden());
    let reader = MetricsReader::new(Arc::new(Fixed { blocks: vec![view], heads: Vec::new() }));
    let stopped = reader.select(&all("a", Vec::new()), &Few(0.into()));
    assert!(matches!(stopped, Err(ReadError::Budget { .. })));
    assert_eq!(reader.select(&all("b", Vec::new()), &Few(0.into())).unwrap().value.len(), 1);
    struct Over;
    impl Budget for Over {
        fn check(&self) -> Result<(), ReadError> {
            Err(ReadError::Cancelled("over"))
        }
        fn spend(&self, _: u64) -> Result<(), ReadError> {
            Ok(())
        }
    }
    let part = TenantScope { tenant: "a".into(), visible: Visible::any_of(vec![vec![Matcher::equal("job", "x")]]) };
    assert!(matches!(reader.families(&part.into(), &Over), Err(ReadError::Cancelled(_))));
}

/// Takes note of what is reserved.
#[derive(Default)]
struct Held {
    now: AtomicU64,
    most: AtomicU64,
}

impl Budget for Held {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
    fn spend(&self, _: u64) -> Result<(), ReadError> {
        Ok(())
    }
    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }
    fn release(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }
}

const NOISY: usize = 2000;

fn noise(at: i64, i: usize) -> f64 {
    ((at * 7919) as f64 + i as f64).sqrt()
}

/// A block of [`NOISY`] series of 60 samples that no encoding makes small, in many groups.
fn noisy() -> BuiltBlock {
    let head = MetricsEngine::default().head();
    let series = (0..NOISY).map(|i| Labels::from_pairs([(NAME, "up"), ("pod", &format!("{i:04}"))])).collect();
    let rows = (0..60).map(|at| row(at * 1000, &(0..NOISY).map(|i| noise(at, i)).collect::<Vec<_>>())).collect();
    insert(&head, "t", MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(series, Vec::new())), rows });
    head.build().unwrap().remove(0)
}

#[test]
fn a_group_that_cannot_be_read_is_said_once_and_the_others_answer() {
    let engine = MetricsEngine::default();
    let mut built = noisy();
    let broken = open(&engine, &built).block.groups()[3].clone();
    let (_, samples) = built.data.sections.iter_mut().find(|(name, _)| *name == super::schema::SAMPLES).unwrap();
    samples[broken.bytes.start as usize + 100] ^= 0x55;
    let view = open(&engine, &built);
    let reader = MetricsReader::new(Arc::new(Fixed { blocks: vec![view.clone()], heads: Vec::new() }));
    for matchers in [vec![Matcher::equal(NAME, "up")], Vec::new()] {
        let found = reader.select(&all("t", matchers), &NoBudget).unwrap();
        let lost = broken.series_first as usize..(broken.series_first + broken.series) as usize;
        let left: Vec<String> = (0..NOISY).filter(|i| !lost.contains(i)).map(|i| format!("{i:04}")).collect();
        assert_eq!(found.value.iter().map(|series| series.labels.get("pod")).collect::<Vec<_>>(), left);
        let [text] = &found.coverage.missing[..] else { panic!("{:?}", found.coverage) };
        assert!(text.contains(&format!("samples of series {lost:?}: checksum")), "{text}");
    }
    let failed = engine.merge(&[view.block]).unwrap_err().to_string();
    assert!(failed.contains("checksum"), "{failed}");
}

#[test]
fn a_cursor_holds_a_group_at_a_time_and_gives_all_back() {
    let view = open(&MetricsEngine::default(), &noisy());
    let groups = view.block.groups().len() as u64;
    assert!(groups > 10, "{groups} groups");
    let reader = MetricsReader::new(Arc::new(Fixed { blocks: vec![view], heads: Vec::new() }));
    for (matchers, pulled) in [(vec![Matcher::equal(NAME, "up")], usize::MAX), (Vec::new(), usize::MAX), (Vec::new(), 300)] {
        let (held, mut series, mut count) = (Held::default(), Series::default(), 0);
        let mut cursor = reader.cursor(&all("t", matchers), &held).unwrap();
        assert_eq!(held.most.load(Ordering::Relaxed), 0, "nothing is read before it is pulled");
        while count < pulled && cursor.next(&mut series).unwrap() {
            assert_eq!((series.timestamps.len(), series.labels.get("pod")), (60, &*format!("{count:04}")));
            assert!(series.values.iter().enumerate().all(|(at, value)| *value == noise(at as i64, count)));
            count += 1;
        }
        assert_eq!(count, NOISY.min(pulled));
        let most = held.most.load(Ordering::Relaxed);
        assert!((64 << 10..160 << 10).contains(&most), "{most} bytes of {groups} groups");
        drop(cursor);
        assert_eq!(held.now.load(Ordering::Relaxed), 0);
    }
}
