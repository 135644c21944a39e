//! An alert's life: pending → firing → resolved, as Prometheus has it. Pure: time comes in, nothing goes out.

use std::collections::BTreeMap;

use weir_model::label::Labels;

use super::file::AlertSpec;

/// A resolved alert is kept, and sent, this long, so that Alertmanager hears of it even after an outage.
pub(super) const RESOLVED_KEPT_MS: i64 = 15 * 60_000;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// Its expression holds, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
    /// It has fired, and no longer holds.
    Resolved,
}

impl AlertState {
    /// As the API and the series `ALERTS` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "inactive",
        }
    }
}

/// An alert. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// With `alertname`.
    pub labels: Labels,
    /// Expanded.
    pub annotations: Labels,
    /// Where it stands.
    pub state: AlertState,
    /// The expression's value, as last seen.
    pub value: f64,
    /// Since when it holds.
    pub active_ms: i64,
    /// Since when it fires.
    pub fired_ms: Option<i64>,
    /// Since when it holds no longer.
    pub resolved_ms: Option<i64>,
    /// When it was last handed to Alertmanager.
    pub sent_ms: Option<i64>,
    pub(super) keep_firing_since_ms: Option<i64>,
}

/// One series of a rule's expression, its labels and annotations expanded.
pub(super) struct Held {
    pub labels: Labels,
    pub annotations: Labels,
    pub value: f64,
}

/// Moves all alerts of a rule on to `at_ms`, where `held` holds.
pub(super) fn advance(alerts: &mut BTreeMap<Labels, Alert>, spec: &AlertSpec, held: Vec<Held>, at_ms: i64) {
    let mut current = std::collections::BTreeSet::new();
    for one in held {
        current.insert(one.labels.clone());
        match alerts.get_mut(&one.labels).filter(|alert| alert.state != AlertState::Resolved) {
            Some(alert) => (alert.value, alert.annotations) = (one.value, one.annotations),
            None => {
                alerts.insert(
                    one.labels.clone(),
                    Alert {
                        labels: one.labels,
                        annotations: one.annotations,
                        state: AlertState::Pending,
                        value: one.value,
                        active_ms: at_ms,
                        fired_ms: None,
                        resolved_ms: None,
                        sent_ms: None,
                        keep_firing_since_ms: None,
                    },
                );
            }
        }
    }
    alerts.retain(|labels, alert| step(alert, spec, current.contains(labels), at_ms));
}

/// Moves one alert on; false when it is over.
fn step(alert: &mut Alert, spec: &AlertSpec, holds: bool, at_ms: i64) -> bool {
    if holds {
        alert.keep_firing_since_ms = None;
    } else {
        let keeps = alert.state == AlertState::Firing && spec.keep_firing_ms > 0 && {
            let since = *alert.keep_firing_since_ms.get_or_insert(at_ms);
            at_ms - since < spec.keep_firing_ms
        };
        let forgotten = alert.resolved_ms.is_some_and(|resolved| at_ms - resolved > RESOLVED_KEPT_MS);
        if alert.state == AlertState::Pending || forgotten {
            return false;
        }
        if alert.state == AlertState::Firing && !keeps {
            alert.state = AlertState::Resolved;
            alert.resolved_ms = Some(at_ms);
            alert.keep_firing_since_ms = None;
        }
    }
    if alert.state == AlertState::Pending && at_ms - alert.active_ms >= spec.for_ms {
        alert.state = AlertState::Firing;
        alert.fired_ms = Some(at_ms);
    }
    true
}

impl Alert {
    /// Whether Alertmanager should hear of it now: newly fired or resolved, or not heard of for `resend_ms`.
    pub(super) fn is_due(&self, at_ms: i64, resend_ms: i64) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        match (self.sent_ms, self.resolved_ms) {
            (None, _) => true,
            (Some(sent), Some(resolved)) if resolved > sent => true,
            (Some(sent), _) => sent + resend_ms <= at_ms,
        }
    }
}
