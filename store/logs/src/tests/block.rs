//! A block's bytes, and what becomes of them when they are damaged.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::predicate::TokenPredicate;
use super::*;
use weir_blocks::block::BlockData;

fn golden() -> BuiltBlock {
    let head = engine(1 << 20).head();
    let attributes = Labels::from_pairs([("user", "7")]);
    let mut lines = vec![TestLine::new(SECOND, "one"), TestLine::new(12 * SECOND, "two lines"), TestLine::new(2 * SECOND, "")];
    lines[1] = TestLine { severity: 17, trace: 1, sequence: 14, attributes, ..lines[1].clone() };
    insert(&head, 300, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    head.build().unwrap().remove(0)
}

#[test]
fn golden_bytes() {
    let block = golden();
    let hex = |name: &str| {
        let bytes = &block.data.sections.iter().find(|(own, _)| *own == name).unwrap().1;
        hex::encode(bytes)
    };
    let golden: Vec<&str> = include_str!("../golden.hex").lines().collect();
    assert_eq!([hex("chunks.2"), hex("streams.1"), hex("directory.2")].join("\n"), golden.join("\n"));
    let golden: Vec<&str> = include_str!("../golden_id_pages.hex").lines().collect();
    assert_eq!([hex("ids.2"), hex("id_pages.1"), hex("pairs.2"), hex("pair_pages.1")].join("\n"), golden.join("\n"));
    let golden: Vec<&str> = include_str!("../golden_places.hex").lines().collect();
    assert_eq!([hex("places.1"), hex("place_pages.1")].join("\n"), golden.join("\n"));
    assert_eq!(hex("details.1"), include_str!("../golden_details.hex").trim());
    assert_eq!(
        (block.summary.records, block.summary.raw_bytes, block.summary.first, block.summary.last),
        (3, 12, SECOND, 12 * SECOND)
    );
}

/// Blocks of earlier builds have ids and pairs in one piece each: the same lines by the index, and a merge puts them into pages.
#[test]
fn ids_and_pairs_of_version_1_are_read_and_merged() {
    let built = golden();
    let mut data = built.data.clone();
    data.sections.retain(|(name, _)| !["ids.2", "id_pages.1", "pairs.2", "pair_pages.1"].contains(name));
    let former = include_str!("../golden_ids.hex").lines().map(|line| hex::decode(line).unwrap());
    data.sections.extend(["ids.1", "pairs.1"].into_iter().zip(former));
    let engine = engine(1 << 20);
    let block = Arc::new(engine.open(Arc::new(MemoryBlob::new("x", data.encode(Kind::Logs)))).unwrap());
    engine.verify(&block, &built.summary).unwrap();
    let chunks = |mention: Mention| block.candidates(&TokenPredicate::of_mention(&mention)).unwrap().unwrap().len();
    assert_eq!(chunks(Mention::Value("user".into(), "7".into())), 1);
    assert_eq!(chunks(Mention::Value("user".into(), "8".into())), 0);
    assert_eq!(chunks(Mention::Value("trace_id".into(), TraceId([1; 16]).to_string())), 1);
    assert_eq!(chunks(Mention::Value("trace_id".into(), TraceId([2; 16]).to_string())), 0);
    let merged = engine.merge(&[Arc::clone(&block)]).unwrap();
    // But for tantivy's, which draws names of files.
    let sections =
        |data: &BlockData| data.sections.clone().into_iter().filter(|(name, _)| *name != "index.2").collect::<Vec<_>>();
    assert_eq!(sections(&merged[0].data), sections(&built.data));
}

/// Blocks of earlier builds: the same lines.
#[test]
fn chunks_of_version_1_are_read_and_merged() {
    let engine = engine(1 << 20);
    let built = golden();
    let mut data = built.data.clone();
    let chunk = hex::decode(include_str!("../golden_chunk_1.hex").trim()).unwrap();
    let directory = include_str!("../golden_directory_1.hex");
    data.sections.retain(|(name, _)| !["chunks.2", "directory.2"].contains(name));
    data.sections.extend([("chunks.1", chunk), ("directory.1", hex::decode(directory.trim()).unwrap())]);
    let open = |data: &BlockData| Arc::new(engine.open(Arc::new(MemoryBlob::new("x", data.encode(Kind::Logs)))).unwrap());
    let (old, new) = (open(&data), open(&built.data));
    engine.verify(&old, &built.summary).unwrap();
    let lines = |block: Arc<LogsBlock>| {
        visit(
            &reader(vec![BlockView { summary: built.summary.clone(), block, hidden: Default::default() }], Vec::new()),
            &select(Vec::new()),
        )
    };
    assert_eq!(lines(Arc::clone(&old)), lines(new));
    let merged = engine.merge(&[old]).unwrap();
    assert_eq!(merged[0].data.sections[0], built.data.sections[0]);
}

#[test]
fn a_damaged_chunk_is_named_and_the_others_answer() {
    let engine = engine(100);
    let built = ten_chunks(&engine);
    let mut bytes = built[0].data.encode(Kind::Logs);
    bytes[8 + 40] ^= 1;
    let blob = MemoryBlob::new("logs/00005/blocks/x", bytes);
    let block = Arc::new(engine.open(Arc::new(blob)).unwrap());
    let reader = reader(
        vec![BlockView { summary: built[0].summary.clone(), block: Arc::clone(&block), hidden: Default::default() }],
        Vec::new(),
    );
    let mut collect = Collect::default();
    let coverage = reader.visit(&select(Vec::new()), &NoBudget, &mut collect).unwrap();
    assert_eq!(collect.lines.len(), 9);
    assert_eq!(coverage.missing.len(), 1);
    let expected = "logs/00005/blocks/x is corrupt: chunk 0: checksum ";
    assert!(coverage.missing[0].starts_with(expected), "{}", coverage.missing[0]);
    assert!(engine.merge(&[block]).is_err());
}

/// And its index knows their words, though none of their bodies was rendered.
#[test]
fn a_merge_copies_chunks_that_are_large_enough() {
    let engine = engine(100);
    let blocks = open_built(&engine, "sealed", ten_chunks(&engine));
    let merged = engine.merge(&[Arc::clone(&blocks[0].block)]).unwrap();
    let chunks = |built: &BuiltBlock| built.data.sections.iter().find(|(name, _)| *name == "chunks.2").unwrap().1.clone();
    assert_eq!(chunks(&merged[0]), chunks(&ten_chunks(&engine)[0]));
    // With room for two in a chunk they are made anew.
    let joined = LogsEngine::new(LogsOptions { chunk_bytes: 400, index_cache_bytes: 1 << 20, chunk_cache_bytes: 1 << 20 });
    let together = joined.merge(&[Arc::clone(&blocks[0].block)]).unwrap();
    assert!(open_built(&joined, "joined", together)[0].block.chunks() < 10);
    let (reader, budget) = (reader(open_built(&engine, "merged", merged), Vec::new()), Spent::default());
    let select = select(vec![LineFilter::Contains(vec![b"word3x ".to_vec()])]);
    let mut collect = Collect::default();
    reader.visit(&select, &budget, &mut collect).unwrap();
    assert_eq!((collect.lines.len(), *budget.0.lock().unwrap()), (1, 1));
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
            let view = BlockView { summary: built[0].summary.clone(), block: Arc::new(block), hidden: Default::default() };
            let reader = reader(vec![view], Vec::new());
            let filter = LineFilter::Contains(vec![b"word3x ".to_vec()]);
            let _ = reader.visit(&select(vec![filter]), &NoBudget, &mut Collect::default());
        }
    }
}

