//! Indexes of several blocks are read at once, and of no more blocks than there is use for.

use std::sync::Condvar;
use std::time::Duration;

use weir_model::select::{Buckets, CountBy, MemoryBudget};

use super::*;

/// Longer than any thread takes to begin; nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all blobs of a test share: reads that are under way, the most that ever were, and paths that were read.
#[derive(Default)]
struct Reads {
    state: Mutex<(usize, usize, Vec<String>)>,
    changed: Condvar,
    /// A read goes on when so many have been under way at once.
    awaited: Mutex<usize>,
    /// Reads before these, which are waited for by nobody.
    alone: Mutex<usize>,
}

struct Slow(MemoryBlob, Arc<Reads>);

impl Blob for Slow {
    fn path(&self) -> &str {
        self.0.path()
    }
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (awaited, alone) = (*self.1.awaited.lock().unwrap(), *self.1.alone.lock().unwrap());
        let mut state = self.1.state.lock().unwrap();
        state.0 += 1;
        state.1 = state.1.max(state.0);
        state.2.push(self.path().to_owned());
        self.1.changed.notify_all();
        let awaited = if state.2.len() > alone { awaited } else { 0 };
        let (mut state, _) = self.1.changed.wait_timeout_while(state, PATIENCE, |state| state.1 < awaited).unwrap();
        state.0 -= 1;
        drop(state);
        self.0.read(range)
    }
}

/// So many blocks of a line each, an hour apart; each line has `common`, and block `i` the word `word{i}x`.
fn blocks(engine: &LogsEngine, count: i64, reads: &Arc<Reads>) -> Vec<BlockView<LogsEngine>> {
    let view = |i: i64| {
        let head = engine.head();
        let lines = vec![TestLine::new(i * 3600 * SECOND, &format!("common word{i}x"))];
        insert(
            &head,
            i as u64,
            &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", format!("p{}", i % 2))]), lines }],
        );
        let built = head.build().unwrap().remove(0);
        let blob = Slow(MemoryBlob::new(format!("block {i}"), built.data.encode(Kind::Logs)), Arc::clone(reads));
        BlockView { summary: built.summary, block: Arc::new(engine.open(Arc::new(blob)).unwrap()), hidden: Default::default() }
    };
    (0..count).map(view).collect()
}

fn contains(text: &str) -> LogSelect {
    LogSelect { newest_first: true, ..select(vec![LineFilter::Contains(vec![text.into()])]) }
}

#[test]
fn several_blocks_are_read_at_once() {
    let reads = Arc::new(Reads::default());
    let reader = reader(blocks(&engine(1 << 20), 7, &reads), Vec::new());
    *reads.awaited.lock().unwrap() = 2;
    assert_eq!(visit(&reader, &contains("common")).len(), 7);
    assert!(reads.state.lock().unwrap().1 >= 2, "one block was read after the other");
    // Now all that the question needs is in memory.
    reads.state.lock().unwrap().2.clear();
    assert_eq!(visit(&reader, &contains("common")).len(), 7);
    let read = reads.state.lock().unwrap().2.clone();
    assert!(read.is_empty(), "{read:?}");
}

#[test]
fn who_finds_enough_has_read_one_block_for_nothing() {
    let reads = Arc::new(Reads::default());
    let reader = reader(blocks(&engine(1 << 20), 30, &reads), Vec::new());
    reads.state.lock().unwrap().2.clear();
    let mut collect = Collect { limit: Some(1), ..Collect::default() };
    reader.visit(&contains("common"), &NoBudget, &mut collect).unwrap();
    assert_eq!(collect.lines.len(), 1);
    let mut read = reads.state.lock().unwrap().2.clone();
    read.sort_unstable();
    read.dedup();
    assert_eq!(read, ["block 28", "block 29"]);
}

#[test]
fn blocks_without_a_stream_that_passes_are_not_read() {
    let reads = Arc::new(Reads::default());
    let reader = reader(blocks(&engine(1 << 20), 9, &reads), Vec::new());
    reads.state.lock().unwrap().2.clear();
    let matcher = weir_model::label::Matcher::new("pod", weir_model::label::MatchOp::Equal, "p1").unwrap();
    let found = visit(&reader, &LogSelect { matchers: vec![matcher], ..contains("common") });
    assert_eq!(found.len(), 4);
    let read = reads.state.lock().unwrap().2.clone();
    assert!(read.iter().all(|path| ["block 1", "block 3", "block 5", "block 7"].contains(&&**path)), "{read:?}");
}

/// A block of many chunks, each a pack of its own, one a stream.
fn of_many_chunks(engine: &LogsEngine, count: i64, reads: &Arc<Reads>) -> Vec<BlockView<LogsEngine>> {
    interleaved(engine, (1, count), reads)
}

/// So many of such blocks, whose lines take turns.
fn interleaved(engine: &LogsEngine, (blocks, count): (i64, i64), reads: &Arc<Reads>) -> Vec<BlockView<LogsEngine>> {
    let of_block = |block: i64| (format!("block {block}"), (block..blocks * count).step_by(blocks as usize));
    (0..blocks).map(|block| of_chunks(engine, of_block(block), reads)).collect()
}

