//! Measures the logs engine on real lines: `logs_rate FILE.csv.zst`, a table with the columns of Nezha's `logs.csv`
//! (`TimeUnixNano, Node, PodName, Container, Log`, the last as Docker's JSON). One thread; prints a line a figure,
//! rates per second of CPU, query times by the wall clock.
//! Not a test: the suite's benches hold the limits, this is for looking closer.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::view::{BlockView, PartitionView, TailSection, Tails, Views};
use weir_logs::{LogsEngine, LogsReader};
use weir_model::id::{LineId, SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::scope::Scope;
use weir_model::select::{Buckets, CountBy, LineFilter, LogReader, LogSelect, LogVisitor, NoBudget, PartitionCoverage};
use weir_model::time::{SECOND, TimeRange, UnixNanos};
use weir_model::wire::{Kind, Section};

mod nezha;

use nezha::{cpu_seconds, section};

struct OneBlock(Vec<BlockView<LogsEngine>>);

impl Views<LogsEngine> for OneBlock {
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

/// How many lines, and the identity of each thousandth.
#[derive(Default)]
struct Count(u64, Vec<LineId>);

impl LogVisitor for Count {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        true
    }
    fn stream(&mut self, _: &Labels) {}
    fn line(&mut self, id: LineId, _: LogRecord<'_>) -> ControlFlow<()> {
        if self.0.is_multiple_of(1000) {
            self.1.push(id);
        }
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

/// Sections of up to 500 lines of one stream, as a collector that ships every second would make them.
fn sections(path: &str) -> Result<Vec<Section<LogBatch>>, Box<dyn Error>> {
    let mut open: BTreeMap<Labels, LogBatch> = BTreeMap::new();
    let mut sections = Vec::new();
    for row in nezha::rows(path)? {
        let row = row?;
        let body = nezha::body(&row);
        let stream = Labels::from_pairs([("node", &row[2]), ("pod", &row[3]), ("container", &row[4])]);
        let batch = open.entry(stream.clone()).or_insert_with(|| LogBatch::new(stream.clone()));
        batch.push(LogRecord {
            timestamp: row[1].parse()?,
            sequence: 0,
            body: body.as_bytes(),
            severity: if body.contains("ERROR") { 17 } else { 9 },
            flags: 0,
            trace_id: TraceId::default(),
            span_id: SpanId::default(),
            attributes: (&Labels::EMPTY).into(),
        });
        if batch.len() == 500 {
            sections.push(section(std::mem::replace(batch, LogBatch::new(stream))));
        }
    }
    sections.extend(open.into_values().map(section));
    Ok(sections)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: logs_rate FILE.csv.zst")?;
    let sections = sections(&path)?;
    let engine = LogsEngine::default();
    let begun = cpu_seconds()?;
    let head = engine.head();
    for (offset, section) in (0..).zip(&sections) {
        head.insert(Position { partition: 0, offset, ordinal: 0 }, section)?;
    }
    let inserted = cpu_seconds()? - begun;
    let block = head.build()?.remove(0);
    let bytes = block.data.encode(Kind::Logs);
    let seconds = cpu_seconds()? - begun;
    let raw = block.summary.raw_bytes as f64;
    println!(
        "lines {} in {} sections, {:.1} MB of bodies, head {:.1} MB",
        head.records(),
        sections.len(),
        raw / 1e6,
        head.bytes() as f64 / 1e6
    );
    println!("insert {:.0} MB/s, insert and build {:.0} MB/s", raw / 1e6 / inserted, raw / 1e6 / seconds);
    println!("block {:.2} MB, raw/disk {:.1}", bytes.len() as f64 / 1e6, raw / bytes.len() as f64);
    for (name, section) in &block.data.sections {
        println!("  {name} {:.3} MB", section.len() as f64 / 1e6);
    }
    let begun = Instant::now();
    let opened = Arc::new(engine.open(Arc::new(MemoryBlob::new("rate", bytes)))?);
    println!("open {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    let begun = cpu_seconds()?;
    engine.merge(&[Arc::clone(&opened)])?;
    println!("merge {:.0} MB/s", raw / 1e6 / (cpu_seconds()? - begun));
    ask(&LogsReader {
        views: Arc::new(OneBlock(vec![BlockView { summary: block.summary, block: opened, hidden: Default::default() }])),
        tails: Arc::new(NoTails),
    })
}

fn ask(reader: &LogsReader) -> Result<(), Box<dyn Error>> {
    let contains = |text: &str| vec![LineFilter::Contains(vec![text.into()])];
    let regex = regex::bytes::Regex::new("status=[0-9]+, msg=Succ")?;
    let questions = [
        ("needle, cold", contains("TraceID: ffc8ca7e4c8f06c75142c880d5595d96 ")),
        ("needle", contains("TraceID: ffc8ca7e4c8f06c75142c880d5595d96 ")),
        ("needle without edges", contains("ffc8ca7e4c8f06c75142c880d5595d96")),
        ("absent word", contains(" zebra ")),
        ("substring", contains("ravelServiceIm")),
        ("common word", contains(" INFO ")),
        ("regex", vec![LineFilter::Matches(regex)]),
        ("everything", Vec::new()),
    ];
    let mut ids = Vec::new();
    for (name, filters) in questions {
        let select =
            LogSelect { scope: Scope::of("default"), matchers: Vec::new(), range: TimeRange::ALL, filters, newest_first: true };
        let begun = Instant::now();
        let mut count = Count::default();
        reader.visit(&select, &NoBudget, &mut count)?;
        println!("{name}: {} lines in {:.2} ms", count.0, begun.elapsed().as_secs_f64() * 1e3);
        ids = count.1;
    }
    let begun = Instant::now();
    for id in &ids {
        let found = reader.line(&Scope::of("default"), *id, 5, &NoBudget)?;
        assert!(found.value.iter().any(|line| line.id == *id), "{id} is not found");
    }
    println!("link: {:.2} ms, mean of {}", begun.elapsed().as_secs_f64() * 1e3 / ids.len() as f64, ids.len());
    let select = LogSelect {
        scope: Scope::of("default"),
        matchers: Vec::new(),
        range: TimeRange::ALL,
        filters: Vec::new(),
        newest_first: false,
    };
    let begun = Instant::now();
    let volume = reader.volume(&select, 60 * SECOND, &NoBudget)?;
    println!("volume: {} rows in {:.2} ms", volume.value.len(), begun.elapsed().as_secs_f64() * 1e3);
    count(reader, select)
}

/// As LogQL counts: windows of an hour on the second, and from any nanosecond; lines with a word, by stream; and everything line by line.
fn count(reader: &LogsReader, select: LogSelect) -> Result<(), Box<dyn Error>> {
    let word = |text: &str| LogSelect { filters: vec![LineFilter::Contains(vec![text.into()])], ..select.clone() };
    let questions = [
        ("count, windows on 10 s", 1, &[][..], select.clone()),
        ("count, windows from any nanosecond", 3 * SECOND + 7, &[], select.clone()),
        ("count by metadata that no line has", 1, &["level"], select.clone()),
        ("count of a common word", 1, &[], word(" INFO ")),
        ("count of a rarer word", 1, &[], word("ravelServiceIm")),
    ];
    for (name, origin, metadata, select) in questions {
        let buckets = Buckets::new(3600 * SECOND, origin).ok_or("a step is above 0")?;
        let by = CountBy { metadata: metadata.iter().map(|name: &&str| (*name).to_owned()).collect(), ..CountBy::of(buckets) };
        let (begun, mut lines, mut counts) = (Instant::now(), 0, 0);
        reader.counts(&select, &by, &NoBudget, &mut |count| {
            (lines, counts) = (lines + count.lines, counts + 1);
            ControlFlow::Continue(())
        })?;
        println!("{name}: {lines} lines in {counts} counts in {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
