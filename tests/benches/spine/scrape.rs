//! Ten text targets of 5,120 counters each, scraped every five seconds: weir, and on the same targets a real Prometheus and a real
//! VictoriaMetrics. Each process first idles without targets; what it spends and holds then is not counted. Then each is asked.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weir_tests::bench::watch::processor_time_of;
use weir_tests::process::Process;
use weir_tests::weir::{PATIENCE, Weir, eventually, free_port};

use crate::queries;
use crate::table::{self, Figure};
use crate::{Subject, mib, number, rounds};

const TARGETS: usize = 10;
const SERIES: u64 = (TARGETS * METRICS.len() * SERVICES.len() * METHODS.len() * CODES.len() * ROUTES) as u64;
const METRICS: [&str; 8] = [
    "http_server_requests_total",
    "http_server_request_bytes_total",
    "http_server_response_bytes_total",
    "http_server_request_seconds_total",
    "rpc_client_calls_total",
    "rpc_client_retries_total",
    "db_client_queries_total",
    "db_client_rows_total",
];
const SERVICES: [&str; 4] = ["ts-order-service", "ts-travel-service", "ts-route-service", "ts-station-service"];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const CODES: [&str; 5] = ["200", "201", "400", "404", "500"];
const ROUTES: usize = 8;
/// A process that has just started still does what it does once.
const SETTLE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(15);

/// Measures each binary and Prometheus and prints the table.
pub async fn bench(subjects: &[Subject]) {
    let run = Duration::from_secs(number("SECONDS_RUN", 75));
    println!("spine scrape: {TARGETS} text targets of {} counters, every 5 s for {} s", SERIES / TARGETS as u64, run.as_secs());
    let mut columns = Vec::new();
    for subject in rounds(subjects) {
        table::add(&mut columns, subject.name, weir(subject, run).await.figures());
    }
    for _ in 0..number("ROUNDS", 1) {
        table::add(&mut columns, "Prometheus", prometheus(run).await.figures());
        table::add(&mut columns, "VictoriaMetrics", victoria_metrics(run).await.figures());
    }
    table::print(&columns);
}

async fn weir(subject: &Subject, run: Duration) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let scrape = write_config(folder.path());
    let config = folder.path().join("weir.toml");
    let text = format!("[collector.scrape]\nconfig_file = {scrape:?}\n[collector.sample]\nenabled = false\n");
    std::fs::write(&config, text).expect("write the configuration");
    let arguments = ["--no-node", "--config", &config.display().to_string()];
    let weir = Weir::start_binary(&subject.binary, &folder.path().join("data"), &arguments, &[]).await;
    measure(folder.path(), (weir.pid().expect("it runs"), &weir.url("")), subject.name, run).await
}

async fn prometheus(run: Duration) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let address = format!("127.0.0.1:{}", free_port());
    let arguments = [
        format!("--config.file={}", write_config(folder.path())),
        format!("--storage.tsdb.path={}", folder.path().join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let mut process = Process::start(folder.path(), "prometheus", &arguments.each_ref().map(String::as_str));
    process.wait_for(&format!("http://{address}/-/ready")).await;
    measure(folder.path(), (process.pid(), &format!("http://{address}")), "Prometheus", run).await
}

async fn victoria_metrics(run: Duration) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let address = format!("127.0.0.1:{}", free_port());
    let arguments = [
        format!("-promscrape.config={}", write_config(folder.path())),
        "-promscrape.fileSDCheckInterval=1s".to_owned(),
        "-promscrape.config.strictParse=false".to_owned(),
        format!("-storageDataPath={}", folder.path().join("data").display()),
        format!("-httpListenAddr={address}"),
        // As many rows as there are series in an answer at once; what came a second ago is told.
        "-search.maxUniqueTimeseries=1000000".to_owned(),
        "-search.latencyOffset=1s".to_owned(),
    ];
    let mut process = Process::start(folder.path(), "victoria-metrics", &arguments.each_ref().map(String::as_str));
    process.wait_for(&format!("http://{address}/health")).await;
    measure(folder.path(), (process.pid(), &format!("http://{address}")), "VictoriaMetrics", run).await
}

/// A Prometheus configuration whose targets are in a file, none as yet. Returns its path.
fn write_config(folder: &Path) -> String {
    let (config, targets) = (folder.join("scrape.yml"), folder.join("targets.json"));
    std::fs::write(&targets, "[]").expect("write the targets");
    let text = format!(
        "global:\n  scrape_interval: 5s\n  scrape_timeout: 5s\nscrape_configs:\n- job_name: spine\n  file_sd_configs:\n  \
         - files: ['{}']\n    refresh_interval: 5s\n",
        targets.display()
    );
    std::fs::write(&config, text).expect("write the configuration");
    config.display().to_string()
}

struct Measured {
    samples: u64,
    /// Of the run, and of as long a time without targets.
    cpu: Duration,
    idle_cpu: Duration,
    /// Resident before and after.
    idle: u64,
    resident: u64,
    /// Of queries.
    queries: Vec<Figure>,
}

