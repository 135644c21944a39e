//! What is scraped and how that went, for whoever asks over HTTP. Told by [`super::run`], which never waits for a reader.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use weir_model::label::Labels;
use weir_model::targets::{DroppedTarget, LastScrape, RelabelStep, ScrapeTarget, ScrapeTargets};
use weir_model::yaml;

use super::config::Job;
use super::file::PrometheusConfig;
use super::redact::{redact, to_yaml};
use super::relabel;
use super::target::{Discovered, Target};

/// Dropped targets that are listed of one job; a job of a large cluster drops most of what it finds.
const DROPPED_MAX: usize = 1000;

/// The targets of all jobs.
pub struct TargetRegistry {
    tenant: String,
    jobs: Vec<Job>,
    /// The whole file, without its secrets.
    config: Value,
    pools: Mutex<BTreeMap<String, Pool>>,
}

#[derive(Default)]
struct Pool {
    active: BTreeMap<Target, Active>,
    dropped: Vec<Labels>,
    dropped_count: u64,
}

struct Active {
    discovered: Labels,
    interval: Duration,
    timeout: Duration,
    last: Option<LastScrape>,
}

impl TargetRegistry {
    /// Of a collector that scrapes nothing.
    pub(crate) fn none(tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), jobs: Vec::new(), config: Value::Null, pools: Mutex::default() }
    }

    /// Of a configuration that was read from `path`.
    pub(crate) fn new(tenant: &str, path: &Path, config: &PrometheusConfig) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self::of_text(tenant, &text, config)
    }

    fn of_text(tenant: &str, text: &str, config: &PrometheusConfig) -> Self {
        let mut shown = yaml::parse::<Value>(text).unwrap_or_default();
        redact(&mut shown);
        Self { tenant: tenant.to_owned(), jobs: config.scrape_configs.clone(), config: shown, pools: Mutex::default() }
    }

    /// A job has these targets now.
    pub(crate) fn found(&self, job: &Job, (interval, timeout): (Duration, Duration), found: &Discovered) {
        let mut pools = self.pools.lock();
        let pool = pools.entry(job.job_name.clone()).or_default();
        let mut before = std::mem::take(&mut pool.active);
        for (target, discovered) in &found.targets {
            let last = before.remove(target).and_then(|active| active.last);
            pool.active.insert(target.clone(), Active { discovered: discovered.clone(), interval, timeout, last });
        }
        pool.dropped_count = found.dropped.len() as u64;
        pool.dropped = found.dropped.iter().take(DROPPED_MAX).cloned().collect();
    }

    /// A target was scraped. One that did not answer has what it had before.
    pub(crate) fn scraped(&self, job: &Job, target: &Target, mut last: LastScrape) {
        if let Some(active) = self.pools.lock().get_mut(&job.job_name).and_then(|pool| pool.active.get_mut(target)) {
            if let Some(before) = active.last.take().filter(|_| last.error.is_some()) {
                last.schema = before.schema;
            }
            active.last = Some(last);
        }
    }
}

impl ScrapeTargets for TargetRegistry {
    fn tenant(&self) -> &str {
        &self.tenant
    }

    fn pools(&self) -> Vec<String> {
        self.jobs.iter().map(|job| job.job_name.clone()).collect()
    }

    fn active(&self) -> Vec<ScrapeTarget> {
        let pools = self.pools.lock();
        let all = pools.iter().flat_map(|(name, pool)| pool.active.iter().map(move |(target, active)| (name, target, active)));
        let one = |(pool, target, active): (&String, &Target, &Active)| ScrapeTarget {
            pool: pool.clone(),
            discovered: active.discovered.clone(),
            labels: target.labels.clone(),
            url: target.url.clone(),
            interval: active.interval,
            timeout: active.timeout,
            last: active.last.clone(),
        };
        all.map(one).collect()
    }

    fn dropped(&self) -> Vec<DroppedTarget> {
        let pools = self.pools.lock();
        let of = |(name, pool): (&String, &Pool)| {
            let one = |discovered: &Labels| DroppedTarget { pool: name.clone(), discovered: discovered.clone() };
            pool.dropped.iter().map(one).collect::<Vec<_>>()
        };
        pools.iter().flat_map(of).collect()
    }

    fn dropped_counts(&self) -> BTreeMap<String, u64> {
        self.pools.lock().iter().map(|(name, pool)| (name.clone(), pool.dropped_count)).collect()
    }

