//! One line by its permanent link: what is opened for it.

use super::*;

const STREAMS: u64 = 1000;
const RECORDS: u64 = 6;

/// Records that hold a line of each stream: every stream's lines lie between those of all others, two in a chunk.
fn records(streams: u64) -> Vec<Vec<TestSection>> {
    let section = |record: u64, stream: u64| TestSection {
        tenant: "a",
        stream: Labels::from_pairs([("pod", format!("p{stream:04}"))]),
        lines: vec![TestLine::new(
            (record * streams + stream) as i64,
            &format!("record {record} stream {stream} {}", "x".repeat(40)),
        )],
    };
    (0..RECORDS).map(|record| (0..streams).map(|stream| section(record, stream)).collect()).collect()
}

fn head(streams: u64) -> LogsHead {
    let head = engine(120).head();
    (0..).zip(records(streams)).for_each(|(offset, record)| insert(&head, offset, &record));
    head
}

/// A block with a record of what is read of it, and the end of its chunks.
fn open_counting(built: &BuiltBlock, path: &str) -> (LogsReader, Arc<Strict>, u64) {
    let chunks = built.data.sections[0].1.len() as u64 + 8;
    let blob = Arc::new(Strict(MemoryBlob::new(path, built.data.encode(Kind::Logs)), Mutex::default()));
    let block = Arc::new(engine(120).open(Arc::clone(&blob) as Arc<dyn Blob>).unwrap());
    let reader = reader(vec![BlockView { summary: built.summary.clone(), block, hidden: Default::default() }], Vec::new());
    (reader, blob, chunks)
}

/// The line's stream has one line a record.
fn check_found(found: &[OwnedLine], id: LineId, context: u64) {
    let ids: Vec<(u64, u32)> = found.iter().map(|line| (line.id.offset, line.id.ordinal)).collect();
    let offsets = id.offset.saturating_sub(context)..=(id.offset + context).min(RECORDS - 1);
    assert_eq!(ids, offsets.map(|offset| (offset, id.ordinal)).collect::<Vec<_>>());
    let body = |line: &OwnedLine| {
        String::from_utf8_lossy(&line.body).starts_with(&format!("record {} stream {} ", line.id.offset, id.ordinal))
    };
    assert!(found.iter().all(body));
}

fn ids(step: usize) -> impl Iterator<Item = LineId> {
    let all =
        (0..RECORDS).flat_map(|offset| (0..STREAMS as u32).map(move |ordinal| LineId { partition: PARTITION, offset, ordinal }));
    all.step_by(step)
}

#[test]
fn of_a_thousand_streams_a_link_opens_three_chunks() {
    let built = head(STREAMS).build().unwrap().remove(0);
    let (reader, blob, chunks) = open_counting(&built, "many");
    let size = blob.len();
    for id in ids(101) {
        for context in [0, 1] {
            blob.1.lock().unwrap().clear();
            let budget = Spent::default();
            check_found(&reader.line(&Scope::of("a"), id, context, &budget).unwrap().value, id, context as u64);
            let reads = std::mem::take(&mut *blob.1.lock().unwrap());
            let opened = reads.iter().filter(|range| range.start < chunks).count();
            let bytes: u64 = reads.iter().map(|range| range.end - range.start).sum();
            assert!(opened <= 1 + 2 * context, "{id}: {opened} chunks with {context} neighbours");
            assert!(bytes < size / 50, "{id}: {bytes} bytes of {size}");
            assert!(budget.0.into_inner().unwrap() <= 6, "lines of at most three chunks");
        }
    }
    blob.1.lock().unwrap().clear();
    let nowhere = LineId { partition: PARTITION, offset: 3, ordinal: STREAMS as u32 };
    assert_eq!(reader.line(&Scope::of("a"), nowhere, 1, &NoBudget).unwrap().value, Vec::new());
    assert_eq!(reader.line(&Scope::of("b"), ids(1).next().unwrap(), 1, &NoBudget).unwrap().value, Vec::new());
    assert!(blob.1.lock().unwrap().len() <= 5, "no line, no search");
}

/// Stops after so many lines.
struct Lines(Mutex<u64>);

impl Budget for Lines {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
    fn spend(&self, count: u64) -> Result<(), ReadError> {
        let mut left = self.0.lock().unwrap();
        *left = left.checked_sub(count).ok_or(ReadError::Budget { limit: 0, what: "lines", key: "query.records_max" })?;
        Ok(())
    }
}

#[test]
fn a_block_of_before_is_searched_within_a_budget() {
    let mut built = head(STREAMS).build().unwrap().remove(0);
    built.data.sections.retain(|(name, _)| !["places.1", "place_pages.1"].contains(name));
    let (reader, _, _) = open_counting(&built, "before");
    for id in ids(2999) {
        check_found(&reader.line(&Scope::of("a"), id, 1, &NoBudget).unwrap().value, id, 1);
    }
    // Opened anew, so that no chunk is known.
    let (reader, blob, chunks) = open_counting(&built, "before");
    blob.1.lock().unwrap().clear();
    let last = LineId { partition: PARTITION, offset: 2, ordinal: STREAMS as u32 - 1 };
    let stopped = reader.line(&Scope::of("a"), last, 1, &Lines(Mutex::new(40)));
    assert!(matches!(stopped, Err(ReadError::Budget { .. })));
    assert_eq!(blob.1.lock().unwrap().iter().filter(|range| range.start < chunks).count(), 20, "two lines a chunk");
}

#[test]
fn places_that_cannot_be_read_cost_no_line() {
    for section in ["places.1", "place_pages.1"] {
        let mut built = head(20).build().unwrap().remove(0);
        let bytes = &mut built.data.sections.iter_mut().find(|(name, _)| *name == section).unwrap().1;
        let last = bytes.len() - 1;
        bytes[last] ^= 0x81;
        let (reader, _, _) = open_counting(&built, section);
        for ordinal in 0..20 {
            let id = LineId { partition: PARTITION, offset: 3, ordinal };
            let found = reader.line(&Scope::of("a"), id, 2, &NoBudget).unwrap();
            check_found(&found.value, id, 2);
            assert_eq!(found.coverage.missing, Vec::<String>::new());
        }
        let engine = engine(120);
        let block = engine.open(Arc::new(MemoryBlob::new("bad", built.data.encode(Kind::Logs)))).unwrap();
        let error = engine.verify(&block, &built.summary).unwrap_err().to_string();
        assert!(error.starts_with("bad is corrupt: section place"), "{error}");
    }
}

#[test]
fn of_a_head_one_chunk_is_opened() {
    let reader = reader(Vec::new(), vec![Arc::new(head(STREAMS))]);
    for id in ids(499) {
        let budget = Spent::default();
        check_found(&reader.line(&Scope::of("a"), id, 0, &budget).unwrap().value, id, 0);
        assert_eq!(budget.0.into_inner().unwrap(), 2, "lines of the chunk");
    }
}
