//! Which targets a job has now: static groups and files, relabelled. Reads the files of file discovery.

use std::collections::BTreeMap;

use weir_model::label::Labels;
use weir_model::yaml;

use super::config::{Group, Job};
use super::file::PrometheusConfig;
use super::relabel;

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// Where, parameters included.
    pub url: String,
    /// `job`, `instance` and the rest; no `__` labels.
    pub labels: Labels,
}

impl PrometheusConfig {
    /// How many targets there are now; reads the files of file discovery.
    pub fn targets(&self) -> usize {
        self.scrape_configs.iter().map(|job| of_job(job).0.len()).sum()
    }
}

/// What a job has found.
#[derive(Default)]
pub(crate) struct Discovered {
    /// Each with its labels before relabelling.
    pub targets: Vec<(Target, Labels)>,
    /// Of targets that relabelling has dropped, the labels before it.
    pub dropped: Vec<Labels>,
    /// Files that could not be read.
    pub wrong: Vec<String>,
}

/// All targets of a job, and the files that could not be read.
pub(crate) fn of_job(job: &Job) -> (Vec<Target>, Vec<String>) {
    let found = discover(job);
    (found.targets.into_iter().map(|(target, _)| target).collect(), found.wrong)
}

/// The same with what was dropped.
pub(crate) fn discover(job: &Job) -> Discovered {
    let mut found = Discovered::default();
    let mut groups = job.static_configs.clone();
    for pattern in job.file_sd_configs.iter().flat_map(|discovery| &discovery.files) {
        for path in glob::glob(pattern).into_iter().flatten().flatten() {
            // YAML holds JSON.
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
            let parsed = text.and_then(|text| yaml::parse::<Option<Vec<Group>>>(&text).map_err(|error| error.to_string()));
            match parsed {
                Ok(read) => groups.extend(read.unwrap_or_default()),
                Err(error) => found.wrong.push(format!("{}: {error}", path.display())),
            }
        }
    }
    for (group, address) in groups.iter().flat_map(|group| group.targets.iter().map(move |address| (group, address))) {
        let labels = labels(job, address, &group.labels);
        let discovered = Labels::from_pairs(&labels);
        match target(job, labels) {
            Some(target) => found.targets.push((target, discovered)),
            None => found.dropped.push(discovered),
        }
    }
    found.targets.sort();
    found.targets.dedup_by(|one, other| one.0 == other.0);
    found
}

/// Before relabelling.
fn labels(job: &Job, address: &str, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = own.clone();
    labels.entry("job".into()).or_insert_with(|| job.job_name.clone());
    labels.insert("__address__".into(), address.to_owned());
    labels.entry("__scheme__".into()).or_insert_with(|| job.scheme.clone());
    labels.entry("__metrics_path__".into()).or_insert_with(|| job.metrics_path.clone());
    for (name, values) in &job.params {
        if let Some(value) = values.first() {
            labels.entry(format!("__param_{name}")).or_insert_with(|| value.clone());
        }
    }
    labels
}

/// `None` where relabelling drops it, or nothing is left to ask.
fn target(job: &Job, mut labels: BTreeMap<String, String>) -> Option<Target> {
    if !relabel::apply(&job.relabel_configs, &mut labels) {
        return None;
    }
    let address = labels.get("__address__").filter(|address| !address.is_empty())?.clone();
    let url = url(job, &labels, &address)?;
    labels.entry("instance".into()).or_insert(address);
    labels.retain(|name, _| !name.starts_with("__"));
    Some(Target { url, labels: Labels::from_pairs(labels) })
}

