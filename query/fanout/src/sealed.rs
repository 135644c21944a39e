//! Views of partitions of which only what is sealed is known.

use weir_blocks::view::PartitionView;
use weir_heads::HeadProtocol;
use weir_model::select::PartitionCoverage;
use weir_model::wire::Kind;

use super::remote_partition::{Opened, RemotePartition, Version};

pub(super) fn coverage<E: HeadProtocol>(version: &Version, partition: u32) -> PartitionCoverage {
    let manifest = &version.manifest;
    PartitionCoverage {
        topic: E::KIND.topic().into(),
        partition,
        high_watermark: manifest.next_offset,
        indexed_offset: manifest.next_offset,
        committed_offset: manifest.next_offset,
        losses: manifest.losses.iter().map(|loss| (loss.first, loss.next)).collect(),
    }
}

/// What is sealed, and word of what is not in the answer.
pub(super) fn without_head<E: HeadProtocol>(
    part: &RemotePartition<E>,
    version: &Version,
    opened: Opened<E>,
    why: String,
) -> PartitionView<E> {
    let mut coverage = coverage::<E>(version, part.partition());
    coverage.high_watermark = coverage.high_watermark.max(part.high_watermark());
    let owner = if version.manifest.owner.is_empty() { "an unnamed owner" } else { &version.manifest.owner };
    let mut missing = opened.missing;
    missing.push(format!(
        "{} partition {}: records from offset {} on, unsealed at {owner}, are not in the answer: {why}",
        coverage.topic, coverage.partition, coverage.committed_offset
    ));
    PartitionView { coverage, blocks: opened.blocks, heads: Vec::new(), missing }
}

/// Nothing is there, and nobody can say whether something should be.
pub(super) fn nothing_begun<E: HeadProtocol>(kind: Kind) -> PartitionView<E> {
    let coverage = PartitionCoverage { topic: kind.topic().into(), ..PartitionCoverage::default() };
    let missing = vec![format!("no aggregator has begun a partition of {} yet", kind.topic())];
    PartitionView { coverage, blocks: Vec::new(), heads: Vec::new(), missing }
}
