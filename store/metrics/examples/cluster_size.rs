//! Bytes a sample of a cluster's metrics takes on disk: 250 targets of 471 series for 80 minutes at 15 s, as of cAdvisor and
//! node_exporter, most of them counters with noise; each scrape a few milliseconds off, pods that end with staleness markers and
//! others in their place. Sealed every minute and merged eight at a time, as the aggregator does it. Prints what the noise alone would take
//! (the entropy of what was drawn), what each section takes, and processor time. The series are made from a seed.
//!
//!     cargo run --release -p weir-metrics --example cluster_size      # TARGETS=50: of fewer targets

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_metrics::{MetricsBlock, MetricsEngine};
use weir_model::label::{Labels, NAME};
use weir_model::metric::{MetricBatch, MetricRow, STALE_NAN, Schema};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

const PODS: usize = 20;
const ROWS: i64 = 320;
const ROWS_A_SEAL: i64 = 4;
/// Blocks of a merge: `aggregator.compaction_blocks`.
const MERGED: usize = 8;
/// A pod lives 8 hours on average.
const ENDS: f64 = 15.0 / (8.0 * 3600.0);
/// A scrape begins up to so many milliseconds late.
const LATE: i64 = 20;

enum Shape {
    Constant(f64),
    /// A counter that mostly rests.
    Rare(u64),
    /// A counter that grows by `step` and up to `noise` more; a unit is `1 / scale`.
    Noisy {
        sum: u64,
        step: u64,
        noise: u64,
        scale: f64,
    },
    /// Memory in whole pages.
    Pages {
        pages: i64,
        swing: i64,
    },
    /// Two decimals.
    Ratio(f64),
}

impl Shape {
    /// Of 100 series of a node 22 are constant, 54 noisy.
    fn new(which: usize, random: &mut StdRng) -> Self {
        let mut noisy = |sum: u64, power: std::ops::Range<f64>, noise: u64, scale: f64| {
            let step = 10_f64.powf(random.random_range(power)) as u64;
            Self::Noisy { sum: random.random_range(0..sum), step, noise: noise.clamp(2, step.max(2)), scale }
        };
        match which % 50 {
            0..=10 => Self::Constant((which * 4096) as f64),
            11..=17 => Self::Rare(which as u64),
            18..=32 => noisy(1 << 38, 3.0..7.0, 1 << (6 + which * 7 % 13), 1e6),
            33..=38 => noisy(1 << 36, 2.0..6.0, 1 << (4 + which * 5 % 14), 1.0),
            39..=42 => noisy(1 << 20, 0.5..1.5, 1 << (1 + which % 5), 1.0),
            43..=44 => noisy(1 << 28, 1.0..3.0, 1 << (3 + which % 6), 100.0),
            45..=48 => Self::Pages { pages: random.random_range(10_000..100_000), swing: random.random_range(1..60) },
            _ => Self::Ratio(random.random_range(0.0..8.0)),
        }
    }

    /// The next value, and the bits of what was drawn for it.
    fn next(&mut self, random: &mut StdRng) -> (f64, f64) {
        match self {
            Self::Constant(value) => (*value, 0.0),
            Self::Rare(count) => {
                *count += u64::from(random.random_bool(0.005));
                (*count as f64, 0.045)
            }
            Self::Noisy { sum, step, noise, scale } => {
                *sum += *step + random.random_range(0..*noise);
                (*sum as f64 / *scale, (*noise as f64).log2())
            }
            Self::Pages { pages, swing } => {
                let moves = random.random_bool(0.5);
                *pages += if moves { random.random_range(-*swing..=*swing) } else { 0 };
                let bits = if moves { ((2 * *swing + 1) as f64).log2() } else { 0.0 };
                ((*pages * 4096) as f64, 1.0 + bits)
            }
            Self::Ratio(value) => {
                *value = (*value + random.random_range(-0.05..0.05)).clamp(0.0, 8.0);
                ((*value * 100.0).round() / 100.0, 3.3)
            }
        }
    }
}

type Series = Vec<(Labels, Shape)>;

struct Target {
    labels: Labels,
    offset: i64,
    pods: Vec<Series>,
    schema: Option<Arc<Schema>>,
}

impl Target {
    fn new(index: usize, random: &mut StdRng) -> Self {
        let instance = format!("10.0.{}.{}:10250", index / 250, index % 250);
        let labels = Labels::from_pairs([("job", "cadvisor"), ("instance", &instance), ("node", &format!("node-{index:03}"))]);
        let mut pods: Vec<Series> = (0..PODS).map(|_| pod(random)).collect();
        let of_node = |i: usize| (Labels::from_pairs([(NAME, format!("node_metric_{i:02}_total"))]), Shape::new(i * 7, random));
        pods.push((0..11).map(of_node).collect());
        Self { labels, offset: (index as i64 * 7919) % 15_000, pods, schema: None }
    }