fn url(job: &Job, labels: &BTreeMap<String, String>, address: &str) -> Option<String> {
    let path = labels.get("__metrics_path__").map_or("/metrics", String::as_str);
    let scheme = labels.get("__scheme__").map_or("http", String::as_str);
    let mut url = reqwest::Url::parse(&format!("{scheme}://{address}{path}")).ok()?;
    // The first value of a parameter may have been relabelled, the others are as written.
    let first = labels.iter().filter_map(|(name, value)| Some((name.strip_prefix("__param_")?, value.as_str())));
    let others =
        job.params.iter().flat_map(|(name, values)| values.iter().skip(1).map(move |value| (name.as_str(), value.as_str())));
    let pairs: Vec<(&str, &str)> = first.chain(others).collect();
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let check = |job: &str, expected: &[(&str, &str)]| {
            let config = PrometheusConfig::parse(&format!("scrape_configs: [{{job_name: j, {job}}}]")).unwrap();
            let (targets, wrong) = of_job(&config.scrape_configs[0]);
            let seen: Vec<(String, String)> = targets.into_iter().map(|t| (t.url, t.labels.to_string())).collect();
            let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!((seen, wrong), (expected, vec![]), "{job}");
        };
        check("static_configs: [{targets: ['a:1']}]", &[("http://a:1/metrics", r#"{instance="a:1", job="j"}"#)]);
        check(
            "metrics_path: /m, params: {x: [y z]}, static_configs: [{targets: ['a:1'], labels: {k: v}}]",
            &[("http://a:1/m?x=y+z", r#"{instance="a:1", job="j", k="v"}"#)],
        );
        check(
            "static_configs: [{targets: ['a:1']}], relabel_configs: [{source_labels: [__address__], regex: 'a.*', action: drop}]",
            &[],
        );
        check(
            "static_configs: [{targets: ['a:1']}], relabel_configs: [{target_label: __address__, replacement: 'b:2'}]",
            &[("http://b:2/metrics", r#"{instance="b:2", job="j"}"#)],
        );
    }

    #[test]
    fn limits_are_inherited() {
        let limits = |text: &str| {
            let job = PrometheusConfig::parse(text).unwrap().scrape_configs.remove(0);
            (job.sample_limit, job.label_limit, job.body_size_limit.0)
        };
        assert_eq!(limits("scrape_configs: [{job_name: a}]"), (0, 0, 64 << 20));
        let global = "global: {sample_limit: 5, label_limit: 6, body_size_limit: 7KiB}";
        assert_eq!(limits(&format!("{global}\nscrape_configs: [{{job_name: a}}]")), (5, 6, 7 << 10));
        let own = "scrape_configs: [{job_name: a, sample_limit: 1, body_size_limit: 2MB}]";
        assert_eq!(limits(&format!("{global}\n{own}")), (1, 6, 2 << 20));
        assert_eq!(limits("global: {body_size_limit: 0}\nscrape_configs: [{job_name: a}]").2, 64 << 20);
    }

    #[test]
    fn scalars_are_what_prometheus_takes_them_for() {
        let text = "scrape_configs:\n- job_name: 5\n  honor_labels: yes\n  honor_timestamps: off\n  sample_limit: 010\n  params:\n  \
                    metrics_path: /m\n  static_configs:\n  - targets: ['a:1']\n    labels: {a: on, b: 1.0}\n- &x {job_name: x}\n";
        let config = PrometheusConfig::parse(text).unwrap();
        let job = &config.scrape_configs[0];
        assert_eq!((job.job_name.as_str(), job.honor_labels, job.honor_timestamps, job.sample_limit), ("5", true, false, 8));
        let labels: Vec<_> = job.static_configs[0].labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("a", "on"), ("b", "1.0")]);
        assert!(PrometheusConfig::parse("scrape_configs:\nglobal:\n").unwrap().scrape_configs.is_empty());
    }

    #[test]
    fn rules_may_make_a_host_of_a_url() {
        let rules = "[{source_labels: [__address__], target_label: __param_target}, {target_label: __address__, replacement: 'prober:9115'}]";
        let job = format!("{{job_name: a, relabel_configs: {rules}, static_configs: [{{targets: ['http://b/c']}}]}}");
        let config = PrometheusConfig::parse(&format!("scrape_config_files: []\nscrape_configs: [{job}]")).unwrap();
        let (targets, wrong) = of_job(&config.scrape_configs[0]);
        let urls: Vec<&str> = targets.iter().map(|target| target.url.as_str()).collect();
        assert_eq!((urls, wrong), (vec!["http://prober:9115/metrics?target=http%3A%2F%2Fb%2Fc"], vec![]));
    }

    /// As Prometheus 2.42 takes them: its `promtool check config` passes these, and its targets have these labels.
    #[test]
    fn what_is_null_is_empty() {
        let parse = |job: &str| PrometheusConfig::parse(&format!("scrape_configs: [{{job_name: a, {job}}}]"));
        let check = |job: &str, url: &str, labels: &str| {
            let found = of_job(&parse(job).unwrap().scrape_configs[0]).0;
            let found: Vec<_> = found.iter().map(|target| (target.url.as_str(), target.labels.to_string())).collect();
            assert_eq!(found, [(url, labels.to_owned())], "{job}");
        };
        let (url, plain) = ("http://h:1/metrics", r#"{instance="h:1", job="a"}"#);
        let target = |rest: &str| format!("static_configs: [{{targets: ['h:1'], labels: {{{rest}}}}}]");
        check(&target("k: ~, l: null, m:, n: ''"), url, plain);
        check(&target("job: ~, __metrics_path__: ~"), url, plain);
        check(&target("k: '~'"), url, r#"{instance="h:1", job="a", k="~"}"#);
        check(&format!("params: {{x: ~, y: [], z: [~, 1]}}, {}", target("")), "http://h:1/metrics?z=&z=1", plain);
        check(&format!("metrics_path: ~, {}", target("")), "http://h:1/", plain);
        check("static_configs: [{targets: [~, 'h:1']}]", url, plain);
        let rule = "relabel_configs: [{source_labels: [job], separator: ~, target_label: job, replacement: ~}]";
        check(&format!("{rule}, {}", target("")), url, r#"{instance="h:1"}"#);
        let rule = "relabel_configs: [{source_labels: [job], regex: ~, target_label: job, replacement: x}]";
        check(&format!("{rule}, {}", target("")), url, plain);
        let global = "global: {scrape_interval: ~, scrape_timeout:, sample_limit: ~, body_size_limit: null}";
        let global = PrometheusConfig::parse(global).unwrap().global;
        assert_eq!((global.scrape_interval.as_secs(), global.scrape_timeout.as_secs(), global.sample_limit), (60, 10, 0));
        let job = parse("honor_labels: ~, honor_timestamps: ~, sample_limit: ~, body_size_limit: ~, basic_auth: {username: ~}");
        let job = job.unwrap().scrape_configs.remove(0);
        assert_eq!((job.honor_labels, job.honor_timestamps, job.sample_limit), (false, false, 0));
        assert_eq!((job.body_size_limit.0, job.basic_auth.unwrap().username.as_str()), (64 << 20, ""));
    }

    #[test]
    fn files_of_a_job_lie_beside_the_file_that_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prometheus.yml");
        let text = "scrape_configs:\n- job_name: a\n  tls_config: {ca_file: ca.pem, server_name: x}\n  bearer_token_file: /run/token\n\
                    - job_name: b\n  basic_auth: {username: u, password_file: secrets/p}\n";
        std::fs::write(&path, text).unwrap();
        let jobs = PrometheusConfig::read(&path).unwrap().scrape_configs;
        let tls = jobs[0].tls();
        assert_eq!((tls.ca_file, tls.cert_file), (folder.path().join("ca.pem"), Default::default()));
        assert_eq!(jobs[0].bearer_token_file.as_deref(), Some(std::path::Path::new("/run/token")));
        assert_eq!(jobs[1].basic_auth.as_ref().unwrap().password_file, Some(folder.path().join("secrets/p")));
    }

    #[test]
    fn wrong_files_name_the_key() {
        let check = |text: &str, part: &str| {
            let error = PrometheusConfig::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("scrape_configs: [{job_name: a, kubernetes_sd_configs: []}]", "kubernetes_sd_configs is not supported yet");
        check("scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n", "scrape_intervall");
        check("scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n", "at line 3, column 3");
        check("scrape_configs:\n- job_name: a\n  job_name: b\n", "at line 3, column 3");
        // Of a section that is not ours: nine levels of nine aliases.
        let levels = (1..10).map(|i| format!("l{i}: &l{i} [{}]\n", vec![format!("*l{}", i - 1); 9].join(", ")));
        check(&format!("l0: &l0 [x]\n{}", levels.collect::<String>()), "budget breached");
        check("scrape_configs: [{job_name: a, body_size_limit: 10 potatoes}]", "body_size_limit");
        check("scrape_configs: [{job_name: a, body_size_limit: 99999999999GB}]", "body_size_limit");
        let tls = |section: &str| format!("scrape_configs: [{{job_name: a, scheme: https, tls_config: {section}}}]");
        check(&tls("{ca_fil: x}"), "ca_fil");
        check(&tls("{cert_file: x}"), "job \"a\": tls_config: key_file is missing");
        check(&tls("{ca: x}"), "ca is not supported yet, only ca_file");
        check(&tls("{max_version: TLS12}"), "max_version is not supported");
        check(&tls("{min_version: TLS14}"), "min_version");
        check("scrape_configs: [{job_name: a, scheme: ftp}]", "neither http nor https");
        check("scrape_configs: [{job_name: a}, {job_name: a}]", "two scrape_configs");
        check("scrape_configs: [{job_name: ~}]", "empty job_name");
        check(
            "scrape_configs: [{job_name: a, relabel_configs: [{target_label: ~}]}]",
            "relabel configuration for replace action requires 'target_label' value",
        );
        check(
            "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://b']}]}]",
            "job \"a\": \"http://b\" is not a valid hostname",
        );

        check("scrape_configs: [{job_name: a, relabel_configs: [{source_labels: [b], target_label: c, action: ~}]}]", "");
        check("scrape_configs: [{job_name: a, static_configs: [~]}]", "");
        check("scrape_configs: [{job_name: a, scrape_interval: 1s, scrape_timeout: 2s}]", "scrape_timeout");
        check("scrape_configs: [{job_name: a, scrape_interval: soon}]", "scrape_interval");
    }
}
