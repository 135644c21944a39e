//! `global` of Prometheus' configuration file, the part that concerns scraping: what jobs have that say nothing of it. Called by
//! [`super::file`].

use std::time::Duration;

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use weir_model::config::parse_duration;
use weir_model::yaml;

use super::body_size::{BODY_SIZE_LIMIT, BodySize};
use super::protocol::{NameEscaping, NameValidation, ScrapeProtocol};

/// `global`, the part that concerns scraping.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Global {
    #[serde(deserialize_with = "interval_or_default")]
    pub scrape_interval: Duration,
    #[serde(deserialize_with = "timeout_or_default")]
    pub scrape_timeout: Duration,
    /// Of jobs that say nothing of it, as are the others.
    #[serde(deserialize_with = "yaml::or_default")]
    pub sample_limit: usize,
    #[serde(deserialize_with = "yaml::or_default")]
    pub label_limit: usize,
    #[serde(deserialize_with = "yaml::or_default")]
    pub label_name_length_limit: usize,
    #[serde(deserialize_with = "yaml::or_default")]
    pub label_value_length_limit: usize,
    #[serde(deserialize_with = "yaml::or_default")]
    pub body_size_limit: BodySize,
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    pub metric_name_validation_scheme: Option<NameValidation>,
    pub metric_name_escaping_scheme: Option<NameEscaping>,
    pub scrape_native_histograms: Option<bool>,
    pub always_scrape_classic_histograms: Option<bool>,
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    // Of rules, of what is sent on, and of logs and pages of Prometheus' own.
    #[serde(rename = "evaluation_interval")]
    _evaluation_interval: IgnoredAny,
    #[serde(rename = "rule_query_offset")]
    _rule_query_offset: IgnoredAny,
    #[serde(rename = "query_log_file")]
    _query_log_file: IgnoredAny,
    #[serde(rename = "scrape_failure_log_file")]
    _scrape_failure_log_file: IgnoredAny,
    #[serde(rename = "external_labels")]
    _external_labels: IgnoredAny,
    #[serde(rename = "keep_dropped_targets")]
    _keep_dropped_targets: IgnoredAny,
    #[serde(rename = "extra_scrape_metrics")]
    _extra_scrape_metrics: IgnoredAny,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            body_size_limit: BODY_SIZE_LIMIT,
            scrape_protocols: None,
            metric_name_validation_scheme: None,
            metric_name_escaping_scheme: None,
            scrape_native_histograms: None,
            always_scrape_classic_histograms: None,
            convert_classic_histograms_to_nhcb: None,
            _evaluation_interval: IgnoredAny,
            _rule_query_offset: IgnoredAny,
            _query_log_file: IgnoredAny,
            _scrape_failure_log_file: IgnoredAny,
            _external_labels: IgnoredAny,
            _keep_dropped_targets: IgnoredAny,
            _extra_scrape_metrics: IgnoredAny,
        }
    }
}

fn interval_or_default<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    Ok(time(from)?.unwrap_or(Global::default().scrape_interval))
}

fn timeout_or_default<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    Ok(time(from)?.unwrap_or(Global::default().scrape_timeout))
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Option::deserialize(from)?;
    text.map(|text| parse_duration(&text).map_err(D::Error::custom)).transpose()
}
