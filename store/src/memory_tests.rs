//! What heads say they hold, against what this thread's allocations say: hostile sections of every kind, each through the
//! wire, as a head gets them.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::Arc;

use weir_model::fuzz::CountingAllocator;
use weir_model::id::{SpanId, TraceId};
use weir_model::label::{Labels, NAME};
use weir_model::log::{LogBatch, LogRecord};
use weir_model::memory::allocation;
use weir_model::metric::{Family, MetricBatch, MetricKind, MetricRow, Schema};
use weir_model::span::{Attributes, Origin, Span, SpanBatch, SpanEvent, SpanLink, Value};
use weir_model::wire::{self, Limits, Mark, RecordBuilder, Section, SectionHeader};

use crate::engine::{Engine, Head, Position};
use crate::logs::{LogsEngine, LogsOptions};
use crate::metrics::MetricsEngine;
use crate::traces::{TracesCounters, TracesEngine};

/// Counts what each thread has allocated and not freed, as malloc rounds it; below is what fuzz targets count with.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn add(bytes: i64) {
    // A thread that ends frees after its counter is gone; nobody asks for that one.
    let _ended = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call goes to the allocator below as it came; counting touches a thread-local number without a
// destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(allocation(layout.size()) as i64);
        // SAFETY: the caller's promise about `layout`.
        unsafe { CountingAllocator.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(allocation(layout.size()) as i64));
        // SAFETY: the caller's promise about `pointer` and `layout`.
        unsafe { CountingAllocator.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(allocation(size) as i64 - allocation(layout.size()) as i64);
        // SAFETY: the caller's promise about `pointer`, `layout` and `size`.
        unsafe { CountingAllocator.realloc(pointer, layout, size) }
    }
}

/// What may be held beside: tables of a new head, and rounding.
const SLACK: i64 = 8 << 10;

/// Puts `count` sections into a head; what it then says must be within half and twice of what is held.
fn check<E: Engine>(what: &str, engine: &E, count: u64, make: impl Fn(u64) -> (String, E::Batch)) {
    let head = engine.head();
    let before = HELD.get();
    for offset in 0..count {
        let (tenant, batch) = make(offset);
        let mark = Mark::Sequence { epoch: 1, first: 0, last: 1 };
        let section = Section::new(SectionHeader { tenant, source: format!("source {offset}"), mark, records: 0 }, batch);
        let mut builder = RecordBuilder::new(Limits { record_bytes: 64 << 20, ..Limits::DEFAULT });
        builder.push(&section).unwrap();
        drop(section);
        let record = builder.finish().unwrap();
        let sections = wire::decode::<E::Batch>(&record, &Limits { record_bytes: 64 << 20, ..Limits::DEFAULT }).unwrap();
        drop(record);
        for section in sections {
            head.insert(Position { partition: 0, offset, ordinal: 0 }, &section).unwrap();
        }
    }
    let (held, said) = (HELD.get() - before, head.bytes() as i64);
    assert!(held <= 2 * said + SLACK && said <= 2 * held + SLACK, "{what}: {held} bytes are held, the head says {said}");
    assert!(head.records() > 0, "{what}");
}

fn tenant() -> String {
    "t".into()
}

fn labels(count: usize, length: usize, seed: u64) -> Labels {
    Labels::from_pairs((0..count).map(|i| (format!("name{i}"), format!("{seed}-{}", "v".repeat(length)))))
}

fn log_batch(stream: Labels, lines: u64, body: &[u8], trace: bool, attributes: impl Fn(u64) -> Labels) -> LogBatch {
    let mut batch = LogBatch::new(stream);
    for i in 0..lines {
        let attributes = attributes(i);
        batch.push(LogRecord {
            timestamp: i as i64,
            sequence: i,
            body,
            severity: 9,
            flags: 0,
            trace_id: TraceId([u8::from(trace); 16]),
            span_id: SpanId([u8::from(trace); 8]),
            attributes: (&attributes).into(),
        });
    }
    batch
}

#[test]
fn a_logs_head_says_what_it_holds() {
    for chunk_bytes in [512 << 10, 1 << 30] {
        let engine = LogsEngine::new(LogsOptions { chunk_bytes, ..LogsOptions::default() });
        let none = |_| Labels::EMPTY;
        let stream = || labels(3, 10, 0);
        let run = |what: &str, count, make: &dyn Fn(u64) -> LogBatch| {
            check(&format!("{what} in chunks of {chunk_bytes}"), &engine, count, |offset| (tenant(), make(offset)));
        };
        run("lines", 50, &|_| log_batch(stream(), 100, b"an ordinary line of an ordinary program", false, none));
        run("nothing but lines", 2, &|_| log_batch(stream(), 60_000, b"", false, none));
        run("a line a section", 3000, &|_| log_batch(stream(), 1, b"", false, none));
        run("contexts", 4, &|_| log_batch(stream(), 10_000, b"x", true, none));
        run("distinct metadata", 4, &|offset| log_batch(stream(), 500, b"", false, |i| labels(1, 1500, offset << 32 | i)));
        run("small attributes", 4, &|offset| log_batch(stream(), 20, b"", false, |i| labels(800, 1, offset << 32 | i)));
        run("shared attributes", 4, &|_| log_batch(stream(), 5000, b"", false, |_| labels(20, 100, 0)));
        run("streams", 3000, &|offset| log_batch(labels(10, 10, offset), 1, b"x", false, none));
        run("large streams", 40, &|offset| log_batch(labels(1, 1 << 18, offset % 4), 2, b"x", false, none));
        check("tenants", &engine, 2000, |offset| (format!("tenant {offset}"), log_batch(stream(), 1, b"x", false, none)));
    }
}

