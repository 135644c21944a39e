//! Logs that are gone before anybody lists files: nothing but their birth can have found them, because everything that
//! is done at intervals waits for an hour here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_model::label::Labels;
use weir_model::log::LogBatch;

use super::admit::Refusals;
use super::births::Births;
use super::listing::Found;
use super::watch::Watch;
use super::{Deps, Discover, LogSpec, Root, run};
use crate::config::{FileFormat, FilesConfig, ShipConfig};
use crate::epoch::Epochs;
use crate::error::CollectorError;
use crate::metrics::CollectorMetrics;
use crate::quota::Quotas;
use crate::ship::{Lanes, Shipper};
use crate::testing::TestLog;

const PODS: usize = 200;
const LINES: usize = 200;

fn root(directory: &Path) -> Root {
    root_told(directory, Arc::new(AtomicBool::new(true)))
}

/// Its logs have a label more as soon as an engine has told of them.
fn root_told(directory: &Path, is_told: Arc<AtomicBool>) -> Root {
    let directories = vec![directory.to_owned()];
    let spec_of = move |path: &Path| {
        let is_log = path.file_name()?.to_str()?.strip_suffix(".log")?.parse::<u64>().is_ok();
        let labels = Labels::from_pairs([("container", path.parent()?.file_name()?.to_str()?)]);
        let is_told = is_told.load(Ordering::Acquire);
        let labels = if is_told { labels.with("app", "job") } else { labels };
        let (current, directories) = (path.to_owned(), directories.clone());
        is_log.then_some(LogSpec { current, format: FileFormat::Cri, labels, is_told, directories })
    };
    Root { directory: directory.to_owned(), depth: 2, is_containers: true, spec_of: Box::new(spec_of) }
}

/// Waits without a deadline of its own speed: a minute is for a machine that does a hundred other things.
fn until(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(60), "until {what}");
        std::thread::yield_now();
    }
}

/// How many descriptors of this process lead to a file.
fn is_open(path: &Path) -> bool {
    let of = |stat: fs::Metadata| (stat.dev(), stat.ino());
    let inode = of(fs::metadata(path).unwrap());
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors.filter_map(|entry| fs::metadata(entry.path()).ok()).any(|stat| of(stat) == inode)
}

