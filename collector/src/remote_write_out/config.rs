//! `[[collector.remote_write]]`: Prometheus' `remote_write` section with its names, as TOML. Secrets lie in files of their own, so that no
//! configuration has one to show; keys of Prometheus' that are not here are refused by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration};
use weir_tls::{ClientTls, Endpoint};
use xxhash_rust::xxh3::xxh3_64;

use crate::scrape::relabel::Rule;

/// Headers that say what the body is and who sends: nobody else's to set.
const RESERVED_HEADERS: [&str; 8] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
    "x-prometheus-remote-write-version",
];
/// Letters of a name, which is a directory's as well.
const NAME_BYTES_MAX: usize = 64;
/// Less would not hold a record of the bus for each shard.
const QUEUE_BYTES_MIN: ByteSize = ByteSize::mib(64);
/// The writer of a queue has its queue of 16 MiB, and once more while it writes.
const QUEUE_MEMORY_BYTES: u64 = 32 << 20;
/// A shard's: 16 MiB of series that are known, as much read at once, a batch of 8 MiB, a record decoded (a few MiB, unless made to be
/// large), the tail of its log, and a request of 4 MiB with its compressed form.
const SHARD_BYTES: u64 = 56 << 20;
/// A queue is divided into as many parts as the bus has partitions, or as `max_shards` says, but no more than this: each keeps a file
/// and a tail in memory.
pub const SHARDS_MAX: u32 = 64;

/// One receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteWriteConfig {
    /// Where it takes requests.
    pub url: String,
    /// Of its metrics and its queue's directory; made of the URL when empty.
    #[serde(default)]
    pub name: String,
    /// Whose metrics go there; `collector.tenant`'s when there is none.
    #[serde(default)]
    pub tenants: BTreeSet<String>,
    /// Of one request.
    #[serde(default = "remote_timeout", with = "duration")]
    pub remote_timeout: Duration,
    #[serde(default)]
    pub protobuf_message: Message,
    /// Sent with each request.
    #[serde(default)]
    pub headers: Headers,
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    #[serde(default)]
    pub authorization: Option<Authorization>,
    #[serde(default)]
    pub tls_config: ClientTls,
    #[serde(default)]
    pub write_relabel_configs: Vec<Rule>,
    #[serde(default)]
    pub send_exemplars: bool,
    #[serde(default)]
    pub send_native_histograms: bool,
    #[serde(default)]
    pub metadata_config: MetadataConfig,
    #[serde(default)]
    pub queue_config: QueueConfig,
}

/// Values by name. A value may be secret, and is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Headers(BTreeMap<String, String>);

/// Which message is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Remote write 1.0.
    #[default]
    #[serde(rename = "prometheus.WriteRequest")]
    One,
    /// 2.0.
    #[serde(rename = "io.prometheus.write.v2.Request")]
    Two,
}

/// User, and the file that has the password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    pub username: String,
    pub password_file: PathBuf,
}

/// `Authorization: <type> <what the file has>`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    #[serde(rename = "type", default = "bearer")]
    pub kind: String,
    pub credentials_file: PathBuf,
}

/// Types and helps of metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetadataConfig {
    pub send: bool,
    /// 1.0 repeats them so often, with samples of their metrics; 2.0 has them in each series.
    #[serde(with = "duration")]
    pub send_interval: Duration,
}

/// What waits for the receiver, and how it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// On disk. Above it the oldest is dropped, and counted.
    pub queue_max: ByteSize,
    /// Requests under way at once. A queue that is not empty at a start keeps its number.
    pub max_shards: u32,
    pub max_samples_per_send: usize,
    /// A request is sent with what there is so long after its first sample.
    #[serde(with = "duration")]
    pub batch_send_deadline: Duration,
    /// Between attempts; doubles up to the maximum. `Retry-After` of the receiver goes before.
    #[serde(with = "duration")]
    pub min_backoff: Duration,
    #[serde(with = "duration")]
    pub max_backoff: Duration,
    /// Older samples are dropped instead of sent; zero for no limit.
    #[serde(with = "duration")]
    pub sample_age_limit: Duration,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self { send: true, send_interval: Duration::from_secs(60) }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        // Prometheus' but for `queue_max`, which takes the place of its log of two hours: at 2 B a sample, half an hour of 300,000
        // samples a second, or a day of 6,000.
        Self {
            queue_max: ByteSize::gib(1),
            max_shards: 50,
            max_samples_per_send: 2000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            sample_age_limit: Duration::ZERO,
        }
    }
}

fn remote_timeout() -> Duration {
    Duration::from_secs(30)
}

fn bearer() -> String {
    "Bearer".into()
}

impl Headers {
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    fn shown(&self) -> impl Iterator<Item = (&String, &'static str)> {
        self.0.keys().map(|name| (name, "<secret>"))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.shown())
    }
}

impl RemoteWriteConfig {
    /// As metrics and the queue's directory are named.
    pub fn name(&self) -> String {
        if self.name.is_empty() { format!("{:016x}", xxh3_64(self.url.as_bytes())) } else { self.name.clone() }
    }

