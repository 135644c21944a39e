//! Lines of traces whose nodes have clocks of their own.

use weir_model::id::{LineId, TraceId};
use weir_model::label::Labels;
use weir_model::select::{NoBudget, TraceState};
use weir_model::span::{ScopeSpans, Value};
use weir_model::time::SECOND;

use super::*;

const MS: i64 = 1_000_000;

fn origin(pairs: &[(&str, &str)]) -> Origin {
    let resource = pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::String((*value).to_owned()))).collect();
    Origin { resource, ..Origin::default() }
}

/// A span of milliseconds behind the first second.
fn span(id: u8, parent: u8, kind: SpanKind, (start, end): (i64, i64)) -> Span {
    let (start, end) = (SECOND + start * MS, SECOND + end * MS);
    Span { span_id: SpanId([id; 8]), parent_id: SpanId([parent; 8]), kind, start, end, ..Span::default() }
}

/// Of a resource.
type Batch<'a> = (&'a [(&'a str, &'a str)], Vec<Span>);

fn trace(batches: Vec<Batch<'_>>) -> Trace {
    let batches = batches.into_iter().map(|(pairs, spans)| ScopeSpans { origin: origin(pairs), spans });
    Trace { id: TraceId([1; 16]), state: TraceState::Sealed, revision: 0, batches: batches.collect() }
}

fn line(stream: &[(&str, &str)], span: u8, at: i64) -> OwnedLine {
    OwnedLine {
        id: LineId { partition: 0, offset: 0, ordinal: 0 },
        stream: Labels::from_pairs(stream.iter().copied()),
        timestamp: SECOND + at * MS,
        body: Vec::new(),
        severity: 0,
        trace_id: TraceId([1; 16]),
        span_id: SpanId([span; 8]),
        attributes: Labels::EMPTY,
    }
}

fn order_of(trace: &Trace) -> CausalOrder<'_> {
    CausalOrder::of(trace, &NoBudget).unwrap()
}

/// Where a line belongs, in milliseconds behind the first second, and why.
fn placed(order: &CausalOrder<'_>, line: &OwnedLine) -> (i64, Basis) {
    let place = order.place(&[line])[0];
    ((place.at - SECOND) / MS, place.basis)
}

/// `front` on node a calls `cart` on node b, whose clock is 5 s behind, and that `db` on node c, 2 s ahead of a.
fn three_nodes() -> Trace {
    use SpanKind::{Client, Server};
    trace(vec![
        (
            &[("service.name", "front"), ("k8s.node.name", "a"), ("k8s.pod.name", "front-1")],
            vec![span(1, 0, Server, (0, 300)), span(2, 1, Client, (100, 200))],
        ),
        (
            &[("service.name", "cart"), ("k8s.node.name", "b"), ("k8s.pod.name", "cart-1")],
            vec![span(3, 2, Server, (-4_890, -4_810)), span(4, 3, Client, (-4_870, -4_830))],
        ),
        (&[("service.name", "db"), ("k8s.node.name", "c"), ("k8s.pod.name", "db-1")], vec![span(5, 4, Server, (2_140, 2_160))]),
    ])
}

#[test]
fn lines_of_skewed_nodes_stand_between_those_that_surround_the_call() {
    let trace = three_nodes();
    let order = order_of(&trace);
    let offsets: Vec<_> = order.clocks().iter().map(|clock| (&*clock.name, clock.offset / MS, clock.calls)).collect();
    assert_eq!(offsets, [("a", 0, 0), ("b", 5_000, 1), ("c", -2_000, 1)]);
    let lines = [
        line(&[("pod", "front-1")], 1, 90),
        line(&[("pod", "cart-1")], 3, -4_880),
        line(&[("pod", "db-1")], 5, 2_150),
        line(&[("pod", "cart-1")], 3, -4_820),
        line(&[("pod", "front-1")], 1, 210),
    ];
    let at: Vec<_> = lines.iter().map(|line| placed(&order, line).0).collect();
    assert_eq!(at, [90, 120, 150, 180, 210]);
}

