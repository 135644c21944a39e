//! The limits of one tenant. `None` everywhere: no limit of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, duration, optional_duration};
use crate::label::{Labels, Matcher};
use crate::pattern::PatternBudget;
use crate::selector;

/// What one tenant may send, ask and keep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantLimits {
    pub logs: LogLimits,
    pub metrics: MetricLimits,
    pub traces: TraceLimits,
    pub labels: LabelLimits,
    pub query: QueryLimits,
}

/// How much of one signal may come in, in each collector by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestionLimits {
    /// Bytes a second, uncompressed.
    pub rate: Option<ByteSize>,
    /// Bytes at once; what a second brings where it is not set.
    pub burst: Option<ByteSize>,
    /// Lines, samples or spans a second.
    pub records_rate: Option<u64>,
    /// Lines, samples or spans at once.
    pub records_burst: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogLimits {
    pub ingestion: IngestionLimits,
    /// Streams that are active at once in one collector.
    pub streams_max: Option<u64>,
    /// A pushed line that is longer is refused.
    pub line_max: Option<ByteSize>,
    /// Names and values of one line's structured metadata together.
    pub metadata_max: Option<ByteSize>,
    /// Zero keeps for ever; where it is not set, `[aggregator.retention]` counts.
    #[serde(with = "optional_duration")]
    pub retention: Option<Duration>,
    /// Bytes of blocks that are kept, of all partitions together; the oldest go first.
    pub retention_bytes: Option<ByteSize>,
    /// Streams that are kept for another time. A tenant's list takes the place of the defaults'.
    pub retention_stream: Option<Vec<RetentionStream>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricLimits {
    pub ingestion: IngestionLimits,
    /// Series that are active at once in one collector.
    pub series_max: Option<u64>,
    /// Buckets of a pushed native histogram: one of more is stored at a lower resolution, and refused where none is low enough.
    pub histogram_buckets_max: Option<u64>,
    /// As for logs.
    #[serde(with = "optional_duration")]
    pub retention: Option<Duration>,
    /// As for logs.
    pub retention_bytes: Option<ByteSize>,
    /// Samples that are older have a resolution of 5 minutes; zero never. Where it is not set, `[aggregator.downsampling]` counts.
    #[serde(with = "optional_duration")]
    pub resolution_5m_after: Option<Duration>,
    /// The same of one hour.
    #[serde(with = "optional_duration")]
    pub resolution_1h_after: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceLimits {
    pub ingestion: IngestionLimits,
    /// One span as it is sent, with its attributes, events and links.
    pub span_max: Option<ByteSize>,
    /// As for logs.
    #[serde(with = "optional_duration")]
    pub retention: Option<Duration>,
    /// As for logs.
    pub retention_bytes: Option<ByteSize>,
}

/// Of pushed and scraped streams and series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelLimits {
    /// Labels of a stream or series, the metric's name not counted.
    pub count_max: Option<u64>,
    pub name_max: Option<ByteSize>,
    pub value_max: Option<ByteSize>,
}

/// Below what `[query]` allows; the smaller counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryLimits {
    /// Bytes that one query reads from the store.
    pub bytes_max: Option<ByteSize>,
    /// Samples, lines and spans that one query may decode.
    pub records_max: Option<u64>,
    /// From a query's start to its end, with what its ranges look back.
    #[serde(with = "optional_duration")]
    pub range_max: Option<Duration>,
    /// Queries that run at once.
    pub concurrency: Option<u64>,
    /// Queries that wait.
    pub queue_max: Option<u64>,
    /// A query is cancelled after so long.
    #[serde(with = "optional_duration")]
    pub timeout: Option<Duration>,
}

/// Streams that are kept for another time than the rest, as Loki's `retention_stream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RetentionStreamText", into = "RetentionStreamText")]
pub struct RetentionStream {
    pub matchers: Vec<Matcher>,
    /// Zero keeps for ever.
    pub period: Duration,
    /// The highest counts where several match; the shortest period among equals.
    pub priority: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionStreamText {
    selector: String,
    #[serde(with = "duration")]
    period: Duration,
    #[serde(default)]
    priority: u32,
}

impl TryFrom<RetentionStreamText> for RetentionStream {
    type Error = String;

