//! What is deleted is as if it had never come: blocks that hide it, and what a rewrite leaves, answer as a block without it.

use weir_blocks::hidden::Hidden;
use weir_model::deletion::{Deletion, DeletionQuery, DeletionRequest};
use weir_model::label::Matcher;

use super::*;

fn deletion(selectors: Vec<Vec<Matcher>>, start: i64, end: i64) -> Deletion {
    let asked = DeletionQuery { selectors, ..DeletionQuery::default() };
    DeletionRequest::new(("t", Kind::Spans), asked, TimeRange { start, end }, 0, false).unwrap().compile().unwrap()
}

/// What every question is answered with, but for when a trace came.
fn answers(reader: &TracesReader) -> String {
    let (scope, all) = (Scope::of("t"), TimeRange::ALL);
    let traces: Vec<_> = (0..4)
        .map(|id| {
            let trace = reader.trace(&scope, TraceId([id; 16])).unwrap().value;
            trace.map(|trace| plain(trace.batches.iter()))
        })
        .collect();
    let found = reader.search(&select(), &NoBudget).unwrap().value;
    let found: Vec<_> = found
        .into_iter()
        .map(|summary| (summary.id, summary.start, summary.spans, summary.matched, summary.newest_match))
        .collect();
    let services = reader.services(&scope, all, &NoBudget).unwrap().value;
    let operations = reader.operations(&scope, None, all, &NoBudget).unwrap().value;
    let names = reader.attribute_names(&scope, all, 1000, &NoBudget).unwrap().value;
    let values = reader.attribute_values(&scope, "k", all, 1000, &NoBudget).unwrap().value;
    format!("{traces:?}\n{found:?}\n{services:?}\n{operations:?}\n{names:?}\n{values:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_deleted_is_as_if_it_had_never_come(
        batches in batches(),
        service in prop_oneof![Just("cart"), Just("shop"), Just("none")],
        start in -10_i64..900,
        length in 1_i64..900,
    ) {
        let world = World::new();
        let one = deletion(vec![vec![Matcher::equal("service_name", service)]], start, start + length);
        let left = |batch: &ScopeSpans| {
            let is_of = one.is_of("t", &batch.origin.labels());
            let spans = batch.spans.iter().filter(|span| !(is_of && one.has(span.start, b""))).cloned().collect();
            ScopeSpans { origin: batch.origin.clone(), spans }
        };
        let kept: Vec<ScopeSpans> = batches.iter().map(left).collect();
        let expected = answers(&world.reader(&world.seal(&world.head(&kept)), &[]));

        let blocks = world.seal(&world.head(&batches));
        let hidden = Hidden::by(vec![Arc::new(one.clone())]);
        let hiding: Vec<_> = blocks.iter().map(|view| BlockView { hidden: hidden.clone(), ..view.clone() }).collect();
        prop_assert_eq!(&answers(&world.reader(&hiding, &[])), &expected);

        let rewrite = |view: &BlockView<TracesEngine>| match world.engine.rewrite(&view.block, &hidden).unwrap() {
            Some(built) => built.iter().map(|built| world.open(built)).collect(),
            None => vec![view.clone()],
        };
        let rewritten: Vec<_> = blocks.iter().flat_map(rewrite).collect();
        prop_assert_eq!(&answers(&world.reader(&rewritten, &[])), &expected);
    }
}

#[test]
fn a_rewrite_leaves_other_tenants_and_may_leave_nothing() {
    let world = World::new();
    let spans = ScopeSpans {
        origin: Origin::default(),
        spans: vec![Span { trace_id: TraceId([1; 16]), start: 5, end: 6, ..Span::default() }],
    };
    let head = Arc::new(world.engine.head());
    ["t", "u"].iter().for_each(|tenant| insert(&head, tenant, &spans));
    let view = world.seal(&head).remove(0);
    let everything = Hidden::by(vec![Arc::new(deletion(Vec::new(), 0, 10))]);
    let built = world.engine.rewrite(&view.block, &everything).unwrap().expect("a span is deleted");
    let left = world.reader(&[world.open(&built[0])], &[]);
    let has = |tenant: &str| left.trace(&Scope::of(tenant), TraceId([1; 16])).unwrap().value.is_some();
    assert_eq!([has("t"), has("u")], [false, true]);
    let earlier = Hidden::by(vec![Arc::new(deletion(Vec::new(), 0, 5))]);
    assert!(world.engine.rewrite(&view.block, &earlier).unwrap().is_none());
    let alone = world.seal(&world.head(&[spans])).remove(0);
    assert_eq!(world.engine.rewrite(&alone.block, &everything).unwrap().map(|built| built.len()), Some(0));
}
