//! What a seal and a merge hold in memory, by a counting allocator: never more than their engine declares in
//! [`BlockCost`](weir_blocks::engine::BlockCost), for records that compress well and for records that do not at all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_blocks::blob::MemoryBlob;
use weir_blocks::block::BlockFile;
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::scratch::ScratchSpace;
use weir_logs::LogsEngine;
use weir_metrics::{MetricsCounters, MetricsEngine};
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::span::{Origin, Span, SpanBatch};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};
use weir_traces::{TracesCounters, TracesEngine};

use crate::ScratchDirectory;

/// Counts by thread: a merge runs on one, and other tests on theirs.
struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // A thread that ends frees after its cells are gone.
    let _gone = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _gone = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: all memory is the system allocator's; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes that were held at once, beyond what was held before.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = LIVE.get();
    PEAK.set(before);
    let done = work();
    (done, u64::try_from(PEAK.get() - before).unwrap_or(0))
}

const BLOCKS: u64 = 6;

/// A head with these records, from an offset on.
fn filled<E: Engine>(engine: &E, first: u64, batches: Vec<E::Batch>) -> E::Head {
    let head = engine.head();
    for (offset, batch) in batches.into_iter().enumerate() {
        let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
        let header = SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 0 };
        let position = Position { partition: 0, offset: first + offset as u64, ordinal: 0 };
        head.insert(position, &Section::new(header, batch)).expect("inserts");
    }
    head
}

/// A head of an engine, sealed: the peak stays below what is declared.
fn check_seal<E: Engine>(name: &str, engine: &E, batches: Vec<E::Batch>) {
    let head = filled(engine, 0, batches);
    let seal = || {
        let built = head.build().expect("builds");
        // All files at once, which a committer has one after the other.
        built.into_iter().map(|built| built.data.into_file(E::KIND).size()).sum::<u64>()
    };
    let (size, peak) = peak(seal);
    let declared = E::SEAL.of_head(head.bytes() as u64);
    println!("{name}: a head of {} bytes becomes {size}, peak {peak}, declared {declared}", head.bytes());
    assert!(peak > size / 2, "{name}: nothing was counted");
    assert!(peak <= declared, "{name}: {peak} bytes at the peak, {declared} are declared");
}

/// Blocks of an engine, merged: the peak stays below what is declared. Gives the blocks' size and the peak.
fn check<E: Engine>(name: &str, engine: &E, section: impl Fn(u64) -> Vec<E::Batch>) -> (u64, u64) {
    let (mut blocks, mut declared, mut size, mut raw) = (Vec::new(), E::MERGE.fixed, 0, 0);
    for block in 0..BLOCKS {
        for built in filled(engine, block * 10_000, section(block)).build().expect("builds") {
            let bytes = built.data.encode(E::KIND);
            declared += E::MERGE.of(bytes.len() as u64, built.summary.raw_bytes);
            (size, raw) = (size + bytes.len(), raw + built.summary.raw_bytes);
            blocks.push(Arc::new(engine.open(Arc::new(MemoryBlob::new(format!("b{block}"), bytes))).expect("opens")));
        }
    }
    let merge = || {
        let built = engine.merge(&blocks).expect("merges");
        let is_merged = if E::KIND == Kind::Logs { built.len() < blocks.len() } else { built.len() == 1 };
        assert!(is_merged, "{name}: {} blocks", built.len());
        built.into_iter().map(|built| built.data.into_file(E::KIND)).collect::<Vec<_>>()
    };
    let (files, peak) = peak(merge);
    println!(
        "{name}: {size} bytes of {raw} raw in {BLOCKS} blocks, {} of {} bytes merged, peak {peak}, declared {declared}",
        files.len(),
        files.iter().map(BlockFile::size).sum::<u64>()
    );
    // Of logs the block is on disk.
    let least = if E::KIND == Kind::Logs { 1 << 20 } else { files[0].size() };
    assert!(peak > least, "{name}: nothing was counted");
    assert!(peak <= declared, "{name}: {peak} bytes at the peak, {declared} are declared");
    // What any merge takes must not hide what grows; of logs next to nothing does.
    let grows = declared - E::MERGE.fixed;
    let is_hidden = E::KIND != Kind::Logs && peak > grows && size >= 4 << 20;
    assert!(!is_hidden, "{name}: {peak} bytes at the peak, {grows} are declared for so many");
    (size as u64, peak)
}

fn text(random: &mut StdRng, noise: bool) -> String {
    if noise {
        return (0..8).map(|_| format!("{:016x} ", random.random::<u64>())).collect();
    }
    let (level, id) = (["info", "warn", "error"][random.random_range(0..3)], random.random_range(0..5000));
    format!("{level} request {id} of user {} took {} ms on host web-{}", id * 7 % 500, id % 97, id % 11)
}

