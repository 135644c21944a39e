//! Measures the chunk format on real lines, each with the ids of its trace and its container as structured metadata, in the requests of
//! an agent a node: `chunk_parts FILE.csv.zst [CHUNK_KIB]`, a table with the columns of Nezha's `logs.csv` (`TimeUnixNano, Node, PodName,
//! Container, TraceID, SpanID, Log`, the last as Docker's JSON). One thread; prints bytes a line by part of the format, the least that
//! random ids take, and CPU a line to encode, to decode, and to merge.
//! Not a test: this is for looking closer.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{Engine, Head, Position};
use weir_blocks::segment::Segment;
use weir_logs::{LogsBlock, LogsEngine, LogsOptions, LogsPlan};
use weir_model::id::{SpanId, TraceId};
use weir_model::label::Labels;
use weir_model::log::{LogBatch, LogRecord};
use weir_model::scope::Scope;
use weir_model::select::{Buckets, LineFilter, LogSelect, NoBudget, TemplateText};
use weir_model::time::{SECOND, TimeRange};
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

/// `batchsize` of Promtail, and how many agents there are.
const BATCH_BYTES: usize = 1 << 20;
const AGENTS: usize = 4;

type Request = BTreeMap<Labels, LogBatch>;

struct Line {
    time: i64,
    pod: String,
    stream: String,
    trace_id: String,
    span_id: String,
    body: String,
}

fn lines(path: &str) -> Result<Vec<Line>, Box<dyn Error>> {
    let mut decoder = zstd::Decoder::new(std::fs::File::open(path)?)?;
    decoder.window_log_max(27)?;
    let mut lines = Vec::new();
    for row in csv::ReaderBuilder::new().flexible(true).from_reader(decoder).records() {
        let row = row?;
        let Some(json) = row.get(7).and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok()) else { continue };
        let (Some(body), Some(stream)) = (json["log"].as_str(), json["stream"].as_str()) else { continue };
        lines.push(Line {
            time: row[1].parse()?,
            pod: row[3].into(),
            stream: stream.into(),
            trace_id: row[5].into(),
            span_id: row[6].into(),
            body: body.trim_end_matches('\n').replace('\n', " "),
        });
    }
    lines.sort_by_key(|line| line.time);
    Ok(lines)
}

fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// In the order in which they would be on the bus.
fn requests(lines: &[Line]) -> Result<Vec<Request>, Box<dyn Error>> {
    let mut open: [(Request, usize); AGENTS] = Default::default();
    let mut requests = Vec::new();
    for line in lines {
        let hash = hash(&line.pod);
        let agent = hash as usize % AGENTS;
        let (request, bytes) = &mut open[agent];
        let app = line.pod.rsplitn(3, '-').last().unwrap_or(&line.pod);
        let stream = Labels::from_pairs([
            ("app", app),
            ("container", "server"),
            ("job", &format!("nezha/{app}")),
            ("namespace", "nezha"),
            ("node_name", &format!("node-{agent}")),
            ("pod", &line.pod),
            ("stream", &line.stream),
        ]);
        let uid = format!("{:08x}-{:04x}-4000-8000-{:012x}", hash as u32, hash >> 48, hash >> 16 & 0xffff_ffff_ffff);
        let mut attributes = vec![("container_id", format!("{hash:016x}").repeat(4)), ("k8s_pod_uid", uid)];
        let (mut trace_id, mut span_id) = (TraceId::default(), SpanId::default());
        if line.trace_id.len() == 32 {
            hex::decode_to_slice(&line.trace_id, &mut trace_id.0)?;
            attributes.push(("trace_id", line.trace_id.clone()));
        }
        if line.span_id.len() == 16 {
            hex::decode_to_slice(&line.span_id, &mut span_id.0)?;
            attributes.push(("span_id", line.span_id.clone()));
        }
        let attributes = Labels::from_pairs(attributes);
        let batch = request.entry(stream.clone()).or_insert_with(|| LogBatch::new(stream));
        batch.push(LogRecord {
            timestamp: line.time,
            sequence: 0,
            body: line.body.as_bytes(),
            severity: if line.body.contains("ERROR") { 17 } else { 9 },
            flags: 0,
            trace_id,
            span_id,
            attributes: (&attributes).into(),
        });
        *bytes += line.body.len();
        if *bytes >= BATCH_BYTES {
            requests.push(std::mem::take(&mut open[agent]).0);
        }
    }
    requests.extend(open.into_iter().map(|(request, _)| request));
    Ok(requests)
}

