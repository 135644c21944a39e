//! Real cluster telemetry (Nezha): its log lines and spans, to be replayed as rotating CRI files and over OTLP.
//!
//! The data lies beside the checkout and is not part of the project; where it is absent, a small set of the same shape
//! made here takes its place, so that every test runs everywhere. Only tests and benches call this.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// One log line, as its container wrote it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Pod name.
    pub pod: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339 with nanoseconds, as the container engine wrote it.
    pub time: String,
    /// Without its line end.
    pub body: String,
    /// 32 hex digits, or empty.
    pub trace_id: String,
    /// 16 hex digits, or empty.
    pub span_id: String,
}

/// One span.
#[derive(Clone, Debug)]
pub struct SpanRow {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits; empty for a root.
    pub parent_id: String,
    /// Pod name.
    pub pod: String,
    /// Operation.
    pub name: String,
    /// Unix nanoseconds.
    pub start: u64,
    /// Unix nanoseconds.
    pub end: u64,
}

/// What one day of a cluster wrote.
pub struct Day {
    /// Ascending by time.
    pub lines: Vec<Line>,
    /// As collected.
    pub spans: Vec<SpanRow>,
    /// Whether it is Nezha's or ours.
    pub real: bool,
}

/// Where shared data would lie.
pub fn shared() -> PathBuf {
    match std::env::var_os("WEIR_SHARED") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    }
}

/// Train Ticket's day, at most this many lines and spans; a made-up day where the data is absent.
pub fn day(lines_max: usize, spans_max: usize) -> Day {
    let folder = shared().join("data/nezha/2023-01-29");
    if !folder.join("logs.csv.zst").is_file() {
        return made_up(lines_max.min(20_000), spans_max.min(5_000));
    }
    let mut lines: Vec<Line> = rows(&folder.join("logs.csv.zst")).take(lines_max).filter_map(|row| line(&row)).collect();
    lines.sort_by(|a, b| a.time.cmp(&b.time));
    let spans = rows(&folder.join("spans.csv.zst")).take(spans_max).map(|row| span(&row)).collect();
    Day { lines, spans, real: true }
}

/// The spans of a day, `2022-08-22` or `2023-01-29`, one at a time; none where the data is absent.
pub fn spans_of(date: &str) -> Option<impl Iterator<Item = SpanRow> + use<>> {
    let path = shared().join("data/nezha").join(date).join("spans.csv.zst");
    path.is_file().then(|| rows(&path).map(|row| span(&row)))
}

fn rows(path: &Path) -> impl Iterator<Item = csv::StringRecord> + use<> {
    let file = File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let mut decoder = zstd::Decoder::new(file).expect("zstd");
    decoder.window_log_max(27).expect("zstd takes long windows");
    // A handful of rows of the source are broken (a line of JSON with quotes of its own): they are no records of anything.
    let reader = csv::ReaderBuilder::new().flexible(true).from_reader(decoder);
    reader.into_records().map(|row| row.expect("a row")).filter(|row| row.len() == 8)
}

fn line(row: &csv::StringRecord) -> Option<Line> {
    let record: Value = serde_json::from_str(&row[7]).ok()?;
    let body = record["log"].as_str()?.trim_end_matches('\n');
    let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(Line {
        pod: row[3].to_owned(),
        stream: record["stream"].as_str()?.to_owned(),
        time: record["time"].as_str()?.to_owned(),
        body: body.replace('\n', " "),
        trace_id: if hex(&row[5], 32) { row[5].to_owned() } else { String::new() },
        span_id: if hex(&row[6], 16) { row[6].to_owned() } else { String::new() },
    })
}

fn span(row: &csv::StringRecord) -> SpanRow {
    SpanRow {
        trace_id: row[0].to_owned(),
        span_id: row[1].to_owned(),
        parent_id: if &row[2] == "root" { String::new() } else { row[2].to_owned() },
        pod: row[3].to_owned(),
        name: row[4].to_owned(),
        start: row[5].parse().expect("a start time"),
        end: row[6].parse().expect("an end time"),
    }
}