fn push(batch: &mut LogBatch, line: i64, body: &str) {
    batch.push(LogRecord {
        timestamp: line * 1_000_000,
        sequence: line as u64 + 1,
        body: body.as_bytes(),
        severity: 0,
        flags: 0,
        trace_id: TraceId::default(),
        span_id: SpanId::default(),
        attributes: (&Labels::EMPTY).into(),
    });
}

fn lines(block: u64, count: i64, noise: bool) -> Vec<LogBatch> {
    let mut random = StdRng::seed_from_u64(block);
    let batch = |stream: i64| {
        let mut batch = LogBatch::new(Labels::from_pairs([("app", &format!("app{}", stream % 7))]));
        for line in 0..count / 20 {
            push(&mut batch, line, &text(&mut random, noise));
        }
        batch
    };
    (0..20).map(batch).collect()
}

/// A few lines of each of many pods, each with an id of its own: chunks are small, and most of the index is ids.
fn lines_of_pods(block: u64, pods: i64, id: fn(&mut StdRng) -> String) -> Vec<LogBatch> {
    let mut random = StdRng::seed_from_u64(block);
    let batch = |pod: i64| {
        let mut batch = LogBatch::new(Labels::from_pairs([("app", "shop".to_owned()), ("pod", format!("shop-{pod:05}"))]));
        for line in 0..12 {
            let body = format!("{} trace {} of {}", text(&mut random, false), id(&mut random), id(&mut random));
            push(&mut batch, line, &body);
        }
        batch
    };
    (0..pods).map(batch).collect()
}

fn samples(block: u64, series: usize, noise: bool) -> Vec<MetricBatch> {
    let mut random = StdRng::seed_from_u64(block);
    let labels = (0..series).map(|i| Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())])).collect();
    let schema = Arc::new(Schema::new(labels, Vec::new()));
    let row = |at: i64| {
        let values = (0..series).map(|i| if noise { random.random::<f64>() } else { (at * i as i64) as f64 });
        MetricRow::new((block as i64 * 100 + at) * 1_000_000_000, values.collect())
    };
    let rows = (0..100).map(row).collect();
    vec![MetricBatch { target: Labels::from_pairs([("job", "j")]), schema, rows }]
}

/// A few series that are long: a merge has all samples of each.
fn long_series(block: u64) -> Vec<MetricBatch> {
    const ROWS: i64 = 60_000;
    let labels = (0..3).map(|i| Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())])).collect();
    let schema = Arc::new(Schema::new(labels, Vec::new()));
    let row = |at: i64| MetricRow::new(at * 1_000_000_000, vec![at as f64; 3]);
    let first = block as i64 * ROWS;
    vec![MetricBatch { target: Labels::from_pairs([("job", "j")]), schema, rows: (first..first + ROWS).map(row).collect() }]
}

fn spans(block: u64, count: i64, noise: bool) -> Vec<SpanBatch> {
    let mut random = StdRng::seed_from_u64(block);
    let span = |i: i64| Span {
        trace_id: TraceId(random.random()),
        span_id: SpanId(random.random()),
        name: if noise { text(&mut random, true) } else { "GET /".into() },
        start: i * 1_000_000,
        end: i * 1_000_000 + 500,
        ..Span::default()
    };
    vec![SpanBatch::new(Origin::default(), &(0..count).map(span).collect::<Vec<_>>())]
}

#[test]
fn a_seal_stays_below_its_declared_memory() {
    let logs = LogsEngine::default();
    check_seal("lines", &logs, lines(0, 200_000, false));
    check_seal("lines of noise", &logs, lines(0, 200_000, true));
    let metrics = MetricsEngine::new(MetricsCounters::default());
    check_seal("samples", &metrics, samples(0, 10_000, false));
    check_seal("samples of noise", &metrics, samples(0, 10_000, true));
    let traces = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    check_seal("spans", &traces, spans(0, 50_000, false));
    check_seal("spans of noise", &traces, spans(0, 50_000, true));
}

#[test]
fn a_merge_of_logs_stays_below_its_declared_memory() {
    let (_folder, engine) = logs_with_scratch();
    check("lines", &engine, |block| lines(block, 20_000, false));
    check("more lines", &engine, |block| lines(block, 100_000, false));
    check("lines of noise", &engine, |block| lines(block, 20_000, true));
    check("lines of pods", &engine, |block| lines_of_pods(block, 4000, |random| format!("{:032x}", random.random::<u128>())));
    // On disk such ids take less than a row of the index in the making.
    check("ids in sequence", &engine, |block| {
        lines_of_pods(block, 4000, |random| format!("user_account_{:08}", random.random_range(0..50_000)))
    });
}

