//! The bytes of a block, and what becomes of them when they are damaged.

use std::sync::Arc;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Head};
use weir_blocks::view::BlockView;
use weir_model::id::SpanId;
use weir_model::scope::Scope;
use weir_model::select::{NoBudget, TraceReader};
use weir_model::span::{SpanEvent, SpanLink, SpansBuilder, StatusCode, Value};
use weir_model::wire::Kind;

use super::{World, batch, id, select, simple};
use crate::TracesBlock;
use crate::group::{Group, Tables};
use crate::schema::SPANS;

/// A block with every column in use, as of version 1.
fn golden(world: &World) -> BuiltBlock {
    let mut full = simple(2, 2, 1, 1_000_000);
    full.status = StatusCode::Error;
    full.status_message = "no".into();
    full.trace_state = "a=b".into();
    full.events =
        vec![SpanEvent { timestamp: 1_000_001, name: "log".into(), attributes: vec![("n".into(), Value::Double(0.5))] }];
    full.links = vec![SpanLink { trace_id: id(9), span_id: SpanId([9; 8]), trace_state: "c".into(), attributes: Vec::new() }];
    let head = world.head(&[batch("shop", vec![simple(2, 1, 0, 999_000), full]), batch("cart", vec![simple(1, 5, 4, 7)])]);
    head.build().unwrap().remove(0)
}

#[test]
fn the_bytes_are_what_the_format_says() {
    let expected = include_str!("../golden.txt");
    let found: String =
        golden(&World::new()).data.sections.iter().map(|(name, bytes)| format!("{name} {}\n", hex::encode(bytes))).collect();
    assert_eq!(found, expected, "found:\n{found}");
}

#[test]
fn a_corrupt_group_is_missing_and_nothing_panics() {
    let world = World::new();
    let built = golden(&world);
    let good = built.data.encode(Kind::Spans);
    let mut seen_missing = 0;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let Ok(block) = TracesBlock::open(Arc::new(MemoryBlob::new("spans/0/bad", bad))) else { continue };
        let reader = world
            .reader(&[BlockView { summary: built.summary.clone(), block: Arc::new(block), hidden: Default::default() }], &[]);
        let found = reader.trace(&Scope::of("t"), id(2)).unwrap();
        let searched = reader.search(&select(), &NoBudget).unwrap();
        assert_eq!(found.coverage.missing, searched.coverage.missing);
        if !found.coverage.missing.is_empty() {
            assert!(found.coverage.missing[0].starts_with("spans/0/bad is corrupt: s"), "{:?}", found.coverage);
            assert!(found.value.is_none());
            seen_missing += 1;
        }
    }
    assert!(seen_missing > 50, "{seen_missing}");
}

#[test]
fn a_group_of_hostile_bytes_is_refused_or_read_within_bounds() {
    let world = World::new();
    let built = golden(&world);
    let block = world.open(&built).block;
    let tables = Tables { strings: 9, origins: block.origins().len() };
    let (_, good) = built.data.sections.iter().find(|(name, _)| *name == SPANS).unwrap();
    let strings: Vec<Box<str>> = (0..9).map(|string| block.string(string).into()).collect();
    let mut read = 0;
    for at in 0..good.len() {
        for flip in [0x01, 0x10, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            let Ok(group) = Group::parse(&bad, 2, tables) else { continue };
            let mut copies = SpansBuilder::default();
            (0..group.ids.len()).for_each(|span| group.copy(span, id(1), &strings, &mut copies));
            assert!(copies.finish().trace_ids().iter().all(|own| *own == id(1)));
            read += 1;
        }
        assert!(Group::parse(&good[..at], 2, tables).is_err(), "cut at {at}");
    }
    assert!(read > 0);
}