#[test]
fn a_line_without_a_span_goes_by_its_clock_or_else_by_its_time() {
    let trace = three_nodes();
    let order = order_of(&trace);
    assert_eq!(placed(&order, &line(&[("pod", "cart-1")], 0, -4_850)), (150, Basis::Clock));
    assert_eq!(placed(&order, &line(&[("app", "db")], 9, 2_150)), (150, Basis::Clock), "a span that has not been seen");
    // Another pod of the same node, and of a node that no span is of.
    assert_eq!(placed(&order, &line(&[("pod", "other"), ("node", "b")], 0, -4_850)), (150, Basis::Clock));
    assert_eq!(placed(&order, &line(&[("pod", "other"), ("node", "d")], 0, 33)), (33, Basis::Time));
    let (none, line) = (Trace::default(), line(&[("pod", "cart-1")], 3, 33));
    assert_eq!(placed(&order_of(&none), &line), (33, Basis::Time));
}

#[test]
fn a_line_stands_within_its_span() {
    let trace = three_nodes();
    let order = order_of(&trace);
    let cart = [("pod", "cart-1")];
    assert_eq!(placed(&order, &line(&cart, 3, -4_895)).0, 110, "before its span began");
    assert_eq!(placed(&order, &line(&cart, 3, -4_790)).0, 190, "stamped late");
    assert_eq!(placed(&order, &line(&cart, 3, -4_700)).0, 300, "written after its span");
}

#[test]
fn a_child_is_never_before_its_parent() {
    use SpanKind::{Internal, Server};
    // One clock; and a child of the child goes with it.
    let spans = vec![
        span(1, 0, Server, (100, 200)),
        span(2, 1, Internal, (40, 60)),
        span(3, 2, Internal, (50, 55)),
        span(4, 1, Internal, (150, 160)),
    ];
    let trace = trace(vec![(&[("service.name", "a")], spans)]);
    let order = order_of(&trace);
    let at = |span: u8, at: i64| placed(&order, &line(&[("app", "a")], span, at)).0;
    assert_eq!((at(2, 45), at(3, 52), at(4, 155), at(1, 110)), (105, 102, 155, 110));
}

#[test]
fn both_sides_of_a_request_may_share_an_id() {
    use SpanKind::{Client, Server};
    let trace = trace(vec![
        (&[("service.name", "front")], vec![span(1, 0, Client, (0, 100))]),
        (
            &[("service.name", "cart")],
            vec![span(1, 0, Server, (-4_990, -4_910)), span(2, 1, SpanKind::Internal, (-4_960, -4_940))],
        ),
    ]);
    let order = order_of(&trace);
    assert_eq!(order.clocks().iter().map(|clock| clock.offset / MS).collect::<Vec<_>>(), [0, 5_000]);
    assert_eq!(placed(&order, &line(&[("app", "cart")], 1, -4_950)), (50, Basis::Span));
    assert_eq!(placed(&order, &line(&[("app", "front")], 1, 10)), (10, Basis::Span));
    assert_eq!(order.place(&[&line(&[("app", "cart")], 2, -4_950)])[0].depth, 2);
}

#[test]
fn names_that_two_clocks_have_say_nothing() {
    use SpanKind::Server;
    let trace = trace(vec![
        (&[("service.name", "web"), ("k8s.node.name", "a")], vec![span(1, 0, Server, (0, 100))]),
        (&[("service.name", "web"), ("k8s.node.name", "b")], vec![span(2, 1, Server, (-900, -800))]),
    ]);
    let order = order_of(&trace);
    assert_eq!(placed(&order, &line(&[("app", "web")], 0, 7)), (7, Basis::Time));
    assert_eq!(placed(&order, &line(&[("app", "web"), ("node", "b")], 0, -890)), (10, Basis::Clock));
}

#[test]
fn rings_and_crowds_of_one_id_end() {
    use SpanKind::Client;
    let ring = trace(vec![(&[], vec![span(1, 2, Client, (0, 10)), span(2, 1, Client, (5, 8)), span(3, 3, Client, (5, 8))])]);
    let order = order_of(&ring);
    assert_eq!(placed(&order, &line(&[], 2, 6)), (6, Basis::Span));
    let crowd = trace(vec![(&[], (0..200_000).map(|at| span(1, 1, Client, (at, at + 1))).collect())]);
    assert_eq!(order_of(&crowd).spans.len(), 200_000);
}

