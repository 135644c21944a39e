//! What heads and readers say they hold, against what this thread's allocations say: hostile sections, each through the wire, as a
//! head gets them; and queries over many blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::testing::{Counting, check_memory, held, labels, tenant};
use weir_blocks::view::{BlockView, Fixed, PartitionView};
use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::{Labels, NAME};
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, Schema};
use weir_model::scope::Scope;
use weir_model::select::{Budget, MemoryBudget, MetricReader, MetricSelect, NoBudget, ReadError, each_series, read_series};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::samples::Samples;
use super::writer::{BlockWriter, Families};
use super::{MetricsBlock, MetricsEngine, MetricsReader};

#[global_allocator]
static COUNTING: Counting = Counting;

fn metric_batch(target: Labels, series: Vec<Labels>, rows: i64, families: Vec<Family>) -> MetricBatch {
    let rows = (0..rows).map(|i| MetricRow::new(i * 1_000_000, vec![0.5; series.len()])).collect();
    MetricBatch { target, schema: Arc::new(Schema::new(series, families)), rows }
}

#[test]
fn a_metrics_head_says_what_it_holds() {
    let engine = MetricsEngine::default();
    let named = |i: u64| Labels::from_pairs([(NAME, format!("metric_{i}"))]);
    let run = |what: &str, count, make: &dyn Fn(u64) -> MetricBatch| {
        check_memory(what, &engine, count, |offset| (tenant(), make(offset)))
    };
    let job = || labels(2, 10, 0);
    run("scrapes", 20, &|_| metric_batch(job(), (0..500).map(named).collect(), 1, Vec::new()));
    run("rows of one series", 3, &|_| metric_batch(job(), vec![named(1)], 10_000, Vec::new()));
    run("distinct series", 5, &|offset| {
        metric_batch(job(), (0..500).map(|i| labels(10, 8, offset << 32 | i)).collect(), 1, Vec::new())
    });
    run("distinct names", 5, &|offset| {
        metric_batch(Labels::EMPTY, (0..1000).map(|i| named(offset << 32 | i)).collect(), 1, Vec::new())
    });
    run("label names", 20, &|offset| {
        let many = Labels::from_pairs((0..500).map(|i| (format!("l{offset}_{i}"), "v")));
        metric_batch(Labels::EMPTY, vec![many], 1, Vec::new())
    });
    run("a large target", 2, &|offset| metric_batch(labels(1, 50_000, offset), (0..200).map(named).collect(), 1, Vec::new()));
    run("families", 10, &|offset| {
        let family = |i: usize| Family {
            name: format!("f{offset}_{i}"),
            kind: MetricKind::Gauge,
            help: "h".repeat(i * 10),
            unit: "s".into(),
        };
        metric_batch(job(), vec![named(1)], 1, (0..200).map(family).collect())
    });
    run("sources", 2000, &|_| metric_batch(job(), vec![named(1)], 1, Vec::new()));
    check_memory("tenants", &engine, 500, |offset| {
        (format!("tenant {offset}"), metric_batch(job(), vec![named(1)], 1, Vec::new()))
    });
}

#[test]
fn a_series_takes_little_beside_its_schema_and_its_samples() {
    const SERIES: usize = 10_000;
    let own = |i: usize| {
        let (path, code) = (format!("/api/v1/resource{}/{{id}}", i / 5 % 32), ["200", "201", "400", "404", "500"][i % 5]);
        let method = ["GET", "POST", "PUT", "DELETE"][i / 160 % 4];
        Labels::from_pairs([(NAME, &*format!("requests_{}_total", i / 640)), ("code", code), ("method", method), ("path", &path)])
    };
    let target = Labels::from_pairs([("job", "spine"), ("instance", "127.0.0.1:8080")]);
    let batch = metric_batch(target, (0..SERIES).map(own).collect(), 1, Vec::new());
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
    let section = Section::new(SectionHeader { tenant: tenant(), source: "source".into(), mark, records: 0 }, batch);
    let engine = MetricsEngine::default();

    let before = held();
    let head = engine.head();
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    let of_head = (held() - before) / SERIES as i64 - 8;
    let built = head.build().unwrap().remove(0);
    let blob = Arc::new(MemoryBlob::new("metrics/0/memory", built.data.encode(Kind::Metrics)));
    let before = held();
    let block = engine.open(blob).unwrap();
    let of_block = (held() - before) / SERIES as i64;
    assert_eq!(block.series() as usize, SERIES);
    assert!(of_head < 90 && of_block < 40, "{of_head} bytes a series in a head, {of_block} in a block");
}

