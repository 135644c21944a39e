//! The whole engine against a plain list: heads, blocks, merged blocks; damage; what is opened and what is not.

use std::cell::Cell;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use weir_model::id::{LineId, SpanId, TraceId};
use weir_model::label::{Labels, Matcher};
use weir_model::log::{LogBatch, LogRecord};
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, LineFilter, LogReader, LogSelect, LogVisitor, Mention, NoBudget, OwnedLine, PartitionCoverage, ReadError, TailEvent,
};
use weir_model::time::{SECOND, TimeRange, UnixNanos};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::*;
use weir_blocks::StoreError;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::block::Blob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_blocks::view::{BlockView, PartitionView, TailSection, Tails, Views};

mod line;

const PARTITION: u32 = 5;

fn engine(chunk_bytes: usize) -> LogsEngine {
    LogsEngine::new(LogsOptions { chunk_bytes, index_cache_bytes: 1 << 20 })
}

#[derive(Default)]
struct FixedViews {
    blocks: Vec<BlockView<LogsEngine>>,
    heads: Vec<Arc<LogsHead>>,
}

impl Views<LogsEngine> for FixedViews {
    fn views(&self) -> Vec<PartitionView<LogsEngine>> {
        let coverage = PartitionCoverage { topic: "weir.logs".into(), partition: PARTITION, ..PartitionCoverage::default() };
        vec![PartitionView { coverage, blocks: self.blocks.clone(), heads: self.heads.clone(), missing: Vec::new() }]
    }
}

struct FixedTails(Mutex<Vec<TailSection<LogBatch>>>);

impl Tails<LogBatch> for FixedTails {
    fn subscribe(&self) -> Box<dyn FnMut() -> Vec<TailSection<LogBatch>> + Send> {
        let mut sections = std::mem::take(&mut *self.0.lock().unwrap());
        Box::new(move || std::mem::take(&mut sections))
    }
}

fn reader(blocks: Vec<BlockView<LogsEngine>>, heads: Vec<Arc<LogsHead>>) -> LogsReader {
    LogsReader { views: Arc::new(FixedViews { blocks, heads }), tails: Arc::new(FixedTails(Mutex::default())) }
}

fn open_built(engine: &LogsEngine, path: &str, built: Vec<BuiltBlock>) -> Vec<BlockView<LogsEngine>> {
    let open = |block: BuiltBlock| {
        let blob = MemoryBlob::new(path, block.data.encode(Kind::Logs));
        BlockView { summary: block.summary, block: Arc::new(engine.open(Arc::new(blob)).unwrap()) }
    };
    built.into_iter().map(open).collect()
}

/// Lines of one stream, as a section.
fn section(tenant: &str, stream: &Labels, lines: &[TestLine]) -> Section<LogBatch> {
    let mut batch = LogBatch::new(stream.clone());
    lines.iter().for_each(|line| batch.push(line.record()));
    let mark = Mark::Sequence { epoch: 0, first: 0, last: 1 };
    let header = SectionHeader { tenant: tenant.into(), source: "test".into(), mark, records: lines.len() as u32 };
    Section::new(header, batch)
}

#[derive(Clone, Debug, Default)]
struct TestLine {
    timestamp: UnixNanos,
    sequence: u64,
    body: Vec<u8>,
    severity: u8,
    trace: u8,
    attributes: Labels,
}

impl TestLine {
    fn new(timestamp: UnixNanos, body: &str) -> Self {
        Self { timestamp, body: body.into(), ..Self::default() }
    }

    fn record(&self) -> LogRecord<'_> {
        LogRecord {
            timestamp: self.timestamp,
            sequence: self.sequence,
            body: &self.body,
            severity: self.severity,
            flags: self.severity % 2,
            trace_id: TraceId([self.trace; 16]),
            span_id: SpanId([self.trace; 8]),
            attributes: (&self.attributes).into(),
        }
    }
}

#[derive(Clone, Debug)]
struct TestSection {
    tenant: &'static str,
    stream: Labels,
    lines: Vec<TestLine>,
}

fn insert(head: &LogsHead, offset: u64, sections: &[TestSection]) {
    let mut ordinal = 0;
    for one in sections {
        let position = Position { partition: PARTITION, offset, ordinal };
        head.insert(position, &section(one.tenant, &one.stream, &one.lines)).unwrap();
        ordinal += one.lines.len() as u32;
    }
}

