//! CRI files → parsed → compressed → acknowledged by a real Kafka broker (`acks=all`, idempotent). Limits: Kafka's own
//! ProducerPerformance against the same broker in 1 MB records; reading, line ends and zstd 1 of the same bytes.

use std::sync::Arc;

use weir_bus::BusMetrics;
use weir_bus::kafka::{KafkaConfig, KafkaLog};
use weir_tests::bench::bus::Counted;
use weir_tests::bench::path::Collecting;
use weir_tests::bench::watch::{Watch, mb};
use weir_tests::bench::{input, limits, run, until};
use weir_tests::kafka::Brokers;
use weir_tests::nezha::day;

/// Megabyte records of the stock tool: enough for its compiler to warm up.
const STOCK_RECORDS: u64 = 500;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Brokers::start(1).await.expect("a broker");
    let day = day(usize::MAX, 0);
    let files = input::write_files(&folder.path().join("pods"), &day.lines);
    let (limit, _) = limits::read_split_compress(&files.paths);

    let config = KafkaConfig { brokers: broker.addresses(), partitions: 4, replication: 1, ..KafkaConfig::default() };
    let bus = Counted::new(Arc::new(KafkaLog::open(config, BusMetrics::default()).expect("the bus")));
    let watch = Watch::start();
    let collecting = Collecting::start(bus.clone(), folder.path(), Some(&folder.path().join("pods"))).await;
    until("all lines are acknowledged", || bus.records() >= files.lines).await;
    let spent = watch.spent();
    assert_eq!(bus.records(), files.lines, "each line once");
    collecting.end().await;

    let stock = stock(&broker, STOCK_RECORDS);
    println!(
        "file_to_kafka: {}, {} ({} on the bus, {}) | limit: read + line ends + zstd 1: {}; ProducerPerformance, 1 MB records: {stock} \
         | {} in {} files, {} lines, {}",
        spent.mb_per_core(files.bytes),
        spent.mb_wall(files.bytes),
        mb(bus.bytes()),
        spent.mb_wall(bus.bytes()),
        limit.mb_per_core(files.bytes),
        mb(files.bytes),
        files.paths.len(),
        files.lines,
        input::name(&day),
    );
}

/// What the stock tool says at its end: `…, N records/sec (N MB/sec), …`; its megabytes are 2²⁰ bytes.
fn stock(broker: &Brokers, records: u64) -> String {
    let properties = format!("bootstrap.servers={}", broker.addresses());
    let records = records.to_string();
    let arguments = ["--topic", "weir.logs", "--num-records", &records, "--record-size", "1000000", "--throughput", "-1"];
    let output = broker
        .tool(
            "org.apache.kafka.tools.ProducerPerformance",
            &[&arguments[..], &["--producer-props", &properties, "acks=all"]].concat(),
        )
        .expect("ProducerPerformance runs");
    let last = output.lines().rfind(|line| line.contains("MB/sec")).unwrap_or_else(|| panic!("no figure in:\n{output}"));
    let per_second: f64 =
        last.split(" records/sec").next().and_then(|text| text.rsplit(' ').next()?.parse().ok()).expect("a number");
    format!("{per_second:.0} MB/s wall")
}
