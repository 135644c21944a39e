//! The loop: each group on its interval, alerts to Alertmanager.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_budget::millis;
use weir_model::config::duration;
use weir_model::label::{Labels, NAME};
use weir_model::panic_guard;

use super::evaluate::{RuleDeps, evaluate_group};
use super::file::RuleKind;
use super::notify::{Notifier, Posted};
use super::restore::restore;
use super::state::Group;

/// Rules of the query service; `[rules]` in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesConfig {
    /// Prometheus rule files, read by whoever calls [`super::RuleSet::load`].
    pub files: Vec<String>,
    /// A directory with one of each tenant that has rules, named as the tenant is, with rule files in it; read by the same caller.
    pub directory: String,
    /// The same of Loki's rule files, whose expressions are LogQL.
    pub logql_files: Vec<String>,
    pub logql_directory: String,
    /// Base URLs of Alertmanagers, `http://host:9093` or https, without user and password; alerts go to each of them.
    pub alertmanagers: Vec<String>,
    /// How Alertmanagers whose URL is https are known, and what is shown to them.
    pub tls: weir_tls::ClientTls,
    /// Where people reach this weir, for links in alerts.
    pub external_url: String,
    /// Added to alerts on their way to Alertmanager, where an alert does not have the label itself; `$externalLabels` in
    /// templates.
    pub external_labels: BTreeMap<String, String>,
    /// An alert that still fires is sent again after so long.
    #[serde(with = "duration")]
    pub resend_delay: Duration,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            directory: String::new(),
            logql_files: Vec::new(),
            logql_directory: String::new(),
            alertmanagers: Vec::new(),
            tls: Default::default(),
            external_url: "http://127.0.0.1:9640".into(),
            external_labels: BTreeMap::new(),
            resend_delay: Duration::from_secs(60),
        }
    }
}

impl RulesConfig {
    /// Errors with the key and what is wrong with it.
    pub fn validate(&self) -> Result<(), String> {
        for (url, number) in self.alertmanagers.iter().zip(1..) {
            // URLs stand in answers and in the log. This one is not shown: it may have a password.
            if url.contains('@') {
                return Err(format!("rules.alertmanagers: URL {number} has an @: it must not have a user or a password"));
            }
            if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
                return Err(format!("rules.alertmanagers: {url:?} must start with http:// or https://"));
            }
        }
        self.tls.check().map_err(|error| format!("rules.tls.{error}"))
    }
}

/// Evaluates all groups until `shutdown`, and posts alerts. Returns when everything under way has ended.
pub async fn run(config: RulesConfig, deps: RuleDeps, shutdown: CancellationToken) -> Result<(), String> {
    config.validate()?;
    deps.rules.set_alertmanagers(config.alertmanagers.clone());
    let (mut groups, mut posts) = (JoinSet::new(), JoinSet::new());
    let notifier = Notifier::start((&config.alertmanagers, &config.tls), &deps.metrics, &mut posts, &shutdown)?;
    let config = Arc::new(config);
    for group in deps.rules.groups() {
        let ticker =
            Ticker { config: Arc::clone(&config), deps: deps.clone(), group: Arc::clone(group), notifier: notifier.clone() };
        groups.spawn(ticker.run(shutdown.clone()));
    }
    if deps.rules.groups().is_empty() {
        shutdown.cancelled().await;
    }
    while let Some(ended) = groups.join_next().await {
        ended.map_err(|error| format!("a rule group stopped by a fault: {error}"))?;
    }
    // The queues close with the last sender; what is in them is tried once more.
    drop(notifier);
    while posts.join_next().await.is_some() {}
    Ok(())
}

/// One group and what it works with.
pub(super) struct Ticker {
    pub config: Arc<RulesConfig>,
    pub deps: RuleDeps,
    pub group: Arc<Group>,
    pub notifier: Notifier,
}

impl Ticker {
    async fn run(self, shutdown: CancellationToken) {
        let interval = self.group.spec.interval_ms;
        let mut next = self.first_tick((self.deps.clock)());
        let mut first = true;
        loop {
            let wait = u64::try_from(next - (self.deps.clock)()).unwrap_or(0);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                () = shutdown.cancelled() => return,
            }
            self.tick(next, first).await;
            first = false;
            let late = ((self.deps.clock)() - next).max(0) / interval;
            self.deps.metrics.missed(late.unsigned_abs());
            next += interval * (late + 1);
        }
    }

    /// Ticks are multiples of the interval, moved by a hash of the name: groups do not all start at once, and after a
    /// restart they tick when they did before.
    fn first_tick(&self, now_ms: i64) -> i64 {
        let interval = self.group.spec.interval_ms;
        let name = Labels::from_pairs([(NAME, &self.group.spec.name), ("file", &self.group.file)]);
        let offset = (name.stable_hash() % interval.unsigned_abs()) as i64;
        let base = now_ms - now_ms.rem_euclid(interval) + offset;
        if base < now_ms { base + interval } else { base }
    }

    /// One evaluation, and what Alertmanager is to hear of it.
    pub(super) async fn tick(&self, at_ms: i64, first: bool) {
        evaluate_group(&self.deps, &self.group, at_ms, &self.config).await;
        if first {
            let (deps, group) = (self.deps.clone(), Arc::clone(&self.group));
            let restored = tokio::task::spawn_blocking(move || panic_guard::catch(|| restore(&deps, &group, at_ms))).await;
            if let Ok(Ok(Err(error)) | Err(error)) = restored {
                tracing::warn!(error, "alerts of before the restart could not be read");
            }
        }
        let resend_ms = millis(self.config.resend_delay);
        // Believed for as long as four evaluations or resends, as Prometheus has it.
        let valid_ms = at_ms.saturating_add(4_i64.saturating_mul(resend_ms.max(self.group.spec.interval_ms)));
        let (mut due, tenant, language) = (Vec::new(), self.deps.rules.foreign(&self.group), self.group.language);
        for rule in self.group.rules.iter().filter(|rule| matches!(rule.spec.kind, RuleKind::Alert(_))) {
            let mut state = rule.state.lock();
            for alert in state.alerts.values_mut().filter(|alert| alert.is_due(at_ms, resend_ms)) {
                alert.sent_ms = Some(at_ms);
                let (url, labels) = (&self.config.external_url, &self.config.external_labels);
                due.push(Posted::new(alert, (&rule.spec.query, language), valid_ms, (url.as_str(), labels), tenant));
            }
        }
        self.notifier.send(&self.group.tenant, &due);
    }
}