/// As kubelet and the engine do it for a pod that lives for a moment; how long its log was there.
fn short_life(pods: &Path, number: usize) -> Duration {
    let pod = pods.join(format!("shop_job-{number}_{number:04}"));
    let directory = pod.join("main");
    fs::create_dir_all(&directory).unwrap();
    let text: String = (0..LINES).map(|line| format!("2016-10-06T00:17:09Z stdout F pod {number} line {line}\n")).collect();
    let begun = Instant::now();
    fs::write(directory.join("0.log"), text).unwrap();
    until("it is held", || is_open(&directory.join("0.log")));
    fs::remove_dir_all(&pod).unwrap();
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_live_for_a_moment_leave_all_their_lines() {
    let directory = tempfile::tempdir().unwrap();
    let (pods, log, metrics) = (directory.path().join("log/pods"), TestLog::new(2), CollectorMetrics::default());
    // The root is not there yet when watching begins.
    fs::create_dir_all(directory.path().join("log")).unwrap();
    let hour = Duration::from_secs(3600);
    let tail = Tail::start(directory.path(), &log, &metrics, (hour, Duration::ZERO), Box::new(|_| Vec::new()), root(&pods)).await;
    let of_pod = |number: usize| pods.join(format!("shop_job-{number}_{number:04}/main/0.log"));
    let sources: Vec<String> = (0..PODS).map(|number| format!("file:n:{}/stdout", of_pod(number).display())).collect();
    let mut lives: Vec<Duration> =
        tokio::task::spawn_blocking(move || (0..PODS).map(|number| short_life(&pods, number)).collect()).await.unwrap();
    tokio::task::spawn_blocking({
        let (log, sources) = (log.clone(), sources.clone());
        move || until("all is stored", || log.lines().values().map(Vec::len).sum::<usize>() == sources.len() * LINES)
    })
    .await
    .unwrap();
    let stored = log.lines();
    for (number, source) in sources.iter().enumerate() {
        let expected: Vec<String> = (0..LINES).map(|line| format!("pod {number} line {line}")).collect();
        assert_eq!(stored[source], expected, "{source}");
    }
    assert_eq!(metrics.events_of("files", "log_never_seen"), 0);
    lives.sort();
    println!("{PODS} logs lived for {:?} at the median, {:?} at most", lives[PODS / 2], lives[PODS - 1]);
    tail.stop().await;
}

/// What is stored of a log that is deleted before an engine tells of it, if one ever does: whether it has the label of those
/// that are told of, line by line.
async fn labelled(patience: Duration, tells: bool) -> Vec<bool> {
    let directory = tempfile::tempdir().unwrap();
    let (pods, log, metrics) = (directory.path().join("pods"), TestLog::new(2), CollectorMetrics::default());
    fs::create_dir(&pods).unwrap();
    let (is_told, polls, seen) = (Arc::new(AtomicBool::new(false)), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let path = pods.join("shop_job-0_0000/main/0.log");
    let (count, count_seen) = (polls.clone(), seen.clone());
    let discover: Discover = Box::new(move |is_seen| {
        count.fetch_add(1, Ordering::AcqRel);
        count_seen.fetch_add(usize::from(is_seen(&path)), Ordering::AcqRel);
        Vec::new()
    });
    let hour = Duration::from_secs(3600);
    let root = root_told(&pods, is_told.clone());
    let tail = Tail::start(directory.path(), &log, &metrics, (hour, patience), discover, root).await;
    let stored = tokio::task::spawn_blocking(move || {
        until("nothing was there at first", || polls.load(Ordering::Acquire) >= 1);
        short_life(&pods, 0);
        if tells {
            // What one listing finds is dealt with before the next.
            until("it was there and not told of", || seen.load(Ordering::Acquire) >= 2);
            is_told.store(true, Ordering::Release);
        }
        let stored = || log.sections::<LogBatch>().into_iter().flatten().map(|section| section.batch);
        until("all is stored", || stored().map(|batch| batch.len()).sum::<usize>() == LINES);
        stored().flat_map(|batch| vec![batch.stream.get("app") == "job"; batch.len()]).collect()
    });
    let stored = stored.await.unwrap();
    tail.stop().await;
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_waits_for_the_engine_that_tells_whose_it_is() {
    assert_eq!(labelled(Duration::from_secs(3600), true).await, [true; LINES]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_which_no_engine_tells_has_the_labels_of_its_path() {
    assert_eq!(labelled(Duration::ZERO, false).await, [false; LINES]);
}

/// A tail at work.
struct Tail {
    stop: CancellationToken,
    stop_lanes: CancellationToken,
    _lanes: Lanes,
    task: JoinHandle<Result<(), CollectorError>>,
}

impl Tail {
    /// `interval` of looking for files by name, `patience` for engines that tell.
    async fn start(
        directory: &Path,
        log: &Arc<TestLog>,
        metrics: &CollectorMetrics,
        (interval, patience): (Duration, Duration),
        discover: Discover,
        root: Root,
    ) -> Self {
        let (stop, stop_lanes) = (CancellationToken::new(), CancellationToken::new());
        let ship = ShipConfig { linger: Duration::from_millis(1), ..ShipConfig::default() };
        let started = Shipper::start(log.clone(), &ship, metrics.ship.clone(), stop_lanes.clone()).await;
        let (shipper, lanes) = started.unwrap();
        let hour = Duration::from_secs(3600);
        let config = FilesConfig { discover_interval: interval, checkpoint_interval: hour, ..FilesConfig::default() };
        let deps = Deps {
            quotas: Quotas::none(),
            shipper,
            tenant: "t".into(),
            node: "n".into(),
            metrics: metrics.clone(),
            clock: Arc::new(|| 1_900_000_000_000_000_000),
            data: directory.join("data"),
            epochs: Arc::new(Epochs::open(&directory.join("data")).unwrap()),
            recount: None,
            identify_patience: patience,
            shutdown: stop.clone(),
        };
        let task = tokio::spawn(run(config, deps, discover, vec![root]));
        Self { stop, stop_lanes, _lanes: lanes, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.stop_lanes.cancel();
    }
}

fn watch(directory: &Path) -> (Arc<Births>, CollectorMetrics, Watch) {
    let metrics = CollectorMetrics::default();
    let births = Arc::new(Births::new(metrics.clone()));
    let refusals = Arc::new(Refusals::new(metrics.clone()));
    let watch = Watch::start(vec![root(directory)].into(), births.clone(), refusals, metrics.clone());
    (births, metrics, watch)
}

#[test]
fn nothing_vanishes_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let pods = directory.path().join("pods");
    fs::create_dir(&pods).unwrap();
    let (births, metrics, _watch) = watch(&pods);
    fs::create_dir_all(pods.join("a_b_c/main")).unwrap();
    fs::write(pods.join("a_b_c/main/0.log"), "").unwrap();
    until("watching has begun", || births.is_seen(&pods.join("a_b_c/main/0.log")));
    // Gone at once: held or counted, whoever was faster.
    let gone: Vec<PathBuf> = (1..=100).map(|attempt| pods.join(format!("a_b_c/main/{attempt}.log"))).collect();
    for path in &gone {
        fs::write(path, "x").unwrap();
        fs::remove_file(path).unwrap();
    }
    until("all are accounted for", || gone.iter().all(|path| births.is_seen(path)));
    let held = births.paths().iter().filter(|path| gone.contains(path)).count() as u64;
    assert_eq!(metrics.events_of("files", "log_never_seen"), 100 - held);
    // Rotated at once is not gone.
    let counted = metrics.events_of("files", "log_never_seen");
    let rotated = pods.join("a_b_c/main/200.log");
    fs::write(&rotated, "x").unwrap();
    fs::rename(&rotated, pods.join("a_b_c/main/200.log.20260101-120000")).unwrap();
    fs::write(pods.join("a_b_c/main/201.log"), "x").unwrap();
    until("the last is seen", || births.is_seen(&pods.join("a_b_c/main/201.log")));
    assert_eq!(metrics.events_of("files", "log_never_seen"), counted);
}

#[test]
fn a_directory_that_is_made_again_is_watched_again() {
    let directory = tempfile::tempdir().unwrap();
    let pods = directory.path().join("pods");
    fs::create_dir(&pods).unwrap();
    let (births, metrics, _watch) = watch(&pods);
    let mut open = Vec::new();
    for attempt in 0..20 {
        let (main, log) = (pods.join("a_b_c/main"), pods.join(format!("a_b_c/main/{attempt}.log")));
        fs::create_dir_all(&main).unwrap();
        fs::write(&log, "x").unwrap();
        until("it is seen", || births.is_seen(&log));
        // Held open, its watch outlives its name.
        open.push(fs::File::open(&main).unwrap());
        fs::remove_dir_all(pods.join("a_b_c")).unwrap();
    }
    assert_eq!(metrics.events_of("files", "log_never_seen"), 0);
}

#[test]
fn what_a_chain_has_taken_is_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let births = Births::new(CollectorMetrics::default());
    let (directories, refusals) = ([directory.path().to_owned()], Refusals::new(CollectorMetrics::default()));
    let path = directory.path().join("0.log");
    fs::write(&path, "x").unwrap();
    let found = || Found::open(path.clone(), false, &directories, &refusals).unwrap().unwrap();
    births.add(&path, found());
    births.add(&path, found());
    assert_eq!(births.begin(&path).unwrap().len(), 1, "one file once");
    births.add(&path, found());
    births.release(&path);
    assert!(births.paths().is_empty() && births.is_seen(&path));
    births.add(&path, found());
    assert!(births.paths().is_empty(), "its follower has it");
    births.end(&path);
    births.add(&path, found());
    assert_eq!(births.paths(), std::slice::from_ref(&path));
}
