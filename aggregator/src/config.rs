//! `[aggregator]` in the configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_blocks::engine::{BlockCost, Engine};
use weir_logs::LogsEngine;
use weir_metrics::MetricsEngine;
use weir_model::config::{ByteSize, duration};
use weir_model::limits::{check_downsampling_age, is_never_finer};
use weir_model::wire::Kind;
use weir_traces::TracesEngine;

/// What a merge of the smallest blocks takes.
const COMPACTION_MIN: ByteSize = ByteSize::mib(96);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// When heads are sealed, what is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AggregatorConfig {
    /// A head is sealed when it holds this much. Bounds both memory and the replay after a crash.
    pub head_max: ByteSize,
    /// The heads of all partitions together, those being sealed included. Above half of it the largest is sealed, whatever its
    /// age; above all of it nothing is taken until one is sealed.
    pub heads_memory_max: ByteSize,
    /// A head is sealed when its oldest record has been in it for so long.
    #[serde(with = "duration")]
    pub head_age_max: Duration,
    /// Heads that are sealed at once in this process; the others keep what they have until it is their turn.
    pub seals_max: usize,
    /// Neighbouring blocks of one level that are merged into one of the next.
    pub compaction_blocks: usize,
    /// Blocks are merged up to this size.
    pub compaction_block_max: ByteSize,
    /// Merges that run at once in this process.
    pub compactions_max: usize,
    /// Memory of all of them together; blocks that do not fit into a merge's share of it are not merged. An eighth of a share is for
    /// the samples of one series of metrics: one of more goes on in the next block.
    pub compaction_memory_max: ByteSize,
    /// How long to keep what, by its newest record; `0s` keeps it for ever.
    pub retention: Retention,
    /// From which age on samples are left at a coarser resolution; never by default.
    pub downsampling: Downsampling,
    /// A request to delete logs may be cancelled for so long, by the partitions' own time: until then its lines stay on disk, unseen.
    #[serde(with = "duration")]
    pub delete_request_cancel_period: Duration,
    /// How often something to compact or to delete is looked for.
    #[serde(with = "duration")]
    pub tick: Duration,
    /// Objects that no manifest names any more are deleted when their owner has seen them so for this long, by passed time and not by
    /// any wall clock. Longer than any query, seal or merge takes.
    #[serde(with = "duration")]
    pub garbage_age_min: Duration,
    /// A push that is sent again is recognised for so long.
    #[serde(with = "duration")]
    pub digest_age_max: Duration,
    /// … and at most this many pushes a partition are remembered; above it the tenant with the most forgets its oldest.
    pub digests_max: usize,
    /// A source that has been silent for so long is forgotten.
    #[serde(with = "duration")]
    pub mark_age_max: Duration,
    /// What one request of a query node may extract from one partition's heads, before compression.
    pub extract_max: ByteSize,
    /// Requests of query nodes that are worked on at once; others wait as long as their client does.
    pub extracts_max: usize,
}

/// `[aggregator.retention]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Log lines.
    #[serde(with = "duration")]
    pub logs: Duration,
    /// Samples.
    #[serde(with = "duration")]
    pub metrics: Duration,
    /// Spans.
    #[serde(with = "duration")]
    pub traces: Duration,
}

/// `[aggregator.downsampling]`: zero never.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Downsampling {
    /// Samples of which only aggregates of 5 minutes are left.
    #[serde(with = "duration")]
    pub resolution_5m_after: Duration,
    /// … of an hour.
    #[serde(with = "duration")]
    pub resolution_1h_after: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { logs: 14 * DAY, metrics: 30 * DAY, traces: 14 * DAY }
    }
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        Self {
            // Both so that the replay after a crash takes at most 10 s.
            head_max: ByteSize::mib(256),
            // Four full heads: one that is taken in while another is sealed, of two busy partitions.
            heads_memory_max: ByteSize::gib(1),
            head_age_max: Duration::from_secs(60),
            // A seal takes one core for a second or two; the room for heads is for those that wait.
            seals_max: 1,
            compaction_blocks: 8,
            compaction_block_max: ByteSize::mib(512),
            // A merge takes one core; the other is for taking and sealing.
            compactions_max: 1,
            // Blocks of logs of some 100 MiB, which are gigabytes of lines.
            compaction_memory_max: ByteSize::gib(1),
            retention: Retention::default(),
            downsampling: Downsampling::default(),
            // As Loki has it.
            delete_request_cancel_period: DAY,
            tick: Duration::from_secs(30),
            // Ten times the longest query.
            garbage_age_min: Duration::from_secs(600),
            // Longer than any exporter tries (OpenTelemetry's give up after 5 minutes).
            digest_age_max: Duration::from_secs(600),
            digests_max: 65_536,
            mark_age_max: 7 * DAY,
            // A quarter of a full head: who needs more of it reads it in pages, or narrows the query.
            extract_max: ByteSize::mib(64),
            // As many as a query node runs queries; each takes a thread and at most the above a partition.
            extracts_max: 8,
        }
    }
}

