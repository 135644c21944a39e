//! Rules in LogQL: they read a tenant's lines, make series, and are shown apart from those in PromQL.

use weir_logql::memory::MemoryLogs;
use weir_model::time::SECOND;

use super::*;
use crate::RuleLanguage;

const LOKI_FILE: &str = r#"
groups:
  - name: errors
    interval: 1m
    limit: 5
    rules:
      - record: app:errors:rate1m
        expr: 'sum by (app) (count_over_time({app=~".+"} |= "error" [1m]))'
        labels: {from: logs}
      - alert: Errors
        expr: sum by (app) (count_over_time({app=~".+"} |= "error" [1m])) > 1
        for: 1m
        labels: {severity: page}
        annotations:
          summary: '{{ $labels.app }} has {{ $value }} of {{ with query "sum(count_over_time({app=~\".+\"}[1m]))" }}{{ . | first | value }}{{ end }}'
"#;

fn world(logs: MemoryLogs, store: &Arc<Shared>) -> World {
    let file =
        |name: &str, text: &str, language| RuleFile { tenant: "default".into(), name: name.into(), text: text.into(), language };
    let files = [file("/etc/loki/e.yml", LOKI_FILE, RuleLanguage::LogQl), file("rules.yml", FILE, RuleLanguage::PromQl)];
    let rules = Arc::new(RuleSet::load(&files, Recording::Allowed).unwrap());
    World::of(rules, store, Arc::new(logs))
}

#[tokio::test]
async fn rules_in_logql_read_lines_and_make_series() {
    let (mut logs, store) = (MemoryLogs::default(), Arc::default());
    for (at, app, line) in [
        (10, "a", "error 1"),
        (20, "a", "error 2"),
        (20, "b", "error"),
        (30, "a", "fine"),
        (70, "a", "error 3"),
        (80, "a", "error 4"),
    ] {
        logs.push(&[("app", app)], at * SECOND, line.as_bytes());
    }
    let mut world = world(logs, &store);
    assert!(world.tick(60_000, true).await.is_empty());
    assert_eq!(world.samples("app:errors:rate1m"), [(60_000, 2.0), (60_000, 1.0)]);
    let posted = world.tick(120_000, false).await;
    let [alert] = &posted[..] else { panic!("{posted:?}") };
    assert_eq!(alert["labels"], json!({"alertname": "Errors", "app": "a", "severity": "page", "cluster": "c"}));
    assert_eq!(alert["annotations"], json!({"summary": "a has 2 of 2"}));
    let url = alert["generatorURL"].as_str().unwrap();
    assert!(url.contains("/logs?q=sum+by") || url.contains("/logs?q=sum%20by"), "{url}");
    assert!(world.samples("ALERTS").len() >= 2, "{:?}", world.samples("ALERTS"));
    let ended: Vec<_> = world.samples("app:errors:rate1m").into_iter().filter(|(_, value)| is_stale(*value)).collect();
    assert_eq!(ended.len(), 1, "b has no errors any more: {ended:?}");

    let (rules, scope) = (&world.ticker.deps.rules, Scope::of("default"));
    let shown = |language| rules.rules_json(&RuleFilter { language, ..RuleFilter::default() }, &scope).unwrap();
    let names = |shown: &serde_json::Value| {
        shown["groups"].as_array().unwrap().iter().map(|group| group["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&shown(RuleLanguage::LogQl)), names(&shown(RuleLanguage::PromQl))),
        (vec![json!("errors")], vec![json!("nodes")])
    );
    let alerts = |language| rules.alerts_json(&scope, language)["alerts"].as_array().unwrap().len();
    assert_eq!((alerts(RuleLanguage::LogQl), alerts(RuleLanguage::PromQl)), (1, 0));
}

#[test]
fn groups_are_listed_as_loki_does() {
    let world = world(MemoryLogs::default(), &Arc::default());
    let (rules, scope) = (&world.ticker.deps.rules, Scope::of("default"));
    let all = rules.loki_groups(&scope, None).unwrap();
    assert!(all.starts_with("\"e.yml\":\n    - name: \"errors\"\n      interval: 1m\n      limit: 5\n      rules:\n"), "{all}");
    assert!(!all.contains("nodes"), "{all}");
    assert_eq!(rules.loki_groups(&scope, Some("e.yml")).as_ref(), Some(&all));
    assert_eq!(rules.loki_groups(&scope, Some("rules.yml")), None);
    assert_eq!(rules.loki_groups(&Scope::of("other"), None), None);
    assert_eq!(rules.loki_group(&scope, "e.yml", "nodes"), None);
    // What is listed is a group of a rule file, and the same one.
    let group = rules.loki_group(&scope, "e.yml", "errors").unwrap();
    let indented: String =
        group.lines().enumerate().map(|(i, line)| format!("{}{line}\n", if i == 0 { "  - " } else { "    " })).collect();
    let file = RuleFile {
        tenant: "default".into(),
        name: "/etc/loki/e.yml".into(),
        text: format!("groups:\n{indented}"),
        language: RuleLanguage::LogQl,
    };
    let again = RuleSet::load(&[file], Recording::Allowed).unwrap_or_else(|error| panic!("{error}: {indented}"));
    assert_eq!(again.loki_groups(&scope, None), Some(all));
}

#[test]
fn what_is_no_metric_query_is_refused_by_line() {
    let check = |expr: &str, expected: &str| {
        let text = format!("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: '{expr}'\n");
        let error = check_rules(&text, RuleLanguage::LogQl).unwrap_err().to_string();
        assert!(
            error.starts_with("line 4: group \"g\", rule 1, \"A\": could not parse expression") && error.contains(expected),
            "{error}"
        );
    };
    check("{app=\"a\"}", "a log query is no number");
    check("rate({app=\"a\"}[5m", "col");
    check("up > 1", "");
    assert_eq!(check_rules(LOKI_FILE, RuleLanguage::LogQl), Ok(Summary { groups: 1, alerting: 1, recording: 1 }));
}