    fn try_from(text: RetentionStreamText) -> Result<Self, String> {
        let matchers = selector::parse(&text.selector, &mut PatternBudget::default());
        let matchers = matchers.map_err(|error| format!("selector: {error}"))?;
        if matchers.is_empty() {
            return Err("selector: at least one matcher is needed; `retention` is for all streams".into());
        }
        Ok(Self { matchers, period: text.period, priority: text.priority })
    }
}

impl From<RetentionStream> for RetentionStreamText {
    fn from(stream: RetentionStream) -> Self {
        let matchers: Vec<String> = stream.matchers.iter().map(ToString::to_string).collect();
        Self { selector: format!("{{{}}}", matchers.join(", ")), period: stream.period, priority: stream.priority }
    }
}

impl RetentionStream {
    pub fn matches(&self, stream: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(stream))
    }
}

impl LogLimits {
    pub fn retention_streams(&self) -> &[RetentionStream] {
        self.retention_stream.as_deref().unwrap_or_default()
    }
}

impl IngestionLimits {
    fn or(&self, defaults: &Self) -> Self {
        Self {
            rate: self.rate.or(defaults.rate),
            burst: self.burst.or(defaults.burst),
            records_rate: self.records_rate.or(defaults.records_rate),
            records_burst: self.records_burst.or(defaults.records_burst),
        }
    }

    fn check(&self) -> Result<(), String> {
        above_zero(&[
            ("rate", self.rate.map(ByteSize::to_u64)),
            ("burst", self.burst.map(ByteSize::to_u64)),
            ("records_rate", self.records_rate),
            ("records_burst", self.records_burst),
        ])?;
        if self.burst.is_some() && self.rate.is_none() {
            return Err("burst: needs rate".into());
        }
        if self.records_burst.is_some() && self.records_rate.is_none() {
            return Err("records_burst: needs records_rate".into());
        }
        Ok(())
    }
}

/// The least age at which samples may be downsampled. Whether a series goes on after its last stretch, of an hour at most, is then told by blocks: what is unsealed
/// is younger.
pub const DOWNSAMPLING_AGE_MIN: Duration = Duration::from_secs(2 * 3600);

/// Errors with a sentence.
pub fn check_downsampling_age(age: Duration) -> Result<(), String> {
    if age.is_zero() || age >= DOWNSAMPLING_AGE_MIN { Ok(()) } else { Err("must be at least 2h, or 0s for never".into()) }
}

/// Whether samples of these ages, of 5 minutes and of an hour, never have the finer resolution, as they have the coarser one before.
pub fn is_never_finer(fine: Duration, coarse: Duration) -> bool {
    !fine.is_zero() && !coarse.is_zero() && coarse <= fine
}

