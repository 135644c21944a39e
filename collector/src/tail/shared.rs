//! What the tail is given, and what its tasks share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use weir_model::outage::Target;

use super::admit::Refusals;
use super::births::Births;
use super::checkpoint::Checkpoint;
use super::file_set::FileSetDeps;
use crate::config::FilesConfig;
use crate::epoch::Epochs;
use crate::metrics::CollectorMetrics;
use crate::node::Recount;
use crate::push::Clock;
use crate::quota::Quotas;
use crate::ship::Shipper;

pub(super) const SOURCE: &str = "files";
/// After a birth the engines are asked whose log it is, for so long; the file is held meanwhile.
const RECOUNT_PATIENCE: Duration = Duration::from_millis(500);

/// What the tail is given.
#[derive(Clone)]
pub struct Deps {
    /// Ships sections.
    pub shipper: Shipper,
    /// Whose lines.
    pub tenant: String,
    /// How many a second.
    pub(crate) quotas: Quotas,
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
    pub identify_patience: Duration,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// What the followers share.
pub(super) struct Shared {
    pub config: FilesConfig,
    pub deps: Deps,
    pub checkpoint: Checkpoint,
    pub births: Arc<Births>,
    pub refusals: Arc<Refusals>,
    pub unknown_before: u64,
    pub readers: Semaphore,
    pub pins: PathBuf,
}

impl Shared {
    pub fn file_set_deps(&self) -> FileSetDeps {
        FileSetDeps {
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
