//! Where the path stands, as the aggregator tells the page. Implemented by whoever owns the partitions; `cli` wires it in.

use serde::{Deserialize, Serialize};

/// One partition of one topic. Offsets are exclusive ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// `weir.logs`, `weir.metrics` or `weir.spans`.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Where its owner is, as the manifest says.
    pub owner: String,
    /// Of the owner.
    pub epoch: u64,
    /// Newest manifest version.
    pub version: u64,
    /// Whether the owner answered the last time it was asked; if not, the heads are not counted here.
    pub answers: bool,
    /// Everything below is on the bus.
    pub on_bus: u64,
    /// Everything below can be found.
    pub searchable: u64,
    /// Everything below is in sealed blocks.
    pub sealed: u64,
    /// Records on the bus that cannot be found yet.
    pub lag: u64,
    /// Bytes of the head.
    pub head_bytes: u64,
    /// Records of the head: lines, samples or spans.
    pub head_records: u64,
    /// Sealed blocks.
    pub blocks: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// Batches dropped because they were stored already.
    pub duplicates: u64,
    /// Sources whose sequence jumped.
    pub gaps: u64,
    /// Records in quarantine.
    pub quarantined: u64,
    /// Offsets that are declared lost, as `[first, next)`.
    pub losses: Vec<(u64, u64)>,
}

/// Tells where every partition stands. Cheap: it is asked by every open page.
pub trait PathStatus: Send + Sync {
    /// One a partition, by topic and number.
    fn status(&self) -> Vec<PartitionStatus>;
}

/// A query service without an aggregator beside it.
pub struct NoPath;

impl PathStatus for NoPath {
    fn status(&self) -> Vec<PartitionStatus> {
        Vec::new()
    }
}
