//! The traces engine as a whole: head, block, merge and reader against plain lists of spans.

mod damage;
mod hidden;
mod searches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use weir_model::id::{SpanId, TraceId};
use weir_model::scope::Scope;
use weir_model::select::{NoBudget, PartitionCoverage, Trace, TraceReader, TraceSelect, TraceState};
use weir_model::span::{
    Attributes, Origin, ScopeSpans, Span, SpanBatch, SpanEvent, SpanKind, SpanLink, Spans, StatusCode, Value,
};
use weir_model::time::{SECOND, TimeRange};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::content::{KnownOrigin, content_hash};
use super::{TracesCounters, TracesEngine, TracesHead, TracesReader};
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_blocks::view::{BlockView, PartitionView, Views};

struct Fixed {
    blocks: Vec<BlockView<TracesEngine>>,
    heads: Vec<Arc<TracesHead>>,
}

impl Views<TracesEngine> for Fixed {
    fn views(&self) -> Vec<PartitionView<TracesEngine>> {
        let coverage = PartitionCoverage { topic: "weir.spans".into(), ..PartitionCoverage::default() };
        vec![PartitionView { coverage, blocks: self.blocks.clone(), heads: self.heads.clone(), missing: Vec::new() }]
    }
}

/// An engine whose clock the test sets.
struct World {
    now: Arc<AtomicI64>,
    counters: TracesCounters,
    engine: TracesEngine,
}

impl World {
    fn new() -> Self {
        let now = Arc::new(AtomicI64::new(1000 * SECOND));
        let counters = TracesCounters::default();
        let clock = Arc::clone(&now);
        let engine = TracesEngine::new(Arc::new(move || clock.load(Ordering::Relaxed)), counters.clone());
        Self { now, counters, engine }
    }

    fn wait(&self, seconds: i64) {
        self.now.fetch_add(seconds * SECOND, Ordering::Relaxed);
    }

    fn head(&self, batches: &[ScopeSpans]) -> Arc<TracesHead> {
        let head = Arc::new(self.engine.head());
        batches.iter().for_each(|batch| insert(&head, "t", batch));
        head
    }

    fn open(&self, built: &BuiltBlock) -> BlockView<TracesEngine> {
        let blob = MemoryBlob::new("spans/0/test", built.data.encode(Kind::Spans));
        BlockView {
            summary: built.summary.clone(),
            block: Arc::new(self.engine.open(Arc::new(blob)).unwrap()),
            hidden: Default::default(),
        }
    }

    fn seal(&self, head: &TracesHead) -> Vec<BlockView<TracesEngine>> {
        head.build().unwrap().iter().map(|built| self.open(built)).collect()
    }

    fn merge(&self, blocks: &[BlockView<TracesEngine>]) -> Vec<BlockView<TracesEngine>> {
        let pointers: Vec<_> = blocks.iter().map(|view| Arc::clone(&view.block)).collect();
        self.engine.merge(&pointers).unwrap().iter().map(|built| self.open(built)).collect()
    }

    fn reader(&self, blocks: &[BlockView<TracesEngine>], heads: &[Arc<TracesHead>]) -> TracesReader {
        let clock = Arc::clone(&self.now);
        let fixed = Fixed { blocks: blocks.to_vec(), heads: heads.to_vec() };
        TracesReader::new(Arc::new(fixed), Arc::new(move || clock.load(Ordering::Relaxed)))
    }
}

fn insert(head: &TracesHead, tenant: &str, batch: &ScopeSpans) {
    let mark = Mark::Digest([0; 16]);
    let header = SectionHeader { tenant: tenant.into(), source: "s".into(), mark, records: batch.spans.len() as u32 };
    let section = Section::new(header, SpanBatch::new(batch.origin.clone(), &batch.spans));
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section).unwrap();
}

/// Contents of spans by trace: floats by their bits, order set aside.
type Plain = BTreeMap<TraceId, Vec<u128>>;

