//! Log lines as agents send them, a mebibyte of bodies a request, an agent a node, each line with the ids of its trace and its
//! container: by Loki's push, protobuf and snappy, a stream a pod's output; and by OTLP, protobuf over HTTP, a resource a pod's
//! output. A day of a real cluster, again and again: each copy later than the one before, with pods and traces of its own.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use weir_collector::loki_push::logproto::{Entry, Pair, PushRequest, Stream, Timestamp};
use weir_model::time::parse_time_seconds;
use weir_tests::bench::export::{resource, scope, service, text};
use weir_tests::bench::input::{body_bytes, name};
use weir_tests::bench::snappy;
use weir_tests::nezha::{Line, day};
use weir_tests::weir::{Weir, eventually};

use crate::fill::{self, Bodies, CLIENTS, Filled, Route, fill};
use crate::table::{self, Figure};
use crate::{Subject, now, number, rounds};

/// `batchsize` of Promtail, `batch_size` of Alloy.
const BATCH_BYTES: usize = 1 << 20;

/// By pod and output; lines with their times.
type Batch = BTreeMap<(String, String), Vec<(Line, i64)>>;

/// How lines are sent.
pub struct Protocol {
    pub name: &'static str,
    pub route: Route,
    /// The label that all lines have, "nezha".
    pub namespace: &'static str,
    /// A client's request.
    encode: fn(usize, Batch) -> Vec<u8>,
}

/// Loki's push; ids are structured metadata.
pub const LOKI: Protocol = Protocol {
    name: "logs",
    route: Route {
        path: "/loki/api/v1/push",
        otlp: false,
        headers: &[("content-type", "application/x-protobuf")],
        topic: "weir.logs",
    },
    namespace: "namespace",
    encode: loki,
};

/// OTLP; ids are attributes of the records.
pub const OTLP: Protocol = Protocol {
    name: "otlp-logs",
    route: Route { path: "/v1/logs", otlp: true, headers: &[("content-type", "application/x-protobuf")], topic: "weir.logs" },
    namespace: "k8s_namespace_name",
    encode: |_, batch| otlp(batch, attributed),
};

/// OTLP; a record's ids are where the protocol has them, and it has no attributes.
pub const OTLP_BARE: Protocol = Protocol { name: "otlp-logs, no attributes", encode: |_, batch| otlp(batch, bare), ..OTLP };

/// Measures each binary and prints the table.
pub async fn bench(subjects: &[Subject], protocol: &Protocol) {
    let size = number("SIZE_MB", 1070) * 1_000_000;
    let mut prepared = Prepared::new(protocol);
    let input = prepared.days(size);
    let (lines, bytes) = (prepared.lines, prepared.bytes);
    let bodies = prepared.bodies.finish();
    println!(
        "spine {}: {:.0} MB of bodies in {lines} lines, {} requests of {CLIENTS} clients, {:.0} MB sent | {input}",
        protocol.name,
        bytes as f64 / 1e6,
        bodies.count,
        bodies.bytes as f64 / 1e6,
    );
    let mut columns = Vec::new();
    for subject in rounds(subjects) {
        let filled = fill(subject, &protocol.route, &bodies).await;
        wait_for_lines(&filled.weir, protocol.namespace, lines).await;
        fill::print(subject, &filled);
        table::add(&mut columns, subject.name, figures(protocol.name, &filled, bytes));
    }
    table::print(&columns);
}

fn figures(name: &str, filled: &Filled, bytes: u64) -> Vec<Figure> {
    let rate = |stage: &fill::Stage| bytes as f64 / 1e6 / stage.cpu.as_secs_f64();
    vec![
        Figure::new(format!("{name}: push → bus → head, MB of bodies a CPU s"), "≥ 100", rate(&filled.searchable), 1),
        Figure::new(format!("{name}: the same with seal and compaction"), "≥ 70", rate(&filled.sealed), 1),
        filled.peak(format!("{name}: peak RSS until searchable, MiB"), &filled.searchable),
        filled.peak(format!("{name}: peak RSS until compacted, MiB"), &filled.sealed),
    ]
}

pub async fn wait_for_lines(weir: &Weir, namespace: &str, lines: u64) {
    let query = format!("sum(count_over_time({{{namespace}=\"nezha\"}}[3650d]))");
    eventually("all lines", || async {
        let answer = weir.get("/loki/api/v1/query", &[("query", &query)]).await;
        let found = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("none").to_owned();
        if found == lines.to_string() { Ok(()) } else { Err(format!("{found} of {lines} lines")) }
    })
    .await;
}

/// Requests as they become full.
pub struct Prepared {
    pub bodies: Bodies,
    encode: fn(usize, Batch) -> Vec<u8>,
    /// What each agent has not sent yet, with the bytes of its bodies.
    batches: [(Batch, usize); CLIENTS],
    pub lines: u64,
    pub bytes: u64,
}