fn metric_batch(target: Labels, series: Vec<Labels>, rows: i64, families: Vec<Family>) -> MetricBatch {
    let rows = (0..rows).map(|i| MetricRow { timestamp: i * 1_000_000, values: vec![0.5; series.len()] }).collect();
    MetricBatch { target, schema: Arc::new(Schema::new(series, families)), rows }
}

#[test]
fn a_metrics_head_says_what_it_holds() {
    let engine = MetricsEngine::default();
    let named = |i: u64| Labels::from_pairs([(NAME, format!("metric_{i}"))]);
    let run =
        |what: &str, count, make: &dyn Fn(u64) -> MetricBatch| check(what, &engine, count, |offset| (tenant(), make(offset)));
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
    check("tenants", &engine, 500, |offset| (format!("tenant {offset}"), metric_batch(job(), vec![named(1)], 1, Vec::new())));
}

fn span(id: u64, own: Attributes) -> Span {
    let mut trace_id = TraceId([1; 16]);
    trace_id.0[..8].copy_from_slice(&id.to_be_bytes());
    Span { trace_id, span_id: SpanId((id + 1).to_be_bytes()), name: "name".into(), attributes: own, ..Span::default() }
}

#[test]
fn a_traces_head_says_what_it_holds() {
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    let attributes = |count: usize, value: &dyn Fn(usize) -> Value| -> Attributes {
        (0..count).map(|i| (format!("k{i}"), value(i))).collect()
    };
    let service = || Origin { resource: vec![("service.name".into(), Value::String("s".into()))], ..Origin::default() };
    let batch = |spans: Vec<Span>| SpanBatch::new(service(), &spans);
    let run = |what: &str, count, make: &dyn Fn(u64) -> SpanBatch| check(what, &engine, count, |offset| (tenant(), make(offset)));
    let json = |text: &str| Value::Json(Box::new(serde_json::from_str(text).unwrap()));
    let list = |item: &str, count: usize| json(&format!("[{}]", vec![item; count].join(",")));
    run("traces", 4, &|offset| batch((0..1000).map(|i| span(offset << 32 | i, Vec::new())).collect()));
    run("one trace", 4, &|offset| {
        batch((0..1000).map(|i| Span { trace_id: TraceId([9; 16]), ..span(offset << 32 | i, Vec::new()) }).collect())
    });
    run("attributes", 4, &|offset| {
        batch((0..20).map(|i| span(offset << 32 | i, attributes(500, &|i| Value::String(format!("{i}"))))).collect())
    });
    run("numbers", 4, &|offset| {
        batch((0..20).map(|i| span(offset << 32 | i, attributes(500, &|i| Value::Int(i as i64)))).collect())
    });
    run("long texts", 4, &|offset| {
        batch((0..10).map(|i| span(offset << 32 | i, attributes(1, &|_| Value::String("x".repeat(100_000))))).collect())
    });
    run("JSON of nothing", 4, &|offset| batch(vec![span(offset, attributes(1, &|_| list("null", 20_000)))]));
    run("JSON of lists", 4, &|offset| batch(vec![span(offset, attributes(1, &|_| list("[1]", 5000)))]));
    run("JSON of objects", 4, &|offset| batch(vec![span(offset, attributes(1, &|_| list("{\"a\":1}", 3000)))]));
    run("JSON of members", 4, &|offset| {
        let members: Vec<String> = (0..3000).map(|i| format!("\"m{i}\":null")).collect();
        batch(vec![span(offset, attributes(1, &|_| json(&format!("{{{}}}", members.join(",")))))])
    });
    run("events and links", 4, &|offset| {
        let (events, links) = (vec![SpanEvent::default(); 3000], vec![SpanLink::default(); 3000]);
        batch(vec![Span { events, links, ..span(offset, Vec::new()) }])
    });
    run("origins", 500, &|offset| {
        let resource = attributes(10, &|i| Value::String(format!("{offset}-{i}")));
        SpanBatch::new(Origin { resource, ..Origin::default() }, &[span(offset, Vec::new())])
    });
    check("tenants", &engine, 500, |offset| (format!("tenant {offset}"), batch(vec![span(offset, Vec::new())])));
}
