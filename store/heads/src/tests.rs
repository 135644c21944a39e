//! Frames and answers: what was written is read, and what was not is refused with a sentence, never a panic.

use std::sync::Arc;

use proptest::prelude::{any, prop};
use proptest::{prop_assert, proptest};
use weir_model::label::{Labels, MatchOp, Matcher};
use weir_model::log::{LogBatch, LogRecord};
use weir_model::metric::{MetricBatch, MetricRow, Schema};
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{LogSelect, MetricSelect, NoBudget, ReadError};
use weir_model::signal::Signal;
use weir_model::time::TimeRange;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::frame::{self, Tag};
use super::request::{FilterQuery, HeadQuery, HeadRequest, LinesQuery, MatcherQuery, SamplesQuery, VISIBLE_MAX, visible_out};
use super::response::{HeadInstant, HeadResponse, Refusal, decode, encode_extract, encode_refusal};
use super::{ExtractLimits, HeadExtract, HeadProtocol, PROTOCOL, Row};
use weir_blocks::engine::{Engine, Head, Position};
use weir_logs::{LogsEngine, LogsHead};
use weir_metrics::{MetricsCounters, MetricsEngine, MetricsHead};

const LIMITS: ExtractLimits = ExtractLimits { bytes_max: 1 << 20, key: "test.bytes_max" };

fn section<S: Signal>(batch: S) -> Section<S> {
    let mark = Mark::Digest([1; 16]);
    Section::new(SectionHeader { tenant: "t".into(), source: "s".into(), mark, records: 0 }, batch)
}

/// Ten records of ten lines, a second apart; of each, every third line has an "x".
fn logs() -> Arc<LogsHead> {
    let head = LogsEngine::default().head();
    for offset in 0..10 {
        let mut batch = LogBatch::new(Labels::from_pairs([("stream", (offset % 2).to_string())]));
        for i in 0..10_u64 {
            let body = format!("{} line {i}", if i % 3 == 0 { "x" } else { "y" });
            batch.push(LogRecord {
                timestamp: (offset * 10 + i) as i64 * 1_000_000_000,
                sequence: i + 1,
                body: body.as_bytes(),
                severity: 9,
                flags: 0,
                trace_id: Default::default(),
                span_id: Default::default(),
                attributes: (&Labels::EMPTY).into(),
            });
        }
        head.insert(Position { partition: 7, offset, ordinal: 5 }, &section(batch)).unwrap();
    }
    Arc::new(head)
}

fn lines_query(page_bytes: u64, newest_first: bool) -> HeadQuery {
    let filters = vec![weir_model::select::LineFilter::Contains(vec![b"x ".to_vec()])];
    let select = LogSelect { scope: Scope::of("t"), matchers: Vec::new(), range: TimeRange::ALL, filters, newest_first };
    HeadQuery::Lines(LinesQuery::new(&select, page_bytes))
}

fn answer_of(extract: &HeadExtract) -> Vec<u8> {
    let mut bytes = frame::preamble(Kind::Logs).to_vec();
    let instant = HeadInstant {
        partition: 7,
        epoch: 3,
        version: 9,
        indexed_offset: 10,
        high_watermark: 11,
        bus_silent_seconds: Some(4),
        watermark: None,
    };
    encode_extract(&mut bytes, &instant, extract);
    encode_refusal(&mut bytes, &Refusal::NotOwned { partition: 8 });
    frame::put(&mut bytes, Tag::End, &[]);
    bytes
}

#[test]
fn an_answer_is_read_as_it_was_written_and_its_head_gives_the_lines_their_ids() {
    let extract = LogsEngine::extract(&Scope::of("t"), &lines_query(1 << 20, true), &[logs()], LIMITS, &NoBudget).unwrap();
    assert_eq!((extract.watermark, extract.heads.len()), (None, 1));
    let answers = decode(&answer_of(&extract), Kind::Logs).unwrap();
    assert_eq!(answers[1], HeadResponse::Refused(Refusal::NotOwned { partition: 8 }));
    let HeadResponse::Extract(instant, read) = &answers[0] else { panic!("an extract comes first") };
    assert_eq!((instant.epoch, instant.version, read), (3, 9, &extract));
    let head = LogsEngine::default().rebuild_head(7, "t", &read.heads[0], 1 << 30).unwrap();
    assert_eq!(head.records(), 40);
    let again = LogsEngine::extract(&Scope::of("t"), &lines_query(1 << 20, true), &[Arc::new(head)], LIMITS, &NoBudget).unwrap();
    assert_eq!(again, extract, "a head out of an extract gives the same extract");
}

