//! The tasks that follow chains: one finds them, one a chain reads and ships, one a chain waits for acknowledgements and
//! moves the checkpoint, one writes it down.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_model::wire::{Body, Mark, Section, SectionHeader};

use super::assemble::{Chunk, Snapshot};
use super::chain::{Chain, Step};
use super::checkpoint::Checkpoint;
use super::discover::{ChainSpec, Discover};
use super::identity::Fingerprint;
use crate::config::{Begin, FilesConfig};
use crate::error::{CollectorError, ShipError};
use crate::metrics::CollectorMetrics;
use crate::push::Clock;
use crate::ship::{Receipt, Shipper};

const SOURCE: &str = "files";
/// Blocks of a chain that may wait for their acknowledgement, besides the lanes' byte budgets.
const BLOCKS_UNDER_WAY: usize = 64;
/// Blocks read and parsed at once, over all chains: twice the cores of a small machine.
const READERS: usize = 4;

/// What the tail is given.
#[derive(Clone)]
pub struct Deps {
    /// Ships sections.
    pub shipper: Shipper,
    /// Whose lines.
    pub tenant: String,
    /// Part of the sources' names.
    pub node: String,
    /// Counts.
    pub metrics: CollectorMetrics,
    /// Observed time of plain lines.
    pub clock: Clock,
    /// Directory of the checkpoint and the pins.
    pub data: PathBuf,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// What the chains' tasks share.
struct Shared {
    config: FilesConfig,
    deps: Deps,
    checkpoint: Checkpoint,
    readers: Semaphore,
    pins: PathBuf,
}

/// Follows all chains until shutdown; then the last checkpoint is written.
pub async fn run(config: FilesConfig, deps: Deps, mut discover: Discover) -> Result<(), CollectorError> {
    let pins = deps.data.join("pins");
    std::fs::create_dir_all(&pins).map_err(|source| CollectorError::File { operation: "create", path: pins.clone(), source })?;
    let (checkpoint, wrong) = Checkpoint::open(deps.data.join("checkpoint"));
    if let Some(reason) = wrong {
        deps.metrics.event(SOURCE, "checkpoint_unusable", 1);
        tracing::warn!(reason, "the checkpoint cannot be used; all log files are read again");
    }
    let shared = Arc::new(Shared { config, deps, checkpoint, readers: Semaphore::new(READERS), pins });
    let mut chains: HashMap<String, watch::Sender<Option<ChainSpec>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut first = true;
    let mut look = tokio::time::interval(shared.config.discover_interval);
    let mut save = tokio::time::interval(shared.config.checkpoint_interval);
    loop {
        tokio::select! {
            () = shared.deps.shutdown.cancelled() => break,
            _ = save.tick() => shared.save().await,
            _ = look.tick() => {
                let found = tokio::task::spawn_blocking(move || { let specs = discover(); (specs, discover) }).await;
                let Ok((specs, back)) = found else { return Err(CollectorError::Serve { what: "log files", reason: "discovery panicked".into() }) };
                discover = back;
                apply(&shared, &mut chains, &mut tasks, specs, std::mem::take(&mut first));
            }
        }
    }
    drop(chains);
    while tasks.join_next().await.is_some() {}
    shared.save().await;
    Ok(())
}

fn apply(
    shared: &Arc<Shared>,
    chains: &mut HashMap<String, watch::Sender<Option<ChainSpec>>>,
    tasks: &mut JoinSet<()>,
    specs: Vec<ChainSpec>,
    first: bool,
) {
    while tasks.try_join_next().is_some() {}
    chains.retain(|_, tx| !tx.is_closed());
    let mut gone: HashSet<String> = chains.keys().cloned().collect();
    for spec in specs {
        let id = spec.id();
        gone.remove(&id);
        match chains.get(&id) {
            Some(tx) => {
                tx.send_if_modified(|known| known.as_ref() != Some(&spec) && known.replace(spec).is_none_or(|_| true));
            }
            None if chains.len() >= shared.config.files_max => shared.deps.metrics.event(SOURCE, "too_many_files", 1),
            None => {
                let (tx, rx) = watch::channel(Some(spec.clone()));
                chains.insert(id, tx);
                tasks.spawn(follow(shared.clone(), spec, rx, first && shared.config.begin == Begin::End));
            }
        }
    }
    // Their tasks read to the end and leave; until then nobody else may follow the same chain.
    for tx in gone.iter().filter_map(|id| chains.get(id)) {
        tx.send_if_modified(|known| known.take().is_some());
    }
    shared.deps.metrics.files_open.set(chains.len() as i64);
}

impl Shared {
    async fn save(&self) {
        if let Err(error) = self.checkpoint.save().await {
            self.deps.metrics.event(SOURCE, "checkpoint_failed", 1);
            tracing::warn!(%error, "the checkpoint could not be written");
        }
    }
}

/// What waits for acknowledgement, in order.
enum Pending {
    Block {
        receipts: Vec<Receipt>,
        epoch: u64,
        snapshot: Snapshot,
        fingerprint: Fingerprint,
        bytes: u64,
    },
    /// Answered when everything before is acknowledged.
    Barrier(oneshot::Sender<()>),
}

/// A chain at work.
struct Follower {
    shared: Arc<Shared>,
    id: String,
    pending: mpsc::Sender<Pending>,
}

/// Why a chain stops.
enum Stop {
    /// All of it is read, and acknowledged.
    Done,
    /// Shutdown, or the bus has gone: the checkpoint says where to go on.
    Leave,
    /// A file could not be read; the chain is found and opened again.
    Failed(std::io::Error),
}

async fn follow(shared: Arc<Shared>, spec: ChainSpec, specs: watch::Receiver<Option<ChainSpec>>, at_end: bool) {
    let id = spec.id();
    let (pending, rx) = mpsc::channel(BLOCKS_UNDER_WAY);
    let acknowledger = tokio::spawn(acknowledge(shared.clone(), id.clone(), rx));
    let follower = Follower { shared: shared.clone(), id: id.clone(), pending };
    // Kept until the end: nobody else follows this chain as long as someone listens.
    let _listening = specs.clone();
    let Err(stop) = follower.run(spec, specs, at_end).await;
    drop(follower);
    let _ = acknowledger.await;
    match stop {
        Stop::Done => shared.checkpoint.remove(&id),
        Stop::Leave => {}
        Stop::Failed(error) => {
            shared.deps.metrics.event(SOURCE, "read_failed", 1);
            tracing::warn!(file = id, %error, "a log file cannot be read; trying again");
        }
    }
}

impl Follower {
    async fn run(
        &self,
        spec: ChainSpec,
        mut specs: watch::Receiver<Option<ChainSpec>>,
        at_end: bool,
    ) -> Result<std::convert::Infallible, Stop> {
        let (entry, pins, budget) =
            (self.shared.checkpoint.get(&self.id), self.shared.pins.clone(), self.shared.config.pin_bytes_max);
        let (fresh, held) = (entry.is_none(), self.shared.deps.metrics.pinned_bytes.clone());
        let mut chain = self.blocking(move || Chain::open(spec, entry, &pins, budget, held)).await?;
        if fresh && at_end {
            chain.keep_only_current();
        }
        if chain.epoch().is_none() {
            self.begin_next(&mut chain, fresh && at_end).await?;
        }
        loop {
            let closed = match specs.has_changed() {
                Ok(false) => {
                    chain = self.turn(chain).await?;
                    continue;
                }
                Ok(true) => false,
                Err(_) => true,
            };
            // Bound before the match: the guard of `borrow_and_update` must not live across an await.
            let spec = specs.borrow_and_update().clone();
            chain = match spec {
                None => return Err(self.drain(chain).await?),
                Some(_) if closed => return Err(Stop::Leave),
                Some(spec) => {
                    chain.update(spec);
                    chain
                }
            };
        }
    }

