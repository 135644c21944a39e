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
    /// Exemplars of a series in one block beyond the 100 that it may have: the newest are kept.
    pub exemplars: Counter,
}

impl MetricsCounters {
    /// As `weir_metrics_{repeated,conflicting}_samples_total` and `weir_metrics_exemplars_dropped_total`: a sample is counted when its block is built, and
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
        registry.register(
            "weir_metrics_exemplars_dropped",
            "Exemplars dropped because their series had too many in one block (reason: too_many)",
            self.exemplars.clone(),
        );
    }

    pub(crate) fn add(&self, dropped: super::samples::Dropped) {
        self.repeated.inc_by(dropped.repeated);
        self.conflicting.inc_by(dropped.conflicting);
        self.exemplars.inc_by(dropped.exemplars);
    }
}
