//! Remote write 1.0 and 2.0 over HTTP → decoded → acknowledged by the embedded log → in the head. The client is a process of its own,
//! this executable once more, and no part of any figure. Beside it a real Prometheus and a real VictoriaMetrics take the same requests
//! of 1.0, where they are installed (`PEERS=0` leaves them out). `ROUNDS` is how many samples a series has: the first of them makes
//! it. Limits: decompressing the requests alone, and parsing them with prost alone.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use prost::Message;
use weir_collector::remote_write::compress;
use weir_model::prompb::{Sample, TimeSeries, WriteRequest, labels, upgrade};
use weir_model::wire::Kind;
use weir_tests::bench::path::{Aggregating, Collecting, disk_bus};
use weir_tests::bench::run;
use weir_tests::bench::watch::{Spent, Watch, mb, spent};
use weir_tests::granted::granted;
use weir_tests::process::Process;
use weir_tests::weir::{PATIENCE, free_port};

/// Targets, and series of each: the shape of a cluster of a few hundred pods.
const TARGETS: usize = 250;
const SERIES: usize = 472;
/// Samples of a request, each of another series: Prometheus' `max_samples_per_send`.
const REQUEST: usize = 2000;
/// Scrapes of all targets, where `ROUNDS` says nothing.
const ROUNDS: usize = 20;
/// Of Prometheus' shards. They begin anywhere in a target, so that each round's requests end elsewhere.
const SENDERS: usize = 4;
/// Between two scrapes of a target, milliseconds.
const STEP: i64 = 15_000;

/// Of 1.0.
const TYPE_ONE: &str = "application/x-protobuf";
/// Where the sender finds what it is to send, and to whom.
const SENDER_FILE: &str = "REMOTE_WRITE_FILE";
const SENDER_URL: &str = "REMOTE_WRITE_URL";
const SENDER_TYPE: &str = "REMOTE_WRITE_TYPE";

fn main() {
    match env::var(SENDER_FILE) {
        Ok(file) => run(sender(file)),
        Err(_) => run(bench()),
    }
}

/// Bodies by sender, in order.
type Bodies = Vec<Vec<Vec<u8>>>;

async fn bench() {
    let rounds = env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let samples = (TARGETS * SERIES * rounds) as u64;
    let one = bodies(rounds, compress);
    let two = bodies(rounds, |request| compress(&upgrade(request)));
    let folder = tempfile::tempdir().expect("a folder");
    let [file_one, file_two] = [("1.0", &one), ("2.0", &two)].map(|(name, bodies)| write(folder.path().join(name), bodies));
    let bytes = |bodies: &Bodies| bodies.iter().flatten().map(|body| body.len() as u64).sum::<u64>();
    let (snappy, _) = spent(|| one.iter().flatten().map(|body| unpack(body).len()).sum::<usize>());
    let (prost, _) = spent(|| {
        let decode = |body: &Vec<u8>| WriteRequest::decode(&unpack(body)[..]).expect("our own bytes").timeseries.len();
        one.iter().flatten().map(decode).sum::<usize>()
    });
    let mut figures = Vec::new();
    for (version, kind, bodies, file) in [
        ("1.0", TYPE_ONE, &one, &file_one),
        ("2.0", "application/x-protobuf;proto=io.prometheus.write.v2.Request", &two, &file_two),
    ] {
        let (bus, head, stored) = weir(kind, file, samples).await;
        figures.push(format!(
            "{version}: {:.0} samples/s per core ({:.0} to acknowledged), {} sent, {} on the bus",
            samples as f64 / (bus.cpu + head.cpu).as_secs_f64(),
            bus.per_core(samples),
            mb(bytes(bodies)),
            mb(stored),
        ));
    }
    let peers: [(&str, Start); 2] = [("prometheus", prometheus), ("victoria-metrics", victoria_metrics)];
    let is_alone = env::var("PEERS").is_ok_and(|peers| peers == "0");
    for (name, start) in peers.into_iter().filter(|_| !is_alone) {
        if !Path::new("/usr/bin").join(name).exists() {
            figures.push(format!("{name}: not installed"));
            continue;
        }
        let port = free_port();
        let peer = start(folder.path(), port);
        figures.push(format!("{name}, 1.0: {:.0} samples/s per core", peer.take(name, &file_one, samples).await));
    }
    println!(
        "remote_write: {} | limit: snappy alone {:.0}, with prost {:.0} samples/s per core | {samples} samples of {} series, {REQUEST} a request",
        figures.join(" | "),
        snappy.per_core(samples),
        prost.per_core(samples),
        TARGETS * SERIES,
    );
}

