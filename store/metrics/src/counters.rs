//! What the metrics engine drops, counted by reason. Registered by whoever owns the registry.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub struct MetricsCounters {
    /// Samples with the series, millisecond and bits of one that is there: a repetition, nothing is lost.
    pub repeated: Counter,
    /// Samples with the series and millisecond of one that is there but another value: the first is kept.
    pub conflicting: Counter,
}

impl MetricsCounters {
    /// As `weir_metrics_{repeated,conflicting}_samples_total`: a sample is counted when its block is built, and
    /// again should two blocks that both hold it be merged.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "weir_metrics_repeated_samples",
            "Samples dropped because the same sample was there already (reason: repeated)",
            self.repeated.clone(),
        );
        registry.register(
            "weir_metrics_conflicting_samples",
            "Samples dropped because their series had another value at that millisecond (reason: conflicting)",
            self.conflicting.clone(),
        );
    }

    pub(crate) fn add(&self, dropped: super::samples::Dropped) {
        self.repeated.inc_by(dropped.repeated);
        self.conflicting.inc_by(dropped.conflicting);
    }
}