/// A block of these series, each with the samples that `samples` gives for its number.
pub(super) fn block(series: usize, samples: impl Fn(usize) -> Samples) -> Arc<MetricsBlock> {
    let mut writer = BlockWriter::default();
    for i in 0..series {
        writer.push("t", &Labels::from_pairs([(NAME, "up"), ("pod", &format!("{i:04}"))]), &samples(i));
    }
    let built = writer.finish(&Families::new()).remove(0);
    Arc::new(
        MetricsEngine::default().open(Arc::new(MemoryBlob::new("metrics/0/many", built.data.encode(Kind::Metrics)))).unwrap(),
    )
}

pub(super) fn reader(blocks: Vec<Arc<MetricsBlock>>, heads: Vec<Arc<super::MetricsHead>>) -> MetricsReader {
    let view = |block| BlockView { summary: Default::default(), block, hidden: Default::default() };
    let blocks = blocks.into_iter().map(view).collect();
    let view = PartitionView { coverage: Default::default(), blocks, heads, missing: Vec::new() };
    MetricsReader::new(Arc::new(Fixed::new(vec![view])))
}

pub(super) fn all(start_ms: i64, end_ms: i64) -> MetricSelect {
    MetricSelect { scope: Scope::of("t"), matchers: Vec::new(), start_ms, end_ms }
}

/// Compares what this thread holds with what is reserved, whenever it is told of something.
struct Compared {
    before: i64,
    reserved: AtomicU64,
    /// The most that was held beyond that.
    beyond: AtomicI64,
}

impl Compared {
    fn new() -> Self {
        Self { before: held(), reserved: AtomicU64::new(0), beyond: AtomicI64::new(0) }
    }

    fn compare(&self) {
        let beyond = held() - self.before - self.reserved.load(Ordering::Relaxed) as i64;
        self.beyond.fetch_max(beyond, Ordering::Relaxed);
    }
}

impl Budget for Compared {
    fn check(&self) -> Result<(), ReadError> {
        self.compare();
        Ok(())
    }

