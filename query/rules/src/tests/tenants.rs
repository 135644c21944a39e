//! The same rules for two tenants: each reads, makes, restores and is shown its own, and Alertmanagers hear whose an alert is.

use std::collections::HashMap;

use super::super::state::Group;
use super::*;

/// A store of each tenant.
#[derive(Default)]
struct Stores(Mutex<HashMap<String, Arc<Shared>>>);

impl Stores {
    fn of(&self, tenant: &str) -> Arc<Shared> {
        Arc::clone(self.0.lock().entry(tenant.to_owned()).or_default())
    }

    fn samples(&self, tenant: &str, name: &str) -> Vec<(String, f64)> {
        let matchers = vec![weir_model::label::Matcher::equal("__name__", name)];
        let select = MetricSelect { scope: Scope::of(tenant), matchers, start_ms: 0, end_ms: i64::MAX };
        let found = self.select(&select, &weir_model::select::NoBudget).unwrap().value;
        found.iter().map(|series| (series.labels.get("pod").to_owned(), series.values[0])).collect()
    }
}

impl MetricReader for Stores {
    fn cursor<'a>(&'a self, select: &MetricSelect, budget: &'a dyn Budget) -> Result<Box<dyn SeriesCursor + 'a>, ReadError> {
        let own = self.of(&select.scope.one()?.tenant);
        let found = own.select(select, budget)?;
        Ok(Box::new(SeriesList::new(found)))
    }
    fn series(&self, select: &MetricSelect, budget: &dyn Budget) -> Result<Covered<Vec<Labels>>, ReadError> {
        self.of(&select.scope.one()?.tenant).series(select, budget)
    }
    fn families(&self, scope: &Scope, budget: &dyn Budget) -> Result<Covered<Vec<weir_model::metric::Family>>, ReadError> {
        self.of(&scope.one()?.tenant).families(scope, budget)
    }
}

#[async_trait]
impl SampleSink for Stores {
    async fn write(&self, origin: &RuleOrigin, samples: Vec<RuleSample>) -> Result<(), String> {
        self.of(&origin.tenant).write(origin, samples).await
    }
}

/// The groups of a weir whose own tenant is "default", as one process after another evaluates them.
struct World {
    tickers: Vec<Ticker>,
    posted: tokio::sync::mpsc::Receiver<Arc<Batch>>,
}

impl World {
    fn new(stores: &Arc<Stores>) -> Self {
        let file = |tenant: &str| RuleFile {
            tenant: tenant.into(),
            name: format!("{tenant}/r.yml"),
            text: FILE.into(),
            language: RuleLanguage::PromQl,
        };
        let rules = RuleSet::load(&["default", "shop"].map(file), Recording::Allowed).unwrap().owned_by("default");
        let (rules, metrics) = (Arc::new(rules), Arc::new(RuleMetrics::default()));
        rules.set_alertmanagers(vec!["http://a:9093".into()]);
        let (notifier, posted) = Notifier::for_test(&metrics);
        let (sink, reader): (Arc<dyn SampleSink>, Arc<dyn MetricReader>) = (Arc::clone(stores) as _, Arc::clone(stores) as _);
        let query = QueryConfig::default();
        let load = Load::new(&query, Default::default());
        let logs = Arc::new(MemoryLogs::default());
        let deps = RuleDeps { rules, reader, logs, sink: Some(sink), query, load, clock: Arc::new(|| 0), metrics };
        let config = Arc::new(RulesConfig::default());
        let ticker = |group: &Arc<Group>| Ticker {
            config: Arc::clone(&config),
            deps: deps.clone(),
            group: Arc::clone(group),
            notifier: notifier.clone(),
        };
        Self { tickers: deps.rules.groups().iter().map(ticker).collect(), posted }
    }

    /// What is posted, with its tenant.
    async fn tick(&mut self, at_ms: i64, first: bool) -> Vec<(String, serde_json::Value)> {
        for ticker in &self.tickers {
            ticker.tick(at_ms, first).await;
        }
        let mut posted = Vec::new();
        while let Ok(batch) = self.posted.try_recv() {
            posted.extend(batch.alerts.iter().map(|one| (batch.tenant.to_string(), serde_json::to_value(one).unwrap())));
        }
        posted
    }

