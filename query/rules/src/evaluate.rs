//! One evaluation of one group: queries, alerts moved on, samples written. Sync but for the sink; the loop is `run`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use weir_budget::{Load, QueryConfig};
use weir_model::histogram::Histogram;
use weir_model::label::{Labels, NAME};
use weir_model::metric::STALE_NAN;
use weir_model::panic_guard;
use weir_model::select::{LogReader, MetricReader};

use super::alert::{AlertState, Held, advance};
use super::ask::RuleQuery;
use super::file::{AlertSpec, RuleKind};
use super::run::RulesConfig;
use super::state::{Evaluation, Group, Rule, RuleSet};
use super::template::{Scope, Template};

/// One sample that a rule has made.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSample {
    /// With `__name__`.
    pub labels: Labels,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    /// May be the staleness marker, and is where it is a histogram.
    pub value: f64,
    /// Its value, where it is a histogram.
    pub histogram: Option<Arc<Histogram>>,
}

/// A sample before it has its time.
pub(super) type Made = (Labels, f64, Option<Arc<Histogram>>);

/// Takes the samples of recording rules, and the series `ALERTS` and `ALERTS_FOR_STATE`.
#[async_trait]
pub trait SampleSink: Send + Sync {
    /// Writes all samples of one evaluation, or errors with a sentence. Acknowledged means durable. Of two writes with one
    /// origin and time the first counts: the other is the same evaluation by another node.
    async fn write(&self, origin: &RuleOrigin, samples: Vec<RuleSample>) -> Result<(), String>;
}

/// Which rule has made samples: the same on every node that has the same rule files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleOrigin {
    /// Whose series they become.
    pub tenant: Arc<str>,
    /// As configured.
    pub file: String,
    /// Its name.
    pub group: String,
    /// In the group, from 0.
    pub index: usize,
    /// Of the evaluation; groups tick at the same times on every node.
    pub at_ms: i64,
}

/// What rules are evaluated with.
#[derive(Clone)]
pub struct RuleDeps {
    /// The rules, shared with the HTTP API.
    pub rules: Arc<RuleSet>,
    /// Where queries read.
    pub reader: Arc<dyn MetricReader>,
    /// Where those in LogQL do.
    pub logs: Arc<dyn LogReader>,
    /// Where samples go; without it, recording rules are refused when loaded.
    pub sink: Option<Arc<dyn SampleSink>>,
    /// Limits of a rule's query.
    pub query: QueryConfig,
    /// The memory that its queries share with all others of the process.
    pub load: Load,
    /// Unix milliseconds.
    pub clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// How it goes.
    pub metrics: Arc<super::metrics::RuleMetrics>,
}

/// Evaluates a group at `at_ms`, rule by rule in order, as Prometheus does: later rules may read what earlier ones wrote.
pub(super) async fn evaluate_group(deps: &RuleDeps, group: &Arc<Group>, at_ms: i64, config: &Arc<RulesConfig>) {
    let began = Instant::now();
    for i in 0..group.rules.len() {
        let (task_deps, task_group, config) = (deps.clone(), Arc::clone(group), Arc::clone(config));
        let work = move || panic_guard::catch(|| evaluate_rule(&task_deps, &task_group, i, at_ms, &config));
        let samples = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
        let samples = samples.unwrap_or_else(|_| Err("the evaluation stopped by a fault".into()));
        let failed = match (samples, &deps.sink) {
            (Err(error), _) => Some(error),
            (Ok(samples), Some(sink)) if !samples.is_empty() => sink.write(&origin(group, i, at_ms), samples).await.err(),
            (Ok(_), _) => None,
        };
        deps.metrics.evaluated(failed.is_some());
        let mut state = group.rules[i].state.lock();
        if let Some(error) = &failed {
            tracing::warn!(group = group.spec.name, rule = group.rules[i].spec.name, error, "a rule could not be evaluated");
        }
        state.error = failed;
    }
    *group.last.lock() = Evaluation { at_ms: Some(at_ms), seconds: began.elapsed().as_secs_f64() };
}

fn origin(group: &Group, index: usize, at_ms: i64) -> RuleOrigin {
    RuleOrigin { tenant: Arc::clone(&group.tenant), file: group.file.clone(), group: group.spec.name.clone(), index, at_ms }
}