    fn config(&self) -> String {
        to_yaml(&self.config)
    }

    fn pool_config(&self, pool: &str) -> Option<String> {
        let place = self.jobs.iter().position(|job| job.job_name == pool)?;
        self.config["scrape_configs"].get(place).map(to_yaml)
    }

    fn relabel(&self, pool: &str, mut labels: BTreeMap<String, String>) -> Option<Vec<RelabelStep>> {
        let job = self.jobs.iter().find(|job| job.job_name == pool)?;
        let mut keep = true;
        let mut step = |rule: &relabel::Rule| {
            keep = keep && relabel::apply(std::slice::from_ref(rule), &mut labels);
            let output = if keep { labels.clone() } else { BTreeMap::new() };
            RelabelStep { rule: rule.written(), output, keep }
        };
        Some(job.relabel_configs.iter().map(&mut step).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_model::metric::Schema;

    use super::super::target::discover;
    use super::*;

    const CONFIG: &str = "global: {scrape_interval: 15s}\nscrape_configs:\n- job_name: web\n  basic_auth: {username: u, password: hush}\n  \
                          static_configs: [{targets: ['a:1', 'b:2'], labels: {zone: z}}]\n  relabel_configs:\n  \
                          - {source_labels: [__address__], regex: 'b.*', action: drop}\n  \
                          - {target_label: role, replacement: front}\n";

    fn registry() -> (TargetRegistry, Job) {
        let config = PrometheusConfig::parse(CONFIG).unwrap();
        (TargetRegistry::of_text("t", CONFIG, &config), config.scrape_configs[0].clone())
    }

    #[test]
    fn targets_are_told_with_their_last_scrape() {
        let (registry, job) = registry();
        let times = (Duration::from_secs(15), Duration::from_secs(10));
        let found = discover(&job);
        registry.found(&job, times, &found);
        let [active] = &registry.active()[..] else { panic!("one target") };
        assert_eq!((active.pool.as_str(), active.url.as_str(), active.last.is_some()), ("web", "http://a:1/metrics", false));
        assert_eq!(active.labels.to_string(), r#"{instance="a:1", job="web", role="front", zone="z"}"#);
        assert_eq!(active.discovered.get("__address__"), "a:1");
        let dropped = registry.dropped();
        assert_eq!((dropped.len(), dropped[0].discovered.get("__address__")), (1, "b:2"));
        assert_eq!(registry.dropped_counts(), [("web".to_owned(), 1)].into());

        let schema = Arc::new(Schema::new(vec![Labels::from_pairs([("__name__", "hits")])], Vec::new()));
        let last = LastScrape { at: 4, seconds: 0.5, error: None, schema };
        registry.scraped(&job, &found.targets[0].0, last);
        let last = LastScrape { at: 5, seconds: 0.5, error: Some("no".into()), schema: Arc::default() };
        registry.scraped(&job, &found.targets[0].0, last);
        assert_eq!(registry.active()[0].last.as_ref().unwrap().schema.series.len(), 1, "what it had before it went down");
        // What is found again keeps what is known of it.
        registry.found(&job, times, &found);
        assert_eq!(registry.active()[0].last.as_ref().unwrap().error.as_deref(), Some("no"));
        registry.found(&job, times, &Discovered::default());
        assert!(registry.active().is_empty() && registry.dropped().is_empty());
    }

    #[test]
    fn the_configuration_is_shown_without_secrets_and_rules_step_by_step() {
        let (registry, _) = registry();
        let shown = registry.config();
        assert!(shown.contains("password: \"<secret>\"") && !shown.contains("hush"), "{shown}");
        let again = PrometheusConfig::parse(&shown).unwrap();
        assert_eq!(again.scrape_configs[0].job_name, "web");
        assert!(registry.pool_config("web").unwrap().contains("job_name: web"));
        assert_eq!(registry.pool_config("other"), None);
        let labels = |address: &str| BTreeMap::from([("__address__".to_owned(), address.to_owned())]);
        let steps = registry.relabel("web", labels("a:1")).unwrap();
        assert_eq!((steps.len(), steps[0].keep, steps[1].output["role"].as_str()), (2, true, "front"));
        assert_eq!(steps[0].rule["regex"], "b.*");
        let steps = registry.relabel("web", labels("b:2")).unwrap();
        assert!(!steps[0].keep && !steps[1].keep && steps[1].output.is_empty());
    }
}