    /// What it may hold in memory at most, on a bus of so many partitions.
    pub fn memory_bytes(&self, partitions: u64) -> u64 {
        QUEUE_MEMORY_BYTES + partitions.clamp(1, u64::from(self.queue_config.max_shards)) * SHARD_BYTES
    }

    /// Errors name the key.
    fn check(&self) -> Result<(), String> {
        let parsed = Endpoint::of(weir_tls::client(), &self.url);
        parsed.map_err(|_| "url: an http or https URL is needed".to_owned())?;
        if reqwest::Url::parse(&self.url).is_ok_and(|url| url.password().is_some()) {
            return Err("url has a password: say basic_auth with a password_file".into());
        }
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if self.name.len() > NAME_BYTES_MAX || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return Err(format!(
                "name = {:?}: at most {NAME_BYTES_MAX} letters, digits, '.', '_' and '-'; not '.' first",
                self.name
            ));
        }
        if self.basic_auth.is_some() && self.authorization.is_some() {
            return Err("basic_auth and authorization: one of them at most".into());
        }
        if self.authorization.as_ref().is_some_and(|own| own.kind.eq_ignore_ascii_case("basic")) {
            return Err("authorization.type = \"Basic\": say basic_auth".into());
        }
        for (name, value) in self.headers.iter() {
            if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!("headers: {name} is set by weir itself"));
            }
            if HeaderName::try_from(name.as_str()).is_err() || HeaderValue::try_from(value.as_str()).is_err() {
                return Err(format!("headers: {:?} is no header, or its value none", weir_model::clip(name)));
            }
        }
        self.tls_config.check().map_err(|error| format!("tls_config.{error}"))?;
        if self.remote_timeout.is_zero() {
            return Err("remote_timeout must be above 0s".into());
        }
        if self.metadata_config.send_interval.is_zero() {
            return Err("metadata_config.send_interval must be above 0s".into());
        }
        self.queue_config.check().map_err(|error| format!("queue_config.{error}"))
    }
}

impl QueueConfig {
    fn check(&self) -> Result<(), String> {
        if self.queue_max < QUEUE_BYTES_MIN {
            return Err(format!("queue_max must be at least {QUEUE_BYTES_MIN}"));
        }
        if self.max_shards == 0 || self.max_shards > SHARDS_MAX {
            return Err(format!("max_shards: {} is not between 1 and {SHARDS_MAX}", self.max_shards));
        }
        // The largest request must fit what receivers take: Prometheus' 32 MiB.
        if !(1..=50_000).contains(&self.max_samples_per_send) {
            return Err(format!("max_samples_per_send: {} is not between 1 and 50000", self.max_samples_per_send));
        }
        if self.min_backoff.is_zero() || self.max_backoff < self.min_backoff {
            return Err("min_backoff must be above 0s, and max_backoff not below it".into());
        }
        Ok(())
    }
}

/// Checks all of them. Errors name the receiver and the key.
pub fn check(receivers: &[RemoteWriteConfig]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for own in receivers {
        let name = own.name();
        own.check().map_err(|error| format!("of {name:?}: {error}"))?;
        if !names.insert(name.clone()) {
            return Err(format!("two have the name {name:?}"));
        }
    }
    Ok(())
}

/// A secret of a file, without the line's end.
pub(super) fn secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<RemoteWriteConfig, String> {
        let own: RemoteWriteConfig = weir_model::yaml::parse(text).map_err(|error| error.to_string())?;
        check(std::slice::from_ref(&own)).map(|()| own)
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let refused = |text: &str, part: &str| {
            let error = checked(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        refused("{url: ftp://a}", "url");
        refused("{url: 'http://u:p@a/'}", "password_file");
        refused("{url: http://a, capacity: 1}", "capacity");
        refused("{url: http://a, queue_config: {min_shards: 1}}", "min_shards");
        refused("{url: http://a, queue_config: {max_shards: 65}}", "queue_config.max_shards");
        refused("{url: http://a, queue_config: {queue_max: 1MiB}}", "queue_config.queue_max");
        refused("{url: http://a, basic_auth: {username: u, password: p}}", "password");
        refused("{url: http://a, headers: {Content-Type: text}}", "Content-Type");
        refused("{url: http://a, headers: {\"a b\": text}}", "a b");
        refused("{url: http://a, name: ../up}", "name");
        refused("{url: http://a, protobuf_message: three}", "three");
        refused("{url: http://a, write_relabel_configs: [{action: hashmod, target_label: a}]}", "modulus");
        refused("{url: http://a, tls_config: {cert_file: a}}", "tls_config");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let text = "{url: http://a/, headers: {X-Token: hush}, authorization: {credentials_file: /run/token}, \
                    write_relabel_configs: [{source_labels: [a], regex: b, action: drop}]}";
        let own = checked(text).unwrap();
        let shown = serde_json::to_value(&own).unwrap();
        assert_eq!(shown["headers"]["X-Token"], "<secret>");
        assert!(!shown.to_string().contains("hush"), "{shown}");
        let printed = format!("{own:?}");
        assert!(printed.contains("X-Token") && !printed.contains("hush"), "{printed}");
        assert_eq!(shown["write_relabel_configs"][0]["regex"], "b");
        assert_eq!(shown["protobuf_message"], "prometheus.WriteRequest");
        assert_eq!(own.name().len(), 16);
    }
}
