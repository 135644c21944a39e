//! Log records in Kafka → searchable → sealed, by one aggregator process and by two on the same partitions. Limits, in the
//! same run: Kafka's own producer and consumer on records of the same size. Per-core figures are of the aggregators'
//! processes alone, as the kernel accounts them; what the broker uses comes on top, and on a machine without a core to
//! spare for each process wall figures say more about the machine than about two of them.

use std::path::Path;
use std::time::{Duration, Instant};

use weir_bus::kafka::{KafkaConfig, KafkaLog};
use weir_bus::{BusMetrics, Log};
use weir_heads::STATUS_PATH;
use weir_model::status::OwnerStatus;
use weir_model::wire::Kind;
use weir_tests::bench::bus::Counted;
use weir_tests::bench::path::Collecting;
use weir_tests::bench::watch::{Spent, mb, processor_time_of};
use weir_tests::bench::{input, run, until};
use weir_tests::kafka::Brokers;
use weir_tests::nezha::{Line, day};
use weir_tests::roles::Role;
use weir_tests::weir::eventually;

/// Of each topic: every owner of two has as many.
const PARTITIONS: u32 = 4;
/// The day as so many clusters would have it, so that a process runs for seconds.
const COPIES: usize = 4;
/// Groups tried until one shares out the partitions of logs evenly.
const GROUPS: usize = 8;
/// What the stock tools write and read: enough for their compiler to warm up.
const STOCK_BYTES: u64 = 1 << 30;

fn main() {
    run(bench());
}

async fn bench() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Brokers::start(1).await.expect("a broker");
    let day = day(usize::MAX, 0);
    let lines: Vec<Line> = (0..COPIES).flat_map(|copy| day.lines.iter().map(move |line| of_copy(line, copy))).collect();
    let bytes = input::body_bytes(&lines);
    let bus = load(folder.path(), &broker, &lines).await;
    let (records, high_watermark) = (bus.values().len() as u64, bus.bytes());
    let end = bus.end(Kind::Logs).await;
    println!(
        "aggregators: {} of lines, {} of them, {} in {records} records on the bus, {}",
        mb(bytes),
        lines.len(),
        mb(high_watermark),
        input::name(&day)
    );
    println!("aggregators: limit: {}", stock(&broker, (high_watermark / records.max(1)).max(1)));
    for count in [1, 2] {
        let own = folder.path().join(count.to_string());
        let ran = aggregate(&own, &broker, count, end).await;
        ran.print(count, bytes, high_watermark);
    }
}

fn of_copy(line: &Line, copy: usize) -> Line {
    Line { pod: format!("{}-{copy}", line.pod), ..line.clone() }
}

fn kafka(broker: &Brokers) -> KafkaConfig {
    KafkaConfig { brokers: broker.addresses(), partitions: PARTITIONS, replication: 1, ..KafkaConfig::default() }
}

/// All lines through a collector onto the bus.
async fn load(folder: &Path, broker: &Brokers, lines: &[Line]) -> std::sync::Arc<Counted> {
    let pods = folder.join("pods");
    let files = input::write_files(&pods, lines);
    let log: std::sync::Arc<dyn Log> =
        std::sync::Arc::new(KafkaLog::open(kafka(broker), BusMetrics::default()).expect("the bus"));
    let bus = Counted::new(log);
    let collecting = Collecting::start(bus.clone(), folder, Some(&pods)).await;
    until("all lines are acknowledged", || bus.records() >= files.lines).await;
    collecting.end().await;
    bus
}

/// What each process spent: from its start until everything could be found, and until everything was in blocks.
struct Ran {
    searchable: Vec<Spent>,
    sealed: Vec<Spent>,
    partitions: Vec<usize>,
}

impl Ran {
    fn print(&self, count: usize, bytes: u64, high_watermark: u64) {
        let line = |spent: &[Spent]| {
            let sum = Spent { wall: spent[0].wall, cpu: spent.iter().map(|spent| spent.cpu).sum() };
            let each: Vec<String> = spent.iter().map(|spent| format!("{:.2}", spent.cpu.as_secs_f64())).collect();
            format!("{}, {}, processor seconds {}", sum.mb_per_core(bytes), sum.mb_wall(bytes), each.join(" + "))
        };
        println!(
            "aggregators: {count} with {:?} partitions: to searchable {} ({} of the bus); to sealed {}",
            self.partitions,
            line(&self.searchable),
            self.searchable[0].mb_wall(high_watermark),
            line(&self.sealed)
        );
    }
}

/// Aggregators between which a group has shared out all partitions.
async fn share_out(folder: &Path, broker: &Brokers, count: usize, group: &str, store: &Path) -> Vec<Role> {
    let config = folder.join("weir.toml");
    let text = format!(
        "[bus]\nkind = \"kafka\"\n[bus.kafka]\nbrokers = {:?}\npartitions = {PARTITIONS}\nreplication = 1\ngroup = {group:?}\n\
         [aggregator.retention]\nlogs = \"0s\"\nmetrics = \"0s\"\ntraces = \"0s\"\n",
        broker.addresses()
    );
    std::fs::write(&config, text).expect("write the configuration");
    let (config, url) = (config.display().to_string(), format!("file://{}", store.display()));
    let roles: Vec<Role> =
        (0..count).map(|_| Role::start(folder, "aggregator", &["--config", &config, "--store", &url])).collect();
    let share = 3 * PARTITIONS as usize / count;
    eventually("each owns its share", async || {
        for role in &roles {
            let open = status(role).await?.len();
            (open == share).then_some(()).ok_or(format!("{open} of {share} partitions"))?;
        }
        Ok(())
    })
    .await;
    roles
}