fn of_chunks(
    engine: &LogsEngine,
    (path, lines): (String, impl Iterator<Item = i64>),
    reads: &Arc<Reads>,
) -> BlockView<LogsEngine> {
    let (head, mut count) = (engine.head(), 0);
    for i in lines {
        count += 1;
        let lines = vec![TestLine::new(i * SECOND, &format!("common word{i}x {}", "filling ".repeat(40)))];
        insert(&head, i as u64, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", format!("p{i:04}"))]), lines }]);
    }
    let built = head.build().unwrap().remove(0);
    let blob = Slow(MemoryBlob::new(path, built.data.encode(Kind::Logs)), Arc::clone(reads));
    let block = Arc::new(engine.open(Arc::new(blob)).unwrap());
    let view = BlockView::<LogsEngine> { summary: built.summary, block, hidden: Default::default() };
    assert_eq!(LogsBlock::chunks(&view.block), count);
    view
}

#[test]
fn chunks_of_a_block_are_read_at_once_and_each_once() {
    const CHUNKS: i64 = 100;
    for filters in [Vec::new(), vec![LineFilter::Contains(vec![b"common".to_vec()])]] {
        let reads = Arc::new(Reads::default());
        // No pack is kept for others: each is held until its turn comes.
        let engine = LogsEngine::new(LogsOptions { chunk_bytes: 200, chunk_cache_bytes: 0, ..LogsOptions::default() });
        let reader = reader(of_many_chunks(&engine, CHUNKS, &reads), Vec::new());
        let select = LogSelect { newest_first: true, ..select(filters) };
        // The index is in memory then.
        assert_eq!(visit(&reader, &select).len(), CHUNKS as usize);
        *reads.state.lock().unwrap() = Default::default();
        // One, two, and then four at once.
        (*reads.alone.lock().unwrap(), *reads.awaited.lock().unwrap()) = (3, 4);
        assert_eq!(visit(&reader, &select).len(), CHUNKS as usize);
        let state = reads.state.lock().unwrap();
        assert!(state.1 >= 4, "one chunk was read after the other");
        assert_eq!(state.2.len(), CHUNKS as usize, "chunks are read once");
    }
}

#[test]
fn who_finds_enough_has_read_at_most_twice_the_chunks() {
    let reads = Arc::new(Reads::default());
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 200, ..LogsOptions::default() });
    let reader = reader(of_many_chunks(&engine, 200, &reads), Vec::new());
    for limit in [1, 2, 5, 20] {
        reads.state.lock().unwrap().2.clear();
        let mut collect = Collect { limit: Some(limit), ..Collect::default() };
        reader.visit(&LogSelect { newest_first: true, ..select(Vec::new()) }, &NoBudget, &mut collect).unwrap();
        assert_eq!(collect.lines.len(), limit);
        let read = reads.state.lock().unwrap().2.len();
        assert!(read <= 2 * limit, "{read} chunks for {limit} lines");
    }
}

#[test]
fn what_is_held_ahead_is_reserved_and_given_back() {
    let reads = Arc::new(Reads::default());
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 200, chunk_cache_bytes: 0, ..LogsOptions::default() });
    let reader = reader(of_many_chunks(&engine, 100, &reads), Vec::new());
    for room in [0, 1000, u64::MAX] {
        let budget = MemoryBudget::new(room);
        let mut collect = Collect::default();
        reader.visit(&select(Vec::new()), &budget, &mut collect).unwrap();
        assert_eq!(collect.lines.len(), 100, "room for {room} bytes");
        assert_eq!(budget.held(), 0);
        assert_eq!(budget.most() > 0, room > 0);
    }
    let budget = MemoryBudget::new(u64::MAX);
    let mut collect = Collect { limit: Some(5), ..Collect::default() };
    reader.visit(&LogSelect { newest_first: true, ..select(Vec::new()) }, &budget, &mut collect).unwrap();
    assert_eq!((collect.lines.len(), budget.held()), (5, 0), "who finds enough gives it back too");
}

/// The index knows no case, so that it leaves all of them.
#[test]
fn chunks_without_a_line_that_passes_are_passed_over_by_who_reads_ahead() {
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 200, chunk_cache_bytes: 0, ..LogsOptions::default() });
    let reader = reader(interleaved(&engine, (4, 50), &Arc::new(Reads::default())), Vec::new());
    let matches = |pattern: &str| LineFilter::Matches(regex::bytes::Regex::new(pattern).unwrap());
    for (filter, lines) in [
        (LineFilter::Contains(vec![b"Common".to_vec()]), 0),
        (matches("Common|WORD1"), 0),
        (matches("Common|word77x"), 1),
        (matches("Common|word19[0-9]x"), 10),
    ] {
        let select = LogSelect { newest_first: true, ..select(vec![filter]) };
        let (memory, mut collect) = (MemoryBudget::new(u64::MAX), Collect::default());
        reader.visit(&select, &memory, &mut collect).unwrap();
        assert_eq!((collect.lines.len(), memory.held()), (lines, 0), "{:?}", select.filters);
        assert!(memory.most() > 0, "nothing was read ahead");
        let paid = Watching { threads: Mutex::default(), lines_max: 200, lines: 0.into() };
        reader.visit(&select, &paid, &mut Collect::default()).unwrap();
        assert_eq!(paid.lines.into_inner(), 200, "{:?}", select.filters);
    }
}