/// What an index says that cannot be read is not believed, and costs no line.
#[test]
fn a_damaged_index_costs_no_line() {
    let engine = engine(100);
    let built = ten_chunks(&engine);
    let needle = select(vec![LineFilter::Contains(vec![b"ord3x".to_vec()])]);
    for (i, (name, _)) in built[0].data.sections.iter().enumerate().filter(|(_, (name, _))| {
        ["index.2", "ids.2", "id_pages.1", "pairs.2", "pair_pages.1", "grams.1", "long_grams.1"].contains(name)
    }) {
        for bytes in [Vec::new(), vec![0xff; 40], vec![0]] {
            let mut bad = built[0].data.clone();
            bad.sections[i].1 = bytes.clone();
            let block =
                engine.open(Arc::new(MemoryBlob::new(format!("{name} {}", bytes.len()), bad.encode(Kind::Logs)))).unwrap();
            let view = BlockView { summary: built[0].summary.clone(), block: Arc::new(block), hidden: Default::default() };
            assert!(
                bytes == built[0].data.sections[i].1 || engine.verify(&view.block, &view.summary).is_err(),
                "{name} of {bytes:?}"
            );
            assert_eq!(visit(&reader(vec![view], Vec::new()), &needle).len(), 1, "{name} of {bytes:?}");
        }
    }
}