#[test]
fn templates_of_a_head_are_rows_and_more_than_may_travel_are_refused() {
    let head = LogsEngine::default().head();
    let mut batch = LogBatch::new(Labels::from_pairs([("app", "x")]));
    for (i, body) in [&b"took 15 ms"[..], b"took 7 ms", b"\x01\xff", b"\x01\xff", b"took 9 ms", b"failed"].into_iter().enumerate()
    {
        batch.push(LogRecord {
            timestamp: i as i64 * 4,
            sequence: 0,
            body,
            severity: if body == b"failed" { 17 } else { 9 },
            flags: 0,
            trace_id: Default::default(),
            span_id: Default::default(),
            attributes: (&Labels::EMPTY).into(),
        });
    }
    head.insert(Position { partition: 7, offset: 0, ordinal: 0 }, &section(batch)).unwrap();
    let heads = [Arc::new(head)];
    let (matchers, filters) = (Vec::new(), vec![weir_model::select::LineFilter::NotContains(vec![b"15".to_vec()])]);
    let select = LogSelect { scope: Scope::of("t"), matchers, range: TimeRange::ALL, filters, newest_first: true };
    let query = HeadQuery::Templates { lines: LinesQuery::new(&select, 0), step: 10, origin: 0 };
    let extract = LogsEngine::extract(&Scope::of("t"), &query, &heads, LIMITS, &NoBudget).unwrap();
    let template = |text: &str, bucket, severity| Row::Template { text: text.into(), bucket, severity, lines: 1 };
    let line = |bucket| Row::Line { body: b"\x01\xff".to_vec(), bucket, severity: 9, lines: 1 };
    let expected = [line(0), line(10), template("failed", 20, 17), template("took <_> ms", 0, 9), template("took <_> ms", 10, 9)];
    assert_eq!(extract.rows, expected);
    let answers = decode(&answer_of(&extract), Kind::Logs).unwrap();
    assert!(matches!(&answers[0], HeadResponse::Extract(_, read) if *read == extract), "{answers:?}");
    let few = ExtractLimits { bytes_max: 300, ..LIMITS };
    let refused = LogsEngine::extract(&Scope::of("t"), &query, &heads, few, &NoBudget).unwrap_err();
    assert!(matches!(refused, ReadError::Budget { limit: 300, key: "test.bytes_max", .. }), "{refused:?}");
    let wrong = HeadQuery::Templates { lines: LinesQuery::new(&select, 0), step: 0, origin: 0 };
    assert!(LogsEngine::extract(&Scope::of("t"), &wrong, &heads, LIMITS, &NoBudget).is_err());
}