/// Merges again what was merged: the larger the blocks, the more of them is on disk.
#[test]
fn a_merge_of_large_blocks_of_logs_stays_below_its_declared_memory() {
    let (_folder, engine) = logs_with_scratch();
    let (size, peak) = check("lines with four ids", &engine, |block| lines_of_pods(block, 8000, four_ids));
    assert!(peak < size / 2, "{peak} bytes at the peak of a merge of {size}");
    check("lines with ids in sequence", &engine, |block| {
        lines_of_pods(block, 8000, |random| {
            format!("order{:08} task{:06}", random.random_range(0..500_000), random.random_range(0..9000))
        })
    });
}

/// What stays in memory of a block in the making: words, where lines lie, what is said of each chunk.
#[test]
fn a_merge_of_logs_that_spills_little_stays_below_its_declared_memory() {
    let (_folder, engine) = logs_with_scratch();
    check("lines of random words", &engine, |block| random_words(block, 15_000));
    check("lines that come alone", &engine, |block| lines_alone(block, 2000, 20));
    check("streams of a line", &engine, |block| lines_alone(block, 20_000, 1));
}

/// Words of letters alone, most of them in one line only.
fn random_words(block: u64, count: i64) -> Vec<LogBatch> {
    let mut random = StdRng::seed_from_u64(block);
    let mut batch = LogBatch::new(Labels::from_pairs([("app", "shop")]));
    for line in 0..count {
        let mut word = || (0..9).map(|_| char::from(b'g' + random.random_range(0..20))).chain([' ']).collect::<String>();
        push(&mut batch, line, &(0..8).map(|_| word()).collect::<String>());
    }
    vec![batch]
}

/// Short lines of many pods, each in a section of its own.
fn lines_alone(block: u64, pods: i64, lines: i64) -> Vec<LogBatch> {
    let batch = |at: i64| {
        let mut batch =
            LogBatch::new(Labels::from_pairs([("app", "shop".to_owned()), ("pod", format!("{block}-{:05}", at % pods))]));
        push(&mut batch, at, "GET /cart 200");
        batch
    };
    (0..pods * lines).map(batch).collect()
}

/// With a directory for what is large.
fn logs_with_scratch() -> (tempfile::TempDir, LogsEngine) {
    let folder = tempfile::tempdir().expect("a directory");
    let scratch = Arc::new(ScratchDirectory::new(folder.path().join("scratch")));
    let engine = LogsEngine::default().with_scratch(ScratchSpace::new(scratch));
    (folder, engine)
}

fn four_ids(random: &mut StdRng) -> String {
    format!("{:032x} {:016x}", random.random::<u128>(), random.random::<u64>())
}

#[test]
fn a_merge_of_metrics_stays_below_its_declared_memory() {
    let engine = MetricsEngine::new(MetricsCounters::default());
    check("samples", &engine, |block| samples(block, 2000, false));
    check("samples of noise", &engine, |block| samples(block, 2000, true));
}

#[test]
fn a_merge_of_long_series_stays_below_its_declared_memory_and_that_of_a_series() {
    const MEMORY: u64 = 64 << 20;
    let engine = MetricsEngine::new(MetricsCounters::default()).with_merge_memory(MEMORY);
    // Few series take little of what any merge takes.
    let (mut blocks, mut declared) = (Vec::new(), MetricsEngine::series_memory(MEMORY) + MetricsEngine::MERGE.fixed / 8);
    for block in 0..BLOCKS {
        for built in filled(&engine, block, long_series(block)).build().expect("builds") {
            let bytes = built.data.encode(MetricsEngine::KIND);
            declared += MetricsEngine::MERGE.of(bytes.len() as u64, built.summary.raw_bytes);
            blocks.push(Arc::new(engine.open(Arc::new(MemoryBlob::new(format!("b{block}"), bytes))).expect("opens")));
        }
    }
    let (built, peak) = peak(|| engine.merge(&blocks).expect("merges"));
    println!("{} blocks became {}, peak {peak}, declared {declared}", blocks.len(), built.len());
    assert!((2..blocks.len()).contains(&built.len()), "{} blocks", built.len());
    assert_eq!(built.iter().map(|built| built.summary.records).sum::<u64>(), 3 * 60_000 * BLOCKS);
    assert!(peak <= declared, "{peak} bytes at the peak, {declared} are declared");
}

#[test]
fn a_merge_of_traces_stays_below_its_declared_memory() {
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    check("spans", &engine, |block| spans(block, 20_000, false));
    check("spans of noise", &engine, |block| spans(block, 20_000, true));
}
