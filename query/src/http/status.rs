//! Where the path stands, as the aggregator tells the page. Implemented by whoever owns the partitions; `cli` wires it in.

use std::sync::Arc;

use serde::Serialize;
use weir_store::heads::OwnerStatus;

/// One partition of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// As its owner says; as the manifest does when the owner does not answer, and the heads are not counted then.
    #[serde(flatten)]
    pub progress: OwnerStatus,
    /// Where its owner is, as the manifest says.
    pub owner: String,
    /// Whether the owner answered the last time it was asked.
    pub answers: bool,
    /// Records on the bus that cannot be found yet.
    pub lag: u64,
}

impl PartitionStatus {
    /// With the lag that follows from the offsets.
    pub fn new(progress: OwnerStatus, owner: String, answers: bool) -> Self {
        let lag = progress.on_bus.saturating_sub(progress.searchable);
        Self { progress, owner, answers, lag }
    }
}

/// Tells where every partition stands. Cheap: it is asked by every open page.
pub trait PathStatus: Send + Sync {
    /// One a partition, by topic and number.
    fn status(&self) -> Vec<PartitionStatus>;
}

/// Something that this process cannot write now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutageStatus {
    /// "bus", "object_store", "collector_files", "upkeep".
    #[serde(rename = "what")]
    pub target: &'static str,
    /// "disk_full", "not_acknowledged", "error".
    pub reason: &'static str,
    /// Unix nanoseconds.
    pub since: String,
    /// Writes refused since then.
    pub refused: u64,
    /// Whether new records are not stored while it lasts.
    pub blocking: bool,
    /// A sentence for people.
    pub text: String,
}

/// Tells what cannot be written now. Cheap: it is asked at every request.
pub type OutagesStatus = Arc<dyn Fn() -> Vec<OutageStatus> + Send + Sync>;

/// A query service without an aggregator beside it.
pub struct NoPath;

impl PathStatus for NoPath {
    fn status(&self) -> Vec<PartitionStatus> {
        Vec::new()
    }
}
