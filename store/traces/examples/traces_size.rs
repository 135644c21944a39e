//! Bytes a span takes on disk: reads a Nezha `spans.csv` (decompressed) from standard input, seals it in heads of 64k
//! spans, merges the blocks, and prints one line a figure.
//!
//!     zstdcat spans.csv.zst | cargo run --release -p weir-traces --example traces_size

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::time::Instant;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine, Head, Position};
use weir_model::span::{Origin, Span, SpanBatch, Value};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};
use weir_traces::{TracesBlock, TracesCounters, TracesEngine};

const HEAD_SPANS: u64 = 64 << 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    let (mut head, mut blocks, mut small, mut spans) = (engine.head(), Vec::new(), 0, 0_u64);
    let mut batches: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    let (mut inserting, mut building) = (0.0, 0.0);
    let mut lines = std::io::stdin().lock().lines().skip(1).peekable();
    while let Some(line) = lines.next() {
        let line = line?;
        let fields: Vec<&str> = line.split(',').collect();
        let [trace, span, parent, pod, name, start, end, ..] = fields[..] else { continue };
        let parent_id = if parent == "root" { Default::default() } else { parent.parse()? };
        let (trace_id, span_id, start, end) = (trace.parse()?, span.parse()?, start.parse()?, end.parse()?);
        let span = Span { trace_id, span_id, parent_id, name: name.into(), start, end, ..Span::default() };
        batches.entry(pod.to_owned()).or_default().push(span);
        spans += 1;
        if !spans.is_multiple_of(1024) && lines.peek().is_some() {
            continue;
        }
        for (pod, spans) in std::mem::take(&mut batches) {
            let service = pod.rsplitn(3, '-').last().unwrap_or(&pod).to_owned();
            let resource = vec![("service.name".into(), Value::String(service)), ("k8s.pod.name".into(), Value::String(pod))];
            let body = SpanBatch::new(Origin { resource, ..Origin::default() }, &spans);
            let header = SectionHeader { tenant: "default".into(), source: "s".into(), mark: Mark::Digest([0; 16]), records: 0 };
            let section = Section::new(header, body);
            let start = Instant::now();
            head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section)?;
            inserting += start.elapsed().as_secs_f64();
        }
        if head.records() >= HEAD_SPANS || lines.peek().is_none() {
            let start = Instant::now();
            for built in std::mem::replace(&mut head, engine.head()).build()? {
                let bytes = built.data.encode(Kind::Spans);
                small += bytes.len();
                blocks.push(Arc::new(engine.open(Arc::new(MemoryBlob::new("small", bytes)))?));
            }
            building += start.elapsed().as_secs_f64();
        }
    }
    let count = spans as f64;
    println!("{spans} spans, insert {:.0} k/s, seal {:.0} k/s", count / inserting / 1e3, count / building / 1e3);
    println!("blocks of 64k spans: {:.2} B/span", small as f64 / count);
    let start = Instant::now();
    for built in engine.merge(&blocks)? {
        let (records, bytes) = (built.summary.records, built.data.encode(Kind::Spans));
        let seconds = start.elapsed().as_secs_f64();
        println!("merged: {:.2} B/span (budget 20), {records} spans in {seconds:.2} s", bytes.len() as f64 / records as f64);
        let block: TracesBlock = engine.open(Arc::new(MemoryBlob::new("merged", bytes)))?;
        block.section_sizes().iter().for_each(|(name, size)| println!("  {name}: {size} B"));
    }
    Ok(())
}
