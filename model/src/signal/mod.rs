//! What every kind of batch can do on its way from the decoder to the head. One file a signal; nothing else distinguishes them until
//! an engine takes them.
//!
//! Pure and deterministic: the same section is always placed and split alike, so that a client's second attempt carries the same
//! digests to the same partitions.

mod logs;
mod metrics;
mod spans;

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::wire::{self, Budget, Kind, Mark, Section, SectionHeader, WireError};

/// A batch of log lines, samples or spans.
pub trait Signal: Clone + fmt::Debug + PartialEq + Send + Sync + Sized + 'static {
    /// Which topic carries it.
    const KIND: Kind;

    /// Log lines, metric rows × series, or spans.
    fn records(&self) -> u64;

    /// Hashes of its streams or series, good within this process.
    fn active(&self) -> impl Iterator<Item = u64>;

    /// Appends the body of a section to `out`; charges what decoding it will take. Format: docs/formats/wire.md.
    fn encode(&self, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), WireError>;

    /// The oldest version of the wire whose readers miss nothing of it.
    fn wire_version(&self) -> u8 {
        wire::VERSION_BASE
    }

    /// The inverse of [`Self::encode`]: a body of `records` records.
    fn decode(body: &[u8], records: u32, budget: &mut Budget) -> Result<Self, WireError>;

    /// About how many bytes it takes uncompressed on the wire, where a text that neighbours share is written once: for budgets, not
    /// for correctness.
    fn weight(&self) -> usize;

    /// The same of what its sender has sent, where it travels with more: for rates and usage.
    fn sent_weight(&self) -> usize {
        self.weight()
    }

    /// The section with its partition, or its parts when it belongs to several. `partition_of` maps the hash of a key.
    fn route(section: Section<Self>, partition_of: impl Fn(u64) -> u32) -> Vec<(u32, Section<Self>)>;

    /// Two parts in order; the section itself when it holds a single record (or a single column) and cannot be split.
    fn split(section: Section<Self>) -> Result<[Section<Self>; 2], Section<Self>>;

    /// What lies after `stored`, a position in the section's mark; the batch itself when its records carry no position.
    fn trim(self: &Arc<Self>, mark: &Mark, stored: u64) -> Arc<Self>;
}

/// The digest of part `index` of something with `digest`.
pub fn derive_digest(digest: &[u8; 16], index: u32) -> [u8; 16] {
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(digest);
    bytes[16..].copy_from_slice(&index.to_le_bytes());
    xxh3_128(&bytes).to_be_bytes()
}

/// Two parts of a section, with marks of their own. `at` is the position between them, where there are positions.
fn parts<S: Signal>(header: &SectionHeader, at: Option<u64>, [first, second]: [S; 2]) -> [Section<S>; 2] {
    [part(header, 0, at, first), part(header, 1, at, second)]
}

fn part<S: Signal>(header: &SectionHeader, index: u32, at: Option<u64>, batch: S) -> Section<S> {
    let mark = match (header.mark, at) {
        (Mark::Digest(digest), _) => Mark::Digest(derive_digest(&digest, index)),
        (Mark::Sequence { epoch, first, last }, Some(at)) if index == 0 => {
            Mark::Sequence { epoch, first, last: at.clamp(first, last) }
        }
        (Mark::Sequence { epoch, first, last }, Some(at)) => Mark::Sequence { epoch, first: at.clamp(first, last), last },
        (mark, None) => mark,
    };
    Section::new(SectionHeader { mark, ..header.clone() }, batch)
}
