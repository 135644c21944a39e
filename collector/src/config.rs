//! The collector's configuration: plain data with a default for every key, checked once at start.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration, optional_duration};
use weir_model::resource::TENANT_DEFAULT;

use crate::error::CollectorError;
use crate::otlp::config::OtlpConfig;
use crate::remote_write_out::config::{self as remote_write, RemoteWriteConfig};

const LINE_MAX: ByteSize = ByteSize::bytes(crate::LINE_BYTES_MAX as u64);

/// All of the collector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectorConfig {
    /// Tenant of everything that this node collects or receives.
    pub tenant: String,
    /// How sections become records.
    pub ship: ShipConfig,
    /// Log files.
    pub files: FilesConfig,
    /// This node's own samples.
    pub sample: SampleConfig,
    /// Prometheus targets.
    pub scrape: ScrapeSourceConfig,
    /// What clients may push: OTLP and Loki.
    pub push: PushConfig,
    /// What OTLP's metrics become.
    pub otlp: OtlpConfig,
    /// Where metrics go on to.
    pub remote_write: Vec<RemoteWriteConfig>,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            tenant: TENANT_DEFAULT.to_owned(),
            ship: ShipConfig::default(),
            files: FilesConfig::default(),
            sample: SampleConfig::default(),
            scrape: ScrapeSourceConfig::default(),
            push: PushConfig::default(),
            otlp: OtlpConfig::default(),
            remote_write: Vec::new(),
        }
    }
}

/// How sections become records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShipConfig {
    /// A record waits this long for further sections.
    #[serde(with = "duration")]
    pub linger: Duration,
    /// Uncompressed bytes that may wait per partition; above it sources stay where they are.
    pub queue_max: ByteSize,
}

impl Default for ShipConfig {
    fn default() -> Self {
        // 50 ms of the 1 s between written and visible; 16 MiB are two records in the making.
        Self { linger: Duration::from_millis(50), queue_max: ByteSize::mib(16) }
    }
}

/// Log files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilesConfig {
    /// Whether logs of this node's containers are followed.
    pub containers: bool,
    /// Further files.
    pub paths: Vec<PathConfig>,
    /// How often a followed file is polled.
    #[serde(with = "duration")]
    pub poll_interval: Duration,
    /// How often new files and rotations are looked for.
    #[serde(with = "duration")]
    pub discover_interval: Duration,
    /// Checkpoints are written at most this often.
    #[serde(with = "duration")]
    pub checkpoint_interval: Duration,
    /// Files followed at once; each holds a descriptor. Further ones wait and are counted.
    pub files_max: usize,
    /// Bytes that the rotated files of one log may hold until they are acknowledged, and to which a compressed one is
    /// unpacked. Per log, not in all: beyond it the oldest of that log are given up and counted as lost.
    pub pin_max: ByteSize,
    /// Where a file without a checkpoint is begun: at its start, or at its end.
    pub begin: Begin,
}

/// Where a file without a checkpoint is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// At its first byte.
    #[default]
    Start,
    /// At its end at that moment, when it was there at the collector's start.
    End,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            containers: true,
            paths: Vec::new(),
            poll_interval: Duration::from_millis(100),
            discover_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(1),
            files_max: 4096,
            pin_max: ByteSize::gib(1),
            begin: Begin::Start,
        }
    }
}

/// Files that the configuration names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathConfig {
    /// A glob.
    pub path: String,
    /// How its lines are framed.
    #[serde(default)]
    pub format: FileFormat,
    /// Labels of its stream, besides `node` and `filename`.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// How lines of a file are framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// One line is one record.
    #[default]
    Plain,
    /// `<time> <stream> <P|F> <message>`, as containerd and CRI-O write.
    Cri,
    /// One JSON object a line, as Docker's json-file driver writes.
    DockerJson,
}

/// This node's own samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// Whether cgroups and `/proc` are sampled.
    pub enabled: bool,
    /// How often; at least 1 s.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How long a container that has ended is sampled on: how it ended, and its kills.
    #[serde(with = "duration")]
    pub ended_for: Duration,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self { enabled: true, interval: Duration::from_secs(5), ended_for: Duration::from_secs(86_400) }
    }
}

/// Prometheus targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeSourceConfig {
    /// A Prometheus configuration file; its `global` and `scrape_configs` are read.
    pub config_file: Option<PathBuf>,
    /// Whether a target's created timestamps become the starts of its samples; else OpenMetrics' `_created` are series, as for Prometheus
    /// without its feature flag, and those of protobuf are left out.
    pub created_timestamps: bool,
}

