//! Following one log: a task reads and ships it, another one waits for acknowledgements and moves the checkpoint
//! ([`super::acknowledge`]). Started by [`super::find`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use weir_model::log::LogBatch;
use weir_model::signal::Signal;
use weir_model::wire::{Kind, Mark, Section, SectionHeader};

use super::acknowledge::{Pending, acknowledge};
use super::assemble::{Chunk, Snapshot};
use super::discover::LogSpec;
use super::file_set::{LogFileSet, Step};
use super::identity::Fingerprint;
use super::shared::{SOURCE, Shared};
use crate::quota::RATE_LIMITED;

/// Where a tenant's rate is used up it is looked at again after so long at the latest: it may have been changed.
const RATE_WAIT_MAX: Duration = Duration::from_secs(1);
/// Blocks of a log that may wait for their acknowledgement, besides the lanes' byte budgets.
const BLOCKS_UNDER_WAY: usize = 64;

/// Reads and ships one log.
struct Follower {
    shared: Arc<Shared>,
    id: String,
    pending: mpsc::Sender<Pending>,
}

/// Why a follower stops.
enum Stop {
    /// All of it is read, and acknowledged.
    Done,
    /// Shutdown, the bus has gone, or the file was cut in place and may come back: the checkpoint says where to go on.
    Leave,
    /// A file could not be read; the log is found and opened again.
    Failed(std::io::Error),
}

