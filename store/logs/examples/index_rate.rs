//! Measures the index of logs on real lines: `index_rate FILE.csv.zst [COPIES]`, Nezha's `logs.csv`, each copy with pods, traces and
//! spans of its own. Each line has its trace and span as context and its pod's id as metadata, as Loki's clients send them. Seals
//! a block a copy and merges them, looks for lines, counts words (with the bytes of their lines and without, in turn) and reads the
//! latest lines of a pod. One thread; all times are of its CPU.
//! Not a test: the suite's benches hold the limits, this is for looking closer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_blocks::view::{BlockView, PartitionView, TailSection, Tails, Views};
use weir_logs::{LogsBlock, LogsEngine, LogsReader};
use weir_model::id::LineId;
use weir_model::label::{Labels, MatchOp, Matcher};
use weir_model::log::{LogBatch, LogRecord};
use weir_model::scope::Scope;
use weir_model::select::{
    Buckets, Budget, CountBy, LineFilter, LogReader, LogSelect, LogVisitor, Mention, NoBudget, PartitionCoverage, ReadError,
};
use weir_model::time::{TimeRange, UnixNanos};
use weir_model::wire::{Kind, Section};

mod nezha;

use nezha::section;

struct Fixed(Vec<BlockView<LogsEngine>>);

impl Views<LogsEngine> for Fixed {
    fn views(&self) -> Vec<PartitionView<LogsEngine>> {
        let (coverage, heads, missing) = (PartitionCoverage::default(), Vec::new(), Vec::new());
        vec![PartitionView { coverage, blocks: self.0.clone(), heads, missing }]
    }
}

struct NoTails;

impl Tails<LogBatch> for NoTails {
    fn subscribe(&self) -> Box<dyn FnMut() -> Vec<TailSection<LogBatch>> + Send> {
        Box::new(Vec::new)
    }
}

/// How many lines, of what is mentioned.
struct Count(u64, Option<Mention>);

impl LogVisitor for Count {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }
    fn mention(&self) -> Option<Mention> {
        self.1.clone()
    }
    fn stream(&mut self, _: &Labels) {}
    fn line(&mut self, _: LineId, _: LogRecord<'_>) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

/// Another id for each copy.
fn fresh(id: &str, copy: u64) -> String {
    if copy == 0 || id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return id.to_owned();
    }
    let mut state =
        id.bytes().fold(copy, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    let digit = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_digit((state >> 60) as u32, 16).expect("four bits")
    };
    id.bytes().map(digit).collect()
}

