//! Prometheus' configuration file, the part that says what to scrape, with the files of jobs that it names. Unknown keys are errors that
//! name the key and its line; what is known and not supported yet is said so by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use weir_model::yaml;

use super::config::Job;
use super::global::Global;
use crate::error::CollectorError;

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusConfig {
    #[serde(deserialize_with = "yaml::or_default")]
    pub global: Global,
    #[serde(deserialize_with = "yaml::or_default")]
    pub scrape_configs: Vec<Job>,
    /// Globs of files that have more of them.
    #[serde(deserialize_with = "yaml::or_default")]
    scrape_config_files: Vec<String>,
    // What else Prometheus reads there, which says nothing of scraping.
    #[serde(rename = "runtime")]
    _runtime: IgnoredAny,
    #[serde(rename = "alerting")]
    _alerting: IgnoredAny,
    #[serde(rename = "rule_files")]
    _rule_files: IgnoredAny,
    #[serde(rename = "storage")]
    _storage: IgnoredAny,
    #[serde(rename = "tracing")]
    _tracing: IgnoredAny,
    #[serde(rename = "remote_write")]
    _remote_write: IgnoredAny,
    #[serde(rename = "remote_read")]
    _remote_read: IgnoredAny,
    #[serde(rename = "otlp")]
    _otlp: IgnoredAny,
}

/// A file of jobs.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JobFile {
    #[serde(deserialize_with = "yaml::or_default")]
    scrape_configs: Vec<Job>,
}

impl PrometheusConfig {
    /// Reads a file and those that its `scrape_config_files` name. What they name is relative to themselves.
    pub fn read(path: &Path) -> Result<Self, CollectorError> {
        let mut config: Self = parsed(path)?;
        let directory = directory_of(path);
        resolve(&mut config.scrape_configs, directory);
        let of_config = |reason| CollectorError::Config { key: path.display().to_string(), reason };
        for pattern in std::mem::take(&mut config.scrape_config_files) {
            for file in matching(&directory.join(&pattern)).map_err(&of_config)? {
                let JobFile { mut scrape_configs } = parsed(&file)?;
                resolve(&mut scrape_configs, directory_of(&file));
                config.scrape_configs.extend(scrape_configs);
            }
        }
        config.check().map_err(of_config)?;
        Ok(config)
    }

    /// Parses and checks a text that names no other files; the reason names key and line.
    #[cfg(test)]
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut config: Self = sections(text)?;
        config.check()?;
        Ok(config)
    }

    /// Checks jobs, and gives them what they inherit.
    fn check(&mut self) -> Result<(), String> {
        let mut names: Vec<&str> = self.scrape_configs.iter().map(|job| job.job_name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two scrape_configs have the job_name {:?}", pair[0]));
        }
        let global = &self.global;
        self.scrape_configs.iter_mut().try_for_each(|job| job.check(global))
    }
}

/// The sections of a file.
fn parsed<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, CollectorError> {
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| CollectorError::File { operation: "read", path: path.to_owned(), source })?;
    sections(&text).map_err(|reason| CollectorError::Config { key: path.display().to_string(), reason })
}

fn sections<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    unsupported(&yaml::parse(text).map_err(|error| error.to_string())?)?;
    yaml::parse(text).map_err(|error| error.to_string())
}

/// The files of a glob by name; one that matches nothing is as an empty list, as for Prometheus.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let pattern = pattern.to_str().ok_or_else(|| format!("scrape_config_files: {} is not UTF-8", pattern.display()))?;
    let wrong = |error: &dyn std::fmt::Display| format!("scrape_config_files: {pattern}: {error}");
    let found = glob::glob(pattern).map_err(|error| wrong(&error))?;
    found.map(|file| file.map_err(|error| wrong(&error))).collect()
}

fn directory_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Makes the paths in jobs relative to the directory of their file.
fn resolve(jobs: &mut [Job], directory: &Path) {
    let files = jobs.iter_mut().flat_map(Job::files);
    files.filter(|file| !file.as_os_str().is_empty()).for_each(|file| *file = directory.join(&*file));
}

/// The jobs' keys, whatever they hold.
#[derive(Deserialize)]
struct Keys {
    #[serde(default, deserialize_with = "yaml::or_default")]
    scrape_configs: Vec<BTreeMap<String, Value>>,
}

/// Keys that Prometheus knows and we do not yet.
fn unsupported(file: &Keys) -> Result<(), String> {
    for job in &file.scrape_configs {
        let name = job.get("job_name").and_then(Value::as_str).unwrap_or("?");
        for key in job.keys() {
            let discovery = key.ends_with("_sd_configs") && key != "file_sd_configs";
            if discovery || matches!(key.as_str(), "oauth2" | "proxy_url") {
                return Err(format!("job {name:?}: {key} is not supported yet"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Vec<(String, usize, Option<PathBuf>)>, String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let config = PrometheusConfig::read(&directory.path().join(files[0].0)).map_err(|error| error.to_string())?;
        let relative = |path: &PathBuf| path.strip_prefix(directory.path()).unwrap().to_owned();
        let job = |job: &Job| (job.job_name.clone(), job.sample_limit, job.bearer_token_file.as_ref().map(relative));
        Ok(config.scrape_configs.iter().map(job).collect())
    }

    #[test]
    fn files_of_jobs_are_read_and_inherit() {
        let main = "global: {sample_limit: 7}\nscrape_config_files: [jobs/*.yml, nothing.yml]\nscrape_configs: [{job_name: a}]";
        let files = [
            ("weir.yml", main),
            ("jobs/2.yml", "scrape_configs: [{job_name: c, sample_limit: 9}]"),
            ("jobs/1.yml", "scrape_configs: [{job_name: b, bearer_token_file: token}]"),
            ("jobs/3.yaml", "no jobs"),
        ];
        let expected = [("a", 7, None), ("b", 7, Some(PathBuf::from("jobs/token"))), ("c", 9, None)];
        let expected = expected.map(|(name, limit, token)| (name.to_owned(), limit, token));
        assert_eq!(read(&files).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_in_a_file_of_jobs_names_it() {
        let check = |text: &str, part: &str| {
            let error =
                read(&[("weir.yml", "scrape_config_files: ['*.jobs']\nscrape_configs: [{job_name: a}]"), ("b.jobs", text)]);
            let error = error.expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        check("scrape_configs: [{job_name: a}]", "two scrape_configs have the job_name \"a\"");
        check("global: {}", "b.jobs");
        check("scrape_configs: [{job_name: b, dns_sd_configs: []}]", "b.jobs");
        check("scrape_configs: [{job_name: b, scheme: ftp}]", "job \"b\": scheme \"ftp\"");
        assert!(read(&[("weir.yml", "scrape_config_files: ['[']")]).unwrap_err().contains("scrape_config_files"));
    }

    #[test]
    fn every_section_is_known() {
        let others = "{runtime: {gogc: 50}, alerting: {}, rule_files: [a.yml], storage: {tsdb: {}}, tracing: ~, remote_write: [{url: a}], remote_read: [], otlp: {}}";
        assert!(PrometheusConfig::parse(others).unwrap().scrape_configs.is_empty());
        let global = "global: {evaluation_interval: 1m, rule_query_offset: 1s, query_log_file: a, scrape_failure_log_file: b, external_labels: {a: b}, keep_dropped_targets: 1, extra_scrape_metrics: true}";
        PrometheusConfig::parse(global).unwrap();
        for (text, key) in [("scrape_config: []", "scrape_config"), ("global: {scrape_intervall: 1s}", "scrape_intervall")] {
            let error = PrometheusConfig::parse(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
