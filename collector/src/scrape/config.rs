//! A job of Prometheus' configuration file. Unknown keys are errors that name the key and its line. Called by [`super::file`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use weir_model::config::parse_duration;
use weir_model::yaml;
use weir_tls::ClientTls;

use super::body_size::{BODY_SIZE_LIMIT, BodySize};
use super::global::Global;
use super::protocol::{self, NameEscaping, NameValidation, ScrapeProtocol};
use super::relabel::Rule;
use super::tls::TlsSection;

/// One job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    #[serde(deserialize_with = "yaml::or_default")]
    pub job_name: String,
    #[serde(default)]
    pub scrape_interval: Option<String>,
    #[serde(default)]
    pub scrape_timeout: Option<String>,
    #[serde(default = "default_path", deserialize_with = "yaml::or_default")]
    pub metrics_path: String,
    #[serde(default = "default_scheme", deserialize_with = "yaml::or_default")]
    pub scheme: String,
    /// How targets over https are known, and what is shown to them.
    #[serde(default)]
    pub tls_config: Option<TlsSection>,
    /// Accepted either way: targets are asked over HTTP/1.1, which all of them speak.
    #[serde(default = "yes", deserialize_with = "yaml::or_default")]
    pub enable_http2: bool,
    #[serde(default, deserialize_with = "params")]
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether the target's labels win over weir's.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub honor_labels: bool,
    /// Whether the target's timestamps count.
    #[serde(default = "yes", deserialize_with = "yaml::or_default")]
    pub honor_timestamps: bool,
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub static_configs: Vec<Group>,
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub file_sd_configs: Vec<FileDiscovery>,
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    #[serde(default)]
    pub authorization: Option<Authorization>,
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub relabel_configs: Vec<Rule>,
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub metric_relabel_configs: Vec<Rule>,
    /// More samples fail the scrape; 0 for no limit.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub sample_limit: usize,
    /// More labels on a sample fail the scrape; 0 for no limit.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub label_limit: usize,
    /// Longer label names fail the scrape; 0 for no limit.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub label_name_length_limit: usize,
    /// Longer label values fail the scrape; 0 for no limit.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub label_value_length_limit: usize,
    /// A larger answer fails the scrape; 0 for the default, 64 MiB.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub body_size_limit: BodySize,
    /// In which formats targets are asked to answer, the preferred one first.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// Whether other names than identifiers fail the scrape.
    #[serde(default)]
    metric_name_validation_scheme: Option<NameValidation>,
    #[serde(default)]
    metric_name_escaping_scheme: Option<NameEscaping>,
    /// A native histogram of more buckets is stored at a lower resolution; where none is low enough, the scrape fails. 0 for no limit.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub native_histogram_bucket_limit: usize,
    /// Native histograms whose buckets grow by less are stored at a lower resolution; 0 for no limit.
    #[serde(default, deserialize_with = "yaml::or_default")]
    pub native_histogram_min_bucket_factor: f64,
    #[serde(default)]
    scrape_native_histograms: Option<bool>,
    #[serde(default)]
    always_scrape_classic_histograms: Option<bool>,
    #[serde(default)]
    convert_classic_histograms_to_nhcb: Option<bool>,
    /// `[collector.scrape] created_timestamps`: no key of this file, which Prometheus reads as well.
    #[serde(skip)]
    pub created_timestamps: bool,
}

/// Targets that share labels.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    #[serde(deserialize_with = "texts")]
    pub targets: Vec<String>,
    #[serde(default, deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
}

/// Files of [`Group`]s, JSON or YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDiscovery {
    #[serde(deserialize_with = "texts")]
    pub files: Vec<String>,
    /// Accepted and not used: files are read whenever targets are found, which is more often than any sensible value.
    #[serde(default)]
    pub refresh_interval: Option<String>,
}

/// User and password.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    #[serde(deserialize_with = "yaml::or_default")]
    pub username: String,
    #[serde(default)]
    pub password: Option<String>,
    /// Or the file that holds it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// `Authorization: <type> <credentials>`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    #[serde(rename = "type", default = "bearer", deserialize_with = "yaml::or_default")]
    pub kind: String,
    #[serde(default)]
    pub credentials: Option<String>,
    /// Or the file that holds it.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
}

/// Texts; one that is null is empty.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(not_null(yaml::or_default(from)?))
}

/// A label without a value has an empty one, which is as if it were not there.
fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let written: BTreeMap<String, Option<String>> = yaml::or_default(from)?;
    Ok(written.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?))).collect())
}

fn params<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let written: BTreeMap<String, Option<Vec<Option<String>>>> = yaml::or_default(from)?;
    Ok(written.into_iter().map(|(name, values)| (name, not_null(values.unwrap_or_default()))).collect())
}

fn not_null(texts: Vec<Option<String>>) -> Vec<String> {
    texts.into_iter().map(Option::unwrap_or_default).collect()
}

fn default_path() -> String {
    "/metrics".into()
}

fn default_scheme() -> String {
    "http".into()
}

fn yes() -> bool {
    true
}

fn bearer() -> String {
    "Bearer".into()
}

