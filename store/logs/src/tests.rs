//! The whole engine, and what its tests share: lines, sections, views, and a visitor that keeps what it is given.
//!
//! - [`list`]: every shape answers as a plain list does.
//! - [`skipping`]: which chunks stay closed.
//! - [`ids`]: how often a question for ids reads.
//! - [`lookahead`]: indexes are read at once.
//! - [`block`]: its bytes, and damage to them.
//! - [`packs`]: chunks of several streams that are stored as one.
//! - [`count`]: counts are those of the lines, and which chunks are opened for them.
//! - [`hidden`]: what is deleted or past its retention is as if it were not there.
//! - [`head`]: lines that are not sealed, and their tail.
//! - [`line`]: one line by its id.

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use weir_model::id::{LineId, SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::scope::Scope;
use weir_model::select::{
    Budget, LineFilter, LogReader, LogSelect, LogVisitor, Mention, NoBudget, OwnedLine, PartitionCoverage, ReadError,
};
use weir_model::time::{SECOND, TimeRange, UnixNanos};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::*;
use weir_blocks::StoreError;
use weir_blocks::blob::MemoryBlob;
use weir_blocks::block::Blob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_blocks::hidden::Horizon;
use weir_blocks::view::{BlockView, PartitionView, TailSection, Tails, Views};

mod block;
mod bounded;
mod count;
mod head;
mod hidden;
mod ids;
mod line;
mod list;
mod lookahead;
mod packs;
mod skipping;

const PARTITION: u32 = 5;

fn engine(chunk_bytes: usize) -> LogsEngine {
    LogsEngine::new(LogsOptions { chunk_bytes, index_cache_bytes: 1 << 20, chunk_cache_bytes: 1 << 20 })
}

#[derive(Default)]
struct FixedViews {
    blocks: Vec<BlockView<LogsEngine>>,
    heads: Vec<Arc<LogsHead>>,
    horizon: Option<Horizon>,
}

impl Views<LogsEngine> for FixedViews {
    fn views(&self) -> Vec<PartitionView<LogsEngine>> {
        let coverage = PartitionCoverage { topic: "weir.logs".into(), partition: PARTITION, ..PartitionCoverage::default() };
        vec![PartitionView { coverage, blocks: self.blocks.clone(), heads: self.heads.clone(), missing: Vec::new() }]
    }

    fn horizon(&self) -> Option<Horizon> {
        self.horizon.clone()
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
    LogsReader { views: Arc::new(FixedViews { blocks, heads, horizon: None }), tails: Arc::new(FixedTails(Mutex::default())) }
}

fn open_built(engine: &LogsEngine, path: &str, built: Vec<BuiltBlock>) -> Vec<BlockView<LogsEngine>> {
    let open = |block: BuiltBlock| {
        let blob = MemoryBlob::new(path, block.data.encode(Kind::Logs));
        BlockView { summary: block.summary, block: Arc::new(engine.open(Arc::new(blob)).unwrap()), hidden: Default::default() }
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

/// Ten chunks of one stream, an hour apart; chunk `i` has the word `word{i}x`.
fn ten_chunks(engine: &LogsEngine) -> Vec<BuiltBlock> {
    let head = engine.head();
    for i in 0..10 {
        let lines = vec![TestLine::new(i * 3600 * SECOND, &format!("word{i}x {}", "filler ".repeat(20)))];
        insert(&head, i as u64, &[TestSection { tenant: "a", stream: Labels::from_pairs([("pod", "p")]), lines }]);
    }
    head.build().unwrap()
}

/// Counts the lines of chunks that are read.
#[derive(Default)]
struct Spent(Mutex<u64>);

impl Budget for Spent {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
    fn spend(&self, count: u64) -> Result<(), ReadError> {
        *self.0.lock().unwrap() += count;
        Ok(())
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
