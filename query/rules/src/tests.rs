//! Tables and scripts for the rules: files, evaluation, templates of labels, what is posted and what is restored.

mod logql;
mod tenants;

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;
use weir_budget::Load;
use weir_budget::QueryConfig;
use weir_logql::memory::MemoryLogs;
use weir_model::config::ByteSize;
use weir_model::label::Labels;
use weir_model::metric::is_stale;
use weir_model::scope::{Scope, TenantScope, Visible};
use weir_model::select::{Budget, Covered, LogReader, MetricReader, MetricSelect, ReadError, SeriesCursor, SeriesList};
use weir_promql::testing::MemoryReader;

use super::notify::{Batch, Notifier};
use super::run::Ticker;
use super::{
    Recording, RuleDeps, RuleFile, RuleFilter, RuleLanguage, RuleMetrics, RuleOrigin, RuleSample, RuleSet, RulesConfig,
    SampleSink, Summary, WantedKind, check_rules,
};

const FILE: &str = r#"
groups:
  - name: nodes
    interval: 30s
    labels: {team: infra}
    rules:
      - record: pod:cpu:double
        expr: cpu * 2
      - alert: Hot
        expr: cpu > 5
        for: 1m
        keep_firing_for: 30s
        labels:
          severity: 1
          pod_upper: '{{ $labels.pod | toUpper }}'
        annotations:
          summary: '{{ $labels.pod }} at {{ $value | humanize }} in {{ $externalLabels.cluster }}'
"#;

/// A store that rules read and write.
#[derive(Default)]
struct Shared(Mutex<MemoryReader>);

impl Shared {
    fn set(&self, pod: &str, at_ms: i64, value: f64) {
        self.0.lock().push(&Labels::from_pairs([("__name__", "cpu"), ("pod", pod)]), at_ms, value);
    }
}

impl MetricReader for Shared {
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        Ok(Box::new(SeriesList::new(self.0.lock().select(select, budget)?)))
    }
    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        self.0.lock().series(select, budget)
    }
    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Result<Covered<Vec<weir_model::metric::Family>>, ReadError> {
        self.0.lock().families(scope, budget)
    }
}

#[async_trait]
impl SampleSink for Shared {
    async fn write(&self, _: &RuleOrigin, samples: Vec<RuleSample>) -> Result<(), String> {
        let mut store = self.0.lock();
        samples.iter().for_each(|one| match &one.histogram {
            Some(histogram) => store.push_histogram(&one.labels, one.timestamp_ms, Arc::clone(histogram)),
            None => store.push(&one.labels, one.timestamp_ms, one.value),
        });
        Ok(())
    }
}

struct World {
    store: Arc<Shared>,
    ticker: Ticker,
    posted: tokio::sync::mpsc::Receiver<Arc<Batch>>,
}

impl World {
    fn new(store: &Arc<Shared>) -> Self {
        let file =
            RuleFile { tenant: "default".into(), name: "rules.yml".into(), text: FILE.into(), language: RuleLanguage::PromQl };
        let rules = Arc::new(RuleSet::load(&[file], Recording::Allowed).unwrap());
        Self::of(rules, store, Arc::new(MemoryLogs::default()))
    }

    /// Its first group is evaluated.
    fn of(rules: Arc<RuleSet>, store: &Arc<Shared>, logs: Arc<dyn LogReader>) -> Self {
        let metrics = Arc::new(RuleMetrics::default());
        let (notifier, posted) = Notifier::for_test(&metrics);
        let group = Arc::clone(&rules.groups()[0]);
        let sink: Arc<dyn SampleSink> = Arc::clone(store) as _;
        let reader: Arc<dyn MetricReader> = Arc::clone(store) as _;
        let query = QueryConfig::default();
        let load = Load::new(&query, Default::default());
        let deps = RuleDeps { rules, reader, logs, sink: Some(sink), query, load, clock: Arc::new(|| 0), metrics };
        let config = RulesConfig { external_labels: [("cluster".to_owned(), "c".to_owned())].into(), ..RulesConfig::default() };
        Self { store: Arc::clone(store), ticker: Ticker { config: Arc::new(config), deps, group, notifier }, posted }
    }

