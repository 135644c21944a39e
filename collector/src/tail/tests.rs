//! Files that are rotated, copied, compressed, deleted and cut, with the collector up, down, or killed in between: every
//! line arrives once, in order, after the aggregator's rule (`TestLog::lines` applies it, and refuses gaps).

mod carried;
mod epochs;
mod limits;
mod refused;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_model::config::ByteSize;
use weir_model::limits::Limits;

use super::{Configured, Deps, run};
use crate::config::{FileFormat, FilesConfig, PathConfig, ShipConfig};
use crate::epoch::Epochs;
use crate::metrics::CollectorMetrics;
use crate::push::Clock;
use crate::quota::Quotas;
use crate::ship::{Lanes, Shipper};
use crate::testing::TestLog;

struct Fixture {
    directory: tempfile::TempDir,
    log: Arc<TestLog>,
    written: Vec<String>,
    metrics: CollectorMetrics,
    pin_bytes_max: u64,
    format: FileFormat,
    /// Nanoseconds that the clock stands ahead of 2030.
    clock: i64,
    /// Nothing is discovered while it is set.
    is_hidden: Arc<AtomicBool>,
    /// Discoveries so far.
    polls: Arc<AtomicUsize>,
    limits: Limits,
}

struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    stop_lanes: CancellationToken,
    /// Dropping them ends them.
    _lanes: Lanes,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("logs")).unwrap();
        Self {
            directory,
            log: TestLog::new(2),
            written: Vec::new(),
            metrics: CollectorMetrics::default(),
            pin_bytes_max: 1 << 30,
            format: FileFormat::Cri,
            clock: 0,
            is_hidden: Arc::default(),
            polls: Arc::default(),
            limits: Limits::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(name)
    }

    /// Appends `count` CRI lines to the current file.
    fn write(&mut self, count: usize) {
        let mut file = fs::File::options().create(true).append(true).open(self.path("0.log")).unwrap();
        for _ in 0..count {
            let at = self.written.len();
            let text = format!("line {at}");
            match self.format {
                FileFormat::Plain => writeln!(file, "{text}").unwrap(),
                _ => writeln!(file, "2016-10-06T00:17:09.{at:09}Z stdout F {text}").unwrap(),
            }
            self.written.push(text);
        }
    }

    fn rotate(&self, to: &str) {
        fs::rename(self.path("0.log"), self.path(to)).unwrap();
    }

    /// As kubelet does it: beside, then in place of the file.
    fn compress(&self, name: &str) {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&fs::read(self.path(name)).unwrap()).unwrap();
        fs::write(self.path(&format!("{name}.gz")), gzip.finish().unwrap()).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    fn source(&self) -> String {
        format!("file:n:{}/stdout", self.path("0.log").display())
    }

    fn stored(&self) -> Vec<String> {
        self.log.lines().remove(&self.source()).unwrap_or_default()
    }

    async fn start(&self) -> Running {
        let (stop, stop_lanes) = (CancellationToken::new(), CancellationToken::new());
        let ship = ShipConfig { linger: Duration::from_millis(1), ..ShipConfig::default() };
        let (shipper, lanes) =
            Shipper::start(self.log.clone(), &ship, self.metrics.ship.clone(), stop_lanes.clone()).await.unwrap();
        let (start, ahead, format) = (tokio::time::Instant::now(), self.clock, self.format);
        let (is_hidden, polls) = (self.is_hidden.clone(), self.polls.clone());
        let clock: Clock = Arc::new(move || 1_900_000_000_000_000_000 + ahead + start.elapsed().as_nanos() as i64);
        let deps = Deps {
            quotas: Quotas::new(self.limits.clone(), clock.clone()),
            shipper,
            tenant: "t".into(),
            node: "n".into(),
            metrics: self.metrics.clone(),
            clock,
            data: self.directory.path().join("data"),
            epochs: Arc::new(Epochs::open(&self.directory.path().join("data")).unwrap()),
            recount: None,
            identify_patience: Duration::ZERO,
            shutdown: stop.clone(),
        };
        let config = FilesConfig {
            poll_interval: Duration::from_millis(10),
            discover_interval: Duration::from_millis(20),
            checkpoint_interval: Duration::from_millis(20),
            pin_max: ByteSize::bytes(self.pin_bytes_max),
            ..FilesConfig::default()
        };
        let path = self.path("0.log").display().to_string();
        let mut configured = Configured::new(PathConfig { path, format, labels: [].into() }, "n".into());
        let discover = Box::new(move |_: &dyn Fn(&Path) -> bool| {
            polls.fetch_add(1, Ordering::Relaxed);
            if is_hidden.load(Ordering::Relaxed) { Vec::new() } else { configured.find() }
        });
        let task = tokio::spawn(async move { run(config, deps, discover, Vec::new()).await.unwrap() });
        Running { stop, task, stop_lanes, _lanes: lanes }
    }

    async fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let all = async {
            while !reached() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert!(settled.is_ok(), "until {what}: stored {} of {}", self.stored().len(), self.written.len());
    }

    /// Waits until every line written is stored.
    async fn settle(&self) {
        self.until("everything is stored", || self.stored().len() >= self.written.len()).await;
        assert_eq!(self.stored(), self.written);
    }
}

impl Running {
    /// An orderly end: the last checkpoint is written.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.stop_lanes.cancel();
    }

    /// As `kill -9`: nothing more is written.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.stop_lanes.cancel();
    }
}

