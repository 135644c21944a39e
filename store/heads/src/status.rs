//! How far a partition is: as its owner knows it and tells query nodes, or as far as its manifest says.

use serde::{Deserialize, Serialize};
use weir_model::wire::Kind;

use weir_blocks::manifest::Manifest;

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
    pub on_bus: u64,
    /// For how long the bus has not said so; `None` when it never has, to this owner.
    pub bus_silent_seconds: Option<u64>,
    /// Everything below can be found.
    pub searchable: u64,
    /// Everything below is in blocks.
    pub sealed: u64,
    /// Memory of the heads.
    pub head_bytes: u64,
    /// Lines, samples or spans in the heads.
    pub head_records: u64,
    /// Sealed blocks.
    pub blocks: u64,
    /// Their bytes.
    pub block_bytes: u64,
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

impl OwnerStatus {
    /// What a manifest version says: nothing beyond what is sealed, and no heads.
    pub fn of_manifest(kind: Kind, partition: u32, version: u64, manifest: &Manifest) -> Self {
        Self {
            topic: kind.topic().into(),
            partition,
            epoch: manifest.epoch,
            version,
            on_bus: manifest.next_offset,
            bus_silent_seconds: None,
            searchable: manifest.next_offset,
            sealed: manifest.next_offset,
            head_bytes: 0,
            head_records: 0,
            blocks: manifest.blocks.len() as u64,
            block_bytes: manifest.blocks.iter().map(|block| block.size).sum(),
            blocks_opening: 0,
            blocks_unopened: 0,
            damage: None,
            duplicates: manifest.counters.duplicates,
            gaps: manifest.counters.gaps,
            quarantined: manifest.counters.quarantined,
            losses: manifest.losses.iter().map(|loss| (loss.first, loss.next)).collect(),
        }
    }
}
