//! Bodies on disk, the clients that send them, and a weir that is filled with them: until all is searchable, then until all is
//! sealed and compacted.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;
use weir_tests::bench::watch::processor_time_of;
use weir_tests::weir::{PATIENCE, Weir};

use crate::table::Figure;
use crate::{Subject, mib};

/// Connections; each has one request under way, as an agent or an exporter has.
pub const CLIENTS: usize = 8;
/// Nothing is sealed before it is asked for, nothing expires, and only what is sent is measured. Up to some GB: heads of more
/// take more memory than a process has in use, and more lies on the bus than it may (`bus.disk.backlog_max`).
pub const CONFIG: &str = r#"
[aggregator]
head_age_max = "1h"
head_max = "8GiB"
heads_memory_max = "8GiB"
[aggregator.retention]
logs = "0s"
metrics = "0s"
traces = "0s"
[collector.sample]
enabled = false
[telemetry]
spans = false
"#;
/// A client waits this long when it is told to come again.
const COME_AGAIN: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Many times as long as an owner goes without asking the bus, 250 ms.
const NO_MORE: Duration = Duration::from_secs(4);

/// Prepared bodies, a file a client, so that they cost no memory and are the same for each binary.
pub struct Bodies {
    folder: TempDir,
    files: Vec<BufWriter<File>>,
    pub count: u64,
    pub bytes: u64,
}

impl Bodies {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = (0..CLIENTS).map(|client| File::create(path(&folder, client)).expect("create a file of bodies"));
        Self { files: files.map(BufWriter::new).collect(), folder, count: 0, bytes: 0 }
    }

    /// Adds the next body of a client.
    pub fn push(&mut self, client: usize, body: &[u8]) {
        let length = u32::try_from(body.len()).expect("a body is small").to_le_bytes();
        let file = &mut self.files[client];
        file.write_all(&length).and_then(|()| file.write_all(body)).expect("write a body");
        self.count += 1;
        self.bytes += body.len() as u64;
    }

    /// All are written.
    pub fn finish(mut self) -> Self {
        self.files.drain(..).for_each(|mut file| file.flush().expect("write the bodies"));
        self
    }
}

fn path(folder: &TempDir, client: usize) -> PathBuf {
    folder.path().join(client.to_string())
}

/// What is sent where.
pub struct Route {
    pub path: &'static str,
    /// The listener of OTLP over HTTP, not the main one.
    pub otlp: bool,
    pub headers: &'static [(&'static str, &'static str)],
    pub topic: &'static str,
}

/// What a weir spent, and held at most, until then.
pub struct Stage {
    pub cpu: Duration,
    pub wall: Duration,
    pub peak: u64,
}

/// One binary, filled.
pub struct Filled {
    pub searchable: Stage,
    /// What heads held then, as weir counts it.
    pub head_bytes: u64,
    /// Blocks then: sealed by size.
    pub blocks: u64,
    /// Sealed and compacted.
    pub sealed: Stage,
    /// Requests that were told to come again, and came.
    pub retries: u64,
    /// Still running, to be asked whether all is there.
    pub weir: Weir,
    /// Blocks when nothing was left to merge.
    pub merged_blocks: u64,
    folder: Folder,
}

/// Where a weir has its configuration and its data.
pub enum Folder {
    /// Gone with the benchmark.
    Temporary(TempDir),
    #[allow(dead_code, reason = "the benchmark logs_questions keeps one")]
    Kept(PathBuf),
}

