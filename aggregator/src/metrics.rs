//! The aggregator's own metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use weir_model::outage::Outages;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    /// `weir.logs`, …
    pub topic: String,
    pub partition: u32,
}

/// Why retention has deleted something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ExpiredLabels {
    /// `weir.logs`, …
    pub topic: String,
    pub partition: u32,
    /// "age": past its period. "bytes": tenants had more than their `retention_bytes`.
    pub reason: &'static str,
}

/// Why pushes of a partition are not known any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ForgottenLabels {
    /// `weir.logs`, …
    pub topic: String,
    pub partition: u32,
    /// "aged": as configured. "crowded": there were too many.
    pub reason: &'static str,
}

/// How a request for heads ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// "logs", "metrics", "spans", or "tail".
    pub kind: &'static str,
    /// "answered", "not_owned", "too_large", "failed", "busy", "dropped".
    pub outcome: &'static str,
}

/// What the partitions count.
#[derive(Clone, Default)]
pub struct Metrics {
    /// Told of what the object store refuses.
    pub outages: Outages,
    /// Bus records taken in.
    pub consumed: Family<PartitionLabels, Counter>,
    /// Lines, samples or spans taken in, duplicates not counted.
    pub records: Family<PartitionLabels, Counter>,
    /// Sections dropped because they were stored already.
    pub duplicates: Family<PartitionLabels, Counter>,
    /// Pushes that would be stored again if they were sent again.
    pub forgotten: Family<ForgottenLabels, Counter>,
    /// Sources that would be stored again if they were read again from before, because there were too many.
    pub forgotten_sources: Family<PartitionLabels, Counter>,
    /// Sections that began after their source's mark.
    pub gaps: Family<PartitionLabels, Counter>,
    /// Bus records that could not be understood and are in quarantine, whole.
    pub quarantined: Family<PartitionLabels, Counter>,
    /// Offsets declared lost.
    pub lost: Family<PartitionLabels, Counter>,
    /// Blocks published by seals.
    pub sealed: Family<PartitionLabels, Counter>,
    /// Seals and compactions that failed and will be tried again.
    pub failures: Family<PartitionLabels, Counter>,
    /// Blocks deleted by retention.
    pub expired_blocks: Family<ExpiredLabels, Counter>,
    /// Lines, samples or spans deleted by retention, with their blocks or by rewriting them.
    pub expired_records: Family<ExpiredLabels, Counter>,
    /// Bytes that blocks are less for it.
    pub expired_bytes: Family<ExpiredLabels, Counter>,
    /// Samples that are gone because aggregates stand for them.
    pub downsampled_records: Family<PartitionLabels, Counter>,
    /// Lines, samples or spans that requests had deleted from blocks.
    pub deleted_records: Family<PartitionLabels, Counter>,
    /// Blocks that are too old by the clocks and are kept for now: more than time can have aged.
    pub held: Family<PartitionLabels, Gauge>,
    /// Times that a partition was assigned and not served: its owner was fenced, or the store could not be reached.
    pub interruptions: Family<PartitionLabels, Counter>,
    /// Of query nodes for heads, one a partition.
    pub requests: Family<RequestLabels, Counter>,
}

impl Metrics {
    /// Adds all to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, family: &Family<PartitionLabels, Counter>| {
            registry.register(format!("weir_aggregator_{name}"), help, family.clone());
        };
        counter("consumed_records", "Bus records taken in", &self.consumed);
        counter("stored_records", "Log lines, samples or spans taken in, duplicates not counted", &self.records);
        counter("duplicate_sections", "Sections dropped because they were stored already", &self.duplicates);
        counter("source_gaps", "Sections that began after the high-water mark of their source", &self.gaps);
        let help =
            "Sources forgotten before mark_age_max, because a manifest has no room for more; read again, they are stored again";
        counter("forgotten_sources", help, &self.forgotten_sources);
        counter(
            "quarantined_records",
            "Bus records that could not be understood and are in quarantine, whole",
            &self.quarantined,
        );
        counter("lost_offsets", "Bus offsets declared lost", &self.lost);
        counter("sealed_blocks", "Blocks published by seals", &self.sealed);
        counter("downsampled_records", "Samples for which aggregates stand now", &self.downsampled_records);
        counter("deleted_records", "Log lines, samples or spans deleted by requests", &self.deleted_records);
        counter("failed_commits", "Seals and compactions that failed and are tried again", &self.failures);
        counter("ownership_interruptions", "Fenced owners and openings that failed; both are tried again", &self.interruptions);
        let mut expired = |name: &str, what: &str, family: &Family<ExpiredLabels, Counter>| {
            let help = format!("{what} deleted by retention: past their period, or beyond a tenant's retention_bytes");
            registry.register(format!("weir_aggregator_{name}"), help, family.clone());
        };
        expired("expired_blocks", "Blocks", &self.expired_blocks);
        expired("expired_records", "Log lines, samples or spans", &self.expired_records);
        expired("expired_bytes", "Bytes of blocks", &self.expired_bytes);
        let help =
            "Pushes that would be stored again if they were sent again: older than digest_age_max, or more than digests_max";
        registry.register("weir_aggregator_forgotten_digests", help, self.forgotten.clone());
        let help = "Blocks too old by the clocks and kept for now: more than time can have aged";
        registry.register("weir_aggregator_expiry_held_blocks", help, self.held.clone());
        let help = "Requests of query nodes for unsealed records, by what came of each partition's; a tail's dropped sections";
        registry.register("weir_aggregator_head_requests", help, self.requests.clone());
    }
}