pub(super) async fn follow(shared: Arc<Shared>, spec: LogSpec, specs: watch::Receiver<Option<LogSpec>>, at_end: bool) {
    let id = spec.id();
    let (pending, rx) = mpsc::channel(BLOCKS_UNDER_WAY);
    let acknowledger = tokio::spawn(acknowledge(shared.clone(), id.clone(), rx));
    let follower = Follower { shared: shared.clone(), id: id.clone(), pending };
    // Kept until the end: nobody else follows this log as long as there is a receiver.
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
        spec: LogSpec,
        mut specs: watch::Receiver<Option<LogSpec>>,
        at_end: bool,
    ) -> Result<std::convert::Infallible, Stop> {
        let entry = self.shared.checkpoint.get(&self.id);
        let (fresh, deps) = (entry.is_none(), self.shared.file_set_deps());
        let births = self.shared.births.clone();
        let open = move || {
            let (current, born) = (spec.current.clone(), births.begin(&spec.current)?);
            let file_set = LogFileSet::open(spec, entry, born, deps)?;
            births.release(&current);
            Ok(file_set)
        };
        let mut file_set = self.blocking(open).await?;
        if fresh && at_end {
            file_set.keep_only_current();
        }
        if file_set.epoch().is_none() {
            self.begin_next(&mut file_set, fresh && at_end).await?;
        }
        loop {
            let closed = match specs.has_changed() {
                Ok(false) => {
                    file_set = self.turn(file_set).await?;
                    continue;
                }
                Ok(true) => false,
                Err(_) => true,
            };
            // Bound before the match: the guard of `borrow_and_update` must not live across an await.
            let spec = specs.borrow_and_update().clone();
            file_set = match spec {
                None => return Err(self.drain(file_set).await?),
                Some(_) if closed => return Err(Stop::Leave),
                Some(spec) => {
                    file_set.update(spec);
                    file_set
                }
            };
        }
    }

    /// One step, or one wait.
    async fn turn(&self, mut file_set: LogFileSet) -> Result<LogFileSet, Stop> {
        if self.shared.deps.shutdown.is_cancelled() {
            return Err(Stop::Leave);
        }
        if file_set.epoch().is_none() && file_set.has_next() {
            self.begin_next(&mut file_set, false).await?;
        }
        if !file_set.has_unread() {
            return self.pause(file_set).await;
        }
        let (mut file_set, step) = self.step(file_set).await?;
        match step {
            Step::Idle => return self.pause(file_set).await,
            Step::Lines { chunks, snapshot, fingerprint, bytes } => {
                self.ship(&file_set, chunks, snapshot, fingerprint, bytes).await?;
            }
            Step::Ended { chunks, snapshot, fingerprint } => {
                self.ship(&file_set, chunks, snapshot, fingerprint, 0).await?;
                self.barrier().await?;
                self.begin_next(&mut file_set, false).await?;
            }
        }
        Ok(file_set)
    }

    async fn pause(&self, file_set: LogFileSet) -> Result<LogFileSet, Stop> {
        tokio::select! {
            () = tokio::time::sleep(self.shared.config.poll_interval) => Ok(file_set),
            () = self.shared.deps.shutdown.cancelled() => Err(Stop::Leave),
        }
    }

    async fn step(&self, mut file_set: LogFileSet) -> Result<(LogFileSet, Step), Stop> {
        let Ok(_reader) = self.shared.readers.acquire().await else { return Err(Stop::Leave) };
        let now = (self.shared.deps.clock)();
        let (mut file_set, step) = self.blocking(move || file_set.step(now).map(|step| (file_set, step))).await?;
        self.count(&mut file_set);
        Ok((file_set, step))
    }

    fn count(&self, file_set: &mut LogFileSet) {
        let metrics = &self.shared.deps.metrics;
        let stats = file_set.take_stats();
        for (reason, count) in [("broken_line", stats.broken), ("cut_line", stats.cut)] {
            if count > 0 {
                metrics.event(SOURCE, reason, count);
            }
        }
        for loss in file_set.losses.drain(..) {
            metrics.event(SOURCE, loss.reason, 1);
            metrics.lost(SOURCE, loss.reason, loss.bytes);
            tracing::error!(file = self.id, reason = loss.reason, bytes = loss.bytes, "part of a log file is lost");
        }
    }

    /// The next file's epoch is durable before its first line is shipped.
    async fn begin_next(&self, file_set: &mut LogFileSet, at_end: bool) -> Result<(), Stop> {
        let now = (self.shared.deps.clock)();
        let entry = file_set.begin_next(now, at_end).map_err(Stop::Failed)?;
        self.count(file_set);
        if let Some(entry) = entry {
            self.shared.checkpoint.set(entry);
            self.shared.checkpoint.save().await.map_err(|error| Stop::Failed(std::io::Error::other(error)))?;
        }
        Ok(())
    }

    async fn ship(
        &self,
        file_set: &LogFileSet,
        chunks: Vec<Chunk>,
        snapshot: Snapshot,
        fingerprint: Fingerprint,
        bytes: u64,
    ) -> Result<(), Stop> {
        let epoch = file_set.epoch().unwrap_or_default();
        let mut receipts = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let source = format!("file:{}:{}/{}", self.shared.deps.node, self.id, chunk.stream.name());
            let mark = Mark::Sequence { epoch, first: chunk.first, last: chunk.last };
            let records = u32::try_from(chunk.batch.len()).unwrap_or(u32::MAX);
            let header = SectionHeader { tenant: self.shared.deps.tenant.clone(), source, mark, records };
            self.within_rate(&chunk.batch).await?;
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

    /// Waits until the tenant may send so much: the file stays where it is, and what it is rotated into is pinned meanwhile.
    async fn within_rate(&self, batch: &LogBatch) -> Result<(), Stop> {
        let deps = &self.shared.deps;
        loop {
            let quota = deps.quotas.of(&deps.tenant);
            let Err(limited) = quota.take(Kind::Logs, batch.len() as u64, batch.weight() as u64) else { return Ok(()) };
            deps.metrics.event(SOURCE, RATE_LIMITED, 1);
            tokio::select! {
                () = tokio::time::sleep(limited.wait.min(RATE_WAIT_MAX)) => {}
                () = deps.shutdown.cancelled() => return Err(Stop::Leave),
            }
        }
    }

    /// Waits until everything shipped is acknowledged.
    async fn barrier(&self) -> Result<(), Stop> {
        let (tx, rx) = oneshot::channel();
        self.pending.send(Pending::Barrier(tx)).await.map_err(|_| Stop::Leave)?;
        rx.await.map_err(|_| Stop::Leave)
    }

    /// The files have gone: what the open descriptor still has is read to its end.
    async fn drain(&self, mut file_set: LogFileSet) -> Result<Stop, Stop> {
        while file_set.has_unread() {
            let step;
            (file_set, step) = self.step(file_set).await?;
            match step {
                Step::Lines { chunks, snapshot, fingerprint, bytes } => {
                    self.ship(&file_set, chunks, snapshot, fingerprint, bytes).await?;
                }
                Step::Ended { chunks, snapshot, fingerprint } => {
                    self.ship(&file_set, chunks, snapshot, fingerprint, 0).await?;
                    self.barrier().await?;
                    self.begin_next(&mut file_set, false).await?;
                }
                Step::Idle if file_set.has_next() => file_set = self.pause(file_set).await?,
                Step::Idle => break,
            }
        }
        let now = (self.shared.deps.clock)();
        if let Step::Ended { chunks, snapshot, fingerprint } = file_set.finish(now).map_err(Stop::Failed)? {
            self.ship(&file_set, chunks, snapshot, fingerprint, 0).await?;
        }
        self.barrier().await?;
        let is_renumbered = file_set.is_renumbered();
        file_set.begin_next(now, false).map_err(Stop::Failed)?;
        self.count(&mut file_set);
        Ok(if is_renumbered { Stop::Leave } else { Stop::Done })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Stop> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(Stop::Failed),
            Err(error) => Err(Stop::Failed(std::io::Error::other(error))),
        }
    }
}