/// Seconds that this thread has been on a CPU: on a busy machine the wall clock says little.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().ok_or("schedstat is empty")?.parse::<f64>()? / 1e9)
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: chunk_parts FILE.csv.zst [CHUNK_KIB]";
    let path = std::env::args().nth(1).ok_or(usage)?;
    let chunk_kib: usize = std::env::args().nth(2).map_or(Ok(512), |text| text.parse())?;
    let lines = lines(&path)?;
    print_floor(&lines);
    let requests = requests(&lines)?;
    let (count, raw) = (lines.len() as f64, lines.iter().map(|line| line.body.len()).sum::<usize>() as f64);
    drop(lines);
    let engine = LogsEngine::new(LogsOptions { chunk_bytes: chunk_kib << 10, ..LogsOptions::default() });
    let sections: Vec<(Position, Section<LogBatch>)> = (0..)
        .zip(requests)
        .flat_map(|(offset, request)| {
            let mut ordinal = 0;
            request.into_values().map(move |batch| {
                let position = Position { partition: 0, offset, ordinal };
                ordinal += batch.len() as u32;
                (position, section(batch))
            })
        })
        .collect();
    let begun = cpu_seconds()?;
    let head = engine.head();
    for (position, section) in &sections {
        head.insert(*position, section)?;
    }
    let inserted = cpu_seconds()?;
    let built = head.build()?.remove(0);
    let sealed = cpu_seconds()?;
    let rate = |seconds: f64| format!("{:.0} MB/s, {:.0} ns a line", raw / 1e6 / seconds, seconds * 1e9 / count);
    println!("insert: {}", rate(inserted - begun));
    println!("insert and seal: {}", rate(sealed - begun));
    let bytes = built.data.encode(Kind::Logs);
    println!("block: {:.3} MB, {:.1} times less than bodies", bytes.len() as f64 / 1e6, raw / bytes.len() as f64);
    for (name, section) in &built.data.sections {
        println!("  {name}: {:.3} MB, {:.2} bytes a line", section.len() as f64 / 1e6, section.len() as f64 / count);
    }
    let block = Arc::new(engine.open(Arc::new(MemoryBlob::new("parts", bytes)))?);
    for (name, length, stored) in block.column_bytes()? {
        println!(
            "    {name}: {:.3} MB of {:.3}, {:.2} bytes a line",
            stored as f64 / 1e6,
            length as f64 / 1e6,
            stored as f64 / count
        );
    }
    read(&block, &rate)?;
    let begun = cpu_seconds()?;
    let merged = engine.merge(&[block])?;
    println!("merge of a sealed block: {}", rate(cpu_seconds()? - begun));
    println!("merged: {:.3} MB", merged.iter().map(|built| built.data.encode(Kind::Logs).len()).sum::<usize>() as f64 / 1e6);
    Ok(())
}

fn read(block: &Arc<LogsBlock>, rate: &dyn Fn(f64) -> String) -> Result<(), Box<dyn Error>> {
    let select = |filters: Vec<LineFilter>| LogSelect {
        scope: Scope::of("default"),
        matchers: Vec::new(),
        range: TimeRange::ALL,
        filters,
        newest_first: false,
    };
    let contains = |text: &str| vec![LineFilter::Contains(vec![text.into()])];
    let regex = regex::bytes::Regex::new("status=[0-9]+, msg=Succ")?;
    for (name, filters) in [
        ("all lines", Vec::new()),
        ("a word that is nowhere, every chunk opened", contains("zebra")),
        ("a part of an id, every chunk opened", contains("ffc8ca7e4c8f")),
        ("a regular expression", vec![LineFilter::Matches(regex)]),
    ] {
        let plan = Arc::new(LogsPlan::new(&select(filters)));
        let (begun, mut found) = (cpu_seconds()?, 0_u64);
        for entry in Arc::clone(block).cursor(Arc::clone(&plan), &NoBudget) {
            let all = entry.map_err(|_| "a chunk cannot be read")?.1.visit(TimeRange::ALL, &plan, &mut |_, _| {
                found += 1;
                ControlFlow::Continue(())
            });
            let _all = all?;
        }
        println!("{name}: {found} lines, {}", rate(cpu_seconds()? - begun));
    }
    let plan = Arc::new(LogsPlan::new(&select(Vec::new())));
    let (begun, mut found) = (cpu_seconds()?, 0_u64);
    for entry in Arc::clone(block).cursor(Arc::clone(&plan), &NoBudget) {
        entry.map_err(|_| "a chunk cannot be read")?.1.line_times(TimeRange::ALL, &mut |_| found += 1)?;
    }
    println!("times only: {found} lines, {}", rate(cpu_seconds()? - begun));
    let minutes = Buckets::new(60 * SECOND, 0).ok_or("a minute has no length")?;
    let (begun, mut templates) = (cpu_seconds()?, HashSet::new());
    for entry in Arc::clone(block).cursor(Arc::clone(&plan), &NoBudget) {
        let (_, chunk) = entry.map_err(|_| "a chunk cannot be read")?;
        let _all = chunk.templates(&plan, minutes, &mut |one| {
            if let TemplateText::Constant(text) = one.text {
                templates.insert(text.to_owned());
            }
            ControlFlow::Continue(())
        })?;
    }
    println!("templates by minute: {} of them, {}", templates.len(), rate(cpu_seconds()? - begun));
    Ok(())
}

/// The least that random ids take: of each trace and span of a stream its bytes once.
fn print_floor(lines: &[Line]) {
    let traces: HashSet<(&str, &str)> = lines.iter().map(|line| (line.pod.as_str(), line.trace_id.as_str())).collect();
    let spans: HashSet<(&str, &str)> = lines.iter().map(|line| (line.pod.as_str(), line.span_id.as_str())).collect();
    let floor = (traces.len() * 16 + spans.len() * 8) as f64;
    let raw: usize = lines.iter().map(|line| line.body.len()).sum();
    println!(
        "{} lines, {:.1} MB of bodies; ids: {} traces and {} spans of a stream, {:.3} MB, {:.2} bytes a line",
        lines.len(),
        raw as f64 / 1e6,
        traces.len(),
        spans.len(),
        floor / 1e6,
        floor / lines.len() as f64
    );
}

fn section(batch: LogBatch) -> Section<LogBatch> {
    let mark = Mark::Sequence { epoch: 0, first: 0, last: 0 };
    let header = SectionHeader { tenant: "default".into(), source: "parts".into(), mark, records: batch.len() as u32 };
    Section::new(header, batch)
}
