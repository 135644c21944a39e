//! The writers: each sends one request after the other, the same bytes until they are acknowledged, and keeps its account.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use weir_collector::remote_write::compress;
use weir_model::prompb;

use super::Writer;
use crate::nezha::{CriWriter, Line};

/// A body that no other record has, with bytes that a careless parser would trip over.
fn body(source: &str, number: usize, random: &mut StdRng) -> String {
    let filler: String = (0..random.random_range(0..120)).map(|_| random.random_range(' '..='~')).collect();
    format!("ledger {source} {number:08} é \\n \"{filler}\"")
}

impl Writer {
    /// Sends the same bytes until they are acknowledged, as every serious client does.
    async fn post(&self, http: &reqwest::Client, url: &str, body: &Value) {
        self.post_bytes(http, url, "application/json", body.to_string().into_bytes()).await;
    }

    async fn post_bytes(&self, http: &reqwest::Client, url: &str, kind: &str, body: Vec<u8>) {
        for repeats in 1.. {
            let request = http.post(url).header("content-type", kind).body(body.clone());
            match request.timeout(Duration::from_secs(20)).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => {
                    let status = answer.status();
                    assert!(
                        status.is_server_error() || status == 429,
                        "{url}: {status} {}",
                        answer.text().await.unwrap_or_default()
                    );
                }
                Err(_) => {}
            }
            self.repeats.fetch_max(repeats, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(super) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_nanos()).expect("a clock before 2554")
}

pub(super) async fn push(url: String, source: String, writer: Writer, seed: u64) {
    let (http, mut random, mut number) = (weir_tls::client(), StdRng::seed_from_u64(seed), 0);
    while writer.running() {
        let count = random.random_range(1..40);
        let bodies: Vec<String> = (number..number + count).map(|number| body(&source, number, &mut random)).collect();
        number += count;
        let at = now();
        let values: Vec<Value> = bodies.iter().enumerate().map(|(i, body)| json!([(at + i as u64).to_string(), body])).collect();
        writer.sent(&source, &bodies);
        writer.post(&http, &url, &json!({"streams": [{"stream": {"ledger": source}, "values": values}]})).await;
        writer.acknowledged(&source);
        tokio::time::sleep(writer.load.pause).await;
    }
}

pub(super) async fn trace(url: String, source: String, writer: Writer) {
    let (http, mut number) = (weir_tls::client(), 0_u64);
    while writer.running() {
        let spans: Vec<(String, Value)> = (0..10)
            .map(|i| {
                let id = xxhash_rust::xxh3::xxh3_128(format!("{source} {number} {}", i / 5).as_bytes());
                let span = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(format!("{source} {number} {i}").as_bytes()));
                let at = now();
                let row = json!({"traceId": format!("{id:032x}"), "spanId": span, "name": format!("{source} {number}"), "kind": 1,
                    "startTimeUnixNano": at.to_string(), "endTimeUnixNano": (at + 1000).to_string()});
                (format!("{id:032x} {span}"), row)
            })
            .collect();
        number += 1;
        let bodies: Vec<String> = spans.iter().map(|(key, _)| key.clone()).collect();
        let rows: Vec<Value> = spans.into_iter().map(|(_, row)| row).collect();
        writer.sent(&source, &bodies);
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": source}}]});
        writer.post(&http, &url, &json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": rows}]}]})).await;
        writer.acknowledged(&source);
        tokio::time::sleep(writer.load.pause.max(Duration::from_millis(20))).await;
    }
}

/// One gauge, a sample a millisecond of its own. A record is `<unix milliseconds> <value>`.
pub(super) async fn measure(url: String, source: String, writer: Writer) {
    let (http, begun_ms, mut number) = (weir_tls::client(), now() / 1_000_000, 0_u64);
    while writer.running() {
        let samples: Vec<u64> = (number..number + 10).collect();
        number += 10;
        let bodies: Vec<String> = samples.iter().map(|number| format!("{} {number}", begun_ms + number)).collect();
        let attributes = json!([{"key": "ledger", "value": {"stringValue": source}}]);
        let points: Vec<Value> = samples
            .iter()
            .map(|number| {
                let at = format!("{}000000", begun_ms + number);
                json!({"timeUnixNano": at, "asDouble": *number as f64, "attributes": attributes})
            })
            .collect();
        writer.sent(&source, &bodies);
        let metric = json!({"name": "ledger_number", "gauge": {"dataPoints": points}});
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": source}}]});
        let request = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]});
        writer.post(&http, &url, &request).await;
        writer.acknowledged(&source);
        tokio::time::sleep(writer.load.pause.max(Duration::from_millis(20))).await;
    }
}

/// The same as [`measure`] by remote write.
pub(super) async fn remote_write(url: String, source: String, writer: Writer) {
    let (http, begun_ms, mut number) = (weir_tls::client(), now() / 1_000_000, 0_u64);
    let labels =
        prompb::labels([("__name__", "ledger_number"), ("instance", "ledger:1"), ("job", "ledger"), ("ledger", source.as_str())]);
    while writer.running() {
        let numbers: Vec<u64> = (number..number + 10).collect();
        number += 10;
        let bodies: Vec<String> = numbers.iter().map(|number| format!("{} {number}", begun_ms + number)).collect();
        let sample = |number: &u64| {
            let timestamp = i64::try_from(begun_ms + number).expect("a clock before 2262");
            prompb::Sample { value: *number as f64, timestamp, start_timestamp: 0 }
        };
        let samples = numbers.iter().map(sample).collect();
        let series = prompb::TimeSeries { labels: labels.clone(), samples, ..Default::default() };
        let request = prompb::WriteRequest { timeseries: vec![series], metadata: Vec::new() };
        // The two versions by turns.
        let (kind, body) = if number.is_multiple_of(20) {
            ("application/x-protobuf", compress(&request))
        } else {
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", compress(&prompb::upgrade(&request)))
        };
        writer.sent(&source, &bodies);
        writer.post_bytes(&http, &url, kind, body).await;
        writer.acknowledged(&source);
        tokio::time::sleep(writer.load.pause.max(Duration::from_millis(20))).await;
    }
}

/// The stream that a container writes its line of this number to: each has a partition, and an order, of its own.
pub(super) fn stream_of(number: usize) -> &'static str {
    if number.is_multiple_of(5) { "stderr" } else { "stdout" }
}

/// A container's log: a line counts as acknowledged once it is in the file, whatever weir is doing. Rotates often.
pub(super) fn file(pods: &Path, source: &str, writer: &Writer, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut file = CriWriter::new(pods, 64 << 10);
    let mut number = 0;
    let mut due = Instant::now();
    while writer.running() {
        let count = random.random_range(1..30);
        let bodies: Vec<String> = (number..number + count).map(|number| body(source, number, &mut random)).collect();
        number += count;
        writer.sent(source, &bodies);
        for (body, number) in bodies.into_iter().zip(number - count..) {
            let time = weir_model::time::format_rfc3339(i64::try_from(now()).expect("a clock before 2262"));
            let stream = stream_of(number);
            let (trace_id, span_id) = (String::new(), String::new());
            file.write(&Line { pod: source.into(), stream: stream.into(), time, body, trace_id, span_id });
        }
        writer.acknowledged(source);
        // A container writes at its own pace; a busy loop here would only measure the disk.
        due += Duration::from_secs(1) * count as u32 / writer.load.lines_per_second;
        while writer.running() && !writer.hurried() && Instant::now() < due {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if writer.hurried() {
            due = Instant::now();
        }
    }
}
