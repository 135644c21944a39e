//! Rules: reads the files that the configuration names, and gives the loop a sink for the samples that rules make.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use weir_access::{AUDIT_TENANT, is_tenant};
use weir_collector::ship::Shipper;
use weir_model::label::Labels;
use weir_model::metric::{MetricBatch, MetricRow, RowExtras, Schema};
use weir_model::wire::{Mark, Section, SectionHeader};
use weir_rules::{Recording, RuleFile, RuleLanguage, RuleOrigin, RuleSample, RuleSet, RulesConfig, SampleSink};
use xxhash_rust::xxh3::Xxh3;

use crate::Failure;
use crate::text::plain;

/// Samples that the bus does not take within this are an error of the rule, and said so under `/api/v1/rules`.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads and checks all rule files: those of `own`, weir's own tenant, and those in the directories of tenants.
pub(crate) fn load(config: &RulesConfig, own: &str) -> Result<RuleSet, Failure> {
    let own_tenant: Arc<str> = own.into();
    let mut files = Vec::new();
    for (key, names, language) in
        [("rules.files", &config.files, RuleLanguage::PromQl), ("rules.logql_files", &config.logql_files, RuleLanguage::LogQl)]
    {
        for name in names {
            files.push(read((key, language), &own_tenant, Path::new(name))?);
        }
    }
    for (key, directory, language) in [
        ("rules.directory", &config.directory, RuleLanguage::PromQl),
        ("rules.logql_directory", &config.logql_directory, RuleLanguage::LogQl),
    ] {
        if !directory.is_empty() {
            files.extend(of_tenants((key, language), Path::new(directory))?);
        }
    }
    let loaded = RuleSet::load(&files, Recording::Allowed);
    let loaded = loaded.map_err(|error| Failure::input(plain::error(&format!("rules: {error}"))))?;
    Ok(loaded.owned_by(own))
}

/// `key`: where the configuration names it.
fn read((key, language): (&str, RuleLanguage), tenant: &Arc<str>, path: &Path) -> Result<RuleFile, Failure> {
    let (tenant, name) = (Arc::clone(tenant), path.display().to_string());
    let text = std::fs::read_to_string(path).map_err(|error| Failure::input(format!("{key}: {name}: {error}")))?;
    Ok(RuleFile { tenant, name, text, language })
}

/// `DIRECTORY/TENANT/FILE`, by name. What begins with a dot is passed over: Kubernetes mounts have such links.
fn of_tenants((key, language): (&str, RuleLanguage), directory: &Path) -> Result<Vec<RuleFile>, Failure> {
    let wrong = |path: &Path, why: &str| Failure::input(format!("{key}: {}: {why}", path.display()));
    let mut files = Vec::new();
    for path in listed(key, directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !path.is_dir() {
            return Err(wrong(&path, "is no directory; each tenant's rule files are in a directory with the tenant's name"));
        }
        if !is_tenant(name) {
            return Err(wrong(&path, "its name is not that of a tenant"));
        }
        if name == AUDIT_TENANT {
            return Err(wrong(&path, "this tenant is weir's own audit log: nothing is written to it"));
        }
        let tenant: Arc<str> = name.into();
        for file in listed(key, &path)? {
            files.push(read((key, language), &tenant, &file)?);
        }
    }
    Ok(files)
}

