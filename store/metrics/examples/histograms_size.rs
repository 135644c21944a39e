//! Bytes that a native histogram takes on disk: 200 histograms of 60 buckets for two hours at 15 s, sealed every minute and merged, as
//! the aggregator does it. Prints one line a figure. The observations are made from a seed.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine, Head, Position};
use weir_metrics::MetricsEngine;
use weir_model::histogram::{Buckets, Histogram, ResetHint, Span};
use weir_model::label::{Labels, NAME};
use weir_model::metric::{Exemplar, MetricBatch, MetricRow, RowExtras, STALE_NAN, Schema};
use weir_model::wire::{Kind, Limits, Mark, RecordBuilder, Section, SectionHeader};

const SERIES: usize = 200;
const BUCKETS: usize = 60;
const STEP_SECONDS: i64 = 15;
const ROWS: i64 = 480;

/// A service's latencies since its start: a bell around the middle bucket, as of schema 3.
struct Service {
    observed_a_step: usize,
    counts: Vec<f64>,
    sum: f64,
}

impl Service {
    fn next(&mut self, random: &mut StdRng) -> Histogram {
        for _ in 0..random.random_range(0..=2 * self.observed_a_step) {
            let bell = (0..6).map(|_| random.random_range(0.0..1.0)).sum::<f64>() / 6.0;
            let bucket = ((bell * BUCKETS as f64) as usize).min(BUCKETS - 1);
            self.counts[bucket] += 1.0;
            // Nanoseconds, added up as seconds.
            self.sum += (0.001 * 1.09_f64.powf(bucket as f64 + random.random_range(0.0..1.0)) * 1e9).round() / 1e9;
        }
        let spans = vec![Span { offset: -79, length: 20 }, Span { offset: 0, length: 40 }];
        Histogram {
            schema: 3,
            reset: ResetHint::Unknown,
            is_integer: true,
            count: self.counts.iter().sum(),
            sum: self.sum,
            zero_threshold: 1e-39,
            zero_count: 0.0,
            positive: Buckets { spans, counts: self.counts.clone() },
            negative: Buckets::default(),
            custom_bounds: Vec::new(),
        }
    }
}

fn measure(observed_a_step: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut random = StdRng::seed_from_u64(3);
    let labels = |i: usize| Labels::from_pairs([(NAME, "http_request_duration_seconds"), ("handler", &format!("/api/{i}"))]);
    let schema = Arc::new(Schema::new((0..SERIES).map(labels).collect(), Vec::new()));
    // They have run for a while.
    let service = |i: usize| Service { observed_a_step, counts: vec![1e4 + i as f64; BUCKETS], sum: 1e4 };
    let mut services: Vec<Service> = (0..SERIES).map(service).collect();
    let start = 1_770_000_000_000_000_000;
    let starts: Arc<[i64]> = vec![start - 86_400_000_000_000; SERIES].into();
    let engine = MetricsEngine::default();
    let (mut blocks, mut small, mut wire, mut head) = (Vec::new(), 0, 0, engine.head());
    for i in 0..ROWS {
        let timestamp = start + i * STEP_SECONDS * 1_000_000_000 + 350_000_000;
        let histograms = (0..).zip(&mut services).map(|(column, own)| (column, Arc::new(own.next(&mut random)))).collect();
        // One of ten has another trace each time.
        let exemplar = |column: u32| {
            let trace = format!("{:032x}", random.random_range(0..u128::MAX));
            (column, Exemplar { labels: Labels::from_pairs([("trace_id", trace)]), value: 0.5, timestamp: timestamp - 7_000_000 })
        };
        let exemplars = (0..SERIES as u32).step_by(10).map(exemplar).collect();
        let extras = RowExtras { histograms, starts: Some(Arc::clone(&starts)), exemplars };
        let row = MetricRow { extras: Some(Box::new(extras)), ..MetricRow::new(timestamp, vec![STALE_NAN; SERIES]) };
        let target = Labels::from_pairs([("job", "shop"), ("instance", "10.0.0.7:8080")]);
        let batch = MetricBatch { target, schema: Arc::clone(&schema), rows: vec![row] };
        let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
        let header = SectionHeader { tenant: "default".into(), source: "shop".into(), mark, records: 0 };
        let section = Section::new(header, batch);
        let mut record = RecordBuilder::new(Limits::DEFAULT);
        record.push(&section)?;
        wire += record.finish()?.len();
        head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section)?;
        if i % 4 == 3 {
            for built in std::mem::replace(&mut head, engine.head()).build()? {
                let bytes = built.data.encode(Kind::Metrics);
                small += bytes.len();
                blocks.push(Arc::new(engine.open(Arc::new(MemoryBlob::new("small", bytes)))?));
            }
        }
    }
    let samples = SERIES as f64 * ROWS as f64;
    println!("{observed_a_step} observations a step, {SERIES} series of {BUCKETS} buckets, {samples} samples");
    println!("  on the bus: {:.1} B/sample", wire as f64 / samples);
    println!("  blocks of 1 minute: {:.1} B/sample", small as f64 / samples);
    let begun = std::time::Instant::now();
    for built in engine.merge(&blocks)? {
        let bytes = built.data.encode(Kind::Metrics).len();
        println!("  merged: {:.1} B/sample in {:.2} s", bytes as f64 / samples, begun.elapsed().as_secs_f64());
        for (name, section) in built.data.sections {
            println!("    {name}: {:.2} B/sample", section.len() as f64 / samples);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    [0, 10, 100, 1000].into_iter().try_for_each(measure)
}
