//! Loki's push as agents send it: protobuf and snappy, a mebibyte of lines a request, an agent a node, lines of a pod as a stream with
//! structured metadata. A day of a real cluster, again and again: each copy later than the one before, with pods and traces of
//! its own.

use std::collections::BTreeMap;

use prost::Message;
use weir_model::time::parse_time_seconds;
use weir_tests::bench::input::{body_bytes, name};
use weir_tests::bench::snappy;
use weir_tests::nezha::{Line, day};
use weir_tests::weir::{Weir, eventually};

use crate::fill::{self, Bodies, CLIENTS, Filled, Route, fill};
use crate::table::{self, Figure};
use crate::{Subject, now, number, rounds};

/// `batchsize` of Promtail, `batch_size` of Alloy.
const BATCH_BYTES: usize = 1 << 20;
const ROUTE: Route =
    Route { path: "/loki/api/v1/push", otlp: false, headers: &[("content-type", "application/x-protobuf")], topic: "weir.logs" };

/// Measures each binary and prints the table.
pub async fn bench(subjects: &[Subject]) {
    let size = number("SIZE_MB", 1070) * 1_000_000;
    let mut prepared = Prepared { bodies: Bodies::new(), batches: Default::default(), lines: 0, bytes: 0 };
    let input = prepared.days(size);
    let (lines, bytes) = (prepared.lines, prepared.bytes);
    let bodies = prepared.bodies.finish();
    println!(
        "spine logs: {:.0} MB of bodies in {lines} lines, {} requests of {CLIENTS} clients, {:.0} MB sent | {input}",
        bytes as f64 / 1e6,
        bodies.count,
        bodies.bytes as f64 / 1e6,
    );
    let mut columns = Vec::new();
    for subject in rounds(subjects) {
        let filled = fill(subject, &ROUTE, &bodies).await;
        wait_for_lines(&filled.weir, lines).await;
        fill::print(subject, &filled);
        table::add(&mut columns, subject.name, figures(&filled, bytes));
    }
    table::print(&columns);
}

fn figures(filled: &Filled, bytes: u64) -> Vec<Figure> {
    let rate = |stage: &fill::Stage| bytes as f64 / 1e6 / stage.cpu.as_secs_f64();
    vec![
        Figure::new("logs: push → bus → head, MB of bodies a CPU s", "≥ 100", rate(&filled.searchable), 1),
        Figure::new("logs: the same with seal and compaction", "≥ 70", rate(&filled.sealed), 1),
        filled.peak("logs: peak RSS until searchable, MiB", &filled.searchable),
        filled.peak("logs: peak RSS until compacted, MiB", &filled.sealed),
    ]
}

async fn wait_for_lines(weir: &Weir, lines: u64) {
    let query = "sum(count_over_time({namespace=\"nezha\"}[3650d]))";
    eventually("all lines", || async {
        let answer = weir.get("/loki/api/v1/query", &[("query", query)]).await;
        let found = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("none").to_owned();
        if found == lines.to_string() { Ok(()) } else { Err(format!("{found} of {lines} lines")) }
    })
    .await;
}

/// Requests as they become full.
struct Prepared {
    bodies: Bodies,
    batches: [Batch; CLIENTS],
    lines: u64,
    bytes: u64,
}

/// What an agent has not sent yet.
#[derive(Default)]
struct Batch {
    /// By pod and output.
    streams: BTreeMap<(String, String), Vec<EntryMessage>>,
    bytes: usize,
}

impl Prepared {
    /// Days until there are so many bytes of lines. Returns what it is made of.
    fn days(&mut self, size: u64) -> String {
        let day = day(usize::MAX, 0);
        let time = |line: &Line| parse_time_seconds(&line.time).expect("a time of a container engine");
        let (first, last) = (time(&day.lines[0]), time(&day.lines[day.lines.len() - 1]));
        let copies = size.div_ceil(body_bytes(&day.lines));
        let base = now() - last;
        for copy in 0..copies {
            let shift = base - (copies - 1 - copy) as i64 * (last - first + 1);
            for line in &day.lines {
                if self.bytes >= size {
                    break;
                }
                self.push(&of_copy(line, copy), time(line) + shift);
            }
        }
        for client in 0..CLIENTS {
            self.flush(client);
        }
        format!("{}, {copies} times", name(&day))
    }

    fn push(&mut self, line: &Line, at: i64) {
        let client = (hash(&line.pod) % CLIENTS as u64) as usize;
        let batch = &mut self.batches[client];
        batch.bytes += line.body.len();
        batch.streams.entry((line.pod.clone(), line.stream.clone())).or_default().push(entry(line, at));
        self.lines += 1;
        self.bytes += line.body.len() as u64;
        if batch.bytes >= BATCH_BYTES {
            self.flush(client);
        }
    }

    fn flush(&mut self, client: usize) {
        let batch = std::mem::take(&mut self.batches[client]);
        if batch.bytes == 0 {
            return;
        }
        let stream = |((pod, output), entries): ((String, String), _)| {
            let app = pod.rsplitn(3, '-').last().unwrap_or(&pod);
            let labels = format!(
                "{{app=\"{app}\", container=\"server\", job=\"nezha/{app}\", namespace=\"nezha\", node_name=\"node-{client}\", \
                 pod=\"{pod}\", stream=\"{output}\"}}"
            );
            StreamMessage { labels, entries }
        };
        let request = PushRequest { streams: batch.streams.into_iter().map(stream).collect() };
        self.bodies.push(client, &snappy::compress(&request.encode_to_vec()));
    }
}

/// A line of the same workload's later pod, of another trace.
fn of_copy(line: &Line, copy: u64) -> Line {
    if copy == 0 {
        return line.clone();
    }
    let (workload, own) = line.pod.rsplit_once('-').unwrap_or((&line.pod, ""));
    let pod = format!("{workload}-{:05x}", hash(own).wrapping_add(copy) & 0xf_ffff);
    let (trace_id, body) = match line.trace_id.get(4..) {
        Some(rest) => {
            let trace_id = format!("{copy:04x}{rest}");
            let body = line.body.replace(&line.trace_id, &trace_id);
            (trace_id, body)
        }
        None => (String::new(), line.body.clone()),
    };
    Line { pod, body, trace_id, ..line.clone() }
}

fn entry(line: &Line, at: i64) -> EntryMessage {
    let hash = hash(&line.pod);
    let ids = [("trace_id", &line.trace_id), ("span_id", &line.span_id)].into_iter().filter(|(_, id)| !id.is_empty());
    let of_pod = [
        ("k8s_pod_uid", format!("{:08x}-{:04x}-4000-8000-{:012x}", hash as u32, hash >> 48, hash >> 16)),
        ("container_id", format!("{hash:016x}").repeat(4)),
    ];
    let pair = |name: &str, value: String| PairMessage { name: name.to_owned(), value };
    let metadata = ids.map(|(name, id)| pair(name, id.clone())).chain(of_pod.map(|(name, value)| pair(name, value))).collect();
    let timestamp = Timestamp { seconds: at.div_euclid(1_000_000_000), nanos: at.rem_euclid(1_000_000_000) as i32 };
    EntryMessage { timestamp: Some(timestamp), line: line.body.clone(), metadata }
}

fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

// ---- logproto's PushRequest

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<StreamMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamMessage {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<EntryMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<PairMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PairMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}
