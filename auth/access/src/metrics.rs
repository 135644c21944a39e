//! Counters of decisions.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Denied, Needs};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
    verb: &'static str,
    signal: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// What became of requests' needs, of reloads and of the webhook.
#[derive(Clone, Debug)]
pub(crate) struct AccessMetrics {
    decisions: Family<Outcome, Counter>,
    denied: Family<Refusal, Counter>,
    reload_failures: Counter,
    webhook: Family<Outcome, Counter>,
    pub webhook_seconds: Histogram,
}

impl Default for AccessMetrics {
    fn default() -> Self {
        // From 1 ms to 8 s.
        let buckets = (0..14).map(|power| 0.001 * f64::from(1 << power));
        Self {
            decisions: Family::default(),
            denied: Family::default(),
            reload_failures: Counter::default(),
            webhook: Family::default(),
            webhook_seconds: Histogram::new(buckets),
        }
    }
}

impl AccessMetrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Decisions whether a request may, by what was decided";
        registry.register("weir_auth_decisions", help, self.decisions.clone());
        let help = "Requests that were denied, by why and by what they needed";
        registry.register("weir_auth_denied", help, self.denied.clone());
        let help = "Changed files of policies that could not be read; the one before stays in force";
        registry.register("weir_authorization_reload_failures", help, self.reload_failures.clone());
        let help = "Answers of the authorization webhook: allowed, denied, failed; or cached; or it was not asked (busy)";
        registry.register("weir_auth_webhook_answers", help, self.webhook.clone());
        let help = "How long the authorization webhook takes to answer";
        registry.register("weir_auth_webhook_seconds", help, self.webhook_seconds.clone());
    }

    pub fn decided(&self, needs: Needs, refusal: Option<&Denied>) {
        let result = if refusal.is_some() { "denied" } else { "allowed" };
        self.decisions.get_or_create(&Outcome { result }).inc();
        if let Some(refusal) = refusal {
            let verb = needs.verb().map_or("", super::Verb::name);
            self.denied.get_or_create(&Refusal { reason: refusal.reason(), verb, signal: needs.signal() }).inc();
        }
    }

    pub fn reload_failed(&self) {
        self.reload_failures.inc();
    }

    pub fn webhook(&self, result: &'static str) {
        self.webhook.get_or_create(&Outcome { result }).inc();
    }
}