fn made_up(lines: usize, spans: usize) -> Day {
    let pod = |i: usize| format!("shop-{}-6f96cfc45b-h5m2n", ["cart", "front", "pay", "search"][i % 4]);
    let trace = |i: usize| format!("{:032x}", 0x9e37_79b9_7f4a_7c15_u128 * (i as u128 / 5 + 1));
    let lines = (0..lines).map(|i| Line {
        pod: pod(i),
        stream: if i % 17 == 0 { "stderr" } else { "stdout" }.to_owned(),
        time: format!("2023-01-29T08:{:02}:{:02}.{:09}Z", i / 6000 % 60, i / 100 % 60, i % 100 * 10_000_000 + i),
        body: format!("INFO  t.s.OrderService#{} TraceID: {} [query][order {}][status {}]", i % 90, trace(i), i, i % 7),
        trace_id: trace(i),
        span_id: format!("{:016x}", i + 1),
    });
    let base = 1_674_981_742_000_000_000_u64;
    let spans = (0..spans).map(|i| SpanRow {
        trace_id: trace(i),
        span_id: format!("{:016x}", i + 1),
        parent_id: if i % 5 == 0 { String::new() } else { format!("{:016x}", i) },
        pod: pod(i),
        name: format!("OrderService.step{}", i % 5),
        start: base + i as u64 * 1_000_000,
        end: base + i as u64 * 1_000_000 + 700_000,
    });
    Day { lines: lines.collect(), spans: spans.collect(), real: false }
}

/// Writes lines as the kubelet lays CRI logs out: `<root>/<namespace>_<pod>_<uid>/<container>/0.log`, rotated by rename
/// whenever a file passes `rotate_bytes`.
pub struct CriWriter {
    root: PathBuf,
    rotate_bytes: u64,
    files: std::collections::HashMap<String, (File, u64, u32)>,
}

impl CriWriter {
    /// Below `root`, which takes the place of `/var/log/pods`.
    pub fn new(root: &Path, rotate_bytes: u64) -> Self {
        Self { root: root.to_path_buf(), rotate_bytes, files: Default::default() }
    }

    /// The folder of a pod's only container.
    pub fn folder(&self, pod: &str) -> PathBuf {
        let uid = format!("{:08x}-0000-4000-8000-000000000000", crc32c_of(pod));
        self.root.join(format!("nezha_{pod}_{uid}")).join("server")
    }

    /// Appends one line.
    pub fn write(&mut self, line: &Line) {
        let folder = self.folder(&line.pod);
        let (file, bytes, rotations) = self.files.entry(line.pod.clone()).or_insert_with(|| {
            std::fs::create_dir_all(&folder).expect("create the pod's folder");
            (open(&folder.join("0.log")), 0, 0)
        });
        let text = format!("{} {} F {}\n", line.time, line.stream, line.body);
        file.write_all(text.as_bytes()).expect("write a log line");
        *bytes += text.len() as u64;
        if *bytes > self.rotate_bytes {
            *rotations += 1;
            let stamp = format!("0.log.20230129-{:06}", *rotations);
            std::fs::rename(folder.join("0.log"), folder.join(stamp)).expect("rotate");
            (*file, *bytes) = (open(&folder.join("0.log")), 0);
        }
    }
}

fn open(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("open a log file")
}

fn crc32c_of(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// An OTLP/JSON trace export of these spans, a resource a pod.
pub fn otlp_json(spans: &[SpanRow]) -> Value {
    let mut by_pod: std::collections::BTreeMap<&str, Vec<Value>> = Default::default();
    for span in spans {
        by_pod.entry(&span.pod).or_default().push(json!({
            "traceId": span.trace_id, "spanId": span.span_id, "parentSpanId": span.parent_id, "name": span.name, "kind": 2,
            "startTimeUnixNano": span.start.to_string(), "endTimeUnixNano": span.end.to_string(),
        }));
    }
    let resource = |(pod, spans): (&str, Vec<Value>)| {
        let service = pod.rsplitn(3, '-').last().unwrap_or(pod);
        json!({
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": service}},
                {"key": "k8s.pod.name", "value": {"stringValue": pod}},
            ]},
            "scopeSpans": [{"scope": {"name": "nezha"}, "spans": spans}],
        })
    };
    json!({"resourceSpans": by_pod.into_iter().map(resource).collect::<Vec<_>>()})
}