#[test]
fn rows_of_templates_are_bounded_as_they_travel() {
    let head = LogsEngine::default().head();
    let mut batch = LogBatch::new(Labels::from_pairs([("app", "x")]));
    for i in 0..20_u8 {
        // Half of them no text, half of them text that JSON escapes.
        let body = if i < 10 { vec![0xe0 + i; 1000] } else { b"\"\\".repeat(500) };
        let body = [body, vec![b'a' + i; 2]].concat();
        batch.push(LogRecord {
            timestamp: i64::MIN + i64::from(i),
            sequence: 0,
            body: &body,
            severity: 9,
            flags: 0,
            trace_id: Default::default(),
            span_id: Default::default(),
            attributes: (&Labels::EMPTY).into(),
        });
    }
    head.insert(Position { partition: 7, offset: 0, ordinal: 0 }, &section(batch)).unwrap();
    let heads = [Arc::new(head)];
    let range = TimeRange { start: i64::MIN, end: i64::MAX };
    let (matchers, filters) = Default::default();
    let select = LogSelect { scope: Scope::of("t"), matchers, range, filters, newest_first: true };
    let query = HeadQuery::Templates { lines: LinesQuery::new(&select, 0), step: 10, origin: 0 };
    let extract =
        |bytes_max: u64| LogsEngine::extract(&Scope::of("t"), &query, &heads, ExtractLimits { bytes_max, ..LIMITS }, &NoBudget);
    let travels = serde_json::to_vec(&extract(1 << 20).unwrap().rows).unwrap().len() as u64;
    assert!(travels > 40_000, "{travels}");
    assert!(extract(travels - 2).is_err(), "{travels} bytes are more");
    assert!(extract(travels + 20 * 60).is_ok(), "numbers that are shorter than the longest");
}

#[test]
fn pages_are_cut_between_instants_and_together_are_everything() {
    for newest_first in [true, false] {
        let (mut query, mut lines, mut pages) = (lines_query(300, newest_first), 0, 0);
        loop {
            let extract = LogsEngine::extract(&Scope::of("t"), &query, &[logs()], LIMITS, &NoBudget).unwrap();
            let heads = extract.heads.iter().map(|records| LogsEngine::default().rebuild_head(7, "t", records, 1 << 30).unwrap());
            lines += heads.map(|head| head.records()).sum::<u64>();
            pages += 1;
            let HeadQuery::Lines(lines_query) = &mut query else { panic!("lines are asked for") };
            match extract.watermark {
                Some(watermark) if newest_first => lines_query.range.end = watermark,
                Some(watermark) => lines_query.range.start = watermark,
                None => break,
            }
        }
        assert_eq!(lines, 40, "newest first: {newest_first}");
        assert!(pages > 3, "{pages}");
    }
}