fn plain<'a>(batches: impl Iterator<Item = &'a ScopeSpans>) -> Plain {
    let mut found = Plain::new();
    for batch in batches {
        let origin = KnownOrigin::new(batch.origin.clone());
        let spans: Spans = batch.spans.iter().collect();
        spans.iter().for_each(|span| found.entry(span.trace_id()).or_default().push(content_hash(&origin, span)));
    }
    found.values_mut().for_each(|hashes| {
        hashes.sort_unstable();
        hashes.dedup();
    });
    found
}

fn get(reader: &TracesReader, id: TraceId) -> Trace {
    let found = reader.trace(&Scope::of("t"), id).unwrap();
    assert_eq!(found.coverage.missing, Vec::<String>::new());
    found.value.unwrap()
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,5}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map("[a-c]{0,2}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let value = prop_oneof![
        "[a-c]{0,2}|true|error".prop_map(Value::String),
        "\\PC{0,20}".prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Double(f64::from_bits(bits))),
        json().prop_map(|json| Value::Json(Box::new(json))),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
    ];
    // Some are named like what a span has of its own.
    proptest::collection::vec(("[k-m]{0,1}|error|status|span\\.kind", value), 0..5)
}

fn span() -> impl Strategy<Value = Span> {
    let near = prop_oneof![8 => 0_i64..1000, 1 => any::<i64>()];
    let id = prop_oneof![6 => (1_u8..9).prop_map(|id| SpanId([0, 0, 0, 0, 0, 0, 0, id])), 1 => any::<[u8; 8]>().prop_map(SpanId)];
    let parent =
        prop_oneof![4 => (0_u8..9).prop_map(|id| SpanId([0, 0, 0, 0, 0, 0, 0, id])), 1 => any::<[u8; 8]>().prop_map(SpanId)];
    let event = (any::<i64>(), "[a-z]{0,3}", attributes());
    let event = event.prop_map(|(timestamp, name, attributes)| SpanEvent { timestamp, name, attributes });
    let link = (any::<[u8; 16]>(), any::<[u8; 8]>(), "[a=,]{0,3}", attributes());
    let link = link.prop_map(|(trace, span, trace_state, attributes)| SpanLink {
        trace_id: TraceId(trace),
        span_id: SpanId(span),
        trace_state,
        attributes,
    });
    let ids = (0_u8..4, id, parent, 0..6_i32, 0..3_u8);
    let texts = ("[a-b]{0,2}", "[a-c]{0,2}", "\\PC{0,8}");
    let lists = (attributes(), proptest::collection::vec(event, 0..3), proptest::collection::vec(link, 0..2));
    (ids, near.clone(), near, texts, lists).prop_map(|(ids, start, end, texts, lists)| Span {
        trace_id: TraceId([ids.0; 16]),
        span_id: ids.1,
        parent_id: ids.2,
        kind: SpanKind::from_number(ids.3),
        status: [StatusCode::Unset, StatusCode::Ok, StatusCode::Error][ids.4 as usize],
        start,
        end,
        trace_state: texts.0,
        name: texts.1,
        status_message: texts.2,
        attributes: lists.0,
        events: lists.1,
        links: lists.2,
    })
}

fn batches() -> impl Strategy<Value = Vec<ScopeSpans>> {
    let origin = (attributes(), "[ab]?", 0..3_u8).prop_map(|(mut resource, scope_name, service)| {
        resource.push(("service.name".into(), Value::String(["cart", "shop", ""][service as usize].into())));
        Origin { scope_attributes: resource[..resource.len() / 2].to_vec(), resource, scope_name, scope_version: "1".into() }
    });
    let batch = (origin, proptest::collection::vec(span(), 0..8)).prop_map(|(origin, spans)| ScopeSpans { origin, spans });
    proptest::collection::vec(batch, 1..6)
}

fn check_all(reader: &TracesReader, expected: &Plain) {
    for (id, hashes) in expected {
        let trace = get(reader, *id);
        assert_eq!(&plain(trace.batches.iter())[id], hashes);
        assert!(trace.batches.iter().all(|batch| batch.spans.is_sorted_by_key(|span| span.start)));
    }
}

