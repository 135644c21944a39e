//! The ledger: writers record every acknowledged record, a checker compares them with what weir answers.
//!
//! What is compared, per source: acknowledged ⊆ stored ⊆ sent, each once, in order, byte for byte; live, after a seal,
//! after a compaction. `write` has the writers, `check` the checker; `single` does things to one weir, `full` fills its disk, `storm` sends hostile requests beside it, `cluster` does things to a
//! cluster (`faults`, and `watch` for what is seen meanwhile). The seed is printed; `WEIR_LEDGER_SEED` repeats it,
//! `WEIR_LEDGER_MINUTES` makes the loops over one weir long, `WEIR_LEDGER_KILLS` the one over a cluster.

mod check;
mod cluster;
mod disk;
mod faults;
mod full;
mod single;
mod storm;
mod watch;
mod write;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::weir::PATIENCE;

/// What a source has sent and what was acknowledged of it.
#[derive(Default)]
struct Account {
    /// Bodies in the order they were sent.
    sent: Vec<String>,
    /// Of those, the first this many are acknowledged (a source sends one request after the other).
    acknowledged: usize,
}

type Accounts = Arc<Mutex<HashMap<String, Account>>>;

/// Where the writers write.
struct Ends {
    /// Loki's push.
    push: String,
    /// OTLP over HTTP, without its path.
    otlp: String,
    /// Below it, containers' log files.
    pods: PathBuf,
}

/// How much is written.
#[derive(Clone, Copy)]
struct Load {
    /// Loki clients.
    pushers: usize,
    /// Exporters of spans.
    tracers: usize,
    /// Exporters of metrics, and as many senders of remote write.
    meters: usize,
    /// Of the log file.
    lines_per_second: u32,
    /// Of every client, between two requests.
    pause: Duration,
}

struct Ledger {
    /// Name of the container whose log file is written.
    file: String,
    round: usize,
    accounts: Accounts,
    stop: Arc<AtomicBool>,
    hurry: Arc<AtomicBool>,
    repeats: Arc<AtomicUsize>,
    writers: Vec<tokio::task::JoinHandle<()>>,
}

/// The seed of this run, printed so that a failure can be repeated.
fn seed() -> u64 {
    let seed = match std::env::var("WEIR_LEDGER_SEED") {
        Ok(seed) => seed.parse().expect("WEIR_LEDGER_SEED is a number"),
        Err(_) => rand::random::<u64>() >> 16,
    };
    println!("WEIR_LEDGER_SEED={seed}");
    seed
}

/// How long the loops take, when that was said.
fn minutes() -> Option<Duration> {
    let minutes = std::env::var("WEIR_LEDGER_MINUTES").ok()?;
    Some(Duration::from_secs(60 * minutes.parse::<u64>().expect("WEIR_LEDGER_MINUTES is a number")))
}

impl Ledger {
    /// Starts the clients and one container's log file. No other `round` has the same sources.
    fn start(ends: &Ends, seed: u64, round: usize, load: Load) -> Self {
        let file = format!("file{round}");
        let mut ledger = Self {
            file,
            round,
            accounts: Accounts::default(),
            stop: Arc::default(),
            hurry: Arc::default(),
            repeats: Arc::default(),
            writers: Vec::new(),
        };
        for i in 0..load.pushers {
            let writer = write::push(ends.push.clone(), format!("push{round}-{i}"), ledger.writer(load), seed + i as u64);
            ledger.writers.push(tokio::spawn(writer));
        }
        for i in 0..load.tracers {
            let writer = write::trace(format!("{}/v1/traces", ends.otlp), format!("trace{round}-{i}"), ledger.writer(load));
            ledger.writers.push(tokio::spawn(writer));
        }
        for i in 0..load.meters {
            let writer = write::measure(format!("{}/v1/metrics", ends.otlp), format!("meter{round}-{i}"), ledger.writer(load));
            ledger.writers.push(tokio::spawn(writer));
            let url = ends.push.replace("/loki/api/v1/push", "/api/v1/write");
            let writer = write::remote_write(url, format!("meter{round}-{i}-written"), ledger.writer(load));
            ledger.writers.push(tokio::spawn(writer));
        }
        let writer = ledger.writer(load);
        let (pods, file) = (ends.pods.clone(), ledger.file.clone());
        ledger.writers.push(tokio::task::spawn_blocking(move || write::file(&pods, &file, &writer, seed + 100)));
        ledger
    }

    /// Name of a Loki client.
    fn a_pusher(&self) -> String {
        format!("push{}-0", self.round)
    }

    fn writer(&self, load: Load) -> Writer {
        Writer {
            accounts: Arc::clone(&self.accounts),
            stop: Arc::clone(&self.stop),
            hurry: Arc::clone(&self.hurry),
            repeats: Arc::clone(&self.repeats),
            load,
        }
    }

    /// Writes to the file as fast as it goes, until there is far more than a collector's queues hold.
    async fn outgrow_queues(&self) {
        let lines = || self.accounts.lock().unwrap().get(&self.file).map_or(0, |account| account.sent.len());
        let enough = lines() + 20_000;
        self.hurry.store(true, Ordering::Relaxed);
        crate::weir::eventually("20,000 lines", async || if lines() > enough { Ok(()) } else { Err(lines().to_string()) }).await;
        self.hurry.store(false, Ordering::Relaxed);
    }

    /// No more records; what was begun is finished first (each client sends until it is acknowledged).
    async fn finish(&mut self, asked: &impl check::Asked) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            let ended = tokio::time::timeout(PATIENCE, writer).await;
            ended.unwrap_or_else(|_| panic!("a writer is not acknowledged any more\n{}", asked.log())).expect("a writer failed");
        }
    }

    /// How often the same request was sent again at most, since this was last asked.
    fn repeats(&self) -> usize {
        self.repeats.swap(0, Ordering::Relaxed)
    }

    fn total(&self) -> usize {
        self.accounts.lock().unwrap().values().map(|account| account.acknowledged).sum()
    }

    /// Lines that Loki clients had acknowledged.
    fn total_pushed(&self) -> usize {
        let accounts = self.accounts.lock().unwrap();
        accounts.iter().filter(|(name, _)| name.starts_with("push")).map(|(_, account)| account.acknowledged).sum()
    }
}

/// Keeps the account of one source.
struct Writer {
    accounts: Accounts,
    stop: Arc<AtomicBool>,
    hurry: Arc<AtomicBool>,
    repeats: Arc<AtomicUsize>,
    load: Load,
}

impl Writer {
    fn running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn hurried(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    fn sent(&self, source: &str, bodies: &[String]) {
        self.accounts.lock().unwrap().entry(source.to_owned()).or_default().sent.extend_from_slice(bodies);
    }

    fn acknowledged(&self, source: &str) {
        let mut accounts = self.accounts.lock().unwrap();
        let account = accounts.get_mut(source).expect("sent before");
        account.acknowledged = account.sent.len();
    }
}