#[test]
fn too_much_is_refused_by_name() {
    let head = MetricsEngine::new(MetricsCounters::default()).head();
    let labels = |i: u32| Labels::from_pairs([("__name__", "m"), ("i", &*i.to_string())]);
    let schema = Arc::new(Schema::new((0..1000).map(labels).collect(), Vec::new()));
    let rows = (0..200).map(|at| MetricRow::new(at * 1_000_000, vec![1.5; 1000])).collect();
    let batch = MetricBatch { target: Labels::EMPTY, schema, rows };
    head.insert(Position { partition: 0, offset: 0, ordinal: 0 }, &section(batch)).unwrap();
    let heads: [Arc<MetricsHead>; 1] = [Arc::new(head)];
    let select = MetricSelect { scope: Scope::of("t"), matchers: Vec::new(), start_ms: 0, end_ms: 1000 };
    let query = HeadQuery::Samples(SamplesQuery::new(&select));
    match MetricsEngine::extract(&Scope::of("t"), &query, &heads, LIMITS, &NoBudget) {
        Err(ReadError::Budget { limit, key, .. }) => assert_eq!((limit, key), (1 << 20, "test.bytes_max")),
        other => panic!("{other:?}"),
    }
    let enough = ExtractLimits { bytes_max: 16 << 20, ..LIMITS };
    let extract = MetricsEngine::extract(&Scope::of("t"), &query, &heads, enough, &NoBudget).unwrap();
    let head = MetricsEngine::default().rebuild_head(0, "t", &extract.heads[0], 1 << 30).unwrap();
    assert_eq!(head.records(), 200_000);
    let error = MetricsEngine::default().rebuild_head(0, "t", &extract.heads[0], 1 << 20).err().unwrap();
    assert!(error.contains("more than 1048576 bytes of memory"), "{error}");
    let error =
        MetricsEngine::extract(&Scope::of("t"), &lines_query(1, true), &heads, LIMITS, &NoBudget).unwrap_err().to_string();
    assert!(error.contains("the heads of metrics cannot answer this query"), "{error}");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let extract = LogsEngine::extract(&Scope::of("t"), &lines_query(1 << 20, true), &[logs()], LIMITS, &NoBudget).unwrap();
    let good = answer_of(&extract);
    let check = |bytes: &[u8], expected: &str| {
        let error = decode(bytes, Kind::Logs).unwrap_err();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    };
    check(&good[..5], "5 bytes are fewer than a preamble has");
    check(&good[..good.len() - 9], "the answer was cut off");
    check(&[&good[..], b"x"].concat(), "more follows the end");
    let mut other = good.clone();
    other[4] = 9;
    check(&other, "version 9");
    other = good.clone();
    other[5] = 2;
    check(&other, "kind 2");
    other = good.clone();
    *other.last_mut().unwrap() ^= 1;
    check(&other, "checksum");
    let mut alone = frame::preamble(Kind::Logs).to_vec();
    frame::put(&mut alone, Tag::Head, &[]);
    check(&alone, "frame at byte 8: no partition has begun");
    let mut long = frame::preamble(Kind::Logs).to_vec();
    long.extend_from_slice(&[3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    check(&long, "is above");
}

#[test]
fn a_question_travels_as_json_and_another_version_is_refused() {
    let request = HeadRequest {
        protocol: PROTOCOL,
        kind: Kind::Logs,
        partitions: vec![1, 2],
        tenant: "t".into(),
        visible: None,
        timeout_ms: 100,
        query: lines_query(5, false),
    };
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<HeadRequest>(&text).unwrap(), request);
    assert_eq!(request.check(), Ok(()));
    let newer = HeadRequest { protocol: PROTOCOL + 1, ..request };
    assert!(newer.check().unwrap_err().contains("it was asked in version 2"));
    assert!(serde_json::from_str::<HeadRequest>(&text.replace("\"tenant\"", "\"tenants\"")).is_err());
    let bad = text.replace("7820", "78zz");
    let HeadQuery::Lines(lines) = serde_json::from_str::<HeadRequest>(&bad).unwrap().query else { panic!("lines are asked for") };
    assert!(lines.select(&Scope::of("t")).unwrap_err().contains("78zz"));
}

#[test]
fn the_patterns_of_a_question_share_the_budget_of_a_query() {
    let matcher = |i: usize, value: &str| MatcherQuery { name: format!("l{i}"), op: MatchOp::Regex, value: value.to_owned() };
    let query = |matchers: Vec<MatcherQuery>, filters: Vec<FilterQuery>| {
        let range = TimeRange::ALL.into();
        LinesQuery { matchers, range, filters, newest_first: true, page_bytes: 0 }.select(&Scope::of("t")).map(drop)
    };
    let large = |i: usize| format!(r"{i}\w{{40}}");
    // A few are fine; a hundred are not, wherever they stand.
    assert_eq!(
        query(vec![matcher(0, &large(0))], vec![FilterQuery::Matches(large(1)), FilterQuery::NotMatches(large(2))]),
        Ok(())
    );
    let matchers: Vec<_> = (0..100).map(|i| matcher(i, &large(i))).collect();
    let filters: Vec<_> = (0..50).flat_map(|i| [FilterQuery::Matches(large(i)), FilterQuery::NotMatches(large(i))]).collect();
    let few = query(matchers[..3].to_vec(), filters[..3].to_vec());
    assert_eq!(few, Ok(()));
    for (matchers, filters) in
        [(matchers.clone(), Vec::new()), (Vec::new(), filters.clone()), (matchers[..20].into(), filters[..20].into())]
    {
        let message = query(matchers, filters).unwrap_err();
        assert!(message.contains("those of this query take more than 33554432 bytes compiled"), "{message}");
    }
    let samples = SamplesQuery { matchers, start_ms: 0, end_ms: 1 }.select(&Scope::of("t")).map(drop).unwrap_err();
    assert!(samples.contains("33554432"), "{samples}");
    // One that is too large by itself, one that is none, and one that nests deeply.
    let deep = format!("{}a{}", "(".repeat(3_000), ")".repeat(3_000));
    for (pattern, why) in [("(a{1000}){1000}", "4194304"), ("(", "unclosed group"), (&deep, "nested parentheses/brackets (100)")]
    {
        let message = query(Vec::new(), vec![FilterQuery::Matches(pattern.to_owned())]).unwrap_err();
        assert!(message.contains(why) && message.len() < 500, "{message}");
    }
}

proptest! {
    #[test]
    fn damaged_answers_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let extract = LogsEngine::extract(&Scope::of("t"), &lines_query(300, true), &[logs()], LIMITS, &NoBudget).unwrap();
        let mut bytes = answer_of(&extract);
        let index = at.index(bytes.len());
        bytes[index] = byte;
        let _either = decode(&bytes, Kind::Logs);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())], Kind::Logs).is_err());
    }

    /// Side data and records with a right checksum and wrong content.
    #[test]
    fn damaged_records_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), in_side in any::<bool>()) {
        let extract = LogsEngine::extract(&Scope::of("t"), &lines_query(1 << 20, true), &[logs()], LIMITS, &NoBudget).unwrap();
        let mut records = extract.heads[0].clone();
        let bytes = if in_side { &mut records[0].side } else { &mut records[0].record };
        let index = at.index(bytes.len());
        bytes[index] = byte;
        let _either = LogsEngine::default().rebuild_head(7, "t", &records, 1 << 30);
    }
}

