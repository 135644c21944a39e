//! What PromQL over samples in memory takes: CPU time of the process and of the clock, and the most bytes that it holds at once.
//! Three blocks of 15 minutes and a head with the rest; nothing is read from disk. Of each query the best of several runs.
//!
//!     cargo bench -p weir-tests --bench range_queries          # SERIES=50000 RUNS=5; ONLY=topk: queries with that text
//!
//! The figures are in docs/performance.md.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
const NAMESPACES: usize = 50;
/// Between scrapes.
const INTERVAL_MS: i64 = 15_000;
/// Rows of each block, and of the head.
const ROWS: i64 = 60;
const PIECES: i64 = 4;
const MINUTE: i64 = 60_000;
/// Counters of one target.
const COUNTERS: usize = 100;
const BUCKETS: [&str; 12] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
/// Targets with a histogram: 9,216 series of buckets.
const HISTOGRAMS: usize = 768;
/// Pods of the join, and containers of each.
const PODS: usize = 1024;
const CONTAINERS: usize = 5;

/// What is asked, and milliseconds between steps, from the fifth minute to the end; 0 is one instant.
const COUNTER_QUERIES: [(&str, i64); 13] = [
    ("http_requests_total", 0),
    ("count by (__name__) ({__name__=~\".+\"})", 0),
    ("count by (namespace) (http_requests_total)", 0),
    ("topk(10, rate(http_requests_total[1m]))", 0),
    ("sum by (namespace) (rate(http_requests_total[1m]))", 0),
    ("sum by (namespace) (rate(http_requests_total[5m]))", MINUTE),
    ("sum by (namespace) (rate(http_requests_total[5m]))", INTERVAL_MS),
    ("sum by (namespace) (avg_over_time(http_requests_total[5m]))", MINUTE),
    ("count(http_requests_total)", MINUTE),
    ("max by (namespace) (http_requests_total)", MINUTE),
    ("quantile by (namespace) (0.9, rate(http_requests_total[5m]))", MINUTE),
    ("topk(5, sum by (pod) (rate(http_requests_total[5m])))", MINUTE),
    ("http_requests_total{pod=\"service-3-00003\", code=\"200\", path=\"/api/v1/resource/7\"}", INTERVAL_MS),
];
const HISTOGRAM_QUERIES: [(&str, i64); 1] =
    [("histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))", INTERVAL_MS)];
const JOIN_QUERIES: [(&str, i64); 1] =
    [("container_memory_working_set_bytes * on (namespace, pod) group_left (node) kube_pod_info", MINUTE)];

fn main() {
    let number = |name: &str, or: usize| std::env::var(name).map_or(or, |text| text.parse().expect("a number"));
    let runs = number("RUNS", 5);
    measure("counters", &COUNTER_QUERIES, counters(number("SERIES", 50_000) / COUNTERS), runs);
    measure("histograms", &HISTOGRAM_QUERIES, histograms(), runs);
    measure("join", &JOIN_QUERIES, join(), runs);
}

fn measure(shape: &str, queries: &[(&str, i64)], targets: Vec<Target>, runs: usize) {
    let only = std::env::var("ONLY").unwrap_or_default();
    let queries: Vec<_> = queries.iter().filter(|(text, _)| text.contains(&only)).collect();
    if queries.is_empty() {
        return;
    }
    let series: usize = targets.iter().map(|target| target.schema.series.len()).sum();
    let reader = MetricsReader::new(Arc::new(Fixed::new(vec![view(&targets)])));
    println!("{shape}, {series} series:");
    for (text, step_ms) in queries {
        // Label sets that a block or head has made once stay made.
        let (rows, peak) = peak_of(None, || query(&reader, text, *step_ms));
        let timed = |_| {
            let (before, begun) = (cpu(), Instant::now());
            query(&reader, text, *step_ms);
            (cpu() - before, begun.elapsed())
        };
        let (spent, waited) = (0..runs).map(timed).min().expect("a run at least");
        let [spent, waited] = [spent, waited].map(|time| time.as_secs_f64() * 1e3);
        let peak = peak as f64 / 1e6;
        println!("  {text} @ {} s: {rows} rows, {spent:.2} CPU ms, {waited:.2} ms, {peak:.1} MB at once", step_ms / 1000);
    }
}

/// The rows of the answer.
fn query(reader: &MetricsReader, text: &str, step_ms: i64) -> usize {
    let last_ms = PIECES * ROWS * INTERVAL_MS;
    // An instant is soon after the last block, so that what it looks back on is in that and in the head.
    let instant_ms = (PIECES - 1) * ROWS * INTERVAL_MS + 2 * MINUTE;
    let (start_ms, end_ms) = if step_ms == 0 { (instant_ms, instant_ms) } else { (5 * MINUTE, last_ms) };
    let request = Request { scope: Scope::of(TENANT), query: text.into(), start_ms, end_ms, step_ms, lookback_ms: 5 * MINUTE };
    let answer = Engine { reader, budget: &NoBudget }.query(&request).expect("it has an answer");
    assert!(answer.coverage.missing.is_empty(), "{:?}", answer.coverage);
    match answer.output {
        Output::Matrix(rows) => rows.len(),
        Output::Vector(rows) => rows.len(),
        other => panic!("{other:?}"),
    }
}

