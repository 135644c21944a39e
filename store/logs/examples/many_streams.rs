//! What lines of thousands of streams cost the logs engine: `many_streams FILE.csv.zst [MB] [PODS]`, Nezha's `logs.csv`, each line of one of
//! `PODS` pods of its workload (100) by Zipf's law, with ids of its own, in sections as agents send them: a mebibyte of all streams of a
//! node at a time, so that a section has a few lines. Fills heads of 48 MiB, seals, opens and checks them, and merges all blocks. One
//! thread; seconds of its CPU, and how many streams, chunks and bytes there are.
//! Not a test: the suite's benches hold the limits, this is for looking closer.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::sync::Arc;

use weir_blocks::blob::MemoryBlob;
use weir_blocks::engine::{BuiltBlock, Engine, Head, Position};
use weir_logs::{LogsBlock, LogsEngine};
use weir_model::label::Labels;
use weir_model::log::{LogAttributes, LogBatch, LogRecord};
use weir_model::wire::{Kind, Section};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

mod nezha;

use nezha::cpu_seconds;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Nodes, each with an agent of its own.
const NODES: u64 = 8;
/// What an agent sends at once.
const PUSH_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 48 << 20;
/// The lines of one partition are taken.
const PARTITIONS: u64 = 4;

struct Line {
    time: i64,
    node: String,
    pod: String,
    trace: String,
    span: String,
    body: String,
}

fn lines(path: &str) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for row in nezha::rows(path)? {
        let row = row?;
        let body = nezha::body(&row);
        let [node, pod, trace, span] = [2, 3, 5, 6].map(|i| row[i].to_owned());
        lines.push(Line { time: row[1].parse()?, node, pod, trace, span, body });
    }
    Ok(lines)
}

/// Pods by Zipf's law, the same each time.
struct Pods {
    sums: Vec<f64>,
    state: u64,
}

impl Pods {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let add = |pod: usize| {
            sum += 1.0 / (pod + 1) as f64;
            sum
        };
        Self { sums: (0..count).map(add).collect(), state: 1 }
    }

    fn next(&mut self) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (self.state >> 11) as f64 / (1_u64 << 53) as f64 * self.sums[self.sums.len() - 1];
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1)
    }
}

/// The sections of a partition, and how many bytes of bodies they have.
fn sections(lines: &[Line], bytes_max: usize, pods: usize) -> Vec<Section<LogBatch>> {
    let (mut pods, mut sections, mut bytes) = (Pods::new(pods), Vec::new(), 0);
    let mut open: Vec<(BTreeMap<String, LogBatch>, usize)> = (0..NODES).map(|_| Default::default()).collect();
    for copy in 0.. {
        for line in lines {
            let workload = line.pod.rsplit_once('-').map_or(&*line.pod, |(workload, _)| workload);
            let pod = format!("{workload}-{:02}", pods.next());
            let hash = xxh3_64(pod.as_bytes());
            let (batches, sent) = &mut open[(hash % NODES) as usize];
            if (hash >> 32).is_multiple_of(PARTITIONS) {
                bytes += line.body.len();
                let batch = batches.entry(pod.clone()).or_insert_with(|| LogBatch::new(stream(workload, &pod, &line.node)));
                push(batch, line, (copy, hash));
            }
            *sent += line.body.len();
            if *sent >= PUSH_BYTES {
                *sent = 0;
                sections.extend(std::mem::take(batches).into_values().map(section));
            }
            if bytes >= bytes_max {
                sections.extend(open.into_iter().flat_map(|(batches, _)| batches.into_values()).map(section));
                return sections;
            }
        }
    }
    sections
}

fn stream(workload: &str, pod: &str, node: &str) -> Labels {
    Labels::from_pairs([
        ("app", workload),
        ("container", "server"),
        ("job", workload),
        ("namespace", "nezha"),
        ("node_name", node),
        ("pod", pod),
        ("stream", "stdout"),
    ])
}

fn push(batch: &mut LogBatch, line: &Line, (copy, hash): (u64, u64)) {
    let trace = format!("{:032x}", xxh3_128_with_seed(line.trace.as_bytes(), copy));
    let span = format!("{:016x}", xxh3_64_with_seed(line.span.as_bytes(), copy));
    let body = match line.trace.is_empty() {
        true => line.body.clone(),
        false => line.body.replace(&line.trace, &trace).replace(&line.span, &span),
    };
    let (uid, container) =
        (format!("{:08x}-{:04x}-4000-8000-{:012x}", hash as u32, hash >> 48, hash >> 16), format!("{hash:016x}").repeat(4));
    let ids = if line.trace.is_empty() { &[][..] } else { &[("span_id", &span), ("trace_id", &trace)][..] };
    let pairs = [("container_id", &container), ("k8s_pod_uid", &uid)].into_iter().chain(ids.iter().copied());
    let set = batch.add_attributes(pairs.map(|(name, value)| (name, value.as_str())));
    let (trace_id, span_id) = match line.trace.is_empty() {
        true => Default::default(),
        false => (trace.parse().unwrap_or_default(), span.parse().unwrap_or_default()),
    };
    let record = LogRecord {
        timestamp: line.time + copy as i64 * 86_400_000_000_000,
        sequence: 0,
        body: body.as_bytes(),
        severity: if body.contains("ERROR") { 17 } else { 9 },
        flags: 0,
        trace_id,
        span_id,
        attributes: LogAttributes::NONE,
    };
    batch.push_with(record, set);
}