fn select(filters: Vec<LineFilter>) -> LogSelect {
    LogSelect { scope: Scope::of("a"), matchers: Vec::new(), range: TimeRange::ALL, filters, newest_first: false }
}

#[derive(Default)]
struct Collect {
    stream: Labels,
    lines: Vec<OwnedLine>,
    limit: Option<usize>,
    asked: usize,
    mention: Option<Mention>,
}

impl LogVisitor for Collect {
    fn wants(&mut self, _: UnixNanos, last: UnixNanos) -> bool {
        self.asked += 1;
        let Some(limit) = self.limit else { return true };
        let mut times: Vec<UnixNanos> = self.lines.iter().map(|line| line.timestamp).collect();
        times.sort_unstable();
        times.len() < limit || times[times.len() - limit] < last
    }
    fn mention(&self) -> Option<Mention> {
        self.mention.clone()
    }
    fn stream(&mut self, labels: &Labels) {
        self.stream = labels.clone();
    }
    fn line(&mut self, id: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        self.lines.push(OwnedLine::new(id, &self.stream, record));
        ControlFlow::Continue(())
    }
}

fn visit(reader: &LogsReader, select: &LogSelect) -> Vec<OwnedLine> {
    let mut collect = Collect::default();
    let coverage = reader.visit(select, &NoBudget, &mut collect).unwrap();
    assert_eq!(coverage.missing, Vec::<String>::new());
    collect.lines.sort_by_key(|line| line.id);
    collect.lines
}

/// What a list would answer.
fn expected(records: &[Vec<TestSection>], select: &LogSelect) -> Vec<OwnedLine> {
    let mut found = Vec::new();
    for (offset, sections) in (0..).zip(records) {
        let mut ordinal = 0;
        for one in sections {
            for line in &one.lines {
                let id = LineId { partition: PARTITION, offset, ordinal };
                ordinal += 1;
                let passes = select.scope.sees(one.tenant, &one.stream)
                    && select.matchers.iter().all(|matcher| matcher.matches_labels(&one.stream))
                    && select.range.contains(line.timestamp)
                    && select.filters.iter().all(|filter| filter.passes(&line.body));
                if passes {
                    found.push(OwnedLine::new(id, &one.stream, line.record()));
                }
            }
        }
    }
    found
}

/// Texts in which tokens touch every kind of edge: separators, digits short and long, Unicode, bytes that are no UTF-8,
/// and runs above the longest token.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[ab]{1,3}".prop_map(String::into_bytes),
        2 => "[01]{1,8}".prop_map(String::into_bytes),
        3 => "[ :=\\-]".prop_map(String::into_bytes),
        1 => Just("错误ü".as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => "[ab]{60,70}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn any_line() -> impl Strategy<Value = TestLine> {
    let attributes = prop_oneof![3 => Just(Labels::EMPTY), 1 => "[ab]{1,3}".prop_map(|value| Labels::from_pairs([("k", value)]))];
    (-40 * SECOND..40 * SECOND, any::<u16>(), any_body(), 0_u8..25, 0_u8..3, attributes).prop_map(
        |(timestamp, sequence, body, severity, trace, attributes)| TestLine {
            timestamp,
            sequence: u64::from(sequence),
            body,
            severity,
            trace,
            attributes,
        },
    )
}

fn any_record() -> impl Strategy<Value = Vec<TestSection>> {
    let section =
        (prop_oneof![Just("a"), Just("b")], 0..3, prop::collection::vec(any_line(), 0..6)).prop_map(|(tenant, stream, lines)| {
            TestSection { tenant, stream: Labels::from_pairs([("pod", format!("p{stream}"))]), lines }
        });
    prop::collection::vec(section, 1..4)
}