    fn rules(&self) -> &RuleSet {
        &self.tickers[0].deps.rules
    }
}

fn scope(tenants: &[&str]) -> Scope {
    let all = tenants.iter().map(|tenant| TenantScope { tenant: (*tenant).into(), visible: Visible::default() });
    Scope::new(all.collect()).unwrap()
}

#[tokio::test]
async fn rules_of_a_tenant_read_and_make_its_series_and_are_shown_to_it_alone() {
    let stores = Arc::new(Stores::default());
    let mut world = World::new(&stores);
    stores.of("shop").set("a", 0, 9.0);
    stores.of("default").set("b", 0, 1.0);
    assert!(world.tick(0, true).await.is_empty());
    assert_eq!(stores.samples("shop", "pod:cpu:double"), [("a".into(), 18.0)]);
    assert_eq!(stores.samples("default", "pod:cpu:double"), [("b".into(), 2.0)]);
    assert_eq!((stores.samples("shop", "ALERTS").len(), stores.samples("default", "ALERTS").len()), (1, 0));

    let posted = world.tick(60_000, false).await;
    let [(tenant, alert)] = &posted[..] else { panic!("{posted:?}") };
    assert_eq!((tenant.as_str(), &alert["labels"]["tenant"], &alert["labels"]["pod"]), ("shop", &json!("shop"), &json!("a")));
    assert!(alert["generatorURL"].as_str().unwrap().ends_with("&g0.tab=1&tenant=shop"), "{alert}");
    stores.of("default").set("b", 60_000, 9.0);
    world.tick(60_000, false).await;
    let posted = world.tick(120_000, false).await;
    let own = posted.iter().find(|(tenant, _)| tenant == "default").unwrap();
    assert_eq!(own.1["labels"].get("tenant"), None, "weir's own tenant goes without");

    let rules = world.rules();
    let shown = |tenants: &[&str]| {
        let groups = rules.rules_json(&RuleFilter::default(), &scope(tenants)).unwrap()["groups"].clone();
        let files: Vec<String> =
            groups.as_array().unwrap().iter().map(|group| group["file"].as_str().unwrap().to_owned()).collect();
        let alerts = rules.alerts_json(&scope(tenants), RuleLanguage::PromQl)["alerts"].as_array().unwrap().clone();
        let of = |alert: &serde_json::Value| (alert["labels"]["pod"].clone(), alert["labels"]["__tenant_id__"].clone());
        (files, alerts.iter().map(of).collect::<Vec<_>>(), groups[0]["tenant"].clone())
    };
    assert_eq!(shown(&["shop"]), (vec!["shop/r.yml".into()], vec![(json!("a"), json!(null))], json!(null)));
    assert_eq!(shown(&["bank"]), (vec![], vec![], json!(null)));
    let both = vec![(json!("b"), json!("default")), (json!("a"), json!("shop"))];
    assert_eq!(shown(&["shop", "default"]), (vec!["default/r.yml".into(), "shop/r.yml".into()], both, json!("default")));
    let alertmanagers = |tenant: &str| rules.alertmanagers(&scope(&[tenant])).len();
    assert_eq!(["default", "shop", "bank"].map(alertmanagers), [1, 1, 0]);
}

#[tokio::test]
async fn a_tenants_alerts_are_restored_from_its_own_series() {
    let stores = Arc::new(Stores::default());
    let mut world = World::new(&stores);
    (0..=10).for_each(|i| stores.of("shop").set("a", i * 30_000, 9.0));
    for at_ms in [0, 30_000, 60_000] {
        world.tick(at_ms, at_ms == 0).await;
    }
    // A new process over the same stores; another tenant has the same alert since now.
    let mut world = World::new(&stores);
    stores.of("default").set("a", 180_000, 9.0);
    world.tick(180_000, true).await;
    let posted = world.tick(210_000, false).await;
    let of: Vec<&str> = posted.iter().map(|(tenant, _)| tenant.as_str()).collect();
    assert_eq!(of, ["shop"], "it had fired before; the other's holds for 30 seconds");
}