/// A file from which [`read`] has the bodies: of each sender their count, and each with its length.
fn write(file: PathBuf, bodies: &Bodies) -> PathBuf {
    let mut bytes = Vec::new();
    for own in bodies {
        bytes.extend_from_slice(&(own.len() as u32).to_le_bytes());
        for body in own {
            bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
            bytes.extend_from_slice(body);
        }
    }
    std::fs::write(&file, bytes).expect("write a file");
    file
}

fn read(file: &str) -> Bodies {
    let bytes = std::fs::read(file).expect("the bench wrote it");
    let mut rest = &bytes[..];
    let take = |rest: &mut &[u8], count: usize| rest.split_off(..count).expect("as it was written").to_vec();
    let number = |rest: &mut &[u8]| u32::from_le_bytes(take(rest, 4).try_into().expect("four bytes")) as usize;
    let mut bodies = Bodies::new();
    while !rest.is_empty() {
        let own = (0..number(&mut rest)).map(|_| {
            let length = number(&mut rest);
            take(&mut rest, length)
        });
        bodies.push(own.collect());
    }
    bodies
}

fn unpack(body: &[u8]) -> Vec<u8> {
    snap::raw::Decoder::new().decompress_vec(body).expect("our own bytes")
}

/// What senders send: each has the same share of series always, and cuts its stream of samples every [`REQUEST`].
fn bodies(rounds: usize, encode: impl Fn(&WriteRequest) -> Vec<u8>) -> Bodies {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64;
    let begin = now - rounds as i64 * STEP;
    let sender = |sender: usize| {
        let mut stream = Vec::new();
        for round in 0..rounds {
            for target in (0..TARGETS).filter(|target| target % SENDERS == sender) {
                let time = begin + round as i64 * STEP + target as i64 * 40;
                stream.extend((0..SERIES).map(|series| (target, series, time, round)));
            }
        }
        let request = |samples: &[(usize, usize, i64, usize)]| {
            let timeseries = samples.iter().map(|(target, series, time, round)| one(*target, *series, *time, *round)).collect();
            encode(&WriteRequest { timeseries, metadata: Vec::new() })
        };
        stream.chunks(REQUEST).map(request).collect()
    };
    (0..SENDERS).map(sender).collect()
}

fn one(target: usize, series: usize, timestamp: i64, round: usize) -> TimeSeries {
    let (instance, pod) = (format!("10.{}.{}.7:8080", target / 100, target % 100), format!("checkout-7d9f8b6c5-{target:05}"));
    let (name, code) = (format!("http_server_request_duration_seconds_{}", series / 40), format!("{}", 200 + series % 5));
    let (path, le) = (format!("/api/v1/orders/{}", series / 5 % 4), format!("{}", (series % 40) as f64 / 8.0));
    let number = series.to_string();
    let pairs = [
        ("__name__", name.as_str()),
        ("cluster", "production-eu-west-1"),
        ("code", code.as_str()),
        ("instance", instance.as_str()),
        ("job", "kubernetes-pods"),
        ("le", le.as_str()),
        ("method", if series.is_multiple_of(2) { "GET" } else { "POST" }),
        ("namespace", "checkout"),
        ("path", path.as_str()),
        ("pod", pod.as_str()),
        ("series", number.as_str()),
    ];
    // Two of three counters move.
    let value = if series.is_multiple_of(3) { series as f64 } else { (round * (series + 3) + target) as f64 };
    let samples = vec![Sample { value, timestamp, start_timestamp: 0 }];
    TimeSeries { labels: labels(pairs), samples, ..TimeSeries::default() }
}

