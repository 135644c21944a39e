//! What a query node counts of its owners.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What came of asking for one partition's unsealed records.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    /// "logs", "metrics" or "spans".
    pub kind: &'static str,
    /// "answered", "unreachable", "not_owned", "stale", "refused", "unknown_version", "too_large".
    pub outcome: &'static str,
}

/// Cloning shares the counts.
#[derive(Clone, Default)]
pub struct FanOutMetrics {
    /// Partitions asked for, by what came of it.
    pub parts: Family<PartitionLabels, Counter>,
    /// Bytes of owners' answers.
    pub answer_bytes: Counter,
    /// Sections that live tails lost on the way, lines that their readers were too slow for.
    pub tail_dropped: Counter,
    /// Blocks that were deleted while they were read; the query was begun again.
    pub blocks_gone: Counter,
}

impl FanOutMetrics {
    /// Adds all to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Partitions whose owners were asked for unsealed records, by what came of it";
        registry.register("weir_query_head_requests", help, self.parts.clone());
        registry.register("weir_query_head_response_bytes", "Bytes of owners' answers", self.answer_bytes.clone());
        let help = "Lines and sections of live tails that were lost between an owner and the client";
        registry.register("weir_query_owner_tail_dropped_lines", help, self.tail_dropped.clone());
        let help = "Blocks that were merged away and deleted while a query read them; it was begun again";
        registry.register("weir_query_blocks_gone", help, self.blocks_gone.clone());
    }

    pub(crate) fn part(&self, kind: &'static str, outcome: &'static str) {
        self.parts.get_or_create(&PartitionLabels { kind, outcome }).inc();
    }
}