impl Measured {
    fn figures(self) -> Vec<Figure> {
        let cpu = self.cpu.saturating_sub(self.idle_cpu).as_secs_f64();
        let bytes = self.resident.saturating_sub(self.idle) as f64 / SERIES as f64;
        let mut figures = vec![
            Figure::new("scrape: series made included, samples a CPU s", "≥ 1500000", self.samples as f64 / cpu.max(0.01), 0),
            Figure::new("scrape: memory a series, bytes", "≤ 600", bytes, 0),
        ];
        figures.extend(self.queries);
        figures
    }

    fn print(&self, name: &str) {
        println!(
            "  {name}: {} samples of {SERIES} series, {:.2} CPU s, of which {:.2} without targets; {:.0} MiB resident, {:.0} before",
            self.samples,
            self.cpu.as_secs_f64(),
            self.idle_cpu.as_secs_f64(),
            mib(self.resident),
            mib(self.idle),
        );
    }
}

/// Lets the process idle, gives it the targets, waits until the run is over, and asks what there is.
async fn measure(folder: &Path, (pid, url): (u32, &str), name: &str, run: Duration) -> Measured {
    tokio::time::sleep(SETTLE).await;
    let before = processor_time_of(pid);
    tokio::time::sleep(IDLE).await;
    let idle_cpu = (processor_time_of(pid) - before).mul_f64(run.as_secs_f64() / IDLE.as_secs_f64());
    let (idle, before) = (resident(pid), processor_time_of(pid));
    let targets = Targets::start().await;
    let groups = json!([{"targets": targets.addresses}]).to_string();
    // Renamed, so that nobody reads half of it.
    std::fs::write(folder.join("targets.new"), groups).expect("write the targets");
    std::fs::rename(folder.join("targets.new"), folder.join("targets.json")).expect("rename the targets");
    tokio::time::sleep(run).await;
    let cpu = processor_time_of(pid) - before;
    let samples = targets.served.load(Ordering::Acquire) * (SERIES / TARGETS as u64);
    assert!(samples > 0, "no target has been scraped");
    let mut measured = Measured { samples, cpu, idle_cpu, idle, resident: resident(pid), queries: Vec::new() };
    measured.print(name);
    wait_for_series(url).await;
    measured.queries = queries::ask(url, pid, SERIES as usize, cpu.as_secs_f64() / run.as_secs_f64()).await;
    measured
}

fn resident(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("the process runs");
    let pages: u64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    // SAFETY: reads a constant of the system.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

/// All series are there, by the API that both have.
async fn wait_for_series(url: &str) {
    let query = "count(last_over_time({job=\"spine\",code!=\"\"}[5m]))";
    let url = reqwest::Url::parse_with_params(&format!("{url}/api/v1/query"), [("query", query)]).expect("a URL");
    eventually("all series", || async {
        let answer = weir_tls::client().get(url.clone()).timeout(PATIENCE).send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        let found = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("none").to_owned();
        if found == SERIES.to_string() { Ok(()) } else { Err(format!("{found} of {SERIES} series")) }
    })
    .await;
}

/// The targets of one process; they end with this benchmark.
struct Targets {
    addresses: Vec<String>,
    /// Answers given.
    served: Arc<AtomicU64>,
}

impl Targets {
    async fn start() -> Self {
        let (served, begun, mut addresses) = (Arc::new(AtomicU64::new(0)), Instant::now(), Vec::new());
        for target in 0..TARGETS {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
            addresses.push(listener.local_addr().expect("bound").to_string());
            let served = Arc::clone(&served);
            let answer = move || async move {
                served.fetch_add(1, Ordering::AcqRel);
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition(target, begun.elapsed()))
            };
            tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", get(answer))).await });
        }
        Self { addresses, served }
    }
}

/// What a target says so long after its start: one counter in four stands still, the others grow at rates of their own.
fn exposition(target: usize, since: Duration) -> String {
    let mut text = String::with_capacity(1 << 20);
    let mut number = target as u64 * 7919;
    for (place, metric) in METRICS.iter().enumerate() {
        let _ = writeln!(text, "# HELP {metric} What the name says.\n# TYPE {metric} counter");
        for service in SERVICES {
            for method in METHODS {
                for code in CODES {
                    // Routes of its own, so that rates of all counters are different series without their names.
                    for route in ROUTES * place..ROUTES * (place + 1) {
                        number += 1;
                        let rate = (number % 4) * (number % 97);
                        let value = number % 100_000 + (since.as_secs_f64() * rate as f64) as u64;
                        let _ = writeln!(
                            text,
                            "{metric}{{code=\"{code}\",method=\"{method}\",route=\"/api/v1/{service}/resource{route}/{{id}}\",\
                             service=\"{service}\"}} {value}"
                        );
                    }
                }
            }
        }
    }
    text
}