fn select() -> TraceSelect {
    TraceSelect::any(&Scope::of("t"), TimeRange::ALL, 100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_goes_in_comes_out(batches in batches(), cut in 0..6_usize, again in any::<bool>()) {
        let world = World::new();
        let (old, new) = batches.split_at(cut.min(batches.len()));
        let mut heads = vec![world.head(old), world.head(new)];
        if again {
            heads.push(world.head(old));
        }
        let expected = plain(batches.iter());
        let blocks: Vec<_> = heads.iter().flat_map(|head| world.seal(head)).collect();
        let merged = world.merge(&blocks);
        let spans: usize = expected.values().map(Vec::len).sum();
        prop_assert_eq!(merged.iter().map(|view| view.summary.records).sum::<u64>(), spans as u64);
        let readers = [
            world.reader(&[], &heads),
            world.reader(&blocks, &[]),
            world.reader(&world.seal(&heads[0]), &heads[1..]),
            world.reader(&merged, &[]),
        ];
        readers.iter().for_each(|reader| check_all(reader, &expected));
        let services: Vec<_> = readers.iter().map(|reader| reader.services(&Scope::of("t"), TimeRange::ALL, &NoBudget).unwrap().value).collect();
        prop_assert!(services.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", services);
    }
}

fn id(byte: u8) -> TraceId {
    TraceId([byte; 16])
}

fn simple(trace: u8, span: u8, parent: u8, start: i64) -> Span {
    let own = |id: u8| SpanId([0, 0, 0, 0, 0, 0, 0, id]);
    let name = if parent == 0 { "root" } else { "child" }.to_owned();
    Span {
        trace_id: id(trace),
        span_id: own(span),
        parent_id: own(parent),
        name,
        start,
        end: start + 10,
        kind: SpanKind::Server,
        attributes: vec![("http.status_code".into(), Value::Int(i64::from(span)))],
        ..Span::default()
    }
}

fn batch(service: &str, spans: Vec<Span>) -> ScopeSpans {
    let resource = vec![("service.name".into(), Value::String(service.into()))];
    ScopeSpans { origin: Origin { resource, ..Origin::default() }, spans }
}

#[test]
fn a_trace_becomes_quiescent_sealed_and_reopened() {
    let world = World::new();
    let head = world.head(&[batch("shop", vec![simple(1, 2, 1, 5)])]);
    let state = |blocks: &[BlockView<TracesEngine>], heads: &[Arc<TracesHead>]| {
        let trace = get(&world.reader(blocks, heads), id(1));
        (trace.state, trace.revision)
    };
    world.wait(3);
    assert_eq!(state(&[], std::slice::from_ref(&head)), (TraceState::Open, 0), "its root is missing");
    insert(&head, "t", &batch("shop", vec![simple(1, 1, 0, 1)]));
    world.wait(1);
    assert_eq!(state(&[], std::slice::from_ref(&head)), (TraceState::Open, 0), "a second is not idle");
    world.wait(1);
    assert_eq!(state(&[], std::slice::from_ref(&head)), (TraceState::Quiescent, 0));
    insert(&head, "t", &batch("shop", vec![simple(1, 3, 1, 6)]));
    assert_eq!(state(&[], std::slice::from_ref(&head)), (TraceState::Open, 1), "a late span");
    let mut blocks = world.seal(&head);
    assert_eq!(state(&blocks, &[]), (TraceState::Sealed, 1));
    let late = world.head(&[batch("shop", vec![simple(1, 4, 1, 7)])]);
    assert_eq!(state(&blocks, std::slice::from_ref(&late)), (TraceState::Reopened, 2));
    blocks.extend(world.seal(&late));
    assert_eq!(state(&blocks, &[]), (TraceState::Reopened, 2));
    assert_eq!(state(&world.merge(&blocks), &[]), (TraceState::Reopened, 2), "merging changes no answer");
    let reader = world.reader(&blocks, &[]);
    assert_eq!(reader.trace(&Scope::of("other"), id(1)).unwrap().value, None);
    assert_eq!(reader.trace(&Scope::of("t"), id(9)).unwrap().value, None);
}

#[test]
fn a_trace_cut_by_a_seal_is_not_reopened() {
    let world = World::new();
    let first = world.head(&[batch("shop", vec![simple(1, 2, 1, 5)])]);
    world.wait(1);
    let second = world.head(&[batch("shop", vec![simple(1, 1, 0, 1)])]);
    let mut blocks = world.seal(&first);
    assert_eq!(get(&world.reader(&blocks, std::slice::from_ref(&second)), id(1)).state, TraceState::Open);
    blocks.extend(world.seal(&second));
    let trace = get(&world.reader(&world.merge(&blocks), &[]), id(1));
    assert_eq!((trace.state, trace.revision, trace.batches[0].spans.len()), (TraceState::Sealed, 0, 2));
}

#[test]
fn repetitions_are_dropped_and_counted() {
    let world = World::new();
    let one = batch("shop", vec![simple(1, 1, 0, 1)]);
    let client = Span { kind: SpanKind::Client, ..simple(1, 1, 0, 1) };
    let head = world.head(&[one.clone(), one.clone(), batch("shop", vec![client])]);
    assert_eq!((head.records(), world.counters.repeated.get()), (2, 1));
    let blocks = [world.seal(&head), world.seal(&world.head(&[one]))].concat();
    assert_eq!(get(&world.reader(&blocks, &[]), id(1)).batches[0].spans.len(), 2);
    assert_eq!(world.merge(&blocks)[0].summary.records, 2);
    assert_eq!(world.counters.repeated.get(), 2);
}

/// Of three spans of one id each comes twice, in batches of its own and in one with others, and once in another trace.
#[test]
fn spans_of_one_id_are_told_apart_by_what_they_say() {
    let world = World::new();
    let of = |kind: SpanKind| Span { kind, ..simple(1, 1, 0, 1) };
    let three = [SpanKind::Server, SpanKind::Client, SpanKind::Internal].map(of);
    let apart = three.clone().map(|span| batch("shop", vec![span]));
    let head = world.head(&[&apart[..], &apart[1..], &[batch("shop", three.to_vec())]].concat());
    assert_eq!((head.records(), world.counters.repeated.get()), (3, 5));
    let held = head.bytes();
    insert(&head, "t", &batch("shop", vec![three[2].clone(), three[0].clone()]));
    assert_eq!((head.records(), head.bytes(), world.counters.repeated.get()), (3, held, 7), "nothing new is not held");
    insert(&head, "t", &batch("shop", vec![three[1].clone(), simple(2, 1, 0, 1)]));
    insert(&head, "t", &batch("cart", vec![three[1].clone()]));
    assert_eq!((head.records(), world.counters.repeated.get()), (5, 8), "another trace, another origin");
    let spans = |reader: &TracesReader, trace: u8| -> usize {
        get(reader, id(trace)).batches.iter().map(|batch| batch.spans.len()).sum()
    };
    for reader in [world.reader(&[], std::slice::from_ref(&head)), world.reader(&world.seal(&head), &[])] {
        assert_eq!((spans(&reader, 1), spans(&reader, 2)), (4, 1));
    }
}

#[test]
fn a_very_long_trace_is_cut_into_segments() {
    let world = World::new();
    let spans: Vec<Span> = (0..40_000_u64)
        .map(|i| Span { span_id: SpanId((i + 1).to_be_bytes()), parent_id: SpanId(i.to_be_bytes()), ..simple(1, 1, 1, i as i64) })
        .collect();
    let expected = batch("shop", spans);
    let blocks = world.seal(&world.head(std::slice::from_ref(&expected)));
    assert_eq!(get(&world.reader(&blocks, &[]), id(1)).batches, std::slice::from_ref(&expected));
    assert_eq!(get(&world.reader(&world.merge(&blocks), &[]), id(1)).batches, [expected]);
}
