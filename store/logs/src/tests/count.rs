//! Counts are those of the lines, whatever tells them apart, and chunks are opened for them only where roll-ups do not say it.

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use weir_model::log::{detected_level, level_name, level_severity};
use weir_model::select::{Buckets, CountBy, TemplateText};

use super::*;
use crate::patterns::pattern_of;

pub(super) fn any_by() -> impl Strategy<Value = CountBy> {
    let step = prop_oneof![3 => (1..8_i64).prop_map(|tens| tens * 10 * SECOND), 1 => 1..30 * SECOND, 1 => Just(SECOND)];
    let origin = prop_oneof![2 => Just(0), 2 => Just(1), 1 => Just(-10 * SECOND + 1), 1 => any::<i64>()];
    let metadata = prop_oneof![2 => Just(vec![]), 1 => Just(vec!["k"]), 1 => Just(vec!["pod"]), 1 => Just(vec!["none", "k"])];
    (step, origin, metadata, prop::bool::weighted(0.2), any::<bool>()).prop_map(|(step, origin, metadata, all, bytes)| CountBy {
        all,
        bytes,
        metadata: metadata.into_iter().map(str::to_owned).collect(),
        ..CountBy::of(Buckets::new(step, origin).unwrap())
    })
}

/// As an earlier build would have written them.
pub(super) fn without_details(engine: &LogsEngine, heads: &[Arc<LogsHead>]) -> Vec<BlockView<LogsEngine>> {
    let mut built: Vec<BuiltBlock> = heads.iter().flat_map(|head| head.build().unwrap()).collect();
    built.iter_mut().for_each(|block| block.data.sections.retain(|(name, _)| *name != "details.1"));
    let opened = (0..).zip(built).map(|(i, block)| open_built(engine, &format!("before{i}"), vec![block]));
    opened.flatten().collect()
}

/// Stream, bucket, level, and metadata with ids.
type Key = (Labels, i64, &'static str, (Labels, String));

fn counts(reader: &LogsReader, select: &LogSelect, by: &CountBy, budget: &dyn Budget) -> BTreeMap<Key, (u64, u64)> {
    let mut counts = BTreeMap::<Key, (u64, u64)>::new();
    let coverage = reader.counts(select, by, budget, &mut |count| {
        let context = (count.metadata.clone(), format!("{} {}", count.trace_id, count.span_id));
        let key = (count.stream.clone(), count.bucket, detected_level(count.severity), context);
        let sum = counts.entry(key).or_default();
        *sum = (sum.0 + count.lines, sum.1 + count.bytes);
        ControlFlow::Continue(())
    });
    assert_eq!(coverage.unwrap().missing, Vec::<String>::new());
    counts
}

/// Against lines that were counted one by one.
pub(super) fn check(reader: &LogsReader, select: &LogSelect, by: &CountBy, lines: &[OwnedLine]) {
    let mut expected = BTreeMap::<Key, (u64, u64)>::new();
    let mut volumes = BTreeMap::<(Labels, i64, &str), u64>::new();
    let step = by.buckets.step();
    for line in lines {
        let bucket = (i128::from(line.timestamp) - i128::from(by.buckets.origin())).div_euclid(i128::from(step))
            * i128::from(step)
            + i128::from(by.buckets.origin());
        let is_told = |name: &str| by.all || by.metadata.iter().any(|own| own == name);
        let metadata = Labels::from_pairs(line.attributes.iter().filter(|(name, _)| is_told(name)));
        let ids = if by.all { (line.trace_id, line.span_id) } else { Default::default() };
        let key = (line.stream.clone(), bucket as i64, detected_level(line.severity), (metadata, format!("{} {}", ids.0, ids.1)));
        let sum = expected.entry(key).or_default();
        *sum = (sum.0 + 1, sum.1 + line.body.len() as u64);
        *volumes.entry((line.stream.clone(), line.timestamp.div_euclid(step) * step, level_name(line.severity))).or_default() +=
            1;
    }
    let mut found = counts(reader, select, by, &NoBudget);
    if !by.bytes {
        [&mut found, &mut expected].into_iter().flat_map(BTreeMap::values_mut).for_each(|sum| sum.1 = 0);
    }
    assert_eq!(found, expected, "{by:?}");
    check_templates(reader, select, by.buckets, lines);
    let found = reader.volume(select, step, &NoBudget).unwrap().value;
    let found: Vec<_> = found.into_iter().map(|row| ((row.stream, row.bucket, row.level), row.lines)).collect();
    assert!(found.is_sorted_by_key(|((_, bucket, _), _)| *bucket));
    assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), volumes);
}