/// What the process does that sends.
async fn sender(file: String) {
    let [url, kind] = [SENDER_URL, SENDER_TYPE].map(|name| env::var(name).expect("the bench sets it"));
    let (client, mut tasks) = (weir_tls::client(), tokio::task::JoinSet::new());
    for own in read(&file) {
        let (client, url, kind) = (client.clone(), url.clone(), kind.clone());
        tasks.spawn(async move {
            for body in own {
                let begun = Instant::now();
                loop {
                    let request = client.post(&url).header("content-type", &kind).header("content-encoding", "snappy");
                    let request = request.header("x-prometheus-remote-write-version", "0.1.0").body(body.clone());
                    match request.send().await {
                        Ok(answer) if answer.status().is_success() => break,
                        Ok(answer) => assert!(
                            answer.status() == 429 || answer.status().is_server_error(),
                            "{url}: {}",
                            answer.text().await.unwrap_or_default()
                        ),
                        Err(error) => assert!(begun.elapsed() < PATIENCE, "{url}: {error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a sender ends well");
    }
}

/// Sends all bodies of a file from a process of its own.
async fn send(url: &str, kind: &str, file: &Path) {
    let mut command = tokio::process::Command::new(env::current_exe().expect("this executable"));
    command.env(SENDER_FILE, file).env(SENDER_URL, url).env(SENDER_TYPE, kind).stdin(Stdio::null()).kill_on_drop(true);
    let status = command.status().await.expect("start a sender");
    assert!(status.success(), "{url}: {status}");
}

/// To acknowledged, from there to the head, and bytes on the bus.
async fn weir(kind: &str, file: &Path, samples: u64) -> (Spent, Spent, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = disk_bus(folder.path());
    let collecting = Collecting::start(bus.clone(), folder.path(), None).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let url = format!("http://{}/api/v1/write", listener.local_addr().expect("bound"));
    let routes = granted(collecting.collector.push_router());
    let server = tokio::spawn(async move { axum::serve(listener, routes).await });
    let watch = Watch::start();
    send(&url, kind, file).await;
    let acknowledged = watch.spent();
    assert!((samples..samples + 1000).contains(&bus.records()), "each sample once: {} of {samples}", bus.records());
    let watch = Watch::start();
    let aggregating = Aggregating::start(bus.clone(), folder.path());
    aggregating.searchable(Kind::Metrics).await;
    let head = watch.spent();
    let in_head: u64 = aggregating.status(Kind::Metrics).iter().map(|status| status.head_records).sum();
    assert!((samples..samples + 1000).contains(&in_head), "each sample once: {in_head} of {samples}");
    server.abort();
    let stored = bus.bytes();
    collecting.end().await;
    aggregating.end().await;
    (acknowledged, head, stored)
}

/// Starts one below a folder, at a port.
type Start = fn(&Path, u16) -> Peer;

struct Peer {
    process: Process,
    ready: String,
    write: String,
}

impl Peer {
    /// Samples a second of its processor time.
    async fn take(mut self, name: &str, file: &Path, samples: u64) -> f64 {
        self.process.wait_for(&self.ready).await;
        let before = processor_time(self.process.pid());
        send(&self.write, TYPE_ONE, file).await;
        let spent = processor_time(self.process.pid()).saturating_sub(before);
        assert!(!spent.is_zero(), "{name} took no time");
        samples as f64 / spent.as_secs_f64()
    }
}

fn prometheus(folder: &Path, port: u16) -> Peer {
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, "scrape_configs: []\n").expect("write a file");
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-remote-write-receiver".to_owned(),
    ];
    let process = Process::start(folder, "prometheus", &arguments.each_ref().map(String::as_str));
    let url = format!("http://127.0.0.1:{port}");
    Peer { process, ready: format!("{url}/-/ready"), write: format!("{url}/api/v1/write") }
}

fn victoria_metrics(folder: &Path, port: u16) -> Peer {
    let arguments = [
        format!("-storageDataPath={}", folder.join("victoria").display()),
        format!("-httpListenAddr=127.0.0.1:{port}"),
        "-retentionPeriod=1d".to_owned(),
    ];
    let process = Process::start(folder, "victoria-metrics", &arguments.each_ref().map(String::as_str));
    let url = format!("http://127.0.0.1:{port}");
    Peer { process, ready: format!("{url}/health"), write: format!("{url}/api/v1/write") }
}

/// User and system time of a process, in hundredths of a second as the kernel counts them.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name in parentheses").1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|field| fields[*field].parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}