    fn spend(&self, _: u64) -> Result<(), ReadError> {
        self.compare();
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        self.compare();
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn release(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
        self.compare();
    }
}

/// Label sets that blocks keep, cursors, and a group or a head's rows between their making and their reservation.
const BESIDE: i64 = 256 << 10;

#[test]
fn a_query_over_many_blocks_has_reserved_what_it_holds() {
    const BLOCKS: i64 = 12;
    const SERIES: usize = 12;
    // More than a group's bytes, so that each series is a group.
    const SAMPLES: i64 = 9000;
    let noise = |at: i64, i: usize| ((at * 7919) as f64 + i as f64).sqrt();
    // Odd blocks lie between the samples of even ones, so that what is found is not in order.
    let timestamps = |own: i64| (0..SAMPLES).map(move |at| (own / 2 * SAMPLES + at) * 2000 + own % 2 * 1000);
    let of = |own: i64| {
        block(SERIES, |i| Samples {
            timestamps: timestamps(own).collect(),
            values: timestamps(own).map(|at| noise(at, i)).collect(),
            ..Samples::default()
        })
    };
    let blocks: Vec<_> = (0..BLOCKS).map(of).collect();
    let groups: Vec<usize> = blocks.iter().map(|block| block.groups().len()).collect();
    assert!(groups.iter().all(|groups| *groups >= SERIES / 2), "{groups:?}");
    let head = MetricsEngine::default().head();
    let series = (0..SERIES).map(|i| Labels::from_pairs([(NAME, "up"), ("pod", &format!("{i:04}"))])).collect();
    let rows = (0..1000).map(|at| MetricRow::new(at * 2_000_500_000, vec![0.5; SERIES])).collect();
    let batch = MetricBatch { target: Labels::EMPTY, schema: Arc::new(Schema::new(series, Vec::new())), rows };
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
    let section = Section::new(SectionHeader { tenant: tenant(), source: "source".into(), mark, records: 0 }, batch);
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    let reader = reader(blocks, vec![Arc::new(head)]);

    let (compared, mut found) = (Compared::new(), 0);
    each_series::<ReadError>(&reader, &all(i64::MIN, i64::MAX), &compared, |series| {
        compared.compare();
        found += series.timestamps.len() as i64;
        Ok(())
    })
    .unwrap();
    assert!(found > BLOCKS * SERIES as i64 * SAMPLES, "{found}");
    compared.compare();
    let (beyond, reserved) = (compared.beyond.into_inner(), compared.reserved.into_inner());
    println!("{beyond} bytes at most were held beyond what was reserved");
    assert!(beyond < BESIDE && reserved == 0, "{beyond} bytes beyond what was reserved; {reserved} bytes are left");
}

#[test]
fn label_sets_of_all_series_have_been_reserved_when_they_are_told() {
    // Of a head that keeps none of them, as where its room is full.
    const SERIES: usize = 20_000;
    let engine = MetricsEngine { room: Arc::new(super::LabelRoom::new(0)), ..MetricsEngine::default() };
    let head = engine.head();
    let series = (0..SERIES).map(|i| Labels::from_pairs([(NAME, "up"), ("pod", &format!("checkout-{i:08}"))])).collect();
    let batch = metric_batch(labels(3, 100, 0), series, 1, Vec::new());
    let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
    let section = Section::new(SectionHeader { tenant: tenant(), source: "source".into(), mark, records: 0 }, batch);
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    let reader = reader(Vec::new(), vec![Arc::new(head)]);
    let found = reader.series(&all(i64::MIN, i64::MAX), &NoBudget).unwrap().value;
    let bytes = found.iter().map(Labels::memory).sum::<usize>() as u64;
    assert_eq!(found.len(), SERIES);
    let budget = MemoryBudget::new(bytes * 3 / 2);
    assert!(reader.series(&all(i64::MIN, i64::MAX), &budget).is_ok() && budget.held() == 0);
    assert!(reader.series(&all(i64::MIN, i64::MAX), &MemoryBudget::new(bytes / 2)).is_err(), "half of {bytes} bytes");
}

#[test]
fn samples_that_were_decoded_for_nothing_are_given_back_before_the_next() {
    // Each series has samples before and after what is asked for: its group is unpacked, and none of them given.
    const SERIES: usize = 200;
    let around = |i: usize| Samples {
        timestamps: (0..1000).map(|at| at + at / 500 * 1_000_000).collect(),
        values: (0..1000).map(|at| ((at + i) as f64).sqrt()).collect(),
        ..Samples::default()
    };
    let reader = reader(vec![block(SERIES, around)], Vec::new());
    let (budget, mut given) = (MemoryBudget::new(256 << 10), 0);
    each_series::<ReadError>(&reader, &all(1000, 2000), &budget, |_| {
        given += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((given, budget.held()), (0, 0));
}

/// Reads all series of a block at once, and compares what they take with what is reserved for them.
fn check_kept(what: &str, block: Arc<MetricsBlock>, select: &MetricSelect, samples: usize) {
    let (series, reader) = (block.series() as usize, reader(vec![block], Vec::new()));
    let compared = Compared::new();
    let (found, reserved) = read_series(&reader, select, &compared).unwrap();
    compared.compare();
    assert!(found.value.len() == series && found.value.iter().all(|series| series.timestamps.len() == samples), "{what}");
    assert_eq!(reserved, compared.reserved.into_inner(), "{what}");
    let beyond = compared.beyond.into_inner();
    assert!(beyond < BESIDE, "{what}: {beyond} bytes beyond what was reserved");
}

#[test]
fn series_that_are_kept_take_what_is_reserved_for_them() {
    let long = |i: usize| Samples {
        timestamps: (0..2000).map(|at| at * 15_000).collect(),
        values: (0..2000).map(|at| (at * (i + 1)) as f64).collect(),
        ..Samples::default()
    };
    check_kept("the last minute of many", block(100, long), &all(1996 * 15_000, i64::MAX), 4);
    let histogram = |at: usize| Histogram {
        schema: 0,
        reset: ResetHint::Unknown,
        is_integer: true,
        count: (at * 200) as f64,
        sum: 7.0,
        zero_threshold: 0.0,
        zero_count: 0.0,
        positive: Buckets { spans: vec![Span { offset: 0, length: 200 }], counts: vec![at as f64; 200] },
        negative: Buckets::default(),
        custom_bounds: Vec::new(),
    };
    let wide = |i: usize| Samples {
        timestamps: (0..20).collect(),
        values: vec![0.0; 20],
        histograms: (0..20).map(|at| (at, Arc::new(histogram(i + at as usize)))).collect(),
        starts: (1..=20).collect(),
        ..Samples::default()
    };
    check_kept("histograms", block(20, wide), &all(i64::MIN, i64::MAX), 20);
}