/// Sections of up to 500 lines of one stream, as a collector that ships every second would make them.
fn sections(path: &str, copy: u64) -> Result<Vec<Section<LogBatch>>, Box<dyn Error>> {
    let mut open: BTreeMap<Labels, LogBatch> = BTreeMap::new();
    let mut sections = Vec::new();
    for row in nezha::rows(path)? {
        let row = row?;
        let (trace, span) = (fresh(&row[5], copy), fresh(&row[6], copy));
        let mut body = nezha::body(&row);
        for (id, own) in [(&row[5], &trace), (&row[6], &span)] {
            if copy > 0 && !id.is_empty() {
                body = body.replace(id, own);
            }
        }
        let pod = format!("{}-{copy}", &row[3]);
        let stream = Labels::from_pairs([("node", &row[2]), ("pod", &pod), ("container", &row[4])]);
        let attributes =
            Labels::from_pairs([("pod_id", fresh("0123456789abcdef0123456789abcdef", pod.len() as u64 * 1000 + copy))]);
        let batch = open.entry(stream.clone()).or_insert_with(|| LogBatch::new(stream.clone()));
        batch.push(LogRecord {
            timestamp: row[1].parse::<i64>()? + copy as i64 * 86_400_000_000_000,
            sequence: 0,
            body: body.as_bytes(),
            severity: if body.contains("ERROR") { 17 } else { 9 },
            flags: 0,
            trace_id: trace.parse().unwrap_or_default(),
            span_id: span.parse().unwrap_or_default(),
            attributes: (&attributes).into(),
        });
        if batch.len() == 500 {
            sections.push(section(std::mem::replace(batch, LogBatch::new(stream))));
        }
    }
    sections.extend(open.into_values().map(section));
    Ok(sections)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let now = || nezha::cpu_seconds().expect("Linux tells");
    let begun = now();
    let value = work();
    (value, now() - begun)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: index_rate FILE.csv.zst [COPIES]")?;
    let copies: u64 = std::env::args().nth(2).map_or(Ok(3), |copies| copies.parse())?;
    let engine = LogsEngine::default();
    let (mut sealed, mut insert, mut seal, mut raw, mut lines) = (Vec::new(), 0.0, 0.0, 0, 0);
    for copy in 0..copies {
        let sections = sections(&path, copy)?;
        let head = engine.head();
        let inserted = timed(|| {
            (copy << 32..)
                .zip(&sections)
                .try_for_each(|(offset, section)| head.insert(Position { partition: 0, offset, ordinal: 0 }, section))
        });
        inserted.0?;
        insert += inserted.1;
        let (built, seconds) = timed(|| head.build());
        seal += seconds;
        for block in built? {
            raw += block.summary.raw_bytes;
            lines += block.summary.records;
            sealed.push(open(&engine, &format!("sealed {}", sealed.len()), block)?);
        }
    }
    let raw = raw as f64 / 1e6;
    println!("{lines} lines, {raw:.1} MB of bodies, {} blocks", sealed.len());
    println!("insert {insert:.2} s, seal {seal:.2} s, {:.1} MB/s", raw / (insert + seal));
    let blocks: Vec<Arc<LogsBlock>> = sealed.iter().map(|view| Arc::clone(&view.block)).collect();
    let (merged, seconds) = timed(|| engine.merge(&blocks));
    let merged = merged?;
    println!("merge {seconds:.2} s, {:.1} MB/s; all {:.1} MB/s", raw / seconds, raw / (insert + seal + seconds));
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    merged.iter().flat_map(|block| &block.data.sections).for_each(|(name, bytes)| *sizes.entry(name).or_default() += bytes.len());
    let total: usize = sizes.values().sum();
    println!("{} merged blocks of {:.2} MB, raw/disk {:.2}", merged.len(), total as f64 / 1e6, raw * 1e6 / total as f64);
    for (name, bytes) in sizes {
        println!("  {name} {:.3} MB, {:.2} B a line", bytes as f64 / 1e6, bytes as f64 / lines as f64);
    }
    let mut views = Vec::new();
    for (i, block) in merged.into_iter().enumerate() {
        views.push(open(&engine, &format!("merged {i}"), block)?);
    }
    for (name, views) in [("sealed", sealed), ("merged", views)] {
        let reader = LogsReader { views: Arc::new(Fixed(views)), tails: Arc::new(NoTails) };
        ask(name, &reader)?;
        count(name, &reader)?;
        latest(name, &reader)?;
    }
    Ok(())
}

fn open(engine: &LogsEngine, path: &str, built: BuiltBlock) -> Result<BlockView<LogsEngine>, Box<dyn Error>> {
    let block = engine.open(Arc::new(MemoryBlob::new(path, built.data.encode(Kind::Logs))))?;
    Ok(BlockView { summary: built.summary, block: Arc::new(block), hidden: Default::default() })
}

fn ask(shape: &str, reader: &LogsReader) -> Result<(), Box<dyn Error>> {
    const TRACE: &str = "ffc8ca7e4c8f06c75142c880d5595d96";
    let contains = |text: &str| vec![LineFilter::Contains(vec![text.into()])];
    let matches = |text: &str| vec![LineFilter::Matches(regex::bytes::Regex::new(text).expect("a regular expression"))];
    let value = |name: &str, value: &str| Some(Mention::Value(name.into(), value.into()));
    let questions = [
        ("trace id, first time", contains(TRACE), None),
        ("trace id", contains(TRACE), None),
        ("trace id by its attribute", Vec::new(), value("trace_id", TRACE)),
        ("span id by its attribute", Vec::new(), value("span_id", "439bc949a9eeb0cc")),
        ("word that is nowhere", contains("zebracrossing"), None),
        ("id that is nowhere", contains("0fc8ca7e4c8f06c75142c880d5595d96"), None),
        ("12 digits of an id", contains("7e4c8f06c751"), None),
        ("12 digits that are nowhere", contains("7e4c8f06c752"), None),
        ("part of a word", contains("unavailableRou"), None),
        ("(?i) word that is nowhere", matches("(?i)zebracrossing"), None),
        ("(?i) trace id", matches("(?i)FFC8CA7E4C8F06C75142C880D5595D96"), None),
        ("value that is nowhere", Vec::new(), value("user", "7")),
    ];
    for (name, filters, mention) in questions {
        let select =
            LogSelect { scope: Scope::of("default"), matchers: Vec::new(), range: TimeRange::ALL, filters, newest_first: true };
        // The first reads the index. The mean of many, since the kernel tells CPU time in steps.
        let times = if name.ends_with("first time") { 1 } else { 100 };
        let mut lines = 0;
        let (visited, seconds) = timed(|| {
            (0..times).try_for_each(|_| {
                let mut count = Count(0, mention.clone());
                reader.visit(&select, &NoBudget, &mut count)?;
                lines = count.0;
                Ok::<_, ReadError>(())
            })
        });
        visited?;
        println!("{shape}: {name}: {lines} lines visited, {:.0} µs", seconds * 1e6 / f64::from(times));
    }
    Ok(())
}

