//! What the front door refused, as Prometheus metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    listener: &'static str,
    reason: &'static str,
}

/// Counters of all listeners. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrontMetrics {
    refused_requests: Family<Why, Counter>,
}

impl FrontMetrics {
    /// Shows them under `weir_front_…`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests refused before any API saw them: the host, origin or site that they came with";
        registry.register("weir_front_refused_requests", help, self.refused_requests.clone());
    }

    pub fn refused_request(&self, listener: &'static str, reason: &'static str) {
        self.refused_requests.get_or_create(&Why { listener, reason }).inc();
    }
}
