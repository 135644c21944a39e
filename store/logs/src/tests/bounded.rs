//! What must not grow, or be read again: opened chunks, streams without end, expressions that are made to take long.

use super::*;

/// So many chunks of a line each, in a block that tells what is read of it.
fn counted(engine: &LogsEngine, chunks: u64) -> (LogsReader, Arc<Strict>) {
    let head = engine.head();
    for i in 0..chunks {
        let stream = Labels::from_pairs([("pod", format!("p{i}"))]);
        let line = TestLine::new(i as i64 * SECOND, &format!("word{i}x {}", "filler ".repeat(20)));
        insert(&head, i, &[TestSection { tenant: "a", stream, lines: vec![line] }]);
    }
    let built = head.build().unwrap().remove(0);
    let blob = Arc::new(Strict(MemoryBlob::new("bounded", built.data.encode(Kind::Logs)), Mutex::default()));
    let block = Arc::new(engine.open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
    blob.1.lock().unwrap().clear();
    (reader(vec![BlockView { summary: built.summary, block, hidden: Default::default() }], Vec::new()), blob)
}

fn reads(blob: &Strict) -> usize {
    std::mem::take(&mut *blob.1.lock().unwrap()).len()
}

#[test]
fn what_was_opened_lately_is_not_read_again_within_its_bytes() {
    let with =
        |chunk_cache_bytes| LogsEngine::new(LogsOptions { chunk_bytes: 100, index_cache_bytes: 1 << 20, chunk_cache_bytes });
    let everything = select(Vec::new());
    let (reader, blob) = counted(&with(1 << 20), 50);
    let lines = visit(&reader, &everything);
    assert_eq!((lines.len(), reads(&blob)), (50, 50));
    assert_eq!((visit(&reader, &everything) == lines, reads(&blob)), (true, 0), "of what is open nothing is read");
    // Other questions unpack more of them.
    assert_eq!(visit(&reader, &select(vec![LineFilter::NotContains(vec![b"word7x".to_vec()])])).len(), 49);
    assert_eq!(reads(&blob), 0);
    let (reader, blob) = counted(&with(0), 50);
    for _ in 0..2 {
        assert_eq!((visit(&reader, &everything) == lines, reads(&blob)), (true, 50), "nothing is kept in no bytes");
    }
    // Room for some of them.
    let (reader, blob) = counted(&with(32 << 10), 50);
    for _ in 0..3 {
        assert_eq!(visit(&reader, &everything), lines);
    }
    let all = reads(&blob);
    assert!((51..=150).contains(&all), "{all} reads of 50 chunks three times, which do not all fit");
}

#[test]
fn of_thousands_of_streams_a_question_opens_what_it_needs() {
    let engine = engine(100);
    let (reader, blob) = counted(&engine, 5000);
    let mut latest = Collect { limit: Some(3), ..Collect::default() };
    reader.visit(&LogSelect { newest_first: true, ..select(Vec::new()) }, &NoBudget, &mut latest).unwrap();
    assert_eq!((latest.lines.len(), reads(&blob)), (3, 3));
    let one = LogSelect { matchers: vec![weir_model::label::Matcher::equal("pod", "p4711")], ..select(Vec::new()) };
    assert_eq!((visit(&reader, &one).len(), reads(&blob)), (1, 1));
    let streams = reader.streams(&select(Vec::new()), &NoBudget).unwrap().value;
    assert_eq!((streams.len(), reads(&blob)), (5000, 0));
}

/// Engines that go back take exponential time for these. That this ends is the test.
#[test]
fn expressions_that_are_made_to_take_long_take_no_longer() {
    let engine = engine(1 << 20);
    let head = engine.head();
    let body = "a".repeat(200_000);
    let stream = Labels::from_pairs([("pod", "p")]);
    insert(&head, 0, &[TestSection { tenant: "a", stream, lines: vec![TestLine::new(0, &body), TestLine::new(1, "ab")] }]);
    let reader = reader(open_built(&engine, "x", head.build().unwrap()), Vec::new());
    for (pattern, lines) in [("^(a+)+$", 1), ("^(?:a|aa|a*)*c$", 0), ("(?:(?:a?){20}a{20})+b", 0), ("^(?:a*)*b$", 1)] {
        let regex = regex::bytes::Regex::new(pattern).unwrap();
        assert_eq!(visit(&reader, &select(vec![LineFilter::Matches(regex)])).len(), lines, "{pattern}");
    }
}

/// Holds so many bytes at most.
struct Room(Mutex<u64>);

impl Budget for Room {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
    fn spend(&self, _: u64) -> Result<(), ReadError> {
        Ok(())
    }
    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        let mut left = self.0.lock().unwrap();
        *left = left.checked_sub(bytes).ok_or(ReadError::Cancelled("no room"))?;
        Ok(())
    }
}

#[test]
fn what_a_disk_report_holds_is_reserved() {
    let engine = engine(100);
    let head = engine.head();
    for i in 0..50 {
        let stream = Labels::from_pairs([("pod", format!("p{}", i % 10))]);
        let line = TestLine::new(i * SECOND, &"filler ".repeat(20));
        insert(&head, i as u64, &[TestSection { tenant: "a", stream, lines: vec![line] }]);
    }
    let block = Arc::clone(&open_built(&engine, "disk", head.build().unwrap())[0].block);
    let add = |room: u64| {
        let mut disk = weir_model::usage::LogsDisk::default();
        block.add_disk(&mut disk, &Room(Mutex::new(room))).map(|()| disk.streams.len())
    };
    assert_eq!(add(10_000).unwrap(), 10, "each stream once");
    assert!(add(500).is_err());
}
