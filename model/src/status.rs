//! Where partitions stand: as their owner knows it and tells query nodes, or as far as a manifest says; and what this process
//! cannot write. For the page, gauges and health.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One partition. Offsets are exclusive ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerStatus {
    /// `weir.logs`, `weir.metrics` or `weir.spans`.
    pub topic: String,
    /// From 0.
    pub partition: u32,
    /// Of this owner: a higher one in the manifest means that this answer is history.
    pub epoch: u64,
    /// Newest manifest version that this owner published.
    pub version: u64,
    /// Everything below is on the bus.
    #[serde(rename = "on_bus")]
    pub high_watermark: u64,
    /// For how long the bus has not said so; `None` when it never has, to this owner.
    pub bus_silent_seconds: Option<u64>,
    /// Everything below can be found.
    #[serde(rename = "searchable")]
    pub indexed_offset: u64,
    /// Everything below is in blocks.
    #[serde(rename = "sealed")]
    pub committed_offset: u64,
    /// Memory of the heads.
    pub head_bytes: u64,
    /// Lines, samples or spans in the heads.
    pub head_records: u64,
    /// Sealed blocks.
    pub blocks: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// Of those, bytes of blocks in which samples are downsampled, by the coarsest resolution that some of a block have, in seconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub downsampled_bytes: BTreeMap<u32, u64>,
    /// Of them, those that a new owner has not opened yet. A query node opens them by itself.
    #[serde(default)]
    pub blocks_opening: u64,
    /// Those that could not be opened.
    #[serde(default)]
    pub blocks_unopened: u64,
    /// In quarantine: why the partition is not served. Nothing else is known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Sections dropped because they were stored already, ever.
    pub duplicates: u64,
    /// Sources whose sequence jumped, ever.
    pub gaps: u64,
    /// Bus records put aside, ever.
    pub quarantined: u64,
    /// Offsets `[first, next)` that are declared lost.
    pub losses: Vec<(u64, u64)>,
}

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
        let lag = progress.high_watermark.saturating_sub(progress.indexed_offset);
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

/// How far a receiver of remote write is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemoteWriteStatus {
    pub name: String,
    /// Records of the bus that are not sent yet.
    pub pending_records: u64,
    /// Of its queue on disk.
    pub pending_bytes: u64,
    /// How old the newest sample is that it has, of the part of its queue that is furthest behind: 0 where nothing waits, `None` where
    /// it has taken nothing since the start.
    pub lag_seconds: Option<f64>,
    pub last_error: Option<RemoteWriteError>,
}

/// Why a receiver took last something not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemoteWriteError {
    /// Unix nanoseconds.
    pub time: String,
    /// Without the receiver's own words, which may name series.
    pub text: String,
}

/// Tells of this process's receivers of remote write, by the order of its configuration.
pub type RemoteWritesStatus = Arc<dyn Fn() -> Vec<RemoteWriteStatus> + Send + Sync>;

/// A query service without an aggregator beside it.
pub struct NoPath;

impl PathStatus for NoPath {
    fn status(&self) -> Vec<PartitionStatus> {
        Vec::new()
    }
}
