//! A million active series of two thousand nodes, every fifteen seconds: what a process takes for them, and how long after SIGKILL its
//! answers are complete again. They come by remote write (2.0, and 1.0 for peers) or by scrapes, in real time; Debian's Prometheus and
//! VictoriaMetrics are given the same. Each process first idles; what it spends and holds then is not counted.
//!
//! `SERIES` (1000000), `STEP` (15, seconds), `ITERATIONS` (8, rounds of all series) and `PEERS` (1; 0 is weir alone) change it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_collector::remote_write::compress;
use weir_tests::bench::watch::processor_time_of;
use weir_tests::process::Process;
use weir_tests::weir::{PATIENCE, Weir, eventually, free_port};

use crate::cluster::{self, SELECTOR, SERIES_A_TARGET, Target};
use crate::table::{self, Figure};
use crate::{Subject, cluster_scrape, mib, now, number, rounds};

/// A process that has just started still does what it does once.
const SETTLE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);
/// Connections that write; each has its share of the nodes and one request under way.
const SENDERS: usize = 4;
/// Nodes of a request: 1,884 samples, as many as Prometheus sends at once.
const REQUEST_TARGETS: usize = 4;
/// What began before has arrived.
const ARRIVED: Duration = Duration::from_secs(15);

/// How the series come.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    Write,
    Scrape,
}

#[derive(Clone, Copy)]
struct Plan {
    way: Way,
    targets: usize,
    step: Duration,
    iterations: u64,
}