    /// One step, or one wait.
    async fn turn(&self, mut chain: Chain) -> Result<Chain, Stop> {
        if self.shared.deps.shutdown.is_cancelled() {
            return Err(Stop::Leave);
        }
        if chain.epoch().is_none() && chain.has_next() {
            self.begin_next(&mut chain, false).await?;
        }
        if !chain.has_news() {
            return self.pause(chain).await;
        }
        let (mut chain, step) = self.step(chain).await?;
        match step {
            Step::Idle => return self.pause(chain).await,
            Step::Lines { chunks, snapshot, fingerprint, bytes } => {
                self.ship(&chain, chunks, snapshot, fingerprint, bytes).await?;
            }
            Step::Ended { chunks, snapshot, fingerprint } => {
                self.ship(&chain, chunks, snapshot, fingerprint, 0).await?;
                self.barrier().await?;
                self.begin_next(&mut chain, false).await?;
            }
        }
        Ok(chain)
    }

    async fn pause(&self, chain: Chain) -> Result<Chain, Stop> {
        tokio::select! {
            () = tokio::time::sleep(self.shared.config.poll_interval) => Ok(chain),
            () = self.shared.deps.shutdown.cancelled() => Err(Stop::Leave),
        }
    }

    async fn step(&self, mut chain: Chain) -> Result<(Chain, Step), Stop> {
        let Ok(_reader) = self.shared.readers.acquire().await else { return Err(Stop::Leave) };
        let now = (self.shared.deps.clock)();
        let (mut chain, step) = self.blocking(move || chain.step(now).map(|step| (chain, step))).await?;
        self.count(&mut chain);
        Ok((chain, step))
    }