fn evaluate_rule(deps: &RuleDeps, group: &Group, i: usize, at_ms: i64, config: &RulesConfig) -> Result<Vec<RuleSample>, String> {
    let began = Instant::now();
    let rule = &group.rules[i];
    let answer = rule.spec.expr.ask((deps, &group.tenant), &rule.spec.query, at_ms - group.spec.query_offset_ms);
    let samples = answer.and_then(|vector| match &rule.spec.kind {
        RuleKind::Record => record(rule, vector, group.spec.limit),
        RuleKind::Alert(spec) => alert((deps, group), rule, spec, vector, (at_ms, config)),
    });
    let mut state = rule.state.lock();
    state.last = Evaluation { at_ms: Some(at_ms), seconds: began.elapsed().as_secs_f64() };
    let samples = samples?;
    // What was there last time and is not now has ended.
    let written: BTreeSet<Labels> = samples.iter().map(|(labels, ..)| labels.clone()).collect();
    let ended: Vec<Labels> = state.written.difference(&written).cloned().collect();
    state.written = written;
    let timestamp_ms = at_ms - group.spec.query_offset_ms;
    let stamp = |(labels, value, histogram)| RuleSample { labels, timestamp_ms, value, histogram };
    Ok(samples.into_iter().chain(ended.into_iter().map(|labels| (labels, STALE_NAN, None))).map(stamp).collect())
}

fn check_limit(count: usize, limit: usize) -> Result<(), String> {
    if limit > 0 && count > limit { Err(format!("exceeded limit of {limit} with {count} series")) } else { Ok(()) }
}

fn record(rule: &Rule, vector: Vec<Made>, limit: usize) -> Result<Vec<Made>, String> {
    let mut made: BTreeMap<Labels, (f64, Option<Arc<Histogram>>)> = BTreeMap::new();
    for (labels, value, histogram) in vector {
        let own = rule.spec.labels.iter().map(|(name, template)| (name.as_str(), template.source()));
        let labels = Labels::from_pairs(labels.iter().chain(own).chain([(NAME, rule.spec.name.as_str())]));
        if made.insert(labels, (value, histogram)).is_some() {
            return Err("vector contains metrics with the same labelset after applying rule labels".into());
        }
    }
    check_limit(made.len(), limit)?;
    Ok(made.into_iter().map(|(labels, (value, histogram))| (labels, value, histogram)).collect())
}

fn alert(
    (deps, group): (&RuleDeps, &Group),
    rule: &Rule,
    spec: &AlertSpec,
    vector: Vec<Made>,
    (at_ms, config): (i64, &RulesConfig),
) -> Result<Vec<Made>, String> {
    let query = |text: &str| {
        let made = RuleQuery::parse(text, group.language)?.ask((deps, &group.tenant), text, at_ms)?;
        Ok(made.into_iter().map(number).collect())
    };
    let mut held: BTreeMap<Labels, Held> = BTreeMap::new();
    for (labels, value) in vector.into_iter().map(number) {
        let (external_url, external_labels) = (config.external_url.as_str(), &config.external_labels);
        let scope = Scope { labels: &labels, value, external_url, external_labels, query: &query };
        let expand = |templates: &[(String, Template)]| -> Vec<(String, String)> {
            templates.iter().map(|(name, template)| (name.clone(), template.expand(&scope))).collect()
        };
        let own = expand(&rule.spec.labels);
        let bare = labels.without(|name| name == NAME);
        let pairs = bare.iter().chain(own.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let full = Labels::from_pairs(pairs.chain([("alertname", rule.spec.name.as_str())]));
        let annotations = Labels::from_pairs(expand(&spec.annotations));
        if held.insert(full.clone(), Held { labels: full, annotations, value }).is_some() {
            return Err("vector contains metrics with the same labelset after applying alert labels".into());
        }
    }
    check_limit(held.len(), group.spec.limit)?;
    let mut state = rule.state.lock();
    advance(&mut state.alerts, spec, held.into_values().collect(), at_ms);
    let active = state.alerts.values().filter(|alert| alert.state != AlertState::Resolved);
    let series = active.flat_map(|alert| {
        let named = |name: &str| alert.labels.with(NAME, name);
        let state = named("ALERTS").with("alertstate", alert.state.name());
        [(state, 1.0, None), (named("ALERTS_FOR_STATE"), (alert.active_ms as f64 / 1000.0).floor(), None)]
    });
    Ok(series.collect())
}

/// As alerts and their templates have it: a histogram is 0, as in Prometheus.
fn number((labels, value, histogram): Made) -> (Labels, f64) {
    (labels, if histogram.is_some() { 0.0 } else { value })
}