impl Prepared {
    pub fn new(protocol: &Protocol) -> Self {
        Self { bodies: Bodies::new(), encode: protocol.encode, batches: Default::default(), lines: 0, bytes: 0 }
    }

    /// Days until there are so many bytes of lines. Returns what it is made of.
    fn days(&mut self, size: u64) -> String {
        self.each_day(size, |line, copy, at| (of_copy(line, copy), at))
    }

    /// The same of lines that `make` makes of each: of a line, the copy's number and its time.
    pub fn each_day(&mut self, size: u64, mut make: impl FnMut(&Line, u64, i64) -> (Line, i64)) -> String {
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
                let (line, at) = make(line, copy, time(line) + shift);
                self.push(line, at);
            }
        }
        for client in 0..CLIENTS {
            self.flush(client);
        }
        format!("{}, {copies} times", name(&day))
    }

    fn push(&mut self, line: Line, at: i64) {
        let client = (hash(&line.pod) % CLIENTS as u64) as usize;
        let (batch, bytes) = &mut self.batches[client];
        self.lines += 1;
        self.bytes += line.body.len() as u64;
        *bytes += line.body.len();
        let is_full = *bytes >= BATCH_BYTES;
        batch.entry((line.pod.clone(), line.stream.clone())).or_default().push((line, at));
        if is_full {
            self.flush(client);
        }
    }

    fn flush(&mut self, client: usize) {
        let (batch, _) = std::mem::take(&mut self.batches[client]);
        if !batch.is_empty() {
            self.bodies.push(client, &(self.encode)(client, batch));
        }
    }
}

/// A line of the same workload's later pod, of another trace.
pub fn of_copy(line: &Line, copy: u64) -> Line {
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

/// Of a line's trace; empty ones are left out.
fn ids_of_trace(line: &Line) -> impl Iterator<Item = (&'static str, String)> {
    let ids = [("trace_id", &line.trace_id), ("span_id", &line.span_id)].into_iter().filter(|(_, id)| !id.is_empty());
    ids.map(|(name, id)| (name, id.clone())).collect::<Vec<_>>().into_iter()
}

/// Of the pod and of its container.
fn ids_of_pod(pod: &str) -> [String; 2] {
    let hash = hash(pod);
    let uid = format!("{:08x}-{:04x}-4000-8000-{:012x}", hash as u32, hash >> 48, hash >> 16);
    [uid, format!("{hash:016x}").repeat(4)]
}

fn loki(client: usize, batch: Batch) -> Vec<u8> {
    let stream = |((pod, output), lines): ((String, String), Vec<(Line, i64)>)| {
        let app = service(&pod);
        let labels = format!(
            "{{app=\"{app}\", container=\"server\", job=\"nezha/{app}\", namespace=\"nezha\", node_name=\"node-{client}\", \
             pod=\"{pod}\", stream=\"{output}\"}}"
        );
        Stream { labels, entries: lines.into_iter().map(entry).collect(), hash: 0 }
    };
    snappy::compress(&PushRequest { streams: batch.into_iter().map(stream).collect() }.encode_to_vec())
}

fn entry((line, at): (Line, i64)) -> Entry {
    let [uid, container] = ids_of_pod(&line.pod);
    let ids = ids_of_trace(&line).chain([("k8s_pod_uid", uid), ("container_id", container)]);
    let metadata = ids.map(|(name, value)| Pair { name: name.to_owned(), value }).collect();
    let timestamp = Timestamp { seconds: at.div_euclid(1_000_000_000), nanos: at.rem_euclid(1_000_000_000) as i32 };
    Entry { timestamp: Some(timestamp), line: line.body.into_bytes(), metadata }
}

fn otlp(batch: Batch, record: fn(Line, i64) -> LogRecord) -> Vec<u8> {
    let of_pod = |((pod, output), lines): ((String, String), Vec<(Line, i64)>)| {
        let mut resource = resource(&pod);
        resource.attributes.push(text("log.iostream", &output));
        let log_records = lines.into_iter().map(|(line, at)| record(line, at)).collect();
        ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }
    };
    ExportLogsServiceRequest { resource_logs: batch.into_iter().map(of_pod).collect() }.encode_to_vec()
}

fn attributed(line: Line, at: i64) -> LogRecord {
    let [uid, container] = ids_of_pod(&line.pod);
    let ids = ids_of_trace(&line).chain([("k8s.pod.uid", uid), ("container.id", container)]);
    let attributes = ids.map(|(name, value)| text(name, &value)).collect();
    LogRecord { time_unix_nano: at as u64, body: string(line.body), attributes, ..LogRecord::default() }
}

fn bare(line: Line, at: i64) -> LogRecord {
    let id = |id: &str| hex::decode(id).expect("hex");
    let (trace_id, span_id) = (id(&line.trace_id), id(&line.span_id));
    LogRecord { time_unix_nano: at as u64, body: string(line.body), trace_id, span_id, ..LogRecord::default() }
}

fn string(text: String) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(text)) })
}

pub fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}
