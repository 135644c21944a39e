//! Sections and groups of any bytes are refused or read, with right checksums around them.

use std::sync::Arc;

use weir_model::fuzz::Fuzz;
use weir_model::id::{SpanId, TraceId};
use weir_model::span::{Origin, Span, SpanBatch, SpanEvent, SpanLink, SpansBuilder, Value};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::group::{Group, Tables};
use super::*;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_blocks::packed::plain;
use weir_blocks::testing::MEMORY;

fn built(engine: &TracesEngine) -> BuiltBlock {
    let head = engine.head();
    let json = |text: &str| Value::Json(Box::new(serde_json::from_str(text).unwrap()));
    for i in 1..9_u8 {
        let attributes = vec![
            ("text".into(), Value::String(format!("v{i}"))),
            ("json".into(), json("[1, -2, 0.5, null, {\"a\": [true]}]")),
            ("bytes".into(), Value::Bytes(vec![i; 3])),
            ("double".into(), Value::Double(0.5)),
        ];
        let event = SpanEvent { timestamp: 5, name: "event".into(), attributes: attributes.clone() };
        let link = SpanLink {
            trace_id: TraceId([i; 16]),
            trace_state: "s".into(),
            attributes: attributes.clone(),
            ..SpanLink::default()
        };
        let span = Span {
            trace_id: TraceId([i % 3 + 1; 16]),
            span_id: SpanId([i; 8]),
            parent_id: SpanId([i / 2; 8]),
            name: format!("n{}", i % 2),
            start: i64::from(i) * 1000,
            end: i64::from(i) * 1100,
            events: vec![event],
            links: vec![link],
            attributes,
            ..Span::default()
        };
        let origin =
            Origin { resource: vec![("service.name".into(), Value::String(format!("s{}", i % 2)))], ..Origin::default() };
        let mark = Mark::Digest([i; 16]);
        let header = SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 1 };
        let section = Section::new(header, SpanBatch::new(origin, &[span]));
        head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
    }
    head.build().unwrap().remove(0)
}

#[test]
fn sections_and_groups() {
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    let built = built(&engine);
    let block = engine.open(Arc::new(MemoryBlob::new("x", built.data.encode(Kind::Spans)))).unwrap();
    let segments = block.groups()[0].segments.len();
    let mut target = Fuzz::new("store-traces").memory(MEMORY);
    for (which, (name, bytes)) in (0_u8..).zip(&built.data.sections) {
        let bytes = if *name == "filter.1" { bytes.clone() } else { plain(bytes) };
        target = target.seed([&[which], &bytes[..]].concat());
    }
    target.run(move |input| {
        let Some((which, packed)) = input.split_first() else { return };
        let which = usize::from(*which) % built.data.sections.len();
        if built.data.sections[which].0 == "spans.1" {
            let strings: Vec<Box<str>> = vec!["x".into(); 50];
            let Ok(group) = Group::parse(packed, segments, Tables { strings: strings.len(), origins: 2 }) else { return };
            let mut copies = SpansBuilder::default();
            (0..group.ids.len()).for_each(|at| group.copy(at, TraceId([1; 16]), &strings, &mut copies));
            return;
        }
        let mut data = built.data.clone();
        data.sections[which].1 = packed.to_vec();
        let Ok(block) = engine.open(Arc::new(MemoryBlob::new("fuzz", data.encode(Kind::Spans)))) else { return };
        let _refused = engine.verify(&block, &built.summary);
        let Ok(table) = block.table() else { return };
        for entry in block.groups() {
            let Ok(group) = block.group(entry) else { continue };
            for segment in entry.segments.clone() {
                std::hint::black_box(block.may_hold("t", table.ids[segment]));
                drop(block.spans(&group, segment - entry.segments.start, table.ids[segment]));
            }
        }
    });
}