/// Lines of one stream, in the order of their source: where they belong and why, and the order that comes of it.
fn check_stream(spans: Vec<Span>, lines: &[(u8, i64)], expected: &[(i64, Basis)]) {
    let trace = trace(vec![(&[("service.name", "a")], spans)]);
    let own = |(offset, (span, at)): (usize, &(u8, i64))| {
        let id = LineId { partition: 0, offset: offset as u64, ordinal: 0 };
        OwnedLine { id, ..line(&[("app", "a")], *span, *at) }
    };
    let lines: Vec<OwnedLine> = lines.iter().enumerate().map(own).collect();
    // By time they may come in another order than by source.
    let places = order_of(&trace).place(&lines.iter().rev().collect::<Vec<_>>());
    let places: Vec<Place> = places.into_iter().rev().collect();
    let told: Vec<_> = places.iter().map(|place| ((place.at - SECOND) / MS, place.basis)).collect();
    assert_eq!(told, expected);
    assert!(places.is_sorted_by_key(Place::rank), "{places:?}");
}

#[test]
fn a_late_line_of_a_child_stays_behind_its_parents_line_of_the_same_stream() {
    use SpanKind::{Internal, Server};
    let spans = || vec![span(1, 0, Server, (0, 100)), span(2, 1, Internal, (10, 50))];
    check_stream(spans(), &[(1, 60), (2, 90)], &[(60, Basis::Span), (60, Basis::Stream)]);
    // Of the same place, where the parent's would else come first.
    check_stream(spans(), &[(1, 60), (2, 90), (1, 59)], &[(60, Basis::Span), (60, Basis::Stream), (60, Basis::Stream)]);
    check_stream(spans(), &[(2, 40), (1, 40)], &[(40, Basis::Span), (40, Basis::Span)]);
}

#[test]
fn a_line_behind_one_that_its_span_moved_stays_behind_it() {
    use SpanKind::{Internal, Server};
    let spans = vec![span(1, 0, Server, (15, 100)), span(2, 1, Internal, (10, 50))];
    check_stream(spans, &[(2, 10), (0, 11)], &[(15, Basis::Span), (15, Basis::Stream)]);
}

#[test]
fn other_streams_and_partitions_bind_nothing() {
    let trace = trace(vec![(&[("service.name", "a")], vec![span(1, 0, SpanKind::Server, (0, 100))])]);
    let mut lines = [line(&[("app", "a")], 1, 60), line(&[("app", "a")], 1, 20), line(&[("app", "a"), ("x", "y")], 1, 10)];
    (lines[1].id.partition, lines[2].id.offset) = (1, 9);
    let at: Vec<_> = order_of(&trace).place(&lines.iter().collect::<Vec<_>>()).iter().map(|place| place.at).collect();
    assert_eq!(at, [60, 20, 10].map(|at| SECOND + at * MS));
}

#[test]
fn an_empty_name_names_no_clock() {
    use SpanKind::{Client, Server};
    let trace = trace(vec![
        (&[("k8s.node.name", ""), ("service.name", "front")], vec![span(1, 0, Client, (0, 100))]),
        (&[("k8s.node.name", ""), ("service.name", "cart")], vec![span(2, 1, Server, (-4_990, -4_910))]),
    ]);
    let order = order_of(&trace);
    let told: Vec<_> = order.clocks().iter().map(|clock| (&*clock.name, clock.offset / MS)).collect();
    assert_eq!(told, [("front", 0), ("cart", 5_000)]);
}

#[test]
fn a_request_that_should_stop_does() {
    struct Over;
    impl Budget for Over {
        fn check(&self) -> Result<(), ReadError> {
            Err(ReadError::Cancelled("over"))
        }
        fn spend(&self, _: u64) -> Result<(), ReadError> {
            Ok(())
        }
    }
    assert!(CausalOrder::of(&three_nodes(), &Over).is_err());
}
