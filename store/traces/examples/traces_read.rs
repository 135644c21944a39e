//! What reading and merging sealed spans costs, a line each in CPU milliseconds and MiB that it takes on top at most: four blocks
//! and a head of a million spans with six attributes.
//!
//!     cargo run --release -p weir-traces --example traces_read [spans, 1000000 by default]

use std::sync::Arc;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_blocks::view::{BlockView, Fixed, PartitionView};
use weir_model::id::{SpanId, TraceId};
use weir_model::scope::Scope;
use weir_model::select::{NoBudget, PartitionCoverage, TraceReader, TraceSelect};
use weir_model::span::{Origin, Span, SpanBatch, SpanKind, Value};
use weir_model::time::TimeRange;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};
use weir_traces::{TracesCounters, TracesEngine, TracesHead, TracesReader};

const BATCH: u64 = 500;
const TRACE: u64 = 20;
const BLOCKS: u64 = 4;
const FIRST: i64 = 1_700_000_000_000_000_000;

fn id(trace: u64) -> TraceId {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&trace.wrapping_mul(0xd1b5_4a32_d192_ed03).to_be_bytes());
    TraceId(id)
}

fn span(i: u64) -> Span {
    let noise = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let text = |text: String| Value::String(text);
    let route = ["/api/v1/orders", "/api/v1/carts", "/api/v1/users", "/health"][noise as usize % 4];
    let start = FIRST + i as i64 * 100_000;
    Span {
        trace_id: id(i / TRACE),
        span_id: SpanId((i + 1).to_be_bytes()),
        parent_id: SpanId(if i.is_multiple_of(TRACE) { [0; 8] } else { i.to_be_bytes() }),
        name: format!("GET {route}"),
        kind: SpanKind::Server,
        start,
        end: start + (noise & 0xff_ffff) as i64,
        attributes: vec![
            ("http.route".into(), text(route.into())),
            ("http.response.status_code".into(), Value::Int([200, 200, 200, 404, 500][noise as usize % 5])),
            ("server.address".into(), text(format!("shop-{}.default.svc", noise % 7))),
            ("server.port".into(), Value::Int(8080)),
            ("thread.id".into(), Value::Int(noise as i64 & 63)),
            ("request.id".into(), text(format!("{i:08x}"))),
        ],
        ..Span::default()
    }
}

fn insert(head: &TracesHead, number: u64) -> Result<(), weir_blocks::StoreError> {
    let resource = vec![("service.name".into(), Value::String(format!("shop-{}", number % 5)))];
    let spans: Vec<Span> = (number * BATCH..(number + 1) * BATCH).map(span).collect();
    let header = SectionHeader { tenant: "t".into(), source: "s".into(), mark: Mark::Digest([0; 16]), records: 0 };
    let section = Section::new(header, SpanBatch::new(Origin { resource, ..Origin::default() }, &spans));
    head.insert(Position { partition: 0, offset: number, ordinal: 0 }, &section)
}

/// Of this process's status, in MiB.
fn memory(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}

fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse::<f64>().ok()).unwrap_or_default() / 1e6
}

fn measured<T>(what: &str, times: u32, mut work: impl FnMut() -> T) -> T {
    // The kernel forgets the peak.
    let _not_there = std::fs::write("/proc/self/clear_refs", "5");
    let (before, resident) = (cpu(), memory("VmRSS:"));
    let mut made = work();
    let peak = memory("VmHWM:") - resident;
    (1..times).for_each(|_| made = work());
    println!("{what}: {:.2} ms, {peak:.1} MiB", (cpu() - before) / f64::from(times));
    made
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spans: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |number| number.parse())?;
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    let open = |built: BuiltBlock| -> Result<BlockView<TracesEngine>, weir_blocks::StoreError> {
        let block = engine.open(Arc::new(MemoryBlob::new("b", built.data.encode(Kind::Spans))))?;
        Ok(BlockView { summary: built.summary, block: Arc::new(block), hidden: Default::default() })
    };
    let each = spans / BATCH / (BLOCKS + 1);
    let mut blocks = Vec::new();
    for block in 0..BLOCKS {
        let head = engine.head();
        (block * each..(block + 1) * each).try_for_each(|number| insert(&head, number))?;
        blocks.extend(head.build()?.into_iter().map(open).collect::<Result<Vec<_>, _>>()?);
    }
    let head = Arc::new(engine.head());
    (BLOCKS * each..(BLOCKS + 1) * each).try_for_each(|number| insert(&head, number))?;
    measured("seal", 3, || head.build().map(|built| built.len()))?;
    let merged: Vec<_> = blocks.iter().map(|view| Arc::clone(&view.block)).collect();
    measured("merge", 3, || engine.merge(&merged).map(|built| built.len()))?;
    let view = |blocks: &[BlockView<TracesEngine>], heads: &[Arc<TracesHead>]| {
        let (blocks, heads) = (blocks.to_vec(), heads.to_vec());
        let view = PartitionView { coverage: PartitionCoverage::default(), blocks, heads, missing: Vec::new() };
        TracesReader::new(Arc::new(Fixed::new(vec![view])), Arc::new(|| 0))
    };
    let any = TraceSelect::any(&Scope::of("t"), TimeRange::ALL, 20);
    let attribute = |name: &str, text: &str| vec![(name.to_owned(), text.to_owned())];
    let selects = [
        ("newest 20", any.clone()),
        ("newest 20 of a service", TraceSelect { service: Some("shop-3".into()), ..any.clone() }),
        ("newest 20 of a status", TraceSelect { attributes: attribute("http.response.status_code", "404"), ..any.clone() }),
        ("one request", TraceSelect { attributes: attribute("request.id", "00000fff"), ..any.clone() }),
        ("no such attribute", TraceSelect { attributes: attribute("no.such", "x"), ..any.clone() }),
        ("the slowest", TraceSelect { duration_min: Some(0xff_f000), limit: 1000, ..any }),
    ];
    for (of, reader) in
        [("blocks", view(&blocks, &[])), ("a head", view(&[], &[Arc::clone(&head)])), ("both", view(&blocks, &[head]))]
    {
        for (what, select) in &selects {
            let found = measured(&format!("{of}: {what}"), 3, || reader.search(select, &NoBudget))?.value;
            println!("    {} traces", found.len());
        }
        measured(&format!("{of}: 100 traces by id"), 3, || {
            (0..100)
                .map(|i| reader.trace(&Scope::of("t"), id(i * spans / TRACE / 100)).map_or(0, |found| found.value.iter().count()))
                .sum::<usize>()
        });
        measured(&format!("{of}: operations"), 10, || {
            reader.operations(&Scope::of("t"), Some("shop-1"), TimeRange::ALL, &NoBudget).map(|found| found.value.len())
        })?;
        measured(&format!("{of}: names"), 10, || {
            reader.attribute_names(&Scope::of("t"), TimeRange::ALL, 100, &NoBudget).map(|found| found.value.len())
        })?;
        measured(&format!("{of}: values"), 3, || {
            reader
                .attribute_values(&Scope::of("t"), "server.address", TimeRange::ALL, 100, &NoBudget)
                .map(|found| found.value.len())
        })?;
    }
    Ok(())
}