impl Folder {
    pub fn temporary() -> Self {
        Self::Temporary(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("weir.toml")
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The binary over what lies there.
    pub async fn start(&self, binary: &Path) -> Weir {
        let arguments = ["--no-node", "--config", &self.config().display().to_string()];
        Weir::start_binary(binary, &self.data(), &arguments, &[]).await
    }
}

impl Filled {
    /// What it was started with.
    #[allow(dead_code, reason = "the benchmark logs_questions asks for it")]
    pub fn config(&self) -> PathBuf {
        self.folder.config()
    }

    /// Where it keeps what it has.
    #[allow(dead_code, reason = "the benchmark logs_questions asks for it")]
    pub fn data(&self) -> PathBuf {
        self.folder.data()
    }

    /// The most that was resident until the end of a stage; in brackets what weir says that its heads held of it.
    pub fn peak(&self, what: impl Into<String>, stage: &Stage) -> Figure {
        let value = mib(stage.peak);
        Figure {
            what: what.into(),
            goal: "≤ 256 + heads",
            value,
            shown: format!("{value:.0} (heads {:.0})", mib(self.head_bytes)),
        }
    }
}

/// Whether a binary knows sizes with their units; earlier ones have the unit in the name of the key.
fn accepts(binary: &Path, config: &Path) -> bool {
    let check = Command::new(binary).args(["check", "config"]).arg(config).output().expect("the binary runs");
    check.status.success()
}

/// Starts the binary and fills it. Nothing is sealed until all is searchable.
pub async fn fill(subject: &Subject, route: &Route, bodies: &Bodies) -> Filled {
    fill_with(subject, route, bodies, (Folder::temporary(), CONFIG)).await
}

/// The same with another configuration, in an empty folder.
pub async fn fill_with(subject: &Subject, route: &Route, bodies: &Bodies, (folder, text): (Folder, &str)) -> Filled {
    let config = folder.config();
    std::fs::write(&config, text).expect("write the configuration");
    if !accepts(&subject.binary, &config) {
        let before = text.replace("head_max = \"8GiB\"", "head_bytes_max = 8589934592");
        let before = before.replace("heads_memory_max = \"8GiB\"", "heads_bytes_max = 8589934592");
        std::fs::write(&config, before).expect("write the configuration");
    }
    let weir = folder.start(&subject.binary).await;
    let pid = weir.pid().expect("it runs");
    let (begun, cpu) = (Instant::now(), processor_time_of(pid));
    let stage = || Stage { cpu: processor_time_of(pid).saturating_sub(cpu), wall: begun.elapsed(), peak: weir.resident_peak() };

    let url = format!("http://{}{}", if route.otlp { &weir.otlp_http } else { &weir.listen }, route.path);
    let mut clients: JoinSet<u64> =
        (0..CLIENTS).map(|client| send(path(&bodies.folder, client), url.clone(), route.headers)).collect();
    let mut retries = 0;
    while let Some(done) = clients.join_next().await {
        retries += done.expect("the client ends well");
    }
    let (searchable, reached) = wait_searchable(&weir, route.topic, &stage).await;
    let waited = stage();
    weir.admin("seal").await;
    weir.admin("compact").await;
    let end = stage();
    let sealed =
        Stage { cpu: searchable.cpu + (end.cpu - waited.cpu), wall: searchable.wall + (end.wall - waited.wall), peak: end.peak };
    let after = Progress::of(&weir, route.topic).await;
    // Where heads are sealed by themselves it takes minutes, and lines of weir's own log come as well; whoever fills so counts lines.
    let is_all = reached.blocks > 0 || after.high_watermark == reached.high_watermark;
    assert!(is_all, "more was on the bus than was waited for: {reached:?}, {after:?}");
    let (head_bytes, blocks, merged_blocks) = (reached.head_bytes, reached.blocks, after.blocks);
    Filled { searchable, head_bytes, blocks, sealed, retries, weir, merged_blocks, folder }
}

/// What stands behind the figures.
pub fn print(subject: &Subject, filled: &Filled) {
    let (searchable, sealed) = (&filled.searchable, &filled.sealed);
    println!(
        "  {}: {:.2} CPU s and {:.1} s until searchable, {} blocks; {:.2} CPU s and {:.1} s \
         until compacted, {} blocks; {} requests told to come again | {}",
        subject.name,
        searchable.cpu.as_secs_f64(),
        searchable.wall.as_secs_f64(),
        filled.blocks,
        sealed.cpu.as_secs_f64(),
        sealed.wall.as_secs_f64(),
        filled.merged_blocks,
        filled.retries,
        subject.binary.display(),
    );
}

/// One client: sends its bodies one after the other. Returns how often it was told to come again.
async fn send(bodies: PathBuf, url: String, headers: &'static [(&'static str, &'static str)]) -> u64 {
    let http = weir_tls::client();
    let mut file = BufReader::new(File::open(&bodies).expect("open the bodies"));
    let mut retries = 0;
    while let Some(body) = next(&mut file, &bodies) {
        let body = bytes::Bytes::from(body);
        let begun = Instant::now();
        loop {
            let request = http.post(&url).body(body.clone()).timeout(PATIENCE);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let answer = request.send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
            let status = answer.status();
            if status.is_success() {
                break;
            }
            let text = answer.text().await.unwrap_or_default();
            let again = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
            assert!(again && begun.elapsed() < PATIENCE, "{url}: {status} {text}");
            retries += 1;
            tokio::time::sleep(COME_AGAIN).await;
        }
    }
    retries
}

fn next(file: &mut impl Read, path: &Path) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    match file.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
        read => read.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    }
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut body).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(body)
}

