//! What PromQL over an hour of samples takes: CPU time of its thread, and the most bytes that it holds at once. Three blocks of
//! 15 minutes and a head with the rest, 50,000 series every 15 s; nothing is read from disk.
//!
//!     cargo bench -p weir-tests --bench range_queries          # SERIES=50000
//!
//! The figures are in docs/performance.md.

use std::sync::Arc;
use std::time::Duration;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine as _, Head as _, Position};
use weir_blocks::view::{BlockView, Fixed, PartitionView};
use weir_metrics::{MetricsEngine, MetricsHead, MetricsReader};
use weir_model::fuzz::{CountingAllocator, peak_of};
use weir_model::label::{Labels, NAME};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::scope::Scope;
use weir_model::select::{NoBudget, PartitionCoverage};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};
use weir_promql::{Engine, Output, Request};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const TENANT: &str = "default";
/// Series of one target.
const COLUMNS: usize = 100;
const NAMESPACES: usize = 50;
const STEP_MS: i64 = 15_000;
/// Rows of each block, and of the head.
const ROWS: i64 = 60;
const PIECES: i64 = 4;

const QUERIES: [&str; 5] = [
    "sum by (namespace) (rate(http_requests_total[5m]))",
    "count(http_requests_total)",
    "max by (namespace) (http_requests_total)",
    "quantile by (namespace) (0.9, rate(http_requests_total[5m]))",
    "topk(5, sum by (pod) (rate(http_requests_total[5m])))",
];

fn main() {
    let series: usize = std::env::var("SERIES").map_or(50_000, |text| text.parse().expect("SERIES is a number"));
    let reader = MetricsReader::new(Arc::new(Fixed::new(vec![view(series / COLUMNS)])));
    // Label sets that a block has made once stay made.
    query(&reader, "count(http_requests_total)");
    for text in QUERIES {
        let before = cpu();
        let (rows, peak) = peak_of(None, || query(&reader, text));
        println!("{text}: {rows} rows, {:.2} CPU s, {:.1} MB at once", (cpu() - before).as_secs_f64(), peak as f64 / 1e6);
    }
}

/// An hour by the minute.
fn query(reader: &MetricsReader, text: &str) -> usize {
    let (start_ms, end_ms) = (5 * 60_000, PIECES * ROWS * STEP_MS);
    let request =
        Request { scope: Scope::of(TENANT), query: text.into(), start_ms, end_ms, step_ms: 60_000, lookback_ms: 5 * 60_000 };
    let answer = Engine { reader, budget: &NoBudget }.query(&request).expect("it has an answer");
    assert!(answer.coverage.missing.is_empty(), "{:?}", answer.coverage);
    match answer.output {
        Output::Matrix(rows) => rows.len(),
        other => panic!("{other:?}"),
    }
}

fn view(targets: usize) -> PartitionView<MetricsEngine> {
    let engine = MetricsEngine::default();
    let schemas: Vec<Arc<Schema>> = (0..targets).map(|_| Arc::new(schema())).collect();
    let mut blocks = Vec::new();
    for piece in 0..PIECES - 1 {
        for built in head(&engine, &schemas, piece).build().expect("it is built") {
            let blob = MemoryBlob::new("metrics/0/bench", built.data.encode(Kind::Metrics));
            let block = engine.open(Arc::new(blob)).expect("it can be opened");
            blocks.push(BlockView { summary: built.summary, block: Arc::new(block), hidden: Default::default() });
        }
    }
    let heads = vec![Arc::new(head(&engine, &schemas, PIECES - 1))];
    PartitionView { coverage: PartitionCoverage::default(), blocks, heads, missing: Vec::new() }
}

fn schema() -> Schema {
    let own = |column: usize| {
        let (code, path) = (["200", "404", "500", "503"][column % 4], format!("/api/v1/resource/{}", column / 4));
        Labels::from_pairs([(NAME, "http_requests_total"), ("code", code), ("path", &path)])
    };
    Schema::new((0..COLUMNS).map(own).collect(), Vec::new())
}

fn head(engine: &MetricsEngine, schemas: &[Arc<Schema>], piece: i64) -> MetricsHead {
    let head = engine.head();
    for (target, schema) in schemas.iter().enumerate() {
        let labels = Labels::from_pairs([
            ("namespace", format!("namespace-{}", target % NAMESPACES)),
            ("pod", format!("service-{}-{target:05}", target % 7)),
            ("instance", format!("10.0.{}.{}:8080", target / 250, target % 250)),
            ("job", "kubernetes-pods".to_owned()),
        ]);
        let row = |row: i64| {
            let at = piece * ROWS + row;
            let value = |column: usize| (at * (column as i64 % 13) + target as i64) as f64;
            MetricRow::new(at * STEP_MS * 1_000_000, (0..COLUMNS).map(value).collect())
        };
        let batch = MetricBatch { target: labels, schema: Arc::clone(schema), rows: (0..ROWS).map(row).collect() };
        let header = SectionHeader {
            tenant: TENANT.into(),
            source: format!("target {target}"),
            mark: Mark::Sequence { epoch: 1, first: 0, last: 1 },
            records: 0,
        };
        head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &Section::new(header, batch)).expect("the head takes it");
    }
    head
}

/// What this thread has spent so far.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number of nanoseconds"))
}