    async fn tick(&mut self, at_ms: i64, first: bool) -> Vec<serde_json::Value> {
        self.ticker.tick(at_ms, first).await;
        let mut posted = Vec::new();
        while let Ok(batch) = self.posted.try_recv() {
            posted.extend(batch.alerts.iter().map(|one| serde_json::to_value(one).unwrap()));
        }
        posted
    }

    fn states(&self) -> Vec<(String, &'static str, i64)> {
        let alerts = self.ticker.deps.rules.active_alerts();
        alerts.iter().map(|alert| (alert.labels.get("pod").to_owned(), alert.state.name(), alert.active_ms)).collect()
    }

    fn samples(&self, name: &str) -> Vec<(i64, f64)> {
        let select = MetricSelect {
            scope: Scope::of("default"),
            matchers: vec![weir_model::label::Matcher::equal("__name__", name)],
            start_ms: 0,
            end_ms: i64::MAX,
        };
        let found = self.store.select(&select, &weir_model::select::NoBudget).unwrap().value;
        found.iter().flat_map(|series| series.timestamps.iter().copied().zip(series.values.iter().copied())).collect()
    }
}

#[tokio::test]
async fn an_alert_lives_as_in_prometheus() {
    let mut world = World::new(&Arc::default());
    world.store.set("a", 0, 9.0);
    world.store.set("b", 0, 1.0);
    assert_eq!(world.tick(0, true).await, Vec::<serde_json::Value>::new());
    assert_eq!(world.states(), [("a".into(), "pending", 0)]);
    assert_eq!(world.samples("pod:cpu:double"), [(0, 18.0), (0, 2.0)]);
    assert!(world.tick(30_000, false).await.is_empty());

    let posted = world.tick(60_000, false).await;
    let labels = json!({"alertname": "Hot", "cluster": "c", "pod": "a", "pod_upper": "A", "severity": "1", "team": "infra"});
    assert_eq!(posted.len(), 1, "{posted:?}");
    assert_eq!(posted[0]["labels"], labels);
    assert_eq!(posted[0]["annotations"], json!({"summary": "a at 9 in c"}));
    assert_eq!(posted[0]["startsAt"], json!("1970-01-01T00:01:00Z"));
    assert_eq!(posted[0]["endsAt"], json!("1970-01-01T00:05:00Z"), "believed for four resends");
    assert_eq!(posted[0]["generatorURL"], json!("http://127.0.0.1:9640/graph?g0.expr=cpu+%3E+5&g0.tab=1"));

    assert!(world.tick(90_000, false).await.is_empty(), "sent again only every minute");
    assert_eq!(world.tick(120_000, false).await.len(), 1);
    world.store.set("a", 140_000, 1.0);
    world.tick(150_000, false).await;
    assert_eq!(world.states(), [("a".into(), "firing", 0)], "kept firing");
    let posted = world.tick(180_000, false).await;
    assert_eq!(posted[0]["endsAt"], json!("1970-01-01T00:03:00Z"), "resolved");
    assert!(world.states().is_empty());
    let alerts = world.samples("ALERTS");
    assert!(alerts.iter().any(|(at, value)| *at == 180_000 && is_stale(*value)), "the series has ended: {alerts:?}");
    assert_eq!(world.tick(240_000, false).await.len(), 1, "resolved alerts are sent on");
    assert!(world.tick(180_000 + 15 * 60_000 + 30_000, false).await.is_empty(), "and are forgotten after 15 minutes");
}