/// What is scraped as one.
struct Target {
    labels: Labels,
    schema: Arc<Schema>,
    /// What a column counts by the scrape of this number.
    value: fn(column: i64, at: i64) -> f64,
}

fn target_labels(target: usize) -> Labels {
    Labels::from_pairs([
        ("namespace", format!("namespace-{}", target % NAMESPACES)),
        ("pod", format!("service-{}-{target:05}", target % 7)),
        ("instance", format!("10.0.{}.{}:8080", target / 250, target % 250)),
        ("job", "kubernetes-pods".to_owned()),
    ])
}

fn counters(targets: usize) -> Vec<Target> {
    let own = |column: usize| {
        let (code, path) = (["200", "404", "500", "503"][column % 4], format!("/api/v1/resource/{}", column / 4));
        Labels::from_pairs([(NAME, "http_requests_total"), ("code", code), ("path", &path)])
    };
    let value = |column: i64, at: i64| (at * (column % 13) + column) as f64;
    let one = |target| Target {
        labels: target_labels(target),
        schema: Arc::new(Schema::new((0..COUNTERS).map(own).collect(), Vec::new())),
        value,
    };
    (0..targets).map(one).collect()
}

fn histograms() -> Vec<Target> {
    let own = |le: &str| Labels::from_pairs([(NAME, "http_request_duration_seconds_bucket"), ("le", le)]);
    let value = |column: i64, at: i64| (at * (1 + column * column)) as f64;
    let one = |target| Target {
        labels: target_labels(target),
        schema: Arc::new(Schema::new(BUCKETS.map(own).to_vec(), Vec::new())),
        value,
    };
    (0..HISTOGRAMS).map(one).collect()
}

fn join() -> Vec<Target> {
    let containers = |container: usize| {
        Labels::from_pairs([(NAME, "container_memory_working_set_bytes"), ("container", &*format!("container-{container}"))])
    };
    let info = |pod: usize| {
        let node = format!("node-{}", pod % 40);
        vec![Labels::from_pairs([(NAME, "kube_pod_info"), ("node", &*node)])]
    };
    let mut targets = Vec::new();
    for pod in 0..PODS {
        let labels = target_labels(pod);
        let schema = Arc::new(Schema::new((0..CONTAINERS).map(containers).collect(), Vec::new()));
        targets.push(Target { labels: labels.clone(), schema, value: |column, at| (1000 * column + at % 97) as f64 });
        targets.push(Target { labels, schema: Arc::new(Schema::new(info(pod), Vec::new())), value: |_, _| 1.0 });
    }
    targets
}

fn view(targets: &[Target]) -> PartitionView<MetricsEngine> {
    let engine = MetricsEngine::default();
    let mut blocks = Vec::new();
    for piece in 0..PIECES - 1 {
        for built in head(&engine, targets, piece).build().expect("it is built") {
            let blob = MemoryBlob::new("metrics/0/bench", built.data.encode(Kind::Metrics));
            let block = engine.open(Arc::new(blob)).expect("it can be opened");
            blocks.push(BlockView { summary: built.summary, block: Arc::new(block), hidden: Default::default() });
        }
    }
    let heads = vec![Arc::new(head(&engine, targets, PIECES - 1))];
    PartitionView { coverage: PartitionCoverage::default(), blocks, heads, missing: Vec::new() }
}

fn head(engine: &MetricsEngine, targets: &[Target], piece: i64) -> MetricsHead {
    let head = engine.head();
    for (number, target) in targets.iter().enumerate() {
        let columns = target.schema.series.len() as i64;
        let row = |row: i64| {
            let at = piece * ROWS + row;
            let value = |column: i64| (target.value)(column + number as i64 % 7, at);
            MetricRow::new(at * INTERVAL_MS * 1_000_000, (0..columns).map(value).collect())
        };
        let rows = (0..ROWS).map(row).collect();
        let batch = MetricBatch { target: target.labels.clone(), schema: Arc::clone(&target.schema), rows };
        let header = SectionHeader {
            tenant: TENANT.into(),
            source: format!("target {number}"),
            mark: Mark::Sequence { epoch: 1, first: 0, last: 1 },
            records: 0,
        };
        head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &Section::new(header, batch)).expect("the head takes it");
    }
    head
}

/// What this process has spent so far, all of its threads.
fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("the kernel lists threads");
    let nanos = |thread: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(nanos).sum())
}