/// Thousands of streams have small chunks, and a read is a request to the object store.
#[test]
fn a_merge_and_a_check_read_many_chunks_at_once() {
    let engine = engine(1000);
    let built = |first: u64| {
        let head = engine.head();
        for i in 0..500 {
            let line = TestLine::new(i as i64, &format!("line {i} of {first}"));
            let stream = Labels::from_pairs([("pod", &*format!("p{i:03}"))]);
            insert(&head, first + i, &[TestSection { tenant: "a", stream, lines: vec![line] }]);
        }
        head.build().unwrap().remove(0)
    };
    let opened = |built: &BuiltBlock| {
        let blob = Arc::new(Strict(MemoryBlob::new("small", built.data.encode(Kind::Logs)), Mutex::default()));
        let block = Arc::new(engine.open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
        blob.1.lock().unwrap().clear();
        (blob, block)
    };
    let reads = |blob: &Strict| std::mem::take(&mut *blob.1.lock().unwrap()).len();
    let (one, other) = (built(0), built(1000));
    let ((one_blob, one_block), (other_blob, other_block)) = (opened(&one), opened(&other));
    assert_eq!(one_block.chunks(), 500);
    engine.verify(&one_block, &one.summary).unwrap();
    let checked = reads(&one_blob);
    assert!(checked < 20, "{checked} reads");
    let merged = engine.merge(&[one_block, other_block]).unwrap();
    assert_eq!((reads(&one_blob), reads(&other_blob)), (1, 1));
    let (_, merged_block) = opened(&merged[0]);
    engine.verify(&merged_block, &merged[0].summary).unwrap();
    assert_eq!((merged_block.chunks(), merged[0].summary.records), (500, 1000));
}

/// Answers all reads but one.
struct FailsOnce {
    blob: MemoryBlob,
    reads: AtomicU64,
    fails_at: u64,
}

impl Blob for FailsOnce {
    fn path(&self) -> &str {
        self.blob.path()
    }
    fn len(&self) -> u64 {
        self.blob.len()
    }
    fn read(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        if self.reads.fetch_add(1, Ordering::Relaxed) == self.fails_at {
            Err(StoreError::Unavailable)
        } else {
            self.blob.read(range)
        }
    }
}

/// A store that fails for a moment does not make a block corrupt, whichever of its sections was asked for.
#[test]
fn a_failed_read_is_not_taken_for_damage() {
    let engine = engine(100);
    let built = ten_chunks(&engine);
    for fails_at in 0.. {
        let blob = MemoryBlob::new("logs/00005/blocks/x", built[0].data.encode(Kind::Logs));
        let blob = Arc::new(FailsOnce { blob, reads: AtomicU64::new(0), fails_at });
        let opened = engine.open(Arc::clone(&blob) as Arc<dyn Blob>);
        if blob.reads.load(Ordering::Relaxed) <= fails_at {
            let error = engine.verify(&opened.unwrap(), &built[0].summary).unwrap_err();
            assert!(matches!(error, StoreError::Unavailable), "{error:?}");
            return;
        }
        let error = opened.err();
        assert!(matches!(error, Some(StoreError::Unavailable)), "read {fails_at}: {error:?}");
    }
}

/// A block of before has one dictionary of all tokens as they were written, those of metadata among them.
#[test]
fn blocks_with_the_former_index_are_read() {
    let engine = engine(100);
    let head = engine.head();
    let mut index = super::super::index::FormerBuilder::new().unwrap();
    for i in 0..10_u8 {
        let body = format!("Word{i}x 59c0d717dd0{i} {}", "filler ".repeat(20));
        let line =
            TestLine { attributes: Labels::from_pairs([("user", format!("User{i}"))]), ..TestLine::new(i64::from(i), &body) };
        insert(
            &head,
            u64::from(i),
            &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines: vec![line] }],
        );
        [format!("Word{i}x"), format!("59c0d717dd0{i}"), "filler".into(), format!("User{i}")]
            .iter()
            .for_each(|token| index.push(token.as_bytes()));
        index.end_chunk().unwrap();
    }
    let mut built = head.build().unwrap();
    let sections = &mut built[0].data.sections;
    sections.retain(|(name, _)| {
        !["index.2", "ids.2", "id_pages.1", "pairs.2", "pair_pages.1", "grams.1", "long_grams.1"].contains(name)
    });
    sections
        .push(("index.1", weir_blocks::testing::bytes_of(&index.finish(weir_blocks::scratch::ScratchSpace::default()).unwrap())));
    let views = open_built(&engine, "former", built);
    engine.verify(&views[0].block, &views[0].summary).unwrap();
    let reader = reader(views, Vec::new());
    let opened = |filters: Vec<LineFilter>, mention: Option<Mention>| {
        let budget = Spent::default();
        let mut collect = Collect { mention, ..Collect::default() };
        reader.visit(&select(filters), &budget, &mut collect).unwrap();
        budget.0.into_inner().unwrap()
    };
    let contains = |text: &str| vec![LineFilter::Contains(vec![text.into()])];
    let matches = |pattern: &str| vec![LineFilter::Matches(regex::bytes::Regex::new(pattern).unwrap())];
    assert_eq!(opened(contains(" 59c0d717dd03 "), None), 1);
    assert_eq!(opened(contains("717dd04"), None), 1);
    assert_eq!(opened(contains("word4x"), None), 0, "as it was written");
    assert_eq!(opened(contains("Word4x "), None), 1);
    assert_eq!(opened(matches("(?i)WORD4X"), None), 1);
    assert_eq!(opened(matches("Word[45]x"), None), 2);
    assert_eq!(opened(Vec::new(), Some(Mention::Value("user".into(), "User5".into()))), 1);
}