impl AggregatorConfig {
    /// How long a kind's blocks are kept; zero for ever.
    pub fn retention(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Logs => self.retention.logs,
            Kind::Metrics => self.retention.metrics,
            Kind::Spans => self.retention.traces,
        }
    }

    /// What one merge may take.
    pub(crate) fn merge_bytes_max(&self) -> u64 {
        self.compaction_memory_max.to_u64() / self.compactions_max.max(1) as u64
    }

    /// What of it the blocks of a run may take, by [`BlockCost`].
    pub(crate) fn run_bytes_max(&self, kind: Kind) -> u64 {
        let merge = self.merge_bytes_max();
        let beside = if kind == Kind::Metrics { MetricsEngine::series_memory(merge) } else { 0 };
        merge - beside
    }

    /// What the aggregator may hold in memory, by the keys that bound it. Caches and the bus's own buffers come on top, and
    /// what opened blocks say of themselves.
    pub fn memory_bytes(&self) -> [(&'static str, u64); 4] {
        // All of them the dearest.
        let of_head = |cost: BlockCost| cost.of_head(self.head_max.to_u64());
        let seal = [LogsEngine::SEAL, MetricsEngine::SEAL, TracesEngine::SEAL].into_iter().map(of_head).max().unwrap_or(0);
        [
            ("aggregator.heads_memory_max", self.heads_memory_max.to_u64()),
            ("aggregator.seals_max × aggregator.head_max", (self.seals_max as u64).saturating_mul(seal)),
            ("aggregator.compaction_memory_max", self.compaction_memory_max.to_u64()),
            (
                "aggregator.extracts_max × aggregator.extract_max",
                (self.extracts_max as u64).saturating_mul(self.extract_max.to_u64()),
            ),
        ]
    }

    /// Refuses what cannot work, naming the key.
    pub fn check(&self) -> Result<(), String> {
        // A record is up to 1 MiB compressed; a head that holds none could never be filled.
        if self.head_max < ByteSize::mib(1) {
            return Err("head_max must be at least 1MiB".into());
        }
        // Two records, each in a head of its own.
        if self.heads_memory_max < ByteSize::mib(4) {
            return Err("heads_memory_max must be at least 4MiB".into());
        }
        if self.seals_max == 0 {
            return Err("seals_max must be at least 1".into());
        }
        if self.compactions_max == 0 {
            return Err("compactions_max must be at least 1".into());
        }
        // Less than what any merge of logs takes for its index: nothing would ever be merged.
        let least = ByteSize::bytes((self.compactions_max as u64).saturating_mul(COMPACTION_MIN.to_u64()));
        if self.compaction_memory_max < least {
            return Err(format!("compaction_memory_max must be at least {least}: {COMPACTION_MIN} a compaction"));
        }
        if self.compaction_blocks < 2 {
            return Err("compaction_blocks must be at least 2".into());
        }
        let Downsampling { resolution_5m_after: fine, resolution_1h_after: coarse } = &self.downsampling;
        for (resolution, age) in [("5m", fine), ("1h", coarse)] {
            check_downsampling_age(*age).map_err(|error| format!("downsampling.resolution_{resolution}_after {error}"))?;
        }
        if is_never_finer(*fine, *coarse) {
            return Err("downsampling.resolution_1h_after must be longer than downsampling.resolution_5m_after".into());
        }
        if self.tick < Duration::from_secs(1) {
            return Err("tick must be at least 1s".into());
        }
        Ok(())
    }
}

/// As clocks count: nanoseconds, saturating.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
