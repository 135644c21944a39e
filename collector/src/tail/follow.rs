//! The tasks that follow chains: one finds them ([`super::find`]) and writes the checkpoint down, one a chain reads and
//! ships, one a chain waits for acknowledgements and moves the checkpoint ([`super::acknowledge`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_model::outage::Target;
use weir_model::wire::{Mark, Section, SectionHeader};

use super::acknowledge::{Pending, acknowledge};
use super::admit::Refusals;
use super::assemble::{Chunk, Snapshot};
use super::births::Births;
use super::chain::{Chain, ChainDeps, Step};
use super::checkpoint::Checkpoint;
use super::discover::{ChainSpec, Discover, Root};
use super::find::{Finder, discover_and_save};
use super::identity::Fingerprint;
use super::watch::Watch;
use crate::config::FilesConfig;
use crate::epoch::Epochs;
use crate::error::CollectorError;
use crate::metrics::CollectorMetrics;
use crate::node::Recount;
use crate::private::make_directory;
use crate::push::Clock;
use crate::ship::Shipper;

pub(super) const SOURCE: &str = "files";
/// After a birth the engines are asked whose log it is, for so long; the file is held meanwhile.
const RECOUNT_PATIENCE: Duration = Duration::from_millis(500);
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
    /// For files whose birth is no epoch.
    pub epochs: Arc<Epochs>,
    /// Has the engines asked anew; `None` where nobody asks them.
    pub recount: Option<Recount>,
    /// How long a log waits, held since its birth, for an engine to tell whose it is.
    pub tell_patience: Duration,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// What the chains' tasks share.
pub(super) struct Shared {
    pub config: FilesConfig,
    pub deps: Deps,
    pub checkpoint: Checkpoint,
    pub births: Arc<Births>,
    refusals: Arc<Refusals>,
    unknown_before: u64,
    readers: Semaphore,
    pins: PathBuf,
}

/// Follows all chains until shutdown; then the last checkpoint is written. In `roots` files are met at their birth, all
/// others when `discover` next looks.
pub async fn run(config: FilesConfig, deps: Deps, discover: Discover, roots: Vec<Root>) -> Result<(), CollectorError> {
    let pins = deps.data.join("pins");
    make_directory(&pins).map_err(|source| CollectorError::File { operation: "create", path: pins.clone(), source })?;
    let (checkpoint, wrong) = Checkpoint::open(deps.data.join("checkpoint"));
    if let Some(reason) = wrong {
        deps.metrics.event(SOURCE, "checkpoint_unusable", 1);
        tracing::warn!(reason, "the checkpoint cannot be used; all log files are read again");
    }
    let births = Arc::new(Births::new(deps.metrics.clone()));
    let roots: Arc<[Root]> = roots.into();
    let refusals = Arc::new(Refusals::new(deps.metrics.clone()));
    let unknown_before = if checkpoint.is_empty() { (deps.clock)().unsigned_abs() } else { 0 };
    let watch = Watch::start(roots.clone(), births.clone(), refusals.clone(), deps.metrics.clone());
    let shared =
        Arc::new(Shared { config, deps, checkpoint, births, refusals, unknown_before, readers: Semaphore::new(READERS), pins });
    let mut tasks = JoinSet::new();
    let discovered = discover_and_save(&shared, &mut tasks, Finder { discover, roots }).await;
    // Joins the thread, which may be listing a directory.
    let _ = tokio::task::spawn_blocking(move || drop(watch)).await;
    discovered?;
    while tasks.join_next().await.is_some() {}
    shared.save().await;
    Ok(())
}

impl Shared {
    fn chain_deps(&self) -> ChainDeps {
        ChainDeps {
            pins: self.pins.clone(),
            pin_bytes_max: self.config.pin_max.to_u64(),
            held: self.deps.metrics.pinned_bytes.clone(),
            refusals: self.refusals.clone(),
            epochs: self.deps.epochs.clone(),
            unknown_before: self.unknown_before,
        }
    }

    /// Asks the engines anew, so that a log born a moment ago has its container's labels from its first line on.
    pub async fn recount(&self) {
        let Some(recount) = &self.deps.recount else { return };
        tokio::select! {
            () = self.deps.shutdown.cancelled() => {}
            _ = tokio::time::timeout(RECOUNT_PATIENCE, recount.ask()) => {}
        }
    }

    pub async fn save(&self) {
        match self.checkpoint.save().await {
            Ok(()) => self.deps.metrics.ship.outages.ended(Target::CollectorFiles, "checkpoint"),
            Err(error) => {
                self.deps.metrics.event(SOURCE, "checkpoint_failed", 1);
                self.deps.metrics.ship.outages.failed(Target::CollectorFiles, "checkpoint", &error);
            }
        }
    }
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
    /// Shutdown, the bus has gone, or the file was cut in place and may come back: the checkpoint says where to go on.
    Leave,
    /// A file could not be read; the chain is found and opened again.
    Failed(std::io::Error),
}

pub(super) async fn follow(shared: Arc<Shared>, spec: ChainSpec, specs: watch::Receiver<Option<ChainSpec>>, at_end: bool) {
    let id = spec.id();
    let (pending, rx) = mpsc::channel(BLOCKS_UNDER_WAY);
    let acknowledger = tokio::spawn(acknowledge(shared.clone(), id.clone(), rx));
    let follower = Follower { shared: shared.clone(), id: id.clone(), pending };
    // Kept until the end: nobody else follows this chain as long as someone listens.
    let _listening = specs.clone();
    let current = spec.current.clone();
    let Err(stop) = follower.run(spec, specs, at_end).await;
    drop(follower);
    let _ = acknowledger.await;
    shared.births.end(&current);
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
        let entry = self.shared.checkpoint.get(&self.id);
        let (fresh, deps) = (entry.is_none(), self.shared.chain_deps());
        let births = self.shared.births.clone();
        let open = move || {
            let (current, born) = (spec.current.clone(), births.begin(&spec.current)?);
            let chain = Chain::open(spec, entry, born, deps)?;
            births.release(&current);
            Ok(chain)
        };
        let mut chain = self.blocking(open).await?;
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
            let section = Section::new(header, chunk.batch);
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
        if let Step::Ended { chunks, snapshot, fingerprint } = chain.finish(now).map_err(Stop::Failed)? {
            self.ship(&chain, chunks, snapshot, fingerprint, 0).await?;
        }
        self.barrier().await?;
        let is_renumbered = chain.is_renumbered();
        chain.begin_next(now, false).map_err(Stop::Failed)?;
        self.count(&mut chain);
        Ok(if is_renumbered { Stop::Leave } else { Stop::Done })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Stop> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(Stop::Failed),
            Err(error) => Err(Stop::Failed(std::io::Error::other(error))),
        }
    }
}
