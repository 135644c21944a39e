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

    let stock = broker.producer_speed("weir.logs", STOCK_RECORDS, 1_000_000);
    println!(
        "file_to_kafka: {}, {} ({} on the bus, {}) | limit: read + line ends + zstd 1: {}; ProducerPerformance, 1 MB records: {stock:.0} MB/s wall \
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