fn listed(key: &str, directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let wrong = |error| Failure::input(format!("{key}: {}: {error}", directory.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Ships samples. Every query node evaluates every rule, at the same times: all their writes have one source and, for one
/// evaluation, one digest, so that the first is stored and the others are duplicates (docs/decisions/0096).
pub(crate) struct Sink(Shipper);

impl Sink {
    pub fn new(shipper: Shipper) -> Arc<Self> {
        Arc::new(Self(shipper))
    }
}

#[async_trait]
impl SampleSink for Sink {
    async fn write(&self, origin: &RuleOrigin, samples: Vec<RuleSample>) -> Result<(), String> {
        let mut by_time: std::collections::BTreeMap<i64, Vec<RuleSample>> = std::collections::BTreeMap::new();
        for sample in samples {
            by_time.entry(sample.timestamp_ms).or_default().push(sample);
        }
        let section = |(at, samples)| section(&origin.tenant, digest(origin, at), at, samples);
        let sections = by_time.into_iter().map(section).collect();
        self.0.send_and_wait(sections, PATIENCE).await.map_err(|error| error.to_string())
    }
}

/// The same for the same evaluation on any node; the section says whose it is. Each text is preceded by its length, so that no two origins look alike.
fn digest(origin: &RuleOrigin, at_ms: i64) -> [u8; 16] {
    let mut hash = Xxh3::new();
    for text in [&origin.file, &origin.group] {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    for number in [origin.index as i64, origin.at_ms, at_ms] {
        hash.update(&number.to_le_bytes());
    }
    hash.digest128().to_be_bytes()
}

fn section(tenant: &str, digest: [u8; 16], at_ms: i64, samples: Vec<RuleSample>) -> Section<MetricBatch> {
    let values = samples.iter().map(|sample| sample.value).collect();
    let histogram = |(column, sample): (usize, &RuleSample)| Some((column as u32, sample.histogram.clone()?));
    let histograms: Vec<_> = samples.iter().enumerate().filter_map(histogram).collect();
    let schema = Schema::new(samples.into_iter().map(|sample| sample.labels).collect(), Vec::new());
    let mut row = MetricRow::new(at_ms.saturating_mul(1_000_000), values);
    if !histograms.is_empty() {
        row.extras = Some(Box::new(RowExtras { histograms, ..RowExtras::default() }));
    }
    let header = SectionHeader { tenant: tenant.into(), source: "rules".into(), mark: Mark::Digest(digest), records: 0 };
    Section::new(header, MetricBatch { target: Labels::EMPTY, schema: Arc::new(schema), rows: vec![row] })
}

#[cfg(test)]
mod tests {
    use weir_model::histogram::{Buckets, Histogram, ResetHint};
    use weir_model::metric::STALE_NAN;

    use super::*;

    #[test]
    fn an_evaluation_has_one_digest_wherever_it_runs() {
        let origin = RuleOrigin { tenant: "shop".into(), file: "a.yml".into(), group: "g".into(), index: 0, at_ms: 60_000 };
        assert_eq!(digest(&origin, 60_000), digest(&origin.clone(), 60_000));
        let others = [
            RuleOrigin { file: "a.ym".into(), group: "lg".into(), ..origin.clone() },
            RuleOrigin { index: 1, ..origin.clone() },
            RuleOrigin { at_ms: 75_000, ..origin.clone() },
        ];
        for other in others {
            assert_ne!(digest(&origin, 60_000), digest(&other, 60_000), "{other:?}");
        }
    }

    #[test]
    fn histograms_go_beside_the_numbers() {
        let histogram = Arc::new(Histogram {
            schema: 0,
            reset: ResetHint::Gauge,
            is_integer: false,
            count: 2.5,
            sum: 1.0,
            zero_threshold: 0.0,
            zero_count: 2.5,
            positive: Buckets::default(),
            negative: Buckets::default(),
            custom_bounds: Vec::new(),
        });
        let sample = |name: &str, value: f64, histogram: Option<&Arc<Histogram>>| RuleSample {
            labels: Labels::from_pairs([("__name__", name)]),
            timestamp_ms: 60_000,
            value,
            histogram: histogram.cloned(),
        };
        let batch = |samples| section("shop", [0; 16], 60_000, samples).batch;
        assert_eq!(batch(vec![sample("a", 1.0, None)]).rows[0].extras, None);
        let rows = &batch(vec![sample("a", 1.0, None), sample("b", STALE_NAN, Some(&histogram))]).rows;
        let expected = RowExtras { histograms: vec![(1, histogram)], ..RowExtras::default() };
        assert_eq!(rows[0].extras.as_deref(), Some(&expected));
    }

    #[test]
    fn each_tenant_has_a_directory_of_rule_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let text = |name: &str| format!("groups:\n- name: {name}\n  rules:\n  - alert: A\n    expr: up\n");
        write("own.yml", &text("own"));
        write("rules/shop/b.yml", &text("b"));
        write("rules/shop/a.rules", &text("a"));
        write("rules/..data/ignored", "not YAML: [");
        let mut config = RulesConfig { directory: folder.path().join("rules").display().to_string(), ..RulesConfig::default() };
        config.files = vec![folder.path().join("own.yml").display().to_string()];
        let load = || super::load(&config, "default").map_err(|failure| failure.message);
        assert_eq!(load().map(|rules| rules.group_names()).unwrap(), ["own", "a", "b"]);
        let refused = |path: &str, text: &str, expected: &str| {
            write(path, text);
            let message = load().err().unwrap_or_else(|| panic!("taken: {path}"));
            assert!(message.contains(expected) && message.contains(path), "{path}: {message}");
            std::fs::remove_file(folder.path().join(path)).unwrap();
        };
        refused("rules/c.yml", "", "is no directory");
        refused("rules/shop/c.yml", "groups: 5", "rules: ");
        assert!(load().is_ok());
        for (name, expected) in [("weir-audit", "audit log"), ("a b", "not that of a tenant")] {
            write(&format!("rules/{name}/c.yml"), "");
            assert!(load().err().unwrap_or_default().contains(expected), "{name}");
            std::fs::remove_dir_all(folder.path().join("rules").join(name)).unwrap();
        }
    }

    #[test]
    fn rules_in_logql_have_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let text = |name: &str, expr: &str| format!("groups:\n- name: {name}\n  rules:\n  - alert: A\n    expr: {expr}\n");
        let lines = r#"rate({app="a"} |= "x" [5m]) > 1"#;
        let mut config = RulesConfig { logql_files: vec![write("own.yml", &text("own", lines))], ..RulesConfig::default() };
        write("logql/shop/a.yml", &text("a", lines));
        config.logql_directory = folder.path().join("logql").display().to_string();
        let load =
            |config: &RulesConfig| load(config, "default").map(|rules| rules.group_names()).map_err(|failure| failure.message);
        assert_eq!(load(&config).unwrap(), ["own", "a"]);
        let as_promql = RulesConfig { files: config.logql_files.clone(), ..RulesConfig::default() };
        assert!(load(&as_promql).unwrap_err().contains("own.yml"));
        write("logql/shop/b.yml", &text("b", "up > 1"));
        assert!(load(&config).unwrap_err().contains("logql/shop/b.yml"));
    }
}