/// What clients may push.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushConfig {
    /// A request's body as sent.
    pub body_max: ByteSize,
    /// A request's body once decompressed.
    pub decompressed_max: ByteSize,
    /// Log lines, points or spans of a request.
    pub records_max: usize,
    /// Labels of a stream or attributes of a record.
    pub labels_max: usize,
    /// One log line; a longer one is split with a continuation mark.
    pub line_max: ByteSize,
    /// How long a request waits for the bus before it is told to come again.
    #[serde(with = "duration")]
    pub patience: Duration,
    /// Requests served at once, their bodies read; further ones are told to come again.
    pub requests_max: usize,
    /// Bytes that all requests may hold in memory, bodies, what they are decompressed and decoded to; a request that does
    /// not fit is told to come again, one that never will is refused.
    pub inflight_max: ByteSize,
    /// What is known of series that remote write names again and again, of all tenants together.
    pub series_cache_max: ByteSize,
    /// A body of which nothing comes for so long is given up.
    #[serde(with = "duration")]
    pub body_idle_max: Duration,
    /// A body that is not there after so long is given up.
    #[serde(with = "duration")]
    pub body_time_max: Duration,
    /// Records with older timestamps are refused: `None` for what retention would delete, zero for no bound.
    #[serde(with = "optional_duration")]
    pub reject_older_than: Option<Duration>,
    /// Records with timestamps further ahead of this machine's clock are refused; zero for no bound.
    #[serde(with = "duration")]
    pub reject_ahead_of: Duration,
}

impl Default for PushConfig {
    fn default() -> Self {
        Self {
            body_max: ByteSize::mib(16),
            decompressed_max: ByteSize::mib(64),
            records_max: 500_000,
            labels_max: 128,
            line_max: LINE_MAX,
            patience: Duration::from_secs(10),
            requests_max: 64,
            // Three of the largest requests at once, or hundreds of usual ones.
            inflight_max: ByteSize::mib(256),
            // 1,200,000 series of ten labels.
            series_cache_max: ByteSize::mib(512),
            // A mobile link's pause; 2 Mbit/s for the largest body.
            body_idle_max: Duration::from_secs(5),
            body_time_max: Duration::from_secs(60),
            reject_older_than: None,
            // Loki's creation_grace_period.
            reject_ahead_of: Duration::from_secs(600),
        }
    }
}

impl CollectorConfig {
    /// Refuses what cannot work, naming the key.
    pub fn check(&self) -> Result<(), CollectorError> {
        let wrong = |key: &str, reason: &str| Err(CollectorError::Config { key: key.to_owned(), reason: reason.to_owned() });
        if self.tenant.is_empty() {
            return wrong("tenant", "must not be empty");
        }
        if self.ship.queue_max < ByteSize::mib(1) {
            return wrong("ship.queue_max", "must be at least 1MiB");
        }
        if self.sample.interval < Duration::from_secs(1) {
            return wrong("sample.interval", "must be at least 1s");
        }
        if self.files.poll_interval < Duration::from_millis(10) {
            return wrong("files.poll_interval", "must be at least 10ms");
        }
        for PathConfig { path, .. } in &self.files.paths {
            if let Err(error) = glob::Pattern::new(path) {
                return wrong("files.paths", &format!("path = {path:?}: {error}"));
            }
        }
        if self.push.line_max < ByteSize::kib(1) || self.push.line_max > LINE_MAX {
            return wrong("push.line_max", &format!("must be between 1KiB and {LINE_MAX}"));
        }
        if self.push.decompressed_max < self.push.body_max {
            return wrong("push.decompressed_max", "must not be below push.body_max");
        }
        let whole = self.push.body_max.to_u64().saturating_add(self.push.decompressed_max.to_u64());
        let inflight = self.push.inflight_max.to_u64();
        // What one tenant can have at most.
        if inflight - inflight.div_ceil(8) < whole {
            return wrong(
                "push.inflight_max",
                "seven eighths of it must not be below push.body_max and push.decompressed_max together",
            );
        }
        if let Err(reason) = remote_write::check(&self.remote_write) {
            return wrong("remote_write", &reason);
        }
        if self.push.body_idle_max.is_zero() || self.push.body_time_max.is_zero() {
            return wrong("push.body_idle_max", "must be above 0s, and push.body_time_max as well");
        }
        Ok(())
    }
}
