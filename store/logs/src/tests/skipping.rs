//! Chunks stay closed that cannot have what is wanted, by the index, by what a visitor mentions, and by a budget.

use super::*;

fn opened_chunks(reader: &LogsReader, select: &LogSelect, limit: Option<usize>) -> (u64, usize) {
    let budget = Spent::default();
    let mut collect = Collect { limit, ..Collect::default() };
    reader.visit(select, &budget, &mut collect).unwrap();
    (budget.0.into_inner().unwrap(), collect.lines.len())
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

/// A UUID is five tokens: the whole of it, with whatever stands at its sides, and its long groups lead to the chunk that has it.
#[test]
fn uuids_are_found_whole_and_by_their_groups() {
    let uuid = |i: u64| {
        let seed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (low, high) = (seed as u16 & 0xfff, (seed >> 16) as u16 & 0xfff);
        format!("{:08x}-{:04x}-4{low:03x}-a{high:03x}-{:012x}", seed >> 32, seed as u16, seed.rotate_left(29) & 0xffff_ffff_ffff)
    };
    let digits = "12345678-1234-4234-8234-123456789012";
    let engine = engine(100);
    let head = engine.head();
    for i in 0..200 {
        let id = if i == 7 { digits.to_owned() } else { uuid(i) };
        let lines = vec![TestLine::new(i as i64 * SECOND, &format!("order {id}, {}", "filler ".repeat(20)))];
        insert(&head, i, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    }
    let reader = reader(open_built(&engine, "uuids", head.build().unwrap()), Vec::new());
    let contains = |text: &str| select(vec![LineFilter::Contains(vec![text.into()])]);
    let any_case = |text: &str| {
        let pattern = format!("(?i){}", regex::escape(&text.to_uppercase()));
        select(vec![LineFilter::Matches(regex::bytes::Regex::new(&pattern).unwrap())])
    };
    for id in [uuid(150), digits.to_owned()] {
        for text in [&*id, &format!("order {id},"), &id[..8], &id[24..], &id[..13], &id[14..]] {
            assert_eq!(opened_chunks(&reader, &contains(text), None), (1, 1), "{text}");
        }
        assert_eq!(opened_chunks(&reader, &any_case(&id), None), (1, 1), "{id}");
    }
    let other = uuid(300);
    for text in [&*other, &other[..8], &other[24..]] {
        assert_eq!(opened_chunks(&reader, &contains(text), None), (0, 0), "{text}");
    }
}

/// Base64 is too long for the index: a part of it leads to its chunk all the same, and a word that is none leaves all closed.
#[test]
fn long_tokens_are_found_by_their_parts_and_open_no_others() {
    let mut state = 7_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789__"[(state >> 33) as usize % 64] as char
    };
    let tokens: Vec<String> = (0..100).map(|_| (0..180).map(|_| letter()).collect()).collect();
    let engine = engine(100);
    let head = engine.head();
    for (i, token) in (0..).zip(&tokens) {
        let lines = vec![TestLine::new(i as i64 * SECOND, &format!("token {token}, {}", "filler ".repeat(20)))];
        insert(&head, i, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    }
    let contains = |text: &str| select(vec![LineFilter::Contains(vec![text.into()])]);
    let any_case = |text: &str| select(vec![LineFilter::Matches(regex::bytes::Regex::new(&format!("(?i){text}")).unwrap())]);
    let head = Arc::new(head);
    for (name, reader) in [
        ("block", reader(open_built(&engine, "tokens", head.build().unwrap()), Vec::new())),
        ("head", reader(Vec::new(), vec![Arc::clone(&head)])),
    ] {
        for (i, token) in tokens.iter().enumerate() {
            let at = i % 160;
            for select in [contains(&token[at..at + 20]), contains(token), any_case(&token[at..at + 20].to_uppercase())] {
                assert_eq!(opened_chunks(&reader, &select, None), (1, 1), "{name}: {:?}", select.filters);
            }
            let (opened, found) = opened_chunks(&reader, &contains(&token[at..at + 4]), None);
            assert!(opened < 50 && found >= 1, "{name}: {opened} opened for four letters");
        }
        assert_eq!(opened_chunks(&reader, &contains("zebrafinch"), None), (0, 0), "{name}");
    }
}

#[test]
fn of_the_latest_lines_no_others_are_given() {
    let engine = engine(1 << 20);
    let head = Arc::new(engine.head());
    for i in 0..10 {
        let lines = (0..10).map(|second| TestLine::new((i * 10 + second) * SECOND, &format!("line {second}"))).collect();
        insert(&head, i as u64, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    }
    let latest = LogSelect { newest_first: true, ..select(Vec::new()) };
    for (name, reader) in [
        ("block", reader(open_built(&engine, "one", head.build().unwrap()), Vec::new())),
        ("head", reader(Vec::new(), vec![Arc::clone(&head)])),
    ] {
        assert_eq!(opened_chunks(&reader, &latest, Some(3)), (100, 3), "{name}");
        assert_eq!(opened_chunks(&reader, &select(Vec::new()), Some(3)), (100, 100), "{name}: in source order all are");
    }
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
        let budget = Spent::default();
        reader.visit(&select(Vec::new()), &budget, &mut Collect { mention: Some(mention), ..Collect::default() }).unwrap();
        budget.0.into_inner().unwrap()
    };
    let value = |name: &str, value: &str| Mention::Value(name.into(), value.into());
    let pattern = |pattern: &str| Mention::Pattern(pattern.into());
    let trace = TraceId([3; 16]).to_string();
    assert_eq!(opened(value("trace_id", &trace)), 1);
    assert_eq!(opened(value("span_id", &SpanId([4; 8]).to_string())), 1);
    assert_eq!(opened(Mention::Any(vec![value("trace_id", &trace), pattern("(?i).*WORD5x.*")])), 2);
    assert_eq!(opened(Mention::All(vec![value("trace_id", &trace), pattern("(?i).*WORD5x.*")])), 0);
    assert_eq!(opened(value("user", "user3x")), 2, "its own, and that of the stream which has such a label");
    assert_eq!(opened(value("user", "-")), 1, "nobody's, but that of the stream which has such a label");
    assert_eq!(opened(value("user_extracted", "user3x")), 1);
    assert_eq!(opened(value("other", "user3x")), 0, "another name");
    assert_eq!(opened(Mention::Severity(20)), 1);
    assert_eq!(opened(Mention::Any(vec![Mention::Severity(0), Mention::Severity(21)])), 1);
    assert_eq!(opened(Mention::Severity(22)), 7);
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
fn a_needle_reads_words_and_one_chunk() {
    let engine = engine(100);
    let built = ten_chunks(&engine);
    let blob = Arc::new(Strict(MemoryBlob::new("x", built[0].data.encode(Kind::Logs)), Mutex::default()));
    let block = Arc::new(engine.open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
    blob.1.lock().unwrap().clear();
    let reader = reader(vec![BlockView { summary: built[0].summary.clone(), block, hidden: Default::default() }], Vec::new());
    let found = visit(&reader, &select(vec![LineFilter::Contains(vec![b"word7x ".to_vec()])]));
    // Lists of pages came with the block.
    assert_eq!((found.len(), blob.1.lock().unwrap().len()), (1, 2));
}