/// A filter that some lines are likely to pass: a piece of one of the bodies, as a literal or as a regular expression.
fn filters_of(records: &[Vec<TestSection>], seeds: &[(usize, usize, usize, u8)]) -> Vec<LineFilter> {
    let bodies: Vec<&[u8]> = records.iter().flatten().flat_map(|one| one.lines.iter().map(|line| &line.body[..])).collect();
    let cut = |&(body, start, length, _): &(usize, usize, usize, u8)| {
        let body = bodies.get(body % bodies.len().max(1)).copied().unwrap_or_default();
        let start = start % (body.len() + 1);
        body[start..(start + length).min(body.len())].to_vec()
    };
    let regex = |needle: &[u8], tail: &str| {
        let text: String = needle.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        regex::bytes::Regex::new(&format!("(?s-u:{text}){tail}")).unwrap()
    };
    let make = |seed: &(usize, usize, usize, u8)| match seed.3 % 7 {
        0 | 1 => LineFilter::Contains(vec![cut(seed)]),
        2 => LineFilter::Contains(vec![cut(seed), b"ba=".to_vec()]),
        3 => LineFilter::NotContains(vec![cut(seed)]),
        4 => LineFilter::Matches(regex(&cut(seed), "(a|b| 0)?")),
        5 => {
            let upper = String::from_utf8_lossy(&cut(seed)).to_uppercase();
            LineFilter::Matches(regex::bytes::Regex::new(&format!("(?i){}", regex::escape(&upper))).unwrap())
        }
        _ => LineFilter::Matches(regex(&cut(seed), "(?:|1)")),
    };
    seeds.iter().map(make).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No false negatives, and nothing that a list would not give: in heads, in blocks, in both, and merged.
    #[test]
    fn every_shape_answers_as_a_list_does(
        records in prop::collection::vec(any_record(), 1..8),
        seeds in prop::collection::vec((any::<usize>(), any::<usize>(), 0_usize..12, any::<u8>()), 0..3),
        span in (-50 * SECOND..50 * SECOND, 0..100 * SECOND),
        pod in prop_oneof![Just("p.*"), Just("p1"), Just("x|p2")],
        chunk_bytes in prop_oneof![Just(1_usize), Just(40), Just(1 << 20)],
    ) {
        let engine = engine(chunk_bytes);
        let mut select = select(filters_of(&records, &seeds));
        select.range = TimeRange { start: span.0, end: span.0 + span.1 };
        select.matchers = vec![Matcher::new("pod", weir_model::label::MatchOp::Regex, pod).unwrap()];
        let wanted = expected(&records, &select);
        let everything = expected(&records, &LogSelect { range: TimeRange::ALL, ..self::select(Vec::new()) });

        let whole = Arc::new(engine.head());
        let halves = [Arc::new(engine.head()), Arc::new(engine.head())];
        for (offset, record) in records.iter().enumerate() {
            insert(&whole, offset as u64, record);
            insert(&halves[usize::from(offset >= records.len() / 2)], offset as u64, record);
        }
        let sealed: Vec<_> = (0..2).map(|i| open_built(&engine, &format!("half{i}"), halves[i].build().unwrap())).collect();
        let both: Vec<_> = sealed.concat();
        let opened: Vec<_> = both.iter().map(|view| Arc::clone(&view.block)).collect();
        let merged = open_built(&engine, "merged", engine.merge(&opened).unwrap());
        let shapes = [
            ("head", reader(Vec::new(), vec![whole])),
            ("block and head", reader(sealed[0].clone(), vec![Arc::clone(&halves[1])])),
            ("blocks", reader(both, Vec::new())),
            ("merged", reader(merged, Vec::new())),
        ];
        for (name, reader) in &shapes {
            assert_eq!(visit(reader, &select), wanted, "{name}");
            assert_eq!(visit(reader, &self::select(Vec::new())), everything, "{name}");
            check_volume(reader, &select, &wanted);
            check_volume(reader, &LogSelect { filters: Vec::new(), ..select.clone() }, &expected(&records, &LogSelect { filters: Vec::new(), ..select.clone() }));
            check_context(reader, &everything, seeds.first().map_or(0, |seed| seed.0));
        }
    }
}

fn check_volume(reader: &LogsReader, select: &LogSelect, wanted: &[OwnedLine]) {
    let volume = reader.volume(select, 20 * SECOND, &NoBudget).unwrap().value;
    let (lines, bytes) = volume.iter().fold((0, 0), |sum, row| (sum.0 + row.lines, sum.1 + row.bytes));
    assert_eq!((lines, bytes), (wanted.len() as u64, wanted.iter().map(|line| line.body.len() as u64).sum()));
    for row in volume {
        let belongs = |line: &&OwnedLine| {
            line.stream == row.stream
                && weir_model::log::level_name(line.severity) == row.level
                && line.timestamp.div_euclid(20 * SECOND) * 20 * SECOND == row.bucket
        };
        assert_eq!(wanted.iter().filter(belongs).count() as u64, row.lines);
    }
}

