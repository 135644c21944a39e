//! What is on the disk after sealing and compaction, index and everything included: logs and spans of Nezha, samples of this
//! machine. Limit: `zstd -19 --long` of the same lines in one piece, without any index or access to a part of it.

use weir_model::resource::TENANT_DEFAULT;
use weir_model::signal::Signal;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};
use weir_runtime::samples::{NodeSampler, SamplerConfig};
use weir_tests::bench::path::{Aggregating, Collecting, clock, disk_bus};
use weir_tests::bench::watch::mb;
use weir_tests::bench::{input, limits, run, until};
use weir_tests::granted::granted;
use weir_tests::nezha::day;
use weir_tests::weir::PATIENCE;

/// Of the log lines: as many as the limit's compressor manages in a few seconds.
const LINES: usize = 25_000;

/// Samples of this machine: two hours of them.
const ROWS: u64 = 480;

/// What they are stamped with.
const STEP: i64 = 15_000_000_000;

/// Spans of an export request.
const EXPORT_SPANS: usize = 512;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let day = day(LINES, usize::MAX);
    let texts: Vec<String> = day.lines.iter().map(|line| line.body.clone()).collect();
    let limit = tokio::task::spawn_blocking(move || limits::zstd_19_long(texts.iter().map(String::as_str)));
    let files = input::write_files(&folder.path().join("pods"), &day.lines);
    let bus = disk_bus(folder.path());
    let aggregating = Aggregating::start(bus.clone(), folder.path());
    let collecting = Collecting::start(bus.clone(), folder.path(), Some(&folder.path().join("pods"))).await;
    until("all lines are acknowledged", || bus.records() >= files.lines).await;
    let samples = send_samples(&collecting).await;
    send_spans(&collecting, &input::otlp_requests(&day.spans, EXPORT_SPANS)).await;
    for kind in Kind::ALL {
        aggregating.searchable(kind).await;
    }
    aggregating.aggregator.seal().await.expect("seals");
    aggregating.aggregator.compact().await.expect("compacts");

    let (raw, logs) = (input::body_bytes(&day.lines), aggregating.block_bytes(Kind::Logs));
    let limit = limit.await.expect("compresses");
    let per = |kind, count: u64| aggregating.block_bytes(kind) as f64 / count as f64;
    println!(
        "disk: logs {:.1}x raw/disk with index ({} to {}) | limit: zstd -19 --long without index {:.1}x ({}) | samples {:.2} B \
         ({samples} of this machine, read at once and stamped {} s apart) | spans {:.1} B ({}) | {}",
        raw as f64 / logs as f64,
        mb(raw),
        mb(logs),
        raw as f64 / limit as f64,
        mb(limit),
        per(Kind::Metrics, samples),
        STEP / 1_000_000_000,
        per(Kind::Spans, day.spans.len() as u64),
        day.spans.len(),
        input::name(&day),
    );
    collecting.end().await;
    aggregating.end().await;
}

/// Real values, but read in seconds what a collector reads in hours: counters move less than they would.
async fn send_samples(collecting: &Collecting) -> u64 {
    let mut sampler = NodeSampler::new(SamplerConfig::local("bench")).expect("this machine has cgroups");
    let (begun, mut samples, shipper) = (clock()(), 0, collecting.collector.shipper());
    for row in 0..ROWS {
        let batches = tokio::task::block_in_place(|| sampler.sample(begun + row as i64 * STEP));
        for batch in batches {
            let (source, body) = (format!("node:bench/{}", batch.target.get("job")), batch);
            samples += body.records();
            let mark = Mark::Sequence { epoch: 1, first: row, last: row + 1 };
            let header = SectionHeader { tenant: TENANT_DEFAULT.into(), source, mark, records: 0 };
            // Receipts are not waited for one by one: the bus keeps the order, and `searchable` waits for the end.
            drop(shipper.send(Section::new(header, body)).await.expect("the shipper takes it"));
        }
    }
    samples
}

async fn send_spans(collecting: &Collecting, requests: &[Vec<u8>]) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let url = format!("http://{}/v1/traces", listener.local_addr().expect("bound"));
    let routes = granted(collecting.collector.otlp_http_router());
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });
    weir_tests::bench::otlp::send(&url, requests, PATIENCE).await;
    server.abort();
}
