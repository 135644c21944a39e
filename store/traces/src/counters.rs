//! What the traces engine drops, counted by reason. Registered by whoever owns the registry.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub struct TracesCounters {
    /// Spans whose trace, id, kind and content are those of one that is there: a repetition, nothing is lost.
    pub repeated: Counter,
}

impl TracesCounters {
    /// As `weir_traces_repeated_spans_total`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "weir_traces_repeated_spans",
            "Spans dropped because the same span was there already (reason: repeated)",
            self.repeated.clone(),
        );
    }
}