    fn count(&self, chain: &mut Chain) {
        let metrics = &self.shared.deps.metrics;
        let oddities = chain.take_oddities();
        for (reason, count) in [("broken_line", oddities.broken), ("cut_line", oddities.cut)] {
            if count > 0 {
                metrics.event(SOURCE, reason, count);
            }
        }
        for loss in chain.losses.drain(..) {
            metrics.event(SOURCE, loss.reason, 1);
            metrics.lost(SOURCE, loss.reason, loss.bytes);
            tracing::error!(file = self.id, reason = loss.reason, bytes = loss.bytes, "part of a log file is lost");
        }
    }

    /// The next generation's epoch is durable before its first line is shipped.
    async fn begin_next(&self, chain: &mut Chain, at_end: bool) -> Result<(), Stop> {
        let now = (self.shared.deps.clock)();
        let entry = chain.begin_next(now, at_end).map_err(Stop::Failed)?;
        self.count(chain);
        if let Some(entry) = entry {
            self.shared.checkpoint.set(entry);
            self.shared.checkpoint.save().await.map_err(|error| Stop::Failed(std::io::Error::other(error)))?;
        }
        Ok(())
    }

    async fn ship(
        &self,
        chain: &Chain,
        chunks: Vec<Chunk>,
        snapshot: Snapshot,
        fingerprint: Fingerprint,
        bytes: u64,
    ) -> Result<(), Stop> {
        let epoch = chain.epoch().unwrap_or_default();
        let mut receipts = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let source = format!("file:{}:{}/{}", self.shared.deps.node, self.id, chunk.stream.name());
            let mark = Mark::Sequence { epoch, first: chunk.first, last: chunk.last };
            let records = u32::try_from(chunk.batch.len()).unwrap_or(u32::MAX);
            let header = SectionHeader { tenant: self.shared.deps.tenant.clone(), source, mark, records };
            let section = Section { header, body: Body::Logs(chunk.batch) };
            let sent = tokio::select! {
                sent = self.shared.deps.shipper.send(section) => sent,
                () = self.shared.deps.shutdown.cancelled() => return Err(Stop::Leave),
            };
            receipts.push(sent.map_err(|_| Stop::Leave)?);
        }
        let block = Pending::Block { receipts, epoch, snapshot, fingerprint, bytes };
        self.pending.send(block).await.map_err(|_| Stop::Leave)
    }

    /// Waits until everything shipped is acknowledged.
    async fn barrier(&self) -> Result<(), Stop> {
        let (tx, rx) = oneshot::channel();
        self.pending.send(Pending::Barrier(tx)).await.map_err(|_| Stop::Leave)?;
        rx.await.map_err(|_| Stop::Leave)
    }

    /// The files have gone: what the open descriptor still has is read to its end.
    async fn drain(&self, mut chain: Chain) -> Result<Stop, Stop> {
        while chain.has_news() {
            let step;
            (chain, step) = self.step(chain).await?;
            match step {
                Step::Lines { chunks, snapshot, fingerprint, bytes } => {
                    self.ship(&chain, chunks, snapshot, fingerprint, bytes).await?;
                }
                Step::Ended { chunks, snapshot, fingerprint } => {
                    self.ship(&chain, chunks, snapshot, fingerprint, 0).await?;
                    self.barrier().await?;
                    self.begin_next(&mut chain, false).await?;
                }
                Step::Idle if chain.has_next() => chain = self.pause(chain).await?,
                Step::Idle => break,
            }
        }
        let now = (self.shared.deps.clock)();
        let chunks = chain.finish(now).map_err(Stop::Failed)?;
        self.ship(&chain, chunks, Snapshot::default(), Fingerprint::default(), 0).await?;
        self.barrier().await?;
        chain.begin_next(now, false).map_err(Stop::Failed)?;
        self.count(&mut chain);
        Ok(Stop::Done)
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Stop> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(Stop::Failed),
            Err(error) => Err(Stop::Failed(std::io::Error::other(error))),
        }
    }
}

/// Moves the checkpoint on, block by block in order. Ends when the chain does, or when the bus has gone: then the
/// chain's next `send` fails, and the checkpoint stays where it is.
async fn acknowledge(shared: Arc<Shared>, id: String, mut pending: mpsc::Receiver<Pending>) {
    while let Some(next) = pending.recv().await {
        match next {
            Pending::Barrier(tx) => drop(tx.send(())),
            Pending::Block { receipts, epoch, snapshot, fingerprint, bytes } => {
                for receipt in receipts {
                    match receipt.await {
                        Ok(()) => {}
                        Err(ShipError::Refused(reason)) => {
                            shared.deps.metrics.lost(SOURCE, "refused", bytes);
                            tracing::error!(file = id, reason, "lines cannot be encoded and are left out");
                        }
                        Err(ShipError::Stopped | ShipError::Busy) => return,
                    }
                }
                shared.deps.metrics.file_bytes.inc_by(bytes);
                shared.checkpoint.advance(&id, epoch, snapshot, fingerprint);
            }
        }
    }
}
