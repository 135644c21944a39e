//! What extremes cost: `bounds [STREAMS]`, a million of one line each where nothing is said. Prints resident memory of the head, of the
//! block while it is built and of the block when it is open, and of each question its time and the most memory that it took.
//! Not a test: `tests/bounded.rs` holds what must not grow, this is for looking closer.

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::view::{BlockView, Fixed, NoTails, PartitionView};
use weir_logs::{LogsEngine, LogsReader};
use weir_model::id::LineId;
use weir_model::label::{Labels, Matcher};
use weir_model::log::{LogAttributes, LogBatch, LogRecord};
use weir_model::scope::Scope;
use weir_model::select::{Buckets, CountBy, LineFilter, LogReader, LogSelect, LogVisitor, NoBudget, PartitionCoverage};
use weir_model::time::{SECOND, TimeRange, UnixNanos};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

const STREAMS: u64 = 1_000_000;
/// As long as the lines of an ordinary program.
const LINE: &str = "request served with status=200, msg=Success of an ordinary program, whose name is";
/// Repetitions of repetitions: what engines that go back take time without end for.
const BOMB: &str = "(?:(?:[a-z]+ )*)*(?:(?:[a-z=]+)*)*0{3}\\d*[^ ]$";

/// Counts lines, up to a limit of the latest.
struct Count {
    lines: u64,
    limit: u64,
}

impl LogVisitor for Count {
    fn wants(&mut self, _: UnixNanos, _: UnixNanos) -> bool {
        self.lines < self.limit
    }

    fn stream(&mut self, _: &Labels) {}

    fn line(&mut self, _: LineId, _: LogRecord<'_>) -> ControlFlow<()> {
        self.lines += 1;
        ControlFlow::Continue(())
    }
}

fn status(key: &str) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(key)).ok_or("a status without memory")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<f64>()? / 1024.0)
}

fn section(number: u64) -> Section<LogBatch> {
    let pod = format!("shop-{number:07}");
    let mut batch = LogBatch::new(Labels::from_pairs([("namespace", "shop"), ("pod", pod.as_str())]));
    let body = format!("{LINE} {pod}");
    batch.push(LogRecord {
        timestamp: number as i64 * SECOND / 100,
        sequence: 0,
        body: body.as_bytes(),
        severity: 9,
        flags: 0,
        trace_id: Default::default(),
        span_id: Default::default(),
        attributes: LogAttributes::NONE,
    });
    let mark = Mark::Sequence { epoch: 0, first: 0, last: 1 };
    Section::new(SectionHeader { tenant: "default".into(), source: "bounds".into(), mark, records: 1 }, batch)
}

fn main() -> Result<(), Box<dyn Error>> {
    let streams = std::env::args().nth(1).map_or(Ok(STREAMS), |text| text.parse())?;
    let engine = LogsEngine::default();
    let head = engine.head();
    for number in 0..streams {
        head.insert(Position { partition: 0, offset: number, ordinal: 0 }, &section(number))?;
    }
    println!("{streams} streams: {:.0} MiB resident, the head says {:.0}", status("VmRSS")?, head.bytes() as f64 / 1048576.0);
    let begun = Instant::now();
    let built = head.build()?;
    println!("built in {:.1} s, {} blocks, at most {:.0} MiB", begun.elapsed().as_secs_f64(), built.len(), status("VmHWM")?);
    drop(head);
    let mut blocks = Vec::new();
    for (number, built) in built.into_iter().enumerate() {
        let bytes = built.data.encode(Kind::Logs);
        println!("  block of {:.1} MB, {:.0} bytes a stream", bytes.len() as f64 / 1e6, bytes.len() as f64 / streams as f64);
        let block = Arc::new(engine.open(Arc::new(MemoryBlob::new(format!("block {number}"), bytes)))?);
        blocks.push(BlockView { summary: built.summary, block, hidden: Default::default() });
    }
    println!("opened: {:.0} MiB resident", status("VmRSS")?);
    let view = PartitionView { coverage: PartitionCoverage::default(), blocks, heads: Vec::new(), missing: Vec::new() };
    ask(&LogsReader { views: Arc::new(Fixed::new(vec![view])), tails: Arc::new(NoTails) }, streams)
}

fn ask(reader: &LogsReader, streams: u64) -> Result<(), Box<dyn Error>> {
    let all = LogSelect {
        scope: Scope::of("default"),
        matchers: Vec::new(),
        range: TimeRange::ALL,
        filters: Vec::new(),
        newest_first: true,
    };
    let bomb = regex::bytes::Regex::new(BOMB)?;
    let middle = Matcher::equal("pod", format!("shop-{:07}", streams / 2));
    let questions = [
        ("the latest 100 lines of all", 100, all.clone()),
        ("one stream", u64::MAX, LogSelect { matchers: vec![middle], ..all.clone() }),
        ("a word that is nowhere", u64::MAX, with(&all, LineFilter::Contains(vec![b"zebrafinch".to_vec()]))),
        ("everything, without a limit", u64::MAX, all.clone()),
        ("a regex bomb over everything", u64::MAX, with(&all, LineFilter::Matches(bomb))),
    ];
    for (name, limit, select) in questions {
        let (begun, mut count) = (Instant::now(), Count { lines: 0, limit });
        reader.visit(&select, &NoBudget, &mut count)?;
        let seconds = begun.elapsed().as_secs_f64();
        println!("{name}: {} lines in {seconds:.3} s, {:.0} MiB resident", count.lines, status("VmRSS")?);
    }
    let by = CountBy::of(Buckets::new(3600 * SECOND, 0).ok_or("an hour has no length")?);
    let (begun, mut lines) = (Instant::now(), 0);
    reader.counts(&all, &by, &NoBudget, &mut |count| {
        lines += count.lines;
        ControlFlow::Continue(())
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("all of them counted: {lines} lines in {seconds:.3} s; at most {:.0} MiB resident", status("VmHWM")?);
    Ok(())
}

fn with(all: &LogSelect, filter: LineFilter) -> LogSelect {
    LogSelect { filters: vec![filter], ..all.clone() }
}