#[tokio::test]
async fn alerts_survive_a_restart() {
    let store: Arc<Shared> = Arc::default();
    let mut world = World::new(&store);
    (0..=10).for_each(|i| store.set("a", i * 30_000, 9.0));
    world.tick(0, true).await;
    world.tick(30_000, false).await;
    world.tick(60_000, false).await;
    assert_eq!(world.states(), [("a".into(), "firing", 0)]);
    // A new process over the same store, two minutes later.
    let mut world = World::new(&store);
    world.tick(180_000, true).await;
    assert_eq!(world.states(), [("a".into(), "pending", 0)]);
    assert_eq!(world.tick(210_000, false).await.len(), 1, "it fires at once, not after another minute");
}

#[tokio::test]
async fn rules_are_shown_as_prometheus_shows_them() {
    let mut world = World::new(&Arc::default());
    world.store.set("a", 0, 9.0);
    world.tick(0, true).await;
    let shows = |filter: RuleFilter| world.ticker.deps.rules.rules_json(&filter, &Scope::of("default")).unwrap();
    let shown = shows(RuleFilter { kind: Some(WantedKind::Alert), ..RuleFilter::default() });
    let rule = &shown["groups"][0]["rules"][0];
    assert_eq!(shown["groups"][0]["rules"].as_array().unwrap().len(), 1);
    assert_eq!((&rule["state"], &rule["health"], &rule["duration"]), (&json!("pending"), &json!("ok"), &json!(60.0)));
    assert_eq!(rule["labels"]["severity"], json!("1"));
    assert_eq!(rule["alerts"][0]["value"], json!("9e+00"));
    assert_eq!(rule["alerts"][0]["activeAt"], json!("1970-01-01T00:00:00Z"));
    let shown = shows(RuleFilter { kind: Some(WantedKind::Record), ..RuleFilter::default() });
    assert_eq!(shown["groups"][0]["rules"][0]["type"], json!("recording"));
    let shown = shows(RuleFilter { names: vec!["Hot".into()], exclude_alerts: true, ..RuleFilter::default() });
    assert_eq!(shown["groups"][0]["rules"][0]["alerts"], json!([]));
    assert_eq!(world.ticker.deps.load.used(), 0, "what evaluations held came back");
}