fn check_context(reader: &LogsReader, everything: &[OwnedLine], seed: usize) {
    let Some(line) = everything.get(seed % everything.len().max(1)) else { return };
    let stream: Vec<&OwnedLine> = everything.iter().filter(|other| other.stream == line.stream).collect();
    let at = stream.iter().position(|other| other.id == line.id).unwrap();
    let wanted = &stream[at.saturating_sub(2)..(at + 3).min(stream.len())];
    let found = reader.line(&Scope::of("a"), line.id, 2, &NoBudget).unwrap().value;
    assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
    assert_eq!(reader.line(&Scope::of("nobody"), line.id, 2, &NoBudget).unwrap().value, Vec::new());
}

/// Ten chunks of one stream, an hour apart; chunk `i` has the word `word{i}x`.
fn ten_chunks(engine: &LogsEngine) -> Vec<BuiltBlock> {
    let head = engine.head();
    for i in 0..10 {
        let lines = vec![TestLine::new(i * 3600 * SECOND, &format!("word{i}x {}", "filler ".repeat(20)))];
        insert(&head, i as u64, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    }
    head.build().unwrap()
}

/// Counts the reads of chunks by the budget they spend: one line each.
#[derive(Default)]
struct Spent(Cell<u64>);
// Used by one thread.
struct SyncSpent(Mutex<Spent>);

impl Budget for SyncSpent {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
    fn spend(&self, count: u64) -> Result<(), ReadError> {
        let spent = self.0.lock().unwrap();
        spent.0.set(spent.0.get() + count);
        Ok(())
    }
}

fn opened_chunks(reader: &LogsReader, select: &LogSelect, limit: Option<usize>) -> (u64, usize) {
    let budget = SyncSpent(Mutex::default());
    let mut collect = Collect { limit, ..Collect::default() };
    reader.visit(select, &budget, &mut collect).unwrap();
    (budget.0.into_inner().unwrap().0.get(), collect.lines.len())
}

#[test]
fn the_index_and_the_visitor_keep_chunks_closed() {
    let engine = engine(100);
    let reader = reader(open_built(&engine, "ten", ten_chunks(&engine)), Vec::new());
    let contains = |text: &str| select(vec![LineFilter::Contains(vec![text.into()])]);
    assert_eq!(opened_chunks(&reader, &select(Vec::new()), None), (10, 10));
    assert_eq!(opened_chunks(&reader, &contains("word3x "), None), (1, 1));
    assert_eq!(opened_chunks(&reader, &contains("ord3x"), None), (1, 1));
    assert_eq!(opened_chunks(&reader, &contains("nowhere"), None), (0, 0));
    assert_eq!(
        opened_chunks(&reader, &select(vec![LineFilter::Matches(regex::bytes::Regex::new("word(3|4)x f").unwrap())]), None).1,
        2
    );
    let matches = |pattern: &str| select(vec![LineFilter::Matches(regex::bytes::Regex::new(pattern).unwrap())]);
    assert_eq!(opened_chunks(&reader, &matches("(?i)WORD3X"), None), (1, 1));
    assert_eq!(opened_chunks(&reader, &matches("(?i)Ord3x f"), None), (1, 1));
    assert_eq!(opened_chunks(&reader, &matches("(?:(?i)WORD3X)|(?:(?i)word5x)"), None), (2, 2));
    assert_eq!(opened_chunks(&reader, &matches("(?i)nowhere"), None), (0, 0));
    let latest = LogSelect { newest_first: true, ..select(Vec::new()) };
    assert_eq!(opened_chunks(&reader, &latest, Some(2)), (2, 2));
}

#[test]
fn what_a_visitor_has_a_use_for_keeps_chunks_closed() {
    let engine = engine(100);
    let head = engine.head();
    for i in 0..10_u8 {
        let attributes = Labels::from_pairs([("user", format!("user{i}x"))]);
        let body = format!("word{i}x {}", "filler ".repeat(20));
        let severity = [0, 9, 17, 22][usize::from(i).min(3)];
        let line = TestLine { trace: i, severity, attributes, ..TestLine::new(i64::from(i) * SECOND, &body) };
        let stream = if i == 9 { [("user", "streams")] } else { [("pod", "p")] };
        insert(&head, u64::from(i), &[TestSection { tenant: "a", stream: Labels::from_pairs(stream), lines: vec![line] }]);
    }
    let reader = reader(open_built(&engine, "ten", head.build().unwrap()), Vec::new());
    let opened = |mention: Mention| {
        let budget = SyncSpent(Mutex::default());
        reader.visit(&select(Vec::new()), &budget, &mut Collect { mention: Some(mention), ..Collect::default() }).unwrap();
        budget.0.into_inner().unwrap().0.get()
    };
    let value = |name: &str, value: &str| Mention::Value(name.into(), value.into());
    let pattern = |pattern: &str| Mention::Pattern(pattern.into());
    let trace = TraceId([3; 16]).to_string();
    assert_eq!(opened(value("trace_id", &trace)), 1);
    assert_eq!(opened(value("span_id", &SpanId([4; 8]).to_string())), 1);
    assert_eq!(opened(Mention::Any(vec![value("trace_id", &trace), pattern("(?i).*WORD5x.*")])), 2);
    assert_eq!(opened(Mention::All(vec![value("trace_id", &trace), pattern("(?i).*WORD5x.*")])), 0);
    assert_eq!(opened(value("user", "user3x")), 2, "its own, and that of the stream which has such a label");
    assert_eq!(opened(value("user", "-")), 10, "no token, any chunk");
    assert_eq!(opened(Mention::Severity(20)), 1);
    assert_eq!(opened(Mention::Any(vec![Mention::Severity(0), Mention::Severity(21)])), 8);
    assert_eq!(opened(Mention::All(vec![Mention::Severity(17), pattern("word5x")])), 0);
}

#[test]
fn a_budget_stops_a_visit() {
    struct Nothing;
    impl Budget for Nothing {
        fn check(&self) -> Result<(), ReadError> {
            Ok(())
        }
        fn spend(&self, _: u64) -> Result<(), ReadError> {
            Err(ReadError::Budget { limit: 0, what: "lines", key: "query.records_max" })
        }
    }
    let engine = engine(100);
    let reader = reader(open_built(&engine, "ten", ten_chunks(&engine)), Vec::new());
    assert!(reader.visit(&select(Vec::new()), &Nothing, &mut Collect::default()).is_err());
}

#[test]
fn a_damaged_chunk_is_named_and_the_others_answer() {
    let engine = engine(100);
    let built = ten_chunks(&engine);
    let mut bytes = built[0].data.encode(Kind::Logs);
    bytes[8 + 40] ^= 1;
    let blob = MemoryBlob::new("logs/00005/blocks/x", bytes);
    let block = Arc::new(engine.open(Arc::new(blob)).unwrap());
    let reader = reader(vec![BlockView { summary: built[0].summary.clone(), block: Arc::clone(&block) }], Vec::new());
    let mut collect = Collect::default();
    let coverage = reader.visit(&select(Vec::new()), &NoBudget, &mut collect).unwrap();
    assert_eq!(collect.lines.len(), 9);
    assert_eq!(coverage.missing.len(), 1);
    let expected = "logs/00005/blocks/x is corrupt: chunk 0: checksum ";
    assert!(coverage.missing[0].starts_with(expected), "{}", coverage.missing[0]);
    assert!(engine.merge(&[block]).is_err());
}

#[test]
fn hostile_blocks_never_panic() {
    let engine = engine(100);
    let built = ten_chunks(&engine);
    for (i, (name, bytes)) in built[0].data.sections.iter().enumerate() {
        for at in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
            let mut bad = built[0].data.clone();
            bad.sections[i].1[at] ^= 0x41;
            let blob = MemoryBlob::new(format!("{name}-{at}"), bad.encode(Kind::Logs));
            let Ok(block) = engine.open(Arc::new(blob)) else { continue };
            let view = BlockView { summary: built[0].summary.clone(), block: Arc::new(block) };
            let reader = reader(vec![view], Vec::new());
            let filter = LineFilter::Contains(vec![b"word3x ".to_vec()]);
            let _ = reader.visit(&select(vec![filter]), &NoBudget, &mut Collect::default());
        }
    }
}

