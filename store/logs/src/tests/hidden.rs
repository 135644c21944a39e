//! What is hidden is as if it were not there: what is shown is what a plain list without it has; and what a rewrite leaves is the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use weir_blocks::hidden::{Hidden, Periods};
use weir_model::deletion::{DeletionQuery, DeletionRequest};
use weir_model::label::{MatchOp, Matcher};
use weir_model::select::{Buckets, TemplateText};

use super::list::{any_record, check_context, check_volume, expected};
use super::patterns::pattern_of;
use super::segment::{cursors, shown as without};
use super::*;

fn any_deletion() -> impl Strategy<Value = DeletionRequest> {
    let selector = prop_oneof![Just(".*"), Just("p1"), Just("p0|p2"), Just("nobody")];
    let filter = prop::option::of(prop_oneof![Just("a"), Just("0"), Just("=")]);
    (selector, filter, -45 * SECOND..45 * SECOND, 1..60 * SECOND, prop_oneof![3 => Just("a"), 1 => Just("b")]).prop_map(
        |(pod, filter, start, length, tenant)| {
            let asked = DeletionQuery {
                query: String::new(),
                selectors: vec![vec![Matcher::new("pod", MatchOp::Regex, pod).unwrap()]],
                filters: filter.into_iter().map(|text| LineFilter::Contains(vec![text.into()])).collect(),
            };
            let range = TimeRange { start, end: start + length };
            DeletionRequest::new((tenant, Kind::Logs), asked, range, 0, true).unwrap()
        },
    )
}

/// Ten seconds of the stream `p1` are kept, and a minute of the others.
struct ByPod;

impl Periods for ByPod {
    fn period(&self, tenant: &str, labels: &Labels) -> Option<i64> {
        (tenant == "a").then(|| if labels.get("pod") == "p1" { 10 * SECOND } else { 60 * SECOND })
    }

    fn shortest(&self, tenant: &str) -> Option<i64> {
        (tenant == "a").then_some(10 * SECOND)
    }
}

fn check(name: &str, reader: &LogsReader, (everything, shown): (&[OwnedLine], &[OwnedLine]), seed: usize) {
    assert_eq!(visit(reader, &select(Vec::new())), shown, "{name}");
    check_volume(reader, &select(Vec::new()), shown);
    let filtered = select(vec![LineFilter::Contains(vec![b"a".to_vec()])]);
    let wanted: Vec<OwnedLine> = shown.iter().filter(|line| line.body.contains(&b'a')).cloned().collect();
    check_volume(reader, &filtered, &wanted);
    let streams: BTreeSet<&Labels> = shown.iter().map(|line| &line.stream).collect();
    let told = reader.streams(&select(Vec::new()), &NoBudget).unwrap().value;
    assert_eq!(told.iter().collect::<BTreeSet<_>>(), streams, "{name}");
    check_context(reader, shown, seed);
    for line in everything.iter().filter(|line| !shown.contains(line)) {
        assert_eq!(reader.line(&Scope::of("a"), line.id, 1, &NoBudget).unwrap().value, Vec::new(), "{name}");
    }
}

/// What chunks tell without giving their lines is of lines alone that are shown.
fn check_told(views: &[BlockView<LogsEngine>], hidden: &Hidden, shown: &[OwnedLine]) {
    let plan = Arc::new(LogsPlan::new(&select(Vec::new())));
    let (mut times, mut found) = (Vec::new(), BTreeMap::<String, u64>::new());
    let buckets = Buckets::new(SECOND, 0).unwrap();
    let cursors = views.iter().flat_map(|view| cursors([&view.block], &plan, &NoBudget));
    for entry in cursors.flat_map(|cursor| without(cursor, hidden.clone())) {
        let Ok((_, chunk)) = entry else { panic!("a chunk cannot be read") };
        chunk.line_times(TimeRange::ALL, &mut |time| times.push(time)).unwrap();
        let all = chunk.templates(&plan, buckets, &mut |one| {
            *found.entry(format!("{:?}", one.text)).or_default() += one.lines;
            ControlFlow::Continue(())
        });
        assert_eq!(all.unwrap(), ControlFlow::Continue(()));
    }
    times.sort_unstable();
    let mut wanted: Vec<UnixNanos> = shown.iter().map(|line| line.timestamp).collect();
    wanted.sort_unstable();
    assert_eq!(times, wanted);
    let mut counts = BTreeMap::new();
    for line in shown {
        let text = pattern_of(&line.body);
        let text = text.as_deref().map_or(TemplateText::Line(&line.body), TemplateText::Constant);
        *counts.entry(format!("{text:?}")).or_insert(0) += 1;
    }
    assert_eq!(found, counts);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_hidden_is_as_if_it_were_not_there(
        records in prop::collection::vec(any_record(), 1..8),
        requests in prop::collection::vec(any_deletion(), 0..3),
        chunk_bytes in prop_oneof![Just(1_usize), Just(40), Just(1 << 20)],
        now in prop::option::of(-20 * SECOND..60 * SECOND),
        seed in any::<usize>(),
    ) {
        let engine = engine(chunk_bytes);
        let deletions: Vec<_> = requests.iter().map(|request| Arc::new(request.compile().unwrap())).collect();
        let hidden = Hidden::by(deletions.clone());
        let everything = expected(&records, &select(Vec::new()));
        let is_old = |line: &OwnedLine| now.is_some_and(|now| line.timestamp < now - ByPod.period("a", &line.stream).unwrap());
        let is_deleted = |line: &OwnedLine| deletions.iter().any(|one| one.is_of("a", &line.stream) && one.has(line.timestamp, &line.body));
        let shown: Vec<OwnedLine> = everything.iter().filter(|line| !is_old(line) && !is_deleted(line)).cloned().collect();
        let young: Vec<OwnedLine> = everything.iter().filter(|line| !is_old(line)).cloned().collect();

        let head = Arc::new(engine.head());
        (0..).zip(&records).for_each(|(offset, record)| insert(&head, offset, record));
        let sealed = open_built(&engine, "sealed", head.build().unwrap());
        let horizon = now.map(|now| Horizon { now, periods: Arc::new(ByPod) });
        let reader = |blocks, heads| {
            let views = FixedViews { blocks, heads, horizon: horizon.clone() };
            LogsReader { views: Arc::new(views), tails: Arc::new(FixedTails(Mutex::default())) }
        };
        let hiding = sealed.iter().map(|view| BlockView { hidden: hidden.clone(), ..view.clone() }).collect();
        check_told(&sealed, &hidden.clone().with(horizon.as_ref()), &shown);
        check("hidden in a block", &reader(hiding, Vec::new()), (&everything, &shown), seed);
        check("old in a head", &reader(Vec::new(), vec![head]), (&everything, &young), seed);

        let mut left = Vec::new();
        for view in &sealed {
            let rewritten = engine.rewrite(&view.block, &hidden.clone().with(horizon.as_ref())).unwrap();
            left.extend(rewritten.map_or_else(|| vec![view.clone()], |built| open_built(&engine, "rewritten", built)));
        }
        let kept: u64 = left.iter().map(|view| view.summary.records).sum();
        let of_others = expected(&records, &LogSelect { scope: Scope::of("b"), ..select(Vec::new()) });
        let others = of_others.iter().filter(|line| !deletions.iter().any(|one| one.is_of("b", &line.stream) && one.has(line.timestamp, &line.body)));
        assert_eq!(kept, (shown.len() + others.count()) as u64, "nothing of another tenant goes");
        check("rewritten", &super::reader(left, Vec::new()), (&everything, &shown), seed);
    }
}
