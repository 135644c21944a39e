//! What can be set about the disk log.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_model::config::{ByteSize, duration};

use super::batch::{BATCH_BYTES_MAX, HEAD_BYTES, RECORD_HEAD_BYTES};
use crate::{BusError, QUEUE_MAX};

/// The disk log's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskConfig {
    /// Its directory, made when absent. No other process may have it open.
    pub path: PathBuf,
    /// Partitions of a topic when it is made; a topic that exists keeps what it has.
    pub partitions: u32,
    /// A segment file is closed before it grows beyond this.
    pub segment_max: ByteSize,
    /// Appends wait while more than this is not released.
    pub backlog_max: ByteSize,
    /// Largest record.
    pub record_max: ByteSize,
    /// Appends wait while more than this is queued for the writer.
    pub queue_max: ByteSize,
    /// Latest records of each partition that are kept in memory for whoever tails it.
    pub cache_max: ByteSize,
    /// How long the writer waits for company after the first record of a commit. Zero: what arrived during the last
    /// fsync is company enough.
    #[serde(with = "duration")]
    pub linger: Duration,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("bus"),
            partitions: 4,
            segment_max: ByteSize::mib(64),
            backlog_max: ByteSize::gib(2),
            record_max: ByteSize::mib(1),
            queue_max: ByteSize::mib(16),
            cache_max: ByteSize::mib(2),
            linger: Duration::ZERO,
        }
    }
}

impl DiskConfig {
    /// What one record adds to a segment at most.
    pub(crate) fn record_cost(bytes: usize) -> u64 {
        (bytes + RECORD_HEAD_BYTES + HEAD_BYTES) as u64
    }

    /// Errors with `Config`, naming the key.
    pub fn validate(&self) -> Result<(), BusError> {
        let wrong = |text: String| Err(BusError::Config(text));
        if self.partitions == 0 || self.partitions > 1024 {
            return wrong(format!("partitions: {} is not between 1 and 1024", self.partitions));
        }
        let record_max = ByteSize::bytes(BATCH_BYTES_MAX as u64 / 2);
        if self.record_max == ByteSize::default() || self.record_max > record_max {
            return wrong(format!("record_max: {} is not between 1B and {record_max}", self.record_max));
        }
        let record_cost = Self::record_cost(self.record_max.to_usize());
        if self.backlog_max.to_u64() < record_cost {
            return wrong(format!("backlog_max: {} has no room for one record of record_max", self.backlog_max));
        }
        if self.queue_max.to_u64() < record_cost || self.queue_max > QUEUE_MAX {
            return wrong(format!("queue_max: {} is not between one record of record_max and {QUEUE_MAX}", self.queue_max));
        }
        if self.segment_max == ByteSize::default() {
            return wrong("segment_max: 0B".into());
        }
        Ok(())
    }
}
