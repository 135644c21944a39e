//! The rules and what became of them: written by the evaluation loop, read by the HTTP API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use weir_model::label::Labels;
use weir_model::resource::TENANT_DEFAULT;
use weir_model::scope::{Scope, TENANT_LABEL, Visible};
use weir_model::time::format_rfc3339;
use weir_template::{general, pad_exponent};

use super::alert::{Alert, AlertState};
use super::ask::RuleLanguage;
use super::file::{GroupSpec, Recording, RuleFileError, RuleKind, RuleSpec, Summary, read_groups};

/// A rule file: whose it is, its name, for people, and its text.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// Whose series its rules read and make.
    pub tenant: Arc<str>,
    /// Path.
    pub name: String,
    /// YAML.
    pub text: String,
    /// Of its expressions.
    pub language: RuleLanguage,
}

/// Rules and their alerts, as last evaluated. Shared by the evaluation loop, which writes, and the HTTP API, which reads.
pub struct RuleSet {
    /// Whose alerts need not say whose they are: weir's own tenant.
    own: Arc<str>,
    groups: Vec<Arc<Group>>,
    /// Alertmanagers that alerts are posted to; set when the loop starts.
    alertmanagers: RwLock<Vec<String>>,
}

/// A group and how its last evaluation went.
pub(super) struct Group {
    pub tenant: Arc<str>,
    pub file: String,
    pub language: RuleLanguage,
    pub spec: GroupSpec,
    pub rules: Vec<Rule>,
    /// When it was last evaluated and how long that took. Held only to copy.
    pub last: Mutex<Evaluation>,
}

/// When, and for how long, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evaluation {
    pub at_ms: Option<i64>,
    pub seconds: f64,
}

/// A rule and what became of it.
pub(super) struct Rule {
    pub spec: RuleSpec,
    /// Written after each evaluation, held only to copy.
    pub state: Mutex<RuleState>,
}

#[derive(Default)]
pub(super) struct RuleState {
    pub last: Evaluation,
    pub error: Option<String>,
    pub alerts: BTreeMap<Labels, Alert>,
    /// Series written last time, to be marked stale when they are gone.
    pub written: BTreeSet<Labels>,
}

impl RuleSet {
    /// No rules at all.
    pub fn empty() -> Self {
        Self { own: TENANT_DEFAULT.into(), groups: Vec::new(), alertmanagers: RwLock::new(Vec::new()) }
    }

    /// Reads and checks rule files. Errors name file, line, group and rule.
    pub fn load(files: &[RuleFile], recording: Recording) -> Result<Self, RuleFileError> {
        let mut groups = Vec::new();
        for file in files {
            let in_file = |error: RuleFileError| RuleFileError { message: format!("{}: {}", file.name, error.message), ..error };
            for spec in read_groups(&file.text, file.language, recording).map_err(in_file)? {
                let rule = |spec: &RuleSpec| Rule { spec: spec.clone(), state: Mutex::new(RuleState::default()) };
                let rules = spec.rules.iter().map(rule).collect();
                let (tenant, language, file) = (Arc::clone(&file.tenant), file.language, file.name.clone());
                groups.push(Arc::new(Group { tenant, file, language, spec, rules, last: Mutex::default() }));
            }
        }
        Ok(Self { own: TENANT_DEFAULT.into(), groups, alertmanagers: RwLock::new(Vec::new()) })
    }

    /// The same rules in a weir of this tenant: alerts of all others say whose they are.
    #[must_use]
    pub fn owned_by(self, own: &str) -> Self {
        Self { own: own.into(), ..self }
    }

    /// Whose alerts of a group are, where they have to say so.
    pub(super) fn foreign<'a>(&self, group: &'a Group) -> Option<&'a str> {
        (group.tenant != self.own).then_some(&*group.tenant)
    }

    /// Groups of a language of the scope's tenants, each with what a request may see of it.
    pub(super) fn visible<'a>(
        &'a self,
        scope: &'a Scope,
        language: RuleLanguage,
    ) -> impl Iterator<Item = (&'a Arc<Group>, &'a Visible)> {
        self.groups.iter().filter(move |group| group.language == language).filter_map(move |group| {
            let own = scope.tenants().iter().find(|own| own.tenant == group.tenant)?;
            Some((group, &own.visible))
        })
    }

    /// Names of the groups, in file order.
    pub fn group_names(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.spec.name.clone()).collect()
    }

    /// How many there are.
    pub fn summary(&self) -> Summary {
        let rules = || self.groups.iter().flat_map(|group| &group.rules);
        let alerting = rules().filter(|rule| matches!(rule.spec.kind, RuleKind::Alert(_))).count();
        Summary { groups: self.groups.len(), alerting, recording: rules().count() - alerting }
    }

    pub(super) fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    pub(super) fn set_alertmanagers(&self, urls: Vec<String>) {
        *self.alertmanagers.write() = urls;
    }

    /// Where alerts are posted to; none where the scope is of tenants without rules.
    pub fn alertmanagers(&self, scope: &Scope) -> Vec<String> {
        let has_rules = |tenant: &Arc<str>| self.groups.iter().any(|group| group.tenant == *tenant);
        let is_shown = scope.tenants().iter().any(|own| own.tenant == self.own || has_rules(&own.tenant));
        if is_shown { self.alertmanagers.read().clone() } else { Vec::new() }
    }

    /// Alerts that are pending or firing.
    pub fn active_alerts(&self) -> Vec<Alert> {
        self.groups.iter().flat_map(|group| &group.rules).flat_map(|rule| rule.active()).collect()
    }

    /// `data` of `/api/v1/alerts`: those of rules in a language whose labels are in the scope.
    pub fn alerts_json(&self, scope: &Scope, language: RuleLanguage) -> Value {
        let alerts = self.visible(scope, language).flat_map(|(group, visible)| {
            let active = group.rules.iter().flat_map(Rule::active).filter(|alert| visible.passes(&alert.labels));
            active.map(|alert| alert_json(&alert, among_others(group, scope))).collect::<Vec<_>>()
        });
        json!({"alerts": alerts.collect::<Vec<_>>()})
    }
}