/// Templates against those of lines one by one.
fn check_templates(reader: &LogsReader, select: &LogSelect, buckets: Buckets, lines: &[OwnedLine]) {
    let mut found = BTreeMap::<(String, u8, i64), u64>::new();
    let coverage = reader.templates(select, buckets, &NoBudget, &mut |one| {
        *found.entry((format!("{:?}", one.text), one.severity, one.bucket)).or_default() += one.lines;
        ControlFlow::Continue(())
    });
    assert_eq!(coverage.unwrap().missing, Vec::<String>::new());
    let mut expected = BTreeMap::new();
    for line in lines {
        let text = pattern_of(&line.body);
        let text = text.as_deref().map_or(TemplateText::Line(&line.body), TemplateText::Constant);
        let key = (format!("{text:?}"), level_severity(line.severity), buckets.start_of(line.timestamp));
        *expected.entry(key).or_insert(0) += 1;
    }
    assert_eq!(found, expected);
}

/// Ten chunks of a line each, at whole hours or a second behind, and what is read of them.
fn hours(shift: i64) -> (LogsReader, Arc<Strict>) {
    let engine = engine(100);
    let head = engine.head();
    for i in 0..10 {
        let attributes = if i == 4 { Labels::from_pairs([("user", "7")]) } else { Labels::EMPTY };
        let line = TestLine { attributes, ..TestLine::new(i * 3600 * SECOND + shift, &"filler ".repeat(20)) };
        insert(&head, i as u64, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines: vec![line] }]);
    }
    let built = head.build().unwrap().remove(0);
    let blob = Arc::new(Strict(MemoryBlob::new("x", built.data.encode(Kind::Logs)), Mutex::default()));
    let block = Arc::new(engine.open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
    blob.1.lock().unwrap().clear();
    (reader(vec![BlockView { summary: built.summary, block, hidden: Default::default() }], Vec::new()), blob)
}

#[test]
fn windows_on_ten_seconds_open_no_chunk() {
    let by = |origin, metadata: &[&str]| CountBy {
        metadata: metadata.iter().map(|name| (*name).to_owned()).collect(),
        ..CountBy::of(Buckets::new(4 * 3600 * SECOND, origin).unwrap())
    };
    let check = |shift: i64, by: &CountBy, lines: &[u64], reads: usize| {
        let (reader, blob) = hours(shift);
        let found = counts(&reader, &select(Vec::new()), by, &NoBudget);
        assert_eq!(found.values().map(|(lines, _)| *lines).collect::<Vec<_>>(), lines, "{by:?}");
        assert_eq!(blob.1.lock().unwrap().len(), reads, "{by:?} of lines {shift} ns behind the hour");
    };
    check(0, &by(0, &[]), &[4, 4, 2], 0);
    // As LogQL has them: without their start and with their end.
    check(0, &by(1, &[]), &[1, 4, 4, 1], 0);
    check(1, &by(1, &[]), &[4, 4, 2], 0);
    // The edge is 3 s behind the hour. The only line of a chunk is on one side of it.
    check(0, &by(3 * SECOND, &[]), &[1, 4, 4, 1], 0);
    // Names of metadata are known: one chunk has it.
    check(0, &by(0, &["user"]), &[4, 3, 1, 2], 1);
    check(0, &by(0, &["other", "pod"]), &[4, 4, 2], 0);
    // All labels are asked for: chunks are opened, since they may have ids.
    check(0, &CountBy { all: true, ..by(0, &[]) }, &[4, 3, 1, 2], 10);
}

#[test]
fn an_edge_within_ten_seconds_opens_the_chunks_with_lines_on_both_sides() {
    let engine = engine(300);
    let head = engine.head();
    for i in 0..20 {
        let line = TestLine::new(i * SECOND, &"filler ".repeat(20));
        insert(&head, i as u64, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines: vec![line] }]);
    }
    let blocks = open_built(&engine, "x", head.build().unwrap());
    let reader = reader(blocks, Vec::new());
    let budget = Spent::default();
    // Chunks of three lines: all of 3 s to 11 s is told by four roll-ups, and the range ends among 12 s, 13 s and 14 s.
    let range = TimeRange { start: 3 * SECOND, end: 13 * SECOND + 1 };
    let some = LogSelect { range, ..select(Vec::new()) };
    let found = counts(&reader, &some, &CountBy::of(Buckets::new(60 * SECOND, 0).unwrap()), &budget);
    assert_eq!(found.values().map(|(lines, _)| *lines).collect::<Vec<_>>(), [11]);
    assert_eq!(budget.0.into_inner().unwrap(), 4 + 3);
}