#[tokio::test]
async fn lines_arrive_while_they_are_written() {
    let mut fixture = Fixture::new();
    let running = fixture.start().await;
    for _ in 0..5 {
        fixture.write(20);
        fixture.settle().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn renamed_while_up() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    for i in 0..3 {
        fixture.write(7);
        fixture.rotate(&format!("0.log.2023010{i}-120000"));
        fixture.write(5);
        fixture.settle().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn rotated_several_times_while_down() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
    for i in 0..4 {
        fixture.write(7);
        fixture.rotate(&format!("0.log.2023010{i}-120000"));
    }
    fixture.write(3);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
}

/// The names are the same before and after: `.1` is dropped, the current one takes its place.
#[tokio::test]
async fn renamed_to_the_same_names_again_and_again() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    for _ in 0..4 {
        fixture.write(7);
        fixture.rotate("0.log.1");
        fixture.write(5);
        fixture.settle().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn compressed_after_it_was_pinned() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    fixture.log.flow(false);
    for i in 1..3 {
        fixture.write(10);
        fixture.rotate(&format!("0.log.2023010{i}-120000"));
    }
    fixture.write(10);
    let pins = fixture.directory.path().join("data/pins");
    fixture.until("both are pinned", || fs::read_dir(&pins).unwrap().count() >= 2).await;
    running.kill().await;
    for i in 1..3 {
        fixture.compress(&format!("0.log.2023010{i}-120000"));
    }
    fixture.log.flow(true);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
}

#[tokio::test]
async fn compressed_while_down() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
    fixture.write(10);
    fixture.rotate("0.log.20230101-120000");
    fixture.compress("0.log.20230101-120000");
    fixture.write(5);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
}

#[tokio::test]
async fn a_compressed_file_above_the_budget_is_a_declared_loss() {
    let mut fixture = Fixture::new();
    fixture.write(100);
    let plain = fs::read(fixture.path("0.log")).unwrap();
    fixture.rotate("0.log.20230101-120000");
    fixture.compress("0.log.20230101-120000");
    // Cut after the newline of line 39.
    let kept: usize = plain.split_inclusive(|byte| *byte == b'\n').take(40).map(<[u8]>::len).sum();
    fixture.pin_bytes_max = kept as u64;
    fixture.written.truncate(40);
    fixture.write(5);
    fixture.log.flow(false);
    let running = fixture.start().await;
    fixture.until("the copy is held", || fixture.metrics.pinned_bytes.get() == kept as i64).await;
    assert_eq!(fixture.metrics.lost_of("files", "unpack_budget"), 0, "not before what was kept is acknowledged");
    fixture.log.flow(true);
    fixture.settle().await;
    assert_eq!(fixture.metrics.lost_of("files", "unpack_budget"), (plain.len() - kept) as u64);
    assert_eq!(fixture.metrics.pinned_bytes.get(), 0);
    running.stop().await;
}

#[tokio::test]
async fn copied_and_cut_while_up_and_while_down() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    fs::copy(fixture.path("0.log"), fixture.path("0.log.1")).unwrap();
    fs::File::options().write(true).open(fixture.path("0.log")).unwrap().set_len(0).unwrap();
    fixture.write(4);
    fixture.settle().await;
    running.stop().await;
    fixture.write(6);
    fs::rename(fixture.path("0.log.1"), fixture.path("0.log.2")).unwrap();
    fs::copy(fixture.path("0.log"), fixture.path("0.log.1")).unwrap();
    fs::File::options().write(true).open(fixture.path("0.log")).unwrap().set_len(0).unwrap();
    fixture.write(2);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
}

#[tokio::test]
async fn a_new_file_on_an_old_inode_is_a_new_generation() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
    // Most file systems give the freed inode to the next file.
    fs::remove_file(fixture.path("0.log")).unwrap();
    fixture.write(20);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
}

#[tokio::test]
async fn deleted_after_rotation_but_pinned() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    fixture.log.flow(false);
    fixture.write(10);
    fixture.rotate("0.log.20230101-120000");
    fixture.write(10);
    let pins = fixture.directory.path().join("data/pins");
    fixture.until("it is pinned", || fs::read_dir(&pins).unwrap().count() > 0).await;
    running.kill().await;
    fs::remove_file(fixture.path("0.log.20230101-120000")).unwrap();
    fixture.log.flow(true);
    let running = fixture.start().await;
    fixture.settle().await;
    fixture.until("the pin is gone", || fs::read_dir(&pins).unwrap().count() == 0).await;
    running.stop().await;
}

#[tokio::test]
async fn killed_between_append_and_checkpoint() {
    let mut fixture = Fixture::new();
    for round in 0..8 {
        fixture.write(40);
        if round % 3 == 1 {
            fixture.rotate(&format!("0.log.2023010{round}-120000"));
            fixture.write(3);
        }
        let running = fixture.start().await;
        // Killed as soon as the first record is stored: some of it is acknowledged, little of it in the checkpoint.
        let before = fixture.log.records(weir_model::wire::Kind::Logs);
        fixture.until("a record is stored", || fixture.log.records(weir_model::wire::Kind::Logs) > before).await;
        running.kill().await;
    }
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
}

#[tokio::test]
async fn a_lost_checkpoint_means_reading_again_not_losing() {
    let mut fixture = Fixture::new();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    running.stop().await;
    fs::write(fixture.directory.path().join("data/checkpoint"), b"damaged").unwrap();
    fixture.write(10);
    let running = fixture.start().await;
    fixture.settle().await;
    assert_eq!(fixture.metrics.events_of("files", "checkpoint_unusable"), 1);
    running.stop().await;
}