/// Of all partitions of a topic.
#[derive(Debug)]
struct Progress {
    high_watermark: u64,
    searchable: u64,
    head_bytes: u64,
    blocks: u64,
}

impl Progress {
    async fn of(weir: &Weir, topic: &str) -> Self {
        let status = weir.get("/api/weir/v1/status", &[]).await;
        let rows: Vec<&Value> = status["path"].as_array().into_iter().flatten().filter(|row| row["topic"] == topic).collect();
        // Offsets have other names in later versions; both can be measured.
        let sum = |names: &[&str]| -> u64 {
            let of_row = |row: &&Value| names.iter().find_map(|name| row[*name].as_u64());
            rows.iter().map(|row| of_row(row).unwrap_or_else(|| panic!("{names:?} of {row}"))).sum()
        };
        Self {
            high_watermark: sum(&["on_bus", "high_watermark"]),
            searchable: sum(&["searchable", "indexed_offset"]),
            head_bytes: sum(&["head_bytes"]),
            blocks: sum(&["blocks"]),
        }
    }
}

/// Blocks of a topic now.
#[allow(dead_code, reason = "the benchmark logs_questions asks for it")]
pub async fn blocks(weir: &Weir, topic: &str) -> u64 {
    Progress::of(weir, topic).await.blocks
}

/// Bus records of a topic that were acknowledged, as the part that sends them counts them: what is told of the end of the bus is
/// what its owner has heard, and on a busy disk that can be seconds old while the owner stands still. 0 of binaries that count none.
async fn acknowledged(weir: &Weir, topic: &str) -> u64 {
    let (_, metrics) = weir.try_get("/metrics", &[]).await;
    let kind = topic.trim_start_matches("weir.");
    let series = format!("weir_collector_shipped_bus_records_total{{kind=\"{kind}\"}}");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.and_then(|value| value.trim().parse::<f64>().ok()).map_or(0, |records| records as u64)
}

/// Waits until all is searchable. Returns what had been spent when it first was: it counts when no more of the bus has shown for
/// a while. Panics when nothing more becomes searchable for long.
async fn wait_searchable(weir: &Weir, topic: &str, stage: impl Fn() -> Stage) -> (Stage, Progress) {
    let acknowledged = acknowledged(weir, topic).await;
    let (mut moved, mut searchable) = (Instant::now(), 0);
    let mut reached: Option<(Instant, Stage, Progress)> = None;
    loop {
        let progress = Progress::of(weir, topic).await;
        if progress.searchable > searchable {
            (moved, searchable) = (Instant::now(), progress.searchable);
        }
        match reached {
            Some((at, stage, before)) if before.high_watermark == progress.high_watermark && at.elapsed() >= NO_MORE => {
                return (stage, before);
            }
            Some((.., ref before)) if before.high_watermark == progress.high_watermark => {}
            _ => {
                assert!(
                    moved.elapsed() < PATIENCE,
                    "{acknowledged} records were acknowledged, and not all are searchable: {progress:?}"
                );
                let is_all = progress.searchable >= acknowledged.max(1) && progress.searchable == progress.high_watermark;
                reached = is_all.then(|| (Instant::now(), stage(), progress));
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