impl TenantLimits {
    /// With `defaults` where nothing is said.
    pub(super) fn or(&self, defaults: &Self) -> Self {
        let (logs, metrics, traces, labels, query) = (&self.logs, &self.metrics, &self.traces, &self.labels, &self.query);
        let other = defaults;
        let streams = logs.retention_stream.as_ref().or(other.logs.retention_stream.as_ref());
        Self {
            logs: LogLimits {
                ingestion: logs.ingestion.or(&other.logs.ingestion),
                streams_max: logs.streams_max.or(other.logs.streams_max),
                line_max: logs.line_max.or(other.logs.line_max),
                metadata_max: logs.metadata_max.or(other.logs.metadata_max),
                retention: logs.retention.or(other.logs.retention),
                retention_bytes: logs.retention_bytes.or(other.logs.retention_bytes),
                retention_stream: streams.cloned(),
            },
            metrics: MetricLimits {
                ingestion: metrics.ingestion.or(&other.metrics.ingestion),
                series_max: metrics.series_max.or(other.metrics.series_max),
                histogram_buckets_max: metrics.histogram_buckets_max.or(other.metrics.histogram_buckets_max),
                retention: metrics.retention.or(other.metrics.retention),
                retention_bytes: metrics.retention_bytes.or(other.metrics.retention_bytes),
                resolution_5m_after: metrics.resolution_5m_after.or(other.metrics.resolution_5m_after),
                resolution_1h_after: metrics.resolution_1h_after.or(other.metrics.resolution_1h_after),
            },
            traces: TraceLimits {
                ingestion: traces.ingestion.or(&other.traces.ingestion),
                span_max: traces.span_max.or(other.traces.span_max),
                retention: traces.retention.or(other.traces.retention),
                retention_bytes: traces.retention_bytes.or(other.traces.retention_bytes),
            },
            labels: LabelLimits {
                count_max: labels.count_max.or(other.labels.count_max),
                name_max: labels.name_max.or(other.labels.name_max),
                value_max: labels.value_max.or(other.labels.value_max),
            },
            query: QueryLimits {
                bytes_max: query.bytes_max.or(other.query.bytes_max),
                records_max: query.records_max.or(other.query.records_max),
                range_max: query.range_max.or(other.query.range_max),
                concurrency: query.concurrency.or(other.query.concurrency),
                queue_max: query.queue_max.or(other.query.queue_max),
                timeout: query.timeout.or(other.query.timeout),
            },
        }
    }

    /// Errors with the key that is wrong, and why. A limit of zero would be an outage: only a period of retention may be zero.
    pub(super) fn check(&self) -> Result<(), String> {
        let ingestion = [("logs", self.logs.ingestion), ("metrics", self.metrics.ingestion), ("traces", self.traces.ingestion)];
        for (signal, limits) in ingestion {
            limits.check().map_err(|error| format!("{signal}.ingestion.{error}"))?;
        }
        let ages = [("5m", self.metrics.resolution_5m_after), ("1h", self.metrics.resolution_1h_after)];
        for (resolution, age) in ages.into_iter().filter_map(|(resolution, age)| Some((resolution, age?))) {
            check_downsampling_age(age).map_err(|error| format!("metrics.resolution_{resolution}_after: {error}"))?;
        }
        let never = Duration::ZERO;
        let MetricLimits { resolution_5m_after: fine, resolution_1h_after: coarse, .. } = self.metrics;
        if is_never_finer(fine.unwrap_or(never), coarse.unwrap_or(never)) {
            return Err("metrics.resolution_1h_after: must be longer than metrics.resolution_5m_after".into());
        }
        let bytes = |size: Option<ByteSize>| size.map(ByteSize::to_u64);
        let nanos = |time: Option<Duration>| time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        above_zero(&[
            ("logs.streams_max", self.logs.streams_max),
            ("logs.line_max", bytes(self.logs.line_max)),
            ("logs.metadata_max", bytes(self.logs.metadata_max)),
            ("logs.retention_bytes", bytes(self.logs.retention_bytes)),
            ("metrics.series_max", self.metrics.series_max),
            ("metrics.retention_bytes", bytes(self.metrics.retention_bytes)),
            ("metrics.histogram_buckets_max", self.metrics.histogram_buckets_max),
            ("traces.span_max", bytes(self.traces.span_max)),
            ("traces.retention_bytes", bytes(self.traces.retention_bytes)),
            ("labels.count_max", self.labels.count_max),
            ("labels.name_max", bytes(self.labels.name_max)),
            ("labels.value_max", bytes(self.labels.value_max)),
            ("query.bytes_max", bytes(self.query.bytes_max)),
            ("query.records_max", self.query.records_max),
            ("query.range_max", nanos(self.query.range_max)),
            ("query.concurrency", self.query.concurrency),
            ("query.queue_max", self.query.queue_max),
            ("query.timeout", nanos(self.query.timeout)),
        ])
    }
}

fn above_zero(limits: &[(&str, Option<u64>)]) -> Result<(), String> {
    match limits.iter().find(|(_, limit)| *limit == Some(0)) {
        Some((key, _)) => Err(format!("{key}: must be above 0: leave it out for no limit")),
        None => Ok(()),
    }
}
