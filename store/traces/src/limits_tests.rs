//! What fills a segment and a block to their limits comes back whole: each limit in small.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use weir_model::id::{SpanId, TraceId};
use weir_model::span::{Attributes, Origin, Span, SpanEvent, SpanLink, Spans, Value};
use weir_model::wire::Kind;

use super::content::{KnownOrigin, OriginSpan, content_hash};
use super::state::Arrival;
use super::writer::{BlockLimits, BlockWriter};
use super::*;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BlockSummary, BuiltBlock, Engine};
use weir_blocks::packed::Cursor;

const SECTION_BYTES: usize = 4000;
const SEGMENT_BYTES: usize = 1500;

/// Texts of nothing, of a little, and of as much as a section may have.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just(String::new()), 6 => "[a-e]{1,4}", 1 => "[a-c]{300,1200}"]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::String),
        any::<i64>().prop_map(Value::Int),
        Just(Value::Bool(true)),
        prop::collection::vec(any::<u8>(), 0..600).prop_map(Value::Bytes),
        prop::collection::vec(any::<u64>(), 0..60).prop_map(|items| Value::Json(Box::new(items.into()))),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    prop::collection::btree_map(text(), value(), 0..5).prop_map(|all| all.into_iter().collect())
}

fn span() -> impl Strategy<Value = Span> {
    let event =
        (any::<i64>(), text(), attributes()).prop_map(|(timestamp, name, attributes)| SpanEvent { timestamp, name, attributes });
    let link = (any::<u8>(), text(), attributes()).prop_map(|(id, trace_state, attributes)| SpanLink {
        trace_id: TraceId([id; 16]),
        span_id: SpanId([id; 8]),
        trace_state,
        attributes,
    });
    let (events, links) = (prop::collection::vec(event, 0..3), prop::collection::vec(link, 0..3));
    let times = prop_oneof![(0..1000_i64, 0..1000_i64), (any::<i64>(), any::<i64>())];
    (any::<(u8, u8)>(), times, (text(), text(), text()), attributes(), events, links).prop_map(
        |((id, parent), (start, end), (name, status_message, trace_state), attributes, events, links)| Span {
            span_id: SpanId([id; 8]),
            parent_id: SpanId([parent; 8]),
            start,
            end,
            name,
            status_message,
            trace_state,
            attributes,
            events,
            links,
            ..Span::default()
        },
    )
}

/// Spans by tenant and trace, with which of three origins made each.
type Given = BTreeMap<(u8, u8), Vec<(usize, Span)>>;

fn origins() -> impl Strategy<Value = Vec<Origin>> {
    let origin = (attributes(), text(), attributes()).prop_map(|(resource, scope_name, scope_attributes)| Origin {
        resource,
        scope_name,
        scope_version: String::new(),
        scope_attributes,
    });
    prop::collection::vec(origin, 3)
}

fn hashes(spans: &[OriginSpan]) -> Vec<u128> {
    let mut hashes: Vec<u128> = spans.iter().map(|own| content_hash(&own.origin, own.span())).collect();
    hashes.sort_unstable();
    hashes
}

fn check_sections(built: &BuiltBlock, segments: usize) {
    for (name, bytes) in &built.data.sections {
        let mut cursor = Cursor::new(bytes);
        let runs = match *name {
            "spans.1" | "filter.1" => 0,
            "traces.1" => 3,
            _ => 1,
        };
        for _ in 0..runs {
            let raw = cursor.unpacked(usize::MAX).unwrap().len();
            assert!(raw <= SECTION_BYTES || segments == 1, "{raw} bytes of {name} for {segments} segments");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_span_comes_back_from_blocks_within_their_limits(
        given in prop::collection::btree_map((0..2_u8, 0..9_u8), prop::collection::vec((0..3_usize, span()), 1..8), 1..8),
        origins in origins(),
    ) {
        check_all(&given, origins);
    }
}

fn check_all(given: &Given, origins: Vec<Origin>) {
    let origins: Vec<Arc<KnownOrigin>> = origins.into_iter().map(|origin| Arc::new(KnownOrigin::new(origin))).collect();
    let mut writer = BlockWriter::with_limits(BlockLimits { section_bytes: SECTION_BYTES, segment_bytes: SEGMENT_BYTES });
    let mut expected: BTreeMap<(u8, TraceId), Vec<u128>> = BTreeMap::new();
    for ((tenant, id), spans) in given {
        let id = TraceId([*id; 16]);
        let columns: Arc<Spans> =
            Arc::new(spans.iter().map(|(_, span)| Span { trace_id: id, ..span.clone() }).collect::<Vec<_>>().iter().collect());
        let own = |(row, (origin, _)): (u32, &(usize, Span))| OriginSpan {
            origin: Arc::clone(&origins[*origin]),
            spans: Arc::clone(&columns),
            row,
        };
        let spans: Vec<OriginSpan> = (0..).zip(spans).map(own).collect();
        expected.insert((*tenant, id), hashes(&spans));
        writer.push(&format!("t{tenant}"), id, spans, Arrival::default());
    }
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    let mut found: BTreeMap<(u8, TraceId), Vec<OriginSpan>> = BTreeMap::new();
    for built in writer.finish() {
        let block = engine.open(Arc::new(MemoryBlob::new("x", built.data.encode(Kind::Spans)))).unwrap();
        engine.verify(&block, &built.summary).unwrap();
        let table = block.table().unwrap();
        check_sections(&built, table.ids.len());
        for entry in block.groups() {
            let group = block.group(entry).unwrap();
            for segment in entry.segments.clone() {
                let (id, tenant) =
                    (table.ids[segment], table.tenants.iter().find(|(_, range)| range.contains(&segment)).unwrap());
                assert!(block.may_hold(&tenant.0, id));
                let spans = block.spans(&group, segment - entry.segments.start, id);
                found.entry((tenant.0[1..].parse().unwrap(), id)).or_default().extend(spans);
            }
        }
    }
    let found: BTreeMap<_, _> = found.into_iter().map(|(key, spans)| (key, hashes(&spans))).collect();
    assert_eq!(found, expected);
}

/// A trace whose spans are large is cut by their bytes: a group of 16,384 of them was more than its reader takes.
#[test]
fn a_trace_of_large_spans_is_cut_by_bytes() {
    let origin = Arc::new(KnownOrigin::new(Origin::default()));
    let large = |i: u8| {
        let attributes = vec![("a".to_owned(), Value::String(format!("{i}{}", "x".repeat(1 << 20))))];
        Span { span_id: SpanId([i; 8]), attributes, ..Span::default() }
    };
    let spans: Spans = (1..13).map(large).collect::<Vec<_>>().iter().collect();
    let spans: Vec<OriginSpan> = OriginSpan::all(&origin, &Arc::new(spans)).collect();
    let mut writer = BlockWriter::default();
    writer.push("t", TraceId([1; 16]), spans, Arrival::default());
    let built = writer.finish();
    let engine = TracesEngine::new(Arc::new(|| 0), TracesCounters::default());
    let block = engine.open(Arc::new(MemoryBlob::new("x", built[0].data.encode(Kind::Spans)))).unwrap();
    engine.verify(&block, &built[0].summary).unwrap();
    assert_eq!((built.len(), block.groups().len(), built[0].summary.records), (1, 3, 12));
    let error = engine.verify(&block, &BlockSummary { records: 13, ..built[0].summary.clone() }).unwrap_err().to_string();
    assert_eq!(error, "x is corrupt: 12 records can be read, 13 were written");
}