fn select(matchers: Vec<Matcher>, filters: Vec<LineFilter>) -> LogSelect {
    LogSelect { scope: Scope::of("default"), matchers, range: TimeRange::ALL, filters, newest_first: true }
}

/// Lines with a word, of all time, by stream.
fn count(shape: &str, reader: &LogsReader) -> Result<(), Box<dyn Error>> {
    let buckets = Buckets::new(i64::MAX, 0).ok_or("a step is above 0")?;
    for word in ["checkSecurityAboutOrder", "Modify", "ContactsServiceImpl", "travel", "success", "Total: 1"] {
        for bytes in [true, false, true, false] {
            let select = select(Vec::new(), vec![LineFilter::Contains(vec![word.into()])]);
            let by = CountBy { bytes, ..CountBy::of(buckets) };
            let (mut lines, mut opened) = (0, Opened::default());
            let mut ask = |opened: &Opened| {
                lines = 0;
                reader.counts(&select, &by, opened, &mut |count| {
                    lines += count.lines;
                    ControlFlow::Continue(())
                })
            };
            let (first, first_seconds) = timed(|| ask(&opened));
            first?;
            let of_chunks = std::mem::take(&mut opened).0.into_inner();
            let (all, seconds) = timed(|| (0..10).try_for_each(|_| ask(&opened).map(drop)));
            all?;
            let with = if bytes { "with bytes" } else { "lines alone" };
            println!(
                "{shape}: {word} counted, {with}: {lines} lines among {of_chunks}, {:.2} ms, {:.2} ms the first time",
                seconds * 1e2,
                first_seconds * 1e3
            );
        }
    }
    Ok(())
}

/// Lines of the chunks that are opened.
#[derive(Default)]
struct Opened(AtomicU64);

impl Budget for Opened {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
    fn spend(&self, count: u64) -> Result<(), ReadError> {
        self.0.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
}

/// The newest hundred lines, as LogQL keeps them.
#[derive(Default)]
struct Latest(BinaryHeap<Reverse<UnixNanos>>, u64);

impl LogVisitor for Latest {
    fn wants(&mut self, _: UnixNanos, last: UnixNanos) -> bool {
        self.0.len() < 100 || self.0.peek().is_some_and(|Reverse(oldest)| last >= *oldest)
    }
    fn stream(&mut self, _: &Labels) {}
    fn line(&mut self, _: LineId, record: LogRecord<'_>) -> ControlFlow<()> {
        self.1 += 1;
        self.0.push(Reverse(record.timestamp));
        if self.0.len() > 100 {
            self.0.pop();
        }
        ControlFlow::Continue(())
    }
}

fn latest(shape: &str, reader: &LogsReader) -> Result<(), Box<dyn Error>> {
    let pod = Matcher::new("pod", MatchOp::Regex, "ts-seat-service.*-0")?;
    let select = select(vec![pod], Vec::new());
    for what in ["first time", "mean of 100"] {
        let times = if what == "first time" { 1 } else { 100 };
        let mut given = 0;
        let (visited, seconds) = timed(|| {
            (0..times).try_for_each(|_| {
                let mut latest = Latest::default();
                reader.visit(&select, &NoBudget, &mut latest)?;
                given = latest.1;
                Ok::<_, ReadError>(())
            })
        });
        visited?;
        println!("{shape}: latest 100 of a pod, {what}: {given} lines given, {:.0} µs", seconds * 1e6 / f64::from(times));
    }
    Ok(())
}