/// Reads outside of what a blob has are an error of the blob; the directory never asks for them.
struct Strict(MemoryBlob, Mutex<Vec<Range<u64>>>);

impl Blob for Strict {
    fn path(&self) -> &str {
        self.0.path()
    }
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.1.lock().unwrap().push(range.clone());
        self.0.read(range)
    }
}

#[test]
fn a_needle_reads_index_and_one_chunk() {
    let engine = engine(100);
    let built = ten_chunks(&engine);
    let blob = Arc::new(Strict(MemoryBlob::new("x", built[0].data.encode(Kind::Logs)), Mutex::default()));
    let block = Arc::new(engine.open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
    blob.1.lock().unwrap().clear();
    let reader = reader(vec![BlockView { summary: built[0].summary.clone(), block }], Vec::new());
    let found = visit(&reader, &select(vec![LineFilter::Contains(vec![b"word7x ".to_vec()])]));
    assert_eq!((found.len(), blob.1.lock().unwrap().len()), (1, 2));
}

#[test]
fn golden_bytes() {
    let head = engine(1 << 20).head();
    let attributes = Labels::from_pairs([("user", "7")]);
    let mut lines = vec![TestLine::new(SECOND, "one"), TestLine::new(12 * SECOND, "two lines"), TestLine::new(2 * SECOND, "")];
    lines[1] = TestLine { severity: 17, trace: 1, sequence: 14, attributes, ..lines[1].clone() };
    insert(&head, 300, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    let block = head.build().unwrap().remove(0);
    let hex = |name: &str| {
        let bytes = &block.data.sections.iter().find(|(own, _)| *own == name).unwrap().1;
        hex::encode(bytes)
    };
    let golden: Vec<&str> = include_str!("golden.hex").lines().collect();
    assert_eq!([hex("chunks.1"), hex("streams.1"), hex("directory.1")].join("\n"), golden.join("\n"));
    let golden: Vec<&str> = include_str!("golden_places.hex").lines().collect();
    assert_eq!([hex("places.1"), hex("place_pages.1")].join("\n"), golden.join("\n"));
    assert_eq!(
        (block.summary.records, block.summary.raw_bytes, block.summary.first, block.summary.last),
        (3, 12, SECOND, 12 * SECOND)
    );
}

#[test]
fn a_head_refuses_what_it_cannot_hold() {
    let head = engine(100).head();
    let position = Position { partition: 1, offset: 1, ordinal: u32::MAX };
    let one = section("a", &Labels::EMPTY, &[TestLine::new(0, "x")]);
    assert!(head.insert(position, &one).is_err());
    assert_eq!((head.records(), head.build().unwrap().len()), (0, 0));
}

#[test]
fn a_tail_gives_what_passes_and_says_what_was_dropped() {
    let stream = Labels::from_pairs([("pod", "p")]);
    let lines = [TestLine::new(1, "keep"), TestLine::new(2, "other"), TestLine::new(3, "keep")];
    let arrived = |tenant: &str, dropped| TailSection {
        position: Position { partition: 2, offset: 9, ordinal: 4 },
        section: section(tenant, &stream, &lines),
        dropped,
    };
    let tails = FixedTails(Mutex::new(vec![arrived("b", 0), arrived("a", 3)]));
    let reader = LogsReader { views: Arc::new(FixedViews::default()), tails: Arc::new(tails) };
    let mut tail = reader.tail(select(vec![LineFilter::Contains(vec![b"keep".to_vec()])])).unwrap();
    let events = tail.poll();
    let ordinals: Vec<u32> =
        events.iter().filter_map(|event| if let TailEvent::Line(line) = event { Some(line.id.ordinal) } else { None }).collect();
    assert_eq!((&events[0], ordinals), (&TailEvent::Dropped(3), vec![4, 6]));
    assert!(tail.poll().is_empty());
}

/// While chunks fill, are encoded and swapped, a reader always sees the first so many lines, each once.
#[test]
fn a_reader_beside_a_writer_sees_a_prefix() {
    const RECORDS: u64 = 200;
    let head = Arc::new(engine(200).head());
    let reader = reader(Vec::new(), vec![Arc::clone(&head)]);
    let one = [TestSection {
        tenant: "a",
        stream: Labels::from_pairs([("pod", "p")]),
        lines: vec![TestLine::new(1, "some words of a line"), TestLine::new(2, "and of another one")],
    }];
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..RECORDS).for_each(|offset| insert(&head, offset, &one)));
        let mut seen = 0;
        loop {
            let written = writer.is_finished();
            let lines = visit(&reader, &select(Vec::new()));
            assert!(lines.len() >= seen, "{} after {seen}", lines.len());
            seen = lines.len();
            for (i, line) in (0..).zip(&lines) {
                assert_eq!((line.id.offset, line.id.ordinal), (i / 2, (i % 2) as u32));
            }
            if written {
                break assert_eq!(seen as u64, RECORDS * 2);
            }
        }
    });
    assert_eq!(head.records(), RECORDS * 2);
}