#[test]
fn chunks_of_blocks_that_take_turns_are_read_once() {
    let reads = Arc::new(Reads::default());
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 200, chunk_cache_bytes: 0, ..LogsOptions::default() });
    let reader = reader(interleaved(&engine, (4, 50), &reads), Vec::new());
    *reads.state.lock().unwrap() = Default::default();
    (*reads.alone.lock().unwrap(), *reads.awaited.lock().unwrap()) = (4, 2);
    assert_eq!(visit(&reader, &select(Vec::new())).len(), 200);
    let state = reads.state.lock().unwrap();
    assert!(state.1 >= 2 && state.2.len() == 200, "{} reads, {} at once", state.2.len(), state.1);
}

/// Takes note of the threads that ask it, and ends after so many lines.
struct Watching {
    threads: Mutex<std::collections::BTreeSet<String>>,
    lines_max: u64,
    lines: std::sync::atomic::AtomicU64,
}

impl Budget for Watching {
    fn check(&self) -> Result<(), ReadError> {
        self.threads.lock().unwrap().insert(std::thread::current().name().unwrap_or_default().to_owned());
        Ok(())
    }
    fn spend(&self, lines: u64) -> Result<(), ReadError> {
        let spent = lines + self.lines.fetch_add(lines, std::sync::atomic::Ordering::Relaxed);
        if spent <= self.lines_max {
            Ok(())
        } else {
            Err(ReadError::Budget { limit: self.lines_max, what: "lines", key: "query.records_max" })
        }
    }
}

#[test]
fn many_chunks_are_counted_by_several_threads() {
    let reads = Arc::new(Reads::default());
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 200, ..LogsOptions::default() });
    let reader = reader(interleaved(&engine, (4, 50), &reads), Vec::new());
    let by = CountBy::of(Buckets::new(3600 * SECOND, 0).unwrap());
    let counted = |lines_max, takes_max| {
        let budget = Watching { threads: Mutex::default(), lines_max, lines: 0.into() };
        let mut found: Vec<(Labels, u64)> = Vec::new();
        let result = reader.counts(&contains("common"), &by, &budget, &mut |count| {
            found.push((count.stream.clone(), count.lines));
            if found.len() < takes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        found.sort();
        (result.map(|_| found), budget.threads.into_inner().unwrap())
    };
    let (found, threads) = counted(u64::MAX, usize::MAX);
    let expected: Vec<(Labels, u64)> = (0..200).map(|i| (Labels::from_pairs([("pod", format!("p{i:04}"))]), 1)).collect();
    assert_eq!(found.unwrap(), expected);
    let is_shared = std::thread::available_parallelism().unwrap().get() > 1;
    assert_eq!(threads.iter().any(|name| name == "weir-count"), is_shared, "{threads:?}");
    assert_eq!(counted(u64::MAX, 1).0.unwrap().len(), 1, "nothing is given after a break");
    assert!(matches!(counted(100, usize::MAX).0, Err(ReadError::Budget { limit: 100, .. })));
}

#[test]
fn chunks_that_the_index_leaves_out_are_not_gone_through() {
    struct Checks(std::sync::atomic::AtomicU64);
    impl Budget for Checks {
        fn check(&self) -> Result<(), ReadError> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        }
        fn spend(&self, _: u64) -> Result<(), ReadError> {
            Ok(())
        }
    }
    let reads = Arc::new(Reads::default());
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 200, ..LogsOptions::default() });
    let reader = reader(interleaved(&engine, (4, 50), &reads), Vec::new());
    for (text, lines) in [("word77x", 1), ("nowhere", 0)] {
        // What indexes are asked for is in memory then.
        visit(&reader, &contains(text));
        let (checks, mut collect) = (Checks(0.into()), Collect::default());
        reader.visit(&contains(text), &checks, &mut collect).unwrap();
        let checks = checks.0.into_inner();
        assert!(collect.lines.len() == lines && checks < 40, "{text}: {checks} checks of 200 chunks");
    }
}

#[test]
fn chunks_that_are_not_there_are_passed_over_where_an_index_names_them() {
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: 200, ..LogsOptions::default() });
    let view = of_many_chunks(&engine, 3, &Arc::new(Reads::default())).remove(0);
    let plan = LogsPlan::new(&select(Vec::new()));
    let left = roaring::RoaringBitmap::from([1, 3, u32::MAX]);
    assert_eq!(view.block.select_of(&left, &plan).map(|(chunk, _)| chunk).collect::<Vec<_>>(), [1]);
}