/// Measures each binary, and the peers, and prints the table.
pub async fn bench(subjects: &[Subject], way: Way) {
    let targets = (number("SERIES", 1_000_000) as usize).div_ceil(SERIES_A_TARGET);
    let plan = Plan { way, targets, step: Duration::from_secs(number("STEP", 15)), iterations: number("ITERATIONS", 8) };
    println!(
        "spine active series, by {}: {} of {targets} targets, every {} s, {} times",
        if way == Way::Write { "remote write" } else { "scrapes" },
        targets * SERIES_A_TARGET,
        plan.step.as_secs(),
        plan.iterations
    );
    let mut columns = Vec::new();
    for subject in rounds(subjects) {
        let folder = tempfile::tempdir().expect("a folder");
        let running = weir(subject, folder.path(), plan).await;
        table::add(&mut columns, subject.name, measure(running, folder.path(), subject.name, plan).await);
    }
    let peers: [(&'static str, &'static str); 2] = [("Prometheus", "prometheus"), ("VictoriaMetrics", "victoria-metrics")];
    for (name, program) in peers.into_iter().filter(|_| number("PEERS", 1) > 0) {
        if !Path::new("/usr/bin").join(program).exists() {
            println!("  {name}: not installed");
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let running = peer(program, folder.path(), plan).await;
        table::add(&mut columns, name, measure(running, folder.path(), name, plan).await);
    }
    table::print(&columns);
}

/// A process that is measured.
enum Running {
    Weir(Box<Weir>),
    Peer { process: Process, start: Box<dyn Fn() -> Process>, url: String },
}

impl Running {
    fn pid(&self) -> u32 {
        match self {
            Self::Weir(weir) => weir.pid().expect("it runs"),
            Self::Peer { process, .. } => process.pid(),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Weir(weir) => weir.url(""),
            Self::Peer { url, .. } => url.clone(),
        }
    }

    /// SIGKILL, and the same again; does not wait.
    fn kill_and_start(&mut self) {
        match self {
            Self::Weir(weir) => {
                weir.kill();
                weir.spawn();
            }
            Self::Peer { process, start, .. } => {
                process.kill();
                *process = start();
            }
        }
    }
}

async fn weir(subject: &Subject, folder: &Path, plan: Plan) -> Running {
    let mut text = "[collector.sample]\nenabled = false\n".to_owned();
    if plan.way == Way::Scrape {
        text += &format!("[collector.scrape]\nconfig_file = {:?}\n", cluster_scrape::write_config(folder, plan.step));
    }
    let config = folder.join("weir.toml");
    std::fs::write(&config, text).expect("write the configuration");
    let arguments = ["--no-node", "--config", &config.display().to_string()];
    Running::Weir(Box::new(Weir::start_binary(&subject.binary, &folder.join("data"), &arguments, &[]).await))
}

async fn peer(program: &'static str, folder: &Path, plan: Plan) -> Running {
    let address = format!("127.0.0.1:{}", free_port());
    let (data, config) = (folder.join("data").display().to_string(), cluster_scrape::write_config(folder, plan.step));
    let arguments = match program {
        "prometheus" => vec![
            format!("--config.file={config}"),
            format!("--storage.tsdb.path={data}"),
            format!("--web.listen-address={address}"),
            "--web.enable-remote-write-receiver".to_owned(),
        ],
        _ => vec![
            format!("-promscrape.config={config}"),
            "-promscrape.fileSDCheckInterval=1s".to_owned(),
            "-promscrape.config.strictParse=false".to_owned(),
            format!("-storageDataPath={data}"),
            format!("-httpListenAddr={address}"),
            // As many series as there are in one answer; what came a second ago is told.
            "-search.maxUniqueTimeseries=2000000".to_owned(),
            "-search.latencyOffset=1s".to_owned(),
        ],
    };
    let folder = folder.to_path_buf();
    let start = Box::new(move || Process::start(&folder, program, &arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut process = start();
    process.wait_until_answered(&format!("http://{address}/metrics")).await;
    Running::Peer { process, start, url: format!("http://{address}") }
}

async fn measure(mut running: Running, folder: &Path, name: &str, plan: Plan) -> Vec<Figure> {
    tokio::time::sleep(SETTLE).await;
    let run = plan.step * plan.iterations as u32;
    let before = processor_time_of(running.pid());
    tokio::time::sleep(IDLE).await;
    let (idle, before) = (memory(running.pid(), "VmRSS:"), (before, processor_time_of(running.pid())));
    let idle_cpu = (before.1 - before.0).mul_f64(run.as_secs_f64() / IDLE.as_secs_f64());
    let begun = Instant::now();
    let targets: Arc<Vec<Target>> = Arc::new((0..plan.targets).map(Target::new).collect());
    let samples = match plan.way {
        Way::Write => write(&running, &targets, plan).await,
        Way::Scrape => cluster_scrape::serve(folder, Arc::clone(&targets), begun, run).await,
    };
    let cpu = processor_time_of(running.pid()).saturating_sub(before.1).saturating_sub(idle_cpu);
    let series = (plan.targets * SERIES_A_TARGET) as u64;
    let (resident, peak) = (memory(running.pid(), "VmRSS:"), memory(running.pid(), "VmHWM:"));
    let at = now() / 1_000_000_000 + i64::from(plan.way == Way::Write);
    if plan.way == Way::Scrape {
        // Scrapes that began before this instant have ended.
        tokio::time::sleep(ARRIVED).await;
    }
    let url = running.url();
    let is_complete = async || {
        let found = ask(&url, &format!("count({SELECTOR})"), at).await?;
        if found == series { Ok(()) } else { Err(format!("{found} of {series} series")) }
    };
    eventually("all series", &is_complete).await;
    let count = format!("sum(count_over_time({SELECTOR}[1h]))");
    let stored = ask(&url, &count, at).await.expect("an answer");
    assert!(plan.way == Way::Scrape || stored == samples, "{stored} of {samples} samples");
    let queried = memory(running.pid(), "VmRSS:");
    let killed = Instant::now();
    running.kill_and_start();
    eventually("all series after the end", &is_complete).await;
    let (wall, again) = (killed.elapsed(), processor_time_of(running.pid()));
    let found = ask(&url, &count, at).await.expect("an answer");
    assert_eq!(found, stored, "samples after the end");
    println!(
        "  {name}: {samples} samples of {series} series, {:.1} CPU s beside {:.1} without; resident {:.0} MiB (idle {:.0}, peak {:.0}, \
         after two queries {:.0}, after the start and two queries {:.0})",
        cpu.as_secs_f64(),
        idle_cpu.as_secs_f64(),
        mib(resident),
        mib(idle),
        mib(peak),
        mib(queried),
        mib(memory(running.pid(), "VmRSS:")),
    );
    let per_series = |bytes: u64| bytes.saturating_sub(idle) as f64 / series as f64;
    vec![
        Figure::new("active series: samples a CPU s", "≥ 1500000", samples as f64 / cpu.as_secs_f64().max(0.01), 0),
        Figure::new("active series: resident above idle, bytes a series", "≤ 600", per_series(resident), 0),
        Figure::new("active series: the same at most", "", per_series(peak), 0),
        Figure::new("active series: resident, MiB", "≤ 1024", mib(resident), 0),
        Figure::new("active series: from SIGKILL to complete answers, s", "≤ 10", wall.as_secs_f64(), 1),
        Figure::new("active series: the same, CPU s", "", again.as_secs_f64(), 1),
    ]
}

/// Sends all series every step, each node at a time of its own. Samples sent.
async fn write(running: &Running, targets: &Arc<Vec<Target>>, plan: Plan) -> u64 {
    let url = format!("{}/api/v1/write", running.url());
    let is_weir = matches!(running, Running::Weir(_));
    let (begun, mut senders) = (Instant::now(), tokio::task::JoinSet::new());
    for sender in 0..SENDERS {
        let (url, targets) = (url.clone(), Arc::clone(targets));
        senders.spawn(async move {
            let client = weir_tls::client();
            for round in 0..plan.iterations {
                let groups = targets.chunks(REQUEST_TARGETS).enumerate().filter(|(group, _)| group % SENDERS == sender);
                for (group, own) in groups {
                    let place = (group * REQUEST_TARGETS) as f64 / targets.len() as f64;
                    let due = begun + plan.step.mul_f64(round as f64 + place);
                    tokio::time::sleep_until(due.into()).await;
                    let own: Vec<&Target> = own.iter().collect();
                    let timestamp = now() / 1_000_000;
                    let (kind, body) = if is_weir {
                        let kind = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
                        (kind, compress(&cluster::request_2(&own, round, timestamp)))
                    } else {
                        ("application/x-protobuf", compress(&cluster::request_1(&own, round, timestamp)))
                    };
                    send(&client, &url, kind, body).await;
                }
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.expect("a sender ends well");
    }
    plan.iterations * (targets.len() * SERIES_A_TARGET) as u64
}

async fn send(client: &reqwest::Client, url: &str, kind: &'static str, body: Vec<u8>) {
    let begun = Instant::now();
    loop {
        let request = client.post(url).header("content-type", kind).header("content-encoding", "snappy");
        let request = request.header("x-prometheus-remote-write-version", "0.1.0").body(body.clone());
        let refusal = match request.send().await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
            Err(error) => error.to_string(),
        };
        assert!(begun.elapsed() < PATIENCE, "{url}: {refusal}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The number that a query answers with at a second.
async fn ask(url: &str, query: &str, at: i64) -> Result<u64, String> {
    let parameters = [("query", query), ("time", &at.to_string())];
    let url = reqwest::Url::parse_with_params(&format!("{url}/api/v1/query"), parameters).expect("a URL");
    let answer = weir_tls::client().get(url).timeout(PATIENCE).send().await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{status}: {body}"));
    }
    let answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
    Ok(answer["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// A line of a process' status, in bytes.
fn memory(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel shows it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") << 10
}
