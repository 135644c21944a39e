//! Chunks of several streams in one pack: their bytes, what is read of them, and what damage costs.

use weir_model::label::Matcher;
use weir_model::usage::LogsDisk;

use super::*;

/// Three streams of ten lines each, of which every third has the word `word<i>x`.
fn streams(engine: &LogsEngine, tenants: [&'static str; 3]) -> Vec<BuiltBlock> {
    let head = engine.head();
    for offset in 0..10 {
        let of_pod = |(pod, tenant): (usize, &'static str)| {
            let body = format!("order {offset} of pod {pod} word{}x is done", (offset + pod as u64) % 3);
            let line = TestLine { severity: 9 + 4 * (pod as u8 % 2), ..TestLine::new(offset as i64 * SECOND, &body) };
            TestSection { tenant, stream: Labels::from_pairs([("pod", format!("p{pod}"))]), lines: vec![line] }
        };
        let sections: Vec<TestSection> = (0..).zip(tenants).map(of_pod).collect();
        insert(&head, offset, &sections);
    }
    head.build().unwrap()
}

fn counted(engine: &LogsEngine, built: &BuiltBlock) -> (LogsReader, Arc<LogsBlock>, Arc<Strict>) {
    // What is opened is known by its path.
    let path = format!("packs-{:08x}", crc32c::crc32c(&built.data.encode(Kind::Logs)));
    let blob = Arc::new(Strict(MemoryBlob::new(path, built.data.encode(Kind::Logs)), Mutex::default()));
    let block = Arc::new(engine.open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
    engine.verify(&block, &built.summary).unwrap();
    blob.1.lock().unwrap().clear();
    let view = BlockView { summary: built.summary.clone(), block: Arc::clone(&block), hidden: Default::default() };
    (reader(vec![view], Vec::new()), block, blob)
}

fn section<'a>(built: &'a BuiltBlock, name: &str) -> &'a [u8] {
    &built.data.sections.iter().find(|(own, _)| *own == name).unwrap().1
}

#[test]
fn golden_pack() {
    let built = streams(&engine(1 << 20), ["a"; 3]).remove(0);
    let found = ["chunks.2", "directory.2", "details.1", "places.1"].map(|name| hex::encode(section(&built, name)));
    assert_eq!(found.join("\n"), include_str!("../golden_pack.hex").trim());
}

#[test]
fn small_chunks_share_a_pack_which_is_read_once() {
    let engine = engine(1 << 20);
    let (reader, block, blob) = counted(&engine, &streams(&engine, ["a"; 3]).remove(0));
    assert_eq!((block.chunks(), (0..3).map(|chunk| block.pack_of(chunk)).collect::<Vec<_>>()), (3, vec![0; 3]));
    let lines = visit(&reader, &select(Vec::new()));
    assert_eq!((lines.len(), blob.1.lock().unwrap().len()), (30, 1));
    for pod in 0..3 {
        let one = LogSelect { matchers: vec![Matcher::equal("pod", format!("p{pod}"))], ..select(Vec::new()) };
        let found = visit(&reader, &one);
        assert_eq!(found, lines.iter().filter(|line| line.stream.get("pod") == format!("p{pod}")).cloned().collect::<Vec<_>>());
        assert_eq!(found.len(), 10);
    }
    // The disk report says what each takes of it.
    let mut disk = LogsDisk::default();
    block.add_disk(&mut disk, &NoBudget).unwrap();
    let shares: Vec<u64> = disk.streams.values().map(|own| own.bytes).collect();
    assert_eq!((shares.len(), shares.iter().sum::<u64>()), (3, disk.parts["chunks.2"]));
    assert!(shares.iter().all(|own| *own > 0));
}

#[test]
fn tenants_do_not_share_a_pack() {
    let engine = engine(1 << 20);
    let (_, block, _) = counted(&engine, &streams(&engine, ["a", "b", "b"]).remove(0));
    assert_eq!((0..3).map(|chunk| block.pack_of(chunk)).collect::<Vec<_>>(), [0, 1, 1]);
}

#[test]
fn large_chunks_are_alone_and_between_them_streams_share() {
    let engine = engine(2000);
    let head = engine.head();
    for (pod, lines) in [1, 1, 40, 1, 1, 40, 40, 1].into_iter().enumerate() {
        let lines = (0..lines).map(|i| TestLine::new(i, &format!("a line of some length {i}"))).collect();
        let stream = Labels::from_pairs([("pod", format!("p{pod}"))]);
        insert(&head, pod as u64, &[TestSection { tenant: "a", stream, lines }]);
    }
    let sealed = head.build().unwrap();
    let expected = vec![0, 0, 1, 2, 2, 3, 4, 5];
    let packs = |built: &BuiltBlock| {
        let (_, block, _) = counted(&engine, built);
        (0..block.chunks()).map(|chunk| block.pack_of(chunk)).collect::<Vec<_>>()
    };
    assert_eq!(packs(&sealed[0]), expected);
    let (_, block, _) = counted(&engine, &sealed[0]);
    let merged = engine.merge(&[block]).unwrap();
    assert_eq!(packs(&merged[0]), expected);
    assert_eq!(section(&merged[0], "chunks.2"), section(&sealed[0], "chunks.2"));
}

