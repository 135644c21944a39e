//! How the rules are doing, as Prometheus metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counters of rule evaluation and alert delivery.
#[derive(Debug, Default)]
pub struct RuleMetrics {
    evaluations: Counter,
    failures: Counter,
    missed: Counter,
    alerts_sent: Counter,
    alerts_retries: Counter,
    alerts_dropped: Family<Reason, Counter>,
}

impl RuleMetrics {
    /// Shows them under `weir_query_…`.
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, own: &Counter| registry.register(name, help, own.clone());
        counter("weir_query_rule_evaluations", "Rules evaluated", &self.evaluations);
        counter("weir_query_rule_failures", "Rules whose evaluation failed", &self.failures);
        counter("weir_query_rule_group_missed", "Group evaluations left out because the one before took too long", &self.missed);
        counter("weir_query_alerts_sent", "Alerts that an Alertmanager took", &self.alerts_sent);
        counter("weir_query_alerts_retries", "Requests to an Alertmanager that were tried again", &self.alerts_retries);
        let help = "Alerts that were not delivered to an Alertmanager";
        registry.register("weir_query_alerts_dropped", help, self.alerts_dropped.clone());
    }

    pub(super) fn evaluated(&self, failed: bool) {
        self.evaluations.inc();
        self.failures.inc_by(u64::from(failed));
    }

    pub(super) fn missed(&self, count: u64) {
        self.missed.inc_by(count);
    }

    pub(super) fn sent(&self, alerts: usize) {
        self.alerts_sent.inc_by(alerts as u64);
    }

    pub(super) fn retried(&self) {
        self.alerts_retries.inc();
    }

    pub(super) fn dropped(&self, reason: &'static str, alerts: usize) {
        self.alerts_dropped.get_or_create(&Reason { reason }).inc_by(alerts as u64);
    }
}
