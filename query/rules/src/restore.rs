//! Alerts that were pending or firing before a restart: read back from `ALERTS_FOR_STATE`, as Prometheus does.

use weir_model::label::{MatchOp, Matcher, NAME};
use weir_model::metric::is_stale;
use weir_model::scope::Scope;
use weir_model::select::{MetricSelect, NoBudget, Series};

use super::alert::AlertState;
use super::evaluate::RuleDeps;
use super::file::RuleKind;
use super::state::{Group, Rule};

/// An older outage is not bridged: Prometheus' default.
const OUTAGE_MS_MAX: i64 = 3_600_000;
/// An alert that was nearly due fires at the earliest this long after the restart: Prometheus' default.
const GRACE_MS: i64 = 600_000;

/// Sets `active_ms` of alerts that are active now to what it was before the restart. Called after a group's first
/// evaluation at `at_ms`. An alert whose `for` had run out fires again at the next evaluation.
pub(super) fn restore(deps: &RuleDeps, group: &Group, at_ms: i64) -> Result<(), String> {
    for rule in &group.rules {
        let RuleKind::Alert(spec) = &rule.spec.kind else { continue };
        if spec.for_ms == 0 || rule.state.lock().alerts.is_empty() {
            continue;
        }
        let matchers = vec![Matcher::equal(NAME, "ALERTS_FOR_STATE"), alertname(rule)?];
        let (start_ms, end_ms) = (at_ms - OUTAGE_MS_MAX, at_ms - 1);
        let select = MetricSelect { scope: Scope::of(&group.tenant), matchers, start_ms, end_ms };
        let found = deps.reader.select(&select, &NoBudget).map_err(|error| error.to_string())?;
        let mut state = rule.state.lock();
        for alert in state.alerts.values_mut().filter(|alert| alert.state == AlertState::Pending) {
            let series = found.value.iter().find(|series| series.labels.without(|name| name == NAME) == alert.labels);
            if let Some((down_ms, active_ms)) = series.and_then(last_sample) {
                alert.active_ms = restored(down_ms, active_ms, spec.for_ms, at_ms);
            }
        }
    }
    Ok(())
}

fn alertname(rule: &Rule) -> Result<Matcher, String> {
    Matcher::new("alertname", MatchOp::Equal, rule.spec.name.clone()).map_err(|error| error.to_string())
}

/// When the last sample was written, and the `active_ms` it holds.
fn last_sample(series: &Series) -> Option<(i64, i64)> {
    let at = series.timestamps.last()?;
    let value = series.values.last().filter(|value| !is_stale(**value) && value.is_finite())?;
    Some((*at, (*value * 1000.0) as i64))
}

/// The time an alert counts from: the outage does not count as time that it held.
fn restored(down_ms: i64, active_ms: i64, for_ms: i64, now_ms: i64) -> i64 {
    let remaining = for_ms - (down_ms - active_ms);
    if remaining <= 0 {
        return active_ms;
    }
    if remaining < GRACE_MS {
        return now_ms + GRACE_MS - for_ms;
    }
    active_ms + (now_ms - down_ms)
}

#[cfg(test)]
mod tests {
    use super::{GRACE_MS, restored};

    #[test]
    fn an_outage_does_not_count_as_time_that_an_alert_held() {
        let minute = 60_000;
        assert_eq!(restored(100 * minute, 80 * minute, 15 * minute, 130 * minute), 80 * minute, "it was firing");
        assert_eq!(restored(100 * minute, 80 * minute, 60 * minute, 130 * minute), 110 * minute, "40 of 60 minutes are left");
        assert_eq!(restored(100 * minute, 80 * minute, 25 * minute, 130 * minute), 130 * minute + GRACE_MS - 25 * minute);
    }
}