/// A group of its own over the loaded topics, and a store of its own.
async fn aggregate(folder: &Path, broker: &Brokers, count: usize, end: u64) -> Ran {
    std::fs::create_dir_all(folder).expect("a folder");
    let store = folder.join("store");
    // The group decides once who owns what. Static members that die and come back at once find that unchanged, so that each
    // begins with its share, an empty store and nothing in memory.
    let mut roles = Vec::new();
    for group in 0..GROUPS {
        roles = share_out(folder, broker, count, &format!("of-{count}-{group}"), &store).await;
        let logs = of_logs(&roles).await;
        roles.iter_mut().for_each(Role::kill);
        std::fs::remove_dir_all(&store).expect("remove the store");
        // The group counts partitions of all topics alike, so that one member may have got all those of logs.
        if logs.iter().all(|of_logs| *of_logs == PARTITIONS as usize / count) {
            break;
        }
        println!("aggregators: a group gave {logs:?} partitions of logs; trying another one");
    }

    let begun = Instant::now();
    roles.iter_mut().for_each(Role::spawn);
    reach(&roles, end, |status| status.indexed_offset).await;
    let searchable = spent(&roles, begun);
    for role in &roles {
        let answer = weir_tls::client().post(role.url("/api/weir/v1/admin/seal")).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", role.log());
    }
    let sealed = spent(&roles, begun);
    reach(&roles, end, |status| status.committed_offset).await;
    let partitions = of_logs(&roles).await;
    assert!(partitions.iter().all(|own| *own == partitions[0]), "shares stayed as they were: {partitions:?}");
    Ran { searchable, sealed, partitions }
}

/// Partitions of logs that each owns.
async fn of_logs(roles: &[Role]) -> Vec<usize> {
    let mut partitions = Vec::with_capacity(roles.len());
    for role in roles {
        let owned = status(role).await.expect("a status");
        partitions.push(owned.iter().filter(|status| status.topic == Kind::Logs.topic()).count());
    }
    partitions
}

async fn status(role: &Role) -> Result<Vec<OwnerStatus>, String> {
    let answer = weir_tls::client().get(role.url(STATUS_PATH)).send().await.map_err(|error| error.to_string())?;
    answer.json().await.map_err(|error| error.to_string())
}

/// Until the owners' log partitions are all as far as the bus.
async fn reach(roles: &[Role], end: u64, far: impl Fn(&OwnerStatus) -> u64) {
    let begun = Instant::now();
    loop {
        let mut sum = 0;
        for role in roles {
            let logs = status(role).await.unwrap_or_default().into_iter().filter(|status| status.topic == Kind::Logs.topic());
            sum += logs.map(|status| far(&status)).sum::<u64>();
        }
        if sum >= end {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(600), "{sum} of {end} records after ten minutes\n{}", roles[0].log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn spent(roles: &[Role], begun: Instant) -> Vec<Spent> {
    let wall = begun.elapsed();
    let of = |role: &Role| Spent { wall, cpu: processor_time_of(role.pid().expect("it runs")) };
    roles.iter().map(of).collect()
}

/// What Kafka's own tools do with as many bytes in records of this size, on a topic like weir's. Their megabytes are 2²⁰ bytes.
fn stock(broker: &Brokers, size: u64) -> String {
    let (servers, partitions, count) = (broker.addresses(), PARTITIONS.to_string(), (STOCK_BYTES / size).max(1));
    let made = ["--bootstrap-server", &servers, "--create", "--topic", "stock", "--partitions", &partitions];
    let kept = ["--replication-factor", "1", "--config", "max.message.bytes=2097152"];
    broker.tool("org.apache.kafka.tools.TopicCommand", &[&made[..], &kept[..]].concat()).expect("a topic");
    let produced = broker.producer_speed("stock", count, size);
    let count = count.to_string();
    let read = ["--bootstrap-server", &servers, "--topic", "stock", "--messages", &count, "--timeout", "60000"];
    let output = broker.tool("org.apache.kafka.tools.ConsumerPerformance", &read).expect("ConsumerPerformance runs");
    // Its header: start.time, end.time, data.consumed.in.MB, MB.sec, …; the ninth is of fetching alone, without joining a group.
    let last = output.lines().rfind(|line| line.matches(',').count() >= 9 && line.starts_with('2'));
    let consumed = last.and_then(|line| line.split(", ").nth(8)?.trim().parse::<f64>().ok());
    let consumed = consumed.unwrap_or_else(|| panic!("no figure in:\n{output}")) * f64::from(1 << 20) / 1e6;
    format!(
        "ProducerPerformance {produced:.0} MB/s wall, ConsumerPerformance {consumed:.0} MB/s wall, {count} records of {size} bytes"
    )
}
