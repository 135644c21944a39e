//! Text targets → scraped → on the embedded log → in the head, in one process: series made included. Ten targets of 5,120
//! counters, as the anchors of Prometheus were measured, but every second instead of every five. The threads that answer
//! scrapes are not counted. Limit: reading the numbers of the same bodies alone.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use weir_collector::{Collector, CollectorConfig, Deps};
use weir_model::wire::Kind;
use weir_runtime::containers::InventoryConfig;
use weir_tests::bench::path::{Aggregating, clock, disk_bus};
use weir_tests::bench::run;
use weir_tests::bench::watch::{Spent, Watch, mb, spent};

const TARGETS: usize = 10;
const SERIES: usize = 5120;
/// Scrapes of each target, as of 75 s at 5 s.
const SCRAPES: u64 = 15;
/// What a scrape adds to a target's series.
const SYNTHETIC: usize = 5;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let serving: Arc<Vec<AtomicU64>> = Arc::new((0..TARGETS).map(|_| AtomicU64::new(0)).collect());
    let addresses: Vec<String> = (0..TARGETS).map(|target| serve(target, Arc::clone(&serving))).collect();
    let yaml = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: bench, static_configs: [{{targets: [{}]}}]}}]",
        addresses.join(", ")
    );
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, yaml).expect("write the configuration");

    let bus = disk_bus(folder.path());
    let aggregating = Aggregating::start(bus.clone(), folder.path());
    let mut config = CollectorConfig::default();
    config.files.containers = false;
    config.sample.enabled = false;
    config.scrape.config_file = Some(file);
    let stop = CancellationToken::new();
    let deps = Deps {
        bus: bus.clone(),
        registry: &mut Registry::default(),
        clock: clock(),
        node: "bench".into(),
        inventory: InventoryConfig { root: folder.path().to_path_buf(), ..InventoryConfig::default() },
        retention: weir_collector::Retention::default(),
        limits: weir_model::limits::Limits::default(),
        data: folder.path().join("collector"),
        outages: weir_model::outage::Outages::default(),
        shutdown: stop.clone(),
    };
    let (resident, watch) = (resident(), Watch::start());
    let collector = Collector::start(config, deps).await.expect("the collector starts");
    let samples = SCRAPES * (TARGETS * (SERIES + SYNTHETIC)) as u64;
    let in_head = || aggregating.status(Kind::Metrics).iter().map(|status| status.head_records).sum::<u64>();
    while in_head() < samples {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let spent_all = watch.spent();
    let samples = in_head();
    let serving: u64 = serving.iter().map(|nanos| nanos.load(Ordering::Relaxed)).sum();
    let own = Spent { cpu: spent_all.cpu.saturating_sub(Duration::from_nanos(serving)), ..spent_all };
    let grown = self::resident().saturating_sub(resident).saturating_sub(bus.bytes());
    let bodies: Vec<Vec<u8>> = (0..TARGETS).map(|target| body(target, 1)).collect();
    let (limit, sum) = spent(|| bodies.iter().map(|body| numbers(body)).sum::<f64>());
    assert!(sum > 0.0, "there are numbers");
    println!(
        "scrapes: {:.0} samples a CPU s | {:.0} B a series resident | {:.2} B a sample on the bus | limit: reading numbers alone {:.0} \
         | {samples} samples of {} series, {} on the bus, {:.2} s CPU, {:.2} s of it answering",
        own.per_core(samples),
        grown as f64 / (TARGETS * SERIES) as f64,
        bus.bytes() as f64 / samples as f64,
        limit.per_core((TARGETS * SERIES) as u64),
        TARGETS * SERIES,
        mb(bus.bytes()),
        spent_all.cpu.as_secs_f64(),
        serving as f64 / 1e9,
    );
    stop.cancel();
    collector.join().await;
    aggregating.end().await;
}

/// Bytes of this process in memory, without those of its file.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a process has memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// Processor time of the calling thread.
fn thread_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}

fn body(target: usize, round: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(SERIES * 128);
    for family in 0..SERIES / 128 {
        writeln!(
            out,
            "# HELP app_{family}_requests_total Requests that were served.\n# TYPE app_{family}_requests_total counter"
        )
        .expect("memory");
        for i in 0..128_u64 {
            let (namespace, pod, value) = (i % 8, i / 4, 1_000_000 + i * 977 + round * (i % 50));
            writeln!(
                out,
                "app_{family}_requests_total{{namespace=\"namespace-{namespace}\",pod=\"app-{target}-{pod:04x}\",code=\"{}\"}} {value}",
                200 + i % 4
            )
            .expect("memory");
        }
    }
    out
}

fn numbers(body: &[u8]) -> f64 {
    let text = std::str::from_utf8(body).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(_, number)| number.parse::<f64>().expect("a number")).sum()
}

/// Answers scrapes on a thread of its own until the process ends; adds what it takes to `serving[target]`.
fn serve(target: usize, serving: Arc<Vec<AtomicU64>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        let mut round = 0;
        for connection in listener.incoming() {
            let connection = connection.expect("a connection");
            let mut lines = BufReader::new(connection.try_clone().expect("another handle"));
            let (mut line, mut answer) = (String::new(), connection);
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                if line == "\r\n" {
                    round += 1;
                    let body = body(target, round);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    if answer.write_all(&[head.as_bytes(), &body].concat()).is_err() {
                        break;
                    }
                    serving[target].store(thread_nanos(), Ordering::Relaxed);
                }
                line.clear();
            }
        }
    });
    address
}