#[test]
fn what_may_be_seen_travels_and_is_bounded() {
    let request = |visible| HeadRequest {
        protocol: PROTOCOL,
        kind: Kind::Logs,
        partitions: vec![1],
        tenant: "t".into(),
        visible,
        timeout_ms: 100,
        query: lines_query(5, false),
    };
    let text = |visible| serde_json::to_string(&request(visible)).unwrap();
    // An owner of before, who knows no such field, answers who may see all.
    assert!(!text(None).contains("visible"));
    assert_eq!(request(None).scope(), Ok(Scope::of("t")));
    let list = vec![Matcher::new("app", MatchOp::Regex, "a|b").unwrap(), Matcher::equal("pod", "p")];
    for lists in [vec![list], Vec::new()] {
        let scope: Scope = TenantScope { tenant: "t".into(), visible: Visible::any_of(lists) }.into();
        let said = text(visible_out(&scope.one().unwrap().visible));
        let read: HeadRequest = serde_json::from_str(&said).unwrap();
        let labels = Labels::from_pairs([("app", "a"), ("pod", "p")]);
        assert_eq!(read.scope().unwrap().sees("t", &labels), scope.sees("t", &labels), "{said}");
        assert!(!read.scope().unwrap().sees("t", &Labels::EMPTY), "{said}");
        // Whoever does not know the field refuses the request instead of showing all.
        assert!(serde_json::from_str::<HeadRequest>(&said.replace("\"visible\"", "\"another\"")).is_err());
    }
    let matcher = MatcherQuery { name: "a".into(), op: MatchOp::Equal, value: String::new() };
    let many = request(Some(vec![vec![matcher.clone(); VISIBLE_MAX], vec![matcher.clone()]])).scope().unwrap_err();
    assert!(many.contains("visible: 10001 matchers are above 10000"), "{many}");
    assert!(request(Some(vec![Vec::new(); VISIBLE_MAX + 1])).scope().is_err());
    let bad = MatcherQuery { op: MatchOp::Regex, value: "(".into(), ..matcher };
    let wrong = request(Some(vec![vec![bad]])).scope().unwrap_err();
    assert!(wrong.starts_with("visible: "), "{wrong}");
}

#[test]
fn an_extract_has_nothing_that_may_not_be_seen() {
    let scope = |visible| Scope::from(TenantScope { tenant: "t".into(), visible });
    let none = scope(Visible::any_of(Vec::new()));
    let counted = |scope: &Scope| {
        let extract = LogsEngine::extract(scope, &lines_query(1 << 20, true), &[logs()], LIMITS, &NoBudget).unwrap();
        extract.heads.iter().flatten().count()
    };
    assert!(counted(&scope(Visible::default())) > 0);
    assert_eq!(counted(&none), 0);
}
