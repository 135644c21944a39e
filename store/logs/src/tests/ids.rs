//! How often a question for ids reads, and that reading more at once finds the same.

use super::super::index::{Known, THREADS_MAX};
use super::super::predicate::TokenPredicate;
use super::*;

const IDS: u64 = 41_000;
const LINE_IDS: u64 = 100;

fn id(number: u64) -> String {
    format!("{:012x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16)
}

/// Twenty pages of ids, a hundred in each line, and some of the lines in each chunk.
fn many_pages(options: LogsOptions) -> (LogsEngine, LogsReader, Arc<LogsBlock>, Arc<Strict>, BuiltBlock) {
    let engine = LogsEngine::new(options);
    let head = engine.head();
    for line in 0..IDS / LINE_IDS {
        let ids: Vec<String> = (line * LINE_IDS..(line + 1) * LINE_IDS).map(id).collect();
        let lines = vec![TestLine::new(line as i64 * SECOND, &ids.join(" "))];
        insert(&head, line, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    }
    let built = head.build().unwrap().remove(0);
    let blob = Arc::new(Strict(MemoryBlob::new("ids", built.data.encode(Kind::Logs)), Mutex::default()));
    let block = Arc::new(engine.open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
    let view = BlockView { summary: built.summary.clone(), block: Arc::clone(&block), hidden: Default::default() };
    blob.1.lock().unwrap().clear();
    (engine, reader(vec![view], Vec::new()), block, blob, built)
}

fn options(index_cache_bytes: u64) -> LogsOptions {
    LogsOptions { chunk_bytes: 16 << 10, index_cache_bytes, chunk_cache_bytes: 1 << 20 }
}

fn reads(blob: &Strict) -> usize {
    std::mem::take(&mut *blob.1.lock().unwrap()).len()
}

fn contains(text: &str) -> Vec<LineFilter> {
    vec![LineFilter::Contains(vec![text.into()])]
}

#[test]
fn a_part_that_many_pages_have_is_read_in_few_pieces() {
    let whole = id(777);
    for (needle, cold_max, warm_max) in [("4f4", 3, 1), ("4f4f", 7, 4), ("0a1b", 7, 4), (&whole[1..10], 3, 0), (&whole[..], 1, 0)]
    {
        let (_, reader, block, blob, _) = many_pages(options(8 << 20));
        let predicate = TokenPredicate::of(&contains(needle));
        let found = block.candidates(&predicate).unwrap().expect("the index tells");
        let cold = reads(&blob);
        assert!(cold <= cold_max, "{needle}: {cold} reads");
        assert_eq!(block.candidates(&predicate).unwrap().unwrap(), found);
        let warm = reads(&blob);
        assert!(warm <= warm_max, "{needle}: {warm} reads of what is in memory");
        let lines = (0..IDS / LINE_IDS)
            .filter(|line| (line * LINE_IDS..(line + 1) * LINE_IDS).any(|number| id(number).contains(needle)))
            .count();
        assert!(lines > 0, "{needle}");
        assert_eq!(visit(&reader, &select(contains(needle))).len(), lines, "{needle}");
    }
}

#[test]
fn tables_of_many_lengths_are_read_together() {
    let engine = LogsEngine::new(options(8 << 20));
    let head = engine.head();
    // Ids of every length, with letters that are no digits: a table of each.
    let token = |line: u64, length: usize| format!("z{}", id(line).repeat(6))[..length].to_owned();
    for line in 0..200 {
        let ids: Vec<String> = (8..60).map(|length| token(line * 100 + length as u64, length)).collect();
        let lines = vec![TestLine::new(line as i64 * SECOND, &ids.join(" "))];
        insert(&head, line, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    }
    let built = head.build().unwrap().remove(0);
    let blob = Arc::new(Strict(MemoryBlob::new("ids", built.data.encode(Kind::Logs)), Mutex::default()));
    let block = Arc::new(engine.open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
    reads(&blob);
    // A part of many lengths, one of digits alone, and one that is nowhere though its triples are.
    for part in [token(1700 + 30, 12), id(1730)[1..9].to_owned(), id(1730)[2..7].repeat(2)] {
        let found = block.candidates(&TokenPredicate::of(&contains(&part))).unwrap().expect("the index tells");
        let cold = reads(&blob);
        assert!(cold <= 3, "{part}: {cold} reads");
        let expected: Vec<u64> =
            (0..200).filter(|line| (8..60).any(|length| token(line * 100 + length as u64, length).contains(&part))).collect();
        assert!(found.is_empty() == expected.is_empty(), "{part}: {found:?}, lines {expected:?}");
        let select = select(contains(&part));
        let view = BlockView { summary: built.summary.clone(), block: Arc::clone(&block), hidden: Default::default() };
        assert_eq!(visit(&reader(vec![view], Vec::new()), &select).len(), expected.len(), "{part}");
        reads(&blob);
    }
}

#[test]
fn of_digits_that_only_ids_have_no_word_is_read() {
    let (_, _, block, blob, _) = many_pages(options(8 << 20));
    let part = &id(777)[1..9];
    assert!(part.bytes().filter(u8::is_ascii_digit).count() >= 3, "{part}");
    block.candidates(&TokenPredicate::of(&contains(part))).unwrap();
    // All pages; their list came with the block.
    assert_eq!(reads(&blob), 1);
}

#[test]
fn verifying_reads_a_table_in_one_piece_and_keeps_nothing() {
    let (engine, _, block, blob, built) = many_pages(options(8 << 20));
    engine.verify(&block, &built.summary).unwrap();
    let verified = reads(&blob);
    // Places and the index: five sections and some of their tables.
    assert!(verified <= block.chunks() as usize + 12, "{verified} reads, {} chunks", block.chunks());
    block.candidates(&TokenPredicate::of(&contains(&id(777)))).unwrap();
    assert_eq!(reads(&blob), 1, "the page is not in the cache");
}

#[test]
fn what_a_request_knows_is_not_asked_again() {
    let (_, _, block, blob, _) = many_pages(options(0));
    let predicate = TokenPredicate::of(&contains(&id(777)));
    let mut known = Known::default();
    let index = block.index(&NoBudget);
    let found = index.candidates(&predicate, &mut known).unwrap();
    assert!(reads(&blob) > 0);
    assert_eq!(index.candidates(&predicate, &mut known).unwrap(), found);
    assert_eq!(reads(&blob), 0);
}

#[test]
fn nothing_is_read_ahead_that_no_cache_keeps() {
    let asked = |chunk_cache_bytes| {
        let (_, reader, _, blob, _) = many_pages(LogsOptions { chunk_cache_bytes, ..options(8 << 20) });
        assert_eq!(visit(&reader, &select(contains(&id(777)))).len(), 1);
        reads(&blob)
    };
    assert_eq!(asked(0), asked(8 << 20));
}

/// Counts bytes, and ends after so many checks.
struct Bytes {
    read: Mutex<u64>,
    checks: Mutex<u64>,
}

impl Bytes {
    fn ending_after(checks: u64) -> Self {
        Self { read: Mutex::new(0), checks: Mutex::new(checks) }
    }
}

impl Budget for Bytes {
    fn check(&self) -> Result<(), ReadError> {
        let mut left = self.checks.lock().unwrap();
        *left = left.checked_sub(1).ok_or(ReadError::Cancelled("ended"))?;
        Ok(())
    }
    fn spend(&self, _: u64) -> Result<(), ReadError> {
        Ok(())
    }
    fn read(&self, bytes: u64) -> Result<(), ReadError> {
        *self.read.lock().unwrap() += bytes;
        Ok(())
    }
}

#[test]
fn chunks_that_are_read_ahead_are_paid_once() {
    let (_, reader, block, _, _) = many_pages(options(8 << 20));
    let filters = contains(&id(777));
    let chunks = block.candidates(&TokenPredicate::of(&filters)).unwrap().unwrap();
    let expected: u64 = chunks.iter().map(|chunk| block.pack_bytes(chunk)).sum();
    let budget = Bytes::ending_after(u64::MAX);
    reader.visit(&select(filters), &budget, &mut Collect::default()).unwrap();
    assert_eq!(*budget.read.lock().unwrap(), expected);
}

#[test]
fn a_request_that_ends_reads_no_more_of_an_index() {
    let (_, reader, _, blob, _) = many_pages(options(0));
    let mut ended = 0;
    for checks in 0..40 {
        let outcome = reader.visit(&select(contains("4f4")), &Bytes::ending_after(checks), &mut Collect::default());
        let read = reads(&blob);
        if outcome.is_err() {
            assert!(read as u64 <= checks, "{read} reads with {checks} checks");
            ended += 1;
        }
    }
    assert!(ended > 5, "{ended}");
}

#[test]
fn without_a_free_thread_blocks_are_read_in_place() {
    let (_, reader, block, _, _) = many_pages(options(8 << 20));
    let taken: Vec<_> = std::iter::from_fn(|| block.turns().thread()).collect();
    assert_eq!(taken.len(), THREADS_MAX);
    assert_eq!(visit(&reader, &select(contains(&id(777)))).len(), 1);
}