#[tokio::test]
async fn rules_and_alerts_are_shown_to_their_tenant_and_within_a_scope() {
    let mut world = World::new(&Arc::default());
    world.store.set("a", 0, 9.0);
    world.store.set("b", 0, 9.0);
    world.tick(0, true).await;
    let rules = &world.ticker.deps.rules;
    let pod = |pod: &str| Visible::any_of(vec![vec![weir_model::label::Matcher::equal("pod", pod)]]);
    let check = |tenant: &str, visible: Visible, groups: usize, alerts: &[&str], state: &str| {
        let scope: Scope = TenantScope { tenant: tenant.into(), visible }.into();
        let shown = rules.rules_json(&RuleFilter::default(), &scope).unwrap();
        let pods = |alerts: &serde_json::Value| -> Vec<String> {
            let alerts = alerts.as_array().into_iter().flatten();
            alerts.map(|alert| alert["labels"]["pod"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(shown["groups"].as_array().unwrap().len(), groups, "{scope:?}");
        assert_eq!(pods(&rules.alerts_json(&scope, RuleLanguage::PromQl)["alerts"]), alerts, "{scope:?}");
        let rule = &shown["groups"][0]["rules"][1];
        assert_eq!(
            (pods(&rule["alerts"]), rule["state"].as_str().unwrap_or("none")),
            (pods(&rules.alerts_json(&scope, RuleLanguage::PromQl)["alerts"]), state)
        );
    };
    check("default", Visible::default(), 1, &["a", "b"], "pending");
    check("default", pod("b"), 1, &["b"], "pending");
    check("default", pod("c"), 1, &[], "inactive");
    check("another", Visible::default(), 0, &[], "none");
}

#[tokio::test]
async fn a_rule_shares_the_memory_of_all_queries() {
    let mut world = World::new(&Arc::default());
    let query = QueryConfig { memory_max: ByteSize::bytes(10), ..QueryConfig::default() };
    (world.ticker.deps.load, world.ticker.deps.query) = (Load::new(&query, Default::default()), query);
    world.store.set("a", 0, 9.0);
    world.tick(0, true).await;
    let shown = world.ticker.deps.rules.rules_json(&RuleFilter::default(), &Scope::of("default")).unwrap();
    let error = shown["groups"][0]["rules"][1]["lastError"].as_str().unwrap();
    assert!(error.contains("query.memory_max"), "{error}");
}

#[test]
fn rules_are_filtered_by_name_group_file_and_labels_a_page_at_a_time() {
    let text = |group: &str, severity: &str| {
        format!(
            "groups:\n- name: {group}\n  rules:\n  - alert: A{group}\n    expr: up\n    labels: {{severity: {severity}}}\n  \
             - record: r:{group}\n    expr: up\n"
        )
    };
    let file = |name: &str, group: &str, severity: &str| RuleFile {
        language: RuleLanguage::PromQl,
        tenant: "default".into(),
        name: name.into(),
        text: text(group, severity),
    };
    let files = [file("a.yml", "one", "page"), file("b.yml", "two", "ticket"), file("c.yml", "three", "page")];
    let rules = RuleSet::load(&files, Recording::Allowed).unwrap();
    let names = |filter: &RuleFilter| {
        let shown = rules.rules_json(filter, &Scope::of("default")).unwrap();
        let groups = shown["groups"].as_array().unwrap().clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
        (rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), shown["groupNextToken"].clone())
    };
    let check = |filter: RuleFilter, expected: &[&str]| assert_eq!(names(&filter).0, expected, "{filter:?}");
    let all = RuleFilter::default;
    check(all(), &["Aone", "r:one", "Atwo", "r:two", "Athree", "r:three"]);
    check(RuleFilter { names: vec!["Atwo".into(), "r:one".into(), "no".into()], ..all() }, &["r:one", "Atwo"]);
    check(RuleFilter { groups: vec!["two".into()], ..all() }, &["Atwo", "r:two"]);
    check(RuleFilter { files: vec!["c.yml".into()], kind: Some(WantedKind::Record), ..all() }, &["r:three"]);
    let selector = |text: &str| weir_promql::parse::parse_selector(text).unwrap().matchers;
    check(RuleFilter { selectors: vec![selector("{severity=\"page\"}")], ..all() }, &["Aone", "Athree"]);
    let either = vec![selector("{severity=\"ticket\"}"), selector("{severity=~\"pa.*\",severity!=\"page\"}")];
    check(RuleFilter { selectors: either, ..all() }, &["Atwo"]);

    let page = |token: serde_json::Value| RuleFilter {
        group_limit: Some(1),
        next_token: token.as_str().map(str::to_owned),
        selectors: vec![selector("{severity=\"page\"}")],
        ..all()
    };
    let (first, token) = names(&page(json!(null)));
    assert_eq!(first, ["Aone"]);
    let (second, end) = names(&page(token));
    assert_eq!((second, end), (vec!["Athree".to_owned()], json!(null)));
    let wrong = rules.rules_json(&page(json!("nope")), &Scope::of("default")).unwrap_err();
    assert_eq!(wrong, "invalid group_next_token: no rule group has it; were the rules changed?");
}

#[test]
fn scalars_are_texts_as_they_are_written() {
    let text = "groups:\n- name: g\n  interval:\n  labels: {a: 1.0, b: &x 010, c: on}\n  rules:\n  - alert: 5\n    expr: 1\n    \
                labels: {d: *x, e: , f: ~, a: no}\n    annotations:\n- name: empty\n  rules:\n";
    let groups = super::file::read_groups(text, RuleLanguage::PromQl, Recording::Allowed).unwrap();
    let rule = &groups[0].rules[0];
    let mut labels: Vec<(&str, String)> = rule.labels.iter().map(|(name, text)| (name.as_str(), format!("{text:?}"))).collect();
    labels.sort();
    assert_eq!((rule.name.as_str(), rule.query.as_str(), groups[1].rules.len()), ("5", "1", 0));
    let texts = [("a", "no"), ("b", "010"), ("c", "on"), ("d", "010"), ("e", ""), ("f", "")];
    let compiled = texts.map(|(name, text)| (name, format!("{:?}", super::template::Template::compile(text).unwrap())));
    assert_eq!(labels, compiled);
}

#[test]
fn rule_files_are_checked() {
    assert_eq!(check_rules(FILE, RuleLanguage::PromQl), Ok(Summary { groups: 1, alerting: 1, recording: 1 }));
    assert_eq!(check_rules("", RuleLanguage::PromQl), Ok(Summary::default()));
    let check = |text: &str, expected: &str| {
        assert_eq!(check_rules(text, RuleLanguage::PromQl).unwrap_err().to_string(), expected, "{text}")
    };
    let rule = |body: &str| format!("groups:\n- name: g\n  rules:\n  - alert: A\n    {body}\n");
    check(
        &rule("expr: sum("),
        "line 4: group \"g\", rule 1, \"A\": could not parse expression: 1:5: parse error: unclosed left parenthesis",
    );
    check(&rule("for: 5m"), "line 4: group \"g\", rule 1, \"A\": field 'expr' must be set in rule");
    check(
        &rule("expr: up\n    for: soon"),
        "line 4: group \"g\", rule 1, \"A\": for: not a duration: \"soon\" (for instance 90s, 5m, 1h30m, 7d)",
    );
    check(
        &rule("expr: up\n    annotations: {a: '{{ nope }}'}"),
        "line 4: group \"g\", rule 1, \"A\": annotation \"a\": template: line 1: function \"nope\" not defined",
    );
    check("groups:\n- name: g\n- name: g\n", "group \"g\": the name is repeated in the same file");
    let unknown = check_rules(&rule("exr: up"), RuleLanguage::PromQl).unwrap_err().to_string();
    assert!(unknown.starts_with("line 5: unknown field `exr`") && unknown.ends_with("at line 5, column 5"), "{unknown}");
    let repeated = check_rules(&rule("expr: up\n    expr: down"), RuleLanguage::PromQl).unwrap_err();
    assert_eq!(repeated.line, Some(6), "{repeated}");
    let file = RuleFile { tenant: "default".into(), name: "r.yml".into(), text: FILE.into(), language: RuleLanguage::PromQl };
    let refused = RuleSet::load(&[file], Recording::Refused).map(|_| ()).unwrap_err();
    let expected = "line 7: r.yml: group \"nodes\", rule 1, \"pod:cpu:double\": recording rules need somewhere to write their samples \
                    to, and this weir has none";
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn alertmanagers_have_no_password_and_are_shown_to_their_tenant() {
    let check = |url: &str, expected: &str| {
        let config = RulesConfig { alertmanagers: vec!["http://a:9093".into(), url.into()], ..RulesConfig::default() };
        assert_eq!(config.validate().err().unwrap_or_default(), expected, "{url}");
    };
    check("https://b:9093/alerts", "");
    let refused = "rules.alertmanagers: URL 2 has an @: it must not have a user or a password";
    for url in ["http://u:secret@b:9093", "https://secret@b", "u:secret@b:9093"] {
        check(url, refused);
    }
    let rules = RuleSet::empty().owned_by("own");
    rules.set_alertmanagers(vec!["http://a:9093".into()]);
    let shown = |tenant: &str| rules.alertmanagers(&Scope::of(tenant));
    assert_eq!((shown("own"), shown("other")), (vec!["http://a:9093".to_owned()], Vec::new()));
}