impl Job {
    /// Checks the job, and gives it what it inherits.
    pub(super) fn check(&mut self, global: &Global) -> Result<(), String> {
        if self.job_name.is_empty() {
            return Err("a job of scrape_configs has an empty job_name".into());
        }
        let wrong = |reason: String| Err(format!("job {:?}: {reason}", self.job_name));
        if !matches!(self.scheme.as_str(), "http" | "https") {
            return wrong(format!("scheme {:?} is neither http nor https", self.scheme));
        }
        // Rules may make a host of it, as they do for a prober.
        let mut addresses = self.static_configs.iter().flat_map(|group| &group.targets);
        if let Some(address) = addresses.find(|target| self.relabel_configs.is_empty() && target.contains('/')) {
            return wrong(format!("{address:?} is not a valid hostname"));
        }
        if let Err(error) = self.tls().check() {
            return wrong(format!("tls_config: {error}"));
        }
        self.times(global)?;
        self.inherit(global);
        self.check_names()?;
        if (1..self.scrape_protocols.len()).any(|i| self.scrape_protocols[..i].contains(&self.scrape_protocols[i])) {
            return Err(format!("job {:?}: scrape_protocols names a format twice", self.job_name));
        }
        Ok(())
    }

    /// Limits that the job does not set.
    fn inherit(&mut self, global: &Global) {
        let pairs = [
            (&mut self.sample_limit, global.sample_limit),
            (&mut self.label_limit, global.label_limit),
            (&mut self.label_name_length_limit, global.label_name_length_limit),
            (&mut self.label_value_length_limit, global.label_value_length_limit),
        ];
        for (own, global) in pairs {
            *own = if *own == 0 { global } else { *own };
        }
        let said = [self.body_size_limit, global.body_size_limit].into_iter().find(|limit| limit.0 > 0);
        self.body_size_limit = said.unwrap_or(BODY_SIZE_LIMIT);
        let pairs = [
            (&mut self.scrape_native_histograms, global.scrape_native_histograms),
            (&mut self.always_scrape_classic_histograms, global.always_scrape_classic_histograms),
            (&mut self.convert_classic_histograms_to_nhcb, global.convert_classic_histograms_to_nhcb),
        ];
        for (own, global) in pairs {
            *own = own.or(global);
        }
        self.metric_name_validation_scheme = self.metric_name_validation_scheme.or(global.metric_name_validation_scheme);
        self.metric_name_escaping_scheme = self.metric_name_escaping_scheme.or(global.metric_name_escaping_scheme);
        if self.scrape_protocols.is_empty() {
            let default = || protocol::default_of(self.reads_native_histograms());
            self.scrape_protocols = global.scrape_protocols.clone().unwrap_or_else(default);
        }
    }

    /// `metric_name_validation_scheme`
    pub fn name_validation(&self) -> NameValidation {
        self.metric_name_validation_scheme.unwrap_or_default()
    }

    /// `metric_name_escaping_scheme`
    pub fn escaping(&self) -> NameEscaping {
        self.metric_name_escaping_scheme.unwrap_or(match self.name_validation() {
            NameValidation::Utf8 => NameEscaping::AllowUtf8,
            NameValidation::Legacy => NameEscaping::Underscores,
        })
    }

    fn check_names(&self) -> Result<(), String> {
        if self.name_validation() == NameValidation::Legacy && self.escaping() == NameEscaping::AllowUtf8 {
            return Err(format!(
                "job {:?}: metric_name_escaping_scheme is allow-utf-8, but metric_name_validation_scheme is legacy",
                self.job_name
            ));
        }
        Ok(())
    }

    /// `scrape_native_histograms`
    pub fn reads_native_histograms(&self) -> bool {
        self.scrape_native_histograms.unwrap_or_default()
    }

    /// `always_scrape_classic_histograms`: also where there is a native one, or a converted one.
    pub fn keeps_classic_histograms(&self) -> bool {
        self.always_scrape_classic_histograms.unwrap_or_default()
    }

    /// `convert_classic_histograms_to_nhcb`
    pub fn converts_histograms(&self) -> bool {
        self.convert_classic_histograms_to_nhcb.unwrap_or_default()
    }

    /// Secrets and certificates; relative ones lie beside the file that names them.
    pub(super) fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.tls_config.iter_mut().flat_map(TlsSection::files);
        let basic = self.basic_auth.iter_mut().filter_map(|basic| basic.password_file.as_mut());
        let authorization = self.authorization.iter_mut().filter_map(|authorization| authorization.credentials_file.as_mut());
        tls.chain(basic).chain(authorization).chain(&mut self.bearer_token_file)
    }

    /// Of targets over https.
    pub fn tls(&self) -> ClientTls {
        self.tls_config.clone().map(TlsSection::into).unwrap_or_default()
    }

    /// Interval and timeout; the timeout is at most the interval.
    pub fn times(&self, global: &Global) -> Result<(Duration, Duration), String> {
        let parse = |text: &Option<String>, default: Duration, key: &str| match text {
            Some(text) => parse_duration(text).map_err(|error| format!("job {:?}: {key}: {error}", self.job_name)),
            None => Ok(default),
        };
        let interval = parse(&self.scrape_interval, global.scrape_interval, "scrape_interval")?;
        let timeout = parse(&self.scrape_timeout, global.scrape_timeout.min(interval), "scrape_timeout")?;
        if interval < Duration::from_millis(100) || timeout > interval || timeout.is_zero() {
            return Err(format!(
                "job {:?}: scrape_timeout must be above 0 and at most scrape_interval, which is at least 100ms",
                self.job_name
            ));
        }
        Ok((interval, timeout))
    }
}