impl Group {
    /// As the API shows it, with these of its rules.
    pub(super) fn json(&self, rules: Vec<Value>, scope: &Scope) -> Value {
        let last = *self.last.lock();
        let mut shown = json!({
            "name": self.spec.name,
            "file": self.file,
            "interval": self.spec.interval_ms as f64 / 1000.0,
            "limit": self.spec.limit,
            "rules": rules,
            "evaluationTime": last.seconds,
            "lastEvaluation": time(last.at_ms),
        });
        if let Some(tenant) = among_others(self, scope) {
            shown["tenant"] = json!(tenant);
        }
        shown
    }
}

/// Whose a group is, where several tenants are asked for.
pub(super) fn among_others<'a>(group: &'a Group, scope: &Scope) -> Option<&'a str> {
    scope.single().is_none().then_some(&*group.tenant)
}

impl Rule {
    fn active(&self) -> Vec<Alert> {
        let state = self.state.lock();
        state.alerts.values().filter(|alert| alert.state != AlertState::Resolved).cloned().collect()
    }

    /// As the API shows it, made of those alerts that are visible.
    pub(super) fn json(&self, with_alerts: bool, visible: &Visible, tenant: Option<&str>) -> Value {
        let labels: BTreeMap<&str, &str> = self.spec.labels.iter().map(|(name, own)| (name.as_str(), own.source())).collect();
        let mut alerts = self.active();
        alerts.retain(|alert| visible.passes(&alert.labels));
        let state = self.state.lock();
        let health = match (&state.error, state.last.at_ms) {
            (Some(_), _) => "err",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        };
        let mut rule = json!({
            "name": self.spec.name,
            "query": self.spec.query,
            "labels": labels,
            "health": health,
            "evaluationTime": state.last.seconds,
            "lastEvaluation": time(state.last.at_ms),
            "type": "recording",
        });
        // An error may name series that are not visible.
        if let Some(error) = state.error.as_ref().filter(|_| visible.is_all()) {
            rule["lastError"] = json!(error);
        }
        if let RuleKind::Alert(spec) = &self.spec.kind {
            let worst = |wanted| alerts.iter().any(|alert| alert.state == wanted);
            let state = if worst(AlertState::Firing) {
                "firing"
            } else if worst(AlertState::Pending) {
                "pending"
            } else {
                "inactive"
            };
            let annotations: BTreeMap<&str, &str> =
                spec.annotations.iter().map(|(name, own)| (name.as_str(), own.source())).collect();
            rule["type"] = json!("alerting");
            rule["state"] = json!(state);
            rule["duration"] = json!(spec.for_ms as f64 / 1000.0);
            rule["keepFiringFor"] = json!(spec.keep_firing_ms as f64 / 1000.0);
            rule["annotations"] = json!(annotations);
            rule["alerts"] = alerts.iter().filter(|_| with_alerts).map(|alert| alert_json(alert, tenant)).collect();
        }
        rule
    }
}

fn alert_json(alert: &Alert, tenant: Option<&str>) -> Value {
    let labels = tenant.map_or_else(|| alert.labels.clone(), |tenant| alert.labels.with(TENANT_LABEL, tenant));
    let mut shown = json!({
        "labels": labels,
        "annotations": alert.annotations,
        "state": alert.state.name(),
        "activeAt": time(Some(alert.active_ms)),
        "value": exponent(alert.value),
    });
    if let Some(since) = alert.keep_firing_since_ms {
        shown["keepFiringSince"] = json!(time(Some(since)));
    }
    shown
}

/// Never is Go's zero time.
pub(super) fn time(at_ms: Option<i64>) -> String {
    at_ms.map_or_else(|| "0001-01-01T00:00:00Z".into(), |at| format_rfc3339(at.saturating_mul(1_000_000)))
}

/// `%e` as Go prints it: `2.5e-01`.
fn exponent(value: f64) -> String {
    if !value.is_finite() {
        return general(value, None);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    pad_exponent(mantissa, exponent.parse().unwrap_or(0))
}
