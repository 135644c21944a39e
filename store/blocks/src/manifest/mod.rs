//! The manifest: which blocks of a partition are real, and up to where its log is sealed. Format: `docs/formats/manifest.md`.
//!
//! - here: what a manifest says, and the pure rules by which it may change (offsets leave no hole, merges double nothing);
//! - `deletions`: what it says of deletions;
//! - [`PushDigests`]: the pushes it remembers, shared between versions;
//! - `encode`: its bytes;
//! - [`ManifestStore`]: numbered versions in the object store, each created once by whoever comes first; block objects;
//! - `follow`: reading versions that others publish;
//! - [`OpenBlocks`]: the blocks that a version names, opened;
//! - `garbage`: [`ManifestStore::collect`] removes what no version names;
//! - [`probe`]: whether a store's conditional create really works;
//! - [`durable_local`]: a directory as an object store that survives power loss.
//!
//! Not here: when to seal, merge or forget (the aggregator), and what is in a block (the engines).

mod deletions;
mod digests;
mod encode;
mod follow;
mod garbage;
#[cfg(test)]
mod hostile;
mod local;
mod open;
mod probe;
mod publish;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_model::time::UnixNanos;

pub use deletions::{AcceptedRequest, DELETIONS_MAX, DeletionKey, DeletionState, PendingDeletion};
pub use digests::PushDigests;
pub use follow::partitions;
pub use garbage::{Garbage, Sightings};
pub use local::durable_local;
pub use open::{OpenBlocks, Opened, unread};
pub use probe::probe;
pub use publish::{ManifestStore, NewBlock, NonceSource, Prepared, random_nonces};

use crate::engine::BlockSummary;

/// One version of a partition's truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Grows by one with every new owner.
    pub epoch: u64,
    /// Where the owner's head can be asked; a URL, or "" in one process.
    pub owner: String,
    /// Everything below is sealed (or declared lost). The owner consumes from here.
    pub next_offset: u64,
    /// Sealed blocks, by first offset.
    pub blocks: Vec<BlockEntry>,
    /// Highest sequence stored, per source that can be read again. Versions that change none share them.
    pub marks: Arc<BTreeMap<SourceKey, HighWater>>,
    /// What clients pushed lately, oldest first; who appends bounds it by count and age.
    pub digests: PushDigests,
    /// Offsets that nobody will ever see, ascending.
    pub losses: Vec<Loss>,
    /// Since the partition began.
    pub counters: Counters,
    /// In the order in which they were accepted: those that hide something, and the latest that are processed.
    pub deletions: Vec<PendingDeletion>,
}

/// A sealed block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockEntry {
    /// Name of the object in `{kind}/{partition:05}/blocks/`.
    pub id: String,
    /// Size of the object, bytes.
    pub size: u64,
    /// Checksum of its directory, which covers its sections.
    pub directory_crc: u32,
    /// 0 as sealed, one more with each merge.
    pub level: u8,
    /// First offset it may hold.
    pub first_offset: u64,
    /// Exclusive end.
    pub next_offset: u64,
    /// For skipping it.
    pub summary: BlockSummary,
    /// Holds raw records that could not be decoded; no engine opens it.
    pub quarantine: bool,
}

/// Whose sequence numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    /// Tenant.
    pub tenant: Arc<str>,
    /// Source, unique per tenant and kind.
    pub source: Arc<str>,
}

/// How far a source is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HighWater {
    /// Generation of the source.
    pub epoch: u64,
    /// Exclusive end of what is stored of that generation.
    pub sequence: u64,
    /// When it last moved; sources that are long gone are forgotten by it.
    pub touched: UnixNanos,
}

/// A push that is stored, so that the same push again is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushDigest {
    /// Whose: equal bytes of two tenants or sources are two pushes. Pushes of one source share it.
    pub source: Arc<SourceKey>,
    /// As in the section's mark.
    pub digest: [u8; 16],
    /// When it was stored.
    pub seen: UnixNanos,
}

/// Offsets `[first, next)` that are gone, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Inclusive.
    pub first: u64,
    /// Exclusive.
    pub next: u64,
    /// A sentence for people.
    pub reason: String,
}

/// Of a partition, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sections dropped because they were stored already.
    pub duplicates: u64,
    /// Sources whose sequence jumped.
    pub gaps: u64,
    /// Records put in quarantine.
    pub quarantined: u64,
}
