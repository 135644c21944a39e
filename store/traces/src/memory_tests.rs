//! What heads say they hold, against what this thread's allocations say: hostile sections, each through the wire, as a head
//! gets them.

use std::sync::Arc;

use weir_blocks::testing::{Counting, check_memory, tenant};
use weir_model::id::{SpanId, TraceId};
use weir_model::span::{Attributes, Origin, Span, SpanBatch, SpanEvent, SpanLink, Value};

use super::{TracesCounters, TracesEngine};

#[global_allocator]
static COUNTING: Counting = Counting;

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
    let run = |what: &str, count, make: &dyn Fn(u64) -> SpanBatch| {
        check_memory(what, &engine, count, |offset| (tenant(), make(offset)))
    };
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
    check_memory("tenants", &engine, 500, |offset| (format!("tenant {offset}"), batch(vec![span(offset, Vec::new())])));
}
