//! Searches of heads and blocks against plain lists of spans.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use weir_blocks::view::BlockView;
use weir_model::id::TraceId;
use weir_model::label::Matcher;
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{Budget, NoBudget, ReadError, TraceReader, TraceSelect};
use weir_model::span::{SpanKind, Spans, StatusCode, Value};
use weir_model::time::TimeRange;

use super::{World, batch, batches, id, select, simple};
use crate::content::{KnownOrigin, content_hash};
use crate::{TracesEngine, TracesHead};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_search_finds_what_a_plain_look_finds(
        batches in batches(),
        service in proptest::option::of("cart|shop|none"),
        operation in proptest::option::of("[a-c]"),
        attribute in proptest::option::of(("(span[.]|resource[.])?[k-m]|absent|error|span.kind|status", "[a-c]|true|server|error")),
        bounds in (proptest::option::of(-500_i64..500), proptest::option::of(-500_i64..500), 0_i64..1000, 1_i64..1000),
    ) {
        let world = World::new();
        let select = TraceSelect {
            service,
            operation,
            attributes: attribute.into_iter().collect(),
            duration_min: bounds.0,
            duration_max: bounds.1,
            range: TimeRange { start: bounds.2, end: bounds.2 + bounds.3 },
            ..select()
        };
        let head = world.head(&batches);
        let blocks = world.seal(&head);
        let mut expected: BTreeMap<TraceId, u32> = BTreeMap::new();
        let mut seen = HashSet::new();
        for batch in &batches {
            let origin = KnownOrigin::new(batch.origin.clone());
            let spans: Spans = batch.spans.iter().collect();
            for (span, row) in batch.spans.iter().zip(spans.iter()) {
                prop_assert_eq!(select.passes(&(&batch.origin, span)), select.passes(&(&batch.origin, row)));
                if select.passes(&(&batch.origin, span)) && seen.insert(content_hash(&origin, row)) {
                    *expected.entry(span.trace_id).or_default() += 1;
                }
            }
        }
        for reader in [world.reader(&blocks, &[]), world.reader(&[], &[head])] {
            let found = reader.search(&select, &NoBudget).unwrap().value;
            prop_assert!(found.is_sorted_by(|a, b| a.newest_match >= b.newest_match));
            let found: BTreeMap<_, _> = found.into_iter().map(|summary| (summary.id, summary.matched)).collect();
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn blocks_and_heads_find_values_of_every_type_by_their_text() {
    let mut failed = simple(1, 1, 0, 5);
    failed.status = StatusCode::Error;
    failed.attributes = vec![
        ("bytes".into(), Value::Bytes(vec![0, 255, 16])),
        ("double".into(), Value::Double(1000.0)),
        ("flag".into(), Value::Bool(true)),
    ];
    let world = World::new();
    let head = world.head(&[batch("cart", vec![failed, simple(2, 1, 0, 9)])]);
    for reader in [world.reader(&world.seal(&head), &[]), world.reader(&[], &[head])] {
        let check = |attributes: &[(&str, &str)], expected: usize| {
            let attributes = attributes.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
            let found = reader.search(&TraceSelect { attributes, ..select() }, &NoBudget).unwrap().value;
            assert_eq!(found.len(), expected, "{found:?}");
            found.iter().for_each(|one| assert_eq!((one.id, one.matched, one.newest_match), (id(1), 1, 5)));
        };
        check(&[("bytes", "AP8Q")], 1);
        check(&[("bytes", "00ff10")], 0);
        check(&[("double", "1000.0"), ("flag", "true")], 1);
        for failed in [("error", "true"), ("status", "error"), ("status.code", "error"), ("otel.status_code", "ERROR")] {
            check(&[failed, ("resource.service.name", "cart"), ("span.kind", "server")], 1);
            check(&[failed, ("resource.service.name", "shop")], 0);
            check(&[failed, ("span.double", "1e3"), ("span.service.name", "cart")], 0);
        }
    }
}

#[test]
fn searches_answer_newest_first() {
    let world = World::new();
    let spans = |service: &str, from: u8| {
        batch(
            service,
            (from..from + 5)
                .flat_map(|i| [simple(i, 1, 0, i64::from(i) * 100), simple(i, 2, 1, i64::from(i) * 100 + 1)])
                .collect(),
        )
    };
    let mut failed = simple(7, 3, 1, 701);
    failed.status = StatusCode::Error;
    let blocks = [world.seal(&world.head(&[spans("cart", 1)])), world.seal(&world.head(&[spans("shop", 6)]))].concat();
    let reader = world.reader(&blocks, &[world.head(&[batch("pay", vec![failed])])]);
    let ids = |select: TraceSelect| {
        let found = reader.search(&select, &NoBudget).unwrap().value;
        found.iter().map(|summary| summary.id.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(ids(TraceSelect { limit: 3, ..select() }), [10, 9, 8]);
    assert_eq!(ids(TraceSelect { service: Some("cart".into()), limit: 2, ..select() }), [5, 4]);
    assert_eq!(ids(TraceSelect { attributes: vec![("http.status_code".into(), "3".into())], ..select() }), [7]);
    assert_eq!(ids(TraceSelect { attributes: vec![("error".into(), "true".into())], ..select() }), [7]);
    // Both hold in trace 7, on no single span.
    assert_eq!(ids(TraceSelect { service: Some("pay".into()), operation: Some("root".into()), ..select() }), [0; 0]);
    assert_eq!(ids(TraceSelect { range: TimeRange { start: 100, end: 201 }, ..select() }), [2, 1]);
    let summary = reader.search(&TraceSelect { service: Some("pay".into()), ..select() }, &NoBudget).unwrap().value.remove(0);
    assert_eq!((summary.root_service.as_str(), summary.root_name.as_str(), summary.has_root), ("shop", "root", true));
    assert_eq!((summary.start, summary.duration, summary.spans, summary.errors, summary.matched), (700, 11, 3, 1, 1));
    assert_eq!(reader.services(&Scope::of("t"), TimeRange::ALL, &NoBudget).unwrap().value, ["cart", "pay", "shop"]);
    assert_eq!(reader.services(&Scope::of("t"), TimeRange { start: 100, end: 200 }, &NoBudget).unwrap().value, ["cart"]);
    let operations = reader.operations(&Scope::of("t"), Some("cart"), TimeRange::ALL, &NoBudget).unwrap().value;
    assert_eq!(operations, [("child".to_owned(), SpanKind::Server), ("root".to_owned(), SpanKind::Server)]);
    let values = reader.attribute_values(&Scope::of("t"), "http.status_code", TimeRange::ALL, 2, &NoBudget).unwrap().value;
    assert_eq!(values, [Value::Int(1), Value::Int(2)]);
    let names = reader.attribute_names(&Scope::of("t"), TimeRange::ALL, 9, &NoBudget).unwrap().value;
    assert_eq!(names, [("resource".to_owned(), "service.name".to_owned()), ("span".to_owned(), "http.status_code".to_owned())]);
}

/// Is over when so many spans are decoded.
struct Ending(u64, AtomicU64);

impl Budget for Ending {
    fn check(&self) -> Result<(), ReadError> {
        self.spend(0)
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        let spent = self.1.fetch_add(count, Ordering::Relaxed) + count;
        if spent > self.0 { Err(ReadError::Cancelled("over")) } else { Ok(()) }
    }
}

#[test]
fn names_and_values_within_a_scope_are_read_within_the_budget() {
    let world = World::new();
    let spans = |from: u8| batch("cart", (0..10).map(|i| simple(from + i, 1, 0, i64::from(from + i))).collect());
    let blocks = [1, 20, 40].map(|from| world.seal(&world.head(&[spans(from)]))).concat();
    let visible = Visible::any_of(vec![vec![Matcher::equal("service_name", "cart")]]);
    let scope = Scope::from(TenantScope { tenant: "t".into(), visible });
    let reader = world.reader(&blocks, &[world.head(&[spans(60)])]);
    let check = |spans: u64, read: &dyn Fn(&dyn Budget) -> Result<usize, ReadError>, expected: Option<usize>| {
        let budget = Ending(spans, AtomicU64::new(0));
        match (read(&budget), expected) {
            (Ok(found), Some(expected)) => assert_eq!((found, budget.1.into_inner()), (expected, 30)),
            (Err(ReadError::Cancelled("over")), None) => assert_eq!(budget.1.into_inner(), 20, "the third block is not read"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    };
    for (spans, is_enough) in [(30, true), (15, false)] {
        let own = |count: usize| is_enough.then_some(count);
        check(spans, &|budget| Ok(reader.services(&scope, TimeRange::ALL, budget)?.value.len()), own(1));
        check(spans, &|budget| Ok(reader.operations(&scope, None, TimeRange::ALL, budget)?.value.len()), own(1));
        check(spans, &|budget| Ok(reader.attribute_names(&scope, TimeRange::ALL, 9, budget)?.value.len()), own(2));
        let name = "http.status_code";
        check(spans, &|budget| Ok(reader.attribute_values(&scope, name, TimeRange::ALL, 9, budget)?.value.len()), own(1));
    }
}

#[test]
fn operations_of_all_services_are_each_there_once() {
    let world = World::new();
    let spans = |service: &str, id: u8| batch(service, vec![simple(id, 1, 0, 1), simple(id, 2, 1, 2)]);
    let reader = world.reader(&world.seal(&world.head(&[spans("cart", 1)])), &[world.head(&[spans("shop", 2)])]);
    let names = |service| reader.operations(&Scope::of("t"), service, TimeRange::ALL, &NoBudget).unwrap().value;
    let both = [("child".to_owned(), SpanKind::Server), ("root".to_owned(), SpanKind::Server)];
    assert_eq!((names(None), names(Some("shop")), names(Some("none"))), (both.to_vec(), both.to_vec(), Vec::new()));
}

/// Counts what is decoded.
#[derive(Default)]
struct Counted(AtomicU64);

impl Budget for Counted {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }

    fn spend(&self, count: u64) -> Result<(), ReadError> {
        self.0.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_search_decodes_only_what_may_be_among_the_newest() {
    let world = World::new();
    let spans = |from: i64| batch("shop", (0..10_u8).map(|i| simple(from as u8 + i, 1, 0, from * 100 + i64::from(i))).collect());
    // Neither the order of blocks nor that of batches is that of time.
    let blocks = [40, 20, 60].map(|from| world.seal(&world.head(&[spans(from)]))).concat();
    let heads = [world.head(&[spans(50), spans(10)])];
    let decoded = |blocks: &[BlockView<TracesEngine>], heads: &[Arc<TracesHead>], select: TraceSelect| {
        let budget = Counted::default();
        let found = world.reader(blocks, heads).candidates(&select, &budget).unwrap().value;
        (found.iter().map(|(id, _)| id.0[0]).collect::<Vec<_>>(), budget.0.into_inner())
    };
    let newest = |limit| TraceSelect { limit, ..select() };
    assert_eq!(decoded(&blocks, &heads, newest(2)), (vec![69, 68], 10));
    assert_eq!(decoded(&blocks, &heads, newest(11)).1, 20);
    assert_eq!(decoded(&[], &heads, newest(1)), (vec![59], 10));
    let absent = TraceSelect { attributes: vec![("absent".into(), "1".into())], ..select() };
    assert_eq!(decoded(&blocks, &[], absent), (Vec::new(), 0), "no block knows the name");
    let before = TraceSelect { range: TimeRange { start: 1000, end: 1100 }, ..select() };
    assert_eq!(decoded(&blocks, &heads, before).1, 10);
}