#[test]
fn a_damaged_pack_costs_the_lines_of_its_chunks_and_says_so_of_each() {
    let engine = engine(1 << 20);
    let built = streams(&engine, ["a"; 3]).remove(0);
    let mut bytes = built.data.encode(Kind::Logs);
    bytes[8 + 40] ^= 1;
    let block = Arc::new(engine.open(Arc::new(MemoryBlob::new("x", bytes))).unwrap());
    let view = BlockView { summary: built.summary, block: Arc::clone(&block), hidden: Default::default() };
    let mut collect = Collect::default();
    let coverage = reader(vec![view], Vec::new()).visit(&select(Vec::new()), &NoBudget, &mut collect).unwrap();
    assert_eq!(collect.lines.len(), 0);
    assert_eq!(coverage.missing.len(), 3);
    for (chunk, missing) in coverage.missing.iter().enumerate() {
        assert!(missing.starts_with(&format!("x is corrupt: chunk {chunk}: checksum ")), "{missing}");
    }
    assert!(engine.merge(&[block]).is_err());
}

#[test]
fn a_request_reads_a_pack_once_and_pays_it_once_whatever_is_kept() {
    #[derive(Default)]
    struct Read(Mutex<Vec<u64>>);
    impl Budget for Read {
        fn check(&self) -> Result<(), ReadError> {
            Ok(())
        }
        fn spend(&self, _: u64) -> Result<(), ReadError> {
            Ok(())
        }
        fn read(&self, bytes: u64) -> Result<(), ReadError> {
            self.0.lock().unwrap().push(bytes);
            Ok(())
        }
    }
    for chunk_cache_bytes in [0, 1 << 20] {
        let engine = LogsEngine::new(LogsOptions { chunk_bytes: 1 << 20, index_cache_bytes: 1 << 20, chunk_cache_bytes });
        let (reader, block, blob) = counted(&engine, &streams(&engine, ["a"; 3]).remove(0));
        let budget = Read::default();
        reader.visit(&select(Vec::new()), &budget, &mut Collect::default()).unwrap();
        assert_eq!((&*budget.0.lock().unwrap(), blob.1.lock().unwrap().len()), (&vec![block.pack_bytes(0)], 1));
        let named = [LineFilter::Contains(vec![b" word1x ".to_vec()])];
        let (reader, block, _) = counted(&engine, &streams(&engine, ["a"; 3]).remove(0));
        let budget = Read::default();
        let mut collect = Collect::default();
        reader.visit(&select(named.to_vec()), &budget, &mut collect).unwrap();
        assert_eq!((collect.lines.len(), &*budget.0.lock().unwrap()), (10, &vec![block.pack_bytes(0)]));
    }
}

#[test]
fn what_turns_out_large_leaves_the_pack_of_small_ones() {
    let engine = engine(2000);
    let (small, large) = (engine.head(), engine.head());
    let stream = |pod: u64| Labels::from_pairs([("pod", format!("p{pod}"))]);
    for pod in 0..4 {
        let attributes =
            |i: i64| if pod == 2 { Labels::from_pairs([("id", format!("{i}{}", "x".repeat(300)))]) } else { Labels::EMPTY };
        let line = |i: i64| TestLine { attributes: attributes(i), ..TestLine::new(i, "a line") };
        insert(&small, pod, &[TestSection { tenant: "a", stream: stream(pod), lines: vec![line(0)] }]);
        insert(&large, pod + 9, &[TestSection { tenant: "a", stream: stream(pod), lines: (1..8).map(line).collect() }]);
    }
    let blocks: Vec<_> = [small, large].iter().map(|head| counted(&engine, &head.build().unwrap()[0]).1).collect();
    let (reader, merged, _) = counted(&engine, &engine.merge(&blocks).unwrap()[0]);
    let found = (0..merged.chunks()).map(|chunk| (merged.stream(chunk).labels.get("pod").to_owned(), merged.pack_of(chunk)));
    let expected = [("p0", 0), ("p1", 0), ("p2", 0), ("p2", 1), ("p3", 2)].map(|(pod, pack)| (pod.to_owned(), pack));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(visit(&reader, &select(Vec::new())).len(), 32);
}

/// Blocks of earlier builds: a directory that knows no packs.
#[test]
fn directories_of_version_1_are_read_and_merged() {
    let engine = engine(1 << 20);
    let single = engine_of_single_chunks();
    let mut built = streams(&single, ["a"; 3]).remove(0);
    let lines = visit(&counted(&engine, &built).0, &select(Vec::new()));
    built.data.sections.iter_mut().filter(|(name, _)| *name == "directory.2").for_each(|(name, _)| *name = "directory.1");
    let (old, block, _) = counted(&engine, &built);
    assert_eq!((block.chunks(), block.pack_of(2)), (3, 2));
    assert_eq!(visit(&old, &select(Vec::new())), lines);
    let merged = engine.merge(&[block]).unwrap();
    let (new, block, _) = counted(&engine, &merged[0]);
    assert_eq!((block.chunks(), block.pack_of(2)), (3, 0));
    assert_eq!(visit(&new, &select(Vec::new())), lines);
    assert_eq!(section(&merged[0], "chunks.2"), section(&streams(&engine, ["a"; 3])[0], "chunks.2"));
}

/// Of which no two chunks share a pack.
fn engine_of_single_chunks() -> LogsEngine {
    engine(500)
}
