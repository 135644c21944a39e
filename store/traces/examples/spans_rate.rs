//! What spans of eleven attributes cost from the partition to the block, a stage a line in spans a CPU second, and what a head
//! of them holds. Batches of 128, as requests of 512 leave them that fall apart into four partitions.
//!
//!     cargo run --release -p weir-traces --example spans_rate [spans, 400000 by default]

use std::sync::Arc;

use weir_blocks::engine::{Engine, Head, Position};
use weir_model::id::{SpanId, TraceId};
use weir_model::signal::Signal;
use weir_model::span::{Origin, Span, SpanBatch, SpanKind, Value};
use weir_model::wire::{Limits, Mark, RecordBuilder, Section, SectionHeader, decode};
use weir_traces::{TracesCounters, TracesEngine};

const BATCH: u64 = 512;
const PARTITIONS: u64 = 4;
/// Spans of a trace, which come with neighbouring batches.
const TRACE: u64 = 20;

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

fn span(i: u64) -> Span {
    let noise = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut trace = [0; 16];
    trace[..8].copy_from_slice(&(i / TRACE).wrapping_mul(0xd1b5_4a32_d192_ed03).to_be_bytes());
    trace[15] = 1;
    let route = ["/api/v1/orders", "/api/v1/carts", "/api/v1/users", "/health"][noise as usize % 4];
    let attributes = vec![
        ("http.request.method".into(), text(["GET", "POST"][noise as usize % 2])),
        ("http.route".into(), text(route)),
        ("url.full".into(), text(format!("http://shop{route}/{}", noise >> 44))),
        ("http.response.status_code".into(), Value::Int([200, 200, 200, 404, 500][noise as usize % 5])),
        ("server.address".into(), text(format!("shop-{}.default.svc", noise % 7))),
        ("server.port".into(), Value::Int(8080)),
        ("client.address".into(), text(format!("10.0.{}.{}", noise >> 8 & 3, noise >> 16 & 255))),
        ("user_agent.original".into(), text("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36")),
        ("network.protocol.version".into(), text("1.1")),
        ("thread.id".into(), Value::Int((noise >> 20) as i64 & 63)),
        ("request.id".into(), text(format!("{noise:016x}"))),
    ];
    Span {
        trace_id: TraceId(trace),
        span_id: SpanId((i + 1).to_be_bytes()),
        parent_id: SpanId(if i.is_multiple_of(TRACE) { [0; 8] } else { i.to_be_bytes() }),
        name: format!("GET {route}"),
        kind: SpanKind::Server,
        start: 1_700_000_000_000_000_000 + i as i64 * 100_000,
        end: 1_700_000_000_000_000_000 + i as i64 * 100_000 + (noise >> 40) as i64,
        attributes,
        ..Span::default()
    }
}

fn section(number: u64) -> Section<SpanBatch> {
    let resource = [("service.name", format!("shop-{}", number % 5)), ("k8s.pod.name", format!("shop-{}-0", number % 20))];
    let resource = resource.map(|(name, value)| (name.to_owned(), text(value))).to_vec();
    let spans: Vec<Span> = (number * BATCH..(number + 1) * BATCH).map(span).collect();
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    let header = SectionHeader { tenant: "default".into(), source: "otlp/shop".into(), mark: Mark::Digest(digest), records: 0 };
    Section::new(header, SpanBatch::new(Origin { resource, ..Origin::default() }, &spans))
}

/// Nanoseconds that this thread has run.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[derive(Default)]
struct Stage(u64);

impl Stage {
    fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = cpu();
        let made = work();
        self.0 += cpu() - before;
        made
    }

    fn print(&self, name: &str, spans: u64) {
        println!("{name}: {:.0} spans a CPU second", spans as f64 * 1e9 / self.0 as f64);
    }
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spans: u64 = std::env::args().nth(1).map_or(Ok(400_000), |number| number.parse())?;
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    let heads: Vec<_> = (0..PARTITIONS).map(|_| engine.head()).collect();
    let [mut place, mut encode, mut read, mut insert, mut seal] = [(); 5].map(|()| Stage::default());
    let (mut bytes, before) = (0, resident());
    for number in 0..spans / BATCH {
        let section = section(number);
        let parts = place.of(|| SpanBatch::route(section, |hash| (hash % PARTITIONS) as u32));
        for (partition, part) in parts {
            let mut record = RecordBuilder::new(Limits::default());
            let record = encode.of(|| record.push(&part).and_then(|()| record.finish()))?;
            bytes += record.len();
            let sections = read.of(|| decode::<SpanBatch>(&record, &Limits::default()))?;
            let position = Position { partition, offset: number, ordinal: 0 };
            insert.of(|| sections.iter().try_for_each(|section| heads[partition as usize].insert(position, section)))?;
        }
    }
    let held: usize = heads.iter().map(Head::bytes).sum();
    println!("{} B a span on the bus, {} in a head", bytes as u64 / spans, held as u64 / spans);
    println!("resident: {} MiB more, {} MiB counted", (resident() - before) >> 20, held >> 20);
    let blocks = seal.of(|| heads.iter().map(Head::build).collect::<Result<Vec<_>, _>>())?;
    let sealed: usize = blocks.iter().flatten().flat_map(|block| &block.data.sections).map(|(_, bytes)| bytes.len()).sum();
    println!("{} B a span in blocks", sealed as u64 / spans);
    for (stage, name) in [(&place, "route"), (&encode, "encode"), (&read, "decode"), (&insert, "insert"), (&seal, "seal")] {
        stage.print(name, spans);
    }
    Ok(())
}