fn section(mut batch: LogBatch) -> Section<LogBatch> {
    batch.shrink_to_fit();
    nezha::section(batch)
}

/// What one thread spent, by what for.
#[derive(Default)]
struct Spent(BTreeMap<&'static str, f64>);

impl Spent {
    fn on<T>(&mut self, what: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = cpu_seconds()?;
        let done = work()?;
        *self.0.entry(what).or_default() += cpu_seconds()? - begun;
        Ok(done)
    }
}

fn store(engine: &LogsEngine, spent: &mut Spent, built: Vec<BuiltBlock>) -> Result<(Vec<Arc<LogsBlock>>, usize)> {
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    for block in built {
        let encoded = block.data.encode(Kind::Logs);
        bytes += encoded.len();
        let opened = spent.on("4 open and check", || {
            let opened = engine.open(Arc::new(MemoryBlob::new("block", encoded)))?;
            engine.verify(&opened, &block.summary)?;
            Ok(opened)
        })?;
        blocks.push(Arc::new(opened));
    }
    Ok((blocks, bytes))
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("usage: many_streams FILE.csv.zst [MB] [PODS]")?;
    let number = |i: usize, otherwise: usize| std::env::args().nth(i).map_or(Ok(otherwise), |text| text.parse::<usize>());
    let (size, pods) = (number(2, 75)? * 1_000_000, number(3, 100)?);
    let sections = sections(&lines(&path)?, size, pods);
    let streams: HashSet<&Labels> = sections.iter().map(|section| &section.batch.stream).collect();
    let count: usize = sections.iter().map(|section| section.batch.len()).sum();
    println!("{count} lines in {} sections of {} streams", sections.len(), streams.len());
    let engine = LogsEngine::default();
    let (mut spent, mut blocks, mut sealed, mut head) = (Spent::default(), Vec::new(), 0, engine.head());
    let last = sections.len() - 1;
    for (offset, section) in sections.iter().enumerate() {
        spent.on("1 insert", || Ok(head.insert(Position { partition: 0, offset: offset as u64, ordinal: 0 }, section)?))?;
        if head.bytes() >= HEAD_BYTES || offset == last {
            let full = std::mem::replace(&mut head, engine.head());
            let built = spent.on("2 build", || Ok(full.build()?))?;
            let (opened, bytes) = store(&engine, &mut spent, built)?;
            blocks.extend(opened);
            sealed += bytes;
        }
    }
    let sealed_chunks = blocks.iter().map(|block| block.chunks()).sum::<u32>();
    let merged = spent.on("3 merge", || Ok(engine.merge(&blocks)?))?;
    let (merged, merged_bytes) = store(&engine, &mut spent, merged)?;
    let chunks = merged.iter().map(|block| block.chunks()).sum::<u32>();
    println!(
        "{} blocks, {sealed_chunks} chunks, {:.2} MB; merged {chunks} chunks, {:.2} MB",
        blocks.len(),
        sealed as f64 / 1e6,
        merged_bytes as f64 / 1e6
    );
    let all: f64 = spent.0.values().sum();
    for (what, seconds) in &spent.0 {
        println!("{what:20} {seconds:6.2} s, {:5.1} ms a MB of bodies", seconds * 1e9 / size as f64);
    }
    println!("{:20} {all:6.2} s, {:5.1} MB a second", "all", size as f64 / 1e6 / all);
    let mut columns = BTreeMap::<&str, (u64, u64)>::new();
    for (name, length, stored) in
        merged.iter().map(|block| block.column_bytes()).collect::<std::result::Result<Vec<_>, _>>()?.into_iter().flatten()
    {
        let sum = columns.entry(name).or_default();
        *sum = (sum.0 + length, sum.1 + stored);
    }
    columns.iter().for_each(|(name, (length, stored))| {
        println!("  {name:16} {:8.2} MB, stored {:8.3}", *length as f64 / 1e6, *stored as f64 / 1e6)
    });
    Ok(())
}