    /// The next scrape, and the bits that were drawn.
    fn scrape(&mut self, row: i64, random: &mut StdRng) -> (MetricBatch, f64) {
        let (mut values, mut bits, mut ended) = (Vec::new(), 0.0, Vec::new());
        let series = || self.pods.iter().flatten().map(|(labels, _)| labels.clone()).collect();
        let schema = Arc::clone(self.schema.get_or_insert_with(|| Arc::new(Schema::new(series(), Vec::new()))));
        for (i, pod) in self.pods.iter_mut().enumerate() {
            let ends = i < PODS && row > 0 && random.random_bool(ENDS);
            for (_, shape) in pod {
                let (value, own) = shape.next(random);
                values.push(if ends { STALE_NAN } else { value });
                bits += if ends { 0.0 } else { own };
            }
            ended.extend(ends.then_some(i));
        }
        for i in ended {
            self.pods[i] = pod(random);
            self.schema = None;
        }
        let at = 1_770_000_000_000 + self.offset + row * 15_000 + random.random_range(0..LATE);
        (MetricBatch { target: self.labels.clone(), schema, rows: vec![MetricRow::new(at * 1_000_000, values)] }, bits)
    }
}

fn pod(random: &mut StdRng) -> Series {
    let id = format!("/kubepods/burstable/pod{:016x}/{:016x}", random.random::<u64>(), random.random::<u64>());
    let name = format!("checkout-7d9f8b6c5-{:05x}", random.random_range(0..1 << 20));
    let namespace = ["default", "monitoring", "shop"][name.len() % 3];
    let first = random.random_range(0..50);
    let one = |i: usize| {
        let pairs = [(NAME, format!("container_metric_{i:02}_total")), ("id", id.clone()), ("pod", name.clone())];
        let labels = Labels::from_pairs(pairs.into_iter().chain([("namespace", namespace.to_owned())]));
        (labels, Shape::new(first + i * 11, random))
    };
    (0..23).map(one).collect()
}

/// Processor time of this process, seconds.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

type Open = Arc<MetricsBlock>;

fn open(engine: &MetricsEngine, built: &BuiltBlock) -> Result<(Open, usize), Box<dyn std::error::Error>> {
    let bytes = built.data.encode(Kind::Metrics);
    let size = bytes.len();
    Ok((Arc::new(engine.open(Arc::new(MemoryBlob::new("block", bytes)))?), size))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let targets: usize = std::env::var("TARGETS").ok().map_or(Ok(250), |given| given.parse())?;
    let mut random = StdRng::seed_from_u64(3);
    let mut all: Vec<Target> = (0..targets).map(|index| Target::new(index, &mut random)).collect();
    let engine = MetricsEngine::default();
    let (mut samples, mut bits, mut sealed, mut merging) = (0_u64, 0.0, 0, 0.0);
    // By level, oldest first within one.
    let mut levels: BTreeMap<u8, Vec<(Open, usize, BuiltBlock)>> = BTreeMap::new();
    for seal in 0..ROWS / ROWS_A_SEAL {
        let head = engine.head();
        for row in seal * ROWS_A_SEAL..(seal + 1) * ROWS_A_SEAL {
            for target in &mut all {
                let (batch, own) = target.scrape(row, &mut random);
                samples += batch.schema.series.len() as u64;
                bits += own;
                let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
                let header = SectionHeader { tenant: "default".into(), source: "cluster".into(), mark, records: 0 };
                head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &Section::new(header, batch))?;
            }
        }
        for built in head.build()? {
            let (block, size) = open(&engine, &built)?;
            sealed += size;
            levels.entry(0).or_default().push((block, size, built));
        }
        for level in 0..8 {
            let Some(run) = levels.get_mut(&level).filter(|run| run.len() >= MERGED).map(std::mem::take) else { break };
            let before = processor_seconds();
            let built = engine.merge(&run.iter().map(|(block, ..)| Arc::clone(block)).collect::<Vec<_>>())?;
            merging += processor_seconds() - before;
            for built in built {
                let (block, size) = open(&engine, &built)?;
                levels.entry(level + 1).or_default().push((block, size, built));
            }
        }
    }
    let per = |bytes: usize| bytes as f64 / samples as f64;
    println!("{targets} targets, {samples} samples; noise alone {:.3} B/sample", bits / 8.0 / samples as f64);
    println!(
        "blocks of a minute {:.3} B/sample; merging all levels {:.0} ns of CPU a sample",
        per(sealed),
        merging * 1e9 / samples as f64
    );
    let (mut left, mut sections, mut reading) = (0, BTreeMap::new(), 0.0);
    for (block, size, built) in levels.values().flatten() {
        left += size;
        built.data.sections.iter().for_each(|(name, bytes)| *sections.entry(*name).or_insert(0) += bytes.len());
        let (start, before) = (Instant::now(), processor_seconds());
        engine.verify(block, &built.summary)?;
        reading += (processor_seconds() - before).min(start.elapsed().as_secs_f64());
    }
    println!(
        "after {} minutes {:.3} B/sample; reading all {:.1} ns of CPU a sample",
        ROWS / 4,
        per(left),
        reading * 1e9 / samples as f64
    );
    sections.into_iter().for_each(|(name, bytes)| println!("  {name}: {:.3} B/sample", per(bytes)));
    Ok(())
}
